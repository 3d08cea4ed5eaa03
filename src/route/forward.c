#include "route/forward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "model/price.h"
#include "observe/access_log.h"
#include "route/deliver.h"
#include "route/failure.h"
#include "route/intake.h"
#include "route/passed.h"
#include "route/request_id.h"
#include "route/verdict.h"
#include "wire/embedding.h"
#include "wire/embedding_request.h"

enum {
	FORWARD_MAGIC = 0x46574421,
	FORWARD_ANSWER_MAX_BYTES = 64 * 1024 * 1024,
	FORWARD_ERROR_MAX_BYTES =
	        256 * 1024, /* the body of an error status; the rest is not kept */
};

struct forward {
	uint32_t magic;
	struct service *service; /* borrowed */
	struct plan *plan;       /* owned: one reference */
	struct http_call *call;  /* lent by the server; NULL once answered or gone */
	char id[REQUEST_ID_MAX + 1], peer[64], path[64];
	struct embedding_request request; /* borrows `blob`, or else the call's */
	struct blob *blob;                /* owned: one share; a large body; NULL: none */
	const struct config_model *model; /* NULL: not resolved */
	bool admitted;                    /* counted in service->requests */
	struct rope body;                 /* owned: what is sent; the fetch borrows it */

	struct attempts attempts;
	struct permit permit;     /* owned; empty between attempts */
	struct http_fetch *fetch; /* NULL: no transfer is under way */
	struct timer *retry;      /* owned; armed between attempts */
	struct timer *deadline;   /* owned */
	uint64_t deadline_ms;     /* 0: none */
	bool panic, expired;
	enum health_answer refusal;

	/* Of the last attempt. */
	int status;
	struct passed passed;
	struct buf answer; /* owned */
	struct leg_failure failure;

	uint64_t tokens; /* as upstream has told; 0: not told */
	char cost_text[PRICE_TEXT_MAX];
	uint64_t began_us, started_us,
	        waiting_us;              /* waiting_us: since when for others; 0: not now */
	uint64_t others_us, upstream_us; /* upstream_us: 0: never asked */
	size_t sent_bytes;
};

static struct forward *
forward_cast(void *arg)
{
	struct forward *forward = arg;

	if (forward->magic != FORWARD_MAGIC)
		die("forward: stale pointer");
	return forward;
}

static uint64_t
now_us(const struct forward *forward)
{
	return worker_now_us(forward->service->worker);
}

static void
forward_destroy(void *p)
{
	struct forward *forward = p;

	passed_fini(&forward->passed);
	rope_fini(&forward->body);
	blob_unref(forward->blob);
	buf_fini(&forward->answer);
	timer_free(forward->retry);
	timer_free(forward->deadline);
	plan_unref(forward->plan);
	forward->magic = 0;
	free(forward);
}

/* Time that an upstream or a pause is waited for is none of the gateway's own. */
static void
wait_begin(struct forward *forward)
{
	forward->waiting_us = now_us(forward);
}

static void
wait_end(struct forward *forward)
{
	if (forward->waiting_us)
		forward->others_us += now_us(forward) - forward->waiting_us;
	forward->waiting_us = 0;
}

/* ---------------------------------------------------------------- the end */

static struct deliver_facts
forward_facts(const struct forward *forward)
{
	bool asked = forward->model && forward->attempts.made > 0;

	return (struct deliver_facts){
	        .request_id = forward->id,
	        .decision = forward->model ? "direct" : NULL,
	        .reason = !forward->model  ? NULL
	                  : forward->panic ? "panic"
	                                   : "pinned",
	        .score = (double)NAN,
	        .provider = asked ? forward->model->provider->label : NULL,
	        .model = asked ? forward->model->label : NULL,
	        .attempts = forward->attempts.made,
	        .cost_usd = forward->cost_text[0] ? forward->cost_text : NULL,
	        .cache_similarity = (double)NAN,
	        .cache_age_s = -1,
	        .duration_us = now_us(forward) - forward->started_us,
	        .passed = forward->passed.list,
	        .passed_count = forward->passed.count,
	};
}

