#include "wire/chat_frame.h"

#include "unit.h"
#include "wire/chat_frame_fixture.h"

#define TOP_THE "{\"token\":\" the\",\"logprob\":-0.5,\"bytes\":[32,116,104,101]}"
#define TOP_A   "{\"token\":\" a\",\"logprob\":-1.5e0,\"bytes\":[32,97]}"
#define ENTRY                                                                                      \
	"{\"token\":\" "                                                                           \
	"the\",\"logprob\":-0.5,\"bytes\":[32,116,104,101],\"top_logprobs\":[" TOP_THE "," TOP_A   \
	"]}"
#define HEAD                                                                                       \
	"{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,"      \
	"\"model\":\"gpt-4.1-nano\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\","
#define FRAME                                                                                      \
	HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"logprobs\":"            \
	     "{\"content\":[" ENTRY "],\"refusal\":null},\"finish_reason\":null}],\"usage\":null}"

static const struct chat_frame_view keep_none = {false, 0, false};

static void
check_value(struct json_value value, const char *want)
{
	ck_assert_msg(value.kind != JSON_KIND_NONE && bytes_is(json_value_text(value), want),
	              "%.*s is not %s", (int)value.n, value.p, want);
}

START_TEST(test_a_chunk_is_read_into_ranges)
{
	struct chat_frame frame;
	const struct chat_choice *choice;
	const struct chat_token *token;
	char *held;

	chat_frame_init(&frame);
	ck_assert(frame_read(&frame, FRAME, strlen(FRAME), &held));
	check_value(frame.id, "\"chatcmpl-1\"");
	check_value(frame.created, "1741570283");
	check_value(frame.model, "\"gpt-4.1-nano\"");
	check_value(frame.service_tier, "\"default\"");
	check_value(frame.system_fingerprint, "\"fp_1\"");
	check_value(frame.usage.value, "null");
	ck_assert(!frame.usage_counts.known);
	ck_assert_int_eq(frame.error.kind, JSON_KIND_NONE);
	ck_assert_uint_eq(frame.choice_count, 1);
	choice = &frame.choices[0];
	check_value(choice->delta, "{\"content\":\" the\"}");
	check_value(choice->content, "\" the\"");
	check_value(choice->finish_reason, "null");
	ck_assert_int_eq(choice->role.kind, JSON_KIND_NONE);
	ck_assert(choice->has_logprobs && choice->has_output);
	ck_assert_uint_eq(choice->token_count, 1);
	token = &frame.tokens[0];
	check_value(token->entry, ENTRY);
	check_value(token->text, "\" the\"");
	ck_assert_double_eq(token->logprob, -0.5);
	ck_assert_uint_eq(token->top_count, 2);
	ck_assert_double_eq(token->top[0], -0.5);
	ck_assert_double_eq(token->top[1], -1.5);
	ck_assert_int_eq(token->sampled, 0);
	ck_assert(!token->is_refusal);
	chat_frame_fini(&frame);
	free(held);
}
END_TEST

