/* The table of keys, and what follows from it: defaults, reading a block, near misses. */
#include "model/config_table.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/config_text.h"

enum { STAGE_TEXTS_MAX = 8 };

#define NOWHERE       CONFIG_NOWHERE
#define NOW           STAGE_NOW, NULL
#define LATER(text)   STAGE_LATER, text
#define IGNORED(text) STAGE_IGNORED, text
#define KEY(block, name, type, offset, initial, min, max, choices, stage, help)                    \
	KEY_ROW(BLOCK_##block, name, KEY_##type, offset, initial, min, max, choices, stage, help)
#define KEY_ROW(...) {__VA_ARGS__},

static const struct config_key keys[] = {
#include "model/config_table.def"
};

#undef NOWHERE
#undef NOW
#undef LATER
#undef IGNORED
#undef KEY
#undef KEY_ROW

enum { KEYS_COUNT = sizeof(keys) / sizeof(keys[0]) };

const struct config_key *
config_keys(size_t *count)
{
	*count = KEYS_COUNT;
	return keys;
}

const struct config_key *
config_key_find(enum config_block block, const char *name)
{
	for (size_t i = 0; i < KEYS_COUNT; i++) {
		if (keys[i].block == block && strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	return NULL;
}

const char *
config_block_path(enum config_block block)
{
	static const char *const paths[BLOCK_COUNT] = {
	        [BLOCK_ROOT] = "",
	        [BLOCK_SERVER] = "server",
	        [BLOCK_TLS] = "server.tls",
	        [BLOCK_DRAFTER] = "drafter",
	        [BLOCK_HEAVYWEIGHT] = "heavyweight",
	        [BLOCK_PROVIDER] = "providers.NAME",
	        [BLOCK_MODEL] = "models.NAME",
	        [BLOCK_PRICE] = "models.NAME.price",
	        [BLOCK_ROUTE] = "routes.NAME",
	        [BLOCK_POOLED] = "routes.NAME.models",
	        [BLOCK_ENTROPY] = "entropy",
	        [BLOCK_SPECULATIVE] = "speculative",
	        [BLOCK_STREAM] = "stream",
	        [BLOCK_BREAKER] = "breaker",
	        [BLOCK_CACHE] = "cache",
	        [BLOCK_METRICS] = "metrics",
	        [BLOCK_TRACE] = "trace",
	        [BLOCK_LOG] = "log",
	};

	return paths[block];
}

const char *
config_type_name(enum config_type type)
{
	switch (type) {
	case KEY_BOOL: return "true | false";
	case KEY_COUNT:
	case KEY_PORT:
	case KEY_TOKENS: return "whole number";
	case KEY_SIZE: return "bytes";
	case KEY_DURATION: return "duration";
	case KEY_NUMBER:
	case KEY_MONEY: return "number";
	case KEY_TEXT:
	case KEY_NAME: return "text";
	case KEY_SECRET: return "secret";
	case KEY_URL: return "URL";
	case KEY_CHOICE:
	case KEY_RULE: return "one of";
	case KEY_BLOCK: return "block";
	case KEY_BLOCKS: return "named blocks";
	case KEY_NAMES: return "name or list of names";
	case KEY_TEXTS: return "list of";
	case KEY_ADDRESSES: return "list of HOST:PORT";
	case KEY_HEADERS: return "NAME: secret";
	}
	return "";
}

/* Copies the value to where the key's block keeps it. */
static void
value_store(const struct config_key *key, const union config_value *value, void *base)
{
	char *field;
	size_t size = sizeof(*value);

	if (key->offset == CONFIG_NOWHERE || !base)
		return;
	field = (char *)base + key->offset;
	switch (key->type) {
	case KEY_BOOL: size = sizeof(value->flag); break;
	case KEY_COUNT:
	case KEY_CHOICE: size = sizeof(value->count); break;
	case KEY_DURATION: size = sizeof(value->ms); break;
	case KEY_TOKENS:
	case KEY_SIZE:
	case KEY_MONEY: size = sizeof(value->whole); break;
	case KEY_NUMBER: size = sizeof(value->number); break;
	case KEY_TEXT:
	case KEY_SECRET:
	case KEY_URL: size = sizeof(value->text); break;
	case KEY_RULE: size = sizeof(value->rule); break;
	case KEY_PORT:
	case KEY_NAME:
	case KEY_BLOCK:
	case KEY_BLOCKS:
	case KEY_NAMES:
	case KEY_TEXTS:
	case KEY_ADDRESSES:
	case KEY_HEADERS: die("%s: has no field", key->name);
	}
	memcpy(field, value, size);
}

void
config_block_defaults(struct config_reader *reader, enum config_block block, void *base)
{
	for (size_t i = 0; i < KEYS_COUNT; i++) {
		struct config_node node = {.kind = NODE_SCALAR, .plain = true};
		union config_value value = {0};

		if (keys[i].block != block || !keys[i].initial || keys[i].offset == CONFIG_NOWHERE)
			continue;
		node.text = mem_copy(bytes_of(keys[i].initial));
		if (!config_value_read(reader, &keys[i], &node, &value))
			die("%s: the default is at fault", keys[i].name);
		free(node.text);
		value_store(&keys[i], &value, base);
	}
}

/* Does a value of a key that has no effect yet ask for one? */
static bool
value_asks(const struct config_key *key, const union config_value *value,
           const struct config_node *node)
{
	switch (key->type) {
	case KEY_BOOL: return value->flag;
	case KEY_COUNT: return value->count != 0;
	case KEY_DURATION: return value->ms != 0;
	case KEY_TOKENS: return value->whole != 0;
	case KEY_CHOICE:
		return !key->initial || !node->text || strcmp(key->initial, node->text) != 0;
	case KEY_BLOCK: return !config_node_is_null(node);
	case KEY_PORT:
	case KEY_NAME:
	case KEY_SIZE:
	case KEY_NUMBER:
	case KEY_MONEY:
	case KEY_TEXT:
	case KEY_SECRET:
	case KEY_URL:
	case KEY_RULE:
	case KEY_BLOCKS:
	case KEY_NAMES:
	case KEY_TEXTS:
	case KEY_ADDRESSES:
	case KEY_HEADERS: return true;
	}
	return true;
}

struct stage_list {
	const char *texts[STAGE_TEXTS_MAX]; /* borrowed from the table, each once */
	size_t count;
	bool disabled; /* `enabled: false` asks for nothing */
};

static void
stage_add(struct stage_list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->texts[i], text) == 0)
			return;
	}
	if (list->count < STAGE_TEXTS_MAX)
		list->texts[list->count++] = text;
}

