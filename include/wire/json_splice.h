/*
 * Replaces, removes and adds members of a JSON object in its text, keeping every other byte.
 *
 * A slot remembers where one member stands; it is filled while the text is scanned, so no
 * second scan is needed. Pure; nothing is owned.
 */
#ifndef WIRE_JSON_SPLICE_H
#define WIRE_JSON_SPLICE_H

#include "base/buf.h"
#include "base/rope.h"
#include "wire/json_scan.h"

/* One member of an object in a text. A zeroed slot means that the member is absent. */
struct json_slot {
	struct json_value value; /* kind JSON_KIND_NONE: absent */
	const char *begin;       /* the key's opening quote */
	const char *before;      /* the end of the previous member's value; NULL for the first */
	const char *after;       /* the next member's opening quote; NULL for the last */
};

/* The object that the slots belong to. */
struct json_object_span {
	const char *open;  /* its '{' */
	const char *last;  /* the end of its last member's value; open + 1 when it has none */
	const char *close; /* its '}'; NULL: the object was not read to its end */
};

/*
 * A walk through one object that fills its span and the slots of the members that the caller cares
 * for. Objects inside it may be walked too, each with a walk of its own.
 *
 *	if (json_walk_enter(&walk, &scan, &span)) {
 *		while (json_walk_next(&walk)) {
 *			if (json_key_is(walk.member.key, "usage"))
 *				json_walk_take(&walk, &usage);   (takes the value)
 *			else if (json_key_is(walk.member.key, "choices")) {
 *				json_walk_mark(&walk, &choices); (leaves it to be read,
 *				read_choices(&scan);              its end is seen by itself)
 *			} else
 *				json_skip(&scan);
 *		}
 *	}
 *
 * A slot's `value.n` (when marked) and `after` are known from the next json_walk_next() on.
 */
struct json_walk {
	struct json_scan *scan;        /* borrowed */
	struct json_object_span *span; /* borrowed */
	struct json_slot *open_slot;   /* borrowed: the previous member's, if it has one */
	struct json_member member;     /* the current member */
};

/* Enters the next value if it is an object; otherwise false, and without a fault the value stands
 * where it was. Clears the span. */
bool json_walk_enter(struct json_walk *walk, struct json_scan *scan, struct json_object_span *span);

/* As json_next_member. */
bool json_walk_next(struct json_walk *walk);

/* For a caller that has read the next member's key by itself, and knows which it is: it begins at `begin`, and
 * its value, or white space before that, at `value`. */
void json_walk_pass_key(struct json_walk *walk, const char *begin, const char *value);

/* Notes in `slot` where the current member stands; its value is next and must be consumed. */
void json_walk_mark(struct json_walk *walk, struct json_slot *slot);

/* The same, and takes the value. */
bool json_walk_take(struct json_walk *walk, struct json_slot *slot);

/* One change. `text.p == NULL` removes the member; otherwise `text` is the JSON value that
 * replaces it, or, when the slot is absent, is added at the object's end under `key`. */
struct json_change {
	const char *key;              /* plain ASCII, used only when adding */
	const struct json_slot *slot; /* borrowed */
	struct bytes text;
};

enum { JSON_CHANGES_MAX = 16 };

/* Appends the object's text, from '{' to '}', with the changes (at most JSON_CHANGES_MAX, one a slot)
 * carried out. A comma goes with the member removed, and the white space on one side of it. Failure
 * to allocate shows in out->failed. */
void json_splice(struct buf *out, const struct json_object_span *object,
                 const struct json_change *changes, size_t count);

/* The same; what stays of the object may be borrowed, the changes are copied. */
void json_splice_rope(struct rope *out, const struct json_object_span *object,
                      const struct json_change *changes, size_t count);

#endif
