/* Several threads do everything at once: sanitizers see races and what is freed too early or never. */
#include "cache/cache.h"

#include <pthread.h>

#include "base/clock.h"
#include "cache/cache_fixture.h"

enum { THREADS = 4, CALLERS = 5, KEYS = 40000, CROWDED = 0, RUN_US = 1000000 };

static const struct cache_options options = {
        .max_bytes = 1 << 28, .max_entries = 25000, .caller_share = 0.9};
static const struct cache_options narrow = {
        .max_bytes = 1 << 28, .max_entries = 24800, .caller_share = 0.5};

struct crowd {
	struct cache *cache;
	uint64_t end_us;
	pthread_barrier_t start;
	uint64_t hits, deletions, walked; /* atomic */
};

struct member {
	struct crowd *crowd;
	uint64_t seed;
	pthread_t thread;
};

/* Most are of one scope, which is so large that a search of it takes several slices. */
static struct cache_entry *
random_entry(uint64_t *seed)
{
	unsigned key = random_below(seed, KEYS);
	float vector[DIMENSIONS];
	struct recipe recipe = {.key = key,
	                        .caller = key % CALLERS,
	                        .scope = key % 8 ? CROWDED : key % 64,
	                        .question = key % 3 ? "Which is number 1?" : "Which is number 2?",
	                        .vector = vector,
	                        .document_bytes = random_below(seed, 1000),
	                        .expires_ms = NOW + 1 + random_below(seed, 100)};

	vector_random(vector, DIMENSIONS, seed);
	return entry_of(&recipe);
}

static void
search(struct member *member, uint64_t now_ms)
{
	struct cache *cache = member->crowd->cache;
	struct sha256 scope = name_of(
	        's', random_below(&member->seed, 2) ? CROWDED : 8 * random_below(&member->seed, 8));
	float vector[DIMENSIONS];
	struct cache_query query = {.scope = &scope,
	                            .question = bytes_of("Which is number 1?"),
	                            .vector = vector,
	                            .dimensions = DIMENSIONS,
	                            .threshold = 0.8,
	                            .now_ms = now_ms};
	struct cache_match match;

	vector_random(vector, DIMENSIONS, &member->seed);
	if (random_below(&member->seed, 2) || !cache_try_search(cache, &query, &match))
		cache_search(cache, &query, &match);
	if (match.entry && match.entry->document.p[0] == '{')
		__atomic_add_fetch(&member->crowd->hits, 1, __ATOMIC_RELAXED);
	cache_entry_unref(match.entry);
}

static void
walk_some(struct crowd *crowd, size_t batches)
{
	struct cache_walk *walk = cache_walk_begin(crowd->cache);
	struct cache_entry *list[64];

	for (size_t n; batches-- > 0 && (n = cache_walk_next(walk, list, 64)) > 0;) {
		for (size_t i = 0; i < n; i++) {
			__atomic_add_fetch(&crowd->walked, list[i]->document.n > 0,
			                   __ATOMIC_RELAXED);
			cache_entry_unref(list[i]);
		}
	}
	cache_walk_end(walk);
}

static void
insert(struct member *member, uint64_t now_ms)
{
	struct cache_entry *entry = random_entry(&member->seed);
	bool kept;

	if (random_below(&member->seed, 2) ||
	    !cache_try_insert(member->crowd->cache, entry, now_ms, &kept))
		cache_insert(member->crowd->cache, entry, now_ms);
}

static void
find(struct member *member, const struct sha256 *name, uint64_t now_ms)
{
	struct cache *cache = member->crowd->cache;
	struct cache_entry *entry;

	if (random_below(&member->seed, 2) || !cache_try_find(cache, name, false, now_ms, &entry))
		entry = cache_find(cache, name, false, now_ms);
	cache_entry_unref(entry);
}

static void
do_anything(struct member *member, uint64_t now_ms)
{
	struct crowd *crowd = member->crowd;
	struct cache *cache = crowd->cache;
	unsigned what = random_below(&member->seed, 10000);
	unsigned key = random_below(&member->seed, KEYS);
	struct sha256 name = name_of('k', key), caller = name_of('c', key % CALLERS);
	char id[CACHE_ID_DIGITS + 1];

	if (what < 4500) {
		insert(member, now_ms);
	} else if (what < 8500) {
		find(member, &name, now_ms);
	} else if (what < 8800) {
		search(member, now_ms);
	} else if (what < 9800) {
		id_of(key, id);
		__atomic_add_fetch(&crowd->deletions, cache_delete(cache, &caller, id),
		                   __ATOMIC_RELAXED);
	} else if (what < 9900) {
		cache_sweep(cache, 500, now_ms);
	} else if (what < 9980) {
		cache_configure(cache, what % 2 ? &options : &narrow);
	} else if (what < 9998) {
		walk_some(crowd, key % 50);
	} else {
		cache_delete_caller(cache, &caller);
	}
}

static void *
run(void *arg)
{
	struct member *member = arg;

	pthread_barrier_wait(&member->crowd->start);
	for (uint64_t round = 0; clock_now_us() < member->crowd->end_us; round++)
		do_anything(member, NOW + round / 500 % 100);
	return NULL;
}

START_TEST(test_threads_do_everything_at_once)
{
	struct crowd crowd = {.cache = cache_new(&options)};
	struct member members[THREADS];
	struct cache_figures figures;
	uint64_t seed = 99;

	while (cache_figures(crowd.cache).entries < 20000)
		cache_insert(crowd.cache, random_entry(&seed), NOW);
	pthread_barrier_init(&crowd.start, NULL, THREADS);
	crowd.end_us = clock_now_us() + RUN_US;
	for (unsigned i = 0; i < THREADS; i++) {
		members[i] = (struct member){.crowd = &crowd, .seed = i};
		ck_assert_int_eq(pthread_create(&members[i].thread, NULL, run, &members[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(members[i].thread, NULL);
	pthread_barrier_destroy(&crowd.start);

	ck_assert_uint_gt(crowd.hits, 0);
	ck_assert_uint_gt(crowd.deletions, 0);
	ck_assert_uint_gt(crowd.walked, 0);
	figures = cache_figures(crowd.cache);
	ck_assert_uint_eq(figures.insertions, figures.entries + figures.evicted + figures.expired +
	                                              figures.replaced + figures.deleted);
	for (unsigned i = 0; i < CALLERS; i++) {
		struct sha256 caller = name_of('c', i);

		cache_delete_caller(crowd.cache, &caller);
	}
	figures = cache_figures(crowd.cache);
	ck_assert_uint_eq(figures.entries, 0);
	ck_assert_uint_eq(figures.bytes, 0);
	cache_free(crowd.cache);
}
END_TEST

UNIT_MAIN("cache_threads", test_threads_do_everything_at_once)
