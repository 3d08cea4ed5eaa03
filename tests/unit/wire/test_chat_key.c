#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "wire/chat_key.h"

#define ASK         "{\"role\":\"user\",\"content\":\"Why?\"}"
#define TALK        "\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"}," ASK "]"
#define BODY(other) "{" TALK other "}"
#define LAST(last)  "{\"messages\":[" last "]}"

/* The key of a body that stands in memory of exactly its size, so that the sanitizer sees a byte read too far. */
static struct chat_key
key_for(const char *body, const char *identity)
{
	size_t n = strlen(body);
	char *copy = mem_try(n);
	struct chat_request request;
	struct api_error error;
	struct chat_key key;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, body, n);
	ck_assert_msg(chat_request_read(&request, (struct bytes){copy, n}, &error), "%s: %s", body,
	              error.message);
	ck_assert(chat_key_make(&key, &request, bytes_of(identity)));
	free(copy);
	return key;
}

static struct chat_key
key_of(const char *body)
{
	return key_for(body, "id");
}

static void
check_same(const char *a, const char *b)
{
	struct chat_key x = key_of(a), y = key_of(b);

	ck_assert_msg(sha256_equal(&x.exact, &y.exact), "exact\n%s\n%s", a, b);
	ck_assert_msg(x.has_question == y.has_question, "question\n%s\n%s", a, b);
	ck_assert_msg(sha256_equal(&x.scope, &y.scope), "scope\n%s\n%s", a, b);
	ck_assert_msg(bytes_equal(buf_bytes(&x.question), buf_bytes(&y.question)), "text\n%s\n%s",
	              a, b);
	chat_key_fini(&x);
	chat_key_fini(&y);
}

/* Other requests, whose scope is the same or not. */
static void
check_other(const char *a, const char *b, bool same_scope)
{
	struct chat_key x = key_of(a), y = key_of(b);

	ck_assert_msg(!sha256_equal(&x.exact, &y.exact), "exact\n%s\n%s", a, b);
	ck_assert_msg(x.has_question && y.has_question, "question\n%s\n%s", a, b);
	ck_assert_msg(sha256_equal(&x.scope, &y.scope) == same_scope, "scope\n%s\n%s", a, b);
	ck_assert(!sha256_equal(&x.scope, &x.exact) && !sha256_equal(&x.scope, &y.exact));
	chat_key_fini(&x);
	chat_key_fini(&y);
}

START_TEST(test_the_order_of_members_does_not_matter)
{
	static const char *const same[][2] = {
	        {BODY(",\"temperature\":0.7,\"seed\":1"),
	         "{\"seed\":1," TALK ",\"temperature\":0.7}"},
	        {LAST("{\"role\":\"system\",\"content\":\"s\",\"name\":\"n\"}," ASK),
	         LAST("{\"name\":\"n\",\"content\":\"s\",\"role\":\"system\"}," ASK)},
	        {LAST(ASK), LAST("{\"content\":\"Why?\",\"role\":\"user\"}")},
	        {LAST("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}"),
	         LAST("{\"content\":[{\"text\":\"a\",\"type\":\"text\"}],\"role\":\"user\"}")},
	        {BODY(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
	              "\"parameters\":{\"type\":\"object\",\"required\":[]}}}]"),
	         BODY(",\"tools\":[{\"function\":{\"parameters\":{\"required\":[],"
	              "\"type\":\"object\"},\"name\":\"f\"},\"type\":\"function\"}]")},
	        {BODY(",\"x\":{\"properties\":{\"p\":{\"a\":1,\"b\":2},\"o\":3}}"),
	         BODY(",\"x\":{\"properties\":{\"p\":{\"b\":2,\"a\":1},\"o\":3}}")},
	        {BODY(",\"x\":{\"a\":{\"b\":{\"c\":[{\"d\":1,\"e\":2}],\"f\":3},\"g\":4},\"h\":5}"),
	         BODY(",\"x\":{\"h\":5,\"a\":{\"g\":4,\"b\":{\"f\":3,\"c\":[{\"e\":2,\"d\":1}]}}}"
	              "")},
	};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		check_same(same[i][0], same[i][1]);
}
END_TEST

