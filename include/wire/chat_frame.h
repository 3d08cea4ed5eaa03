/*
 * One chat.completion.chunk (a frame of a stream), or one whole chat.completion: read in one pass
 * into ranges, and written out again without what the client did not ask for.
 *
 * The frame borrows the payload. Its arrays are its own and are reused from frame to frame, so a
 * stream allocates nothing per frame once they have grown. Pure; one thread at a time.
 */
#ifndef WIRE_CHAT_FRAME_H
#define WIRE_CHAT_FRAME_H

#include "wire/json_splice.h"

enum { CHAT_TOP_LOGPROBS_MAX = 20, CHAT_CHOICES_MAX = 128 };

/* One entry of choices[].logprobs.content (or .refusal). */
struct chat_token {
	struct json_value entry; /* the whole object */
	struct json_value text;  /* its `token`, a string */
	double logprob;          /* natural log; -INFINITY for null, -inf or -9999; NAN when missing */
	double top[CHAT_TOP_LOGPROBS_MAX]; /* the same of its top_logprobs, in upstream's order */
	const char *top_begin;             /* the top_logprobs array's '[' ; NULL when there is none */
	const char *top_end[CHAT_TOP_LOGPROBS_MAX]; /* where each element ends, to cut the array short */
	const char *top_close;                      /* its ']' */
	uint8_t top_count;
	int8_t sampled; /* index in top of the sampled token itself; -1: not among them */
};

struct chat_choice {
	unsigned index;
	struct json_value delta;         /* `delta` or `message`: an object, or JSON_NONE */
	struct json_value role, content, refusal, tool_calls; /* of the delta */
	struct json_value finish_reason; /* a string, or null, or JSON_NONE */
	struct json_object_span span;    /* of the choice object */
	struct json_slot logprobs;
	size_t token_first, token_count; /* in frame->tokens */
	bool has_logprobs;               /* logprobs.content or .refusal is an array */
	bool has_output;                 /* non-empty content, refusal or any tool call */
};

struct chat_usage {
	uint64_t prompt_tokens, completion_tokens, cached_tokens;
	bool known;
};

struct chat_frame {
	struct bytes text; /* borrowed payload */
	struct json_object_span span;
	struct json_value id, created, model, system_fingerprint, service_tier, error;
	struct json_slot usage;
	struct chat_usage usage_counts;
	struct chat_choice *choices; /* owned, reused */
	size_t choice_count, choice_cap;
	struct chat_token *tokens; /* owned, reused */
	size_t token_count, token_cap;
};

void chat_frame_init(struct chat_frame *frame);
void chat_frame_fini(struct chat_frame *frame);

/* Reads the payload. False when it is not one valid JSON object, or a member the gateway reads has
 * the wrong type (`choices` not an array, more than CHAT_CHOICES_MAX of them, …); an unknown member
 * is never a fault. A frame with a non-null `error` is readable: look at frame->error first. */
bool chat_frame_read(struct chat_frame *frame, struct bytes payload);

struct chat_frame_view {
	bool logprobs;         /* keep them */
	unsigned top_logprobs; /* and at most so many candidates */
	bool usage;            /* keep the `usage` member */
};

/* Appends the payload with what the view leaves out removed; every other byte stays. */
void chat_frame_write(const struct chat_frame *frame, const struct chat_frame_view *view,
                      struct buf *out);

/* Is this the usage frame that ends a stream with include_usage: no choices, usage there? */
bool chat_frame_is_usage(const struct chat_frame *frame);

#endif
