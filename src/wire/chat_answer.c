/*
 * One answer from many frames.
 *
 * What is gathered is bounded by `room`, from which every byte kept is taken, and by the numbers of
 * choices and calls; so an upstream that never ends costs no more than the limit it was given.
 */
#include "wire/chat_answer.h"

#include <stdlib.h>

#include "wire/chat_parts.h"

enum { ANSWER_TOOL_CALLS_MAX = 1024 };

struct answer_call {
	uint64_t index;
	struct chat_parts parts;
};

struct answer_choice {
	unsigned index;
	struct buf role;           /* the JSON string; empty: not told */
	struct chat_parts message; /* all other members of the deltas but tool_calls */
	struct answer_call *calls; /* owned; in the order of first appearance */
	size_t call_count, call_cap;
	struct buf finish_reason; /* the JSON string; empty: none yet */
	/* The entries of logprobs.content and .refusal, separated by commas. */
	struct buf content_logprobs, refusal_logprobs;
	bool has_logprobs;
};

/* Members of the document itself, as they stand in the frames and in the order in which they are
 * written. */
enum answer_member {
	ANSWER_ID,
	ANSWER_CREATED,
	ANSWER_MODEL,
	ANSWER_TIER,
	ANSWER_FINGERPRINT,
	ANSWER_MEMBER_COUNT,
};

static const char *const member_names[ANSWER_MEMBER_COUNT] = {
        [ANSWER_ID] = "id",
        [ANSWER_CREATED] = "created",
        [ANSWER_MODEL] = "model",
        [ANSWER_TIER] = "service_tier",
        [ANSWER_FINGERPRINT] = "system_fingerprint",
};

struct chat_answer {
	size_t room; /* bytes that may still be kept */
	bool keep_logprobs;
	unsigned top_logprobs;
	struct buf members[ANSWER_MEMBER_COUNT]; /* JSON values; empty: not told */
	struct buf usage;                        /* the JSON object; empty: none */
	struct chat_usage usage_counts;
	struct answer_choice *choices; /* owned; in the order of first appearance */
	size_t choice_count, choice_cap;
	bool has_output;
};

struct chat_answer *
chat_answer_new(size_t limit, bool keep_logprobs, unsigned top_logprobs)
{
	struct chat_answer *answer = calloc(1, sizeof(*answer));

	if (!answer)
		return NULL;
	answer->room = limit;
	answer->keep_logprobs = keep_logprobs;
	answer->top_logprobs = top_logprobs;
	return answer;
}

static void
choice_fini(struct answer_choice *choice)
{
	buf_fini(&choice->role);
	chat_parts_fini(&choice->message);
	for (size_t i = 0; i < choice->call_count; i++)
		chat_parts_fini(&choice->calls[i].parts);
	free(choice->calls);
	buf_fini(&choice->finish_reason);
	buf_fini(&choice->content_logprobs);
	buf_fini(&choice->refusal_logprobs);
}

void
chat_answer_free(struct chat_answer *answer)
{
	if (!answer)
		return;
	for (size_t i = 0; i < answer->choice_count; i++)
		choice_fini(&answer->choices[i]);
	free(answer->choices);
	for (size_t i = 0; i < ANSWER_MEMBER_COUNT; i++)
		buf_fini(&answer->members[i]);
	buf_fini(&answer->usage);
	free(answer);
}

/* Keeps a value in place of the one kept before. */
static bool
value_keep(struct chat_answer *answer, struct buf *to, struct json_value value)
{
	answer->room += to->n;
	buf_reset(to);
	if (value.n > answer->room)
		return false;
	answer->room -= value.n;
	buf_add(to, value.p, value.n);
	return !to->failed;
}

/* Room for one more zeroed element at the end of a growing array, paid for: the array's new place, or
 * NULL, and then the old place stands. */
static void *
array_extend(struct chat_answer *answer, void *list, size_t count, size_t *cap, size_t size)
{
	if (size > answer->room)
		return NULL;
	if (count == *cap) {
		size_t more = *cap ? *cap * 2 : 1;

		list = reallocarray(list, more, size);
		if (!list)
			return NULL;
		*cap = more;
	}
	answer->room -= size;
	memset((char *)list + size * count, 0, size);
	return list;
}

