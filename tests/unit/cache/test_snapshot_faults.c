/* Files that are damaged, foreign or forged, places that cannot be written to, and what others have left there. */
#include "cache/snapshot.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "cache/snapshot_private.h"
#include "cache/snapshot_fixture.h"

/* The file is refused with a message that names it, and nothing is taken from it. */
static void
check_refused(struct cache *cache, const char *path, const char *message)
{
	char error[256];
	uint64_t loaded = 77;

	ck_assert_int_eq(load(cache, path, &loaded, error), SNAPSHOT_REFUSED);
	ck_assert_uint_eq(loaded, 0);
	ck_assert_msg(strstr(error, path) == error && strstr(error, message), "%s", error);
	ck_assert_uint_eq(cache_figures(cache).insertions, 0);
	ck_assert_uint_eq(cache_figures(cache).refused, 0);
}

static struct buf
snapshot_bytes(const struct scratch *scratch, unsigned entries)
{
	struct cache *cache = cache_of(0, entries);

	write_or_fail(cache, scratch->path);
	cache_free(cache);
	return file_bytes(scratch->path);
}

START_TEST(test_a_file_cut_at_any_byte_is_refused)
{
	struct scratch scratch = scratch_new();
	struct buf b = snapshot_bytes(&scratch, 4);
	struct cache *cache = cache_new(&roomy);

	ck_assert_uint_gt(b.n, 1000);
	for (size_t n = b.n; n-- > 0;) {
		ck_assert_int_eq(truncate(scratch.path, (off_t)n), 0);
		check_refused(cache, scratch.path, "is ");
	}
	file_put(scratch.path, b.p, b.n);
	ck_assert_int_eq(truncate(scratch.path, (off_t)b.n + 1), 0);
	check_refused(cache, scratch.path, "too long");
	cache_free(cache);
	buf_fini(&b);
	scratch_end(&scratch);
}
END_TEST

