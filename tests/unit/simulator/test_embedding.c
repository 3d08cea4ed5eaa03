#include "simulator/embedding.h"

#include <math.h>

#include "unit.h"

static double
likeness(const char *a, const char *b, unsigned dimensions)
{
	float x[SIM_DIMENSIONS_MAX], y[SIM_DIMENSIONS_MAX];
	double sum = 0;

	sim_embedding_vector(bytes_of(a), x, dimensions);
	sim_embedding_vector(bytes_of(b), y, dimensions);
	for (unsigned i = 0; i < dimensions; i++)
		sum += (double)x[i] * (double)y[i];
	return sum;
}

START_TEST(test_vectors_have_length_one)
{
	static const char *const texts[] = {
	        "hello", "", "!!!", "the", "The quick brown fox", "日本語", "a\nb\nc", "1 2 3"};
	static const unsigned dimensions[] = {1, 2, 3, 8, 256, 1536, 4096};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		for (size_t k = 0; k < sizeof(dimensions) / sizeof(dimensions[0]); k++)
			ck_assert_double_eq_tol(likeness(texts[i], texts[i], dimensions[k]), 1,
			                        1e-6);
	}
}
END_TEST

START_TEST(test_similar_texts_are_near_and_others_far)
{
	const char *question = "What is the capital of France?";

	ck_assert_double_eq_tol(likeness(question, "what is the CAPITAL of france", 1536), 1, 1e-6);
	ck_assert_double_gt(likeness(question, "What's the capital of France?", 1536), 0.95);
	ck_assert_double_gt(likeness(question, "Tell me the capital of France", 1536), 0.6);
	ck_assert_double_lt(likeness(question, "What is the capital of Norway?", 1536), 0.75);
	ck_assert_double_lt(likeness(question, "How do I boil an egg?", 1536), 0.2);
	ck_assert_double_lt(likeness("347 + 892", "347 + 893", 1536), 0.95);
	ck_assert_double_lt(fabs(likeness("?", "!", 1536)), 0.5);
}
END_TEST

START_TEST(test_inputs_may_be_texts_or_tokens_one_or_many)
{
	static const struct {
		const char *input;
		size_t count;
		uint64_t tokens;
	} rows[] = {
	        {"\"hello world\"", 1, 2}, {"[\"a\",\"b c\"]", 2, 3}, {"[1,2,3]", 1, 3},
	        {"[[1,2],[3]]", 2, 3},     {"[\"a\",[1,2]]", 2, 3},
	};
	struct sim_embedding_request r;
	struct api_error error;

	sim_embedding_request_init(&r);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf body = {0};

		buf_add_format(&body, "{\"model\":\"m\",\"input\":%s}", rows[i].input);
		ck_assert_msg(sim_embedding_request_read(&r, buf_bytes(&body), &error), "%s",
		              rows[i].input);
		ck_assert_uint_eq(r.count, rows[i].count);
		ck_assert_uint_eq(r.prompt_tokens, rows[i].tokens);
		ck_assert_uint_eq(r.dimensions, 1536);
		buf_fini(&body);
	}
	ck_assert(sim_embedding_request_read(
	        &r, bytes_of("{\"model\":\"text-embedding-3-large\",\"input\":[\"a\",\"bc\"]}"),
	        &error));
	ck_assert_uint_eq(r.dimensions, 3072);
	ck_assert(bytes_is(sim_embedding_request_input(&r, 0), "a"));
	ck_assert(bytes_is(sim_embedding_request_input(&r, 1), "bc"));
	sim_embedding_request_fini(&r);
}
END_TEST

START_TEST(test_a_wrong_embedding_request_is_told_what_is_wrong)
{
	static const struct {
		const char *members, *param;
	} rows[] = {
	        {"\"input\":\"\"", "input"},
	        {"\"input\":[]", "input"},
	        {"\"input\":[\"a\",\"\"]", "input"},
	        {"\"input\":5", "input"},
	        {"\"input\":[[]]", "input"},
	        {"\"input\":[{}]", "input"},
	        {"\"input\":null", "input"},
	        {"\"x\":1", "input"},
	        {"\"input\":\"a\",\"dimensions\":0", "dimensions"},
	        {"\"input\":\"a\",\"dimensions\":4097", "dimensions"},
	        {"\"input\":\"a\",\"encoding_format\":\"int8\"", "encoding_format"},
	        {"\"input\":\"a\",\"encoding_format\":5", "encoding_format"},
	};
	struct sim_embedding_request r;

	sim_embedding_request_init(&r);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct api_error error = {0};
		struct buf body = {0};

		buf_add_format(&body, "{\"model\":\"m\",%s}", rows[i].members);
		ck_assert_msg(!sim_embedding_request_read(&r, buf_bytes(&body), &error), "%s",
		              rows[i].members);
		ck_assert_int_eq(error.status, 400);
		ck_assert_str_eq(error.param, rows[i].param);
		buf_fini(&body);
	}
	sim_embedding_request_fini(&r);
}
END_TEST

START_TEST(test_more_inputs_than_the_limit_are_refused)
{
	struct sim_embedding_request r;
	struct api_error error = {0};
	struct buf body = {0};

	sim_embedding_request_init(&r);
	buf_add_text(&body, "{\"model\":\"m\",\"input\":[\"a\"");
	for (int i = 1; i < SIM_INPUTS_MAX; i++)
		buf_add_text(&body, ",\"a\"");
	buf_add_text(&body, "]}");
	ck_assert(sim_embedding_request_read(&r, buf_bytes(&body), &error));
	body.n -= 2;
	buf_add_text(&body, ",\"a\"]}");
	ck_assert(!sim_embedding_request_read(&r, buf_bytes(&body), &error));
	ck_assert_str_eq(error.param, "input");
	buf_fini(&body);
	sim_embedding_request_fini(&r);
}
END_TEST

START_TEST(test_base64_is_the_same_vector_in_little_endian_floats)
{
	struct sim_embedding_request r;
	struct buf floats = {0}, packed = {0};
	struct api_error error;

	sim_embedding_request_init(&r);
	ck_assert(sim_embedding_request_read(
	        &r, bytes_of("{\"model\":\"m\",\"input\":\"?\",\"dimensions\":1}"), &error));
	sim_embedding_write(&r, &floats);
	r.base64 = true;
	sim_embedding_write(&r, &packed);
	/* One dimension leaves 1.0 or -1.0: 0x3f800000, 0xbf800000. */
	if (memmem(floats.p, floats.n, "[-1]", 4))
		ck_assert_ptr_nonnull(memmem(packed.p, packed.n, "\"AACAvw==\"", 10));
	else
		ck_assert_ptr_nonnull(memmem(packed.p, packed.n, "\"AACAPw==\"", 10));
	ck_assert_ptr_nonnull(
	        memmem(floats.p, floats.n, "\"prompt_tokens\":1,\"total_tokens\":1", 34));
	buf_fini(&floats);
	buf_fini(&packed);
	sim_embedding_request_fini(&r);
}
END_TEST

UNIT_MAIN("embedding", test_vectors_have_length_one, test_similar_texts_are_near_and_others_far,
          test_inputs_may_be_texts_or_tokens_one_or_many,
          test_a_wrong_embedding_request_is_told_what_is_wrong,
          test_more_inputs_than_the_limit_are_refused,
          test_base64_is_the_same_vector_in_little_endian_floats)
