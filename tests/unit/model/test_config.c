/* What a configuration means once it is read. */
#include "config_unit.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "base/log.h"

static const char short_form[] =
        "server:      {port: 8080, read_timeout: 30, write_timeout: 120, idle_timeout: 60}\n"
        "drafter:     {provider: openai, base_url: https://api.openai.com/v1, model: gpt-4.1-nano, "
        "timeout: 30}\n"
        "heavyweight: {provider: openai, base_url: https://api.openai.com/v1, model: gpt-4.1, "
        "timeout: 60}\n"
        "entropy:     {threshold: 2.0, window_size: 10, early_exit_count: 10, top_logprobs: 5}\n"
        "speculative: {enabled: true, soft_threshold_mult: 0.8}\n"
        "cache:       {enabled: true, similarity_threshold: 0.95, ttl_seconds: 3600,\n"
        "              embedding_model: text-embedding-3-small, embedding_dimensions: 1536, "
        "qdrant_collection: ignored-with-a-warning}\n"
        "metrics:     {enabled: true, path: /metrics}\n";

static const char long_form[] =
        "server:\n"
        "  listen: [127.0.0.1:8080, \"[::1]:0\", \":9000\"]\n"
        "  workers: 3\n"
        "  max_connections: 0\n"
        "  max_concurrent: 500\n"
        "  request_timeout: 90\n"
        "  max_body_bytes: 2MiB\n"
        "  drain_timeout: 250ms\n"
        "providers:\n"
        "  cloud:\n"
        "    base_url: https://cloud.example/v1//\n"
        "    api_key: secret\n"
        "    headers: {X-One: \"1\", api-key: two}\n"
        "    connect_timeout: 1\n"
        "    first_byte_timeout: 2m\n"
        "    idle_timeout: 0\n"
        "    timeout: 1h\n"
        "    prefill: mistral\n"
        "    retries: 0\n"
        "    max_concurrent: 16\n"
        "  local: {base_url: \"http://localhost:11434/v1\", stream_usage: false}\n"
        "models:\n"
        "  small: {provider: local, model: \"org/llama3:8b\", capabilities: [logprobs, tools]}\n"
        "  big: {provider: cloud, price: {input: 2, cached_input: 0.5, output: 8.25}, context: "
        "128000}\n"
        "  vectors: {provider: cloud, capabilities: [embeddings]}\n"
        "routes:\n"
        "  careful: {drafter: small, heavyweight: big, entropy: {threshold: 0, window_size: 3}}\n"
        "  cheap: {drafter: [small, big], heavyweight: [big, small], on_heavyweight_down: draft}\n"
        "entropy: {tail: renormalise, threshold: 1.5, on_unscorable: accept}\n"
        "unknown_model: reject\n"
        "metrics: {enabled: false}\n"
        "log: {level: warn, file: /tmp/x.log, access: off}\n";

static void
assert_route_is_default(const struct config *config)
{
	const struct config_route *route = config->default_route;

	ck_assert_uint_eq(config->route_count, 1);
	ck_assert_str_eq(route->name, "auto");
	ck_assert_uint_eq(route->drafter_count, 1);
	ck_assert_uint_eq(route->heavyweight_count, 1);
	ck_assert_double_eq(route->entropy.options.threshold, 2.0);
	ck_assert_uint_eq(route->entropy.options.window_size, 10);
	ck_assert_uint_eq(route->entropy.options.early_exit_count, 10);
	ck_assert_uint_eq(route->entropy.top_logprobs, 5);
	ck_assert_ptr_eq(route->entropy.rule, &rule_window);
	ck_assert_int_eq(route->entropy.tail, ENTROPY_TAIL_BOUND);
	ck_assert_int_eq(route->entropy.on_unscorable, ON_UNSCORABLE_ESCALATE);
	ck_assert_int_eq(route->stream.mode, STREAM_LIVE);
	ck_assert_int_eq(route->stream.late, STREAM_LATE_HANDOFF);
	ck_assert(route->speculative.enabled);
	ck_assert_double_eq(route->speculative.soft_threshold_mult, 0.8);
	ck_assert_double_eq(route->speculative.max_share, 1);
	ck_assert_int_eq(route->on_heavyweight_down, ON_HEAVYWEIGHT_DOWN_FAIL);
}

