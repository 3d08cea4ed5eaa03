/*
 * The life of a leg. Until it has ended it reports to the exchange; after that it only
 * waits for the response's last bytes (leg_release), so that the connection stays usable. leg_end is
 * the one way out of the first phase, leg_bury of the second. What it reads: leg_read.c.
 */
#include "route/leg.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/timer.h"
#include "route/failure.h"
#include "route/leg_private.h"
#include "route/verdict.h"

enum { LEG_LINGER_MS = 1000 }; /* for the bytes after [DONE] */

void
leg_forget_body(struct leg *leg)
{
	if (!leg->body)
		return;
	rope_fini(&leg->body->text);
	blob_unref(leg->body->blob);
	free(leg->body);
	leg->body = NULL;
}

static void
leg_destroy(void *p)
{
	struct leg *leg = p;

	timer_free(leg->linger);
	sse_reader_fini(&leg->reader);
	free(leg->head);
	if (leg->answer)
		chat_answer_free(leg->answer);
	buf_fini(&leg->reply);
	passed_fini(&leg->passed);
	free(leg->failure);
	leg_forget_body(leg);
	plan_unref(leg->plan);
	free(leg);
}

void
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

static void
leg_return_permit(struct leg *leg, enum health_result result)
{
	const struct leg_failure *failure = leg_failure(leg);
	struct verdict verdict = {result, leg_failure_name(failure->kind), leg->status,
	                          failure->detail};

	verdict_give(leg->service, leg->model, &leg->permit, &verdict);
}

/* The one end of a leg: result is the metric's label, health what is learnt of the model. */
static void
leg_end(struct leg *leg, const char *result, enum health_result health)
{
	struct metrics_shard *shard = leg->service->shard;

	leg->ended = true;
	leg->ended_us = worker_now_us(leg->service->worker);
	metric_add(shard, METRIC_LEGS_IN_FLIGHT, leg->model->label, NULL, -1);
	metric_add(shard, METRIC_LEG_RESULTS, leg->model->label, result, 1);
	metric_observe(shard, METRIC_UPSTREAM_LATENCY,
	               leg->role == CASCADE_DRAFT ? "drafter" : "heavyweight", NULL,
	               (double)(leg->ended_us - leg->started_us) / 1e6);
	leg_return_permit(leg, health);
}

struct leg_failure *
leg_failing(struct leg *leg)
{
	if (!leg->failure)
		leg->failure = mem_new(sizeof(*leg->failure));
	return leg->failure;
}

void
leg_fail(struct leg *leg, enum leg_failure_kind kind, const char *detail)
{
	struct http_fetch *fetch = leg->fetch;
	struct leg_failure *failure = leg_failing(leg);

	failure->kind = kind;
	failure->status = leg->status;
	failure->retry = failure_retry(failure);
	failure->body = buf_bytes(&leg->reply);
	snprintf(failure->detail, sizeof(failure->detail), "%s", detail);
	leg_end(leg, leg_failure_name(kind), failure_health(failure));
	/* Whatever else comes is not wanted: no token is paid for that nobody reads. */
	leg->fetch = NULL;
	if (fetch)
		http_fetch_cancel(fetch);
	leg->events.on_failed(leg->arg, leg);
}

void
leg_done(struct leg *leg)
{
	if (leg->role == CASCADE_DRAFT && leg->output_frames == 0) {
		leg_fail(leg, LEG_EMPTY, "the drafter's answer is empty");
		return;
	}
	leg_end(leg, "ok", HEALTH_SUCCESS);
	leg->events.on_done(leg->arg, leg);
}

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
	        /* A draft's frames are larger, and many of them come at once. */
	        .trickles = spec->stream && spec->role == CASCADE_HEAVY,
	};

	leg->service = service;
	leg->plan = plan_ref((struct plan *)(uintptr_t)spec->plan);
	leg->model = spec->model;
	leg->role = spec->role;
	leg->events = *events;
	leg->arg = arg;
	leg->stream = spec->stream;
	leg->direct = spec->direct;
	leg->body = mem_new(sizeof(*leg->body));
	*leg->body = (struct leg_body){spec->body, blob_ref(spec->blob)};
	sse_reader_init(&leg->reader, LEG_EVENT_MAX_BYTES);
	buf_init(&leg->reply, LEG_REPLY_MAX_BYTES);
	leg->started_us = worker_now_us(service->worker);
	leg->permit = spec->permit;
	verdict_begin(service, leg->model, &leg->permit);
	fetch.rope = &leg->body->text;
	leg->fetch = http_fetch_start(service->client, &fetch, &leg_fetch_events, leg);
	if (!leg->fetch) {
		leg_return_permit(leg, HEALTH_NEUTRAL);
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
		leg_end(leg, reason, leg->output_frames > 0 ? HEALTH_SUCCESS : HEALTH_NEUTRAL);
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
	static const struct leg_failure none = {.kind = LEG_FAILURE_NONE};

	return leg->failure ? leg->failure : &none;
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
	*count = leg->passed.count;
	return leg->passed.list;
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
