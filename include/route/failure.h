/* What a client is told when a leg's failure is its answer. */
#ifndef ROUTE_FAILURE_H
#define ROUTE_FAILURE_H

#include "route/leg.h"
#include "wire/api_error.h"

/*
 * Fills `error` from a failed leg. When upstream's own body, an error about the request itself (400, 413,
 * 422), is the better answer, it is appended to `body`, secrets taken out: then that is to be sent with
 * error->status. Otherwise `body` stays empty.
 */
void failure_to_error(const struct leg_failure *failure, const struct config_model *model,
                      struct api_error *error, struct buf *body);

/* Appends at most `max` bytes of an upstream's text without the provider's key and header values, and
 * without what looks like any other secret. */
void failure_redact(struct bytes text, const struct config_provider *provider, size_t max,
                    struct buf *out);

#endif