static void
check_flips(const struct scratch *scratch, struct buf *b, size_t step)
{
	struct cache *cache = cache_new(&roomy);
	int fd = open(scratch->path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	for (size_t bit = 0; bit < 8 * b->n; bit += step) {
		char byte = (char)(b->p[bit / 8] ^ 1 << bit % 8);

		if (pwrite(fd, &byte, 1, (off_t)(bit / 8)) != 1)
			ck_abort_msg("cannot write");
		check_refused(cache, scratch->path, "is ");
		if (pwrite(fd, b->p + bit / 8, 1, (off_t)(bit / 8)) != 1)
			ck_abort_msg("cannot write");
	}
	close(fd);
	cache_free(cache);
	cache_free(cache_from(scratch->path)); /* all bits are as they were */
}

START_TEST(test_a_file_with_any_bit_flipped_is_refused)
{
	struct scratch scratch = scratch_new();
	struct buf b = snapshot_bytes(&scratch, 4);

	check_flips(&scratch, &b, 1);
	buf_fini(&b);
	/* One of several blocks. */
	b = snapshot_bytes(&scratch, 500);
	ck_assert_uint_gt(b.n, 3 * SNAPSHOT_BLOCK_BYTES);
	check_flips(&scratch, &b, 8009);
	buf_fini(&b);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_blocks_in_another_order_are_refused)
{
	struct scratch scratch = scratch_new();
	struct buf b = snapshot_bytes(&scratch, 500);
	struct cache *cache = cache_new(&roomy);
	char *first = b.p + SNAPSHOT_HEADER_BYTES, block[4096];

	memcpy(block, first, sizeof(block));
	memmove(first, first + SNAPSHOT_BLOCK_BYTES, sizeof(block));
	memcpy(first + SNAPSHOT_BLOCK_BYTES, block, sizeof(block));
	file_put(scratch.path, b.p, b.n);
	check_refused(cache, scratch.path, "damaged");
	cache_free(cache);
	buf_fini(&b);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_what_is_no_snapshot_is_refused_by_what_it_is)
{
	struct scratch scratch = scratch_new(), missing = scratch;
	struct buf b = snapshot_bytes(&scratch, 4);
	struct cache *cache = cache_new(&roomy);
	char link[128], error[256] = "left";
	uint64_t loaded;

	b.p[8]++;
	file_put(scratch.path, b.p, b.n);
	check_refused(cache, scratch.path, "another version");
	b.p[8]--;
	b.p[12]++;
	file_put(scratch.path, b.p, b.n);
	check_refused(cache, scratch.path, "another kind of machine");
	b.p[0] = 'X';
	file_put(scratch.path, b.p, b.n);
	check_refused(cache, scratch.path, "no snapshot");
	file_put(scratch.path, "", 0);
	check_refused(cache, scratch.path, "too short");

	beside(&scratch, ".link", link);
	ck_assert_int_eq(symlink(scratch.path, link), 0);
	check_refused(cache, link, "symbolic link");
	unlink(link);
	unlink(scratch.path);
	ck_assert_int_eq(mkdir(scratch.path, 0700), 0);
	check_refused(cache, scratch.path, "Is a directory");
	rmdir(scratch.path);
	ck_assert_int_eq(mkfifo(scratch.path, 0600), 0);
	check_refused(cache, scratch.path, "not a regular file");
	unlink(scratch.path);

	ck_assert_int_eq(load(cache, scratch.path, &loaded, error), SNAPSHOT_MISSING);
	ck_assert_str_eq(error, "");
	snprintf(missing.path, sizeof(missing.path), "%s/no/cache", scratch.folder);
	ck_assert_int_eq(load(cache, missing.path, &loaded, error), SNAPSHOT_MISSING);
	cache_free(cache);
	buf_fini(&b);
	scratch_end(&scratch);
}
END_TEST

/* A file of these records, with all its sums right. */
static void
put_sealed(const char *path, uint64_t records, const char *p, size_t n)
{
	struct snapshot_header header = {.records = records, .bytes = n};
	unsigned char *block = mem_new(SNAPSHOT_BLOCK_FRONT + SNAPSHOT_BLOCK_BYTES);
	unsigned char *file = mem_new(SNAPSHOT_HEADER_BYTES + n);

	for (size_t i = 0, part; i < n; i += part) {
		part = n - i < SNAPSHOT_BLOCK_BYTES ? n - i : SNAPSHOT_BLOCK_BYTES;
		memcpy(block + SNAPSHOT_BLOCK_FRONT, p + i, part);
		snapshot_chain(&header.chain, block, part);
	}
	snapshot_header_encode(&header, file);
	if (n)
		memcpy(file + SNAPSHOT_HEADER_BYTES, p, n);
	file_put(path, file, SNAPSHOT_HEADER_BYTES + n);
	free(block);
	free(file);
}

/* Lengths are not believed, though the sums say that they were meant. */
START_TEST(test_a_forged_length_is_refused_without_memory_for_it)
{
	static const size_t lengths[] = {0, 4, 8, 12, 16};
	struct scratch scratch = scratch_new();
	struct buf b = snapshot_bytes(&scratch, 4);
	struct cache *cache = cache_new(&roomy);
	struct rlimit limit, before;
	char *records = b.p + SNAPSHOT_HEADER_BYTES;
	size_t n = b.n - SNAPSHOT_HEADER_BYTES;

	getrlimit(RLIMIT_AS, &before);
	limit = before;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	limit.rlim_cur = (rlim_t)1 << 30;
#endif
	setrlimit(RLIMIT_AS, &limit);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char *at = records + lengths[i], length[4];

		memcpy(length, at, 4);
		memset(at, 0xFF, 4);
		put_sealed(scratch.path, 4, records, n);
		check_refused(cache, scratch.path, "damaged");
		memcpy(at, length, 4);
	}
	setrlimit(RLIMIT_AS, &before);
	put_sealed(scratch.path, 5, records, n);
	check_refused(cache, scratch.path, "damaged");
	put_sealed(scratch.path, UINT64_MAX, records, n);
	check_refused(cache, scratch.path, "damaged");
	put_sealed(scratch.path, 3, records, n);
	check_refused(cache, scratch.path, "damaged");
	records[20] = 2; /* a flag that nobody knows */
	put_sealed(scratch.path, 4, records, n);
	check_refused(cache, scratch.path, "damaged");
	records[20] = 0;
	records[40] = 'g'; /* in an id */
	put_sealed(scratch.path, 4, records, n);
	check_refused(cache, scratch.path, "damaged");
	records[40] = 'f';
	put_sealed(scratch.path, 4, records, n);
	cache_free(cache_from(scratch.path));
	cache_free(cache);
	buf_fini(&b);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_what_no_cache_could_use_is_passed_over)
{
	struct scratch scratch = scratch_new();
	struct cache_options small = {.max_bytes = 10000, .max_entries = 100, .caller_share = 1};
	struct cache *cache = cache_new(&roomy), *twin = cache_new(&small);
	float vector[DIMENSIONS] = {0.5F}, broken[DIMENSIONS] = {NAN};
	char error[256];
	uint64_t loaded;

	ck_assert(put(cache, (struct recipe){.key = 1, .vector = vector}));
	ck_assert(put(cache, (struct recipe){.key = 2, .vector = broken}));
	ck_assert(put(cache, (struct recipe){.key = 3, .document_bytes = 9900}));
	ck_assert(put(cache, (struct recipe){.key = 4, .document_bytes = 100000}));
	ck_assert(put(cache, (struct recipe){.key = 5}));
	write_or_fail(cache, scratch.path);
	ck_assert_int_eq(load(twin, scratch.path, &loaded, error), SNAPSHOT_LOADED);
	ck_assert_uint_eq(loaded, 1);
	ck_assert(has(twin, 5));
	ck_assert_msg(cache_figures(twin).refused == 1, "the third, by the cache itself");
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

/* A write fails with such a message, and all is as before. */
static void
check_write_fails(const struct scratch *scratch, const char *path, const char *message)
{
	struct cache *cache = cache_of(0, 20);
	unsigned files = scratch_count(scratch);
	char error[256] = "";
	uint64_t written = 77;

	ck_assert(!snapshot_write(cache, path, NOW, NULL, &written, error, sizeof(error)));
	ck_assert_msg(strstr(error, path) == error && strstr(error, message), "%s", error);
	ck_assert_uint_eq(written, 0);
	ck_assert_uint_eq(scratch_count(scratch), files);
	cache_free(cache);
}

START_TEST(test_a_place_that_cannot_be_written_to_is_told)
{
	struct scratch scratch = scratch_new();
	char path[128];

	check_write_fails(&scratch, "", "Is a directory");
	check_write_fails(&scratch, "/proc/cache", "");
	snprintf(path, sizeof(path), "%s/", scratch.folder);
	check_write_fails(&scratch, path, "Is a directory");
	check_write_fails(&scratch, scratch.folder, "Is a directory");
	snprintf(path, sizeof(path), "%s/no/cache", scratch.folder);
	check_write_fails(&scratch, path, "No such file");
	file_put(scratch.path, "x", 1);
	check_write_fails(&scratch, beside(&scratch, "/cache", path), "Not a directory");
	unlink(scratch.path);

	beside(&scratch, ".link", path);
	ck_assert_int_eq(symlink(scratch.path, path), 0);
	check_write_fails(&scratch, path, "symbolic link");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(scratch.path, 0600), 0);
	check_write_fails(&scratch, scratch.path, "not a regular file");
	unlink(scratch.path);
	if (geteuid() != 0) {
		ck_assert_int_eq(chmod(scratch.folder, 0500), 0);
		check_write_fails(&scratch, scratch.path, "Permission denied");
		ck_assert_int_eq(chmod(scratch.folder, 0700), 0);
	}
	scratch_end(&scratch);
}
END_TEST

