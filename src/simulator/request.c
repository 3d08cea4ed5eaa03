#include "simulator/request.h"

#include "simulator/body.h"
#include "simulator/speech.h"
#include "wire/chat_request.h"

enum {
	TOKENS_PER_MESSAGE = 4, /* what surrounds a message in OpenAI's chat format */
	TOKENS_OF_REPLY = 3,    /* what begins the answer in it */
	TOKENS_PER_PART = 85, /* a content part that is not text: OpenAI's price of a small image */
};

void
sim_request_init(struct sim_request *r)
{
	*r = (struct sim_request){0};
}

void
sim_request_fini(struct sim_request *r)
{
	buf_fini(&r->model);
	buf_fini(&r->prompt);
	buf_fini(&r->partial);
	buf_fini(&r->scratch);
	for (size_t i = 0; i < SIM_STOPS_MAX; i++)
		buf_fini(&r->stops[i]);
}

static void
request_reset(struct sim_request *r)
{
	buf_reset(&r->model);
	buf_reset(&r->prompt);
	buf_reset(&r->partial);
	r->stop_count = 0;
	r->tools = (struct json_value){0};
	r->seed = 0;
	r->max_tokens = UINT64_MAX;
	r->prompt_tokens = TOKENS_OF_REPLY;
	r->n = 1;
	r->top_logprobs = 0;
	r->stream = r->include_usage = r->logprobs = r->prefix = false;
}

/* Adds the text of one message's content to the scratch buffer, and what it is worth to the usage. */
static bool
read_content(struct sim_request *r, struct json_value content, struct api_error *error)
{
	struct json_scan scan;

	buf_reset(&r->scratch);
	if (content.kind == JSON_KIND_STRING) {
		json_string_decode(content, &r->scratch);
	} else if (content.kind == JSON_KIND_ARRAY) {
		json_scan_init(&scan, json_value_text(content));
		json_enter(&scan, JSON_KIND_ARRAY);
		while (json_next_element(&scan)) {
			struct json_value text = {0}, value;
			struct json_member member;

			if (!json_enter(&scan, JSON_KIND_OBJECT))
				return sim_body_wrong(error, "messages",
				                      "content parts that are objects");
			while (json_next_member(&scan, &member)) {
				json_take(&scan, &value);
				if (json_key_is(member.key, "text"))
					text = value;
			}
			if (text.kind != JSON_KIND_STRING) {
				r->prompt_tokens += TOKENS_PER_PART;
				continue;
			}
			if (r->scratch.n > 0)
				buf_add(&r->scratch, "\n", 1);
			json_string_decode(text, &r->scratch);
		}
	} else if (!sim_body_is_absent(content)) {
		return sim_body_wrong(error, "messages",
		                      "content that is a string or an array of parts");
	}
	r->prompt_tokens += sim_speech_count(buf_bytes(&r->scratch));
	return true;
}

/* Does the gateway ask with it for the rest of the answer before it? */
static bool
is_instruction(struct bytes text)
{
	static const size_t n = sizeof(CHAT_INSTRUCTION) - 1;

	return text.n >= n && memcmp(text.p, CHAT_INSTRUCTION, n) == 0;
}

static void
swap_scratch(struct sim_request *r, struct buf *text)
{
	struct buf older = *text;

	*text = r->scratch;
	r->scratch = older;
}

/* Keeps the text of a message, which stands in the scratch buffer, if the answer depends on it. */
static void
keep_message(struct sim_request *r, struct json_value role, bool prefix)
{
	bool is_user = json_string_is(role, "user");

	if (json_string_is(role, "assistant")) {
		swap_scratch(r, &r->partial);
		r->prefix = prefix;
		return;
	}
	if (is_user && r->partial.n > 0 && is_instruction(buf_bytes(&r->scratch)))
		return;
	buf_reset(&r->partial);
	r->prefix = false;
	if (is_user)
		swap_scratch(r, &r->prompt);
}

/* Reads one message, the scan standing before its object. */
static bool
read_message(struct sim_request *r, struct json_scan *scan, struct api_error *error)
{
	struct json_value role = {0}, content = {0}, calls = {0}, prefix = {0}, value;
	struct json_member member;

	if (!json_enter(scan, JSON_KIND_OBJECT))
		return sim_body_wrong(error, "messages", "an array of objects");
	while (json_next_member(scan, &member)) {
		json_take(scan, &value);
		if (json_key_is(member.key, "role"))
			role = value;
		else if (json_key_is(member.key, "content"))
			content = value;
		else if (json_key_is(member.key, "tool_calls"))
			calls = value;
		else if (json_key_is(member.key, "prefix"))
			prefix = value;
	}
	if (role.kind != JSON_KIND_STRING)
		return sim_body_wrong(error, "messages", "a role in each message");
	if (!read_content(r, content, error))
		return false;
	r->prompt_tokens += TOKENS_PER_MESSAGE + sim_speech_count(json_value_text(calls));
	keep_message(r, role, prefix.kind == JSON_KIND_TRUE);
	return true;
}

static bool
read_messages(struct sim_request *r, struct json_value messages, struct api_error *error)
{
	struct json_scan scan;
	bool any = false;

	if (messages.kind != JSON_KIND_ARRAY)
		return sim_body_wrong(error, "messages", "an array of messages");
	json_scan_init(&scan, json_value_text(messages));
	json_enter(&scan, JSON_KIND_ARRAY);
	while (json_next_element(&scan)) {
		if (!read_message(r, &scan, error))
			return false;
		any = true;
	}
	return any || sim_body_wrong(error, "messages", "at least one message");
}