/* The defaults of the whole program, as the short form has them. */
static void
assert_is_default(const struct config *config)
{
	const struct config_route *route = config->default_route;
	const struct config_model *drafter, *heavyweight;

	ck_assert_uint_eq(config->server.listen_count, 1);
	ck_assert_str_eq(config->server.listen[0].host, "*");
	ck_assert_uint_eq(config->server.listen[0].port, 8080);
	ck_assert_uint_eq(config->server.workers, 1);
	ck_assert_uint_eq(config->server.max_connections, 10000);
	ck_assert_uint_eq(config->server.max_concurrent, 0);
	ck_assert_uint_eq(config->server.request_timeout_ms, 600000);
	ck_assert_uint_eq(config->server.max_body_bytes, 10485760);
	ck_assert_uint_eq(config->server.read_timeout_ms, 30000);
	ck_assert_uint_eq(config->server.write_timeout_ms, 120000);
	ck_assert_uint_eq(config->server.idle_timeout_ms, 60000);
	ck_assert_uint_eq(config->server.drain_timeout_ms, 30000);
	ck_assert_uint_eq(config->server.keepalive_interval_ms, 15000);
	ck_assert_ptr_null(config->server.tls_certificate);
	ck_assert_ptr_null(config->server.tls_key);
	ck_assert_int_eq(config->unknown_model, UNKNOWN_MODEL_DEFAULT);
	ck_assert(config->metrics_enabled);
	ck_assert_str_eq(config->metrics_path, "/metrics");
	ck_assert_str_eq(config->log_file, "-");
	ck_assert_str_eq(config->access_file, "-");
	ck_assert_uint_eq(config->log_level, LOG_LEVEL_INFO);
	ck_assert_uint_eq(config->breaker.failures, 5);
	ck_assert_double_eq(config->breaker.failed_part, 0.5);
	ck_assert_uint_eq(config->breaker.minimum, 10);
	ck_assert_uint_eq(config->breaker.window_ms, 30000);
	ck_assert_uint_eq(config->breaker.open_ms, 30000);
	ck_assert_uint_eq(config->breaker.open_max_ms, 300000);

	assert_route_is_default(config);

	drafter = route->drafters[0];
	heavyweight = route->heavyweights[0];
	ck_assert_str_eq(drafter->name, "drafter");
	ck_assert_str_eq(drafter->upstream_name, "gpt-4.1-nano");
	ck_assert_str_eq(heavyweight->name, "heavyweight");
	ck_assert_str_eq(heavyweight->upstream_name, "gpt-4.1");
	ck_assert(!drafter->capabilities_known && !drafter->price.known);
	ck_assert_str_eq(drafter->provider->base_url, "https://api.openai.com/v1");
	ck_assert_uint_eq(drafter->provider->connect_timeout_ms, 5000);
	ck_assert_uint_eq(drafter->provider->first_byte_timeout_ms, 30000);
	ck_assert_uint_eq(drafter->provider->idle_timeout_ms, 30000);
	ck_assert_uint_eq(drafter->provider->timeout_ms, 0);
	ck_assert_uint_eq(heavyweight->provider->first_byte_timeout_ms, 60000);
	ck_assert_uint_eq(heavyweight->provider->idle_timeout_ms, 60000);
	ck_assert(drafter->provider->stream_usage && heavyweight->provider->stream_usage);
	for (size_t i = 0; i < 2; i++) {
		const struct config_provider *provider = config->models[i].provider;

		ck_assert_uint_eq(provider->max_concurrent, 0);
		ck_assert_uint_eq(provider->retries, 2);
		ck_assert_int_eq(provider->prefill, CHAT_PREFILL_NONE);
	}
}

START_TEST(test_the_short_form_and_its_absence_mean_the_defaults)
{
	static const char *const texts[] = {
	        short_form, "", "{}", "---\n", "# nothing\n", "null", "server:\ncache:\n"};
	struct config_report report;
	struct config *config;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		config = config_good(texts[i]);
		assert_is_default(config);
		config_unref(config);
	}
	config_report_init(&report);
	config = config_load(NULL, &report);
	ck_assert_ptr_nonnull(config);
	assert_is_default(config);
	config_unref(config);
	config_report_fini(&report);
}
END_TEST

