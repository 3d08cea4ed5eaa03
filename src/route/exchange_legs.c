/* The legs of an exchange: which model is asked when, and what comes of what it says. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "route/exchange_private.h"

enum {
	LEGS_WAITING_HIGH_BYTES =
	        256 * 1024, /* of a heavyweight that nobody waits for yet: it is paused */
	LEGS_OPENING_MAX_BYTES =
	        1024 * 1024, /* of a heavyweight's stream before its first output */
};

static const struct leg_events leg_events;

static uint64_t
now_ms(const struct exchange *x)
{
	return exchange_now_us(x) / 1000;
}

/* ---------------------------------------------------------------- attempts */

static void
init_heavy_attempts(struct exchange *x, bool patient)
{
	const struct choice *choice = &x->choices[CASCADE_HEAVY];

	attempts_init(&x->attempts[CASCADE_HEAVY], choice->list, choice->count, patient,
	              x->client.deadline_ms);
}

void
exchange_init_attempts(struct exchange *x)
{
	const struct choice *drafters = &x->choices[CASCADE_DRAFT];

	init_heavy_attempts(x, true);
	if (drafters->count > 0)
		attempts_init(&x->attempts[CASCADE_DRAFT], drafters->list, drafters->count, false,
		              0);
}

/* Time that nobody else is waited for is the gateway's own. */
static void
note_busy(struct exchange *x)
{
	if (x->idle_since_us)
		x->own_us += exchange_now_us(x) - x->idle_since_us;
	x->idle_since_us = 0;
}

static void
note_ended(struct exchange *x, const struct leg *leg)
{
	enum cascade_leg other = leg_role(leg) == CASCADE_DRAFT ? CASCADE_HEAVY : CASCADE_DRAFT;

	/* The pause before the other's next attempt is no time of ours either. */
	if (!x->cascade.running[other])
		x->idle_since_us = leg_ended_us(leg);
}

/* The body for a model. Once the client has a part of a draft, a heavyweight is asked to go on from there. */
static bool
write_body(struct exchange *x, enum cascade_leg role, const struct config_model *model,
           struct rope *body)
{
	struct chat_rewrite rewrite = {
	        .model = model->upstream_name,
	        .reasoning_effort = x->effort,
	        .draft = role == CASCADE_DRAFT,
	        .top_logprobs = x->route ? x->route->entropy.top_logprobs : 0,
	        .stream_usage = model->provider->stream_usage,
	        .prefill = model->provider->prefill,
	};

	if (role == CASCADE_HEAVY) {
		struct bytes delivered = {"", 0};

		exchange_flush(x);
		if (x->cascade.delivered) {
			delivered = rewrite.partial = draft_delivered(&x->draft);
			rewrite.partial_tokens = x->draft.tokens_released;
		}
		relay_begin(&x->relay, delivered);
		if (!x->speculating && !relay_join(&x->relay, rewrite.prefill, &x->draft))
			return false;
	}
	rope_init(body, x->client.body ? ROPE_BORROW_BYTES : 0);
	chat_request_write(x->client.request, &rewrite, body);
	if (body->own.failed)
		rope_fini(body);
	return !body->own.failed;
}

static bool
start_attempt(struct exchange *x, enum cascade_leg role, struct attempt *attempt)
{
	const struct config_model *model = attempt->candidate->model;
	struct leg_spec spec = {
	        .role = role,
	        .model = model,
	        .plan = x->plan,
	        .stream = role == CASCADE_DRAFT || x->client.wants_stream,
	        .direct = x->pinned != NULL,
	        .blob = x->client.body,
	        .permit = attempt->permit,
	};
	enum breaker_state old, state;

	x->attempts_made++;
	buf_reset(&x->recall.usage[role]);
	x->asked[role] = model;
	x->panic |= attempt->panic;
	x->cost_unknown |= !model->price.known;
	if (role == CASCADE_HEAVY && !x->speculating && !x->cascade.delivered)
		x->answered = model;
	if (!write_body(x, role, model, &spec.body)) {
		permit_return(&spec.permit, HEALTH_NEUTRAL, now_ms(x), &old, &state);
		return false;
	}
	note_busy(x);
	x->legs[role] = leg_start(x->service, &spec, &leg_events, x);
	return x->legs[role] != NULL;
}

static void
on_retry_timer(void *arg)
{
	struct exchange *x = exchange_cast(arg);
	struct cascade_event event;

	if (exchange_start_leg(x, CASCADE_HEAVY, &event))
		exchange_step(x, event);
}

