/*
 * The configuration in force, made ready for requests: the snapshot and one prepared HTTP
 * destination for each provider. Immutable and reference-counted; shared by all workers. A request
 * keeps the plan that it started with.
 */
#ifndef ROUTE_PLAN_H
#define ROUTE_PLAN_H

#include "model/config.h"
#include "net/http_client.h"

struct plan {
	struct config *config;     /* owned: one reference */
	struct http_target **chat; /* owned: POST …/chat/completions, one for each provider */
	uint64_t created_s;        /* wall clock, for GET /v1/models */
	unsigned references;       /* atomic */
};

/* Takes over the caller's reference to `config`, also on failure. NULL with a message in error[size]. */
struct plan *plan_new(struct config *config, char *error, size_t size);
struct plan *plan_ref(struct plan *plan);
void plan_unref(struct plan *plan); /* any thread; NULL is allowed */

const struct http_target *plan_chat_target(const struct plan *plan,
                                           const struct config_model *model);

#endif