static struct answer_choice *
choice_at(struct chat_answer *answer, unsigned index)
{
	struct answer_choice *choices;

	for (size_t i = 0; i < answer->choice_count; i++) {
		if (answer->choices[i].index == index)
			return &answer->choices[i];
	}
	if (answer->choice_count == CHAT_CHOICES_MAX)
		return NULL;
	choices = array_extend(answer, answer->choices, answer->choice_count, &answer->choice_cap,
	                       sizeof(*choices));
	if (!choices)
		return NULL;
	answer->choices = choices;
	choices[answer->choice_count].index = index;
	return &choices[answer->choice_count++];
}

static struct answer_call *
call_at(struct chat_answer *answer, struct answer_choice *choice, uint64_t index)
{
	struct answer_call *calls;

	for (size_t i = 0; i < choice->call_count; i++) {
		if (choice->calls[i].index == index)
			return &choice->calls[i];
	}
	if (choice->call_count == ANSWER_TOOL_CALLS_MAX)
		return NULL;
	calls = array_extend(answer, choice->calls, choice->call_count, &choice->call_cap,
	                     sizeof(*calls));
	if (!calls)
		return NULL;
	choice->calls = calls;
	calls[choice->call_count].index = index;
	return &calls[choice->call_count++];
}

/*
 * The index of a tool call that does not tell it. A whole message's calls do not, and some servers leave
 * it out of their deltas: there an id that is new begins a call, and a delta without an id goes on with
 * the last one.
 */
static uint64_t
call_index_guess(const struct answer_choice *choice, struct json_value id, uint64_t position)
{
	uint64_t next = 0;

	for (size_t i = 0; i < choice->call_count; i++) {
		const struct answer_call *call = &choice->calls[i];
		struct bytes known = chat_parts_text(&call->parts, "id");

		if (id.kind == JSON_KIND_STRING && known.n > 0 &&
		    bytes_equal(known, (struct bytes){id.p + 1, id.n - 2}))
			return call->index;
		if (call->index >= next)
			next = call->index + 1;
	}
	if (choice->call_count == 0)
		return position;
	if ((id.kind == JSON_KIND_STRING && id.n > 2) || position > 0)
		return next;
	return choice->calls[choice->call_count - 1].index;
}

static bool
call_add(struct chat_answer *answer, struct answer_choice *choice, struct bytes object,
         uint64_t position)
{
	static const char *const skip[] = {"index", NULL};
	struct json_value id = {.kind = JSON_KIND_NONE}, index = {.kind = JSON_KIND_NONE}, value;
	struct answer_call *call;
	struct json_scan scan;
	struct json_member member;
	uint64_t number;

	json_scan_init(&scan, object);
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(&scan, &member)) {
		if (!json_take(&scan, &value))
			return false;
		if (json_key_is(member.key, "index"))
			index = value;
		else if (json_key_is(member.key, "id"))
			id = value;
	}
	if (index.kind == JSON_KIND_NONE || index.kind == JSON_KIND_NULL)
		number = call_index_guess(choice, id, position);
	else if (!json_to_u64(index, UINT32_MAX, &number))
		return false;
	call = call_at(answer, choice, number);
	return call && chat_parts_add(&call->parts, object, skip, &answer->room);
}

static bool
calls_add(struct chat_answer *answer, struct answer_choice *choice, struct json_value calls)
{
	struct json_scan scan;
	struct json_value value;
	uint64_t position = 0;

	json_scan_init(&scan, json_value_text(calls));
	if (!json_enter(&scan, JSON_KIND_ARRAY))
		return false;
	while (json_next_element(&scan)) {
		if (!json_take(&scan, &value) ||
		    !call_add(answer, choice, json_value_text(value), position++))
			return false;
	}
	return json_scan_end(&scan);
}

