#include "route/seam.h"

#include "base/mem.h"
#include "unit.h"
#include "wire/sse_reader.h"

#define MEMBERS "\"id\":\"up\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"big\""
#define JOINED                                                                                     \
	"\"id\":\"mine\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"big\""
#define OWN                                                                                        \
	"{\"object\":\"chat.completion.chunk\",\"id\":\"mine\",\"created\":1,\"model\":\"big\","   \
	"\"choices\":[{\"index\":0,\"delta\":{\"content\":"
#define STOP "{" MEMBERS ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"

static const struct chat_frame_view keep_all = {true, 20, true}, keep_none = {false, 0, false};

static struct json_value
value_of(const char *text, enum json_kind kind)
{
	return (struct json_value){text, strlen(text), kind};
}

static struct seam
seam_new(enum chat_prefill prefill, const char *asked, const char *surplus)
{
	struct seam seam;
	struct buf delivered;

	buf_init(&delivered, 0);
	buf_add_text(&delivered, asked);
	buf_add_text(&delivered, surplus);
	/* `asked` is given apart, as the exchange may do. */
	ck_assert(seam_init(&seam, prefill, bytes_of(asked), buf_bytes(&delivered),
	                    value_of("\"mine\"", JSON_KIND_STRING),
	                    value_of("1", JSON_KIND_NUMBER)));
	buf_fini(&delivered);
	return seam;
}

/* Hands the seam a frame in memory of its own, which is gone afterwards. */
static void
feed(struct seam *seam, struct bytes payload, const struct chat_frame_view *view, struct buf *out)
{
	struct chat_frame frame;
	char *held = mem_copy(payload);

	chat_frame_init(&frame);
	ck_assert_msg(chat_frame_read(&frame, (struct bytes){held, payload.n}), "%.*s",
	              (int)payload.n, payload.p);
	seam_frame(seam, &frame, view, out);
	ck_assert(!out->failed);
	chat_frame_fini(&frame);
	memset(held, 'x', payload.n);
	free(held);
}

static void
feed_content(struct seam *seam, struct bytes piece, const char *finish, struct buf *out)
{
	struct buf payload;

	buf_init(&payload, 0);
	buf_add_text(&payload, "{" MEMBERS ",\"choices\":[{\"index\":0,\"delta\":{\"role\":"
	                       "\"assistant\",\"content\":");
	buf_add_json_string(&payload, piece);
	buf_add_text(&payload,
	             "},\"logprobs\":{\"content\":[{\"token\":\"x\"}]},\"finish_reason\":");
	buf_add_text(&payload, finish);
	buf_add_text(&payload, "}]}");
	feed(seam, buf_bytes(&payload), &keep_all, out);
	buf_fini(&payload);
}

/* What a client makes of the stream: its content; checks what must hold of each frame. */
static void
client_read(const struct buf *stream, struct buf *content)
{
	struct sse_reader reader;
	struct sse_event event;
	struct chat_frame frame;

	chat_frame_init(&frame);
	sse_reader_init(&reader, 1 << 20);
	sse_reader_feed(&reader, buf_bytes(stream));
	while (sse_reader_next(&reader, &event)) {
		ck_assert(chat_frame_read(&frame, event.data));
		ck_assert(bytes_is(json_value_text(frame.id), "\"mine\""));
		ck_assert(bytes_is(json_value_text(frame.created), "1"));
		ck_assert_uint_eq(frame.choice_count, 1);
		ck_assert_int_eq(frame.choices[0].role.kind, JSON_KIND_NONE);
		json_string_decode(frame.choices[0].content, content);
	}
	ck_assert(!sse_reader_is_midway(&reader) && !reader.failed);
	sse_reader_fini(&reader);
	chat_frame_fini(&frame);
}

struct row {
	const char *rule;
	enum chat_prefill prefill;
	const char *asked, *surplus, *continuation, *want; /* want: after the delivered text */
	bool fits;
};

