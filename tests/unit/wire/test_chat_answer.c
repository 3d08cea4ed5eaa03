#include "wire/chat_answer.h"

#include <stdio.h>

#include "base/mem.h"
#include "unit.h"

enum { LIMIT = 1 << 20, FRAMES_MAX = 8 };

#define CHOICE(members) "{\"choices\":[{" members "}]}"
#define DELTA(members)  CHOICE("\"index\":0,\"delta\":{" members "}")
#define STOP            CHOICE("\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"")
#define ONE(message)                                                                               \
	"{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{" message          \
	"},\"finish_reason\":null}]}"
#define TOKEN(text, rest) "{\"token\":\"" text "\",\"logprob\":-1,\"top_logprobs\":[" rest "]}"

/* Adds frames that are gone right after; gives how many were taken. */
static size_t
frames_add(struct chat_answer *answer, const char *const *frames, size_t count)
{
	struct chat_frame frame;
	size_t taken = 0;
	bool good = true;

	chat_frame_init(&frame);
	for (; taken < count && frames[taken] && good; taken += good) {
		size_t n = strlen(frames[taken]);
		char *payload = mem_new(n);

		memcpy(payload, frames[taken], n);
		ck_assert_msg(chat_frame_read(&frame, (struct bytes){payload, n}), "%s",
		              frames[taken]);
		good = chat_answer_add(answer, &frame);
		memset(payload, '#', n);
		free(payload);
	}
	chat_frame_fini(&frame);
	return taken;
}

static void
check_document(const struct chat_answer *answer, const char *want)
{
	struct buf out;
	struct json_scan scan;

	buf_init(&out, 0);
	chat_answer_write(answer, &out);
	ck_assert_msg(bytes_is(buf_bytes(&out), want), "%.*s\ninstead of\n%s", (int)out.n, out.p,
	              want);
	json_scan_init(&scan, buf_bytes(&out));
	ck_assert(json_scan_end(&scan));
	buf_fini(&out);
}

struct story {
	const char *frames[FRAMES_MAX]; /* ended by NULL, unless there are as many */
	const char *want;
};

static size_t
story_length(const struct story *story)
{
	size_t n = 0;

	while (n < FRAMES_MAX && story->frames[n])
		n++;
	return n;
}

static void
check_stories(const struct story *stories, size_t count, bool keep_logprobs, unsigned top_logprobs)
{
	for (size_t i = 0; i < count; i++) {
		struct chat_answer *answer = chat_answer_new(LIMIT, keep_logprobs, top_logprobs);

		ck_assert_uint_eq(frames_add(answer, stories[i].frames, FRAMES_MAX),
		                  story_length(&stories[i]));
		check_document(answer, stories[i].want);
		chat_answer_free(answer);
	}
}

START_TEST(test_a_stream_becomes_one_completion)
{
	static const struct story story = {
	        {"{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":"
	         "\"m\","
	         "\"service_tier\":null,\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,"
	         "\"delta\":"
	         "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,"
	         "\"finish_reason\":null}],\"usage\":null}",
	         "{\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
	         "{\"content\":\"Hel\"},\"finish_reason\":null}]}",
	         "{\"id\":\"c2\",\"created\":6,\"model\":\"n\",\"service_tier\":\"flex\","
	         "\"choices\":"
	         "[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}",
	         STOP, "{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"x\":2}}",
	         "{\"choices\":[],\"usage\":{\"prompt_tokens\":3, \"completion_tokens\":4}}"},
	        "{\"object\":\"chat.completion\",\"id\":\"c1\",\"created\":5,\"model\":\"m\","
	        "\"service_tier\":\"flex\",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,"
	        "\"message\":{\"role\":\"assistant\",\"content\":\"Hello\",\"refusal\":null},"
	        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3, "
	        "\"completion_tokens\":4}}"};
	struct chat_answer *answer = chat_answer_new(LIMIT, false, 0);

	ck_assert(!chat_answer_is_finished(answer) && !chat_answer_has_output(answer));
	ck_assert_uint_eq(frames_add(answer, story.frames, 1), 1);
	ck_assert(!chat_answer_is_finished(answer) && !chat_answer_has_output(answer));
	ck_assert(!chat_answer_usage(answer).known);
	ck_assert_uint_eq(frames_add(answer, story.frames + 1, 2), 2);
	ck_assert(!chat_answer_is_finished(answer) && chat_answer_has_output(answer));
	ck_assert_uint_eq(frames_add(answer, story.frames + 3, 3), 3);
	ck_assert(chat_answer_is_finished(answer));
	ck_assert(chat_answer_usage(answer).known);
	ck_assert_uint_eq(chat_answer_usage(answer).completion_tokens, 4);
	check_document(answer, story.want);
	chat_answer_free(answer);
}
END_TEST