START_TEST(test_the_long_form_names_servers)
{
	struct config *config = config_good(long_form);
	const struct config_server *server = &config->server;
	const struct config_provider *cloud = &config->providers[0], *local = &config->providers[1];

	ck_assert_uint_eq(server->listen_count, 3);
	ck_assert_str_eq(server->listen[0].host, "127.0.0.1");
	ck_assert_uint_eq(server->listen[0].port, 8080);
	ck_assert_str_eq(server->listen[1].host, "::1");
	ck_assert_uint_eq(server->listen[1].port, 0);
	ck_assert_str_eq(server->listen[2].host, "*");
	ck_assert_uint_eq(server->listen[2].port, 9000);
	ck_assert_uint_eq(server->workers, 3);
	ck_assert_uint_eq(server->max_connections, 0);
	ck_assert_uint_eq(server->max_concurrent, 500);
	ck_assert_uint_eq(server->request_timeout_ms, 90000);
	ck_assert_uint_eq(server->max_body_bytes, 2097152);
	ck_assert_uint_eq(server->drain_timeout_ms, 250);

	ck_assert_uint_eq(config->provider_count, 2);
	ck_assert_str_eq(cloud->name, "cloud");
	ck_assert_str_eq(cloud->label, "cloud");
	ck_assert_str_eq(cloud->base_url, "https://cloud.example/v1");
	ck_assert_str_eq(cloud->api_key, "secret");
	ck_assert_uint_eq(cloud->header_count, 2);
	ck_assert_str_eq(cloud->headers[0].name, "X-One");
	ck_assert_str_eq(cloud->headers[0].value, "1");
	ck_assert_str_eq(cloud->headers[1].value, "two");
	ck_assert_uint_eq(cloud->connect_timeout_ms, 1000);
	ck_assert_uint_eq(cloud->first_byte_timeout_ms, 120000);
	ck_assert_uint_eq(cloud->idle_timeout_ms, 0);
	ck_assert_uint_eq(cloud->timeout_ms, 3600000);
	ck_assert_int_eq(cloud->prefill, CHAT_PREFILL_MISTRAL);
	ck_assert_uint_eq(cloud->retries, 0);
	ck_assert_uint_eq(cloud->max_concurrent, 16);
	ck_assert_int_eq(local->prefill, CHAT_PREFILL_NONE);
	ck_assert_uint_eq(local->retries, 2);
	ck_assert_uint_eq(local->max_concurrent, 0);
	ck_assert(cloud->stream_usage && !local->stream_usage);
	ck_assert_ptr_null(local->api_key);
	ck_assert_uint_eq(local->connect_timeout_ms, 5000);
	ck_assert_uint_eq(local->first_byte_timeout_ms, 60000);
	ck_assert_uint_eq(local->idle_timeout_ms, 60000);
	ck_assert_uint_eq(local->timeout_ms, 0);
	config_unref(config);
}
END_TEST