START_TEST(test_the_order_of_schema_properties_matters)
{
	check_other(BODY(",\"tools\":[{\"parameters\":{\"properties\":{\"a\":{},\"b\":{}}}}]"),
	            BODY(",\"tools\":[{\"parameters\":{\"properties\":{\"b\":{},\"a\":{}}}}]"),
	            false);
	check_other(BODY(",\"x\":{\"propert\\u0069es\":{\"a\":1,\"b\":1}}"),
	            BODY(",\"x\":{\"properties\":{\"b\":1,\"a\":1}}"), false);
	check_same(BODY(",\"x\":{\"properties\":[{\"a\":1,\"b\":1}]}"),
	           BODY(",\"x\":{\"properties\":[{\"b\":1,\"a\":1}]}"));
	check_same(BODY(",\"x\":{\"x\\\"properties\":{\"a\":1,\"b\":1}}"),
	           BODY(",\"x\":{\"x\\\"properties\":{\"b\":1,\"a\":1}}"));
}
END_TEST

START_TEST(test_spelling_does_not_matter)
{
	check_same(BODY(",\"x\":[1,{\"a\":\"b\"}]"), " \t\r\n{ \"x\" : [ 1 , { \"a\" : \"b\" } ] ,"
	                                             "\n" TALK " } ");
	check_same(LAST("{\"role\":\"user\",\"content\":\"A/\xC3\xA9\xF0\x9F\x98\x80\\n\\u001f\"}"),
	           LAST("{\"r\\u006fle\":\"us\\u0065r\",\"content\":"
	                "\"\\u0041\\/\\u00E9\\ud83d\\uDE00\\u000a\\u001F\"}"));
	check_same(BODY(",\"\\u0078\":\"\\/\""), BODY(",\"x\":\"/\""));
	check_same(BODY(",\"x\":\"\\ud800\\uDFFF \\uDFFF\""),
	           BODY(",\"x\":\"\xF0\x90\x8F\xBF \\udfff\""));
	check_same(LAST("{\"role\":\"user\",\"content\":[{\"type\":\"t\\u0065xt\",\"t\\u0065xt\":"
	                "\"a\"}]}"),
	           LAST("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u0061\"}]"
	                "}"));
}
END_TEST

START_TEST(test_members_that_do_not_shape_the_answer_do_not_matter)
{
	static const char *const others[] = {
	        ",\"model\":\"m\"",
	        ",\"m\\u006fdel\":\"m\"",
	        ",\"stream\":false",
	        ",\"stream\":true,\"stream_options\":{\"include_usage\":true}",
	        ",\"user\":\"u\"",
	        ",\"user\":1,\"user\":2",
	        ",\"metadata\":{\"b\":[{}],\"a\":\"x\"}",
	        ",\"request_id\":\"r\"",
	        ",\"project_id\":\"p\"",
	        ",\"temperature\":null,\"tools\":null,\"unknown\":null",
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char body[512];

		snprintf(body, sizeof(body), "{%s,%s}", others[i] + 1, TALK);
		check_same(body, BODY(""));
		snprintf(body, sizeof(body), "{\"seed\":1%s,%s}", others[i], TALK);
		check_same(body, BODY(",\"seed\":1"));
		snprintf(body, sizeof(body), "{%s%s}", TALK, others[i]);
		check_same(body, BODY(""));
	}
}
END_TEST

