#include "wire/http_bytes.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TTV (HTTP_BYTE_TOKEN | HTTP_BYTE_TARGET | HTTP_BYTE_VALUE)
#define TV  (HTTP_BYTE_TARGET | HTTP_BYTE_VALUE)
#define TKV (HTTP_BYTE_TOKEN | HTTP_BYTE_VALUE)
#define V   HTTP_BYTE_VALUE

const uint8_t http_byte_kinds[256] = {
        ['\t'] = V,          [' '] = V,           ['!'] = TTV,
        ['"'] = TV,          ['#'] = TKV,         ['$' ... '\''] = TTV,
        ['('] = TV,          [')'] = TV,          ['*'] = TTV,
        ['+'] = TTV,         [','] = TV,          ['-'] = TTV,
        ['.'] = TTV,         ['/'] = TV,          ['0' ... '9'] = TTV,
        [':' ... '@'] = TV,  ['A' ... 'Z'] = TTV, ['[' ... ']'] = TV,
        ['^' ... 'z'] = TTV, ['{'] = TV,          ['|'] = TTV,
        ['}'] = TV,          ['~'] = TTV,         [0x80 ... 0xFF] = V,
};

size_t
http_bytes_run(uint8_t kind, const char *p, size_t n)
{
	size_t i = 0;

#ifdef __SSE2__
	/* Up to a control character. One of them may stand in a value, so the table has the last word. */
	while (kind == HTTP_BYTE_VALUE && n - i >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
		__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
		__m128i stop = _mm_or_si128(control, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7F)));
		int mask = _mm_movemask_epi8(stop);

		if (mask) {
			i += (size_t)__builtin_ctz((unsigned)mask);
			break;
		}
		i += 16;
	}
#endif
	while (i < n && (http_byte_kinds[(unsigned char)p[i]] & kind))
		i++;
	return i;
}