START_TEST(test_a_whole_completion_is_read_as_a_chunk_is)
{
	static const char text[] =
	        "{\"choices\":[{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":null,"
	        "\"refusal\":\"no\",\"tool_calls\":[{\"id\":\"c\"}],\"annotations\":[]},"
	        "\"logprobs\":{\"content\":[" ENTRY "],\"refusal\":[" ENTRY "," ENTRY "]},"
	        "\"finish_reason\":\"stop\"},{\"finish_reason\":\"length\",\"message\":{"
	        "\"content\":\"\"}}],"
	        "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2.0e1,\"total_tokens\":30,"
	        "\"prompt_tokens_details\":{\"audio_tokens\":0,\"cached_tokens\":4}}}";
	struct chat_frame frame;
	char *held;

	chat_frame_init(&frame);
	ck_assert(frame_read(&frame, text, strlen(text), &held));
	ck_assert_uint_eq(frame.choice_count, 2);
	ck_assert_uint_eq(frame.choices[0].index, 1);
	ck_assert_uint_eq(frame.choices[1].index, 0);
	check_value(frame.choices[0].role, "\"assistant\"");
	check_value(frame.choices[0].content, "null");
	check_value(frame.choices[0].refusal, "\"no\"");
	check_value(frame.choices[0].tool_calls, "[{\"id\":\"c\"}]");
	check_value(frame.choices[0].finish_reason, "\"stop\"");
	ck_assert_uint_eq(frame.choices[0].token_count, 3);
	ck_assert(!frame.tokens[0].is_refusal && frame.tokens[1].is_refusal &&
	          frame.tokens[2].is_refusal);
	ck_assert(frame.choices[0].has_output && !frame.choices[1].has_output);
	ck_assert(!frame.choices[1].has_logprobs);
	ck_assert_uint_eq(frame.choices[1].token_count, 0);
	ck_assert(frame.usage_counts.known);
	ck_assert_uint_eq(frame.usage_counts.prompt_tokens, 10);
	ck_assert_uint_eq(frame.usage_counts.completion_tokens, 20);
	ck_assert_uint_eq(frame.usage_counts.cached_tokens, 4);
	chat_frame_fini(&frame);
	free(held);
}
END_TEST

START_TEST(test_no_beginning_of_a_frame_is_readable)
{
	struct chat_frame frame;
	size_t n = strlen(FRAME);

	chat_frame_init(&frame);
	for (size_t i = 0; i <= n; i++) {
		char *held;

		ck_assert_msg(frame_read(&frame, FRAME, i, &held) == (i == n),
		              "the first %zu bytes", i);
		free(held);
	}
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_a_flipped_byte_is_never_read_past_the_payload)
{
	struct chat_frame frame;
	struct buf out;
	size_t n = strlen(FRAME);

	/* Readable or not: the sanitizers judge. What is readable must be written as valid JSON. */
	chat_frame_init(&frame);
	buf_init(&out, 0);
	for (size_t i = 0; i < n; i++) {
		for (const char *byte = "\"\\{}[],:0e. n\x01\x80"; *byte; byte++) {
			char text[sizeof(FRAME)], *held;
			struct json_scan s;

			memcpy(text, FRAME, sizeof(text));
			text[i] = *byte;
			buf_reset(&out);
			if (frame_read(&frame, text, n, &held)) {
				chat_frame_write(&frame, &keep_none, &out);
				json_scan_init(&s, buf_bytes(&out));
				ck_assert_msg(json_scan_end(&s), "%s", text);
			}
			free(held);
		}
	}
	buf_fini(&out);
	chat_frame_fini(&frame);
}
END_TEST

#define CHOICE(members) "{\"choices\":[{" members "}]}"
#define DELTA(members)  CHOICE("\"delta\":{" members "}")
#define TOKEN(entry)    CHOICE("\"logprobs\":{\"content\":[" entry "]}")

