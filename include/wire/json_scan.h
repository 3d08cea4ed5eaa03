/*
 * A strict, allocation-free, one-pass reader of JSON text (RFC 8259) that gives byte ranges
 * into the text instead of building a tree.
 *
 * It is a cursor: the caller walks objects and arrays, takes the values it cares for and skips
 * the rest; everything passed over is validated (grammar, nesting, UTF-8, no raw control
 * characters). Escapes are checked, not resolved: \u0000 and lone surrogates are legal. Numbers
 * are checked, not converted. A fault sticks: every later call returns false, so a walk needs
 * one check at its end, json_scan_end().
 *
 *	json_scan_init(&s, text);
 *	if (json_enter(&s, JSON_KIND_OBJECT)) {
 *		while (json_next_member(&s, &member)) {
 *			if (json_key_is(member.key, "model"))
 *				json_take(&s, &model);
 *			else
 *				json_skip(&s);
 *		}
 *	}
 *	if (!json_scan_end(&s)) …;
 *
 * The caller consumes exactly one value after each json_next_member() or json_next_element() that
 * returned true, and walks what it entered to its end. Where a container's members are to be changed
 * later, json_walk (json_splice.h) remembers where they stand.
 *
 * Pure; borrowed text must outlive the ranges taken from it.
 */
#ifndef WIRE_JSON_SCAN_H
#define WIRE_JSON_SCAN_H

#include "base/buf.h"
#include "base/bytes.h"

enum { JSON_DEPTH_MAX = 64 }; /* the bits of json_scan.objects */

enum json_kind {
	JSON_KIND_NONE, /* absent, or a fault */
	JSON_KIND_NULL,
	JSON_KIND_FALSE,
	JSON_KIND_TRUE,
	JSON_KIND_NUMBER,
	JSON_KIND_STRING,
	JSON_KIND_ARRAY,
	JSON_KIND_OBJECT,
};

enum json_fault {
	JSON_FAULT_NONE,
	JSON_FAULT_TRUNCATED, /* the text ends inside a value */
	JSON_FAULT_SYNTAX,
	JSON_FAULT_DEPTH, /* nested deeper than JSON_DEPTH_MAX */
	JSON_FAULT_UTF8,
	JSON_FAULT_TRAILING, /* something follows the value */
};

struct json_value {
	const char *p; /* the value's text; a string's with its quotes */
	size_t n;
	enum json_kind kind;
};

struct json_member {
	struct bytes key;   /* between the quotes, escapes as they stand */
	const char *begin;  /* the key's opening quote */
	const char *before; /* the end of the previous member's value; NULL for the first member */
};

struct json_scan {
	const char *begin, *p, *end;
	/* Once a json_next_… has returned false: the end of the last value of the container just left,
	 * or the place after its opening bracket when it was empty. Its closing bracket is p[-1]. */
	const char *last;
	uint64_t objects; /* a stack of bits, the innermost container lowest: is it an object? */
	uint32_t depth;   /* containers entered and not yet left */
	bool fresh; /* nothing was read yet in the innermost container, or in the whole text */
	enum json_fault fault;
};

void json_scan_init(struct json_scan *s, struct bytes text);

/* The kind of the value that comes next, from its first byte; JSON_KIND_NONE at a fault. */
enum json_kind json_peek(struct json_scan *s);

/* Enters the next value, which must be of `kind` (object or array). Any other kind is left
 * where it stands and gives false without a fault, so the caller may skip it. */
static inline bool json_enter(struct json_scan *s, enum json_kind kind);

/* In an object: moves to the next member, its value being next. False at the closing brace,
 * which it consumes, and at a fault. */
static inline bool json_next_member(struct json_scan *s, struct json_member *member);

/* In an array: false at the closing bracket, which it consumes, and at a fault. */
static inline bool json_next_element(struct json_scan *s);

/* Takes the next value whole, validating all of it. False only at a fault. */
bool json_take(struct json_scan *s, struct json_value *value);
bool json_skip(struct json_scan *s);

/* Takes the next value if it is null. False: it is not, and stands where it was, or there is a fault. */
bool json_skip_null(struct json_scan *s);

/* True when the text was one valid value with nothing but white space after it. A value that was not
 * consumed at all (because it was not of the kind to enter) is passed over and validated here. */
bool json_scan_end(struct json_scan *s);

/* Where the fault is, as an offset in the text, and what it is, for a message. */
size_t json_scan_offset(const struct json_scan *s);
const char *json_fault_text(enum json_fault fault);

