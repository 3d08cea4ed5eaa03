/*
 * Objects from parts. A part of a stream names a few members, mostly the same ones; so a list that is
 * searched from its beginning, and is bounded, serves better than anything clever.
 */
#include "wire/chat_parts.h"

#include <stdlib.h>

enum { PARTS_MEMBERS_MAX = 256, PARTS_NESTING_MAX = 3 };

struct chat_part {
	struct buf key;      /* escapes resolved */
	struct buf text;     /* a string's text without its quotes, or a whole other value */
	enum json_kind kind; /* JSON_KIND_NONE only until the first value is added */
	struct chat_parts
	        inner; /* of an object, unless it is nested too deeply: then it is in text */
};

void
chat_parts_fini(struct chat_parts *parts)
{
	for (size_t i = 0; i < parts->count; i++) {
		struct chat_part *part = &parts->list[i];

		buf_fini(&part->key);
		buf_fini(&part->text);
		chat_parts_fini(&part->inner);
	}
	free(parts->list);
	*parts = (struct chat_parts){0};
}

/* Takes bytes from what may still be kept. */
static bool
room_take(size_t *room, size_t n)
{
	if (n > *room)
		return false;
	*room -= n;
	return true;
}

static struct chat_part *
parts_find(const struct chat_parts *parts, struct bytes key)
{
	for (size_t i = 0; i < parts->count; i++) {
		if (bytes_equal(buf_bytes(&parts->list[i].key), key))
			return &parts->list[i];
	}
	return NULL;
}

static struct chat_part *
parts_append(struct chat_parts *parts, struct bytes key, size_t *room)
{
	struct chat_part *part;

	if (parts->count == PARTS_MEMBERS_MAX || !room_take(room, key.n + sizeof(*part)))
		return NULL;
	if (parts->count == parts->cap) {
		size_t cap = parts->cap ? parts->cap * 2 : 4;

		part = reallocarray(parts->list, cap, sizeof(*part));
		if (!part)
			return NULL;
		parts->list = part;
		parts->cap = cap;
	}
	part = &parts->list[parts->count++];
	*part = (struct chat_part){.kind = JSON_KIND_NONE};
	buf_add_bytes(&part->key, key);
	return part->key.failed ? NULL : part;
}

/* The part of that key, which is new if there was none; NULL when there is no room or no memory. */
static struct chat_part *
parts_at(struct chat_parts *parts, struct bytes key, size_t *room)
{
	struct chat_part *part;
	struct buf plain;

	if (!memchr(key.p, '\\', key.n)) {
		part = parts_find(parts, key);
		return part ? part : parts_append(parts, key, room);
	}
	buf_init(&plain, 0);
	json_string_decode((struct json_value){key.p - 1, key.n + 2, JSON_KIND_STRING}, &plain);
	part = plain.failed ? NULL : parts_find(parts, buf_bytes(&plain));
	if (!part && !plain.failed)
		part = parts_append(parts, buf_bytes(&plain), room);
	buf_fini(&plain);
	return part;
}

/* Names say the same in each part that has them; everything else that is text is a piece of it. */
static bool
key_is_name(struct bytes key)
{
	return bytes_is(key, "role") || bytes_is(key, "id") || bytes_is(key, "type") ||
	       bytes_is(key, "name");
}

/* Does the value go on where the last one of its kind left off? */
static bool
part_goes_on(const struct chat_part *part, struct json_value value, bool is_inner)
{
	if (part->kind != value.kind)
		return false;
	if (value.kind == JSON_KIND_STRING)
		return value.n == 2 || !key_is_name(buf_bytes(&part->key));
	return is_inner;
}

static bool parts_add(struct chat_parts *parts, struct bytes object, const char *const *skip,
                      size_t *room, unsigned nesting);

static bool
part_add(struct chat_part *part, struct json_value value, size_t *room, unsigned nesting)
{
	bool is_inner = value.kind == JSON_KIND_OBJECT && nesting < PARTS_NESTING_MAX;
	struct bytes text = json_value_text(value);

	if (value.kind == JSON_KIND_NULL && part->kind != JSON_KIND_NONE)
		return true;
	if (!part_goes_on(part, value, is_inner)) {
		*room += part->text.n;
		buf_reset(&part->text);
		chat_parts_fini(&part->inner);
	}
	part->kind = value.kind;
	if (is_inner)
		return parts_add(&part->inner, text, NULL, room, nesting + 1);
	if (value.kind == JSON_KIND_STRING)
		text = (struct bytes){text.p + 1, text.n - 2};
	if (!room_take(room, text.n))
		return false;
	buf_add_bytes(&part->text, text);
	return !part->text.failed;
}

static bool
is_skipped(struct bytes key, const char *const *skip)
{
	for (; skip && *skip; skip++) {
		if (json_key_is(key, *skip))
			return true;
	}
	return false;
}

static bool
parts_add(struct chat_parts *parts, struct bytes object, const char *const *skip, size_t *room,
          unsigned nesting)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value value;

	json_scan_init(&scan, object);
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(&scan, &member)) {
		struct chat_part *part;

		if (!json_take(&scan, &value))
			return false;
		if (is_skipped(member.key, skip))
			continue;
		part = parts_at(parts, member.key, room);
		if (!part || !part_add(part, value, room, nesting))
			return false;
	}
	return json_scan_end(&scan);
}

bool
chat_parts_add(struct chat_parts *parts, struct bytes object, const char *const *skip, size_t *room)
{
	return parts_add(parts, object, skip, room, 0);
}

static void
part_write(const struct chat_part *part, struct buf *out)
{
	if (part->kind == JSON_KIND_STRING) {
		buf_add(out, "\"", 1);
		buf_add_bytes(out, buf_bytes(&part->text));
		buf_add(out, "\"", 1);
	} else if (part->kind == JSON_KIND_OBJECT && part->text.n == 0) {
		buf_add(out, "{", 1);
		chat_parts_write(&part->inner, true, out);
		buf_add(out, "}", 1);
	} else {
		buf_add_bytes(out, buf_bytes(&part->text));
	}
}

void
chat_parts_write(const struct chat_parts *parts, bool first, struct buf *out)
{
	for (size_t i = 0; i < parts->count; i++) {
		if (!first)
			buf_add(out, ",", 1);
		buf_add_json_string(out, buf_bytes(&parts->list[i].key));
		buf_add(out, ":", 1);
		part_write(&parts->list[i], out);
		first = false;
	}
}

bool
chat_parts_has(const struct chat_parts *parts, const char *key)
{
	return parts_find(parts, bytes_of(key)) != NULL;
}

struct bytes
chat_parts_text(const struct chat_parts *parts, const char *key)
{
	const struct chat_part *part = parts_find(parts, bytes_of(key));

	return part && part->kind == JSON_KIND_STRING ? buf_bytes(&part->text)
	                                              : (struct bytes){"", 0};
}
