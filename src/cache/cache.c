/*
 * The lock is never held for long: what leaves the cache leaves it in slices, and is freed when the lock was given
 * back; tables and lists do no work that grows with the cache.
 */
#include "cache/cache.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/random.h"
#include "cache/cache_private.h"

enum {
	/* An insertion that finds the cache beyond its bounds, which a reload has lowered, removes so many entries;
	 * the rest is left to others. */
	EXCESS_MIN = 256,
	/* A place that is free costs a sweep this part of what an entry does. */
	FREE_PLACES_PER_ENTRY = 64,
};

static void
cache_set_options(struct cache *cache, const struct cache_options *options)
{
	cache->options = *options;
	__atomic_store_n(&cache->figures.max_bytes, options->max_bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&cache->figures.max_entries, options->max_entries, __ATOMIC_RELAXED);
}

struct cache *
cache_new(const struct cache_options *options)
{
	struct cache *cache = mem_new(sizeof(*cache));
	char seed[sizeof(cache->seed) + 1];

	cache->cut_least = 2; /* no cosine */
	pthread_mutex_init(&cache->lock, NULL);
	random_hex(seed, sizeof(cache->seed));
	memcpy(cache->seed, seed, sizeof(cache->seed));
	cache_set_options(cache, options);
	cache_table_init(&cache->keys);
	cache_table_init(&cache->ids);
	cache_table_init(&cache->scopes);
	cache_table_init(&cache->callers);
	TAILQ_INIT(&cache->recent);
	return cache;
}

