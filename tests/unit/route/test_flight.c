/* Who may fly with whom. */
#include "route/flight.h"

#include <signal.h>

#include "unit.h"

struct exchange {
	TAILQ_ENTRY(exchange) followers;
};

static struct flight_table table;

static struct sha256
key_of(unsigned char byte)
{
	return (struct sha256){{byte}};
}

START_TEST(test_a_follower_gets_what_its_leader_can_give)
{
	static const struct {
		enum flight_form leader, follower;
		bool gives;
	} rows[] = {
	        {FLIGHT_JSON, FLIGHT_JSON, true},
	        {FLIGHT_JSON, FLIGHT_STREAM, true},
	        {FLIGHT_JSON, FLIGHT_STREAM_USAGE, true},
	        {FLIGHT_STREAM, FLIGHT_JSON, false},
	        {FLIGHT_STREAM, FLIGHT_STREAM, true},
	        {FLIGHT_STREAM, FLIGHT_STREAM_USAGE, false},
	        {FLIGHT_STREAM_USAGE, FLIGHT_JSON, true},
	        {FLIGHT_STREAM_USAGE, FLIGHT_STREAM, true},
	        {FLIGHT_STREAM_USAGE, FLIGHT_STREAM_USAGE, true},
	};
	struct sha256 key = key_of(7);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct flight *flight = flight_new(&table, &key, rows[i].leader, NULL);

		ck_assert_msg((flight_find(&table, &key, rows[i].follower) == flight) ==
		                      rows[i].gives,
		              "%zu", i);
		flight_free(flight);
		ck_assert_ptr_null(flight_find(&table, &key, rows[i].follower));
	}
}
END_TEST

START_TEST(test_only_the_same_request_flies_together)
{
	struct sha256 one = key_of(1), other = key_of(1), another = key_of(2);
	struct flight *flight;

	other.bytes[31] = 1; /* the same bucket */
	flight = flight_new(&table, &one, FLIGHT_JSON, NULL);
	ck_assert_ptr_eq(flight_find(&table, &one, FLIGHT_JSON), flight);
	ck_assert_ptr_null(flight_find(&table, &other, FLIGHT_JSON));
	ck_assert_ptr_null(flight_find(&table, &another, FLIGHT_JSON));
	flight_free(flight);
}
END_TEST

START_TEST(test_a_flight_that_is_closed_is_not_found_but_another_of_its_key_is)
{
	struct sha256 key = key_of(3);
	struct flight *first = flight_new(&table, &key, FLIGHT_JSON, NULL), *second;

	flight_close(first);
	flight_close(first);
	ck_assert_ptr_null(flight_find(&table, &key, FLIGHT_JSON));
	second = flight_new(&table, &key, FLIGHT_STREAM, NULL);
	ck_assert_ptr_eq(flight_find(&table, &key, FLIGHT_STREAM), second);
	flight_free(first);
	ck_assert_ptr_eq(flight_find(&table, &key, FLIGHT_STREAM), second);
	flight_free(second);
}
END_TEST

START_TEST(test_a_flight_with_followers_is_not_freed)
{
	struct sha256 key = key_of(4);
	struct exchange follower;
	struct flight *flight = flight_new(&table, &key, FLIGHT_JSON, NULL);

	TAILQ_INSERT_TAIL(&flight->followers, &follower, followers);
	flight_free(flight);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("flight");
	TCase *tcase = tcase_create("flight");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, test_a_follower_gets_what_its_leader_can_give);
	tcase_add_test(tcase, test_only_the_same_request_flies_together);
	tcase_add_test(tcase, test_a_flight_that_is_closed_is_not_found_but_another_of_its_key_is);
	tcase_add_test_raise_signal(tcase, test_a_flight_with_followers_is_not_freed, SIGABRT);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
