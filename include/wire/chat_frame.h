/*
 * One chat.completion.chunk (a frame of a stream), or one whole chat.completion: read in one pass
 * into ranges, and written out again without what the client did not ask for.
 *
 * The frame borrows the payload. Its arrays are its own and are reused from frame to frame, so a
 * stream allocates nothing per frame once they have grown. Pure; one thread at a time.
 */
#ifndef WIRE_CHAT_FRAME_H
#define WIRE_CHAT_FRAME_H

#include "wire/chat_token.h"
#include "wire/json_splice.h"

enum { CHAT_CHOICES_MAX = 128 };

struct chat_choice {
	unsigned index;          /* 0 when missing */
	struct json_value delta; /* `delta` or `message`: an object, or JSON_KIND_NONE */
	/* Members of the delta; JSON_KIND_NONE when missing, JSON_KIND_NULL when null. */
	struct json_value role, content, refusal, tool_calls, function_call;
	struct json_value finish_reason; /* a string, or null, or JSON_KIND_NONE */
	struct json_object_span span;    /* of the choice object */
	struct json_slot logprobs;
	size_t token_first, token_count; /* in frame->tokens */
	bool has_logprobs;               /* logprobs.content or .refusal is an array */
	bool has_output; /* non-empty content, refusal or any tool or function call */
};

struct chat_usage {
	uint64_t prompt_tokens, completion_tokens, cached_tokens;
	bool known;
};

struct chat_frame_head; /* what the last frame began with: the next one begins so, as a rule */

struct chat_frame {
	struct bytes text; /* borrowed payload */
	struct json_object_span span;
	/* JSON_KIND_NONE when missing, JSON_KIND_NULL when null; but a null `error` is none. */
	struct json_value id, created, model, system_fingerprint, service_tier, error;
	struct json_slot usage;
	struct chat_usage usage_counts;
	struct chat_choice *choices; /* owned, reused */
	size_t choice_count, choice_cap;
	struct chat_token *tokens; /* owned, reused */
	size_t token_count, token_cap;
	struct chat_frame_head
	        *head; /* owned, reused; NULL: none was kept yet. Who reads several streams with one
	                               * frame keeps each one's, and ends it with free() */
};

void chat_frame_init(struct chat_frame *frame);
void chat_frame_fini(struct chat_frame *frame);

/*
 * Reads the payload. False when it is not one valid JSON object, or a member the gateway reads has the
 * wrong type or stands twice (`choices` not an array, more than CHAT_CHOICES_MAX of them, …), or it has
 * none of `choices`, `usage` and `error`, or memory is out. An unknown member is never a fault, and null
 * always does for a missing member.
 *
 * An object with a non-null `error` is readable whatever else it holds: look at frame->error first, for
 * when it is there (kind not JSON_KIND_NONE) nothing else is promised.
 */
bool chat_frame_read(struct chat_frame *frame, struct bytes payload);

struct chat_frame_view {
	bool logprobs;         /* keep them */
	unsigned top_logprobs; /* and at most so many candidates */
	bool usage;            /* keep the `usage` member */
};

/* Appends the payload with what the view leaves out removed; every other byte stays, white space
 * included, which may hold line feeds. An error frame is appended whole. */
void chat_frame_write(const struct chat_frame *frame, const struct chat_frame_view *view,
                      struct buf *out);

/* Other values for some members; JSON text. A p of NULL leaves the member as it stands. */
struct chat_frame_patch {
	struct bytes id, created;
	struct bytes content; /* of the first choice's delta, with its quotes */
	bool drop_role;       /* of every choice's delta */
};

/* The same with other values. A member that the frame does not have is not added; a null one is replaced.
 * A delta with a role is read again to drop it, which costs readers of other frames nothing. */
void chat_frame_write_patched(const struct chat_frame *frame, const struct chat_frame_view *view,
                              const struct chat_frame_patch *patch, struct buf *out);

/* Is this the usage frame that ends a stream with include_usage: no choices, usage there? */
bool chat_frame_is_usage(const struct chat_frame *frame);

#endif
