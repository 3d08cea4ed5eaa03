/*
 * libyaml's events made into a tree. Only plain YAML is taken: no aliases (a few lines of them
 * can stand for gigabytes), no tags, one document. What libyaml says of malformed text is passed
 * on with its line.
 */
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/mem.h"
#include "model/config_node.h"
#include "model/config_reader.h"
#include "model/config_text.h"

struct tree_builder {
	struct config_reader *reader; /* borrowed */
	struct config_node *root;     /* owned until handed out */
	struct config_node *open;     /* the innermost list or map that is not yet closed */
	char *key;                    /* owned: read, its value still to come */
	unsigned key_line;
	size_t node_count;
	unsigned depth, documents;
	bool failed;
};

static unsigned
event_line(const yaml_event_t *event)
{
	return (unsigned)event->start_mark.line + 1;
}

static void
tree_fail(struct tree_builder *tree, unsigned line, const char *what)
{
	config_error(tree->reader, config_at_line(line), "%s", what);
	tree->failed = true;
}

static const struct config_node *
sibling_find(const struct config_node *map, const char *key)
{
	for (const struct config_node *child = map->first; child; child = child->next) {
		if (strcmp(child->key, key) == 0)
			return child;
	}
	return NULL;
}

/* Links a new node into the open list or map, or makes it the root. NULL after a fault. */
static struct config_node *
tree_add(struct tree_builder *tree, enum config_node_kind kind, unsigned line)
{
	struct config_node *node, *parent = tree->open;

	if (parent && parent->kind == NODE_MAP && !tree->key) {
		tree_fail(tree, line, "a key must be a text");
		return NULL;
	}
	if (++tree->node_count > CONFIG_NODES_MAX) {
		tree_fail(tree, line, "the file has too many keys and values");
		return NULL;
	}
	node = mem_new(sizeof(*node));
	node->kind = kind;
	node->line = tree->key ? tree->key_line : line;
	node->key = tree->key;
	tree->key = NULL;
	node->parent = parent;
	if (!parent) {
		tree->root = node;
		return node;
	}
	node->index = parent->count++;
	if (parent->last)
		parent->last->next = node;
	else
		parent->first = node;
	parent->last = node;
	return node;
}

static void
on_tree_scalar(struct tree_builder *tree, const yaml_event_t *event)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t length = event->data.scalar.length;
	unsigned line = event_line(event);
	struct config_node *node;

	if (event->data.scalar.tag) {
		tree_fail(tree, line, "tags (`!…`) are not supported");
	} else if (length > CONFIG_SCALAR_MAX) {
		tree_fail(tree, line, "the text is too long");
	} else if (memchr(value, '\0', length)) {
		tree_fail(tree, line, "a NUL character cannot be part of a text");
	} else if (tree->open && tree->open->kind == NODE_MAP && !tree->key) {
		tree->key = mem_copy((struct bytes){value, length});
		tree->key_line = line;
	} else if ((node = tree_add(tree, NODE_SCALAR, line))) {
		node->text = mem_copy((struct bytes){value, length});
		node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	}
}

static void
on_tree_open(struct tree_builder *tree, const yaml_event_t *event, enum config_node_kind kind,
             bool tagged)
{
	struct config_node *node;

	if (tagged)
		tree_fail(tree, event_line(event), "tags (`!…`) are not supported");
	else if (++tree->depth > CONFIG_DEPTH_MAX)
		tree_fail(tree, event_line(event), "nested too deeply");
	else if ((node = tree_add(tree, kind, event_line(event))))
		tree->open = node;
}

static void
on_tree_close(struct tree_builder *tree)
{
	/* libyaml closes nothing that it has not opened. */
	if (!tree->open)
		die("configuration: the end of no list or map");
	tree->depth--;
	tree->open = tree->open->parent;
}

