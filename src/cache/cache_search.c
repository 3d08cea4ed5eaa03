/*
 * A search: the nearest entries are gathered in slices, with the lock given back in between, and then judged
 * without it, since a comparison of two questions takes long.
 *
 * Whoever is found is held by a reference from the same hold of the lock on in which the last slice was searched;
 * before, what leaves the cache is struck from the results (cache/index.h).
 */
#include "cache/cache.h"

#include "cache/cache_private.h"
#include "cache/vector.h"
#include "wire/json_scan.h"

/* Another question that is nearer than that to the nearest one's nearness may be the one that was meant. */
static const double runner_up_margin = 0.005;

/* How many of the entries that are just near enough a search may miss. */
static const double search_miss = 1e-4;

struct candidate {
	struct cache_entry *entry; /* a reference */
	double cosine;
	bool is_told_apart; /* a guard refuses it */
};

struct candidates {
	struct candidate list[INDEX_NEAREST]; /* the nearest first */
	size_t count;
};

/* Looks at the few of a scope without an index. */
static void
search_few(const struct cache_scope *scope, struct index_search *search)
{
	for (size_t i = 0; i < scope->count; i++) {
		struct index_item *item = &scope->few[i]->item;
		double cosine = vector_dot(search->vector, item->vector, scope->dimensions);
		size_t k = search->count;

		if (!(cosine >= search->least))
			continue;
		for (; k > 0 && search->nearest[k - 1].cosine < cosine; k--)
			search->nearest[k] = search->nearest[k - 1];
		search->nearest[k].item = item;
		search->nearest[k].cosine = cosine;
		search->count++;
	}
}

/* Takes references to what was found, but for what has expired, which goes. */
static void
take_candidates(struct cache *cache, const struct index_search *search, uint64_t now_ms,
                struct candidates *found, struct cache_trash *trash)
{
	for (size_t i = 0; i < search->count; i++) {
		struct cache_slot *slot =
		        CACHE_OWNER(struct cache_slot, item, search->nearest[i].item);

		if (!cache_slot_is_expired(slot, now_ms))
			found->list[found->count++] =
			        (struct candidate){.entry = cache_entry_ref(slot->entry),
			                           .cosine = search->nearest[i].cosine};
		else
			cache_slot_drop(cache, slot, now_ms, trash);
	}
}

/* One slice, and at the end of the last one the results. False when there is no more to do. */
static bool
search_slice(struct cache *cache, struct cache_scope *scope, struct index_search *search,
             uint64_t now_ms, struct candidates *found)
{
	struct cache_trash trash = {0};
	bool done;

	cache_lock(cache);
	done = index_search(search, CACHE_SLICE_SEARCH);
	if (done) {
		cache_scope_search_end(cache, scope, search, &trash);
		take_candidates(cache, search, now_ms, found, &trash);
	}
	cache_unlock(cache);
	cache_trash_empty(&trash);
	return !done;
}

static struct index_search
search_for(const struct cache_query *query)
{
	return (struct index_search){.vector = query->vector,
	                             .least = query->threshold - runner_up_margin};
}

static struct sketch_cut
cut_for(struct cache *cache, double least)
{
	struct sketch_cut cut = {0, 0};
	bool known;

	cache_lock(cache);
	known = cache->cut_least == least;
	if (known)
		cut = cache->cut;
	cache_unlock(cache);
	if (known)
		return cut;
	cut = sketch_cut(least, search_miss);
	cache_lock(cache);
	cache->cut_least = least;
	cache->cut = cut;
	cache_unlock(cache);
	return cut;
}

/* False: there was nothing to search. */
static bool
find_candidates(struct cache *cache, const struct cache_query *query, struct candidates *found)
{
	struct index_search search = search_for(query);
	struct cache_trash trash = {0};
	struct cache_scope *scope;
	bool is_there, is_indexed;

	search.cut = cut_for(cache, search.least);
	if (!sketch_make(&search.sketch, query->vector, query->dimensions))
		return true;
	cache_lock(cache);
	scope = cache_scope_find(cache, query->scope, query->dimensions);
	is_there = scope && scope->count > 0;
	is_indexed = scope && scope->index;
	if (is_indexed) {
		cache_scope_search_begin(scope, &search);
	} else if (scope) {
		search_few(scope, &search);
		take_candidates(cache, &search, query->now_ms, found, &trash);
	}
	cache_unlock(cache);
	cache_trash_empty(&trash);
	while (is_indexed && search_slice(cache, scope, &search, query->now_ms, found))
		cache_give_way(cache);
	return is_there;
}

/* ---------------------------------------------------------------- what does not take long */

enum amount { AMOUNT_NONE, AMOUNT_SLICE, AMOUNT_TOO_MUCH };

static enum amount
amount_of(const struct cache_scope *scope)
{
	if (!scope || scope->count == 0)
		return AMOUNT_NONE;
	return scope->count <= CACHE_SLICE_SEARCH ? AMOUNT_SLICE : AMOUNT_TOO_MUCH;
}

/* Is there anything to search? *known: the cut is. */
static enum amount
look(struct cache *cache, const struct cache_query *query, struct index_search *search, bool *known)
{
	enum amount amount;

	if (!cache_try_lock(cache))
		return AMOUNT_TOO_MUCH;
	amount = amount_of(cache_scope_find(cache, query->scope, query->dimensions));
	*known = cache->cut_least == search->least;
	search->cut = cache->cut;
	cache_unlock(cache);
	return amount;
}

