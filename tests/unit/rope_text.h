/* A rope's text in one piece. */
#ifndef ROPE_TEXT_H
#define ROPE_TEXT_H

#include "base/rope.h"

/* Frees the rope. Reads it in pieces of `step` bytes. */
static inline struct buf
rope_text(struct rope *rope, size_t step)
{
	struct buf text;
	size_t size = rope_size(rope);

	buf_init(&text, 0);
	text.failed = rope->own.failed;
	while (buf_reserve(&text, step)) {
		size_t n = rope_read(rope, text.n, text.p + text.n, step);

		text.n += n;
		if (n < step)
			break;
	}
	text.failed |= text.n != size;
	rope_fini(rope);
	return text;
}

#endif
