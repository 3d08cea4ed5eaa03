/*
 * A leg reads one upstream response. Until it has ended it reports to the exchange; after that it only
 * waits for the response's last bytes (leg_release), so that the connection stays usable. leg_end is
 * the one way out of the first phase, leg_bury of the second.
 */
#include "route/leg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/timer.h"
#include "route/failure.h"
#include "wire/sse_reader.h"

enum {
	LEG_EVENT_MAX_BYTES = 16 * 1024 * 1024, /* one frame */
	LEG_REPLY_MAX_BYTES = 64 * 1024 * 1024, /* a whole JSON answer */
	LEG_ERROR_MAX_BYTES = 256 * 1024, /* the body of an error status; the rest is not kept */
	LEG_LINGER_MS = 1000,             /* for the bytes after [DONE] */
};

enum { LEG_PASSED_VALUE_MAX = 64 };

/* What passes of a direct call's response head; everything else stays here. */
static const char *const passed_names[] = {
        "openai-processing-ms",         "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",     "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
};

enum { PASSED_COUNT = sizeof(passed_names) / sizeof(passed_names[0]) };

struct leg {
	struct service *service; /* borrowed */
	struct plan *plan;       /* owned: one reference, for the target */
	const struct config_model *model;
	enum cascade_leg role;
	struct leg_events events;
	void *arg;
	struct http_fetch *fetch; /* NULL once the transfer is over */
	struct timer *linger;     /* owned; made when needed */
	struct buf body;          /* what we send; the fetch borrows it */

	bool stream, reading_stream, direct;
	int status;
	struct http_header passed[PASSED_COUNT];
	char passed_values[PASSED_COUNT][LEG_PASSED_VALUE_MAX];
	size_t passed_count;
	struct sse_reader reader;
	struct chat_frame frame;
	struct buf reply;                              /* a JSON answer, or an error's body */
	uint64_t choices_seen[2], choices_finished[2]; /* bit sets over the choice index */
	uint64_t output_frames;
	struct chat_usage usage;

	bool ended;                /* told to the exchange, or cancelled */
	bool released;             /* the exchange has let go */
	LIST_ENTRY(leg) lingerers; /* in service->lingering while the linger timer is there */
	struct leg_failure failure;
	uint64_t started_us, ended_us;
};

static void
leg_destroy(void *p)
{
	struct leg *leg = p;

	timer_free(leg->linger);
	sse_reader_fini(&leg->reader);
	chat_frame_fini(&leg->frame);
	buf_fini(&leg->reply);
	buf_fini(&leg->body);
	plan_unref(leg->plan);
	free(leg);
}

static void
leg_bury(struct leg *leg)
{
	if (leg->fetch)
		http_fetch_cancel(leg->fetch);
	leg->fetch = NULL;
	if (leg->linger) {
		timer_disarm(leg->linger);
		LIST_REMOVE(leg, lingerers);
	}
	worker_bury(leg->service->worker, leg, leg_destroy);
}

/* The one end of a leg: result is the metric's label. */
static void
leg_end(struct leg *leg, const char *result)
{
	struct metrics_shard *shard = leg->service->shard;

	leg->ended = true;
	leg->ended_us = worker_now_us(leg->service->worker);
	metric_add(shard, METRIC_LEGS_IN_FLIGHT, leg->model->label, NULL, -1);
	metric_add(shard, METRIC_LEG_RESULTS, leg->model->label, result, 1);
	metric_observe(shard, METRIC_UPSTREAM_LATENCY,
	               leg->role == CASCADE_DRAFT ? "drafter" : "heavyweight", NULL,
	               (double)(leg->ended_us - leg->started_us) / 1e6);
}

static void
leg_fail(struct leg *leg, enum leg_failure_kind kind, const char *detail)
{
	struct http_fetch *fetch = leg->fetch;

	leg->failure.kind = kind;
	leg->failure.status = leg->status;
	leg->failure.body = buf_bytes(&leg->reply);
	snprintf(leg->failure.detail, sizeof(leg->failure.detail), "%s", detail);
	leg_end(leg, leg_failure_name(kind));
	/* Whatever else comes is not wanted: no token is paid for that nobody reads. */
	leg->fetch = NULL;
	if (fetch)
		http_fetch_cancel(fetch);
	leg->events.on_failed(leg->arg, leg);
}

