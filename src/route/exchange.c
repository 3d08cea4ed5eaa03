#include "route/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "route/exchange_private.h"
#include "route/intake.h"
#include "route/resolve.h"
#include "wire/chat_event.h"

enum { EXCHANGE_MAGIC = 0x45584348, EXCHANGE_SPECULATION_BURST = 10 };

struct exchange *
exchange_cast(void *arg)
{
	struct exchange *x = arg;

	if (x->magic != EXCHANGE_MAGIC)
		die("exchange: stale pointer");
	return x;
}

uint64_t
exchange_now_us(const struct exchange *x)
{
	return worker_now_us(x->service->worker);
}

/* ---------------------------------------------------------------- the end */

static void
exchange_destroy(void *p)
{
	struct exchange *x = p;

	recall_fini(&x->recall);
	if (x->cascading) {
		cascade_fini(&x->cascade);
		relay_fini(&x->relay);
		draft_fini(&x->draft);
	}
	for (enum cascade_leg role = 0; role < CASCADE_LEGS; role++)
		choice_fini(&x->choices[role]);
	timer_free(x->keepalive);
	timer_free(x->retry);
	timer_free(x->deadline);
	buf_fini(&x->client.held);
	free(x->client.request);
	free(x->client.model);
	free(x->client.project_id);
	free(x->detail);
	blob_unref(x->client.body);
	plan_unref(x->plan);
	x->magic = 0;
	free(x);
}

void
exchange_drop_leg(struct exchange *x, enum cascade_leg role, const char *reason)
{
	struct leg *leg = x->legs[role];

	if (role == CASCADE_HEAVY && x->retry)
		timer_disarm(x->retry);
	if (!leg)
		return;
	x->legs[role] = NULL;
	if (x->paused == leg)
		x->paused = NULL;
	if (x->used[role])
		x->usage = leg_usage(leg);
	exchange_count_leg(x, leg);
	if (leg_ended_us(leg) == 0) {
		x->leg_us[role] = (int64_t)(exchange_now_us(x) - leg_started_us(leg));
		leg_cancel(leg, reason);
	} else {
		x->leg_us[role] = (int64_t)(leg_ended_us(leg) - leg_started_us(leg));
		leg_release(leg);
	}
}

struct http_call *
exchange_finish(struct exchange *x, const char *end, int status, const char *error)
{
	struct http_call *call = x->client.call;
	uint64_t now_us = exchange_now_us(x);

	if (x->idle_since_us)
		x->own_us += now_us - x->idle_since_us;
	if (x->ripe)
		TAILQ_REMOVE(&x->service->ripe, x, ripes);
	x->ripe = false;
	exchange_share_end(x);
	exchange_recall_end(x);
	for (enum cascade_leg role = 0; role < CASCADE_LEGS; role++)
		exchange_drop_leg(x, role, "cancelled");
	if (!x->cost_unknown && x->attempts_made > 0)
		price_format(x->cost_nano_usd, x->cost_text);
	if (x->keepalive)
		timer_disarm(x->keepalive);
	if (x->deadline)
		timer_disarm(x->deadline);
	exchange_report(x, end, status, error, now_us);
	if (x->admitted)
		load_leave(x->service->requests);
	x->client.call = NULL;
	worker_bury(x->service->worker, x, exchange_destroy);
	return call;
}

/* ---------------------------------------------------------------- events and actions */

/* Carries one action out. True when `event` is to be fed next. */
static bool
exchange_act(struct exchange *x, const struct cascade_action *action, struct cascade_event *event)
{
	switch (action->kind) {
	case CASCADE_START_LEG: return exchange_start_leg(x, action->leg, event);
	case CASCADE_SPECULATE: return exchange_speculate(x, event);
	case CASCADE_JOIN: return exchange_join(x, event);
	case CASCADE_CANCEL_LEG: exchange_cancel_leg(x, action->leg); break;
	case CASCADE_FLOW: exchange_flow(x); break;
	case CASCADE_ANSWER_DRAFT: exchange_answer_draft(x); break;
	case CASCADE_RELAY: exchange_relay(x); break;
	case CASCADE_ANSWER_HEAVY: exchange_answer_heavy(x); break;
	case CASCADE_ANSWER_CACHED: exchange_answer_cached(x); break;
	case CASCADE_EXPIRE:
		x->expired = true;
		exchange_fail_heavy(x);
		break;
	case CASCADE_FAIL: exchange_fail_heavy(x); break;
	case CASCADE_TRUNCATE: exchange_truncate(x, action->leg); break;
	}
	return false;
}

