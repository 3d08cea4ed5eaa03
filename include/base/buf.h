/*
 * A growing byte buffer. Owned by whoever embeds it; one thread at a time.
 *
 * A failed append (no memory, or `limit` exceeded) sets `failed`, keeps what is there and
 * turns later appends into nothing, so a sequence of appends needs one check at its end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct buf {
	char *p; /* owned; NULL while empty */
	size_t n, cap;
	size_t limit; /* most bytes it may hold; 0: no limit */
	bool failed;
};

void buf_init(struct buf *b, size_t limit);
void buf_fini(struct buf *b);

/* Empties it and clears `failed`; keeps the memory for reuse. */
void buf_reset(struct buf *b);

/* Makes room for `more` bytes beyond n. False (and `failed`) when it cannot. */
bool buf_reserve(struct buf *b, size_t more);

void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_bytes(struct buf *b, struct bytes text);
void buf_add_text(struct buf *b, const char *text);
void buf_add_u64(struct buf *b, uint64_t value);
void buf_add_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `text` as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD. */
void buf_add_json_string(struct buf *b, struct bytes text);

/* Drops the first n bytes. */
void buf_drop(struct buf *b, size_t n);

static inline struct bytes
buf_bytes(const struct buf *b)
{
	return (struct bytes){b->p ? b->p : "", b->n};
}

#endif
