/*
 * What a door of another gateway adds to an answer, a frame or an error: the members its clients look for,
 * spliced into the document, every other byte of which stays as it is. Pure.
 *
 *	DIALECT_PLAIN         nothing
 *	DIALECT_REQUEST_ID    request_id, beside what the document has
 *	DIALECT_EXTRA_FIELDS  extra_fields, and cost in its usage
 */
#ifndef WIRE_DIALECT_H
#define WIRE_DIALECT_H

#include "base/buf.h"
#include "base/bytes.h"

enum dialect { DIALECT_PLAIN, DIALECT_REQUEST_ID, DIALECT_EXTRA_FIELDS };

/* Where the answer was looked for before a model was asked. */
struct dialect_cache {
	bool hit;
	const char *hit_type; /* direct or semantic; of a hit */
	const char *cache_id; /* NULL: it is not kept, or not yet */
	double similarity;    /* NAN: left out, and likewise below */
	double threshold;
};

/* In USD, each a decimal number as JSON has it. */
struct dialect_cost {
	const char *input, *output, *request, *total;
};

struct dialect_usage {
	uint64_t prompt_tokens, completion_tokens, cached_tokens;
};

struct dialect_facts {
	enum dialect dialect;
	const char *request_id; /* for DIALECT_REQUEST_ID; all below is for DIALECT_EXTRA_FIELDS */

	bool stream;
	const char *provider, *model_requested, *model_deployment; /* NULL or empty: left out */
	int64_t latency_ms, chunk_index;                           /* -1: left out */
	const struct dialect_cache *cache; /* NULL: it was not looked into */
	const struct dialect_cost *cost;   /* NULL: not known */
	/* Goes with the cost into a document that has no usage. NULL: then it has no cost either. */
	const struct dialect_usage *usage;
};

/* Appends the document with what the dialect adds; a member that it has already under that name gets this value. False,
 * with nothing appended, when it is no JSON object. Failure to allocate shows in out->failed. */
bool dialect_write(const struct dialect_facts *facts, struct bytes document, struct buf *out);

/* Looks for a request_id that may be echoed (1 to size - 1 of [A-Za-z0-9._:-]) in a body that was refused, as
 * far as that is JSON. False: there is none. */
bool dialect_find_request_id(struct bytes body, char *out, size_t size);

#endif
