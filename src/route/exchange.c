#include "route/exchange.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"
#include "net/timer.h"
#include "route/exchange_private.h"
#include "route/failure.h"
#include "route/resolve.h"
#include "wire/sse_write.h"

enum {
	EXCHANGE_MAGIC = 0x45584348,
	EXCHANGE_PENDING_HIGH_BYTES = 256 * 1024, /* waiting for the client: upstream is paused */
	EXCHANGE_OPENING_MAX_BYTES =
	        1024 * 1024, /* of a heavyweight's stream before its first output */
};

static struct exchange *
exchange_cast(void *arg)
{
	struct exchange *x = arg;

	if (x->magic != EXCHANGE_MAGIC)
		die("exchange: stale pointer");
	return x;
}

static uint64_t
exchange_now_us(const struct exchange *x)
{
	return worker_now_us(x->service->worker);
}

/* ---------------------------------------------------------------- the end */

static void
exchange_destroy(void *p)
{
	struct exchange *x = p;

	if (x->cascading) {
		cascade_fini(&x->cascade);
		draft_fini(&x->draft);
	}
	timer_free(x->keepalive);
	buf_fini(&x->opening);
	plan_unref(x->plan);
	x->magic = 0;
	free(x);
}

/* Lets go of a leg: one that has ended is done with, any other is cut off. */
static void
exchange_drop_leg(struct exchange *x, enum cascade_leg role, const char *reason)
{
	struct leg *leg = x->legs[role];
	struct chat_usage usage;

	if (!leg)
		return;
	x->legs[role] = NULL;
	usage = leg_usage(leg);
	if (leg_ended_us(leg) == 0) {
		x->leg_us[role] = (int64_t)(exchange_now_us(x) - leg_started_us(leg));
		leg_cancel(leg, reason);
	} else {
		x->leg_us[role] = (int64_t)(leg_ended_us(leg) - leg_started_us(leg));
		leg_release(leg);
	}
	/* What a rejected draft cost. */
	if (role == CASCADE_DRAFT && x->answered != leg_model(leg))
		metric_add(x->service->shard, METRIC_TOKENS, leg_model(leg)->label, "wasted",
		           (double)usage.completion_tokens);
}

/* The only end of an exchange. The reply is sent by the caller afterwards, through the call that is
 * returned: NULL when the client is gone. `error` is the type of an error answered, or NULL. */
static struct http_call *
exchange_finish(struct exchange *x, const char *end, int status, const char *error)
{
	struct http_call *call = x->call;
	uint64_t now_us = exchange_now_us(x);

	if (x->idle_since_us)
		x->own_us += now_us - x->idle_since_us;
	for (enum cascade_leg role = 0; role < CASCADE_LEGS; role++)
		exchange_drop_leg(x, role, "cancelled");
	if (x->keepalive)
		timer_disarm(x->keepalive);
	exchange_report(x, end, status, error, now_us);
	x->call = NULL;
	worker_bury(x->service->worker, x, exchange_destroy);
	return call;
}

static void
exchange_fail(struct exchange *x, const struct api_error *error)
{
	struct deliver_facts facts;
	struct http_call *call;

	x->first_byte_us = exchange_now_us(x);
	facts = exchange_facts(x);
	call = exchange_finish(x, "error", error->status, error->type);
	deliver_error(call, &facts, error);
}

/* ---------------------------------------------------------------- actions */

static void exchange_step(struct exchange *x, struct cascade_event event);
static const struct leg_events leg_events;

static bool
exchange_start_leg(struct exchange *x, enum cascade_leg role, size_t index)
{
	const struct config_model *model = x->pinned               ? x->pinned
	                                   : role == CASCADE_DRAFT ? x->route->drafters[index]
	                                                           : x->route->heavyweights[index];
	struct leg_spec spec = {
	        .role = role,
	        .model = model,
	        .plan = x->plan,
	        .stream = role == CASCADE_DRAFT || x->request.stream,
	        .direct = x->pinned != NULL,
	};
	struct chat_rewrite rewrite = {
	        .model = model->upstream_name,
	        .draft = role == CASCADE_DRAFT,
	        .top_logprobs = x->route ? x->route->entropy.top_logprobs : 0,
	        .stream_usage = model->provider->stream_usage,
	};

	x->attempts++;
	x->asked[role] = model;
	if (role == CASCADE_HEAVY)
		x->answered = model;
	buf_init(&spec.body, 0);
	chat_request_write(&x->request, &rewrite, &spec.body);
	if (spec.body.failed) {
		buf_fini(&spec.body);
		return false;
	}
	if (x->idle_since_us)
		x->own_us += exchange_now_us(x) - x->idle_since_us;
	x->idle_since_us = 0;
	x->legs[role] = leg_start(x->service, &spec, &leg_events, x);
	return x->legs[role] != NULL;
}

