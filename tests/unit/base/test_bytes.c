#include "unit.h"

#include <math.h>
#include <stdio.h>

#include "base/bytes.h"

START_TEST(test_absent_and_empty_are_told_apart)
{
	ck_assert_ptr_null(bytes_of(NULL).p);
	ck_assert(!bytes_is(bytes_of(NULL), ""));
	ck_assert(bytes_is(bytes_of(""), ""));
	ck_assert(bytes_is((struct bytes){"abc", 2}, "ab"));
	ck_assert(!bytes_is((struct bytes){"abc", 2}, "abc"));
	ck_assert(bytes_equal((struct bytes){"a\0b", 3}, (struct bytes){"a\0b", 3}));
	ck_assert(!bytes_equal((struct bytes){"a\0b", 3}, (struct bytes){"a\0c", 3}));
	ck_assert(bytes_equal(bytes_of(NULL), bytes_of("")));
}
END_TEST

START_TEST(test_whole_numbers_are_digits_and_nothing_else)
{
	static const struct {
		const char *text;
		uint64_t max;
		bool ok;
		uint64_t value;
	} table[] = {
	        {"0", 0, true, 0},
	        {"007", 9, true, 7},
	        {"10", 10, true, 10},
	        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
	        {"11", 10, false, 0},
	        {"18446744073709551616", UINT64_MAX, false, 0},
	        {"99999999999999999999999", UINT64_MAX, false, 0},
	        {"", 9, false, 0},
	        {"+1", 9, false, 0},
	        {"-1", 9, false, 0},
	        {" 1", 9, false, 0},
	        {"1 ", 9, false, 0},
	        {"1.0", 9, false, 0},
	        {"0x1", 9, false, 0},
	        {"1:", 99, false, 0},
	        {"1/", 99, false, 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint64_t value = 77;

		ck_assert_msg(bytes_to_u64(bytes_of(table[i].text), table[i].max, &value) ==
		                      table[i].ok,
		              "%s", table[i].text);
		ck_assert_uint_eq(value, table[i].ok ? table[i].value : 77);
	}
	ck_assert(!bytes_to_u64(bytes_of(NULL), 9, &(uint64_t){0}));
}
END_TEST

static void
check_double(const char *text)
{
	static const char *const more[] = {",\"bytes\":[32,116]}", "}]}]}.0123456789012345",
	                                   "-1.5e5 0.12345678901"};
	double value, expected = strtod(text, NULL);
	char longer[128];

	ck_assert_msg(bytes_to_double(bytes_of(text), &value), "%s", text);
	/* Bit for bit, so that -0 is not 0. */
	ck_assert_msg(value == expected && signbit(value) == signbit(expected), "%s: %a, not %a",
	              text, value, expected);
	/* And in front of what does not belong to it. */
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		int n = snprintf(longer, sizeof(longer), "%s%s", text, more[i]);

		value = -1;
		ck_assert_msg(bytes_begin_double((struct bytes){longer, (size_t)n}, &value) ==
		                      strlen(text),
		              "%s", longer);
		ck_assert_msg(value == expected && signbit(value) == signbit(expected),
		              "%s: %a, not %a", longer, value, expected);
	}
}

static const char *const decimals[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "-1.5",
        "0.1",
        "0.7",
        "0.69999999999999996",
        "-0.030459207",
        "9.007199254740991",
        "9.007199254740992",
        "9.007199254740993",
        "9.999999999999999",
        "9.99999999999999",
        "-0.0",
        "0.12345678",
        "0.1234567",
        "0.123456789",
        "0.123456789012345",
        "0.1234567890123456",
        "0.12345678e1",
        "0.5E-3",
        "1e2",
        "1E+2",
        "1e-2",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740993.0",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "-0.0009114635",
        "-9.088e-07",
        "-1.6931471824645996",
        "-0.6931471824645996",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e400",
        "-1e400",
        "1e-400",
        "5e-324",
        "2.4703282292062327e-324",
        "2.2250738585072011e-308",
        "8.98846567431158e307",
        "1e22",
        "1e23",
        "123456789012345678901234567890",
        "0.000000000000000000000000000001",
        "3.518437208883201171875e13",
        "62.5364939768271845828",
        "1.00000000000000011102230246251565",
        "1.00000000000000011102230246251566",
        "1e999999999999999999999",
        "1e-999999999999999999999",
};

START_TEST(test_decimals_are_rounded_correctly)
{
	for (size_t i = 0; i < sizeof(decimals) / sizeof(decimals[0]); i++)
		check_double(decimals[i]);
}
END_TEST

