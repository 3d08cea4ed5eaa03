/*
 * Frames: the walk over one payload.
 *
 * Every …_read function consumes the next value whole and gives false at a fault of the scan and at
 * a value that is not what it must be; the walk stops there, and what was gathered is worth nothing.
 */
#include "wire/chat_frame.h"

#include <stdlib.h>

#include "wire/json_keys.h"

enum {
	FRAME_CHOICES,
	FRAME_OBJECT,
	FRAME_ID,
	FRAME_CREATED,
	FRAME_MODEL,
	FRAME_USAGE,
	FRAME_SYSTEM_FINGERPRINT,
	FRAME_SERVICE_TIER,
	FRAME_ERROR,
	FRAME_KEY_COUNT,
};

static const struct json_name frame_keys[FRAME_KEY_COUNT] = {
        [FRAME_CHOICES] = JSON_NAME("choices"),
        [FRAME_ID] = JSON_NAME("id"),
        [FRAME_CREATED] = JSON_NAME("created"),
        [FRAME_MODEL] = JSON_NAME("model"),
        [FRAME_USAGE] = JSON_NAME("usage"),
        [FRAME_SYSTEM_FINGERPRINT] = JSON_NAME("system_fingerprint"),
        [FRAME_SERVICE_TIER] = JSON_NAME("service_tier"),
        [FRAME_ERROR] = JSON_NAME("error"),
};

enum {
	CHOICE_INDEX,
	CHOICE_DELTA,
	CHOICE_LOGPROBS,
	CHOICE_FINISH_REASON,
	CHOICE_MESSAGE,
	CHOICE_KEY_COUNT,
};

static const struct json_name choice_keys[CHOICE_KEY_COUNT] = {
        [CHOICE_INDEX] = JSON_NAME("index"),
        [CHOICE_DELTA] = JSON_NAME("delta"),
        [CHOICE_LOGPROBS] = JSON_NAME("logprobs"),
        [CHOICE_FINISH_REASON] = JSON_NAME("finish_reason"),
        [CHOICE_MESSAGE] = JSON_NAME("message"),
};

enum {
	DELTA_CONTENT,
	DELTA_ROLE,
	DELTA_REFUSAL,
	DELTA_TOOL_CALLS,
	DELTA_FUNCTION_CALL,
	DELTA_KEY_COUNT,
};

static const struct json_name delta_keys[DELTA_KEY_COUNT] = {
        [DELTA_CONTENT] = JSON_NAME("content"),
        [DELTA_ROLE] = JSON_NAME("role"),
        [DELTA_REFUSAL] = JSON_NAME("refusal"),
        [DELTA_TOOL_CALLS] = JSON_NAME("tool_calls"),
        [DELTA_FUNCTION_CALL] = JSON_NAME("function_call"),
};

enum { LOGPROBS_CONTENT, LOGPROBS_REFUSAL, LOGPROBS_KEY_COUNT };

static const struct json_name logprobs_keys[LOGPROBS_KEY_COUNT] = {
        [LOGPROBS_CONTENT] = JSON_NAME("content"),
        [LOGPROBS_REFUSAL] = JSON_NAME("refusal"),
};

enum {
	USAGE_PROMPT,
	USAGE_COMPLETION,
	USAGE_PROMPT_DETAILS,
	USAGE_CACHE_HIT,
	USAGE_KEY_COUNT,
};

static const struct json_name usage_keys[USAGE_KEY_COUNT] = {
        [USAGE_PROMPT] = JSON_NAME("prompt_tokens"),
        [USAGE_COMPLETION] = JSON_NAME("completion_tokens"),
        [USAGE_PROMPT_DETAILS] = JSON_NAME("prompt_tokens_details"),
        [USAGE_CACHE_HIT] = JSON_NAME("prompt_cache_hit_tokens"), /* DeepSeek's name for it */
};

static const struct json_name details_keys[] = {JSON_NAME("cached_tokens")};

