#include "route/draft.h"

#include <math.h>

#include "wire/chat_event.h"

enum { DRAFT_MAX_BYTES = 64 * 1024 * 1024, DRAFT_FORGET_BYTES = 16 * 1024 };

bool
draft_init(struct draft *draft, const struct chat_request *request, bool live)
{
	*draft = (struct draft){.view = chat_event_view(request), .live = live};
	buf_init(&draft->stream, DRAFT_MAX_BYTES);
	buf_init(&draft->text, DRAFT_MAX_BYTES);
	buf_init(&draft->frames, DRAFT_MAX_BYTES);
	buf_init(&draft->id, 0);
	buf_init(&draft->created, 0);
	if (request->stream)
		return true;
	draft->answer = chat_answer_new(DRAFT_MAX_BYTES, request->logprobs, request->top_logprobs);
	return draft->answer != NULL;
}

void
draft_fini(struct draft *draft)
{
	if (draft->answer)
		chat_answer_free(draft->answer);
	draft->answer = NULL;
	buf_fini(&draft->stream);
	buf_fini(&draft->text);
	buf_fini(&draft->id);
	buf_fini(&draft->created);
	buf_fini(&draft->frames);
}

static void
draft_add_event(struct draft *draft, const struct chat_frame *frame)
{
	if (!chat_frame_is_usage(frame) || draft->view.usage)
		chat_event_write(frame, &draft->view, &draft->stream);
}

static bool
is_something(struct json_value value)
{
	return value.kind > JSON_KIND_NULL;
}

static bool
is_text(struct json_value value)
{
	return value.kind == JSON_KIND_STRING && value.n > 2;
}

/* Some servers send empty tool_calls along with the text. */
static bool
frame_is_plain(const struct chat_frame *frame)
{
	for (size_t i = 0; i < frame->choice_count; i++) {
		const struct chat_choice *choice = &frame->choices[i];

		if (choice->index != 0 || is_text(choice->refusal) ||
		    (is_something(choice->tool_calls) && !json_is_empty(choice->tool_calls)) ||
		    is_something(choice->function_call))
			return false;
	}
	return true;
}

static void
draft_keep_name(struct buf *kept, struct json_value value)
{
	if (kept->n == 0 && is_something(value))
		buf_add(kept, value.p, value.n);
}

/* What releasing it later needs to know of the frame. */
static bool
draft_add_live(struct draft *draft, const struct chat_frame *frame)
{
	struct draft_frame waiting;
	bool output = false;

	draft_keep_name(&draft->id, frame->id);
	draft_keep_name(&draft->created, frame->created);
	for (size_t i = 0; i < frame->choice_count; i++) {
		const struct chat_choice *choice = &frame->choices[i];

		output |= choice->has_output;
		if (choice->index == 0 && choice->content.kind == JSON_KIND_STRING)
			json_string_decode(choice->content, &draft->text);
	}
	waiting = (struct draft_frame){
	        .stream_end = draft->stream_gone + draft->stream.n,
	        .text_end = draft->text.n,
	        .tokens = draft->token_count,
	        .plain = frame_is_plain(frame),
	        .output = output,
	};
	buf_add(&draft->frames, &waiting, sizeof(waiting));
	return !draft->text.failed && !draft->frames.failed && !draft->id.failed &&
	       !draft->created.failed;
}

/* Makes room of what was released, now and then. */
static void
draft_forget(struct draft *draft)
{
	size_t released = draft->stream_released - draft->stream_gone;

	if (released < DRAFT_FORGET_BYTES)
		return;
	buf_drop(&draft->stream, released);
	draft->stream_gone = draft->stream_released;
	buf_drop(&draft->frames, draft->frames_released * sizeof(struct draft_frame));
	draft->frames_released = draft->frames_mute = 0;
}

bool
draft_add(struct draft *draft, const struct chat_frame *frame)
{
	draft_forget(draft);
	if (draft->answer)
		return chat_answer_add(draft->answer, frame);
	draft_add_event(draft, frame);
	if (draft->live && !draft_add_live(draft, frame))
		return false;
	return !draft->stream.failed;
}

/* The frames that wait. */
static const struct draft_frame *
draft_waiting(const struct draft *draft, size_t *count)
{
	const struct draft_frame *frames = (const void *)draft->frames.p;

	*count = draft->frames.n / sizeof(*frames) - draft->frames_released;
	return *count ? frames + draft->frames_released : NULL;
}

/* How many of them may be seen. */
static size_t
draft_visible_frames(const struct draft *draft, uint64_t visible_tokens)
{
	size_t count, i = 0;
	const struct draft_frame *frames = draft_waiting(draft, &count);

	while (i < count && frames[i].plain && frames[i].tokens <= visible_tokens)
		i++;
	return i;
}

bool
draft_has_visible(struct draft *draft, uint64_t visible_tokens)
{
	size_t count;
	const struct draft_frame *frames = draft_waiting(draft, &count);
	size_t i = draft->frames_mute > draft->frames_released
	                   ? draft->frames_mute - draft->frames_released
	                   : 0;

	while (i < count && frames[i].plain && !frames[i].output)
		i++;
	draft->frames_mute = draft->frames_released + i;
	return i < count && frames[i].plain && visible_tokens > 0 &&
	       frames[i].tokens <= visible_tokens;
}

/* The events from the last one released up to where `stream_end` is. */
static struct bytes
draft_take(struct draft *draft, size_t stream_end)
{
	struct bytes taken = {"", 0};

	if (stream_end > draft->stream_released)
		taken = (struct bytes){draft->stream.p +
		                               (draft->stream_released - draft->stream_gone),
		                       stream_end - draft->stream_released};
	draft->stream_released = stream_end;
	return taken;
}

struct bytes
draft_release(struct draft *draft, uint64_t visible_tokens)
{
	size_t count, end = draft_visible_frames(draft, visible_tokens);
	const struct draft_frame *frames = draft_waiting(draft, &count);

	if (end == 0)
		return (struct bytes){"", 0};
	draft->text_released = frames[end - 1].text_end;
	draft->tokens_released = frames[end - 1].tokens;
	draft->frames_released += end;
	return draft_take(draft, frames[end - 1].stream_end);
}

struct bytes
draft_release_rest(struct draft *draft)
{
	draft->text_released = draft->text.n;
	draft->tokens_released = draft->token_count;
	draft->frames_released = draft->frames.n / sizeof(struct draft_frame);
	return draft_take(draft, draft->stream_gone + draft->stream.n);
}

struct bytes
draft_delivered(const struct draft *draft)
{
	return (struct bytes){draft->text.p ? draft->text.p : "", draft->text_released};
}

enum draft_scorable
draft_frame_scorable(const struct chat_frame *frame)
{
	for (size_t i = 0; i < frame->choice_count; i++) {
		const struct chat_choice *choice = &frame->choices[i];

		if (choice->has_output && (!choice->has_logprobs || choice->token_count == 0))
			return DRAFT_NO_LOGPROBS;
	}
	return DRAFT_SCORABLE;
}

bool
draft_token_counts(const struct chat_token *token)
{
	/* A string with nothing between its quotes. */
	return token->text.kind == JSON_KIND_STRING && token->text.n > 2;
}

double
draft_token_entropy(const struct config_entropy *entropy, const struct chat_token *token)
{
	size_t count =
	        token->top_count < entropy->top_logprobs ? token->top_count : entropy->top_logprobs;
	bool among = token->sampled >= 0 && (size_t)token->sampled < count;

	if (count == 0)
		return NAN;
	return token_entropy(token->top, count, among ? NAN : token->logprob, entropy->tail);
}
