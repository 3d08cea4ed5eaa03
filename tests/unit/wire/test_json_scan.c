#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "wire/json_scan.h"

/* Validates `text` in memory of exactly its size, so that the sanitizer sees a byte read too far. */
static enum json_fault
judge(struct bytes text, size_t *offset)
{
	char *copy = mem_try(text.n);
	struct json_scan s;
	enum json_fault fault;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text.p, text.n);
	json_scan_init(&s, (struct bytes){copy, text.n});
	ck_assert_int_eq(json_skip(&s) && json_scan_end(&s), s.fault == JSON_FAULT_NONE);
	*offset = json_scan_offset(&s);
	fault = s.fault;
	free(copy);
	return fault;
}

/* Visits everything by entering every container instead of skipping it. */
static void
visit(struct json_scan *s)
{
	struct json_member member;

	switch (json_peek(s)) {
	case JSON_KIND_OBJECT:
		json_enter(s, JSON_KIND_OBJECT);
		while (json_next_member(s, &member))
			visit(s);
		break;
	case JSON_KIND_ARRAY:
		json_enter(s, JSON_KIND_ARRAY);
		while (json_next_element(s))
			visit(s);
		break;
	case JSON_KIND_NONE: break;
	case JSON_KIND_NULL:
	case JSON_KIND_FALSE:
	case JSON_KIND_TRUE:
	case JSON_KIND_NUMBER:
	case JSON_KIND_STRING: json_skip(s);
	}
}

#define TEXT(literal)                                                                              \
	{                                                                                          \
		literal, sizeof(literal) - 1                                                       \
	}

static const struct bytes valid[] = {
        TEXT("null"),
        TEXT("true"),
        TEXT("false"),
        TEXT("0"),
        TEXT("-0"),
        TEXT("-0.0e-0"),
        TEXT("1e2"),
        TEXT("1E+2"),
        TEXT("0.7"),
        TEXT("1e400"),
        TEXT("9223372036854775808"),
        TEXT("123456789012345678901234567890123456789012345678901234567890.5e-17"),
        TEXT("\"\""),
        TEXT("\"\\u0000\""),
        TEXT("\"\\ud800\""),
        TEXT("\"\\uDC00\\uD800\""),
        TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00aF\""),
        TEXT("\"plain text that is much longer than one vector of sixteen bytes is\""),
        TEXT("\"\x7F\""),
        TEXT("\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\""),
        TEXT("\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\""),
        TEXT("\"\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, \xE4\xB8\x96\xE7\x95\x8C\""),
        TEXT("[]"),
        TEXT("{}"),
        TEXT(" \t\r\n[ \t\r\n] \t\r\n"),
        TEXT("[[],[[]],{}]"),
        TEXT("{\"a\":{\"b\":[{\"c\":{}}]},\"a\":[]}"),
        TEXT("{ \"a\" : 1 , \"b\" : [ 1 , 2 ] }"),
        TEXT("[1,-1,1.5,\"x\",null,true,false,{\"\":\"\"}]"),
        TEXT("{\"\\u0061\":1}"),
};