static const struct row rows[] = {
        {"by instruction: repeated words go", CHAT_PREFILL_NONE, "The capital of", "",
         "capital of France", " France", true},
        {"by instruction: the whole answer again", CHAT_PREFILL_NONE, "The capital of", "",
         "The capital of France", " France", true},
        {"by instruction: nothing repeated", CHAT_PREFILL_NONE, "The capital of", "", " France",
         " France", true},
        {"by instruction: nothing but a repetition", CHAT_PREFILL_NONE, "The capital", "",
         "capital", "", true},
        {"by instruction: what was kept back is not lost", CHAT_PREFILL_NONE, "The capital", "",
         "The cap", "The cap", true},
        {"plain: exact", CHAT_PREFILL_PLAIN, "a b", "", "b c", "b c", true},
        {"vllm: exact", CHAT_PREFILL_VLLM, "a b ", "", " b c", " b c", true},
        {"deepseek: exact", CHAT_PREFILL_DEEPSEEK, "a b", "", "a b c", "a b c", true},
        {"mistral: the partial turn is repeated", CHAT_PREFILL_MISTRAL, "a b", "", "a b c", " c",
         true},
        {"mistral: or is not", CHAT_PREFILL_MISTRAL, "a b", "", " b c", " b c", true},
        {"anthropic: white space that was not sent", CHAT_PREFILL_ANTHROPIC, "a:\n\n", "", "\n\nb",
         "b", true},
        {"anthropic: words stay", CHAT_PREFILL_ANTHROPIC, "a b", "", " b c", " b c", true},
        {"escapes and wide characters", CHAT_PREFILL_NONE, "say \"d\xC3\xA9j\xC3\xA0\"", "",
         "d\xC3\xA9j\xC3\xA0\" \xF0\x9F\x98\x80\n\t\\", " \xF0\x9F\x98\x80\n\t\\", true},

        {"asked ahead: what the client has is said too", CHAT_PREFILL_PLAIN, "The", " capital of",
         " capital of France", " France", true},
        {"asked ahead: no more than that", CHAT_PREFILL_PLAIN, "The", " capital of", " capital of",
         "", true},
        {"asked ahead: in the middle of a word", CHAT_PREFILL_PLAIN, "The", " cap", " capital",
         "ital", true},
        {"asked ahead: after a repetition", CHAT_PREFILL_NONE, "The capital", " of",
         "The capital of France", " France", true},
        {"asked ahead: after white space", CHAT_PREFILL_ANTHROPIC, "The ", "capital", " capital of",
         " of", true},
        {"asked ahead: contradicted", CHAT_PREFILL_PLAIN, "The", " capital of", " city of",
         " city of", false},
        {"asked ahead: contradicted at the end", CHAT_PREFILL_PLAIN, "The", " capital of",
         " capital on", " capital on", false},
        {"asked ahead: not all of it", CHAT_PREFILL_PLAIN, "The", " capital of", " capital",
         " capital", false},
        {"asked ahead: nothing", CHAT_PREFILL_PLAIN, "The", " capital of", "", "", false},
};

static size_t
char_end(const char *text, size_t at)
{
	do
		at++;
	while (((unsigned char)text[at] & 0xC0) == 0x80);
	return at;
}

/* How the stream ends after the last content. */
enum ending { WITH_CONTENT, WITHOUT_CONTENT, BY_END, ENDINGS };

/* Pieces end at `a`, at `b` and at the end; every character is one when `a` is 0. */
static void
check_row(const struct row *row, size_t a, size_t b, enum ending ending)
{
	struct seam seam = seam_new(row->prefill, row->asked, row->surplus);
	size_t n = strlen(row->continuation), end;
	struct buf stream, content;

	buf_init(&stream, 0);
	buf_init(&content, 0);
	for (size_t at = 0; at < n; at = end) {
		end = a == 0 ? char_end(row->continuation, at) : at < a ? a : at < b ? b : n;
		feed_content(&seam, (struct bytes){row->continuation + at, end - at},
		             end == n && ending == WITH_CONTENT ? "\"stop\"" : "null", &stream);
	}
	if (ending == WITHOUT_CONTENT || (n == 0 && ending == WITH_CONTENT))
		feed(&seam, bytes_of(STOP), &keep_none, &stream);
	else if (ending == BY_END)
		seam_end(&seam, &stream);
	client_read(&stream, &content);
	ck_assert_msg(bytes_is(buf_bytes(&content), row->want), "%s (%zu, %zu, %d): %.*s",
	              row->rule, a, b, (int)ending, (int)content.n, content.p);
	ck_assert_msg(seam_fits(&seam) == row->fits, "%s", row->rule);
	buf_fini(&stream);
	buf_fini(&content);
	seam_fini(&seam);
}

START_TEST(test_the_client_gets_one_answer_however_the_continuation_is_cut)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *text = rows[i].continuation;
		size_t n = strlen(text);

		for (enum ending e = WITH_CONTENT; e < ENDINGS; e++) {
			check_row(&rows[i], 0, 0, e);
			for (size_t a = 0; a < n;) {
				a = char_end(text, a);
				for (size_t b = a; b <= n; b = b < n ? char_end(text, b) : n + 1)
					check_row(&rows[i], a, b, e);
			}
		}
	}
}
END_TEST

