/*
 * Which model of a pool is asked next: smooth weighted round robin, as nginx has it. Each turn every model
 * gains its weight, and the one that has gained most is asked and pays what all have gained. So models of equal
 * weight take turns exactly, and one of weight 5 beside one of weight 1 is not asked five times in a row.
 *
 * pick_weigh and pick_next are pure. A picker is the state of one pool, shared by all workers: it has a lock of
 * its own, held for a few instructions for each model.
 */
#ifndef MODEL_PICK_H
#define MODEL_PICK_H

#include <stdbool.h>
#include <stddef.h>

#include "model/vitals.h"

enum { PICK_MODELS_MAX = 64 };

struct pick_model {
	unsigned weight; /* as configured; at least 1 */
	bool out;        /* its breaker is open, or its provider is busy */
	struct vitals_look look;
};

/*
 * The effective weights. 0: not to be asked now, which is what is out or has used up a rate limit. With `healthy`
 * the weight is what was configured times how often it succeeds, how soon it answers, and what is free of it;
 * differences that may be chance count for nothing, so that equal models stay equal. Never below a hundredth of
 * the weight: only who is asked now and then can show that it has healed.
 */
void pick_weigh(const struct pick_model *models, size_t count, bool healthy, double *weights);

/* One turn. The index of the one to ask, or count when all weights are 0. */
size_t pick_next(double *gained, const double *weights, size_t count);

struct picker;
struct picker *picker_new(size_t count); /* at most PICK_MODELS_MAX */
void picker_free(struct picker *picker);
/* Takes one turn, and writes the indices of all in the order to ask them in: whose turn it is, then whose turns would
 * come next, then those of weight 0 in their order. `peek`: the turn is only looked at, not taken. */
void picker_order(struct picker *picker, const double *weights, bool peek, size_t *order);

#endif
