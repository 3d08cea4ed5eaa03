/*
 * Reading one upstream response: a stream frame by frame, or one whole JSON answer.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "route/failure.h"
#include "route/leg_private.h"

enum { LEG_ERROR_MAX_BYTES = 256 * 1024 }; /* the body of an error status; the rest is not kept */

/* What passes of a direct call's response head; everything else stays here. */
static const char *const passed_names[] = {
        "openai-processing-ms",         "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",     "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
};

_Static_assert(sizeof(passed_names) / sizeof(passed_names[0]) == LEG_PASSED_MAX, "headers");

/* Has every choice that was begun told why it ended? */
static bool
leg_is_finished(const struct leg *leg)
{
	return (leg->choices_seen[0] | leg->choices_seen[1]) != 0 &&
	       leg->choices_seen[0] == leg->choices_finished[0] &&
	       leg->choices_seen[1] == leg->choices_finished[1];
}

static void
leg_note_frame(struct leg *leg)
{
	const struct chat_frame *frame = &leg->frame;
	bool output = false;

	for (size_t i = 0; i < frame->choice_count; i++) {
		const struct chat_choice *choice = &frame->choices[i];
		uint64_t bit = UINT64_C(1) << (choice->index & 63);
		size_t word = choice->index / 64 & 1;

		leg->choices_seen[word] |= bit;
		if (choice->finish_reason.kind == JSON_KIND_STRING)
			leg->choices_finished[word] |= bit;
		output |= choice->has_output;
	}
	leg->output_frames += output;
	if (frame->usage_counts.known)
		leg->usage = frame->usage_counts;
}

/* The `message` of an error object, or a general word, without secrets. */
static void
leg_fail_with_error(struct leg *leg, struct json_value error)
{
	struct buf text, shown;
	struct json_scan scan;
	struct json_member member;
	struct json_value message = {0}, value;

	buf_init(&text, 0);
	buf_init(&shown, 0);
	json_scan_init(&scan, (struct bytes){error.p, error.n});
	if (json_enter(&scan, JSON_KIND_OBJECT)) {
		while (json_next_member(&scan, &member)) {
			if (!json_take(&scan, &value))
				break;
			if (json_key_is(member.key, "message"))
				message = value;
		}
	} else {
		message = error;
	}
	buf_add_text(&text, "upstream sent an error in its answer");
	if (message.kind == JSON_KIND_STRING) {
		buf_add_text(&text, ": ");
		json_string_decode(message, &text);
	}
	failure_redact(buf_bytes(&text), leg->model->provider, sizeof(leg->failure.detail) - 1,
	               &shown);
	buf_add(&shown, "", 1);
	leg_fail(leg, LEG_ERROR, shown.failed ? "upstream sent an error in its answer" : shown.p);
	buf_fini(&text);
	buf_fini(&shown);
}

static void
leg_stream_done(struct leg *leg, bool marked)
{
	if (leg_is_finished(leg) || (marked && leg->role == CASCADE_HEAVY && leg->choices_seen[0]))
		leg_done(leg);
	else if (marked)
		leg_fail(leg, LEG_CUT, "the stream's [DONE] came before a finish_reason");
	else
		leg_fail(leg, LEG_CUT, "the stream ended before its finish_reason");
}

static void
leg_read_event(struct leg *leg, const struct sse_event *event)
{
	if (bytes_is(event->data, "[DONE]")) {
		leg_stream_done(leg, true);
		return;
	}
	if (!chat_frame_read(&leg->frame, event->data)) {
		leg_fail(leg, LEG_MALFORMED,
		         "upstream sent a frame that is not a chat completion chunk");
		return;
	}
	if (leg->frame.error.kind > JSON_KIND_NULL) {
		leg_fail_with_error(leg, leg->frame.error);
		return;
	}
	leg_note_frame(leg);
	leg->events.on_frame(leg->arg, leg, &leg->frame);
}

static void
leg_read_stream(struct leg *leg, struct bytes piece)
{
	struct sse_event event;

	sse_reader_feed(&leg->reader, piece);
	/* What follows the end of an answer is of no interest, but it must be read off. */
	while (!leg->ended && sse_reader_next(&leg->reader, &event))
		leg_read_event(leg, &event);
	if (!leg->ended && leg->reader.failed)
		leg_fail(leg, LEG_MALFORMED, "upstream sent a frame that is too large");
}

static void
leg_read_reply(struct leg *leg)
{
	if (leg->reply.failed)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is too large");
	else if (!chat_frame_read(&leg->frame, buf_bytes(&leg->reply)))
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is not a chat completion in JSON");
	else if (leg->frame.error.kind > JSON_KIND_NULL)
		leg_fail_with_error(leg, leg->frame.error);
	else if (leg->frame.choice_count == 0)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer has no choices");
	else {
		leg_note_frame(leg);
		leg_done(leg);
	}
}