START_TEST(test_an_unknown_member_is_never_a_fault)
{
	static const char *const texts[] = {
	        "{\"choices\":[]}",
	        " \n{ \"choices\" : [ ] } \n",
	        "{\"choices\":[],\"x\":{\"choices\":7,\"usage\":[]},\"y\":[[]],\"\":1e999}",
	        "{\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}],\"id\":\"\","
	        "\"created\":0}",
	        CHOICE(""),
	        CHOICE("\"text\":7,\"stop_reason\":[1],\"content_filter_results\":{}"),
	        CHOICE("\"index\":null,\"delta\":null,\"message\":null,\"logprobs\":null,"
	               "\"finish_reason\":null"),
	        CHOICE("\"delta\":{},\"message\":null"),
	        DELTA("\"reasoning_content\":[{}],\"audio\":{\"id\":1},\"name\":2"),
	        DELTA("\"role\":null,\"content\":null,\"refusal\":null,\"tool_calls\":null,"
	              "\"function_call\":null"),
	        CHOICE("\"logprobs\":{}"),
	        CHOICE("\"logprobs\":{\"tokens\":[\"a\"],\"content\":null,\"refusal\":null}"),
	        CHOICE("\"logprobs\":{\"content\":[]}"),
	        TOKEN("{\"token\":\"a\"}"),
	        TOKEN("{\"token\":\"a\",\"id\":5,\"logprob\":0,\"bytes\":7,\"top_logprobs\":[{}]}"),
	        TOKEN("{\"token\":\"a\",\"top_logprobs\":[{\"id\":1,\"bytes\":{}}]}"),
	        "{\"id\":null,\"created\":null,\"model\":null,\"system_fingerprint\":null,"
	        "\"service_tier\":null,\"error\":null,\"usage\":null,\"choices\":[]}",
	        "{\"usage\":{}}",
	        "{\"choices\":null,\"usage\":{\"prompt_tokens\":null,\"prompt_tokens_details\":"
	        "null}}",
	        "{\"usage\":{\"prompt_tokens_details\":{},\"total_tokens\":\"x\"}}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(frame_is_readable(texts[i]), "%s", texts[i]);
}
END_TEST

static const char *const unreadable[] = {
        "",
        "null",
        "[]",
        "\"choices\"",
        "{}",
        "[DONE]",
        "{\"choices\":[]}x",
        "{\"choices\":[],}",
        "{\"choices\":null}",
        "{\"usage\":null}",
        "{\"detail\":\"not found\"}",
        "{\"choices\":{}}",
        "{\"choices\":\"a\"}",
        "{\"choices\":[null]}",
        "{\"choices\":[[]]}",
        "{\"choices\":[],\"id\":1}",
        "{\"choices\":[],\"created\":\"1\"}",
        "{\"choices\":[],\"model\":[]}",
        "{\"choices\":[],\"system_fingerprint\":1}",
        "{\"choices\":[],\"service_tier\":{}}",
        "{\"choices\":[],\"usage\":[]}",
        "{\"usage\":{\"prompt_tokens\":\"1\"}}",
        "{\"usage\":{\"prompt_tokens\":-1}}",
        "{\"usage\":{\"completion_tokens\":1.5}}",
        "{\"usage\":{\"completion_tokens\":[]}}",
        "{\"usage\":{\"prompt_tokens_details\":1}}",
        "{\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":true}}}",
        "{\"usage\":{\"prompt_cache_hit_tokens\":{}}}",
        CHOICE("\"index\":\"0\""),
        CHOICE("\"index\":-1"),
        CHOICE("\"index\":0.5"),
        CHOICE("\"index\":4294967296"),
        CHOICE("\"delta\":[]"),
        CHOICE("\"delta\":\"a\""),
        CHOICE("\"message\":1"),
        CHOICE("\"delta\":{},\"message\":{}"),
        CHOICE("\"finish_reason\":1"),
        CHOICE("\"logprobs\":[]"),
        CHOICE("\"logprobs\":true"),
        CHOICE("\"logprobs\":{\"content\":{}}"),
        CHOICE("\"logprobs\":{\"refusal\":1}"),
        DELTA("\"role\":1"),
        DELTA("\"content\":1"),
        DELTA("\"content\":[]"),
        DELTA("\"refusal\":{}"),
        DELTA("\"tool_calls\":{}"),
        DELTA("\"function_call\":[]"),
        TOKEN("null"),
        TOKEN("[]"),
        TOKEN("{}"),
        TOKEN("{\"logprob\":0}"),
        TOKEN("{\"token\":null}"),
        TOKEN("{\"token\":1}"),
        TOKEN("{\"token\":\"a\",\"logprob\":\"x\"}"),
        TOKEN("{\"token\":\"a\",\"logprob\":[]}"),
        TOKEN("{\"token\":\"a\",\"logprob\":true}"),
        TOKEN("{\"token\":\"a\",\"top_logprobs\":{}}"),
        TOKEN("{\"token\":\"a\",\"top_logprobs\":[null]}"),
        TOKEN("{\"token\":\"a\",\"top_logprobs\":[[]]}"),
        TOKEN("{\"token\":\"a\",\"top_logprobs\":[{\"token\":1}]}"),
        TOKEN("{\"token\":\"a\",\"top_logprobs\":[{\"logprob\":\"x\"}]}"),
        /* The same with the candidates ahead of the token. */
        TOKEN("{\"top_logprobs\":[null],\"token\":\"a\",\"logprob\":0}"),
        TOKEN("{\"top_logprobs\":{},\"token\":\"a\",\"logprob\":0}"),
};

