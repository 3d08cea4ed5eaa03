/* What the doors of other gateways add to documents. */
#include "wire/dialect.h"

#include <math.h>
#include <stdio.h>

#include "unit.h"

static const struct dialect_cost cost = {"0.000018", "0.000024", "0", "0.000042"};
static const struct dialect_usage usage = {9, 3, 0}, cached_usage = {9, 3, 4};
#define COST                                                                                       \
	"\"cost\":{\"input_tokens_cost\":0.000018,\"output_tokens_cost\":0.000024,\"request_"      \
	"cost\":0,"                                                                                \
	"\"total_cost\":0.000042}"

static void
assert_written(const struct dialect_facts *facts, const char *document, const char *expected)
{
	struct buf out;

	buf_init(&out, 0);
	ck_assert_msg(dialect_write(facts, bytes_of(document), &out), "%s", document);
	ck_assert_msg(!out.failed && bytes_is(buf_bytes(&out), expected), "%.*s\nnot\n%s",
	              (int)out.n, out.p, expected);
	buf_fini(&out);
}

START_TEST(test_the_request_id_is_added_and_every_other_byte_stays)
{
	static const struct dialect_facts facts = {.dialect = DIALECT_REQUEST_ID,
	                                           .request_id = "req_\"1"};
	static const struct {
		const char *document, *expected;
	} rows[] = {
	        {"{}", "{\"request_id\":\"req_\\\"1\"}"},
	        {"{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"x\\u00e9\"}}]}",
	         "{\"id\":\"a\",\"choices\":[{\"delta\":{\"content\":\"x\\u00e9\"}}],"
	         "\"request_id\":\"req_\\\"1\"}"},
	        {" {\n\t\"t\" : 0.70 ,\"t\":1e0\n} \n",
	         " {\n\t\"t\" : 0.70 ,\"t\":1e0,\"request_id\":\"req_\\\"1\"\n} \n"},
	        {"{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":null}}",
	         "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":null},"
	         "\"request_id\":\"req_\\\"1\"}"},
	        {"{\"request_id\" : \"upstream\", \"usage\":{\"a\":1}}",
	         "{\"request_id\" : \"req_\\\"1\", \"usage\":{\"a\":1}}"},
	        {"{\"extra_fields\":1}", "{\"extra_fields\":1,\"request_id\":\"req_\\\"1\"}"},
	        {"{\"deep\":{\"request_id\":1}}",
	         "{\"deep\":{\"request_id\":1},\"request_id\":\"req_\\\"1\"}"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_written(&facts, rows[i].document, rows[i].expected);
}
END_TEST

