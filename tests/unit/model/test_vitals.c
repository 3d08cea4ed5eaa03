#include "model/vitals.h"

#include "unit.h"

enum { NOW = 1000000, HALF = VITALS_HALF_LIFE_MS };

static struct vitals_look
look_at(const struct vitals *vitals, uint64_t now_ms)
{
	struct vitals_look look;

	vitals_look(vitals, now_ms, &look);
	return look;
}

START_TEST(test_a_model_nobody_has_asked_is_taken_to_be_well)
{
	struct vitals vitals = {0};
	struct vitals_look look = look_at(&vitals, NOW);

	ck_assert_double_eq(look.success, 1);
	ck_assert_double_eq(look.latency_ms, 0);
	ck_assert_double_eq(look.headroom, 1);
	ck_assert_uint_eq(look.in_flight, 0);
}
END_TEST

START_TEST(test_the_success_rate_is_that_of_late)
{
	struct vitals vitals = {0};

	for (unsigned i = 0; i < 100; i++)
		vitals_result(&vitals, i % 2 == 0, NOW);
	ck_assert_double_eq_tol(look_at(&vitals, NOW).success, 0.5, 0.01);
	/* After a half-life as many successes weigh twice as much. */
	for (unsigned i = 0; i < 50; i++)
		vitals_result(&vitals, true, NOW + HALF);
	ck_assert_double_eq_tol(look_at(&vitals, NOW + HALF).success, 0.75, 0.01);
	/* What is long ago is no reason to leave a model out. */
	ck_assert_double_gt(look_at(&vitals, NOW + 20 * HALF).success, 0.999);
}
END_TEST

START_TEST(test_the_latency_is_the_mean_of_late)
{
	struct vitals vitals = {0};

	vitals_latency(&vitals, 100, NOW);
	vitals_latency(&vitals, 300, NOW);
	ck_assert_double_eq_tol(look_at(&vitals, NOW).latency_ms, 200, 1e-9);
	vitals_latency(&vitals, 1000, NOW + HALF);
	ck_assert_double_eq_tol(look_at(&vitals, NOW + HALF).latency_ms, 600, 1e-9);
	/* In the end it is not known. */
	ck_assert_double_eq(look_at(&vitals, NOW + 20 * HALF).latency_ms, 0);
}
END_TEST

START_TEST(test_time_that_goes_back_changes_nothing)
{
	struct vitals vitals = {0};

	vitals_result(&vitals, false, NOW);
	vitals_result(&vitals, false, NOW - 5 * HALF);
	ck_assert_double_eq_tol(vitals.results, 2, 1e-9);
	ck_assert_double_eq_tol(look_at(&vitals, NOW - HALF).success, 0.2, 1e-9);
}
END_TEST

START_TEST(test_what_is_in_flight_is_counted)
{
	struct vitals vitals = {0};

	vitals_begin(&vitals);
	vitals_begin(&vitals);
	vitals_end(&vitals);
	ck_assert_uint_eq(look_at(&vitals, NOW).in_flight, 1);
}
END_TEST

START_TEST(test_the_time_until_a_reset_as_providers_write_it)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
	        {"1s", 1000},          {"6m0s", 360000},     {"20ms", 20},  {"0s", 0},
	        {"1h2m3.5s", 3723500}, {"2m59.56s", 179560}, {"12", 12000}, {"0.25", 250},
	        {"7.66s", 7660},       {"1d", 86400000},     {"500us", 1},  {"24h", 86400000},
	        {"1m1ms", 60001},
	};
	static const char *const bad[] = {"",
	                                  "s",
	                                  "1x",
	                                  "1s2",
	                                  "-1s",
	                                  "1 s",
	                                  "1..2s",
	                                  "25h",
	                                  "1e9",
	                                  "soon",
	                                  "2026-01-01T00:00:00Z"};
	uint64_t ms;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(vitals_reset_parse(good[i].text, &ms), "%s", good[i].text);
		ck_assert_uint_eq(ms, good[i].ms);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!vitals_reset_parse(bad[i], &ms), "%s", bad[i]);
}
END_TEST

START_TEST(test_a_limit_that_is_used_up_leaves_no_headroom_until_its_reset)
{
	struct vitals vitals = {0};

	vitals_quota_read(&vitals.requests, "60", "0", "2s", NOW);
	ck_assert_double_eq(look_at(&vitals, NOW).headroom, 0);
	ck_assert_double_eq(look_at(&vitals, NOW + 1999).headroom, 0);
	ck_assert_double_eq(look_at(&vitals, NOW + 2000).headroom, 1);
	vitals_quota_read(&vitals.requests, "60", "59", "1s", NOW);
	ck_assert_double_eq(look_at(&vitals, NOW).headroom, 1);
	vitals_quota_read(&vitals.tokens, "1000", "0", "6m0s", NOW);
	ck_assert_double_eq(look_at(&vitals, NOW + 359999).headroom, 0);
}
END_TEST

START_TEST(test_headroom_shrinks_in_the_last_tenth)
{
	struct vitals vitals = {0};

	vitals_quota_read(&vitals.tokens, "1000", "100", "1m", NOW);
	ck_assert_double_eq_tol(look_at(&vitals, NOW).headroom, 1, 1e-9);
	vitals_quota_read(&vitals.tokens, "1000", "25", "1m", NOW);
	ck_assert_double_eq_tol(look_at(&vitals, NOW).headroom, 0.25, 1e-9);
	/* Without its limit a number says only whether something is left. */
	vitals_quota_read(&vitals.tokens, NULL, "1", "1m", NOW);
	ck_assert_double_eq(look_at(&vitals, NOW).headroom, 1);
}
END_TEST

START_TEST(test_headers_that_say_nothing_change_nothing)
{
	struct vitals vitals = {0};

	vitals_quota_read(&vitals.requests, "60", "0", "1m", NOW);
	vitals_quota_read(&vitals.requests, NULL, NULL, NULL, NOW);
	vitals_quota_read(&vitals.requests, "60", "many", "1m", NOW);
	ck_assert_double_eq(look_at(&vitals, NOW).headroom, 0);
	/* Nothing left, and nobody says for how long: it is asked. */
	vitals_quota_read(&vitals.requests, "60", "0", NULL, NOW);
	ck_assert_double_eq(look_at(&vitals, NOW).headroom, 1);
	vitals_quota_read(&vitals.requests, "x", "0", "x", NOW);
	ck_assert_double_eq(look_at(&vitals, NOW).headroom, 1);
}
END_TEST

UNIT_MAIN("vitals", test_a_model_nobody_has_asked_is_taken_to_be_well,
          test_the_success_rate_is_that_of_late, test_the_latency_is_the_mean_of_late,
          test_time_that_goes_back_changes_nothing, test_what_is_in_flight_is_counted,
          test_the_time_until_a_reset_as_providers_write_it,
          test_a_limit_that_is_used_up_leaves_no_headroom_until_its_reset,
          test_headroom_shrinks_in_the_last_tenth, test_headers_that_say_nothing_change_nothing)
