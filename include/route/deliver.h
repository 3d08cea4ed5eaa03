/*
 * What the client gets: one JSON document, an error, or a stream of events, with the headers that tell
 * how the answer was chosen. Worker's thread; borrows everything.
 */
#ifndef ROUTE_DELIVER_H
#define ROUTE_DELIVER_H

#include "net/http_server.h"
#include "wire/api_error.h"

/* Facts about an answer, as far as known; NULL and NAN are left out. */
struct deliver_facts {
	const char *request_id;
	const char *decision, *reason;
	double score;
	const char *provider, *model; /* that answers, or has answered */
	unsigned attempts;            /* upstream requests made */
	const char *reasoning_effort;
	const char *cost_usd;             /* of all models asked, as a decimal number */
	const char *cache_id;             /* of the answer that was kept */
	double cache_similarity;          /* of its question; NAN: none */
	const char *cache_guard;          /* what kept the nearest answer from being given */
	int64_t cache_age_s;              /* -1: none */
	uint64_t duration_us;             /* so far */
	const struct http_header *passed; /* of the upstream's response, as they stand */
	size_t passed_count;
};

/* Each of these ends the call, but for deliver_stream_begin. */
void deliver_json(struct http_call *call, const struct deliver_facts *facts, int status,
                  struct bytes body);
/* With a body that is not empty: it is sent instead of the error's own document. */
void deliver_error(struct http_call *call, const struct deliver_facts *facts,
                   const struct api_error *error, struct bytes body);

void deliver_stream_begin(struct http_call *call, const struct deliver_facts *facts);

/* A comment with the facts, `data: [DONE]`, and the end. */
void deliver_stream_end(struct http_call *call, const struct deliver_facts *facts);

/* A frame with the error's document, and the connection's end without [DONE]: what was delivered is not whole. */
void deliver_stream_cut(struct http_call *call, struct bytes document);

#endif
