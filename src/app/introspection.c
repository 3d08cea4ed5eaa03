/* What models and routes there are, what they can and cost, and how they do. Never an address, never a key. */
#include <string.h>

#include "app/endpoints_private.h"
#include "base/bytes.h"
#include "base/clock.h"

/* ---------------------------------------------------------------- what is told of one model */

static json_t *
price_document(const struct config_price *price)
{
	/* USD for a million tokens is pico-USD for one, times a million. */
	return json_pack("{s:f, s:f, s:f}", "input", (double)price->input_pico / 1e6,
	                 "cached_input", (double)price->cached_input_pico / 1e6, "output",
	                 (double)price->output_pico / 1e6);
}

static json_t *
capabilities_document(unsigned capabilities)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
	        {MODEL_CAN_TOOLS, "tools"},           {MODEL_CAN_JSON, "json"},
	        {MODEL_CAN_VISION, "vision"},         {MODEL_CAN_LOGPROBS, "logprobs"},
	        {MODEL_CAN_EMBEDDINGS, "embeddings"},
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (capabilities & names[i].bit)
			json_array_append_new(list, json_string(names[i].name));
	}
	return list;
}

static json_t *
health_document(enum breaker_state state, unsigned in_flight)
{
	return json_pack("{s:s, s:i}", "state", breaker_state_name(state), "in_flight",
	                 (int)in_flight);
}

static void
look_at(struct service *service, const struct config_model *model, struct health_report *report)
{
	health_report(plan_candidate(service->plan, model)->health,
	              worker_now_us(service->worker) / 1000, report);
}

/* What is not declared is left out. */
static json_t *
describe_model(struct service *service, const struct config_model *model)
{
	struct health_report report;
	json_t *document = json_pack("{s:s, s:s, s:s}", "kind", "model", "provider",
	                             model->provider->label, "model", model->upstream_name);

	if (model->price.known)
		json_object_set_new(document, "price", price_document(&model->price));
	if (model->capabilities_known)
		json_object_set_new(document, "capabilities",
		                    capabilities_document(model->capabilities));
	if (model->context > 0)
		json_object_set_new(document, "context", json_integer((json_int_t)model->context));
	look_at(service, model, &report);
	json_object_set_new(document, "health", health_document(report.state, report.in_flight));
	return document;
}

/* ---------------------------------------------------------------- what is told of a route */

/* The names of some models; the best of their states, and what they have in flight, go into the other two. */
static json_t *
list_models(struct service *service, const struct config_model *const *models, size_t count,
            enum breaker_state *best, unsigned *in_flight)
{
	/* In the order of preference. */
	static const int ranks[] = {
	        [BREAKER_CLOSED] = 0, [BREAKER_HALF_OPEN] = 1, [BREAKER_OPEN] = 2};
	json_t *list = json_array();

	*best = BREAKER_OPEN;
	for (size_t i = 0; i < count; i++) {
		struct health_report report;

		json_array_append_new(list, json_string(models[i]->name));
		look_at(service, models[i], &report);
		*in_flight += report.in_flight;
		if (ranks[report.state] < ranks[*best])
			*best = report.state;
	}
	return list;
}

/* A route is as healthy as the best of the models that answer in the end. */
static json_t *
describe_route(struct service *service, const struct config_route *route)
{
	static const char *const strategies[] = {[STRATEGY_ORDER] = "order",
	                                         [STRATEGY_HEALTH] = "health",
	                                         [STRATEGY_WEIGHTED] = "weighted"};
	enum breaker_state drafting, answering;
	unsigned in_flight = 0;
	json_t *answerers = list_models(service, route->heavyweights, route->heavyweight_count,
	                                &answering, &in_flight);
	json_t *document = json_pack("{s:s, s:b}", "kind", "route", "default",
	                             service->plan->config->default_route == route);

	if (route->is_pool) {
		json_object_set_new(document, "strategy", json_string(strategies[route->strategy]));
		json_object_set_new(document, "models", answerers);
	} else {
		json_object_set_new(document, "drafter",
		                    list_models(service, route->drafters, route->drafter_count,
		                                &drafting, &in_flight));
		json_object_set_new(document, "heavyweight", answerers);
	}
	json_object_set_new(document, "health", health_document(answering, in_flight));
	return document;
}

/* ---------------------------------------------------------------- GET /v1/models */

/* Takes over `description`. */
static json_t *
model_document(const struct plan *plan, const char *id, const char *owner, json_t *description)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", id, "object", "model", "created",
	                 (json_int_t)plan->created_s, "owned_by", owner, "draft_thinker",
	                 description);
}

static json_t *
route_entry(struct service *service, const struct config_route *route, const char *id)
{
	return model_document(service->plan, id, "draft-thinker", describe_route(service, route));
}

static json_t *
model_entry(struct service *service, const struct config_model *model, const char *id)
{
	return model_document(service->plan, id, model->provider->label,
	                      describe_model(service, model));
}

