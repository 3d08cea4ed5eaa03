/* What of a draft may be seen when: the rules of route/draft.h. */
#include "route/draft.h"

#include <math.h>

#include "base/mem.h"
#include "unit.h"
#include "wire/sse_reader.h"

#define HEAD                                                                                       \
	"\"id\":\"d-1\",\"object\":\"chat.completion.chunk\",\"created\":17,\"model\":\"small\""
#define FRAME(choice) "{" HEAD ",\"choices\":[{\"index\":0," choice "}]}"
#define DELTA(delta)  FRAME("\"delta\":{" delta "},\"finish_reason\":null")
#define TEXT(text)    DELTA("\"content\":\"" text "\"")
#define ROLE          DELTA("\"role\":\"assistant\",\"content\":\"\",\"refusal\":null")
#define STOP          FRAME("\"delta\":{},\"finish_reason\":\"stop\"")
#define CALL(args)    DELTA("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"" args "\"}}]")
#define SECOND        "{" HEAD ",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"z\"}}]}"
#define USAGE                                                                                      \
	"{" HEAD ",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,"         \
	"\"total_tokens\":5}}"
#define ENTRY(text)                                                                                \
	"{\"token\":\"" text "\",\"logprob\":-0.1,\"bytes\":null,\"top_logprobs\":[{\"token\":\""  \
	"" text "\",\"logprob\":-0.1},{\"token\":\"~\",\"logprob\":-3}]}"

enum { FRAMES_MAX = 8, ALL = -1 };

static struct chat_request plain_request = {.stream = true, .n = 1};

struct bench {
	struct draft draft;
	struct chat_frame frame;
	struct buf out; /* all that was released */
};

static struct bench *
bench_new(const struct chat_request *request, bool live)
{
	struct bench *bench = mem_new(sizeof(*bench));

	ck_assert(draft_init(&bench->draft, request, live));
	chat_frame_init(&bench->frame);
	buf_init(&bench->out, 0);
	return bench;
}

static void
bench_free(struct bench *bench)
{
	draft_fini(&bench->draft);
	chat_frame_fini(&bench->frame);
	buf_fini(&bench->out);
	free(bench);
}

/* Adds a frame by which so many tokens more are scored; its memory is gone afterwards. */
static void
bench_add(struct bench *bench, const char *payload, unsigned tokens)
{
	struct bytes text = bytes_of(payload);
	char *held = mem_copy(text);

	ck_assert_msg(chat_frame_read(&bench->frame, (struct bytes){held, text.n}), "%s", payload);
	bench->draft.token_count += tokens;
	ck_assert(draft_add(&bench->draft, &bench->frame));
	memset(held, 'x', text.n);
	free(held);
}

static uint64_t
visible_of(int visible)
{
	return visible == ALL ? UINT64_MAX : (uint64_t)visible;
}

/* How many events there are, and their content. */
static size_t
read_events(const struct buf *stream, struct buf *content)
{
	struct sse_reader reader;
	struct sse_event event;
	struct chat_frame frame;
	size_t count = 0;

	chat_frame_init(&frame);
	sse_reader_init(&reader, 1 << 20);
	sse_reader_feed(&reader, buf_bytes(stream));
	while (sse_reader_next(&reader, &event)) {
		ck_assert_msg(chat_frame_read(&frame, event.data), "%.*s", (int)event.data.n,
		              event.data.p);
		count++;
		for (size_t i = 0; i < frame.choice_count; i++)
			json_string_decode(frame.choices[i].content, content);
	}
	ck_assert(!sse_reader_is_midway(&reader) && !reader.failed);
	sse_reader_fini(&reader);
	chat_frame_fini(&frame);
	return count;
}

/* ---------------------------------------------------------------- when frames are seen */

struct row {
	const char *rule;
	struct {
		const char *payload;
		unsigned tokens;
	} frames[FRAMES_MAX];
	int visible;      /* tokens; ALL */
	bool output;      /* is there something to begin with? */
	size_t events;    /* released then */
	const char *text; /* that the client has then */
};

