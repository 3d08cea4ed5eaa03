/* What is found by its key, deleted and walked over. By likeness: test_cache_search.c; how much:
 * test_cache_bounds.c. */
#include "cache/cache.h"

#include "cache/cache_fixture.h"

static const struct cache_options roomy = {
        .max_bytes = 1 << 26, .max_entries = 100000, .caller_share = 1};

START_TEST(test_an_entry_is_found_by_its_key_alone)
{
	struct cache *cache = cache_new(&roomy);
	struct sha256 key = name_of('k', 1);
	struct cache_entry *entry;

	ck_assert(!has(cache, 1));
	ck_assert(put(cache, (struct recipe){.key = 1, .answer = "one"}));
	ck_assert(put(cache, (struct recipe){.key = 2, .answer = "two"}));
	entry = cache_find(cache, &key, true, NOW);
	ck_assert_ptr_nonnull(entry);
	ck_assert_ptr_nonnull(memmem(entry->document.p, entry->document.n, "\"one\"", 5));
	ck_assert(has(cache, 2));
	ck_assert(!has(cache, 3));
	cache_free(cache);
	/* Whoever holds a reference may go on reading. */
	ck_assert_ptr_nonnull(memmem(entry->document.p, entry->document.n, "\"one\"", 5));
	cache_entry_unref(entry);
	cache_free(NULL);
}
END_TEST

START_TEST(test_who_needs_usage_gets_none_without)
{
	struct cache *cache = cache_new(&roomy);
	struct sha256 key = name_of('k', 1);

	ck_assert(put(cache, (struct recipe){.key = 1, .no_usage = true}));
	ck_assert_ptr_null(cache_find(cache, &key, true, NOW));
	ck_assert(has(cache, 1));
	cache_free(cache);
}
END_TEST

START_TEST(test_what_has_expired_is_not_found_and_goes)
{
	struct cache *cache = cache_new(&roomy);
	struct sha256 key = name_of('k', 1);
	struct cache_figures figures;
	struct cache_entry *entry;

	ck_assert(put(cache, (struct recipe){.key = 1, .expires_ms = NOW + 10}));
	entry = cache_find(cache, &key, false, NOW + 9);
	ck_assert_ptr_nonnull(entry);
	cache_entry_unref(entry);
	ck_assert_ptr_null(cache_find(cache, &key, false, NOW + 10));
	figures = cache_figures(cache);
	ck_assert_uint_eq(figures.expired, 1);
	ck_assert_uint_eq(figures.entries, 0);
	ck_assert_uint_eq(figures.bytes, 0);

	ck_assert(!put(cache, (struct recipe){.key = 1, .expires_ms = NOW}));
	ck_assert_uint_eq(cache_figures(cache).refused, 1);
	ck_assert_uint_eq(cache_figures(cache).insertions, 1);
	cache_free(cache);
}
END_TEST

START_TEST(test_a_newer_entry_of_the_same_key_takes_the_place)
{
	struct cache *cache = cache_new(&roomy);
	struct sha256 key = name_of('k', 1);
	struct cache_entry *entry;

	ck_assert(put(cache, (struct recipe){.key = 1, .answer = "old"}));
	ck_assert(put(cache, (struct recipe){.key = 1, .answer = "new"}));
	entry = cache_find(cache, &key, false, NOW);
	ck_assert_ptr_nonnull(memmem(entry->document.p, entry->document.n, "\"new\"", 5));
	ck_assert_uint_eq(cache_figures(cache).entries, 1);
	ck_assert_uint_eq(cache_figures(cache).replaced, 1);
	ck_assert_uint_eq(cache_figures(cache).bytes, entry->bytes);
	cache_entry_unref(entry);
	cache_free(cache);
}
END_TEST

START_TEST(test_only_its_caller_deletes_an_entry)
{
	struct cache *cache = cache_new(&roomy);
	struct sha256 mine = name_of('c', 1), other = name_of('c', 2);
	char id[CACHE_ID_DIGITS + 1];

	ck_assert(put(cache, (struct recipe){.key = 7, .caller = 1}));
	id_of(7, id);
	ck_assert(!cache_delete(cache, &other, id));
	ck_assert(!cache_delete(cache, &mine, "0123456789abcdef"));
	ck_assert(!cache_delete(cache, &mine, "0123456789abcde"));
	ck_assert(!cache_delete(cache, &mine, ""));
	ck_assert(has(cache, 7));
	ck_assert(cache_delete(cache, &mine, id));
	ck_assert(!cache_delete(cache, &mine, id));
	ck_assert(!has(cache, 7));
	ck_assert_uint_eq(cache_figures(cache).deleted, 1);
	cache_free(cache);
}
END_TEST

