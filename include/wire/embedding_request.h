/*
 * A view on the body of POST /v1/embeddings: read once, and written out again for an upstream with another
 * `model` and without the members that are for the gateway alone. Everything else is the upstream's to judge.
 *
 * Pure. The view borrows the body and holds no memory of its own.
 */
#ifndef WIRE_EMBEDDING_REQUEST_H
#define WIRE_EMBEDDING_REQUEST_H

#include "wire/api_error.h"
#include "wire/json_splice.h"

enum embedding_member {
	EMBEDDING_MODEL,
	EMBEDDING_INPUT,
	EMBEDDING_REQUEST_ID, /* this and the next two are for the gateway alone, never forwarded */
	EMBEDDING_PROJECT_ID,
	EMBEDDING_FALLBACKS,
	EMBEDDING_MEMBER_COUNT,
};

struct embedding_request {
	struct bytes body; /* borrowed, as all ranges below */
	struct json_object_span object;
	struct json_slot slots[EMBEDDING_MEMBER_COUNT];
	char model[256];      /* decoded; never empty */
	char request_id[129]; /* decoded; empty when absent */
	char project_id[65];
};

/* Reads and validates the body. False with `error` filled: 400, `param` naming the member. `model` and `input` must
 * be there; none of the members above may stand twice. */
bool embedding_request_read(struct embedding_request *request, struct bytes body,
                            struct api_error *error);

/* Appends the body for the upstream; every byte but those of `model` and of the gateway's own members stays.
 * What stays of the body may be borrowed. Failure shows in out->own.failed. */
void embedding_request_forward(const struct embedding_request *request, const char *model,
                               struct rope *out);

#endif
