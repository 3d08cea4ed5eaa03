/*
 * The short form: two blocks that each name a provider and a model. It becomes the long form
 * with one route, `auto`, and the models `drafter` and `heavyweight`.
 *
 * Where both blocks describe the same server in the same way they share one provider, named as
 * they name it; its retries and prefill are the heavyweight's, for only that block has them. Where
 * they name it alike but differ (a longer timeout, say), there are two, `drafter` and
 * `heavyweight`, and the name they gave stays as the label by which clients pin.
 */
#include <string.h>

#include "model/config_table.h"

enum { CONNECT_TIMEOUT_MS = 5000, PROVIDER_NAME_MAX = 64 };

static bool
text_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool
provider_same(const struct config_provider *a, const struct config_provider *b)
{
	if (!text_same(a->label, b->label) || !text_same(a->base_url, b->base_url) ||
	    !text_same(a->api_key, b->api_key) ||
	    a->first_byte_timeout_ms != b->first_byte_timeout_ms ||
	    a->stream_usage != b->stream_usage || a->header_count != b->header_count)
		return false;
	for (size_t i = 0; i < a->header_count; i++) {
		if (!text_same(a->headers[i].name, b->headers[i].name) ||
		    !text_same(a->headers[i].value, b->headers[i].value))
			return false;
	}
	return true;
}

/* Waiting longer for a connection than for an answer would make no sense. */
static uint32_t
connect_timeout_ms(uint32_t timeout_ms)
{
	return timeout_ms && timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;
}

static void
read_side(struct config_reader *reader, const struct config_node *root, enum config_block block,
          struct config_provider *provider, struct config_model *model)
{
	const char *name = config_block_path(block);
	const struct config_node *node = config_node_find(root, name);
	struct config_side side = {0};

	config_block_defaults(reader, block, &side);
	config_block_read(reader, block, node, &side);
	if (!config_name_is_fit(side.provider, PROVIDER_NAME_MAX, false))
		config_error(reader, config_at_key(node, "provider"),
		             "a name must be 1 to %d visible ASCII characters without `/`",
		             PROVIDER_NAME_MAX);
	if (strcmp(side.provider, "openai") != 0 && !config_node_find(node, "base_url"))
		config_error(reader, config_at_key(node, "base_url"),
		             "required, since the provider is not openai");
	config_block_defaults(reader, BLOCK_PROVIDER, provider);
	provider->name = provider->label = side.provider;
	provider->base_url = side.base_url;
	provider->api_key = side.api_key;
	provider->connect_timeout_ms = connect_timeout_ms(side.timeout_ms);
	provider->first_byte_timeout_ms = provider->idle_timeout_ms = side.timeout_ms;
	provider->stream_usage = side.stream_usage;
	if (block == BLOCK_HEAVYWEIGHT) {
		provider->retries = side.retries;
		provider->prefill = side.prefill;
	}
	config_read_headers(reader, node, provider);
	*model = (struct config_model){
	        .name = config_copy(reader->config, name),
	        .upstream_name = side.model,
	        .label = side.model,
	        .provider = provider,
	};
}

static void
default_keys(struct config_reader *reader, const struct config_node *root,
             struct config_provider *providers)
{
	static const char *const names[] = {"drafter", "heavyweight"};
	static const char *const paths[] = {"drafter.api_key", "heavyweight.api_key"};

	for (size_t i = 0; i < 2; i++) {
		const struct config_node *node = config_node_find(root, names[i]);

		config_provider_key_default(reader, node,
		                            node ? config_at_key(node, "api_key")
		                                 : config_at_key(root, paths[i]),
		                            &providers[i]);
	}
}

void
config_read_short_form(struct config_reader *reader, const struct config_node *root)
{
	struct config *config = reader->config;
	struct config_provider *providers = config_alloc(config, 2, sizeof(*providers));
	struct config_model *models = config_alloc(config, 3, sizeof(*models));
	struct config_route *route = config_alloc(config, 1, sizeof(*route));

	read_side(reader, root, BLOCK_DRAFTER, &providers[0], &models[0]);
	read_side(reader, root, BLOCK_HEAVYWEIGHT, &providers[1], &models[1]);
	default_keys(reader, root, providers);
	config->providers = providers;
	config->provider_count = 2;
	if (provider_same(&providers[0], &providers[1])) {
		config->provider_count = 1;
		models[1].provider = &providers[0];
		providers[0].retries = providers[1].retries;
		providers[0].prefill = providers[1].prefill;
	} else if (strcmp(providers[0].label, providers[1].label) == 0) {
		providers[0].name = models[0].name;
		providers[1].name = models[1].name;
	}
	config->models = models;
	config->model_count = 2;

	*route = reader->root.common;
	route->name = config_copy(config, "auto");
	route->drafters = config_alloc(config, 1, sizeof(*route->drafters));
	route->drafters[route->drafter_count++] = &models[0];
	route->heavyweights = config_alloc(config, 1, sizeof(*route->heavyweights));
	route->heavyweights[route->heavyweight_count++] = &models[1];
	config_resolve_embedder(reader, root, route);
	config->routes = route;
	config->route_count = 1;
}
