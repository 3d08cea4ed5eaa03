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
	bool good = frame_count_take(s, &value) && value <= INT32_MAX;

	*index = good ? (unsigned)value : 0;
	return good;
}

/*
 * Most members of most frames are spelled by most servers in one of four ways, which are found by comparing bytes. What is
 * spelled otherwise is left to the scanner, which would read these, too, with the same result.
 */
static inline bool
begins(const char *p, const char *end, const char *text, size_t n)
{
	return (size_t)(end - p) >= n && memcmp(p, text, n) == 0;
}

/* p: where the value begins. Gives the place after it, or NULL. */
static const char *
quick_index(struct chat_choice *choice, const char *p, const char *end)
{
	if (end - p < 2 || *p < '0' || *p > '9' || (p[1] != ',' && p[1] != '}'))
		return NULL;
	choice->index = (unsigned)(*p - '0');
	return p + 1;
}

/* The same for a delta that has content and nothing else. */
static const char *
quick_delta(struct chat_choice *choice, const char *p, const char *end)
{
	static const char content[] = "{\"content\":\"";
	const char *open = p;
	struct json_value value;
	struct json_scan s;

	if (choice->delta.kind != JSON_KIND_NONE || !begins(p, end, content, strlen(content)))
		return NULL;
	p += strlen(content) - 1;
	json_scan_init(&s, (struct bytes){p, (size_t)(end - p)});
	if (!json_take(&s, &value) || s.p == end || *s.p != '}')
		return NULL;
	choice->content = value;
	choice->has_output = string_is_filled(value);
	choice->delta = (struct json_value){open, (size_t)(s.p + 1 - open), JSON_KIND_OBJECT};
	return s.p + 1;
}

/* The next member. False: it is left where it stands. */
static bool
member_read_quickly(struct chat_choice *choice, struct json_walk *walk, uint32_t *seen)
{
	static const char index[] = "\"index\":", delta[] = "\"delta\":",
	                  logprobs[] = "\"logprobs\":null", finish[] = "\"finish_reason\":null";
	struct json_scan *s = walk->scan;
	const char *before = s->fresh ? NULL : s->p, *begin = s->p, *after;
	uint32_t bit;

	if (!s->fresh && (begin == s->end || *begin++ != ','))
		return false;
	if (begins(begin, s->end, delta, strlen(delta))) {
		bit = 1U << CHOICE_DELTA;
		after = begin + strlen(delta);
	} else if (begins(begin, s->end, index, strlen(index))) {
		bit = 1U << CHOICE_INDEX;
		after = begin + strlen(index);
	} else if (begins(begin, s->end, finish, strlen(finish))) {
		bit = 1U << CHOICE_FINISH_REASON;
		after = begin + strlen(finish);
	} else if (begins(begin, s->end, logprobs, strlen(logprobs))) {
		bit = 1U << CHOICE_LOGPROBS;
		after = begin + strlen(logprobs);
	} else {
		return false;
	}
	if (*seen & bit)
		return false;
	if (bit == 1U << CHOICE_DELTA)
		after = quick_delta(choice, after, s->end);
	else if (bit == 1U << CHOICE_INDEX)
		after = quick_index(choice, after, s->end);
	if (!after)
		return false;
	*seen |= bit;
	json_walk_pass(walk, begin, after);
	if (bit == 1U << CHOICE_FINISH_REASON) {
		choice->finish_reason = (struct json_value){after - 4, 4, JSON_KIND_NULL};
	} else if (bit == 1U << CHOICE_LOGPROBS) {
		choice->logprobs = (struct json_slot){
		        .value = {.p = after - 4, .n = 4, .kind = JSON_KIND_NULL},
		        .begin = begin,
		        .before = before,
		};
		walk->open_slot = &choice->logprobs;
	}
	return true;
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
	while (good) {
		if (member_read_quickly(choice, &walk, &seen))
			continue;
		if (!json_walk_next(&walk))
			break;
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
			good = frame_value_take(s, &choice->finish_reason, JSON_KIND_STRING);
			break;
		default: good = json_skip(s);
		}
	}
	choice->token_count = frame->token_count - choice->token_first;
	return good && !s->fault;
}