static const struct row rows[] = {
        {"nothing is there yet", {{0}}, ALL, false, 0, ""},
        {"no token, no text", {{TEXT("a"), 1}}, 0, false, 0, ""},
        {"a role alone is not worth beginning", {{ROLE, 0}}, 5, false, 1, ""},
        {"the role comes with the first token",
         {{ROLE, 0}, {TEXT("a"), 1}, {TEXT("b"), 1}},
         1,
         true,
         2,
         "a"},
        {"the role waits while no token may be seen",
         {{ROLE, 0}, {TEXT("a"), 1}, {TEXT("b"), 1}},
         0,
         false,
         1,
         ""},
        {"each frame with its token",
         {{TEXT("a"), 1}, {TEXT("b"), 1}, {TEXT("c"), 1}},
         2,
         true,
         2,
         "ab"},
        {"all, if there are no more", {{TEXT("a"), 1}, {TEXT("b"), 1}}, 7, true, 2, "ab"},
        {"all at once", {{TEXT("a"), 1}, {TEXT("b"), 1}, {STOP, 0}}, ALL, true, 3, "ab"},
        {"a frame of several tokens waits for its last",
         {{TEXT("a"), 1}, {TEXT("bcd"), 3}, {TEXT("e"), 1}},
         3,
         true,
         1,
         "a"},
        {"and comes whole with it",
         {{TEXT("a"), 1}, {TEXT("bcd"), 3}, {TEXT("e"), 1}},
         4,
         true,
         2,
         "abcd"},
        {"a frame without a token comes with the one before it",
         {{TEXT("a"), 1}, {TEXT("b"), 0}, {TEXT("c"), 1}},
         1,
         true,
         2,
         "ab"},
        {"the end comes with the last token", {{TEXT("a"), 1}, {STOP, 0}}, 1, true, 2, "a"},
        {"and not before it", {{TEXT("a"), 1}, {TEXT("b"), 1}, {STOP, 0}}, 1, true, 1, "a"},
        {"a tool call is held",
         {{TEXT("a"), 1}, {CALL("{"), 1}, {TEXT("b"), 1}},
         ALL,
         true,
         1,
         "a"},
        {"and all behind it", {{CALL("{"), 1}, {TEXT("b"), 1}, {STOP, 0}}, ALL, false, 0, ""},
        {"a role that comes with a tool call is held",
         {{DELTA("\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":"
                 "\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]"),
           1}},
         ALL,
         false,
         0,
         ""},
        {"a function call is held",
         {{TEXT("a"), 1}, {DELTA("\"function_call\":{\"name\":\"f\",\"arguments\":\"\"}"), 1}},
         ALL,
         true,
         1,
         "a"},
        {"a refusal is held",
         {{TEXT("a"), 1}, {DELTA("\"refusal\":\"No\""), 1}},
         ALL,
         true,
         1,
         "a"},
        {"another choice is held", {{TEXT("a"), 1}, {SECOND, 1}}, ALL, true, 1, "a"},
        {"members that say nothing hold nothing up",
         {{DELTA("\"content\":\"a\",\"refusal\":null,\"tool_calls\":null,\"function_call\":null"),
           1},
          {DELTA("\"content\":\"b\",\"refusal\":\"\",\"tool_calls\":[]"), 1}},
         2,
         true,
         2,
         "ab"},
        {"escapes are text",
         {{TEXT("\\u00e4\\n\\\"\\\\\\/"), 1}, {TEXT("\\ud83d\\ude00 "), 1}},
         2,
         true,
         2,
         "\xC3\xA4\n\"\\/\xF0\x9F\x98\x80 "},
};

static void
add_frames(struct bench *bench, const struct row *row)
{
	for (size_t i = 0; i < FRAMES_MAX && row->frames[i].payload; i++)
		bench_add(bench, row->frames[i].payload, row->frames[i].tokens);
}

static size_t
frame_count(const struct row *row)
{
	size_t count = 0;

	while (count < FRAMES_MAX && row->frames[count].payload)
		count++;
	return count;
}

static void
check_released(struct bench *bench, size_t events, const char *text, const char *rule)
{
	struct buf content;
	size_t count;

	buf_init(&content, 0);
	count = read_events(&bench->out, &content);
	ck_assert_msg(count == events, "%s: %zu events", rule, count);
	ck_assert_msg(bytes_is(buf_bytes(&content), text), "%s: %.*s", rule, (int)content.n,
	              content.p);
	buf_fini(&content);
}

START_TEST(test_what_may_be_seen_is_released)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct bench *bench = bench_new(&plain_request, true);

		add_frames(bench, row);
		ck_assert_msg(draft_has_visible(&bench->draft, visible_of(row->visible)) ==
		                      row->output,
		              "%s", row->rule);
		buf_add_bytes(&bench->out, draft_release(&bench->draft, visible_of(row->visible)));
		check_released(bench, row->events, row->text, row->rule);
		ck_assert_msg(bytes_is(draft_delivered(&bench->draft), row->text), "%s", row->rule);
		bench_free(bench);
	}
}
END_TEST

