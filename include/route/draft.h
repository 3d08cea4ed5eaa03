/*
 * A draft while it arrives: what of it will be delivered if it is accepted, and the entropies of its
 * tokens. Nothing of it reaches the client from here. Embedded in the exchange; worker's thread.
 */
#ifndef ROUTE_DRAFT_H
#define ROUTE_DRAFT_H

#include "model/config.h"
#include "wire/chat_answer.h"
#include "wire/chat_request.h"

struct draft {
	const struct chat_request *request;   /* borrowed: what the client asked for */
	const struct config_entropy *entropy; /* borrowed from the plan */
	struct chat_answer *answer; /* owned; for a client that did not ask for a stream */
	struct buf stream;          /* owned; the events for one that did */
	bool has_output;
	uint64_t token_count; /* scored */
};

/* False when there is no memory. */
bool draft_init(struct draft *draft, const struct chat_request *request,
                const struct config_entropy *entropy);
void draft_fini(struct draft *draft);

/* Keeps one frame. False when it does not fit the answer, or the answer grows too large. */
bool draft_add(struct draft *draft, const struct chat_frame *frame);

enum draft_scorable { DRAFT_SCORABLE, DRAFT_NO_LOGPROBS };

/* Has a frame with output the logprobs to score it by? Frames without output need none. */
enum draft_scorable draft_frame_scorable(const struct chat_frame *frame);

/* Is the token to be scored? Special tokens without a text are not. */
bool draft_token_counts(const struct chat_token *token);

/* Its entropy in bits over the configured number of candidates; NAN: unscorable. */
double draft_token_entropy(const struct config_entropy *entropy, const struct chat_token *token);

#endif
