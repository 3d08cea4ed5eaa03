/*
 * What the parts of the configuration's reader share: the snapshot being built, its memory, and the
 * faults found so far. Lives on the stack of config_parse; one thread.
 *
 * No message ever holds a value whose key may be a secret, nor what a variable of the environment
 * was replaced with.
 */
#ifndef MODEL_CONFIG_READER_H
#define MODEL_CONFIG_READER_H

#include "model/config.h"
#include "model/config_node.h"

struct config_fault;

/* The root's settings that hold for every route. */
struct config_root {
	struct config_route common; /* entropy, stream, speculative, cache, on_heavyweight_down */
	enum config_unknown_model unknown_model;
};

struct config_reader {
	const char *name; /* borrowed; the file, for messages */
	bool built_in;    /* no file: messages have no line */
	struct config *config;
	struct config_root root;
	struct config_fault *faults; /* owned */
	size_t fault_count;
	unsigned error_count, warning_count;
};

/* Where a message points to: a node; or a key of a node, there or not; or a line. */
struct config_place {
	const struct config_node *node; /* NULL with a key: the document */
	const char *key;                /* a path below node, or NULL */
	unsigned line;                  /* used when there is no node */
	bool cut;                       /* the node's own key is at fault; see config_node_path */
};

struct config_place config_at(const struct config_node *node);
struct config_place config_at_key(const struct config_node *node, const char *key);
struct config_place config_at_name(const struct config_node *node);
struct config_place config_at_line(unsigned line);

void config_error(struct config_reader *reader, struct config_place place, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
void config_warning(struct config_reader *reader, struct config_place place, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));

/* "no model named X", and what it may have meant (NULL: nothing is like it). node: the scalar
 * that names it. */
void config_error_unknown_name(struct config_reader *reader, const struct config_node *node,
                               const char *what, const char *like);

/* Writes what was found, in the order of lines, and frees it. */
void config_reader_report(struct config_reader *reader, struct config_report *report);

/* Memory that lives as long as the snapshot and is wiped with it. Never NULL. */
void *config_alloc(struct config *config, size_t count, size_t size);
char *config_copy(struct config *config, const char *text);
void config_memory_free(struct config_memory *memory);

/* Each reads its part of the document (root may be NULL: all defaults). */
void config_read_server(struct config_reader *reader, const struct config_node *root);
void config_read_breaker(struct config_reader *reader, const struct config_node *root);
void config_read_providers(struct config_reader *reader, const struct config_node *root);
void config_read_models(struct config_reader *reader, const struct config_node *root);
void config_read_routes(struct config_reader *reader, const struct config_node *root);
void config_read_short_form(struct config_reader *reader, const struct config_node *root);

/* Reads the blocks entropy, stream, speculative and cache of the root or of a route over what is
 * there. */
void config_read_route_blocks(struct config_reader *reader, const struct config_node *block,
                              struct config_route *route);

/* The block cache of the root or of a route, over what is there; NULL: there is none. */
void config_read_cache(struct config_reader *reader, const struct config_node *block,
                       struct config_route *route);
/* Which embedder a route has, once its models are known. block: the route's, or the root; for messages. */
void config_resolve_embedder(struct config_reader *reader, const struct config_node *block,
                             struct config_route *route);

/* Shared by both forms. block: the provider's, or the short form's drafter or heavyweight; NULL
 * when the file does not have it. place: of its api_key. */
void config_read_headers(struct config_reader *reader, const struct config_node *block,
                         struct config_provider *provider);
void config_provider_key_default(struct config_reader *reader, const struct config_node *block,
                                 struct config_place place, struct config_provider *provider);

#endif
