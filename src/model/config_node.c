/* The tree of config_node.h, once it is built. */
#include "model/config_node.h"

#include <stdlib.h>
#include <string.h>

#include "model/config_text.h"

enum { SHOWN_MAX = 64 };

void
config_node_free(struct config_node *root)
{
	struct config_node *node = root;

	while (node) {
		struct config_node *child = node->first, *parent = node->parent;

		if (child) {
			/* Detached first, so that the way back up finds it gone. */
			node->first = child->next;
			node = child;
			continue;
		}
		config_text_wipe(node->key);
		config_text_wipe(node->text);
		if (node == root)
			parent = NULL;
		free(node);
		node = parent;
	}
}

const struct config_node *
config_node_find(const struct config_node *node, const char *key)
{
	if (!node || node->kind != NODE_MAP)
		return NULL;
	for (const struct config_node *child = node->first; child; child = child->next) {
		if (strcmp(child->key, key) == 0)
			return child;
	}
	return NULL;
}

bool
config_node_is_null(const struct config_node *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	if (!node)
		return true;
	if (node->kind != NODE_SCALAR || !node->plain)
		return false;
	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
		if (strcmp(node->text, nulls[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_key_character(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || c == '.' || c == '/';
}

/* Appends a text the file's author chose, fit for a terminal and of bounded length. */
static void
shown_add(const char *text, bool cut, struct buf *out)
{
	size_t n = 0;

	while (n < SHOWN_MAX && text[n] && (!cut || is_key_character((unsigned char)text[n])))
		n++;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		/* A control character must not reach a terminal; nor half a character. */
		if (c < 0x20 || c >= 0x7F)
			buf_add_text(out, "?");
		else
			buf_add(out, &text[i], 1);
	}
	if (text[n])
		buf_add_text(out, "…");
}

void
config_node_show(const struct config_node *node, struct buf *out)
{
	shown_add(node->text, false, out);
}

void
config_node_path(const struct config_node *node, bool cut, struct buf *out)
{
	const struct config_node *steps[CONFIG_DEPTH_MAX + 1];
	size_t depth = 0;

	for (; node && node->parent; node = node->parent)
		steps[depth++] = node;
	for (size_t i = depth; i-- > 0;) {
		if (!steps[i]->key) {
			buf_add_format(out, "[%zu]", steps[i]->index);
			continue;
		}
		if (i + 1 < depth)
			buf_add_text(out, ".");
		shown_add(steps[i]->key, cut && i == 0, out);
	}
}