/* One warning for a block, however many of its keys have no effect yet. */
static void
stage_warn(struct config_reader *reader, const struct config_node *node,
           const struct stage_list *list)
{
	struct buf text;

	if (list->count == 0 || list->disabled)
		return;
	buf_init(&text, 0);
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0)
			buf_add_text(&text, i + 1 == list->count ? " or " : ", ");
		buf_add_text(&text, list->texts[i]);
	}
	config_warning(reader, config_at(node), "accepted, but this version does not %.*s yet",
	               (int)text.n, text.p);
	buf_fini(&text);
}

static void
fail_unknown(struct config_reader *reader, enum config_block block, const struct config_node *node)
{
	unsigned best = UINT_MAX;
	const char *like = NULL, *colon = strchr(node->key, ':');

	for (size_t i = 0; i < KEYS_COUNT; i++) {
		unsigned distance;

		if (keys[i].block != block)
			continue;
		if (colon && strlen(keys[i].name) == (size_t)(colon - node->key) &&
		    strncmp(keys[i].name, node->key, strlen(keys[i].name)) == 0) {
			config_error(reader, config_at_name(node),
			             "unknown key; is a space missing after the `:`?");
			return;
		}
		if (config_text_is_like(node->key, keys[i].name, &distance) && distance < best) {
			best = distance;
			like = keys[i].name;
		}
	}
	if (like)
		config_error(reader, config_at_name(node), "unknown key; did you mean `%s`?", like);
	else
		config_error(reader, config_at_name(node), "unknown key");
}

bool
config_block_check(struct config_reader *reader, const struct config_node *node)
{
	if (config_node_is_null(node))
		return true;
	if (node->kind == NODE_MAP)
		return true;
	config_error(reader, config_at(node), "a block of keys is wanted");
	return false;
}

static void
key_read(struct config_reader *reader, const struct config_key *key, const struct config_node *node,
         void *base, struct stage_list *stages)
{
	union config_value value = {0};

	if (key->type < KEY_PORT) {
		if (!config_value_read(reader, key, node, &value))
			return;
		value_store(key, &value, base);
		if (key->type == KEY_BOOL && strcmp(key->name, "enabled") == 0)
			stages->disabled = !value.flag;
	}
	if (key->stage == STAGE_IGNORED)
		config_warning(reader, config_at(node), "ignored: %s", key->stage_text);
	else if (key->stage == STAGE_LATER && value_asks(key, &value, node))
		stage_add(stages, key->stage_text);
}

void
config_block_read(struct config_reader *reader, enum config_block block,
                  const struct config_node *node, void *base)
{
	struct stage_list stages = {0};

	if (config_node_is_null(node) || !config_block_check(reader, node))
		return;
	for (const struct config_node *child = node->first; child; child = child->next) {
		const struct config_key *key = config_key_find(block, child->key);

		if (key)
			key_read(reader, key, child, base, &stages);
		else
			fail_unknown(reader, block, child);
	}
	stage_warn(reader, node, &stages);
}

bool
config_name_is_fit(const char *name, size_t max, bool slash)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++) {
		if (name[i] <= ' ' || name[i] >= 0x7F || (name[i] == '/' && !slash))
			return false;
	}
	return n > 0 && n <= max;
}

bool
config_name_check(struct config_reader *reader, const struct config_node *node, size_t max,
                  bool slash)
{
	if (config_name_is_fit(node->key, max, slash))
		return true;
	config_error(reader, config_at_name(node),
	             "a name must be 1 to %zu visible ASCII characters%s", max,
	             slash ? "" : " without `/`");
	return false;
}
