/*
 * An incremental reader of server-sent events (WHATWG HTML, section 9.2): bytes in, events out.
 * Line ends \n, \r\n and \r, a leading byte order mark, comments, several data lines (joined by
 * \n), event names. An event's data is borrowed from the chunk fed unless it straddles two.
 *
 * However the input is cut into chunks, the events are the same, and every byte is looked at a fixed
 * number of times. Pure; one thread at a time.
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
	struct bytes data; /* valid until the next call on the reader; never absent, for an event
	                    * without data is not reported, but empty after a bare `data:` */
	struct bytes name; /* the `event:` field, as long valid; n == 0: none */
};

struct sse_reader {
	bool failed; /* something grew past the limit, or no memory; final */
	/* The rest is internal to sse_reader.c. */
	size_t limit;
	struct bytes chunk; /* borrowed: what is still unread of the bytes last fed */
	const char *lf,
	        *cr;       /* the next of each in the chunk, or its end; NULL: not yet looked for */
	struct buf line;   /* owned: the beginning of an unfinished line, from earlier chunks */
	struct buf name;   /* owned: the `event:` field of the event being read */
	struct bytes data; /* its data while they are borrowed from the chunk */
	struct buf joined; /* owned: its data when they are not, from joined_from on */
	size_t joined_from;
	bool has_data, is_joined;
	bool reported; /* the event was handed out, and is dropped by the next call */
	bool started;  /* the first line was read, so no byte order mark can follow */
	bool skip_lf;  /* the last line ended in \r: a \n that follows belongs to it */
};

/* limit: most bytes that one line may have, and the data of one event. */
void sse_reader_init(struct sse_reader *r, size_t limit);
void sse_reader_fini(struct sse_reader *r);

/* Gives the reader its next bytes. All events of the previous chunk must have been taken, or the
 * reader fails, for it would have to forget them. */
void sse_reader_feed(struct sse_reader *r, struct bytes chunk);

/* The next complete event, or false when more bytes are needed (or the reader has failed).
 * What is unfinished is kept when it returns false: the chunk may go. */
bool sse_reader_next(struct sse_reader *r, struct sse_event *event);

/* Is an unfinished event held, one that the end of the stream would cut? A comment is none. To be
 * asked once sse_reader_next() has returned false. */
bool sse_reader_is_midway(const struct sse_reader *r);

#endif
