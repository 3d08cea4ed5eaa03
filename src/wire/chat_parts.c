#include "wire/chat_parts.h"

#include <stdlib.h>

enum { PARTS_MEMBERS_MAX = 256, PARTS_NESTING_MAX = 3 };

struct chat_part {
	struct buf key;  /* between the quotes */
	struct buf text; /* a string's contents between the quotes, or a whole other value */
	enum json_kind kind;
	struct chat_parts inner; /* of an object */
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
		void *list = reallocarray(parts->list, cap, sizeof(*part));

		if (!list)
			return NULL;
		parts->list = list;
		parts->cap = cap;
	}
	part = &parts->list[parts->count];
	*part = (struct chat_part){.kind = JSON_NONE};
	buf_add_bytes(&part->key, key);
	if (part->key.failed)
		return NULL;
	parts->count++;
	return part;
}

/* Names say the same in each part that has them; everything else that is text is a piece of it. */
static bool
key_is_name(struct bytes key)
{
	return json_key_is(key, "role") || json_key_is(key, "id") || json_key_is(key, "type") ||
	       json_key_is(key, "name");
}

static bool parts_add(struct chat_parts *parts, struct bytes object, const char *const *skip,
                      size_t *room, unsigned nesting);

static bool
part_add(struct chat_part *part, struct json_value value, size_t *room, unsigned nesting)
{
	if (value.kind == JSON_NULL) {
		if (part->kind == JSON_NONE)
			part->kind = JSON_NULL;
		return true;
	}
	if (part->kind > JSON_NULL && (part->kind == JSON_STRING) != (value.kind == JSON_STRING))
		return false;
	part->kind = value.kind;
	if (value.kind == JSON_OBJECT && nesting < PARTS_NESTING_MAX)
		return parts_add(&part->inner, (struct bytes){value.p, value.n}, NULL, room,
		                 nesting + 1);
	if (!room_take(room, value.n))
		return false;
	if (value.kind != JSON_STRING) {
		buf_reset(&part->text);
		buf_add(&part->text, value.p, value.n);
	} else {
		/* An empty name, as some servers send in later parts, is no name. */
		if (key_is_name(buf_bytes(&part->key)) && value.n > 2)
			buf_reset(&part->text);
		buf_add(&part->text, value.p + 1, value.n - 2);
	}
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
	if (!json_enter(&scan, JSON_OBJECT))
		return false;
	while (json_next_member(&scan, &member)) {
		struct chat_part *part;

		if (!json_take(&scan, &value))
			return false;
		if (is_skipped(member.key, skip))
			continue;
		part = parts_find(parts, member.key);
		if (!part)
			part = parts_append(parts, member.key, room);
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
	if (part->kind == JSON_STRING) {
		buf_add(out, "\"", 1);
		buf_add_bytes(out, buf_bytes(&part->text));
		buf_add(out, "\"", 1);
	} else if (part->kind == JSON_OBJECT && part->text.n == 0) {
		buf_add(out, "{", 1);
		chat_parts_write(&part->inner, true, out);
		buf_add(out, "}", 1);
	} else if (part->kind > JSON_NULL) {
		buf_add_bytes(out, buf_bytes(&part->text));
	} else {
		buf_add_text(out, "null");
	}
}

void
chat_parts_write(const struct chat_parts *parts, bool first, struct buf *out)
{
	for (size_t i = 0; i < parts->count; i++) {
		buf_add_text(out, first ? "\"" : ",\"");
		buf_add_bytes(out, buf_bytes(&parts->list[i].key));
		buf_add_text(out, "\":");
		part_write(&parts->list[i], out);
		first = false;
	}
}

bool
chat_parts_has(const struct chat_parts *parts, const char *key)
{
	for (size_t i = 0; i < parts->count; i++) {
		if (json_key_is(buf_bytes(&parts->list[i].key), key))
			return true;
	}
	return false;
}
