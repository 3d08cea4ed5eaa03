/*
 * The cursor and the machine that passes over whole values.
 *
 * Always holds between calls: begin <= p <= end; all before p is valid; p stands right after the last
 * value read, or on the next one, never in between white space and a comma. The pass_… functions take
 * and return positions and give NULL at a fault, which they have then noted.
 *
 * Nothing recurses: the containers that pass_value() is in are a stack of bits in the scan itself.
 */
#include "wire/json_scan.h"

#include "wire/json_plain.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What a byte can be: in the low bits the kind of the value that it begins. */
enum { CLASS_KIND = 7, CLASS_SPACE = 8, CLASS_HEX = 16 };

static const uint8_t byte_class[256] = {
        [' '] = CLASS_SPACE,
        ['\t'] = CLASS_SPACE,
        ['\n'] = CLASS_SPACE,
        ['\r'] = CLASS_SPACE,
        ['"'] = JSON_KIND_STRING,
        ['-'] = JSON_KIND_NUMBER,
        ['0' ... '9'] = CLASS_HEX | JSON_KIND_NUMBER,
        ['A' ... 'F'] = CLASS_HEX,
        ['['] = JSON_KIND_ARRAY,
        ['a' ... 'e'] = CLASS_HEX,
        ['f'] = CLASS_HEX | JSON_KIND_FALSE,
        ['n'] = JSON_KIND_NULL,
        ['t'] = JSON_KIND_TRUE,
        ['{'] = JSON_KIND_OBJECT,
};

static inline unsigned
class_of(char c)
{
	return byte_class[(unsigned char)c];
}

static const char *fault_at(struct json_scan *s, const char *p, enum json_fault fault)
        __attribute__((cold, noinline));

static const char *
fault_at(struct json_scan *s, const char *p, enum json_fault fault)
{
	s->fault = fault;
	s->p = p;
	return NULL;
}

/* A byte that may not stand at p, or the end of the text. */
static const char *
unexpected(struct json_scan *s, const char *p)
{
	return fault_at(s, p, p == s->end ? JSON_FAULT_TRUNCATED : JSON_FAULT_SYNTAX);
}

static inline const char *
pass_space(const char *p, const char *end)
{
	/* Mostly there is none. */
	while (p < end && (unsigned char)*p <= ' ' && (class_of(*p) & CLASS_SPACE))
		p++;
	return p;
}

static inline const char *
pass_digits(const char *p, const char *end)
{
#ifdef __SSE2__
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
		__m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);
		int mask = _mm_movemask_epi8(is_digit) ^ 0xFFFF;

		if (mask)
			return p + __builtin_ctz((unsigned)mask);
		p += 16;
	}
#endif
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* Passes over a run of bytes from 0x80 on, which must be well-formed UTF-8 (RFC 3629). */
static const char *
pass_utf8(struct json_scan *s, const char *text)
{
	const unsigned char *p = (const unsigned char *)text, *end = (const unsigned char *)s->end;

	while (p < end && *p >= 0x80) {
		const unsigned char *first = p;
		unsigned c = *p++, low = 0x80, high = 0xBF, more;

		if (c < 0xC2 || c > 0xF4)
			return fault_at(s, (const char *)first, JSON_FAULT_UTF8);
		more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
		if (c == 0xE0)
			low = 0xA0; /* below: longer than need be */
		else if (c == 0xED)
			high = 0x9F; /* above: a surrogate */
		else if (c == 0xF0)
			low = 0x90;
		else if (c == 0xF4)
			high = 0x8F; /* above: beyond U+10FFFF */
		for (; more > 0; more--, p++) {
			if (p == end)
				return fault_at(s, (const char *)p, JSON_FAULT_TRUNCATED);
			if (*p < low || *p > high)
				return fault_at(s, (const char *)first, JSON_FAULT_UTF8);
			low = 0x80;
			high = 0xBF;
		}
	}
	return (const char *)p;
}

/* p: the backslash. */
static const char *
pass_escape(struct json_scan *s, const char *p)
{
	if (++p == s->end)
		return unexpected(s, p);
	switch (*p++) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't': return p;
	case 'u': break;
	default: return unexpected(s, p - 1);
	}
	for (int i = 0; i < 4; i++, p++) {
		if (p == s->end || !(class_of(*p) & CLASS_HEX))
			return unexpected(s, p);
	}
	return p;
}

