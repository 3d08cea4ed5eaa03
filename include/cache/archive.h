/*
 * The thread that keeps a cache in its file: reads it in at the start, writes it out when something has
 * changed, every so often and at the end. Nothing waits for it but archive_stop.
 */
#ifndef CACHE_ARCHIVE_H
#define CACHE_ARCHIVE_H

#include "base/log.h"
#include "cache/cache.h"

struct archive;

/* interval_ms 0: it is written at the end only. cache and log are borrowed, path is copied. NULL when there is
 * no thread to be had. */
struct archive *archive_start(struct cache *cache, const char *path, uint32_t interval_ms,
                              struct log *log);

/* Writes once more what has changed, and ends the thread. At once: a writing under way is given up, and the
 * file stays as it was. NULL is allowed. */
void archive_stop(struct archive *archive, bool at_once);

#endif