START_TEST(test_what_was_asked_ahead_fits_once_it_is_said_and_not_before)
{
	static const struct {
		const char *surplus, *said;
		bool fits, contradicts;
	} cases[] = {
	        {"", "", true, false},       {"", "x", true, false},
	        {" of", "", false, false},   {" of", " o", false, false},
	        {" of", " of", true, false}, {" of", " of France", true, false},
	        {" of", " or", false, true}, {" of", "of", false, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seam seam = seam_new(CHAT_PREFILL_PLAIN, "The capital", cases[i].surplus);
		struct buf out;

		buf_init(&out, 0);
		feed_content(&seam, bytes_of(cases[i].said), "null", &out);
		ck_assert_msg(seam_fits(&seam) == cases[i].fits, "row %zu", i);
		/* While it may still fit, the client gets nothing. */
		if (!cases[i].fits && !cases[i].contradicts)
			ck_assert_uint_eq(out.n, 0);
		buf_fini(&out);
		seam_fini(&seam);
	}
}
END_TEST

#define CHUNK(members, choice) "{" members ",\"choices\":[{\"index\":0," choice "}]}"
#define LOGPROBS               "\"logprobs\":{\"content\":[{\"token\":\"a\"}]}"
#define REPEATED               "{" MEMBERS ",\"choices\":[{\"delta\":{\"content\":\"The cap\"}}]}"

/* After asking to continue "The capital" by instruction. */
static const struct {
	const char *rule;
	const char *before; /* an earlier frame, or NULL */
	const struct chat_frame_view *view;
	const char *frame, *want;
} events[] = {
        {"text of its own passes as it stands, with logprobs", NULL, &keep_all,
         CHUNK(MEMBERS, "\"delta\":{\"role\":\"assistant\",\"content\":\"\\u0041\\/\"}," LOGPROBS),
         "data: " CHUNK(JOINED, "\"delta\":{\"content\":\"\\u0041\\/\"}," LOGPROBS) "\n\n"},
        {"the view counts", NULL, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"content\":\"A\"}," LOGPROBS),
         "data: " CHUNK(JOINED, "\"delta\":{\"content\":\"A\"}") "\n\n"},
        {"what is left of a repetition has no logprobs", NULL, &keep_all,
         CHUNK(MEMBERS, "\"delta\":{\"content\":\"The capital of\"}," LOGPROBS),
         "data: " CHUNK(JOINED, "\"delta\":{\"content\":\" of\"}") "\n\n"},
        {"what was kept back comes with the next text", REPEATED, &keep_all,
         CHUNK(MEMBERS, "\"delta\":{\"content\":\"e\"}," LOGPROBS),
         "data: " CHUNK(JOINED, "\"delta\":{\"content\":\"The cape\"}") "\n\n"},
        {"nothing but a repetition is not sent", NULL, &keep_all,
         CHUNK(MEMBERS, "\"delta\":{\"content\":\"The capital\"},\"finish_reason\":null"), ""},
        {"a role alone is not sent", NULL, &keep_all,
         CHUNK(MEMBERS, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"), ""},
        {"nor is one whose content is null", NULL, &keep_all,
         CHUNK(MEMBERS, "\"delta\":{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}"),
         ""},
        {"a finish_reason brings what was kept back", REPEATED, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\""),
         "data: " CHUNK(JOINED,
                        "\"delta\":{\"content\":\"The cap\"},\"finish_reason\":\"stop\"") "\n\n"},
        {"in place of null too", REPEATED, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"content\":null},\"finish_reason\":\"stop\""),
         "data: " CHUNK(JOINED,
                        "\"delta\":{\"content\":\"The cap\"},\"finish_reason\":\"stop\"") "\n\n"},
        {"without content it comes ahead of it", REPEATED, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{},\"finish_reason\":\"stop\""),
         "data: " OWN "\"The cap\"},\"finish_reason\":null}]}\n\ndata: " CHUNK(
                 JOINED, "\"delta\":{},\"finish_reason\":\"stop\"") "\n\n"},
        {"without a delta too", REPEATED, &keep_none, CHUNK(MEMBERS, "\"finish_reason\":\"stop\""),
         "data: " OWN "\"The cap\"},\"finish_reason\":null}]}\n\ndata: " CHUNK(
                 JOINED, "\"finish_reason\":\"stop\"") "\n\n"},
        {"a repetition that ends with the answer leaves an empty text", REPEATED, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"content\":\"ital\"},\"finish_reason\":\"stop\""),
         "data: " CHUNK(JOINED, "\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"") "\n\n"},
        {"tool calls are sent", NULL, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"role\":\"assistant\",\"tool_calls\":[{}]}"),
         "data: " CHUNK(JOINED, "\"delta\":{\"tool_calls\":[{}]}") "\n\n"},
        {"a function call is sent", NULL, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"function_call\":{}}"),
         "data: " CHUNK(JOINED, "\"delta\":{\"function_call\":{}}") "\n\n"},
        {"a refusal is sent", NULL, &keep_none, CHUNK(MEMBERS, "\"delta\":{\"refusal\":\"no\"}"),
         "data: " CHUNK(JOINED, "\"delta\":{\"refusal\":\"no\"}") "\n\n"},
        {"an empty refusal is not", NULL, &keep_none,
         CHUNK(MEMBERS, "\"delta\":{\"refusal\":\"\"}"), ""},
        {"usage is sent to who wants it", NULL, &keep_all,
         "{" MEMBERS ",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}",
         "data: {" JOINED ",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n"},
        {"and to nobody else", NULL, &keep_none,
         "{" MEMBERS ",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", ""},
        {"null is no usage", NULL, &keep_all,
         "{" MEMBERS ",\"choices\":[{\"delta\":{}}],\"usage\":null}", ""},
        {"an error is sent as it stands", REPEATED, &keep_none,
         "{\"id\":\"up\",\"error\":{\"message\":\"no\"}}",
         "data: {\"id\":\"up\",\"error\":{\"message\":\"no\"}}\n\n"},
        {"a frame of several lines", NULL, &keep_none,
         "{\n \"id\": \"up\",\n \"choices\": [{\n  \"delta\": {\"role\":\"r\",\n   \"content\": "
         "\"A\"}\n }]\n}",
         "data: {\ndata:  \"id\": \"mine\",\ndata:  \"choices\": [{\ndata:   \"delta\": {"
         "\"content\": \"A\"}\ndata:  }]\ndata: }\n\n"},
};

