/* Randomness: of the right kind and length, and never the same twice. */
#include "base/random.h"

#include <stdbool.h>
#include <string.h>

#include "unit.h"

static bool
is_hex(const char *text, size_t n)
{
	return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

START_TEST(test_digits_are_as_many_as_asked_for)
{
	struct random_pool pool = {.left = 0};
	char out[80];

	for (size_t n = 0; n < sizeof(out); n++) {
		random_pool_hex(&pool, out, n);
		ck_assert_msg(is_hex(out, n), "%zu", n);
		random_hex(out, n);
		ck_assert_msg(is_hex(out, n), "%zu", n);
	}
}
END_TEST

START_TEST(test_a_pool_gives_each_of_its_bytes_once)
{
	enum { COUNT = 4000 };
	struct random_pool pool = {.left = 0};
	static char all[COUNT][17];
	unsigned seen[16] = {0};

	for (size_t i = 0; i < COUNT; i++) {
		random_pool_hex(&pool, all[i], 16);
		for (size_t k = 0; k < 16; k++)
			seen[all[i][k] < 'a' ? all[i][k] - '0' : all[i][k] - 'a' + 10]++;
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(all[i], all[k]);
	}
	/* Each digit is one in sixteen; ten standard deviations are 600. */
	for (size_t k = 0; k < 16; k++)
		ck_assert(seen[k] > COUNT - 600 && seen[k] < COUNT + 600);
}
END_TEST

START_TEST(test_a_part_is_at_least_0_and_below_1)
{
	for (size_t i = 0; i < 1000; i++) {
		double part = random_part();

		ck_assert(part >= 0 && part < 1);
	}
}
END_TEST

UNIT_MAIN("random", test_digits_are_as_many_as_asked_for, test_a_pool_gives_each_of_its_bytes_once,
          test_a_part_is_at_least_0_and_below_1)
