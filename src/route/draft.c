#include "route/draft.h"

#include <math.h>

#include "wire/sse_write.h"

enum { DRAFT_MAX_BYTES = 64 * 1024 * 1024 };

bool
draft_init(struct draft *draft, const struct chat_request *request,
           const struct config_entropy *entropy)
{
	*draft = (struct draft){.request = request, .entropy = entropy};
	buf_init(&draft->stream, DRAFT_MAX_BYTES);
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
}

static void
draft_add_event(struct draft *draft, const struct chat_frame *frame)
{
	const struct chat_request *request = draft->request;
	struct chat_frame_view view = {.logprobs = request->logprobs,
	                               .top_logprobs = request->top_logprobs,
	                               .usage = request->include_usage};
	struct buf *out = &draft->stream;

	if (chat_frame_is_usage(frame) && !request->include_usage)
		return;
	if (memchr(frame->text.p, '\n', frame->text.n)) {
		/* A pretty-printed frame: rare enough to take the long way. */
		struct buf text;

		buf_init(&text, DRAFT_MAX_BYTES);
		chat_frame_write(frame, &view, &text);
		sse_write_data(out, buf_bytes(&text));
		out->failed |= text.failed;
		buf_fini(&text);
		return;
	}
	buf_add(out, "data: ", 6);
	chat_frame_write(frame, &view, out);
	buf_add(out, "\n\n", 2);
}

bool
draft_add(struct draft *draft, const struct chat_frame *frame)
{
	for (size_t i = 0; i < frame->choice_count; i++)
		draft->has_output |= frame->choices[i].has_output;
	if (draft->answer)
		return chat_answer_add(draft->answer, frame);
	draft_add_event(draft, frame);
	return !draft->stream.failed;
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
