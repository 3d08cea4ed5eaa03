/* The block cache: of the root, or of a route; and which model embeds its questions. */
#include <string.h>

#include "model/config_table.h"

/* There is one cache, whatever the routes say. */
static void
refuse_shared_keys(struct config_reader *reader, const struct config_node *block)
{
	static const char *const shared[] = {"max_bytes", "max_entries", "caller_share", "file",
	                                     "file_interval"};

	for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++) {
		const struct config_node *node = config_node_find(block, shared[i]);

		if (node)
			config_error(reader, config_at(node),
			             "is for all routes: it belongs in the top level's block");
	}
}

void
config_read_cache(struct config_reader *reader, const struct config_node *block,
                  struct config_route *route)
{
	config_block_read(reader, BLOCK_CACHE, block, &route->cache);
	if (route != &reader->root.common)
		refuse_shared_keys(reader, block);
}

/* A model that the file does not name under `models`: one at the drafter's provider. There is room for one
 * for each route behind the others. */
static const struct config_model *
add_embedding_model(struct config_reader *reader, const struct config_route *route)
{
	struct config *config = reader->config;
	const struct config_provider *provider = route->drafters[0]->provider;
	struct config_model *model = &config->models[config->model_count];
	const char *name = route->cache.embedding_name;
	size_t n = strlen(provider->name) + strlen(name) + 2;

	for (size_t i = 0; i < config->model_count; i++) {
		if (config->models[i].implied && config->models[i].provider == provider &&
		    strcmp(config->models[i].upstream_name, name) == 0)
			return &config->models[i];
	}
	model->name = config_alloc(config, n, 1);
	memcpy(model->name, provider->name, strlen(provider->name));
	model->name[strlen(provider->name)] = '/';
	memcpy(model->name + strlen(provider->name) + 1, name, strlen(name));
	model->upstream_name = model->label = route->cache.embedding_name;
	model->provider = provider;
	model->capabilities_known = true;
	model->capabilities = MODEL_CAN_EMBEDDINGS;
	model->implied = true;
	config->model_count++;
	return model;
}

void
config_resolve_embedder(struct config_reader *reader, const struct config_node *block,
                        struct config_route *route)
{
	struct config_cache *cache = &route->cache;
	struct config_place place = config_at_key(block, "cache.embedding_model");
	const struct config_model *model;

	if (cache->embedder == EMBEDDER_UNSET)
		cache->embedder = cache->embedding_name ? EMBEDDER_MODEL : EMBEDDER_LEXICAL;
	if (!cache->enabled || cache->embedder != EMBEDDER_MODEL)
		return;
	if (!cache->embedding_name) {
		config_error(reader, place, "required, since cache.embedder is model");
		return;
	}
	model = config_model_named(reader->config, cache->embedding_name);
	/* A route without a drafter, or a drafter without a provider, has been refused before. */
	if (!model && route->drafter_count > 0 && route->drafters[0]->provider)
		model = add_embedding_model(reader, route);
	if (model && model->capabilities_known && !(model->capabilities & MODEL_CAN_EMBEDDINGS))
		config_error(reader, place, "the model `%s` is declared without embeddings",
		             cache->embedding_name);
	cache->embedding_model = model;
}
