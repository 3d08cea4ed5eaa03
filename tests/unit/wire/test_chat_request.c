#include "rope_text.h"
#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "wire/chat_request.h"

#define MESSAGES       "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define BODY(members)  "{" members "," MESSAGES "}"
#define TALK(messages) "{\"messages\":[" messages "]}"

/* Reads from memory of exactly the body's size, so that the sanitizer sees a byte read too far. */
static bool
is_accepted(struct bytes body, struct api_error *error)
{
	char *copy = mem_try(body.n);
	struct chat_request request;
	bool ok;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, body.p, body.n);
	ok = chat_request_read(&request, (struct bytes){copy, body.n}, error);
	ck_assert_int_eq(ok, error->status == 0);
	free(copy);
	return ok;
}

static struct chat_request
read_valid(const char *body)
{
	struct chat_request request;
	struct api_error error;

	ck_assert_msg(chat_request_read(&request, bytes_of(body), &error), "%s: %s", body,
	              error.message);
	return request;
}

static void
check_rewrite(const char *body, struct chat_rewrite rewrite, const char *expected)
{
	struct chat_request request = read_valid(body);

	/* Copied, and borrowed as far as it goes. */
	for (size_t borrow = 0; borrow < 4; borrow++) {
		struct rope rope;
		struct buf out;

		rope_init(&rope, borrow);
		chat_request_write(&request, &rewrite, &rope);
		out = rope_text(&rope, 1 + 30 * borrow);
		ck_assert(!out.failed);
		ck_assert_msg(bytes_is(buf_bytes(&out), expected),
		              "%s\nbecame   %.*s\ninstead of %s", body, (int)out.n, out.p,
		              expected);
		buf_fini(&out);
	}
}

START_TEST(test_valid_requests_are_accepted)
{
	static const char *const bodies[] = {
	        "{" MESSAGES "}",
	        " \t\r\n{" MESSAGES "}\n",
	        BODY("\"model\":\"gpt-4.1\""),
	        BODY("\"model\":\"\""),
	        BODY("\"temperature\":0,\"top_p\":0,\"presence_penalty\":-2,\"frequency_penalty\":"
	             "2"),
	        BODY("\"temperature\":2.0,\"top_p\":1e0,\"presence_penalty\":2,\"frequency_"
	             "penalty\":-2.0"),
	        BODY("\"n\":1,\"max_tokens\":1,\"max_completion_tokens\":100000"),
	        BODY("\"n\":128,\"max_tokens\":1e2,\"seed\":-9223372036854775808"),
	        BODY("\"n\":1.28e2,\"seed\":9223372036854775808"),
	        BODY("\"seed\":1e30"),
	        BODY("\"logprobs\":true,\"top_logprobs\":0"),
	        BODY("\"top_logprobs\":20,\"logprobs\":true"),
	        BODY("\"stop\":\"\\n\""),
	        BODY("\"stop\":[]"),
	        BODY("\"stop\":[\"a\",\"b\",\"c\",\"d\"]"),
	        BODY("\"stream\":true,\"stream_options\":{}"),
	        BODY("\"stream_options\":{\"include_usage\":null,\"x\":[1]},\"stream\":true"),
	        BODY("\"tools\":[],\"functions\":[]"),
	        BODY("\"request_id\":\"a\",\"project_id\":\"A-z_0.9:\""),
	        BODY("\"fallbacks\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\"]"),
	        BODY("\"reasoning_effort\":\"none\""),
	        BODY("\"reasoning_effort\":\"xh\\u0069gh\""),
	        BODY("\"unknown\":{\"a\":[1,{\"b\":null}]},\"unknown\":1"),
	        BODY("\"model\":null,\"stream\":null,\"stream_options\":null,\"logprobs\":null,"
	             "\"top_logprobs\":null,\"n\":null,\"request_id\":null,\"project_id\":null,"
	             "\"fallbacks\":null,\"reasoning_effort\":null,\"temperature\":null,\"top_p\":"
	             "null,"
	             "\"presence_penalty\":null,\"frequency_penalty\":null,\"max_tokens\":null,"
	             "\"max_completion_tokens\":null,\"seed\":null,\"stop\":null,\"tools\":null,"
	             "\"functions\":null,\"modalities\":null,\"audio\":null"),
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct api_error error;

		ck_assert_msg(is_accepted(bytes_of(bodies[i]), &error), "%s: %s", bodies[i],
		              error.message);
	}
}
END_TEST

