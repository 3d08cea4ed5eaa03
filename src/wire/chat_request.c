/*
 * The top level of a chat request: what each member must be, and what an upstream gets.
 *
 * Each member that is looked at may stand only once, however its key is spelled. A null is the same as
 * no member, save that its slot is known, so that a rewrite replaces it instead of adding a second one.
 */
#include "wire/chat_request.h"

#include <stdio.h>

#include "wire/chat_frame.h"
#include "wire/chat_messages.h"
#include "wire/overlap.h"
#include "wire/param_check.h"

struct reader {
	struct json_scan scan;
	struct json_walk walk;
	struct chat_request *request;
	struct api_error *error;
	uint32_t seen; /* bits of rules[] */
};

struct rule {
	const char *name;
	/* Checks a value that is not null. */
	bool (*read)(struct reader *r, const struct rule *rule, struct json_value value);
	double low, high;        /* for numbers */
	enum chat_member member; /* CHAT_MEMBER_COUNT: no slot is kept of it */
};

static bool
read_model(struct reader *r, const struct rule *rule, struct json_value value)
{
	struct chat_request *q = r->request;

	return param_check_text(r->error, rule->name, value, q->model, sizeof(q->model));
}

static bool
read_flag(struct reader *r, const struct rule *rule, struct json_value value)
{
	bool *flag = rule->member == CHAT_STREAM ? &r->request->stream : &r->request->logprobs;

	return param_check_bool(r->error, rule->name, value, flag);
}

static bool
read_stream_options(struct reader *r, const struct rule *rule, struct json_value value)
{
	struct chat_request *q = r->request;
	struct json_walk walk;
	struct json_scan scan;

	json_scan_init(&scan, json_value_text(value));
	if (!json_walk_enter(&walk, &scan, &q->stream_options))
		return param_refuse_type(r->error, rule->name, "an object", value);
	while (json_walk_next(&walk)) {
		struct json_slot *slot = &q->include_usage_slot;
		const char *param = "stream_options.include_usage";

		if (!json_key_is(walk.member.key, "include_usage")) {
			json_skip(&scan);
			continue;
		}
		if (slot->value.kind != JSON_KIND_NONE)
			return param_refuse_twice(r->error, param);
		json_walk_take(&walk, slot);
		if (slot->value.kind != JSON_KIND_NULL &&
		    !param_check_bool(r->error, param, slot->value, &q->include_usage))
			return false;
	}
	return true;
}

static bool
read_count(struct reader *r, const struct rule *rule, struct json_value value)
{
	uint64_t high = rule->high > 0 ? (uint64_t)rule->high : UINT64_MAX, number;

	if (!param_check_integer(r->error, rule->name, value, (uint64_t)rule->low, high, &number))
		return false;
	if (rule->member == CHAT_N)
		r->request->n = (unsigned)number;
	else if (rule->member == CHAT_TOP_LOGPROBS)
		r->request->top_logprobs = (unsigned)number;
	return true;
}

static bool
read_decimal(struct reader *r, const struct rule *rule, struct json_value value)
{
	return param_check_decimal(r->error, rule->name, value, rule->low, rule->high);
}

static bool
read_temperature(struct reader *r, const struct rule *rule, struct json_value value)
{
	return read_decimal(r, rule, value) && json_to_double(value, &r->request->temperature);
}

static bool
read_seed(struct reader *r, const struct rule *rule, struct json_value value)
{
	return param_check_any_integer(r->error, rule->name, value);
}

static bool
read_stop(struct reader *r, const struct rule *rule, struct json_value value)
{
	if (value.kind == JSON_KIND_STRING)
		return true;
	if (value.kind == JSON_KIND_ARRAY)
		return param_check_strings(r->error, rule->name, value, CHAT_STOPS_MAX);
	return param_refuse_type(r->error, rule->name, "a string or an array of strings", value);
}

static bool
read_tools(struct reader *r, const struct rule *rule, struct json_value value)
{
	if (value.kind != JSON_KIND_ARRAY)
		return param_refuse_type(r->error, rule->name, "an array of objects", value);
	if (!json_is_empty(value))
		r->request->has_tools = true;
	return true;
}

/* Anything but the type of an object is the upstream's to judge. */
static bool
read_response_format(struct reader *r, const struct rule *rule, struct json_value value)
{
	struct json_member member;
	struct json_value type;
	struct json_scan scan;

	(void)rule;
	json_scan_init(&scan, json_value_text(value));
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return true;
	while (json_next_member(&scan, &member) && json_take(&scan, &type)) {
		if (json_key_is(member.key, "type") &&
		    (json_string_is(type, "json_object") || json_string_is(type, "json_schema")))
			r->request->wants_json = true;
	}
	return true;
}

