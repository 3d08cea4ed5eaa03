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
	struct chat_parts message; /* all members of the deltas but tool_calls */
	struct answer_call *calls; /* owned; in the order of first appearance */
	size_t call_count, call_cap;
	struct buf finish_reason; /* the JSON string; empty: none yet */
	/* The entries of logprobs.content and .refusal, separated by commas. */
	struct buf content_logprobs, refusal_logprobs;
	bool has_logprobs;
};

/* Members of the document itself, as they stand in the frames. */
enum answer_member {
	ANSWER_ID,
	ANSWER_CREATED,
	ANSWER_MODEL,
	ANSWER_TIER,
	ANSWER_FINGERPRINT,
	ANSWER_MEMBERS
};

static const char *const member_names[ANSWER_MEMBERS] = {
        [ANSWER_ID] = "id",
        [ANSWER_CREATED] = "created",
        [ANSWER_MODEL] = "model",
        [ANSWER_TIER] = "service_tier",
        [ANSWER_FINGERPRINT] = "system_fingerprint",
};

struct chat_answer {
	size_t room; /* bytes that may still be kept */
	struct chat_frame_view view;
	struct buf members[ANSWER_MEMBERS];
	struct buf usage; /* the JSON object; empty: none */
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
	answer->view = (struct chat_frame_view){keep_logprobs, top_logprobs, true};
	return answer;
}

static void
choice_fini(struct answer_choice *choice)
{
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
	for (size_t i = 0; i < ANSWER_MEMBERS; i++)
		buf_fini(&answer->members[i]);
	buf_fini(&answer->usage);
	free(answer);
}

/* ---------------------------------------------------------------- adding */

static bool
answer_keep(struct chat_answer *answer, struct buf *to, const char *p, size_t n)
{
	if (n > answer->room)
		return false;
	answer->room -= n;
	buf_add(to, p, n);
	return !to->failed;
}

/* One more zeroed element at the end of a growing array, or NULL. */
static void *
array_extend(void **list, size_t *count, size_t *cap, size_t size, size_t max)
{
	if (*count == max)
		return NULL;
	if (*count == *cap) {
		size_t more = *cap ? *cap * 2 : 1;
		void *grown = reallocarray(*list, more, size);

		if (!grown)
			return NULL;
		*list = grown;
		*cap = more;
	}
	return memset((char *)*list + size * (*count)++, 0, size);
}

static struct answer_choice *
answer_choice_at(struct chat_answer *answer, unsigned index)
{
	struct answer_choice *choice;

	for (size_t i = 0; i < answer->choice_count; i++) {
		if (answer->choices[i].index == index)
			return &answer->choices[i];
	}
	choice = array_extend((void **)&answer->choices, &answer->choice_count, &answer->choice_cap,
	                      sizeof(*choice), CHAT_CHOICES_MAX);
	if (choice)
		choice->index = index;
	return choice;
}

static struct answer_call *
choice_call_at(struct answer_choice *choice, uint64_t index)
{
	struct answer_call *call;

	for (size_t i = 0; i < choice->call_count; i++) {
		if (choice->calls[i].index == index)
			return &choice->calls[i];
	}
	call = array_extend((void **)&choice->calls, &choice->call_count, &choice->call_cap,
	                    sizeof(*call), ANSWER_TOOL_CALLS_MAX);
	if (call)
		call->index = index;
	return call;
}

/* The `index` of a tool call; where there is none, as in a whole message, its position. */
static bool
call_index(struct bytes object, uint64_t position, uint64_t *index)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value value;

	*index = position;
	json_scan_init(&scan, object);
	if (!json_enter(&scan, JSON_OBJECT))
		return false;
	while (json_next_member(&scan, &member)) {
		if (!json_take(&scan, &value))
			return false;
		if (json_key_is(member.key, "index") && value.kind != JSON_NULL &&
		    !json_to_u64(value, UINT32_MAX, index))
			return false;
	}
	return json_scan_end(&scan);
}

static bool
choice_add_calls(struct chat_answer *answer, struct answer_choice *choice, struct json_value calls)
{
	static const char *const skip[] = {"index", NULL};
	struct json_scan scan;
	uint64_t position = 0;

	json_scan_init(&scan, (struct bytes){calls.p, calls.n});
	if (!json_enter(&scan, JSON_ARRAY))
		return false;
	while (json_next_element(&scan)) {
		struct json_value value;
		struct answer_call *call;
		struct bytes object;
		uint64_t index;

		if (!json_take(&scan, &value))
			return false;
		object = (struct bytes){value.p, value.n};
		if (!call_index(object, position++, &index))
			return false;
		call = choice_call_at(choice, index);
		if (!call || !chat_parts_add(&call->parts, object, skip, &answer->room))
			return false;
	}
	return json_scan_end(&scan);
}

/* Keeps the tokens' entries with at most as many candidates as the client asked for. */
static bool
choice_add_logprobs(struct chat_answer *answer, struct answer_choice *choice,
                    const struct chat_frame *frame, const struct chat_choice *from)
{
	for (size_t i = 0; i < from->token_count; i++) {
		const struct chat_token *token = &frame->tokens[from->token_first + i];
		struct buf *to =
		        token->is_refusal ? &choice->refusal_logprobs : &choice->content_logprobs;

		if (answer->room < token->entry.n + 1)
			return false;
		answer->room -= token->entry.n + 1;
		if (to->n > 0)
			buf_add_text(to, ",");
		chat_token_write(token, answer->view.top_logprobs, to);
		if (to->failed)
			return false;
	}
	return true;
}

