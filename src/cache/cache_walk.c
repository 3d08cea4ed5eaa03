/*
 * A walk notes first, in slices, who sits where and when each was used last, and sorts that by use; it holds no
 * reference meanwhile, so that what the cache lets go of is freed. Whoever still sits there when its turn comes
 * is given.
 */
#include "cache/cache.h"

#include <stdlib.h>

#include "cache/cache_private.h"

struct seat {
	uint64_t used;
	uint32_t place, serial;
};

struct cache_walk {
	struct cache *cache;
	struct seat *seats; /* owned */
	size_t count, room;
	size_t next;
};

/* Room for a slice more. */
static bool
walk_reserve(struct cache_walk *walk)
{
	struct seat *seats;

	if (walk->room - walk->count >= CACHE_SLICE_LOOK)
		return true;
	walk->room = walk->room * 2 + CACHE_SLICE_LOOK;
	seats = reallocarray(walk->seats, walk->room, sizeof(*seats));
	if (!seats)
		return false;
	walk->seats = seats;
	return true;
}

/* Notes the slots of at most a slice of places. False when there are no more. */
static bool
walk_note(struct cache_walk *walk, uint32_t *place)
{
	struct cache *cache = walk->cache;
	bool more;

	cache_rest();
	cache_lock(cache);
	for (size_t i = 0; i < CACHE_SLICE_LOOK && *place < cache->places_used; i++, ++*place) {
		const struct cache_slot *slot = cache_slot_at(cache, *place);

		if (slot)
			walk->seats[walk->count++] = (struct seat){
			        .used = slot->used, .place = *place, .serial = slot->serial};
	}
	more = *place < cache->places_used;
	cache_unlock(cache);
	return more;
}

static int
compare_use(const void *a, const void *b)
{
	uint64_t x = ((const struct seat *)a)->used, y = ((const struct seat *)b)->used;

	return (x > y) - (x < y);
}

struct cache_walk *
cache_walk_begin(struct cache *cache)
{
	struct cache_walk *walk = calloc(1, sizeof(*walk));
	uint32_t place = 0;
	bool more = true;

	if (!walk)
		return NULL;
	walk->cache = cache;
	while (more) {
		if (!walk_reserve(walk)) {
			cache_walk_end(walk);
			return NULL;
		}
		more = walk_note(walk, &place);
		if (more)
			cache_give_way(cache);
	}
	if (walk->count > 1)
		qsort(walk->seats, walk->count, sizeof(*walk->seats), compare_use);
	return walk;
}

size_t
cache_walk_next(struct cache_walk *walk, struct cache_entry **list, size_t room)
{
	struct cache *cache = walk->cache;
	size_t count = 0;

	while (count < room && walk->next < walk->count) {
		cache_rest();
		cache_lock(cache);
		for (size_t i = 0; i < CACHE_SLICE_LOOK && count < room && walk->next < walk->count;
		     i++) {
			const struct seat *seat = &walk->seats[walk->next++];
			const struct cache_slot *slot = cache_slot_at(cache, seat->place);

			if (slot && slot->serial == seat->serial)
				list[count++] = cache_entry_ref(slot->entry);
		}
		cache_unlock(cache);
	}
	return count;
}

void
cache_walk_end(struct cache_walk *walk)
{
	if (!walk)
		return;
	free(walk->seats);
	free(walk);
}
