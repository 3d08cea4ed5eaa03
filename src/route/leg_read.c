/*
 * Reading one upstream response: a stream frame by frame, or one whole JSON answer, and what was asked
 * for out of the other: a document is shown as frames, a stream is assembled. The Content-Type tells
 * which it is, else the first byte.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "route/failure.h"
#include "route/leg_private.h"
#include "wire/chat_convert.h"

enum { LEG_ERROR_MAX_BYTES = 256 * 1024 }; /* the body of an error status; the rest is not kept */

/* Has every choice that was begun told why it ended? */
static bool
leg_is_finished(const struct leg *leg)
{
	return (leg->choices_seen[0] | leg->choices_seen[1]) != 0 &&
	       leg->choices_seen[0] == leg->choices_finished[0] &&
	       leg->choices_seen[1] == leg->choices_finished[1];
}

static void
leg_note_frame(struct leg *leg, const struct chat_frame *frame)
{
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
	failure_redact(buf_bytes(&text), leg->model->provider, sizeof(leg->failure->detail) - 1,
	               &shown);
	buf_add(&shown, "", 1);
	leg_fail(leg, LEG_ERROR, shown.failed ? "upstream sent an error in its answer" : shown.p);
	buf_fini(&text);
	buf_fini(&shown);
}

/* ---------------------------------------------------------------- a stream */

static void
leg_begin_stream(struct leg *leg)
{
	leg->reading = LEG_READING_STREAM;
	if (leg->stream)
		return;
	leg->answer = chat_answer_new(LEG_REPLY_MAX_BYTES, true, CHAT_TOP_LOGPROBS_MAX);
	if (!leg->answer)
		leg_fail(leg, LEG_FAULT, "out of memory");
}

static void
leg_stream_complete(struct leg *leg)
{
	if (leg->answer)
		chat_answer_write(leg->answer, &leg->reply);
	if (leg->reply.failed)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is too large");
	else
		leg_done(leg);
}

static void
leg_stream_done(struct leg *leg, bool marked)
{
	bool begun = (leg->choices_seen[0] | leg->choices_seen[1]) != 0;

	if (leg_is_finished(leg) || (marked && leg->role == CASCADE_HEAVY && leg->choices_seen[0]))
		leg_stream_complete(leg);
	else if (marked)
		leg_fail(leg, LEG_CUT, "the stream's [DONE] came before a finish_reason");
	else if (leg->guessed && !begun)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is neither JSON nor a stream");
	else
		leg_fail(leg, LEG_CUT, "the stream ended before its finish_reason");
}

/* Some servers set blanks around it. */
static bool
is_done_mark(struct bytes data)
{
	while (data.n > 0 && data.p[0] == ' ')
		data = (struct bytes){data.p + 1, data.n - 1};
	while (data.n > 0 && data.p[data.n - 1] == ' ')
		data.n--;
	return bytes_is(data, "[DONE]");
}

/* Into the service's frame, which is free again when the event was read: thousands of legs wait for their next
 * at a time. */
static bool
leg_read_frame(struct leg *leg, struct bytes text)
{
	struct chat_frame *frame = &leg->service->frame;
	bool good;

	frame->head = leg->head;
	good = chat_frame_read(frame, text);
	leg->head = frame->head;
	frame->head = NULL;
	return good;
}

static void
leg_read_event(struct leg *leg, const struct sse_event *event)
{
	const struct chat_frame *frame = &leg->service->frame;

	if (is_done_mark(event->data)) {
		leg_stream_done(leg, true);
		return;
	}
	if (!leg_read_frame(leg, event->data)) {
		leg_fail(leg, LEG_MALFORMED,
		         "upstream sent a frame that is not a chat completion chunk");
		return;
	}
	if (frame->error.kind > JSON_KIND_NULL) {
		leg_fail_with_error(leg, frame->error);
		return;
	}
	leg_note_frame(leg, frame);
	if (!leg->answer)
		leg->events.on_frame(leg->arg, leg, frame);
	else if (!chat_answer_add(leg->answer, frame))
		leg_fail(leg, LEG_MALFORMED,
		         "upstream's frames do not fit together, or are too many");
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
	/* One enormous frame must not be remembered for ever. */
	if (leg->service->frame.token_cap > LEG_FRAME_TOKENS)
		chat_frame_fini(&leg->service->frame);
}

/* ---------------------------------------------------------------- one document */