START_TEST(test_they_matter_anywhere_but_at_the_top)
{
	check_other(BODY(",\"x\":{\"model\":\"a\"}"), BODY(",\"x\":{\"model\":\"b\"}"), false);
	check_other(BODY(",\"x\":{\"a\":null}"), BODY(",\"x\":{}"), false);
	check_other(LAST("{\"role\":\"user\",\"content\":\"a\",\"user\":\"u\"}"),
	            LAST("{\"role\":\"user\",\"content\":\"a\"}"), false);
	check_other(BODY(",\"x\":[null]"), BODY(",\"x\":[]"), false);
}
END_TEST

START_TEST(test_whatever_else_shapes_the_answer_does)
{
	static const char *const different[][2] = {
	        {BODY(""), BODY(",\"temperature\":1")},
	        {BODY(",\"temperature\":0.7"), BODY(",\"temperature\":0.70")},
	        {BODY(",\"temperature\":0.7"), BODY(",\"temperature\":0.8")},
	        {BODY(",\"temperature\":1"), BODY(",\"temperature\":1.0")},
	        {BODY(",\"seed\":1"), BODY(",\"seed\":2")},
	        {BODY(",\"n\":1"), BODY("")},
	        {BODY(",\"logprobs\":true"), BODY("")},
	        {BODY(",\"fallbacks\":[\"a\"]"), BODY(",\"fallbacks\":[\"b\"]")},
	        {BODY(",\"response_format\":{\"type\":\"text\"}"),
	         BODY(",\"response_format\":{\"type\":\"json_object\"}")},
	        {BODY(",\"tools\":[{\"function\":{\"name\":\"f\"}}]"),
	         BODY(",\"tools\":[{\"function\":{\"name\":\"g\"}}]")},
	        {BODY(",\"tools\":[{\"a\":1},{\"b\":1}]"),
	         BODY(",\"tools\":[{\"b\":1},{\"a\":1}]")},
	        {BODY(",\"x\":{\"a\":1,\"a\":2}"), BODY(",\"x\":{\"a\":2,\"a\":1}")},
	        {BODY(",\"x\":1,\"x\":2"), BODY(",\"x\":2")},
	        {BODY(",\"x\":{\"a\":1},\"y\":{}"), BODY(",\"x\":{},\"y\":{\"a\":1}")},
	        {BODY(",\"x\":\"1\""), BODY(",\"x\":1")},
	        {BODY(",\"x\":\"?\""), BODY(",\"x\":\"\"")},
	        {BODY(",\"x\":[[],[]]"), BODY(",\"x\":[[[]]]")},
	        {BODY(",\"x\":true"), BODY(",\"x\":false")},
	        {BODY(",\"x\":\"a\""), BODY(",\"X\":\"a\"")},
	        {BODY(",\"x\":\"a\\u0000\""), BODY(",\"x\":\"a\"")},
	        {BODY(",\"x\":\"\\ud800\""), BODY(",\"x\":\"\\ufffd\"")},
	        {BODY(",\"x\":\"\\ud800\""), BODY(",\"x\":\"\\ud801\"")},
	        {BODY(",\"x\":\"\\ud800\""), BODY(",\"x\":\"\\\\ud800\"")},
	        {BODY(",\"x\":{\"\\ud800\":1,\"\\ufffd\":2}"),
	         BODY(",\"x\":{\"\\ud800\":2,\"\\ufffd\":1}")},
	        {LAST("{\"role\":\"system\",\"content\":\"a\"}," ASK),
	         LAST("{\"role\":\"system\",\"content\":\"b\"}," ASK)},
	        {LAST("{\"role\":\"user\",\"content\":\"a\"}," ASK),
	         LAST("{\"role\":\"user\",\"content\":\"A\"}," ASK)},
	        {LAST("{\"role\":\"user\",\"content\":\"a\"}," ASK),
	         LAST("{\"role\":\"assistant\",\"content\":\"a\"}," ASK)},
	        {LAST(ASK "," ASK), LAST(ASK)},
	        {LAST("{\"role\":\"user\",\"content\":\"a\",\"name\":\"n\"}"),
	         LAST("{\"role\":\"user\",\"content\":\"a\",\"name\":\"m\"}")},
	        {LAST("{\"role\":\"user\",\"content\":\"a\"}"),
	         LAST("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}")},
	};

	for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++)
		check_other(different[i][0], different[i][1], false);
}
END_TEST