/* No file of this process may be longer, as on a full disk. */
static void
limit_file_bytes(rlim_t bytes)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
	setrlimit(RLIMIT_FSIZE, &limit);
}

START_TEST(test_a_full_disk_leaves_the_old_file_as_it_was)
{
	struct scratch scratch = scratch_new();
	struct buf old = snapshot_bytes(&scratch, 3), now;
	struct cache *cache = cache_of(10, 500);
	rlim_t whole;

	signal(SIGXFSZ, SIG_IGN);
	for (rlim_t bytes = 0; bytes < 250000; bytes += bytes < 200 ? 1 : 33333) {
		char error[256] = "";
		uint64_t written = 77;
		bool ok;

		/* For Check's own files too: no assertion until it is lifted. */
		limit_file_bytes(bytes);
		ok = snapshot_write(cache, scratch.path, NOW, NULL, &written, error, sizeof(error));
		limit_file_bytes(RLIM_INFINITY);
		ck_assert(!ok);
		ck_assert_msg(strstr(error, "File too large"), "%s", error);
		ck_assert_uint_eq(written, 0);
		ck_assert_uint_eq(scratch_count(&scratch), 1);
		now = file_bytes(scratch.path);
		ck_assert(bytes_equal(buf_bytes(&now), buf_bytes(&old)));
		buf_fini(&now);
	}
	write_or_fail(cache, scratch.path);
	now = file_bytes(scratch.path);
	whole = now.n;
	buf_fini(&now);
	limit_file_bytes(whole);
	write_or_fail(cache, scratch.path);
	limit_file_bytes(RLIM_INFINITY);
	cache_free(cache);
	buf_fini(&old);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_what_killed_writers_left_goes_and_nothing_else)
{
	static const char *const others[] = {".tmp", ".tmp.", ".tmp.12x", ".temp.12", "2.tmp.12"};
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, 3);
	char path[128], own[32], error[256] = "";
	uint64_t written;
	int fd;

	snprintf(own, sizeof(own), ".tmp.%ld", (long)getpid());
	file_put(beside(&scratch, own, path), "x", 1);
	file_put(beside(&scratch, ".tmp.999999999", path), "x", 1);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		file_put(beside(&scratch, others[i], path), "x", 1);
	/* This one is being written. */
	file_put(beside(&scratch, ".tmp.1", path), "x", 1);
	fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);

	write_or_fail(cache, scratch.path);
	ck_assert_uint_eq(scratch_count(&scratch), 2 + sizeof(others) / sizeof(others[0]));
	ck_assert_int_eq(access(path, F_OK), 0);
	close(fd);
	write_or_fail(cache, scratch.path);
	ck_assert_int_ne(access(path, F_OK), 0);

	/* This process writes to it already. */
	file_put(beside(&scratch, own, path), "x", 1);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert(!snapshot_write(cache, scratch.path, NOW, NULL, &written, error, sizeof(error)));
	ck_assert_msg(strstr(error, path) && strstr(error, "File exists"), "%s", error);
	ck_assert_int_eq(access(path, F_OK), 0);
	close(fd);
	unlink(path);

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_int_eq(unlink(beside(&scratch, others[i], path)), 0);
	cache_free(cache);
	scratch_end(&scratch);
}
END_TEST

UNIT_MAIN("snapshot_faults", test_a_file_cut_at_any_byte_is_refused,
          test_a_file_with_any_bit_flipped_is_refused, test_blocks_in_another_order_are_refused,
          test_what_is_no_snapshot_is_refused_by_what_it_is,
          test_a_forged_length_is_refused_without_memory_for_it,
          test_what_no_cache_could_use_is_passed_over,
          test_a_place_that_cannot_be_written_to_is_told,
          test_a_full_disk_leaves_the_old_file_as_it_was,
          test_what_killed_writers_left_goes_and_nothing_else)
