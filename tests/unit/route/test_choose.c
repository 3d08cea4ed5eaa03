#include "route/choose.h"

#include <stdio.h>
#include <string.h>

#include "net/http_client.h"
#include "unit.h"

enum { NOW = 1000000 };

static const char text[] = "providers: {p: {base_url: \"http://127.0.0.1:1/v1\"}}\n"
                           "models:\n"
                           "  a: {provider: p}\n"
                           "  b: {provider: p, capabilities: [tools, logprobs], context: 1000}\n"
                           "  c: {provider: p, capabilities: [json, vision, logprobs]}\n"
                           "  d: {provider: p, capabilities: [], context: 100}\n"
                           "routes:\n"
                           "  auto: {drafter: [b, c], heavyweight: [d, b, a]}\n"
                           "  order: {models: [d, c, b], strategy: order}\n"
                           "  turns: {models: [a, b, c], strategy: weighted}\n"
                           "  weak: {models: [d]}\n";

#define TOOLS "\"tools\":[{}]"
#define JSON  "\"response_format\":{\"type\":\"json_object\"}"
#define IMAGE                                                                                      \
	"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{"    \
	"\"url\":\"x\"}}]}]"
#define ASK "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"

static struct plan *
plan_make(void)
{
	struct config_report report;
	struct config *config;
	struct plan *plan;
	char error[256];

	http_client_global_init();
	config_report_init(&report);
	config = config_parse("f", bytes_of(text), &report);
	ck_assert_msg(config != NULL, "%.*s", (int)report.errors.n, report.errors.p);
	config_report_fini(&report);
	plan = plan_new(config, NULL, error, sizeof(error));
	ck_assert_msg(plan != NULL, "%s", error);
	return plan;
}

/* The names of a list, one letter each. */
static const char *
names_of(const struct choice *choice, char out[16])
{
	size_t n = 0;

	for (; n < choice->count; n++)
		out[n] = choice->list[n].model->name[0];
	out[n] = '\0';
	return out;
}

static bool
choose(const struct plan *plan, const char *name, const char *body, bool peek, char drafters[16],
       char heavyweights[16], struct api_error *error)
{
	struct chat_request request;
	struct choice draft, heavy;
	struct choose_spec spec = {
	        .plan = plan,
	        .route = config_route_find(plan->config, name),
	        .pinned = config_model_named(plan->config, name),
	        .request = &request,
	        .now_ms = NOW,
	        .peek = peek,
	};

	ck_assert_msg(chat_request_read(&request, bytes_of(body), error), "%s", body);
	if (!choose_models(&spec, &draft, &heavy, error))
		return false;
	names_of(&draft, drafters);
	names_of(&heavy, heavyweights);
	choice_fini(&draft);
	choice_fini(&heavy);
	return true;
}

/* heavyweights NULL: refused, and the message says `drafters`. */
START_TEST(test_who_cannot_is_left_out)
{
	static const struct {
		const char *name, *body, *drafters, *heavyweights;
	} rows[] = {
	        {"auto", "{" ASK "}", "bc", "dba"},
	        {"auto", "{" ASK "," TOOLS "}", "b", "ba"},
	        {"auto", "{" ASK "," JSON "}", "c", "a"},
	        {"auto", "{" IMAGE "}", "c", "a"},
	        {"auto", "{" IMAGE "," JSON "}", "c", "a"},
	        {"auto", "{" ASK "," TOOLS "," JSON "}", "", "a"},
	        {"auto", "{" ASK "," TOOLS ",\"fallbacks\":[\"d\",\"c\",\"b\"]}", "b", "ba"},
	        {"auto", "{" ASK "," JSON ",\"fallbacks\":[\"c\"]}", "c", "ac"},
	        {"order", "{" ASK "}", "", "dcb"},
	        {"order", "{" ASK "," TOOLS "}", "", "b"},
	        {"order", "{" ASK "," TOOLS "," JSON "}", "tools, json (response_format).", NULL},
	        {"order", "{" ASK "," TOOLS "," JSON ",\"fallbacks\":[\"a\"]}", "", "a"},
	        {"weak", "{" IMAGE "}", "vision (images).", NULL},
	        {"d", "{" IMAGE "}", "", "d"},
	        {"d", "{" IMAGE ",\"fallbacks\":[\"b\",\"c\",\"d\"]}", "", "dc"},
	        {"d", "{" ASK ",\"fallbacks\":[\"nobody\"]}", "fallbacks[0]", NULL},
	};
	struct plan *plan = plan_make();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char drafters[16], heavyweights[16];
		struct api_error error = {0};
		bool fine = choose(plan, rows[i].name, rows[i].body, false, drafters, heavyweights,
		                   &error);

		ck_assert_msg(fine == (rows[i].heavyweights != NULL), "%zu: %s", i, error.message);
		if (!fine) {
			ck_assert_msg(strstr(error.message, rows[i].drafters) != NULL, "%s",
			              error.message);
			continue;
		}
		ck_assert_msg(strcmp(drafters, rows[i].drafters) == 0, "%zu: %s", i, drafters);
		ck_assert_msg(strcmp(heavyweights, rows[i].heavyweights) == 0, "%zu: %s", i,
		              heavyweights);
	}
	plan_unref(plan);
}
END_TEST