START_TEST(test_the_text_of_the_question_alone_is_no_part_of_the_scope)
{
	static const char *const different[][2] = {
	        {LAST(ASK), LAST("{\"role\":\"user\",\"content\":\"why?\"}")},
	        {LAST(ASK), LAST("{\"role\":\"user\",\"content\":\"Why? \"}")},
	        {LAST("{\"role\":\"user\",\"content\":\"a\\u0000b\"}"),
	         LAST("{\"role\":\"user\",\"content\":\"a\"}")},
	        {LAST("{\"role\":\"user\",\"content\":\"\\ud800\"}"),
	         LAST("{\"role\":\"user\",\"content\":\"\\ufffd\"}")},
	        {LAST("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
	              "{\"text\":\"\",\"type\":\"text\",\"x\":\"text\"}]}"),
	         LAST("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"},"
	              "{\"text\":\"a\",\"type\":\"text\",\"x\":\"text\"}]}")},
	};

	for (size_t i = 0; i < sizeof(different) / sizeof(different[0]); i++)
		check_other(different[i][0], different[i][1], true);
}
END_TEST

#define PARTS(parts) LAST("{\"role\":\"user\",\"content\":[" parts "]}")
#define PART(text)   "{\"type\":\"text\",\"text\":\"" text "\"}"

START_TEST(test_the_scope_keeps_the_parts_and_their_other_members)
{
	check_other(PARTS(PART("a")), PARTS(PART("a") "," PART("a")), false);
	check_other(PARTS(PART("a")),
	            PARTS("{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{}}"), false);
	check_other(PARTS("{\"type\":\"text\",\"text\":\"a\",\"x\":{\"text\":\"b\"}}"),
	            PARTS("{\"type\":\"text\",\"text\":\"a\",\"x\":{\"text\":\"c\"}}"), false);
	check_other(PARTS("{\"type\":\"text\",\"text\":\"a\",\"x\":\"b\"}"),
	            PARTS("{\"type\":\"text\",\"text\":\"a\",\"x\":\"c\"}"), false);
}
END_TEST

START_TEST(test_questions_are_decoded)
{
	static const struct {
		const char *body;
		struct bytes question; /* .p NULL: there is none */
	} table[] = {
	        {LAST(ASK), {"Why?", 4}},
	        {LAST("{\"content\":\" a\\n\\u00e9\\/ \",\"role\":\"user\"}"),
	         {" a\n\xC3\xA9/ ", 7}},
	        {LAST("{\"role\":\"user\",\"content\":\"\\u0000\"}"), {"\0", 1}},
	        {LAST("{\"role\":\"user\",\"content\":\"\\ud800\"}"), {"\xEF\xBF\xBD", 3}},
	        {PARTS(PART("a")), {"a", 1}},
	        {PARTS(PART("a") "," PART("") "," PART("b")), {"a\n\nb", 4}},
	        {PARTS(PART("a") ",{\"text\":\"b\",\"x\":{\"text\":1},\"type\":\"text\"}"),
	         {"a\nb", 3}},
	        {LAST("{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"tool\",\"content\":\"b\"}"
	              "," ASK),
	         {"Why?", 4}},
	        {LAST("{\"role\":\"user\",\"content\":\"\"}"), {NULL, 0}},
	        {LAST("{\"role\":\"user\",\"content\":\" \\t\\r\\n\\u000b\\f\"}"), {NULL, 0}},
	        {PARTS(PART(" ") "," PART("")), {NULL, 0}},
	        {PARTS(""), {NULL, 0}},
	        {LAST(ASK ",{\"role\":\"assistant\",\"content\":\"a\"}"), {NULL, 0}},
	        {LAST("{\"role\":\"User\",\"content\":\"a\"}"), {NULL, 0}},
	        {LAST("{\"role\":\"developer\",\"content\":\"a\"}"), {NULL, 0}},
	        {LAST("{\"role\":\"user\",\"content\":null,\"tool_calls\":[{}]}"), {NULL, 0}},
	        {LAST("{\"role\":\"user\",\"tool_calls\":[{}]}"), {NULL, 0}},
	        {PARTS(PART("a") ",{\"type\":\"image_url\",\"image_url\":{}}"), {NULL, 0}},
	        {PARTS("{\"type\":\"text\",\"text\":\"a\",\"text\":\"b\"}"), {NULL, 0}},
	        {PARTS("{\"type\":\"text\",\"text\":null}"), {NULL, 0}},
	        {PARTS("{\"type\":\"text\"}"), {NULL, 0}},
	        {PARTS("{\"type\":\"input_text\",\"text\":\"a\"}"), {NULL, 0}},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct chat_key key = key_of(table[i].body);

		ck_assert_msg(key.has_question == (table[i].question.p != NULL), "%s",
		              table[i].body);
		ck_assert_msg(bytes_equal(buf_bytes(&key.question), table[i].question), "%s: %.*s",
		              table[i].body, (int)key.question.n, key.question.p);
		chat_key_fini(&key);
	}
}
END_TEST