START_TEST(test_released_again_and_again_each_event_comes_once)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct bench *bench = bench_new(&plain_request, true);
		uint64_t last = row->visible == ALL ? 20 : (uint64_t)row->visible;

		/* One frame at a time, and after each all that may be seen by then. */
		for (size_t f = 0; f < frame_count(row); f++) {
			bench_add(bench, row->frames[f].payload, row->frames[f].tokens);
			for (uint64_t visible = 0; visible <= last; visible++)
				buf_add_bytes(&bench->out, draft_release(&bench->draft, visible));
		}
		check_released(bench, row->events, row->text, row->rule);
		ck_assert_msg(bytes_is(draft_delivered(&bench->draft), row->text), "%s", row->rule);
		bench_free(bench);
	}
}
END_TEST

/* Looked at after each frame, as while a draft is judged. With quadratic work the time limit of a test
 * would pass many times over. */
START_TEST(test_looking_for_something_to_be_seen_is_linear_work)
{
	static const char *const payloads[] = {ROLE, "{\"choices\":[]}"};
	static const uint64_t visible[] = {0, 1};

	for (size_t p = 0; p < 2; p++) {
		struct bench *bench = bench_new(&plain_request, true);

		ck_assert(chat_frame_read(&bench->frame, bytes_of(payloads[p])));
		for (unsigned i = 0; i < 300000; i++) {
			ck_assert(draft_add(&bench->draft, &bench->frame));
			for (size_t v = 0; v < 2; v++)
				ck_assert(!draft_has_visible(&bench->draft, visible[v]));
		}
		bench_free(bench);
	}
}
END_TEST

START_TEST(test_the_rest_is_all_that_was_not_released)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct bench *whole = bench_new(&plain_request, true);
		struct bench *bench = bench_new(&plain_request, true);

		add_frames(whole, row);
		buf_add_bytes(&whole->out, draft_release_rest(&whole->draft));
		add_frames(bench, row);
		buf_add_bytes(&bench->out, draft_release(&bench->draft, visible_of(row->visible)));
		buf_add_bytes(&bench->out, draft_release_rest(&bench->draft));
		ck_assert_msg(bytes_equal(buf_bytes(&bench->out), buf_bytes(&whole->out)), "%s",
		              row->rule);
		buf_add_bytes(&bench->out, draft_release_rest(&bench->draft));
		ck_assert_msg(bench->out.n == whole->out.n, "%s: once more", row->rule);
		ck_assert(!draft_has_visible(&bench->draft, UINT64_MAX));
		bench_free(bench);
		bench_free(whole);
	}
}
END_TEST

START_TEST(test_released_tokens_are_counted)
{
	static const struct {
		uint64_t visible, released;
	} cases[] = {{0, 0}, {1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 5}, {9, 5}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *bench = bench_new(&plain_request, true);

		bench_add(bench, TEXT("a"), 1);
		bench_add(bench, TEXT("bcd"), 3);
		bench_add(bench, TEXT("e"), 1);
		buf_add_bytes(&bench->out, draft_release(&bench->draft, cases[i].visible));
		ck_assert_msg(bench->draft.tokens_released == cases[i].released, "row %zu: %llu", i,
		              (unsigned long long)bench->draft.tokens_released);
		buf_add_bytes(&bench->out, draft_release_rest(&bench->draft));
		ck_assert_uint_eq(bench->draft.tokens_released, 5);
		bench_free(bench);
	}
}
END_TEST

/* ---------------------------------------------------------------- what of a frame is seen */

#define SCORED                                                                                     \
	"{" HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":"          \
	"{\"content\":[" ENTRY("a") "],\"refusal\":null},\"finish_reason\":null}],\"usage\":null}"
#define BARE                                                                                       \
	"{" HEAD                                                                                   \
	",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}"

