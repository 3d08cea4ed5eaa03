/* What chat_frame.c and chat_choice.c share. For these files only. */
#ifndef WIRE_CHAT_FRAME_PRIVATE_H
#define WIRE_CHAT_FRAME_PRIVATE_H

#include "wire/chat_frame.h"

/* chat_frame.c. Each consumes the next value; false at a fault of the scan, and at a value of another kind that is not
 * null either. A null leaves the count as it is. */
bool frame_value_take(struct json_scan *s, struct json_value *value, enum json_kind kind);
bool frame_count_take(struct json_scan *s, uint64_t *count);

/* Makes room for one more item: the items' new place, or NULL when there is no memory, for upstream
 * chooses how many there are. The old place stands then. */
void *frame_array_grow(void *items, size_t count, size_t *cap, size_t size);

/* chat_choice.c: reads one choice with its tokens. */
bool frame_choice_read(struct chat_frame *frame, struct chat_choice *choice, struct json_scan *s);

#endif
