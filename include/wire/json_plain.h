/*
 * The bytes of a JSON string that mean themselves: ASCII but for control characters, quote and backslash. Pure.
 */
#ifndef WIRE_JSON_PLAIN_H
#define WIRE_JSON_PLAIN_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The first byte from p on that is none of them, or end. */
static inline const char *
json_pass_plain(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'),
	              space = _mm_set1_epi8(' ');

	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* As a signed byte, one from 0x80 on is less than a space too. */
		__m128i stop = _mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, quote));
		int mask = _mm_movemask_epi8(_mm_or_si128(stop, _mm_cmpeq_epi8(v, backslash)));

		if (mask)
			return p + __builtin_ctz((unsigned)mask);
		p += 16;
	}
#endif
	while (p < end && (signed char)*p >= ' ' && *p != '"' && *p != '\\')
		p++;
	return p;
}

#endif
