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
	struct buf id,
	        created; /* owned: JSON values as the draft's frames had them; empty: unknown */
};

/*
 * `asked`: the text that upstream was asked to continue. `delivered`: what the client has; it begins with
 * `asked`, and is longer when upstream was asked ahead of need. `id` and `created`: JSON values of the
 * draft's frames, or JSON_KIND_NONE. False when there is no memory.
 */
bool seam_init(struct seam *seam, enum chat_prefill prefill, struct bytes asked,
               struct bytes delivered, struct json_value id, struct json_value created);
void seam_fini(struct seam *seam);

/* Appends what of the frame is to be sent, as one event, or nothing. A frame with a finish_reason brings
 * whatever was kept back. Failure to allocate shows in out->failed. */
void seam_frame(struct seam *seam, const struct chat_frame *frame,
                const struct chat_frame_view *view, struct buf *out);

/* Has all that the client got after upstream was asked been said by upstream too, word for word? Always
 * true when `delivered` is `asked`. Otherwise what upstream says does not fit, or is not there yet. */
bool seam_fits(const struct seam *seam);

#endif
