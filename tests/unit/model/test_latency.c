#include "model/latency.h"

#include <math.h>

#include "unit.h"

enum { NOW = 1000000 };

static double
quantile(struct latency *latency, double q, uint64_t now_ms)
{
	double ms = -1;

	ck_assert(latency_quantile(latency, q, now_ms, &ms));
	return ms;
}

/* Within the width of a bucket. */
static void
assert_near(double got_ms, double wanted_ms)
{
	ck_assert_msg(fabs(got_ms - wanted_ms) <= 0.07 + wanted_ms / 32, "%g is not near %g",
	              got_ms, wanted_ms);
}

START_TEST(test_an_empty_one_has_no_quantiles)
{
	struct latency latency = {0};
	double ms;

	ck_assert(!latency_quantile(&latency, 0.5, NOW, &ms));
}
END_TEST

START_TEST(test_a_single_time_is_every_quantile)
{
	static const uint64_t times_us[] = {0, 1, 127, 128, 2047, 2048, 5000, 123456, 60000000};

	for (size_t i = 0; i < sizeof(times_us) / sizeof(times_us[0]); i++) {
		struct latency latency = {0};

		latency_note(&latency, times_us[i], NOW);
		assert_near(quantile(&latency, 0.0, NOW), (double)times_us[i] / 1000);
		assert_near(quantile(&latency, 0.5, NOW), (double)times_us[i] / 1000);
		assert_near(quantile(&latency, 1.0, NOW), (double)times_us[i] / 1000);
	}
}
END_TEST

START_TEST(test_absurd_times_are_in_the_last_bucket)
{
	struct latency latency = {0};

	latency_note(&latency, UINT64_MAX, NOW);
	ck_assert(quantile(&latency, 0.5, NOW) > 3600e3);
}
END_TEST

START_TEST(test_quantiles_of_a_uniform_distribution)
{
	struct latency latency = {0};

	for (uint64_t ms = 1; ms <= 1000; ms++)
		latency_note(&latency, ms * 1000, NOW);
	assert_near(quantile(&latency, 0.50, NOW), 500);
	assert_near(quantile(&latency, 0.90, NOW), 900);
	assert_near(quantile(&latency, 0.99, NOW), 990);
}
END_TEST

START_TEST(test_a_longer_time_is_never_in_a_lower_bucket)
{
	double before = 0;

	for (uint64_t us = 0; us < 4000000000; us += us / 50 + 1) {
		struct latency latency = {0};
		double ms;

		latency_note(&latency, us, NOW);
		ms = quantile(&latency, 0.5, NOW);
		ck_assert(ms >= before);
		before = ms;
	}
}
END_TEST

START_TEST(test_what_is_old_fades)
{
	struct latency latency = {0};

	for (int i = 0; i < 100; i++)
		latency_note(&latency, 1000000, NOW);
	/* After two half-lives a hundred old ones weigh as much as 25 new ones. */
	for (int i = 0; i < 24; i++)
		latency_note(&latency, 10000, NOW + 2 * LATENCY_HALF_LIFE_MS);
	assert_near(quantile(&latency, 0.5, NOW + 2 * LATENCY_HALF_LIFE_MS), 1000);
	for (int i = 0; i < 2; i++)
		latency_note(&latency, 10000, NOW + 2 * LATENCY_HALF_LIFE_MS);
	assert_near(quantile(&latency, 0.5, NOW + 2 * LATENCY_HALF_LIFE_MS), 10);
}
END_TEST

START_TEST(test_what_is_very_old_is_forgotten)
{
	struct latency latency = {0};
	double ms;

	latency_note(&latency, 1000, NOW);
	ck_assert(latency_quantile(&latency, 0.5, NOW + LATENCY_HALF_LIFE_MS / 2, &ms));
	ck_assert(!latency_quantile(&latency, 0.5, NOW + 2 * LATENCY_HALF_LIFE_MS, &ms));
	latency_note(&latency, 1000, NOW + 2 * LATENCY_HALF_LIFE_MS);
	assert_near(quantile(&latency, 0.5, NOW + 2 * LATENCY_HALF_LIFE_MS), 1);
}
END_TEST

UNIT_MAIN("latency", test_an_empty_one_has_no_quantiles, test_a_single_time_is_every_quantile,
          test_absurd_times_are_in_the_last_bucket, test_quantiles_of_a_uniform_distribution,
          test_a_longer_time_is_never_in_a_lower_bucket, test_what_is_old_fades,
          test_what_is_very_old_is_forgotten)