START_TEST(test_a_prompt_must_fit_the_context)
{
	struct plan *plan = plan_make();
	char body[6000], filling[5000], drafters[16], heavyweights[16];
	struct api_error error = {0};

	for (size_t tokens = 50; tokens <= 1050; tokens += 100) {
		memset(filling, 'a', sizeof(filling));
		filling[tokens * 4] = '\0';
		snprintf(body, sizeof(body),
		         "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", filling);
		ck_assert(choose(plan, "auto", body, false, drafters, heavyweights, &error));
		ck_assert_str_eq(drafters, tokens < 1000 ? "bc" : "c");
		ck_assert_str_eq(heavyweights, tokens < 100 ? "dba" : tokens < 1000 ? "ba" : "a");
	}
	ck_assert(!choose(plan, "weak", body, false, drafters, heavyweights, &error));
	ck_assert_int_eq(error.status, 422);
	ck_assert_ptr_nonnull(strstr(error.message, "a context of about 10"));
	plan_unref(plan);
}
END_TEST

START_TEST(test_turns_are_taken_unless_one_only_looks)
{
	struct plan *plan = plan_make();
	static const char *const turns[] = {"abc", "bca", "cab", "abc"};
	char drafters[16], heavyweights[16];
	struct api_error error = {0};

	for (size_t i = 0; i < 4; i++) {
		for (int peek = 1; peek >= 0; peek--) {
			ck_assert(choose(plan, "turns", "{" ASK "}", peek, drafters, heavyweights,
			                 &error));
			ck_assert_str_eq(heavyweights, turns[i]);
		}
	}
	/* Who cannot takes no turn, and does not stand in the list. */
	for (size_t i = 0; i < 4; i++) {
		ck_assert(choose(plan, "turns", "{" ASK "," TOOLS "}", false, drafters,
		                 heavyweights, &error));
		ck_assert_ptr_null(strchr(heavyweights, 'c'));
		ck_assert_uint_eq(strlen(heavyweights), 2);
	}
	plan_unref(plan);
}
END_TEST

START_TEST(test_who_has_used_up_a_limit_comes_last)
{
	struct plan *plan = plan_make();
	const struct health_limit used_up = {"9", "0", "1m"}, none = {0};
	char drafters[16], heavyweights[16];
	struct api_error error = {0};

	for (const char *name = "db"; *name; name++) {
		const char one[] = {*name, '\0'};
		const struct config_model *model = config_model_named(plan->config, one);

		health_note_limits(plan_candidate(plan, model)->health, &used_up, &none, NOW);
	}
	ck_assert(choose(plan, "auto", "{" ASK "}", false, drafters, heavyweights, &error));
	ck_assert_str_eq(drafters, "cb");
	ck_assert_str_eq(heavyweights, "adb");
	ck_assert(choose(plan, "order", "{" ASK "}", false, drafters, heavyweights, &error));
	ck_assert_str_eq(heavyweights, "cdb");
	ck_assert(choose(plan, "turns", "{" ASK "}", false, drafters, heavyweights, &error));
	ck_assert_str_eq(heavyweights, "acb");
	ck_assert(choose(plan, "d", "{" ASK ",\"fallbacks\":[\"c\"]}", false, drafters,
	                 heavyweights, &error));
	ck_assert_str_eq(heavyweights, "cd");
	/* The only one is asked all the same. */
	ck_assert(choose(plan, "weak", "{" ASK "}", false, drafters, heavyweights, &error));
	ck_assert_str_eq(heavyweights, "d");
	plan_unref(plan);
}
END_TEST

UNIT_MAIN("choose", test_who_cannot_is_left_out, test_a_prompt_must_fit_the_context,
          test_turns_are_taken_unless_one_only_looks, test_who_has_used_up_a_limit_comes_last)