START_TEST(test_a_member_of_the_wrong_type_makes_a_frame_unreadable)
{
	for (size_t i = 0; i < sizeof(unreadable) / sizeof(unreadable[0]); i++)
		ck_assert_msg(!frame_is_readable(unreadable[i]), "%s", unreadable[i]);
}
END_TEST

START_TEST(test_a_member_that_stands_twice_makes_a_frame_unreadable)
{
	static const char *const texts[] = {
	        "{\"choices\":[],\"choices\":[]}",
	        "{\"choices\":[],\"usage\":null,\"usage\":null}",
	        "{\"choices\":[],\"usage\":null,\"us\\u0061ge\":null}",
	        CHOICE("\"logprobs\":null,\"logprobs\":null"),
	        CHOICE("\"logprobs\":null,\"logprob\\u0073\":null"),
	        CHOICE("\"delta\":null,\"delta\":null"),
	        CHOICE("\"index\":0,\"index\":0"),
	        CHOICE("\"index\":0,\"inde\\u0078\":0"),
	        CHOICE("\"finish_reason\":null,\"finish_reason\":null"),
	        DELTA("\"content\":\"a\",\"content\":\"b\""),
	        DELTA("\"content\":\"a\",\"role\":null,\"content\":\"b\""),
	        CHOICE("\"logprobs\":{\"content\":[],\"content\":[]}"),
	        CHOICE("\"logprobs\":{\"content\":[],\"refusal\":null,\"refusal\":null}"),
	        CHOICE("\"logprobs\":{\"content\":[],\"refusal\":null,\"content\":[]}"),
	        TOKEN("{\"token\":\"a\",\"token\":\"a\"}"),
	        TOKEN("{\"token\":\"a\",\"logprob\":0,\"logprob\":0}"),
	        TOKEN("{\"token\":\"a\",\"logprob\":0,\"x\":1,\"logprob\":0}"),
	        TOKEN("{\"token\":\"a\",\"bytes\":[1],\"bytes\":[1]}"),
	        TOKEN("{\"token\":\"a\",\"top_logprobs\":[],\"top_logprobs\":[]}"),
	        TOKEN("{\"token\":\"a\",\"logprob\":0,\"top_logprobs\":[],\"top_logprobs\":[]}"),
	        TOKEN("{\"token\":\"a\",\"logprob\":0,\"top_logprobs\":[],\"token\":\"a\"}"),
	        TOKEN("{\"token\":\"a\",\"top_logprobs\":[{\"token\":\"a\",\"token\":\"a\"}]}"),
	        TOKEN("{\"token\":\"a\",\"top_logprobs\":[{\"token\":\"a\",\"logprob\":0,"
	              "\"logprob\":0}]}"),
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(!frame_is_readable(texts[i]), "%s", texts[i]);
}
END_TEST

START_TEST(test_the_number_of_choices_is_bounded)
{
	struct buf text;

	for (int count = CHAT_CHOICES_MAX; count <= CHAT_CHOICES_MAX + 1; count++) {
		buf_init(&text, 0);
		buf_add_text(&text, "{\"choices\":[{}");
		for (int i = 1; i < count; i++)
			buf_add_text(&text, ",{}");
		buf_add(&text, "]}", 3);
		ck_assert_int_eq(frame_is_readable(text.p), count == CHAT_CHOICES_MAX);
		buf_fini(&text);
	}
}
END_TEST

START_TEST(test_an_error_is_readable_whatever_stands_beside_it)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
	        {"{\"error\":{\"message\":\"no\"}}", "{\"message\":\"no\"}"},
	        {"{\"error\":\"no\"}", "\"no\""},
	        {"{\"choices\":\"x\",\"error\":false,\"id\":7}", "false"},
	        {"{\"choices\":[{\"index\":\"x\"}],\"error\":{}}", "{}"},
	        {"{\"choices\":[],\"\\u0065rror\":{}}", "{}"},
	        {"{\"error\":null,\"error\":1}", "1"},
	};
	struct chat_frame frame;
	struct buf out;

	chat_frame_init(&frame);
	buf_init(&out, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *held;

		ck_assert_msg(frame_read(&frame, cases[i].text, strlen(cases[i].text), &held), "%s",
		              cases[i].text);
		check_value(frame.error, cases[i].error);
		ck_assert_uint_eq(frame.choice_count, 0);
		buf_reset(&out);
		chat_frame_write(&frame, &keep_none, &out);
		ck_assert(bytes_is(buf_bytes(&out), cases[i].text));
		free(held);
	}
	buf_fini(&out);
	chat_frame_fini(&frame);
	ck_assert(!frame_is_readable("{\"error\":null}"));
	ck_assert(!frame_is_readable("{\"error\":{}"));
	ck_assert(!frame_is_readable("[{\"error\":{}}]"));
}
END_TEST