static bool
add_stop(struct sim_request *r, struct json_value value)
{
	if (value.kind != JSON_KIND_STRING || r->stop_count == SIM_STOPS_MAX)
		return false;
	buf_reset(&r->stops[r->stop_count]);
	json_string_decode(value, &r->stops[r->stop_count++]);
	return true;
}

static bool
read_stop(struct sim_request *r, struct json_value stop, struct api_error *error)
{
	struct json_scan scan;
	struct json_value value;
	bool good = true;

	if (sim_body_is_absent(stop))
		return true;
	if (stop.kind == JSON_KIND_ARRAY) {
		json_scan_init(&scan, json_value_text(stop));
		json_enter(&scan, JSON_KIND_ARRAY);
		while (json_next_element(&scan)) {
			json_take(&scan, &value);
			good = good && add_stop(r, value);
		}
	} else {
		good = add_stop(r, stop);
	}
	return good || sim_body_wrong(error, "stop", "a string or up to 4 of them");
}

static bool
read_stream_options(struct sim_request *r, struct json_value options, struct api_error *error)
{
	struct json_value include = {0}, value;
	struct json_member member;
	struct json_scan scan;

	if (sim_body_is_absent(options))
		return true;
	if (!r->stream)
		return sim_body_wrong(error, "stream_options", "it only where stream is true");
	json_scan_init(&scan, json_value_text(options));
	if (!json_enter(&scan, JSON_KIND_OBJECT))
		return sim_body_wrong(error, "stream_options", "an object");
	while (json_next_member(&scan, &member)) {
		json_take(&scan, &value);
		if (json_key_is(member.key, "include_usage"))
			include = value;
	}
	return sim_body_bool(include, "stream_options.include_usage", &r->include_usage, error);
}

enum member {
	MODEL,
	MESSAGES,
	STREAM,
	STREAM_OPTIONS,
	LOGPROBS,
	TOP_LOGPROBS,
	N,
	MAX_TOKENS,
	MAX_COMPLETION_TOKENS,
	STOP,
	SEED,
	TOOLS,
	MEMBERS,
};

static const char *const member_names[MEMBERS] = {
        [MODEL] = "model",
        [MESSAGES] = "messages",
        [STREAM] = "stream",
        [STREAM_OPTIONS] = "stream_options",
        [LOGPROBS] = "logprobs",
        [TOP_LOGPROBS] = "top_logprobs",
        [N] = "n",
        [MAX_TOKENS] = "max_tokens",
        [MAX_COMPLETION_TOKENS] = "max_completion_tokens",
        [STOP] = "stop",
        [SEED] = "seed",
        [TOOLS] = "tools",
};

static bool
read_numbers(struct sim_request *r, const struct json_value *values, struct api_error *error)
{
	uint64_t n = 1, top = 0;

	if (!sim_body_count(values[N], "n", 1, SIM_CHOICES_MAX, &n, error) ||
	    !sim_body_count(values[TOP_LOGPROBS], "top_logprobs", 0, 20, &top, error) ||
	    !sim_body_count(values[MAX_TOKENS], "max_tokens", 1, INT64_MAX, &r->max_tokens,
	                    error) ||
	    !sim_body_count(values[MAX_COMPLETION_TOKENS], "max_completion_tokens", 1, INT64_MAX,
	                    &r->max_tokens, error))
		return false;
	r->n = (unsigned)n;
	r->top_logprobs = (unsigned)top;
	if (!sim_body_is_absent(values[TOP_LOGPROBS]) && !r->logprobs)
		return sim_body_wrong(error, "top_logprobs", "it only where logprobs is true");
	if (!sim_body_is_absent(values[SEED]) && values[SEED].kind != JSON_KIND_NUMBER)
		return sim_body_wrong(error, "seed", "an integer");
	/* A negative seed, or a huge one, is as good as any: only its digits count. */
	for (size_t i = 0; i < values[SEED].n && values[SEED].kind == JSON_KIND_NUMBER; i++)
		r->seed = r->seed * 31 + (unsigned char)values[SEED].p[i];
	return true;
}

static bool
has_elements(struct json_value array)
{
	struct json_scan scan;

	json_scan_init(&scan, json_value_text(array));
	return json_enter(&scan, JSON_KIND_ARRAY) && json_next_element(&scan);
}

static bool
stops_failed(const struct sim_request *r)
{
	for (size_t i = 0; i < r->stop_count; i++) {
		if (r->stops[i].failed)
			return true;
	}
	return false;
}

bool
sim_request_read(struct sim_request *r, struct bytes body, struct api_error *error)
{
	struct json_value values[MEMBERS] = {0};

	request_reset(r);
	if (!sim_body_take(body, member_names, MEMBERS, values, error) ||
	    !sim_body_model(values[MODEL], &r->model, error) ||
	    !read_messages(r, values[MESSAGES], error) ||
	    !sim_body_bool(values[STREAM], "stream", &r->stream, error) ||
	    !read_stream_options(r, values[STREAM_OPTIONS], error) ||
	    !sim_body_bool(values[LOGPROBS], "logprobs", &r->logprobs, error) ||
	    !read_numbers(r, values, error) || !read_stop(r, values[STOP], error))
		return false;
	if (!sim_body_is_absent(values[TOOLS]) && values[TOOLS].kind != JSON_KIND_ARRAY)
		return sim_body_wrong(error, "tools", "an array");
	if (values[TOOLS].kind == JSON_KIND_ARRAY && has_elements(values[TOOLS]))
		r->tools = values[TOOLS];
	if (r->model.failed || r->prompt.failed || r->partial.failed || r->scratch.failed ||
	    stops_failed(r)) {
		api_error_set(error, 500, NULL, NULL, "There is no memory for this request.");
		return false;
	}
	return true;
}