static uint64_t
own_us(const struct forward *forward)
{
	return now_us(forward) - forward->began_us - forward->others_us;
}

static void
forward_log(const struct forward *forward, const char *end, int status, const char *error)
{
	struct deliver_facts facts = forward_facts(forward);
	const char *project = forward->request.project_id;
	struct access_record record = {
	        .time_ms = clock_wall_ms(),
	        .id = forward->id,
	        .peer = forward->peer,
	        .method = "POST",
	        .path = forward->path,
	        .status = status,
	        .decision = facts.decision,
	        .reason = facts.reason,
	        .score = (double)NAN,
	        .model = facts.model,
	        .end = end,
	        .error = error,
	        .detail = forward->failure.detail[0] ? forward->failure.detail : NULL,
	        .project_id = project[0] ? project : NULL,
	        .cost_usd = facts.cost_usd,
	        .attempts = facts.attempts,
	        .prompt_tokens = forward->tokens ? (int64_t)forward->tokens : -1,
	        .completion_tokens = -1,
	        .draft_tokens = -1,
	        .sent_bytes = forward->sent_bytes,
	        .duration_us = (int64_t)facts.duration_us,
	        .first_byte_us = forward->call ? (int64_t)facts.duration_us : -1,
	        .draft_us = -1,
	        .heavyweight_us = forward->upstream_us ? (int64_t)forward->upstream_us : -1,
	        .overhead_us = (int64_t)own_us(forward),
	};

	access_log_write(forward->service->access, &record);
}

static void
forward_measure(const struct forward *forward, int status, const char *error)
{
	struct metrics_shard *shard = forward->service->shard;
	struct deliver_facts facts = forward_facts(forward);
	char code[12];

	snprintf(code, sizeof(code), "%d", status);
	metric_add(shard, METRIC_REQUESTS, facts.model ? facts.model : "none", code, 1);
	if (error)
		metric_add(shard, METRIC_ERRORS, error, NULL, 1);
	metric_observe(shard, METRIC_REQUEST_DURATION, "embedding", NULL,
	               (double)facts.duration_us / 1e6);
	metric_observe(shard, METRIC_OVERHEAD, NULL, NULL, (double)own_us(forward) / 1e6);
	metric_add(shard, METRIC_IN_FLIGHT, NULL, NULL, -1);
}

/* An attempt is over. result: the metric's label, and the log's word. */
static void
end_attempt(struct forward *forward, enum health_result health, const char *result)
{
	struct verdict verdict = {health, result, forward->status, forward->failure.detail};
	struct metrics_shard *shard = forward->service->shard;

	if (!forward->permit.health)
		return;
	if (forward->fetch)
		http_fetch_cancel(forward->fetch);
	forward->fetch = NULL;
	forward->upstream_us = now_us(forward) - forward->waiting_us;
	metric_add(shard, METRIC_LEGS_IN_FLIGHT, forward->model->label, NULL, -1);
	metric_add(shard, METRIC_LEG_RESULTS, forward->model->label, result, 1);
	verdict_give(forward->service, forward->model, &forward->permit, &verdict);
}

/* The only end. The reply is sent by the caller afterwards, through the call that is returned: NULL when the client
 * is gone. `error` is the type of an error answered, or NULL. */
static struct http_call *
forward_finish(struct forward *forward, const char *end, int status, const char *error)
{
	struct http_call *call = forward->call;

	end_attempt(forward, HEALTH_NEUTRAL, "cancelled");
	wait_end(forward);
	if (forward->retry)
		timer_disarm(forward->retry);
	if (forward->deadline)
		timer_disarm(forward->deadline);
	forward_log(forward, end, status, error);
	forward_measure(forward, status, error);
	if (forward->admitted)
		load_leave(forward->service->requests);
	forward->call = NULL;
	worker_bury(forward->service->worker, forward, forward_destroy);
	return call;
}

