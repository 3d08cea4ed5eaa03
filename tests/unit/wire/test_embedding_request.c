#include "wire/embedding_request.h"

#include "rope_text.h"
#include "unit.h"

static struct api_error error;

static void
assert_forwarded(const char *body, const char *expected)
{
	struct embedding_request request;
	struct rope rope;
	struct buf out;

	rope_init(&rope, 1);
	ck_assert_msg(embedding_request_read(&request, bytes_of(body), &error), "%s", body);
	embedding_request_forward(&request, "up/1", &rope);
	out = rope_text(&rope, 7);
	ck_assert(!out.failed);
	buf_add(&out, "", 1);
	ck_assert_str_eq(out.p, expected);
	buf_fini(&out);
}

START_TEST(test_only_the_model_is_replaced)
{
	assert_forwarded("{\"model\":\"m\",\"input\":\"x\"}",
	                 "{\"model\":\"up/1\",\"input\":\"x\"}");
	assert_forwarded(" {\"input\" : [1e0 ,2], \"mod\\u0065l\": \"m\" }\n",
	                 " {\"input\" : [1e0 ,2], \"mod\\u0065l\": \"up/1\" }\n");
}
END_TEST

START_TEST(test_the_gateways_own_members_are_removed)
{
	assert_forwarded("{\"request_id\":\"r\",\"model\":\"m\",\"project_id\":\"p\",\"input\":[],"
	                 "\"fallbacks\":[\"a/b\"]}",
	                 "{\"model\":\"up/1\",\"input\":[]}");
	assert_forwarded("{\"model\":\"m\",\"request_id\":null,\"input\":\"\",\"user\":\"u\"}",
	                 "{\"model\":\"up/1\",\"input\":\"\",\"user\":\"u\"}");
}
END_TEST

START_TEST(test_what_is_decoded)
{
	const char *body =
	        "{\"model\":\"p\\/m\",\"input\":\"x\",\"project_id\":\"a.b\",\"request_id\":"
	        "\"r-1\"}";
	struct embedding_request request;

	ck_assert(embedding_request_read(&request, bytes_of(body), &error));
	ck_assert_str_eq(request.model, "p/m");
	ck_assert_str_eq(request.project_id, "a.b");
	ck_assert_str_eq(request.request_id, "r-1");
}
END_TEST

START_TEST(test_faults_name_their_member)
{
	static const struct {
		const char *body, *param;
	} rows[] = {
	        {"", ""},
	        {"7", ""},
	        {"{\"model\":\"m\",\"input\":\"x\"", ""},
	        {"{\"model\":\"m\",\"input\":\"x\"}x", ""},
	        {"{\"input\":\"x\"}", "model"},
	        {"{\"model\":null,\"input\":\"x\"}", "model"},
	        {"{\"model\":\"\",\"input\":\"x\"}", "model"},
	        {"{\"model\":[],\"input\":\"x\"}", "model"},
	        {"{\"model\":\"m\",\"mode\\u006c\":\"n\",\"input\":\"x\"}", "model"},
	        {"{\"model\":\"m\"}", "input"},
	        {"{\"model\":\"m\",\"input\":1}", "input"},
	        {"{\"model\":\"m\",\"input\":\"x\",\"project_id\":\"\"}", "project_id"},
	        {"{\"model\":\"m\",\"input\":\"x\",\"fallbacks\":[1]}", "fallbacks[0]"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct embedding_request request;

		ck_assert_msg(!embedding_request_read(&request, bytes_of(rows[i].body), &error),
		              "%s", rows[i].body);
		ck_assert_int_eq(error.status, 400);
		ck_assert_str_eq(error.param, rows[i].param);
	}
}
END_TEST

UNIT_MAIN("embedding_request", test_only_the_model_is_replaced,
          test_the_gateways_own_members_are_removed, test_what_is_decoded,
          test_faults_name_their_member)
