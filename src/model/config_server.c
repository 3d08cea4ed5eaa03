/* The blocks server, breaker, metrics and log. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/config_table.h"
#include "model/config_text.h"

enum { HOST_MAX = 256 };

static void
listen_add(struct config_reader *reader, const char *host, uint16_t port)
{
	struct config_server *server = &reader->config->server;

	server->listen[server->listen_count++] =
	        (struct config_listen){config_copy(reader->config, host), port};
}

static void
read_address(struct config_reader *reader, const struct config_node *node)
{
	const struct config_server *server = &reader->config->server;
	const char *text = config_text_read(reader, node), *problem;
	char host[HOST_MAX];
	uint16_t port;

	if (!text)
		return;
	problem = config_address_split(text, host, sizeof(host), &port);
	if (problem) {
		config_error(reader, config_at(node), "%s", problem);
		return;
	}
	for (size_t i = 0; port && i < server->listen_count; i++) {
		if (server->listen[i].port == port && strcmp(server->listen[i].host, host) == 0) {
			config_error(reader, config_at(node), "this address is listed already");
			return;
		}
	}
	listen_add(reader, host, port);
}

static void
read_addresses(struct config_reader *reader, const struct config_node *node)
{
	if (node->kind != NODE_LIST) {
		config_error(reader, config_at(node),
		             "a list of addresses is wanted, such as [127.0.0.1:8080]");
		return;
	}
	if (!node->first)
		config_error(reader, config_at(node), "must not be empty");
	reader->config->server.listen =
	        config_alloc(reader->config, node->count, sizeof(struct config_listen));
	for (const struct config_node *item = node->first; item; item = item->next)
		read_address(reader, item);
}

static void
read_port(struct config_reader *reader, const struct config_node *node)
{
	const struct config_key *key = config_key_find(BLOCK_SERVER, "port");
	union config_value value = {.count = 8080};

	if (node && !config_value_read(reader, key, node, &value))
		return;
	if (reader->config->server.listen)
		return;
	reader->config->server.listen =
	        config_alloc(reader->config, 1, sizeof(struct config_listen));
	listen_add(reader, "*", (uint16_t)value.count);
}

/* Whoever reaches the gateway spends the keys it holds. */
static void
warn_open(struct config_reader *reader, struct config_place place)
{
	static const char *const everywhere[] = {"*", "0.0.0.0", "::"};
	const struct config_server *server = &reader->config->server;

	for (size_t i = 0; i < server->listen_count; i++) {
		for (size_t k = 0; k < sizeof(everywhere) / sizeof(everywhere[0]); k++) {
			if (strcmp(server->listen[i].host, everywhere[k]) != 0)
				continue;
			config_warning(reader, place,
			               "port %u is open on every interface and no client keys are "
			               "configured: whoever reaches it can use the models",
			               (unsigned)server->listen[i].port);
			return;
		}
	}
}

static void
check_readable(struct config_reader *reader, const struct config_node *node, const char *path)
{
	struct stat status;

	if (!path)
		return;
	if (stat(path, &status) != 0 || access(path, R_OK) != 0)
		config_error(reader, config_at(node), "the file cannot be read: %s",
		             strerror(errno));
	else if (!S_ISREG(status.st_mode))
		config_error(reader, config_at(node), "the file is not a regular file");
}

static void
read_tls(struct config_reader *reader, const struct config_node *node)
{
	struct config_server *server = &reader->config->server;
	const struct config_node *certificate = config_node_find(node, "certificate"),
	                         *key = config_node_find(node, "key");

	config_block_read(reader, BLOCK_TLS, node, server);
	if (config_node_is_null(node) || node->kind != NODE_MAP)
		return;
	if (!certificate)
		config_error(reader, config_at_key(node, "certificate"), "required for HTTPS");
	if (!key)
		config_error(reader, config_at_key(node, "key"), "required for HTTPS");
	check_readable(reader, certificate, server->tls_certificate);
	check_readable(reader, key, server->tls_key);
}

/* The cores this process may run on, which a container may have fewer of than the machine. */
static unsigned
core_count(void)
{
	cpu_set_t set;
	long online;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}

static void
check_metrics_path(struct config_reader *reader, const struct config_node *root)
{
	static const char *const taken[] = {"/v1/", "/openai/", "/api/", "/health/"};
	struct config_place place = config_at_key(config_node_find(root, "metrics"), "path");
	const char *path = reader->config->metrics_path;

	if (path[0] != '/')
		config_error(reader, place, "must begin with `/`");
	else if (strpbrk(path, "?# %") || !config_name_is_fit(path, 256, true))
		config_error(reader, place,
		             "may hold only visible ASCII characters, without ? # %%");
	if (strcmp(path, "/health") == 0)
		config_error(reader, place, "is taken by another endpoint");
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		if (strncmp(path, taken[i], strlen(taken[i])) == 0)
			config_error(reader, place, "is taken by another endpoint");
	}
}

void
config_read_breaker(struct config_reader *reader, const struct config_node *root)
{
	const struct config_node *node = config_node_find(root, "breaker");
	struct breaker_options *breaker = &reader->config->breaker;
	unsigned errors = reader->error_count;

	config_block_defaults(reader, BLOCK_BREAKER, breaker);
	config_block_read(reader, BLOCK_BREAKER, node, breaker);
	/* After a fault in one of the two it is the default, and not what was meant. */
	if (reader->error_count > errors || breaker->open_max_ms >= breaker->open_ms)
		return;
	if (config_node_find(node, "open_max"))
		config_error(reader, config_at_key(node, "open_max"),
		             "must not be below open, which is %.15g seconds",
		             breaker->open_ms / 1e3);
	else
		config_error(reader, config_at_key(node, "open"),
		             "must not be above open_max, which is %.15g seconds",
		             breaker->open_max_ms / 1e3);
}

void
config_read_server(struct config_reader *reader, const struct config_node *root)
{
	struct config *config = reader->config;
	const struct config_node *node = config_node_find(root, "server"),
	                         *port = config_node_find(node, "port"),
	                         *listen = config_node_find(node, "listen");

	config_block_defaults(reader, BLOCK_SERVER, &config->server);
	config_block_read(reader, BLOCK_SERVER, node, &config->server);
	if (port && listen)
		config_error(reader, config_at(listen), "give either port or listen, not both");
	if (listen)
		read_addresses(reader, listen);
	if (port || !listen)
		read_port(reader, port);
	warn_open(reader, listen ? config_at(listen)
	                  : node ? config_at_key(node, "port")
	                         : config_at_key(root, "server.port"));
	read_tls(reader, config_node_find(node, "tls"));
	if (config->server.workers == 0)
		config->server.workers = core_count();

	config_block_defaults(reader, BLOCK_METRICS, config);
	config_block_read(reader, BLOCK_METRICS, config_node_find(root, "metrics"), config);
	check_metrics_path(reader, root);
	config_block_defaults(reader, BLOCK_LOG, config);
	config_block_read(reader, BLOCK_LOG, config_node_find(root, "log"), config);
	if (strcmp(config->access_file, "off") == 0)
		config->access_file = NULL;
}