struct refusal {
	const char *body, *param, *code, *message;
};

static const struct refusal member_refusals[] = {
        {"{}", "messages", "missing_required_parameter", "Missing required parameter: 'messages'."},
        {BODY("\"model\":5"), "model", "invalid_type",
         "Invalid type for 'model': expected a string, but got an integer instead."},
        {BODY("\"model\":\"a\\u0000b\""), "model", "invalid_value", NULL},
        {BODY("\"stream\":\"true\""), "stream", "invalid_type",
         "Invalid type for 'stream': expected a boolean, but got a string instead."},
        {BODY("\"stream\":1"), "stream", "invalid_type", NULL},
        {BODY("\"logprobs\":5"), "logprobs", "invalid_type", NULL},
        {BODY("\"stream\":true,\"stream_options\":true"), "stream_options", "invalid_type",
         "Invalid type for 'stream_options': expected an object, but got a boolean instead."},
        {BODY("\"stream\":true,\"stream_options\":{\"include_usage\":1}"),
         "stream_options.include_usage", "invalid_type", NULL},
        {BODY("\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include_usage\":true}"),
         "stream_options.include_usage", "duplicate_parameter", NULL},
        {BODY("\"stream_options\":{\"include_usage\":true}"), "stream_options", "invalid_value",
         "The 'stream_options' parameter is only allowed when 'stream' is enabled."},
        {BODY("\"stream_options\":{},\"stream\":false"), "stream_options", "invalid_value", NULL},
        {BODY("\"top_logprobs\":2"), "top_logprobs", "invalid_value",
         "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."},
        {BODY("\"logprobs\":false,\"top_logprobs\":2"), "top_logprobs", "invalid_value", NULL},
        {BODY("\"logprobs\":true,\"top_logprobs\":21"), "top_logprobs", "integer_above_max_value",
         "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 21 "
         "instead."},
        {BODY("\"logprobs\":true,\"top_logprobs\":-1"), "top_logprobs", "integer_below_min_value",
         NULL},
        {BODY("\"logprobs\":true,\"top_logprobs\":true"), "top_logprobs", "invalid_type", NULL},
        {BODY("\"n\":0"), "n", "integer_below_min_value",
         "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead."},
        {BODY("\"n\":129"), "n", "integer_above_max_value", NULL},
        {BODY("\"n\":1e400"), "n", "integer_above_max_value", NULL},
        {BODY("\"n\":1.5"), "n", "invalid_type",
         "Invalid type for 'n': expected an integer, but got a decimal instead."},
        {BODY("\"n\":\"2\""), "n", "invalid_type", NULL},
        {BODY("\"max_tokens\":0"), "max_tokens", "integer_below_min_value", NULL},
        {BODY("\"max_tokens\":-5"), "max_tokens", "integer_below_min_value", NULL},
        {BODY("\"max_completion_tokens\":0.5"), "max_completion_tokens", "invalid_type", NULL},
        {BODY("\"max_completion_tokens\":-0"), "max_completion_tokens", "integer_below_min_value",
         NULL},
        {BODY("\"temperature\":2.1"), "temperature", "decimal_above_max_value",
         "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.1 "
         "instead."},
        {BODY("\"temperature\":-0.1"), "temperature", "decimal_below_min_value",
         "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -0.1 "
         "instead."},
        {BODY("\"temperature\":1e400"), "temperature", "decimal_above_max_value", NULL},
        {BODY("\"temperature\":\"hot\""), "temperature", "invalid_type",
         "Invalid type for 'temperature': expected a decimal, but got a string instead."},
        {BODY("\"temperature\":[1]"), "temperature", "invalid_type", NULL},
        {BODY("\"temperature\":{}"), "temperature", "invalid_type", NULL},
        {BODY("\"top_p\":1.0001"), "top_p", "decimal_above_max_value", NULL},
        {BODY("\"presence_penalty\":-2.5"), "presence_penalty", "decimal_below_min_value", NULL},
        {BODY("\"frequency_penalty\":3"), "frequency_penalty", "decimal_above_max_value", NULL},
        {BODY("\"seed\":1.5"), "seed", "invalid_type", NULL},
        {BODY("\"seed\":-1e-400"), "seed", "invalid_type", NULL},
        {BODY("\"seed\":\"1\""), "seed", "invalid_type", NULL},
        {BODY("\"stop\":5"), "stop", "invalid_type", NULL},
        {BODY("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), "stop", "array_above_max_length",
         "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an "
         "array "
         "with length 5 instead."},
        {BODY("\"stop\":[\"a\",null]"), "stop[1]", "invalid_type",
         "Invalid type for 'stop[1]': expected a string, but got null instead."},
        {BODY("\"tools\":{}"), "tools", "invalid_type", NULL},
        {BODY("\"functions\":\"f\""), "functions", "invalid_type", NULL},
        {BODY("\"modalities\":\"text\""), "modalities", "invalid_type", NULL},
        {BODY("\"modalities\":[5]"), "modalities[0]", "invalid_type", NULL},
        {BODY("\"request_id\":\"\""), "request_id", "invalid_value", NULL},
        {BODY("\"request_id\":\"a b\""), "request_id", "invalid_value",
         "Invalid 'request_id': expected 1 to 128 characters out of letters, digits, '.', '_', ':' "
         "and "
         "'-'."},
        {BODY("\"request_id\":\"a\\u0000\""), "request_id", "invalid_value", NULL},
        {BODY("\"request_id\":7"), "request_id", "invalid_type", NULL},
        {BODY("\"project_id\":\"\xC3\xA9\""), "project_id", "invalid_value", NULL},
        {BODY("\"project_id\":"
              "\"12345678901234567890123456789012345678901234567890123456789012345\""),
         "project_id", "invalid_value", NULL},
        {BODY("\"fallbacks\":\"a/b\""), "fallbacks", "invalid_type", NULL},
        {BODY("\"fallbacks\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"), "fallbacks",
         "array_above_max_length", NULL},
        {BODY("\"fallbacks\":[{}]"), "fallbacks[0]", "invalid_type", NULL},
        {BODY("\"reasoning_effort\":\"extreme\""), "reasoning_effort", "invalid_value",
         "Invalid value for 'reasoning_effort'. Supported values are: 'none', 'minimal', 'low', "
         "'medium', 'high', 'xhigh', and 'auto'."},
        {BODY("\"reasoning_effort\":3"), "reasoning_effort", "invalid_type", NULL},
};

static void
check_refusals(const struct refusal *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct api_error error;

		ck_assert_msg(!is_accepted(bytes_of(table[i].body), &error), "%s", table[i].body);
		ck_assert_int_eq(error.status, 400);
		ck_assert_str_eq(error.type, "invalid_request_error");
		ck_assert_msg(strcmp(error.param, table[i].param) == 0, "%s: %s", table[i].body,
		              error.param);
		ck_assert_msg(error.code && strcmp(error.code, table[i].code) == 0, "%s: %s",
		              table[i].body, error.code);
		if (table[i].message)
			ck_assert_str_eq(error.message, table[i].message);
	}
}

