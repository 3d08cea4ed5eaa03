/*
 * What one worker's requests use: its loop, its connections to upstreams, its metrics, and the plan
 * in force. Owned by app/gateway; every field is borrowed but `plan`. The worker's thread only.
 */
#ifndef ROUTE_SERVICE_H
#define ROUTE_SERVICE_H

#include <sys/queue.h>

#include "base/helper.h"
#include "base/log.h"
#include "base/random.h"
#include "cache/cache.h"
#include "net/http_client.h"
#include "net/timer.h"
#include "net/worker.h"
#include "observe/metrics.h"
#include "route/flight.h"
#include "route/plan.h"
#include "wire/chat_frame.h"

struct service {
	struct worker *worker;
	struct http_client *client;
	struct metrics *metrics;     /* all workers', for a scrape */
	struct metrics_shard *shard; /* this worker's */
	struct log *log;
	struct load *requests;   /* chat requests of all workers */
	struct log_sink *access; /* NULL: no access log */
	struct cache *cache;     /* all workers' */
	struct helper
	        *searcher;     /* likewise: for what takes long in the cache, or finds it locked */
	struct helper *reader; /* likewise: for bodies that are large */
	struct flight_table flights;
	TAILQ_HEAD(service_ripe, exchange)
	ripe;                       /* exchanges with events to be sent at the end of this turn */
	struct timer *flush;        /* owned by the gateway: sends them */
	LIST_HEAD(, embed) embeds;  /* embeddings under way */
	struct plan *plan;          /* owned: one reference; replaced by a reload */
	LIST_HEAD(, leg) lingering; /* legs whose answer is complete, see leg_release */
	struct chat_frame
	        frame; /* owned by the gateway: room to read any leg's frame, one at a time */
	double speculation_credit; /* how many requests may speculate now; grows by max_share a request */
	struct random_pool random; /* for identifiers */
	bool draining;
	uint64_t started_ms; /* monotonic */
};

#endif
