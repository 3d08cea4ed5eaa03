/*
 * Frames: the copy of the payload with some members cut out.
 */
#include "wire/chat_frame.h"

/* Copies what lies before a range that is left out. */
static void
cut(struct buf *out, const char **cursor, const char *from, const char *to)
{
	buf_add(out, *cursor, (size_t)(from - *cursor));
	*cursor = to;
}

/* Leaves out a member: with the comma before it, or, if it is the first, with the one after it. */
static void
slot_cut(struct buf *out, const char **cursor, const struct json_slot *slot)
{
	const char *end;

	if (slot->value.kind == JSON_KIND_NONE)
		return;
	end = slot->value.p + slot->value.n;
	if (slot->before)
		cut(out, cursor, slot->before, end);
	else
		cut(out, cursor, slot->begin, slot->after ? slot->after : end);
}

static void
choices_write(const struct chat_frame *frame, const struct chat_frame_view *view, struct buf *out,
              const char **cursor)
{
	for (size_t i = 0; i < frame->choice_count && !view->logprobs; i++)
		slot_cut(out, cursor, &frame->choices[i].logprobs);
	for (size_t i = 0; i < frame->token_count && view->logprobs; i++) {
		const struct chat_token *token = &frame->tokens[i];

		if (token->top_begin)
			cut(out, cursor, chat_token_cut(token, view->top_logprobs),
			    token->top_close);
	}
}

void
chat_frame_write(const struct chat_frame *frame, const struct chat_frame_view *view,
                 struct buf *out)
{
	const char *cursor = frame->text.p, *end = frame->text.p + frame->text.n;
	bool usage_first = frame->choice_count > 0 && frame->usage.value.kind != JSON_KIND_NONE &&
	                   frame->usage.begin < frame->choices[0].span.open;

	/* The cuts must come in the order of the text. */
	if (!view->usage && usage_first)
		slot_cut(out, &cursor, &frame->usage);
	choices_write(frame, view, out, &cursor);
	if (!view->usage && !usage_first)
		slot_cut(out, &cursor, &frame->usage);
	cut(out, &cursor, end, end);
}
