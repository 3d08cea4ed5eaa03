/* What a request tells of the model that was asked: its health learns of it, the breaker's gauge is put right, and a
 * breaker that opens or closes is logged. Worker's thread. */
#ifndef ROUTE_VERDICT_H
#define ROUTE_VERDICT_H

#include "route/service.h"

/* A permit was given out: it may be the probe. An empty one: nothing. */
void verdict_begin(struct service *service, const struct config_model *model,
                   const struct permit *permit);

struct verdict {
	enum health_result result;
	const char *why;    /* one word for the log */
	int status;         /* upstream's; 0: none was received */
	const char *detail; /* of a failure: a short text without secrets */
};

/* Gives the permit back and empties it. An empty one: nothing. */
void verdict_give(struct service *service, const struct config_model *model, struct permit *permit,
                  const struct verdict *verdict);

#endif
