/*
 * The scanner against jansson: both must accept or refuse a text alike, and see the same strings and
 * numbers in it. The differences that are meant:
 *   nesting      the scanner stops at 64, jansson at 2048
 *   \ud800       a lone surrogate is legal for the scanner, refused by jansson
 *   \u0000       legal for the scanner; in a key refused by jansson
 *   1e400, 2^63  any number is legal for the scanner; jansson refuses what it cannot hold
 *   a NUL byte   refused by the scanner; jansson overlooks one behind a number
 *   {"a","a"}    jansson keeps the last of two members, the scanner shows both
 */
#include <jansson.h>

#include <stdlib.h>
#include <string.h>

#include "wire/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
require(bool holds)
{
	if (!holds)
		abort();
}

static bool
is_meant_difference(const json_error_t *error)
{
	enum json_error_code code = json_error_code(error);

	return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
	       strncmp(error->text, "invalid Unicode", strlen("invalid Unicode")) == 0;
}

static void
compare_string(const json_t *theirs, struct json_value ours)
{
	struct buf text;

	buf_init(&text, 0);
	json_string_decode(ours, &text);
	require(!text.failed && text.n == json_string_length(theirs));
	require(text.n == 0 || memcmp(text.p, json_string_value(theirs), text.n) == 0);
	buf_fini(&text);
}

static void
compare_number(const json_t *theirs, struct json_value ours)
{
	double number;
	uint64_t count;

	require(ours.kind == JSON_KIND_NUMBER);
	if (json_to_double(ours, &number))
		require(number == json_number_value(theirs));
	else
		require(ours.n >= 512);
	if (json_typeof(theirs) != JSON_INTEGER)
		return;
	require(json_to_u64(ours, UINT64_MAX, &count) == (json_integer_value(theirs) >= 0));
	if (json_integer_value(theirs) >= 0)
		require(count == (uint64_t)json_integer_value(theirs));
}

static bool
is_ascii(struct bytes text)
{
	for (size_t i = 0; i < text.n; i++) {
		if ((unsigned char)text.p[i] >= 0x80)
			return false;
	}
	return true;
}

static void compare(const json_t *theirs, struct json_scan *scan);

static void
compare_object(const json_t *theirs, struct json_scan *scan)
{
	struct json_scan ahead = *scan;
	struct json_member member;
	size_t count = 0;
	bool unique;

	require(json_enter(&ahead, JSON_KIND_OBJECT));
	while (json_next_member(&ahead, &member)) {
		json_skip(&ahead);
		count++;
	}
	unique = count == json_object_size(theirs);
	require(json_enter(scan, JSON_KIND_OBJECT));
	while (json_next_member(scan, &member)) {
		const json_t *value;
		struct buf key;

		buf_init(&key, 0);
		json_string_decode(
		        (struct json_value){member.key.p - 1, member.key.n + 2, JSON_KIND_STRING},
		        &key);
		buf_add(&key, "", 1);
		value = json_object_get(theirs, key.p);
		require(value != NULL);
		require(!is_ascii(buf_bytes(&key)) || json_key_is(member.key, key.p));
		buf_fini(&key);
		if (unique)
			compare(value, scan);
		else
			json_skip(scan);
	}
}

static void
compare_array(const json_t *theirs, struct json_scan *scan)
{
	size_t i = 0;

	require(json_enter(scan, JSON_KIND_ARRAY));
	for (; json_next_element(scan); i++) {
		require(i < json_array_size(theirs));
		compare(json_array_get(theirs, i), scan);
	}
	require(i == json_array_size(theirs));
}

/* Recursion ends at JSON_DEPTH_MAX, since the scanner has accepted the text. */
static void
compare(const json_t *theirs, struct json_scan *scan)
{
	enum json_kind kind = json_peek(scan);
	struct json_value ours;

	if (json_typeof(theirs) == JSON_OBJECT) {
		compare_object(theirs, scan);
		return;
	}
	if (json_typeof(theirs) == JSON_ARRAY) {
		compare_array(theirs, scan);
		return;
	}
	require(json_take(scan, &ours) && ours.kind == kind);
	switch (json_typeof(theirs)) {
	case JSON_STRING: compare_string(theirs, ours); break;
	case JSON_INTEGER:
	case JSON_REAL: compare_number(theirs, ours); break;
	case JSON_TRUE: require(kind == JSON_KIND_TRUE); break;
	case JSON_FALSE: require(kind == JSON_KIND_FALSE); break;
	case JSON_NULL: require(kind == JSON_KIND_NULL); break;
	case JSON_OBJECT:
	case JSON_ARRAY: abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct bytes text = {(const char *)data, n};
	struct json_scan scan;
	json_error_t error;
	json_t *theirs = json_loadb(text.p, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	bool accepted;

	json_scan_init(&scan, text);
	json_skip(&scan);
	accepted = json_scan_end(&scan);
	require(accepted == (scan.fault == JSON_FAULT_NONE) && json_scan_offset(&scan) <= n);
	if (!theirs)
		require(!accepted || is_meant_difference(&error));
	else if (!accepted)
		require(scan.fault == JSON_FAULT_DEPTH || memchr(data, '\0', n));
	if (theirs && accepted) {
		json_scan_init(&scan, text);
		compare(theirs, &scan);
		require(json_scan_end(&scan));
	}
	json_decref(theirs);
	return 0;
}
