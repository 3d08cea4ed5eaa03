/*
 * What all workers know of one model's health, and how many requests a provider has in flight. Passive:
 * only the results of requests change it, nothing polls. Reference-counted, so that it outlives reloads;
 * any thread: a health has a lock of its own, held for no more than a few instructions.
 */
#ifndef MODEL_HEALTH_H
#define MODEL_HEALTH_H

#include "model/breaker.h"
#include "model/latency.h"
#include "model/vitals.h"

/* A counter of things in flight, with a limit that its user brings. Reference-counted, atomic. */
struct load;
struct load *load_new(void);
struct load *load_ref(struct load *load);
void load_unref(struct load *load); /* NULL is allowed */
/* Counts one more, unless there are `limit` already (0: no limit). */
bool load_enter(struct load *load, unsigned limit);
void load_leave(struct load *load);
unsigned load_count(const struct load *load);

struct health;
struct health *health_new(const struct breaker_options *options);
struct health *health_ref(struct health *health);
void health_unref(struct health *health); /* NULL is allowed */
void health_configure(struct health *health, const struct breaker_options *options);

/* The leave to make one request; given back exactly once by permit_return. Plain data. */
struct permit {
	struct health *health; /* one reference; NULL: no permit */
	struct load *load;     /* one reference: the provider's */
	bool probe, panic;
};

enum health_answer { HEALTH_ADMITTED, HEALTH_OPEN, HEALTH_BUSY };

/* May a request go to this model now? `limit`: the provider's requests at a time, 0: none. `panic`: do
 * not ask the breaker. HEALTH_BUSY leaves the breaker as it was. */
enum health_answer health_admit(struct health *health, struct load *load, unsigned limit,
                                bool panic, uint64_t now_ms, struct permit *permit);

enum health_result { HEALTH_SUCCESS, HEALTH_FAILURE, HEALTH_NEUTRAL };

/* Gives the permit back and empties it. True when the breaker's state changed by this: then *state is
 * the new one, and *old the one before; both untouched otherwise. An empty permit: nothing, false. */
bool permit_return(struct permit *permit, enum health_result result, uint64_t now_ms,
                   enum breaker_state *old, enum breaker_state *state);

enum breaker_state health_state(struct health *health, uint64_t now_ms);
/* How it has done lately. False: a request would be refused now, by an open breaker or since a probe is out. */
bool health_look(struct health *health, uint64_t now_ms, struct vitals_look *look);

/* What an answer's x-ratelimit-* headers say; NULL: no such header. */
struct health_limit {
	const char *limit, *remaining, *reset;
};
void health_note_limits(struct health *health, const struct health_limit *requests,
                        const struct health_limit *tokens, uint64_t now_ms);
/* The first byte of an answer came so long after it was asked for. */
void health_note_first_byte(struct health *health, uint64_t took_us, uint64_t now_ms);
/* A request failed, and it is the model's failure. detail: a short text without secrets; copied, cut if need be. */
void health_note_failure(struct health *health, const char *detail, uint64_t now_ms);

enum { HEALTH_DETAIL_MAX = 256, HEALTH_QUANTILES = 3 };

/* What is known, for people. */
struct health_report {
	enum breaker_state state;
	bool probing; /* a probe is out: nothing else is let through */
	uint64_t open_ms,
	        due_ms;     /* not closed for so long; half-open in; 0: it is closed, or not open */
	unsigned in_flight; /* permits that are out */
	uint64_t requests, failures;    /* ended, and those of them that count against it */
	char detail[HEALTH_DETAIL_MAX]; /* of the last failure; empty: none yet */
	uint64_t failed_ms;             /* so long ago */
	bool has_latency;
	double latency_ms[HEALTH_QUANTILES]; /* to the first byte: the median, p90 and p99 */
};
void health_report(struct health *health, uint64_t now_ms, struct health_report *report);

/* What the gauge of the breaker's state is to be changed by so that it shows it: 0 closed, 1 a probe under
 * way, 2 open, or half-open and waiting for a probe. What all callers were told adds up to that. */
int health_show(struct health *health);
/* From now on it is shown as 0: its model is gone, or another has its name. */
void health_retire(struct health *health);
/* Until an open breaker becomes half-open; 0 when it is not open. */
uint64_t health_due_in_ms(struct health *health, uint64_t now_ms);

#endif
