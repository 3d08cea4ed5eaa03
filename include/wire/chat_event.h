/* One frame of a stream as a server-sent event, without what the client did not ask for. Pure. */
#ifndef WIRE_CHAT_EVENT_H
#define WIRE_CHAT_EVENT_H

#include "wire/chat_frame.h"
#include "wire/chat_request.h"

/* What the request asked to see of a frame. */
struct chat_frame_view chat_event_view(const struct chat_request *request);

/* Appends the event; a payload with line feeds becomes several data lines. Failure to allocate shows in
 * out->failed. */
void chat_event_write(const struct chat_frame *frame, const struct chat_frame_view *view,
                      struct buf *out);

#endif
