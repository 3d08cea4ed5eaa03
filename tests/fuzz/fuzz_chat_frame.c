/*
 * What is read of a frame does not depend on its white space (and so not on whether the quick or the strict
 * reader of candidates and of a choice's members saw it), and what is written of it is valid JSON that lacks
 * what the view leaves out and says the same in everything else. Written with a patch it differs in the patched
 * members only.
 *
 * Input: one byte for the view, then the payload.
 */
#include "wire/chat_frame.h"

#include <math.h>
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
double_same(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

/* The same value, character by character, but for white space between them. */
static bool
value_same(struct json_value a, struct json_value b)
{
	const char *p = a.p, *q = b.p, *p_end, *q_end;
	bool in_string = false;

	if (a.kind != b.kind)
		return false;
	if (a.kind == JSON_KIND_NONE)
		return true;
	p_end = p + a.n;
	q_end = q + b.n;
	for (;;) {
		while (!in_string && p < p_end && strchr(" \t\r\n", *p))
			p++;
		while (!in_string && q < q_end && strchr(" \t\r\n", *q))
			q++;
		if (p == p_end || q == q_end)
			return p == p_end && q == q_end;
		if (*p != *q)
			return false;
		if (in_string && *p == '\\') {
			p++;
			q++;
			if (*p != *q)
				return false;
		} else if (*p == '"') {
			in_string = !in_string;
		}
		p++;
		q++;
	}
}

static void
check_token_same(const struct chat_token *a, const struct chat_token *b)
{
	check(value_same(a->text, b->text), "token: text");
	check(double_same(a->logprob, b->logprob), "token: logprob");
	check(a->is_refusal == b->is_refusal, "token: refusal");
	check((a->top_begin != NULL) == (b->top_begin != NULL), "token: candidates");
}

static void
check_top_same(const struct chat_token *a, const struct chat_token *b)
{
	check(a->top_count == b->top_count && a->sampled == b->sampled, "token: top");
	for (size_t i = 0; i < a->top_count; i++)
		check(double_same(a->top[i], b->top[i]), "token: top logprob");
	check(value_same(a->entry, b->entry), "token: entry");
}

static void
check_choice_same(const struct chat_choice *a, const struct chat_choice *b)
{
	check(a->index == b->index && a->has_output == b->has_output, "choice");
	check(value_same(a->delta, b->delta) && value_same(a->role, b->role) &&
	              value_same(a->content, b->content) && value_same(a->refusal, b->refusal) &&
	              value_same(a->tool_calls, b->tool_calls) &&
	              value_same(a->function_call, b->function_call),
	      "choice: delta");
	check(value_same(a->finish_reason, b->finish_reason), "choice: finish_reason");
}

/* All but logprobs and usage. */
static void
check_frame_same(const struct chat_frame *a, const struct chat_frame *b)
{
	check(value_same(a->id, b->id) && value_same(a->created, b->created) &&
	              value_same(a->model, b->model) && value_same(a->error, b->error) &&
	              value_same(a->system_fingerprint, b->system_fingerprint) &&
	              value_same(a->service_tier, b->service_tier),
	      "frame");
	check(a->choice_count == b->choice_count, "frame: choices");
	for (size_t i = 0; i < a->choice_count; i++)
		check_choice_same(&a->choices[i], &b->choices[i]);
}

/* White space wherever it may stand. There is no NUL in a readable frame, which strchr() would find. */
static void
space_out(struct bytes text, struct buf *out)
{
	bool in_string = false;

	for (size_t i = 0; i < text.n; i++) {
		bool structural = !in_string && strchr("{}[],:", text.p[i]);

		if (structural)
			buf_add(out, "\n", 1);
		buf_add(out, &text.p[i], 1);
		if (structural)
			buf_add(out, "\n", 1);
		if (in_string && text.p[i] == '\\' && i + 1 < text.n)
			buf_add(out, &text.p[++i], 1);
		else if (text.p[i] == '"')
			in_string = !in_string;
	}
}

static void
check_spaced_same(const struct chat_frame *frame, const struct chat_frame *spaced)
{
	check_frame_same(frame, spaced);
	check(frame->token_count == spaced->token_count, "spaced out: tokens");
	for (size_t i = 0; i < frame->token_count; i++) {
		check_token_same(&frame->tokens[i], &spaced->tokens[i]);
		check_top_same(&frame->tokens[i], &spaced->tokens[i]);
	}
	check(value_same(frame->usage.value, spaced->usage.value), "spaced out: usage");
}

static void
check_spaced(const struct chat_frame *frame, bool is_readable)
{
	struct chat_frame spaced;
	struct buf text;

	buf_init(&text, 0);
	space_out(frame->text, &text);
	chat_frame_init(&spaced);
	check(chat_frame_read(&spaced, buf_bytes(&text)) == is_readable,
	      "spaced out: readable or not");
	if (is_readable)
		check_spaced_same(frame, &spaced);
	chat_frame_fini(&spaced);
	buf_fini(&text);
}

static void
check_written_tokens(const struct chat_frame *frame, const struct chat_frame *again,
                     const struct chat_frame_view *view)
{
	check(again->token_count == (view->logprobs ? frame->token_count : 0), "written: tokens");
	for (size_t i = 0; i < again->token_count; i++) {
		const struct chat_token *old = &frame->tokens[i], *new = &again->tokens[i];

		check_token_same(old, new);
		check(new->top_count <= view->top_logprobs, "written: too many candidates");
		check(new->top_count == old->top_count || new->top_count == view->top_logprobs,
		      "written: too few candidates");
		for (size_t k = 0; k < new->top_count; k++)
			check(double_same(old->top[k], new->top[k]), "written: candidate");
	}
}

static void
check_written(const struct chat_frame *frame, const struct chat_frame_view *view)
{
	struct chat_frame again;
	struct json_scan scan;
	struct buf out;
	bool readable;

	buf_init(&out, 0);
	chat_frame_write(frame, view, &out);
	json_scan_init(&scan, buf_bytes(&out));
	json_skip(&scan);
	check(json_scan_end(&scan), "written: not valid");
	chat_frame_init(&again);
	readable = chat_frame_read(&again, buf_bytes(&out));
	/* A usage frame without usage may be nothing at all. */
	check(readable || (!view->usage && chat_frame_is_usage(frame)), "written: unreadable");
	if (readable) {
		check_frame_same(frame, &again);
		check_written_tokens(frame, &again, view);
		check(view->usage ? value_same(frame->usage.value, again.usage.value)
		                  : again.usage.value.kind == JSON_KIND_NONE,
		      "written: usage");
		for (size_t i = 0; i < again.choice_count && !view->logprobs; i++)
			check(again.choices[i].logprobs.value.kind == JSON_KIND_NONE,
			      "written: logprobs");
	}
	chat_frame_fini(&again);
	buf_fini(&out);
}

/* `got` is the patch's value where the member was there, else what it was without the patch. */
static void
check_patched(struct json_value got, struct json_value before, struct bytes patch, const char *what)
{
	check(patch.p && before.kind != JSON_KIND_NONE ? bytes_equal(json_value_text(got), patch)
	                                               : value_same(got, before),
	      what);
}

/* A delta's members one by one. */
static void
check_delta(struct json_value plain, struct json_value patched,
            const struct chat_frame_patch *patch, bool first)
{
	struct json_member a, b;
	struct json_value v, w;
	struct json_scan s, t;

	check(plain.kind == patched.kind, "patched: delta");
	if (plain.kind == JSON_KIND_NONE)
		return;
	json_scan_init(&s, json_value_text(plain));
	json_scan_init(&t, json_value_text(patched));
	json_enter(&s, JSON_KIND_OBJECT);
	json_enter(&t, JSON_KIND_OBJECT);
	while (json_next_member(&s, &a) && json_take(&s, &v)) {
		if (patch->drop_role && json_key_is(a.key, "role"))
			continue;
		check(json_next_member(&t, &b) && json_take(&t, &w), "patched: a member less");
		check(bytes_equal(a.key, b.key), "patched: other member");
		if (first && json_key_is(a.key, "content"))
			check_patched(w, v, patch->content, "patched: content");
		else
			check(value_same(v, w), "patched: other value");
	}
	check(!json_next_member(&t, &b) && json_scan_end(&t), "patched: a member more");
}

static void
check_patch(const struct chat_frame *frame, const struct chat_frame_view *view,
            const struct chat_frame_patch *patch)
{
	struct chat_frame plain, patched;
	struct buf plain_text, patched_text;

	buf_init(&plain_text, 0);
	buf_init(&patched_text, 0);
	chat_frame_init(&plain);
	chat_frame_init(&patched);
	chat_frame_write(frame, view, &plain_text);
	chat_frame_write_patched(frame, view, patch, &patched_text);
	check(chat_frame_read(&plain, buf_bytes(&plain_text)) ==
	              chat_frame_read(&patched, buf_bytes(&patched_text)),
	      "patched: unreadable");
	check_patched(patched.id, plain.id, patch->id, "patched: id");
	check_patched(patched.created, plain.created, patch->created, "patched: created");
	check(value_same(patched.usage.value, plain.usage.value) &&
	              value_same(patched.model, plain.model) &&
	              value_same(patched.error, plain.error) &&
	              patched.choice_count == plain.choice_count,
	      "patched: frame");
	check(patched.token_count == plain.token_count, "patched: tokens");
	for (size_t i = 0; i < plain.token_count; i++)
		check(value_same(patched.tokens[i].entry, plain.tokens[i].entry), "patched: token");
	for (size_t i = 0; i < plain.choice_count; i++) {
		const struct chat_choice *a = &plain.choices[i], *b = &patched.choices[i];

		check_delta(a->delta, b->delta, patch, i == 0);
		check(a->index == b->index && value_same(a->finish_reason, b->finish_reason),
		      "patched: choice");
	}
	chat_frame_fini(&plain);
	chat_frame_fini(&patched);
	buf_fini(&plain_text);
	buf_fini(&patched_text);
}

/* With every member patched, and with each alone. */
static void
check_patches(const struct chat_frame *frame, const struct chat_frame_view *view)
{
	const struct chat_frame_patch patches[] = {
	        {bytes_of("\"id\""), bytes_of("12345"), bytes_of("\"other\""), true},
	        {.id = bytes_of("\"\"")},
	        {.created = bytes_of("0")},
	        {.content = bytes_of("\"longer than what was there\"")},
	        {.drop_role = true},
	};

	for (size_t i = 0;
	     frame->error.kind == JSON_KIND_NONE && i < sizeof(patches) / sizeof(patches[0]); i++)
		check_patch(frame, view, &patches[i]);
}

/* Behind another frame that begins alike it is read as by itself: behind the same one, and behind each end cut off and
 * each last byte changed. */
static void
check_after_another(const struct chat_frame *alone)
{
	struct bytes text = alone->text;
	size_t most = text.n < 64 ? text.n : 64;
	char *other = mem_new(text.n + 1);
	struct chat_frame frame;

	chat_frame_init(&frame);
	for (size_t i = 0; i <= most; i++) {
		memcpy(other, text.p, text.n);
		other[text.n - i] ^= i > 0;
		chat_frame_read(&frame, (struct bytes){other, text.n - i / 2});
		check(chat_frame_read(&frame, text), "readable behind another");
		check_frame_same(alone, &frame);
		check(frame.token_count == alone->token_count &&
		              frame.span.open == alone->span.open &&
		              frame.span.last == alone->span.last &&
		              frame.span.close == alone->span.close &&
		              frame.usage.begin == alone->usage.begin &&
		              frame.usage.before == alone->usage.before &&
		              frame.usage.after == alone->usage.after,
		      "the same places behind another");
	}
	chat_frame_fini(&frame);
	free(other);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	struct chat_frame_view view;
	struct chat_frame frame;
	char *payload;
	bool is_readable;

	if (n < 1)
		return 0;
	view = (struct chat_frame_view){input[0] & 1, input[0] >> 2 & 31, input[0] & 2};
	payload = mem_new(n - 1);
	memcpy(payload, input + 1, n - 1);
	chat_frame_init(&frame);
	is_readable = chat_frame_read(&frame, (struct bytes){payload, n - 1});
	check_spaced(&frame, is_readable);
	if (is_readable) {
		check_after_another(&frame);
		check_written(&frame, &view);
		check_patches(&frame, &view);
	}
	chat_frame_fini(&frame);
	free(payload);
	return 0;
}