/* A generator with a fixed start, so that a failure can be had again. */
static uint64_t
next_number(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

START_TEST(test_decimals_of_any_length_and_power_are_rounded_correctly)
{
	uint64_t state = 0x9E3779B97F4A7C15;

	for (unsigned i = 0; i < 200000; i++) {
		char text[80];
		uint64_t digits = next_number(&state) >> next_number(&state) % 64;
		uint64_t fraction = next_number(&state) >> next_number(&state) % 64;
		int exponent = (int)(next_number(&state) % 80) - 40;
		const char *sign = next_number(&state) & 1 ? "-" : "";

		snprintf(text, sizeof(text), "%s%llue%d", sign, (unsigned long long)digits,
		         exponent);
		check_double(text);
		snprintf(text, sizeof(text), "%s%u.%0*llu", sign, (unsigned)(digits & 15),
		         (int)(digits % 21), (unsigned long long)fraction);
		check_double(text);
		snprintf(text, sizeof(text), "%.17g", -(double)digits / (double)(fraction | 1));
		check_double(text);
	}
}
END_TEST

START_TEST(test_what_is_no_number_is_refused)
{
	static const char *const texts[] = {"",     "-",    ".",    "-.",  "e5",    "1e",   "1e+",
	                                    "1.5.", "1e5.", "1..5", "--1", "1-",    "0x10", "inf",
	                                    "nan",  " 1",   "1 ",   "1,5", "1e5e5", "NaN",  "-inf"};
	double value;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(!bytes_to_double(bytes_of(texts[i]), &value), "%s", texts[i]);
	ck_assert(!bytes_to_double(bytes_of(NULL), &value));
}
END_TEST

START_TEST(test_a_number_ends_where_its_bytes_end)
{
	double value;

	ck_assert(bytes_to_double((struct bytes){"12345678901", 2}, &value) && value == 12);
	ck_assert(bytes_to_double((struct bytes){"1.2345678901e5", 4}, &value) && value == 1.23);
	ck_assert(!bytes_to_double((struct bytes){"1e5", 2}, &value));
}
END_TEST

START_TEST(test_numbers_up_to_511_bytes_are_read)
{
	char text[513] = "0.";

	memset(text + 2, '3', 510);
	for (size_t n = 500; n <= 512; n++) {
		double value;

		ck_assert_int_eq(bytes_to_double((struct bytes){text, n}, &value), n <= 511);
		ck_assert(n > 511 || value == 1.0 / 3);
	}
}
END_TEST

START_TEST(test_utf8_is_well_formed_or_not)
{
	static const struct {
		struct bytes text;
		bool ok;
	} table[] = {
	        {{"", 0}, true},
	        {{"ascii \x7F\0", 8}, true},
	        {{"\xC2\x80\xDF\xBF", 4}, true},
	        {{"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", 12}, true},
	        {{"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 8}, true},
	        {{"\x80", 1}, false},
	        {{"\xBF", 1}, false},
	        {{"\xC0\x80", 2}, false},
	        {{"\xC1\xBF", 2}, false},
	        {{"\xC2", 1}, false},
	        {{"\xC2\x7F", 2}, false},
	        {{"\xC2\xC0", 2}, false},
	        {{"\xE0\x9F\xBF", 3}, false},
	        {{"\xED\xA0\x80", 3}, false},
	        {{"\xE4\xB8", 2}, false},
	        {{"\xE4\xB8\x41", 3}, false},
	        {{"\xF0\x8F\xBF\xBF", 4}, false},
	        {{"\xF4\x90\x80\x80", 4}, false},
	        {{"\xF5\x80\x80\x80", 4}, false},
	        {{"\xF0\x9F\x98", 3}, false},
	        {{"\xFE", 1}, false},
	        {{"\xFF", 1}, false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_msg(bytes_is_utf8(table[i].text) == table[i].ok, "row %zu", i);
}
END_TEST

START_TEST(test_values_become_their_digits)
{
	char out[BYTES_U64_MAX];

	ck_assert_str_eq(bytes_from_u64(0, out), "0");
	ck_assert_str_eq(bytes_from_u64(9, out), "9");
	ck_assert_str_eq(bytes_from_u64(10, out), "10");
	ck_assert_str_eq(bytes_from_u64(UINT64_MAX, out), "18446744073709551615");
	ck_assert_ptr_eq(bytes_from_u64(UINT64_MAX, out), out);
}
END_TEST

START_TEST(test_copies_are_cut_where_there_is_no_room)
{
	char out[4];

	bytes_copy_text(out, sizeof(out), "");
	ck_assert_str_eq(out, "");
	bytes_copy_text(out, sizeof(out), "abc");
	ck_assert_str_eq(out, "abc");
	bytes_copy_text(out, sizeof(out), "abcd");
	ck_assert_str_eq(out, "abc");
	bytes_copy_text(out, 1, "a");
	ck_assert_str_eq(out, "");
}
END_TEST

UNIT_MAIN("bytes", test_values_become_their_digits, test_copies_are_cut_where_there_is_no_room,
          test_absent_and_empty_are_told_apart, test_whole_numbers_are_digits_and_nothing_else,
          test_decimals_are_rounded_correctly,
          test_decimals_of_any_length_and_power_are_rounded_correctly,
          test_what_is_no_number_is_refused, test_a_number_ends_where_its_bytes_end,
          test_numbers_up_to_511_bytes_are_read, test_utf8_is_well_formed_or_not)