START_TEST(test_a_member_out_of_range_or_of_another_type_is_refused_by_name)
{
	check_refusals(member_refusals, sizeof(member_refusals) / sizeof(member_refusals[0]));
}
END_TEST

START_TEST(test_malformed_messages_are_refused_by_path)
{
	static const struct refusal table[] = {
	        {TALK(""), "messages", "empty_array", NULL},
	        {TALK("{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\"}"),
	         "messages[1].content", "missing_required_parameter", NULL},
	};

	check_refusals(table, sizeof(table) / sizeof(table[0]));
}
END_TEST

START_TEST(test_a_member_that_the_gateway_reads_may_stand_only_once)
{
	static const char *const names[] = {"model",
	                                    "stream",
	                                    "stream_options",
	                                    "logprobs",
	                                    "top_logprobs",
	                                    "n",
	                                    "request_id",
	                                    "project_id",
	                                    "fallbacks",
	                                    "reasoning_effort",
	                                    "temperature",
	                                    "top_p",
	                                    "presence_penalty",
	                                    "frequency_penalty",
	                                    "max_tokens",
	                                    "max_completion_tokens",
	                                    "seed",
	                                    "stop",
	                                    "tools",
	                                    "functions",
	                                    "modalities",
	                                    "audio",
	                                    "add_generation_prompt",
	                                    "continue_final_message",
	                                    "messages"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bool is_messages = strcmp(names[i], "messages") == 0;
		struct api_error error;
		char *body;

		/* The second time the last letter of the key is escaped. */
		body = mem_format("{%s%s%s" MESSAGES ",\"%.*s\\u%04x\":null}",
		                  is_messages ? "" : "\"", is_messages ? "" : names[i],
		                  is_messages ? "" : "\":null,", (int)strlen(names[i]) - 1,
		                  names[i], (unsigned)names[i][strlen(names[i]) - 1]);
		ck_assert_msg(!is_accepted(bytes_of(body), &error), "%s", body);
		ck_assert_str_eq(error.param, names[i]);
		ck_assert_str_eq(error.code, "duplicate_parameter");
		free(body);
	}
}
END_TEST

