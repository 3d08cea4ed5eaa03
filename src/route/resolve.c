#include "route/resolve.h"

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
