/*
 * What every unit test program shares: UNIT_MAIN(name, test, …) makes a program of Check tests.
 *
 *	START_TEST(test_empty_text_is_a_fault) { … } END_TEST
 *	UNIT_MAIN("json_scan", test_empty_text_is_a_fault)
 */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <stdlib.h>

#define UNIT_MAIN(suite_name, ...)                                                                 \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		Suite *suite = suite_create(suite_name);                                           \
		TCase *tcase = tcase_create(suite_name);                                           \
		SRunner *runner;                                                                   \
		int failed;                                                                        \
                                                                                                   \
		tcase_set_timeout(tcase, 180);                                                     \
		for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)                      \
			tcase_add_test(tcase, tests[i]);                                           \
		suite_add_tcase(suite, tcase);                                                     \
		runner = srunner_create(suite);                                                    \
		srunner_run_all(runner, CK_NORMAL);                                                \
		failed = srunner_ntests_failed(runner);                                            \
		srunner_free(runner);                                                              \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;                                       \
	}

#endif
