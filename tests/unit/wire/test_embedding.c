#include "unit.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "simulator/embedding.h"
#include "wire/embedding.h"

#define ANSWER(vector) "{\"object\":\"list\",\"data\":[{\"index\":0,\"embedding\":" vector "}]}"

/* Reads from memory of exactly the body's size, so that the sanitizer sees a byte read too far. */
static enum embedding_fault
fault_of(struct bytes body, unsigned dimensions, struct embedding *e)
{
	char *copy = mem_try(body.n);
	enum embedding_fault fault;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, body.p, body.n);
	fault = embedding_answer_read(e, (struct bytes){copy, body.n}, dimensions);
	ck_assert((fault == EMBEDDING_FINE) == (e->vector != NULL));
	ck_assert((fault == EMBEDDING_FINE) == (e->dimensions > 0));
	free(copy);
	return fault;
}

static void
check_fault(const char *body, unsigned dimensions, enum embedding_fault expected)
{
	struct embedding e;
	enum embedding_fault fault = fault_of(bytes_of(body), dimensions, &e);

	ck_assert_msg(fault == expected, "%s: %s", body, embedding_fault_text(fault));
	free(e.vector);
}

static void
check_vector(const char *body, const double *expected, unsigned n)
{
	struct embedding e;
	enum embedding_fault fault = fault_of(bytes_of(body), n, &e);

	ck_assert_msg(fault == EMBEDDING_FINE, "%s: %s", body, embedding_fault_text(fault));
	ck_assert_uint_eq(e.dimensions, n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_msg(fabs((double)e.vector[i] - expected[i]) < 1e-7, "%s: [%u] %g", body,
		              i, (double)e.vector[i]);
	free(e.vector);
}

START_TEST(test_a_call_is_written)
{
	struct buf out;

	buf_init(&out, 0);
	embedding_request_write(bytes_of("m\"1"), bytes_of("a\n\"b\" \xC3\xA9"), 0, &out);
	ck_assert(bytes_is(buf_bytes(&out),
	                   "{\"model\":\"m\\\"1\",\"input\":\"a\\n\\\"b\\\" \xC3\xA9"
	                   "\",\"encoding_format\":\"base64\"}"));
	buf_reset(&out);
	embedding_request_write(bytes_of("m"), bytes_of(""), 256, &out);
	ck_assert(bytes_is(buf_bytes(&out), "{\"model\":\"m\",\"input\":\"\",\"dimensions\":256,"
	                                    "\"encoding_format\":\"base64\"}"));
	buf_fini(&out);
	buf_init(&out, 10);
	embedding_request_write(bytes_of("m"), bytes_of("a"), 0, &out);
	ck_assert(out.failed);
	buf_fini(&out);
}
END_TEST

START_TEST(test_a_vector_is_read_and_scaled_in_either_encoding)
{
	static const struct {
		const char *body;
		double vector[3];
		unsigned n;
	} table[] = {
	        {ANSWER("\"AABAQAAAgEA=\""), {0.6, 0.8}, 2},
	        {ANSWER("\"AABAQAAAgEA\""), {0.6, 0.8}, 2},
	        {ANSWER("\"AABAQA==\""), {1}, 1},
	        {ANSWER("\"AABAQA\""), {1}, 1},
	        {ANSWER("\"AABAQAAAgEAAAAAA\""), {0.6, 0.8, 0}, 3},
	        {ANSWER("\"AABAwAAAgEA=\""), {-0.6, 0.8}, 2},
	        {ANSWER("\"mXaWfpl2ln4=\""), {0.70710678118, 0.70710678118}, 2},
	        {ANSWER("\"AQAAAAAAAAA=\""), {1, 0}, 2},
	        {ANSWER("\"5rFhf57Jf38AAIA/\""), {0.661621637, 0.749837855, 0}, 3},
	        {ANSWER("\"XI/+QTMzvcI=\""), {0.318811552, -0.947818123}, 2},
	        {ANSWER("\"XI\\/\\u002bQTMzvcI\\u003D\""), {0.318811552, -0.947818123}, 2},
	        {ANSWER("\"\\u0041ABAQAAAgEA=\""), {0.6, 0.8}, 2},
	        {ANSWER("[3,4]"), {0.6, 0.8}, 2},
	        {ANSWER("[ 3.0e0 ,\n-400e-2 , 0 ]"), {0.6, -0.8, 0}, 3},
	        {ANSWER("[31.82,-94.6]"), {0.318811552, -0.947818123}, 2},
	        {ANSWER("[1e38,1e38]"), {0.70710678118, 0.70710678118}, 2},
	        {ANSWER("[1e-45,0]"), {1, 0}, 2},
	        {ANSWER("[3.40282347e+38,0]"), {1, 0}, 2},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		check_vector(table[i].body, table[i].vector, table[i].n);
}
END_TEST

START_TEST(test_only_the_first_element_counts_and_other_members_do_not)
{
	static const double expected[] = {0.6, 0.8};
	static const char *const bodies[] = {
	        "{\"data\":[{\"embedding\":[3,4]},{\"embedding\":[1,0]},5]}",
	        " {\"model\":\"m\",\"d\\u0061ta\":[{\"object\":\"embedding\",\"index\":7,\"x\":{"
	        "\"embedding"
	        "\":1},\"\\u0065mbedding\":\"AABAQAAAgEA=\",\"y\":[]}],\"error\":null} \n",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		check_vector(bodies[i], expected, 2);
}
END_TEST

START_TEST(test_tokens_are_told_where_they_make_sense)
{
	static const struct {
		const char *usage;
		uint64_t tokens;
	} table[] = {
	        {"{\"prompt_tokens\":12,\"total_tokens\":13}", 12},
	        {"{\"total_tokens\":13,\"prompt_tokens\":1.2e1}", 12},
	        {"{\"prompt_tokens\":18446744073709551615}", UINT64_MAX},
	        {"{\"prompt_tokens\":18446744073709551616}", 0},
	        {"{\"prompt_tokens\":-1}", 0},
	        {"{\"prompt_tokens\":1.5}", 0},
	        {"{\"prompt_tokens\":\"12\"}", 0},
	        {"{\"prompt_tokens\":null}", 0},
	        {"{}", 0},
	        {"null", 0},
	        {"[12]", 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct embedding e;
		char body[256];

		snprintf(body, sizeof(body), "{\"data\":[{\"embedding\":[1]}],\"usage\":%s}",
		         table[i].usage);
		ck_assert_int_eq(fault_of(bytes_of(body), 0, &e), EMBEDDING_FINE);
		ck_assert_msg(e.prompt_tokens == table[i].tokens, "%s", body);
		free(e.vector);
	}
}
END_TEST

START_TEST(test_what_is_no_such_answer_is_malformed)
{
	static const char *const bodies[] = {
	        "",
	        "null",
	        "[]",
	        "{}",
	        "{\"data\":null}",
	        "{\"data\":[]}",
	        "{\"data\":{\"embedding\":[1]}}",
	        "{\"data\":[[1]]}",
	        "{\"data\":[null,{\"embedding\":[1]}]}",
	        "{\"data\":[{}]}",
	        ANSWER("null"),
	        ANSWER("5"),
	        ANSWER("{}"),
	        ANSWER("[1,null]"),
	        ANSWER("[[1]]"),
	        ANSWER("[\"1\"]"),
	        ANSWER("[NaN]"),
	        ANSWER("[1,]"),
	        ANSWER("[01]"),
	        ANSWER("[1]") "x",
	        "{\"data\":[{\"embedding\":[1]}],\"data\":[{\"embedding\":[1]}]}",
	        "{\"data\":[{\"embedding\":[1],\"embedd\\u0069ng\":[1]}]}",
	        "{\"data\":[{\"embedding\":[1]}],\"usage\":{\"prompt_tokens\":1,\"prompt_tokens\":"
	        "1}}",
	        "{\"data\":[{\"embedding\":[1]}],\"error\":null,\"error\":null}",
	        "{\"error\":{},\"data\":",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		check_fault(bodies[i], 0, EMBEDDING_MALFORMED);
}
END_TEST

START_TEST(test_base64_is_read_strictly)
{
	static const char *const bodies[] = {
	        ANSWER("\"AABAQB==\""),
	        ANSWER("\"AABAQB\""),
	        ANSWER("\"AABAQAAAgEB=\""),
	        ANSWER("\"AABAQAAAgEB\""),
	        ANSWER("\"AABAQ\""),
	        ANSWER("\"AABAQA=\""),
	        ANSWER("\"AABAQA===\""),
	        ANSWER("\"AABA=A==\""),
	        ANSWER("\"=AABAQAAAgEA\""),
	        ANSWER("\"AABAQA==AABAQA==\""),
	        ANSWER("\"AABAQAAA gEA=\""),
	        ANSWER("\"AABAQAAA\\ngEA=\""),
	        ANSWER("\"AABAQAAAgE.=\""),
	        ANSWER("\"XI_-QTMzvcI=\""),
	        ANSWER("\"AABAQAAA\\u0000EA=\""),
	        ANSWER("\"AABAQAAA\xC3\xA9"
	               "A=\""),
	        ANSWER("\"AABAQAA\\ud800A=\""),
	        ANSWER("\"AABA\""),
	        ANSWER("\"AABAQAA=\""),
	        ANSWER("\"A\""),
	        ANSWER("\"A===\""),
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		check_fault(bodies[i], 0, EMBEDDING_MALFORMED);
}
END_TEST

START_TEST(test_an_error_is_told_from_an_answer)
{
	check_fault("{\"error\":{\"message\":\"no\"}}", 0, EMBEDDING_ERROR);
	check_fault("{\"error\":\"no\",\"data\":[{\"embedding\":[1]}]}", 1, EMBEDDING_ERROR);
	check_fault("{\"data\":5,\"\\u0065rror\":false}", 0, EMBEDDING_ERROR);
}
END_TEST

START_TEST(test_dimensions_must_be_the_ones_wanted)
{
	check_fault(ANSWER("[1,2]"), 3, EMBEDDING_DIMENSIONS);
	check_fault(ANSWER("[1,2]"), 1, EMBEDDING_DIMENSIONS);
	check_fault(ANSWER("[]"), 0, EMBEDDING_DIMENSIONS);
	check_fault(ANSWER("\"\""), 0, EMBEDDING_DIMENSIONS);
	check_fault(ANSWER("\"====\""), 0, EMBEDDING_MALFORMED);
	check_fault(ANSWER("\"AABAQAAAgEA=\""), 3, EMBEDDING_DIMENSIONS);
	check_fault(ANSWER("\"AABAQAAAgEA=\""), 1, EMBEDDING_DIMENSIONS);
	check_fault(ANSWER("\"AABAQAAAgEA=\""), 2, EMBEDDING_FINE);
}
END_TEST

/* As many as allowed, or one more. */
START_TEST(test_dimensions_have_a_limit)
{
	for (int more = 0; more <= 1; more++) {
		enum embedding_fault expected = more ? EMBEDDING_DIMENSIONS : EMBEDDING_FINE;
		size_t n = EMBEDDING_DIMENSIONS_MAX + (size_t)more;
		struct embedding e;
		struct buf out;

		buf_init(&out, 0);
		buf_add_text(&out, "{\"data\":[{\"embedding\":[1");
		for (size_t i = 1; i < n; i++)
			buf_add_text(&out, ",1");
		buf_add_text(&out, "]}]}");
		ck_assert_int_eq(fault_of(buf_bytes(&out), 0, &e), expected);
		free(e.vector);
		buf_reset(&out);
		buf_add_text(&out, "{\"data\":[{\"embedding\":\"");
		/* Three floats of one byte that is not zero. */
		for (size_t i = 0; i < n / 3; i++)
			buf_add_text(&out, "AQAAAAAAAAAAAAAA");
		buf_add_text(&out, n % 3 == 1 ? "AQAAAA" : n % 3 == 2 ? "AQAAAAAAAAA" : "");
		buf_add_text(&out, "\"}]}");
		ck_assert_int_eq(fault_of(buf_bytes(&out), 0, &e), expected);
		free(e.vector);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_numbers_must_point_somewhere)
{
	check_fault(ANSWER("\"AACAfwAAgD8=\""), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("\"AADAfwAAgD8=\""), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("\"AAAAAAAAAAA=\""), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("\"AAAAAAAAAIA=\""), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("[0,0.0,-0]"), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("[1e39]"), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("[1,-1e400]"), 0, EMBEDDING_NUMBERS);
	check_fault(ANSWER("[1e-60]"), 0, EMBEDDING_NUMBERS);
}
END_TEST

START_TEST(test_an_answer_that_is_cut_anywhere_is_malformed)
{
	static const char *const bodies[] = {
	        "{\"data\":[{\"embedding\":\"XI\\/"
	        "\\u002bQTMzvcI=\"}],\"usage\":{\"prompt_tokens\":1}}",
	        "{\"error\":null,\"data\":[{\"embedding\":[-1.5e-3, 25]}],\"\xC3\xA9\":true}",
	        "{\"error\":{\"message\":\"\\ud83d\\ude00\"}}",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		for (size_t n = 0; n < strlen(bodies[i]); n++) {
			struct embedding e;

			ck_assert_int_eq(fault_of((struct bytes){bodies[i], n}, 0, &e),
			                 EMBEDDING_MALFORMED);
		}
	}
}
END_TEST

/* What the simulator writes of one text, in both encodings, is one vector, and the text's own. */
START_TEST(test_both_encodings_of_a_long_vector_are_read_alike)
{
	struct sim_embedding_request *r = mem_new(sizeof(*r));
	struct embedding parts[2];
	struct buf body;

	for (int base64 = 0; base64 <= 1; base64++) {
		struct api_error error;

		buf_init(&body, 0);
		sim_embedding_request_init(r);
		embedding_request_write(bytes_of("text-embedding-3-small"),
		                        bytes_of("What \"is\" a gateway?\n"), 0, &body);
		ck_assert(sim_embedding_request_read(r, buf_bytes(&body), &error));
		ck_assert(r->base64);
		ck_assert(bytes_is(sim_embedding_request_input(r, 0), "What \"is\" a gateway?\n"));
		r->base64 = base64;
		buf_reset(&body);
		sim_embedding_write(r, &body);
		ck_assert_int_eq(fault_of(buf_bytes(&body), 1536, &parts[base64]), EMBEDDING_FINE);
		ck_assert_uint_eq(parts[base64].prompt_tokens, r->prompt_tokens);
		buf_fini(&body);
		sim_embedding_request_fini(r);
	}
	ck_assert_mem_eq(parts[0].vector, parts[1].vector, 1536 * sizeof(float));
	free(parts[0].vector);
	free(parts[1].vector);
	free(r);
}
END_TEST

START_TEST(test_faults_have_a_text)
{
	for (int fault = EMBEDDING_FINE; fault <= EMBEDDING_NO_MEMORY; fault++)
		ck_assert_str_ne(embedding_fault_text((enum embedding_fault)fault),
		                 "unknown fault");
}
END_TEST

/* The sanitizers have an allocator of their own. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

void *__libc_malloc(size_t n);
void *__libc_realloc(void *p, size_t n);

static unsigned allocations_left = UINT32_MAX;

void *
malloc(size_t n)
{
	return allocations_left == 0 ? NULL : (allocations_left--, __libc_malloc(n));
}

void *
realloc(void *p, size_t n)
{
	return allocations_left == 0 ? NULL : (allocations_left--, __libc_realloc(p, n));
}

START_TEST(test_a_failure_to_allocate_is_reported_wherever_it_comes)
{
	struct bytes body = bytes_of(ANSWER("\"XI\\/+QTMzvcI=\""));

	for (unsigned i = 0; i <= 2; i++) {
		enum embedding_fault fault;
		struct embedding e;

		allocations_left = i;
		fault = embedding_answer_read(&e, body, 0);
		allocations_left = UINT32_MAX;
		ck_assert_int_eq(fault, i < 2 ? EMBEDDING_NO_MEMORY : EMBEDDING_FINE);
		ck_assert((e.vector != NULL) == (i == 2));
		free(e.vector);
	}
}
END_TEST

#define TEST_OF_FAILURES , test_a_failure_to_allocate_is_reported_wherever_it_comes
#else
#define TEST_OF_FAILURES
#endif

UNIT_MAIN("embedding", test_a_call_is_written, test_a_vector_is_read_and_scaled_in_either_encoding,
          test_only_the_first_element_counts_and_other_members_do_not,
          test_tokens_are_told_where_they_make_sense, test_what_is_no_such_answer_is_malformed,
          test_base64_is_read_strictly, test_an_error_is_told_from_an_answer,
          test_dimensions_must_be_the_ones_wanted, test_dimensions_have_a_limit,
          test_numbers_must_point_somewhere, test_an_answer_that_is_cut_anywhere_is_malformed,
          test_both_encodings_of_a_long_vector_are_read_alike,
          test_faults_have_a_text TEST_OF_FAILURES)