enum { HEAD_MAX_BYTES = 512, HEAD_VALUES = 5 };

/* A value of it, by its place. */
struct head_value {
	size_t at, n;
	enum json_kind kind;
};

/* All that stands in front of the choices is the same in each frame of a stream. What was read of it holds for a
 * frame that begins with the same bytes. */
struct chat_frame_head {
	size_t cap;  /* of text */
	size_t n;    /* 0: none */
	size_t open; /* where the object begins */
	uint32_t seen;
	struct json_scan scan; /* its pointers are set anew each time */
	struct head_value values[HEAD_VALUES];
	char text[];
};

void
chat_frame_init(struct chat_frame *frame)
{
	*frame = (struct chat_frame){.choices = NULL};
}

void
chat_frame_fini(struct chat_frame *frame)
{
	free(frame->choices);
	free(frame->tokens);
	free(frame->head);
	*frame = (struct chat_frame){.choices = NULL};
}

/* Makes room for one more item: the items' new place, or NULL when there is no memory, for upstream
 * chooses how many there are. The old place stands then. */
static void *
array_grow(void *items, size_t count, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 1; /* as a rule there is one of each */
	void *grown;

	if (count < *cap)
		return items;
	grown = reallocarray(items, more, size);
	if (grown)
		*cap = more;
	return grown;
}

static struct chat_token *
token_add(struct chat_frame *frame)
{
	struct chat_token *tokens =
	        array_grow(frame->tokens, frame->token_count, &frame->token_cap, sizeof(*tokens));

	if (!tokens)
		return NULL;
	frame->tokens = tokens;
	return &tokens[frame->token_count++];
}

static struct chat_choice *
choice_add(struct chat_frame *frame)
{
	struct chat_choice *choices;

	if (frame->choice_count == CHAT_CHOICES_MAX)
		return NULL;
	choices = array_grow(frame->choices, frame->choice_count, &frame->choice_cap,
	                     sizeof(*choices));
	if (!choices)
		return NULL;
	frame->choices = choices;
	return &choices[frame->choice_count++];
}

static bool
value_take(struct json_scan *s, struct json_value *value, enum json_kind kind)
{
	return json_take(s, value) && (value->kind == kind || value->kind == JSON_KIND_NULL);
}

static bool
count_take(struct json_scan *s, uint64_t *count)
{
	struct json_value value;

	return value_take(s, &value, JSON_KIND_NUMBER) &&
	       (value.kind == JSON_KIND_NULL || json_to_u64(value, UINT64_MAX, count));
}