static const struct {
	const char *text;
	struct chat_frame_view view;
	const char *want;
} writings[] = {
        {FRAME, {true, 100, true}, FRAME},
        {FRAME,
         {false, 0, false},
         HEAD
         "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"finish_reason\":null}]}"},
        {FRAME,
         {true, 1, true},
         HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"logprobs\":"
              "{\"content\":[{\"token\":\" the\",\"logprob\":-0.5,\"bytes\":[32,116,104,101],"
              "\"top_logprobs\":[" TOP_THE
              "]}],\"refusal\":null},\"finish_reason\":null}],\"usage\":null}"},
        {FRAME,
         {true, 0, false},
         HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"logprobs\":"
              "{\"content\":[{\"token\":\" the\",\"logprob\":-0.5,\"bytes\":[32,116,104,101],"
              "\"top_logprobs\":[]}],\"refusal\":null},\"finish_reason\":null}]}"},
        /* A member goes with one comma, wherever it stands. */
        {"{\"usage\":{},\"choices\":[{\"logprobs\":null}]}",
         {false, 0, false},
         "{\"choices\":[{}]}"},
        {"{\"usage\":{}}", {false, 0, false}, "{}"},
        {"{\"usage\":{}}", {true, 0, true}, "{\"usage\":{}}"},
        {"{\"choices\":[],\"usage\":{} }", {false, 0, false}, "{\"choices\":[] }"},
        {"{\"choices\":[{\"logprobs\":null,\"index\":0},{\"index\":1,\"logprobs\":{}}],\"usage\":{}"
         ",\"z\":1}",
         {false, 0, false},
         "{\"choices\":[{\"index\":0},{\"index\":1}],\"z\":1}"},
        {"{\"usage\":null,\"choices\":[{\"logprobs\":null,\"index\":0}]}",
         {true, 5, false},
         "{\"choices\":[{\"logprobs\":null,\"index\":0}]}"},
        {CHOICE("\"x\":1,\"logpr\\u006fbs\":{},\"y\":2"),
         {false, 0, true},
         CHOICE("\"x\":1,\"y\":2")},
        /* Every other byte stays. */
        {" {\t\"z\" : 1e2 , \"choices\" : [ { \"a\\/b\" : \"\\ud800\" , \"logprobs\" : null } ] "
         "}\n",
         {false, 0, false},
         " {\t\"z\" : 1e2 , \"choices\" : [ { \"a\\/b\" : \"\\ud800\" } ] }\n"},
        {TOKEN("{\"token\":\"a\",\"top_logprobs\":[ { } , {} ]}"),
         {true, 2, true},
         TOKEN("{\"token\":\"a\",\"top_logprobs\":[ { } , {} ]}")},
        {TOKEN("{\"token\":\"a\",\"top_logprobs\":[ { } , {} ]}"),
         {true, 1, true},
         TOKEN("{\"token\":\"a\",\"top_logprobs\":[ { }]}")},
        /* Members of the same name elsewhere are not the gateway's. */
        {"{\"x\":{\"usage\":1,\"logprobs\":2},\"choices\":[{\"delta\":{\"logprobs\":3,\"usage\":4}}"
         "]}",
         {false, 0, false},
         "{\"x\":{\"usage\":1,\"logprobs\":2},\"choices\":[{\"delta\":{\"logprobs\":3,\"usage\":4}}"
         "]}"},
};