void
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

/* ---------------------------------------------------------------- client and clock */

static void
on_client_gone(void *arg)
{
	struct exchange *x = exchange_share_left(exchange_cast(arg));

	exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_CLIENT_GONE});
	metric_add(x->service->shard, METRIC_CLIENT_GONE, NULL, NULL, 1);
	/* 499, as nginx has it: nobody was there to read a status. */
	exchange_finish(x, "client_gone", x->client.streaming ? 200 : 499, NULL);
}

static void
on_client_drained(void *arg)
{
	struct exchange *x = exchange_cast(arg);

	exchange_pace(x->recall.flight ? x->recall.flight->leader : x);
}

void
exchange_watch(struct exchange *x)
{
	http_call_watch(x->client.call, on_client_gone, on_client_drained, x);
}

static void
on_deadline_timer(void *arg)
{
	exchange_step(exchange_cast(arg), (struct cascade_event){.kind = CASCADE_EVENT_DEADLINE});
}

void
exchange_arm_deadline(struct exchange *x)
{
	uint64_t now_ms = exchange_now_us(x) / 1000, at_ms = x->client.deadline_ms;

	if (at_ms == 0)
		return;
	if (!x->deadline)
		x->deadline = timer_new(x->service->worker, on_deadline_timer, x);
	timer_arm_ms(x->deadline, at_ms > now_ms ? at_ms - now_ms : 0);
}

/* ---------------------------------------------------------------- the beginning */

/* A header beats the body: its sender may be a proxy that knows no JSON. */
static bool
exchange_resolve(struct exchange *x, struct api_error *error)
{
	const char *forced = http_call_header(x->client.call, HTTP_FIELD_FORCE_MODEL);

	if (forced && *forced)
		return resolve_forced(x->plan->config, forced, &x->pinned, error);
	return resolve_model(x->plan->config, x->client.request, &x->route, &x->pinned, error);
}

static bool
exchange_choose(struct exchange *x, struct api_error *error)
{
	const struct chat_request *request = x->client.request;
	struct choose_spec spec = {
	        .plan = x->plan,
	        .route = x->route,
	        .pinned = x->pinned,
	        .request = request,
	        .now_ms = exchange_now_us(x) / 1000,
	};

	x->client.effort = request->reasoning_effort;
	if (request->reasoning_effort && strcmp(request->reasoning_effort, "auto") == 0)
		x->client.effort = x->effort =
		        config_effort_name(x->route ? x->route->reasoning_effort : EFFORT_MEDIUM);
	return choose_models(&spec, &x->choices[CASCADE_DRAFT], &x->choices[CASCADE_HEAVY], error);
}

static bool
exchange_read(struct exchange *x, struct reading *reading, struct api_error *error)
{
	struct exchange_client *client = &x->client;
	bool good = reading_take_chat(reading, client->call, client->request, &client->body, error);

	client->body_bytes = client->request->body.n;
	client->wants_stream = client->request->stream;
	client->view = chat_event_view(client->request);
	if (client->dialect == DIALECT_EXTRA_FIELDS)
		client->model = mem_copy(bytes_of(client->request->model));
	return good && exchange_check_project(x, error) && exchange_resolve(x, error) &&
	       exchange_choose(x, error) && exchange_recall_init(x, error);
}

/* May this request speculate? Each brings its route's share, each that does takes one. */
static bool
exchange_may_speculate(struct exchange *x)
{
	const struct config_speculative *speculative = &x->route->speculative;
	double *credit = &x->service->speculation_credit;

	if (!speculative->enabled || speculative->max_share <= 0)
		return false;
	*credit += speculative->max_share;
	if (*credit > EXCHANGE_SPECULATION_BURST)
		*credit = EXCHANGE_SPECULATION_BURST;
	return *credit >= 1;
}

