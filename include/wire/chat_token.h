/*
 * One entry of choices[].logprobs.content (or .refusal): a sampled token and its candidates.
 * Pure; the token borrows the text it was read from.
 */
#ifndef WIRE_CHAT_TOKEN_H
#define WIRE_CHAT_TOKEN_H

#include "wire/json_scan.h"

enum { CHAT_TOP_LOGPROBS_MAX = 20 };

struct chat_token {
	struct json_value entry; /* the whole object */
	struct json_value text;  /* its `token`, a string */
	double logprob; /* natural log; -INFINITY for null, "-inf" and from -9999 down; NAN when
	                          * missing */
	double top
	        [CHAT_TOP_LOGPROBS_MAX]; /* the same of its top_logprobs, in upstream's order; what
	                                    * comes after the first CHAT_TOP_LOGPROBS_MAX is passed over */
	const char *top_begin; /* the top_logprobs array's '[' ; NULL when there is none */
	const char *top_close; /* its ']' */
	uint8_t top_count;
	int8_t sampled;  /* index in top of the sampled token itself; -1: not among them */
	bool is_refusal; /* from logprobs.refusal, not .content */
};

/* Reads the next value as an entry. False when the text is not valid (the scan's fault tells) or when
 * it is no entry: not an object with a string `token`, or a member read here has the wrong type or
 * stands twice. Leaves is_refusal alone. */
bool chat_token_read(struct chat_token *token, struct json_scan *scan);

/* Where in the top_logprobs array a cut must begin, which runs to top_close, so that `count` candidates
 * stay; top_close when no more are there. */
const char *chat_token_cut(const struct chat_token *token, unsigned count);

/* Appends the entry with at most `count` of its candidates, every other byte as it stands. */
void chat_token_write(const struct chat_token *token, unsigned count, struct buf *out);

#endif