START_TEST(test_the_long_form_names_models_and_routes)
{
	struct config *config = config_good(long_form);
	const struct config_provider *local = &config->providers[1];
	const struct config_model *small = &config->models[0], *big = &config->models[1];
	const struct config_route *careful = config_route_find(config, "careful"),
	                          *cheap = config_route_find(config, "cheap");

	ck_assert_uint_eq(config->model_count, 3);
	ck_assert_ptr_eq(small->provider, local);
	ck_assert_str_eq(small->upstream_name, "org/llama3:8b");
	ck_assert(small->capabilities_known);
	ck_assert_uint_eq(small->capabilities, MODEL_CAN_LOGPROBS | MODEL_CAN_TOOLS);
	ck_assert_str_eq(big->upstream_name, "big");
	ck_assert(!big->capabilities_known && big->price.known);
	ck_assert_uint_eq(big->price.input_pico, 2000000);
	ck_assert_uint_eq(big->price.cached_input_pico, 500000);
	ck_assert_uint_eq(big->price.output_pico, 8250000);
	ck_assert_uint_eq(big->context, 128000);

	ck_assert_ptr_eq(config->default_route, careful);
	ck_assert_ptr_eq(careful->drafters[0], small);
	ck_assert_ptr_eq(careful->heavyweights[0], big);
	ck_assert_uint_eq(cheap->drafter_count, 2);
	ck_assert_ptr_eq(cheap->drafters[1], big);
	ck_assert_uint_eq(cheap->heavyweight_count, 2);
	ck_assert_ptr_eq(cheap->heavyweights[1], small);
	ck_assert_int_eq(config->unknown_model, UNKNOWN_MODEL_REJECT);
	ck_assert(!config->metrics_enabled);
	ck_assert_uint_eq(config->log_level, LOG_LEVEL_WARN);
	ck_assert_str_eq(config->log_file, "/tmp/x.log");
	ck_assert_ptr_null(config->access_file);
	config_unref(config);
}
END_TEST

START_TEST(test_a_route_overrides_only_what_it_names)
{
	struct config *config = config_good(long_form);
	const struct config_route *careful = config_route_find(config, "careful"),
	                          *cheap = config_route_find(config, "cheap");

	/* The top-level block stands after the routes in the file, and holds all the same. */
	ck_assert_double_eq(careful->entropy.options.threshold, 0);
	ck_assert_uint_eq(careful->entropy.options.window_size, 3);
	ck_assert_uint_eq(careful->entropy.options.early_exit_count, 10);
	ck_assert_int_eq(careful->entropy.tail, ENTROPY_TAIL_RENORMALISE);
	ck_assert_int_eq(careful->entropy.on_unscorable, ON_UNSCORABLE_ACCEPT);
	ck_assert_int_eq(careful->on_heavyweight_down, ON_HEAVYWEIGHT_DOWN_FAIL);
	ck_assert_double_eq(cheap->entropy.options.threshold, 1.5);
	ck_assert_uint_eq(cheap->entropy.options.window_size, 10);
	ck_assert_int_eq(cheap->on_heavyweight_down, ON_HEAVYWEIGHT_DOWN_DRAFT);
	config_unref(config);

	config = config_good("on_heavyweight_down: draft\nstream: {mode: hold}\n");
	ck_assert_int_eq(config->default_route->on_heavyweight_down, ON_HEAVYWEIGHT_DOWN_DRAFT);
	ck_assert_int_eq(config->default_route->stream.mode, STREAM_HOLD);
	ck_assert_int_eq(config->default_route->stream.late, STREAM_LATE_HANDOFF);
	config_unref(config);
}
END_TEST

START_TEST(test_the_route_auto_is_the_default_wherever_it_stands)
{
	struct config *config = config_good("providers: {p: {base_url: http://h/v1}}\n"
	                                    "models: {m: {provider: p}}\n"
	                                    "routes: {a: {drafter: m, heavyweight: m}, "
	                                    "auto: {drafter: m, heavyweight: m}}\n");

	ck_assert_str_eq(config->default_route->name, "auto");
	config_unref(config);
}
END_TEST

START_TEST(test_json_is_read_as_well)
{
	struct config *config = config_good("{\n"
	                                    "\t\"server\": {\"listen\": [\"127.0.0.1:1\"], "
	                                    "\"read_timeout\":\"90s\",\"max_connections\":5},\n"
	                                    "\t\"drafter\": {\"provider\":\"local\","
	                                    "\"base_url\":\"http:\\/\\/localhost:1\\/v1\"},\n"
	                                    "\t\"entropy\": {\"threshold\": 1e0}\n"
	                                    "}\n");

	ck_assert_uint_eq(config->server.read_timeout_ms, 90000);
	ck_assert_uint_eq(config->server.max_connections, 5);
	ck_assert_str_eq(config->default_route->drafters[0]->provider->base_url,
	                 "http://localhost:1/v1");
	ck_assert_double_eq(config->default_route->entropy.options.threshold, 1);
	config_unref(config);
}
END_TEST

