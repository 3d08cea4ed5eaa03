/* Writes server-sent events. Pure. */
#ifndef WIRE_SSE_WRITE_H
#define WIRE_SSE_WRITE_H

#include "base/buf.h"

/* Appends one event with that data; a newline in it becomes a further data line. */
void sse_write_data(struct buf *out, struct bytes data);

/* Appends a comment, which clients skip. `text` holds no line end. */
void sse_write_comment(struct buf *out, const char *text);

#endif