START_TEST(test_only_what_the_view_leaves_out_is_removed)
{
	struct chat_frame frame;
	struct buf out;

	chat_frame_init(&frame);
	buf_init(&out, 0);
	for (size_t i = 0; i < sizeof(writings) / sizeof(writings[0]); i++) {
		char *held;

		ck_assert_msg(frame_read(&frame, writings[i].text, strlen(writings[i].text), &held),
		              "%s", writings[i].text);
		buf_reset(&out);
		chat_frame_write(&frame, &writings[i].view, &out);
		ck_assert_msg(bytes_is(buf_bytes(&out), writings[i].want), "%s gives %.*s",
		              writings[i].text, (int)out.n, out.p);
		free(held);
	}
	buf_fini(&out);
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_only_a_frame_without_choices_is_the_usage_frame)
{
	static const struct {
		const char *text;
		bool is_usage;
		uint64_t cached;
	} cases[] = {
	        {"{\"choices\":[],\"usage\":{\"prompt_tokens\":5}}", true, 0},
	        {"{\"usage\":{\"prompt_tokens\":5,\"prompt_cache_hit_tokens\":3}}", true, 3},
	        {"{\"choices\":[],\"usage\":null}", false, 0},
	        {"{\"choices\":[{}],\"usage\":{}}", false, 0},
	};
	struct chat_frame frame;

	chat_frame_init(&frame);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert(chat_frame_read(&frame, bytes_of(cases[i].text)));
		ck_assert_int_eq(chat_frame_is_usage(&frame), cases[i].is_usage);
		ck_assert_uint_eq(frame.usage_counts.cached_tokens, cases[i].cached);
	}
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_output_is_text_that_is_not_empty_or_a_call)
{
	static const struct {
		const char *text;
		bool has_output;
	} cases[] = {
	        {DELTA("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null"), false},
	        {DELTA("\"content\":null,\"tool_calls\":[ ]"), false},
	        {DELTA("\"reasoning_content\":\"hm\""), false},
	        {DELTA("\"content\":\"a\""), true},
	        {DELTA("\"refusal\":\"a\""), true},
	        {DELTA("\"tool_calls\":[ {}]"), true},
	        {DELTA("\"function_call\":{}"), true},
	        {CHOICE("\"message\":{\"content\":\"a\"}"), true},
	};
	struct chat_frame frame;

	chat_frame_init(&frame);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert(chat_frame_read(&frame, bytes_of(cases[i].text)));
		ck_assert_msg(frame.choices[0].has_output == cases[i].has_output, "%s",
		              cases[i].text);
	}
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_a_frame_that_has_grown_allocates_nothing_more)
{
	struct chat_frame frame;
	struct chat_choice *choices;
	struct chat_token *tokens;

	chat_frame_init(&frame);
	ck_assert(chat_frame_read(&frame, bytes_of(FRAME)));
	choices = frame.choices;
	tokens = frame.tokens;
	for (int i = 0; i < 100; i++) {
		ck_assert(chat_frame_read(&frame, bytes_of(i % 2 ? FRAME : "{\"choices\":[]}")));
		ck_assert_uint_eq(frame.token_count, i % 2);
		ck_assert_ptr_eq(frame.choices, choices);
		ck_assert_ptr_eq(frame.tokens, tokens);
	}
	chat_frame_fini(&frame);
}
END_TEST