/* Keeps the tokens' entries with at most as many candidates as the client asked for. */
static bool
logprobs_add(struct chat_answer *answer, struct answer_choice *choice,
             const struct chat_frame *frame, const struct chat_choice *from)
{
	choice->has_logprobs = true;
	for (size_t i = 0; i < from->token_count; i++) {
		const struct chat_token *token = &frame->tokens[from->token_first + i];
		struct buf *to =
		        token->is_refusal ? &choice->refusal_logprobs : &choice->content_logprobs;
		size_t before = to->n;

		if (answer->room < token->entry.n + 1)
			return false;
		if (to->n > 0)
			buf_add(to, ",", 1);
		chat_token_write(token, answer->top_logprobs, to);
		if (to->failed)
			return false;
		answer->room -= to->n - before;
	}
	return true;
}

static bool
choice_add(struct chat_answer *answer, const struct chat_frame *frame,
           const struct chat_choice *from)
{
	static const char *const skip[] = {"role", "tool_calls", NULL};
	struct answer_choice *choice = choice_at(answer, from->index);

	if (!choice)
		return false;
	answer->has_output |= from->has_output;
	if (from->role.kind == JSON_KIND_STRING && from->role.n > 2 &&
	    !value_keep(answer, &choice->role, from->role))
		return false;
	if (from->delta.kind == JSON_KIND_OBJECT &&
	    !chat_parts_add(&choice->message, json_value_text(from->delta), skip, &answer->room))
		return false;
	if (from->tool_calls.kind == JSON_KIND_ARRAY &&
	    !calls_add(answer, choice, from->tool_calls))
		return false;
	if (answer->keep_logprobs && from->has_logprobs &&
	    !logprobs_add(answer, choice, frame, from))
		return false;
	return from->finish_reason.kind != JSON_KIND_STRING ||
	       value_keep(answer, &choice->finish_reason, from->finish_reason);
}

/* Does the value say anything? Some servers' first frame, about the prompt, has an empty id and model
 * and was created at 0. */
static bool
value_is_told(struct json_value value)
{
	uint64_t number;

	if (value.kind == JSON_KIND_STRING)
		return value.n > 2;
	return value.kind == JSON_KIND_NUMBER && !(json_to_u64(value, 0, &number) && number == 0);
}

bool
chat_answer_add(struct chat_answer *answer, const struct chat_frame *frame)
{
	const struct json_value members[ANSWER_MEMBER_COUNT] = {
	        [ANSWER_ID] = frame->id,
	        [ANSWER_CREATED] = frame->created,
	        [ANSWER_MODEL] = frame->model,
	        [ANSWER_TIER] = frame->service_tier,
	        [ANSWER_FINGERPRINT] = frame->system_fingerprint,
	};

	if (frame->error.kind != JSON_KIND_NONE)
		return false;
	for (size_t i = 0; i < ANSWER_MEMBER_COUNT; i++) {
		if (answer->members[i].n == 0 && value_is_told(members[i]) &&
		    !value_keep(answer, &answer->members[i], members[i]))
			return false;
	}
	if (frame->usage_counts.known) {
		answer->usage_counts = frame->usage_counts;
		if (!value_keep(answer, &answer->usage, frame->usage.value))
			return false;
	}
	for (size_t i = 0; i < frame->choice_count; i++) {
		if (!choice_add(answer, frame, &frame->choices[i]))
			return false;
	}
	return true;
}

bool
chat_answer_is_finished(const struct chat_answer *answer)
{
	for (size_t i = 0; i < answer->choice_count; i++) {
		if (answer->choices[i].finish_reason.n == 0)
			return false;
	}
	return answer->choice_count > 0;
}

bool
chat_answer_has_output(const struct chat_answer *answer)
{
	return answer->has_output;
}

struct chat_usage
chat_answer_usage(const struct chat_answer *answer)
{
	return answer->usage_counts;
}

static int
call_compare(const void *a, const void *b)
{
	const struct answer_call *const *x = a, *const *y = b;

	return ((*x)->index > (*y)->index) - ((*x)->index < (*y)->index);
}

