/* The configuration's snapshot: read from a text or file, looked things up in, shared and freed. */
#include "model/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/config_node.h"
#include "model/config_reader.h"
#include "model/config_table.h"

#define DEFAULT_PATH "config/draft-thinker.yaml"

static void
read_common(struct config_reader *reader, const struct config_node *root)
{
	struct config_route *common = &reader->root.common;

	config_block_defaults(reader, BLOCK_ROOT, &reader->root);
	config_block_read(reader, BLOCK_ROOT, root, &reader->root);
	config_block_defaults(reader, BLOCK_ROUTE, common);
	config_block_defaults(reader, BLOCK_ENTROPY, &common->entropy);
	config_block_defaults(reader, BLOCK_STREAM, &common->stream);
	config_block_defaults(reader, BLOCK_SPECULATIVE, &common->speculative);
	config_block_defaults(reader, BLOCK_CACHE, &common->cache);
	common->cache.embedder = EMBEDDER_UNSET;
	config_read_route_blocks(reader, root, common);
	reader->config->cache = common->cache.store;
	config_block_read(reader, BLOCK_TRACE, config_node_find(root, "trace"), NULL);
	reader->config->unknown_model = reader->root.unknown_model;
}

/* The first of these keys that the document has. */
static const struct config_node *
find_any(const struct config_node *root, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct config_node *node = config_node_find(root, names[i]);

		if (node)
			return node;
	}
	return NULL;
}

static void
read_document(struct config_reader *reader, const struct config_node *root)
{
	static const char *const short_keys[] = {"drafter", "heavyweight"};
	static const char *const long_keys[] = {"providers", "models", "routes"};
	const struct config_node *short_key = find_any(root, short_keys, 2);
	struct config *config = reader->config;

	if (!config_block_check(reader, root))
		return;
	read_common(reader, root);
	config_read_server(reader, root);
	config_read_breaker(reader, root);
	if (find_any(root, long_keys, 3)) {
		if (short_key)
			config_error(reader, config_at(short_key),
			             "the short form (drafter, heavyweight) and the long form "
			             "(providers, models, routes) cannot be mixed");
		config_read_providers(reader, root);
		config_read_models(reader, root);
		config_read_routes(reader, root);
	} else {
		config_read_short_form(reader, root);
	}
	config->default_route = config_route_find(config, "auto");
	if (!config->default_route && config->route_count)
		config->default_route = &config->routes[0];
}

static struct config *
parse(const char *name, struct bytes text, bool built_in, struct config_report *report)
{
	struct config_reader reader = {.name = name, .built_in = built_in};
	struct config *config = mem_new(sizeof(*config));
	struct config_node *root;

	config->references = 1;
	reader.config = config;
	root = config_node_read(&reader, text);
	if (reader.error_count == 0 || root)
		read_document(&reader, root);
	config_node_free(root);
	if (reader.error_count) {
		config_unref(config);
		config = NULL;
	}
	config_reader_report(&reader, report);
	return config;
}

struct config *
config_parse(const char *name, struct bytes text, struct config_report *report)
{
	return parse(name, text, false, report);
}

/* Reads at most size bytes; -1 with errno set. */
static ssize_t
file_read(const char *path, char *p, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), error;
	size_t n = 0;

	if (fd < 0)
		return -1;
	while (n < size) {
		ssize_t got = read(fd, p + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			error = errno;
			close(fd);
			errno = error;
			return -1;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	return (ssize_t)n;
}

struct config *
config_load(const char *path, struct config_report *report)
{
	size_t size = CONFIG_TEXT_MAX + 1;
	struct config *config = NULL;
	char *p;
	ssize_t n;

	if (!path)
		return parse("built-in defaults", (struct bytes){"", 0}, true, report);
	p = mem_new(size);
	n = file_read(path, p, size);
	if (n < 0) {
		buf_add_format(&report->errors, "%s: cannot be read: %s\n", path, strerror(errno));
		report->error_count++;
	} else if (n == 0) {
		/* Most likely one that is being written, and no wish for the defaults. */
		buf_add_format(&report->errors,
		               "%s: is empty (`{}` would mean the built-in defaults)\n", path);
		report->error_count++;
	} else {
		config = config_parse(path, (struct bytes){p, (size_t)n}, report);
	}
	explicit_bzero(p, size);
	free(p);
	return config;
}

const char *
config_default_path(void)
{
	return access(DEFAULT_PATH, F_OK) == 0 ? DEFAULT_PATH : NULL;
}

struct config *
config_ref(struct config *config)
{
	__atomic_add_fetch(&config->references, 1, __ATOMIC_RELAXED);
	return config;
}

void
config_unref(struct config *config)
{
	/* The last one must see what others did with the snapshot before they let go of it. */
	if (!config || __atomic_sub_fetch(&config->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	config_memory_free(config->memory);
	free(config);
}

const struct config_route *
config_route_find(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->route_count; i++) {
		if (strcmp(config->routes[i].name, name) == 0)
			return &config->routes[i];
	}
	return NULL;
}

const char *
config_effort_name(enum config_effort effort)
{
	switch (effort) {
	case EFFORT_LOW: return "low";
	case EFFORT_MEDIUM: break;
	case EFFORT_HIGH: return "high";
	}
	return "medium";
}

bool
config_model_chats(const struct config_model *model)
{
	return !model->capabilities_known || model->capabilities != MODEL_CAN_EMBEDDINGS;
}

static bool
provider_is_called(const struct config_provider *provider, struct bytes name)
{
	return bytes_is(name, provider->name) || bytes_is(name, provider->label);
}

const struct config_model *
config_model_named(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->model_count; i++) {
		if (strcmp(config->models[i].name, name) == 0)
			return &config->models[i];
	}
	return NULL;
}

const struct config_model *
config_model_find(const struct config *config, const char *name)
{
	const char *slash = strchr(name, '/');
	const struct config_model *named = config_model_named(config, name);

	if (named)
		return named;
	for (size_t i = 0; slash && i < config->model_count; i++) {
		const struct config_model *model = &config->models[i];

		if (strcmp(model->upstream_name, slash + 1) == 0 &&
		    provider_is_called(model->provider,
		                       (struct bytes){name, (size_t)(slash - name)}))
			return model;
	}
	return NULL;
}