/* Shows the exchange one frame made out of the document. */
static void
leg_show_frame(struct leg *leg, struct chat_frame *frame, const struct buf *payload)
{
	if (payload->failed || !chat_frame_read(frame, buf_bytes(payload)))
		leg_fail(leg, LEG_FAULT, "out of memory");
	else
		leg->events.on_frame(leg->arg, leg, frame);
}

/* The whole answer as the stream that was asked for. Any frame may be the one at which the leg is
 * cancelled; it rests until the transfer's callback has returned. */
static void
leg_show_frames(struct leg *leg, const struct chat_frame *whole)
{
	struct chat_frame frame;
	struct buf begin, payload;

	chat_frame_init(&frame);
	buf_init(&begin, LEG_REPLY_MAX_BYTES);
	buf_init(&payload, 0);
	chat_convert_begin(whole, &begin);
	/* What all frames repeat must not make one answer into many. */
	if (begin.failed || begin.n * (whole->choice_count + 1) > LEG_REPLY_MAX_BYTES)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is too large");
	for (size_t i = 0; i < whole->choice_count && !leg->ended; i++) {
		buf_reset(&payload);
		chat_convert_choice(whole, i, buf_bytes(&begin), &payload);
		leg_show_frame(leg, &frame, &payload);
	}
	if (!leg->ended && whole->usage_counts.known) {
		buf_reset(&payload);
		chat_convert_usage(whole, buf_bytes(&begin), &payload);
		leg_show_frame(leg, &frame, &payload);
	}
	buf_fini(&payload);
	buf_fini(&begin);
	chat_frame_fini(&frame);
	if (!leg->ended)
		leg_done(leg);
}

static void
leg_read_whole(struct leg *leg)
{
	struct chat_frame whole;

	chat_frame_init(&whole);
	if (leg->reply.failed)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is too large");
	else if (!chat_frame_read(&whole, buf_bytes(&leg->reply)))
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is not a chat completion in JSON");
	else if (whole.error.kind > JSON_KIND_NULL)
		leg_fail_with_error(leg, whole.error);
	else if (whole.choice_count == 0)
		leg_fail(leg, LEG_MALFORMED, "upstream's answer has no choices");
	else {
		leg_note_frame(leg, &whole);
		if (leg->role == CASCADE_DRAFT && !leg_is_finished(leg))
			leg_fail(leg, LEG_CUT, "the answer has no finish_reason");
		else if (leg->stream)
			leg_show_frames(leg, &whole);
		else
			leg_done(leg);
	}
	chat_frame_fini(&whole);
}

/* ---------------------------------------------------------------- the transfer */

static bool
leg_is_answered(const struct leg *leg)
{
	return leg->status >= 200 && leg->status <= 299;
}

/* What the headers tell of the provider's rate limits; most providers send none. */
static void
leg_note_limits(struct leg *leg, struct http_fetch *fetch, uint64_t now_ms)
{
	struct health_limit requests = {
	        .remaining = http_fetch_header(fetch, HTTP_ANSWER_REMAINING_REQUESTS)};
	struct health_limit tokens = {
	        .remaining = http_fetch_header(fetch, HTTP_ANSWER_REMAINING_TOKENS)};

	if (!requests.remaining && !tokens.remaining)
		return;
	requests.limit = http_fetch_header(fetch, HTTP_ANSWER_LIMIT_REQUESTS);
	requests.reset = http_fetch_header(fetch, HTTP_ANSWER_RESET_REQUESTS);
	tokens.limit = http_fetch_header(fetch, HTTP_ANSWER_LIMIT_TOKENS);
	tokens.reset = http_fetch_header(fetch, HTTP_ANSWER_RESET_TOKENS);
	health_note_limits(leg->permit.health, &requests, &tokens, now_ms);
}

/* What the head tells about the model. */
static void
leg_note_head(struct leg *leg, struct http_fetch *fetch)
{
	if (leg->permit.health)
		leg_note_limits(leg, fetch, worker_now_us(leg->service->worker) / 1000);
}

/* Is the media type that one, whatever its parameters? */
static bool
type_is(const char *value, const char *type)
{
	size_t n = strlen(type);

	return value && strncasecmp(value, type, n) == 0 && strchr("; \t", value[n]);
}

/* When to try again and whether, should the leg fail. */
static void
leg_note_advice(struct leg *leg, struct http_fetch *fetch)
{
	enum leg_advice advice = failure_advice(http_fetch_header(fetch, HTTP_ANSWER_SHOULD_RETRY));
	uint64_t after_ms = failure_retry_after_ms(
	        http_fetch_header(fetch, HTTP_ANSWER_RETRY_AFTER_MS),
	        http_fetch_header(fetch, HTTP_ANSWER_RETRY_AFTER), clock_wall_ms());

	if (advice == LEG_ADVICE_NONE && after_ms == 0)
		return;
	leg_failing(leg)->advice = advice;
	leg_failing(leg)->retry_after_ms = after_ms;
}

