/* A heavyweight's events: what waits, and how they are joined to a draft. */
#include "route/relay.h"

#include "base/mem.h"
#include "unit.h"
#include "wire/sse_reader.h"

#define DRAFTED                                                                                    \
	"\"id\":\"draft\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"small\""
#define HEAVY                                                                                      \
	"\"id\":\"heavy\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"large\""
#define JOINED                                                                                     \
	"\"id\":\"draft\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"large\""
#define CHOICE(delta) ",\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":null}]}"
#define SAID(text)    "{" HEAVY CHOICE("\"content\":\"" text "\"")
#define TOLD(text)    "data: {" JOINED CHOICE("\"content\":\"" text "\"") "\n\n"
#define ROLE          "{" HEAVY CHOICE("\"role\":\"assistant\",\"content\":\"\"")
#define CALL                                                                                       \
	"\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":"    \
	"\"\"}}]"
#define STOP(members)                                                                              \
	"{" members ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"
#define USAGE(members)                                                                             \
	"{" members ",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,"      \
	"\"total_tokens\":5}}"
#define EVENT(payload) "data: " payload "\n\n"

enum { FRAMES_MAX = 6 };

static const struct chat_request wants_nothing = {.stream = true, .n = 1};
static const struct chat_request wants_all = {
        .stream = true, .n = 1, .logprobs = true, .top_logprobs = 20, .include_usage = true};

static void
relay_say(struct relay *relay, const char *payload)
{
	struct bytes text = bytes_of(payload);
	struct chat_frame frame;
	char *held = mem_copy(text);

	chat_frame_init(&frame);
	ck_assert_msg(chat_frame_read(&frame, (struct bytes){held, text.n}), "%s", payload);
	relay_add(relay, &frame);
	chat_frame_fini(&frame);
	memset(held, 'x', text.n);
	free(held);
}

/* A draft of which the client has all these frames. */
static void
draft_say(struct draft *draft, const char *text)
{
	struct buf payload, out;
	struct chat_frame frame;

	buf_init(&payload, 0);
	buf_init(&out, 0);
	chat_frame_init(&frame);
	buf_add_text(&payload, "{" DRAFTED ",\"choices\":[{\"index\":0,\"delta\":{\"content\":");
	buf_add_json_string(&payload, bytes_of(text));
	buf_add_text(&payload, "}}]}");
	ck_assert(chat_frame_read(&frame, buf_bytes(&payload)));
	draft->token_count++;
	ck_assert(draft_add(draft, &frame));
	buf_add_bytes(&out, draft_release(draft, UINT64_MAX));
	chat_frame_fini(&frame);
	buf_fini(&out);
	buf_fini(&payload);
}

static void
check_waiting(const struct relay *relay, const char *want, const char *rule)
{
	struct bytes waiting = relay_waiting(relay);

	ck_assert_msg(!relay->waiting.failed, "%s", rule);
	ck_assert_msg(bytes_is(waiting, want), "%s:\n%.*s", rule, (int)waiting.n, waiting.p);
}

/* ---------------------------------------------------------------- alone */

static const struct {
	const char *rule;
	const struct chat_request *request;
	const char *frame, *want;
	bool said;
} alone[] = {
        {"text passes as it stands", &wants_nothing,
         "{ \"choices\":[{\"delta\":{\"content\":\"\\u0061\"}}] }",
         EVENT("{ \"choices\":[{\"delta\":{\"content\":\"\\u0061\"}}] }"), true},
        {"a role says nothing yet", &wants_nothing, ROLE, EVENT(ROLE), false},
        {"an end says something", &wants_nothing, STOP(HEAVY), EVENT(STOP(HEAVY)), true},
        {"so does a tool call", &wants_nothing, "{" HEAVY CHOICE(CALL),
         EVENT("{" HEAVY CHOICE(CALL)), true},
        {"usage that nobody asked for", &wants_nothing, USAGE(HEAVY), "", false},
        {"usage that somebody did", &wants_all, USAGE(HEAVY), EVENT(USAGE(HEAVY)), false},
};

