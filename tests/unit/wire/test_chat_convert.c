#include "wire/chat_convert.h"

#include "unit.h"

#define TOKEN(text)                                                                                \
	"{\"token\": \"" text "\",\"logprob\":-0.50,\"top_logprobs\":[{\"token\":\"" text          \
	"\",\"logprob\":-0.50}]}"
#define CHUNK "\"object\":\"chat.completion.chunk\""

enum { FRAMES_MAX = 3 };

static const struct {
	const char *rule, *document;
	const char *frames[FRAMES_MAX + 1]; /* wanted; a usage frame is the last */
} rows[] = {
        {"a message becomes a delta",
         "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":7,\"model\":\"m\",\"choices\":[{"
         "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi "
         "\\u00e9\"},\"logprobs\":null,"
         "\"finish_reason\":\"stop\"}]}",
         {"{\"id\":\"c\"," CHUNK
          ",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{"
          "\"role\":\"assistant\",\"content\":\"Hi \\u00e9\"},\"logprobs\":null,\"finish_reason\":"
          "\"stop\"}]}"}},
        {"the id comes first, the other members in their order",
         "{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"x\"}}],\"created\":7.0,\"id\":"
         "\"c\"}",
         {"{\"id\":\"c\"," CHUNK
          ",\"model\":\"m\",\"created\":7.0,\"choices\":[{\"index\":0,\"delta\":{"
          "\"content\":\"x\"},\"finish_reason\":null}]}"}},
        {"nothing is made up that the document lacks",
         "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]"
          "}"}},
        {"the usage has a frame of its own",
         "{\"id\":\"c\",\"usage\":{\"prompt_tokens\": "
         "3,\"completion_tokens\":2,\"more\":{}},\"choices\":["
         "{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}",
         {"{\"id\":\"c\"," CHUNK ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},"
          "\"finish_reason\":\"stop\"}]}",
          "{\"id\":\"c\"," CHUNK
          ",\"choices\":[],\"usage\":{\"prompt_tokens\": 3,\"completion_tokens\":2,\"more\":{}}}"}},
        {"a usage of null has none",
         "{\"usage\":null,\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}"
         "]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]"
          "}"}},
        {"tool calls get their index, null content stays",
         "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,\"tool_"
         "calls\":["
         "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{"
         "\\\"x\\\": "
         "1}\"}}, {} ],\"refusal\":null},\"finish_reason\":\"tool_calls\"}]}",
         {"{" CHUNK ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null,"
          "\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
          "\"arguments\":"
          "\"{\\\"x\\\": "
          "1}\"},\"index\":0},{\"index\":1}],\"refusal\":null},\"finish_reason\":\"tool_calls\""
          "}]}"}},
        {"an index of a tool call that is not its place gives way to it",
         "{\"choices\":[{\"message\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\"},{\"id\":\"b\","
         "\"index\":"
         "null},{\"index\" : 0}]}}]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\"},{"
          "\"id\":\"b\",\"index\":1},{\"index\" : 2}]},\"finish_reason\":null}]}"}},
        {"a tool call that is none stays what it is",
         "{\"choices\":[{\"message\":{\"tool_calls\":[7,null]}}]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[7,null]},\"finish_reason\":null}"
          "]}"}},
        {"a refusal and a function call",
         "{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"No.\",\"function_call\":{"
         "\"name\":"
         "\"f\",\"arguments\":\"\"}},\"finish_reason\":\"stop\"}]}",
         {"{" CHUNK ",\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"refusal\":\"No.\","
          "\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}},\"finish_reason\":\"stop\"}]}"}},
        {"logprobs stand as they are",
         "{\"choices\":[{\"logprobs\":{\"content\": [" TOKEN("It") ", " TOKEN(
                 " is") "],\"refusal\":null,"
                        "\"own\":1},\"message\":{\"content\":\"It "
                        "is\"},\"finish_reason\":\"stop\"}]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"It is\"},\"logprobs\":{\"content\": "
          "[" TOKEN("It") ", " TOKEN(
                  " is") "],\"refusal\":null,\"own\":1},\"finish_reason\":\"stop\"}]}"}},
        {"each choice has a frame; without an index it is its place",
         "{\"choices\":[{\"index\":4,\"message\":{\"content\":\"a\"}},{\"message\":{\"content\":"
         "\"b\"}},"
         "{\"index\":null,\"message\":null}]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":4,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}",
          "{" CHUNK
          ",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}",
          "{" CHUNK ",\"choices\":[{\"index\":2,\"delta\":{},\"finish_reason\":null}]}"}},
        {"unknown members stay, at each level",
         "{\"x\":[1, 2],\"obj\\u0065ct\":\"o\",\"choices\":[{\"stop_reason\":7,\"m\\u0065ssage\":{"
         "\"content\":\"a\",\"reasoning\":\"r\"},\"filter\":{ }}],\"error\":null,\"y\":\"\"}",
         {"{" CHUNK ",\"x\":[1, 2],\"error\":null,\"y\":\"\",\"choices\":[{\"index\":0,\"delta\":{"
          "\"content\":\"a\",\"reasoning\":\"r\"},\"finish_reason\":null,\"stop_reason\":7,"
          "\"filter\":{ }}]}"}},
        {"what is a delta already stays one",
         "{\"choices\":[{\"delta\":{\"content\":\"a\"},\"message\":null}]}",
         {"{" CHUNK
          ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}"}},
};

