/*
 * The cache in a file: written whole beside the old one, synced, then renamed over it, so that there is always a good
 * one; versioned and checksummed; readable by its owner alone (0600), for it holds questions and answers. Its format is
 * this machine's (little-endian, IEEE floats); a file of another kind is refused. The path must not be a symbolic link.
 */
#ifndef CACHE_SNAPSHOT_H
#define CACHE_SNAPSHOT_H

#include "cache/cache.h"

/*
 * Writes all entries that have not expired, with their ids and in the order of their use. False with a message
 * in error[size]; then the old file is as it was, and nothing is left of the new one. What a killed process has
 * left, the next call removes. Of two at the same path at the same time each is whole and the later one counts;
 * a second one in the same process is refused.
 *
 * May take long: not for an event loop's thread. *stop (atomic, may be NULL): becomes true when it is to be
 * given up. *written: how many, 0 when it failed. SIGXFSZ should be ignored.
 */
bool snapshot_write(struct cache *cache, const char *path, uint64_t now_ms, const bool *stop,
                    uint64_t *written, char *error, size_t size);

enum snapshot_result { SNAPSHOT_LOADED, SNAPSHOT_MISSING, SNAPSHOT_REFUSED, SNAPSHOT_STOPPED };

/*
 * Inserts what the file has and is not expired, the least recently used first. The whole file is checked before
 * the first entry is taken. SNAPSHOT_REFUSED with a message: it is damaged, foreign or cannot be read; nothing
 * was taken from it (but if somebody changed it just then: what was read before). SNAPSHOT_STOPPED: what was
 * taken stays. The memory that it takes beside the cache's is a thousandth of the file's size and the largest
 * entry's.
 *
 * *loaded: how many came in. The rest as above.
 */
enum snapshot_result snapshot_load(struct cache *cache, const char *path, uint64_t now_ms,
                                   const bool *stop, uint64_t *loaded, char *error, size_t size);

#endif
