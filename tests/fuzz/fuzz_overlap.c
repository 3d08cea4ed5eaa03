/*
 * What is left of a continuation does not depend on how it is cut, is the continuation without a
 * beginning, and that beginning is the longest that a search too simple to be wrong finds.
 *
 * Input: one byte for the kind, one that seeds the cutting, then the text, a zero, the continuation.
 */
#include "wire/overlap.h"

#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static bool
is_first_byte(char c)
{
	return ((unsigned char)c & 0xC0) != 0x80;
}

/* Feeds pieces of 1 to `most` bytes, made longer to whole characters. */
static size_t
feed(enum overlap_kind kind, struct bytes text, struct bytes continuation, uint32_t seed,
     size_t most, struct buf *out)
{
	struct overlap *o = overlap_new(kind, text);
	size_t left_out;

	for (size_t i = 0, size; i < continuation.n; i += size) {
		bool was_settled = overlap_is_settled(o);
		size_t before = out->n;

		seed = seed * 1664525 + 1013904223;
		size = 1 + (seed >> 16) % most;
		if (size > continuation.n - i)
			size = continuation.n - i;
		while (i + size < continuation.n && !is_first_byte(continuation.p[i + size]))
			size++;
		overlap_feed(o, (struct bytes){continuation.p + i, size}, out);
		check(!was_settled || out->n == before + size, "settled, and something changed");
		check(out->n == before ||
		              bytes_is_utf8((struct bytes){out->p + before, out->n - before}),
		      "a character was cut");
	}
	overlap_end(o, out);
	check(overlap_is_settled(o), "ended, but not settled");
	left_out = overlap_left_out(o);
	overlap_free(o);
	return left_out;
}

static bool
is_word_byte(char c)
{
	return (unsigned char)c >= 0x80 || (c && strchr("_0123456789abcdefghijklmnopqrstuvwxyz"
	                                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	                                                c));
}

static bool
may_begin(enum overlap_kind kind, struct bytes text, size_t at)
{
	bool is_near = text.n - at <= OVERLAP_WORDS_MAX_BYTES;

	if (kind == OVERLAP_NONE)
		return false;
	if (at == 0 && kind != OVERLAP_SPACE)
		return true;
	if (kind == OVERLAP_WORDS)
		return is_near && is_first_byte(text.p[at]) &&
		       (text.n - at >= OVERLAP_INNER_MIN_BYTES ||
		        !(is_word_byte(text.p[at - 1]) && is_word_byte(text.p[at])));
	return kind == OVERLAP_SPACE && is_first_byte(text.p[at]) && at >= overlap_trim(text).n &&
	       (is_near || at == overlap_trim(text).n);
}

static size_t
longest(enum overlap_kind kind, struct bytes text, struct bytes continuation)
{
	for (size_t at = 0; at < text.n; at++) {
		size_t n = text.n - at;

		if (n <= continuation.n && memcmp(text.p + at, continuation.p, n) == 0 &&
		    may_begin(kind, text, at))
			return n;
	}
	return 0;
}

/* May the whole continuation still become a longer repetition? */
static bool
is_open(struct bytes text, struct bytes continuation)
{
	for (size_t at = 0; at < text.n; at++) {
		if (text.n - at > continuation.n &&
		    (at == 0 || text.n - at <= OVERLAP_WORDS_MAX_BYTES) &&
		    memcmp(text.p + at, continuation.p, continuation.n) == 0)
			return true;
	}
	return false;
}

/* What is left out when white space is looked over first. */
static size_t
longest_behind_blank(struct bytes text, struct bytes continuation)
{
	size_t blank = 0, found;

	while (blank < continuation.n &&
	       (continuation.p[blank] == ' ' ||
	        (continuation.p[blank] >= '\t' && continuation.p[blank] <= '\r')))
		blank++;
	if (blank == 0 || text.n == 0 || is_open(text, continuation))
		return 0;
	for (size_t at = 0; at < text.n; at++) {
		found = text.n - at;
		if ((at == 0 ||
		     (found >= OVERLAP_BLANK_MIN_BYTES && found <= OVERLAP_WORDS_MAX_BYTES)) &&
		    found <= continuation.n - blank && is_first_byte(text.p[at]) &&
		    memcmp(text.p + at, continuation.p + blank, found) == 0)
			return blank + found;
	}
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	static const size_t most[] = {1, 3, 17, 200, SIZE_MAX};
	enum overlap_kind kind;
	struct bytes text, continuation;
	const char *zero;
	struct buf out;
	size_t want;

	if (n < 3)
		return 0;
	zero = memchr(input + 2, 0, n - 2);
	if (!zero)
		return 0;
	kind = input[0] % 4;
	text.p = (const char *)input + 2;
	text.n = (size_t)(zero - text.p);
	continuation = (struct bytes){zero + 1, n - 3 - text.n};
	if (!bytes_is_utf8(text) || !bytes_is_utf8(continuation))
		return 0;
	want = longest(kind, text, continuation);
	if (want == 0 && kind == OVERLAP_WORDS)
		want = longest_behind_blank(text, continuation);
	buf_init(&out, 0);
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		size_t left_out;

		buf_reset(&out);
		left_out = feed(kind, text, continuation, input[1], most[i], &out);
		check(left_out == want, "not the longest repetition was left out");
		check(bytes_equal(buf_bytes(&out),
		                  (struct bytes){continuation.p + want, continuation.n - want}),
		      "other bytes were left out");
	}
	buf_fini(&out);
	return 0;
}
