/*
 * How long a model took lately to begin its answers: a histogram whose counts fade with time, for quantiles. Pure: the
 * caller brings the time.
 *
 * Sixteen buckets to each doubling, from 128 µs to over an hour, so that a quantile is off by at most 1/32. What was
 * noted counts half after LATENCY_HALF_LIFE_MS; what is worth less than half a request is forgotten.
 *
 * Plain data, embedded; whoever shares one brings the lock. All zero is an empty one.
 */
#ifndef MODEL_LATENCY_H
#define MODEL_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

enum { LATENCY_BUCKETS = 368, LATENCY_HALF_LIFE_MS = 5 * 60 * 1000 };

struct latency {
	float counts[LATENCY_BUCKETS];
	double total;
	uint64_t faded_ms; /* the counts are as of then */
};

void latency_note(struct latency *latency, uint64_t took_us, uint64_t now_ms);

/* The quantile q (0 to 1) in milliseconds. False: nothing was noted lately. */
bool latency_quantile(struct latency *latency, double q, uint64_t now_ms, double *ms);

#endif