START_TEST(test_frames_are_sent_with_what_is_new_in_them)
{
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct seam seam = seam_new(CHAT_PREFILL_NONE, "The capital", "");
		struct buf out;

		buf_init(&out, 0);
		if (events[i].before) {
			feed(&seam, bytes_of(events[i].before), events[i].view, &out);
			ck_assert_uint_eq(out.n, 0);
		}
		feed(&seam, bytes_of(events[i].frame), events[i].view, &out);
		ck_assert_msg(bytes_is(buf_bytes(&out), events[i].want), "%s: %.*s", events[i].rule,
		              (int)out.n, out.p);
		buf_fini(&out);
		seam_fini(&seam);
	}
}
END_TEST

START_TEST(test_without_the_drafts_id_upstreams_first_one_stands_for_all)
{
	const struct json_value none = {.kind = JSON_KIND_NONE};
	struct seam seam;
	struct buf out;

	buf_init(&out, 0);
	ck_assert(
	        seam_init(&seam, CHAT_PREFILL_NONE, bytes_of("a b"), bytes_of("a b"), none, none));
	feed(&seam, bytes_of("{\"id\":\"\",\"created\":0,\"choices\":[]}"), &keep_all, &out);
	feed(&seam, bytes_of("{\"id\":\"up\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}"),
	     &keep_all, &out);
	feed(&seam, bytes_of("{\"id\":\"other\",\"choices\":[{\"delta\":{\"content\":\"y\"}}]}"),
	     &keep_all, &out);
	ck_assert(bytes_is(
	        buf_bytes(&out),
	        "data: {\"id\":\"up\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
	        "data: {\"id\":\"up\",\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n"));
	buf_fini(&out);
	seam_fini(&seam);
}
END_TEST

START_TEST(test_what_does_not_fit_the_buffer_shows_as_a_failure)
{
	struct seam seam = seam_new(CHAT_PREFILL_PLAIN, "a", "");
	struct chat_frame frame;
	struct buf out;

	buf_init(&out, 30);
	chat_frame_init(&frame);
	ck_assert(chat_frame_read(&frame, bytes_of(STOP)));
	seam_frame(&seam, &frame, &keep_all, &out);
	ck_assert(out.failed);
	chat_frame_fini(&frame);
	buf_fini(&out);
	seam_fini(&seam);
}
END_TEST

UNIT_MAIN("seam", test_the_client_gets_one_answer_however_the_continuation_is_cut,
          test_what_was_asked_ahead_fits_once_it_is_said_and_not_before,
          test_frames_are_sent_with_what_is_new_in_them,
          test_without_the_drafts_id_upstreams_first_one_stands_for_all,
          test_what_does_not_fit_the_buffer_shows_as_a_failure)