static void
check_same_choice(const char *rule, const struct chat_frame *whole, size_t at,
                  const struct chat_frame *part)
{
	const struct chat_choice *a = &whole->choices[at], *b = &part->choices[0];

	ck_assert_msg(part->choice_count == 1, "%s", rule);
	ck_assert_msg(a->has_output == b->has_output, "%s", rule);
	ck_assert_msg(bytes_equal(json_value_text(a->content), json_value_text(b->content)), "%s",
	              rule);
	ck_assert_msg(a->token_count == b->token_count, "%s", rule);
	for (size_t i = 0; i < a->token_count; i++) {
		const struct chat_token *old = &whole->tokens[a->token_first + i];
		const struct chat_token *new = &part->tokens[i];

		ck_assert(bytes_equal(json_value_text(old->entry), json_value_text(new->entry)));
		ck_assert(old->logprob == new->logprob && old->top_count == new->top_count);
		ck_assert(old->is_refusal == new->is_refusal);
	}
}

START_TEST(test_each_document_has_its_frames)
{
	struct chat_frame whole, part;
	struct buf begin, out;

	chat_frame_init(&whole);
	chat_frame_init(&part);
	buf_init(&begin, 0);
	buf_init(&out, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *rule = rows[i].rule;
		size_t at = 0;

		ck_assert_msg(chat_frame_read(&whole, bytes_of(rows[i].document)), "%s", rule);
		buf_reset(&begin);
		chat_convert_begin(&whole, &begin);
		for (; at < whole.choice_count; at++) {
			buf_reset(&out);
			chat_convert_choice(&whole, at, buf_bytes(&begin), &out);
			ck_assert_msg(bytes_is(buf_bytes(&out), rows[i].frames[at]), "%s: %.*s",
			              rule, (int)out.n, out.p);
			ck_assert_msg(chat_frame_read(&part, buf_bytes(&out)), "%s", rule);
			check_same_choice(rule, &whole, at, &part);
		}
		buf_reset(&out);
		chat_convert_usage(&whole, buf_bytes(&begin), &out);
		ck_assert_msg((out.n > 0) == (rows[i].frames[at] != NULL), "%s", rule);
		if (out.n > 0) {
			ck_assert_msg(bytes_is(buf_bytes(&out), rows[i].frames[at]), "%s: %.*s",
			              rule, (int)out.n, out.p);
			ck_assert(chat_frame_read(&part, buf_bytes(&out)));
			ck_assert(chat_frame_is_usage(&part));
			ck_assert(part.usage_counts.completion_tokens ==
			          whole.usage_counts.completion_tokens);
		}
	}
	buf_fini(&out);
	buf_fini(&begin);
	chat_frame_fini(&part);
	chat_frame_fini(&whole);
}
END_TEST

START_TEST(test_no_room_shows)
{
	static const char document[] =
	        "{\"choices\":[{\"message\":{\"content\":\"x\",\"tool_calls\":[{}]}}]}";
	struct chat_frame frame;
	size_t whole;
	struct buf out;

	chat_frame_init(&frame);
	ck_assert(chat_frame_read(&frame, bytes_of(document)));
	buf_init(&out, 0);
	chat_convert_choice(&frame, 0, bytes_of("{\"choices\":["), &out);
	whole = out.n;
	buf_fini(&out);
	for (size_t limit = 1; limit < whole; limit++) {
		buf_init(&out, limit);
		chat_convert_choice(&frame, 0, bytes_of("{\"choices\":["), &out);
		ck_assert_msg(out.failed, "%zu of %zu", limit, whole);
		buf_fini(&out);
	}
	chat_frame_fini(&frame);
}
END_TEST

UNIT_MAIN("chat_convert", test_each_document_has_its_frames, test_no_room_shows)