void
handle_models(struct service *service, struct http_call *call)
{
	const struct config *config = service->plan->config;
	json_t *list = json_array();

	for (size_t i = 0; i < config->route_count; i++)
		json_array_append_new(
		        list, route_entry(service, &config->routes[i], config->routes[i].name));
	for (size_t i = 0; i < config->model_count; i++) {
		const struct config_model *model = &config->models[i];

		if (!model->implied)
			json_array_append_new(list, model_entry(service, model, model->name));
	}
	endpoint_reply_json(service, call, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void
handle_model(struct service *service, struct http_call *call)
{
	const char *id = http_call_path(call) + strlen("/v1/models/");
	const struct config *config = service->plan->config;
	const struct config_route *route = config_route_find(config, id);
	const struct config_model *model = route ? NULL : config_model_find(config, id);
	struct api_error error;

	if (route) {
		endpoint_reply_json(service, call, route_entry(service, route, id));
	} else if (model) {
		endpoint_reply_json(service, call, model_entry(service, model, id));
	} else {
		api_error_set(&error, 404, "model", "model_not_found",
		              "The model `%.200s` does not exist here.", id);
		endpoint_fail(service, call, &error, NULL);
	}
}

/* ---------------------------------------------------------------- GET /v1/routing/status */

static bool
is_busy(const struct candidate *candidate)
{
	unsigned limit = candidate->model->provider->max_concurrent;

	return limit > 0 && load_count(candidate->load) >= limit;
}

/* Why no request goes there now; NULL: they do. */
static const char *
out_reason(const struct health_report *report, bool busy)
{
	if (report->state == BREAKER_OPEN)
		return "breaker_open";
	if (report->probing)
		return "probe_under_way";
	return busy ? "provider_busy" : NULL;
}

/* A detail may have been cut within a character. */
static json_t *
detail_document(const char *detail)
{
	struct bytes text = bytes_of(detail);

	while (text.n > 0 && !bytes_is_utf8(text))
		text.n--;
	return json_stringn(text.p, text.n);
}

static json_t *
out_document(const struct health_report *report, const char *reason)
{
	json_t *document;

	if (!reason)
		return json_null();
	document = json_pack("{s:s}", "reason", reason);
	if (report->state == BREAKER_CLOSED)
		return document;
	json_object_set_new(document, "open_for_ms", json_integer((json_int_t)report->open_ms));
	json_object_set_new(document, "due_in_ms", json_integer((json_int_t)report->due_ms));
	if (report->detail[0])
		json_object_set_new(document, "last_failure", detail_document(report->detail));
	return document;
}

static json_t *
failure_document(const struct health_report *report)
{
	if (!report->detail[0])
		return json_null();
	return json_pack("{s:o, s:I}", "detail", detail_document(report->detail), "ago_ms",
	                 (json_int_t)report->failed_ms);
}

static json_t *
latency_document(const struct health_report *report)
{
	if (!report->has_latency)
		return json_null();
	return json_pack("{s:f, s:f, s:f}", "p50", report->latency_ms[0], "p90",
	                 report->latency_ms[1], "p99", report->latency_ms[2]);
}

static json_t *
status_of_model(struct service *service, const struct candidate *candidate)
{
	const struct config_model *model = candidate->model;
	struct health_report report;
	const char *reason;

	look_at(service, model, &report);
	reason = out_reason(&report, is_busy(candidate));
	return json_pack(
	        "{s:s, s:s, s:s, s:b, s:s, s:i, s:I, s:I, s:o, s:o, s:o}", "id", model->name,
	        "provider", model->provider->label, "model", model->upstream_name, "usable",
	        reason == NULL, "breaker", breaker_state_name(report.state), "in_flight",
	        (int)report.in_flight, "requests", (json_int_t)report.requests, "failures",
	        (json_int_t)report.failures, "latency_ms", latency_document(&report), "out",
	        out_document(&report, reason), "last_failure", failure_document(&report));
}

static json_t *
status_of_provider(const struct config_provider *provider, const struct load *load)
{
	return json_pack("{s:s, s:i, s:i}", "id", provider->label, "in_flight",
	                 (int)load_count(load), "max_concurrent", (int)provider->max_concurrent);
}

void
handle_status(struct service *service, struct http_call *call)
{
	const struct plan *plan = service->plan;
	const struct config *config = plan->config;
	json_t *models = json_array(), *providers = json_array();

	for (size_t i = 0; i < config->model_count; i++)
		json_array_append_new(models, status_of_model(service, &plan->models[i]));
	for (size_t i = 0; i < config->provider_count; i++)
		json_array_append_new(providers,
		                      status_of_provider(&config->providers[i], plan->loads[i]));
	endpoint_reply_json(
	        service, call,
	        json_pack("{s:s, s:f, s:b, s:i, s:i, s:o, s:o}", "version", DT_VERSION, "uptime_s",
	                  ((double)clock_now_us() / 1000 - (double)service->started_ms) / 1000,
	                  "draining", service->draining, "in_flight",
	                  (int)load_count(service->requests), "max_concurrent",
	                  (int)config->server.max_concurrent, "models", models, "providers",
	                  providers));
}
