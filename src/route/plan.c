#include "route/plan.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"

static struct http_target *
target_new(const struct config_provider *provider, const char *path, char *error, size_t size)
{
	size_t count = 0;
	struct http_header *headers = mem_array(provider->header_count + 2, sizeof(*headers));
	char *url = mem_format("%s%s", provider->base_url, path);
	char *bearer = NULL;
	struct http_target *target;

	headers[count++] = (struct http_header){"Content-Type", "application/json"};
	if (provider->api_key) {
		bearer = mem_format("Bearer %s", provider->api_key);
		headers[count++] = (struct http_header){"Authorization", bearer};
	}
	for (size_t i = 0; i < provider->header_count; i++)
		headers[count++] =
		        (struct http_header){provider->headers[i].name, provider->headers[i].value};
	target = http_target_new(url, headers, count, error, size);
	if (bearer) {
		explicit_bzero(bearer, strlen(bearer));
		free(bearer);
	}
	free(url);
	free(headers);
	return target;
}

static void
plan_free(struct plan *plan)
{
	const struct config *config = plan->config;

	for (size_t i = 0; i < config->provider_count; i++) {
		if (plan->chat[i])
			http_target_free(plan->chat[i]);
		if (plan->embeddings[i])
			http_target_free(plan->embeddings[i]);
		load_unref(plan->loads[i]);
	}
	for (size_t i = 0; i < config->model_count; i++)
		health_unref(plan->models[i].health);
	for (size_t i = 0; i < config->route_count; i++) {
		free(plan->routes[i].drafters);
		free(plan->routes[i].heavyweights);
		picker_free(plan->routes[i].picker);
		buf_fini(&plan->routes[i].identity);
	}
	free(plan->chat);
	free(plan->embeddings);
	free(plan->loads);
	free(plan->models);
	free(plan->routes);
	config_unref(plan->config);
	free(plan);
}

static bool
same_provider(const struct config_provider *a, const struct config_provider *b)
{
	return strcmp(a->name, b->name) == 0 && strcmp(a->base_url, b->base_url) == 0;
}

static struct load *
plan_inherit_load(const struct plan *previous, const struct config_provider *provider)
{
	for (size_t i = 0; previous && i < previous->config->provider_count; i++) {
		if (same_provider(&previous->config->providers[i], provider))
			return load_ref(previous->loads[i]);
	}
	return load_new();
}

static struct health *
plan_inherit_health(const struct plan *previous, const struct config_model *model,
                    const struct breaker_options *options)
{
	for (size_t i = 0; previous && i < previous->config->model_count; i++) {
		const struct config_model *old = &previous->config->models[i];

		if (strcmp(old->name, model->name) == 0 &&
		    strcmp(old->upstream_name, model->upstream_name) == 0 &&
		    same_provider(old->provider, model->provider)) {
			health_configure(previous->models[i].health, options);
			return health_ref(previous->models[i].health);
		}
	}
	return health_new(options);
}

static struct candidate *
plan_candidates(const struct plan *plan, const struct config_model *const *models, size_t count)
{
	struct candidate *list = mem_array(count, sizeof(*list));

	for (size_t i = 0; i < count; i++)
		list[i] = *plan_candidate(plan, models[i]);
	return list;
}

static void
identity_add(struct buf *identity, const struct config_model *const *models, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		buf_add_json_string(identity, bytes_of(models[i]->provider->base_url));
		buf_add_json_string(identity, bytes_of(models[i]->upstream_name));
	}
	buf_add(identity, "\n", 1);
}

/* Its name, its models and what compares its questions: what was answered before one of them changed is
 * another route's answer. */
static void
identity_write(const struct config_route *route, struct buf *identity)
{
	const struct config_cache *cache = &route->cache;

	buf_add_json_string(identity, bytes_of(route->name));
	identity_add(identity, route->drafters, route->drafter_count);
	identity_add(identity, route->heavyweights, route->heavyweight_count);
	identity_add(identity, &cache->embedding_model, cache->embedding_model ? 1 : 0);
	buf_add_u64(identity, cache->embedding_dimensions);
	buf_add_u64(identity, cache->embedder);
	buf_add_u64(identity, route->reasoning_effort);
}

