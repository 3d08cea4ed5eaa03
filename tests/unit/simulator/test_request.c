#include "simulator/request.h"

#include "unit.h"
#include "wire/chat_request.h"

#define USER(text) "\"messages\":[{\"role\":\"user\",\"content\":" text "}]"

START_TEST(test_what_the_answer_depends_on_is_read)
{
	struct sim_request r;
	struct api_error error;

	sim_request_init(&r);
	ck_assert(sim_request_read(
	        &r,
	        bytes_of("{\"model\":\"gp\\u0074-x\",\"messages\":["
	                 "{\"role\":\"user\",\"content\":\"first\"},"
	                 "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]},"
	                 "{\"content\":[{\"type\":\"text\",\"text\":\"caf\\u00e9\"},"
	                 "{\"type\":\"image_url\",\"image_url\":{}},"
	                 "{\"type\":\"text\",\"text\":\"b\"}],\"role\":\"user\"},"
	                 "{\"role\":\"tool\",\"content\":\"last\"}],"
	                 "\"stream\":true,\"stream_options\":{\"include_usage\":true},"
	                 "\"logprobs\":true,\"top_logprobs\":5,\"n\":3,\"max_tokens\":7,"
	                 "\"stop\":[\"a\",\"\\n\"],\"seed\":-4,\"tools\":[{}],\"unknown\":[{}]}"),
	        &error));
	ck_assert(bytes_is(buf_bytes(&r.model), "gpt-x"));
	ck_assert(bytes_is(buf_bytes(&r.prompt), "café\nb"));
	ck_assert(r.stream && r.include_usage && r.logprobs);
	ck_assert_uint_eq(r.top_logprobs, 5);
	ck_assert_uint_eq(r.n, 3);
	ck_assert_uint_eq(r.max_tokens, 7);
	ck_assert_uint_eq(r.stop_count, 2);
	ck_assert(bytes_is(buf_bytes(&r.stops[1]), "\n"));
	ck_assert_uint_ne(r.seed, 0);
	ck_assert_int_eq(r.tools.kind, JSON_KIND_ARRAY);
	ck_assert(bytes_is(json_value_text(r.tools), "[{}]"));
	/* 3 for the reply, 4 a message, first, [] (2), caf é b and an image, last. */
	ck_assert_uint_eq(r.prompt_tokens, 3 + 4 * 4 + 1 + 2 + 3 + 85 + 1);

	ck_assert(sim_request_read(&r, bytes_of("{\"model\":\"m\",\"tools\":[]," USER("\"x\"") "}"),
	                           &error));
	ck_assert(!r.stream && !r.include_usage && !r.logprobs);
	ck_assert_uint_eq(r.n, 1);
	ck_assert_uint_eq(r.max_tokens, UINT64_MAX);
	ck_assert_uint_eq(r.stop_count, 0);
	ck_assert_uint_eq(r.seed, 0);
	ck_assert_int_eq(r.tools.kind, JSON_KIND_NONE);
	sim_request_fini(&r);
}
END_TEST

START_TEST(test_a_partial_answer_is_the_last_message_or_stands_before_the_instruction)
{
#define SAYS(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"
	static const struct {
		const char *rule, *messages, *prompt, *partial;
		bool prefix;
	} rows[] = {
	        {"a last assistant message", SAYS("user", "q") "," SAYS("assistant", "a"), "q", "a",
	         false},
	        {"with prefix",
	         SAYS("user", "q") ",{\"prefix\":true,\"role\":\"assistant\",\"content\":\"a\"}",
	         "q", "a", true},
	        {"with the instruction behind it",
	         SAYS("user", "q") "," SAYS("assistant", "a") "," SAYS("user", CHAT_INSTRUCTION),
	         "q", "a", false},
	        {"what begins with the instruction",
	         SAYS("user", "q") "," SAYS("assistant", "a") "," SAYS("user",
	                                                               CHAT_INSTRUCTION " Please."),
	         "q", "a", false},
	        {"another user message behind it",
	         SAYS("user", "q") ",{\"prefix\":true,\"role\":\"assistant\",\"content\":\"a\"}"
	                           "," SAYS("user", "Your previous answer was cut"),
	         "Your previous answer was cut", "", false},
	        {"a tool's message behind it",
	         SAYS("user", "q") "," SAYS("assistant", "a") "," SAYS("tool", "t"), "q", "",
	         false},
	        {"the instruction without an answer", SAYS("user", CHAT_INSTRUCTION),
	         CHAT_INSTRUCTION, "", false},
	        {"an assistant message without a text",
	         SAYS("user", "q") ",{\"role\":\"assistant\",\"content\":null}", "q", "", false},
	        {"of several answers the last",
	         SAYS("user", "q") "," SAYS("assistant",
	                                    "a") "," SAYS("user", "r") "," SAYS("assistant", "b"),
	         "r", "b", false},
	};
	struct sim_request r;
	struct api_error error;

	sim_request_init(&r);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf body = {0};

		buf_add_format(&body, "{\"model\":\"m\",\"messages\":[%s]}", rows[i].messages);
		ck_assert_msg(sim_request_read(&r, buf_bytes(&body), &error), "%s", rows[i].rule);
		ck_assert_msg(bytes_is(buf_bytes(&r.prompt), rows[i].prompt), "%s", rows[i].rule);
		ck_assert_msg(bytes_is(buf_bytes(&r.partial), rows[i].partial), "%s", rows[i].rule);
		ck_assert_msg(r.prefix == rows[i].prefix, "%s", rows[i].rule);
		buf_fini(&body);
	}
	sim_request_fini(&r);
}
END_TEST