static const struct story messages[] = {
        {{NULL}, "{\"object\":\"chat.completion\",\"choices\":[]}"},
        /* A role never told, content that never was. */
        {{DELTA("")}, ONE("\"role\":\"assistant\",\"content\":null")},
        {{DELTA("\"role\":\"\"")}, ONE("\"role\":\"assistant\",\"content\":null")},
        {{DELTA("\"role\":null"), DELTA("\"role\":\"tool\""), DELTA("\"role\":null")},
         ONE("\"role\":\"tool\",\"content\":null")},
        {{DELTA("\"content\":null"), DELTA("\"content\":\"a\""), DELTA("\"content\":null")},
         ONE("\"role\":\"assistant\",\"content\":\"a\"")},
        {{DELTA("\"content\":\"\"")}, ONE("\"role\":\"assistant\",\"content\":\"\"")},
        /* Text goes on as it stands, also within a pair of surrogates. */
        {{DELTA("\"content\":\"\\ud83d\""), DELTA("\"content\":\"\\ude00\\n\""),
          DELTA("\"content\":\"\xC3\xA9\\/\"")},
         ONE("\"role\":\"assistant\",\"content\":\"\\ud83d\\ude00\\n\xC3\xA9\\/\"")},
        {{DELTA("\"content\":\"a\""), DELTA("\"c\\u006fntent\":\"b\"")},
         ONE("\"role\":\"assistant\",\"content\":\"ab\"")},
        {{DELTA("\"refusal\":\"I \""), DELTA("\"refusal\":\"can't\"")},
         ONE("\"role\":\"assistant\",\"refusal\":\"I can't\",\"content\":null")},
        /* Other members: strings go on, of the rest the last one counts, null changes nothing. */
        {{DELTA("\"reasoning_content\":\"hm\",\"content\":null"),
          DELTA("\"reasoning_content\":\"mm\",\"content\":null"),
          DELTA("\"reasoning_content\":null,\"content\":\"a\"")},
         ONE("\"role\":\"assistant\",\"reasoning_content\":\"hmmm\",\"content\":\"a\"")},
        {{DELTA("\"annotations\":[1]"), DELTA("\"annotations\":[ 2 ]"),
          DELTA("\"annotations\":null")},
         ONE("\"role\":\"assistant\",\"annotations\":[ 2 ],\"content\":null")},
        {{DELTA("\"x\":1.50"), DELTA("\"x\":\"a\""), DELTA("\"x\":\"b\"")},
         ONE("\"role\":\"assistant\",\"x\":\"ab\",\"content\":null")},
        {{DELTA("\"x\":\"a\""), DELTA("\"x\":true"), DELTA("\"x\":false")},
         ONE("\"role\":\"assistant\",\"x\":false,\"content\":null")},
        {{DELTA("\"x\":{\"y\":\"a\"}"), DELTA("\"x\":[]"), DELTA("\"x\":{\"y\":\"b\"}")},
         ONE("\"role\":\"assistant\",\"x\":{\"y\":\"b\"},\"content\":null")},
        {{DELTA("\"audio\":{\"id\":\"i\",\"data\":\"QU\",\"expires_at\":1}"),
          DELTA("\"audio\":{\"id\":\"i\",\"data\":\"JD\",\"expires_at\":2}")},
         ONE("\"role\":\"assistant\",\"audio\":{\"id\":\"i\",\"data\":\"QUJD\",\"expires_at\":2},"
             "\"content\":null")},
        {{DELTA("\"a\\\"\\u0000b\":1")},
         ONE("\"role\":\"assistant\",\"a\\\"\\u0000b\":1,\"content\":null")},
        {{DELTA("\"x\":{\"x\":{\"x\":{\"x\":{\"x\":\"a\"}}}}"),
          DELTA("\"x\":{\"x\":{\"x\":{\"x\":{\"x\":\"b\"}}}}")},
         ONE("\"role\":\"assistant\",\"x\":{\"x\":{\"x\":{\"x\":{\"x\":\"b\"}}}},\"content\":"
             "null")},
        {{DELTA("\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}"),
          DELTA("\"function_call\":{\"arguments\":\"{\\\"a\\\":\"}"),
          DELTA("\"function_call\":{\"arguments\":\"1}\"}")},
         ONE("\"role\":\"assistant\",\"function_call\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":"
             "1}\"},"
             "\"content\":null")},
        /* A whole message. */
        {{CHOICE("\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"annotations\":[]}")},
         ONE("\"role\":\"assistant\",\"content\":\"a\",\"annotations\":[]")},
};

