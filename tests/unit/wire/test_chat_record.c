/* A completion that is kept, and given again. */
#include "wire/chat_record.h"

#include "unit.h"

static const char completion[] =
        "{\n  \"id\": \"chatcmpl-1\", \"object\": \"chat.completion\",\n \"created\": 17,"
        "\"model\": \"small\", \"choices\": [ {\"index\": 0, \"message\": {\"role\": "
        "\"assistant\", \"content\": \"a \\\" \\\\\", \"refusal\": null}, \"finish_reason\": "
        "\"stop\"} ], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 2, "
        "\"total_tokens\": 5}, \"system_fingerprint\": \"fp x\"\n}";

static const char record[] =
        "{\"object\":\"chat.completion\",\"model\":\"small\",\"choices\":[{\"index\":0,\"message\":"
        "{\"role\":\"assistant\",\"content\":\"a \\\" \\\\\",\"refusal\":null},\"finish_reason\":"
        "\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5},"
        "\"system_fingerprint\":\"fp x\"}";

static void
assert_text(const struct buf *got, const char *expected)
{
	ck_assert_msg(bytes_is(buf_bytes(got), expected), "%.*s\nnot\n%s", (int)got->n, got->p,
	              expected);
}

START_TEST(test_what_belongs_to_one_answer_alone_is_left_out_and_white_space_too)
{
	struct chat_record_facts facts;
	struct buf out;

	buf_init(&out, 0);
	ck_assert(chat_record_make(bytes_of(completion), (struct bytes){"", 0}, &facts, &out));
	assert_text(&out, record);
	ck_assert_uint_eq(facts.choices, 1);
	ck_assert(facts.end == CHAT_RECORD_STOP && facts.has_text && facts.has_usage);
	ck_assert(!facts.is_refusal && !facts.has_calls);
	buf_fini(&out);
}
END_TEST

