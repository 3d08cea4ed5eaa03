/*
 * An object that arrives in parts, as the delta of a choice or a tool call does: each part is an object
 * with some of the members, and the whole is put together member by member. A string goes on where the
 * last part left off, unless it is a name; of any other value the last one counts; an object within is
 * put together in the same way; null changes nothing that is there.
 *
 * Text is kept as it stands in the parts, escapes and all. Pure; owns its memory; for chat_answer.
 */
#ifndef WIRE_CHAT_PARTS_H
#define WIRE_CHAT_PARTS_H

#include "wire/json_scan.h"

struct chat_part; /* one member of the whole */

struct chat_parts {
	struct chat_part *list; /* owned, in the order of first appearance */
	size_t count, cap;
};

void chat_parts_fini(struct chat_parts *parts);

/*
 * Adds one part. Members whose key is among `skip` (ended by NULL) are passed over. *room is what may still
 * be kept, in bytes, and is lowered. False when the part is no valid object, there is no room or no memory,
 * or a member changes its kind between string and other.
 */
bool chat_parts_add(struct chat_parts *parts, struct bytes object, const char *const *skip,
                    size_t *room);

/* Appends `"key":value` for each member, separated and led by commas as JSON wants after `first` members. */
void chat_parts_write(const struct chat_parts *parts, bool first, struct buf *out);

/* Is there a member of that key? */
bool chat_parts_has(const struct chat_parts *parts, const char *key);

#endif
