#include "wire/json_splice.h"

bool
json_walk_enter(struct json_walk *walk, struct json_scan *scan, struct json_object_span *span)
{
	*span = (struct json_object_span){.open = NULL};
	walk->scan = scan;
	walk->span = span;
	walk->open_slot = NULL;
	if (!json_enter(scan, JSON_KIND_OBJECT))
		return false;
	span->open = scan->p - 1;
	return true;
}

/* The value of the slot that is open ends here. next: where the next member begins, or NULL. */
static inline void
close_slot(struct json_walk *walk, const char *value_end, const char *next)
{
	struct json_slot *slot = walk->open_slot;

	if (!slot)
		return;
	slot->value.n = (size_t)(value_end - slot->value.p);
	slot->after = next;
	walk->open_slot = NULL;
}

void
json_walk_pass_key(struct json_walk *walk, const char *begin, const char *value)
{
	struct json_scan *scan = walk->scan;

	close_slot(walk, scan->p, begin);
	walk->member.begin = begin;
	walk->member.before = scan->fresh ? NULL : scan->p;
	json_pass(scan, value);
}

bool
json_walk_next(struct json_walk *walk)
{
	const char *value_end = walk->scan->p;
	bool found = json_next_member(walk->scan, &walk->member);

	if (walk->scan->fault)
		return false;
	close_slot(walk, value_end, found ? walk->member.begin : NULL);
	if (!found) {
		walk->span->last = walk->scan->last;
		walk->span->close = walk->scan->p - 1;
	}
	return found;
}

void
json_walk_mark(struct json_walk *walk, struct json_slot *slot)
{
	enum json_kind kind = json_peek(walk->scan);

	*slot = (struct json_slot){
	        .value = {.p = walk->scan->p, .kind = kind},
	        .begin = walk->member.begin,
	        .before = walk->member.before,
	};
	walk->open_slot = slot;
}

bool
json_walk_take(struct json_walk *walk, struct json_slot *slot)
{
	json_walk_mark(walk, slot);
	return json_take(walk->scan, &slot->value);
}

static const char *
slot_end(const struct json_slot *slot)
{
	return slot->value.p + slot->value.n;
}

/* Puts the changes of members that are there in the order of the text; gives their number. */
static size_t
sort_present(const struct json_change *changes, size_t count, const struct json_change **sorted)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		size_t at = n;

		if (changes[i].slot->value.kind == JSON_KIND_NONE)
			continue;
		for (; at > 0 && sorted[at - 1]->slot->begin > changes[i].slot->begin; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &changes[i];
		n++;
	}
	return n;
}

static void
copy_until(struct rope *out, const char **cursor, const char *end)
{
	rope_add(out, (struct bytes){*cursor, (size_t)(end - *cursor)});
	*cursor = end;
}

/*
 * Removes the neighbours from `first` to `last`. Behind a member that stays, the comma before them
 * goes too; at the object's beginning, the one after them.
 */
static void
remove_run(struct rope *out, const char **cursor, const struct json_slot *first,
           const struct json_slot *last)
{
	copy_until(out, cursor, first->before ? first->before : first->begin);
	*cursor = !first->before && last->after ? last->after : slot_end(last);
}

void
json_splice(struct buf *out, const struct json_object_span *object,
            const struct json_change *changes, size_t count)
{
	struct rope rope = {.own = *out};

	json_splice_rope(&rope, object, changes, count);
	*out = rope.own;
}

void
json_splice_rope(struct rope *out, const struct json_object_span *object,
                 const struct json_change *changes, size_t count)
{
	const struct json_change *sorted[JSON_CHANGES_MAX];
	const char *cursor = object->open;
	bool is_empty = object->last == object->open + 1;
	size_t present;

	if (count > JSON_CHANGES_MAX) {
		out->own.failed = true;
		return;
	}
	present = sort_present(changes, count, sorted);
	for (size_t i = 0; i < present; i++) {
		const struct json_slot *first = sorted[i]->slot, *last = first;

		if (sorted[i]->text.p) {
			copy_until(out, &cursor, first->value.p);
			buf_add_bytes(&out->own, sorted[i]->text);
			cursor = slot_end(first);
			continue;
		}
		for (; i + 1 < present && !sorted[i + 1]->text.p; i++) {
			if (sorted[i + 1]->slot->begin != last->after)
				break;
			last = sorted[i + 1]->slot;
		}
		remove_run(out, &cursor, first, last);
		is_empty = !first->before && !last->after;
	}
	copy_until(out, &cursor, object->last);
	for (size_t i = 0; i < count; i++) {
		if (changes[i].slot->value.kind != JSON_KIND_NONE || !changes[i].text.p)
			continue;
		buf_add_text(&out->own, is_empty ? "\"" : ",\"");
		buf_add_text(&out->own, changes[i].key);
		buf_add_text(&out->own, "\":");
		buf_add_bytes(&out->own, changes[i].text);
		is_empty = false;
	}
	copy_until(out, &cursor, object->close + 1);
}
