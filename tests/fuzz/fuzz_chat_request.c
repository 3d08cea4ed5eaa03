/*
 * Whatever body is accepted is rewritten for every sort of call, and the outcome must be a valid request
 * again that holds the members the gateway sets exactly once, none of those it keeps for itself, and all
 * others byte for byte in their order. A partial answer adds messages behind the client's.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/rope_text.h"
#include "wire/chat_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
require(bool holds)
{
	if (!holds)
		abort();
}

static const char *const removed[] = {"request_id", "project_id", "fallbacks", NULL};
static const char *const set_always[] = {"model", NULL};
static const char *const set_for_draft[] = {"model",        "stream",         "logprobs",
                                            "top_logprobs", "stream_options", NULL};

static int
index_of(const char *const *names, struct bytes key)
{
	for (int i = 0; names[i]; i++) {
		if (json_key_is(key, names[i]))
			return i;
	}
	return -1;
}

/* Moves to the next member that is neither set nor removed; counts those that are. */
static bool
next_kept(struct json_scan *s, const char *const *set, unsigned *counts, unsigned *removed_count,
          struct json_member *member, struct json_value *value)
{
	while (json_next_member(s, member)) {
		int i = index_of(set, member->key);

		require(json_take(s, value));
		if (i >= 0)
			counts[i]++;
		else if (index_of(removed, member->key) >= 0)
			++*removed_count;
		else
			return true;
	}
	return false;
}

static void
check_members(struct bytes before, struct bytes after, const char *const *set, bool has_options)
{
	unsigned counts_before[8] = {0}, counts[8] = {0}, removed_before = 0, removed_after = 0;
	struct json_scan a, b;

	json_scan_init(&a, before);
	json_scan_init(&b, after);
	require(json_enter(&a, JSON_KIND_OBJECT) && json_enter(&b, JSON_KIND_OBJECT));
	for (;;) {
		struct json_member x, y;
		struct json_value v, w;
		bool more = next_kept(&a, set, counts_before, &removed_before, &x, &v);

		require(next_kept(&b, set, counts, &removed_after, &y, &w) == more);
		if (!more)
			break;
		require(bytes_equal(x.key, y.key));
		require(bytes_equal(json_value_text(v), json_value_text(w)));
	}
	require(json_scan_end(&a) && json_scan_end(&b) && removed_after == 0);
	for (unsigned i = 0; set[i]; i++) {
		bool is_options = strcmp(set[i], "stream_options") == 0;

		require(counts[i] == (!is_options || has_options));
	}
}

static void
check_draft(const struct chat_request *before, const struct chat_request *after,
            const struct chat_rewrite *rewrite)
{
	struct json_value options = before->slots[CHAT_STREAM_OPTIONS].value;
	struct json_value new_options = after->slots[CHAT_STREAM_OPTIONS].value;
	unsigned top = rewrite->top_logprobs;

	require(after->stream && after->logprobs);
	require(after->top_logprobs == (top > before->top_logprobs ? top : before->top_logprobs));
	if (rewrite->stream_usage)
		require(after->include_usage);
	else if (before->stream)
		require(bytes_equal(json_value_text(options), json_value_text(new_options)));
	else
		require(new_options.kind == JSON_KIND_NONE);
}

/* Borrowed as far as it goes. */
static struct buf
written(const struct chat_request *request, const struct chat_rewrite *rewrite)
{
	struct rope rope;

	rope_init(&rope, 3);
	chat_request_write(request, rewrite, &rope);
	return rope_text(&rope, 1000);
}

static void
check_rewrite(struct bytes body, const struct chat_request *request,
              const struct chat_rewrite *rewrite)
{
	struct chat_request again;
	struct api_error error;
	struct buf out, twice;

	out = written(request, rewrite);
	require(!out.failed && chat_request_read(&again, buf_bytes(&out), &error));
	require(strcmp(again.model, rewrite->model) == 0);
	require(!*again.request_id && !*again.project_id && again.n == request->n);
	require(again.message_count == request->message_count);
	require(bytes_equal(json_value_text(again.slots[CHAT_MESSAGES].value),
	                    json_value_text(request->slots[CHAT_MESSAGES].value)));
	if (rewrite->draft)
		check_draft(request, &again, rewrite);
	check_members(body, buf_bytes(&out), rewrite->draft ? set_for_draft : set_always,
	              again.slots[CHAT_STREAM_OPTIONS].value.kind != JSON_KIND_NONE);
	twice = written(&again, rewrite);
	require(bytes_equal(buf_bytes(&out), buf_bytes(&twice)));
	buf_fini(&out);
	buf_fini(&twice);
}

