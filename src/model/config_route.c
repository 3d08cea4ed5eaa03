/* The block routes: which models draft and which answer. */
#include <limits.h>
#include <string.h>

#include "model/config_table.h"
#include "model/config_text.h"

enum { ROUTE_NAME_MAX = 64 };

static void
fail_model(struct config_reader *reader, const struct config_node *node)
{
	const struct config *config = reader->config;
	const char *like = NULL;
	unsigned best = UINT_MAX, distance;

	for (size_t i = 0; i < config->model_count; i++) {
		const char *name = config->models[i].name;

		if (config_text_is_like(node->text, name, &distance) && distance < best) {
			best = distance;
			like = name;
		}
	}
	config_error_unknown_name(reader, node, "model", like);
}

static bool
model_is_fit(struct config_reader *reader, const struct config_node *node,
             const struct config_model *model, bool drafts)
{
	unsigned can = model->capabilities;

	if (!model->capabilities_known)
		return true;
	if (can == MODEL_CAN_EMBEDDINGS) {
		config_error(reader, config_at(node),
		             "a model that has only embeddings cannot answer");
		return false;
	}
	if (drafts && !(can & MODEL_CAN_LOGPROBS)) {
		config_error(reader, config_at(node),
		             "logprobs: a drafter must be able to give them");
		return false;
	}
	return true;
}

/* The models of a route's drafter, heavyweight or pool: a name or a list of names. */
struct model_list {
	const struct config_model **models; /* in the snapshot's memory */
	unsigned *weights;                  /* likewise; a pool's alone */
	size_t count;
	bool drafts, pools;
	const struct config_node *weighed; /* the first item that has a weight of its own */
};

/* An item of a pool's list: a name, or {model, weight}. The node that names the model; NULL after a fault. */
static const struct config_node *
model_list_weigh(struct config_reader *reader, const struct config_node *node,
                 struct model_list *list)
{
	const struct config_node *weight = config_node_find(node, "weight");
	const struct config_node *model = config_node_find(node, "model");
	struct config_pooled pooled;

	config_block_defaults(reader, BLOCK_POOLED, &pooled);
	if (node->kind == NODE_MAP) {
		config_block_read(reader, BLOCK_POOLED, node, &pooled);
		if (!model)
			config_error(reader, config_at_key(node, "model"), "required");
	}
	if (weight && !list->weighed)
		list->weighed = weight;
	list->weights[list->count] = pooled.weight;
	return node->kind == NODE_MAP ? model : node;
}

static void
model_list_add(struct config_reader *reader, const struct config_node *node,
               struct model_list *list)
{
	const struct config_model *model;
	const char *name;

	if (list->pools)
		node = model_list_weigh(reader, node, list);
	name = node ? config_text_read(reader, node) : NULL;
	if (!name)
		return;
	model = config_model_named(reader->config, name);
	if (!model) {
		fail_model(reader, node);
		return;
	}
	if (!model_is_fit(reader, node, model, list->drafts))
		return;
	for (size_t i = 0; i < list->count; i++) {
		if (list->models[i] == model) {
			config_error(reader, config_at(node), "is listed already");
			return;
		}
	}
	list->models[list->count++] = model;
}

static void
model_list_alloc(struct config_reader *reader, struct model_list *list, size_t count)
{
	list->models = config_alloc(reader->config, count, sizeof(struct config_model *));
	if (list->pools)
		list->weights = config_alloc(reader->config, count, sizeof(*list->weights));
}

static void
read_model_list(struct config_reader *reader, const struct config_node *block, const char *key,
                struct model_list *list)
{
	const struct config_node *node = config_node_find(block, key);

	if (!node) {
		config_error(reader, config_at_key(block, key), "required");
	} else if (node->kind == NODE_MAP || config_node_is_null(node)) {
		config_error(reader, config_at(node),
		             "a model's name or a list of names is wanted");
	} else if (node->kind == NODE_SCALAR) {
		model_list_alloc(reader, list, 1);
		model_list_add(reader, node, list);
	} else if (node->count == 0) {
		config_error(reader, config_at(node), "must not be empty");
	} else if (list->pools && node->count > CONFIG_POOL_MAX) {
		config_error(reader, config_at(node), "a pool has at most %d models",
		             CONFIG_POOL_MAX);
	} else {
		model_list_alloc(reader, list, node->count);
		for (const struct config_node *item = node->first; item; item = item->next)
			model_list_add(reader, item, list);
	}
}