static bool
usage_details_read(struct json_scan *s, struct chat_usage *usage)
{
	struct json_member member;
	uint32_t seen = 0;
	size_t key;

	if (json_peek(s) == JSON_KIND_NULL)
		return json_skip(s);
	if (!json_enter(s, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(s, &member)) {
		if (!json_key_find_once(member.key, details_keys, 1, &seen, &key))
			return false;
		if (key == 0 ? !count_take(s, &usage->cached_tokens) : !json_skip(s))
			return false;
	}
	return !s->fault;
}

static bool
usage_read(struct json_scan *s, struct chat_usage *usage)
{
	struct json_member member;
	uint32_t seen = 0;
	bool good = true;
	size_t key;

	if (json_peek(s) == JSON_KIND_NULL)
		return json_skip(s);
	if (!json_enter(s, JSON_KIND_OBJECT))
		return false;
	usage->known = true;
	while (good && json_next_member(s, &member)) {
		good = json_key_find_once(member.key, usage_keys, USAGE_KEY_COUNT, &seen, &key);
		if (!good)
			break;
		switch (key) {
		case USAGE_PROMPT: good = count_take(s, &usage->prompt_tokens); break;
		case USAGE_COMPLETION: good = count_take(s, &usage->completion_tokens); break;
		case USAGE_CACHE_HIT: good = count_take(s, &usage->cached_tokens); break;
		case USAGE_PROMPT_DETAILS: good = usage_details_read(s, usage); break;
		default: good = json_skip(s);
		}
	}
	return good && !s->fault;
}

static bool
tokens_read(struct chat_frame *frame, struct chat_choice *choice, struct json_scan *s,
            bool is_refusal)
{
	if (json_peek(s) == JSON_KIND_NULL)
		return json_skip(s);
	if (!json_enter(s, JSON_KIND_ARRAY))
		return false;
	choice->has_logprobs = true;
	while (json_next_element(s)) {
		struct chat_token *token = token_add(frame);

		if (!token || !chat_token_read(token, s))
			return false;
		token->is_refusal = is_refusal;
	}
	return !s->fault;
}

static bool
logprobs_read(struct chat_frame *frame, struct chat_choice *choice, struct json_scan *s)
{
	struct json_member member;
	uint32_t seen = 0;
	size_t key;

	if (json_peek(s) == JSON_KIND_NULL)
		return json_skip(s);
	if (!json_enter(s, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(s, &member)) {
		if (!json_key_find_once(member.key, logprobs_keys, LOGPROBS_KEY_COUNT, &seen, &key))
			return false;
		if (key == LOGPROBS_KEY_COUNT
		            ? !json_skip(s)
		            : !tokens_read(frame, choice, s, key == LOGPROBS_REFUSAL))
			return false;
	}
	return !s->fault;
}

/* Has the array any element? */
static bool
array_is_filled(struct json_value value)
{
	struct json_scan s;

	if (value.kind != JSON_KIND_ARRAY)
		return false;
	json_scan_init(&s, json_value_text(value));
	return json_enter(&s, JSON_KIND_ARRAY) && json_next_element(&s);
}

static bool
string_is_filled(struct json_value value)
{
	return value.kind == JSON_KIND_STRING && value.n > 2;
}

/* Reads `delta` or `message`, of which only one may be an object. */
static bool
delta_read(struct chat_choice *choice, struct json_scan *s)
{
	struct json_member member;
	uint32_t seen = 0;
	bool good = true;
	size_t key;

	if (json_peek(s) == JSON_KIND_NULL)
		return json_skip(s);
	if (choice->delta.kind != JSON_KIND_NONE || !json_enter(s, JSON_KIND_OBJECT))
		return false;
	choice->delta = (struct json_value){.p = s->p - 1, .kind = JSON_KIND_OBJECT};
	while (good && json_next_member(s, &member)) {
		good = json_key_find_once(member.key, delta_keys, DELTA_KEY_COUNT, &seen, &key);
		if (!good)
			break;
		switch (key) {
		case DELTA_CONTENT: good = value_take(s, &choice->content, JSON_KIND_STRING); break;
		case DELTA_ROLE: good = value_take(s, &choice->role, JSON_KIND_STRING); break;
		case DELTA_REFUSAL: good = value_take(s, &choice->refusal, JSON_KIND_STRING); break;
		case DELTA_TOOL_CALLS:
			good = value_take(s, &choice->tool_calls, JSON_KIND_ARRAY);
			break;
		case DELTA_FUNCTION_CALL:
			good = value_take(s, &choice->function_call, JSON_KIND_OBJECT);
			break;
		default: good = json_skip(s);
		}
	}
	choice->delta.n = (size_t)(s->p - choice->delta.p);
	choice->has_output = string_is_filled(choice->content) ||
	                     string_is_filled(choice->refusal) ||
	                     array_is_filled(choice->tool_calls) ||
	                     choice->function_call.kind == JSON_KIND_OBJECT;
	return good && !s->fault;
}

static bool
index_take(struct json_scan *s, unsigned *index)
{
	uint64_t value = 0;
	bool good = count_take(s, &value) && value <= INT32_MAX;

	*index = good ? (unsigned)value : 0;
	return good;
}

static bool
choice_read(struct chat_frame *frame, struct chat_choice *choice, struct json_scan *s)
{
	struct json_walk walk;
	uint32_t seen = 0;
	bool good = true;
	size_t key;

	*choice = (struct chat_choice){.token_first = frame->token_count};
	if (!json_walk_enter(&walk, s, &choice->span))
		return false;
	while (good && json_walk_next(&walk)) {
		good = json_key_find_once(walk.member.key, choice_keys, CHOICE_KEY_COUNT, &seen,
		                          &key);
		if (!good)
			break;
		switch (key) {
		case CHOICE_INDEX: good = index_take(s, &choice->index); break;
		case CHOICE_DELTA:
		case CHOICE_MESSAGE: good = delta_read(choice, s); break;
		case CHOICE_LOGPROBS:
			json_walk_mark(&walk, &choice->logprobs);
			good = logprobs_read(frame, choice, s);
			break;
		case CHOICE_FINISH_REASON:
			good = value_take(s, &choice->finish_reason, JSON_KIND_STRING);
			break;
		default: good = json_skip(s);
		}
	}
	choice->token_count = frame->token_count - choice->token_first;
	return good && !s->fault;
}

static bool
choices_read(struct chat_frame *frame, struct json_scan *s)
{
	if (!json_enter(s, JSON_KIND_ARRAY))
		return false;
	while (json_next_element(s)) {
		struct chat_choice *choice = choice_add(frame);

		if (!choice || !choice_read(frame, choice, s))
			return false;
	}
	return !s->fault;
}

/* Forgets the last payload; keeps the arrays' memory. */
static void
frame_reset(struct chat_frame *frame, struct bytes payload)
{
	*frame = (struct chat_frame){
	        .text = payload,
	        .choices = frame->choices,
	        .choice_cap = frame->choice_cap,
	        .tokens = frame->tokens,
	        .token_cap = frame->token_cap,
	        .head = frame->head,
	};
}

static bool
member_read(struct chat_frame *frame, struct json_walk *walk, size_t key, bool *has_choices)
{
	struct json_scan *s = walk->scan;

	switch (key) {
	case FRAME_CHOICES:
		if (json_peek(s) == JSON_KIND_NULL)
			return json_skip(s);
		*has_choices = true;
		return choices_read(frame, s);
	case FRAME_USAGE:
		json_walk_mark(walk, &frame->usage);
		return usage_read(s, &frame->usage_counts);
	case FRAME_ID: return value_take(s, &frame->id, JSON_KIND_STRING);
	case FRAME_CREATED: return value_take(s, &frame->created, JSON_KIND_NUMBER);
	case FRAME_MODEL: return value_take(s, &frame->model, JSON_KIND_STRING);
	case FRAME_SYSTEM_FINGERPRINT:
		return value_take(s, &frame->system_fingerprint, JSON_KIND_STRING);
	case FRAME_SERVICE_TIER: return value_take(s, &frame->service_tier, JSON_KIND_STRING);
	case FRAME_OBJECT: return json_skip(s);
	case FRAME_ERROR:
		/* Any error at all is for error_read(). */
		return json_peek(s) == JSON_KIND_NULL && json_skip(s);
	default: return json_skip(s);
	}
}

/* The members that are kept of a head, in an order of their own. */
static void
head_members(struct chat_frame *frame, struct json_value *members[HEAD_VALUES])
{
	members[0] = &frame->id;
	members[1] = &frame->created;
	members[2] = &frame->model;
	members[3] = &frame->system_fingerprint;
	members[4] = &frame->service_tier;
}

/* The frame's head with room for n bytes; NULL: there is no memory. */
static struct chat_frame_head *
head_reach(struct chat_frame *frame, size_t n)
{
	size_t cap = (n + 63) / 64 * 64;
	struct chat_frame_head *head = frame->head;

	if (head && head->cap >= n)
		return head;
	head = realloc(head, sizeof(*head) + cap);
	if (!head)
		return NULL;
	frame->head = head;
	head->cap = cap;
	head->n = 0;
	return head;
}

/* The walk has come to the choices. */
static void
head_keep(struct chat_frame *frame, const struct json_walk *walk, uint32_t seen)
{
	const char *text = frame->text.p;
	size_t n = (size_t)(walk->scan->p - text);
	struct json_value *members[HEAD_VALUES];
	struct chat_frame_head *head;

	if (n > HEAD_MAX_BYTES || walk->open_slot || frame->usage.value.kind != JSON_KIND_NONE)
		return;
	head = head_reach(frame, n);
	if (!head)
		return;
	memcpy(head->text, text, n);
	head->n = n;
	head->open = (size_t)(frame->span.open - text);
	head->seen = seen;
	head->scan = *walk->scan;
	head_members(frame, members);
	for (size_t i = 0; i < HEAD_VALUES; i++) {
		head->values[i] = (struct head_value){.n = members[i]->n, .kind = members[i]->kind};
		if (members[i]->kind != JSON_KIND_NONE)
			head->values[i].at = (size_t)(members[i]->p - text);
	}
}

/* True: the frame begins like the last one, and the walk is where its choices begin. */
static bool
head_resume(struct chat_frame *frame, struct json_walk *walk, uint32_t *seen)
{
	const struct chat_frame_head *head = frame->head;
	const char *text = frame->text.p;
	struct json_value *members[HEAD_VALUES];

	if (!head || head->n == 0 || frame->text.n < head->n ||
	    memcmp(text, head->text, head->n) != 0)
		return false;
	*walk->scan = head->scan;
	walk->scan->begin = text;
	walk->scan->end = text + frame->text.n;
	walk->scan->p = text + head->n;
	walk->scan->last = NULL;
	walk->span = &frame->span;
	walk->open_slot = NULL;
	frame->span.open = text + head->open;
	*seen = head->seen;
	head_members(frame, members);
	for (size_t i = 0; i < HEAD_VALUES; i++) {
		const struct head_value *value = &head->values[i];

		if (value->kind != JSON_KIND_NONE)
			*members[i] = (struct json_value){text + value->at, value->n, value->kind};
	}
	return true;
}

static bool
completion_read(struct chat_frame *frame)
{
	struct json_scan s;
	struct json_walk walk = {.scan = &s};
	bool has_choices = false;
	uint32_t seen = 0;
	size_t key;

	if (head_resume(frame, &walk, &seen)) {
		if (!member_read(frame, &walk, FRAME_CHOICES, &has_choices))
			return false;
	} else {
		json_scan_init(&s, frame->text);
		if (!json_walk_enter(&walk, &s, &frame->span))
			return false;
	}
	while (json_walk_next(&walk)) {
		if (!json_key_find_once(walk.member.key, frame_keys, FRAME_KEY_COUNT, &seen, &key))
			return false;
		if (key == FRAME_CHOICES)
			head_keep(frame, &walk, seen);
		if (!member_read(frame, &walk, key, &has_choices))
			return false;
	}
	return json_scan_end(&s) && (has_choices || frame->usage_counts.known);
}

/* A payload that is no completion may be an error, in the company of anything. */
static bool
error_read(struct chat_frame *frame)
{
	struct json_scan s;
	struct json_member member;
	struct json_value value;

	frame_reset(frame, frame->text);
	json_scan_init(&s, frame->text);
	if (!json_enter(&s, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(&s, &member)) {
		if (json_take(&s, &value) && value.kind != JSON_KIND_NULL &&
		    json_key_find(member.key, &frame_keys[FRAME_ERROR], 1) == 0)
			frame->error = value;
	}
	return json_scan_end(&s) && frame->error.kind != JSON_KIND_NONE;
}

bool
chat_frame_read(struct chat_frame *frame, struct bytes payload)
{
	frame_reset(frame, payload);
	return completion_read(frame) || error_read(frame);
}

bool
chat_frame_is_usage(const struct chat_frame *frame)
{
	return frame->choice_count == 0 && frame->usage_counts.known;
}
