/* Where keys come from, where they go, and that no message ever shows them. */
#include "config_unit.h"

#include <sys/stat.h>
#include <unistd.h>

#define OPENAI "https://api.openai.com/v1"

START_TEST(test_variables_are_replaced)
{
	static const struct {
		const char *text, *model;
	} rows[] = {
	        {"${SET}", "value"},
	        {"a${SET}b${SET}", "avaluebvalue"},
	        {"${SET:-other}", "value"},
	        {"${UNSET:-other}", "other"},
	        {"${EMPTY:-other}", "other"},
	        {"${UNSET:-a:b-c d}", "a:b-c d"},
	        {"x${UNSET:-}y", "xy"},
	        {"$${SET}", "${SET}"},
	        {"$SET", "$SET"},
	        {"a$", "a$"},
	        {"$$", "$$"},
	        {"${NESTED}", "${SET}"},
	        {"${NUMBER}", "4"},
	        {"${_u9}", "under"},
	};

	setenv("SET", "value", 1);
	setenv("EMPTY", "", 1);
	setenv("NESTED", "${SET}", 1);
	setenv("NUMBER", "4", 1);
	setenv("_u9", "under", 1);
	unsetenv("UNSET");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = mem_format("drafter: {model: \"%s\"}\n", rows[i].text);
		struct config *config = config_good(text);

		ck_assert_str_eq(config->models[0].upstream_name, rows[i].model);
		config_unref(config);
		free(text);
	}
}
END_TEST

START_TEST(test_a_variable_has_the_type_its_key_wants)
{
	struct config *config;

	setenv("PORT", "9000", 1);
	setenv("ON", "false", 1);
	setenv("WAIT", "250ms", 1);
	setenv("TAIL", "renormalise", 1);
	unsetenv("UNSET");
	config = config_good("server:\n  port: ${PORT}\n  read_timeout: ${WAIT}\n"
	                     "  max_connections: ${UNSET:-7}\n"
	                     "metrics: {enabled: \"${ON}\"}\n"
	                     "entropy: {tail: \"${TAIL}\", threshold: \"${UNSET:-1.5}\", "
	                     "rule: \"${UNSET:-window}\"}\n");
	ck_assert_uint_eq(config->server.listen[0].port, 9000);
	ck_assert_uint_eq(config->server.read_timeout_ms, 250);
	ck_assert_uint_eq(config->server.max_connections, 7);
	ck_assert(!config->metrics_enabled);
	ck_assert_int_eq(config->default_route->entropy.tail, ENTROPY_TAIL_RENORMALISE);
	ck_assert_double_eq(config->default_route->entropy.options.threshold, 1.5);
	config_unref(config);
	assert_errors("server:\n  port: ${WAIT}\n", "f:2: server.port: a whole number is wanted\n");
}
END_TEST

START_TEST(test_variables_that_cannot_be_replaced)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
	        {"${UNSET}", "the environment variable UNSET is not set, and no default is given"},
	        {"${UNSET", "`${` without a closing `}`"},
	        {"${}", "`${…}` must be ${NAME} or ${NAME:-default}"},
	        {"${9}", "`${…}` must be ${NAME} or ${NAME:-default}"},
	        {"${A-b}", "`${…}` must be ${NAME} or ${NAME:-default}"},
	        {"${sk-secret}", "`${…}` must be ${NAME} or ${NAME:-default}"},
	        {"${A:b}", "`${…}` must be ${NAME} or ${NAME:-default}"},
	        {"${A:-${B}}", "a default inside `${…}` cannot hold another `${`"},
	        {"${LINES_}", "may not hold control characters"},
	};

	unsetenv("UNSET");
	setenv("LINES_", "a\nb", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = mem_format("drafter: {model: \"%s\"}\n", rows[i].text);
		char *errors = mem_format("f:1: drafter.model: %s\n", rows[i].message);

		assert_errors(text, errors);
		free(text);
		free(errors);
	}
}
END_TEST

START_TEST(test_openais_key_goes_to_openai_only)
{
	static const struct {
		const char *drafter, *key;
	} rows[] = {
	        {"{}", "sk-env"},
	        {"{provider: openai, base_url: https://api.openai.com/v1}", "sk-env"},
	        {"{base_url: https://API.OpenAI.com:443/v1/}", "sk-env"},
	        {"{api_key: own}", "own"},
	        {"{api_key: \"\"}", NULL},
	        {"{base_url: http://api.openai.com/v1}", NULL},
	        {"{base_url: https://api.openai.com.evil.example/v1}", NULL},
	        {"{base_url: https://evil.example/api.openai.com}", NULL},
	        {"{base_url: https://xapi.openai.com/v1}", NULL},
	        {"{base_url: http://localhost:8000/v1}", NULL},
	        {"{provider: other, base_url: https://api.openai.com/v1}", NULL},
	        {"{base_url: http://localhost:8000/v1, api_key: own}", "own"},
	        {"{base_url: http://localhost:8000/v1, api_key: \"${OPENAI_API_KEY}\"}", "sk-env"},
	};

	setenv("OPENAI_API_KEY", "sk-env", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = mem_format("drafter: %s\n", rows[i].drafter);
		struct config *config = config_good(text);
		const char *key = config->models[0].provider->api_key;

		ck_assert_msg(!key == !rows[i].key && (!key || strcmp(key, rows[i].key) == 0), "%s",
		              rows[i].drafter);
		ck_assert_str_eq(config->models[1].provider->api_key, "sk-env");
		config_unref(config);
		free(text);
	}
}
END_TEST