/* Only messages, limits and, for vLLM, two more members differ from the rewrite without a partial answer. */
static void
check_continuation(struct bytes plain, const struct chat_request *before, enum chat_prefill prefill)
{
	static const char *const set[] = {"messages", "max_tokens", "max_completion_tokens", NULL};
	static const char *const set_for_vllm[] = {"messages",
	                                           "max_tokens",
	                                           "max_completion_tokens",
	                                           "add_generation_prompt",
	                                           "continue_final_message",
	                                           NULL};
	const struct chat_rewrite rewrite = {
	        .model = "up/st\"ream",
	        .prefill = prefill,
	        .partial = bytes_of("a \"b\"\n"),
	        .partial_tokens = 5,
	};
	struct json_value old = before->slots[CHAT_MESSAGES].value, new;
	struct chat_request again;
	struct api_error error;
	unsigned counts_before[8] = {0}, counts[8] = {0}, removed_count = 0;
	struct buf out;
	struct json_scan a, b;
	struct json_member x, y;
	struct json_value v, w;
	const char *const *names = prefill == CHAT_PREFILL_VLLM ? set_for_vllm : set;

	out = written(before, &rewrite);
	require(!out.failed && chat_request_read(&again, buf_bytes(&out), &error));
	require(again.message_count ==
	        before->message_count + (prefill == CHAT_PREFILL_NONE ? 2 : 1));
	new = again.slots[CHAT_MESSAGES].value;
	/* The client's part ends with white space and the bracket. */
	for (old.n--; strchr(" \t\r\n", old.p[old.n - 1]); old.n--)
		;
	require(new.n > old.n &&memcmp(new.p, old.p, old.n) == 0 && new.p[old.n] == ',');
	json_scan_init(&a, plain);
	json_scan_init(&b, buf_bytes(&out));
	require(json_enter(&a, JSON_KIND_OBJECT) && json_enter(&b, JSON_KIND_OBJECT));
	while (next_kept(&a, names, counts_before, &removed_count, &x, &v)) {
		require(next_kept(&b, names, counts, &removed_count, &y, &w));
		require(bytes_equal(x.key, y.key));
		require(bytes_equal(json_value_text(v), json_value_text(w)));
	}
	require(!next_kept(&b, names, counts, &removed_count, &y, &w));
	require(json_scan_end(&a) && json_scan_end(&b) && removed_count == 0);
	for (unsigned i = 0; i < 3; i++)
		require(counts[i] == counts_before[i]);
	require(prefill != CHAT_PREFILL_VLLM || (counts[3] == 1 && counts[4] == 1));
	buf_fini(&out);
}

static void
check_continuations(const struct chat_request *request)
{
	const struct chat_rewrite rewrite = {.model = "up/st\"ream"};
	struct chat_request before;
	struct api_error error;
	struct buf plain;

	plain = written(request, &rewrite);
	require(chat_request_read(&before, buf_bytes(&plain), &error));
	for (enum chat_prefill p = CHAT_PREFILL_NONE; p <= CHAT_PREFILL_ANTHROPIC; p++)
		check_continuation(buf_bytes(&plain), &before, p);
	buf_fini(&plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct chat_rewrite rewrites[] = {
	        {.model = "up/st\"ream"},
	        {.model = "m", .draft = true, .top_logprobs = 5},
	        {.model = "", .draft = true, .top_logprobs = 20, .stream_usage = true},
	};
	struct bytes body = {(const char *)data, n};
	struct chat_request request;
	struct api_error error;

	if (!chat_request_read(&request, body, &error)) {
		struct buf document;
		struct json_scan s;

		require(error.status == 400);
		buf_init(&document, 0);
		api_error_write(&error, &document);
		json_scan_init(&s, buf_bytes(&document));
		require(!document.failed && json_scan_end(&s));
		buf_fini(&document);
		return 0;
	}
	require(error.status == 0 && request.message_count > 0);
	for (size_t i = 0; i < sizeof(rewrites) / sizeof(rewrites[0]); i++)
		check_rewrite(body, &request, &rewrites[i]);
	check_continuations(&request);
	return 0;
}
