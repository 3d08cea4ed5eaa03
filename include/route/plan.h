/*
 * The configuration in force, made ready for requests: the snapshot, one prepared HTTP destination
 * for each provider, and for each model what is known of its health. Immutable but for that, and
 * reference-counted; shared by all workers. A request keeps the plan that it started with.
 */
#ifndef ROUTE_PLAN_H
#define ROUTE_PLAN_H

#include "model/config.h"
#include "model/pick.h"
#include "net/http_client.h"
#include "observe/metrics.h"
#include "route/attempts.h"

/* A route's models, in the order of the configuration. */
struct plan_route {
	struct candidate *drafters, *heavyweights; /* owned */
	struct picker
	        *picker;     /* owned: whose turn it is in a pool; NULL: they are asked in order */
	struct buf identity; /* owned: what of the route shapes its answers, for the cache's keys */
};

struct plan {
	struct config *config;     /* owned: one reference */
	struct http_target **chat; /* owned: POST …/chat/completions, one for each provider */
	struct http_target **embeddings; /* owned: POST …/embeddings, likewise */
	struct load **loads;             /* owned: one for each provider; its requests in flight */
	struct candidate *models;  /* owned: one for each model, with a reference to its health */
	struct plan_route *routes; /* owned: one for each route; they borrow from `models` */
	uint64_t created_s;        /* wall clock, for GET /v1/models */
	unsigned references;       /* atomic */
};

/*
 * Takes over the caller's reference to `config`, also on failure. What was known of models and providers
 * in `previous` (NULL: none) stays known of those that have kept name and address. NULL with a message
 * in error[size].
 */
struct plan *plan_new(struct config *config, const struct plan *previous, char *error, size_t size);
struct plan *plan_ref(struct plan *plan);
/* A worker goes over from one plan to the next: the gauges of breakers that the reload has closed, or whose
 * model is gone, are put right. Harmless when several workers do so. */
void plan_show_breakers(const struct plan *old, const struct plan *new,
                        struct metrics_shard *shard);
void plan_unref(struct plan *plan); /* any thread; NULL is allowed */

const struct http_target *plan_chat_target(const struct plan *plan,
                                           const struct config_model *model);

const struct http_target *plan_embeddings_target(const struct plan *plan,
                                                 const struct config_model *model);

const struct candidate *plan_candidate(const struct plan *plan, const struct config_model *model);
const struct plan_route *plan_route(const struct plan *plan, const struct config_route *route);

#endif
