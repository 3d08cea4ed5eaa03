/* A call of POST /embeddings for one text: the body to send, and the vector out of the answer. Pure. */
#ifndef WIRE_EMBEDDING_H
#define WIRE_EMBEDDING_H

#include "base/buf.h"

enum { EMBEDDING_DIMENSIONS_MAX = 65536 };

/* Appends {"model":…,"input":…,"encoding_format":"base64"}, with "dimensions" unless that is 0. Failure to
 * allocate shows in out->failed. */
void embedding_request_write(struct bytes model, struct bytes text, unsigned dimensions,
                             struct buf *out);

enum embedding_fault {
	EMBEDDING_FINE,
	EMBEDDING_MALFORMED,  /* no JSON, no such document, or a member read is in it twice */
	EMBEDDING_ERROR,      /* it has an `error` that is not null */
	EMBEDDING_DIMENSIONS, /* as many numbers as were not wanted, or none */
	EMBEDDING_NUMBERS,    /* not finite, or all zero: it points nowhere */
	EMBEDDING_NO_MEMORY,
};

struct embedding {
	float *vector; /* owned (free); of length 1 */
	unsigned dimensions;
	uint64_t prompt_tokens; /* usage.prompt_tokens; 0: not told */
};

/*
 * Reads the answer to a request for one text: data[0].embedding, base64 of little-endian floats or an array of
 * numbers, whichever came. dimensions: how many there must be; 0: any, up to EMBEDDING_DIMENSIONS_MAX. On
 * anything but EMBEDDING_FINE nothing is owned.
 */
enum embedding_fault embedding_answer_read(struct embedding *embedding, struct bytes body,
                                           unsigned dimensions);

/* Is that the answer to a request for any number of texts? It is passed over whole; `tokens` gets usage.prompt_tokens,
 * 0: not told. Never EMBEDDING_DIMENSIONS, _NUMBERS or _NO_MEMORY. */
enum embedding_fault embedding_answer_check(struct bytes body, uint64_t *tokens);

/* A few words for the log. */
const char *embedding_fault_text(enum embedding_fault fault);

#endif
