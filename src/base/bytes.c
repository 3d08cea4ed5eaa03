#include "base/bytes.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>

bool
bytes_to_u64(struct bytes text, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (!text.p || text.n == 0)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		unsigned digit = (unsigned char)text.p[i] - (unsigned)'0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (value > max)
		return false;
	*out = value;
	return true;
}

/*
 * Digits up to 19 and small exponents are exact in integer arithmetic; the rest, rare
 * in practice, goes through strtod on a bounded copy. Nobody calls setlocale(), so the
 * decimal point is always a point.
 */
bool
bytes_to_double(struct bytes text, double *out)
{
	static const double power[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
	                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	const char *p = text.p, *end;
	bool negative = false;
	uint64_t mantissa = 0;
	int digits = 0, fraction = 0;

	if (!p || text.n == 0)
		return false;
	end = p + text.n;
	if (*p == '-') {
		negative = true;
		p++;
	}
	for (; p < end && *p >= '0' && *p <= '9'; p++, digits++)
		mantissa = mantissa * 10 + (uint64_t)(*p - '0');
	if (p < end && *p == '.') {
		for (p++; p < end && *p >= '0' && *p <= '9'; p++, digits++, fraction++)
			mantissa = mantissa * 10 + (uint64_t)(*p - '0');
	}
	if (p == end && digits > 0 && digits <= 19 && fraction <= 22 && mantissa < (1ULL << 53)) {
		double value = (double)mantissa / power[fraction];

		*out = negative ? -value : value;
		return true;
	}

	char copy[512], *stop = NULL;

	if (text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	if (strspn(copy, "+-0123456789.eE") != text.n)
		return false;
	*out = strtod(copy, &stop);
	return stop == copy + text.n && !isnan(*out);
}

bool
bytes_is_utf8(struct bytes text)
{
	const unsigned char *p = (const unsigned char *)text.p, *end = p ? p + text.n : NULL;

	while (p < end) {
		unsigned char c = *p++;
		unsigned more, low = 0x80, high = 0xBF;

		if (c < 0x80)
			continue;
		if (c >= 0xC2 && c <= 0xDF) {
			more = 1;
		} else if (c >= 0xE0 && c <= 0xEF) {
			more = 2;
			low = c == 0xE0 ? 0xA0 : 0x80;
			high = c == 0xED ? 0x9F : 0xBF;
		} else if (c >= 0xF0 && c <= 0xF4) {
			more = 3;
			low = c == 0xF0 ? 0x90 : 0x80;
			high = c == 0xF4 ? 0x8F : 0xBF;
		} else {
			return false;
		}
		for (; more > 0; more--, low = 0x80, high = 0xBF) {
			if (p == end || *p < low || *p > high)
				return false;
			p++;
		}
	}
	return true;
}