START_TEST(test_a_message_is_put_together_member_by_member)
{
	check_stories(messages, sizeof(messages) / sizeof(messages[0]), false, 0);
}
END_TEST

#define CALLS(calls) DELTA("\"tool_calls\":[" calls "]")
#define TOOLS(calls) ONE("\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" calls "]")

static const struct story calls[] = {
        {{CALLS("{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                "\"arguments\":\"\"}}"),
          CALLS("{\"index\":0,\"function\":{\"arguments\":\"{\\\"\"}}"),
          CALLS("{\"index\":0,\"id\":null,\"type\":null,\"function\":{\"name\":null,\"arguments\":"
                "\"a\"}}"),
          CALLS("{\"index\":0,\"id\":\"\",\"type\":\"function\",\"function\":{\"name\":\"\","
                "\"arguments\":\"\\\":1}\"}}")},
         TOOLS("{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
               "\"arguments\":\"{\\\"a\\\":1}\"}}")},
        /* Interleaved, in the order of their indexes. */
        {{CALLS("{\"index\":1,\"id\":\"b\",\"function\":{\"arguments\":\"1\"}}"),
          CALLS("{\"index\":0,\"id\":\"a\",\"function\":{\"arguments\":\"2\"}},"
                "{\"index\":1,\"function\":{\"arguments\":\"3\"}}"),
          CALLS("{\"index\":0,\"function\":{\"arguments\":\"4\"}}")},
         TOOLS("{\"id\":\"a\",\"function\":{\"arguments\":\"24\"}},"
               "{\"id\":\"b\",\"function\":{\"arguments\":\"13\"}}")},
        /* No index: a whole message's calls, and servers that leave it out. */
        {{CHOICE("\"message\":{\"tool_calls\":[{\"id\":\"a\"},{\"id\":\"b\"}]}")},
         TOOLS("{\"id\":\"a\"},{\"id\":\"b\"}")},
        {{CALLS("{\"id\":\"a\",\"function\":{\"arguments\":\"1\"}}"),
          CALLS("{\"function\":{\"arguments\":\"2\"}}"),
          CALLS("{\"id\":\"b\",\"function\":{\"arguments\":\"3\"}}"),
          CALLS("{\"function\":{\"arguments\":\"4\"}}"),
          CALLS("{\"id\":\"a\",\"function\":{\"arguments\":\"5\"}}")},
         TOOLS("{\"id\":\"a\",\"function\":{\"arguments\":\"125\"}},"
               "{\"id\":\"b\",\"function\":{\"arguments\":\"34\"}}")},
        {{CALLS("{\"index\":null,\"extra_content\":{\"google\":{\"thought_signature\":\"x\"}}}")},
         TOOLS("{\"extra_content\":{\"google\":{\"thought_signature\":\"x\"}}}")},
        {{DELTA("\"tool_calls\":null"), DELTA("\"tool_calls\":[]")},
         ONE("\"role\":\"assistant\",\"content\":null")},
};

