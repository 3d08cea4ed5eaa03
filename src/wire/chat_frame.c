/*
 * Frames: the walk over one payload.
 *
 * Every …_read function consumes the next value whole and gives false at a fault of the scan and at
 * a value that is not what it must be; the walk stops there, and what was gathered is worth nothing.
 */
#include "wire/chat_frame.h"

#include <stdlib.h>

#include "wire/chat_frame_private.h"
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

void *
frame_array_grow(void *items, size_t count, size_t *cap, size_t size)
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

static struct chat_choice *
choice_add(struct chat_frame *frame)
{
	struct chat_choice *choices;

	if (frame->choice_count == CHAT_CHOICES_MAX)
		return NULL;
	choices = frame_array_grow(frame->choices, frame->choice_count, &frame->choice_cap,
	                           sizeof(*choices));
	if (!choices)
		return NULL;
	frame->choices = choices;
	return &choices[frame->choice_count++];
}

bool
frame_value_take(struct json_scan *s, struct json_value *value, enum json_kind kind)
{
	return json_take(s, value) && (value->kind == kind || value->kind == JSON_KIND_NULL);
}

bool
frame_count_take(struct json_scan *s, uint64_t *count)
{
	struct json_value value;

	return frame_value_take(s, &value, JSON_KIND_NUMBER) &&
	       (value.kind == JSON_KIND_NULL || json_to_u64(value, UINT64_MAX, count));
}

static bool
usage_details_read(struct json_scan *s, struct chat_usage *usage)
{
	struct json_member member;
	uint32_t seen = 0;
	size_t key;

	if (!json_enter(s, JSON_KIND_OBJECT))
		return json_skip_null(s);
	while (json_next_member(s, &member)) {
		if (!json_key_find_once(member.key, details_keys, 1, &seen, &key))
			return false;
		if (key == 0 ? !frame_count_take(s, &usage->cached_tokens) : !json_skip(s))
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

	if (!json_enter(s, JSON_KIND_OBJECT))
		return json_skip_null(s);
	usage->known = true;
	while (good && json_next_member(s, &member)) {
		good = json_key_find_once(member.key, usage_keys, USAGE_KEY_COUNT, &seen, &key);
		if (!good)
			break;
		switch (key) {
		case USAGE_PROMPT: good = frame_count_take(s, &usage->prompt_tokens); break;
		case USAGE_COMPLETION: good = frame_count_take(s, &usage->completion_tokens); break;
		case USAGE_CACHE_HIT: good = frame_count_take(s, &usage->cached_tokens); break;
		case USAGE_PROMPT_DETAILS: good = usage_details_read(s, usage); break;
		default: good = json_skip(s);
		}
	}
	return good && !s->fault;
}

/* Their array has been entered. */
static bool
choices_read(struct chat_frame *frame, struct json_scan *s)
{
	while (json_next_element(s)) {
		struct chat_choice *choice = choice_add(frame);

		if (!choice || !frame_choice_read(frame, choice, s))
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
		*has_choices = json_enter(s, JSON_KIND_ARRAY);
		return *has_choices ? choices_read(frame, s) : json_skip_null(s);
	case FRAME_USAGE:
		json_walk_mark(walk, &frame->usage);
		return usage_read(s, &frame->usage_counts);
	case FRAME_ID: return frame_value_take(s, &frame->id, JSON_KIND_STRING);
	case FRAME_CREATED: return frame_value_take(s, &frame->created, JSON_KIND_NUMBER);
	case FRAME_MODEL: return frame_value_take(s, &frame->model, JSON_KIND_STRING);
	case FRAME_SYSTEM_FINGERPRINT:
		return frame_value_take(s, &frame->system_fingerprint, JSON_KIND_STRING);
	case FRAME_SERVICE_TIER: return frame_value_take(s, &frame->service_tier, JSON_KIND_STRING);
	case FRAME_OBJECT: return json_skip(s);
	case FRAME_ERROR:
		/* Any error at all is for error_read(). */
		return json_skip_null(s);
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