static void
plan_fill(struct plan *plan, const struct plan *previous)
{
	const struct config *config = plan->config;

	for (size_t i = 0; i < config->provider_count; i++)
		plan->loads[i] = plan_inherit_load(previous, &config->providers[i]);
	for (size_t i = 0; i < config->model_count; i++) {
		const struct config_model *model = &config->models[i];

		plan->models[i] = (struct candidate){
		        .model = model,
		        .health = plan_inherit_health(previous, model, &config->breaker),
		        .load = plan->loads[model->provider - config->providers],
		};
	}
	for (size_t i = 0; i < config->route_count; i++) {
		const struct config_route *route = &config->routes[i];

		plan->routes[i].drafters =
		        plan_candidates(plan, route->drafters, route->drafter_count);
		plan->routes[i].heavyweights =
		        plan_candidates(plan, route->heavyweights, route->heavyweight_count);
		if (route->is_pool && route->strategy != STRATEGY_ORDER)
			plan->routes[i].picker = picker_new(route->heavyweight_count);
		identity_write(route, &plan->routes[i].identity);
	}
}

struct plan *
plan_new(struct config *config, const struct plan *previous, char *error, size_t size)
{
	struct plan *plan = mem_new(sizeof(*plan));

	plan->config = config;
	plan->created_s = clock_wall_ms() / 1000;
	plan->references = 1;
	plan->chat = mem_array(config->provider_count, sizeof(struct http_target *));
	plan->embeddings = mem_array(config->provider_count, sizeof(struct http_target *));
	plan->loads = mem_array(config->provider_count, sizeof(struct load *));
	plan->models = mem_array(config->model_count, sizeof(*plan->models));
	plan->routes = mem_array(config->route_count, sizeof(*plan->routes));
	for (size_t i = 0; i < config->provider_count; i++) {
		plan->chat[i] = target_new(&config->providers[i], "/chat/completions", error, size);
		plan->embeddings[i] = target_new(&config->providers[i], "/embeddings", error, size);
		if (!plan->chat[i] || !plan->embeddings[i]) {
			plan_free(plan);
			return NULL;
		}
	}
	plan_fill(plan, previous);
	return plan;
}

static bool
plan_has_health(const struct plan *plan, const struct health *health)
{
	for (size_t i = 0; i < plan->config->model_count; i++) {
		if (plan->models[i].health == health)
			return true;
	}
	return false;
}

void
plan_show_breakers(const struct plan *old, const struct plan *new, struct metrics_shard *shard)
{
	for (size_t i = 0; i < old->config->model_count; i++) {
		const struct candidate *candidate = &old->models[i];
		int step;

		if (!plan_has_health(new, candidate->health))
			health_retire(candidate->health);
		step = health_show(candidate->health);
		if (step)
			metric_add(shard, METRIC_BREAKER_STATE, candidate->model->label, NULL,
			           step);
	}
}

struct plan *
plan_ref(struct plan *plan)
{
	__atomic_add_fetch(&plan->references, 1, __ATOMIC_RELAXED);
	return plan;
}

void
plan_unref(struct plan *plan)
{
	if (plan && __atomic_sub_fetch(&plan->references, 1, __ATOMIC_ACQ_REL) == 0)
		plan_free(plan);
}

const struct http_target *
plan_chat_target(const struct plan *plan, const struct config_model *model)
{
	return plan->chat[model->provider - plan->config->providers];
}

const struct http_target *
plan_embeddings_target(const struct plan *plan, const struct config_model *model)
{
	return plan->embeddings[model->provider - plan->config->providers];
}

const struct candidate *
plan_candidate(const struct plan *plan, const struct config_model *model)
{
	return &plan->models[model - plan->config->models];
}

const struct plan_route *
plan_route(const struct plan *plan, const struct config_route *route)
{
	return &plan->routes[route - plan->config->routes];
}
