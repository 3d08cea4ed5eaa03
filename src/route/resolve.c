#include "route/resolve.h"

#include <stdio.h>

bool
resolve_model(const struct config *config, const struct chat_request *request,
              const struct config_route **route, const struct config_model **pinned,
              struct api_error *error)
{
	const char *name = request->model;

	*pinned = NULL;
	*route = config_route_find(config, name);
	if (!*route && (name[0] == '\0' || strcmp(name, "auto") == 0))
		*route = config->default_route;
	if (*route)
		return true;
	*pinned = config_model_find(config, name);
	if (*pinned) {
		if (config_model_chats(*pinned))
			return true;
		api_error_set(error, 422, "model", NULL,
		              "The model `%s` makes embeddings; it cannot chat.", name);
		return false;
	}
	if (config->unknown_model == UNKNOWN_MODEL_REJECT) {
		api_error_set(error, 404, "model", "model_not_found",
		              "The model `%s` does not exist here.", name);
		return false;
	}
	*route = config->default_route;
	return true;
}

bool
resolve_forced(const struct config *config, const char *name, const struct config_model **pinned,
               struct api_error *error)
{
	*pinned = config_model_find(config, name);
	if (!*pinned)
		api_error_set(error, 404, NULL, "model_not_found",
		              "The model of the header X-Gateway-Force-Model, `%s`, does not exist "
		              "here.",
		              name);
	else if (!config_model_chats(*pinned))
		api_error_set(error, 422, NULL, NULL,
		              "The model of the header X-Gateway-Force-Model, `%s`, makes "
		              "embeddings; it cannot chat.",
		              name);
	else
		return true;
	return false;
}

static const struct config_model *
resolve_fallback(const struct config *config, struct json_value value, size_t i,
                 struct api_error *error)
{
	const struct config_model *model = NULL;
	char name[512], param[32];

	snprintf(param, sizeof(param), "fallbacks[%zu]", i);
	if (json_string_copy(value, name, sizeof(name)))
		model = config_model_find(config, name);
	if (!model) {
		api_error_set(error, 400, param, "model_not_found",
		              "Invalid value for '%s': no model of that name exists here.", param);
		return NULL;
	}
	if (config_model_chats(model))
		return model;
	api_error_set(error, 422, param, NULL, "The model `%s` makes embeddings; it cannot chat.",
	              name);
	return NULL;
}

bool
resolve_fallbacks(const struct config *config, const struct chat_request *request,
                  const struct config_model *models[CHAT_FALLBACKS_MAX], size_t *count,
                  struct api_error *error)
{
	struct json_value list = request->slots[CHAT_FALLBACKS].value, value;
	struct json_scan scan;

	*count = 0;
	if (list.kind != JSON_KIND_ARRAY)
		return true;
	json_scan_init(&scan, json_value_text(list));
	json_enter(&scan, JSON_KIND_ARRAY);
	while (*count < CHAT_FALLBACKS_MAX && json_next_element(&scan) &&
	       json_take(&scan, &value)) {
		models[*count] = resolve_fallback(config, value, *count, error);
		if (!models[*count])
			return false;
		++*count;
	}
	return true;
}
