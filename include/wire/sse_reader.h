/*
 * An incremental reader of server-sent events (WHATWG HTML, section 9.2): bytes in, events out.
 * Line ends \n, \r\n and \r, a leading byte order mark, comments, several data lines (joined by
 * \n), event names. An event is borrowed from the chunk fed unless it straddles two.
 *
 * Pure; one thread at a time.
 *
 *	sse_reader_feed(&r, chunk);
 *	while (sse_reader_next(&r, &event)) …;
 *	if (r.failed) …;
 */
#ifndef WIRE_SSE_READER_H
#define WIRE_SSE_READER_H

#include "base/buf.h"
#include "base/bytes.h"

struct sse_event {
	struct bytes data; /* valid until the next call on the reader; p == NULL: an event without data
	                    * is never reported */
	struct bytes name; /* the `event:` field; n == 0: none */
};

struct sse_reader {
	struct buf held;    /* owned: the unfinished event, or one that straddled chunks */
	struct bytes chunk; /* borrowed until the next feed */
	struct buf joined;  /* owned: data of an event with several data lines */
	size_t limit;
	bool failed; /* an event grew past the limit, or no memory */
	bool started;
	bool skip_lf; /* the last chunk ended in \r */
};

/* limit: most bytes that one event may have. */
void sse_reader_init(struct sse_reader *r, size_t limit);
void sse_reader_fini(struct sse_reader *r);

/* Gives the reader its next bytes. All events of the previous chunk must have been taken. */
void sse_reader_feed(struct sse_reader *r, struct bytes chunk);

/* The next complete event, or false when more bytes are needed (or the reader has failed).
 * What is unfinished is kept when it returns false. */
bool sse_reader_next(struct sse_reader *r, struct sse_event *event);

/* Is an unfinished event held, one that the end of the stream would cut? */
bool sse_reader_is_midway(const struct sse_reader *r);

#endif
