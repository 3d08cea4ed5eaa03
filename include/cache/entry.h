/*
 * One answer that is kept, and the question it belongs to. Immutable once it is in a cache, and reference-counted:
 * whoever holds a reference may read it from any thread, whatever the cache does meanwhile.
 */
#ifndef CACHE_ENTRY_H
#define CACHE_ENTRY_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/sha256.h"
#include "cache/sketch.h"

enum { CACHE_ID_DIGITS = 16 };

struct cache_entry {
	char id[CACHE_ID_DIGITS + 1]; /* as clients are told: hexadecimal digits */
	struct sha256 caller;         /* whose it is */
	struct sha256 key;            /* of the exact request */
	struct sha256
	        scope; /* of all that shapes the answer but the question; of no use without a vector */
	uint64_t stored_ms, expires_ms; /* wall clock */
	bool has_usage; /* the document has `usage`, or all that its upstream tells */
	struct bytes
	        document; /* the chat.completion as JSON, without its members id and created: {"object":… */
	struct bytes model, provider; /* labels of the model that answered */
	struct bytes question;        /* as text; empty without a vector */
	const float *vector;          /* unit length; NULL: found by its key only */
	uint32_t dimensions;          /* of the vector */
	struct sketch sketch;         /* of the vector */
	size_t bytes;                 /* of memory that the entry takes, all in all */
	unsigned references;          /* atomic; comes last, since all before it stay as they are */
};

/* A copy of all that `from` points to, in one allocation, with one reference; bytes and references of `from` are not
 * looked at, nor is the sketch, which is made from the vector unless `with_sketch`. NULL when memory is out. */
struct cache_entry *cache_entry_new(const struct cache_entry *from, bool with_sketch);

/* A copy of an entry that may be in a cache, found by this vector instead of its own. NULL when memory is out. */
struct cache_entry *cache_entry_with_vector(const struct cache_entry *entry, const float *vector,
                                            uint32_t dimensions);

struct cache_entry *cache_entry_ref(struct cache_entry *entry);
void cache_entry_unref(struct cache_entry *entry); /* any thread; NULL is allowed */

#endif