static void
exchange_begin_stream(struct exchange *x)
{
	struct deliver_facts facts = exchange_facts(x);

	x->first_byte_us = exchange_now_us(x);
	x->streaming = true;
	deliver_stream_begin(x->call, &facts);
}

static void
exchange_send(struct exchange *x, struct bytes piece)
{
	x->sent_bytes += piece.n;
	if (x->keepalive)
		x->sent_us = exchange_now_us(x);
	http_reply_write(x->call, piece);
	if (!x->paused && x->legs[CASCADE_HEAVY] &&
	    http_reply_pending(x->call) > EXCHANGE_PENDING_HIGH_BYTES) {
		x->paused = true;
		leg_pause(x->legs[CASCADE_HEAVY]);
	}
}

static void
exchange_end_stream(struct exchange *x)
{
	struct deliver_facts facts = exchange_facts(x);

	deliver_stream_end(exchange_finish(x, "done", 200, NULL), &facts);
}

static void
exchange_end_json(struct exchange *x, struct bytes body)
{
	struct deliver_facts facts = exchange_facts(x);
	struct http_call *call = x->call;

	x->first_byte_us = exchange_now_us(x);
	x->sent_bytes = body.n;
	/* The body may belong to a leg, which rests until this callback has returned. */
	exchange_finish(x, "done", 200, NULL);
	deliver_json(call, &facts, 200, body);
}

static void
exchange_answer_draft(struct exchange *x)
{
	struct buf body;

	x->answered = leg_model(x->legs[CASCADE_DRAFT]);
	x->usage = leg_usage(x->legs[CASCADE_DRAFT]);
	if (x->request.stream) {
		exchange_begin_stream(x);
		exchange_send(x, buf_bytes(&x->draft.stream));
		exchange_end_stream(x);
		return;
	}
	buf_init(&body, 0);
	chat_answer_write(x->draft.answer, &body);
	if (body.failed) {
		struct api_error error;

		api_error_set(&error, 500, NULL, NULL, "The answer is too large to be assembled.");
		exchange_fail(x, &error);
	} else {
		exchange_end_json(x, buf_bytes(&body));
	}
	buf_fini(&body);
}

/* A comment while upstream is silent, so that nothing between here and the client takes the stream for
 * dead. Whole events are sent at a time, so it always stands between two. */
static void
on_keepalive_timer(void *arg)
{
	struct exchange *x = exchange_cast(arg);
	uint64_t interval_us = (uint64_t)x->plan->config->server.keepalive_interval_ms * 1000;
	uint64_t silent_us = exchange_now_us(x) - x->sent_us;

	/* What waits for a slow client is no silence of ours. */
	if (silent_us >= interval_us && http_reply_pending(x->call) == 0)
		exchange_send(x, bytes_of(": keepalive\n\n"));
	silent_us = silent_us < interval_us ? silent_us : 0;
	timer_arm_ms(x->keepalive, (interval_us - silent_us + 999) / 1000);
}

static void
exchange_relay(struct exchange *x)
{
	uint32_t interval_ms = x->plan->config->server.keepalive_interval_ms;

	if (interval_ms > 0) {
		x->keepalive = timer_new(x->service->worker, on_keepalive_timer, x);
		timer_arm_ms(x->keepalive, interval_ms);
	}
	exchange_begin_stream(x);
	exchange_send(x, buf_bytes(&x->opening));
	buf_fini(&x->opening);
}

static void
exchange_answer_heavy(struct exchange *x)
{
	x->usage = leg_usage(x->legs[CASCADE_HEAVY]);
	if (!x->request.stream) {
		exchange_end_json(x, leg_reply(x->legs[CASCADE_HEAVY]));
		return;
	}
	if (!x->streaming)
		exchange_relay(x);
	exchange_end_stream(x);
}

static void
exchange_fail_heavy(struct exchange *x)
{
	static const struct leg_failure none = {.kind = LEG_FAULT};
	struct leg *leg = x->legs[CASCADE_HEAVY];
	const struct leg_failure *failure = leg ? leg_failure(leg) : &none;
	struct api_error error;
	struct buf body;

	buf_init(&body, 0);
	failure_to_error(failure, x->asked[CASCADE_HEAVY], &error, &body);
	if (body.n > 0) {
		struct deliver_facts facts = exchange_facts(x);
		struct http_call *call = x->call;

		x->first_byte_us = exchange_now_us(x);
		x->sent_bytes = body.n;
		exchange_finish(x, "error", error.status, error.type);
		deliver_json(call, &facts, error.status, buf_bytes(&body));
	} else {
		exchange_fail(x, &error);
	}
	buf_fini(&body);
}

