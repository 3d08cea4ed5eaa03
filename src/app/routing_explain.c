/* What would be made of a chat request: asks nobody, takes no permit, draws on no credit, looks nothing up. */
#include <stdio.h>

#include "app/endpoints_private.h"
#include "base/mem.h"
#include "route/reading.h"
#include "route/choose.h"
#include "route/draft.h"
#include "route/forecast.h"
#include "route/recall.h"
#include "route/resolve.h"

struct explanation {
	struct service *service;
	struct chat_request request; /* borrows `body`, or else the call's */
	struct blob *body;           /* owned; a large one; NULL: none */
	const struct config_route *route;
	const struct config_model *pinned;
	struct choice drafters, heavyweights; /* owned: who would be asked, in order */
	struct recall recall;                 /* its key is made, nothing else is done with it */
};

/* Would a drafter be asked? */
static bool
is_drafted(const struct explanation *e)
{
	return e->route && e->drafters.count > 0 &&
	       (draft_request_scorable(&e->request) ||
	        e->route->entropy.on_unscorable == ON_UNSCORABLE_ACCEPT);
}

/* ---------------------------------------------------------------- the order of models */

static json_t *
candidate_document(const struct candidate *candidate, const char *leg, const char *would,
                   const struct forecast_look *look)
{
	const struct config_model *model = candidate->model;
	json_t *document = json_pack("{s:s, s:s, s:s, s:s, s:s}", "leg", leg, "model", model->name,
	                             "provider", model->provider->label, "would", would, "breaker",
	                             breaker_state_name(look->state));

	if (look->due_ms > 0)
		json_object_set_new(document, "due_in_ms", json_integer((json_int_t)look->due_ms));
	return document;
}

/* why: what they would not be asked for; NULL: they would. */
static void
add_choice(const struct explanation *e, json_t *order, const struct choice *choice, const char *leg,
           const char *why)
{
	uint64_t now_ms = worker_now_us(e->service->worker) / 1000;
	struct forecast_look *looks = mem_array(choice->count + 1, sizeof(*looks));
	enum forecast *words = mem_array(choice->count + 1, sizeof(*words));

	for (size_t i = 0; i < choice->count; i++)
		looks[i] = forecast_look(&choice->list[i], now_ms);
	/* A drafter is never waited for. */
	forecast_list(looks, choice->count, choice != &e->drafters, words);
	for (size_t i = 0; i < choice->count; i++)
		json_array_append_new(order, candidate_document(&choice->list[i], leg,
		                                                why ? why : forecast_name(words[i]),
		                                                &looks[i]));
	free(looks);
	free(words);
}

static bool
choice_has(const struct choice *choice, const struct config_model *model)
{
	for (size_t i = 0; i < choice->count; i++) {
		if (choice->list[i].model == model)
			return true;
	}
	return false;
}

/* Those of the route that lack what the request needs. */
static void
add_lacking(const struct explanation *e, json_t *order, const struct choice *choice,
            const struct candidate *list, size_t count, const char *leg)
{
	uint64_t now_ms = worker_now_us(e->service->worker) / 1000;

	for (size_t i = 0; i < count; i++) {
		struct forecast_look look = forecast_look(&list[i], now_ms);

		if (!choice_has(choice, list[i].model))
			json_array_append_new(order,
			                      candidate_document(&list[i], leg, "lacking", &look));
	}
}

static json_t *
order_document(const struct explanation *e)
{
	const struct plan_route *route = e->route ? plan_route(e->service->plan, e->route) : NULL;
	const char *answering = e->pinned ? "direct" : e->route->is_pool ? "pool" : "heavyweight";
	json_t *order = json_array();

	add_choice(e, order, &e->drafters, "drafter", is_drafted(e) ? NULL : "unscorable");
	if (route)
		add_lacking(e, order, &e->drafters, route->drafters, e->route->drafter_count,
		            "drafter");
	add_choice(e, order, &e->heavyweights, answering, NULL);
	if (route)
		add_lacking(e, order, &e->heavyweights, route->heavyweights,
		            e->route->heavyweight_count, answering);
	return order;
}

/* ---------------------------------------------------------------- how a draft is judged */

static json_t *
entropy_document(const struct config_entropy *entropy)
{
	return json_pack(
	        "{s:s, s:f, s:i, s:i, s:i, s:s, s:s}", "rule", entropy->rule->name, "threshold",
	        entropy->options.threshold, "window_size", (int)entropy->options.window_size,
	        "early_exit_count", (int)entropy->options.early_exit_count, "top_logprobs",
	        (int)entropy->top_logprobs, "tail",
	        entropy->tail == ENTROPY_TAIL_BOUND ? "bound" : "renormalise", "on_unscorable",
	        entropy->on_unscorable == ON_UNSCORABLE_ACCEPT ? "accept" : "escalate");
}

/* Why the heavyweight would not be started alongside a doubtful draft; NULL: it would. */
static const char *
speculation_refusal(const struct explanation *e)
{
	const struct config_speculative *speculative;

	if (!e->route || e->route->is_pool)
		return e->pinned ? "pinned" : "pool";
	speculative = &e->route->speculative;
	if (!speculative->enabled || speculative->max_share <= 0)
		return "disabled";
	if (!is_drafted(e) || !draft_request_scorable(&e->request))
		return "unscorable";
	return e->service->speculation_credit + speculative->max_share >= 1 ? NULL : "max_share";
}

