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
	for (size_t i = 0; i < plan->config->provider_count; i++) {
		if (plan->chat[i])
			http_target_free(plan->chat[i]);
	}
	free(plan->chat);
	config_unref(plan->config);
	free(plan);
}

struct plan *
plan_new(struct config *config, char *error, size_t size)
{
	struct plan *plan = mem_new(sizeof(*plan));

	plan->config = config;
	plan->created_s = clock_wall_ms() / 1000;
	plan->references = 1;
	plan->chat = mem_array(config->provider_count, sizeof(*plan->chat));
	for (size_t i = 0; i < config->provider_count; i++) {
		plan->chat[i] = target_new(&config->providers[i], "/chat/completions", error, size);
		if (!plan->chat[i]) {
			plan_free(plan);
			return NULL;
		}
	}
	return plan;
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