/* The same as json_key_is, for a key known to be longer than `name`. */
bool json_key_is_escaped(struct bytes key, const char *name);

/* Does a member key, escapes resolved, equal `name` (ASCII)? */
static inline bool
json_key_is(struct bytes key, const char *name)
{
	size_t n = strlen(name);

	/* Every escape is longer than what it stands for. */
	if (key.n <= n)
		return key.n == n && memcmp(key.p, name, n) == 0;
	return json_key_is_escaped(key, name);
}

/* ---------------------------------------------------------------- the steps of a walk
 * Most are a byte or two that stand without white space. Those are taken here, the others by the …_spaced
 * functions, which take these as well. */

bool json_enter_spaced(struct json_scan *s, enum json_kind kind);
bool json_next_member_spaced(struct json_scan *s, struct json_member *member);
bool json_next_element_spaced(struct json_scan *s);

/* Goes on at p, behind a key with its colon or behind a value, for a caller that has read by itself what comes
 * before it, and found it valid. */
static inline void
json_pass(struct json_scan *s, const char *p)
{
	s->p = p;
	s->fresh = false;
}

/* One container deeper, for which there is room; and out of the innermost. */
static inline void
json_push(struct json_scan *s, bool is_object)
{
	s->objects = s->objects << 1 | is_object;
	s->depth++;
}

static inline void
json_pop(struct json_scan *s)
{
	s->objects >>= 1;
	s->depth--;
}

static inline bool
json_enter(struct json_scan *s, enum json_kind kind)
{
	bool is_object = kind == JSON_KIND_OBJECT;

	if (s->fault || s->p == s->end || *s->p != (is_object ? '{' : '[') ||
	    s->depth == JSON_DEPTH_MAX)
		return json_enter_spaced(s, kind);
	s->p++;
	json_push(s, is_object);
	s->fresh = true;
	return true;
}

/* Leaves the innermost container, whose closing bracket is at p. */
static inline void
json_leave(struct json_scan *s, const char *closing)
{
	s->last = s->p;
	s->p = closing + 1;
	s->fresh = false;
	json_pop(s);
}

static inline bool
json_next_member(struct json_scan *s, struct json_member *member)
{
	if (s->fault || s->depth == 0 || s->p == s->end || *s->p != '}')
		return json_next_member_spaced(s, member);
	json_leave(s, s->p);
	return false;
}

static inline bool
json_next_element(struct json_scan *s)
{
	const char *p = s->p;

	if (s->fault || s->depth == 0 || s->end - p < 2)
		return json_next_element_spaced(s);
	if (*p == ']') {
		json_leave(s, p);
		return false;
	}
	if ((!s->fresh && *p++ != ',') || (unsigned char)*p <= ' ')
		return json_next_element_spaced(s);
	json_pass(s, p);
	return true;
}

/* Does what stands from p to end begin with this? */
static inline bool
json_begins(const char *p, const char *end, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(end - p) >= n && memcmp(p, text, n) == 0;
}

/* Passes over these bytes if they are next, as json_pass(). False: others are, and nothing was passed. */
static inline bool
json_pass_text(struct json_scan *s, const char *text)
{
	if (!json_begins(s->p, s->end, text))
		return false;
	json_pass(s, s->p + strlen(text));
	return true;
}

/* Is it a string whose value, escapes resolved, equals `text` (ASCII)? */
bool json_string_is(struct json_value value, const char *text);

/* Is it an array or object with nothing in it? */
bool json_is_empty(struct json_value value);

/* Appends the string's value, escapes resolved, as UTF-8; a lone surrogate becomes U+FFFD. */
void json_string_decode(struct json_value value, struct buf *out);

/* Appends a string, given and written with its quotes, in the one spelling that exactly the strings of its
 * value share: characters as they are, \" \\ \b \f \n \r \t, any other control character as \u00xx, and a lone
 * surrogate, which has no form in UTF-8, as \udxxx. Never longer than the string is. */
void json_string_respell(struct bytes string, struct buf *out);

/* Decodes it into out[size], terminated. False when it is not a string, does not fit, or holds a NUL,
 * which would end it early. */
bool json_string_copy(struct json_value value, char *out, size_t size);

/* A number as a double, infinite when it is too large for one; false when it is not a number. */
bool json_to_double(struct json_value value, double *out);

/* A number that is a non-negative integer however it is spelled (5, 5.0, 5e0), at most `max`. */
bool json_to_u64(struct json_value value, uint64_t max, uint64_t *out);

static inline struct bytes
json_value_text(struct json_value value)
{
	return (struct bytes){value.p, value.n};
}

#endif