static const struct {
	const char *rule;
	struct chat_request request;
	const char *frame, *want;
} views[] = {
        {"logprobs and usage that nobody asked for go",
         {.stream = true},
         SCORED,
         "data: " BARE "\n\n"},
        {"every other byte stays",
         {.stream = true},
         "{ \"x\" : 1.50, \"choices\":[{\"delta\" : {\"content\":\"\\u0061\"}}] }",
         "data: { \"x\" : 1.50, \"choices\":[{\"delta\" : {\"content\":\"\\u0061\"}}] }\n\n"},
        {"logprobs without candidates",
         {.stream = true, .logprobs = true},
         SCORED,
         "data: {" HEAD ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":"
         "{\"content\":[{\"token\":\"a\",\"logprob\":-0.1,\"bytes\":null,\"top_logprobs\":[]}],"
         "\"refusal\":null},\"finish_reason\":null}]}\n\n"},
        {"all of them",
         {.stream = true, .logprobs = true, .top_logprobs = 2, .include_usage = true},
         SCORED,
         "data: " SCORED "\n\n"},
        {"the usage frame that nobody asked for", {.stream = true}, USAGE, ""},
        {"and that somebody did",
         {.stream = true, .include_usage = true},
         USAGE,
         "data: " USAGE "\n\n"},
        {"a frame of several lines stays one event",
         {.stream = true},
         "{\n \"choices\": [\n {\"delta\": {\"content\": \"a\"}}\n]}",
         "data: {\ndata:  \"choices\": [\ndata:  {\"delta\": {\"content\": \"a\"}}\ndata: ]}\n\n"},
};

START_TEST(test_frames_are_as_the_client_asked_for_them)
{
	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		for (int live = 0; live < 2; live++) {
			struct bench *bench = bench_new(&views[i].request, live);

			bench_add(bench, views[i].frame, 1);
			buf_add_bytes(&bench->out, draft_release_rest(&bench->draft));
			ck_assert_msg(bytes_is(buf_bytes(&bench->out), views[i].want), "%s: %.*s",
			              views[i].rule, (int)bench->out.n, bench->out.p);
			bench_free(bench);
		}
	}
}
END_TEST

START_TEST(test_a_usage_frame_that_is_not_shown_takes_no_part)
{
	struct bench *bench = bench_new(&plain_request, true);

	bench_add(bench, TEXT("a"), 1);
	bench_add(bench, USAGE, 0);
	bench_add(bench, TEXT("b"), 1);
	buf_add_bytes(&bench->out, draft_release(&bench->draft, 1));
	check_released(bench, 1, "a", "the first");
	buf_add_bytes(&bench->out, draft_release(&bench->draft, 2));
	check_released(bench, 2, "ab", "the second");
	bench_free(bench);
}
END_TEST

START_TEST(test_the_name_is_that_of_the_first_frame_that_has_one)
{
	struct bench *bench = bench_new(&plain_request, true);

	bench_add(bench, "{\"choices\":[{\"delta\":{}}]}", 0);
	bench_add(bench, "{\"id\":null,\"created\":null,\"choices\":[{\"delta\":{}}]}", 0);
	ck_assert_uint_eq(bench->draft.id.n + bench->draft.created.n, 0);
	bench_add(bench, TEXT("a"), 1);
	bench_add(bench, "{\"id\":\"other\",\"created\":2,\"choices\":[{\"delta\":{}}]}", 0);
	ck_assert(bytes_is(buf_bytes(&bench->draft.id), "\"d-1\""));
	ck_assert(bytes_is(buf_bytes(&bench->draft.created), "17"));
	bench_free(bench);
}
END_TEST

/* ---------------------------------------------------------------- drafts that wait */

START_TEST(test_a_draft_that_is_not_live_has_nothing_to_be_seen_before_its_end)
{
	struct bench *bench = bench_new(&plain_request, false);

	bench_add(bench, TEXT("a"), 1);
	bench_add(bench, TEXT("b"), 1);
	ck_assert(!draft_has_visible(&bench->draft, UINT64_MAX));
	buf_add_bytes(&bench->out, draft_release(&bench->draft, UINT64_MAX));
	ck_assert_uint_eq(bench->out.n, 0);
	buf_add_bytes(&bench->out, draft_release_rest(&bench->draft));
	check_released(bench, 2, "ab", "the rest");
	bench_free(bench);
}
END_TEST