START_TEST(test_without_a_draft_frames_pass)
{
	for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++) {
		struct relay relay;

		relay_init(&relay, alone[i].request);
		relay_begin(&relay, (struct bytes){"", 0});
		relay_say(&relay, alone[i].frame);
		check_waiting(&relay, alone[i].want, alone[i].rule);
		ck_assert_msg(relay.said == alone[i].said, "%s", alone[i].rule);
		relay_end(&relay);
		check_waiting(&relay, alone[i].want, "its end adds nothing");
		relay_sent(&relay);
		check_waiting(&relay, "", "sent is gone");
		relay_fini(&relay);
	}
}
END_TEST

START_TEST(test_another_attempt_begins_with_nothing)
{
	struct relay relay;

	relay_init(&relay, &wants_nothing);
	relay_begin(&relay, (struct bytes){"", 0});
	relay_say(&relay, SAID("first"));
	ck_assert(relay.said);
	relay_begin(&relay, (struct bytes){"", 0});
	ck_assert(!relay.said);
	check_waiting(&relay, "", "of the first nothing is left");
	relay_say(&relay, ROLE);
	check_waiting(&relay, EVENT(ROLE), "the second");
	relay_fini(&relay);
}
END_TEST

/* ---------------------------------------------------------------- joined */

struct row {
	const char *rule;
	const struct chat_request *request;
	enum chat_prefill prefill;
	const char *asked; /* upstream is to continue this */
	const char *later; /* what the client got in the meantime */
	const char *frames[FRAMES_MAX];
	const char *want;
	bool fits; /* when joined after all frames */
};

static const struct row rows[] = {
        {"no second role, the draft's name",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The",
         "",
         {ROLE, SAID(" end"), STOP(HEAVY)},
         TOLD(" end") EVENT(STOP(JOINED)),
         true},
        {"exact: what repeats is meant",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The the",
         "",
         {SAID("the"), STOP(HEAVY)},
         TOLD("the") EVENT(STOP(JOINED)),
         true},
        {"by instruction: repeated words go",
         &wants_nothing,
         CHAT_PREFILL_NONE,
         "The end",
         "",
         {SAID("end of"), STOP(HEAVY)},
         TOLD(" of") EVENT(STOP(JOINED)),
         true},
        {"in pieces",
         &wants_nothing,
         CHAT_PREFILL_NONE,
         "The end",
         "",
         {SAID("e"), SAID("n"), SAID("d"), SAID(" of"), STOP(HEAVY)},
         TOLD(" of") EVENT(STOP(JOINED)),
         true},
        {"usage only if asked for",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The",
         "",
         {SAID(" end"), USAGE(HEAVY)},
         TOLD(" end"),
         true},
        {"usage if asked for",
         &wants_all,
         CHAT_PREFILL_PLAIN,
         "The",
         "",
         {SAID(" end"), USAGE(HEAVY)},
         TOLD(" end") EVENT(USAGE(JOINED)),
         true},
        {"tool calls pass",
         &wants_nothing,
         CHAT_PREFILL_NONE,
         "The",
         "",
         {ROLE, "{" HEAVY CHOICE(CALL)},
         EVENT("{" JOINED CHOICE(CALL)),
         true},
        {"asked ahead: the client's part is left out",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The",
         " end",
         {SAID(" end"), SAID(" of")},
         TOLD(" of"),
         true},
        {"asked ahead: cut within a frame",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The",
         " end",
         {SAID(" end of")},
         TOLD(" of"),
         true},
        {"asked ahead: another text does not fit",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The",
         " end",
         {SAID(" beginning")},
         NULL,
         false},
        {"asked ahead: too little does not fit",
         &wants_nothing,
         CHAT_PREFILL_PLAIN,
         "The",
         " end",
         {SAID(" en")},
         NULL,
         false},
        {"asked for the whole answer: it begins with what the client has",
         &wants_nothing,
         CHAT_PREFILL_NONE,
         "",
         "The end",
         {ROLE, SAID("The end"), SAID(" of")},
         TOLD(" of"),
         true},
        {"asked for the whole answer: it is another one",
         &wants_nothing,
         CHAT_PREFILL_NONE,
         "",
         "The end",
         {ROLE, SAID("An end")},
         NULL,
         false},
};

/* Says the frames, and joins before the frame `at`. Where upstream was asked ahead it has to have said enough by
 * then. */
