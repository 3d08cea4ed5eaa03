/*
 * Frames: the copy of the payload with some members cut out or given another value.
 *
 * Each change is a range of the payload and what stands in its place. Ranges never overlap and are carried
 * out in the order of the text: the document's own members around the choices, and in each choice those of
 * the delta around the logprobs.
 */
#include "wire/chat_frame.h"

struct edit {
	const char *from, *to;
	struct bytes text; /* instead of what stands there; empty: nothing */
};

struct edits {
	struct edit list[3]; /* in the order of the text */
	size_t count, done;
};

struct writer {
	struct buf *out;    /* borrowed */
	const char *cursor; /* up to here the payload was dealt with */
};

static void
edit_add(struct edits *edits, const char *from, const char *to, struct bytes text)
{
	size_t at = edits->count++;

	for (; at > 0 && edits->list[at - 1].from > from; at--)
		edits->list[at] = edits->list[at - 1];
	edits->list[at] = (struct edit){from, to, text};
}

/* Another value for a member that is there. */
static void
edit_value(struct edits *edits, struct json_value value, struct bytes text)
{
	if (text.p && value.kind != JSON_KIND_NONE)
		edit_add(edits, value.p, value.p + value.n, text);
}

/* Leaves out a member: with the comma before it, or, if it is the first, with the one after it. */
static void
edit_cut(struct edits *edits, const struct json_slot *slot)
{
	const char *end = slot->value.p + slot->value.n;

	if (slot->before)
		edit_add(edits, slot->before, end, (struct bytes){NULL, 0});
	else
		edit_add(edits, slot->begin, slot->after ? slot->after : end,
		         (struct bytes){NULL, 0});
}

/* Copies what lies before a range, and passes over the range. */
static void
skip(struct writer *w, const char *from, const char *to)
{
	buf_add(w->out, w->cursor, (size_t)(from - w->cursor));
	w->cursor = to;
}

/* Carries out those that begin before `end`. */
static void
edits_write(struct writer *w, struct edits *edits, const char *end)
{
	for (; edits->done < edits->count && edits->list[edits->done].from < end; edits->done++) {
		const struct edit *edit = &edits->list[edits->done];

		skip(w, edit->from, edit->to);
		buf_add_bytes(w->out, edit->text);
	}
}

/* Only a patch drops roles, so the reader does not note where they stand; they are looked for again. */
static void
role_cut(struct edits *edits, const struct chat_choice *choice)
{
	struct json_object_span span;
	struct json_slot slot = {.begin = NULL};
	struct json_walk walk;
	struct json_scan s;

	if (choice->role.kind == JSON_KIND_NONE)
		return;
	json_scan_init(&s, json_value_text(choice->delta));
	if (!json_walk_enter(&walk, &s, &span))
		return;
	while (json_walk_next(&walk)) {
		if (json_key_is(walk.member.key, "role"))
			json_walk_take(&walk, &slot);
		else
			json_skip(&s);
	}
	if (slot.begin)
		edit_cut(edits, &slot);
}

static void
choice_write(struct writer *w, const struct chat_frame *frame, const struct chat_choice *choice,
             const struct chat_frame_view *view, const struct chat_frame_patch *patch)
{
	struct edits edits = {.count = 0};

	if (choice == frame->choices)
		edit_value(&edits, choice->content, patch->content);
	if (patch->drop_role)
		role_cut(&edits, choice);
	if (!view->logprobs && choice->logprobs.value.kind != JSON_KIND_NONE)
		edit_cut(&edits, &choice->logprobs);
	for (size_t i = 0; i < choice->token_count && view->logprobs; i++) {
		const struct chat_token *token = &frame->tokens[choice->token_first + i];

		if (!token->top_begin)
			continue;
		edits_write(w, &edits, token->top_begin);
		skip(w, chat_token_cut(token, view->top_logprobs), token->top_close);
	}
	edits_write(w, &edits, choice->span.close);
}

void
chat_frame_write_patched(const struct chat_frame *frame, const struct chat_frame_view *view,
                         const struct chat_frame_patch *patch, struct buf *out)
{
	struct writer w = {out, frame->text.p};
	const char *end = frame->text.p + frame->text.n;
	struct edits edits = {.count = 0};

	edit_value(&edits, frame->id, patch->id);
	edit_value(&edits, frame->created, patch->created);
	if (!view->usage && frame->usage.value.kind != JSON_KIND_NONE)
		edit_cut(&edits, &frame->usage);
	for (size_t i = 0; i < frame->choice_count; i++) {
		edits_write(&w, &edits, frame->choices[i].span.open);
		choice_write(&w, frame, &frame->choices[i], view, patch);
	}
	edits_write(&w, &edits, end);
	skip(&w, end, end);
}

void
chat_frame_write(const struct chat_frame *frame, const struct chat_frame_view *view,
                 struct buf *out)
{
	static const struct chat_frame_patch none;

	chat_frame_write_patched(frame, view, &none, out);
}