START_TEST(test_tool_calls_are_merged_by_index)
{
	check_stories(calls, sizeof(calls) / sizeof(calls[0]), false, 0);
}
END_TEST

START_TEST(test_every_choice_is_there_in_the_order_of_the_indexes)
{
	static const struct story story = {
	        {"{\"choices\":[{\"index\":2,\"delta\":{\"content\":\"c\"}},"
	         "{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}",
	         CHOICE("\"index\":1,\"delta\":{\"content\":\"b\"},\"finish_reason\":\"length\""),
	         CHOICE("\"index\":2,\"delta\":{\"content\":\"d\"}")},
	        "{\"object\":\"chat.completion\",\"choices\":["
	        "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"finish_"
	        "reason\":\"stop\"},"
	        "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"b\"},\"finish_"
	        "reason\":\"length\"},"
	        "{\"index\":2,\"message\":{\"role\":\"assistant\",\"content\":\"cd\"},\"finish_"
	        "reason\":null}]}"};
	static const char *const last[] = {CHOICE("\"index\":2,\"finish_reason\":\"stop\"")};
	struct chat_answer *answer = chat_answer_new(LIMIT, false, 0);

	ck_assert_uint_eq(frames_add(answer, story.frames, FRAMES_MAX), 3);
	ck_assert(!chat_answer_is_finished(answer));
	check_document(answer, story.want);
	ck_assert_uint_eq(frames_add(answer, last, 1), 1);
	ck_assert(chat_answer_is_finished(answer));
	chat_answer_free(answer);
}
END_TEST

#define LOGPROBS(logprobs)                                                                         \
	"{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"role\":"         \
	"\"assistant\",\"content\":null},\"logprobs\":" logprobs ",\"finish_reason\":null}]}"

static const struct story scored[] = {
        {{DELTA("")}, LOGPROBS("null")},
        {{CHOICE("\"logprobs\":null")}, LOGPROBS("null")},
        {{CHOICE("\"logprobs\":{\"content\":[]}")}, LOGPROBS("{\"content\":[],\"refusal\":null}")},
        {{CHOICE("\"logprobs\":{\"content\":[" TOKEN("a", "{},{ },{}") "]}"),
          CHOICE("\"logprobs\":{\"content\":[" TOKEN("b", "{}") "," TOKEN(
                  "c", "") "],\"refusal\":null}")},
         LOGPROBS("{\"content\":[" TOKEN("a", "{},{ }") "," TOKEN("b", "{}") "," TOKEN(
                 "c", "") "],"
                          "\"refusal\":null}")},
        {{CHOICE("\"logprobs\":{\"content\":null,\"refusal\":[" TOKEN("a", "") "]}"),
          CHOICE("\"logprobs\":{\"refusal\":[" TOKEN("b", "") "]}")},
         LOGPROBS("{\"content\":null,\"refusal\":[" TOKEN("a", "") "," TOKEN("b", "") "]}")},
        {{CHOICE("\"logprobs\":{\"refusal\":[" TOKEN("r", "") "],\"content\":[" TOKEN("c",
                                                                                      "") "]}")},
         LOGPROBS("{\"content\":[" TOKEN("c", "") "],\"refusal\":[" TOKEN("r", "") "]}")},
};

START_TEST(test_logprobs_are_kept_as_they_stand_with_as_many_candidates_as_asked_for)
{
	check_stories(scored, sizeof(scored) / sizeof(scored[0]), true, 2);
}
END_TEST

START_TEST(test_logprobs_that_nobody_asked_for_are_left_out)
{
	for (size_t i = 0; i < sizeof(scored) / sizeof(scored[0]); i++) {
		struct chat_answer *answer = chat_answer_new(LIMIT, false, 0);

		frames_add(answer, scored[i].frames, FRAMES_MAX);
		check_document(answer, ONE("\"role\":\"assistant\",\"content\":null"));
		chat_answer_free(answer);
	}
}
END_TEST

