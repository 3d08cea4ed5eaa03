/*
 * A view on bytes somebody else owns: pointer and length, never terminated.
 * An absent value has p == NULL; an empty one has p != NULL and n == 0.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const char *p; /* borrowed */
	size_t n;
};

static inline struct bytes
bytes_of(const char *text)
{
	return (struct bytes){text, text ? strlen(text) : 0};
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
bytes_is(struct bytes a, const char *text)
{
	return a.p && bytes_equal(a, bytes_of(text));
}

/*
 * Reads all of `text` as a decimal number without sign, at most `max`.
 * False for anything else: empty, a sign, white space, overflow.
 */
bool bytes_to_u64(struct bytes text, uint64_t max, uint64_t *out);

/* Reads all of `text`, a number in JSON's grammar (at most 511 bytes), correctly rounded, independent of
 * the locale. One too large for a double is infinite. */
bool bytes_to_double(struct bytes text, double *out);

/* Reads the number that `text` begins with, as far as it goes; its length, or 0 when there is none.
 * What follows it is not looked at. */
size_t bytes_begin_double(struct bytes text, double *out);

/* A value in decimal digits, terminated, at the end of `out`: where they begin. */
enum { BYTES_U64_MAX = 21 };
const char *bytes_from_u64(uint64_t value, char out[BYTES_U64_MAX]);

/* A terminated copy in out[size], size > 0, of as much as there is room for. */
void bytes_copy_text(char *out, size_t size, const char *text);

/* Is `text` well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF)? */
bool bytes_is_utf8(struct bytes text);

#endif