static void
calls_write(const struct answer_choice *choice, struct buf *out)
{
	const struct answer_call *order[ANSWER_TOOL_CALLS_MAX] = {NULL};

	if (choice->call_count == 0)
		return;
	for (size_t i = 0; i < choice->call_count; i++)
		order[i] = &choice->calls[i];
	qsort(order, choice->call_count, sizeof(order[0]), call_compare);
	buf_add_text(out, ",\"tool_calls\":[");
	for (size_t i = 0; i < choice->call_count; i++) {
		buf_add_text(out, i > 0 ? ",{" : "{");
		chat_parts_write(&order[i]->parts, true, out);
		buf_add_text(out, "}");
	}
	buf_add_text(out, "]");
}

static void
value_write(const struct buf *value, const char *absent, struct buf *out)
{
	buf_add_bytes(out, value->n > 0 ? buf_bytes(value) : bytes_of(absent));
}

static void
message_write(const struct answer_choice *choice, struct buf *out)
{
	buf_add_text(out, "\"message\":{\"role\":");
	value_write(&choice->role, "\"assistant\"", out);
	chat_parts_write(&choice->message, false, out);
	if (!chat_parts_has(&choice->message, "content"))
		buf_add_text(out, ",\"content\":null");
	calls_write(choice, out);
	buf_add_text(out, "}");
}

/* An array of entries; where there are none, null if the other array has some. */
static void
entries_write(const struct buf *entries, bool has_other, struct buf *out)
{
	if (entries->n == 0 && has_other) {
		buf_add_text(out, "null");
		return;
	}
	buf_add_text(out, "[");
	buf_add_bytes(out, buf_bytes(entries));
	buf_add_text(out, "]");
}

static void
logprobs_write(const struct answer_choice *choice, struct buf *out)
{
	buf_add_text(out, ",\"logprobs\":");
	if (!choice->has_logprobs) {
		buf_add_text(out, "null");
		return;
	}
	buf_add_text(out, "{\"content\":");
	entries_write(&choice->content_logprobs, choice->refusal_logprobs.n > 0, out);
	buf_add_text(out, ",\"refusal\":");
	entries_write(&choice->refusal_logprobs, true, out);
	buf_add_text(out, "}");
}

static int
choice_compare(const void *a, const void *b)
{
	const struct answer_choice *const *x = a, *const *y = b;

	return ((*x)->index > (*y)->index) - ((*x)->index < (*y)->index);
}

static void
choices_write(const struct chat_answer *answer, struct buf *out)
{
	const struct answer_choice *order[CHAT_CHOICES_MAX] = {NULL};

	for (size_t i = 0; i < answer->choice_count; i++)
		order[i] = &answer->choices[i];
	qsort(order, answer->choice_count, sizeof(order[0]), choice_compare);
	buf_add_text(out, ",\"choices\":[");
	for (size_t i = 0; i < answer->choice_count; i++) {
		buf_add_text(out, i > 0 ? ",{\"index\":" : "{\"index\":");
		buf_add_u64(out, order[i]->index);
		buf_add_text(out, ",");
		message_write(order[i], out);
		if (answer->keep_logprobs)
			logprobs_write(order[i], out);
		buf_add_text(out, ",\"finish_reason\":");
		value_write(&order[i]->finish_reason, "null", out);
		buf_add_text(out, "}");
	}
	buf_add_text(out, "]");
}

void
chat_answer_write(const struct chat_answer *answer, struct buf *out)
{
	buf_add_text(out, "{\"object\":\"chat.completion\"");
	for (size_t i = 0; i < ANSWER_MEMBER_COUNT; i++) {
		if (answer->members[i].n == 0)
			continue;
		buf_add_text(out, ",\"");
		buf_add_text(out, member_names[i]);
		buf_add_text(out, "\":");
		buf_add_bytes(out, buf_bytes(&answer->members[i]));
	}
	choices_write(answer, out);
	if (answer->usage.n > 0) {
		buf_add_text(out, ",\"usage\":");
		buf_add_bytes(out, buf_bytes(&answer->usage));
	}
	buf_add_text(out, "}");
}
