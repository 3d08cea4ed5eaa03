/*
 * How a model has done lately: averages that decay with time, so that what was long ago counts for little
 * however few requests came since, and a model that has healed is soon known to have. And what its provider
 * says is left of its rate limits. Pure: the caller brings the time.
 *
 * Plain data, embedded in struct health, which brings the lock.
 */
#ifndef MODEL_VITALS_H
#define MODEL_VITALS_H

#include <stdbool.h>
#include <stdint.h>

enum { VITALS_HALF_LIFE_MS = 10000 };

/* One rate limit, as the last answer told it. */
struct vitals_quota {
	bool known;
	uint64_t limit; /* 0: not told */
	uint64_t remaining;
	uint64_t reset_ms; /* monotonic: when it is whole again; 0: not told */
};

struct vitals {
	double successes, results; /* decayed counts */
	double latency_sum,
	        latencies; /* likewise: of milliseconds to the first byte, and how many */
	uint64_t at_ms;    /* when they were decayed last */
	unsigned in_flight;
	struct vitals_quota requests, tokens;
};

/* What a choice among models is made by. */
struct vitals_look {
	double success;    /* 0 to 1; 1 when nothing is known */
	double latency_ms; /* 0: not known */
	double headroom; /* of the rate limits, 0 to 1; 1 when nothing is known, 0 when one is used up */
	unsigned in_flight;
};

void vitals_begin(struct vitals *vitals);
void vitals_end(struct vitals *vitals);
void vitals_result(struct vitals *vitals, bool success, uint64_t now_ms);
void vitals_latency(struct vitals *vitals, uint64_t latency_ms, uint64_t now_ms);

/* The time until a reset as providers write it: `1s`, `6m0s`, `20ms`, `1h2m3.5s`; a bare number is seconds. False
 * when it is none of these, or more than a day. */
bool vitals_reset_parse(const char *text, uint64_t *out_ms);
/* Takes one limit from the values of an answer's headers; NULL: no such header. Without a number that says what
 * remains, what was known stays. */
void vitals_quota_read(struct vitals_quota *quota, const char *limit, const char *remaining,
                       const char *reset, uint64_t now_ms);

void vitals_look(const struct vitals *vitals, uint64_t now_ms, struct vitals_look *look);

#endif
