/* Callers, with what they hold, and scopes, with what is searched in them. */
#include "cache/cache_private.h"

#include <stdlib.h>

#include "base/mem.h"

/* Names are hashes or random already. The seed is there so that nobody can choose requests whose keys share a
 * bucket; it is random, and never seen from outside. */
uint32_t
cache_hash(const struct cache *cache, const void *name)
{
	uint64_t a, b;

	memcpy(&a, name, sizeof(a));
	memcpy(&b, (const char *)name + sizeof(a), sizeof(b));
	a = (a ^ cache->seed[0]) * (cache->seed[1] | 1);
	a ^= a >> 32;
	a = (a ^ b ^ cache->seed[2]) * (cache->seed[3] | 1);
	return (uint32_t)(a >> 32);
}

struct cache_caller *
cache_caller_find(const struct cache *cache, const struct sha256 *name)
{
	struct cache_link *link =
	        cache_table_first(&cache->callers, cache_hash(cache, name->bytes));

	for (; link; link = cache_link_next(link)) {
		struct cache_caller *caller = CACHE_OWNER(struct cache_caller, link, link);

		if (sha256_equal(&caller->name, name))
			return caller;
	}
	return NULL;
}

struct cache_caller *
cache_caller_hold(struct cache *cache, const struct sha256 *name)
{
	struct cache_caller *caller = cache_caller_find(cache, name);

	if (!caller) {
		caller = mem_try(sizeof(*caller));
		if (!caller)
			return NULL;
		*caller = (struct cache_caller){.name = *name};
		TAILQ_INIT(&caller->slots);
		cache_table_add(&cache->callers, &caller->link, cache_hash(cache, name->bytes));
	}
	caller->holders++;
	return caller;
}

void
cache_caller_release(struct cache *cache, struct cache_caller *caller, struct cache_trash *trash)
{
	if (--caller->holders > 0)
		return;
	cache_table_remove(&cache->callers, &caller->link);
	SLIST_INSERT_HEAD(&trash->callers, caller, trash);
}

struct cache_scope *
cache_scope_find(const struct cache *cache, const struct sha256 *name, uint32_t dimensions)
{
	struct cache_link *link = cache_table_first(&cache->scopes, cache_hash(cache, name->bytes));

	for (; link; link = cache_link_next(link)) {
		struct cache_scope *scope = CACHE_OWNER(struct cache_scope, link, link);

		if (scope->dimensions == dimensions && sha256_equal(&scope->name, name))
			return scope;
	}
	return NULL;
}

/* Tells the cache and the caller of the memory that the scope takes now. */
static void
scope_charge(struct cache *cache, struct cache_scope *scope, size_t bytes)
{
	cache_figure_add(&cache->figures.bytes, bytes - scope->bytes);
	scope->charged->bytes += bytes - scope->bytes;
	scope->bytes = bytes;
}

static size_t
scope_memory(const struct cache_scope *scope)
{
	size_t allocated = sizeof(*scope) + 2 * sizeof(void *) + sizeof(void *); /* a bucket too */

	return allocated + (scope->index ? index_bytes(scope->index) : 0);
}

/* The first slot's scope, still empty; its caller is charged. */
static struct cache_scope *
scope_new(struct cache *cache, const struct cache_slot *slot)
{
	const struct cache_entry *entry = slot->entry;
	struct cache_scope *scope = mem_try(sizeof(*scope));

	if (!scope)
		return NULL;
	*scope = (struct cache_scope){
	        .name = entry->scope, .dimensions = entry->dimensions, .charged = slot->caller};
	slot->caller->holders++;
	cache_table_add(&cache->scopes, &scope->link, cache_hash(cache, entry->scope.bytes));
	scope_charge(cache, scope, scope_memory(scope));
	return scope;
}

/* An empty scope that nobody searches goes. */
static void
scope_drop_idle(struct cache *cache, struct cache_scope *scope, struct cache_trash *trash)
{
	if (scope->count > 0 || scope->searches > 0)
		return;
	scope_charge(cache, scope, 0);
	cache_caller_release(cache, scope->charged, trash);
	cache_table_remove(&cache->scopes, &scope->link);
	SLIST_INSERT_HEAD(&trash->scopes, scope, trash);
}

/* From the few on to an index of them and one more. */
static bool
scope_make_index(struct cache_scope *scope)
{
	struct index *index = index_new(scope->dimensions);
	bool ok = index != NULL;

	for (size_t i = 0; ok && i < scope->count; i++)
		ok = index_add(index, &scope->few[i]->item);
	if (ok)
		scope->index = index;
	else if (index)
		index_free(index);
	return ok;
}

bool
cache_scope_join(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash)
{
	const struct cache_entry *entry = slot->entry;
	struct cache_scope *scope;
	bool ok = true;

	if (!entry->vector)
		return true;
	scope = cache_scope_find(cache, &entry->scope, entry->dimensions);
	if (!scope && !(scope = scope_new(cache, slot)))
		return false;
	slot->item = (struct index_item){.vector = entry->vector, .sketch = entry->sketch};
	if (!scope->index && scope->count == CACHE_SCOPE_FEW)
		ok = scope_make_index(scope);
	if (ok && scope->index)
		ok = index_add(scope->index, &slot->item);
	else if (ok)
		scope->few[scope->count] = slot;
	if (ok) {
		slot->scope = scope;
		scope->count++;
	}
	scope_charge(cache, scope, scope_memory(scope));
	scope_drop_idle(cache, scope, trash);
	return ok;
}

void
cache_scope_leave(struct cache *cache, struct cache_slot *slot, struct cache_trash *trash)
{
	struct cache_scope *scope = slot->scope;

	if (!scope)
		return;
	slot->scope = NULL;
	if (scope->index) {
		index_remove(scope->index, &slot->item);
	} else {
		size_t i = 0;

		while (scope->few[i] != slot)
			i++;
		scope->few[i] = scope->few[scope->count - 1];
	}
	scope->count--;
	scope_charge(cache, scope, scope_memory(scope));
	scope_drop_idle(cache, scope, trash);
}

void
cache_scope_search_begin(struct cache_scope *scope, struct index_search *search)
{
	scope->searches++;
	index_search_begin(scope->index, search);
}

void
cache_scope_search_end(struct cache *cache, struct cache_scope *scope, struct index_search *search,
                       struct cache_trash *trash)
{
	index_search_end(search);
	scope->searches--;
	scope_drop_idle(cache, scope, trash);
}
