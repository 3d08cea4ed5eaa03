/* A snapshot brings back what was there. What may go wrong: test_snapshot_faults.c. */
#include "cache/snapshot.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "cache/snapshot_fixture.h"

static void
compare_text(struct bytes a, struct bytes b)
{
	ck_assert(bytes_equal(a, b));
}

static void
compare_entries(const struct cache_entry *a, const struct cache_entry *b)
{
	ck_assert_str_eq(a->id, b->id);
	ck_assert(sha256_equal(&a->caller, &b->caller));
	ck_assert(sha256_equal(&a->key, &b->key));
	ck_assert(sha256_equal(&a->scope, &b->scope));
	ck_assert_uint_eq(a->stored_ms, b->stored_ms);
	ck_assert_uint_eq(a->expires_ms, b->expires_ms);
	ck_assert_int_eq(a->has_usage, b->has_usage);
	compare_text(a->document, b->document);
	compare_text(a->model, b->model);
	compare_text(a->provider, b->provider);
	compare_text(a->question, b->question);
	ck_assert_int_eq(a->vector == NULL, b->vector == NULL);
	ck_assert_uint_eq(a->dimensions, b->dimensions);
	for (uint32_t i = 0; i < a->dimensions; i++)
		ck_assert_double_eq(a->vector[i], b->vector[i]);
	ck_assert_int_eq(memcmp(&a->sketch, &b->sketch, sizeof(a->sketch)), 0);
	ck_assert_uint_eq(a->bytes, b->bytes);
}

/* The same entries in the same order of use. */
static void
compare_caches(struct cache *a, struct cache *b)
{
	struct cache_walk *walks[2] = {cache_walk_begin(a), cache_walk_begin(b)};
	struct cache_entry *entries[2];

	ck_assert_uint_eq(cache_figures(a).entries, cache_figures(b).entries);
	ck_assert_uint_eq(cache_figures(a).bytes, cache_figures(b).bytes);
	while (cache_walk_next(walks[0], &entries[0], 1) > 0) {
		ck_assert_uint_eq(cache_walk_next(walks[1], &entries[1], 1), 1);
		compare_entries(entries[0], entries[1]);
		cache_entry_unref(entries[0]);
		cache_entry_unref(entries[1]);
	}
	cache_walk_end(walks[0]);
	cache_walk_end(walks[1]);
}

START_TEST(test_what_was_there_comes_back_in_the_order_of_use)
{
	/* In one block, in some, and with an entry that is longer than a block. */
	static const struct {
		unsigned count;
		size_t longest;
	} rows[] = {{1, 0}, {2, 0}, {100, 0}, {1000, 300000}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct scratch scratch = scratch_new();
		struct cache *cache = cache_of(0, rows[i].count), *twin;
		uint64_t seed = i;
		struct stat st;

		ck_assert(put(cache, (struct recipe){.key = rows[i].count,
		                                     .document_bytes = rows[i].longest}));
		for (unsigned k = 0; k < rows[i].count; k++)
			ck_assert(has(cache, random_below(&seed, rows[i].count)));
		ck_assert_uint_eq(write_or_fail(cache, scratch.path), rows[i].count + 1);
		twin = cache_from(scratch.path);
		compare_caches(cache, twin);
		ck_assert_int_eq(stat(scratch.path, &st), 0);
		ck_assert_int_eq(st.st_mode & 07777, 0600);
		ck_assert_uint_eq(scratch_count(&scratch), 1);
		cache_free(cache);
		cache_free(twin);
		scratch_end(&scratch);
	}
}
END_TEST