static bool
read_modalities(struct reader *r, const struct rule *rule, struct json_value value)
{
	struct json_value element;
	struct json_scan scan;

	if (!param_check_strings(r->error, rule->name, value, UINT32_MAX))
		return false;
	json_scan_init(&scan, json_value_text(value));
	json_enter(&scan, JSON_KIND_ARRAY);
	while (json_next_element(&scan) && json_take(&scan, &element)) {
		if (json_string_is(element, "audio"))
			r->request->wants_audio = true;
	}
	return true;
}

static bool
read_audio(struct reader *r, const struct rule *rule, struct json_value value)
{
	(void)rule;
	(void)value;
	r->request->wants_audio = true;
	return true;
}

/* The upstream's to judge. */
static bool
read_any(struct reader *r, const struct rule *rule, struct json_value value)
{
	(void)r;
	(void)rule;
	(void)value;
	return true;
}

static bool
read_request_id(struct reader *r, const struct rule *rule, struct json_value value)
{
	struct chat_request *q = r->request;

	return param_check_name(r->error, rule->name, value, q->request_id, sizeof(q->request_id));
}

static bool
read_project_id(struct reader *r, const struct rule *rule, struct json_value value)
{
	struct chat_request *q = r->request;

	return param_check_name(r->error, rule->name, value, q->project_id, sizeof(q->project_id));
}

static bool
read_fallbacks(struct reader *r, const struct rule *rule, struct json_value value)
{
	return param_check_strings(r->error, rule->name, value, CHAT_FALLBACKS_MAX);
}

static bool
read_reasoning_effort(struct reader *r, const struct rule *rule, struct json_value value)
{
	static const char *const efforts[] = {"none", "minimal", "low", "medium",
	                                      "high", "xhigh",   "auto"};
	struct chat_request *q = r->request;

	if (value.kind != JSON_KIND_STRING)
		return param_refuse_type(r->error, rule->name, "a string", value);
	for (size_t i = 0; i < sizeof(efforts) / sizeof(efforts[0]); i++) {
		if (json_string_is(value, efforts[i])) {
			q->reasoning_effort = efforts[i];
			return true;
		}
	}
	api_error_set(
	        r->error, 400, rule->name, "invalid_value",
	        "Invalid value for 'reasoning_effort'. Supported values are: 'none', 'minimal', "
	        "'low', 'medium', 'high', 'xhigh', and 'auto'.");
	return false;
}

/* The only value that is walked where it stands, for it is most of the body. */
static bool
read_messages(struct reader *r, struct json_slot *slot)
{
	struct chat_messages messages;

	json_walk_mark(&r->walk, slot);
	if (!chat_messages_read(&messages, &r->scan, r->error))
		return false;
	r->request->message_count = messages.count;
	r->request->has_images = messages.has_images;
	r->request->has_media = messages.has_media;
	return true;
}

static const struct rule rules[] = {
        {"model", read_model, 0, 0, CHAT_MODEL},
        {"messages", NULL, 0, 0, CHAT_MESSAGES},
        {"stream", read_flag, 0, 0, CHAT_STREAM},
        {"stream_options", read_stream_options, 0, 0, CHAT_STREAM_OPTIONS},
        {"logprobs", read_flag, 0, 0, CHAT_LOGPROBS},
        {"top_logprobs", read_count, 0, CHAT_TOP_LOGPROBS_MAX, CHAT_TOP_LOGPROBS},
        {"n", read_count, 1, CHAT_N_MAX, CHAT_N},
        {"request_id", read_request_id, 0, 0, CHAT_REQUEST_ID},
        {"project_id", read_project_id, 0, 0, CHAT_PROJECT_ID},
        {"fallbacks", read_fallbacks, 0, 0, CHAT_FALLBACKS},
        {"reasoning_effort", read_reasoning_effort, 0, 0, CHAT_REASONING_EFFORT},
        {"temperature", read_temperature, 0, 2, CHAT_MEMBER_COUNT},
        {"top_p", read_decimal, 0, 1, CHAT_MEMBER_COUNT},
        {"presence_penalty", read_decimal, -2, 2, CHAT_MEMBER_COUNT},
        {"frequency_penalty", read_decimal, -2, 2, CHAT_MEMBER_COUNT},
        {"max_tokens", read_count, 1, 0, CHAT_MAX_TOKENS},
        {"max_completion_tokens", read_count, 1, 0, CHAT_MAX_COMPLETION_TOKENS},
        {"seed", read_seed, 0, 0, CHAT_MEMBER_COUNT},
        {"stop", read_stop, 0, 0, CHAT_MEMBER_COUNT},
        {"tools", read_tools, 0, 0, CHAT_MEMBER_COUNT},
        {"functions", read_tools, 0, 0, CHAT_MEMBER_COUNT},
        {"response_format", read_response_format, 0, 0, CHAT_MEMBER_COUNT},
        {"modalities", read_modalities, 0, 0, CHAT_MEMBER_COUNT},
        {"audio", read_audio, 0, 0, CHAT_MEMBER_COUNT},
        {"add_generation_prompt", read_any, 0, 0, CHAT_ADD_GENERATION_PROMPT},
        {"continue_final_message", read_any, 0, 0, CHAT_CONTINUE_FINAL_MESSAGE},
};