static bool
answer_add_choice(struct chat_answer *answer, const struct chat_frame *frame,
                  const struct chat_choice *from)
{
	static const char *const skip[] = {"tool_calls", NULL};
	struct answer_choice *choice = answer_choice_at(answer, from->index);

	if (!choice)
		return false;
	answer->has_output |= from->has_output;
	if (from->delta.kind == JSON_OBJECT &&
	    !chat_parts_add(&choice->message, (struct bytes){from->delta.p, from->delta.n}, skip,
	                    &answer->room))
		return false;
	if (from->tool_calls.kind == JSON_ARRAY &&
	    !choice_add_calls(answer, choice, from->tool_calls))
		return false;
	if (answer->view.logprobs && from->has_logprobs) {
		choice->has_logprobs = true;
		if (!choice_add_logprobs(answer, choice, frame, from))
			return false;
	}
	if (from->finish_reason.kind != JSON_STRING)
		return true;
	buf_reset(&choice->finish_reason);
	return answer_keep(answer, &choice->finish_reason, from->finish_reason.p,
	                   from->finish_reason.n);
}

bool
chat_answer_add(struct chat_answer *answer, const struct chat_frame *frame)
{
	const struct json_value members[ANSWER_MEMBERS] = {
	        [ANSWER_ID] = frame->id,
	        [ANSWER_CREATED] = frame->created,
	        [ANSWER_MODEL] = frame->model,
	        [ANSWER_TIER] = frame->service_tier,
	        [ANSWER_FINGERPRINT] = frame->system_fingerprint,
	};

	for (size_t i = 0; i < ANSWER_MEMBERS; i++) {
		if (members[i].kind > JSON_NULL && answer->members[i].n == 0 &&
		    !answer_keep(answer, &answer->members[i], members[i].p, members[i].n))
			return false;
	}
	if (frame->usage_counts.known) {
		answer->usage_counts = frame->usage_counts;
		buf_reset(&answer->usage);
		if (!answer_keep(answer, &answer->usage, frame->usage.value.p,
		                 frame->usage.value.n))
			return false;
	}
	for (size_t i = 0; i < frame->choice_count; i++) {
		if (!answer_add_choice(answer, frame, &frame->choices[i]))
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

/* ---------------------------------------------------------------- writing */

static void
choice_write_message(const struct answer_choice *choice, struct buf *out)
{
	bool has_role = chat_parts_has(&choice->message, "role");
	bool has_content = chat_parts_has(&choice->message, "content");

	buf_add_text(out, "\"message\":{");
	if (!has_role)
		buf_add_text(out, "\"role\":\"assistant\"");
	chat_parts_write(&choice->message, has_role, out);
	if (!has_content)
		buf_add_text(out, ",\"content\":null");
	for (size_t i = 0; i < choice->call_count; i++) {
		buf_add_text(out, i ? ",{" : ",\"tool_calls\":[{");
		chat_parts_write(&choice->calls[i].parts, true, out);
		buf_add_text(out, i + 1 < choice->call_count ? "}" : "}]");
	}
	buf_add_text(out, "}");
}

/* Tokens of a refusal and of content do not come in one answer; an answer without tokens is content. */
static void
choice_write_logprobs(const struct answer_choice *choice, struct buf *out)
{
	bool refusal = choice->refusal_logprobs.n > 0;

	if (!choice->has_logprobs) {
		buf_add_text(out, "null");
		return;
	}
	buf_add_text(out, "{\"content\":");
	if (choice->content_logprobs.n > 0 || !refusal) {
		buf_add_text(out, "[");
		buf_add_bytes(out, buf_bytes(&choice->content_logprobs));
		buf_add_text(out, "]");
	} else {
		buf_add_text(out, "null");
	}
	buf_add_text(out, refusal ? ",\"refusal\":[" : ",\"refusal\":null}");
	if (refusal) {
		buf_add_bytes(out, buf_bytes(&choice->refusal_logprobs));
		buf_add_text(out, "]}");
	}
}

static void
choice_write(const struct answer_choice *choice, struct buf *out)
{
	buf_add_format(out, "{\"index\":%u,", choice->index);
	choice_write_message(choice, out);
	buf_add_text(out, ",\"logprobs\":");
	choice_write_logprobs(choice, out);
	buf_add_text(out, ",\"finish_reason\":");
	buf_add_bytes(out, choice->finish_reason.n ? buf_bytes(&choice->finish_reason)
	                                           : bytes_of("null"));
	buf_add_text(out, "}");
}

static int
choice_compare(const void *a, const void *b)
{
	const struct answer_choice *const *x = a, *const *y = b;

	return ((*x)->index > (*y)->index) - ((*x)->index < (*y)->index);
}

void
chat_answer_write(const struct chat_answer *answer, struct buf *out)
{
	const struct answer_choice *order[CHAT_CHOICES_MAX];

	for (size_t i = 0; i < answer->choice_count; i++)
		order[i] = &answer->choices[i];
	qsort(order, answer->choice_count, sizeof(order[0]), choice_compare);
	buf_add_text(out, "{\"object\":\"chat.completion\"");
	for (size_t i = 0; i < ANSWER_MEMBERS; i++) {
		if (answer->members[i].n == 0)
			continue;
		buf_add_format(out, ",\"%s\":", member_names[i]);
		buf_add_bytes(out, buf_bytes(&answer->members[i]));
	}
	buf_add_text(out, ",\"choices\":[");
	for (size_t i = 0; i < answer->choice_count; i++) {
		if (i)
			buf_add_text(out, ",");
		choice_write(order[i], out);
	}
	buf_add_text(out, "]");
	if (answer->usage.n > 0) {
		buf_add_text(out, ",\"usage\":");
		buf_add_bytes(out, buf_bytes(&answer->usage));
	}
	buf_add_text(out, "}");
}