START_TEST(test_what_is_not_a_json_object_is_refused_with_the_place)
{
	static const struct {
		struct bytes body;
		const char *message;
	} table[] = {
	        {{"", 0}, "The body of your request is empty. Expected a JSON object."},
	        {{"[]", 2}, "The body of your request is valid JSON, but not a JSON object."},
	        {{"\"x\"", 3}, "The body of your request is valid JSON, but not a JSON object."},
	        {{"[1", 2},
	         "We could not parse the JSON body of your request: the text ends too early at "
	         "byte 2."},
	        {{"{\"messages\":[", 13},
	         "We could not parse the JSON body of your request: the text ends too early at "
	         "byte 13."},
	        {{"{'a':1}", 7},
	         "We could not parse the JSON body of your request: unexpected character at byte "
	         "1."},
	        {{"{\"a\":\"\xFF\"}", 8},
	         "We could not parse the JSON body of your request: invalid UTF-8 at byte 6."},
	        {{"{\"messages\":[{\"role\":\"\xC3(\"}]}", 27},
	         "We could not parse the JSON body of your request: invalid UTF-8 at byte 22."},
	        {{"{\"a\":1}{}", 9},
	         "We could not parse the JSON body of your request: unexpected text after the end "
	         "at byte "
	         "7."},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct api_error error;

		ck_assert(!is_accepted(table[i].body, &error));
		ck_assert_int_eq(error.status, 400);
		ck_assert_str_eq(error.param, "");
		ck_assert_str_eq(error.message, table[i].message);
	}
}
END_TEST

START_TEST(test_nesting_deeper_than_64_is_refused)
{
	for (size_t depth = 63; depth <= 64; depth++) {
		struct api_error error;
		struct buf body;

		/* The body itself is the first level. */
		buf_init(&body, 0);
		buf_add_text(&body, "{" MESSAGES ",\"x\":");
		for (size_t i = 0; i < depth; i++)
			buf_add_text(&body, "[");
		for (size_t i = 0; i < depth; i++)
			buf_add_text(&body, "]");
		buf_add_text(&body, "}");
		ck_assert_int_eq(is_accepted(buf_bytes(&body), &error), depth == 63);
		if (depth == 64)
			ck_assert_ptr_nonnull(
			        strstr(error.message, "nested deeper than 64 levels"));
		buf_fini(&body);
	}
}
END_TEST

START_TEST(test_every_cut_of_a_body_is_refused_as_unparsable)
{
	static const char body[] =
	        BODY("\"model\":\"m\\u00e9\",\"temperature\":1e0,\"stop\":[\"a\"],\"stream\":true,"
	             "\"stream_options\":{\"include_usage\":true},\"x\":{\"y\":[null,-0.5]}");
	struct api_error error;

	for (size_t n = 0; n < sizeof(body) - 1; n++) {
		ck_assert(!is_accepted((struct bytes){body, n}, &error));
		ck_assert_str_eq(error.param, "");
	}
	ck_assert(is_accepted((struct bytes){body, sizeof(body) - 1}, &error));
}
END_TEST

