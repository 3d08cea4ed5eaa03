/*
 * The meaning of values that the scanner has validated: strings without their escapes, numbers.
 *
 * All of it relies on that: a string's text is well-formed, with its quotes; a number's is in JSON's
 * grammar.
 */
#include "wire/json_scan.h"

static unsigned
hex_digit(char c)
{
	if (c <= '9')
		return (unsigned)(c - '0');
	return (unsigned)((c | 0x20) - 'a') + 10;
}

/* The code unit of a \uXXXX escape whose first digit is at p. */
static unsigned
code_unit(const char *p)
{
	return hex_digit(p[0]) << 12 | hex_digit(p[1]) << 8 | hex_digit(p[2]) << 4 |
	       hex_digit(p[3]);
}

static bool
is_surrogate(uint32_t c)
{
	return c >= 0xD800 && c <= 0xDFFF;
}

/* The code point of the escape whose backslash is at *p, which is moved past it; it may be a lone surrogate. */
static uint32_t
take_code(const char **p, const char *end)
{
	const char *q = *p + 2;
	unsigned unit, low;

	*p = q;
	switch (q[-1]) {
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'u': break;
	default: return (unsigned char)q[-1];
	}
	unit = code_unit(q);
	*p = q += 4;
	if (is_surrogate(unit) && unit < 0xDC00 && end - q >= 6 && q[0] == '\\' && q[1] == 'u') {
		low = code_unit(q + 2);
		if (low >= 0xDC00 && low <= 0xDFFF) {
			*p = q + 6;
			return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
		}
	}
	return unit;
}

/* The same for a reader of UTF-8. */
static uint32_t
take_escape(const char **p, const char *end)
{
	uint32_t c = take_code(p, end);

	return is_surrogate(c) ? 0xFFFD : c;
}

/* Writes the UTF-8 form; gives its length. */
static size_t
encode_utf8(char text[4], uint32_t c)
{
	size_t n = 0;

	if (c < 0x80) {
		text[n++] = (char)c;
	} else if (c < 0x800) {
		text[n++] = (char)(0xC0 | c >> 6);
		text[n++] = (char)(0x80 | (c & 0x3F));
	} else if (c < 0x10000) {
		text[n++] = (char)(0xE0 | c >> 12);
		text[n++] = (char)(0x80 | (c >> 6 & 0x3F));
		text[n++] = (char)(0x80 | (c & 0x3F));
	} else {
		text[n++] = (char)(0xF0 | c >> 18);
		text[n++] = (char)(0x80 | (c >> 12 & 0x3F));
		text[n++] = (char)(0x80 | (c >> 6 & 0x3F));
		text[n++] = (char)(0x80 | (c & 0x3F));
	}
	return n;
}

bool
json_key_is_escaped(struct bytes key, const char *name)
{
	const char *p = key.p, *end = key.p + key.n;

	for (; p < end && *name; name++) {
		uint32_t c = *p == '\\' ? take_escape(&p, end) : (unsigned char)*p++;

		if (c != (unsigned char)*name)
			return false;
	}
	return p == end && *name == '\0';
}

bool
json_string_is(struct json_value value, const char *text)
{
	return value.kind == JSON_KIND_STRING &&
	       json_key_is((struct bytes){value.p + 1, value.n - 2}, text);
}

bool
json_is_empty(struct json_value value)
{
	struct json_member member;
	struct json_scan s;

	json_scan_init(&s, json_value_text(value));
	switch (value.kind) {
	case JSON_KIND_ARRAY: return json_enter(&s, JSON_KIND_ARRAY) && !json_next_element(&s);
	case JSON_KIND_OBJECT:
		return json_enter(&s, JSON_KIND_OBJECT) && !json_next_member(&s, &member);
	case JSON_KIND_NONE:
	case JSON_KIND_NULL:
	case JSON_KIND_FALSE:
	case JSON_KIND_TRUE:
	case JSON_KIND_NUMBER:
	case JSON_KIND_STRING: break;
	}
	return false;
}

