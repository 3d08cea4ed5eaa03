/* Any text is either a configuration or is refused with a message for each fault. */
#include <stdlib.h>
#include <string.h>

#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that the rest of the program relies on without asking. */
static void
config_check(const struct config *config)
{
	if (!config->default_route || config->route_count == 0 || config->server.workers == 0)
		abort();
	for (size_t i = 0; i < config->route_count; i++) {
		const struct config_route *route = &config->routes[i];

		if (route->drafter_count == 0 || route->heavyweight_count == 0 ||
		    !route->entropy.rule || route->entropy.options.window_size == 0 ||
		    config_route_find(config, route->name) != route)
			abort();
	}
	for (size_t i = 0; i < config->model_count; i++) {
		const struct config_model *model = &config->models[i];

		if (!model->provider || !model->provider->base_url || !*model->upstream_name ||
		    config_model_find(config, model->name) != model)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_report report;
	struct config *config;

	config_report_init(&report);
	config = config_parse("fuzz", (struct bytes){(const char *)data, size}, &report);
	if (!config != (report.error_count > 0) || (!config && report.errors.n == 0) ||
	    !bytes_is_utf8(buf_bytes(&report.errors)) ||
	    !bytes_is_utf8(buf_bytes(&report.warnings)))
		abort();
	if (config)
		config_check(config);
	config_unref(config);
	config_report_fini(&report);
	return 0;
}
