#include "completion_fixture.h"

#include <stdio.h>

START_TEST(test_a_stream_is_spelled_as_openai_spells_it)
{
	static const char *const wants[] = {
	        "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\","
	        "\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}]}",
	        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"You\"},\"logprobs\":null,"
	        "\"finish_reason\":null}]}",
	        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" asked\"},\"logprobs\":null,"
	        "\"finish_reason\":null}]}",
	        "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":"
	        "\"stop\"}]}",
	};
	static const char middle[] = "\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
	                             "\"model\":\"m\",\"system_fingerprint\":\"fp_";
	struct answer a;
	char text[1024];

	answer_stream(&a, "hi[[tokens=2]]", ",\"stream\":true");
	ck_assert_uint_eq(a.count, 5);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_str_eq(choices_of(a.frames[i], text), wants[i]);
		ck_assert_ptr_nonnull(
		        memmem(a.frames[i].p, a.frames[i].n, middle, sizeof(middle) - 1));
		ck_assert_int_eq(memcmp(a.frames[i].p, "{\"id\":\"chatcmpl-", 16), 0);
	}
	ck_assert(bytes_is(a.frames[4], "[DONE]"));
	ck_assert_int_eq(a.end, SIM_STEP_END);
	ck_assert_int_eq(sim_completion_next(a.completion, &a.stream), SIM_STEP_END);
	answer_end(&a);
}
END_TEST