START_TEST(test_a_first_frame_about_the_prompt_does_not_name_the_answer)
{
	static const struct story story = {
	        {"{\"id\":\"\",\"created\":0,\"model\":\"\",\"choices\":[],\"prompt_filter_"
	         "results\":[]}",
	         "{\"id\":\"c\",\"created\":7,\"model\":\"m\",\"choices\":[]}"},
	        "{\"object\":\"chat.completion\",\"id\":\"c\",\"created\":7,\"model\":\"m\","
	        "\"choices\":[]}"};

	check_stories(&story, 1, false, 0);
}
END_TEST

START_TEST(test_what_cannot_be_part_of_an_answer_is_refused)
{
	static const char *const frames[] = {
	        "{\"error\":{\"message\":\"no\"}}",
	        "{\"choices\":[],\"error\":\"no\"}",
	        CALLS("1"),
	        CALLS("null"),
	        CALLS("{\"index\":\"0\"}"),
	        CALLS("{\"index\":-1}"),
	        CALLS("{\"index\":4294967296}"),
	};

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct chat_answer *answer = chat_answer_new(LIMIT, false, 0);

		ck_assert_msg(frames_add(answer, &frames[i], 1) == 0, "%s", frames[i]);
		chat_answer_free(answer);
	}
}
END_TEST

/* Adds `form`, its # replaced by a number that counts up, until it is refused; gives how often it was not. */
static size_t
times_taken(size_t limit, const char *form, size_t most)
{
	struct chat_answer *answer = chat_answer_new(limit, true, 5);
	size_t n = 0;

	for (; n < most; n++) {
		char frame[256];
		const char *frames[] = {frame};

		snprintf(frame, sizeof(frame), "%.*s%zu%s", (int)strcspn(form, "#"), form, n,
		         strchr(form, '#') + 1);
		if (frames_add(answer, frames, 1) == 0)
			break;
	}
	chat_answer_free(answer);
	return n;
}

START_TEST(test_what_is_gathered_is_bounded)
{
	static const char *const forms[] = {
	        CHOICE("\"delta\":{\"content\":\"0123456789#\"}"),
	        CHOICE("\"delta\":{\"x#\":1}"),
	        CHOICE("\"index\":#"),
	        CHOICE("\"delta\":{\"tool_calls\":[{\"index\":#}]}"),
	        CHOICE("\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"#\"}"
	               "}]}"),
	        CHOICE("\"delta\":{\"x\":{\"y\":{\"z#\":0}}}"),
	        CHOICE("\"logprobs\":{\"content\":[{\"token\":\"#\"}]}"),
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t n = times_taken(4000, forms[i], 100000);

		ck_assert_msg(n > 1 && n < 4000, "%zu times %s", n, forms[i]);
	}
	ck_assert_uint_eq(times_taken(SIZE_MAX / 2, CHOICE("\"index\":#"), 1000), CHAT_CHOICES_MAX);
	ck_assert_uint_eq(times_taken(SIZE_MAX / 2,
	                              CHOICE("\"delta\":{\"tool_calls\":[{\"index\":#}]}"), 2000),
	                  1024);
}
END_TEST

START_TEST(test_what_replaces_another_value_takes_no_more_room)
{
	static const char *const forms[] = {
	        "{\"choices\":[],\"usage\":{\"prompt_tokens\":#}}",
	        CHOICE("\"delta\":{\"x\":[#]}"),
	        CHOICE("\"delta\":{\"name\":\"n#\"}"),
	        CHOICE("\"finish_reason\":\"#\""),
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		ck_assert_uint_eq(times_taken(4000, forms[i], 20000), 20000);
}
END_TEST

UNIT_MAIN("chat_answer", test_a_stream_becomes_one_completion,
          test_a_message_is_put_together_member_by_member, test_tool_calls_are_merged_by_index,
          test_every_choice_is_there_in_the_order_of_the_indexes,
          test_logprobs_are_kept_as_they_stand_with_as_many_candidates_as_asked_for,
          test_logprobs_that_nobody_asked_for_are_left_out,
          test_a_first_frame_about_the_prompt_does_not_name_the_answer,
          test_what_cannot_be_part_of_an_answer_is_refused, test_what_is_gathered_is_bounded,
          test_what_replaces_another_value_takes_no_more_room)
