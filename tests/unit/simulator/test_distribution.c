#include "simulator/distribution.h"

#include <math.h>

#include "simulator/mix.h"
#include "unit.h"

static double
probability(const struct sim_distribution *d, unsigned rank)
{
	double logprob = sim_distribution_logprob(d, rank);

	return logprob <= SIM_LOGPROB_NONE ? 0 : exp(logprob);
}

static double
entropy(const struct sim_distribution *d)
{
	double bits = 0;

	for (unsigned rank = 0; rank < SIM_CANDIDATES; rank++) {
		double p = probability(d, rank);

		bits -= p > 0 ? p * log2(p) : 0;
	}
	return bits;
}

START_TEST(test_the_entropy_is_the_wanted_one)
{
	for (int step = 0; step <= 7000; step += 7) {
		struct sim_distribution d;
		double wanted = step / 1000.0, sum = 0;

		sim_distribution_init(&d, wanted);
		ck_assert_double_eq_tol(entropy(&d), wanted, 1e-6);
		for (unsigned rank = 0; rank < SIM_CANDIDATES; rank++)
			sum += probability(&d, rank);
		ck_assert_double_eq_tol(sum, 1, 1e-9);
	}
}
END_TEST

START_TEST(test_an_entropy_out_of_range_is_clamped)
{
	struct sim_distribution d;

	sim_distribution_init(&d, -1);
	ck_assert_double_eq_tol(entropy(&d), 0, 1e-9);
	sim_distribution_init(&d, 99);
	ck_assert_double_eq_tol(entropy(&d), SIM_ENTROPY_MAX, 1e-6);
}
END_TEST

START_TEST(test_printed_probabilities_fall_and_never_sum_above_one)
{
	for (int step = 0; step <= 7000; step += 50) {
		struct sim_distribution d;
		double sum = 0, before = 0;

		sim_distribution_init(&d, step / 1000.0);
		for (unsigned rank = 0; rank < SIM_TOP_MAX; rank++) {
			double logprob;

			ck_assert(bytes_to_double((struct bytes){d.top[rank].text, d.top[rank].n},
			                          &logprob));
			ck_assert_double_le(logprob, before);
			ck_assert_double_eq_tol(logprob, sim_distribution_logprob(&d, rank),
			                        1.1e-8);
			before = logprob;
			sum += exp(logprob);
		}
		ck_assert_msg(sum <= 1, "%.17g at %d", sum, step);
	}
}
END_TEST

START_TEST(test_no_entropy_at_all_is_one_certain_token)
{
	struct sim_distribution d;

	sim_distribution_init(&d, 0);
	ck_assert(bytes_is((struct bytes){d.top[0].text, d.top[0].n}, "0.00000000"));
	ck_assert(bytes_is((struct bytes){d.top[1].text, d.top[1].n}, "-9999.00000000"));
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(sim_distribution_draw(&d, sim_unit(sim_mix(i))), 0);
}
END_TEST

START_TEST(test_ranks_are_drawn_as_often_as_they_are_likely)
{
	static const double bits[] = {0.3, 1, 3.5, 7};
	enum { DRAWS = 200000 };

	for (size_t k = 0; k < sizeof(bits) / sizeof(bits[0]); k++) {
		unsigned seen[SIM_CANDIDATES] = {0};
		struct sim_distribution d;

		sim_distribution_init(&d, bits[k]);
		for (uint64_t i = 0; i < DRAWS; i++)
			seen[sim_distribution_draw(&d, sim_unit(sim_mix(i)))]++;
		for (unsigned rank = 0; rank < SIM_CANDIDATES; rank++) {
			double share = (double)seen[rank] / DRAWS;

			ck_assert_double_eq_tol(share, probability(&d, rank), 0.005);
		}
	}
}
END_TEST

START_TEST(test_a_draw_stays_among_the_candidates)
{
	for (int step = 0; step <= 70; step++) {
		struct sim_distribution d;

		sim_distribution_init(&d, step / 10.0);
		ck_assert_uint_eq(sim_distribution_draw(&d, 0), 0);
		ck_assert_uint_lt(sim_distribution_draw(&d, nextafter(1, 0)), SIM_CANDIDATES);
	}
}
END_TEST

START_TEST(test_the_set_makes_each_distribution_once)
{
	struct sim_distribution_set *set = sim_distribution_set_new();
	const struct sim_distribution *d = sim_distribution_set_get(set, 1.2344);

	ck_assert_ptr_eq(d, sim_distribution_set_get(set, 1.23399));
	ck_assert_double_eq_tol(entropy(d), 1.234, 1e-6);
	ck_assert_ptr_ne(d, sim_distribution_set_get(set, 1.235));
	ck_assert_ptr_eq(sim_distribution_set_get(set, 7), sim_distribution_set_get(set, 50));
	ck_assert_ptr_eq(sim_distribution_set_get(set, 0), sim_distribution_set_get(set, -5));
	sim_distribution_set_free(set);
	sim_distribution_set_free(NULL);
}
END_TEST

UNIT_MAIN("distribution", test_the_entropy_is_the_wanted_one,
          test_an_entropy_out_of_range_is_clamped,
          test_printed_probabilities_fall_and_never_sum_above_one,
          test_no_entropy_at_all_is_one_certain_token,
          test_ranks_are_drawn_as_often_as_they_are_likely, test_a_draw_stays_among_the_candidates,
          test_the_set_makes_each_distribution_once)