/* Retry-After as seconds from now: a number, or an HTTP date. 0: none, or not readable. */
static unsigned
retry_after_s(const char *value)
{
	struct tm date = {0};
	uint64_t seconds;
	const char *end;

	if (!value)
		return 0;
	if (bytes_to_u64(bytes_of(value), 86400, &seconds))
		return (unsigned)seconds;
	end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &date);
	if (!end || *end != '\0')
		return 0;
	time_t then = timegm(&date), now = (time_t)(clock_wall_ms() / 1000);

	return then > now && then - now <= 86400 ? (unsigned)(then - now) : 0;
}

static bool
is_printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7E)
			return false;
	}
	return true;
}

static void
leg_keep_headers(struct leg *leg, struct http_fetch *fetch)
{
	for (size_t i = 0; i < LEG_PASSED_MAX; i++) {
		const char *value = http_fetch_header(fetch, passed_names[i]);
		char *copy = leg->passed_values[leg->passed_count];

		if (!value || strlen(value) >= LEG_PASSED_VALUE_MAX || !is_printable(value))
			continue;
		memcpy(copy, value, strlen(value) + 1);
		leg->passed[leg->passed_count++] = (struct http_header){passed_names[i], copy};
	}
}

static void
on_fetch_head(void *arg, struct http_fetch *fetch, int status)
{
	struct leg *leg = arg;
	const char *type = http_fetch_header(fetch, "content-type");

	leg->status = status;
	if (leg->direct)
		leg_keep_headers(leg, fetch);
	if (status < 200 || status > 299) {
		leg->failure.retry_after_ms =
		        1000ull * retry_after_s(http_fetch_header(fetch, "retry-after"));
		leg->reply.limit = LEG_ERROR_MAX_BYTES;
		return;
	}
	leg->reading_stream = leg->stream;
	if (leg->stream && type &&
	    (strcasestr(type, "application/json") || strcasestr(type, "text/html")))
		leg_fail(leg, LEG_MALFORMED, "upstream did not answer with an event stream");
}

static void
on_fetch_data(void *arg, struct http_fetch *fetch, struct bytes piece)
{
	struct leg *leg = arg;

	(void)fetch;
	if (leg->reading_stream) {
		leg_read_stream(leg, piece);
		return;
	}
	buf_add_bytes(&leg->reply, piece);
	if (leg->reply.failed && leg->status >= 200 && leg->status <= 299)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is too large");
}

static enum leg_failure_kind
failure_of_result(enum http_fetch_result result)
{
	switch (result) {
	case HTTP_FETCH_DNS:
	case HTTP_FETCH_CONNECT:
	case HTTP_FETCH_TLS: return LEG_UNREACHABLE;
	case HTTP_FETCH_TIMEOUT_CONNECT:
	case HTTP_FETCH_TIMEOUT_FIRST_BYTE:
	case HTTP_FETCH_TIMEOUT_IDLE:
	case HTTP_FETCH_TIMEOUT_TOTAL: return LEG_TIMEOUT;
	case HTTP_FETCH_OK:
	case HTTP_FETCH_CUT: return LEG_CUT;
	case HTTP_FETCH_PROTOCOL: return LEG_MALFORMED;
	case HTTP_FETCH_FAULT: break;
	}
	return LEG_FAULT;
}

/* Says which of the four timers it was. */
static void
leg_fail_with_timeout(struct leg *leg, enum http_fetch_result result, const char *detail)
{
	const char *which = result == HTTP_FETCH_TIMEOUT_CONNECT      ? "connect"
	                    : result == HTTP_FETCH_TIMEOUT_FIRST_BYTE ? "first byte"
	                    : result == HTTP_FETCH_TIMEOUT_IDLE       ? "idle"
	                                                              : "total";
	char text[sizeof(leg->failure.detail)];

	snprintf(text, sizeof(text), "%s timeout, %s", which, detail);
	leg_fail(leg, LEG_TIMEOUT, text);
}

static void
on_fetch_end(void *arg, struct http_fetch *fetch, enum http_fetch_result result, const char *detail)
{
	struct leg *leg = arg;
	char text[64];

	(void)fetch;
	leg->fetch = NULL;
	if (leg->ended) {
		if (leg->released)
			leg_bury(leg);
		return;
	}
	if (leg->status != 0 && (leg->status < 200 || leg->status > 299)) {
		/* The status is the news, even when the body after it was cut. */
		snprintf(text, sizeof(text), "upstream answered %d", leg->status);
		leg_fail(leg, LEG_STATUS, text);
	} else if (http_fetch_result_is_timeout(result)) {
		leg_fail_with_timeout(leg, result, detail);
	} else if (result != HTTP_FETCH_OK) {
		/* A cut after the last finish_reason has lost nothing. */
		if (result == HTTP_FETCH_CUT && leg->reading_stream && leg_is_finished(leg))
			leg_done(leg);
		else
			leg_fail(leg, failure_of_result(result), detail);
	} else if (leg->reading_stream) {
		leg_stream_done(leg, false);
	} else {
		leg_read_reply(leg);
	}
}

const struct http_fetch_events leg_fetch_events = {on_fetch_head, on_fetch_data, on_fetch_end};