START_TEST(test_an_empty_cache_is_a_snapshot_too)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, 0), *twin;

	ck_assert_uint_eq(write_or_fail(cache, scratch.path), 0);
	twin = cache_from(scratch.path);
	ck_assert_uint_eq(cache_figures(twin).entries, 0);
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_snapshot_takes_the_place_of_the_one_before)
{
	struct scratch scratch = scratch_new();
	struct cache *first = cache_of(0, 10), *second = cache_of(5, 20), *twin;

	write_or_fail(first, scratch.path);
	write_or_fail(second, scratch.path);
	twin = cache_from(scratch.path);
	compare_caches(second, twin);
	cache_free(first);
	cache_free(second);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_name_without_a_folder_is_in_the_working_one)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, 3), *twin;

	ck_assert_int_eq(chdir(scratch.folder), 0);
	write_or_fail(cache, "cache");
	twin = cache_from("cache");
	compare_caches(cache, twin);
	ck_assert_int_eq(chdir("/"), 0);
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_an_entry_is_found_and_deleted_after_a_restart)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_new(&roomy), *twin;
	struct sha256 caller = name_of('c', 1), scope = name_of('s', 0);
	float vector[DIMENSIONS];
	struct cache_query query = {.scope = &scope,
	                            .question = bytes_of("Which is number 1?"),
	                            .vector = vector,
	                            .dimensions = DIMENSIONS,
	                            .threshold = 0.95,
	                            .now_ms = NOW};
	struct cache_match match;
	char id[CACHE_ID_DIGITS + 1];

	vector_at(vector, 0, 0);
	ck_assert(put(cache, (struct recipe){.key = 1,
	                                     .caller = 1,
	                                     .question = "Which is number 1?",
	                                     .vector = vector}));
	write_or_fail(cache, scratch.path);
	cache_free(cache);
	twin = cache_from(scratch.path);
	vector_at(vector, 0, 3);
	cache_search(twin, &query, &match);
	ck_assert_ptr_nonnull(match.entry);
	cache_entry_unref(match.entry);
	id_of(1, id);
	ck_assert(cache_delete(twin, &caller, id));
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_smaller_cache_keeps_what_was_used_last)
{
	struct scratch scratch = scratch_new();
	struct cache_options options = {.max_bytes = 1 << 20, .max_entries = 2, .caller_share = 1};
	struct cache *cache = cache_of(0, 10), *twin = cache_new(&options);
	char error[256];
	uint64_t loaded;

	ck_assert(has(cache, 3));
	ck_assert(has(cache, 7));
	write_or_fail(cache, scratch.path);
	ck_assert_int_eq(load(twin, scratch.path, &loaded, error), SNAPSHOT_LOADED);
	ck_assert_uint_eq(cache_figures(twin).entries, 2);
	ck_assert(has(twin, 3));
	ck_assert(has(twin, 7));
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_what_has_expired_is_neither_written_nor_loaded)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_new(&roomy), *twin = cache_new(&roomy);
	char error[256];
	uint64_t count;

	for (unsigned i = 1; i <= 3; i++)
		ck_assert(put(cache, (struct recipe){.key = i, .expires_ms = NOW + i}));
	ck_assert(snapshot_write(cache, scratch.path, NOW + 1, NULL, &count, error, sizeof(error)));
	ck_assert_uint_eq(count, 2);
	ck_assert_int_eq(
	        snapshot_load(twin, scratch.path, NOW + 2, NULL, &count, error, sizeof(error)),
	        SNAPSHOT_LOADED);
	ck_assert_uint_eq(count, 1);
	ck_assert(has(twin, 3));
	ck_assert_uint_eq(cache_figures(twin).refused, 0);
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_a_load_adds_to_what_is_there)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, 10), *other = cache_of(5, 10);
	char error[256];
	uint64_t loaded;

	write_or_fail(cache, scratch.path);
	ck_assert_int_eq(load(other, scratch.path, &loaded, error), SNAPSHOT_LOADED);
	ck_assert_uint_eq(loaded, 10);
	ck_assert_uint_eq(cache_figures(other).entries, 15);
	ck_assert_uint_eq(cache_figures(other).replaced, 5);
	cache_free(cache);
	cache_free(other);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_both_are_given_up_when_told_to_stop)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, 10), *twin = cache_new(&roomy);
	bool stop = true;
	char error[256] = "";
	uint64_t count = 77;

	write_or_fail(cache, scratch.path);
	ck_assert(put(cache, (struct recipe){.key = 100}));
	ck_assert(!snapshot_write(cache, scratch.path, NOW, &stop, &count, error, sizeof(error)));
	ck_assert_uint_eq(count, 0);
	ck_assert_ptr_nonnull(strstr(error, scratch.path));
	ck_assert_uint_eq(scratch_count(&scratch), 1);
	ck_assert_int_eq(
	        snapshot_load(twin, scratch.path, NOW, &stop, &count, error, sizeof(error)),
	        SNAPSHOT_STOPPED);
	ck_assert_uint_eq(count, 0);
	stop = false;
	ck_assert_int_eq(
	        snapshot_load(twin, scratch.path, NOW, &stop, &count, error, sizeof(error)),
	        SNAPSHOT_LOADED);
	ck_assert_uint_eq(count, 10);
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

