/* Streams, speculation, the breaker, retries, prefill and prices: what their keys mean. */
#include "config_unit.h"

/* A long form around one provider, one model and one route. */
#define P     "providers: {p: {base_url: http://h/v1}}\n"
#define M     "models: {m: {provider: p}}\n"
#define R     "routes: {auto: {drafter: m, heavyweight: m}}\n"
#define QUIET "server: {listen: [\"127.0.0.1:0\"]}\n"

START_TEST(test_a_route_overrides_stream_and_speculative_key_by_key)
{
	struct config *config = config_good(
	        "providers: {p: {base_url: http://h/v1}}\n"
	        "models: {m: {provider: p}}\n"
	        "routes:\n"
	        "  late: {drafter: m, heavyweight: m, stream: {late: handoff}}\n"
	        "  live: {drafter: m, heavyweight: m, stream: {mode: live}}\n"
	        "  none: {drafter: m, heavyweight: m, stream: {}, speculative: }\n"
	        "  mult: {drafter: m, heavyweight: m, speculative: {soft_threshold_mult: 0.25}}\n"
	        "  share: {drafter: m, heavyweight: m, speculative: {max_share: 0, enabled: "
	        "true}}\n"
	        "stream: {mode: hold, late: finish}\n"
	        "speculative: {enabled: false, soft_threshold_mult: 0.5, max_share: 0.125}\n");
	static const struct {
		const char *name;
		enum config_stream_mode mode;
		enum config_stream_late late;
		bool enabled;
		double mult, share;
	} rows[] = {
	        {"late", STREAM_HOLD, STREAM_LATE_HANDOFF, false, 0.5, 0.125},
	        {"live", STREAM_LIVE, STREAM_LATE_FINISH, false, 0.5, 0.125},
	        {"none", STREAM_HOLD, STREAM_LATE_FINISH, false, 0.5, 0.125},
	        {"mult", STREAM_HOLD, STREAM_LATE_FINISH, false, 0.25, 0.125},
	        {"share", STREAM_HOLD, STREAM_LATE_FINISH, true, 0.5, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct config_route *route = config_route_find(config, rows[i].name);

		ck_assert_int_eq(route->stream.mode, rows[i].mode);
		ck_assert_int_eq(route->stream.late, rows[i].late);
		ck_assert_int_eq(route->speculative.enabled, rows[i].enabled);
		ck_assert_double_eq(route->speculative.soft_threshold_mult, rows[i].mult);
		ck_assert_double_eq(route->speculative.max_share, rows[i].share);
	}
	config_unref(config);
}
END_TEST

START_TEST(test_the_breaker_is_read_and_0_switches_its_rules_off)
{
	struct config *config =
	        config_good("breaker: {failures: 0, failed_part: 0, minimum: 3, window: 2m, "
	                    "open: 250ms, open_max: 0.25}\n");

	ck_assert_uint_eq(config->breaker.failures, 0);
	ck_assert_double_eq(config->breaker.failed_part, 0);
	ck_assert_uint_eq(config->breaker.minimum, 3);
	ck_assert_uint_eq(config->breaker.window_ms, 120000);
	ck_assert_uint_eq(config->breaker.open_ms, 250);
	ck_assert_uint_eq(config->breaker.open_max_ms, 250);
	config_unref(config);

	config = config_good("breaker: {open: 60}\n");
	ck_assert_uint_eq(config->breaker.open_ms, 60000);
	ck_assert_uint_eq(config->breaker.open_max_ms, 300000);
	ck_assert_uint_eq(config->breaker.failures, 5);
	config_unref(config);
}
END_TEST

START_TEST(test_the_dialects_of_prefill_are_those_of_the_wire)
{
	static const struct {
		const char *name;
		enum chat_prefill prefill;
	} rows[] = {
	        {"none", CHAT_PREFILL_NONE},       {"plain", CHAT_PREFILL_PLAIN},
	        {"vllm", CHAT_PREFILL_VLLM},       {"deepseek", CHAT_PREFILL_DEEPSEEK},
	        {"mistral", CHAT_PREFILL_MISTRAL}, {"anthropic", CHAT_PREFILL_ANTHROPIC},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = mem_format("heavyweight: {prefill: %s}\n", rows[i].name);
		struct config *config = config_good(text);

		ck_assert_int_eq(config->models[1].provider->prefill, rows[i].prefill);
		config_unref(config);
		free(text);
	}
}
END_TEST

START_TEST(test_prices_below_a_nano_dollar_a_token_are_kept)
{
	static const struct {
		const char *usd;
		uint64_t pico;
	} rows[] = {
	        {"0", 0},           {"0.000001", 1},  {"0.0375", 37500},
	        {"0.01875", 18750}, {"1e-3", 1000},   {"1000000", UINT64_C(1000000000000)},
	        {"8.25", 8250000},  {"0.29", 290000}, {"0.0000015", 2},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text =
		        mem_format("providers: {p: {base_url: http://h/v1}}\n"
		                   "models: {m: {provider: p, price: {input: %s, output: 1}}}\n"
		                   "routes: {auto: {drafter: m, heavyweight: m}}\n",
		                   rows[i].usd);
		struct config *config = config_good(text);

		ck_assert(config->models[0].price.known);
		ck_assert_uint_eq(config->models[0].price.input_pico, rows[i].pico);
		/* Left out, as the input. */
		ck_assert_uint_eq(config->models[0].price.cached_input_pico, rows[i].pico);
		config_unref(config);
		free(text);
	}
}
END_TEST

START_TEST(test_retries_and_prefill_of_the_short_form_are_the_heavyweights)
{
	/* One provider for both, and then two. */
	static const char *const servers[] = {"timeout: 9", "timeout: 8"};

	for (size_t i = 0; i < 2; i++) {
		char *text = mem_format("drafter: {provider: p, base_url: http://h, timeout: 9}\n"
		                        "heavyweight: {provider: p, base_url: http://h, %s, "
		                        "retries: 7, prefill: vllm}\n",
		                        servers[i]);
		struct config *config = config_good(text);
		const struct config_provider *drafter = config->models[0].provider,
		                             *heavyweight = config->models[1].provider;

		ck_assert_uint_eq(config->provider_count, i + 1);
		ck_assert_uint_eq(heavyweight->retries, 7);
		ck_assert_int_eq(heavyweight->prefill, CHAT_PREFILL_VLLM);
		ck_assert_uint_eq(drafter->retries, i == 0 ? 7 : 2);
		ck_assert_int_eq(drafter->prefill, i == 0 ? CHAT_PREFILL_VLLM : CHAT_PREFILL_NONE);
		config_unref(config);
		free(text);
	}
}
END_TEST

#define EAGER                                                                                      \
	"soft_threshold_mult: 0 starts the heavyweight at the first token that is not wholly "     \
	"certain; to switch speculation off, set enabled to false\n"

START_TEST(test_what_works_is_not_warned_of)
{
	static const struct {
		const char *yaml, *warnings;
	} rows[] = {
	        {QUIET "stream: {mode: live, late: handoff}\n", ""},
	        {QUIET "stream: {mode: hold, late: finish}\n", ""},
	        {QUIET "on_heavyweight_down: draft\n", ""},
	        {QUIET "breaker: {failures: 3, open: 5}\n", ""},
	        {"server: {listen: [\"127.0.0.1:0\"], max_concurrent: 5, request_timeout: 0}\n",
	         ""},
	        {QUIET
	         "providers: {p: {base_url: http://h, retries: 2, prefill: vllm, max_concurrent: "
	         "3}}\n" M R,
	         ""},
	        {QUIET P "models: {m: {provider: p, price: {input: 1, output: 2}}}\n" R, ""},
	        {QUIET "speculative: {enabled: true, soft_threshold_mult: 0.8, max_share: 0.1}\n",
	         ""},
	        {QUIET "speculative: {enabled: false, soft_threshold_mult: 0}\n", ""},
	        {QUIET "speculative: {max_share: 0, soft_threshold_mult: 0}\n", ""},
	        {QUIET "speculative:\n  soft_threshold_mult: 0\n", "f:3: speculative." EAGER},
	        /* Said where the two come together. */
	        {QUIET "speculative: {enabled: false, soft_threshold_mult: 0}\n" P M
	               "routes:\n  auto:\n    drafter: m\n    heavyweight: m\n"
	               "    speculative: {enabled: true}\n",
	         "f:9: routes.auto.speculative." EAGER},
	};

	setenv("OPENAI_API_KEY", "sk-environment", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_warnings(rows[i].yaml, rows[i].warnings);
}
END_TEST

START_TEST(test_a_pool_has_models_weights_and_a_strategy)
{
	struct config *config =
	        config_good(P "models: {m: {provider: p}, n: {provider: p}}\n"
	                      "routes:\n"
	                      "  one: {models: m}\n"
	                      "  two: {models: [n, {model: m, weight: 1000}], strategy: weighted}\n"
	                      "  three: {models: [m, {model: n}], strategy: order}\n"
	                      "  four: {drafter: m, heavyweight: n}\n");
	const struct config_route *routes = config->routes;

	ck_assert(routes[0].is_pool && routes[1].is_pool && routes[2].is_pool);
	ck_assert(!routes[3].is_pool && !routes[3].weights);
	ck_assert_int_eq(routes[0].strategy, STRATEGY_HEALTH);
	ck_assert_int_eq(routes[1].strategy, STRATEGY_WEIGHTED);
	ck_assert_int_eq(routes[2].strategy, STRATEGY_ORDER);
	ck_assert_uint_eq(routes[0].heavyweight_count, 1);
	ck_assert_uint_eq(routes[0].weights[0], 1);
	ck_assert_uint_eq(routes[1].heavyweight_count, 2);
	ck_assert_str_eq(routes[1].heavyweights[0]->name, "n");
	ck_assert_str_eq(routes[1].heavyweights[1]->name, "m");
	ck_assert_uint_eq(routes[1].weights[0], 1);
	ck_assert_uint_eq(routes[1].weights[1], 1000);
	ck_assert_uint_eq(routes[2].weights[1], 1);
	ck_assert_uint_eq(routes[1].drafter_count, 0);
	ck_assert(!routes[1].cache.enabled && routes[3].cache.enabled);
	config_unref(config);
}
END_TEST

START_TEST(test_a_route_says_what_reasoning_effort_auto_is)
{
	struct config *config = config_good(
	        P M "routes: {auto: {models: m}, low: {models: m, reasoning_effort: "
	            "low}, high: {drafter: m, heavyweight: m, reasoning_effort: high}}\n");

	ck_assert_str_eq(config_effort_name(config->routes[0].reasoning_effort), "medium");
	ck_assert_str_eq(config_effort_name(config->routes[1].reasoning_effort), "low");
	ck_assert_str_eq(config_effort_name(config->routes[2].reasoning_effort), "high");
	config_unref(config);
	setenv("OPENAI_API_KEY", "sk-environment", 1);
	config = config_good("drafter: {}\n");
	ck_assert_int_eq(config->default_route->reasoning_effort, EFFORT_MEDIUM);
	config_unref(config);
}
END_TEST

UNIT_MAIN("config_options", test_a_route_overrides_stream_and_speculative_key_by_key,
          test_the_breaker_is_read_and_0_switches_its_rules_off,
          test_the_dialects_of_prefill_are_those_of_the_wire,
          test_prices_below_a_nano_dollar_a_token_are_kept,
          test_retries_and_prefill_of_the_short_form_are_the_heavyweights,
          test_what_works_is_not_warned_of, test_a_pool_has_models_weights_and_a_strategy,
          test_a_route_says_what_reasoning_effort_auto_is)
