#include "completion_fixture.h"

#include <math.h>

#include "score/token.h"

/* Checks one token's entry against itself and against the entropy it should have. */
static void
check_token(const struct chat_token *token, unsigned top, double wanted)
{
	double sum = 0, bits;
	struct buf text = {0}, bytes = {0};

	ck_assert_uint_eq(token->top_count, top);
	for (unsigned i = 0; i < top; i++)
		sum += exp(token->top[i]);
	if (token->sampled < 0)
		sum += exp(token->logprob);
	else
		ck_assert_double_eq(token->top[token->sampled], token->logprob);
	ck_assert_double_le(sum, 1);
	bits = token_entropy(token->top, top, token->sampled < 0 ? token->logprob : NAN,
	                     ENTROPY_TAIL_BOUND);
	ck_assert_double_eq_tol(bits, wanted, 2e-3);

	json_string_decode(token->text, &text);
	buf_add_text(&bytes, "\"bytes\":[");
	for (size_t i = 0; i < text.n; i++)
		buf_add_format(&bytes, i ? ",%d" : "%d", (unsigned char)text.p[i]);
	buf_add_text(&bytes, "],\"top_logprobs\":[");
	ck_assert_ptr_nonnull(memmem(token->entry.p, token->entry.n, bytes.p, bytes.n));
	buf_fini(&text);
	buf_fini(&bytes);
}

/* No token stands twice among the candidates. */
static void
check_distinct(const struct chat_token *token)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value seen[CHAT_TOP_LOGPROBS_MAX], value;
	size_t count = 0;

	json_scan_init(&scan, (struct bytes){token->top_begin,
	                                     (size_t)(token->top_close + 1 - token->top_begin)});
	ck_assert(json_enter(&scan, JSON_KIND_ARRAY));
	while (json_next_element(&scan)) {
		ck_assert(json_enter(&scan, JSON_KIND_OBJECT));
		while (json_next_member(&scan, &member)) {
			json_take(&scan, &value);
			if (json_key_is(member.key, "token"))
				seen[count] = value;
		}
		for (size_t i = 0; i < count; i++)
			ck_assert(!bytes_equal(json_value_text(seen[i]),
			                       json_value_text(seen[count])));
		count++;
	}
	ck_assert(json_scan_end(&scan));
}

START_TEST(test_logprobs_have_the_entropy_that_was_asked_for)
{
	struct chat_frame frame;
	struct answer a;
	size_t tokens = 0;

	answer_stream(&a,
	              "Grüße an the café \xf0\x9f\x99\x82 \"quoted\" [[tokens=60]]"
	              "[[entropy@1+=0.25]][[entropy@7=1.5]][[entropy@20+=0]]",
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":20");
	chat_frame_init(&frame);
	for (size_t i = 0; i + 1 < a.count; i++) {
		ck_assert(chat_frame_read(&frame, a.frames[i]));
		ck_assert_uint_eq(frame.choice_count, 1);
		ck_assert_uint_eq(frame.token_count, i > 0 && i + 2 < a.count);
		if (frame.token_count == 0)
			continue;
		tokens++;
		check_token(&frame.tokens[0], 20, tokens == 7 ? 1.5 : tokens >= 20 ? 0 : 0.25);
		check_distinct(&frame.tokens[0]);
		ck_assert(bytes_equal(json_value_text(frame.tokens[0].text),
		                      json_value_text(frame.choices[0].content)));
	}
	ck_assert_uint_eq(tokens, 60);
	chat_frame_fini(&frame);
	answer_end(&a);
}
END_TEST

START_TEST(test_the_mean_entropy_is_the_wanted_mean)
{
	struct chat_frame frame;
	struct answer a;
	double sum = 0, most = 0;

	answer_stream(&a, "x[[entropy=0.6,tokens=400]]",
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":20");
	chat_frame_init(&frame);
	for (size_t i = 1; i + 2 < a.count; i++) {
		const struct chat_token *token;
		double bits;

		ck_assert(chat_frame_read(&frame, a.frames[i]));
		token = &frame.tokens[0];
		bits = token_entropy(token->top, 20, token->sampled < 0 ? token->logprob : NAN,
		                     ENTROPY_TAIL_BOUND);
		sum += bits;
		most = fmax(most, bits);
	}
	ck_assert_double_eq_tol(sum / 400, 0.6, 0.03);
	ck_assert_double_le(most, 0.9);
	chat_frame_fini(&frame);
	answer_end(&a);
}
END_TEST

START_TEST(test_a_token_far_down_is_not_among_the_candidates)
{
	struct chat_frame frame;
	struct answer a;
	unsigned outside = 0, inside = 0;

	answer_stream(&a, "x[[entropy@1+=6,tokens=400]]",
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":5");
	chat_frame_init(&frame);
	for (size_t i = 1; i + 2 < a.count; i++) {
		const struct chat_token *token;

		ck_assert(chat_frame_read(&frame, a.frames[i]));
		token = &frame.tokens[0];
		check_distinct(token);
		if (token->sampled >= 0) {
			inside++;
			continue;
		}
		outside++;
		ck_assert_double_lt(token->logprob, token->top[4]);
	}
	ck_assert_uint_gt(inside, 40);
	ck_assert_uint_gt(outside, 200);
	chat_frame_fini(&frame);
	answer_end(&a);
}
END_TEST

START_TEST(test_logprobs_are_left_out_when_told_or_not_asked)
{
	struct chat_frame frame;
	struct answer a;

	chat_frame_init(&frame);
	answer_stream(&a, "x[[no-logprobs]]", ",\"logprobs\":true,\"top_logprobs\":5");
	ck_assert(chat_frame_read(&frame, a.frames[1]));
	ck_assert(!frame.choices[0].has_logprobs);
	answer_end(&a);
	answer_stream(&a, "x", ",\"logprobs\":true");
	ck_assert(chat_frame_read(&frame, a.frames[1]));
	ck_assert_uint_eq(frame.token_count, 1);
	ck_assert_uint_eq(frame.tokens[0].top_count, 0);
	answer_end(&a);
	chat_frame_fini(&frame);
}
END_TEST

UNIT_MAIN("completion_logprobs", test_logprobs_have_the_entropy_that_was_asked_for,
          test_the_mean_entropy_is_the_wanted_mean,
          test_a_token_far_down_is_not_among_the_candidates,
          test_logprobs_are_left_out_when_told_or_not_asked)
