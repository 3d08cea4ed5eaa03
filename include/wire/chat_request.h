/*
 * A view on the body of POST /v1/chat/completions: validated strictly, read once, and written
 * out again for an upstream with only the members the gateway owns changed.
 *
 * Pure. The view borrows the body and holds no memory of its own.
 */
#ifndef WIRE_CHAT_REQUEST_H
#define WIRE_CHAT_REQUEST_H

#include "wire/api_error.h"
#include "wire/json_splice.h"

enum { CHAT_FALLBACKS_MAX = 8, CHAT_STOPS_MAX = 4, CHAT_N_MAX = 128 };

/* The top-level members that the gateway reads, replaces or removes. */
enum chat_member {
	CHAT_MODEL,
	CHAT_MESSAGES,
	CHAT_STREAM,
	CHAT_STREAM_OPTIONS,
	CHAT_LOGPROBS,
	CHAT_TOP_LOGPROBS,
	CHAT_N,
	CHAT_REQUEST_ID, /* this and the next two are for the gateway alone, never forwarded */
	CHAT_PROJECT_ID,
	CHAT_FALLBACKS,
	CHAT_REASONING_EFFORT,
	CHAT_MAX_TOKENS, /* this and the next three: replaced to go on with a partial answer */
	CHAT_MAX_COMPLETION_TOKENS,
	CHAT_ADD_GENERATION_PROMPT,
	CHAT_CONTINUE_FINAL_MESSAGE,
	CHAT_MEMBER_COUNT,
};

struct chat_request {
	struct bytes
	        body; /* borrowed, as all ranges below; white space may stand around the object */
	struct json_object_span object;
	struct json_slot slots[CHAT_MEMBER_COUNT];
	struct json_object_span stream_options; /* when it is an object */
	struct json_slot include_usage_slot;    /* in stream_options */
	char model[256];                        /* decoded; empty when absent or null */
	char request_id[129];                   /* decoded; empty when absent */
	char project_id[65];
	const char *reasoning_effort; /* one of those there are, static; NULL when absent */
	unsigned n;                   /* 1 when absent */
	unsigned top_logprobs;        /* what the client asked for; 0 when absent */
	bool stream;
	bool include_usage; /* stream_options.include_usage */
	bool logprobs;      /* the client asked for them */
	bool has_tools;     /* non-empty `tools` or `functions` */
	bool wants_audio;   /* `modalities` holds "audio", or `audio` is there */
	bool wants_json;    /* response_format is json_object or json_schema */
	bool has_images;    /* a content part of type image_url */
	bool has_media;     /* a content part that is no text */
	double temperature; /* 1 when absent */
	unsigned message_count;
};

/* Reads and validates the body. False with `error` filled: 400, `param` naming the member as OpenAI
 * does (`messages`, `messages[2].content`, `temperature`, …). A member the gateway reads that stands
 * twice is an error too, for the upstream might read the other one. */
bool chat_request_read(struct chat_request *request, struct bytes body, struct api_error *error);

/*
 * How an upstream is told to go on with a partial assistant turn. Whether what it says then begins with
 * something that was there already is wire/overlap.h's to find.
 */
enum chat_prefill {
	CHAT_PREFILL_NONE,  /* it cannot be: an instruction follows the partial turn */
	CHAT_PREFILL_PLAIN, /* a last message of role assistant is continued */
	CHAT_PREFILL_VLLM, /* the same, with add_generation_prompt false, continue_final_message true */
	CHAT_PREFILL_DEEPSEEK, /* the same, with prefix: true in the message; a URL of its own, /beta */
	CHAT_PREFILL_MISTRAL, /* as deepseek; the answer repeats the partial turn */
	CHAT_PREFILL_ANTHROPIC, /* as plain; a partial turn that ends in white space would be refused, so
	                         * that is not sent */
};

/* The instruction of CHAT_PREFILL_NONE: the whole text of a user message. It holds nothing that JSON
 * would have to escape. */
#define CHAT_INSTRUCTION                                                                           \
	"Your previous answer was cut off. Continue it exactly where it stops. Repeat nothing of " \
	"it, and write no introduction and no comment."

struct chat_rewrite {
	const char *model;            /* the upstream's name for the model */
	const char *reasoning_effort; /* instead of the client's; NULL: that stays */
	bool draft;            /* also set stream, logprobs, top_logprobs and stream_options */
	unsigned top_logprobs; /* for a draft */
	bool stream_usage;     /* for a draft: ask for the usage frame */
	/* To go on with a partial answer: it is added to `messages`, and its tokens are taken off max_tokens
	 * and max_completion_tokens, of which at least 1 is left. A partial.p of NULL: none, and so is one
	 * that holds nothing that could be sent. */
	enum chat_prefill prefill;
	struct bytes partial; /* text, not JSON */
	uint64_t partial_tokens;
};

/* Appends the body for the upstream. Only what chat_rewrite names is replaced or added and only the
 * gateway's own members are removed; every other byte of the object stays. `stream_options` keeps its
 * other members; without stream_usage it is left as it is, or removed if the client does not stream.
 * What stays of the body may be borrowed. Failure shows in out->own.failed. */
void chat_request_write(const struct chat_request *request, const struct chat_rewrite *rewrite,
                        struct rope *out);

#endif