static const struct {
	struct bytes text;
	enum json_fault fault;
	size_t offset;
} invalid[] = {
        {TEXT(""), JSON_FAULT_TRUNCATED, 0},
        {TEXT(" \n"), JSON_FAULT_TRUNCATED, 2},
        {TEXT("\xEF\xBB\xBF{}"), JSON_FAULT_SYNTAX, 0},
        {TEXT("nul"), JSON_FAULT_TRUNCATED, 3},
        {TEXT("nulL"), JSON_FAULT_SYNTAX, 3},
        {TEXT("True"), JSON_FAULT_SYNTAX, 0},
        {TEXT("NaN"), JSON_FAULT_SYNTAX, 0},
        {TEXT("nullx"), JSON_FAULT_TRAILING, 4},
        {TEXT("{} {}"), JSON_FAULT_TRAILING, 3},
        {TEXT("1,"), JSON_FAULT_TRAILING, 1},
        {TEXT("+1"), JSON_FAULT_SYNTAX, 0},
        {TEXT(".5"), JSON_FAULT_SYNTAX, 0},
        {TEXT("-"), JSON_FAULT_TRUNCATED, 1},
        {TEXT("-x"), JSON_FAULT_SYNTAX, 1},
        {TEXT("1."), JSON_FAULT_TRUNCATED, 2},
        {TEXT("[1.]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("1e"), JSON_FAULT_TRUNCATED, 2},
        {TEXT("1e+"), JSON_FAULT_TRUNCATED, 3},
        {TEXT("[1e+]"), JSON_FAULT_SYNTAX, 4},
        {TEXT("[01]"), JSON_FAULT_SYNTAX, 2},
        {TEXT("[-01]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("[0x10]"), JSON_FAULT_SYNTAX, 2},
        {TEXT("[1 2]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("\"abc"), JSON_FAULT_TRUNCATED, 4},
        {TEXT("\"a\nb\""), JSON_FAULT_SYNTAX, 2},
        {TEXT("\"a\0b\""), JSON_FAULT_SYNTAX, 2},
        {TEXT("\"0123456789abcdef\x1F\""), JSON_FAULT_SYNTAX, 17},
        {TEXT("\"\\"), JSON_FAULT_TRUNCATED, 2},
        {TEXT("\"\\x\""), JSON_FAULT_SYNTAX, 2},
        {TEXT("\"\\u12"), JSON_FAULT_TRUNCATED, 5},
        {TEXT("\"\\u12g4\""), JSON_FAULT_SYNTAX, 5},
        {TEXT("\"\\U0041\""), JSON_FAULT_SYNTAX, 2},
        {TEXT("'a'"), JSON_FAULT_SYNTAX, 0},
        {TEXT("["), JSON_FAULT_TRUNCATED, 1},
        {TEXT("[1"), JSON_FAULT_TRUNCATED, 2},
        {TEXT("[1,"), JSON_FAULT_TRUNCATED, 3},
        {TEXT("[1,]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("[,1]"), JSON_FAULT_SYNTAX, 1},
        {TEXT("[1}"), JSON_FAULT_SYNTAX, 2},
        {TEXT("]"), JSON_FAULT_SYNTAX, 0},
        {TEXT("{\"a\":1]"), JSON_FAULT_SYNTAX, 6},
        {TEXT("{\"a\":1,}"), JSON_FAULT_SYNTAX, 7},
        {TEXT("{\"a\" 1}"), JSON_FAULT_SYNTAX, 5},
        {TEXT("{\"a\":}"), JSON_FAULT_SYNTAX, 5},
        {TEXT("{\"a\"}"), JSON_FAULT_SYNTAX, 4},
        {TEXT("{a:1}"), JSON_FAULT_SYNTAX, 1},
        {TEXT("{1:1}"), JSON_FAULT_SYNTAX, 1},
        {TEXT("{,}"), JSON_FAULT_SYNTAX, 1},
        {TEXT("{\"a\":1 \"b\":2}"), JSON_FAULT_SYNTAX, 7},
        {TEXT("[1] // no"), JSON_FAULT_TRAILING, 4},
        {TEXT("[1,/**/2]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("[1,\f2]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("[1,\xC2\xA0\x32]"), JSON_FAULT_SYNTAX, 3},
        {TEXT("\"\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xC0\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xC1\xBF\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xC3(\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xE0\x9F\xBF\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xED\xA0\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xE2\x82\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xF0\x8F\xBF\xBF\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xF4\x90\x80\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xF5\x80\x80\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xFF\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xE2\x82"), JSON_FAULT_TRUNCATED, 3},
        {TEXT("{\"\xC3\":1}"), JSON_FAULT_UTF8, 2},
};

START_TEST(test_valid_texts_are_accepted)
{
	for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
		size_t offset;

		ck_assert_msg(judge(valid[i], &offset) == JSON_FAULT_NONE, "%.*s: fault at %zu",
		              (int)valid[i].n, valid[i].p, offset);
	}
}
END_TEST

START_TEST(test_invalid_texts_are_refused_with_the_place_and_kind_of_the_fault)
{
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		size_t offset;
		enum json_fault fault = judge(invalid[i].text, &offset);

		ck_assert_msg(fault == invalid[i].fault && offset == invalid[i].offset,
		              "%.*s: %s at %zu", (int)invalid[i].text.n, invalid[i].text.p,
		              json_fault_text(fault), offset);
	}
}
END_TEST

START_TEST(test_every_proper_prefix_of_a_container_is_truncated)
{
	static const char text[] =
	        " {\"k\\u00e9y\":[1.5e+3,\"\xE4\xB8\x96 \\ud83d\\ude00\",null,true,"
	        "false,{}],\"\xD0\x9F\":{\"a long enough key for a vector\":-0}}";

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		size_t offset;

		ck_assert_int_eq(judge((struct bytes){text, n}, &offset), JSON_FAULT_TRUNCATED);
		ck_assert_uint_eq(offset, n);
	}
}
END_TEST

START_TEST(test_walking_and_skipping_judge_alike)
{
	for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
		struct json_scan s;

		json_scan_init(&s, valid[i]);
		visit(&s);
		ck_assert_msg(json_scan_end(&s), "%.*s", (int)valid[i].n, valid[i].p);
	}
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
		struct json_scan s;

		json_scan_init(&s, invalid[i].text);
		visit(&s);
		ck_assert(!json_scan_end(&s));
		ck_assert_int_eq(s.fault, invalid[i].fault);
		ck_assert_uint_eq(json_scan_offset(&s), invalid[i].offset);
	}
}
END_TEST

START_TEST(test_a_string_ends_at_its_quote_wherever_it_lies_in_a_vector)
{
	static const char special[][8] = {"\\\"", "\\u0041", "\xC3\xA9", "\xF0\x9F\x98\x80", "z"};

	for (size_t before = 0; before < 40; before++) {
		for (size_t after = 0; after < 40; after++) {
			for (size_t k = 0; k < sizeof(special) / sizeof(special[0]); k++) {
				char text[120];
				struct json_value value;
				struct json_scan s;
				int n = snprintf(
				        text, sizeof(text), "\"%.*s%s%.*s\",\"]\"", (int)before,
				        "........................................", special[k],
				        (int)after, "----------------------------------------");

				json_scan_init(&s, (struct bytes){text, (size_t)n});
				ck_assert(json_take(&s, &value));
				ck_assert_uint_eq(value.n, 2 + before + strlen(special[k]) + after);
			}
		}
	}
}
END_TEST

static struct bytes
nested(char *text, size_t depth, bool objects)
{
	size_t n = 0;

	for (size_t i = 0; i < depth; i++) {
		const char *opening = objects && i % 2 ? "{\"a\":" : "[";

		memcpy(text + n, opening, strlen(opening));
		n += strlen(opening);
	}
	text[n++] = '1';
	for (size_t i = depth; i-- > 0;)
		text[n++] = objects && i % 2 ? '}' : ']';
	return (struct bytes){text, n};
}

START_TEST(test_depth_64_is_allowed_and_65_is_a_fault)
{
	char text[1024];

	for (int objects = 0; objects <= 1; objects++) {
		struct json_scan s;
		size_t offset;

		ck_assert_int_eq(judge(nested(text, 64, objects), &offset), JSON_FAULT_NONE);
		json_scan_init(&s, nested(text, 64, objects));
		visit(&s);
		ck_assert(json_scan_end(&s));
		ck_assert_int_eq(judge(nested(text, 65, objects), &offset), JSON_FAULT_DEPTH);
		json_scan_init(&s, nested(text, 65, objects));
		visit(&s);
		ck_assert_int_eq(s.fault, JSON_FAULT_DEPTH);
	}
}
END_TEST

START_TEST(test_depth_counts_over_the_whole_text_also_where_the_rest_is_skipped)
{
	char text[1024];

	for (size_t entered = 0; entered <= 64; entered++) {
		for (size_t depth = 64; depth <= 65; depth++) {
			struct json_scan s;

			json_scan_init(&s, nested(text, depth, false));
			for (size_t i = 0; i < entered; i++)
				ck_assert(json_enter(&s, JSON_KIND_ARRAY) && json_next_element(&s));
			ck_assert_int_eq(json_skip(&s), depth == 64);
			for (size_t i = 0; i < entered; i++)
				ck_assert(!json_next_element(&s));
			ck_assert_int_eq(json_scan_end(&s), depth == 64);
		}
	}
}
END_TEST

START_TEST(test_a_depth_bomb_is_refused_without_recursion)
{
	size_t n = 10 << 20, offset;
	char *text = mem_try(n);

	ck_assert_ptr_nonnull(text);
	memset(text, '[', n);
	ck_assert_int_eq(judge((struct bytes){text, n}, &offset), JSON_FAULT_DEPTH);
	ck_assert_uint_eq(offset, 64);
	free(text);
}
END_TEST

START_TEST(test_members_tell_where_they_stand)
{
	static const char text[] = " { \"a\" : 1 , \"b\":{\"x\":[]} ,\"\\u0063\":\"s\" } ";
	struct json_member m;
	struct json_value value;
	struct json_scan s;

	json_scan_init(&s, bytes_of(text));
	ck_assert(json_enter(&s, JSON_KIND_OBJECT));
	ck_assert(json_next_member(&s, &m));
	ck_assert(bytes_is(m.key, "a"));
	ck_assert_ptr_eq(m.begin, strchr(text, '"'));
	ck_assert_ptr_null(m.before);
	ck_assert(json_take(&s, &value));
	ck_assert_ptr_eq(value.p, strchr(text, '1'));
	ck_assert_uint_eq(value.n, 1);

	ck_assert(json_next_member(&s, &m));
	ck_assert(bytes_is(m.key, "b"));
	ck_assert_ptr_eq(m.begin, strstr(text, "\"b\""));
	ck_assert_ptr_eq(m.before, strchr(text, '1') + 1);
	ck_assert(json_take(&s, &value));
	ck_assert_int_eq(value.kind, JSON_KIND_OBJECT);
	ck_assert(bytes_is(json_value_text(value), "{\"x\":[]}"));

	ck_assert(json_next_member(&s, &m));
	ck_assert(bytes_is(m.key, "\\u0063"));
	ck_assert(json_key_is(m.key, "c"));
	ck_assert_ptr_eq(m.before, value.p + value.n);
	ck_assert(json_skip(&s));
	ck_assert(!json_next_member(&s, &m));
	ck_assert_ptr_eq(s.last, strstr(text, "\"s\"") + 3);
	ck_assert_ptr_eq(s.p, strrchr(text, '}') + 1);
	ck_assert(json_scan_end(&s));
}
END_TEST

START_TEST(test_the_end_of_the_last_value_is_known_of_every_container)
{
	static const char text[] = "[ [ 1 , 2 ] , [ ] ]";
	struct json_scan s;

	json_scan_init(&s, bytes_of(text));
	ck_assert(json_enter(&s, JSON_KIND_ARRAY) && json_next_element(&s) &&
	          json_enter(&s, JSON_KIND_ARRAY));
	while (json_next_element(&s))
		json_skip(&s);
	ck_assert_ptr_eq(s.last, strchr(text, '2') + 1);
	ck_assert(json_next_element(&s) && json_enter(&s, JSON_KIND_ARRAY) &&
	          !json_next_element(&s));
	ck_assert_ptr_eq(s.last, strstr(text, "[ ]") + 1);
	ck_assert(!json_next_element(&s));
	ck_assert_ptr_eq(s.last, strstr(text, "[ ]") + 3);
	ck_assert(json_scan_end(&s));
}
END_TEST

START_TEST(test_entering_another_kind_leaves_the_value_to_be_taken)
{
	struct json_scan s;
	struct json_value value;

	json_scan_init(&s, bytes_of(" [1] "));
	ck_assert(!json_enter(&s, JSON_KIND_OBJECT));
	ck_assert_int_eq(s.fault, JSON_FAULT_NONE);
	ck_assert(json_take(&s, &value));
	ck_assert_int_eq(value.kind, JSON_KIND_ARRAY);
	ck_assert(json_scan_end(&s));
}
END_TEST

START_TEST(test_the_end_judges_a_value_that_nobody_took)
{
	struct json_scan s;

	json_scan_init(&s, bytes_of("[1]"));
	ck_assert(!json_enter(&s, JSON_KIND_OBJECT));
	ck_assert(json_scan_end(&s));
	json_scan_init(&s, bytes_of("[1"));
	ck_assert(!json_enter(&s, JSON_KIND_OBJECT));
	ck_assert(!json_scan_end(&s));
	json_scan_init(&s, bytes_of("{}"));
	ck_assert(json_enter(&s, JSON_KIND_OBJECT));
	ck_assert(!json_scan_end(&s));
}
END_TEST

START_TEST(test_a_fault_sticks)
{
	struct json_member member;
	struct json_value value;
	struct json_scan s;

	json_scan_init(&s, bytes_of("{\"a\":x,\"b\":1}"));
	ck_assert(json_enter(&s, JSON_KIND_OBJECT) && json_next_member(&s, &member));
	ck_assert(!json_take(&s, &value));
	ck_assert_int_eq(value.kind, JSON_KIND_NONE);
	ck_assert_int_eq(json_peek(&s), JSON_KIND_NONE);
	ck_assert(!json_take(&s, &value) && !json_skip(&s) && !json_next_member(&s, &member) &&
	          !json_next_element(&s) && !json_enter(&s, JSON_KIND_OBJECT) &&
	          !json_scan_end(&s));
	ck_assert_int_eq(s.fault, JSON_FAULT_SYNTAX);
	ck_assert_uint_eq(json_scan_offset(&s), 5);
}
END_TEST

START_TEST(test_every_fault_has_words_of_its_own)
{
	for (int a = JSON_FAULT_NONE; a <= JSON_FAULT_TRAILING; a++) {
		for (int b = JSON_FAULT_NONE; b < a; b++)
			ck_assert_str_ne(json_fault_text((enum json_fault)a),
			                 json_fault_text((enum json_fault)b));
	}
}
END_TEST

UNIT_MAIN("json_scan", test_valid_texts_are_accepted,
          test_invalid_texts_are_refused_with_the_place_and_kind_of_the_fault,
          test_every_proper_prefix_of_a_container_is_truncated,
          test_walking_and_skipping_judge_alike,
          test_a_string_ends_at_its_quote_wherever_it_lies_in_a_vector,
          test_depth_64_is_allowed_and_65_is_a_fault,
          test_depth_counts_over_the_whole_text_also_where_the_rest_is_skipped,
          test_a_depth_bomb_is_refused_without_recursion, test_members_tell_where_they_stand,
          test_the_end_of_the_last_value_is_known_of_every_container,
          test_entering_another_kind_leaves_the_value_to_be_taken,
          test_the_end_judges_a_value_that_nobody_took, test_a_fault_sticks,
          test_every_fault_has_words_of_its_own)