static void
leg_done(struct leg *leg)
{
	leg_end(leg, "ok");
	leg->events.on_done(leg->arg, leg);
}

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
	for (size_t i = 0; i < PASSED_COUNT; i++) {
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

static const struct http_fetch_events fetch_events = {on_fetch_head, on_fetch_data, on_fetch_end};

struct leg *
leg_start(struct service *service, const struct leg_spec *spec, const struct leg_events *events,
          void *arg)
{
	const struct config_provider *provider = spec->model->provider;
	struct leg *leg = mem_new(sizeof(*leg));
	struct http_fetch_spec fetch = {
	        .target = plan_chat_target(spec->plan, spec->model),
	        .method = "POST",
	        .connect_ms = provider->connect_timeout_ms,
	        .first_byte_ms = provider->first_byte_timeout_ms,
	        .idle_ms = provider->idle_timeout_ms,
	        .total_ms = provider->timeout_ms,
	};

	leg->service = service;
	leg->plan = plan_ref((struct plan *)(uintptr_t)spec->plan);
	leg->model = spec->model;
	leg->role = spec->role;
	leg->events = *events;
	leg->arg = arg;
	leg->stream = spec->stream;
	leg->direct = spec->direct;
	leg->body = spec->body;
	sse_reader_init(&leg->reader, LEG_EVENT_MAX_BYTES);
	chat_frame_init(&leg->frame);
	buf_init(&leg->reply, LEG_REPLY_MAX_BYTES);
	leg->started_us = worker_now_us(service->worker);
	fetch.body = buf_bytes(&leg->body);
	leg->fetch = http_fetch_start(service->client, &fetch, &fetch_events, leg);
	if (!leg->fetch) {
		leg_destroy(leg);
		return NULL;
	}
	metric_add(service->shard, METRIC_LEGS_IN_FLIGHT, leg->model->label, NULL, 1);
	return leg;
}

void
leg_cancel(struct leg *leg, const char *reason)
{
	if (!leg->ended)
		leg_end(leg, reason);
	leg_bury(leg);
}

static void
on_linger_timer(void *arg)
{
	leg_bury(arg);
}

void
leg_release(struct leg *leg)
{
	leg->released = true;
	if (!leg->fetch) {
		leg_bury(leg);
		return;
	}
	leg->linger = timer_new(leg->service->worker, on_linger_timer, leg);
	LIST_INSERT_HEAD(&leg->service->lingering, leg, lingerers);
	timer_arm_ms(leg->linger, LEG_LINGER_MS);
}

void
leg_end_lingering(struct service *service)
{
	struct leg *leg;

	while ((leg = LIST_FIRST(&service->lingering)))
		leg_bury(leg);
}

void
leg_pause(struct leg *leg)
{
	if (leg->fetch)
		http_fetch_pause(leg->fetch);
}

void
leg_resume(struct leg *leg)
{
	if (leg->fetch)
		http_fetch_resume(leg->fetch);
}

enum cascade_leg
leg_role(const struct leg *leg)
{
	return leg->role;
}

const struct config_model *
leg_model(const struct leg *leg)
{
	return leg->model;
}

const struct leg_failure *
leg_failure(const struct leg *leg)
{
	return &leg->failure;
}

const char *
leg_failure_name(enum leg_failure_kind kind)
{
	switch (kind) {
	case LEG_FAILURE_NONE: return "ok";
	case LEG_UNREACHABLE: return "unreachable";
	case LEG_TIMEOUT: return "timeout";
	case LEG_STATUS: return "status";
	case LEG_MALFORMED: return "malformed";
	case LEG_ERROR: return "error";
	case LEG_CUT: return "cut";
	case LEG_EMPTY: return "empty";
	case LEG_FAULT: break;
	}
	return "fault";
}

const struct http_header *
leg_passed_headers(const struct leg *leg, size_t *count)
{
	*count = leg->passed_count;
	return leg->passed;
}

struct bytes
leg_reply(const struct leg *leg)
{
	return buf_bytes(&leg->reply);
}

struct chat_usage
leg_usage(const struct leg *leg)
{
	struct chat_usage usage = leg->usage;

	if (!usage.known)
		usage.completion_tokens = leg->output_frames;
	return usage;
}

uint64_t
leg_started_us(const struct leg *leg)
{
	return leg->started_us;
}

uint64_t
leg_ended_us(const struct leg *leg)
{
	return leg->ended_us;
}
