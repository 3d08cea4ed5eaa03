/*
 * Replaces, removes and adds members of a JSON object in its text, keeping every other byte.
 *
 * A slot remembers where one member stands; it is filled while the text is scanned, so no
 * second scan is needed. Pure; nothing is owned.
 */
#ifndef WIRE_JSON_SPLICE_H
#define WIRE_JSON_SPLICE_H

#include "base/buf.h"
#include "wire/json_scan.h"

/* One member of an object in a text. A zeroed slot means that the member is absent. */
struct json_slot {
	struct json_value value; /* kind JSON_NONE: absent */
	const char *begin;       /* the key's opening quote */
	const char *before;      /* the end of the previous member's value; NULL for the first */
	const char *after;       /* the next member's opening quote; NULL for the last */
	uint32_t index;          /* among the object's members */
};

/* The object that the slots belong to. */
struct json_object_span {
	const char *open;      /* its '{' */
	const char *last;      /* the end of its last member's value; open + 1 when it has none */
	const char *close;     /* its '}' */
	uint32_t member_count;
};

/* One change. `text.p == NULL` removes the member; otherwise `text` is the JSON value that
 * replaces it, or, when the slot is absent, is added at the object's end under `key`. */
struct json_change {
	const char *key;              /* plain ASCII, used only when adding */
	const struct json_slot *slot; /* borrowed */
	struct bytes text;
};

enum { JSON_CHANGES_MAX = 16 };

/* Appends the object's text, from '{' to '}', with the changes (at most JSON_CHANGES_MAX, one a slot)
 * carried out. Failure to allocate shows in out->failed. */
void json_splice(struct buf *out, const struct json_object_span *object,
                 const struct json_change *changes, size_t count);

#endif
