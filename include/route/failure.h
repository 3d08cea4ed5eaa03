/* What a leg's failure means: for the next attempt, for the model's health, and for the client when it
 * is the answer. Pure. */
#ifndef ROUTE_FAILURE_H
#define ROUTE_FAILURE_H

#include "route/leg.h"
#include "wire/api_error.h"

/* What upstream's headers ask for; values NULL: no such header. retry-after-ms counts before Retry-After,
 * unless it cannot be read: decimals are allowed in both, and a date in the latter. Rounded up, and at
 * most a day; 0: nothing. */
uint64_t failure_retry_after_ms(const char *retry_after_ms, const char *retry_after,
                                uint64_t wall_ms);
enum leg_advice failure_advice(const char *x_should_retry);

/* Fills kind, timer and detail from how a transfer ended, which was not HTTP_FETCH_OK. */
void failure_of_fetch(struct leg_failure *failure, enum http_fetch_result result,
                      const char *detail);

/* What the failure allows, from its kind, timer, status and advice. */
enum attempt_retry failure_retry(const struct leg_failure *failure);

/* What it says about the model: nothing when it is about the request, or ours. */
enum health_result failure_health(const struct leg_failure *failure);

/*
 * Fills `error` from a failed leg. When upstream's own body, an error about the request itself (400, 413,
 * 422), is the better answer, it is appended to `body`, secrets taken out: then that is to be sent with
 * error->status. Otherwise `body` stays empty.
 */
void failure_to_error(const struct leg_failure *failure, const struct config_model *model,
                      struct api_error *error, struct buf *body);

/* Nobody could be asked: HEALTH_BUSY or HEALTH_OPEN. due_ms: until the first breaker lets a request through. */
void failure_refused(enum health_answer refusal, uint64_t due_ms, struct api_error *error);

/* `error` is that of the one model that was asked though every breaker was open: if it is no fault of the request's,
 * it becomes what is true of all of them. */
void failure_panicked(uint64_t due_ms, struct api_error *error);

/* Appends at most `max` bytes of an upstream's text without the provider's key and header values, and
 * without what looks like any other secret. */
void failure_redact(struct bytes text, const struct config_provider *provider, size_t max,
                    struct buf *out);

#endif
