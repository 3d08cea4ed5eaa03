#include "base/bytes.h"

#include <endian.h>
#include <float.h>
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

/* The eight bytes at p as one number, the first of them lowest. */
static inline uint64_t
load_8(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* How many of eight bytes are digits, up to the first that is none? A digit's upper half is 3, and stays
 * so when 6 is added; what a byte beyond 0xF9 carries over harms only those behind it. */
static inline unsigned
digits_8_count(uint64_t v)
{
	const uint64_t upper = 0xF0F0F0F0F0F0F0F0, threes = 0x3030303030303030;
	uint64_t other = ((v & upper) ^ threes) | (((v + 0x0606060606060606) & upper) ^ threes);

	return other ? (unsigned)__builtin_ctzll(other) / 8 : 8;
}

/* Eight digits to a number: neighbours to pairs, pairs to fours, fours to the whole. */
static inline uint64_t
digits_8_value(uint64_t v)
{
	v = (v & 0x0F0F0F0F0F0F0F0F) * (10 << 8 | 1) >> 8;
	v = (v & 0x00FF00FF00FF00FF) * (100 << 16 | 1) >> 16;
	return (v & 0x0000FFFF0000FFFF) * ((uint64_t)10000 << 32 | 1) >> 32;
}

/* The number that the first n of eight bytes are, from 1 on: shifted so that they come last, behind bytes that
 * count as zeros. */
static inline uint64_t
digits_8_first(uint64_t v, unsigned n)
{
	return digits_8_value(v << 8 * (8 - n));
}

static const uint64_t power_8[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

/* Powers of ten that are doubles exactly. */
static const double power_double[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

struct decimal {
	uint64_t mantissa;
	int digits;       /* at least as many as the mantissa has; up to 19 it has not overflowed */
	int64_t exponent; /* of ten */
};

/* Reads digits one by one. */
static inline const char *
digits_read(struct decimal *d, const char *p, const char *end)
{
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		d->mantissa = d->mantissa * 10 + (uint64_t)(*p - '0');
		/* Once there is one, each is counted: an overflown mantissa may be 0 again. */
		d->digits += (d->digits > 0 || d->mantissa != 0) && d->digits < 100;
	}
	return p;
}

/* Reads digits of which there are probably several, eight at a time as long as the mantissa has room. */
static inline const char *
fraction_read(struct decimal *d, const char *p, const char *end)
{
	while (end - p >= 8 && d->digits <= 11) {
		uint64_t v = load_8(p);
		unsigned n = digits_8_count(v);

		if (n == 0)
			return p;
		d->mantissa = d->mantissa * power_8[n] + digits_8_first(v, n);
		d->digits += d->mantissa ? (int)n : 0;
		p += n;
		if (n < 8)
			return p;
	}
	return digits_read(d, p, end);
}

/*
 * Mantissa times a power of ten, correctly rounded, or false when that takes more than one rounding.
 *
 * The first way: both are doubles exactly, and so one operation rounds once. The second, for the 16 to
 * 19 digits that servers print of a float: both are exact in the 64 bits of a long double; the result,
 * rounded to 64 bits, is rounded again to 53, which is the same as rounding once unless it lies exactly
 * between two doubles.
 */
static bool
decimal_to_double(const struct decimal *d, double *out)
{
	if (d->digits > 19)
		return false;
	if (d->mantissa < 1ULL << 53 && d->exponent >= -22 && d->exponent <= 22) {
		*out = d->exponent < 0 ? (double)d->mantissa / power_double[-d->exponent]
		                       : (double)d->mantissa * power_double[d->exponent];
		return true;
	}
#if defined(__x86_64__) && LDBL_MANT_DIG == 64
	static const long double long_power[] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,
	                                         1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
	                                         1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L,
	                                         1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
	uint64_t significand;
	long double value;

	if (d->exponent < -27 || d->exponent > 27)
		return false;
	value = d->exponent < 0 ? (long double)d->mantissa / long_power[-d->exponent]
	                        : (long double)d->mantissa * long_power[d->exponent];
	memcpy(&significand, &value, sizeof(significand));
	if ((significand & 0x7FF) == 0x400)
		return false;
	*out = (double)value;
	return true;
#else
	return false;
#endif
}

/* p: after the `e`. The place after the exponent, or NULL. */
static const char *
exponent_read(struct decimal *d, const char *p, const char *end)
{
	bool negative = p < end && *p == '-';
	const char *first;
	int64_t value = 0;

	if (p < end && (*p == '+' || *p == '-'))
		p++;
	first = p;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		value = value < 1000000 ? value * 10 + (*p - '0') : value;
	d->exponent += negative ? -value : value;
	return p > first ? p : NULL;
}

/* The end of the number that begins at p, or NULL. */
static const char *
decimal_read(struct decimal *d, const char *p, const char *end)
{
	const char *first = p;

	p = digits_read(d, p, end);
	if (p == first || (*first == '0' && p > first + 1))
		return NULL;
	if (p < end && *p == '.') {
		first = ++p;
		p = fraction_read(d, p, end);
		if (p == first)
			return NULL;
		d->exponent = first - p;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
		p = exponent_read(d, p + 1, end);
	return p;
}

/* Nobody calls setlocale(), so the decimal point is always a point. */
static bool
text_to_double(struct bytes text, double *out)
{
	char copy[512], *stop = NULL;

	if (text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	*out = strtod(copy, &stop);
	return stop == copy + text.n;
}

enum { SHORT_BYTES = 2 + 16 }; /* what may be looked at of a short number, its sign left out */

/*
 * Most numbers are spelled like 0.030459207 and stand in front of more text: one digit, a point, and no more
 * than fifteen digits. Both mantissa and power of ten are doubles exactly then. Gives the length, or 0 where it
 * is another kind of number or none.
 */
static inline size_t
short_read(const char *p, double *out)
{
	unsigned first = (unsigned char)*p - (unsigned)'0', n, more;
	uint64_t mantissa, v;

	if (first > 9 || p[1] != '.')
		return 0;
	v = load_8(p + 2);
	n = digits_8_count(v);
	if (n == 0)
		return 0;
	mantissa = first * power_8[n] + digits_8_first(v, n);
	if (n == 8) {
		v = load_8(p + 10);
		more = digits_8_count(v);
		if (more == 8)
			return 0;
		if (more > 0)
			mantissa = mantissa * power_8[more] + digits_8_first(v, more);
		n += more;
	}
	if ((p[2 + n] | ' ') == 'e' || mantissa >= 1ULL << 53)
		return 0;
	*out = (double)(int64_t)mantissa / power_double[n];
	return 2 + n;
}

size_t
bytes_begin_double(struct bytes text, double *out)
{
	bool negative = text.n > 0 && *text.p == '-';
	struct decimal d = {.mantissa = 0};
	const char *end;
	size_t n;

	if (text.n >= (size_t)negative + SHORT_BYTES) {
		n = short_read(text.p + negative, out);
		if (n > 0) {
			*out = negative ? -*out : *out;
			return negative + n;
		}
	}
	if (text.n == 0)
		return 0;
	end = decimal_read(&d, text.p + negative, text.p + text.n);
	if (!end)
		return 0;
	n = (size_t)(end - text.p);
	if (!decimal_to_double(&d, out))
		return text_to_double((struct bytes){text.p, n}, out) ? n : 0;
	if (negative)
		*out = -*out;
	return n;
}

bool
bytes_to_double(struct bytes text, double *out)
{
	double value;

	if (text.n == 0 || bytes_begin_double(text, &value) != text.n)
		return false;
	*out = value;
	return true;
}

const char *
bytes_from_u64(uint64_t value, char out[BYTES_U64_MAX])
{
	char *p = out + BYTES_U64_MAX - 1;

	*p = '\0';
	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return p;
}

void
bytes_copy_text(char *out, size_t size, const char *text)
{
	if (!memccpy(out, text, '\0', size))
		out[size - 1] = '\0';
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
