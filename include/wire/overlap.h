/*
 * How much of a continuation's beginning repeats the end of the text that it continues. Fed piece by
 * piece: it says as soon as it can be known how many bytes are to be left out. Pure; owns its memory.
 */
#ifndef WIRE_OVERLAP_H
#define WIRE_OVERLAP_H

#include "base/buf.h"

/* Which repetitions are looked for. */
enum overlap_kind {
	OVERLAP_NONE, /* the continuation is exact: nothing is left out */
	OVERLAP_ECHO, /* it may begin with the whole text once more */
	OVERLAP_SPACE, /* the text's trailing white space was not sent: it may begin with a part of that */
	OVERLAP_WORDS, /* it may begin with the whole text, or with its last words: the longest end of the text that
	                * begins at a word's boundary, looked for in the last OVERLAP_WORDS_MAX_BYTES */
};

enum { OVERLAP_WORDS_MAX_BYTES = 4096 };

struct overlap;

/* text is copied (only what is needed of it). NULL when there is no memory. */
struct overlap *overlap_new(enum overlap_kind kind, struct bytes text);
void overlap_free(struct overlap *overlap); /* NULL is allowed */

/* One more piece of the continuation, whole characters of UTF-8. Appends to `out` what is known not to be
 * repetition, earlier pieces that were kept back included; once the question is settled, the piece itself. */
void overlap_feed(struct overlap *overlap, struct bytes piece, struct buf *out);

/* The continuation is over: appends what is still kept back and is no repetition. */
void overlap_end(struct overlap *overlap, struct buf *out);

/* Nothing is kept back, and what comes now passes as it stands. */
bool overlap_is_settled(const struct overlap *overlap);
/* How many bytes were left out. */
size_t overlap_left_out(const struct overlap *overlap);

#endif
