/*
 * Assembles the frames of a stream into the one chat.completion that a client gets who did not ask
 * for a stream: every choice, with content, refusal, tool calls (merged by index), other delta
 * members (strings go on, of other values the last one counts), finish_reason, logprobs; id, created,
 * model, system_fingerprint, service_tier as first told, usage as last told.
 *
 * Text is appended as it stands in the frames, escapes and all. Pure; owns its memory.
 */
#ifndef WIRE_CHAT_ANSWER_H
#define WIRE_CHAT_ANSWER_H

#include "wire/chat_frame.h"

struct chat_answer;

/* limit: most bytes it may gather, what it needs to hold them in order included. keep_logprobs: the
 * document has them, with at most top_logprobs candidates a token. NULL when there is no memory. */
struct chat_answer *chat_answer_new(size_t limit, bool keep_logprobs, unsigned top_logprobs);
void chat_answer_free(struct chat_answer *answer);

/* Adds one frame, which is borrowed only for the call. False when it cannot be part of the same answer
 * (an error, a tool call that is none, more choices or calls than there may be), the limit is reached
 * or memory is out; the answer is then good for nothing but chat_answer_free(). */
bool chat_answer_add(struct chat_answer *answer, const struct chat_frame *frame);

/* Does every choice seen (at least one) have a finish_reason? */
bool chat_answer_is_finished(const struct chat_answer *answer);

/* Has any choice output: content, a refusal, a tool call? */
bool chat_answer_has_output(const struct chat_answer *answer);

/* The usage told by the frames; `known` is false when none did. */
struct chat_usage chat_answer_usage(const struct chat_answer *answer);

/*
 * Appends the JSON document. A choice that was never finished has a null finish_reason; `usage` stands
 * there only if it is known, and so do id, created and the like; `logprobs` only if they are kept, and
 * null where the frames had none. A message's role is assistant unless told otherwise, its content null
 * when there was none. Failure to allocate shows in out->failed.
 */
void chat_answer_write(const struct chat_answer *answer, struct buf *out);

#endif
