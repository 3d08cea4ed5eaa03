/*
 * A whole chat.completion as the frames of a stream: for an upstream that answers in one document
 * although a stream was asked for. Pure.
 */
#ifndef WIRE_CHAT_CONVERT_H
#define WIRE_CHAT_CONVERT_H

#include "wire/chat_frame.h"

/*
 * Writes the payload of one chat.completion.chunk that says what the document's choice number `at` (of
 * frame->choices) does: the message as delta, tool calls with their index, logprobs and finish_reason as they
 * stand; every other member of the document is kept but `object`, `choices` and `usage`.
 */
void chat_convert_choice(const struct chat_frame *frame, size_t at, struct buf *out);

/* The payload of the frame that ends a stream with its usage: no choices. Only if usage is there. */
void chat_convert_usage(const struct chat_frame *frame, struct buf *out);

#endif