START_TEST(test_usage_that_is_known_from_elsewhere_is_added_once)
{
	static const struct {
		const char *completion, *usage, *record;
		bool has_usage;
	} rows[] = {
	        {"{\"choices\":[]}", "{\"prompt_tokens\": 1}",
	         "{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", true},
	        {"{\"choices\":[],\"usage\":null}", "{}", "{\"choices\":[],\"usage\":{}}", true},
	        {"{\"choices\":[],\"usage\":null}", "", "{\"choices\":[]}", false},
	        {"{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1},\"choices\":[]}", "{}",
	         "{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1},\"choices\":[]}", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chat_record_facts facts;
		struct buf out;

		buf_init(&out, 0);
		ck_assert(chat_record_make(bytes_of(rows[i].completion), bytes_of(rows[i].usage),
		                           &facts, &out));
		assert_text(&out, rows[i].record);
		ck_assert_int_eq(facts.has_usage, rows[i].has_usage);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_what_decides_whether_it_may_be_kept_is_told)
{
	static const struct {
		const char *choices;
		size_t count;
		enum chat_record_end end;
		bool text, calls, refusal;
	} rows[] = {
	        {"", 0, CHAT_RECORD_OTHER, false, false, false},
	        {"{\"message\":{\"content\":\"\"},\"finish_reason\":\"stop\"}", 1, CHAT_RECORD_STOP,
	         false, false, false},
	        {"{\"message\":{\"content\":\"a\"},\"finish_reason\":\"length\"}", 1,
	         CHAT_RECORD_OTHER, true, false, false},
	        {"{\"message\":{\"content\":\"a\"},\"finish_reason\":null}", 1, CHAT_RECORD_OTHER,
	         true, false, false},
	        {"{\"message\":{\"content\":\"a\"}}", 1, CHAT_RECORD_OTHER, true, false, false},
	        {"{\"message\":{\"content\":null,\"refusal\":\"no\"},\"finish_reason\":\"stop\"}",
	         1, CHAT_RECORD_STOP, false, false, true},
	        {"{\"message\":{\"content\":null,\"tool_calls\":[{}]},\"finish_reason\":\"tool_"
	         "calls\"}",
	         1, CHAT_RECORD_CALLS, false, true, false},
	        {"{\"message\":{\"content\":\"a\",\"tool_calls\":[]},\"finish_reason\":\"stop\"}",
	         1, CHAT_RECORD_STOP, true, false, false},
	        {"{\"message\":{\"function_call\":{\"name\":\"f\"}},\"finish_reason\":\"function_"
	         "call\"}",
	         1, CHAT_RECORD_CALLS, false, true, false},
	        {"{\"message\":{\"content\":\"a\"},\"finish_reason\":\"stop\"},{}", 2,
	         CHAT_RECORD_STOP, true, false, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chat_record_facts facts;
		struct buf in, out;

		buf_init(&in, 0);
		buf_init(&out, 0);
		buf_add_format(&in, "{\"choices\":[%s]}", rows[i].choices);
		ck_assert(chat_record_make(buf_bytes(&in), (struct bytes){"", 0}, &facts, &out));
		ck_assert_uint_eq(facts.choices, rows[i].count);
		ck_assert_msg(facts.end == rows[i].end, "%s", rows[i].choices);
		ck_assert_msg(facts.has_text == rows[i].text && facts.has_calls == rows[i].calls &&
		                      facts.is_refusal == rows[i].refusal,
		              "%s", rows[i].choices);
		buf_fini(&in);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_what_is_no_completion_is_refused)
{
	static const char *const rows[] = {"", "[]", "{\"choices\":", "{\"error\":{}}", "{}"};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct chat_record_facts facts;
		struct buf out;

		buf_init(&out, 0);
		ck_assert_msg(
		        !chat_record_make(bytes_of(rows[i]), (struct bytes){"", 0}, &facts, &out),
		        "%s", rows[i]);
		ck_assert(!chat_record_write_events(bytes_of(rows[i]), "x", 1, true, &out));
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_it_is_given_again_with_an_id_and_a_time_of_its_own)
{
	struct buf out;

	buf_init(&out, 0);
	chat_record_write(bytes_of("{\"object\":\"chat.completion\",\"choices\":[]}"), "chatcmpl-2",
	                  1700000000, &out);
	assert_text(&out, "{\"id\":\"chatcmpl-2\",\"created\":1700000000,\"object\":"
	                  "\"chat.completion\",\"choices\":[]}");
	buf_fini(&out);
}
END_TEST

#define HEAD                                                                                       \
	"data: {\"id\":\"n\",\"created\":9,\"object\":\"chat.completion.chunk\",\"model\":"        \
	"\"small\",\"system_fingerprint\":\"fp x\",\"choices\":["

START_TEST(test_as_a_stream_the_end_has_a_frame_of_its_own_and_usage_if_asked_for)
{
	static const char said[] =
	        HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a \\\" \\\\\","
	             "\"refusal\":null},\"finish_reason\":null}]}\n\n" HEAD
	             "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
	static const char usage[] = HEAD "],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,"
	                                 "\"total_tokens\":5}}\n\n";
	struct buf out, expected;

	buf_init(&out, 0);
	buf_init(&expected, 0);
	buf_add_text(&expected, said);
	ck_assert(chat_record_write_events(bytes_of(record), "n", 9, false, &out));
	assert_text(&out, said);
	buf_reset(&out);
	buf_add_text(&expected, usage);
	buf_add(&expected, "", 1);
	ck_assert(chat_record_write_events(bytes_of(record), "n", 9, true, &out));
	assert_text(&out, expected.p);
	buf_fini(&out);
	buf_fini(&expected);
}
END_TEST

UNIT_MAIN("chat_record", test_what_belongs_to_one_answer_alone_is_left_out_and_white_space_too,
          test_usage_that_is_known_from_elsewhere_is_added_once,
          test_what_decides_whether_it_may_be_kept_is_told, test_what_is_no_completion_is_refused,
          test_it_is_given_again_with_an_id_and_a_time_of_its_own,
          test_as_a_stream_the_end_has_a_frame_of_its_own_and_usage_if_asked_for)