START_TEST(test_the_view_tells_what_was_asked_for)
{
	struct chat_request q = read_valid(
	        BODY("\"m\\u006fdel\":\"a\\/b\",\"stream\":true,\"stream_options\":{\"x\":1,"
	             "\"include_usage\":true},\"logprobs\":true,\"top_logprobs\":7,\"n\":3,"
	             "\"request_id\":\"r.1\",\"project_id\":\"p:1\",\"reasoning_effort\":\"low\","
	             "\"tools\":[{}],\"fallbacks\":[\"x/y\"]"));

	ck_assert_str_eq(q.model, "a/b");
	ck_assert_str_eq(q.request_id, "r.1");
	ck_assert_str_eq(q.project_id, "p:1");
	ck_assert_str_eq(q.reasoning_effort, "low");
	ck_assert(q.stream && q.include_usage && q.logprobs && q.has_tools);
	ck_assert(!q.wants_audio && !q.has_images);
	ck_assert_uint_eq(q.n, 3);
	ck_assert_uint_eq(q.top_logprobs, 7);
	ck_assert_uint_eq(q.message_count, 1);
	ck_assert(bytes_is(json_value_text(q.slots[CHAT_FALLBACKS].value), "[\"x/y\"]"));
	ck_assert(bytes_is(json_value_text(q.slots[CHAT_MESSAGES].value),
	                   "[{\"role\":\"user\",\"content\":\"hi\"}]"));
}
END_TEST

START_TEST(test_what_is_absent_or_null_has_its_default)
{
	static const char *const bodies[] = {
	        "{" MESSAGES "}",
	        BODY("\"model\":null,\"stream\":null,\"logprobs\":null,\"n\":null,\"request_id\":"
	             "null,"
	             "\"tools\":[],\"modalities\":[\"text\"],\"audio\":null"),
	};

	for (size_t i = 0; i < 2; i++) {
		struct chat_request q = read_valid(bodies[i]);

		ck_assert(!*q.model && !*q.request_id && !*q.project_id && !q.reasoning_effort);
		ck_assert(!q.stream && !q.include_usage && !q.logprobs && !q.has_tools &&
		          !q.wants_audio && !q.has_images);
		ck_assert_uint_eq(q.n, 1);
		ck_assert_uint_eq(q.top_logprobs, 0);
	}
}
END_TEST

START_TEST(test_tools_audio_and_images_are_noticed)
{
	ck_assert(read_valid(BODY("\"functions\":[{\"name\":\"f\"}]")).has_tools);
	ck_assert(read_valid(BODY("\"audio\":{\"voice\":\"x\"}")).wants_audio);
	ck_assert(read_valid(BODY("\"modalities\":[\"text\",\"audio\"]")).wants_audio);
	ck_assert(read_valid(TALK("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"))
	                  .has_images);
	ck_assert_uint_eq(
	        read_valid(
	                TALK("{\"role\":\"a\",\"content\":\"\"},{\"role\":\"b\",\"content\":\"\"}"))
	                .message_count,
	        2);
}
END_TEST

START_TEST(test_a_format_of_json_is_noticed)
{
	static const char *const json[] = {
	        "{\"type\":\"json_object\"}",
	        "{\"json_schema\":{\"type\":1},\"t\\u0079pe\":\"json_schema\"}"};
	static const char *const other[] = {"{\"type\":\"text\"}", "{}", "null", "\"json_object\"",
	                                    "{\"json_schema\":{\"type\":\"json_object\"}}"};
	char body[256];

	for (size_t i = 0; i < sizeof(json) / sizeof(json[0]); i++) {
		snprintf(body, sizeof(body), "{" MESSAGES ",\"response_format\":%s}", json[i]);
		ck_assert_msg(read_valid(body).wants_json, "%s", json[i]);
	}
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		snprintf(body, sizeof(body), "{" MESSAGES ",\"response_format\":%s}", other[i]);
		ck_assert_msg(!read_valid(body).wants_json, "%s", other[i]);
	}
}
END_TEST

START_TEST(test_a_model_name_too_long_to_be_one_is_refused)
{
	for (size_t n = 255; n <= 256; n++) {
		struct api_error error;
		char *body = mem_format(BODY("\"model\":\"%0*d\""), (int)n, 0);

		ck_assert_int_eq(is_accepted(bytes_of(body), &error), n == 255);
		if (n == 256)
			ck_assert_str_eq(error.param, "model");
		free(body);
	}
}
END_TEST

