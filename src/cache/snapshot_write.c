/*
 * A snapshot is written to PATH.tmp.PID in the same folder and renamed when it is complete and on the disk. The file is
 * locked (flock) while it is written: one that nobody has locked was left behind by a process that was killed, and
 * goes with the next snapshot. The number in its name would not tell: in containers that share a folder all
 * processes have the same.
 */
#include "cache/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cache/snapshot_private.h"

enum { BATCH = 64, CREATE_TRIES = 3 };

static const char temporary_mark[] = ".tmp.";

struct writer {
	const char *path;
	const char *name; /* in the folder; of path */
	char *temporary;  /* its name in the folder; owned */
	int folder, fd;
	unsigned char *buffer; /* owned; of a block */
	size_t n;              /* in the block */
	struct snapshot_header header;
	const bool *stop;
	char *error;
	size_t error_size;
};

static bool
writer_fail(struct writer *w, const char *why)
{
	snprintf(w->error, w->error_size, "%s: %s", w->path, why);
	return false;
}

static bool
is_stopped(const bool *stop)
{
	return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}

static bool
write_all(struct writer *w, const unsigned char *p, size_t n)
{
	while (n > 0) {
		ssize_t k = write(w->fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return writer_fail(w, strerror(errno));
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static bool
writer_flush(struct writer *w)
{
	size_t n = w->n;

	w->n = 0;
	w->header.bytes += n;
	snapshot_chain(&w->header.chain, w->buffer, n);
	return write_all(w, w->buffer + SNAPSHOT_BLOCK_FRONT, n);
}

static bool
writer_put(struct writer *w, const void *from, size_t n)
{
	const unsigned char *p = from;

	while (n > 0) {
		size_t part = SNAPSHOT_BLOCK_BYTES - w->n;

		if (part > n)
			part = n;
		memcpy(w->buffer + SNAPSHOT_BLOCK_FRONT + w->n, p, part);
		w->n += part;
		p += part;
		n -= part;
		if (w->n == SNAPSHOT_BLOCK_BYTES && !writer_flush(w))
			return false;
	}
	return true;
}

static bool
put_record(struct writer *w, const struct cache_entry *entry)
{
	unsigned char fixed[SNAPSHOT_RECORD_BYTES];

	if (is_stopped(w->stop))
		return writer_fail(w, "given up, since it is to stop");
	snapshot_record_encode(entry, fixed);
	w->header.records++;
	return writer_put(w, fixed, sizeof(fixed)) &&
	       writer_put(w, entry->vector, entry->dimensions * sizeof(float)) &&
	       writer_put(w, entry->document.p, entry->document.n) &&
	       writer_put(w, entry->question.p, entry->question.n) &&
	       writer_put(w, entry->model.p, entry->model.n) &&
	       writer_put(w, entry->provider.p, entry->provider.n);
}

static bool
put_entries(struct writer *w, struct cache *cache, uint64_t now_ms)
{
	struct cache_walk *walk = cache_walk_begin(cache);
	struct cache_entry *list[BATCH];
	bool ok = true;
	size_t n;

	if (!walk)
		return writer_fail(w, strerror(ENOMEM));
	while (ok && (n = cache_walk_next(walk, list, BATCH)) > 0) {
		for (size_t i = 0; i < n; i++) {
			if (ok && list[i]->expires_ms > now_ms && snapshot_record_fits(list[i]))
				ok = put_record(w, list[i]);
			cache_entry_unref(list[i]);
		}
	}
	cache_walk_end(walk);
	return ok && (w->n == 0 || writer_flush(w));
}

/* Is it a name that a writer of the same snapshot gives to its file? */
static bool
is_temporary(const struct writer *w, const char *name)
{
	size_t n = strlen(w->name);

	if (strncmp(name, w->name, n) != 0 ||
	    strncmp(name + n, temporary_mark, strlen(temporary_mark)) != 0)
		return false;
	name += n + strlen(temporary_mark);
	return *name && name[strspn(name, "0123456789")] == '\0';
}

static void
remove_if_stale(const struct writer *w, const char *name)
{
	int fd = openat(w->folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		unlinkat(w->folder, name, 0);
	close(fd);
}

static void
remove_stale(const struct writer *w)
{
	int fd = openat(w->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd >= 0 ? fdopendir(fd) : NULL;

	if (!list) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (const struct dirent *entry; (entry = readdir(list));) {
		if (is_temporary(w, entry->d_name))
			remove_if_stale(w, entry->d_name);
	}
	closedir(list);
}

static bool
open_folder(struct writer *w)
{
	const char *slash = strrchr(w->path, '/');
	char *folder;

	w->name = slash ? slash + 1 : w->path;
	if (!slash)
		folder = mem_copy(bytes_of("."));
	else if (slash == w->path)
		folder = mem_copy(bytes_of("/"));
	else
		folder = mem_copy((struct bytes){w->path, (size_t)(slash - w->path)});
	w->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	return w->folder >= 0 || writer_fail(w, strerror(errno));
}

/* What stands there now must be something that a file may replace. */
static bool
check_target(struct writer *w)
{
	struct stat st;

	if (*w->name == '\0')
		return writer_fail(w, strerror(EISDIR));
	if (fstatat(w->folder, w->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || writer_fail(w, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return writer_fail(w, strerror(EISDIR));
	if (S_ISLNK(st.st_mode))
		return writer_fail(w, "is a symbolic link");
	return S_ISREG(st.st_mode) || writer_fail(w, "is not a regular file");
}

/* Between its creation and its lock a file looks like one left behind, so it may be gone: then once more. */
static bool
create_temporary(struct writer *w)
{
	for (int i = 0; i < CREATE_TRIES; i++) {
		struct stat st;

		w->fd = openat(w->folder, w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		               0600);
		if (w->fd < 0)
			break;
		/* A file system without locks has none for those who look for stale files either. */
		flock(w->fd, LOCK_EX);
		if (fstat(w->fd, &st) == 0 && st.st_nlink > 0)
			return true;
		close(w->fd);
		w->fd = -1;
		errno = EEXIST;
	}
	snprintf(w->error, w->error_size, "%s%s%ld: %s", w->path, temporary_mark, (long)getpid(),
	         strerror(errno));
	return false;
}

static bool
writer_open(struct writer *w)
{
	if (!open_folder(w) || !check_target(w))
		return false;
	w->temporary = mem_format("%s%s%ld", w->name, temporary_mark, (long)getpid());
	w->buffer = mem_new(SNAPSHOT_BLOCK_FRONT + SNAPSHOT_BLOCK_BYTES);
	remove_stale(w);
	return create_temporary(w);
}

/* A header that no reader takes, until the true one can be written. */
static bool
reserve_header(struct writer *w)
{
	static const unsigned char zeros[SNAPSHOT_HEADER_BYTES];

	return write_all(w, zeros, sizeof(zeros));
}

static bool
put_header(struct writer *w)
{
	unsigned char header[SNAPSHOT_HEADER_BYTES];

	snapshot_header_encode(&w->header, header);
	if (lseek(w->fd, 0, SEEK_SET) < 0)
		return writer_fail(w, strerror(errno));
	return write_all(w, header, sizeof(header));
}

static bool
sync_file(int fd)
{
	while (fsync(fd) < 0) {
		if (errno != EINTR)
			return false;
	}
	return true;
}

/* When the folder cannot be synced, a crash of the machine may bring the old file back: either is a good one. */
static bool
put_in_place(struct writer *w)
{
	if (!sync_file(w->fd) || renameat(w->folder, w->temporary, w->folder, w->name) < 0)
		return writer_fail(w, strerror(errno));
	sync_file(w->folder);
	return true;
}

static void
writer_close(struct writer *w, bool renamed)
{
	if (w->fd >= 0) {
		if (!renamed)
			unlinkat(w->folder, w->temporary, 0);
		close(w->fd);
	}
	if (w->folder >= 0)
		close(w->folder);
	free(w->temporary);
	free(w->buffer);
}

bool
snapshot_write(struct cache *cache, const char *path, uint64_t now_ms, const bool *stop,
               uint64_t *written, char *error, size_t size)
{
	struct writer w = {.path = path,
	                   .folder = -1,
	                   .fd = -1,
	                   .stop = stop,
	                   .error = error,
	                   .error_size = size};
	bool ok = writer_open(&w) && reserve_header(&w) && put_entries(&w, cache, now_ms) &&
	          put_header(&w) && put_in_place(&w);

	writer_close(&w, ok);
	*written = ok ? w.header.records : 0;
	return ok;
}
