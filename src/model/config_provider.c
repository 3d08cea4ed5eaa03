/* The block providers: model servers, their keys and headers. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/config_table.h"
#include "model/config_text.h"

enum { PROVIDER_NAME_MAX = 64 };

/* Headers that frame the message, belong to the connection, or say what the gateway sends. */
static bool
header_is_ours(const char *name)
{
	static const char *const ours[] = {
	        "Host",
	        "Content-Length",
	        "Transfer-Encoding",
	        "Connection",
	        "Content-Type",
	        "Keep-Alive",
	        "Upgrade",
	        "TE",
	        "Trailer",
	        "Expect",
	        "Proxy-Connection",
	        "Content-Encoding",
	        "Accept-Encoding",
	};

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcasecmp(name, ours[i]) == 0)
			return true;
	}
	return false;
}

static const struct config_header *
header_find(const struct config_provider *provider, const char *name)
{
	for (size_t i = 0; i < provider->header_count; i++) {
		if (strcasecmp(provider->headers[i].name, name) == 0)
			return &provider->headers[i];
	}
	return NULL;
}

static bool
header_name_is_fit(struct config_reader *reader, const struct config_node *node,
                   const struct config_provider *provider)
{
	if (!config_text_is_token(node->key))
		config_error(reader, config_at_name(node), "is no name of a header");
	else if (header_is_ours(node->key))
		config_error(reader, config_at(node), "this header is the gateway's own to set");
	else if (strcasecmp(node->key, "Authorization") == 0 && provider->api_key)
		config_error(reader, config_at(node), "api_key sets this header already");
	else if (header_find(provider, node->key))
		config_error(reader, config_at(node), "repeated header");
	else
		return true;
	return false;
}

void
config_read_headers(struct config_reader *reader, const struct config_node *block,
                    struct config_provider *provider)
{
	const struct config_node *node = config_node_find(block, "headers");

	if (config_node_is_null(node) || !config_block_check(reader, node))
		return;
	provider->headers = config_alloc(reader->config, node->count, sizeof(struct config_header));
	for (const struct config_node *child = node->first; child; child = child->next) {
		char *value;

		if (!header_name_is_fit(reader, child, provider))
			continue;
		value = config_secret_read(reader, child);
		if (value && !*value)
			config_error(reader, config_at(child), "must not be empty");
		if (value && *value)
			provider->headers[provider->header_count++] = (struct config_header){
			        config_copy(reader->config, child->key), value};
	}
}

void
config_provider_key_default(struct config_reader *reader, const struct config_node *block,
                            struct config_place place, struct config_provider *provider)
{
	const char *key = getenv("OPENAI_API_KEY");

	if (config_node_find(block, "api_key") || header_find(provider, "Authorization") ||
	    strcmp(provider->label, "openai") != 0 || !provider->base_url ||
	    !config_url_is_openai(provider->base_url))
		return;
	if (!key || !*key)
		config_warning(reader, place, "there is no key: OPENAI_API_KEY is not set");
	else if (config_text_has_controls(key))
		config_error(reader, place, "OPENAI_API_KEY holds a control character");
	else
		provider->api_key = config_copy(reader->config, key);
}

static void
read_provider(struct config_reader *reader, const struct config_node *node)
{
	struct config *config = reader->config;
	struct config_provider *provider = &config->providers[config->provider_count];

	if (!config_name_check(reader, node, PROVIDER_NAME_MAX, false))
		return;
	provider->name = provider->label = config_copy(config, node->key);
	config->provider_count++;
	config_block_defaults(reader, BLOCK_PROVIDER, provider);
	config_block_read(reader, BLOCK_PROVIDER, node, provider);
	if (!config_node_find(node, "base_url") &&
	    (config_node_is_null(node) || node->kind == NODE_MAP))
		config_error(reader, config_at_key(node, "base_url"), "required");
	config_read_headers(reader, node, provider);
	config_provider_key_default(reader, node, config_at_key(node, "api_key"), provider);
}

void
config_read_providers(struct config_reader *reader, const struct config_node *root)
{
	const struct config_node *node = config_node_find(root, "providers");

	if (config_node_is_null(node) || !config_block_check(reader, node))
		return;
	reader->config->providers =
	        config_alloc(reader->config, node->count, sizeof(struct config_provider));
	for (const struct config_node *child = node->first; child; child = child->next)
		read_provider(reader, child);
}