static void
forward_fail(struct forward *forward, const struct api_error *error, struct bytes body)
{
	struct deliver_facts facts;

	forward->sent_bytes = body.n;
	facts = forward_facts(forward);
	deliver_error(forward_finish(forward, "error", error->status, error->type), &facts, error,
	              body);
}

/* Nothing more can be tried. */
static void
fail_for_good(struct forward *forward)
{
	uint64_t due_ms = attempts_due_in_ms(&forward->attempts, now_us(forward) / 1000);
	struct api_error error = {0};
	struct buf body;

	buf_init(&body, 0);
	if (forward->expired) {
		api_error_set(&error, 504, NULL, "deadline_exceeded",
		              "No answer had come when the request's time limit of %u ms was over.",
		              forward->plan->config->server.request_timeout_ms);
	} else if (forward->failure.kind != LEG_FAILURE_NONE) {
		failure_to_error(&forward->failure, forward->model, &error, &body);
		if (forward->panic)
			failure_panicked(due_ms, &error);
	} else if (forward->refusal != HEALTH_ADMITTED) {
		failure_refused(forward->refusal, due_ms, &error);
	} else {
		api_error_set(&error, 500, NULL, NULL, "Out of memory.");
	}
	error.no_retry |= forward->attempts.made > 1;
	forward_fail(forward, &error, buf_bytes(&body));
	buf_fini(&body);
}

/* ---------------------------------------------------------------- attempts */

static void forward_ask(struct forward *forward);

static void
on_retry_timer(void *arg)
{
	struct forward *forward = forward_cast(arg);

	wait_end(forward);
	forward_ask(forward);
}

/* The attempt has failed; failure.kind and .detail say how. */
static void
fail_attempt(struct forward *forward)
{
	struct leg_failure *failure = &forward->failure;

	failure->status = forward->status;
	failure->body = buf_bytes(&forward->answer);
	failure->retry = failure_retry(failure);
	end_attempt(forward, failure_health(failure), leg_failure_name(failure->kind));
	wait_end(forward);
	if (attempts_failed(&forward->attempts, failure->retry, failure->retry_after_ms,
	                    random_part(), now_us(forward) / 1000))
		forward_ask(forward);
	else
		fail_for_good(forward);
}

static void
fail_with(struct forward *forward, enum leg_failure_kind kind, const char *detail)
{
	forward->failure.kind = kind;
	snprintf(forward->failure.detail, sizeof(forward->failure.detail), "%s", detail);
	fail_attempt(forward);
}

static void
count_tokens(struct forward *forward)
{
	struct chat_usage usage = {.prompt_tokens = forward->tokens, .known = true};
	struct metrics_shard *shard = forward->service->shard;
	const struct config_model *model = forward->model;
	uint64_t nano_usd;

	if (forward->tokens == 0)
		return;
	metric_add(shard, METRIC_TOKENS, model->label, "embedding", (double)forward->tokens);
	if (!price_of(&model->price, &usage, &nano_usd))
		return;
	metric_add(shard, METRIC_COST, model->label, "embedding", (double)nano_usd / 1e9);
	price_format(nano_usd, forward->cost_text);
}

/* The whole answer is here. */
static void
read_answer(struct forward *forward)
{
	struct bytes body = buf_bytes(&forward->answer);
	enum embedding_fault fault = embedding_answer_check(body, &forward->tokens);
	struct deliver_facts facts;

	if (fault) {
		fail_with(forward, fault == EMBEDDING_ERROR ? LEG_ERROR : LEG_MALFORMED,
		          fault == EMBEDDING_ERROR ? "upstream sent an error in its answer"
		                                   : "upstream's answer has no embeddings in JSON");
		return;
	}
	forward->failure.detail[0] = '\0';
	end_attempt(forward, HEALTH_SUCCESS, "ok");
	count_tokens(forward);
	forward->sent_bytes = body.n;
	facts = forward_facts(forward);
	/* The answer rests until this callback has returned. */
	deliver_json(forward_finish(forward, "done", 200, NULL), &facts, 200, body);
}

