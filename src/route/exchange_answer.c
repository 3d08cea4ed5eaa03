/* What an exchange sends to its client. */
#include <stdio.h>

#include "base/clock.h"
#include "base/random.h"
#include "route/exchange_private.h"
#include "route/failure.h"

#define ANSWER_ID_PREFIX "chatcmpl-"

enum {
	ANSWER_PENDING_HIGH_BYTES = 256 * 1024, /* waiting for the client: upstream is paused */
	ANSWER_ID_DIGITS = 24,                  /* of an answer from the cache */
	ANSWER_ID_SIZE = sizeof(ANSWER_ID_PREFIX) + ANSWER_ID_DIGITS,
};

/* ---------------------------------------------------------------- streams */

/* A comment while upstream is silent, so that nothing between here and the client takes the stream for
 * dead. Whole events are sent at a time, so it always stands between two. */
static void
on_keepalive_timer(void *arg)
{
	struct exchange *x = exchange_cast(arg);
	uint64_t interval_us = (uint64_t)x->plan->config->server.keepalive_interval_ms * 1000;
	uint64_t silent_us = exchange_now_us(x) - x->client.sent_us;

	/* What waits for a slow client is no silence of ours. */
	if (silent_us >= interval_us && http_reply_pending(x->client.call) == 0)
		exchange_write_raw(x, bytes_of(": keepalive\n\n"));
	silent_us = silent_us < interval_us ? silent_us : 0;
	timer_arm_ms(x->keepalive, (interval_us - silent_us + 999) / 1000);
}

static void
begin_stream(struct exchange *x)
{
	struct deliver_facts facts = exchange_facts(x);

	x->client.first_byte_us = exchange_now_us(x);
	x->client.streaming = true;
	timer_free(x->deadline);
	x->deadline = NULL;
	/* What comes of it may take as long as it does, a hand-over included. */
	x->client.deadline_ms = x->attempts[CASCADE_HEAVY].deadline_ms = 0;
	deliver_stream_begin(x->client.call, &facts);
}

static void
keep_alive(struct exchange *x)
{
	uint32_t interval_ms = x->plan->config->server.keepalive_interval_ms;

	if (interval_ms == 0 || x->keepalive)
		return;
	x->keepalive = timer_new(x->service->worker, on_keepalive_timer, x);
	timer_arm_ms(x->keepalive, interval_ms);
}

void
exchange_open_stream(struct exchange *x)
{
	if (!x->client.streaming)
		begin_stream(x);
	keep_alive(x);
}

/* The leg whose answer flows to the client. */
static struct leg *
flowing_leg(const struct exchange *x)
{
	return x->legs[x->cascade.state == CASCADE_FLOWING ? CASCADE_DRAFT : CASCADE_HEAVY];
}

static bool
client_lags(const struct exchange *x)
{
	return x->client.streaming &&
	       http_reply_pending(x->client.call) > ANSWER_PENDING_HIGH_BYTES;
}

/* Does anybody lag who is worth waiting for? As long as all of the answer may be kept, what waits for a client
 * is no more than that, so those who fly together do not wait for each other. */
static bool
must_wait(const struct exchange *x)
{
	struct exchange *follower;

	if (!exchange_leads(x) || TAILQ_EMPTY(&x->recall.flight->followers))
		return client_lags(x);
	if (x->recall.said_all)
		return false;
	TAILQ_FOREACH(follower, &x->recall.flight->followers, followers)
	{
		if (client_lags(follower))
			return true;
	}
	return client_lags(x);
}

void
exchange_pace(struct exchange *x)
{
	struct leg *leg = flowing_leg(x), *paused = x->paused;
	bool wait = must_wait(x);

	if (wait && !paused && leg) {
		x->paused = leg;
		leg_pause(leg);
	} else if (!wait && paused) {
		x->paused = NULL;
		leg_resume(paused);
	}
}

void
exchange_write_raw(struct exchange *x, struct bytes piece)
{
	x->client.sent_bytes += piece.n;
	if (x->keepalive)
		x->client.sent_us = exchange_now_us(x);
	http_reply_write(x->client.call, piece);
}

void
exchange_write(struct exchange *x, struct bytes piece)
{
	if (x->client.dialect == DIALECT_PLAIN)
		exchange_write_raw(x, piece);
	else
		exchange_dialect_write(x, piece);
}

void
exchange_send(struct exchange *x, struct bytes piece)
{
	if (piece.n == 0)
		return;
	exchange_share_write(x, piece);
	exchange_share_piece(x, piece);
	exchange_pace(x);
}

/* The answer is complete: the cache and those who follow get it. body.n == 0: it was delivered as a stream. */
static void
pass_on(struct exchange *x, struct bytes body)
{
	struct cache_entry *entry = exchange_keep(x, body);

	exchange_share_done(x, entry);
	cache_entry_unref(entry);
}