START_TEST(test_openais_key_serves_the_long_form_too)
{
	struct config *config;

	setenv("OPENAI_API_KEY", "sk-env", 1);
	config = config_good("providers: {openai: {base_url: " OPENAI "}, "
	                     "other: {base_url: https://api.openai.com/v1}}\n"
	                     "models: {m: {provider: openai}}\n"
	                     "routes: {auto: {drafter: m, heavyweight: m}}\n");
	ck_assert_str_eq(config->providers[0].api_key, "sk-env");
	ck_assert_ptr_null(config->providers[1].api_key);
	config_unref(config);
}
END_TEST

START_TEST(test_a_missing_key_is_warned_of_where_it_is_needed)
{
#define QUIET "server: {listen: [\"127.0.0.1:0\"]}\n"
	static const char *const values[] = {NULL, ""};

	for (size_t i = 0; i < 2; i++) {
		if (values[i])
			setenv("OPENAI_API_KEY", values[i], 1);
		else
			unsetenv("OPENAI_API_KEY");
		assert_warnings(
		        QUIET "drafter: {base_url: http://h/v1}\nheavyweight: {api_key: k}\n", "");
		assert_warnings(
		        QUIET "drafter: {timeout: 1}\n",
		        "f:1: heavyweight.api_key: there is no key: OPENAI_API_KEY is not set\n"
		        "f:2: drafter.api_key: there is no key: OPENAI_API_KEY is not set\n");
	}
	setenv("OPENAI_API_KEY", "sk-a\nb", 1);
	assert_errors(QUIET "drafter: {api_key: k}\nheavyweight: {model: m}\n",
	              "f:3: heavyweight.api_key: OPENAI_API_KEY holds a control character\n");
#undef QUIET
}
END_TEST

/* A file of that content under path[], a template. */
static void
file_make(char *path, const char *content, size_t n)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, content, n), (ssize_t)n);
	close(fd);
}

