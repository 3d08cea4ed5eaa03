/* What a client is told when a leg's failure is its answer. */
#ifndef ROUTE_FAILURE_H
#define ROUTE_FAILURE_H

#include "route/leg.h"
#include "wire/api_error.h"

/*
 * Fills `error` from a failed leg. True when upstream's own body, an error about the request itself
 * (400, 413, 422), is the better answer: then failure->body is to be sent as it is with error->status.
 */
bool failure_to_error(const struct leg_failure *failure, const struct config_model *model,
                      struct api_error *error);

#endif
