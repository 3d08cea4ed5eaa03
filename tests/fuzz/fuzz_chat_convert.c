/*
 * Whatever whole answer can be read can be told in frames: each is readable, and says what its choice
 * said, tokens included; the usage frame counts the same.
 */
#include "wire/chat_convert.h"

#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static bool
value_same(struct json_value a, struct json_value b)
{
	return a.kind == b.kind && bytes_equal(json_value_text(a), json_value_text(b));
}

static void
check_choice(const struct chat_frame *whole, size_t at, const struct chat_frame *part)
{
	const struct chat_choice *a = &whole->choices[at], *b = &part->choices[0];

	check(part->choice_count == 1 && part->usage.value.kind == JSON_KIND_NONE, "members");
	check(value_same(whole->id, part->id) && value_same(whole->created, part->created) &&
	              value_same(whole->model, part->model) &&
	              value_same(whole->system_fingerprint, part->system_fingerprint) &&
	              value_same(whole->service_tier, part->service_tier),
	      "head");
	check(a->has_output == b->has_output && value_same(a->role, b->role) &&
	              value_same(a->content, b->content) && value_same(a->refusal, b->refusal) &&
	              value_same(a->function_call, b->function_call) &&
	              a->tool_calls.kind == b->tool_calls.kind,
	      "delta");
	check((a->finish_reason.kind == JSON_KIND_STRING) ==
	              (b->finish_reason.kind == JSON_KIND_STRING),
	      "finish_reason");
	check(a->token_count == b->token_count, "tokens");
	for (size_t i = 0; i < a->token_count; i++)
		check(value_same(whole->tokens[a->token_first + i].entry, part->tokens[i].entry),
		      "token");
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	struct chat_frame whole, part;
	struct buf begin, out;
	char *payload = mem_new(n);

	memcpy(payload, input, n);
	chat_frame_init(&whole);
	chat_frame_init(&part);
	buf_init(&begin, 0);
	buf_init(&out, 0);
	if (chat_frame_read(&whole, (struct bytes){payload, n}) &&
	    whole.error.kind == JSON_KIND_NONE) {
		chat_convert_begin(&whole, &begin);
		for (size_t i = 0; i < whole.choice_count; i++) {
			buf_reset(&out);
			chat_convert_choice(&whole, i, buf_bytes(&begin), &out);
			check(chat_frame_read(&part, buf_bytes(&out)), "unreadable");
			check_choice(&whole, i, &part);
		}
		buf_reset(&out);
		chat_convert_usage(&whole, buf_bytes(&begin), &out);
		check((out.n > 0) == whole.usage_counts.known, "usage");
		if (out.n > 0) {
			check(chat_frame_read(&part, buf_bytes(&out)), "usage: unreadable");
			check(chat_frame_is_usage(&part) &&
			              value_same(whole.usage.value, part.usage.value),
			      "usage: another");
		}
	}
	buf_fini(&out);
	buf_fini(&begin);
	chat_frame_fini(&part);
	chat_frame_fini(&whole);
	free(payload);
	return 0;
}
