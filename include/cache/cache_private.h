/*
 * What the files of the cache share. Everything here is guarded by the cache's lock, and every function is called
 * with it held, unless it says otherwise.
 *
 * A slot is an entry's seat in one cache: its links in the tables and lists. It is made before the lock is taken
 * and, with the entry's reference, freed after the lock was given back: what leaves the cache is put in a trash.
 */
#ifndef CACHE_CACHE_PRIVATE_H
#define CACHE_CACHE_PRIVATE_H

#include <pthread.h>
#include <sys/queue.h>

#include "cache/cache.h"
#include "cache/cache_table.h"
#include "cache/index.h"

enum {
	/* So many slots leave the cache while the lock is held once: about 0.1 ms. */
	CACHE_SLICE_LEAVE = 64,
	/* So many slots are looked at, each a line of memory that the processor has to wait for. */
	CACHE_SLICE_LOOK = 1024,
	/* So many vectors are searched: about 0.3 ms. */
	CACHE_SLICE_SEARCH = 16 * 1024,
	/* A scope of no more entries has no index: most have one or two, and an index takes memory in blocks. */
	CACHE_SCOPE_FEW = INDEX_NEAREST,
};

/* Whose entries these are, as long as there are any, or a scope is charged to it. */
struct cache_caller {
	struct cache_link link;
	struct sha256 name;
	uint64_t bytes; /* of its entries, and of the scopes it is charged for */
	uint32_t entries;
	uint32_t holders; /* entries, scopes, and functions that are at work with it */
	TAILQ_HEAD(cache_own, cache_slot) slots; /* the most recently used first */
	SLIST_ENTRY(cache_caller) trash;
};

/* The entries among which a question looks for one like it. All vectors have the same number of dimensions: what comes
 * with another makes a scope of its own under the same name. */
struct cache_scope {
	struct cache_link link;
	struct sha256 name;
	uint32_t dimensions;
	struct cache_caller *charged; /* whose first entry made the scope */
	size_t bytes;                 /* of memory, as charged */
	size_t count;
	struct cache_slot *few[CACHE_SCOPE_FEW]; /* the slots, while there is no index */
	struct index *index; /* NULL until they are more; then it stays as long as the scope */
	unsigned searches;   /* under way: they keep the scope, even an empty one */
	SLIST_ENTRY(cache_scope) trash;
};

struct cache_slot {
	struct cache_entry *entry; /* a reference */
	uint64_t expires_ms;       /* the entry's */
	uint64_t used;             /* cache.uses when it was used last */
	uint32_t place;            /* in cache.places */
	uint32_t serial;           /* cache.insertions when it came */
	struct cache_link by_key, by_id;
	struct cache_caller *caller;
	struct cache_scope *scope;      /* NULL: found by its key only */
	struct index_item item;         /* in the scope */
	TAILQ_ENTRY(cache_slot) recent; /* in cache.recent */
	TAILQ_ENTRY(cache_slot) own;    /* in caller.slots */
	SLIST_ENTRY(cache_slot) trash;
};

/* What an entry costs beside its own memory: a slot, malloc's part of it, a place and two buckets. */
enum { CACHE_ENTRY_OVERHEAD = sizeof(struct cache_slot) + 2 * sizeof(void *) + 3 * sizeof(void *) };

struct cache_trash {
	SLIST_HEAD(, cache_slot) slots;
	SLIST_HEAD(, cache_scope) scopes;
	SLIST_HEAD(, cache_caller) callers;
	size_t count; /* of slots */
};

struct cache {
	pthread_mutex_t lock;
	unsigned waiting; /* atomic: threads that found the lock taken */
	bool stuck;       /* atomic: whoever has the lock has had it for longer than a loop waits */
	uint64_t seed[4]; /* of the hashes; never changes, so read without the lock */

	struct cache_options options;
	struct cache_figures figures; /* each atomic: changed with the lock held, read without */
	/* The cut of the last search, which is that of most others: to compute it takes longer than to search a
	 * little. */
	double cut_least;
	struct sketch_cut cut;
	uint64_t uses; /* a clock that ticks at each use of an entry */
	struct cache_table keys, ids, scopes, callers;
	TAILQ_HEAD(cache_recent, cache_slot) recent; /* the most recently used first */

	/* The slots in no order, for the hand of the sweep and for walks. A place that is free holds, times two
	 * and plus one, the number of the next free one plus one. */
	struct cache_array places;
	uint32_t places_used; /* how many were ever in use */
	uint32_t place_free;  /* the first free one plus one; 0: there is none */
	uint32_t hand;        /* the place that the sweep looks at next */
};

/* Without the lock. */
void cache_lock(struct cache *cache);
/* For a loop. False: others have it, and may have it for long. */
bool cache_try_lock(struct cache *cache);
void cache_unlock(struct cache *cache);
/* Between the slices of something long: lets those have the lock who wait for it. */
void cache_give_way(struct cache *cache);
/* For a thread that nobody waits for, before it takes the lock: a thread that has had its processor for long is
 * replaced before long, and if it has the lock then, all who want it wait for milliseconds. One that has just
 * woken up is not. */
void cache_rest(void);
/* Frees what is in it. */
void cache_trash_empty(struct cache_trash *trash);

/* by may be negative: it wraps. */
static inline void
cache_figure_add(uint64_t *figure, uint64_t by)
{
	__atomic_store_n(figure, *figure + by, __ATOMIC_RELAXED);
}

static inline bool
cache_slot_is_expired(const struct cache_slot *slot, uint64_t now_ms)
{
	return slot->expires_ms <= now_ms;
}

/* cache_slot.c */

/* Takes over the reference. NULL, and the reference kept, when memory is out. Without the lock. */
struct cache_slot *cache_slot_new(struct cache_entry *entry);
/* The slot in that place; NULL: it is free. */
struct cache_slot *cache_slot_at(const struct cache *cache, uint32_t place);
struct cache_slot *cache_slot_find(const struct cache *cache, const struct sha256 *key);
struct cache_slot *cache_slot_find_id(const struct cache *cache, const struct sha256 *caller,
                                      const char *id);
/* Joins it to everything, as the most recently used. False when memory is out; nothing has changed then. */
bool cache_slot_join(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash);
void cache_slot_leave(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash);
/* The same for one that makes room or has expired, and counts why. */
void cache_slot_drop(struct cache *cache, struct cache_slot *slot, uint64_t now_ms,
                     struct cache_trash *trash);
void cache_slot_touch(struct cache *cache, struct cache_slot *slot);

/* cache_scope.c: callers and scopes */

/* A hash table's hash of a SHA-256, or of an id. Without the lock. */
uint32_t cache_hash(const struct cache *cache, const void *name);

/* The caller, with one holder more; made when it is new. NULL when memory is out. */
struct cache_caller *cache_caller_hold(struct cache *cache, const struct sha256 *name);
struct cache_caller *cache_caller_find(const struct cache *cache, const struct sha256 *name);
void cache_caller_release(struct cache *cache, struct cache_caller *caller,
                          struct cache_trash *trash);

struct cache_scope *cache_scope_find(const struct cache *cache, const struct sha256 *name,
                                     uint32_t dimensions);
/* Puts the slot into its scope, which is made when it is new. False when memory is out. */
bool cache_scope_join(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash);
void cache_scope_leave(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash);
/* Begins and ends a search of a scope with an index, between which the lock may be given back: the scope stays. */
void cache_scope_search_begin(struct cache_scope *scope, struct index_search *search);
void cache_scope_search_end(struct cache *cache, struct cache_scope *scope,
                            struct index_search *search, struct cache_trash *trash);

#endif
