#include "score/token.h"

#include <math.h>
#include <stdint.h>

#include "unit.h"

/* A zero in `top` ends it; a negative number is the logprob itself, for what no probability gives. */
static const struct {
	const char *what;
	double top[6];
	double extra; /* 0: none */
	double bound, renormalise;
} known[] = {
        {"one of five alike", {.2, .2, .2, .2, .2}, 0, 2.321928094887, 2.321928094887},
        {"five alike of a flat thousand",
         {.001, .001, .001, .001, .001},
         0,
         9.965784284662,
         2.321928094887},
        {"sure", {1}, 0, 0, 0},
        {"a coin", {.5, .5}, 0, 1, 1},
        {"half a coin", {.5}, 0, 1, 0},
        /* 0.95 + 0.03 + 0.02 = 1: no tail. */
        {"nearly sure", {.95, .03, .02}, 0, 0.334944486839, 0.334944486839},
        /* −.9·log2 .9 − .05·log2 .05 + .05·log2 20 */
        {"a tail", {.9, .05}, 0, 0.568995593589, 0.297472248919},
        {"a candidate that is not possible", {.9, .05, -9999}, 0, 0.568995593589, 0.297472248919},
        {"a candidate further below", {.9, .05, -20000}, 0, 0.568995593589, 0.297472248919},
        {"a candidate at -inf", {.9, .05, -INFINITY}, 0, 0.568995593589, 0.297472248919},
        {"a candidate without a logprob", {.9, NAN, .05}, 0, 0.568995593589, 0.297472248919},
        {"a candidate too unlikely for a double",
         {.9, .05, -9000},
         0,
         0.568995593589,
         0.297472248919},
        /* The tail of .04 counts with the .05 that bounds it, not with the .01 drawn from it. */
        {"the sampled token not among them", {.9, .05}, .01, 0.592214874538, 0.377916467970},
        {"the sampled token impossible", {.9, .05}, -9999, 0.568995593589, 0.297472248919},
        /* Sums above 1 have no tail, not a negative one. */
        {"too much", {.6, .6}, 0, 0.884358712999, 1},
};

static size_t
logprobs(const double *p, double *top)
{
	size_t n = 0;

	for (; n < 6 && p[n] != 0; n++)
		top[n] = p[n] > 0 ? log(p[n]) : p[n];
	return n;
}

START_TEST(test_known_distributions_have_their_known_entropy)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		double top[6], extra = known[i].extra, got;
		size_t n = logprobs(known[i].top, top);

		extra = extra > 0 ? log(extra) : extra < 0 ? extra : NAN;
		got = token_entropy(top, n, extra, ENTROPY_TAIL_BOUND);
		ck_assert_msg(fabs(got - known[i].bound) < 1e-11, "%s: bound %.12f, not %.12f",
		              known[i].what, got, known[i].bound);
		got = token_entropy(top, n, extra, ENTROPY_TAIL_RENORMALISE);
		ck_assert_msg(fabs(got - known[i].renormalise) < 1e-11,
		              "%s: renormalise %.12f, not %.12f", known[i].what, got,
		              known[i].renormalise);
	}
}
END_TEST

START_TEST(test_a_token_without_a_possible_candidate_is_unscorable)
{
	static const double zeros[] = {-9999, -INFINITY, NAN, -1e300, -1000};

	for (enum entropy_tail tail = ENTROPY_TAIL_BOUND; tail <= ENTROPY_TAIL_RENORMALISE;
	     tail++) {
		ck_assert(isnan(token_entropy(NULL, 0, NAN, tail)));
		ck_assert(isnan(token_entropy(NULL, 0, -0.1, tail)));
		ck_assert(isnan(token_entropy(zeros, 5, NAN, tail)));
		ck_assert(isnan(token_entropy(zeros, 5, -0.1, tail)));
	}
}
END_TEST

START_TEST(test_what_is_no_logarithm_of_a_probability_is_unscorable)
{
	for (enum entropy_tail tail = ENTROPY_TAIL_BOUND; tail <= ENTROPY_TAIL_RENORMALISE;
	     tail++) {
		ck_assert(isnan(token_entropy((double[]){-0.1, 3}, 2, NAN, tail)));
		ck_assert(isnan(token_entropy((double[]){INFINITY}, 1, NAN, tail)));
		ck_assert(isnan(token_entropy((double[]){-0.1}, 1, 2, tail)));
	}
}
END_TEST

START_TEST(test_a_logprob_rounded_to_above_zero_is_certain)
{
	for (enum entropy_tail tail = ENTROPY_TAIL_BOUND; tail <= ENTROPY_TAIL_RENORMALISE; tail++)
		ck_assert_double_eq(token_entropy((double[]){1e-6}, 1, NAN, tail), 0);
	ck_assert_double_eq(token_entropy((double[]){-0.0}, 1, NAN, ENTROPY_TAIL_BOUND), 0);
}
END_TEST

static uint64_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static double
random_unit(uint64_t *state)
{
	return ((double)(random_next(state) >> 11) + 0.5) * 0x1p-53;
}

/* A distribution over `n` outcomes, sorted from the likeliest down; returns its entropy. */
static double
random_distribution(double *p, size_t n, uint64_t *state)
{
	double sum = 0, bits = 0, power = 1 + 30 * random_unit(state);

	for (size_t i = 0; i < n; i++) {
		p[i] = pow(random_unit(state), power);
		for (size_t k = i; k > 0 && p[k] > p[k - 1]; k--) {
			double swap = p[k];

			p[k] = p[k - 1];
			p[k - 1] = swap;
		}
	}
	for (size_t i = 0; i < n; i++)
		sum += p[i];
	for (size_t i = 0; i < n; i++) {
		p[i] /= sum;
		bits -= p[i] > 0 ? p[i] * log2(p[i]) : 0;
	}
	return bits;
}

START_TEST(test_the_bound_is_never_above_the_true_entropy_nor_below_zero)
{
	uint64_t state = 20240607;
	double p[60], top[20], best_gap = 1;

	for (int round = 0; round < 200000; round++) {
		size_t n = 2 + random_next(&state) % 59;
		size_t k = 1 + random_next(&state) % (n < 20 ? n : 20);
		size_t sampled = random_next(&state) % n;
		double truth = random_distribution(p, n, &state), extra = NAN, got;

		for (size_t i = 0; i < k; i++)
			top[i] = log(p[i]);
		if (sampled >= k)
			extra = log(p[sampled]);
		got = token_entropy(top, k, extra, ENTROPY_TAIL_BOUND);
		ck_assert_double_ge(got, 0);
		ck_assert_double_le(got, truth + 1e-9);
		if (k == n)
			ck_assert_double_ge(got, truth - 1e-9);
		if (truth - got < best_gap && k < n)
			best_gap = truth - got;
		got = token_entropy(top, k, extra, ENTROPY_TAIL_RENORMALISE);
		ck_assert_double_ge(got, 0);
		ck_assert_double_le(got, log2((double)k + 1) + 1e-9);
	}
	/* And it is not idle either: some are met nearly. */
	ck_assert_double_lt(best_gap, 1e-6);
}
END_TEST

UNIT_MAIN("token", test_known_distributions_have_their_known_entropy,
          test_a_token_without_a_possible_candidate_is_unscorable,
          test_what_is_no_logarithm_of_a_probability_is_unscorable,
          test_a_logprob_rounded_to_above_zero_is_certain,
          test_the_bound_is_never_above_the_true_entropy_nor_below_zero)
