#include "unit.h"

#include <math.h>

#include "wire/json_scan.h"

/* Reads one value out of `text`, which must be valid. */
static struct json_value
value_of(const char *text)
{
	struct json_value value;
	struct json_scan s;

	json_scan_init(&s, bytes_of(text));
	ck_assert_msg(json_take(&s, &value) && json_scan_end(&s), "%s", text);
	return value;
}

START_TEST(test_strings_are_decoded_to_utf8)
{
	static const struct {
		const char *text;
		struct bytes decoded;
	} table[] = {
	        {"\"\"", {"", 0}},
	        {"\"plain\"", {"plain", 5}},
	        {"\"a\\nb\\t\\r\\b\\f\\\"\\\\\\/\"", {"a\nb\t\r\b\f\"\\/", 10}},
	        {"\"\\u0000\"", {"\0", 1}},
	        {"\"\\u0041\\u00e9\\u20AC\"", {"A\xC3\xA9\xE2\x82\xAC", 6}},
	        {"\"\\ud83d\\ude00!\"", {"\xF0\x9F\x98\x80!", 5}},
	        {"\"\\uDBFF\\uDFFF\"", {"\xF4\x8F\xBF\xBF", 4}},
	        {"\"\\ud83d\"", {"\xEF\xBF\xBD", 3}},
	        {"\"\\ud83dx\"", {"\xEF\xBF\xBDx", 4}},
	        {"\"\\ude00\\ud83d\"", {"\xEF\xBF\xBD\xEF\xBF\xBD", 6}},
	        {"\"\\ud83d\\ud83d\\ude00\"", {"\xEF\xBF\xBD\xF0\x9F\x98\x80", 7}},
	        {"\"\\ud83d\\n\"", {"\xEF\xBF\xBD\n", 4}},
	        {"\"\\ud83d\\u0041\"",
	         {"\xEF\xBF\xBD"
	          "A",
	          4}},
	        {"\"\xE4\xB8\x96\"", {"\xE4\xB8\x96", 3}},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct buf out;

		buf_init(&out, 0);
		json_string_decode(value_of(table[i].text), &out);
		ck_assert_msg(bytes_equal(buf_bytes(&out), table[i].decoded), "%s: %.*s",
		              table[i].text, (int)out.n, out.p ? out.p : "");
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_decoding_what_is_no_string_adds_nothing)
{
	struct buf out;

	buf_init(&out, 0);
	json_string_decode(value_of("12"), &out);
	json_string_decode((struct json_value){.kind = JSON_KIND_NONE}, &out);
	ck_assert_uint_eq(out.n, 0);
	buf_fini(&out);
}
END_TEST

START_TEST(test_strings_of_one_value_are_respelled_alike_and_no_others)
{
	static const struct {
		const char *text, *respelled;
	} table[] = {
	        {"\"\"", "\"\""},
	        {"\"plain\"", "\"plain\""},
	        {"\"\\\"\\\\\\b\\f\\n\\r\\t\"", "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
	        {"\"\\u0022\\u005C\\u0008\\u000c\\u000A\\u000d\\u0009\"",
	         "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
	        {"\"a\\/b/\\u002f\\/\"", "\"a/b///\""},
	        {"\"\\\\/\\\\u0041\"", "\"\\\\/\\\\u0041\""},
	        {"\"\\u0000\\u001F\\u0020\\u007f\\u0041\"", "\"\\u0000\\u001f \x7F"
	                                                    "A\""},
	        {"\"\\u00e9\\u20AC\xC3\xA9\"", "\"\xC3\xA9\xE2\x82\xAC\xC3\xA9\""},
	        {"\"\\uD83D\\uDE00\"", "\"\xF0\x9F\x98\x80\""},
	        {"\"\\uD83D\"", "\"\\ud83d\""},
	        {"\"\\uD83Dx\\uDE00\"", "\"\\ud83dx\\ude00\""},
	        {"\"\\uDE00\\uD83D\"", "\"\\ude00\\ud83d\""},
	        {"\"\\ud83d\\uD83D\\uDE00\"", "\"\\ud83d\xF0\x9F\x98\x80\""},
	        {"\"\\uD83D\\u0041\\n\"", "\"\\ud83dA\\n\""},
	        {"\"\\ufffd\"", "\"\xEF\xBF\xBD\""},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bytes expected = bytes_of(table[i].respelled);
		struct buf out;

		buf_init(&out, 0);
		buf_add_text(&out, "x");
		json_string_respell(json_value_text(value_of(table[i].text)), &out);
		buf_drop(&out, 1);
		ck_assert_msg(bytes_equal(buf_bytes(&out), expected), "%s: %.*s", table[i].text,
		              (int)out.n, out.p);
		ck_assert_uint_le(out.n, strlen(table[i].text));
		buf_reset(&out);
		json_string_respell(expected, &out);
		ck_assert_msg(bytes_equal(buf_bytes(&out), expected), "%s: again", table[i].text);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_a_string_without_room_is_not_respelled)
{
	struct buf out;

	buf_init(&out, 4);
	json_string_respell(bytes_of("\"abc\""), &out);
	ck_assert(out.failed && out.n == 0);
	buf_fini(&out);
}
END_TEST

START_TEST(test_a_string_is_copied_whole_or_not_at_all)
{
	static const struct {
		const char *text;
		const char *copy; /* NULL: refused */
	} table[] = {
	        {"\"\"", ""},
	        {"\"1234567\"", "1234567"},
	        {"\"12345678\"", NULL},
	        {"\"\\u0031\\n\"", "1\n"},
	        {"\"12345\xC3\xA9\"", "12345\xC3\xA9"},
	        {"\"123456\xC3\xA9\"", NULL},
	        {"\"1234\\u20ac\"", "1234\xE2\x82\xAC"},
	        {"\"12345\\u20ac\"", NULL},
	        {"\"a\\u0000\"", NULL},
	        {"12", NULL},
	        {"null", NULL},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char out[8];
		bool ok = json_string_copy(value_of(table[i].text), out, sizeof(out));

		ck_assert_msg(ok == (table[i].copy != NULL), "%s", table[i].text);
		if (ok)
			ck_assert_str_eq(out, table[i].copy);
	}
}
END_TEST

START_TEST(test_empty_containers_are_told_from_others)
{
	static const char *const empty[] = {"[]", "{}", "[ \n]", "{\t}"};
	static const char *const others[] = {"[1]", "{\"a\":1}", "[[]]", "null", "\"\"", "0"};

	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
		ck_assert_msg(json_is_empty(value_of(empty[i])), "%s", empty[i]);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_msg(!json_is_empty(value_of(others[i])), "%s", others[i]);
	ck_assert(!json_is_empty((struct json_value){.kind = JSON_KIND_NONE}));
}
END_TEST

START_TEST(test_keys_and_strings_compare_by_meaning)
{
	static const struct {
		const char *string, *name;
		bool same;
	} table[] = {
	        {"\"model\"", "model", true},
	        {"\"mod\\u0065l\"", "model", true},
	        {"\"\\u006d\\u006F\\u0064\\u0065\\u006c\"", "model", true},
	        {"\"Model\"", "model", false},
	        {"\"mode\"", "model", false},
	        {"\"models\"", "model", false},
	        {"\"model\\u0000\"", "model", false},
	        {"\"mod\\u0065ls\"", "model", false},
	        {"\"mod\\u0065\"", "model", false},
	        {"\"\\\\odel\"", "model", false},
	        {"\"a\\/b\"", "a/b", true},
	        {"\"\"", "", true},
	        {"\"\\u0000\"", "", false},
	        {"\"mod\xC3\xA9l\"", "model", false},
	        {"\"\\ud800\"", "model", false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct json_value value = value_of(table[i].string);

		ck_assert_msg(json_string_is(value, table[i].name) == table[i].same, "%s",
		              table[i].string);
		ck_assert_int_eq(
		        json_key_is((struct bytes){value.p + 1, value.n - 2}, table[i].name),
		        table[i].same);
	}
	ck_assert(!json_string_is(value_of("null"), "null"));
	ck_assert(!json_string_is((struct json_value){.kind = JSON_KIND_NONE}, ""));
}
END_TEST

START_TEST(test_integers_are_read_however_they_are_spelled)
{
	static const struct {
		const char *text;
		uint64_t max;
		bool ok;
		uint64_t value;
	} table[] = {
	        {"0", 0, true, 0},
	        {"-0", 9, true, 0},
	        {"-0.0e5", 9, true, 0},
	        {"5", 5, true, 5},
	        {"5.0", 5, true, 5},
	        {"5.000000000000000000000000000000", 5, true, 5},
	        {"5e0", 5, true, 5},
	        {"5E+0", 5, true, 5},
	        {"50e-1", 5, true, 5},
	        {"0.5e1", 5, true, 5},
	        {"0.0005e4", 5, true, 5},
	        {"12.5e1", 125, true, 125},
	        {"1e2", 100, true, 100},
	        {"0e999999999999999999999999", 5, true, 0},
	        {"0.000e-999999999999999999999999", 5, true, 0},
	        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
	        {"1844674407370955161.5e1", UINT64_MAX, true, UINT64_MAX},
	        {"10000000000000000000000e-3", UINT64_MAX, true, 10000000000000000000U},
	        {"6", 5, false, 0},
	        {"5.5", 9, false, 0},
	        {"5.00000000000000000000000001", 9, false, 0},
	        {"5e-1", 9, false, 0},
	        {"-5", 9, false, 0},
	        {"18446744073709551616", UINT64_MAX, false, 0},
	        {"1e20", UINT64_MAX, false, 0},
	        {"1e400", UINT64_MAX, false, 0},
	        {"1e999999999999999999999999", UINT64_MAX, false, 0},
	        {"1e-999999999999999999999999", UINT64_MAX, false, 0},
	        {"\"5\"", 9, false, 0},
	        {"true", 9, false, 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint64_t value = 77;
		bool ok = json_to_u64(value_of(table[i].text), table[i].max, &value);

		ck_assert_msg(ok == table[i].ok, "%s", table[i].text);
		if (ok)
			ck_assert_uint_eq(value, table[i].value);
	}
	ck_assert(!json_to_u64((struct json_value){.kind = JSON_KIND_NONE}, 9, &(uint64_t){0}));
}
END_TEST

START_TEST(test_numbers_are_read_as_doubles)
{
	double value;

	ck_assert(json_to_double(value_of("0.7"), &value) && value == 0.7);
	ck_assert(json_to_double(value_of("-1.5e-3"), &value) && value == -1.5e-3);
	ck_assert(json_to_double(value_of("1e2"), &value) && value == 100);
	ck_assert(json_to_double(value_of("1e400"), &value) && isinf(value));
	ck_assert(!json_to_double(value_of("\"1\""), &value));
	ck_assert(!json_to_double(value_of("null"), &value));
}
END_TEST

UNIT_MAIN("json_value", test_strings_are_decoded_to_utf8,
          test_decoding_what_is_no_string_adds_nothing,
          test_strings_of_one_value_are_respelled_alike_and_no_others,
          test_a_string_without_room_is_not_respelled, test_a_string_is_copied_whole_or_not_at_all,
          test_empty_containers_are_told_from_others, test_keys_and_strings_compare_by_meaning,
          test_integers_are_read_however_they_are_spelled, test_numbers_are_read_as_doubles)