static void
end_stream(struct exchange *x)
{
	struct deliver_facts facts;

	exchange_dialect_flush(x, true);
	facts = exchange_facts(x);
	pass_on(x, (struct bytes){"", 0});
	deliver_stream_end(exchange_finish(x, "done", 200, NULL), &facts);
}

/* Once it has finished; NULL: a model that was asked has no price. */
static const char *
known_cost(const struct exchange *x)
{
	return x->cost_text[0] ? x->cost_text : NULL;
}

static void
end_json(struct exchange *x, struct bytes body)
{
	struct deliver_facts facts = exchange_facts(x);
	struct http_call *call = x->client.call;
	struct buf said;

	buf_init(&said, 0);
	pass_on(x, body);
	if (x->client.dialect != DIALECT_PLAIN) {
		exchange_dialect_answer(x, body, &said);
		body = buf_bytes(&said);
	}
	x->client.first_byte_us = exchange_now_us(x);
	x->client.sent_bytes = body.n;
	/* The body may belong to a leg, which rests until this callback has returned. */
	exchange_finish(x, "done", 200, NULL);
	facts.cost_usd = known_cost(x);
	deliver_json(call, &facts, 200, body);
	buf_fini(&said);
}

/* ---------------------------------------------------------------- the draft */

static void
release_draft(struct exchange *x, uint64_t visible_tokens)
{
	exchange_send(x, draft_release(&x->draft, visible_tokens));
}

void
exchange_flow(struct exchange *x)
{
	x->used[CASCADE_DRAFT] = true;
	x->answered = leg_model(x->legs[CASCADE_DRAFT]);
	exchange_open_stream(x);
	release_draft(x, cascade_visible_tokens(&x->cascade));
}

static void
answer_draft_stream(struct exchange *x)
{
	if (!x->client.streaming)
		begin_stream(x);
	exchange_send(x, draft_release_rest(&x->draft));
	end_stream(x);
}

void
exchange_answer_draft(struct exchange *x)
{
	struct leg *leg = x->legs[CASCADE_DRAFT];
	struct buf body;

	x->used[CASCADE_DRAFT] = true;
	x->answered = leg_model(leg);
	if (x->client.wants_stream) {
		answer_draft_stream(x);
		return;
	}
	buf_init(&body, 0);
	chat_answer_write(x->draft.answer, &body);
	if (body.failed) {
		struct api_error error;

		api_error_set(&error, 500, NULL, NULL, "The answer is too large to be assembled.");
		exchange_fail(x, &error);
	} else {
		end_json(x, buf_bytes(&body));
	}
	buf_fini(&body);
}

/* ---------------------------------------------------------------- the heavyweight */

void
exchange_relay(struct exchange *x)
{
	x->used[CASCADE_HEAVY] = true;
	x->answered = leg_model(x->legs[CASCADE_HEAVY]);
	exchange_forget_request(x);
	exchange_open_stream(x);
	exchange_send(x, relay_waiting(&x->relay));
	relay_sent(&x->relay);
}

void
exchange_answer_heavy(struct exchange *x)
{
	struct leg *leg = x->legs[CASCADE_HEAVY];

	if (x->client.wants_stream) {
		relay_end(&x->relay);
		exchange_relay(x);
		end_stream(x);
		return;
	}
	x->used[CASCADE_HEAVY] = true;
	x->answered = leg_model(leg);
	end_json(x, leg_reply(leg));
}

/* ---------------------------------------------------------------- the end of a turn */

void
exchange_ripen(struct exchange *x)
{
	struct service *service = x->service;

	x->visible_tokens = cascade_visible_tokens(&x->cascade);
	if (x->ripe)
		return;
	x->ripe = true;
	if (TAILQ_EMPTY(&service->ripe))
		timer_fire(service->flush);
	TAILQ_INSERT_TAIL(&service->ripe, x, ripes);
}

void
exchange_flush(struct exchange *x)
{
	if (!x->ripe)
		return;
	x->ripe = false;
	TAILQ_REMOVE(&x->service->ripe, x, ripes);
	if (x->used[CASCADE_HEAVY]) {
		exchange_send(x, relay_waiting(&x->relay));
		relay_sent(&x->relay);
	} else {
		release_draft(x, x->visible_tokens);
	}
}

void
exchange_flush_all(void *service)
{
	struct service_ripe *ripe = &((struct service *)service)->ripe;

	while (!TAILQ_EMPTY(ripe))
		exchange_flush(TAILQ_FIRST(ripe));
}

/* ---------------------------------------------------------------- the cache */