START_TEST(test_only_the_model_changes_for_a_call_that_is_not_a_draft)
{
	const struct chat_rewrite rewrite = {.model = "up/\"x\""};

	check_rewrite("{" MESSAGES "}", rewrite, "{" MESSAGES ",\"model\":\"up/\\\"x\\\"\"}");
	check_rewrite(BODY("\"model\":\"auto\""), rewrite, BODY("\"model\":\"up/\\\"x\\\"\""));
	check_rewrite(BODY("\"mode\\u006C\":null"), rewrite,
	              BODY("\"mode\\u006C\":\"up/\\\"x\\\"\""));
	check_rewrite(
	        BODY("\"stream\":false,\"logprobs\":true,\"top_logprobs\":3,\"model\":\"auto\""),
	        rewrite,
	        BODY("\"stream\":false,\"logprobs\":true,\"top_logprobs\":3,\"model\":\"up/"
	             "\\\"x\\\"\""));
}
END_TEST

START_TEST(test_the_gateways_own_members_are_never_forwarded)
{
	const struct chat_rewrite rewrite = {.model = "m"};

	check_rewrite("{\"request_id\":\"r\",\"project_id\":\"p\",\"fallbacks\":[\"a\"]," MESSAGES
	              "}",
	              rewrite, "{" MESSAGES ",\"model\":\"m\"}");
	check_rewrite("{" MESSAGES
	              ",\"fallbacks\":null,\"\\u0070roject_id\":\"p\",\"model\":\"a\"}",
	              rewrite, "{" MESSAGES ",\"model\":\"m\"}");
	check_rewrite("{\"a\":1 , \"request_id\" : \"r\" ," MESSAGES " , \"project_id\":\"p\"\n}",
	              rewrite, "{\"a\":1 ," MESSAGES ",\"model\":\"m\"\n}");
}
END_TEST

START_TEST(test_everything_else_is_forwarded_byte_for_byte)
{
	static const char kept[] =
	        "{ \"z\" : 1e2,\t\"temperature\":0.7, \"big\":9223372036854775808,\r\n"
	        "\"nul\":\"\\u0000\", \"lone\":\"\\ud800 \\uDFFF\", \"a\":-0.0E+00 ,\"a\":[ 1 ,2 ],"
	        "\"slash\":\"\\/\\u0041\", \"\\u007a\":{ \"k\" :{} }, "
	        "\"text\":\"\xF0\x9F\x98\x80\","
	        "\"tiny\":1e-400, \"seed\":9223372036854775808, \"precise\":0.69999999999999996,"
	        "\"messages\" : [ { \"content\":\"a\\tb\", \"role\":\"user\", \"x\":null } ]%s }";
	const struct chat_rewrite direct = {.model = "m"};
	const struct chat_rewrite draft = {
	        .model = "m", .draft = true, .top_logprobs = 5, .stream_usage = true};
	char *body = mem_format(kept, ",\"model\":\"m\"");
	char *drafted =
	        mem_format(kept, ",\"model\":\"m\",\"stream\":true,\"logprobs\":true,"
	                         "\"top_logprobs\":5,\"stream_options\":{\"include_usage\":true}");

	check_rewrite(body, direct, body);
	check_rewrite(body, draft, drafted);
	free(body);
	free(drafted);
}
END_TEST

START_TEST(test_a_draft_is_a_stream_with_logprobs)
{
	const struct chat_rewrite draft = {.model = "m", .draft = true, .top_logprobs = 5};

	check_rewrite("{" MESSAGES "}", draft,
	              "{" MESSAGES
	              ",\"model\":\"m\",\"stream\":true,\"logprobs\":true,\"top_logprobs\":5}");
	check_rewrite(
	        BODY("\"top_logprobs\":null,\"stream\":false,\"model\":\"x\",\"logprobs\":null"),
	        draft,
	        BODY("\"top_logprobs\":5,\"stream\":true,\"model\":\"m\",\"logprobs\":true"));
	/* The client's own number counts when it is the larger one. */
	check_rewrite(BODY("\"logprobs\":true,\"top_logprobs\":3,\"model\":\"x\",\"stream\":true"),
	              draft,
	              BODY("\"logprobs\":true,\"top_logprobs\":5,\"model\":\"m\",\"stream\":true"));
	check_rewrite(
	        BODY("\"logprobs\":true,\"top_logprobs\":20,\"model\":\"x\",\"stream\":true"),
	        draft,
	        BODY("\"logprobs\":true,\"top_logprobs\":20,\"model\":\"m\",\"stream\":true"));
}
END_TEST

