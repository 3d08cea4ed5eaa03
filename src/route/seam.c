#include "route/seam.h"

#include "wire/sse_write.h"

static enum overlap_kind
overlap_expected(enum chat_prefill prefill)
{
	switch (prefill) {
	case CHAT_PREFILL_NONE: return OVERLAP_WORDS;
	case CHAT_PREFILL_MISTRAL: return OVERLAP_ECHO;
	case CHAT_PREFILL_ANTHROPIC: return OVERLAP_SPACE;
	case CHAT_PREFILL_PLAIN:
	case CHAT_PREFILL_VLLM:
	case CHAT_PREFILL_DEEPSEEK: break;
	}
	return OVERLAP_NONE;
}

/* Keeps a value of that kind if there is none yet. */
static void
value_keep(struct buf *to, struct json_value value, enum json_kind kind)
{
	if (to->n == 0 && value.kind == kind)
		buf_add(to, value.p, value.n);
}

bool
seam_init(struct seam *seam, enum chat_prefill prefill, struct bytes asked, struct bytes delivered,
          struct json_value id, struct json_value created)
{
	bool ahead = delivered.n > asked.n;

	*seam = (struct seam){.said_n = ahead ? delivered.n - asked.n : 0};
	seam->repeated = overlap_new(overlap_expected(prefill), asked);
	if (ahead)
		seam->said = overlap_new(OVERLAP_ECHO,
		                         (struct bytes){delivered.p + asked.n, seam->said_n});
	value_keep(&seam->id, id, JSON_KIND_STRING);
	value_keep(&seam->created, created, JSON_KIND_NUMBER);
	if (seam->repeated && (seam->said || !ahead) && !seam->id.failed && !seam->created.failed)
		return true;
	seam_fini(seam);
	return false;
}

void
seam_fini(struct seam *seam)
{
	overlap_free(seam->repeated);
	overlap_free(seam->said);
	buf_fini(&seam->id);
	buf_fini(&seam->created);
	buf_fini(&seam->model);
	buf_fini(&seam->text);
	buf_fini(&seam->rest);
	buf_fini(&seam->content);
	buf_fini(&seam->frame);
	*seam = (struct seam){.repeated = NULL};
}

static bool
is_settled(const struct seam *seam)
{
	return overlap_is_settled(seam->repeated) &&
	       (!seam->said || overlap_is_settled(seam->said));
}

/* Puts into seam->rest what is to be sent now that upstream has said `text` more. */
static void
text_join(struct seam *seam, struct bytes text, bool is_end)
{
	struct buf *first = seam->said ? &seam->content : &seam->rest;

	buf_reset(&seam->content);
	buf_reset(&seam->rest);
	overlap_feed(seam->repeated, text, first);
	if (is_end)
		overlap_end(seam->repeated, first);
	if (!seam->said)
		return;
	overlap_feed(seam->said, buf_bytes(first), &seam->rest);
	if (is_end)
		overlap_end(seam->said, &seam->rest);
	if (first->failed)
		seam->rest.failed = true;
}

static void
event_write(const struct buf *payload, struct buf *out)
{
	if (payload->failed)
		out->failed = true;
	else
		sse_write_data(out, buf_bytes(payload));
}

static void
member_write(struct buf *out, const char *begin, const struct buf *value)
{
	if (value->n == 0)
		return;
	buf_add_text(out, begin);
	buf_add_bytes(out, buf_bytes(value));
}

/* An event of the seam's own making, with seam->rest. */
static void
chunk_write(struct seam *seam, struct buf *out)
{
	struct buf *frame = &seam->frame;

	buf_reset(frame);
	buf_add_text(frame, "{\"object\":\"chat.completion.chunk\"");
	member_write(frame, ",\"id\":", &seam->id);
	member_write(frame, ",\"created\":", &seam->created);
	member_write(frame, ",\"model\":", &seam->model);
	buf_add_text(frame, ",\"choices\":[{\"index\":0,\"delta\":{\"content\":");
	buf_add_json_string(frame, buf_bytes(&seam->rest));
	buf_add_text(frame, "},\"finish_reason\":null}]}");
	event_write(frame, out);
}

