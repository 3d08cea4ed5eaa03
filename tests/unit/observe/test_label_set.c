/* Label values that clients choose. */
#include "observe/label_set.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

START_TEST(test_the_first_values_stay_and_all_later_ones_are_other)
{
	static struct label_set set;
	char value[32];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < LABEL_SET_MAX; i++) {
			snprintf(value, sizeof(value), "project-%d", i);
			ck_assert_str_eq(label_set_admit(&set, value), value);
		}
		ck_assert_str_eq(label_set_admit(&set, "one-more"), "other");
		ck_assert_uint_eq(set.count, LABEL_SET_MAX);
	}
	label_set_fini(&set);
	ck_assert_str_eq(label_set_admit(&set, "one-more"), "one-more");
	label_set_fini(&set);
}
END_TEST

UNIT_MAIN("label_set", test_the_first_values_stay_and_all_later_ones_are_other)