START_TEST(test_block_style_and_flow_style_are_the_same)
{
	struct config *config = config_good("\xEF\xBB\xBF# with a byte order mark\r\n"
	                                    "drafter:\r\n"
	                                    "    model: 'small'   # a comment\r\n"
	                                    "    timeout: 1.5\r\n"
	                                    "server:\r\n"
	                                    "    listen:\r\n"
	                                    "    - localhost:80\r\n");

	ck_assert_str_eq(config->default_route->drafters[0]->upstream_name, "small");
	ck_assert_uint_eq(config->default_route->drafters[0]->provider->idle_timeout_ms, 1500);
	ck_assert_str_eq(config->server.listen[0].host, "localhost");
	config_unref(config);
}
END_TEST

START_TEST(test_providers_that_agree_in_everything_are_one)
{
	static const struct {
		const char *heavyweight;
		size_t providers;
		const char *names[2];
	} rows[] = {
	        {"{provider: p, base_url: http://h/v1, timeout: 9}", 1, {"p", "p"}},
	        {"{provider: p, base_url: http://h/v1/, timeout: 9s}", 1, {"p", "p"}},
	        {"{provider: p, base_url: http://h/v1, timeout: 8}", 2, {"drafter", "heavyweight"}},
	        {"{provider: p, base_url: http://i/v1, timeout: 9}", 2, {"drafter", "heavyweight"}},
	        {"{provider: p, base_url: http://h/v1, timeout: 9, api_key: k}",
	         2,
	         {"drafter", "heavyweight"}},
	        {"{provider: p, base_url: http://h/v1, timeout: 9, headers: {A: b}}",
	         2,
	         {"drafter", "heavyweight"}},
	        {"{provider: p, base_url: http://h/v1, timeout: 9, stream_usage: false}",
	         2,
	         {"drafter", "heavyweight"}},
	        {"{provider: q, base_url: http://h/v1, timeout: 9}", 2, {"p", "q"}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text =
		        mem_format("drafter: {provider: p, base_url: http://h/v1, timeout: 9}\n"
		                   "heavyweight: %s\n",
		                   rows[i].heavyweight);
		struct config *config = config_good(text);

		ck_assert_msg(config->provider_count == rows[i].providers, "%s",
		              rows[i].heavyweight);
		ck_assert_str_eq(config->models[0].provider->name, rows[i].names[0]);
		ck_assert_str_eq(config->models[1].provider->name, rows[i].names[1]);
		ck_assert_str_eq(config->models[0].provider->label, "p");
		config_unref(config);
		free(text);
	}
}
END_TEST

START_TEST(test_the_connection_is_not_waited_for_longer_than_the_answer)
{
	struct config *config = config_good("drafter: {timeout: 2}\nheavyweight: {timeout: 0}\n");

	ck_assert_uint_eq(config->models[0].provider->connect_timeout_ms, 2000);
	ck_assert_uint_eq(config->models[1].provider->connect_timeout_ms, 5000);
	ck_assert_uint_eq(config->models[1].provider->idle_timeout_ms, 0);
	config_unref(config);
}
END_TEST

START_TEST(test_models_are_found_by_name_and_by_provider)
{
	struct config *config = config_good(short_form);

	ck_assert_ptr_eq(config_model_find(config, "drafter"), &config->models[0]);
	ck_assert_ptr_eq(config_model_find(config, "heavyweight"), &config->models[1]);
	/* Two providers stand behind the one word, for their timeouts differ. */
	ck_assert_uint_eq(config->provider_count, 2);
	ck_assert_ptr_eq(config_model_find(config, "openai/gpt-4.1"), &config->models[1]);
	ck_assert_ptr_eq(config_model_find(config, "openai/gpt-4.1-nano"), &config->models[0]);
	ck_assert_ptr_eq(config_model_find(config, "heavyweight/gpt-4.1"), &config->models[1]);
	ck_assert_ptr_null(config_model_find(config, "gpt-4.1"));
	ck_assert_ptr_null(config_model_find(config, "openai/"));
	ck_assert_ptr_null(config_model_find(config, "/gpt-4.1"));
	ck_assert_ptr_null(config_model_find(config, "openai"));
	ck_assert_ptr_null(config_model_find(config, "open/gpt-4.1"));
	ck_assert_ptr_null(config_model_find(config, ""));
	ck_assert_ptr_null(config_route_find(config, "drafter"));
	config_unref(config);

	config = config_good(long_form);
	ck_assert_ptr_eq(config_model_find(config, "local/org/llama3:8b"), &config->models[0]);
	ck_assert_ptr_eq(config_model_find(config, "cloud/big"), &config->models[1]);
	ck_assert_ptr_null(config_model_find(config, "local/small"));
	config_unref(config);
}
END_TEST

START_TEST(test_zero_workers_are_one_per_core)
{
	struct config *config = config_good("server: {workers: 0}\n");
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	ck_assert_uint_eq(config->server.workers, (unsigned)CPU_COUNT(&set));
	config_unref(config);
}
END_TEST

START_TEST(test_tls_takes_files_that_can_be_read)
{
	struct config *config =
	        config_good("server: {tls: {certificate: /etc/passwd, key: /etc/group}}\n");

	ck_assert_str_eq(config->server.tls_certificate, "/etc/passwd");
	ck_assert_str_eq(config->server.tls_key, "/etc/group");
	config_unref(config);
}
END_TEST

static void *
on_thread(void *arg)
{
	for (int i = 0; i < 10000; i++)
		config_unref(config_ref(arg));
	config_unref(arg);
	return NULL;
}

START_TEST(test_the_last_of_several_threads_frees_the_snapshot)
{
	struct config *config = config_good(short_form);
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, on_thread, config_ref(config)),
		                 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(config->references, 1);
	config_unref(config);
	config_unref(NULL);
}
END_TEST

