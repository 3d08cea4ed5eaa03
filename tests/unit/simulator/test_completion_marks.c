#include "completion_fixture.h"

#include <stdio.h>

#define TOOLS                                                                                      \
	",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get \\\"x\\\"\","             \
	"\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},"      \
	"\"days\":{\"type\":\"integer\"},\"unit\":{\"enum\":[\"C\",\"F\"]}}}}}]"

static const char wanted_arguments[] =
        "{\"city\":\"Wetter in K\xc3\xb6ln?\",\"days\":1,\"unit\":\"C\"}";

START_TEST(test_a_tool_is_called_in_fragments)
{
	struct buf arguments = {0};
	struct chat_frame frame;
	char text[1024];
	struct answer a;

	answer_stream(&a, "Wetter in K\xc3\xb6ln?[[tool]]",
	              TOOLS ",\"stream\":true,\"logprobs\":true");
	chat_frame_init(&frame);
	ck_assert_ptr_nonnull(strstr(choices_of(a.frames[0], text),
	                             "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
	                             "\"index\":0,\"id\":\"call_"));
	ck_assert_ptr_nonnull(strstr(text, "\",\"type\":\"function\",\"function\":{\"name\":"
	                                   "\"get \\\"x\\\"\",\"arguments\":\"\"}}],"
	                                   "\"refusal\":null},\"logprobs\":null"));
	ck_assert_uint_gt(a.count, 5);
	for (size_t i = 1; i + 2 < a.count; i++) {
		static const char head[] = "[{\"index\":0,\"function\":{\"arguments\":";
		struct json_value calls;

		ck_assert(chat_frame_read(&frame, a.frames[i]));
		calls = frame.choices[0].tool_calls;
		ck_assert_uint_gt(calls.n, sizeof(head) + 3);
		ck_assert_int_eq(memcmp(calls.p, head, sizeof(head) - 1), 0);
		json_string_decode((struct json_value){calls.p + sizeof(head) - 1,
		                                       calls.n - (sizeof(head) - 1) - 3,
		                                       JSON_KIND_STRING},
		                   &arguments);
	}
	ck_assert(bytes_is(buf_bytes(&arguments), wanted_arguments));
	ck_assert_ptr_nonnull(strstr(choices_of(a.frames[a.count - 2], text),
	                             "\"finish_reason\":\"tool_calls\""));
	chat_frame_fini(&frame);
	buf_fini(&arguments);
	answer_end(&a);
}
END_TEST

START_TEST(test_without_tools_the_tool_mark_is_nothing)
{
	static const char *const members[] = {"", ",\"tools\":[]", ",\"tools\":[{},5,\"x\"]"};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		char finish[32] = "";
		struct answer a;
		struct buf text;

		answer_stream(&a, "x[[tool]]", members[i]);
		text = content_of(&a, 0, finish);
		ck_assert_str_eq(finish, "stop");
		ck_assert_uint_gt(text.n, 0);
		buf_fini(&text);
		answer_end(&a);
	}
}
END_TEST

START_TEST(test_a_refusal_stands_in_its_own_member)
{
	struct chat_frame frame;
	struct buf said = {0};
	struct answer a;

	answer_stream(&a, "x[[refusal]]", ",\"logprobs\":true,\"top_logprobs\":2");
	chat_frame_init(&frame);
	for (size_t i = 0; i + 1 < a.count; i++) {
		ck_assert(chat_frame_read(&frame, a.frames[i]));
		ck_assert_int_ne(frame.choices[0].content.kind, JSON_KIND_STRING);
		if (frame.choices[0].refusal.kind == JSON_KIND_STRING)
			json_string_decode(frame.choices[0].refusal, &said);
		if (i > 0 && i + 2 < a.count)
			ck_assert(frame.token_count == 1 && frame.tokens[0].is_refusal);
	}
	ck_assert(bytes_is(buf_bytes(&said), "I'm sorry, but I cannot help with that."));
	buf_fini(&said);
	chat_frame_fini(&frame);
	answer_end(&a);
}
END_TEST

START_TEST(test_faults_come_where_they_were_asked_for)
{
	static const struct {
		const char *marks;
		size_t frames;
		enum sim_step end;
	} rows[] = {
	        {"[[cut=0]]", 0, SIM_STEP_CUT},     {"[[cut=5]]", 5, SIM_STEP_CUT},
	        {"[[stall=0]]", 0, SIM_STEP_STALL}, {"[[stall=5]]", 5, SIM_STEP_STALL},
	        {"[[cut=22]]", 22, SIM_STEP_CUT},   {"[[cut=24]]", 23, SIM_STEP_END},
	        {"[[no-done]]", 22, SIM_STEP_END},  {"[[error200=5]]", 6, SIM_STEP_END},
	        {"[[error200]]", 1, SIM_STEP_END},  {"[[garbage=5]]", 24, SIM_STEP_END},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char prompt[64];
		struct answer a;

		snprintf(prompt, sizeof(prompt), "x[[tokens=20]]%s", rows[i].marks);
		answer_stream(&a, prompt, ",\"stream\":true");
		ck_assert_msg(a.count == rows[i].frames, "%s: %zu", rows[i].marks, a.count);
		ck_assert_int_eq(a.end, rows[i].end);
		answer_end(&a);
	}
}
END_TEST

