/* A slot's way into the cache and out of it. */
#include "cache/cache_private.h"

#include <stdlib.h>

#include "base/mem.h"

struct cache_slot *
cache_slot_new(struct cache_entry *entry)
{
	struct cache_slot *slot = mem_try(sizeof(*slot));

	if (slot)
		*slot = (struct cache_slot){.entry = entry, .expires_ms = entry->expires_ms};
	return slot;
}

/* Does the cell of a place hold the number of another free one? Slots have even addresses. */
static bool
cell_is_free(const void *cell)
{
	return !cell || (uintptr_t)cell & 1;
}

struct cache_slot *
cache_slot_at(const struct cache *cache, uint32_t place)
{
	void *cell = *cache_array_cell(&cache->places, place);

	return cell_is_free(cell) ? NULL : cell;
}

struct cache_slot *
cache_slot_find(const struct cache *cache, const struct sha256 *key)
{
	struct cache_link *link = cache_table_first(&cache->keys, cache_hash(cache, key->bytes));

	for (; link; link = cache_link_next(link)) {
		struct cache_slot *slot = CACHE_OWNER(struct cache_slot, by_key, link);

		if (sha256_equal(&slot->entry->key, key))
			return slot;
	}
	return NULL;
}

struct cache_slot *
cache_slot_find_id(const struct cache *cache, const struct sha256 *caller, const char *id)
{
	struct cache_link *link = cache_table_first(&cache->ids, cache_hash(cache, id));

	for (; link; link = cache_link_next(link)) {
		struct cache_slot *slot = CACHE_OWNER(struct cache_slot, by_id, link);

		if (memcmp(slot->entry->id, id, CACHE_ID_DIGITS) == 0 &&
		    sha256_equal(&slot->entry->caller, caller))
			return slot;
	}
	return NULL;
}

/* False when there is no memory for a place more. */
static bool
slot_take_place(struct cache *cache, struct cache_slot *slot)
{
	void **cell;

	if (cache->place_free) {
		slot->place = cache->place_free - 1;
		cell = cache_array_cell(&cache->places, slot->place);
		cache->place_free = (uint32_t)((uintptr_t)*cell >> 1);
	} else {
		if (cache->places_used == UINT32_MAX ||
		    !cache_array_reach(&cache->places, cache->places_used))
			return false;
		slot->place = cache->places_used++;
		cell = cache_array_cell(&cache->places, slot->place);
	}
	*cell = slot;
	return true;
}

static void
slot_leave_place(struct cache *cache, const struct cache_slot *slot)
{
	void **cell = cache_array_cell(&cache->places, slot->place);

	*cell = (void *)((uintptr_t)cache->place_free << 1 | 1);
	cache->place_free = slot->place + 1;
}

/* The number of entries is below 2^32: a place is taken for each. */
bool
cache_slot_join(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash)
{
	struct cache_entry *entry = slot->entry;
	struct cache_caller *caller = cache_caller_hold(cache, &entry->caller);

	if (!caller)
		return false;
	if (!slot_take_place(cache, slot)) {
		cache_caller_release(cache, caller, trash);
		return false;
	}
	slot->caller = caller;
	if (!cache_scope_join(cache, slot, trash)) {
		slot_leave_place(cache, slot);
		cache_caller_release(cache, caller, trash);
		return false;
	}
	cache_table_add(&cache->keys, &slot->by_key, cache_hash(cache, entry->key.bytes));
	cache_table_add(&cache->ids, &slot->by_id, cache_hash(cache, entry->id));
	TAILQ_INSERT_HEAD(&cache->recent, slot, recent);
	TAILQ_INSERT_HEAD(&caller->slots, slot, own);
	slot->used = ++cache->uses;
	slot->serial = (uint32_t)cache->figures.insertions;
	cache_figure_add(&cache->figures.insertions, 1);
	caller->bytes += entry->bytes;
	caller->entries++;
	cache_figure_add(&cache->figures.bytes, entry->bytes);
	cache_figure_add(&cache->figures.entries, 1);
	return true;
}

void
cache_slot_leave(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash)
{
	struct cache_caller *caller = slot->caller;

	cache_table_remove(&cache->keys, &slot->by_key);
	cache_table_remove(&cache->ids, &slot->by_id);
	TAILQ_REMOVE(&cache->recent, slot, recent);
	TAILQ_REMOVE(&caller->slots, slot, own);
	slot_leave_place(cache, slot);
	cache_scope_leave(cache, slot, trash);
	caller->bytes -= slot->entry->bytes;
	caller->entries--;
	cache_figure_add(&cache->figures.bytes, -slot->entry->bytes);
	cache_figure_add(&cache->figures.entries, -UINT64_C(1));
	cache_caller_release(cache, caller, trash);
	SLIST_INSERT_HEAD(&trash->slots, slot, trash);
	trash->count++;
}

void
cache_slot_drop(struct cache *cache, struct cache_slot *slot, uint64_t now_ms,
                struct cache_trash *trash)
{
	if (cache_slot_is_expired(slot, now_ms))
		cache_figure_add(&cache->figures.expired, 1);
	else
		cache_figure_add(&cache->figures.evicted, 1);
	cache_slot_leave(cache, slot, trash);
}

void
cache_slot_touch(struct cache *cache, struct cache_slot *slot)
{
	TAILQ_REMOVE(&cache->recent, slot, recent);
	TAILQ_INSERT_HEAD(&cache->recent, slot, recent);
	TAILQ_REMOVE(&slot->caller->slots, slot, own);
	TAILQ_INSERT_HEAD(&slot->caller->slots, slot, own);
	slot->used = ++cache->uses;
}

void
cache_trash_empty(struct cache_trash *trash)
{
	struct cache_slot *slot;
	struct cache_scope *scope;
	struct cache_caller *caller;

	while ((slot = SLIST_FIRST(&trash->slots))) {
		SLIST_REMOVE_HEAD(&trash->slots, trash);
		cache_entry_unref(slot->entry);
		free(slot);
	}
	while ((scope = SLIST_FIRST(&trash->scopes))) {
		SLIST_REMOVE_HEAD(&trash->scopes, trash);
		if (scope->index)
			index_free(scope->index);
		free(scope);
	}
	while ((caller = SLIST_FIRST(&trash->callers))) {
		SLIST_REMOVE_HEAD(&trash->callers, trash);
		free(caller);
	}
	trash->count = 0;
}
