#include "cache/archive.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cache/snapshot.h"

struct archive {
	struct cache *cache; /* borrowed */
	struct log *log;     /* borrowed */
	char *path;          /* owned */
	uint32_t interval_ms;
	uint64_t written_changes; /* the cache's changes at the last writing; the thread's own */
	pthread_t thread;
	pthread_mutex_t mutex; /* guards `stopping` */
	pthread_cond_t stopped;
	bool stopping;
	bool give_up; /* atomic */
};

/* Grows with everything that would make another file. */
static uint64_t
changes_of(struct cache *cache)
{
	struct cache_figures figures = cache_figures(cache);

	return figures.insertions + figures.evicted + figures.expired + figures.replaced +
	       figures.deleted;
}

static void
archive_load(struct archive *archive)
{
	char error[256] = "";
	uint64_t loaded = 0;

	switch (snapshot_load(archive->cache, archive->path, clock_wall_ms(), &archive->give_up,
	                      &loaded, error, sizeof(error))) {
	case SNAPSHOT_LOADED:
		log_event(archive->log, LOG_LEVEL_INFO, "cache_loaded", "file=\"%s\" entries=%llu",
		          archive->path, (unsigned long long)loaded);
		break;
	case SNAPSHOT_REFUSED:
		log_event(archive->log, LOG_LEVEL_WARN, "cache_refused", "file=\"%s\" why=\"%s\"",
		          archive->path, error);
		break;
	case SNAPSHOT_MISSING:
	case SNAPSHOT_STOPPED: break;
	}
	/* What else has changed since the cache was made is not in the file. */
	archive->written_changes = loaded;
}

static void
archive_write(struct archive *archive)
{
	uint64_t changes = changes_of(archive->cache), written = 0;
	char error[256] = "";

	if (changes == archive->written_changes)
		return;
	if (snapshot_write(archive->cache, archive->path, clock_wall_ms(), &archive->give_up,
	                   &written, error, sizeof(error))) {
		archive->written_changes = changes;
		log_event(archive->log, LOG_LEVEL_DEBUG, "cache_written",
		          "file=\"%s\" entries=%llu", archive->path, (unsigned long long)written);
	} else if (!__atomic_load_n(&archive->give_up, __ATOMIC_RELAXED)) {
		log_event(archive->log, LOG_LEVEL_ERROR, "cache_not_written",
		          "file=\"%s\" why=\"%s\"", archive->path, error);
	}
}

/* False: it is to stop. */
static bool
archive_wait(struct archive *archive)
{
	struct timespec until;
	bool stopping;
	int result = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += archive->interval_ms / 1000;
	until.tv_nsec += (long)(archive->interval_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&archive->mutex);
	while (!archive->stopping && result == 0)
		result =
		        archive->interval_ms > 0
		                ? pthread_cond_timedwait(&archive->stopped, &archive->mutex, &until)
		                : pthread_cond_wait(&archive->stopped, &archive->mutex);
	stopping = archive->stopping;
	pthread_mutex_unlock(&archive->mutex);
	return !stopping;
}

static void *
archive_run(void *arg)
{
	struct archive *archive = arg;

	archive_load(archive);
	while (archive_wait(archive))
		archive_write(archive);
	if (!__atomic_load_n(&archive->give_up, __ATOMIC_RELAXED))
		archive_write(archive);
	return NULL;
}

static void
archive_free(struct archive *archive)
{
	pthread_cond_destroy(&archive->stopped);
	pthread_mutex_destroy(&archive->mutex);
	free(archive->path);
	free(archive);
}

struct archive *
archive_start(struct cache *cache, const char *path, uint32_t interval_ms, struct log *log)
{
	struct archive *archive = mem_new(sizeof(*archive));
	pthread_condattr_t attributes;

	archive->cache = cache;
	archive->log = log;
	archive->path = mem_copy(bytes_of(path));
	archive->interval_ms = interval_ms;
	pthread_mutex_init(&archive->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&archive->stopped, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&archive->thread, NULL, archive_run, archive) != 0) {
		archive_free(archive);
		return NULL;
	}
	return archive;
}

void
archive_stop(struct archive *archive, bool at_once)
{
	if (!archive)
		return;
	if (at_once)
		__atomic_store_n(&archive->give_up, true, __ATOMIC_RELAXED);
	pthread_mutex_lock(&archive->mutex);
	archive->stopping = true;
	pthread_cond_signal(&archive->stopped);
	pthread_mutex_unlock(&archive->mutex);
	pthread_join(archive->thread, NULL);
	archive_free(archive);
}