static struct cascade_options
exchange_options(struct exchange *x)
{
	const struct config_route *route = x->route;
	const struct config_entropy *entropy;
	bool undraftable = x->choices[CASCADE_DRAFT].count == 0;

	/* No drafts, so any rule will do. */
	if (!route || route->is_pool)
		return (struct cascade_options){.begin = route ? CASCADE_BEGIN_POOL
		                                               : CASCADE_BEGIN_PINNED,
		                                .rule = &rule_window,
		                                .rule_options = {0, 1, 0}};
	entropy = &route->entropy;
	return (struct cascade_options){
	        .begin = !undraftable && draft_request_scorable(x->client.request)
	                         ? CASCADE_BEGIN_CASCADE
	                         : CASCADE_BEGIN_UNSCORABLE,
	        .rule = entropy->rule,
	        .rule_options = entropy->options,
	        .accept_unscorable = !undraftable && entropy->on_unscorable == ON_UNSCORABLE_ACCEPT,
	        .live = x->client.wants_stream && route->stream.mode == STREAM_LIVE,
	        .finish_late = route->stream.late == STREAM_LATE_FINISH,
	        .speculate = exchange_may_speculate(x),
	        .soft_bits = entropy->options.threshold * route->speculative.soft_threshold_mult,
	        .draft_if_down = route->on_heavyweight_down == ON_HEAVYWEIGHT_DOWN_DRAFT,
	};
}

/* What asking models takes. */
static bool
exchange_prepare(struct exchange *x, struct api_error *error)
{
	uint32_t timeout_ms = x->plan->config->server.request_timeout_ms;

	relay_init(&x->relay, x->client.request);
	if (x->route && !x->route->is_pool &&
	    !draft_init(&x->draft, x->client.request, x->cascade.options.live)) {
		api_error_set(error, 500, NULL, NULL, "Out of memory.");
		return false;
	}
	if (timeout_ms > 0)
		x->client.deadline_ms = exchange_now_us(x) / 1000 + timeout_ms;
	exchange_arm_deadline(x);
	exchange_init_attempts(x);
	return true;
}

void
exchange_ask(struct exchange *x)
{
	exchange_recall_words(x);
	exchange_step(x, (struct cascade_event){.kind = CASCADE_EVENT_BEGIN});
	if (!cascade_is_final(&x->cascade))
		exchange_recall_meaning(x);
}

void
exchange_forget_request(struct exchange *x)
{
	free(x->client.request);
	x->client.request = NULL;
	blob_unref(x->client.body);
	x->client.body = NULL;
	if (x->client.call)
		http_call_drop_body(x->client.call);
}

void
exchange_answer_anew(struct exchange *x)
{
	struct api_error error = {0};

	if (!exchange_prepare(x, &error)) {
		exchange_fail(x, &error);
	} else if (!exchange_follow(x)) {
		if (x->recall.keeps)
			exchange_lead(x);
		exchange_ask(x);
	}
}

/* From the cache, with an identical request under way, or by asking. */
static void
exchange_answer(struct exchange *x)
{
	struct cascade_options options = exchange_options(x);

	cascade_init(&x->cascade, &options);
	x->cascading = true;
	if (!exchange_recall_exact(x))
		exchange_answer_anew(x);
}

void
exchange_begin(struct service *service, struct http_call *call, enum dialect dialect,
               struct reading *reading)
{
	struct exchange *x = mem_new(sizeof(*x));
	struct api_error error = {0};
	bool good;

	x->magic = EXCHANGE_MAGIC;
	x->service = service;
	x->plan = plan_ref(service->plan);
	x->client.call = call;
	x->client.dialect = dialect;
	x->client.request = mem_new(sizeof(*x->client.request));
	buf_init(&x->client.held, 0);
	bytes_copy_text(x->client.peer, sizeof(x->client.peer), http_call_peer(call));
	bytes_copy_text(x->client.path, sizeof(x->client.path), http_call_path(call));
	x->client.started_us = http_call_started_us(call);
	x->idle_since_us = reading_began_us(reading, service->worker);
	x->leg_us[CASCADE_DRAFT] = x->leg_us[CASCADE_HEAVY] = -1;
	metric_add(service->shard, METRIC_IN_FLIGHT, NULL, NULL, 1);
	exchange_watch(x);
	x->admitted = intake_admit(service, &x->plan->config->server, &error);
	if (!x->admitted)
		reading_free(reading);
	good = x->admitted && exchange_read(x, reading, &error);
	exchange_choose_names(x, good);
	if (good)
		exchange_answer(x);
	else
		exchange_fail(x, &error);
	/* Unless it is over already. */
	if (x->client.call)
		http_call_drop_head(x->client.call);
}