static json_t *
speculation_document(const struct explanation *e)
{
	const char *why = speculation_refusal(e);
	json_t *document = json_pack("{s:b}", "allowed", why == NULL);

	if (why)
		json_object_set_new(document, "why_not", json_string(why));
	else if (e->route)
		json_object_set_new(document, "above_bits",
		                    json_real(e->route->entropy.options.threshold *
		                              e->route->speculative.soft_threshold_mult));
	return document;
}

static json_t *
stream_document(const struct explanation *e)
{
	const struct config_stream *stream = &e->route->stream;

	return json_pack("{s:b, s:s, s:s}", "asked", e->request.stream, "mode",
	                 stream->mode == STREAM_LIVE ? "live" : "hold", "late",
	                 stream->late == STREAM_LATE_FINISH ? "finish" : "handoff");
}

/* ---------------------------------------------------------------- the cache */

static json_t *
digest_document(const struct sha256 *digest)
{
	char hex[2 * sizeof(digest->bytes) + 1];

	for (size_t i = 0; i < sizeof(digest->bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest->bytes[i]);
	return json_string(hex);
}

static const char *
embedder_name(enum config_embedder embedder)
{
	return embedder == EMBEDDER_MODEL     ? "model"
	       : embedder == EMBEDDER_LEXICAL ? "lexical"
	                                      : "none";
}

static json_t *
cache_document(const struct explanation *e)
{
	const struct recall *recall = &e->recall;
	json_t *document =
	        json_pack("{s:b, s:b}", "looks_up", recall->looks_up, "keeps", recall->keeps);

	if (!recall->config) {
		json_object_set_new(document, "why_not",
		                    json_string(recall_exclusion(e->route, &e->request)));
		return document;
	}
	if (!recall->looks_up)
		json_object_set_new(document, "why_no_look_up", json_string("no-cache"));
	if (!recall->keeps)
		json_object_set_new(document, "why_not_kept", json_string("no-store"));
	json_object_set_new(document, "key", digest_document(&recall->key.exact));
	json_object_set_new(document, "has_question", json_boolean(recall->key.has_question));
	if (recall->key.has_question)
		json_object_set_new(document, "scope", digest_document(&recall->key.scope));
	json_object_set_new(document, "compares", json_boolean(recall_compares(recall)));
	json_object_set_new(document, "embedder",
	                    json_string(embedder_name(recall->config->embedder)));
	json_object_set_new(document, "similarity_threshold", json_real(recall->threshold));
	return document;
}

/* ---------------------------------------------------------------- the whole */

static bool
explanation_read(struct explanation *e, struct http_call *call, struct reading *reading,
                 struct api_error *error)
{
	struct recall_headers headers = {
	        .authorization = http_call_header(call, HTTP_FIELD_AUTHORIZATION),
	        .cache_control = http_call_header(call, HTTP_FIELD_CACHE_CONTROL),
	        .threshold = http_call_header(call, HTTP_FIELD_CACHE_THRESHOLD),
	};
	const char *forced = http_call_header(call, HTTP_FIELD_FORCE_MODEL);
	const struct plan *plan = e->service->plan;
	struct choose_spec spec = {
	        .plan = plan,
	        .request = &e->request,
	        .now_ms = worker_now_us(e->service->worker) / 1000,
	        .peek = true,
	};
	struct bytes identity = {"", 0};

	if (!reading_take_chat(reading, call, &e->request, &e->body, error) ||
	    !(forced && *forced
	              ? resolve_forced(plan->config, forced, &e->pinned, error)
	              : resolve_model(plan->config, &e->request, &e->route, &e->pinned, error)))
		return false;
	spec.route = e->route;
	spec.pinned = e->pinned;
	if (!choose_models(&spec, &e->drafters, &e->heavyweights, error))
		return false;
	if (e->route)
		identity = buf_bytes(&plan_route(plan, e->route)->identity);
	return recall_init(&e->recall, e->route, &e->request, identity, &headers, error);
}

/* Why one model would answer without a draft; NULL: it is a cascade. */
static const char *
direct_reason(const struct explanation *e)
{
	return e->pinned ? "pinned" : e->route->is_pool ? "pool" : NULL;
}

static json_t *
explanation_document(const struct explanation *e)
{
	const char *reason = direct_reason(e);
	const char *decision = reason ? "direct" : is_drafted(e) ? "cascade" : "escalate";
	json_t *document = json_pack("{s:s, s:s, s:o}", "model", e->request.model, "decision",
	                             decision, "order", order_document(e));

	if (!reason && (!is_drafted(e) || !draft_request_scorable(&e->request)))
		reason = "unscorable";
	if (reason)
		json_object_set_new(document, "reason", json_string(reason));
	if (e->pinned)
		json_object_set_new(document, "pinned", json_string(e->pinned->name));
	if (e->route)
		json_object_set_new(document, "route", json_string(e->route->name));
	if (e->route && !e->route->is_pool) {
		json_object_set_new(document, "entropy", entropy_document(&e->route->entropy));
		json_object_set_new(document, "stream", stream_document(e));
	}
	json_object_set_new(document, "speculation", speculation_document(e));
	json_object_set_new(document, "cache", cache_document(e));
	return document;
}

void
handle_explain(struct service *service, struct http_call *call, struct reading *reading)
{
	struct explanation e = {.service = service};
	struct api_error error = {0};

	if (explanation_read(&e, call, reading, &error))
		endpoint_reply_json(service, call, explanation_document(&e));
	else
		endpoint_fail(service, call, &error, NULL);
	recall_fini(&e.recall);
	choice_fini(&e.drafters);
	choice_fini(&e.heavyweights);
	blob_unref(e.body);
}
