#include "unit.h"

#include "base/buf.h"

static void
check_text(const struct buf *b, const char *expected, size_t n)
{
	ck_assert_msg(bytes_equal(buf_bytes(b), (struct bytes){expected, n}), "%.*s", (int)b->n,
	              b->p);
}

START_TEST(test_an_empty_buffer_gives_empty_bytes)
{
	struct buf b;

	buf_init(&b, 0);
	ck_assert_ptr_nonnull(buf_bytes(&b).p);
	ck_assert_uint_eq(buf_bytes(&b).n, 0);
	buf_add(&b, NULL, 0);
	buf_drop(&b, 5);
	ck_assert(!b.failed && b.n == 0);
	buf_fini(&b);
}
END_TEST

START_TEST(test_what_is_added_stands_in_order)
{
	struct buf b;

	buf_init(&b, 0);
	buf_add_text(&b, "a");
	buf_add(&b, "\0b", 2);
	buf_add_bytes(&b, (struct bytes){"cde", 2});
	buf_add_u64(&b, 0);
	buf_add_u64(&b, UINT64_MAX);
	buf_add_format(&b, "%s-%05d", "x", 42);
	buf_add_format(&b, "%s", "");
	check_text(&b, "a\0bcd018446744073709551615x-00042", 33);
	buf_fini(&b);
}
END_TEST

START_TEST(test_it_grows_as_long_as_it_is_fed)
{
	struct buf b;

	buf_init(&b, 0);
	for (unsigned i = 0; i < 100000; i++)
		buf_add_format(&b, "%05u", i);
	ck_assert(!b.failed);
	ck_assert_uint_eq(b.n, 500000);
	ck_assert_int_eq(memcmp(b.p + 499990, "9999899999", 10), 0);
	buf_fini(&b);
}
END_TEST

START_TEST(test_the_limit_may_be_reached_but_not_passed)
{
	struct buf b;

	buf_init(&b, 4);
	buf_add_text(&b, "ab");
	buf_add_format(&b, "%s", "cd");
	ck_assert(!b.failed);
	check_text(&b, "abcd", 4);
	buf_add_text(&b, "");
	ck_assert(!b.failed);
	buf_add_text(&b, "e");
	ck_assert(b.failed);
	check_text(&b, "abcd", 4);
	buf_fini(&b);
	ck_assert_uint_eq(b.limit, 4);
}
END_TEST

START_TEST(test_a_failure_sticks_and_keeps_what_is_there)
{
	struct buf b;

	buf_init(&b, 4);
	buf_add_text(&b, "ab");
	buf_add_text(&b, "cde");
	buf_add_text(&b, "c");
	buf_add_u64(&b, 1);
	buf_add_format(&b, "%d", 1);
	buf_add_json_string(&b, bytes_of(""));
	ck_assert(b.failed);
	check_text(&b, "ab", 2);
	buf_reset(&b);
	ck_assert(!b.failed);
	buf_add_text(&b, "wxyz");
	ck_assert(!b.failed);
	check_text(&b, "wxyz", 4);
	buf_fini(&b);
}
END_TEST

START_TEST(test_a_size_that_does_not_exist_is_a_failure)
{
	for (size_t filled = 0; filled <= 1; filled++) {
		struct buf b;

		buf_init(&b, 0);
		buf_add(&b, "x", filled);
		ck_assert(!buf_reserve(&b, SIZE_MAX));
		ck_assert(b.failed);
		check_text(&b, "x", filled);
		buf_fini(&b);
	}
}
END_TEST

START_TEST(test_json_strings_are_escaped)
{
	static const struct {
		struct bytes text;
		const char *json;
	} table[] = {
	        {{"", 0}, "\"\""},
	        {{"plain /", 7}, "\"plain /\""},
	        {{"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
	        {{"\n\r\t\x01\x1F\x7F", 6}, "\"\\n\\u000d\\u0009\\u0001\\u001f\x7F\""},
	        {{"\0", 1}, "\"\\u0000\""},
	        {{"\xC3\xA9\xE4\xB8\x96\xF0\x9F\x98\x80", 9},
	         "\"\xC3\xA9\xE4\xB8\x96\xF0\x9F\x98\x80\""},
	        {{"a\xFFz", 3}, "\"a\xEF\xBF\xBDz\""},
	        {{"\xC3", 1}, "\"\xEF\xBF\xBD\""},
	        {{"\xC3(", 2}, "\"\xEF\xBF\xBD(\""},
	        {{"\xE4\xB8", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
	        {{"\xC0\x80", 2}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
	        {{"\xED\xA0\x80", 3}, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
	        {{"\xF4\x90\x80\x80\"", 5},
	         "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\\\"\""},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct buf b;

		buf_init(&b, 0);
		buf_add_json_string(&b, table[i].text);
		check_text(&b, table[i].json, strlen(table[i].json));
		buf_fini(&b);
	}
}
END_TEST

START_TEST(test_dropping_takes_away_the_beginning)
{
	struct buf b;

	buf_init(&b, 6);
	buf_add_text(&b, "abcdef");
	buf_drop(&b, 0);
	buf_drop(&b, 2);
	check_text(&b, "cdef", 4);
	buf_add_text(&b, "gh");
	ck_assert(!b.failed);
	check_text(&b, "cdefgh", 6);
	buf_drop(&b, 6);
	check_text(&b, "", 0);
	buf_fini(&b);
}
END_TEST

UNIT_MAIN("buf", test_an_empty_buffer_gives_empty_bytes, test_what_is_added_stands_in_order,
          test_it_grows_as_long_as_it_is_fed, test_the_limit_may_be_reached_but_not_passed,
          test_a_failure_sticks_and_keeps_what_is_there,
          test_a_size_that_does_not_exist_is_a_failure, test_json_strings_are_escaped,
          test_dropping_takes_away_the_beginning)