START_TEST(test_a_secret_is_read_from_a_file)
{
	static const struct {
		const char *content, *key;
	} rows[] = {
	        {"sk-file", "sk-file"},     {"sk-file\n", "sk-file"},
	        {"sk-file\r\n", "sk-file"}, {" sk file \n\n", " sk file "},
	        {"12345", "12345"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[] = "/tmp/draft-thinker-secret-XXXXXX", *text;
		struct config *config;

		file_make(path, rows[i].content, strlen(rows[i].content));
		setenv("SECRET_FILE", path, 1);
		text = mem_format(
		        "drafter:\n  api_key: file:%s\n  headers: {A: \"file:${SECRET_FILE}\"}\n",
		        path);
		/* Both a key and a header, from the same file. */
		config = config_good(text);
		ck_assert_str_eq(config->models[0].provider->api_key, rows[i].key);
		ck_assert_str_eq(config->models[0].provider->headers[0].value, rows[i].key);
		config_unref(config);
		unlink(path);
		free(text);
	}
}
END_TEST

static void
assert_file_refused(const char *path, const char *message)
{
	char *text = mem_format("drafter: {api_key: \"file:%s\"}\n", path);
	char *errors = mem_format("f:1: drafter.api_key: %s\n", message);

	assert_errors(text, errors);
	free(text);
	free(errors);
}

START_TEST(test_files_that_cannot_hold_a_secret)
{
	char path[] = "/tmp/draft-thinker-secret-XXXXXX",
	     control[] = "/tmp/draft-thinker-secret-XXXXXX",
	     nul[] = "/tmp/draft-thinker-secret-XXXXXX",
	     large[] = "/tmp/draft-thinker-secret-XXXXXX";
	char fifo[] = "/tmp/draft-thinker-fifo-XXXXXX";
	char *big = mem_new(65537);

	memset(big, 'x', 65537);
	file_make(path, "\n", 1);
	file_make(control, "sk-a\nsk-b\n", 10);
	file_make(nul, "a\0b", 3);
	file_make(large, big, 65537);
	ck_assert_ptr_nonnull(mkdtemp(fifo));
	rmdir(fifo);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	assert_file_refused("/nowhere/key", "the file cannot be read: No such file or directory");
	assert_file_refused("", "the file cannot be read: No such file or directory");
	assert_file_refused("/tmp", "the file is not a regular file");
	assert_file_refused(fifo, "the file is not a regular file");
	assert_file_refused(path, "the file is empty");
	assert_file_refused(control, "may not hold control characters");
	assert_file_refused(nul, "the file holds a NUL character");
	assert_file_refused(large, "the file is longer than 65536 bytes");
	unlink(path);
	unlink(control);
	unlink(nul);
	unlink(large);
	unlink(fifo);
	free(big);
}
END_TEST

START_TEST(test_no_message_shows_a_secret)
{
	static const char *const texts[] = {
	        "drafter: {api_key: {hunter2: hunter2}}\n",
	        "drafter: {api_key: [hunter2]}\n",
	        "drafter: {api_key: \"hunter2\\n\"}\n",
	        "drafter: {api_key: \"hunter2\\0\"}\n",
	        "drafter: {api_key: hunter2, api_key: hunter2}\n",
	        "drafter: {api_kye: hunter2}\n",
	        "drafter: {api_key:hunter2}\n",
	        "drafter: {api_key=hunter2}\n",
	        "drafter: {headers: {api-key:hunter2}}\n",
	        "drafter: {headers: {api-key: hunter2, Api-Key: hunter2, host: hunter2}}\n",
	        "drafter: {headers: {Authorization: hunter2, x y: hunter2}, api_key: hunter2}\n",
	        "drafter: {headers: {a: [hunter2]}}\n",
	        "drafter:\n  api_key: hunter2: hunter2\n",
	        "drafter:\n  api_key: \"hunter2\n",
	        "drafter:\n  api_key:hunter2\n",
	        "drafter:\n  api_key: !hunter2 hunter2\n",
	        "drafter:\n  api_key: &hunter2 hunter2\n",
	        "drafter:\n  api_key: *hunter2\n",
	        "drafter:\n  api_key: @hunter2\n",
	        "drafter:\n  api_key: 'hunter2\n",
	        "drafter: {api_key: \"${hunter2-}\"}\n",
	        "drafter: {api_key: \"${UNSET:-hunter2${\"}\n",
	        "drafter: {base_url: https://u:hunter2@h/v1}\n",
	        "drafter: {base_url: https://h/v1?key=hunter2}\n",
	        "drafter: {base_url: \"${SECRET}\", timeout: \"${SECRET}\"}\n",
	        "drafter: {model: \"${SECRET}\\n\"}\n",
	        "entropy: {rule: \"${SECRET}\", tail: \"${SECRET}\", threshold: \"${SECRET}\"}\n",
	        "server: {listen: [\"${SECRET}\", \"${SECRET}:1\", \"${SECRET}:1\"], tls: {key: "
	        "\"${SECRET}\", certificate: \"${SECRET}\"}}\n",
	        "providers: {p: {base_url: http://h/v1}}\nmodels: {m: {provider: \"${SECRET}\"}}\n"
	        "routes: {auto: {drafter: \"${SECRET}\", heavyweight: \"${SECRET}\"}}\n",
	        "metrics: {path: \"${SECRET}\"}\nlog: {level: \"${SECRET}\"}\n",
	        "providers: {openai: {base_url: http://h/v1, api_key: hunter2, x: 1}}\n",
	        "drafter: {api_key: hunter2, timeout: x}\nheavyweight: {api_key: hunter2, model: "
	        "3}\n",
	};

	setenv("SECRET", "hunter2", 1);
	unsetenv("UNSET");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config_report report;

		ck_assert_msg(config_read(texts[i], &report) == NULL, "%s", texts[i]);
		ck_assert_msg(!memmem(report.errors.p, report.errors.n, "hunter2", 7), "%s\n%.*s",
		              texts[i], (int)report.errors.n, report.errors.p);
		ck_assert_ptr_null(
		        memmem(buf_bytes(&report.warnings).p, report.warnings.n, "hunter2", 7));
		config_report_fini(&report);
	}
}
END_TEST

START_TEST(test_a_path_from_a_variable_is_not_shown)
{
	setenv("SECRET_PATH", "/nowhere/hunter2", 1);
	assert_errors("drafter: {api_key: \"file:${SECRET_PATH}\"}\n",
	              "f:1: drafter.api_key: the file cannot be read: No such file or directory\n");
}
END_TEST

UNIT_MAIN("config_secret", test_variables_are_replaced, test_a_variable_has_the_type_its_key_wants,
          test_variables_that_cannot_be_replaced, test_openais_key_goes_to_openai_only,
          test_openais_key_serves_the_long_form_too,
          test_a_missing_key_is_warned_of_where_it_is_needed, test_a_secret_is_read_from_a_file,
          test_files_that_cannot_hold_a_secret, test_no_message_shows_a_secret,
          test_a_path_from_a_variable_is_not_shown)