static void
note_refusal(struct exchange *x, enum cascade_leg role, enum health_answer refusal)
{
	free(x->detail);
	x->detail =
	        mem_format("no %s was asked: %s", role == CASCADE_DRAFT ? "drafter" : "heavyweight",
	                   refusal == HEALTH_BUSY ? "the provider is at max_concurrent"
	                                          : "the breaker is open");
}

bool
exchange_start_leg(struct exchange *x, enum cascade_leg role, struct cascade_event *event)
{
	struct attempt attempt = attempts_next(&x->attempts[role], now_ms(x));

	*event = (struct cascade_event){.kind = CASCADE_EVENT_LEG_FAILED, .leg = role};
	if (role == CASCADE_HEAVY)
		x->refusal = attempt.refusal;
	switch (attempt.kind) {
	case ATTEMPT_WAIT:
		note_busy(x);
		if (!x->retry)
			x->retry = timer_new(x->service->worker, on_retry_timer, x);
		timer_arm_ms(x->retry, attempt.wait_ms);
		return false;
	case ATTEMPT_NONE:
		/* The timer may be a moment behind. */
		if (role == CASCADE_HEAVY)
			x->expired = x->client.deadline_ms && now_ms(x) >= x->client.deadline_ms;
		if (attempt.refusal != HEALTH_ADMITTED)
			note_refusal(x, role, attempt.refusal);
		return true;
	case ATTEMPT_START: break;
	}
	exchange_drop_leg(x, role, "cancelled");
	/* A further drafter begins with an empty sheet. */
	if (role == CASCADE_DRAFT && x->asked[CASCADE_DRAFT]) {
		draft_fini(&x->draft);
		if (!draft_init(&x->draft, x->client.request, x->cascade.options.live))
			x->draft.stream.failed = true;
	}
	return !start_attempt(x, role, &attempt);
}

/* ---------------------------------------------------------------- speculation */

/* From now on the heavyweight is asked like any other. */
static void
end_speculation(struct exchange *x)
{
	x->speculating = x->held = false;
	init_heavy_attempts(x, true);
}

bool
exchange_speculate(struct exchange *x, struct cascade_event *event)
{
	x->speculating = true;
	/* Nobody waits for it: it is worth neither a retry nor a panic. */
	init_heavy_attempts(x, false);
	if (!exchange_start_leg(x, CASCADE_HEAVY, event)) {
		x->service->speculation_credit -= 1;
		metric_add(x->service->shard, METRIC_SPECULATIVE_TRIGGERS, NULL, NULL, 1);
		return false;
	}
	end_speculation(x);
	event->again = true;
	return true;
}

void
exchange_cancel_leg(struct exchange *x, enum cascade_leg role)
{
	exchange_drop_leg(x, role, "cancelled");
	if (role != CASCADE_HEAVY || !x->speculating)
		return;
	metric_add(x->service->shard, METRIC_SPECULATIVE_CANCELLATIONS, NULL, NULL, 1);
	end_speculation(x);
}

/* The head start was for nothing: the heavyweight is asked as if it had never been. */
static bool
start_afresh(struct exchange *x, struct cascade_event *event)
{
	exchange_drop_leg(x, CASCADE_HEAVY, "unfit");
	end_speculation(x);
	return exchange_start_leg(x, CASCADE_HEAVY, event);
}

bool
exchange_join(struct exchange *x, struct cascade_event *event)
{
	struct leg *leg = x->legs[CASCADE_HEAVY];
	uint64_t until_us;
	bool held = x->held;

	exchange_flush(x);
	x->speculating = x->held = false;
	/* Now it is waited for, and worth a retry. */
	x->attempts[CASCADE_HEAVY].patient = true;
	if (!leg || !relay_join(&x->relay, leg_model(leg)->provider->prefill, &x->draft))
		return start_afresh(x, event);
	x->head_start = true;
	if (!x->cascade.delivered)
		x->answered = leg_model(leg);
	until_us = leg_ended_us(leg) ? leg_ended_us(leg) : exchange_now_us(x);
	metric_add(x->service->shard, METRIC_SPECULATIVE_SAVED, NULL, NULL,
	           (double)(until_us - leg_started_us(leg)) / 1e6);
	if (held)
		leg_resume(leg);
	*event = (struct cascade_event){.kind = CASCADE_EVENT_LEG_DONE, .leg = CASCADE_HEAVY};
	if (leg_ended_us(leg) == 0)
		event->kind = CASCADE_EVENT_LEG_OUTPUT;
	return leg_ended_us(leg) || x->relay.said;
}

/* ---------------------------------------------------------------- what the drafter says */

