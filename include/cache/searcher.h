/*
 * A thread that searches a cache, for searches that would hold up an event loop. Started with the first one.
 */
#ifndef CACHE_SEARCHER_H
#define CACHE_SEARCHER_H

#include <sys/queue.h>

#include "cache/cache.h"

struct searcher;

/* Embedded in what its owner keeps of a search. */
struct searcher_job {
	struct cache_query query; /* what it points to must live until `done` */
	/* Called by the searcher's thread once `match` is filled; then the job is its owner's again. */
	void (*done)(struct searcher_job *job);
	struct cache_match match;
	STAILQ_ENTRY(searcher_job) jobs; /* the searcher's own */
};

/* cache: borrowed. */
struct searcher *searcher_new(struct cache *cache);
/* What has not been searched by then is done with an empty match; nobody may submit any more. NULL is allowed. */
void searcher_free(struct searcher *searcher);

/* Any thread. False when there is no thread to be had, or too many wait: the job stays the caller's. */
bool searcher_submit(struct searcher *searcher, struct searcher_job *job);

#endif