START_TEST(test_extra_fields_tell_what_is_known)
{
	static const struct dialect_cache miss = {.similarity = (double)NAN,
	                                          .threshold = (double)NAN};
	static const struct dialect_cache direct = {true, "direct", "0123456789abcdef", 1,
	                                            (double)NAN};
	static const struct dialect_cache semantic = {true, "semantic", "ab", 0.98, 0.95};
	static const struct {
		struct dialect_facts facts;
		const char *expected;
	} rows[] = {
	        {{.latency_ms = -1, .chunk_index = -1}, "\"request_type\":\"chat_completion\""},
	        {{.stream = true,
	          .provider = "openai",
	          .model_requested = "a \"b\"",
	          .model_deployment = "gpt-4o-mini",
	          .latency_ms = 0,
	          .chunk_index = 0},
	         "\"request_type\":\"chat_completion_stream\",\"provider\":\"openai\","
	         "\"model_requested\":\"a \\\"b\\\"\",\"model_deployment\":\"gpt-4o-mini\","
	         "\"latency\":0,\"chunk_index\":0"},
	        {{.model_requested = "", .latency_ms = 1234, .chunk_index = -1, .cache = &miss},
	         "\"request_type\":\"chat_completion\",\"latency\":1234,"
	         "\"cache_debug\":{\"cache_hit\":false}"},
	        {{.latency_ms = -1, .chunk_index = 17, .cache = &direct},
	         "\"request_type\":\"chat_completion\",\"chunk_index\":17,\"cache_debug\":{\"cache_"
	         "hit\""
	         ":true,\"hit_type\":\"direct\",\"cache_id\":\"0123456789abcdef\",\"similarity\":"
	         "1.000000}"},
	        {{.latency_ms = -1, .chunk_index = -1, .cache = &semantic},
	         "\"request_type\":\"chat_completion\",\"cache_debug\":{\"cache_hit\":true,\"hit_"
	         "type\":"
	         "\"semantic\",\"cache_id\":\"ab\",\"similarity\":0.980000,\"threshold\":0."
	         "950000}"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dialect_facts facts = rows[i].facts;
		char expected[512];

		facts.dialect = DIALECT_EXTRA_FIELDS;
		snprintf(expected, sizeof(expected), "{\"a\": 1,\"extra_fields\":{%s}\n}",
		         rows[i].expected);
		assert_written(&facts, "{\"a\": 1\n}", expected);
		snprintf(expected, sizeof(expected), "{\"extra_fields\": {%s}}", rows[i].expected);
		assert_written(&facts, "{\"extra_fields\": {\"old\":1}}", expected);
	}
}
END_TEST

#define EXTRA "\"extra_fields\":{\"request_type\":\"chat_completion\"}"

START_TEST(test_a_cost_goes_into_the_usage)
{
	static const struct {
		const char *rule;
		const struct dialect_cost *cost;
		const struct dialect_usage *usage;
		const char *document, *expected;
	} rows[] = {
	        {"behind what is there", &cost, NULL,
	         "{\"usage\": {\"prompt_tokens\": 9, \"x\":[1.50]} ,\"b\":2}",
	         "{\"usage\": {\"prompt_tokens\": 9, \"x\":[1.50]," COST "} ,\"b\":2," EXTRA "}"},
	        {"into an empty one", &cost, NULL, "{\"usage\":{}}",
	         "{\"usage\":{" COST "}," EXTRA "}"},
	        {"instead of one in another shape", &cost, NULL,
	         "{\"usage\":{\"cost\":0.1,\"a\":1}}", "{\"usage\":{" COST ",\"a\":1}," EXTRA "}"},
	        {"with a usage that is there, what else is known counts for nothing", &cost, &usage,
	         "{\"usage\":{\"a\":1}}", "{\"usage\":{\"a\":1," COST "}," EXTRA "}"},
	        {"with its usage where there is none", &cost, &usage, "{\"a\":1}",
	         "{\"a\":1,\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":"
	         "12," COST "}," EXTRA "}"},
	        {"with its usage instead of null", &cost, &cached_usage, "{\"usage\": null}",
	         "{\"usage\": {\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12,"
	         "\"prompt_tokens_details\":{\"cached_tokens\":4}," COST "}," EXTRA "}"},
	        {"never without a usage", &cost, NULL, "{\"usage\":null}",
	         "{\"usage\":null," EXTRA "}"},
	        {"never invented", NULL, &usage, "{\"usage\":{\"a\":1}}",
	         "{\"usage\":{\"a\":1}," EXTRA "}"},
	        {"nor is a usage without a cost", NULL, &usage, "{\"a\":1}", "{\"a\":1," EXTRA "}"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct dialect_facts facts = {
		        .dialect = DIALECT_EXTRA_FIELDS,
		        .latency_ms = -1,
		        .chunk_index = -1,
		        .cost = rows[i].cost,
		        .usage = rows[i].usage,
		};

		assert_written(&facts, rows[i].document, rows[i].expected);
	}
}
END_TEST

START_TEST(test_the_plain_dialect_adds_nothing)
{
	static const struct dialect_facts facts = {.dialect = DIALECT_PLAIN, .request_id = "r"};

	assert_written(&facts, " {\"usage\" : {} } ", " {\"usage\" : {} } ");
}
END_TEST

START_TEST(test_what_is_no_object_is_left_alone)
{
	static const char *const documents[] = {"",  " ",          "[]",     "\"a\"",
	                                        "{", "{\"a\":1}x", "{\"a\"}"};
	static const struct dialect_facts facts = {.dialect = DIALECT_REQUEST_ID,
	                                           .request_id = "r"};

	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
		struct buf out;

		buf_init(&out, 0);
		ck_assert_msg(!dialect_write(&facts, bytes_of(documents[i]), &out), "%s",
		              documents[i]);
		ck_assert_uint_eq(out.n, 0);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_a_refused_body_still_tells_its_id)
{
	static const struct {
		const char *body, *id; /* NULL: none */
	} rows[] = {
	        {"{\"messages\":[],\"request_id\":\"r-1\"}", "r-1"},
	        {"{\"request_id\":\"r\\u002d1\",,", "r-1"},
	        {"{\"a\":{\"request_id\":\"inner\"}}", NULL},
	        {"{\"request_id\":\"not good\"}", NULL},
	        {"{\"request_id\":\"12345678\"}", NULL},
	        {"{\"request_id\":7}", NULL},
	        {"{\"a\":tru,\"request_id\":\"r\"}", NULL},
	        {"[]", NULL},
	        {"", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char id[8];
		bool found = dialect_find_request_id(bytes_of(rows[i].body), id, sizeof(id));

		ck_assert_msg(found == (rows[i].id != NULL), "%s", rows[i].body);
		if (found)
			ck_assert_str_eq(id, rows[i].id);
	}
}
END_TEST

UNIT_MAIN("dialect", test_the_request_id_is_added_and_every_other_byte_stays,
          test_extra_fields_tell_what_is_known, test_a_cost_goes_into_the_usage,
          test_the_plain_dialect_adds_nothing, test_what_is_no_object_is_left_alone,
          test_a_refused_body_still_tells_its_id)