/* p: after the opening quote. Gives the place after the closing one. */
static inline const char *
pass_string(struct json_scan *s, const char *p)
{
	for (;;) {
		p = json_pass_plain(p, s->end);
		if (p == s->end)
			return unexpected(s, p);
		if (*p == '"')
			return p + 1;
		if (*p == '\\')
			p = pass_escape(s, p);
		else if ((unsigned char)*p >= 0x80)
			p = pass_utf8(s, p);
		else
			return unexpected(s, p);
		if (!p)
			return NULL;
	}
}

static inline bool
is_digit_at(const char *p, const char *end)
{
	return p < end && *p >= '0' && *p <= '9';
}

static const char *
pass_number(struct json_scan *s, const char *p)
{
	const char *end = s->end;

	if (*p == '-')
		p++;
	if (!is_digit_at(p, end))
		return unexpected(s, p);
	if (*p++ != '0')
		p = pass_digits(p, end);
	if (p < end && *p == '.') {
		if (!is_digit_at(++p, end))
			return unexpected(s, p);
		p = pass_digits(p, end);
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (!is_digit_at(p, end))
			return unexpected(s, p);
		p = pass_digits(p, end);
	}
	return p;
}

static inline const char *
pass_word(struct json_scan *s, const char *p, const char *word)
{
	if (json_begins(p, s->end, word))
		return p + strlen(word);
	for (; *word; word++, p++) {
		if (p == s->end || *p != *word)
			return unexpected(s, p);
	}
	return p;
}

/* p: where a key must begin. Gives the first byte of its value, or what stands there instead. */
static inline const char *
pass_key(struct json_scan *s, const char *p, struct bytes *key)
{
	if (p == s->end || *p != '"')
		return unexpected(s, p);
	key->p = ++p;
	p = pass_string(s, p);
	if (!p)
		return NULL;
	key->n = (size_t)(p - 1 - key->p);
	p = pass_space(p, s->end);
	if (p == s->end || *p != ':')
		return unexpected(s, p);
	return pass_space(p + 1, s->end);
}

static inline bool
push(struct json_scan *s, const char *p, bool is_object)
{
	if (s->depth == JSON_DEPTH_MAX)
		return fault_at(s, p, JSON_FAULT_DEPTH) != NULL;
	json_push(s, is_object);
	return true;
}

/*
 * p: after a value or an opening bracket (`fresh`). Leaves the containers that close here, down to
 * `outer`; if one deeper than that stays open, gives the beginning of its next value.
 */
static inline const char *
pass_between(struct json_scan *s, const char *p, uint32_t outer, bool fresh)
{
	while (s->depth > outer) {
		bool is_object = s->objects & 1;
		struct bytes key;

		p = pass_space(p, s->end);
		if (p == s->end)
			return unexpected(s, p);
		if (*p == (is_object ? '}' : ']')) {
			json_pop(s);
			p++;
			fresh = false;
			continue;
		}
		if (!fresh) {
			if (*p != ',')
				return unexpected(s, p);
			p = pass_space(p + 1, s->end);
		}
		return is_object ? pass_key(s, p, &key) : p;
	}
	return p;
}

/* p: where a value must begin, white space passed over. Gives the place after it. */
static const char *
pass_value(struct json_scan *s, const char *p)
{
	const uint32_t outer = s->depth;

	do {
		enum json_kind kind;
		bool opened = false;

		if (p == s->end)
			return unexpected(s, p);
		kind = class_of(*p) & CLASS_KIND;
		switch (kind) {
		case JSON_KIND_STRING: p = pass_string(s, p + 1); break;
		case JSON_KIND_NUMBER: p = pass_number(s, p); break;
		case JSON_KIND_NULL: p = pass_word(s, p, "null"); break;
		case JSON_KIND_FALSE: p = pass_word(s, p, "false"); break;
		case JSON_KIND_TRUE: p = pass_word(s, p, "true"); break;
		case JSON_KIND_ARRAY:
		case JSON_KIND_OBJECT:
			if (!push(s, p, kind == JSON_KIND_OBJECT))
				return NULL;
			opened = true;
			p++;
			break;
		case JSON_KIND_NONE:
		default: return unexpected(s, p);
		}
		if (p)
			p = pass_between(s, p, outer, opened);
	} while (p && s->depth > outer);
	return p;
}

