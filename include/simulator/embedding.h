/*
 * POST /embeddings: its body, and the vectors that answer it. A vector is a hashed bag of words and
 * of the letter trigrams inside them, ASCII case and punctuation apart, with little weight for the
 * commonest words, scaled to length 1. So texts that share words, or parts of words, are near each
 * other; what they mean is nothing to it. One thread.
 */
#ifndef SIMULATOR_EMBEDDING_H
#define SIMULATOR_EMBEDDING_H

#include "wire/api_error.h"

enum { SIM_INPUTS_MAX = 2048, SIM_DIMENSIONS_MAX = 4096 };

struct sim_embedding_request {
	struct buf model;
	struct buf texts;            /* all inputs, one after the other */
	size_t ends[SIM_INPUTS_MAX]; /* where each ends in texts */
	size_t count;
	unsigned dimensions;
	bool base64;
	uint64_t prompt_tokens;
};

void sim_embedding_request_init(struct sim_embedding_request *r);
void sim_embedding_request_fini(struct sim_embedding_request *r);

/* Reads a body in place of what was there. False with `error` filled. */
bool sim_embedding_request_read(struct sim_embedding_request *r, struct bytes body,
                                struct api_error *error);
struct bytes sim_embedding_request_input(const struct sim_embedding_request *r, size_t index);

/* vector[dimensions]. */
void sim_embedding_vector(struct bytes text, float *vector, unsigned dimensions);

/* Appends the answer. Failure shows in out->failed. */
void sim_embedding_write(const struct sim_embedding_request *r, struct buf *out);

#endif
