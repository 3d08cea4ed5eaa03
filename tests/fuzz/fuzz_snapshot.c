/*
 * Any bytes as a snapshot: they are refused, and nothing is taken, or loaded, and what was loaded can be written and
 * loaded again; without much memory in any case.
 *
 * Input: one byte. 0: the rest is the file. Else the rest are its records, so many less one, with all sums made right:
 * a mutation would hardly get past them.
 */
#include "cache/snapshot.h"

#include <fcntl.h>
#include <sanitizer/allocator_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cache/snapshot_private.h"

enum { NOW = 1000, CACHE_BYTES = 1 << 20, MOST_BYTES = 2 * CACHE_BYTES };

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static const struct cache_options options = {
        .max_bytes = CACHE_BYTES, .max_entries = 100, .caller_share = 1};

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static void
on_malloc(const volatile void *p, size_t size)
{
	(void)p;
	check(size <= MOST_BYTES, "so much memory is not needed");
}

static void
on_free(const volatile void *p)
{
	(void)p;
}

static const char *
path_of_process(void)
{
	static char path[64];

	if (path[0] == '\0') {
		snprintf(path, sizeof(path), "%s/fuzz-snapshot-%ld",
		         access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
		__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
	}
	return path;
}

static void
put_file(const char *path, const unsigned char *header, const uint8_t *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	check(fd >= 0, "cannot open a file");
	if (header)
		check(write(fd, header, SNAPSHOT_HEADER_BYTES) == SNAPSHOT_HEADER_BYTES,
		      "cannot write");
	check(write(fd, p, n) == (ssize_t)n, "cannot write");
	close(fd);
}

static void
put_sealed(const char *path, uint64_t records, const uint8_t *p, size_t n)
{
	struct snapshot_header header = {.records = records, .bytes = n};
	unsigned char block[SNAPSHOT_BLOCK_FRONT + SNAPSHOT_BLOCK_BYTES];
	unsigned char encoded[SNAPSHOT_HEADER_BYTES];

	for (size_t i = 0, part; i < n; i += part) {
		part = n - i < SNAPSHOT_BLOCK_BYTES ? n - i : SNAPSHOT_BLOCK_BYTES;
		memcpy(block + SNAPSHOT_BLOCK_FRONT, p + i, part);
		snapshot_chain(&header.chain, block, part);
	}
	snapshot_header_encode(&header, encoded);
	put_file(path, encoded, p, n);
}

static struct cache *
load(const char *path, enum snapshot_result *result, uint64_t *loaded)
{
	struct cache *cache = cache_new(&options);
	char error[256] = "";

	*result = snapshot_load(cache, path, NOW, NULL, loaded, error, sizeof(error));
	check(*result == SNAPSHOT_LOADED || *result == SNAPSHOT_REFUSED, "it is there, and read");
	check((*result == SNAPSHOT_REFUSED) == (error[0] != '\0'),
	      "a message without need, or none");
	check(*result == SNAPSHOT_LOADED || *loaded == 0, "refused, but taken");
	check(cache_figures(cache).insertions == *loaded, "not as many as it says");
	return cache;
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	const char *path = path_of_process();
	struct cache *cache, *twin;
	enum snapshot_result result;
	uint64_t loaded, written;
	char error[256];

	if (n == 0)
		return 0;
	if (input[0] == 0)
		put_file(path, NULL, input + 1, n - 1);
	else
		put_sealed(path, input[0] - 1U, input + 1, n - 1);
	cache = load(path, &result, &loaded);
	if (loaded > 0) {
		check(snapshot_write(cache, path, NOW, NULL, &written, error, sizeof(error)),
		      "cannot be written again");
		twin = load(path, &result, &loaded);
		check(result == SNAPSHOT_LOADED && loaded == written, "another number of entries");
		check(cache_figures(twin).bytes == cache_figures(cache).bytes, "other entries");
		cache_free(twin);
	}
	cache_free(cache);
	unlink(path);
	return 0;
}