struct traffic {
	struct cache *cache;
	bool stop; /* atomic */
};

static void *
use_cache(void *arg)
{
	struct traffic *traffic = arg;
	uint64_t seed = 7;

	while (!__atomic_load_n(&traffic->stop, __ATOMIC_RELAXED)) {
		unsigned key = random_below(&seed, 4000);
		struct sha256 name = name_of('k', key);

		if (key % 2)
			put(traffic->cache, (struct recipe){.key = key});
		else
			cache_entry_unref(cache_find(traffic->cache, &name, false, NOW));
	}
	return NULL;
}

START_TEST(test_a_snapshot_is_written_while_the_cache_is_in_use)
{
	struct scratch scratch = scratch_new();
	struct traffic traffic = {.cache = cache_of(0, 2000)};
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, use_cache, &traffic), 0);
	for (int i = 0; i < 10; i++) {
		uint64_t written = write_or_fail(traffic.cache, scratch.path);
		struct cache *twin = cache_from(scratch.path);

		/* Of the even keys none has gone. */
		ck_assert_uint_ge(written, 1000);
		for (unsigned key = 0; key < 2000; key += 2)
			ck_assert(has(twin, key));
		cache_free(twin);
	}
	__atomic_store_n(&traffic.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	cache_free(traffic.cache);
	scratch_end(&scratch);
}
END_TEST

/* Writes one snapshot after the other, of two caches in turn, until it is killed. */
static void
write_for_ever(const char *path)
{
	struct cache *caches[2] = {cache_of(0, 10), cache_of(0, 300)};
	char error[256];
	uint64_t written;

	for (unsigned i = 0;; i++)
		snapshot_write(caches[i % 2], path, NOW, NULL, &written, error, sizeof(error));
}

START_TEST(test_the_file_is_good_whenever_its_writer_is_killed)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, 10);
	unsigned left = 0;
	uint64_t seed = 8;

	write_or_fail(cache, scratch.path);
	for (int round = 0; round < 40; round++) {
		struct timespec pause = {.tv_nsec = 20000000 + random_below(&seed, 10000) * 1000L};
		struct cache *twin;
		uint64_t entries;
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			write_for_ever(scratch.path);
		nanosleep(&pause, NULL);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
		twin = cache_from(scratch.path);
		entries = cache_figures(twin).entries;
		ck_assert(entries == 10 || entries == 300);
		cache_free(twin);
		left += scratch_count(&scratch) > 1;
		ck_assert_uint_le(scratch_count(&scratch), 2); /* each removes what the last left */
	}
	ck_assert_uint_gt(left, 0);
	write_or_fail(cache, scratch.path);
	ck_assert_uint_eq(scratch_count(&scratch), 1);
	cache_free(cache);
	scratch_end(&scratch);
}
END_TEST

UNIT_MAIN("snapshot", test_what_was_there_comes_back_in_the_order_of_use,
          test_an_empty_cache_is_a_snapshot_too, test_a_snapshot_takes_the_place_of_the_one_before,
          test_a_name_without_a_folder_is_in_the_working_one,
          test_an_entry_is_found_and_deleted_after_a_restart,
          test_a_smaller_cache_keeps_what_was_used_last,
          test_what_has_expired_is_neither_written_nor_loaded, test_a_load_adds_to_what_is_there,
          test_both_are_given_up_when_told_to_stop,
          test_a_snapshot_is_written_while_the_cache_is_in_use,
          test_the_file_is_good_whenever_its_writer_is_killed)
