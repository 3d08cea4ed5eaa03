/*
 * Joins a heavyweight's continuation to the text of a draft that the client has already: its frames get
 * the draft's id and time of creation, no second role, and no text that the client has. So the client sees
 * one answer. Pure but for memory; embedded in the exchange.
 *
 *	the client has: "The capital of"      upstream goes on: "capital of France is"
 *	                                       the client gets:            " France is"
 */
#ifndef ROUTE_SEAM_H
#define ROUTE_SEAM_H

#include "wire/chat_frame.h"
#include "wire/chat_request.h"
#include "wire/overlap.h"

struct seam {
	struct overlap *repeated; /* owned: what upstream repeats of the text it was given */
	struct overlap *said; /* owned; NULL: none. What the client got after upstream was asked */
	size_t said_n;        /* bytes of that */
	/* Owned: JSON values that the frames get, as the draft's had them, or else upstream's first one;
	 * empty: unknown. The model is upstream's own, for frames of the seam's making. */
	struct buf id, created, model;
	struct buf text, rest, content, frame; /* owned, reused from frame to frame */
};

/*
 * `asked`: the text that upstream was asked to continue. `delivered`: what the client has; it begins with
 * `asked`, and is longer when upstream was asked ahead of need. `id` and `created`: JSON values of the
 * draft's frames, or JSON_KIND_NONE. False when there is no memory; then nothing is to be freed.
 */
bool seam_init(struct seam *seam, enum chat_prefill prefill, struct bytes asked,
               struct bytes delivered, struct json_value id, struct json_value created);
void seam_fini(struct seam *seam);

/* Appends what of the frame is to be sent, as one event, or nothing. With a frame that has a finish_reason
 * comes whatever was kept back: in it, or, if it has no content, in an event of its own before it. Where
 * text was kept back or left out the logprobs would not fit and are left out. Failure to allocate shows in
 * out->failed. */
void seam_frame(struct seam *seam, const struct chat_frame *frame,
                const struct chat_frame_view *view, struct buf *out);

/* The continuation is over: appends what is still kept back, as one event, or nothing. For streams that
 * end without a finish_reason. */
void seam_end(struct seam *seam, struct buf *out);

/* Has all that the client got after upstream was asked been said by upstream too, word for word? Always
 * true when `delivered` is `asked`. Otherwise what upstream says does not fit, or is not there yet; until
 * then nothing that the seam appended may be sent. */
bool seam_fits(const struct seam *seam);

#endif