enum { RULE_COUNT = sizeof(rules) / sizeof(rules[0]) };

_Static_assert(RULE_COUNT <= 32, "reader.seen has a bit for each rule");

static bool
read_member(struct reader *r)
{
	struct json_value value;
	const struct rule *rule;
	unsigned i = 0;

	while (i < RULE_COUNT && !json_key_is(r->walk.member.key, rules[i].name))
		i++;
	if (i == RULE_COUNT)
		return json_skip(&r->scan);
	rule = &rules[i];
	if (r->seen & 1U << i)
		return param_refuse_twice(r->error, rule->name);
	r->seen |= 1U << i;
	if (rule->member == CHAT_MESSAGES)
		return read_messages(r, &r->request->slots[CHAT_MESSAGES]);
	if (rule->member == CHAT_MEMBER_COUNT) {
		json_take(&r->scan, &value);
	} else {
		json_walk_take(&r->walk, &r->request->slots[rule->member]);
		value = r->request->slots[rule->member].value;
	}
	return value.kind != JSON_KIND_NONE &&
	       (value.kind == JSON_KIND_NULL || rule->read(r, rule, value));
}

/* What depends on more than one member. */
static bool
check_together(struct chat_request *request, struct api_error *error)
{
	enum json_kind options = request->slots[CHAT_STREAM_OPTIONS].value.kind;
	enum json_kind top = request->slots[CHAT_TOP_LOGPROBS].value.kind;

	if (request->slots[CHAT_MESSAGES].value.kind == JSON_KIND_NONE)
		return param_refuse_missing(error, "messages");
	if (options == JSON_KIND_OBJECT && !request->stream) {
		api_error_set(
		        error, 400, "stream_options", "invalid_value",
		        "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
		return false;
	}
	if (top == JSON_KIND_NUMBER && !request->logprobs) {
		api_error_set(
		        error, 400, "top_logprobs", "invalid_value",
		        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.");
		return false;
	}
	return true;
}

bool
chat_request_read(struct chat_request *request, struct bytes body, struct api_error *error)
{
	struct reader r = {.request = request, .error = error};
	bool is_object, fine = true;

	*request = (struct chat_request){.body = body, .n = 1, .temperature = 1};
	error->status = 0;
	json_scan_init(&r.scan, body);
	is_object = json_walk_enter(&r.walk, &r.scan, &request->object);
	while (is_object && fine && json_walk_next(&r.walk))
		fine = read_member(&r);
	if (error->status)
		return false;
	if (!json_scan_end(&r.scan) || !is_object)
		return param_refuse_body(error, &r.scan);
	return check_together(request, error);
}

/* The changes of one rewrite. */
struct writer {
	const struct chat_request *request;
	const struct chat_rewrite *rewrite;
	struct json_change changes[JSON_CHANGES_MAX];
	size_t count;
	struct buf model, options, messages; /* owned; texts of changes */
	char effort[24];
	char top_logprobs[24], max_tokens[24], max_completion_tokens[24];
	struct json_slot messages_end;
};

static void
change_add(struct writer *w, const char *key, enum chat_member member, struct bytes text)
{
	w->changes[w->count++] = (struct json_change){key, &w->request->slots[member], text};
}

/* Adds {"include_usage":true} to what the client has in stream_options, such as include_obfuscation. */
static void
write_stream_options(const struct chat_request *request, struct buf *out)
{
	const struct json_change change = {
	        .key = "include_usage",
	        .slot = &request->include_usage_slot,
	        .text = bytes_of("true"),
	};

	if (request->stream_options.open)
		json_splice(out, &request->stream_options, &change, 1);
	else
		buf_add_text(out, "{\"include_usage\":true}");
}

static void
change_to_draft(struct writer *w)
{
	const struct chat_request *request = w->request;
	const struct chat_rewrite *rewrite = w->rewrite;
	unsigned top = rewrite->top_logprobs > request->top_logprobs ? rewrite->top_logprobs
	                                                             : request->top_logprobs;

	snprintf(w->top_logprobs, sizeof(w->top_logprobs), "%u", top);
	change_add(w, "stream", CHAT_STREAM, bytes_of("true"));
	change_add(w, "logprobs", CHAT_LOGPROBS, bytes_of("true"));
	change_add(w, "top_logprobs", CHAT_TOP_LOGPROBS, bytes_of(w->top_logprobs));
	if (rewrite->stream_usage) {
		write_stream_options(request, &w->options);
		change_add(w, "stream_options", CHAT_STREAM_OPTIONS, buf_bytes(&w->options));
	} else if (!request->stream) {
		change_add(w, "stream_options", CHAT_STREAM_OPTIONS, (struct bytes){NULL, 0});
	}
}

/* What is sent of the partial answer; empty: nothing is to be gone on with. */
static struct bytes
partial_text(const struct chat_rewrite *rewrite)
{
	return rewrite->prefill == CHAT_PREFILL_ANTHROPIC ? overlap_trim(rewrite->partial)
	                                                  : rewrite->partial;
}

/* Adds messages behind the last one: a change of a value of no length there. */
static void
change_messages(struct writer *w, struct bytes partial)
{
	struct json_value messages = w->request->slots[CHAT_MESSAGES].value;
	const char *end = messages.p + messages.n - 1;
	struct buf *out = &w->messages;

	while (strchr(" \t\r\n", end[-1]))
		end--;
	w->messages_end = (struct json_slot){.value = {.p = end, .n = 0, .kind = JSON_KIND_OBJECT},
	                                     .begin = end};
	buf_add_text(out, ",{\"role\":\"assistant\",\"content\":");
	buf_add_json_string(out, partial);
	if (w->rewrite->prefill == CHAT_PREFILL_DEEPSEEK ||
	    w->rewrite->prefill == CHAT_PREFILL_MISTRAL)
		buf_add_text(out, ",\"prefix\":true");
	buf_add_text(out, "}");
	if (w->rewrite->prefill == CHAT_PREFILL_NONE)
		buf_add_text(out, ",{\"role\":\"user\",\"content\":\"" CHAT_INSTRUCTION "\"}");
	w->changes[w->count++] =
	        (struct json_change){.slot = &w->messages_end, .text = buf_bytes(out)};
}

/* Takes what was said already off a limit, if there is one. */
static void
change_limit(struct writer *w, enum chat_member member, char digits[24])
{
	struct json_value value = w->request->slots[member].value;
	uint64_t limit, used = w->rewrite->partial_tokens;

	if (used == 0 || value.kind != JSON_KIND_NUMBER || !json_to_u64(value, UINT64_MAX, &limit))
		return;
	snprintf(digits, 24, "%llu", (unsigned long long)(limit > used ? limit - used : 1));
	change_add(w, NULL, member, bytes_of(digits));
}

static void
change_to_continuation(struct writer *w)
{
	struct bytes partial = partial_text(w->rewrite);

	if (partial.n == 0)
		return;
	change_messages(w, partial);
	change_limit(w, CHAT_MAX_TOKENS, w->max_tokens);
	change_limit(w, CHAT_MAX_COMPLETION_TOKENS, w->max_completion_tokens);
	if (w->rewrite->prefill == CHAT_PREFILL_VLLM) {
		change_add(w, "add_generation_prompt", CHAT_ADD_GENERATION_PROMPT,
		           bytes_of("false"));
		change_add(w, "continue_final_message", CHAT_CONTINUE_FINAL_MESSAGE,
		           bytes_of("true"));
	}
}

/* The object with its changes, and the white space around it as it stands. */
static void
write_around(const struct chat_request *request, const struct json_change *changes, size_t n,
             struct rope *out)
{
	const char *begin = request->body.p, *end = request->object.close + 1;

	rope_add(out, (struct bytes){begin, (size_t)(request->object.open - begin)});
	json_splice_rope(out, &request->object, changes, n);
	rope_add(out, (struct bytes){end, (size_t)(begin + request->body.n - end)});
}

void
chat_request_write(const struct chat_request *request, const struct chat_rewrite *rewrite,
                   struct rope *out)
{
	struct writer w = {.request = request, .rewrite = rewrite};

	buf_add_json_string(&w.model, bytes_of(rewrite->model));
	change_add(&w, "model", CHAT_MODEL, buf_bytes(&w.model));
	if (rewrite->reasoning_effort) {
		snprintf(w.effort, sizeof(w.effort), "\"%s\"", rewrite->reasoning_effort);
		change_add(&w, "reasoning_effort", CHAT_REASONING_EFFORT, bytes_of(w.effort));
	}
	if (rewrite->draft)
		change_to_draft(&w);
	change_to_continuation(&w);
	for (enum chat_member m = CHAT_REQUEST_ID; m <= CHAT_FALLBACKS; m++)
		change_add(&w, NULL, m, (struct bytes){NULL, 0});
	if (w.model.failed || w.options.failed || w.messages.failed)
		out->own.failed = true;
	else
		write_around(request, w.changes, w.count, out);
	buf_fini(&w.model);
	buf_fini(&w.options);
	buf_fini(&w.messages);
}