void
cache_free(struct cache *cache)
{
	struct cache_trash trash = {0};
	struct cache_slot *slot;

	if (!cache)
		return;
	while ((slot = TAILQ_FIRST(&cache->recent))) {
		cache_slot_leave(cache, slot, &trash);
		cache_trash_empty(&trash);
	}
	cache_table_fini(&cache->keys);
	cache_table_fini(&cache->ids);
	cache_table_fini(&cache->scopes);
	cache_table_fini(&cache->callers);
	cache_array_fini(&cache->places);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

void
cache_configure(struct cache *cache, const struct cache_options *options)
{
	cache_lock(cache);
	cache_set_options(cache, options);
	cache_unlock(cache);
}

/* With the lock, which it gives back. */
static struct cache_entry *
find_and_unlock(struct cache *cache, const struct sha256 *key, bool needs_usage, uint64_t now_ms)
{
	struct cache_trash trash = {0};
	struct cache_entry *entry = NULL;
	struct cache_slot *slot = cache_slot_find(cache, key);

	if (slot && cache_slot_is_expired(slot, now_ms)) {
		cache_slot_drop(cache, slot, now_ms, &trash);
	} else if (slot && (slot->entry->has_usage || !needs_usage)) {
		cache_slot_touch(cache, slot);
		entry = cache_entry_ref(slot->entry);
	}
	cache_unlock(cache);
	cache_trash_empty(&trash);
	return entry;
}

struct cache_entry *
cache_find(struct cache *cache, const struct sha256 *key, bool needs_usage, uint64_t now_ms)
{
	cache_lock(cache);
	return find_and_unlock(cache, key, needs_usage, now_ms);
}

bool
cache_try_find(struct cache *cache, const struct sha256 *key, bool needs_usage, uint64_t now_ms,
               struct cache_entry **found)
{
	if (!cache_try_lock(cache))
		return false;
	*found = find_and_unlock(cache, key, needs_usage, now_ms);
	return true;
}

/* An entry on its way in, which may take several slices. */
struct arrival {
	struct cache_slot *slot;
	uint64_t now_ms;
	uint64_t gone_bytes; /* of what had to go for it so far */
	uint32_t gone;
};

enum arrival_result { ARRIVAL_GOES_ON, ARRIVAL_IN, ARRIVAL_REFUSED };

static bool
has_room(const struct cache *cache, uint64_t bytes, uint32_t entries)
{
	return cache->figures.bytes + bytes <= cache->options.max_bytes &&
	       cache->figures.entries + entries <= cache->options.max_entries;
}

/* With so much more, would the caller have more than its part? */
static bool
is_beyond_share(const struct cache *cache, const struct cache_caller *caller, uint64_t bytes,
                uint32_t entries)
{
	const struct cache_options *options = &cache->options;

	return (double)(caller->bytes + bytes) >
	               options->caller_share * (double)options->max_bytes ||
	       (double)(caller->entries + entries) > options->caller_share * options->max_entries;
}

/* Whose turn it is to go, but for `newcomer`; NULL: nobody's. */
static struct cache_slot *
victim_of(const struct cache *cache, const struct cache_caller *caller, uint64_t bytes,
          uint32_t entries, const struct cache_slot *newcomer)
{
	struct cache_slot *victim = NULL;

	if (is_beyond_share(cache, caller, bytes, entries))
		victim = TAILQ_LAST(&caller->slots, cache_own);
	if (!victim || victim == newcomer)
		victim = TAILQ_LAST(&cache->recent, cache_recent);
	return victim == newcomer ? NULL : victim;
}

/* Removes what must go for so much more, as far as one slice goes. False when nothing is left to go. */
static bool
make_room(struct cache *cache, struct arrival *arrival, const struct cache_caller *caller,
          uint64_t bytes, uint32_t entries, struct cache_trash *trash)
{
	while (!has_room(cache, bytes, entries) && trash->count < CACHE_SLICE_LEAVE) {
		struct cache_slot *victim = victim_of(cache, caller, bytes, entries, arrival->slot);

		if (!victim)
			return false;
		arrival->gone_bytes += victim->entry->bytes;
		arrival->gone++;
		cache_slot_drop(cache, victim, arrival->now_ms, trash);
	}
	return true;
}

/* May it come in: because there is room, or, in a cache that is beyond its bounds anyway, because more than enough has
 * gone for it? */
static bool
may_come_in(const struct cache *cache, const struct arrival *arrival)
{
	uint64_t bytes = arrival->slot->entry->bytes;

	return has_room(cache, bytes, 1) ||
	       (!has_room(cache, 0, 0) && arrival->gone_bytes >= bytes &&
	        arrival->gone >= EXCESS_MIN);
}

static enum arrival_result
arrival_try(struct cache *cache, struct arrival *arrival, struct cache_caller *caller,
            struct cache_trash *trash)
{
	const struct cache_entry *entry = arrival->slot->entry;
	struct cache_slot *old = cache_slot_find(cache, &entry->key);

	if ((double)entry->bytes > cache->options.caller_share * (double)cache->options.max_bytes ||
	    cache_slot_is_expired(arrival->slot, arrival->now_ms))
		return ARRIVAL_REFUSED;
	if (old) {
		cache_figure_add(&cache->figures.replaced, 1);
		cache_slot_leave(cache, old, trash);
	}
	if (!make_room(cache, arrival, caller, entry->bytes, 1, trash))
		return ARRIVAL_REFUSED;
	if (!may_come_in(cache, arrival))
		return ARRIVAL_GOES_ON;
	if (!cache_slot_join(cache, arrival->slot, trash))
		return ARRIVAL_REFUSED;
	/* Its scope may have grown by more than the entry. */
	make_room(cache, arrival, caller, 0, 0, trash);
	return ARRIVAL_IN;
}

/* With the lock, which it gives back. */
static enum arrival_result
arrival_slice_and_unlock(struct cache *cache, struct arrival *arrival)
{
	enum arrival_result result = ARRIVAL_REFUSED;
	struct cache_trash trash = {0};
	struct cache_caller *caller;

	caller = cache_caller_hold(cache, &arrival->slot->entry->caller);
	if (caller) {
		result = arrival_try(cache, arrival, caller, &trash);
		cache_caller_release(cache, caller, &trash);
	}
	if (result == ARRIVAL_REFUSED)
		cache_figure_add(&cache->figures.refused, 1);
	cache_unlock(cache);
	cache_trash_empty(&trash);
	return result;
}

/* Without the lock. */
static bool
arrival_end(struct arrival *arrival, enum arrival_result result)
{
	if (result == ARRIVAL_IN)
		return true;
	cache_entry_unref(arrival->slot->entry);
	free(arrival->slot);
	return false;
}

static bool
refuse(struct cache *cache, struct cache_entry *entry)
{
	cache_lock(cache);
	cache_figure_add(&cache->figures.refused, 1);
	cache_unlock(cache);
	cache_entry_unref(entry);
	return false;
}

bool
cache_insert(struct cache *cache, struct cache_entry *entry, uint64_t now_ms)
{
	struct arrival arrival = {.slot = cache_slot_new(entry), .now_ms = now_ms};
	enum arrival_result result;

	if (!arrival.slot)
		return refuse(cache, entry);
	for (;;) {
		cache_lock(cache);
		result = arrival_slice_and_unlock(cache, &arrival);
		if (result != ARRIVAL_GOES_ON)
			return arrival_end(&arrival, result);
		cache_give_way(cache);
	}
}

bool
cache_try_insert(struct cache *cache, struct cache_entry *entry, uint64_t now_ms, bool *kept)
{
	struct arrival arrival = {.slot = cache_slot_new(entry), .now_ms = now_ms};
	enum arrival_result result = ARRIVAL_GOES_ON;

	if (arrival.slot && cache_try_lock(cache))
		result = arrival_slice_and_unlock(cache, &arrival);
	if (result == ARRIVAL_GOES_ON) {
		free(arrival.slot);
		return false;
	}
	*kept = arrival_end(&arrival, result);
	return true;
}

bool
cache_delete(struct cache *cache, const struct sha256 *caller, const char *id)
{
	struct cache_trash trash = {0};
	struct cache_slot *slot;

	if (strlen(id) != CACHE_ID_DIGITS)
		return false;
	cache_lock(cache);
	slot = cache_slot_find_id(cache, caller, id);
	if (slot) {
		cache_figure_add(&cache->figures.deleted, 1);
		cache_slot_leave(cache, slot, &trash);
	}
	cache_unlock(cache);
	cache_trash_empty(&trash);
	return slot != NULL;
}

/* False when nothing of the caller's is left. */
static bool
delete_slice(struct cache *cache, const struct sha256 *name, struct cache_trash *trash)
{
	struct cache_caller *caller;
	bool more = true;

	cache_lock(cache);
	while (more && trash->count < CACHE_SLICE_LEAVE) {
		struct cache_slot *slot;

		/* Looked up anew each time, since it goes with its last entry. */
		caller = cache_caller_find(cache, name);
		slot = caller ? TAILQ_LAST(&caller->slots, cache_own) : NULL;
		more = slot != NULL;
		if (slot) {
			cache_figure_add(&cache->figures.deleted, 1);
			cache_slot_leave(cache, slot, trash);
		}
	}
	cache_unlock(cache);
	return more;
}

void
cache_delete_caller(struct cache *cache, const struct sha256 *caller)
{
	struct cache_trash trash = {0};
	bool more = true;

	while (more) {
		more = delete_slice(cache, caller, &trash);
		cache_trash_empty(&trash);
		if (more)
			cache_give_way(cache);
	}
}

struct sweep {
	uint64_t now_ms;
	uint64_t credit; /* a free place takes 1 of it */
	uint32_t places; /* left of one round */
	size_t excess;   /* entries that may still go because of the bounds */
};

/* The hand goes on by one slice. False when it has gone far enough. */
static bool
sweep_expired(struct cache *cache, struct sweep *sweep, struct cache_trash *trash)
{
	uint64_t slice = (uint64_t)CACHE_SLICE_LOOK * FREE_PLACES_PER_ENTRY;

	while (slice > 0 && sweep->credit > 0 && sweep->places > 0) {
		struct cache_slot *slot;
		uint64_t cost;

		if (cache->hand >= cache->places_used)
			cache->hand = 0;
		if (cache->places_used == 0)
			return false;
		slot = cache_slot_at(cache, cache->hand++);
		cost = slot ? FREE_PLACES_PER_ENTRY : 1;
		sweep->places--;
		sweep->credit -= cost < sweep->credit ? cost : sweep->credit;
		slice -= cost < slice ? cost : slice;
		if (slot && cache_slot_is_expired(slot, sweep->now_ms)) {
			cache_slot_drop(cache, slot, sweep->now_ms, trash);
			if (trash->count >= CACHE_SLICE_LEAVE)
				slice = 0;
		}
	}
	return sweep->credit > 0 && sweep->places > 0;
}

/* The same for what is beyond the bounds. */
static bool
sweep_excess(struct cache *cache, struct sweep *sweep, struct cache_trash *trash)
{
	while (!has_room(cache, 0, 0) && sweep->excess > 0) {
		struct cache_slot *oldest = TAILQ_LAST(&cache->recent, cache_recent);

		if (!oldest)
			return false;
		if (trash->count >= CACHE_SLICE_LEAVE)
			return true;
		sweep->excess--;
		cache_slot_drop(cache, oldest, sweep->now_ms, trash);
	}
	return false;
}

void
cache_sweep(struct cache *cache, size_t items, uint64_t now_ms)
{
	struct sweep sweep = {.now_ms = now_ms, .excess = items};
	struct cache_trash trash = {0};
	bool more = true;

	if (__builtin_mul_overflow((uint64_t)items, FREE_PLACES_PER_ENTRY, &sweep.credit))
		sweep.credit = UINT64_MAX;
	if (!cache_try_lock(cache))
		return;
	sweep.places = cache->places_used;
	cache_unlock(cache);
	while (more && cache_try_lock(cache)) {
		more = sweep_expired(cache, &sweep, &trash);
		more = sweep_excess(cache, &sweep, &trash) || more;
		cache_unlock(cache);
		cache_trash_empty(&trash);
	}
}

static uint64_t
figure(const uint64_t *figure)
{
	return __atomic_load_n(figure, __ATOMIC_RELAXED);
}

struct cache_figures
cache_figures(const struct cache *cache)
{
	const struct cache_figures *now = &cache->figures;

	return (struct cache_figures){
	        .bytes = figure(&now->bytes),
	        .entries = figure(&now->entries),
	        .max_bytes = figure(&now->max_bytes),
	        .max_entries = figure(&now->max_entries),
	        .insertions = figure(&now->insertions),
	        .evicted = figure(&now->evicted),
	        .expired = figure(&now->expired),
	        .replaced = figure(&now->replaced),
	        .deleted = figure(&now->deleted),
	        .refused = figure(&now->refused),
	};
}
