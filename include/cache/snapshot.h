/*
 * The cache in a file: written whole beside the old one, synced, then renamed over it, so that there is always a good
 * one; versioned and checksummed; readable by its owner alone (0600), for it holds questions and answers. Its format is
 * this machine's (little-endian, IEEE floats); a file of another kind is refused.
 */
#ifndef CACHE_SNAPSHOT_H
#define CACHE_SNAPSHOT_H

#include "cache/cache.h"

/* Writes all entries that have not expired. False with a message in error[size]; then the old file is as it was. May take
 * long: not for an event loop's thread. *stop (atomic, may be NULL): becomes true when it is to be given up. *written: how many. */
bool snapshot_write(struct cache *cache, const char *path, uint64_t now_ms, const bool *stop,
                    uint64_t *written, char *error, size_t size);

enum snapshot_result { SNAPSHOT_LOADED, SNAPSHOT_MISSING, SNAPSHOT_REFUSED, SNAPSHOT_STOPPED };

/* Inserts what the file has and is not expired, in the order of use. The whole file is checked before the first entry is
 * taken. SNAPSHOT_REFUSED with a message: it is damaged, foreign or cannot be read; nothing was taken from it. The rest
 * as above. */
enum snapshot_result snapshot_load(struct cache *cache, const char *path, uint64_t now_ms,
                                   const bool *stop, uint64_t *loaded, char *error, size_t size);

#endif
