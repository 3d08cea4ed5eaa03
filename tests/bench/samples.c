#include "samples.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM_FIRST = 4096 };

void
samples_add(struct samples *samples, double us)
{
	if (samples->count == samples->room) {
		samples->room = samples->room > 0 ? samples->room * 2 : ROOM_FIRST;
		samples->list = realloc(samples->list, samples->room * sizeof(*samples->list));
		if (!samples->list) {
			fputs("load: out of memory\n", stderr);
			abort();
		}
	}
	samples->list[samples->count++] = us;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The smallest that at least this part of them does not exceed. */
static double
percentile(const struct samples *samples, double part)
{
	size_t rank = (size_t)ceil(part * (double)samples->count);

	return samples->count > 0 ? samples->list[rank > 0 ? rank - 1 : 0] : 0;
}

void
samples_print(struct samples *samples, const char *name)
{
	if (samples->count > 0)
		qsort(samples->list, samples->count, sizeof(*samples->list), compare);
	printf("\"%s\": {\"count\": %zu, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": "
	       "%.3f}",
	       name, samples->count, percentile(samples, 0.5), percentile(samples, 0.9),
	       percentile(samples, 0.99), percentile(samples, 1));
}

void
samples_free(struct samples *samples)
{
	free(samples->list);
	*samples = (struct samples){0};
}
