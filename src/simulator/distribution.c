#include "simulator/distribution.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { STEPS_PER_BIT = 1000, STEPS = 7 * STEPS_PER_BIT + 1 };

struct sim_distribution_set {
	struct sim_distribution *at[STEPS]; /* owned; NULL until asked for */
};

/*
 * With q = exp(-t) and V candidates, p(i) = q^i · (1-q)/(1-q^V), so that
 * H = ln((1-q^V)/(1-q)) + t · E[i], E[i] = 1/(e^t - 1) - V/(e^(tV) - 1).
 */
static double
entropy_of_decay(double t)
{
	double mass = expm1(-t * SIM_CANDIDATES) / expm1(-t);
	double mean = 1 / expm1(t) - SIM_CANDIDATES / expm1(t * SIM_CANDIDATES);

	return (log(mass) + t * mean) / M_LN2;
}

void
sim_distribution_init(struct sim_distribution *d, double bits)
{
	double low = 1e-4, high = 700; /* more than SIM_ENTROPY_MAX, less than a millionth */

	*d = (struct sim_distribution){.bits = fmin(fmax(bits, 0), SIM_ENTROPY_MAX)};
	for (int i = 0; i < 100; i++) {
		double middle = (low + high) / 2;

		if (entropy_of_decay(middle) > d->bits)
			low = middle;
		else
			high = middle;
	}
	d->decay = high;
	d->first = log(expm1(-high) / expm1(-high * SIM_CANDIDATES));
	for (unsigned rank = 0; rank < SIM_TOP_MAX; rank++)
		d->top[rank] = sim_distribution_number(d, rank);
}

double
sim_distribution_logprob(const struct sim_distribution *d, unsigned rank)
{
	double logprob = d->first - d->decay * rank;

	return logprob < -100 ? SIM_LOGPROB_NONE : logprob;
}

struct sim_number
sim_distribution_number(const struct sim_distribution *d, unsigned rank)
{
	double logprob = floor(sim_distribution_logprob(d, rank) * 1e8) / 1e8;
	char text[64];
	struct sim_number number;
	int n;

	/* The second term keeps a minus away from zero. */
	n = snprintf(text, sizeof(text), "%.8f", logprob >= 0 ? 0.0 : logprob);
	if (n < 0 || (size_t)n > sizeof(number.text))
		die("a log probability of %d digits", n);
	number.n = (uint8_t)n;
	memcpy(number.text, text, (size_t)n);
	return number;
}

/* The inverse of the cumulated law: 1 - q^(rank+1) = unit · (1 - q^V). */
unsigned
sim_distribution_draw(const struct sim_distribution *d, double unit)
{
	double rank = -log1p(unit * expm1(-d->decay * SIM_CANDIDATES)) / d->decay;

	return rank >= SIM_CANDIDATES - 1 ? SIM_CANDIDATES - 1 : (unsigned)rank;
}

struct sim_distribution_set *
sim_distribution_set_new(void)
{
	return mem_new(sizeof(struct sim_distribution_set));
}

void
sim_distribution_set_free(struct sim_distribution_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < STEPS; i++)
		free(set->at[i]);
	free(set);
}

const struct sim_distribution *
sim_distribution_set_get(struct sim_distribution_set *set, double bits)
{
	size_t step = (size_t)lround(fmin(fmax(bits, 0), SIM_ENTROPY_MAX) * STEPS_PER_BIT);

	if (!set->at[step]) {
		set->at[step] = mem_new(sizeof(*set->at[step]));
		sim_distribution_init(set->at[step], (double)step / STEPS_PER_BIT);
	}
	return set->at[step];
}
