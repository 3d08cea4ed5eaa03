/*
 * One choice of a frame: its delta, or message, and its logprobs.
 */
#include "wire/chat_frame_private.h"
#include "wire/json_keys.h"

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

static struct chat_token *
token_add(struct chat_frame *frame)
{
	struct chat_token *tokens = frame_array_grow(frame->tokens, frame->token_count,
	                                             &frame->token_cap, sizeof(*tokens));

	if (!tokens)
		return NULL;
	frame->tokens = tokens;
	return &tokens[frame->token_count++];
}

static bool
tokens_read(struct chat_frame *frame, struct chat_choice *choice, struct json_scan *s,
            bool is_refusal)
{
	if (!json_enter(s, JSON_KIND_ARRAY))
		return json_skip_null(s);
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

	if (!json_enter(s, JSON_KIND_OBJECT))
		return json_skip_null(s);
	/* In nearly all of them this is all there is. */
	if (json_pass_text(s, "\"content\":")) {
		seen |= 1U << LOGPROBS_CONTENT;
		if (!tokens_read(frame, choice, s, false))
			return false;
		if (json_pass_text(s, ",\"refusal\":null"))
			seen |= 1U << LOGPROBS_REFUSAL;
	}
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

	if (choice->delta.kind != JSON_KIND_NONE || !json_enter(s, JSON_KIND_OBJECT))
		return json_skip_null(s);
	choice->delta = (struct json_value){.p = s->p - 1, .kind = JSON_KIND_OBJECT};
	/* In nearly all of them this is all there is. */
	if (json_pass_text(s, "\"content\":")) {
		seen |= 1U << DELTA_CONTENT;
		good = frame_value_take(s, &choice->content, JSON_KIND_STRING);
	}
	while (good && json_next_member(s, &member)) {
		good = json_key_find_once(member.key, delta_keys, DELTA_KEY_COUNT, &seen, &key);
		if (!good)
			break;
		switch (key) {
		case DELTA_CONTENT:
			good = frame_value_take(s, &choice->content, JSON_KIND_STRING);
			break;
		case DELTA_ROLE: good = frame_value_take(s, &choice->role, JSON_KIND_STRING); break;
		case DELTA_REFUSAL:
			good = frame_value_take(s, &choice->refusal, JSON_KIND_STRING);
			break;
		case DELTA_TOOL_CALLS:
			good = frame_value_take(s, &choice->tool_calls, JSON_KIND_ARRAY);
			break;
		case DELTA_FUNCTION_CALL:
			good = frame_value_take(s, &choice->function_call, JSON_KIND_OBJECT);
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
	const char *p = s->p;
	bool good;

	if (s->end - p >= 2 && *p >= '0' && *p <= '9' && (p[1] == ',' || p[1] == '}')) {
		*index = (unsigned)(*p - '0');
		json_pass(s, p + 1);
		return true;
	}
	good = frame_count_take(s, &value) && value <= INT32_MAX;
	*index = good ? (unsigned)value : 0;
	return good;
}

/*
 * The key of the next member if it is one that most frames have, spelled as most servers do it; its value is
 * next then. Otherwise CHOICE_KEY_COUNT, and the walk stands where it stood.
 */
static inline size_t
key_pass_quickly(struct json_walk *walk)
{
	const char *p = walk->scan->p, *end = walk->scan->end;
	size_t key, n;

	if (!walk->scan->fresh && (p == end || *p++ != ','))
		return CHOICE_KEY_COUNT;
	p += p < end && *p == ' ';
	if (json_begins(p, end, "\"delta\":")) {
		key = CHOICE_DELTA;
		n = strlen("\"delta\":");
	} else if (json_begins(p, end, "\"index\":")) {
		key = CHOICE_INDEX;
		n = strlen("\"index\":");
	} else if (json_begins(p, end, "\"logprobs\":")) {
		key = CHOICE_LOGPROBS;
		n = strlen("\"logprobs\":");
	} else if (json_begins(p, end, "\"finish_reason\":")) {
		key = CHOICE_FINISH_REASON;
		n = strlen("\"finish_reason\":");
	} else {
		return CHOICE_KEY_COUNT;
	}
	json_walk_pass_key(walk, p, p + n);
	return key;
}

/* The next member's key, CHOICE_KEY_COUNT for one that is not read. False: there is none, or it stood before
 * (`good`). */
static inline bool
key_next(struct json_walk *walk, uint32_t *seen, size_t *key, bool *good)
{
	*key = key_pass_quickly(walk);
	if (*key == CHOICE_KEY_COUNT) {
		if (!json_walk_next(walk))
			return false;
		*good = json_key_find_once(walk->member.key, choice_keys, CHOICE_KEY_COUNT, seen,
		                           key);
	} else {
		*good = !(*seen & 1U << *key);
		*seen |= 1U << *key;
	}
	return *good;
}

bool
frame_choice_read(struct chat_frame *frame, struct chat_choice *choice, struct json_scan *s)
{
	struct json_walk walk;
	uint32_t seen = 0;
	bool good = true;
	size_t key;

	*choice = (struct chat_choice){.token_first = frame->token_count};
	if (!json_walk_enter(&walk, s, &choice->span))
		return false;
	while (good && key_next(&walk, &seen, &key, &good)) {
		switch (key) {
		case CHOICE_INDEX: good = index_take(s, &choice->index); break;
		case CHOICE_DELTA:
		case CHOICE_MESSAGE: good = delta_read(choice, s); break;
		case CHOICE_LOGPROBS:
			json_walk_mark(&walk, &choice->logprobs);
			good = logprobs_read(frame, choice, s);
			break;
		case CHOICE_FINISH_REASON:
			good = frame_value_take(s, &choice->finish_reason, JSON_KIND_STRING);
			break;
		default: good = json_skip(s);
		}
	}
	choice->token_count = frame->token_count - choice->token_first;
	return good && !s->fault;
}