START_TEST(test_a_file_cut_anywhere_is_read_or_refused_with_a_reason)
{
	static const char *const texts[] = {short_form, long_form};

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(texts[i]);

		for (size_t k = 0; k <= n; k++) {
			/* A copy of exactly that size, so that reading on is found out. */
			char *copy = mem_new(k + 1);
			struct config_report report;
			struct config *config;

			memcpy(copy, texts[i], k);
			config_report_init(&report);
			config = config_parse("f", (struct bytes){copy, k}, &report);
			ck_assert_msg((config == NULL) == (report.error_count > 0), "cut at %zu",
			              k);
			ck_assert_msg((config == NULL) == (report.errors.n > 0), "cut at %zu", k);
			config_unref(config);
			config_report_fini(&report);
			free(copy);
		}
	}
}
END_TEST

START_TEST(test_a_file_is_read_from_disk)
{
	char path[] = "/tmp/draft-thinker-config-XXXXXX";
	int fd = mkstemp(path);
	struct config_report report;
	struct config *config;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, short_form, strlen(short_form)), (ssize_t)strlen(short_form));
	close(fd);
	config_report_init(&report);
	config = config_load(path, &report);
	unlink(path);
	ck_assert_ptr_nonnull(config);
	assert_is_default(config);
	config_unref(config);
	ck_assert_ptr_null(config_load(path, &report));
	ck_assert_uint_eq(report.error_count, 1);
	ck_assert_ptr_nonnull(memmem(report.errors.p, report.errors.n, "No such file", 12));
	ck_assert_ptr_null(config_load("/", &report));
	ck_assert_uint_eq(report.error_count, 2);
	config_report_fini(&report);
}
END_TEST

UNIT_MAIN("config", test_the_short_form_and_its_absence_mean_the_defaults,
          test_the_long_form_names_servers, test_the_long_form_names_models_and_routes,
          test_a_route_overrides_only_what_it_names,
          test_the_route_auto_is_the_default_wherever_it_stands, test_json_is_read_as_well,
          test_block_style_and_flow_style_are_the_same,
          test_providers_that_agree_in_everything_are_one,
          test_the_connection_is_not_waited_for_longer_than_the_answer,
          test_models_are_found_by_name_and_by_provider, test_zero_workers_are_one_per_core,
          test_tls_takes_files_that_can_be_read,
          test_the_last_of_several_threads_frees_the_snapshot,
          test_a_file_cut_anywhere_is_read_or_refused_with_a_reason, test_a_file_is_read_from_disk)