START_TEST(test_all_of_a_callers_entries_are_deleted_and_no_others)
{
	enum { MINE = 1000, OTHERS = 10 };
	struct cache *cache = cache_new(&roomy);
	struct sha256 mine = name_of('c', 1), nobody = name_of('c', 3);

	for (unsigned i = 0; i < MINE; i++)
		ck_assert(put(cache, (struct recipe){.key = i, .caller = 1}));
	for (unsigned i = 0; i < OTHERS; i++)
		ck_assert(put(cache, (struct recipe){.key = MINE + i, .caller = 2}));
	cache_delete_caller(cache, &nobody);
	ck_assert_uint_eq(cache_figures(cache).entries, MINE + OTHERS);
	cache_delete_caller(cache, &mine);
	ck_assert_uint_eq(cache_figures(cache).entries, OTHERS);
	ck_assert_uint_eq(cache_figures(cache).deleted, MINE);
	for (unsigned i = 0; i < MINE + OTHERS; i++)
		ck_assert_int_eq(has(cache, i), i >= MINE);
	cache_free(cache);
}
END_TEST

/* The tables grow by one bucket at a time: everything is found at every size. */
START_TEST(test_everything_is_found_while_the_tables_grow)
{
	enum { COUNT = 3000 };
	struct cache *cache = cache_new(&roomy);

	for (unsigned i = 0; i < COUNT; i++) {
		ck_assert(put(cache, (struct recipe){.key = i, .caller = i % 50}));
		for (unsigned k = i % 7; k <= i; k += 1 + i / 10)
			ck_assert(has(cache, k));
		ck_assert(!has(cache, i + 1));
	}
	for (unsigned i = 0; i < COUNT; i++) {
		struct sha256 caller = name_of('c', i % 50);
		char id[CACHE_ID_DIGITS + 1];

		id_of(i, id);
		ck_assert(has(cache, i));
		ck_assert(cache_delete(cache, &caller, id));
		ck_assert(!has(cache, i));
	}
	ck_assert_uint_eq(cache_figures(cache).bytes, 0);
	cache_free(cache);
}
END_TEST

START_TEST(test_a_walk_goes_from_the_least_recently_used_on)
{
	enum { COUNT = 3000, ROOM = 7 };
	struct cache *cache = cache_new(&roomy);
	struct cache_walk *walk;
	struct cache_entry *list[ROOM];
	unsigned next = 0;

	for (unsigned i = 0; i < COUNT; i++)
		ck_assert(put(cache, (struct recipe){.key = i}));
	for (unsigned i = 0; i < COUNT; i++)
		ck_assert(has(cache, COUNT - 1 - i));
	walk = cache_walk_begin(cache);
	for (size_t n; (n = cache_walk_next(walk, list, ROOM)) > 0;) {
		ck_assert_uint_le(n, ROOM);
		for (size_t i = 0; i < n; i++, next++) {
			struct sha256 key = name_of('k', COUNT - 1 - next);

			ck_assert(sha256_equal(&list[i]->key, &key));
			cache_entry_unref(list[i]);
		}
	}
	ck_assert_uint_eq(next, COUNT);
	cache_walk_end(walk);
	cache_walk_end(NULL);
	cache_free(cache);
}
END_TEST

START_TEST(test_a_walk_gives_no_entry_twice_whatever_happens_meanwhile)
{
	enum { COUNT = 500 };
	struct cache *cache = cache_new(&roomy);
	struct sha256 caller = name_of('c', 0);
	unsigned char seen[2 * COUNT] = {0};
	struct cache_walk *walk;
	struct cache_entry *entry;
	uint64_t seed = 2;

	for (unsigned i = 0; i < COUNT; i++)
		ck_assert(put(cache, (struct recipe){.key = i}));
	walk = cache_walk_begin(cache);
	while (cache_walk_next(walk, &entry, 1) > 0) {
		unsigned key = random_below(&seed, 2 * COUNT);
		char id[CACHE_ID_DIGITS + 1];

		for (unsigned i = 0; i < 2 * COUNT; i++) {
			id_of(i, id);
			if (memcmp(entry->id, id, sizeof(id)) == 0)
				ck_assert_uint_eq(seen[i]++, 0);
		}
		cache_entry_unref(entry);
		id_of(key, id);
		if (!cache_delete(cache, &caller, id))
			ck_assert(put(cache, (struct recipe){.key = key}));
		has(cache, random_below(&seed, 2 * COUNT));
	}
	cache_walk_end(walk);
	cache_free(cache);
}
END_TEST

UNIT_MAIN("cache", test_an_entry_is_found_by_its_key_alone, test_who_needs_usage_gets_none_without,
          test_what_has_expired_is_not_found_and_goes,
          test_a_newer_entry_of_the_same_key_takes_the_place, test_only_its_caller_deletes_an_entry,
          test_all_of_a_callers_entries_are_deleted_and_no_others,
          test_everything_is_found_while_the_tables_grow,
          test_a_walk_goes_from_the_least_recently_used_on,
          test_a_walk_gives_no_entry_twice_whatever_happens_meanwhile)
