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

START_TEST(test_a_forced_model_is_known_and_chats)
{
	static const struct {
		const char *name, *pinned;
		int status;
	} rows[] = {
	        {"small", "small", 0},
	        {"local/llama-8b", "small", 0},
	        {"local/org/llama-70b", "large", 0},
	        {"auto", NULL, 404},
	        {"fast", NULL, 404},
	        {"gpt-4.1", NULL, 404},
	        {"vectors", NULL, 422},
	};
	struct config *config = load("");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct config_model *pinned;
		struct api_error error = {0};

		ck_assert_int_eq(resolve_forced(config, rows[i].name, &pinned, &error),
		                 rows[i].pinned != NULL);
		ck_assert_int_eq(error.status, rows[i].status);
		if (rows[i].pinned)
			ck_assert_str_eq(pinned->name, rows[i].pinned);
	}
	config_unref(config);
}
END_TEST

START_TEST(test_fallbacks_are_resolved_in_order_or_refused_by_place)
{
	static const struct {
		const char *list, *first, *last, *param;
		size_t count;
		int status;
	} rows[] = {
	        {"[\"large\",\"local\\/llama-8b\"]", "large", "small", "", 2, 0},
	        {"[]", NULL, NULL, "", 0, 0},
	        {"null", NULL, NULL, "", 0, 0},
	        {"[\"small\",\"nobody\"]", NULL, NULL, "fallbacks[1]", 0, 400},
	        {"[\"auto\"]", NULL, NULL, "fallbacks[0]", 0, 400},
	        {"[\"small\\u0000\"]", NULL, NULL, "fallbacks[0]", 0, 400},
	        {"[\"vectors\"]", NULL, NULL, "fallbacks[0]", 0, 422},
	};
	struct config *config = load("");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct config_model *models[CHAT_FALLBACKS_MAX];
		struct chat_request request;
		struct api_error error = {0};
		char body[256];
		size_t count;

		snprintf(body, sizeof(body),
		         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"fallbacks\":%s}",
		         rows[i].list);
		ck_assert(chat_request_read(&request, bytes_of(body), &error));
		ck_assert_int_eq(resolve_fallbacks(config, &request, models, &count, &error),
		                 rows[i].status == 0);
		ck_assert_int_eq(error.status, rows[i].status);
		ck_assert_str_eq(error.param, rows[i].param);
		if (rows[i].status)
			continue;
		ck_assert_uint_eq(count, rows[i].count);
		if (count > 0) {
			ck_assert_str_eq(models[0]->name, rows[i].first);
			ck_assert_str_eq(models[count - 1]->name, rows[i].last);
		}
	}
	config_unref(config);
}
END_TEST

UNIT_MAIN("resolve", test_a_name_is_a_route_a_model_or_the_default_route,
          test_an_unknown_name_may_be_rejected, test_a_model_for_embeddings_cannot_chat,
          test_a_forced_model_is_known_and_chats,
          test_fallbacks_are_resolved_in_order_or_refused_by_place)