static bool
draft_is_judged(const struct exchange *x)
{
	return x->cascade.state == CASCADE_DRAFTING || x->cascade.state == CASCADE_FLOWING;
}

static void
score_frame(struct exchange *x, struct leg *leg, const struct chat_frame *frame)
{
	struct cascade_event event = {.kind = CASCADE_EVENT_NO_LOGPROBS, .leg = CASCADE_DRAFT};

	if (draft_frame_scorable(frame) == DRAFT_NO_LOGPROBS)
		exchange_step(x, event);
	event.kind = CASCADE_EVENT_TOKEN;
	for (size_t i = 0; i < frame->token_count && x->legs[CASCADE_DRAFT] == leg; i++) {
		if (!draft_token_counts(&frame->tokens[i]) || !draft_is_judged(x))
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
on_draft_frame(struct exchange *x, struct leg *leg, const struct chat_frame *frame)
{
	struct cascade_event event = {.kind = CASCADE_EVENT_VISIBLE, .leg = CASCADE_DRAFT};

	if (draft_is_judged(x))
		score_frame(x, leg, frame);
	if (x->legs[CASCADE_DRAFT] != leg)
		return;
	if (!draft_add(&x->draft, frame)) {
		leg_fail(leg, LEG_MALFORMED,
		         "the draft's frames do not fit together, or are too many");
		return;
	}
	if (x->cascade.state == CASCADE_FLOWING)
		exchange_ripen(x);
	else if (x->cascade.options.live && x->cascade.state == CASCADE_DRAFTING &&
	         draft_has_visible(&x->draft, cascade_visible_tokens(&x->cascade)))
		exchange_step(x, event);
}

/* ---------------------------------------------------------------- what the heavyweight says */

static void
on_heavy_frame(struct exchange *x, struct leg *leg, const struct chat_frame *frame)
{
	struct cascade_event event = {.kind = CASCADE_EVENT_LEG_OUTPUT, .leg = CASCADE_HEAVY};
	size_t waiting;

	relay_add(&x->relay, frame);
	waiting = relay_waiting(&x->relay).n;
	if (x->relay.waiting.failed) {
		leg_fail(leg, LEG_FAULT, "out of memory");
	} else if (x->cascade.state == CASCADE_RELAYING) {
		exchange_ripen(x);
	} else if (x->speculating) {
		if (waiting > LEGS_WAITING_HIGH_BYTES && !x->held) {
			x->held = true;
			leg_pause(leg);
		}
	} else if (x->relay.said || waiting > LEGS_OPENING_MAX_BYTES) {
		/* Frames that say nothing yet have waited, so that a failure right after them is
		 * still answered by a status. */
		exchange_step(x, event);
	}
}

static void
on_leg_frame(void *arg, struct leg *leg, const struct chat_frame *frame)
{
	struct exchange *x = exchange_cast(arg);

	exchange_note_usage(x, leg_role(leg), frame);
	if (leg_role(leg) == CASCADE_DRAFT)
		on_draft_frame(x, leg, frame);
	else
		on_heavy_frame(x, leg, frame);
}

static void
on_leg_done(void *arg, struct leg *leg)
{
	struct exchange *x = exchange_cast(arg);

	note_ended(x, leg);
	exchange_step(x,
	              (struct cascade_event){.kind = CASCADE_EVENT_LEG_DONE, .leg = leg_role(leg)});
}

static void
on_leg_failed(void *arg, struct leg *leg)
{
	struct exchange *x = exchange_cast(arg);
	const struct leg_failure *failure = leg_failure(leg);
	enum attempt_retry retry = failure->retry;
	enum cascade_leg role = leg_role(leg);
	struct cascade_event event = {.kind = CASCADE_EVENT_LEG_FAILED, .leg = role};

	free(x->detail);
	x->detail = mem_copy(bytes_of(failure->detail));
	note_ended(x, leg);
	event.refused = failure->kind == LEG_STATUS && retry == ATTEMPT_RETRY_NEVER;
	/* What one drafter refuses, another may take. */
	if (role == CASCADE_DRAFT && retry == ATTEMPT_RETRY_NEVER)
		retry = ATTEMPT_RETRY_ELSEWHERE;
	event.again = attempts_failed(&x->attempts[role], retry, failure->retry_after_ms,
	                              random_part(), now_ms(x));
	if (role == CASCADE_HEAVY && x->speculating) {
		end_speculation(x);
		x->head_start_failed = true;
		event.again = retry != ATTEMPT_RETRY_NEVER;
	}
	exchange_step(x, event);
}

static const struct leg_events leg_events = {on_leg_frame, on_leg_done, on_leg_failed};
