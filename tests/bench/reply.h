/*
 * Reads one HTTP response as it comes: head, then a body of known length or in chunks, and finds the marks of frames in
 * it (answers.h), wherever pieces are cut.
 */
#ifndef BENCH_REPLY_H
#define BENCH_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answers.h"

enum reply_state {
	REPLY_HEAD,
	REPLY_LENGTH,    /* a body of known length */
	REPLY_SIZE,      /* the line with a chunk's size */
	REPLY_CHUNK,     /* what is in it */
	REPLY_CHUNK_END, /* the line end behind it */
	REPLY_LAST,      /* the empty line behind the last one */
	REPLY_DONE,
	REPLY_MALFORMED,
};

enum { REPLY_HEAD_MAX = 8192 };

struct reply {
	enum reply_state state;
	int status;
	bool closes;   /* the server closes the connection behind it */
	uint64_t left; /* of the body or the chunk */
	uint64_t body_n;
	char *head; /* owned; a head that came in pieces */
	size_t head_n;
	char mark[MARK_BYTES]; /* one that came in pieces */
	size_t mark_n;
	/* Called for each mark. number: of the frame; sent_us: the time in it. */
	void (*on_mark)(void *arg, unsigned number, uint64_t sent_us);
	void *arg;
};

/* Begins the next one; on_mark and arg stay. */
void reply_begin(struct reply *reply);
void reply_free(struct reply *reply);

/* Bytes beyond the end of the response are a fault. */
void reply_feed(struct reply *reply, const char *p, size_t n);

#endif