static void
on_tree_event(struct tree_builder *tree, const yaml_event_t *event)
{
	const char *no_anchors = "anchors and aliases (`&`, `*`) are not supported";

	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++tree->documents > 1)
			tree_fail(tree, event_line(event),
			          "a second document starts here; one is allowed");
		break;
	case YAML_ALIAS_EVENT: tree_fail(tree, event_line(event), no_anchors); break;
	case YAML_SCALAR_EVENT:
		if (event->data.scalar.anchor)
			tree_fail(tree, event_line(event), no_anchors);
		else
			on_tree_scalar(tree, event);
		break;
	case YAML_SEQUENCE_START_EVENT:
		if (event->data.sequence_start.anchor)
			tree_fail(tree, event_line(event), no_anchors);
		else
			on_tree_open(tree, event, NODE_LIST, event->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		if (event->data.mapping_start.anchor)
			tree_fail(tree, event_line(event), no_anchors);
		else
			on_tree_open(tree, event, NODE_MAP, event->data.mapping_start.tag);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: on_tree_close(tree); break;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT: break;
	}
}

/* libyaml's texts about syntax are constant and quote nothing of the file. */
static void
on_tree_malformed(struct tree_builder *tree, const yaml_parser_t *parser, struct bytes text)
{
	unsigned line = (unsigned)parser->problem_mark.line + 1;
	const char *problem = parser->problem ? parser->problem : "malformed";

	if (parser->error == YAML_READER_ERROR) {
		/* A character that may not stand anywhere: it is told by its offset only. */
		line = 1;
		for (size_t i = 0; i < text.n && i < parser->problem_offset; i++)
			line += text.p[i] == '\n';
	}
	if (parser->context)
		config_error(tree->reader, config_at_line(line), "%s (%s)", problem,
		             parser->context);
	else
		config_error(tree->reader, config_at_line(line), "%s", problem);
	tree->failed = true;
}

/* Removes repeated keys from the tree's maps, saying so, so that what is read later is
 * unambiguous. */
static void
tree_check_repeated(struct tree_builder *tree, struct config_node *map)
{
	struct config_node *before = map->first;

	/* The first cannot repeat one before it. */
	for (struct config_node *child = before ? before->next : NULL; child;
	     child = before->next) {
		const struct config_node *same = sibling_find(map, child->key);

		if (same == child) {
			before = child;
			continue;
		}
		config_error(tree->reader, config_at_name(child),
		             "repeated key; it stands on line %u already", same->line);
		before->next = child->next;
		if (map->last == child)
			map->last = before;
		map->count--;
		child->next = NULL;
		config_node_free(child);
	}
}

static struct config_node *
node_next(const struct config_node *node, const struct config_node *root)
{
	if (node->first)
		return node->first;
	while (node && node != root && !node->next)
		node = node->parent;
	return !node || node == root ? NULL : node->next;
}

static bool
text_is_readable(struct config_reader *reader, struct bytes text)
{
	unsigned line = 1;
	size_t start = 0;

	if (text.n > CONFIG_TEXT_MAX) {
		config_error(reader, config_at_line(0), "larger than %d bytes", CONFIG_TEXT_MAX);
		return false;
	}
	for (size_t i = 0; i <= text.n; i++) {
		if (i < text.n && text.p[i] != '\n')
			continue;
		if (!bytes_is_utf8((struct bytes){text.p + start, i - start})) {
			config_error(reader, config_at_line(line), "not UTF-8");
			return false;
		}
		start = i + 1;
		line++;
	}
	return true;
}

struct config_node *
config_node_read(struct config_reader *reader, struct bytes text)
{
	struct tree_builder tree = {.reader = reader};
	yaml_parser_t parser;
	bool done = false;

	if (!text_is_readable(reader, text))
		return NULL;
	if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0)
		text = (struct bytes){text.p + 3, text.n - 3};
	if (!yaml_parser_initialize(&parser))
		die("out of memory");
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
	while (!done && !tree.failed) {
		yaml_event_t event;

		if (!yaml_parser_parse(&parser, &event)) {
			on_tree_malformed(&tree, &parser, text);
			break;
		}
		on_tree_event(&tree, &event);
		done = event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	config_text_wipe(tree.key);
	if (tree.failed) {
		config_node_free(tree.root);
		return NULL;
	}
	for (struct config_node *node = tree.root; node; node = node_next(node, tree.root)) {
		if (node->kind == NODE_MAP)
			tree_check_repeated(&tree, node);
	}
	return tree.root;
}
