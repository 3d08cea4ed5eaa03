/* The block models: who serves them, and what they can do. */
#include <limits.h>
#include <string.h>

#include "model/config_table.h"
#include "model/config_text.h"

enum { MODEL_NAME_MAX = 255 };

static const struct config_provider *
provider_find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->provider_count; i++) {
		if (strcmp(config->providers[i].name, name) == 0)
			return &config->providers[i];
	}
	return NULL;
}

static void
fail_provider(struct config_reader *reader, const struct config_node *node)
{
	const struct config *config = reader->config;
	const char *like = NULL;
	unsigned best = UINT_MAX, distance;

	for (size_t i = 0; i < config->provider_count; i++) {
		const char *name = config->providers[i].name;

		if (config_text_is_like(node->text, name, &distance) && distance < best) {
			best = distance;
			like = name;
		}
	}
	config_error_unknown_name(reader, node, "provider", like);
}

static void
read_provider_name(struct config_reader *reader, const struct config_node *block,
                   struct config_model *model)
{
	const struct config_node *node = config_node_find(block, "provider");
	const struct config_key *key = config_key_find(BLOCK_MODEL, "provider");
	union config_value value;

	if (!node) {
		config_error(reader, config_at_key(block, "provider"), "required");
		return;
	}
	if (!config_value_read(reader, key, node, &value))
		return;
	model->provider = provider_find(reader->config, value.text);
	if (!model->provider)
		fail_provider(reader, node);
}

/* The bit of a capability; 0 when there is none of that name. */
static unsigned
capability_bit(const char *name)
{
	static const struct {
		const char *name;
		unsigned bit;
	} capabilities[] = {
	        {"tools", MODEL_CAN_TOOLS},           {"json", MODEL_CAN_JSON},
	        {"vision", MODEL_CAN_VISION},         {"logprobs", MODEL_CAN_LOGPROBS},
	        {"embeddings", MODEL_CAN_EMBEDDINGS},
	};

	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		if (strcmp(capabilities[i].name, name) == 0)
			return capabilities[i].bit;
	}
	return 0;
}

static void
read_capabilities(struct config_reader *reader, const struct config_node *node,
                  struct config_model *model)
{
	if (!node)
		return;
	if (node->kind != NODE_LIST) {
		config_error(reader, config_at(node), "a list is wanted, such as [tools, json]");
		return;
	}
	model->capabilities_known = true;
	for (const struct config_node *item = node->first; item; item = item->next) {
		const char *text = config_text_read(reader, item);
		unsigned bit = text ? capability_bit(text) : 0;

		if (text && !bit)
			config_error(reader, config_at(item),
			             "must be one of: tools, json, vision, logprobs, embeddings");
		else if (model->capabilities & bit)
			config_error(reader, config_at(item), "is listed already");
		model->capabilities |= bit;
	}
}

static void
read_price(struct config_reader *reader, const struct config_node *node, struct config_price *price)
{
	if (config_node_is_null(node))
		return;
	config_block_read(reader, BLOCK_PRICE, node, price);
	if (node->kind != NODE_MAP)
		return;
	price->known = true;
	if (!config_node_find(node, "input"))
		config_error(reader, config_at_key(node, "input"), "required");
	if (!config_node_find(node, "output"))
		config_error(reader, config_at_key(node, "output"), "required");
	if (!config_node_find(node, "cached_input"))
		price->cached_input_pico = price->input_pico;
}

static void
read_model(struct config_reader *reader, const struct config_node *node)
{
	struct config *config = reader->config;
	struct config_model *model = &config->models[config->model_count];

	if (!config_name_check(reader, node, MODEL_NAME_MAX, true))
		return;
	model->name = model->label = model->upstream_name = config_copy(config, node->key);
	config->model_count++;
	config_block_defaults(reader, BLOCK_MODEL, model);
	config_block_read(reader, BLOCK_MODEL, node, model);
	if (!config_node_is_null(node) && node->kind != NODE_MAP)
		return;
	read_provider_name(reader, node, model);
	read_capabilities(reader, config_node_find(node, "capabilities"), model);
	read_price(reader, config_node_find(node, "price"), &model->price);
}

void
config_read_models(struct config_reader *reader, const struct config_node *root)
{
	const struct config_node *node = config_node_find(root, "models");
	const struct config_node *routes = config_node_find(root, "routes");

	if (config_node_is_null(node) || !config_block_check(reader, node))
		return;
	/* Each route may imply one more, see config_resolve_embedder. */
	reader->config->models =
	        config_alloc(reader->config, node->count + (routes ? routes->count : 0),
	                     sizeof(struct config_model));
	for (const struct config_node *child = node->first; child; child = child->next)
		read_model(reader, child);
}
