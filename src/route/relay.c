#include "route/relay.h"

#include <stdlib.h>

#include "base/mem.h"
#include "wire/chat_event.h"
#include "wire/sse_reader.h"
#include "wire/sse_write.h"

enum { RELAY_MAX_BYTES = 64 * 1024 * 1024 };

void
relay_init(struct relay *relay, const struct chat_request *request)
{
	*relay = (struct relay){.view = chat_event_view(request)};
	buf_init(&relay->waiting, RELAY_MAX_BYTES);
}

static void
relay_part(struct relay *relay)
{
	if (relay->seam)
		seam_fini(relay->seam);
	free(relay->seam);
	relay->seam = NULL;
}

void
relay_fini(struct relay *relay)
{
	relay_part(relay);
	buf_fini(&relay->waiting);
}

void
relay_begin(struct relay *relay, struct bytes asked)
{
	relay_part(relay);
	buf_reset(&relay->waiting);
	relay->said = false;
	relay->asked_bytes = asked.n;
}

static bool
frame_says_something(const struct chat_frame *frame)
{
	for (size_t i = 0; i < frame->choice_count; i++) {
		if (frame->choices[i].has_output ||
		    frame->choices[i].finish_reason.kind == JSON_KIND_STRING)
			return true;
	}
	return false;
}

/* Does the frame bring what its client did not ask for? */
static bool
has_unasked(const struct chat_frame *frame, const struct chat_frame_view *view)
{
	if (!view->usage && frame->usage_counts.known)
		return true;
	for (size_t i = 0; i < frame->choice_count; i++) {
		if (!view->logprobs && frame->choices[i].has_logprobs)
			return true;
	}
	return false;
}

static void
relay_write(struct relay *relay, const struct chat_frame *frame)
{
	const struct chat_frame_view *view = &relay->view;

	if (relay->seam)
		seam_frame(relay->seam, frame, view, &relay->waiting);
	else if (has_unasked(frame, view))
		chat_event_write(frame, view, &relay->waiting);
	else
		sse_write_data(&relay->waiting, frame->text);
}

void
relay_add(struct relay *relay, const struct chat_frame *frame)
{
	/* Some upstreams tell it unasked. */
	if (chat_frame_is_usage(frame) && !relay->view.usage)
		return;
	relay->said |= frame_says_something(frame);
	relay_write(relay, frame);
}

/* Sends once more through the seam what waits. */
static void
relay_rewrite(struct relay *relay)
{
	struct buf said = relay->waiting;
	struct sse_reader reader;
	struct sse_event event;
	struct chat_frame frame;

	buf_init(&relay->waiting, RELAY_MAX_BYTES);
	sse_reader_init(&reader, RELAY_MAX_BYTES);
	chat_frame_init(&frame);
	sse_reader_feed(&reader, buf_bytes(&said));
	while (sse_reader_next(&reader, &event)) {
		if (chat_frame_read(&frame, event.data))
			relay_write(relay, &frame);
		else
			relay->waiting.failed = true; /* it was read before: no memory */
	}
	relay->waiting.failed |= reader.failed || said.failed;
	chat_frame_fini(&frame);
	sse_reader_fini(&reader);
	buf_fini(&said);
}

static struct json_value
value_of(const struct buf *text, enum json_kind kind)
{
	return (struct json_value){text->p, text->n, text->n ? kind : JSON_KIND_NONE};
}

bool
relay_join(struct relay *relay, enum chat_prefill prefill, const struct draft *draft)
{
	struct bytes delivered = draft_delivered(draft);
	struct bytes asked = {delivered.p, relay->asked_bytes};

	relay_part(relay);
	if (delivered.n == 0)
		return true;
	relay->seam = mem_new(sizeof(*relay->seam));
	if (!seam_init(relay->seam, prefill, asked, delivered,
	               value_of(&draft->id, JSON_KIND_STRING),
	               value_of(&draft->created, JSON_KIND_NUMBER))) {
		free(relay->seam);
		relay->seam = NULL;
		return false;
	}
	relay_rewrite(relay);
	return !relay->waiting.failed && seam_fits(relay->seam);
}

void
relay_end(struct relay *relay)
{
	if (relay->seam)
		seam_end(relay->seam, &relay->waiting);
}

struct bytes
relay_waiting(const struct relay *relay)
{
	return buf_bytes(&relay->waiting);
}

void
relay_sent(struct relay *relay)
{
	/* Thousands of slow streams wait for their next frame at a time. */
	buf_fini(&relay->waiting);
	buf_init(&relay->waiting, RELAY_MAX_BYTES);
}