START_TEST(test_a_draft_for_a_client_without_a_stream_is_assembled)
{
	static const struct chat_request request = {.n = 1};
	struct bench *bench = bench_new(&request, false);
	struct chat_frame frame;

	bench_add(bench, ROLE, 0);
	bench_add(bench, TEXT("a"), 1);
	bench_add(bench, TEXT("b"), 1);
	bench_add(bench, STOP, 0);
	buf_add_bytes(&bench->out, draft_release_rest(&bench->draft));
	ck_assert_uint_eq(bench->out.n, 0);
	chat_answer_write(bench->draft.answer, &bench->out);
	chat_frame_init(&frame);
	ck_assert(chat_frame_read(&frame, buf_bytes(&bench->out)));
	ck_assert(bytes_is(json_value_text(frame.choices[0].content), "\"ab\""));
	chat_frame_fini(&frame);
	bench_free(bench);
}
END_TEST

/* ---------------------------------------------------------------- what is scored */

#define LOGPROBS(delta, entries)                                                                   \
	FRAME("\"delta\":{" delta "},\"logprobs\":{\"content\":[" entries "]}")

static const struct {
	const char *rule, *frame;
	enum draft_scorable want;
} scorables[] = {
        {"text with logprobs", LOGPROBS("\"content\":\"a\"", ENTRY("a")), DRAFT_SCORABLE},
        {"text without", TEXT("a"), DRAFT_NO_LOGPROBS},
        {"text with none of them", LOGPROBS("\"content\":\"a\"", ""), DRAFT_NO_LOGPROBS},
        {"text whose logprobs are null", FRAME("\"delta\":{\"content\":\"a\"},\"logprobs\":null"),
         DRAFT_NO_LOGPROBS},
        {"a role needs none", ROLE, DRAFT_SCORABLE},
        {"an end needs none", STOP, DRAFT_SCORABLE},
        {"usage needs none", USAGE, DRAFT_SCORABLE},
        {"a tool call without", CALL("{"), DRAFT_NO_LOGPROBS},
        {"a tool call with them",
         LOGPROBS("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]", ENTRY("{")),
         DRAFT_SCORABLE},
};

START_TEST(test_frames_with_output_need_logprobs)
{
	struct chat_frame frame;

	chat_frame_init(&frame);
	for (size_t i = 0; i < sizeof(scorables) / sizeof(scorables[0]); i++) {
		ck_assert_msg(chat_frame_read(&frame, bytes_of(scorables[i].frame)), "%s",
		              scorables[i].rule);
		ck_assert_msg(draft_frame_scorable(&frame) == scorables[i].want, "%s",
		              scorables[i].rule);
	}
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_tokens_without_a_text_do_not_count)
{
	struct chat_frame frame;

	chat_frame_init(&frame);
	ck_assert(chat_frame_read(
	        &frame, bytes_of(LOGPROBS("\"content\":\"a\"", ENTRY("a") "," ENTRY("")))));
	ck_assert_uint_eq(frame.token_count, 2);
	ck_assert(draft_token_counts(&frame.tokens[0]));
	ck_assert(!draft_token_counts(&frame.tokens[1]));
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_only_the_configured_candidates_are_scored)
{
	static const struct config_entropy one = {.top_logprobs = 1}, two = {.top_logprobs = 2},
	                                   many = {.top_logprobs = 20};
	struct chat_frame frame;
	struct chat_token none = {.sampled = -1};

	chat_frame_init(&frame);
	ck_assert(chat_frame_read(&frame, bytes_of(LOGPROBS("\"content\":\"a\"", ENTRY("a")))));
	ck_assert_double_eq(draft_token_entropy(&two, &frame.tokens[0]),
	                    draft_token_entropy(&many, &frame.tokens[0]));
	ck_assert_double_ne(draft_token_entropy(&one, &frame.tokens[0]),
	                    draft_token_entropy(&two, &frame.tokens[0]));
	ck_assert(isnan(draft_token_entropy(&two, &none)));
	chat_frame_fini(&frame);
}
END_TEST

UNIT_MAIN("draft", test_what_may_be_seen_is_released,
          test_released_again_and_again_each_event_comes_once,
          test_looking_for_something_to_be_seen_is_linear_work,
          test_the_rest_is_all_that_was_not_released, test_released_tokens_are_counted,
          test_frames_are_as_the_client_asked_for_them,
          test_a_usage_frame_that_is_not_shown_takes_no_part,
          test_the_name_is_that_of_the_first_frame_that_has_one,
          test_a_draft_that_is_not_live_has_nothing_to_be_seen_before_its_end,
          test_a_draft_for_a_client_without_a_stream_is_assembled,
          test_frames_with_output_need_logprobs, test_tokens_without_a_text_do_not_count,
          test_only_the_configured_candidates_are_scored)
