/*
 * What a model "thinks" about its next token: a probability for each of SIM_CANDIDATES tokens, with
 * a wanted entropy.
 *
 * It is a geometric law cut off after the last candidate, p(rank) ∝ exp(-decay · rank). Its entropy
 * falls strictly from log2(SIM_CANDIDATES) to 0 as the decay grows, and has a closed form, so the decay
 * is found by bisection and nothing is summed. Everything a frame needs is rendered once.
 *
 * A set of them belongs to one thread, which makes those that are asked for and keeps them.
 */
#ifndef SIMULATOR_DISTRIBUTION_H
#define SIMULATOR_DISTRIBUTION_H

#include <stdint.h>

#include "base/bytes.h"

enum { SIM_CANDIDATES = 200, SIM_TOP_MAX = 20 };

/* Entropies above this are taken for it (log2 of SIM_CANDIDATES is 7.64). */
#define SIM_ENTROPY_MAX 7.0

/* OpenAI's word for "no probability to speak of". */
#define SIM_LOGPROB_NONE (-9999.0)

struct sim_number {
	char text[23]; /* not terminated */
	uint8_t n;
};

struct sim_distribution {
	double bits;                        /* its entropy */
	double decay;                       /* natural log of the ratio of neighbours */
	double first;                       /* natural log of the probability of rank 0 */
	struct sim_number top[SIM_TOP_MAX]; /* JSON text of the logprobs of the first ranks */
};

/* bits: clamped to 0 … SIM_ENTROPY_MAX. */
void sim_distribution_init(struct sim_distribution *d, double bits);

/* Natural log of the probability of a rank below SIM_CANDIDATES; SIM_LOGPROB_NONE below e^-100. */
double sim_distribution_logprob(const struct sim_distribution *d, unsigned rank);

/* The JSON text of that, rounded down to eight decimals, so that probabilities never sum above 1. */
struct sim_number sim_distribution_number(const struct sim_distribution *d, unsigned rank);

/* Draws a rank; unit: uniform in [0, 1). */
unsigned sim_distribution_draw(const struct sim_distribution *d, double unit);

struct sim_distribution_set;

struct sim_distribution_set *sim_distribution_set_new(void);
void sim_distribution_set_free(struct sim_distribution_set *set);

/* The distribution whose entropy is `bits` to the nearest 1/1000; valid as long as the set. */
const struct sim_distribution *sim_distribution_set_get(struct sim_distribution_set *set,
                                                        double bits);

#endif