static void
on_fetch_head(void *arg, struct http_fetch *fetch, int status)
{
	struct leg *leg = arg;
	const char *type = http_fetch_header(fetch, HTTP_ANSWER_CONTENT_TYPE);

	leg->status = status;
	leg_note_head(leg, fetch);
	leg_note_advice(leg, fetch);
	if (leg->direct)
		passed_take(&leg->passed, fetch);
	if (http_fetch_is_sent(fetch))
		leg_forget_body(leg);
	if (!leg_is_answered(leg)) {
		leg->reading = LEG_READING_WHOLE;
		leg->reply.limit = LEG_ERROR_MAX_BYTES;
	} else if (type_is(type, "application/json")) {
		leg->reading = LEG_READING_WHOLE;
	} else if (type_is(type, "text/event-stream")) {
		leg_begin_stream(leg);
	} else if (type_is(type, "text/html")) {
		leg_fail(leg, LEG_MALFORMED, "upstream answered with a web page");
	}
}

/* The reply holds the body so far, of which `piece` is the end; before it there is only space. */
static void
leg_guess(struct leg *leg, struct bytes piece)
{
	struct buf begun = leg->reply;
	size_t i = 0;

	while (i < piece.n && strchr(" \t\r\n", piece.p[i]) && piece.p[i])
		i++;
	if (i == piece.n)
		return;
	leg->guessed = true;
	if (piece.p[i] == '{') {
		leg->reading = LEG_READING_WHOLE;
		return;
	}
	buf_init(&leg->reply, LEG_REPLY_MAX_BYTES);
	leg_begin_stream(leg);
	if (!leg->ended)
		leg_read_stream(leg, buf_bytes(&begun));
	buf_fini(&begun);
}

/* The first byte of an answer. A head may come long before it. */
static void
leg_note_begin(struct leg *leg)
{
	uint64_t now_us = worker_now_us(leg->service->worker);

	leg->begun = true;
	if (leg->permit.health && leg_is_answered(leg))
		health_note_first_byte(leg->permit.health, now_us - leg->started_us, now_us / 1000);
}

static void
on_fetch_data(void *arg, struct http_fetch *fetch, struct bytes piece)
{
	struct leg *leg = arg;

	(void)fetch;
	if (leg->ended)
		return;
	if (!leg->begun)
		leg_note_begin(leg);
	if (leg->reading == LEG_READING_STREAM) {
		leg_read_stream(leg, piece);
		return;
	}
	buf_add_bytes(&leg->reply, piece);
	if (leg->reply.failed && leg_is_answered(leg))
		leg_fail(leg, LEG_MALFORMED, "upstream's answer is too large");
	else if (leg->reading == LEG_READING_UNKNOWN)
		leg_guess(leg, piece);
}

/* The transfer itself has failed. */
static void
leg_fail_transfer(struct leg *leg, enum http_fetch_result result, const char *detail)
{
	struct leg_failure failure = {.kind = LEG_FAILURE_NONE};

	failure_of_fetch(&failure, result, detail);
	leg_failing(leg)->timer = failure.timer;
	leg_fail(leg, failure.kind, failure.detail);
}

/* The whole body was received. */
static void
leg_read_rest(struct leg *leg)
{
	switch (leg->reading) {
	case LEG_READING_STREAM: leg_stream_done(leg, false); break;
	case LEG_READING_WHOLE: leg_read_whole(leg); break;
	case LEG_READING_UNKNOWN:
		leg_fail(leg, LEG_MALFORMED, "upstream's answer has no body");
		break;
	}
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
	if (leg->status != 0 && !leg_is_answered(leg)) {
		/* The status is the news, even when the body after it was cut. */
		snprintf(text, sizeof(text), "upstream answered %d", leg->status);
		leg_fail(leg, LEG_STATUS, text);
	} else if (result != HTTP_FETCH_OK && leg->reading == LEG_READING_STREAM &&
	           leg_is_finished(leg)) {
		/* A cut, or silence, after the last finish_reason has lost nothing. */
		leg_stream_complete(leg);
	} else if (result != HTTP_FETCH_OK) {
		leg_fail_transfer(leg, result, detail);
	} else {
		leg_read_rest(leg);
	}
}

const struct http_fetch_events leg_fetch_events = {on_fetch_head, on_fetch_data, on_fetch_end};
