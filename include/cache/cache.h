/*
 * Answers kept in memory, found by the exact request or, within one scope, by the nearness of the question.
 * Bounded by bytes and entries; least recently used go first, and those whose time is over.
 *
 * Shared by all workers: every function may be called by any thread. One lock, held for less than a millisecond
 * whatever the size: a long search gives it back in between. Wall-clock times are brought by the caller.
 *
 * But whoever holds the lock may lose its processor to another process, and for many milliseconds, for which an
 * event loop cannot wait. For loops there are the functions named try: they wait for at most 0.3 ms, without
 * sleeping, and do nothing that takes long. Where that is not enough they return false, with nothing done; then
 * the function without try is for a thread that nobody waits for (net/errand.h).
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "cache/entry.h"
#include "cache/guard.h"

struct cache;

struct cache_options {
	uint64_t max_bytes;
	uint32_t max_entries;
	/* A caller that has more than this part (0 to 1) of the bytes or the entries makes room by its own oldest
	 * entries; so it cannot push out the others. It may have all of what nobody else wants. */
	double caller_share;
};

/* Memory is taken as entries come. Never NULL. */
struct cache *cache_new(const struct cache_options *options);
void cache_free(struct cache *cache); /* NULL is allowed */

/* Other bounds, from a reload. What is too much goes with the next insertions and sweeps. */
void cache_configure(struct cache *cache, const struct cache_options *options);

/* The entry of that key, with a reference for the caller, now the most recently used; NULL: none.
 * needs_usage: one without usage is none. */
struct cache_entry *cache_find(struct cache *cache, const struct sha256 *key, bool needs_usage,
                               uint64_t now_ms);

bool cache_try_find(struct cache *cache, const struct sha256 *key, bool needs_usage,
                    uint64_t now_ms, struct cache_entry **found);

/* Takes over the reference. An entry of the same key is replaced. False, and the entry let go of: it is larger than a
 * caller may have, expired, or memory is out. */
bool cache_insert(struct cache *cache, struct cache_entry *entry, uint64_t now_ms);
/* *kept: what cache_insert returns. The reference stays the caller's when this returns false; some may have
 * gone to make room for it by then. */
bool cache_try_insert(struct cache *cache, struct cache_entry *entry, uint64_t now_ms, bool *kept);

struct cache_query {
	const struct sha256 *scope;
	struct bytes question;
	const float *vector; /* unit length */
	uint32_t dimensions;
	double threshold; /* least cosine of a hit */
	bool needs_usage;
	uint64_t now_ms;
};

struct cache_match {
	bool nothing;              /* there was nothing to search */
	struct cache_entry *entry; /* a reference for the caller; NULL: a miss */
	double similarity; /* of the entry; of a miss: of the nearest, if one was near enough to be looked at, else 0 */
	enum guard
	        guard; /* why the nearest above the threshold was no hit; GUARD_NONE: nothing was above it */
};

/* The most similar entry of the scope that no guard refuses. */
void cache_search(struct cache *cache, const struct cache_query *query, struct cache_match *match);
/* A scope of more than 16,384 entries takes long. */
bool cache_try_search(struct cache *cache, const struct cache_query *query,
                      struct cache_match *match);

/* Deletes one entry if it is that caller's; false: it is not, or there is none. */
bool cache_delete(struct cache *cache, const struct sha256 *caller, const char *id);
/* Deletes all of a caller's, in slices. */
void cache_delete_caller(struct cache *cache, const struct sha256 *caller);

/* Frees what has expired and what is beyond the bounds, among the next `items` entries; to be called now and
 * then, by a loop, too: when others have the lock the rest is left for the next time. */
void cache_sweep(struct cache *cache, size_t items, uint64_t now_ms);

struct cache_figures {
	uint64_t bytes, entries;
	uint64_t max_bytes, max_entries;
	uint64_t insertions;
	uint64_t evicted, expired, replaced, deleted,
	        refused; /* entries that went, or did not come in, and why */
};
/* Each by itself: taken one after the other while the cache changes. */
struct cache_figures cache_figures(const struct cache *cache);

/*
 * For a snapshot: all entries, from the least recently used on, as it was when the walk began. No entry is
 * given twice; one that comes meanwhile is not, one that goes may not be. The walk takes 16 bytes for each
 * entry, keeps none of them, and must end before the cache is freed. It belongs to one thread. NULL when memory
 * is out.
 */
struct cache_walk;
struct cache_walk *cache_walk_begin(struct cache *cache);
/* References to at most `room` more entries; how many, 0: that was all. */
size_t cache_walk_next(struct cache_walk *walk, struct cache_entry **list, size_t room);
void cache_walk_end(struct cache_walk *walk); /* NULL is allowed */

#endif
