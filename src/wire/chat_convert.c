#include "wire/chat_convert.h"

#include <stdio.h>

/* Is the key one of these? */
static bool
key_is_any(struct bytes key, const char *const *names)
{
	for (; *names; names++) {
		if (json_key_is(key, *names))
			return true;
	}
	return false;
}

/* Appends the members of an object whose key is none of `skip`, a comma before each. */
static void
members_copy(struct bytes object, const char *const *skip, struct buf *out)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value value;

	json_scan_init(&scan, object);
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return;
	while (json_next_member(&scan, &member) && json_take(&scan, &value)) {
		if (key_is_any(member.key, skip))
			continue;
		buf_add_text(out, ",");
		buf_add(out, member.begin, (size_t)(value.p + value.n - member.begin));
	}
}

static struct bytes
span_text(const struct json_object_span *span)
{
	return (struct bytes){span->open, (size_t)(span->close + 1 - span->open)};
}

void
chat_convert_begin(const struct chat_frame *frame, struct buf *out)
{
	static const char *const skip[] = {"id", "object", "choices", "usage", NULL};

	buf_add_text(out, "{");
	if (frame->id.kind != JSON_KIND_NONE) {
		buf_add_text(out, "\"id\":");
		buf_add_bytes(out, json_value_text(frame->id));
		buf_add_text(out, ",");
	}
	buf_add_text(out, "\"object\":\"chat.completion.chunk\"");
	members_copy(span_text(&frame->span), skip, out);
	buf_add_text(out, ",\"choices\":[");
}

/* One tool call, with its place among the others as its index. */
static void
call_write(struct json_value call, unsigned place, struct buf *out)
{
	struct json_scan scan;
	struct json_walk walk;
	struct json_object_span span;
	struct json_slot index = {.begin = NULL};
	char text[16];
	struct json_change change = {.key = "index", .slot = &index, .text = {text, 0}};

	json_scan_init(&scan, json_value_text(call));
	if (json_walk_enter(&walk, &scan, &span)) {
		while (json_walk_next(&walk)) {
			if (json_key_is(walk.member.key, "index"))
				json_walk_take(&walk, &index);
			else
				json_skip(&scan);
		}
	}
	if (call.kind != JSON_KIND_OBJECT) {
		buf_add_bytes(out, json_value_text(call));
		return;
	}
	change.text.n = (size_t)snprintf(text, sizeof(text), "%u", place);
	json_splice(out, &span, &change, 1);
}

static void
calls_write(struct json_value calls, struct buf *out)
{
	struct json_scan scan;
	struct json_value call;
	unsigned place = 0;

	json_scan_init(&scan, json_value_text(calls));
	buf_add_text(out, "[");
	if (json_enter(&scan, JSON_KIND_ARRAY)) {
		while (json_next_element(&scan) && json_take(&scan, &call)) {
			if (place > 0)
				buf_add_text(out, ",");
			call_write(call, place++, out);
		}
	}
	buf_add_text(out, "]");
}

/* The message as it stands, but for its tool calls. */
static void
delta_write(const struct chat_choice *choice, struct buf *out)
{
	struct json_value delta = choice->delta, calls = choice->tool_calls;
	const char *after;

	if (delta.kind != JSON_KIND_OBJECT) {
		buf_add_text(out, "{}");
		return;
	}
	if (calls.kind != JSON_KIND_ARRAY) {
		buf_add_bytes(out, json_value_text(delta));
		return;
	}
	after = calls.p + calls.n;
	buf_add(out, delta.p, (size_t)(calls.p - delta.p));
	calls_write(calls, out);
	buf_add(out, after, (size_t)(delta.p + delta.n - after));
}

/* Does the choice tell its index? */
static bool
choice_has_index(const struct chat_choice *choice)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value value;

	json_scan_init(&scan, span_text(&choice->span));
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(&scan, &member) && json_take(&scan, &value)) {
		if (json_key_is(member.key, "index"))
			return value.kind == JSON_KIND_NUMBER;
	}
	return false;
}

void
chat_convert_choice(const struct chat_frame *frame, size_t at, struct bytes begin, struct buf *out)
{
	static const char *const skip[] = {"index",    "delta",         "message",
	                                   "logprobs", "finish_reason", NULL};
	const struct chat_choice *choice = &frame->choices[at];

	buf_add_bytes(out, begin);
	buf_add_text(out, "{\"index\":");
	buf_add_u64(out, choice_has_index(choice) ? choice->index : at);
	buf_add_text(out, ",\"delta\":");
	delta_write(choice, out);
	if (choice->logprobs.value.kind != JSON_KIND_NONE) {
		buf_add_text(out, ",\"logprobs\":");
		buf_add_bytes(out, json_value_text(choice->logprobs.value));
	}
	buf_add_text(out, ",\"finish_reason\":");
	if (choice->finish_reason.kind == JSON_KIND_STRING)
		buf_add_bytes(out, json_value_text(choice->finish_reason));
	else
		buf_add_text(out, "null");
	members_copy(span_text(&choice->span), skip, out);
	buf_add_text(out, "}]}");
}

void
chat_convert_usage(const struct chat_frame *frame, struct bytes begin, struct buf *out)
{
	if (!frame->usage_counts.known)
		return;
	buf_add_bytes(out, begin);
	buf_add_text(out, "],\"usage\":");
	buf_add_bytes(out, json_value_text(frame->usage.value));
	buf_add_text(out, "}");
}