/* node: the block speculative, after it was read into route. */
static void
warn_eager(struct config_reader *reader, const struct config_node *node,
           const struct config_speculative *speculative)
{
	if (config_node_is_null(node) || node->kind != NODE_MAP || !speculative->enabled ||
	    speculative->soft_threshold_mult > 0 || speculative->max_share <= 0)
		return;
	config_warning(reader, config_at_key(node, "soft_threshold_mult"),
	               "0 starts the heavyweight at the first token that is not wholly certain; "
	               "to switch speculation off, set enabled to false");
}

void
config_read_route_blocks(struct config_reader *reader, const struct config_node *block,
                         struct config_route *route)
{
	const struct config_node *speculative = config_node_find(block, "speculative");

	config_block_read(reader, BLOCK_ENTROPY, config_node_find(block, "entropy"),
	                  &route->entropy);
	config_block_read(reader, BLOCK_STREAM, config_node_find(block, "stream"), &route->stream);
	config_block_read(reader, BLOCK_SPECULATIVE, speculative, &route->speculative);
	warn_eager(reader, speculative, &route->speculative);
	config_read_cache(reader, config_node_find(block, "cache"), route);
}

/* Neither a draft nor what is made of one. */
static void
warn_useless(struct config_reader *reader, const struct config_node *node)
{
	static const char *const keys[] = {"entropy", "speculative", "stream", "cache",
	                                   "on_heavyweight_down"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (config_node_find(node, keys[i]))
			config_warning(reader, config_at_key(node, keys[i]),
			               "without effect: a pool neither drafts nor keeps answers");
	}
}

static void
read_pool(struct config_reader *reader, const struct config_node *node, struct config_route *route)
{
	static const char *const keys[] = {"drafter", "heavyweight"};
	struct model_list list = {.pools = true};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (config_node_find(node, keys[i]))
			config_error(reader, config_at_key(node, keys[i]),
			             "a route is either a pool (models) or a cascade (drafter and "
			             "heavyweight)");
	}
	warn_useless(reader, node);
	read_model_list(reader, node, "models", &list);
	if (list.weighed && route->strategy == STRATEGY_ORDER)
		config_warning(reader, config_at(list.weighed),
		               "without effect: the strategy is order");
	route->is_pool = true;
	route->heavyweights = list.models;
	route->heavyweight_count = list.count;
	route->weights = list.weights;
	route->cache.enabled = false;
	route->cache.embedder = EMBEDDER_NONE;
}

static void
read_cascade(struct config_reader *reader, const struct config_node *node,
             struct config_route *route)
{
	struct model_list drafters = {.drafts = true}, heavyweights = {0};
	const struct config_node *strategy = config_node_find(node, "strategy");

	if (strategy)
		config_error(reader, config_at(strategy), "only a pool (models) has one");
	read_model_list(reader, node, "drafter", &drafters);
	read_model_list(reader, node, "heavyweight", &heavyweights);
	route->drafters = drafters.models;
	route->drafter_count = drafters.count;
	route->heavyweights = heavyweights.models;
	route->heavyweight_count = heavyweights.count;
	config_resolve_embedder(reader, node, route);
}

static void
read_route(struct config_reader *reader, const struct config_node *node)
{
	struct config *config = reader->config;
	struct config_route *route = &config->routes[config->route_count];

	if (!config_name_check(reader, node, ROUTE_NAME_MAX, false))
		return;
	if (config_model_named(config, node->key))
		config_error(reader, config_at(node), "a model has this name too");
	*route = reader->root.common;
	route->name = config_copy(config, node->key);
	config->route_count++;
	config_block_read(reader, BLOCK_ROUTE, node, route);
	if (!config_node_is_null(node) && node->kind != NODE_MAP)
		return;
	config_read_route_blocks(reader, node, route);
	if (config_node_find(node, "models"))
		read_pool(reader, node, route);
	else
		read_cascade(reader, node, route);
}

void
config_read_routes(struct config_reader *reader, const struct config_node *root)
{
	const struct config_node *node = config_node_find(root, "routes");
	struct config *config = reader->config;

	if (!config_block_check(reader, node))
		return;
	if (config_node_is_null(node) || !node->first) {
		config_error(reader, config_at_key(root, "routes"),
		             "at least one route is required");
		return;
	}
	config->routes = config_alloc(config, node->count, sizeof(struct config_route));
	for (const struct config_node *child = node->first; child; child = child->next)
		read_route(reader, child);
}
