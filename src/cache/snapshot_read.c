/*
 * A snapshot is read twice. The first time all of it is checked, which takes no memory that depends on what is written
 * in it; the second time each block must be the one that was seen the first time, and the entries are taken.
 */
#include "cache/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cache/snapshot_private.h"
#include "cache/vector.h"

/* How far a vector's length may be from 1, squared. */
static const double length_tolerance = 1e-3;

struct reader {
	const char *path;
	int fd;
	struct snapshot_header header;
	bool again; /* the second time */

	unsigned char *buffer; /* owned; of a block */
	size_t n, at;          /* in the block, and read of it */
	uint64_t unread;       /* bytes behind the block */
	uint64_t block;        /* its number */
	struct sha256 chain;
	uint64_t *sums; /* owned; a part of each block's SHA-256 */

	enum snapshot_result result;
	const bool *stop;
	char *error;
	size_t error_size;
};

/* Where the entries go. */
struct taker {
	struct cache *cache;
	uint64_t now_ms, loaded;
	uint64_t most; /* bytes of what may be an entry */
	char *text;    /* owned: what has no fixed length */
	size_t room;
};

static bool
reader_fail(struct reader *r, const char *why)
{
	r->result = SNAPSHOT_REFUSED;
	snprintf(r->error, r->error_size, "%s: %s", r->path, why);
	return false;
}

static bool
reader_fail_damaged(struct reader *r)
{
	return reader_fail(r, "is damaged");
}

static bool
read_all(struct reader *r, unsigned char *p, size_t n, uint64_t offset)
{
	while (n > 0) {
		ssize_t k = pread(r->fd, p, n, (off_t)offset);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return reader_fail(r, strerror(errno));
		if (k == 0)
			return reader_fail_damaged(r);
		p += k;
		n -= (size_t)k;
		offset += (uint64_t)k;
	}
	return true;
}

static uint64_t
part_of(const struct sha256 *sum)
{
	uint64_t part;

	memcpy(&part, sum->bytes, sizeof(part));
	return part;
}

static void
reader_rewind(struct reader *r)
{
	r->n = r->at = 0;
	r->unread = r->header.bytes;
	r->block = 0;
	r->chain = (struct sha256){{0}};
}

/* The next block, when there is one. */
static bool
reader_fill(struct reader *r)
{
	uint64_t offset = SNAPSHOT_HEADER_BYTES + (r->header.bytes - r->unread);
	size_t n = r->unread < SNAPSHOT_BLOCK_BYTES ? (size_t)r->unread : SNAPSHOT_BLOCK_BYTES;

	if (!read_all(r, r->buffer + SNAPSHOT_BLOCK_FRONT, n, offset))
		return false;
	snapshot_chain(&r->chain, r->buffer, n);
	if (!r->again)
		r->sums[r->block] = part_of(&r->chain);
	else if (r->sums[r->block] != part_of(&r->chain))
		return reader_fail(r, "was changed while it was read");
	r->block++;
	r->unread -= n;
	r->n = n;
	r->at = 0;
	return true;
}

static uint64_t
reader_left(const struct reader *r)
{
	return r->n - r->at + r->unread;
}

/* The next n bytes; `to` NULL: they are passed over. */
static bool
reader_take(struct reader *r, void *to, uint64_t n)
{
	char *p = to;

	if (n > reader_left(r))
		return reader_fail_damaged(r);
	while (n > 0) {
		size_t part = r->n - r->at;

		if (part == 0) {
			if (!reader_fill(r))
				return false;
			continue;
		}
		if (part > n)
			part = (size_t)n;
		if (p) {
			memcpy(p, r->buffer + SNAPSHOT_BLOCK_FRONT + r->at, part);
			p += part;
		}
		r->at += part;
		n -= part;
	}
	return true;
}

/* Bytes for what has no fixed length. False when there is no memory. */
static bool
taker_reserve(struct taker *taker, size_t n)
{
	if (n <= taker->room)
		return true;
	free(taker->text);
	taker->text = mem_try(n);
	taker->room = taker->text ? n : 0;
	return taker->text != NULL;
}

static void
place(struct bytes *text, const char **p)
{
	text->p = *p;
	*p += text->n;
}

