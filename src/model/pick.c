#include "model/pick.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	PICK_LATENCY_SLACK_MS = 50, /* so much slower is as fast */
	PICK_LOAD_SLACK = 8,        /* so many more in flight are as few */
};

static const double least_part = 0.01; /* of its weight that every model keeps */

struct picker {
	pthread_mutex_t lock;
	size_t count;
	double gained[PICK_MODELS_MAX]; /* guarded by the lock */
};

/* What is best among those that may be asked. */
struct pick_best {
	double latency_ms; /* 0: of none it is known */
	double load;       /* in flight for each part of the weight */
};

static double
load_of(const struct pick_model *model)
{
	return (double)model->look.in_flight / model->weight;
}

static bool
is_out(const struct pick_model *model)
{
	return model->out || model->look.headroom <= 0;
}

static struct pick_best
best_of(const struct pick_model *models, size_t count)
{
	struct pick_best best = {.load = INFINITY};

	for (size_t i = 0; i < count; i++) {
		double latency_ms = models[i].look.latency_ms;

		if (is_out(&models[i]))
			continue;
		if (latency_ms > 0 && (best.latency_ms <= 0 || latency_ms < best.latency_ms))
			best.latency_ms = latency_ms;
		best.load = fmin(best.load, load_of(&models[i]));
	}
	return best;
}

/* How fit a model is to be asked, from 0 to 1. The sixth power: who fails half the time gets a sixty-fourth. */
static double
fitness(const struct pick_model *model, const struct pick_best *best)
{
	double part = pow(model->look.success, 6) * model->look.headroom;
	double slow_ms = 2 * best->latency_ms + PICK_LATENCY_SLACK_MS;
	double crowded = 2 * best->load + PICK_LOAD_SLACK;

	if (best->latency_ms > 0 && model->look.latency_ms > slow_ms)
		part *= slow_ms / model->look.latency_ms;
	if (load_of(model) > crowded)
		part *= crowded / load_of(model);
	return fmax(part, least_part);
}

void
pick_weigh(const struct pick_model *models, size_t count, bool healthy, double *weights)
{
	struct pick_best best = best_of(models, count);

	for (size_t i = 0; i < count; i++) {
		weights[i] = is_out(&models[i]) ? 0 : models[i].weight;
		if (healthy && weights[i] > 0)
			weights[i] *= fitness(&models[i], &best);
	}
}

size_t
pick_next(double *gained, const double *weights, size_t count)
{
	double total = 0;
	size_t most = count;

	for (size_t i = 0; i < count; i++) {
		if (weights[i] <= 0)
			continue;
		gained[i] += weights[i];
		total += weights[i];
		if (most == count || gained[i] > gained[most])
			most = i;
	}
	if (most < count)
		gained[most] -= total;
	return most;
}

struct picker *
picker_new(size_t count)
{
	struct picker *picker = mem_new(sizeof(*picker));

	pthread_mutex_init(&picker->lock, NULL);
	picker->count = count;
	return picker;
}

void
picker_free(struct picker *picker)
{
	if (!picker)
		return;
	pthread_mutex_destroy(&picker->lock);
	free(picker);
}

void
picker_order(struct picker *picker, const double *weights, bool peek, size_t *order)
{
	size_t count = picker->count, n = 0, next;
	double gained[PICK_MODELS_MAX], left[PICK_MODELS_MAX];

	memcpy(left, weights, count * sizeof(*left));
	pthread_mutex_lock(&picker->lock);
	memcpy(gained, picker->gained, count * sizeof(*gained));
	next = pick_next(gained, left, count);
	if (!peek)
		memcpy(picker->gained, gained, count * sizeof(*gained));
	pthread_mutex_unlock(&picker->lock);
	while (next < count) {
		order[n++] = next;
		left[next] = 0;
		next = pick_next(gained, left, count);
	}
	for (size_t i = 0; i < count; i++) {
		if (weights[i] <= 0)
			order[n++] = i;
	}
}
