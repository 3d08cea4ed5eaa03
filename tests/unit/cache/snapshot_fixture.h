/* A folder for snapshots, and looks at what is in it. Static, since each program uses some of it. */
#ifndef SNAPSHOT_FIXTURE_H
#define SNAPSHOT_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cache/cache_fixture.h"
#include "cache/snapshot.h"

struct scratch {
	char folder[64];
	char path[96];
};

static const struct cache_options roomy = {
        .max_bytes = 1 << 28, .max_entries = 1000000, .caller_share = 1};

__attribute__((unused)) static struct scratch
scratch_new(void)
{
	struct scratch scratch;

	snprintf(scratch.folder, sizeof(scratch.folder), "/tmp/draft-thinker-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch.folder));
	snprintf(scratch.path, sizeof(scratch.path), "%s/cache", scratch.folder);
	return scratch;
}

/* A path beside the snapshot's: its own with `end` behind it. */
__attribute__((unused)) static const char *
beside(const struct scratch *scratch, const char *end, char out[128])
{
	snprintf(out, 128, "%s%s", scratch->path, end);
	return out;
}

/* How many files there are. */
__attribute__((unused)) static unsigned
scratch_count(const struct scratch *scratch)
{
	DIR *list = opendir(scratch->folder);
	unsigned count = 0;

	ck_assert_ptr_nonnull(list);
	for (const struct dirent *entry; (entry = readdir(list));)
		count += entry->d_name[0] != '.';
	closedir(list);
	return count;
}

/* Everything must be gone but, perhaps, the snapshot. */
__attribute__((unused)) static void
scratch_end(const struct scratch *scratch)
{
	unlink(scratch->path);
	ck_assert_int_eq(rmdir(scratch->folder), 0);
}

__attribute__((unused)) static struct buf
file_bytes(const char *path)
{
	char part[4096];
	struct buf b;
	ssize_t n;
	int fd = open(path, O_RDONLY);

	ck_assert_int_ge(fd, 0);
	buf_init(&b, 0);
	while ((n = read(fd, part, sizeof(part))) > 0)
		buf_add(&b, part, (size_t)n);
	close(fd);
	return b;
}

__attribute__((unused)) static void
file_put(const char *path, const void *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
	close(fd);
}

/* So many entries from that key on, every second with a vector. */
__attribute__((unused)) static struct cache *
cache_of(unsigned first, unsigned count)
{
	struct cache *cache = cache_new(&roomy);
	uint64_t seed = first;
	float vector[DIMENSIONS];

	for (unsigned key = first; key < first + count; key++) {
		struct recipe recipe = {.key = key,
		                        .caller = key % 3,
		                        .scope = key % 5,
		                        .no_usage = key % 7 == 0,
		                        .document_bytes = key % 11 * 50};

		if (key % 2) {
			vector_random(vector, DIMENSIONS, &seed);
			recipe.vector = vector;
			recipe.question = "Which is number 1?";
		}
		ck_assert(put(cache, recipe));
	}
	return cache;
}

__attribute__((unused)) static uint64_t
write_or_fail(struct cache *cache, const char *path)
{
	char error[256] = "";
	uint64_t written = 77;

	ck_assert_msg(snapshot_write(cache, path, NOW, NULL, &written, error, sizeof(error)), "%s",
	              error);
	return written;
}

/* Loads into `cache`; the message, "" when there is none. */
__attribute__((unused)) static enum snapshot_result
load(struct cache *cache, const char *path, uint64_t *loaded, char error[256])
{
	error[0] = '\0';
	return snapshot_load(cache, path, NOW, NULL, loaded, error, 256);
}

/* A new cache of what the file has. */
__attribute__((unused)) static struct cache *
cache_from(const char *path)
{
	struct cache *cache = cache_new(&roomy);
	char error[256];
	uint64_t loaded;

	ck_assert_msg(load(cache, path, &loaded, error) == SNAPSHOT_LOADED, "%s", error);
	ck_assert_uint_eq(cache_figures(cache).entries, loaded);
	return cache;
}

#endif