static bool
is_answered(const struct forward *forward)
{
	return forward->status >= 200 && forward->status <= 299;
}

static void
on_fetch_head(void *arg, struct http_fetch *fetch, int status)
{
	struct forward *forward = forward_cast(arg);

	forward->status = status;
	forward->failure.advice =
	        failure_advice(http_fetch_header(fetch, HTTP_ANSWER_SHOULD_RETRY));
	forward->failure.retry_after_ms = failure_retry_after_ms(
	        http_fetch_header(fetch, HTTP_ANSWER_RETRY_AFTER_MS),
	        http_fetch_header(fetch, HTTP_ANSWER_RETRY_AFTER), clock_wall_ms());
	passed_take(&forward->passed, fetch);
	if (!is_answered(forward))
		forward->answer.limit = FORWARD_ERROR_MAX_BYTES;
}

static void
on_fetch_data(void *arg, struct http_fetch *fetch, struct bytes piece)
{
	struct forward *forward = forward_cast(arg);

	(void)fetch;
	if (forward->answer.n == 0 && is_answered(forward))
		health_note_first_byte(forward->permit.health,
		                       now_us(forward) - forward->waiting_us,
		                       now_us(forward) / 1000);
	buf_add_bytes(&forward->answer, piece);
	if (forward->answer.failed && is_answered(forward))
		fail_with(forward, LEG_MALFORMED, "upstream's answer is too large");
}

static void
on_fetch_end(void *arg, struct http_fetch *fetch, enum http_fetch_result result, const char *detail)
{
	struct forward *forward = forward_cast(arg);
	char text[64];

	(void)fetch;
	forward->fetch = NULL;
	if (forward->status != 0 && !is_answered(forward)) {
		/* The status is the news, even when the body after it was cut. */
		snprintf(text, sizeof(text), "upstream answered %d", forward->status);
		fail_with(forward, LEG_STATUS, text);
	} else if (result != HTTP_FETCH_OK) {
		failure_of_fetch(&forward->failure, result, detail);
		fail_attempt(forward);
	} else {
		read_answer(forward);
	}
}

static void
start_attempt(struct forward *forward, const struct attempt *attempt)
{
	static const struct http_fetch_events events = {on_fetch_head, on_fetch_data, on_fetch_end};
	const struct config_provider *provider = forward->model->provider;
	struct http_fetch_spec spec = {
	        .target = plan_embeddings_target(forward->plan, forward->model),
	        .method = "POST",
	        .rope = &forward->body,
	        .connect_ms = provider->connect_timeout_ms,
	        .first_byte_ms = provider->first_byte_timeout_ms,
	        .idle_ms = provider->idle_timeout_ms,
	        .total_ms = provider->timeout_ms,
	};

	forward->panic |= attempt->panic;
	forward->permit = attempt->permit;
	forward->status = 0;
	passed_fini(&forward->passed);
	forward->failure = (struct leg_failure){.kind = LEG_FAILURE_NONE};
	buf_fini(&forward->answer);
	buf_init(&forward->answer, FORWARD_ANSWER_MAX_BYTES);
	verdict_begin(forward->service, forward->model, &forward->permit);
	metric_add(forward->service->shard, METRIC_LEGS_IN_FLIGHT, forward->model->label, NULL, 1);
	wait_begin(forward);
	forward->fetch = http_fetch_start(forward->service->client, &spec, &events, forward);
	if (!forward->fetch)
		fail_with(forward, LEG_FAULT, "the request could not be started");
}

static void
forward_ask(struct forward *forward)
{
	struct attempt attempt = attempts_next(&forward->attempts, now_us(forward) / 1000);

	forward->refusal = attempt.refusal;
	switch (attempt.kind) {
	case ATTEMPT_START: start_attempt(forward, &attempt); return;
	case ATTEMPT_WAIT:
		wait_begin(forward);
		if (!forward->retry)
			forward->retry =
			        timer_new(forward->service->worker, on_retry_timer, forward);
		timer_arm_ms(forward->retry, attempt.wait_ms);
		return;
	case ATTEMPT_NONE: break;
	}
	/* The timer may be a moment behind. */
	forward->expired = forward->deadline_ms && now_us(forward) / 1000 >= forward->deadline_ms;
	fail_for_good(forward);
}