START_TEST(test_garbage_is_no_frame_and_an_error_frame_is_one)
{
	struct chat_frame frame;
	struct answer a;

	chat_frame_init(&frame);
	answer_stream(&a, "x[[garbage=3]]", "");
	ck_assert(chat_frame_read(&frame, a.frames[2]));
	ck_assert(!chat_frame_read(&frame, a.frames[3]));
	ck_assert(chat_frame_read(&frame, a.frames[4]));
	answer_end(&a);
	answer_stream(&a, "x[[error200=3]]", "");
	ck_assert(chat_frame_read(&frame, a.frames[3]));
	ck_assert_int_eq(frame.error.kind, JSON_KIND_OBJECT);
	answer_end(&a);
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_the_document_says_what_the_stream_says)
{
	static const char members[] = ",\"n\":2,\"logprobs\":true,\"top_logprobs\":4";
	struct answer a, b;
	struct buf document = {0};
	struct chat_frame frame;

	answer_stream(&a, "a \"b\"\n\xc3\xa9[[tokens=50]]", members);
	answer_begin(&b, "a \"b\"\n\xc3\xa9[[tokens=50]]", members, 1);
	sim_completion_write(b.completion, &document);
	chat_frame_init(&frame);
	ck_assert(chat_frame_read(&frame, buf_bytes(&document)));
	ck_assert_uint_eq(frame.choice_count, 2);
	ck_assert_uint_eq(frame.token_count, 100);
	ck_assert_uint_eq(frame.usage_counts.completion_tokens, 100);
	ck_assert_uint_eq(sim_completion_sent(b.completion), 100);
	for (unsigned i = 0; i < 2; i++) {
		char finish[32] = "";
		struct buf streamed = content_of(&a, i, finish), whole = {0};

		json_string_decode(frame.choices[i].content, &whole);
		ck_assert(bytes_equal(buf_bytes(&streamed), buf_bytes(&whole)));
		ck_assert(json_string_is(frame.choices[i].finish_reason, finish));
		buf_fini(&streamed);
		buf_fini(&whole);
	}
	ck_assert_ptr_nonnull(
	        memmem(document.p, document.n, "\"object\":\"chat.completion\",", 27));
	chat_frame_fini(&frame);
	buf_fini(&document);
	answer_end(&a);
	answer_end(&b);
}
END_TEST

START_TEST(test_the_document_of_a_tool_call_or_refusal_is_whole)
{
	struct chat_frame frame;
	struct buf document = {0}, wanted = {0};
	struct answer a;

	chat_frame_init(&frame);
	answer_begin(&a, "Wetter in K\xc3\xb6ln?[[tool]]", TOOLS, 1);
	sim_completion_write(a.completion, &document);
	ck_assert(chat_frame_read(&frame, buf_bytes(&document)));
	ck_assert(json_string_is(frame.choices[0].finish_reason, "tool_calls"));
	buf_add_text(&wanted, "\"arguments\":");
	buf_add_json_string(&wanted, bytes_of(wanted_arguments));
	buf_add_text(&wanted, "}}]");
	ck_assert_ptr_nonnull(memmem(frame.choices[0].tool_calls.p, frame.choices[0].tool_calls.n,
	                             wanted.p, wanted.n));
	answer_end(&a);
	buf_reset(&document);
	answer_begin(&a, "x[[refusal]]", "", 1);
	sim_completion_write(a.completion, &document);
	ck_assert(chat_frame_read(&frame, buf_bytes(&document)));
	ck_assert_int_eq(frame.choices[0].content.kind, JSON_KIND_NULL);
	ck_assert(bytes_is(json_value_text(frame.choices[0].refusal),
	                   "\"I'm sorry, but I cannot help with that.\""));
	answer_end(&a);
	chat_frame_fini(&frame);
	buf_fini(&document);
	buf_fini(&wanted);
}
END_TEST

UNIT_MAIN("completion_marks", test_a_tool_is_called_in_fragments,
          test_without_tools_the_tool_mark_is_nothing, test_a_refusal_stands_in_its_own_member,
          test_faults_come_where_they_were_asked_for,
          test_garbage_is_no_frame_and_an_error_frame_is_one,
          test_the_document_says_what_the_stream_says,
          test_the_document_of_a_tool_call_or_refusal_is_whole)
