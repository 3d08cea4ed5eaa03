/*
 * A whole chat.completion as the frames of a stream: for an upstream that answers in one document
 * although a stream was asked for. One frame for each choice, then one with the usage. Bytes of
 * values are copied as they stand. Pure; the frame is one that chat_frame_read() found good and
 * without an error. Failure to allocate shows in out->failed.
 */
#ifndef WIRE_CHAT_CONVERT_H
#define WIRE_CHAT_CONVERT_H

#include "wire/chat_frame.h"

/*
 * Appends what all frames of the document begin with: `{"id":…,"object":"chat.completion.chunk"`, every
 * other member in its order but `choices` and `usage`, and `"choices":[`. Made once a document, for it
 * means a walk through all of it.
 */
void chat_convert_begin(const struct chat_frame *frame, struct buf *out);

/*
 * Appends the payload of one chat.completion.chunk that says what choice number `at` (of frame->choices)
 * does: its message as the delta, with an index in each tool call, logprobs and finish_reason, and every
 * other member of the choice. A choice without an index gets its place in the list.
 */
void chat_convert_choice(const struct chat_frame *frame, size_t at, struct bytes begin,
                         struct buf *out);

/* Appends the payload of the frame that ends a stream with its usage: no choices. Only if the usage is
 * known. */
void chat_convert_usage(const struct chat_frame *frame, struct bytes begin, struct buf *out);

#endif
