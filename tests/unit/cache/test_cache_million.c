/*
 * A cache of a million entries: for how long is its lock held at a time? Counted is the processor's time of the
 * thread that holds it, so that other programs count only by the memory and caches that they use up. Of each
 * kind of operation one in a hundred is left out, two at least: what the kernel does in a thread's name counts
 * as the thread's. The longest is told.
 *
 * Not under a sanitizer, which multiplies all times.
 */
#include "cache/cache.h"

#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include "cache/cache_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

START_TEST(test_nothing_is_measured_under_a_sanitizer)
{
}
END_TEST

UNIT_MAIN("cache_million", test_nothing_is_measured_under_a_sanitizer)

#else

enum { MILLION = 1000000, STEPS_MAX = 20000, LIMIT_US = 1000 };

/* How often the lock was held for so many microseconds. */
struct holds {
	pthread_mutex_t *watched; /* the last one that was locked */
	uint64_t begin_ns;
	uint64_t count, by_us[STEPS_MAX + 1];
};

/* The programs's one thread, so nothing guards it. */
static struct holds holds;

static uint64_t
thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* In front of the C library's, for this program. */
int
pthread_mutex_trylock(pthread_mutex_t *mutex)
{
	int (*original)(pthread_mutex_t *) =
	        (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_trylock");
	int status = original(mutex);

	holds.watched = mutex;
	holds.begin_ns = thread_ns();
	return status;
}

int
pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	int (*original)(pthread_mutex_t *) =
	        (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_unlock");

	if (holds.watched == mutex) {
		uint64_t us = (thread_ns() - holds.begin_ns) / 1000;

		holds.count++;
		holds.by_us[us < STEPS_MAX ? us : STEPS_MAX]++;
		holds.watched = NULL;
	}
	return original(mutex);
}

/* The duration that all but so many of the holds stayed below. */
static unsigned
hold_us(uint64_t left_out)
{
	unsigned us = STEPS_MAX;

	while (us > 0 && holds.by_us[us] <= left_out)
		left_out -= holds.by_us[us--];
	return us + 1;
}

/* Tells of all since the last time. */
static void
check_holds(const char *what)
{
	uint64_t left_out = holds.count / 100 > 2 ? holds.count / 100 : 2;

	printf("%-36s %8llu holds: median <%u us, all but %llu <%u us, longest <%u us\n", what,
	       (unsigned long long)holds.count, hold_us(holds.count / 2),
	       (unsigned long long)left_out, hold_us(left_out), hold_us(0));
	ck_assert_msg(hold_us(left_out) <= LIMIT_US, "%s: %u us", what, hold_us(left_out));
	memset(&holds, 0, sizeof(holds));
}

/* Every fourth has a vector, and is in the one scope; odd ones expire before the others. */
static void
fill(struct cache *cache, unsigned first, unsigned count)
{
	uint64_t seed = first;
	float vector[DIMENSIONS];

	for (unsigned key = first; key < first + count; key++) {
		struct recipe recipe = {
		        .key = key, .caller = key % 10 < 6, .expires_ms = NOW + 10 + key % 2};

		if (key % 4 == 0) {
			vector_random(vector, DIMENSIONS, &seed);
			recipe.vector = vector;
			recipe.question = "Which is number 1?";
		}
		ck_assert(cache_insert(cache, entry_of(&recipe), NOW));
	}
}

static void
find_at_random(struct cache *cache, unsigned times)
{
	uint64_t seed = 5;
	unsigned found = 0;

	while (times-- > 0) {
		struct sha256 key = name_of('k', random_below(&seed, MILLION));
		struct cache_entry *entry = cache_find(cache, &key, false, NOW);

		found += entry != NULL;
		cache_entry_unref(entry);
	}
	ck_assert_uint_gt(found, 0);
}

static void
search_at_random(struct cache *cache, unsigned times)
{
	struct sha256 scope = name_of('s', 0);
	uint64_t seed = 6;
	float vector[DIMENSIONS];

	while (times-- > 0) {
		struct cache_query query = {.scope = &scope,
		                            .question = bytes_of("Which is number 1?"),
		                            .vector = vector,
		                            .dimensions = DIMENSIONS,
		                            .threshold = 0.9,
		                            .now_ms = NOW};
		struct cache_match match;

		vector_random(vector, DIMENSIONS, &seed);
		cache_search(cache, &query, &match);
		cache_entry_unref(match.entry);
	}
}

START_TEST(test_the_lock_is_never_held_for_a_millisecond)
{
	struct cache_options options = {
	        .max_bytes = (uint64_t)1 << 31, .max_entries = MILLION, .caller_share = 0.7};
	struct cache *cache = cache_new(&options);
	struct sha256 caller = name_of('c', 1);
	struct cache_walk *walk;
	uint64_t bytes;

	fill(cache, 0, MILLION);
	ck_assert_uint_eq(cache_figures(cache).entries, MILLION);
	check_holds("insert");
	find_at_random(cache, MILLION);
	check_holds("find");
	fill(cache, MILLION, MILLION / 5);
	ck_assert_uint_eq(cache_figures(cache).evicted, MILLION / 5);
	check_holds("insert, one goes for it");
	search_at_random(cache, 10);
	check_holds("search among 250000, a slice");
	walk = cache_walk_begin(cache);
	ck_assert_ptr_nonnull(walk);
	cache_walk_end(walk);
	check_holds("begin a walk, a slice");

	options.max_entries = 2 * MILLION;
	cache_configure(cache, &options);
	fill(cache, 2 * MILLION, MILLION / 5);
	check_holds("insert, beyond the first bounds");
	bytes = options.max_bytes = cache_figures(cache).bytes;
	cache_configure(cache, &options);
	ck_assert(put(cache, (struct recipe){.key = 4 * MILLION, .document_bytes = bytes / 20}));
	check_holds("insert a big one, a slice");
	cache_sweep(cache, SIZE_MAX, NOW + 10);
	ck_assert_uint_gt(cache_figures(cache).expired, MILLION / 2);
	check_holds("sweep, a slice");
	bytes = cache_figures(cache).entries;
	cache_delete_caller(cache, &caller);
	ck_assert_uint_lt(cache_figures(cache).entries, bytes / 2);
	check_holds("delete a caller, a slice");
	cache_free(cache);
}
END_TEST

UNIT_MAIN("cache_million", test_the_lock_is_never_held_for_a_millisecond)

#endif