START_TEST(test_usage_comes_last_and_is_null_before)
{
	char text[1024];
	struct answer a;

	answer_stream(&a, "hi[[tokens=2]]",
	              ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
	ck_assert_uint_eq(a.count, 6);
	for (size_t i = 0; i < 4; i++)
		ck_assert_int_eq(
		        memcmp(a.frames[i].p + a.frames[i].n - 15, "],\"usage\":null}", 15), 0);
	/* The marks were sent, so they count: hi 1, [[ 2, tokens 1, = 1, 2 1, ]] 2; and 7 around it. */
	ck_assert_str_eq(choices_of(a.frames[4], text),
	                 "\"choices\":[],\"usage\":{\"prompt_tokens\":15,\"completion_tokens\":2,"
	                 "\"total_tokens\":17,\"prompt_tokens_details\":{\"cached_tokens\":0,"
	                 "\"audio_tokens\":0},\"completion_tokens_details\":{"
	                 "\"reasoning_tokens\":0,\"audio_tokens\":0,"
	                 "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}");
	answer_end(&a);
}
END_TEST

START_TEST(test_the_same_question_gets_the_same_answer_under_another_id)
{
	struct buf one = {0}, two = {0};
	struct answer a, b;

	answer_begin(&a, "why?", ",\"logprobs\":true,\"top_logprobs\":3", 1);
	answer_begin(&b, "why?", ",\"logprobs\":true,\"top_logprobs\":3", 2);
	sim_completion_write(a.completion, &one);
	sim_completion_write(b.completion, &two);
	ck_assert_uint_eq(one.n, two.n);
	ck_assert_int_ne(memcmp(one.p, two.p, 42), 0);
	ck_assert_int_eq(memcmp(one.p + 42, two.p + 42, one.n - 42), 0);
	buf_fini(&one);
	buf_fini(&two);
	answer_end(&a);
	answer_end(&b);
}
END_TEST

START_TEST(test_an_answer_ends_for_a_reason)
{
	static const struct {
		const char *prompt, *members, *finish;
		uint64_t tokens;
	} rows[] = {
	        {"x[[tokens=30]]", "", "stop", 30},
	        {"x[[tokens=30]]", ",\"max_tokens\":30", "stop", 30},
	        {"x[[tokens=30]]", ",\"max_tokens\":29", "length", 29},
	        {"x[[tokens=30]]", ",\"max_completion_tokens\":1", "length", 1},
	        {"x[[tokens=30]]", ",\"stop\":\":\"", "stop", 2},
	        {"x[[tokens=30]]", ",\"stop\":[\":\"],\"max_tokens\":2", "length", 2},
	        {"x[[tokens=30,finish=content_filter]]", "", "content_filter", 30},
	        {"x[[tokens=30,finish=content_filter]]", ",\"max_tokens\":3", "length", 3},
	        {"x[[empty]]", "", "stop", 0},
	        {"x[[tokens=0]]", ",\"max_tokens\":3", "stop", 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char finish[32] = "";
		struct answer a;
		struct buf text;

		answer_stream(&a, rows[i].prompt, rows[i].members);
		text = content_of(&a, 0, finish);
		ck_assert_msg(strcmp(finish, rows[i].finish) == 0, "%zu: %s", i, finish);
		ck_assert_uint_eq(sim_completion_tokens(a.completion), rows[i].tokens);
		ck_assert_uint_eq(sim_completion_sent(a.completion), rows[i].tokens);
		ck_assert_uint_eq(a.count, rows[i].tokens + 3);
		buf_fini(&text);
		answer_end(&a);
	}
}
END_TEST

START_TEST(test_a_partial_answer_is_gone_on_with)
{
/* The last of two members is the one that counts, so this replaces the fixture's messages. */
#define GOING_ON(marks, more)                                                                      \
	",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":[{\"role\":"    \
	"\"user\",\"content\":\"Say a b c[[" marks "]]\"},{\"role\":\"assistant\",\"content\":"    \
	"\"You asked: Say a\"" more
	static const struct {
		const char *rule, *members, *text, *finish;
		uint64_t made;
	} rows[] = {
	        {"its tokens are left out", GOING_ON("tokens=9", "}]"), " b c.", "stop", 3},
	        {"max_tokens limits what is new", GOING_ON("tokens=9", "}],\"max_tokens\":2"),
	         " b c", "length", 2},
	        {"a limit that is not reached", GOING_ON("tokens=9", "}],\"max_tokens\":3"),
	         " b c.", "stop", 3},
	        {"nothing is left to say", GOING_ON("tokens=6", "}]"), "", "stop", 0},
	        {"prefix alone repeats nothing", GOING_ON("tokens=9", ",\"prefix\":true}]"),
	         " b c.", "stop", 3},
	        {"the mark alone repeats nothing", GOING_ON("tokens=9,echo", "}]"), " b c.", "stop",
	         3},
	        {"prefix and mark repeat it", GOING_ON("tokens=9,echo", ",\"prefix\":true}]"),
	         "You asked: Say a b c.", "stop", 3},
	        {"what is repeated is not limited",
	         GOING_ON("tokens=9,echo", ",\"prefix\":true}],\"max_tokens\":1"),
	         "You asked: Say a b", "length", 1},
	        {"nor stopped",
	         GOING_ON("tokens=9,echo", ",\"prefix\":true}],\"stop\":[\"a\",\" c\"]"),
	         "You asked: Say a b", "stop", 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char finish[32] = "", usage[1024], wanted[64];
		struct answer a;
		struct buf text;

		answer_stream(&a, "", rows[i].members);
		text = content_of(&a, 0, finish);
		ck_assert_msg(bytes_is(buf_bytes(&text), rows[i].text), "%s: %.*s", rows[i].rule,
		              (int)text.n, text.p);
		ck_assert_msg(strcmp(finish, rows[i].finish) == 0, "%s: %s", rows[i].rule, finish);
		snprintf(wanted, sizeof(wanted), "\"completion_tokens\":%u,",
		         (unsigned)rows[i].made);
		ck_assert_msg(strstr(choices_of(a.frames[a.count - 2], usage), wanted), "%s: %s",
		              rows[i].rule, usage);
		buf_fini(&text);
		answer_end(&a);
	}
}
END_TEST

START_TEST(test_a_partial_answer_is_paid_for_with_the_prompt)
{
	char text[1024];
	struct answer a;

	answer_stream(&a, "", GOING_ON("tokens=9,echo", ",\"prefix\":true}]"));
	/* 3 for the reply, 4 a message, Say a b c [[ tokens = 9 , echo ]] and You asked : Say a. */
	ck_assert_ptr_nonnull(strstr(choices_of(a.frames[a.count - 2], text),
	                             "{\"prompt_tokens\":29,\"completion_tokens\":3,"
	                             "\"total_tokens\":32,"));
	answer_end(&a);
}
END_TEST

START_TEST(test_several_choices_take_turns_and_differ)
{
	char finish[3][32] = {"", "", ""};
	struct buf texts[3];
	struct answer a;

	answer_stream(&a, "x[[tokens=40]]", ",\"n\":3,\"stream\":true");
	ck_assert_uint_eq(a.count, 3 * 42 + 1);
	for (unsigned i = 0; i < 3; i++) {
		texts[i] = content_of(&a, i, finish[i]);
		ck_assert_str_eq(finish[i], "stop");
	}
	ck_assert(!bytes_equal(buf_bytes(&texts[0]), buf_bytes(&texts[1])));
	ck_assert(!bytes_equal(buf_bytes(&texts[1]), buf_bytes(&texts[2])));
	for (unsigned i = 0; i < 3; i++)
		buf_fini(&texts[i]);
	answer_end(&a);
}
END_TEST

START_TEST(test_choices_that_stop_early_leave_the_turns_to_the_others)
{
	unsigned finished = 0;
	struct answer a;

	/* The stop falls at another place in each choice, and in some not at all. */
	answer_stream(&a, "x[[tokens=200]]", ",\"n\":5,\"stream\":true,\"stop\":\" river\"");
	ck_assert_int_eq(a.end, SIM_STEP_END);
	for (unsigned i = 0; i < 5; i++) {
		char finish[32] = "";
		struct buf text = content_of(&a, i, finish);

		ck_assert_str_eq(finish, "stop");
		ck_assert(!text.p || !memmem(text.p, text.n, " river", 6));
		finished++;
		buf_fini(&text);
	}
	ck_assert_uint_eq(a.count, sim_completion_tokens(a.completion) + 2 * finished + 1);
	answer_end(&a);
}
END_TEST

START_TEST(test_all_choices_together_are_bounded)
{
	struct answer a;

	answer_begin(&a, "x[[tokens=32768]]", ",\"n\":128", 1);
	ck_assert_uint_eq(sim_completion_tokens(a.completion), 262144);
	answer_end(&a);
}
END_TEST

UNIT_MAIN("completion", test_a_stream_is_spelled_as_openai_spells_it,
          test_usage_comes_last_and_is_null_before,
          test_the_same_question_gets_the_same_answer_under_another_id,
          test_an_answer_ends_for_a_reason, test_a_partial_answer_is_gone_on_with,
          test_a_partial_answer_is_paid_for_with_the_prompt,
          test_several_choices_take_turns_and_differ,
          test_choices_that_stop_early_leave_the_turns_to_the_others,
          test_all_choices_together_are_bounded)
