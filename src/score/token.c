/*
 * Entropy from logprobs. The logarithm of a candidate's probability is given, so p·log2 p takes one
 * exp and no log.
 */
#include "score/token.h"

#include <math.h>

struct mass {
	double sum;      /* Σ p */
	double weighted; /* Σ p·ln p, at most 0 */
	double least;    /* ln of the smallest positive p, or INFINITY */
};

/* Adds a candidate; false when its logprob is none. */
static bool
mass_add(struct mass *m, double logprob)
{
	double p;

	if (!(logprob > TOKEN_LOGPROB_ZERO))
		return true;
	if (logprob > TOKEN_LOGPROB_SLACK)
		return false;
	if (logprob > 0)
		logprob = 0;
	p = exp(logprob);
	if (!(p > 0))
		return true;
	m->sum += p;
	m->weighted += p * logprob;
	if (logprob < m->least)
		m->least = logprob;
	return true;
}

double
token_entropy(const double *top, size_t count, double extra, enum entropy_tail tail)
{
	struct mass m = {.least = INFINITY};
	double least, rest, bits;

	for (size_t i = 0; i < count; i++) {
		if (!mass_add(&m, top[i]))
			return NAN;
	}
	if (!(m.sum > 0))
		return NAN;
	/*
	 * The tail is bounded by the least of the k candidates, not by the sampled token, which may be
	 * less likely still: it was drawn from the tail, and what remains there is not in the top k
	 * either, hence no likelier than their least, but may well be likelier than the one drawn.
	 */
	least = m.least;
	if (!mass_add(&m, extra))
		return NAN;
	if (tail == ENTROPY_TAIL_RENORMALISE) {
		/* −Σ (p/S)·ln(p/S) = ln S − (Σ p·ln p)/S */
		bits = (log(m.sum) - m.weighted / m.sum) * M_LOG2E;
	} else {
		rest = m.sum < 1 ? 1 - m.sum : 0;
		bits = -(m.weighted + rest * least) * M_LOG2E;
	}
	return bits > 0 ? bits : 0;
}
