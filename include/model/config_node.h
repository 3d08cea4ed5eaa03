/*
 * A YAML document as a small tree in which every node knows where it stands, so that a message can
 * name its line and its path.
 *
 * The tree is bounded in size, nodes and depth. It owns its texts and wipes them when freed, since
 * keys of providers may be among them. Links instead of arrays: walking needs no recursion.
 */
#ifndef MODEL_CONFIG_NODE_H
#define MODEL_CONFIG_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/bytes.h"

struct config_reader;

enum {
	CONFIG_TEXT_MAX = 1 << 20,  /* bytes of a document */
	CONFIG_NODES_MAX = 10000,   /* in a document */
	CONFIG_DEPTH_MAX = 12,      /* lists and maps inside each other */
	CONFIG_SCALAR_MAX = 1 << 16 /* bytes of one value, variables replaced */
};

enum config_node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct config_node {
	enum config_node_kind kind;
	unsigned line;                     /* from 1; of the key where there is one */
	char *key;                         /* owned; NULL for a list's item and the root */
	size_t index;                      /* among its siblings */
	char *text;                        /* owned; a scalar's, as written */
	bool plain;                        /* a scalar without quotes */
	struct config_node *parent, *next; /* borrowed; owned */
	struct config_node *first, *last;  /* owned; the children */
	size_t count;                      /* of children */
};

/* Reads one document. NULL when it is empty or at fault; faults go to the reader. A repeated key is
 * a fault, and the first one stays. */
struct config_node *config_node_read(struct config_reader *reader, struct bytes text);
void config_node_free(struct config_node *root);

/* The child of that key, or NULL; node may be NULL or no map. */
const struct config_node *config_node_find(const struct config_node *node, const char *key);

/* Is it absent, or written without a value (`key:`, `~`, `null`)? */
bool config_node_is_null(const struct config_node *node);

/* Appends a scalar as written, variables not replaced; control characters and what is not ASCII
 * as `?`, and at most 64 bytes of it. */
void config_node_show(const struct config_node *node, struct buf *out);

/* Appends the dotted path, `server.listen[1]`; nothing for the root. When `cut`, the last key is
 * shown only as far as it looks like a key: `{api_key:sk-…}` is, for YAML, one long key. */
void config_node_path(const struct config_node *node, bool cut, struct buf *out);

#endif