/* Between look() and this the scope may have come or gone. */
static bool
try_candidates(struct cache *cache, const struct cache_query *query, struct index_search *search,
               struct candidates *found)
{
	struct cache_trash trash = {0};
	struct cache_scope *scope;
	enum amount amount;

	if (!cache_try_lock(cache))
		return false;
	cache->cut_least = search->least;
	cache->cut = search->cut;
	scope = cache_scope_find(cache, query->scope, query->dimensions);
	amount = amount_of(scope);
	if (amount == AMOUNT_SLICE && scope->index) {
		cache_scope_search_begin(scope, search);
		index_search(search, CACHE_SLICE_SEARCH);
		cache_scope_search_end(cache, scope, search, &trash);
	} else if (amount == AMOUNT_SLICE) {
		search_few(scope, search);
	}
	take_candidates(cache, search, query->now_ms, found, &trash);
	cache_unlock(cache);
	cache_trash_empty(&trash);
	return amount != AMOUNT_TOO_MUCH;
}

/* ---------------------------------------------------------------- judging */

/* What was answered: the document's choices, as they are written; the whole of what is no object with choices. */
static struct bytes
answer_of(struct bytes document)
{
	struct json_value choices = {.p = document.p, .n = document.n};
	struct json_member member;
	struct json_scan s;

	json_scan_init(&s, document);
	if (json_enter(&s, JSON_KIND_OBJECT)) {
		while (json_next_member(&s, &member)) {
			if (json_key_is(member.key, "choices"))
				json_take(&s, &choices);
			else
				json_skip(&s);
		}
	}
	return json_scan_end(&s) ? json_value_text(choices) : document;
}

/* Is the other one a different question with a different answer? */
static bool
is_rival(const struct cache_entry *best, const struct cache_entry *other)
{
	return !bytes_equal(best->document, other->document) &&
	       guard_compare(best->question, other->question) != GUARD_NONE &&
	       !bytes_equal(answer_of(best->document), answer_of(other->document));
}

/* Does what was asked lie between the best and a rival of it that is hardly farther away, or nearer? */
static bool
has_runner_up(const struct candidates *found, size_t best)
{
	for (size_t i = 0; i < found->count; i++) {
		const struct candidate *other = &found->list[i];

		if (i != best && !other->is_told_apart &&
		    found->list[best].cosine - other->cosine <= runner_up_margin &&
		    is_rival(found->list[best].entry, other->entry))
			return true;
	}
	return false;
}

/* The place of the hit, or found->count; *first: why the nearest above the threshold is none. */
static size_t
judge(struct candidates *found, const struct cache_query *query, enum guard *first)
{
	*first = GUARD_NONE;
	for (size_t i = 0; i < found->count; i++) {
		struct candidate *candidate = &found->list[i];
		enum guard guard;

		if (candidate->cosine < query->threshold)
			break;
		guard = guard_compare(query->question, candidate->entry->question);
		candidate->is_told_apart = guard != GUARD_NONE;
		if (guard == GUARD_NONE && query->needs_usage && !candidate->entry->has_usage)
			continue;
		if (guard == GUARD_NONE && has_runner_up(found, i))
			guard = GUARD_RUNNER_UP;
		if (guard == GUARD_NONE) {
			*first = GUARD_NONE;
			return i;
		}
		if (*first == GUARD_NONE)
			*first = guard;
		if (guard == GUARD_RUNNER_UP)
			break;
	}
	return found->count;
}

/* While others have the lock the use is not noted, which does no harm. */
static void
touch_if_there(struct cache *cache, const struct cache_entry *entry)
{
	struct cache_slot *slot;

	if (!cache_try_lock(cache))
		return;
	slot = cache_slot_find(cache, &entry->key);
	if (slot && slot->entry == entry)
		cache_slot_touch(cache, slot);
	cache_unlock(cache);
}

static void
choose_match(struct cache *cache, const struct cache_query *query, struct candidates *found,
             struct cache_match *match)
{
	size_t hit;

	if (found->count == 0)
		return;
	hit = judge(found, query, &match->guard);
	match->similarity = found->list[hit < found->count ? hit : 0].cosine;
	for (size_t i = 0; i < found->count; i++) {
		if (i == hit)
			match->entry = found->list[i].entry;
		else
			cache_entry_unref(found->list[i].entry);
	}
	if (match->entry)
		touch_if_there(cache, match->entry);
}

void
cache_search(struct cache *cache, const struct cache_query *query, struct cache_match *match)
{
	struct candidates found = {.count = 0};

	*match = (struct cache_match){.guard = GUARD_NONE};
	match->nothing = !find_candidates(cache, query, &found);
	choose_match(cache, query, &found, match);
}

bool
cache_try_search(struct cache *cache, const struct cache_query *query, struct cache_match *match)
{
	struct candidates found = {.count = 0};
	struct index_search search = search_for(query);
	bool cut_known;
	enum amount amount = look(cache, query, &search, &cut_known);

	*match = (struct cache_match){.nothing = amount == AMOUNT_NONE, .guard = GUARD_NONE};
	if (amount != AMOUNT_SLICE)
		return amount == AMOUNT_NONE;
	if (!cut_known)
		search.cut = sketch_cut(search.least, search_miss);
	if (!sketch_make(&search.sketch, query->vector, query->dimensions))
		return true;
	if (!try_candidates(cache, query, &search, &found))
		return false;
	choose_match(cache, query, &found, match);
	return true;
}
