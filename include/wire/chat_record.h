/*
 * A completion as it is kept to be given again: one chat.completion without what belongs to one answer
 * alone (id, created), without white space between its tokens, every other byte of its values as it stands. Pure.
 */
#ifndef WIRE_CHAT_RECORD_H
#define WIRE_CHAT_RECORD_H

#include "base/buf.h"

enum chat_record_end { CHAT_RECORD_STOP, CHAT_RECORD_CALLS, CHAT_RECORD_OTHER };

/* What decides whether it may be kept. */
struct chat_record_facts {
	size_t choices;
	enum chat_record_end
	        end; /* finish_reason of the first choice: stop; tool_calls or function_call; any other, or none */
	bool has_text;   /* it has content that is not empty */
	bool has_calls;  /* it has a tool or function call */
	bool is_refusal; /* it has a refusal that is not empty */
	bool has_usage;
};

/*
 * Appends the record of a completion, and tells what is in it. usage: a JSON object that is added when the
 * completion has none; n == 0: there is none to add. False when it is no completion, or memory is out.
 */
bool chat_record_make(struct bytes completion, struct bytes usage, struct chat_record_facts *facts,
                      struct buf *out);

/* Appends the completion with an id (ASCII, nothing to be escaped) and time of creation of its own. Failure to
 * allocate shows in out->failed, here and below. */
void chat_record_write(struct bytes record, const char *id, uint64_t created_s, struct buf *out);

/* Appends it as the events of a stream, without [DONE]: for each choice what it says and then its end, and the usage if
 * that is asked for and there. False when the record is none, or memory is out. */
bool chat_record_write_events(struct bytes record, const char *id, uint64_t created_s, bool usage,
                              struct buf *out);

#endif