static void
exchange_truncate(struct exchange *x)
{
	struct leg *leg = x->legs[CASCADE_HEAVY];
	struct api_error error;

	api_error_set(
	        &error, 502, NULL, "upstream_truncated",
	        "The model server's answer broke off: %s. What was delivered is not complete.",
	        leg ? leg_failure(leg)->detail : "out of memory");
	deliver_stream_cut(exchange_finish(x, "upstream_truncated", 200, error.type), &error);
}

/* Carries one action out. True when `event` is to be fed next, for what failed at once. */
static bool
exchange_act(struct exchange *x, const struct cascade_action *action, struct cascade_event *event)
{
	switch (action->kind) {
	case CASCADE_START_LEG:
		exchange_drop_leg(x, action->leg, "cancelled");
		if (action->leg == CASCADE_DRAFT && action->index > 0) {
			draft_fini(&x->draft);
			if (!draft_init(&x->draft, &x->request, &x->route->entropy))
				break;
		}
		if (exchange_start_leg(x, action->leg, action->index))
			return false;
		break;
	case CASCADE_CANCEL_LEG: exchange_drop_leg(x, action->leg, "cancelled"); return false;
	case CASCADE_ANSWER_DRAFT: exchange_answer_draft(x); return false;
	case CASCADE_RELAY: exchange_relay(x); return false;
	case CASCADE_ANSWER_HEAVY: exchange_answer_heavy(x); return false;
	case CASCADE_FAIL: exchange_fail_heavy(x); return false;
	case CASCADE_TRUNCATE: exchange_truncate(x); return false;
	}
	*event = (struct cascade_event){.kind = CASCADE_EVENT_LEG_FAILED, .leg = action->leg};
	return true;
}

/* Feeds the cascade and does what it says. A final action finishes the exchange, which then rests
 * until the callback that is running has returned. */
static void
exchange_step(struct exchange *x, struct cascade_event event)
{
	struct cascade_actions actions;
	bool more = true;

	while (more) {
		more = false;
		cascade_step(&x->cascade, &event, &actions);
		for (size_t i = 0; i < actions.count; i++)
			more |= exchange_act(x, &actions.list[i], &event);
	}
}

/* ---------------------------------------------------------------- what legs say */

static void
exchange_score_frame(struct exchange *x, struct leg *leg, const struct chat_frame *frame)
{
	struct cascade_event event = {.kind = CASCADE_EVENT_NO_LOGPROBS, .leg = CASCADE_DRAFT};

	if (draft_frame_scorable(frame) == DRAFT_NO_LOGPROBS)
		exchange_step(x, event);
	event.kind = CASCADE_EVENT_TOKEN;
	for (size_t i = 0; i < frame->token_count && x->legs[CASCADE_DRAFT] == leg; i++) {
		if (!draft_token_counts(&frame->tokens[i]))
			continue;
		event.entropy_bits = draft_token_entropy(&x->route->entropy, &frame->tokens[i]);
		if (!isnan(event.entropy_bits)) {
			x->draft.token_count++;
			metric_observe(x->service->shard, METRIC_ENTROPY, NULL, NULL,
			               event.entropy_bits);
		}
		exchange_step(x, event);
	}
}

static void
exchange_draft_frame(struct exchange *x, struct leg *leg, const struct chat_frame *frame)
{
	exchange_score_frame(x, leg, frame);
	if (x->legs[CASCADE_DRAFT] != leg || draft_add(&x->draft, frame))
		return;
	snprintf(x->detail, sizeof(x->detail), "the draft's frames do not fit together");
	exchange_drop_leg(x, CASCADE_DRAFT, "malformed");
	exchange_step(
	        x, (struct cascade_event){.kind = CASCADE_EVENT_LEG_FAILED, .leg = CASCADE_DRAFT});
}

static bool
frame_says_something(const struct chat_frame *frame)
{
	for (size_t i = 0; i < frame->choice_count; i++) {
		if (frame->choices[i].has_output ||
		    frame->choices[i].finish_reason.kind == JSON_KIND_STRING)
			return true;
	}
	return false;
}

static void
exchange_heavy_frame(struct exchange *x, const struct chat_frame *frame)
{
	struct buf event;

	/* Frames that say nothing yet wait, so that a failure right after them is still answered by
	 * a status. */
	if (!x->streaming) {
		sse_write_data(&x->opening, frame->text);
		if (frame_says_something(frame) || x->opening.n > EXCHANGE_OPENING_MAX_BYTES)
			exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_LEG_OUTPUT,
			                                        .leg = CASCADE_HEAVY});
		return;
	}
	buf_init(&event, 0);
	sse_write_data(&event, frame->text);
	exchange_send(x, buf_bytes(&event));
	buf_fini(&event);
}

