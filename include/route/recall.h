/*
 * What the cache is to one request: whether it may be answered from there, what it is looked up by, what was found,
 * and whether its answer may be kept. Decides; the looking up itself is route/exchange_recall.c. Embedded in the
 * exchange; worker's thread.
 */
#ifndef ROUTE_RECALL_H
#define ROUTE_RECALL_H

#include "cache/cache.h"
#include "model/config.h"
#include "route/cascade.h"
#include "route/embed.h"
#include "route/flight.h"
#include "wire/chat_key.h"
#include "wire/chat_record.h"

struct recall_job; /* a look-up on another thread */

struct recall {
	const struct config_cache
	        *config; /* borrowed; NULL: the cache is nothing to this request */
	bool looks_up;   /* it may be answered from the cache */
	bool keeps;      /* its answer may be kept, and shared with identical requests under way */
	double threshold;
	struct sha256 caller;
	struct chat_key key; /* owned */

	struct flight *
	        flight; /* owned if it leads; else borrowed from the leader; NULL: it flies alone */
	struct embed *embed;    /* owned; NULL: none under way */
	struct recall_job *job; /* borrowed; NULL: none under way */
	float *vector;          /* owned; of the question; NULL: not there, or not yet */
	unsigned dimensions;

	struct cache_entry *hit; /* owned: a reference; NULL: none */
	char *model,
	        *provider;  /* owned; labels of the model that had answered the hit's question */
	double similarity;  /* of the hit; or of the nearest */
	enum guard guard;   /* what spoke against the nearest */
	const char *result; /* exact, semantic, shared or miss; NULL: it was not looked up */

	struct buf
	        said; /* owned: the events that were delivered, while they may be kept or shared */
	struct buf usage[CASCADE_LEGS]; /* owned: `usage` as the legs have told it, JSON */
	bool said_all;                  /* none is missing there */
};

struct recall_headers { /* of the request; NULL: not there */
	const char *authorization, *cache_control, *threshold;
};

/* Why the cache is nothing to this request, one word; NULL: it is something. route NULL: the model is pinned. */
const char *recall_exclusion(const struct config_route *route, const struct chat_request *request);

/*
 * Begins; recall->config stays NULL where there is a recall_exclusion. identity: the route's. False with
 * `error` filled: a header at fault, or no memory.
 */
bool recall_init(struct recall *recall, const struct config_route *route,
                 const struct chat_request *request, struct bytes identity,
                 const struct recall_headers *headers, struct api_error *error);
void recall_fini(struct recall *recall);

/* Takes over a reference to what is to be given. */
void recall_set_hit(struct recall *recall, struct cache_entry *entry, double similarity,
                    const char *result);

/* Who asks, by the header Authorization (NULL: nobody in particular). */
struct sha256 recall_caller(const char *authorization);

/* In what form an answer is wanted; usage: a stream's, too. */
enum flight_form recall_form(bool stream, bool usage);

/* Is the question one that others may be compared with? */
bool recall_compares(const struct recall *recall);

/* How an answer came about, for recall_refusal. */
struct recall_source {
	bool draft;    /* an accepted draft, or the heavyweight's answer */
	bool both;     /* a part of each */
	bool sure;     /* of a draft: the rule did not trip, and all of it could be scored */
	double margin; /* of a draft: bits by which its score was below the threshold */
};

/* Why the answer is not to be kept, one word for the metric; NULL: it is. */
const char *recall_refusal(const struct recall *recall, const struct recall_source *source,
                           const struct chat_record_facts *facts);

#endif
