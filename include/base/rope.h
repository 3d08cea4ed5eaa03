/*
 * A text in pieces: what is small is copied into it, what is large it borrows. For a large body that is sent on
 * with few changes. Owned by whoever embeds it; one thread at a time.
 */
#ifndef BASE_ROPE_H
#define BASE_ROPE_H

#include "base/buf.h"

enum {
	ROPE_BORROWED_MAX = 8, /* any further piece is copied */
	ROPE_BORROW_BYTES =
	        16 * 1024, /* for rope_init: to copy less costs less than a piece of its own */
};

struct rope {
	struct buf own; /* the copied pieces, one behind the other; its `failed` is the rope's */
	struct {
		size_t at; /* it stands before own.p[at] */
		struct bytes text;
	} borrowed[ROPE_BORROWED_MAX];
	size_t borrowed_count;
	size_t borrow_bytes; /* pieces of at least so many bytes are borrowed; 0: none */
};

/* What is borrowed must live until rope_fini, and through every read. */
void rope_init(struct rope *rope, size_t borrow_bytes);
void rope_fini(struct rope *rope);

/* Appends a piece; failure to allocate shows in own.failed. */
void rope_add(struct rope *rope, struct bytes piece);

size_t rope_size(const struct rope *rope);

/* Copies up to n bytes from `offset` on; how many they were: fewer only at the end. */
size_t rope_read(const struct rope *rope, size_t offset, char *out, size_t n);

#endif
