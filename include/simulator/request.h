/*
 * The body of POST /chat/completions, read as strictly as a model server reads it where it matters
 * to the answer. Texts are decoded into buffers of the request's own, which are used again by the
 * next one; `tools` borrows the body. One thread.
 */
#ifndef SIMULATOR_REQUEST_H
#define SIMULATOR_REQUEST_H

#include "wire/api_error.h"
#include "wire/json_scan.h"

enum { SIM_STOPS_MAX = 4, SIM_CHOICES_MAX = 128 };

struct sim_request {
	struct buf model;
	struct buf
	        prompt; /* the text of the last user message; the gateway's instruction is none */
	struct buf partial; /* of the assistant's message after it, to go on from; empty: none */
	struct buf stops[SIM_STOPS_MAX];
	size_t stop_count;
	struct json_value tools; /* an array that is not empty, or JSON_KIND_NONE */
	uint64_t seed;
	uint64_t max_tokens; /* UINT64_MAX: not said */
	uint64_t prompt_tokens;
	unsigned n, top_logprobs;
	bool stream, include_usage, logprobs;
	bool prefix;        /* the partial answer's message says so */
	struct buf scratch; /* internal */
};

void sim_request_init(struct sim_request *r);
void sim_request_fini(struct sim_request *r);

/* Reads a body in place of what was there. False with `error` filled. */
bool sim_request_read(struct sim_request *r, struct bytes body, struct api_error *error);

#endif
