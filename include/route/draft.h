/*
 * A draft while it arrives: what of it will be delivered, how far that may go already, and what of
 * its text the client has. Embedded in the exchange; worker's thread.
 */
#ifndef ROUTE_DRAFT_H
#define ROUTE_DRAFT_H

#include "model/config.h"
#include "wire/chat_answer.h"
#include "wire/chat_request.h"

/* One frame that waits to be seen. */
struct draft_frame {
	size_t stream_end; /* where its event ends, counted from the draft's first byte */
	size_t text_end;   /* where its text ends in draft->text */
	uint64_t tokens;   /* scored up to its end */
	bool plain; /* nothing but a role, text or an end: text could follow it from another model */
	bool output;
};

struct draft {
	struct chat_frame_view view; /* what the client asked for */
	struct chat_answer *answer;  /* owned; for a client that did not ask for a stream */
	bool live;                   /* it may be seen before it is complete */
	struct buf stream;  /* owned; the events, but for those at the beginning that are gone */
	size_t stream_gone; /* bytes of these */
	size_t stream_released; /* of all bytes, so many were released */
	uint64_t token_count;   /* scored */

	/* While live. */
	struct buf frames;      /* owned; a struct draft_frame for each event left there */
	size_t frames_released; /* of these */
	size_t frames_mute;     /* so many of these, released or not, are known to say nothing */
	struct buf text;        /* owned; the first choice's text, decoded */
	size_t text_released;   /* of which the client has so much */
	uint64_t tokens_released;
	struct buf id, created; /* owned; as the first frame spells them; empty: it does not */
};

/* For what the request asks for; it is not kept. `live`: parts may be released before it is complete; for a client that
 * asked for a stream only. False when there is no memory. */
bool draft_init(struct draft *draft, const struct chat_request *request, bool live);
void draft_fini(struct draft *draft);

/* Keeps one frame, whose tokens are in token_count already. False when it does not fit the answer, or the
 * answer grows too large. */
bool draft_add(struct draft *draft, const struct chat_frame *frame);

/* Is there output to be released if the client may see so many tokens? Looks at each frame once. */
bool draft_has_visible(struct draft *draft, uint64_t visible_tokens);

/* The events that may be seen by then, each once; borrowed until the next draft_… call. The first frame that
 * is not plain ends what is released; it waits for draft_release_rest. */
struct bytes draft_release(struct draft *draft, uint64_t visible_tokens);
struct bytes draft_release_rest(struct draft *draft);

/* The text that the client has; borrowed until the next draft_… call. */
struct bytes draft_delivered(const struct draft *draft);

enum draft_scorable { DRAFT_SCORABLE, DRAFT_NO_LOGPROBS };

/* Could the rule judge a draft of this request? Not of several choices, nor of sound. */
static inline bool
draft_request_scorable(const struct chat_request *request)
{
	return request->n == 1 && !request->wants_audio;
}

/* Has a frame with output the logprobs to score it by? Frames without output need none. */
enum draft_scorable draft_frame_scorable(const struct chat_frame *frame);

/* Is the token to be scored? Special tokens without a text are not. */
bool draft_token_counts(const struct chat_token *token);

/* Its entropy in bits over the configured number of candidates; NAN: unscorable. */
double draft_token_entropy(const struct config_entropy *entropy, const struct chat_token *token);

#endif