static void
check_row(const struct row *row, size_t at)
{
	struct draft draft;
	struct relay relay;
	size_t i = 0;
	bool fits;

	ck_assert(draft_init(&draft, row->request, true));
	relay_init(&relay, row->request);
	if (row->asked[0])
		draft_say(&draft, row->asked);
	relay_begin(&relay, draft_delivered(&draft));
	if (row->later[0])
		draft_say(&draft, row->later);
	for (; i < at && i < FRAMES_MAX && row->frames[i]; i++)
		relay_say(&relay, row->frames[i]);
	fits = relay_join(&relay, row->prefill, &draft);
	ck_assert_msg(fits == row->fits, "%s (%zu)", row->rule, at);
	for (; fits && i < FRAMES_MAX && row->frames[i]; i++)
		relay_say(&relay, row->frames[i]);
	if (fits)
		check_waiting(&relay, row->want, row->rule);
	relay_fini(&relay);
	draft_fini(&draft);
}

START_TEST(test_a_continuation_is_joined_whenever_it_is)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* Asked for just what the client has, it always fits. */
		for (size_t at = 0; at < FRAMES_MAX && !rows[i].later[0]; at++)
			check_row(&rows[i], at);
		check_row(&rows[i], FRAMES_MAX);
	}
}
END_TEST

START_TEST(test_without_delivered_text_joining_changes_nothing)
{
	struct draft draft;
	struct relay relay;

	ck_assert(draft_init(&draft, &wants_nothing, true));
	relay_init(&relay, &wants_nothing);
	relay_begin(&relay, draft_delivered(&draft));
	relay_say(&relay, ROLE);
	ck_assert(relay_join(&relay, CHAT_PREFILL_NONE, &draft));
	relay_say(&relay, SAID("x"));
	check_waiting(&relay, EVENT(ROLE) EVENT(SAID("x")), "as it stands");
	relay_fini(&relay);
	draft_fini(&draft);
}
END_TEST

START_TEST(test_what_is_kept_back_comes_with_the_end)
{
	struct draft draft;
	struct relay relay;

	ck_assert(draft_init(&draft, &wants_nothing, true));
	relay_init(&relay, &wants_nothing);
	draft_say(&draft, "The end");
	relay_begin(&relay, draft_delivered(&draft));
	ck_assert(relay_join(&relay, CHAT_PREFILL_NONE, &draft));
	relay_say(&relay, SAID("en"));
	check_waiting(&relay, "", "it may still become a repetition");
	relay_end(&relay);
	check_waiting(
	        &relay,
	        "data: {\"object\":\"chat.completion.chunk\",\"id\":\"draft\",\"created\":1,"
	        "\"model\":\"large\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"en\"},"
	        "\"finish_reason\":null}]}\n\n",
	        "it was none");
	relay_sent(&relay);
	relay_end(&relay);
	check_waiting(&relay, "", "once");
	relay_fini(&relay);
	draft_fini(&draft);
}
END_TEST

START_TEST(test_a_repetition_has_no_logprobs_that_would_not_fit)
{
	static const char said[] =
	        "{" HEAVY ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"end of\"},"
	        "\"logprobs\":{\"content\":[{\"token\":\"end of\"}]}}]}";
	static const char more[] =
	        "{" HEAVY ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" it\"},"
	        "\"logprobs\":{\"content\":[{\"token\":\" it\"}]}}]}";
	struct draft draft;
	struct relay relay;

	ck_assert(draft_init(&draft, &wants_all, true));
	relay_init(&relay, &wants_all);
	draft_say(&draft, "The end");
	relay_begin(&relay, draft_delivered(&draft));
	ck_assert(relay_join(&relay, CHAT_PREFILL_NONE, &draft));
	relay_say(&relay, said);
	check_waiting(
	        &relay,
	        EVENT("{" JOINED ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" of\"}}]}"),
	        "cut");
	relay_sent(&relay);
	relay_say(&relay, more);
	check_waiting(&relay,
	              EVENT("{" JOINED ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" it\"},"
	                    "\"logprobs\":{\"content\":[{\"token\":\" it\"}]}}]}"),
	              "whole");
	relay_fini(&relay);
	draft_fini(&draft);
}
END_TEST

UNIT_MAIN("relay", test_without_a_draft_frames_pass, test_another_attempt_begins_with_nothing,
          test_a_continuation_is_joined_whenever_it_is,
          test_without_delivered_text_joining_changes_nothing,
          test_what_is_kept_back_comes_with_the_end,
          test_a_repetition_has_no_logprobs_that_would_not_fit)
