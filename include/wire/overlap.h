/*
 * How much of a continuation's beginning repeats the end of the text that it continues. Fed piece by
 * piece: it says as soon as it can be known how many bytes are to be left out. Pure; owns its memory.
 *
 *	text: "The capital of"    continuation: "capital of France"    left out: "capital of"
 *
 * Left out is always a whole end of the text: of all those looked for, the longest that the continuation
 * begins with. What may still become a longer one is kept back.
 */
#ifndef WIRE_OVERLAP_H
#define WIRE_OVERLAP_H

#include "base/buf.h"

/* Which repetitions are looked for. */
enum overlap_kind {
	OVERLAP_NONE, /* the continuation is exact: nothing is left out */
	OVERLAP_ECHO, /* it may begin with the whole text once more */
	OVERLAP_SPACE, /* the text's trailing white space was not sent: it may begin with an end of that */
	OVERLAP_WORDS, /* it may begin with the whole text, or with its last words: an end of the text that
	                * begins at a word's boundary */
};

/* OVERLAP_SPACE and OVERLAP_WORDS look so far back, for anything but the whole text. */
enum {
	OVERLAP_WORDS_MAX_BYTES = 4096,
	OVERLAP_INNER_MIN_BYTES =
	        8, /* so long, it is a repetition even if it begins within a word */
	OVERLAP_BLANK_MIN_BYTES =
	        16, /* so long, even behind white space that the text does not have there */
};

struct overlap;

/* text, UTF-8, is copied (only what is needed of it). NULL when there is no memory. */
struct overlap *overlap_new(enum overlap_kind kind, struct bytes text);
void overlap_free(struct overlap *overlap); /* NULL is allowed */

/* One more piece of the continuation, whole characters of UTF-8. Appends to `out` what is known not to be
 * repetition, earlier pieces that were kept back included; once the question is settled, the piece itself. */
void overlap_feed(struct overlap *overlap, struct bytes piece, struct buf *out);

/* The continuation is over: appends what is still kept back and is no repetition. */
void overlap_end(struct overlap *overlap, struct buf *out);

/* Nothing is kept back, and what comes now passes as it stands. */
bool overlap_is_settled(const struct overlap *overlap);
/* How many bytes were left out; not yet settled: at least. */
size_t overlap_left_out(const struct overlap *overlap);

/* The text without the white space at its end, Unicode's included. */
struct bytes overlap_trim(struct bytes text);

#endif