START_TEST(test_without_a_question_texts_count_as_all_else_does)
{
	static const char *const bodies[] = {
	        PARTS(PART("a") ",{\"type\":\"x\"}"),
	        PARTS(PART("b") ",{\"type\":\"x\"}"),
	        LAST("{\"role\":\"system\",\"content\":\"a\"}"),
	        LAST("{\"role\":\"system\",\"content\":\"b\"}"),
	        LAST("{\"role\":\"user\",\"content\":\"\"}"),
	        LAST("{\"role\":\"user\",\"content\":\" \"}"),
	};
	enum { COUNT = sizeof(bodies) / sizeof(bodies[0]) };
	struct chat_key keys[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		keys[i] = key_of(bodies[i]);
		ck_assert(!keys[i].has_question);
		for (size_t k = 0; k < i; k++)
			ck_assert(!sha256_equal(&keys[i].exact, &keys[k].exact));
	}
	for (size_t i = 0; i < COUNT; i++)
		chat_key_fini(&keys[i]);
}
END_TEST

START_TEST(test_another_identity_is_another_key)
{
	static const char *const identities[] = {"", "a", "b", "a{", "aa"};
	static const char *const bodies[] = {LAST(ASK), "{\"a\":1," TALK "}",
	                                     LAST("{\"role\":\"system\",\"content\":\"a\"}")};
	enum { COUNT = 5 * 3 };
	struct chat_key keys[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		keys[i] = key_for(bodies[i / 5], identities[i % 5]);
		for (size_t k = 0; k < i; k++) {
			ck_assert(!sha256_equal(&keys[i].exact, &keys[k].exact));
			ck_assert(!keys[k].has_question || !keys[i].has_question ||
			          !sha256_equal(&keys[i].scope, &keys[k].scope));
		}
	}
	for (size_t i = 0; i < COUNT; i++)
		chat_key_fini(&keys[i]);
}
END_TEST

UNIT_MAIN("chat_key", test_the_order_of_members_does_not_matter,
          test_the_order_of_schema_properties_matters, test_spelling_does_not_matter,
          test_members_that_do_not_shape_the_answer_do_not_matter,
          test_they_matter_anywhere_but_at_the_top, test_whatever_else_shapes_the_answer_does,
          test_the_text_of_the_question_alone_is_no_part_of_the_scope,
          test_the_scope_keeps_the_parts_and_their_other_members, test_questions_are_decoded,
          test_without_a_question_texts_count_as_all_else_does,
          test_another_identity_is_another_key)