static void
on_leg_frame(void *arg, struct leg *leg, const struct chat_frame *frame)
{
	struct exchange *x = exchange_cast(arg);

	if (leg_role(leg) == CASCADE_DRAFT)
		exchange_draft_frame(x, leg, frame);
	else
		exchange_heavy_frame(x, frame);
}

static void
exchange_leg_ended(struct exchange *x, struct leg *leg, enum cascade_event_kind kind)
{
	x->idle_since_us = leg_ended_us(leg);
	exchange_step(x, (struct cascade_event){.kind = kind, .leg = leg_role(leg)});
}

static void
on_leg_done(void *arg, struct leg *leg)
{
	struct exchange *x = exchange_cast(arg);

	if (leg_role(leg) == CASCADE_DRAFT && !x->draft.has_output) {
		snprintf(x->detail, sizeof(x->detail), "the drafter's answer is empty");
		exchange_leg_ended(x, leg, CASCADE_EVENT_LEG_FAILED);
		return;
	}
	exchange_leg_ended(x, leg, CASCADE_EVENT_LEG_DONE);
}

static void
on_leg_failed(void *arg, struct leg *leg)
{
	struct exchange *x = exchange_cast(arg);

	snprintf(x->detail, sizeof(x->detail), "%s", leg_failure(leg)->detail);
	exchange_leg_ended(x, leg, CASCADE_EVENT_LEG_FAILED);
}

static const struct leg_events leg_events = {on_leg_frame, on_leg_done, on_leg_failed};

/* ---------------------------------------------------------------- what the client does */

static void
on_client_gone(void *arg)
{
	struct exchange *x = exchange_cast(arg);

	exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_CLIENT_GONE});
	metric_add(x->service->shard, METRIC_CLIENT_GONE, NULL, NULL, 1);
	/* 499, as nginx has it: nobody was there to read a status. */
	exchange_finish(x, "client_gone", x->streaming ? 200 : 499, NULL);
}

static void
on_client_drained(void *arg)
{
	struct exchange *x = exchange_cast(arg);

	if (x->paused && x->legs[CASCADE_HEAVY]) {
		x->paused = false;
		leg_resume(x->legs[CASCADE_HEAVY]);
	}
}

/* ---------------------------------------------------------------- the beginning */

static bool
exchange_read(struct exchange *x, struct api_error *error)
{
	const char *encoding = http_call_header(x->call, "Content-Encoding");

	if (encoding && strcasecmp(encoding, "identity") != 0) {
		api_error_set(error, 415, NULL, NULL,
		              "The body's Content-Encoding is not supported; send it as it is.");
		return false;
	}
	if (!chat_request_read(&x->request, http_call_body(x->call), error))
		return false;
	if (!resolve_model(x->plan->config, &x->request, &x->route, &x->pinned, error))
		return false;
	if (x->route && !draft_init(&x->draft, &x->request, &x->route->entropy)) {
		api_error_set(error, 500, NULL, NULL, "Out of memory.");
		return false;
	}
	return true;
}

static void
exchange_run(struct exchange *x)
{
	/* Pinned: no drafts, so any rule will do. */
	struct cascade_options options = {
	        .begin = CASCADE_BEGIN_PINNED, .rule = &rule_window, .rule_options = {0, 1, 0}};

	if (x->route) {
		options.begin = x->request.n > 1 || x->request.wants_audio
		                        ? CASCADE_BEGIN_UNSCORABLE
		                        : CASCADE_BEGIN_CASCADE;
		options.drafter_count = x->route->drafter_count;
		options.rule = x->route->entropy.rule;
		options.rule_options = x->route->entropy.options;
		options.accept_unscorable = x->route->entropy.on_unscorable == ON_UNSCORABLE_ACCEPT;
	}
	cascade_init(&x->cascade, &options);
	x->cascading = true;
	exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_BEGIN});
}

void
exchange_begin(struct service *service, struct http_call *call)
{
	struct exchange *x = mem_new(sizeof(*x));
	struct api_error error = {0};

	x->magic = EXCHANGE_MAGIC;
	x->service = service;
	x->plan = plan_ref(service->plan);
	x->call = call;
	snprintf(x->peer, sizeof(x->peer), "%s", http_call_peer(call));
	snprintf(x->path, sizeof(x->path), "%s", http_call_path(call));
	x->started_us = http_call_started_us(call);
	x->idle_since_us = exchange_now_us(x);
	x->leg_us[CASCADE_DRAFT] = x->leg_us[CASCADE_HEAVY] = -1;
	buf_init(&x->opening, 0);
	request_id_choose(http_call_header(call, "X-Request-ID"), x->id);
	metric_add(service->shard, METRIC_IN_FLIGHT, NULL, NULL, 1);
	http_call_watch(call, on_client_gone, on_client_drained, x);
	if (exchange_read(x, &error))
		exchange_run(x);
	else
		exchange_fail(x, &error);
}
