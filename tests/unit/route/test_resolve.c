#include "route/resolve.h"

#include <stdio.h>

#include "unit.h"

static const char text[] =
        "providers:\n"
        "  local: {base_url: \"http://127.0.0.1:1/v1\"}\n"
        "models:\n"
        "  small: {provider: local, model: llama-8b}\n"
        "  large: {provider: local, model: org/llama-70b}\n"
        "  vectors: {provider: local, model: embed-1, capabilities: [embeddings]}\n"
        "routes:\n"
        "  fast: {drafter: small, heavyweight: large}\n"
        "  auto: {drafter: small, heavyweight: large}\n";

static struct config *
load(const char *extra)
{
	struct config_report report;
	struct config *config;
	char all[2048];

	snprintf(all, sizeof(all), "%s%s", text, extra);
	config_report_init(&report);
	config = config_parse("test.yaml", bytes_of(all), &report);
	ck_assert_msg(config != NULL, "%.*s", (int)report.errors.n, report.errors.p);
	config_report_fini(&report);
	return config;
}

START_TEST(test_a_name_is_a_route_a_model_or_the_default_route)
{
	static const struct {
		const char *name, *route, *pinned;
	} rows[] = {
	        {"", "auto", NULL},
	        {"auto", "auto", NULL},
	        {"fast", "fast", NULL},
	        {"gpt-4.1", "auto", NULL},
	        {"small", NULL, "small"},
	        {"local/llama-8b", NULL, "small"},
	        {"local/org/llama-70b", NULL, "large"},
	        {"llama-8b", "auto", NULL},
	        {"local/unknown", "auto", NULL},
	};
	struct config *config = load("");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct config_route *route;
		const struct config_model *pinned;
		struct chat_request request = {0};
		struct api_error error;

		snprintf(request.model, sizeof(request.model), "%s", rows[i].name);
		ck_assert(resolve_model(config, &request, &route, &pinned, &error));
		ck_assert_msg(!route == !rows[i].route && !pinned == !rows[i].pinned, "%s",
		              rows[i].name);
		if (route)
			ck_assert_str_eq(route->name, rows[i].route);
		else
			ck_assert_str_eq(pinned->name, rows[i].pinned);
	}
	config_unref(config);
}
END_TEST

START_TEST(test_an_unknown_name_may_be_rejected)
{
	struct config *config = load("unknown_model: reject\n");
	const struct config_route *route;
	const struct config_model *pinned;
	struct chat_request request = {.model = "gpt-4.1"};
	struct api_error error;

	ck_assert(!resolve_model(config, &request, &route, &pinned, &error));
	ck_assert_int_eq(error.status, 404);
	ck_assert_str_eq(error.code, "model_not_found");
	ck_assert_str_eq(error.param, "model");
	config_unref(config);
}
END_TEST

START_TEST(test_a_model_for_embeddings_cannot_chat)
{
	struct config *config = load("");
	const struct config_route *route;
	const struct config_model *pinned;
	struct chat_request request = {.model = "vectors"};
	struct api_error error;

	ck_assert(!resolve_model(config, &request, &route, &pinned, &error));
	ck_assert_int_eq(error.status, 422);
	config_unref(config);
}
END_TEST

UNIT_MAIN("resolve", test_a_name_is_a_route_a_model_or_the_default_route,
          test_an_unknown_name_may_be_rejected, test_a_model_for_embeddings_cannot_chat)
