/* What an event loop asks of the cache never waits for those who have the lock, nor takes long. */
#include "cache/cache.h"

#include "cache/cache_fixture.h"
#include "cache/cache_private.h"

enum { CROWD = CACHE_SLICE_SEARCH };

#define WHICH "How far is it to gate 12?"

static const struct cache_options roomy = {
        .max_bytes = 1 << 28, .max_entries = 100000, .caller_share = 1};

/* An entry's question, asked again. */
struct asked {
	struct sha256 scope;
	float vector[DIMENSIONS];
	struct cache_query query;
};

static void
ask(struct asked *asked)
{
	asked->scope = name_of('s', 0);
	vector_at(asked->vector, 0, 0);
	asked->query = (struct cache_query){.scope = &asked->scope,
	                                    .question = bytes_of(WHICH),
	                                    .vector = asked->vector,
	                                    .dimensions = DIMENSIONS,
	                                    .threshold = 0.95,
	                                    .now_ms = NOW};
}

static struct cache *
cache_with_one(const struct cache_options *options)
{
	struct cache *cache = cache_new(options);
	float vector[DIMENSIONS];

	vector_at(vector, 0, 0);
	ck_assert(put(cache, (struct recipe){.key = 1, .question = WHICH, .vector = vector}));
	return cache;
}

START_TEST(test_nothing_is_done_while_others_have_the_lock)
{
	struct cache *cache = cache_with_one(&roomy);
	struct sha256 key = name_of('k', 1);
	struct cache_entry *found = NULL, *entry = entry_of(&(struct recipe){.key = 2});
	struct cache_figures before = cache_figures(cache), after;
	struct cache_match match;
	struct asked asked;
	bool kept = true;

	ask(&asked);
	cache_lock(cache);
	ck_assert(!cache_try_find(cache, &key, false, NOW, &found));
	ck_assert(!cache_try_search(cache, &asked.query, &match));
	ck_assert(!cache_try_insert(cache, entry, NOW, &kept));
	cache_sweep(cache, SIZE_MAX, FOREVER + 1);
	after = cache_figures(cache); /* they need no lock */
	cache_unlock(cache);
	ck_assert_mem_eq(&before, &after, sizeof(before));
	ck_assert_ptr_null(found);

	/* And then everything is. */
	ck_assert(cache_try_find(cache, &key, false, NOW, &found));
	ck_assert_ptr_nonnull(found);
	cache_entry_unref(found);
	ck_assert(cache_try_search(cache, &asked.query, &match));
	ck_assert_ptr_nonnull(match.entry);
	cache_entry_unref(match.entry);
	ck_assert(cache_try_insert(cache, entry, NOW, &kept));
	ck_assert(kept);
	ck_assert(has(cache, 2));
	cache_sweep(cache, SIZE_MAX, FOREVER + 1);
	ck_assert_uint_eq(cache_figures(cache).entries, 0);
	cache_free(cache);
}
END_TEST

START_TEST(test_it_is_waited_for_once_and_not_again_until_the_lock_is_given_back)
{
	struct cache *cache = cache_with_one(&roomy);

	cache_lock(cache);
	ck_assert(!cache->stuck);
	ck_assert(!cache_try_lock(cache));
	ck_assert(cache->stuck);
	ck_assert(!cache_try_lock(cache));
	cache_unlock(cache);
	ck_assert(!cache->stuck);
	ck_assert_uint_eq(cache->waiting, 0);
	ck_assert(cache_try_lock(cache));
	cache_unlock(cache);
	cache_free(cache);
}
END_TEST

START_TEST(test_a_large_scope_is_for_others)
{
	struct cache *cache = cache_with_one(&roomy);
	float vector[DIMENSIONS];
	struct cache_match match;
	struct asked asked;

	ask(&asked);
	vector_at(vector, 4, 0);
	for (unsigned i = 1; i < CROWD; i++)
		ck_assert(put(cache, (struct recipe){.key = 1 + i,
		                                     .question = "Where does it begin?",
		                                     .vector = vector}));
	ck_assert(cache_try_search(cache, &asked.query, &match));
	ck_assert_ptr_nonnull(match.entry);
	cache_entry_unref(match.entry);

	ck_assert(put(cache, (struct recipe){.key = 1 + CROWD,
	                                     .question = "Where does it begin?",
	                                     .vector = vector}));
	ck_assert(!cache_try_search(cache, &asked.query, &match));
	cache_search(cache, &asked.query, &match);
	ck_assert_ptr_nonnull(match.entry);
	cache_entry_unref(match.entry);
	cache_free(cache);
}
END_TEST

START_TEST(test_an_entry_for_which_many_must_go_is_for_others)
{
	enum { COUNT = 5000 };
	struct cache_options options = roomy;
	struct cache *cache = cache_new(&options);
	struct cache_entry *entry = entry_of(&(struct recipe){.key = COUNT});
	bool kept;

	for (unsigned i = 0; i < COUNT; i++)
		ck_assert(put(cache, (struct recipe){.key = i}));
	options.max_entries = 100;
	cache_configure(cache, &options);
	ck_assert(!cache_try_insert(cache, entry, NOW, &kept));
	ck_assert_uint_ge(cache_figures(cache).entries, COUNT - CACHE_SLICE_LEAVE);
	ck_assert(cache_insert(cache, entry, NOW));
	ck_assert(has(cache, COUNT));
	cache_free(cache);
}
END_TEST

START_TEST(test_what_may_not_come_in_is_refused_at_once)
{
	struct cache *cache = cache_new(&roomy);
	bool kept = true;

	ck_assert(cache_try_insert(cache, entry_of(&(struct recipe){.key = 1, .expires_ms = NOW}),
	                           NOW, &kept));
	ck_assert(!kept);
	ck_assert_uint_eq(cache_figures(cache).refused, 1);
	cache_free(cache);
}
END_TEST

UNIT_MAIN("cache_try", test_nothing_is_done_while_others_have_the_lock,
          test_it_is_waited_for_once_and_not_again_until_the_lock_is_given_back,
          test_a_large_scope_is_for_others, test_an_entry_for_which_many_must_go_is_for_others,
          test_what_may_not_come_in_is_refused_at_once)