static void
taker_insert(struct taker *taker, struct cache_entry *from)
{
	const char *p = taker->text;
	struct cache_entry *entry;

	if (from->dimensions > 0) {
		from->vector = (const float *)(const void *)p;
		p += from->dimensions * sizeof(float);
		if (!(fabs(vector_dot(from->vector, from->vector, from->dimensions) - 1) <
		      length_tolerance))
			return;
	}
	place(&from->document, &p);
	place(&from->question, &p);
	place(&from->model, &p);
	place(&from->provider, &p);
	entry = cache_entry_new(from, true);
	if (entry && cache_insert(taker->cache, entry, taker->now_ms))
		taker->loaded++;
}

/* What cannot be an entry of this cache, or has no memory, is passed over. */
static bool
take_record(struct reader *r, struct taker *taker)
{
	unsigned char fixed[SNAPSHOT_RECORD_BYTES];
	struct cache_entry entry;
	uint64_t rest;

	if (!reader_take(r, fixed, sizeof(fixed)))
		return false;
	if (!snapshot_record_decode(fixed, &entry))
		return reader_fail_damaged(r);
	rest = snapshot_record_rest(&entry);
	if (!r->again || entry.expires_ms <= taker->now_ms || rest > taker->most ||
	    rest > reader_left(r) || !taker_reserve(taker, rest))
		return reader_take(r, NULL, rest);
	if (!reader_take(r, taker->text, rest))
		return false;
	taker_insert(taker, &entry);
	return true;
}

static bool
take_records(struct reader *r, struct taker *taker)
{
	reader_rewind(r);
	for (uint64_t i = 0; i < r->header.records; i++) {
		if (r->stop && __atomic_load_n(r->stop, __ATOMIC_RELAXED)) {
			r->result = SNAPSHOT_STOPPED;
			return false;
		}
		if (!take_record(r, taker))
			return false;
	}
	return reader_left(r) == 0 || reader_fail_damaged(r);
}

static bool
reader_open(struct reader *r)
{
	/* A FIFO must not hold it up. */
	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (r->fd >= 0)
		return true;
	if (errno == ENOENT) {
		r->result = SNAPSHOT_MISSING;
		return false;
	}
	return reader_fail(r, errno == ELOOP ? "is a symbolic link" : strerror(errno));
}

static bool
reader_begin(struct reader *r)
{
	unsigned char header[SNAPSHOT_HEADER_BYTES];
	const char *fault;
	struct stat st;

	if (fstat(r->fd, &st) < 0)
		return reader_fail(r, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return reader_fail(r, strerror(EISDIR));
	if (!S_ISREG(st.st_mode))
		return reader_fail(r, "is not a regular file");
	if (st.st_size < SNAPSHOT_HEADER_BYTES)
		return reader_fail(r, "is too short to be a snapshot");
	if (!read_all(r, header, sizeof(header), 0))
		return false;
	fault = snapshot_header_decode(header, &r->header);
	if (fault)
		return reader_fail(r, fault);
	if (r->header.bytes != (uint64_t)st.st_size - SNAPSHOT_HEADER_BYTES)
		return reader_fail(r, "is cut off, or too long");
	r->buffer = mem_new(SNAPSHOT_BLOCK_FRONT + SNAPSHOT_BLOCK_BYTES);
	r->sums = mem_try((r->header.bytes / SNAPSHOT_BLOCK_BYTES + 1) * sizeof(*r->sums));
	return r->sums || reader_fail(r, strerror(ENOMEM));
}

static bool
reader_check(struct reader *r, struct taker *taker)
{
	r->again = false;
	if (!take_records(r, taker))
		return false;
	return sha256_equal(&r->chain, &r->header.chain) || reader_fail_damaged(r);
}

static bool
reader_load(struct reader *r, struct taker *taker)
{
	r->again = true;
	return take_records(r, taker);
}

enum snapshot_result
snapshot_load(struct cache *cache, const char *path, uint64_t now_ms, const bool *stop,
              uint64_t *loaded, char *error, size_t size)
{
	struct reader r = {.path = path,
	                   .fd = -1,
	                   .result = SNAPSHOT_LOADED,
	                   .stop = stop,
	                   .error = error,
	                   .error_size = size};
	struct taker taker = {
	        .cache = cache, .now_ms = now_ms, .most = cache_figures(cache).max_bytes};

	if (reader_open(&r) && reader_begin(&r) && reader_check(&r, &taker))
		reader_load(&r, &taker);
	if (r.fd >= 0)
		close(r.fd);
	free(r.buffer);
	free(r.sums);
	free(taker.text);
	*loaded = taker.loaded;
	return r.result;
}