void
json_scan_init(struct json_scan *s, struct bytes text)
{
	s->begin = s->p = text.p ? text.p : "";
	s->end = s->p + text.n;
	s->last = NULL;
	s->objects = 0;
	s->depth = 0;
	s->fresh = true;
	s->fault = JSON_FAULT_NONE;
}

enum json_kind
json_peek(struct json_scan *s)
{
	enum json_kind kind;

	if (s->fault)
		return JSON_KIND_NONE;
	s->p = pass_space(s->p, s->end);
	kind = s->p < s->end ? class_of(*s->p) & CLASS_KIND : JSON_KIND_NONE;
	if (kind == JSON_KIND_NONE)
		unexpected(s, s->p);
	return kind;
}

bool
json_enter_spaced(struct json_scan *s, enum json_kind kind)
{
	if (json_peek(s) != kind || !push(s, s->p, kind == JSON_KIND_OBJECT))
		return false;
	s->p++;
	s->fresh = true;
	return true;
}

/*
 * Moves to the next member or element of a container that `closing` ends. Gives the place where the
 * key or value must begin; NULL at the end of the container, which is left, and at a fault.
 */
static inline const char *
next_item(struct json_scan *s, char closing)
{
	const char *p;

	if (s->fault || s->depth == 0)
		return NULL;
	p = pass_space(s->p, s->end);
	if (p == s->end)
		return unexpected(s, p);
	if (*p == closing) {
		json_leave(s, p);
		return NULL;
	}
	if (s->fresh)
		return p;
	if (*p != ',')
		return unexpected(s, p);
	return pass_space(p + 1, s->end);
}

bool
json_next_member_spaced(struct json_scan *s, struct json_member *member)
{
	const char *before = s->fresh ? NULL : s->p;
	const char *p = next_item(s, '}');

	if (!p)
		return false;
	member->before = before;
	member->begin = p;
	p = pass_key(s, p, &member->key);
	if (!p)
		return false;
	json_pass(s, p);
	return true;
}

bool
json_next_element_spaced(struct json_scan *s)
{
	const char *p = next_item(s, ']');

	if (!p)
		return false;
	json_pass(s, p);
	return true;
}

bool
json_take(struct json_scan *s, struct json_value *value)
{
	const char *p;

	*value = (struct json_value){.kind = json_peek(s)};
	if (value->kind == JSON_KIND_NONE)
		return false;
	value->p = s->p;
	if (value->kind == JSON_KIND_STRING)
		p = pass_string(s, s->p + 1);
	else if (value->kind == JSON_KIND_NULL)
		p = pass_word(s, s->p, "null");
	else
		p = pass_value(s, s->p);
	if (!p) {
		*value = (struct json_value){.kind = JSON_KIND_NONE};
		return false;
	}
	value->n = (size_t)(p - value->p);
	json_pass(s, p);
	return true;
}

bool
json_skip(struct json_scan *s)
{
	struct json_value value;

	return json_take(s, &value);
}

bool
json_skip_null(struct json_scan *s)
{
	if (!s->fault && json_pass_text(s, "null"))
		return true;
	return json_peek(s) == JSON_KIND_NULL && json_skip(s);
}

bool
json_scan_end(struct json_scan *s)
{
	if (s->fault || s->depth > 0)
		return false;
	if (s->fresh && !json_skip(s))
		return false;
	s->p = pass_space(s->p, s->end);
	if (s->p != s->end)
		fault_at(s, s->p, JSON_FAULT_TRAILING);
	return s->p == s->end;
}

size_t
json_scan_offset(const struct json_scan *s)
{
	return (size_t)(s->p - s->begin);
}

const char *
json_fault_text(enum json_fault fault)
{
	switch (fault) {
	case JSON_FAULT_NONE: return "no fault";
	case JSON_FAULT_TRUNCATED: return "the text ends too early";
	case JSON_FAULT_SYNTAX: return "unexpected character";
	case JSON_FAULT_DEPTH: return "nested too deeply";
	case JSON_FAULT_UTF8: return "invalid UTF-8";
	case JSON_FAULT_TRAILING: return "unexpected text after the end";
	}
	return "unknown fault";
}
