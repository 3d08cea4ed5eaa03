/*
 * A heavyweight's stream on its way to the client: its events wait here until they are wanted, and are joined
 * to the part of a draft that the client has already, if it has one. Embedded in the exchange; worker's
 * thread.
 */
#ifndef ROUTE_RELAY_H
#define ROUTE_RELAY_H

#include "route/draft.h"
#include "route/seam.h"

struct relay {
	struct chat_frame_view view; /* what the client asked for */
	struct buf waiting;          /* owned: events that were not sent yet */
	bool said;                   /* a frame had output, or a finish_reason */
	struct seam *seam;           /* owned; NULL: it was not joined to a draft */
	size_t asked_bytes;          /* of the draft's text, which upstream was asked to continue */
};

/* For what the request asks for; it is not kept. */
void relay_init(struct relay *relay, const struct chat_request *request);
void relay_fini(struct relay *relay);

/* Another attempt begins: what the last one said is forgotten. Upstream is asked to go on from this text;
 * empty: to answer. */
void relay_begin(struct relay *relay, struct bytes asked);

/* Keeps what of the frame is to be sent. Failure to allocate shows in relay->waiting.failed. */
void relay_add(struct relay *relay, const struct chat_frame *frame);

/*
 * From now on the stream follows what the client has of the draft. True when what upstream has said so far
 * fits behind that: it has been asked for just this, or has said word for word what the client got in
 * the meantime. Otherwise the attempt is of no use.
 */
bool relay_join(struct relay *relay, enum chat_prefill prefill, const struct draft *draft);

/* Upstream has said all: what the seam still kept back waits to be sent too. */
void relay_end(struct relay *relay);

/* What waits to be sent, borrowed until the next call; and that it was sent. */
struct bytes relay_waiting(const struct relay *relay);
void relay_sent(struct relay *relay);

#endif