#define DRAFTED "\"model\":\"m\",\"stream\":true,\"logprobs\":true,\"top_logprobs\":5"

START_TEST(test_a_draft_asks_for_usage_only_where_the_server_understands_it)
{
	struct chat_rewrite draft = {.model = "m", .draft = true, .top_logprobs = 5};

	check_rewrite(BODY(DRAFTED ",\"stream_options\":{\"include_usage\":false,\"x\":1}"), draft,
	              BODY(DRAFTED ",\"stream_options\":{\"include_usage\":false,\"x\":1}"));
	check_rewrite("{\"stream_options\":null," MESSAGES ","
	              "\"model\":\"a\"}",
	              draft, "{" MESSAGES "," DRAFTED "}");
	draft.stream_usage = true;
	check_rewrite(BODY(DRAFTED), draft,
	              "{" DRAFTED "," MESSAGES ",\"stream_options\":{\"include_usage\":true}}");
	check_rewrite(BODY("\"stream_options\":null,"
	                   "\"model\":\"m\""),
	              draft,
	              "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\"," MESSAGES
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":5}");
	/* Other options of the client stay. */
	check_rewrite(BODY(DRAFTED ",\"stream_options\":{ \"include_obfuscation\":false }"), draft,
	              BODY(DRAFTED ",\"stream_options\":{ "
	                           "\"include_obfuscation\":false,\"include_usage\":true }"));
	check_rewrite(BODY(DRAFTED ",\"stream_options\":{\"include_usage\":null,\"x\":1}"), draft,
	              BODY(DRAFTED ",\"stream_options\":{\"include_usage\":true,\"x\":1}"));
}
END_TEST

START_TEST(test_a_rewrite_that_does_not_fit_shows_as_a_failure)
{
	struct chat_request request = read_valid("{" MESSAGES "}");
	const struct chat_rewrite rewrite = {.model = "m"};
	struct rope out;

	rope_init(&out, 0);
	out.own.limit = 20;
	chat_request_write(&request, &rewrite, &out);
	ck_assert(out.own.failed);
	rope_fini(&out);
}
END_TEST

START_TEST(test_a_resolved_effort_takes_the_place_of_the_clients)
{
	struct chat_rewrite rewrite = {.model = "m", .reasoning_effort = "high"};

	check_rewrite("{\"reasoning_effort\" : \"auto\"," MESSAGES "}", rewrite,
	              "{\"reasoning_effort\" : \"high\"," MESSAGES ",\"model\":\"m\"}");
	rewrite.reasoning_effort = NULL;
	check_rewrite("{\"reasoning_effort\" : \"low\"," MESSAGES "}", rewrite,
	              "{\"reasoning_effort\" : \"low\"," MESSAGES ",\"model\":\"m\"}");
}
END_TEST

UNIT_MAIN("chat_request", test_valid_requests_are_accepted,
          test_a_member_out_of_range_or_of_another_type_is_refused_by_name,
          test_malformed_messages_are_refused_by_path,
          test_a_member_that_the_gateway_reads_may_stand_only_once,
          test_what_is_not_a_json_object_is_refused_with_the_place,
          test_nesting_deeper_than_64_is_refused, test_every_cut_of_a_body_is_refused_as_unparsable,
          test_the_view_tells_what_was_asked_for, test_what_is_absent_or_null_has_its_default,
          test_tools_audio_and_images_are_noticed, test_a_model_name_too_long_to_be_one_is_refused,
          test_only_the_model_changes_for_a_call_that_is_not_a_draft,
          test_the_gateways_own_members_are_never_forwarded,
          test_everything_else_is_forwarded_byte_for_byte, test_a_draft_is_a_stream_with_logprobs,
          test_a_draft_asks_for_usage_only_where_the_server_understands_it,
          test_a_rewrite_that_does_not_fit_shows_as_a_failure, test_a_format_of_json_is_noticed,
          test_a_resolved_effort_takes_the_place_of_the_clients)