START_TEST(test_a_wrong_request_is_told_what_is_wrong)
{
	static const struct {
		const char *body, *param;
	} rows[] = {
	        {"", ""},
	        {"[]", ""},
	        {"{", ""},
	        {"{}x", ""},
	        {"{}", "model"},
	        {"{\"model\":\"\"," USER("\"x\"") "}", "model"},
	        {"{\"model\":5," USER("\"x\"") "}", "model"},
	        {"{\"model\":\"a\\u0000b\"," USER("\"x\"") "}", "model"},
	        {"{\"model\":\"m\"}", "messages"},
	        {"{\"model\":\"m\",\"messages\":[]}", "messages"},
	        {"{\"model\":\"m\",\"messages\":[5]}", "messages"},
	        {"{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}", "messages"},
	        {"{\"model\":\"m\"," USER("5") "}", "messages"},
	        {"{\"model\":\"m\"," USER("[5]") "}", "messages"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"stream\":1}", "stream"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"stream_options\":{}}", "stream_options"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"stream\":true,\"stream_options\":5}",
	         "stream_options"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"logprobs\":5}", "logprobs"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"top_logprobs\":5}", "top_logprobs"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"logprobs\":true,\"top_logprobs\":21}",
	         "top_logprobs"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"n\":0}", "n"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"n\":129}", "n"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"max_tokens\":0}", "max_tokens"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"max_completion_tokens\":\"5\"}",
	         "max_completion_tokens"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"stop\":5}", "stop"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"stop\":[1]}", "stop"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"stop\":[\"\",\"\",\"\",\"\",\"\"]}", "stop"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"seed\":\"5\"}", "seed"},
	        {"{\"model\":\"m\"," USER("\"x\"") ",\"tools\":5}", "tools"},
	};
	struct sim_request r;

	sim_request_init(&r);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct api_error error = {0};

		ck_assert_msg(!sim_request_read(&r, bytes_of(rows[i].body), &error), "%s",
		              rows[i].body);
		ck_assert_int_eq(error.status, 400);
		ck_assert_msg(strcmp(error.param, rows[i].param) == 0, "%s: %s", rows[i].body,
		              error.param);
		ck_assert_uint_gt(strlen(error.message), 0);
	}
	sim_request_fini(&r);
}
END_TEST

START_TEST(test_a_body_cut_anywhere_is_refused)
{
	static const char body[] = "{\"model\":\"m\"," USER(
	        "[{\"type\":\"text\",\"text\":\"x\"}]") ",\"stream\":true,\"stop\":[\"a\"],"
	                                                "\"tools\":[{\"a\":1}],\"n\":2}";
	struct sim_request r;
	struct api_error error;

	sim_request_init(&r);
	for (size_t n = 0; n < sizeof(body) - 1; n++) {
		char *copy = malloc(n + 1);

		memcpy(copy, body, n);
		ck_assert(!sim_request_read(&r, (struct bytes){copy, n}, &error));
		free(copy);
	}
	ck_assert(sim_request_read(&r, bytes_of(body), &error));
	sim_request_fini(&r);
}
END_TEST

UNIT_MAIN("request", test_what_the_answer_depends_on_is_read,
          test_a_partial_answer_is_the_last_message_or_stands_before_the_instruction,
          test_a_wrong_request_is_told_what_is_wrong, test_a_body_cut_anywhere_is_refused)
