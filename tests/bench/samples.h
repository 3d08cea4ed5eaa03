/* Times in microseconds, kept one by one, and their percentiles as JSON. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>

struct samples {
	double *list; /* owned */
	size_t count, room;
};

void samples_add(struct samples *samples, double us);

/* Sorts them and prints `"name": {"count": …, "p50": …, …}`. */
void samples_print(struct samples *samples, const char *name);

void samples_free(struct samples *samples);

#endif