/* ---------------------------------------------------------------- the beginning */

static void
on_client_gone(void *arg)
{
	struct forward *forward = forward_cast(arg);

	forward->call = NULL;
	metric_add(forward->service->shard, METRIC_CLIENT_GONE, NULL, NULL, 1);
	/* 499, as nginx has it: nobody was there to read a status. */
	forward_finish(forward, "client_gone", 499, NULL);
}

static void
on_deadline_timer(void *arg)
{
	struct forward *forward = forward_cast(arg);

	forward->expired = true;
	fail_for_good(forward);
}

/* The model that is named, if it makes embeddings; one of which nothing is declared may. */
static bool
find_model(struct forward *forward, struct api_error *error)
{
	const struct config *config = forward->plan->config;
	const char *name = forward->request.model;
	const struct config_model *model = config_model_find(config, name);

	if (model && (!model->capabilities_known || model->capabilities & MODEL_CAN_EMBEDDINGS)) {
		forward->model = model;
		return true;
	}
	if (model || config_route_find(config, name))
		api_error_set(error, 422, "model", NULL,
		              "The model `%s` chats; it makes no embeddings.", name);
	else
		api_error_set(error, 404, "model", "model_not_found",
		              "The model `%s` does not exist here.", name);
	return false;
}

static bool
forward_read(struct forward *forward, struct reading *reading, struct api_error *error)
{
	if (!reading_take_embedding(reading, forward->call, &forward->request, &forward->blob,
	                            error) ||
	    !find_model(forward, error))
		return false;
	rope_init(&forward->body, forward->blob ? ROPE_BORROW_BYTES : 0);
	embedding_request_forward(&forward->request, forward->model->upstream_name, &forward->body);
	if (forward->body.own.failed)
		api_error_set(error, 500, NULL, NULL, "Out of memory.");
	return !forward->body.own.failed;
}

static void
forward_start(struct forward *forward)
{
	uint32_t timeout_ms = forward->plan->config->server.request_timeout_ms;

	if (timeout_ms > 0) {
		forward->deadline_ms = now_us(forward) / 1000 + timeout_ms;
		forward->deadline = timer_new(forward->service->worker, on_deadline_timer, forward);
		timer_arm_ms(forward->deadline, timeout_ms);
	}
	attempts_init(&forward->attempts, plan_candidate(forward->plan, forward->model), 1, true,
	              forward->deadline_ms);
	forward_ask(forward);
}

void
forward_begin(struct service *service, struct http_call *call, struct reading *reading)
{
	struct forward *forward = mem_new(sizeof(*forward));
	struct api_error error = {0};

	forward->magic = FORWARD_MAGIC;
	forward->service = service;
	forward->plan = plan_ref(service->plan);
	forward->call = call;
	snprintf(forward->peer, sizeof(forward->peer), "%s", http_call_peer(call));
	snprintf(forward->path, sizeof(forward->path), "%s", http_call_path(call));
	forward->started_us = http_call_started_us(call);
	forward->began_us = reading_began_us(reading, service->worker);
	request_id_choose(http_call_header(call, HTTP_FIELD_REQUEST_ID), &forward->service->random,
	                  forward->id);
	metric_add(service->shard, METRIC_IN_FLIGHT, NULL, NULL, 1);
	http_call_watch(call, on_client_gone, NULL, forward);
	forward->admitted = intake_admit(service, &forward->plan->config->server, &error);
	if (!forward->admitted)
		reading_free(reading);
	if (forward->admitted && forward_read(forward, reading, &error))
		forward_start(forward);
	else
		forward_fail(forward, &error, (struct bytes){NULL, 0});
}
