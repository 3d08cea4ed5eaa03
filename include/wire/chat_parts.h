/*
 * An object that arrives in parts, as the delta of a choice or a tool call does: each part is an object
 * with some of the members, and the whole is put together member by member. A string goes on where the
 * last part left off, unless it is a name (`role`, `id`, `type`, `name`), of which the last one that is
 * not empty counts, as it does of any other value; an object within is put together in the same way; a
 * value of another kind takes the old one's place; null changes nothing that is there.
 *
 * Text is kept as it stands in the parts, escapes and all; keys are kept by what they mean. Pure; owns
 * its memory; for chat_answer.
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
 * Adds one part. Members whose key is among `skip` (ended by NULL) are passed over. *room is what may
 * still be kept, in bytes; it is lowered by what this takes and raised by what it replaces. False when
 * the part is no valid object, or there is no room or no memory; it may have been added half then.
 */
bool chat_parts_add(struct chat_parts *parts, struct bytes object, const char *const *skip,
                    size_t *room);

/* Appends `"key":value` for each member, with commas between them and, unless `first`, before them. */
void chat_parts_write(const struct chat_parts *parts, bool first, struct buf *out);

/* Is there a member of that key, be it null? */
bool chat_parts_has(const struct chat_parts *parts, const char *key);

/* The string of that key without its quotes, as it stands; empty when there is none. */
struct bytes chat_parts_text(const struct chat_parts *parts, const char *key);

#endif
