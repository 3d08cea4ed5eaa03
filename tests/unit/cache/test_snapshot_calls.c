/* Each call to the system that a snapshot is made of fails once, does half of its work, or is interrupted. */
#include "cache/snapshot.h"

#include <errno.h>
#include <sys/syscall.h>

#include "cache/snapshot_fixture.h"

enum { NEVER = 1000000 };

/* The program's one thread, so nothing guards it. */
static struct {
	bool armed;
	unsigned calls;   /* so far */
	unsigned fail_at; /* this one fails with EIO */
	bool halves;      /* what is read or written is cut, and every other call interrupted */
	unsigned flip_at; /* what this call reads has one bit flipped */
} fault;

static void
fault_arm(unsigned fail_at, bool halves, unsigned flip_at)
{
	fault.armed = true;
	fault.calls = 0;
	fault.fail_at = fail_at;
	fault.halves = halves;
	fault.flip_at = flip_at;
}

/* In front of the C library's, for this program. 0, or -1 with errno. */
static int
fault_next(void)
{
	unsigned call = fault.calls++;

	if (!fault.armed)
		return 0;
	if (fault.halves && call % 2 == 0) {
		errno = EINTR;
		return -1;
	}
	if (call == fault.fail_at) {
		errno = EIO;
		return -1;
	}
	return 0;
}

static size_t
fault_part(size_t n)
{
	return fault.armed && fault.halves && n > 1 ? n / 2 : n;
}

ssize_t
write(int fd, const void *p, size_t n)
{
	return fault_next() < 0 ? -1 : syscall(SYS_write, fd, p, fault_part(n));
}

ssize_t
pread(int fd, void *p, size_t n, off_t offset)
{
	ssize_t k = fault_next() < 0 ? -1 : syscall(SYS_pread64, fd, p, fault_part(n), offset);

	if (fault.armed && k > 0 && fault.calls - 1 == fault.flip_at)
		*(char *)p ^= 1;
	return k;
}

int
fsync(int fd)
{
	return fault_next() < 0 ? -1 : (int)syscall(SYS_fsync, fd);
}

/* It is never interrupted. */
int
renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	if (!fault.halves && fault_next() < 0)
		return -1;
	return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

START_TEST(test_whatever_call_fails_the_old_file_is_as_it_was)
{
	struct scratch scratch = scratch_new();
	struct cache *old = cache_of(0, 3), *cache = cache_of(10, 500);
	struct buf before, after;
	unsigned calls, failed = 0;

	write_or_fail(old, scratch.path);
	before = file_bytes(scratch.path);
	fault_arm(NEVER, false, NEVER);
	write_or_fail(cache, scratch.path);
	calls = fault.calls;
	ck_assert_uint_gt(calls, 6); /* writes, two fsync, a rename */
	for (unsigned i = 0; i < calls; i++) {
		char error[256] = "";
		uint64_t written;
		bool ok;

		fault.armed = false;
		file_put(scratch.path, before.p, before.n);
		fault_arm(i, false, NEVER);
		ok = snapshot_write(cache, scratch.path, NOW, NULL, &written, error, sizeof(error));
		fault.armed = false;
		ck_assert_uint_eq(scratch_count(&scratch), 1);
		after = file_bytes(scratch.path);
		if (ok) {
			ck_assert_msg(i == calls - 1, "only the sync of the folder may fail");
		} else {
			ck_assert(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
			ck_assert_ptr_nonnull(strstr(error, "Input/output error"));
			ck_assert_uint_eq(written, 0);
			failed++;
		}
		buf_fini(&after);
	}
	ck_assert_uint_eq(failed, calls - 1);
	cache_free(old);
	cache_free(cache);
	buf_fini(&before);
	scratch_end(&scratch);
}
END_TEST

START_TEST(test_calls_may_be_interrupted_or_do_half_of_their_work)
{
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(10, 500), *twin;
	struct buf whole, halves;

	write_or_fail(cache, scratch.path);
	whole = file_bytes(scratch.path);
	ck_assert_int_eq(unlink(scratch.path), 0);
	fault_arm(NEVER, true, NEVER);
	write_or_fail(cache, scratch.path);
	twin = cache_from(scratch.path);
	fault.armed = false;
	ck_assert_uint_eq(cache_figures(twin).entries, 500);
	halves = file_bytes(scratch.path);
	ck_assert(bytes_equal(buf_bytes(&whole), buf_bytes(&halves)));
	buf_fini(&whole);
	buf_fini(&halves);
	cache_free(cache);
	cache_free(twin);
	scratch_end(&scratch);
}
END_TEST

/* The calls of a load: the header, each block, and each block once more. */
START_TEST(test_a_file_that_cannot_be_read_or_changes_meanwhile_is_refused)
{
	enum { ENTRIES = 500 };
	struct scratch scratch = scratch_new();
	struct cache *cache = cache_of(0, ENTRIES);
	unsigned calls, partly = 0;

	write_or_fail(cache, scratch.path);
	fault_arm(NEVER, false, NEVER);
	cache_free(cache_from(scratch.path));
	calls = fault.calls;
	ck_assert_uint_ge(calls, 1 + 2 * 3);
	for (unsigned i = 0; i < 2 * calls; i++) {
		struct cache *twin = cache_new(&roomy);
		char error[256];
		uint64_t loaded;

		fault_arm(i < calls ? i : NEVER, false, i < calls ? NEVER : i - calls);
		ck_assert_int_eq(load(twin, scratch.path, &loaded, error), SNAPSHOT_REFUSED);
		fault.armed = false;
		ck_assert_str_ne(error, "");
		ck_assert_uint_eq(cache_figures(twin).entries, loaded);
		/* What was taken is good: the first entries are those of the file. */
		for (unsigned key = 0; key < loaded; key++)
			ck_assert(has(twin, key));
		ck_assert_uint_lt(loaded, ENTRIES);
		if (i % calls < 1 + (calls - 1) / 2)
			ck_assert_uint_eq(loaded, 0);
		partly += loaded > 0;
		cache_free(twin);
	}
	ck_assert_uint_gt(partly, 0);
	cache_free(cache);
	scratch_end(&scratch);
}
END_TEST

UNIT_MAIN("snapshot_calls", test_whatever_call_fails_the_old_file_is_as_it_was,
          test_calls_may_be_interrupted_or_do_half_of_their_work,
          test_a_file_that_cannot_be_read_or_changes_meanwhile_is_refused)