static bool
write_cached(const struct exchange *x, struct buf *out)
{
	struct bytes record = x->recall.hit->document;
	uint64_t created_s = clock_wall_ms() / 1000;
	char id[ANSWER_ID_SIZE] = ANSWER_ID_PREFIX;

	/* In one allocation, as a rule: its head, or two frames' heads. */
	buf_reserve(out, record.n + (x->client.wants_stream ? 1024 : 128));
	random_pool_hex(&x->service->random, id + strlen(ANSWER_ID_PREFIX), ANSWER_ID_DIGITS);
	if (x->client.wants_stream)
		return chat_record_write_events(record, id, created_s, x->client.view.usage, out);
	chat_record_write(record, id, created_s, out);
	return !out->failed;
}

void
exchange_answer_cached(struct exchange *x)
{
	struct api_error error;
	struct buf out;

	/* A shared stream: all of it has been sent. */
	if (x->client.streaming) {
		end_stream(x);
		return;
	}
	exchange_share_done(x, x->recall.hit);
	buf_init(&out, 0);
	if (!write_cached(x, &out)) {
		api_error_set(&error, 500, NULL, NULL, "Out of memory.");
		exchange_fail(x, &error);
	} else if (x->client.wants_stream) {
		begin_stream(x);
		exchange_write(x, buf_bytes(&out));
		end_stream(x);
	} else {
		end_json(x, buf_bytes(&out));
	}
	buf_fini(&out);
}

/* ---------------------------------------------------------------- failures */

/* With a body: that is sent instead of the error's own. */
static void
fail_with(struct exchange *x, const struct api_error *error, struct bytes body)
{
	struct deliver_facts facts;
	struct http_call *call;
	struct buf said;

	exchange_share_failed(x, error, body);
	buf_init(&said, 0);
	if (x->client.dialect != DIALECT_PLAIN) {
		exchange_dialect_error(x, error, body, &said);
		body = buf_bytes(&said);
	}
	x->client.first_byte_us = exchange_now_us(x);
	facts = exchange_facts(x);
	x->client.sent_bytes = body.n;
	call = exchange_finish(x, "error", error->status, error->type);
	/* That a failure cost nothing goes without saying. */
	facts.cost_usd = x->cost_nano_usd ? known_cost(x) : NULL;
	deliver_error(call, &facts, error, body);
	buf_fini(&said);
}

void
exchange_fail(struct exchange *x, const struct api_error *error)
{
	fail_with(x, error, (struct bytes){NULL, 0});
}

static const struct leg_failure *
heavy_failure(const struct exchange *x)
{
	const struct leg *leg = x->legs[CASCADE_HEAVY];

	return leg && leg_failure(leg)->kind != LEG_FAILURE_NONE ? leg_failure(leg) : NULL;
}

/* Until a heavyweight may be asked again. */
static uint64_t
heavy_due_ms(const struct exchange *x)
{
	return attempts_due_in_ms(&x->attempts[CASCADE_HEAVY], exchange_now_us(x) / 1000);
}

/* The answer to a request whose last hope has failed, before anything was sent. */
void
exchange_fail_heavy(struct exchange *x)
{
	const struct leg_failure *failure = heavy_failure(x);
	struct api_error error;
	struct buf body;

	if (x->shared_error) {
		fail_with(x, x->shared_error, x->shared_body);
		return;
	}
	buf_init(&body, 0);
	if (x->expired) {
		api_error_set(
		        &error, 504, NULL, "deadline_exceeded",
		        "No answer had begun when the request's time limit of %u ms was over.",
		        x->plan->config->server.request_timeout_ms);
	} else if (failure) {
		x->answered = leg_model(x->legs[CASCADE_HEAVY]);
		failure_to_error(failure, x->answered, &error, &body);
		if (x->panic)
			failure_panicked(heavy_due_ms(x), &error);
	} else if (x->refusal != HEALTH_ADMITTED) {
		failure_refused(x->refusal, heavy_due_ms(x), &error);
	} else {
		api_error_set(&error, 500, NULL, NULL, "The request could not be carried out: %s.",
		              x->detail ? x->detail : "out of memory");
	}
	error.no_retry |= x->attempts[CASCADE_HEAVY].made + x->head_start_failed > 1;
	fail_with(x, &error, buf_bytes(&body));
	buf_fini(&body);
}

void
exchange_truncate(struct exchange *x, enum cascade_leg role)
{
	struct leg *leg = x->legs[role];
	const char *why = leg ? leg_failure(leg)->detail : x->detail ? x->detail : "";
	struct api_error error;
	struct buf document;

	exchange_flush(x);
	exchange_dialect_flush(x, false);
	if (x->shared_error)
		error = *x->shared_error;
	else
		api_error_set(&error, 502, NULL, "upstream_truncated",
		              "The model server's answer broke off: %s. What was delivered is not "
		              "complete.",
		              why[0] ? why : "out of memory");
	exchange_share_cut(x, &error);
	buf_init(&document, 0);
	exchange_dialect_error(x, &error, (struct bytes){"", 0}, &document);
	deliver_stream_cut(exchange_finish(x, "upstream_truncated", 200, error.type),
	                   buf_bytes(&document));
	buf_fini(&document);
}
