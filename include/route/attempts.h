/*
 * Which model of a list is asked next, and when: the order of attempts of one leg of one request.
 * Pure but for the shared health of models; the caller brings time and chance.
 *
 * A list of several models is gone through once, in order, without waiting; a model whose breaker is
 * open, or whose provider is at max_concurrent, is passed over. The only model of a list is asked again, up to
 * its provider's `retries`, after a full-jitter pause (uniform over 0 to 100 ms·2ⁿ, at most 2 s) or what
 * upstream's Retry-After says. Nothing is begun or waited for past the deadline. When every model's
 * breaker is open, the one due soonest is asked all the same, once (panic); not when it was this request's
 * own attempts that opened it.
 *
 * A drafter is never waited for: with `patient` false the only model is not asked again, and there is
 * no panic.
 *
 * Embedded in the exchange; the worker's thread.
 */
#ifndef ROUTE_ATTEMPTS_H
#define ROUTE_ATTEMPTS_H

#include "model/config.h"
#include "model/health.h"

/* One model of the list and what is shared about it. */
struct candidate {
	const struct config_model *model; /* borrowed from the plan, as the rest */
	struct health *health;
	struct load *load;
};

/* What a failure allows. */
enum attempt_retry {
	ATTEMPT_RETRY_NEVER,     /* it is the request's own fault */
	ATTEMPT_RETRY_ELSEWHERE, /* another model may do better */
	ATTEMPT_RETRY_AGAIN,     /* so may the same model, later */
};

struct attempts {
	const struct candidate *list; /* borrowed */
	size_t count;                 /* at least 1 */
	bool patient;
	uint64_t deadline_ms; /* monotonic; 0: none */
	size_t next;          /* index of the next model of the list */
	unsigned made;        /* attempts begun */
	bool over;            /* nothing more may be tried, once what is under way has failed */
	enum health_answer refusal; /* why nothing was begun; HEALTH_ADMITTED once something was */
	uint64_t not_before_ms;     /* the pause before the next attempt of the same model */
};

enum attempt_kind {
	ATTEMPT_START, /* ask `candidate` now, with `permit` */
	ATTEMPT_WAIT,  /* ask again (attempts_next) in wait_ms */
	ATTEMPT_NONE,  /* nothing is left; `refusal` says why nothing was begun this time */
};

struct attempt {
	enum attempt_kind kind;
	const struct candidate *candidate;
	struct permit permit;
	uint64_t wait_ms;
	/* ATTEMPT_NONE: nothing was begun for this leg, since every breaker was open (HEALTH_OPEN), or some
	 * provider was busy (HEALTH_BUSY); else HEALTH_ADMITTED: attempts were made, or the deadline is over. */
	enum health_answer refusal;
	bool panic;
};

void attempts_init(struct attempts *attempts, const struct candidate *list, size_t count,
                   bool patient, uint64_t deadline_ms);

/* The next thing to do. A permit handed out is the caller's. Asked again after ATTEMPT_NONE, it says the same. */
struct attempt attempts_next(struct attempts *attempts, uint64_t now_ms);

/* The attempt that was begun last has failed. `retry_after_ms`: what upstream asked to wait; 0: nothing.
 * `chance`: uniform over [0, 1). True when something is left that may be tried
 * (it may still be passed over); false: attempts_next would give ATTEMPT_NONE. */
bool attempts_failed(struct attempts *attempts, enum attempt_retry retry, uint64_t retry_after_ms,
                     double chance, uint64_t now_ms);

/* Until the first of the list's breakers lets a request through; 0: one does now. */
uint64_t attempts_due_in_ms(const struct attempts *attempts, uint64_t now_ms);

#endif
