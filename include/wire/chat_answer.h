/*
 * Assembles the frames of a stream into the one chat.completion that a client gets who did not ask
 * for a stream: every choice, with content, refusal, tool calls (merged by index), other delta
 * members, finish_reason, logprobs; id, created, model, system_fingerprint, usage.
 *
 * Text is appended as it stands in the frames, escapes and all. Pure; owns its memory.
 */
#ifndef WIRE_CHAT_ANSWER_H
#define WIRE_CHAT_ANSWER_H

#include "wire/chat_frame.h"

struct chat_answer;

/* limit: most bytes of text it may gather. NULL when there is no memory. */
struct chat_answer *chat_answer_new(size_t limit, bool keep_logprobs, unsigned top_logprobs);
void chat_answer_free(struct chat_answer *answer);

/* Adds one frame. False when it cannot be part of the same answer or memory is out. */
bool chat_answer_add(struct chat_answer *answer, const struct chat_frame *frame);

/* Does every choice seen (at least one) have a finish_reason? */
bool chat_answer_is_finished(const struct chat_answer *answer);

/* Has any choice output: content, a refusal, a tool call? */
bool chat_answer_has_output(const struct chat_answer *answer);

/* The usage told by the frames; `known` is false when none did. */
struct chat_usage chat_answer_usage(const struct chat_answer *answer);

/* Appends the JSON document. `usage` only if it is known. */
void chat_answer_write(const struct chat_answer *answer, struct buf *out);

#endif