void
json_string_decode(struct json_value value, struct buf *out)
{
	const char *p, *end;
	char text[4];
	size_t n;

	if (value.kind != JSON_KIND_STRING)
		return;
	p = value.p + 1;
	end = value.p + value.n - 1;
	while (p < end) {
		const char *escape = memchr(p, '\\', (size_t)(end - p));

		buf_add(out, p, (size_t)((escape ? escape : end) - p));
		if (!escape)
			return;
		p = escape;
		n = encode_utf8(text, take_escape(&p, end));
		buf_add(out, text, n);
	}
}

/* Writes a character as json_string_respell() spells it; gives its length, of at most 6. */
static size_t
respell(char *out, uint32_t c)
{
	static const char hex[] = "0123456789abcdef", control[] = "bfnrt\"\\",
	                  meant[] = "\b\f\n\r\t\"\\";
	const char *at = c > 0 && c < 0x80 ? strchr(meant, (int)c) : NULL;

	if (at) {
		out[0] = '\\';
		out[1] = control[at - meant];
		return 2;
	}
	if (c >= 0x20 && !is_surrogate(c))
		return encode_utf8(out, c);
	memcpy(out, "\\u", 2);
	for (unsigned i = 0; i < 4; i++)
		out[2 + i] = hex[c >> (12 - 4 * i) & 15];
	return 6;
}

void
json_string_respell(struct bytes string, struct buf *out)
{
	const char *p, *end, *run = string.p; /* all before run is written */
	char *to;

	if (!buf_reserve(out, string.n))
		return;
	to = out->p + out->n;
	p = string.p + 1;
	end = string.p + string.n;
	while ((p = memchr(p, '\\', (size_t)(end - p)))) {
		if (p[1] != 'u' && p[1] != '/') {
			p += 2;
			continue;
		}
		memcpy(to, run, (size_t)(p - run));
		to += p - run;
		to += respell(to, take_code(&p, end - 1));
		run = p;
	}
	memcpy(to, run, (size_t)(end - run));
	out->n = (size_t)(to + (end - run) - out->p);
}

bool
json_string_copy(struct json_value value, char *out, size_t size)
{
	const char *p, *end;
	size_t used = 0;

	if (value.kind != JSON_KIND_STRING)
		return false;
	p = value.p + 1;
	end = value.p + value.n - 1;
	while (p < end) {
		char text[4] = {*p};
		size_t n = 1;

		if (*p == '\\')
			n = encode_utf8(text, take_escape(&p, end));
		else
			p++;
		if (text[0] == '\0' || n >= size - used)
			return false;
		memcpy(out + used, text, n);
		used += n;
	}
	out[used] = '\0';
	return true;
}

bool
json_to_double(struct json_value value, double *out)
{
	return value.kind == JSON_KIND_NUMBER &&
	       bytes_to_double((struct bytes){value.p, value.n}, out);
}

/* The exponent after the `e` at p, held within what matters beside a text of any possible length. */
static int64_t
exponent_at(const char *p, const char *end)
{
	const int64_t bound = INT64_MAX / 100;
	bool negative = false;
	int64_t value = 0;

	p++;
	if (*p == '+' || *p == '-')
		negative = *p++ == '-';
	for (; p < end; p++)
		value = value > bound ? value : value * 10 + (*p - '0');
	return negative ? -value : value;
}

bool
json_to_u64(struct json_value value, uint64_t max, uint64_t *out)
{
	const char *p = value.p, *end = value.p + value.n, *mantissa_end;
	bool negative;
	int64_t power = 0; /* of ten, of the digit that comes next */
	uint64_t total = 0;

	if (value.kind != JSON_KIND_NUMBER)
		return false;
	negative = *p == '-';
	p += negative;
	for (mantissa_end = p; mantissa_end < end && *mantissa_end != 'e' && *mantissa_end != 'E';)
		mantissa_end++;
	if (mantissa_end < end)
		power = exponent_at(mantissa_end, end);
	for (const char *q = p; q + 1 < mantissa_end && q[1] != '.'; q++)
		power++;
	for (; p < mantissa_end; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (*p == '.')
			continue;
		if (power-- < 0 ? digit != 0
		                : __builtin_mul_overflow(total, 10, &total) ||
		                          __builtin_add_overflow(total, digit, &total))
			return false;
	}
	for (; total != 0 && power >= 0; power--) {
		if (__builtin_mul_overflow(total, 10, &total))
			return false;
	}
	if (total > max || (negative && total != 0))
		return false;
	*out = total;
	return true;
}