/* Does the choice say anything but content? */
static bool
choice_says_more(const struct chat_choice *choice)
{
	return choice->finish_reason.kind == JSON_KIND_STRING ||
	       (choice->refusal.kind == JSON_KIND_STRING && choice->refusal.n > 2) ||
	       (choice->tool_calls.kind == JSON_KIND_ARRAY && !json_is_empty(choice->tool_calls)) ||
	       choice->function_call.kind == JSON_KIND_OBJECT;
}

/* Does the frame say anything but the first choice's content? */
static bool
frame_says_more(const struct chat_frame *frame, const struct chat_frame_view *view)
{
	bool more = view->usage && frame->usage_counts.known;

	for (size_t i = 0; i < frame->choice_count && !more; i++)
		more = choice_says_more(&frame->choices[i]) ||
		       (i > 0 && frame->choices[i].has_output);
	return more;
}

/* Joins the first choice's content. Gives whether the frame, patched, has any; sets `changed` when that is
 * not what it had. Text that the frame has no place for is appended at once. */
static bool
content_join(struct seam *seam, const struct chat_choice *choice, struct chat_frame_patch *patch,
             bool *changed, struct buf *out)
{
	buf_reset(&seam->text);
	json_string_decode(choice->content, &seam->text);
	text_join(seam, buf_bytes(&seam->text), choice->finish_reason.kind == JSON_KIND_STRING);
	if (seam->text.failed || seam->rest.failed)
		out->failed = true;
	*changed = !bytes_equal(buf_bytes(&seam->text), buf_bytes(&seam->rest));
	if (!*changed)
		return seam->rest.n > 0;
	if (choice->content.kind == JSON_KIND_NONE) {
		chunk_write(seam, out);
		return false;
	}
	buf_reset(&seam->content);
	buf_add_json_string(&seam->content, buf_bytes(&seam->rest));
	if (seam->content.failed)
		out->failed = true;
	patch->content = buf_bytes(&seam->content);
	return seam->rest.n > 0;
}

static struct bytes
value_or_none(const struct buf *value)
{
	return value->n > 0 ? buf_bytes(value) : (struct bytes){NULL, 0};
}

void
seam_frame(struct seam *seam, const struct chat_frame *frame, const struct chat_frame_view *view,
           struct buf *out)
{
	struct chat_frame_patch patch = {.drop_role = true};
	struct chat_frame_view seen = *view;
	bool says = false, changed = false;

	if (frame->choice_count > 0) {
		const struct chat_choice *choice = &frame->choices[0];

		/* Not from a first frame about the prompt, without choices, in which they are empty. */
		value_keep(&seam->id, frame->id, JSON_KIND_STRING);
		value_keep(&seam->created, frame->created, JSON_KIND_NUMBER);
		value_keep(&seam->model, frame->model, JSON_KIND_STRING);
		if (is_settled(seam))
			says = choice->content.kind == JSON_KIND_STRING && choice->content.n > 2;
		else
			says = content_join(seam, choice, &patch, &changed, out);
	}
	if (!says && !frame_says_more(frame, view) && frame->error.kind == JSON_KIND_NONE)
		return;
	patch.id = value_or_none(&seam->id);
	patch.created = value_or_none(&seam->created);
	seen.logprobs = view->logprobs && !changed;
	buf_reset(&seam->frame);
	chat_frame_write_patched(frame, &seen, &patch, &seam->frame);
	event_write(&seam->frame, out);
}

void
seam_end(struct seam *seam, struct buf *out)
{
	if (is_settled(seam))
		return;
	text_join(seam, (struct bytes){"", 0}, true);
	if (seam->rest.failed)
		out->failed = true;
	else if (seam->rest.n > 0)
		chunk_write(seam, out);
}

bool
seam_fits(const struct seam *seam)
{
	return !seam->said || overlap_left_out(seam->said) == seam->said_n;
}