/* What stands in front of the choices is read once for frames that begin alike. */
START_TEST(test_frames_that_begin_alike_are_read_as_each_by_itself)
{
	static const char *const rows[] = {
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":"
	        "\"x\"}}]}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":3}],\"usage\":"
	        "null}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_"
	        "tokens\":7}}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[],\"id\":\"b\"}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[],\"choices\":[]}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[],\"system_fingerprint\":"
	        "\"f\"}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":null,\"error\":{"
	        "\"message\":\"e\"}}",
	        "{\"id\":\"a\",\"created\":1,\"model\":\"n\",\"choices\":[{\"finish_reason\":"
	        "\"stop\"}]}",
	        " {\"usage\":{\"prompt_tokens\":1},\"choices\":[]}",
	        " {\"usage\":{\"prompt_tokens\":1},\"choices\":[{\"index\":1}]}",
	};
	enum { COUNT = sizeof(rows) / sizeof(rows[0]) };
	struct chat_frame reused;

	chat_frame_init(&reused);
	for (size_t i = 0; i < COUNT * COUNT * 2; i++) {
		struct bytes text = bytes_of(rows[i % 2 ? i / 2 % COUNT : i / 2 / COUNT]);
		struct chat_frame fresh;
		bool good;

		chat_frame_init(&fresh);
		good = chat_frame_read(&fresh, text);
		ck_assert_msg(chat_frame_read(&reused, text) == good, "%s", text.p);
		if (good) {
			ck_assert(
			        bytes_equal(json_value_text(reused.id), json_value_text(fresh.id)));
			ck_assert(bytes_equal(json_value_text(reused.model),
			                      json_value_text(fresh.model)));
			ck_assert(reused.id.p == fresh.id.p && reused.created.p == fresh.created.p);
			ck_assert_int_eq(reused.error.kind, fresh.error.kind);
			ck_assert_uint_eq(reused.choice_count, fresh.choice_count);
			ck_assert_uint_eq(reused.usage_counts.prompt_tokens,
			                  fresh.usage_counts.prompt_tokens);
			ck_assert(reused.span.open == fresh.span.open &&
			          reused.span.close == fresh.span.close);
			ck_assert(reused.usage.begin == fresh.usage.begin);
		}
		chat_frame_fini(&fresh);
	}
	chat_frame_fini(&reused);
}
END_TEST

UNIT_MAIN("chat_frame", test_frames_that_begin_alike_are_read_as_each_by_itself,
          test_a_chunk_is_read_into_ranges, test_a_whole_completion_is_read_as_a_chunk_is,
          test_no_beginning_of_a_frame_is_readable,
          test_a_flipped_byte_is_never_read_past_the_payload,
          test_an_unknown_member_is_never_a_fault,
          test_a_member_of_the_wrong_type_makes_a_frame_unreadable,
          test_a_member_that_stands_twice_makes_a_frame_unreadable,
          test_the_number_of_choices_is_bounded,
          test_an_error_is_readable_whatever_stands_beside_it,
          test_only_what_the_view_leaves_out_is_removed,
          test_only_a_frame_without_choices_is_the_usage_frame,
          test_output_is_text_that_is_not_empty_or_a_call,
          test_a_frame_that_has_grown_allocates_nothing_more)
