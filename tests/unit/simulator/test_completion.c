#include "simulator/completion.h"

#include <math.h>
#include <stdio.h>

#include "score/token.h"
#include "unit.h"
#include "wire/chat_frame.h"
#include "wire/sse_reader.h"

enum { FRAMES_MAX = 2048 };

/* One answer: the request, and all that was written of it as a stream. */
struct answer {
	struct sim_vocabulary *vocabulary;
	struct sim_distribution_set *distributions;
	struct sim_request request;
	struct sim_completion *completion;
	struct buf text;                 /* the prompt without marks */
	struct buf stream;               /* all frames */
	enum sim_step end;               /* what came after the last frame */
	struct bytes frames[FRAMES_MAX]; /* payloads */
	size_t count;
};

/* members: of the request besides model and messages, with a leading comma. */
static void
answer_begin(struct answer *a, const char *prompt, const char *members, uint64_t serial)
{
	struct sim_plan plan;
	struct api_error error;
	struct buf body = {0};
	char why[256];

	memset(a, 0, sizeof(*a));
	a->vocabulary = sim_vocabulary_new();
	a->distributions = sim_distribution_set_new();
	sim_request_init(&a->request);
	buf_add_text(&body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":");
	buf_add_json_string(&body, bytes_of(prompt));
	buf_add_format(&body, "}]%s}", members);
	ck_assert_msg(sim_request_read(&a->request, buf_bytes(&body), &error), "%s", error.message);
	sim_plan_init(&plan);
	ck_assert(sim_plan_read_prompt(&plan, buf_bytes(&a->request.prompt), SIM_MARKS_ALL, "m",
	                               &a->text, why, sizeof(why)));
	a->completion = sim_completion_new(&(struct sim_completion_spec){
	        .request = &a->request,
	        .plan = &plan,
	        .prompt = buf_bytes(&a->text),
	        .vocabulary = a->vocabulary,
	        .distributions = a->distributions,
	        .seed = 1,
	        .serial = serial,
	        .created_s = 1700000000,
	});
	ck_assert_ptr_nonnull(a->completion);
	buf_fini(&body);
}

static void
answer_stream(struct answer *a, const char *prompt, const char *members)
{
	struct sse_reader reader;
	struct sse_event event;

	answer_begin(a, prompt, members, 1);
	while ((a->end = sim_completion_next(a->completion, &a->stream)) == SIM_STEP_FRAME)
		;
	sse_reader_init(&reader, 1 << 20);
	sse_reader_feed(&reader, buf_bytes(&a->stream));
	while (sse_reader_next(&reader, &event)) {
		ck_assert_uint_lt(a->count, FRAMES_MAX);
		/* The reader borrows from the stream, which stays: each event is one data line. */
		ck_assert(event.data.p >= a->stream.p && event.data.p < a->stream.p + a->stream.n);
		a->frames[a->count++] = event.data;
	}
	ck_assert(!sse_reader_is_midway(&reader));
	sse_reader_fini(&reader);
	ck_assert_uint_eq(a->count, sim_completion_frames(a->completion));
}

static void
answer_end(struct answer *a)
{
	sim_completion_free(a->completion);
	sim_request_fini(&a->request);
	sim_distribution_set_free(a->distributions);
	sim_vocabulary_free(a->vocabulary);
	buf_fini(&a->text);
	buf_fini(&a->stream);
}

/* What a payload holds from "choices" on. */
static const char *
choices_of(struct bytes payload, char text[1024])
{
	const char *at = memmem(payload.p, payload.n, "\"choices\":", 10);
	size_t n;

	ck_assert_ptr_nonnull(at);
	n = payload.n - (size_t)(at - payload.p);
	ck_assert_uint_lt(n, 1024);
	memcpy(text, at, n);
	text[n] = '\0';
	return text;
}

/* The content of a choice, joined over all frames; its last finish_reason. */
static struct buf
content_of(const struct answer *a, unsigned index, char finish[32])
{
	struct chat_frame frame;
	struct buf text = {0};

	chat_frame_init(&frame);
	for (size_t i = 0; i < a->count && !bytes_is(a->frames[i], "[DONE]"); i++) {
		ck_assert(chat_frame_read(&frame, a->frames[i]));
		for (size_t k = 0; k < frame.choice_count; k++) {
			const struct chat_choice *choice = &frame.choices[k];
			struct buf word = {0};

			if (choice->index != index)
				continue;
			if (choice->content.kind == JSON_STRING)
				json_string_decode(choice->content, &text);
			if (choice->finish_reason.kind == JSON_STRING) {
				json_string_decode(choice->finish_reason, &word);
				ck_assert_uint_lt(word.n, 32);
				memcpy(finish, word.p, word.n);
				finish[word.n] = '\0';
			}
			buf_fini(&word);
		}
	}
	chat_frame_fini(&frame);
	return text;
}

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

/* Checks one token's entry against itself and against the entropy it should have. */
static void
check_token(const struct chat_token *token, unsigned top, double wanted)
{
	double sum = 0, bits;
	struct buf text = {0}, bytes = {0};

	ck_assert_uint_eq(token->top_count, top);
	for (unsigned i = 0; i < top; i++)
		sum += exp(token->top[i]);
	if (token->sampled < 0)
		sum += exp(token->logprob);
	else
		ck_assert_double_eq(token->top[token->sampled], token->logprob);
	ck_assert_double_le(sum, 1);
	bits = token_entropy(token->top, top, token->sampled < 0 ? token->logprob : NAN,
	                     ENTROPY_TAIL_BOUND);
	ck_assert_double_eq_tol(bits, wanted, 2e-3);

	json_string_decode(token->text, &text);
	buf_add_text(&bytes, "\"bytes\":[");
	for (size_t i = 0; i < text.n; i++)
		buf_add_format(&bytes, i ? ",%d" : "%d", (unsigned char)text.p[i]);
	buf_add_text(&bytes, "],\"top_logprobs\":[");
	ck_assert_ptr_nonnull(memmem(token->entry.p, token->entry.n, bytes.p, bytes.n));
	buf_fini(&text);
	buf_fini(&bytes);
}

/* No token stands twice among the candidates. */
static void
check_distinct(const struct chat_token *token)
{
	struct json_scan scan;
	struct json_member member;
	struct json_value seen[CHAT_TOP_LOGPROBS_MAX], value;
	size_t count = 0;

	json_scan_init(&scan, (struct bytes){token->top_begin,
	                                     (size_t)(token->top_close + 1 - token->top_begin)});
	ck_assert(json_enter(&scan, JSON_ARRAY));
	while (json_next_element(&scan)) {
		ck_assert(json_enter(&scan, JSON_OBJECT));
		while (json_next_member(&scan, &member)) {
			json_take(&scan, &value);
			if (json_key_is(member.key, "token"))
				seen[count] = value;
		}
		for (size_t i = 0; i < count; i++)
			ck_assert(!bytes_equal(json_value_text(seen[i]),
			                       json_value_text(seen[count])));
		count++;
	}
	ck_assert(json_scan_end(&scan));
}

START_TEST(test_logprobs_have_the_entropy_that_was_asked_for)
{
	struct chat_frame frame;
	struct answer a;
	size_t tokens = 0;

	answer_stream(&a,
	              "Grüße an the café \xf0\x9f\x99\x82 \"quoted\" [[tokens=60]]"
	              "[[entropy@1+=0.25]][[entropy@7=1.5]][[entropy@20+=0]]",
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":20");
	chat_frame_init(&frame);
	for (size_t i = 0; i + 1 < a.count; i++) {
		ck_assert(chat_frame_read(&frame, a.frames[i]));
		ck_assert_uint_eq(frame.choice_count, 1);
		ck_assert_uint_eq(frame.token_count, i > 0 && i + 2 < a.count);
		if (frame.token_count == 0)
			continue;
		tokens++;
		check_token(&frame.tokens[0], 20, tokens == 7 ? 1.5 : tokens >= 20 ? 0 : 0.25);
		check_distinct(&frame.tokens[0]);
		ck_assert(bytes_equal(json_value_text(frame.tokens[0].text),
		                      json_value_text(frame.choices[0].content)));
	}
	ck_assert_uint_eq(tokens, 60);
	chat_frame_fini(&frame);
	answer_end(&a);
}
END_TEST

START_TEST(test_the_mean_entropy_is_the_wanted_mean)
{
	struct chat_frame frame;
	struct answer a;
	double sum = 0, most = 0;

	answer_stream(&a, "x[[entropy=0.6,tokens=400]]",
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":20");
	chat_frame_init(&frame);
	for (size_t i = 1; i + 2 < a.count; i++) {
		const struct chat_token *token = &frame.tokens[0];
		double bits;

		ck_assert(chat_frame_read(&frame, a.frames[i]));
		token = &frame.tokens[0];
		bits = token_entropy(token->top, 20, token->sampled < 0 ? token->logprob : NAN,
		                     ENTROPY_TAIL_BOUND);
		sum += bits;
		most = fmax(most, bits);
	}
	ck_assert_double_eq_tol(sum / 400, 0.6, 0.03);
	ck_assert_double_le(most, 0.9);
	chat_frame_fini(&frame);
	answer_end(&a);
}
END_TEST

START_TEST(test_a_token_far_down_is_not_among_the_candidates)
{
	struct chat_frame frame;
	struct answer a;
	unsigned outside = 0, inside = 0;

	answer_stream(&a, "x[[entropy@1+=6,tokens=400]]",
	              ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":5");
	chat_frame_init(&frame);
	for (size_t i = 1; i + 2 < a.count; i++) {
		const struct chat_token *token;

		ck_assert(chat_frame_read(&frame, a.frames[i]));
		token = &frame.tokens[0];
		check_distinct(token);
		if (token->sampled >= 0) {
			inside++;
			continue;
		}
		outside++;
		ck_assert_double_lt(token->logprob, token->top[4]);
	}
	ck_assert_uint_gt(inside, 40);
	ck_assert_uint_gt(outside, 200);
	chat_frame_fini(&frame);
	answer_end(&a);
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
		ck_assert_ptr_null(memmem(text.p, text.n, " river", 6));
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
		                                       JSON_STRING},
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
		ck_assert_int_ne(frame.choices[0].content.kind, JSON_STRING);
		if (frame.choices[0].refusal.kind == JSON_STRING)
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
	ck_assert_int_eq(frame.error.kind, JSON_OBJECT);
	answer_end(&a);
	chat_frame_fini(&frame);
}
END_TEST

START_TEST(test_logprobs_are_left_out_when_told_or_not_asked)
{
	struct chat_frame frame;
	struct answer a;

	chat_frame_init(&frame);
	answer_stream(&a, "x[[no-logprobs]]", ",\"logprobs\":true,\"top_logprobs\":5");
	ck_assert(chat_frame_read(&frame, a.frames[1]));
	ck_assert(!frame.choices[0].has_logprobs);
	answer_end(&a);
	answer_stream(&a, "x", ",\"logprobs\":true");
	ck_assert(chat_frame_read(&frame, a.frames[1]));
	ck_assert_uint_eq(frame.token_count, 1);
	ck_assert_uint_eq(frame.tokens[0].top_count, 0);
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
	ck_assert_int_eq(frame.choices[0].content.kind, JSON_NULL);
	ck_assert(bytes_is(json_value_text(frame.choices[0].refusal),
	                   "\"I'm sorry, but I cannot help with that.\""));
	answer_end(&a);
	chat_frame_fini(&frame);
	buf_fini(&document);
	buf_fini(&wanted);
}
END_TEST

UNIT_MAIN("completion", test_a_stream_is_spelled_as_openai_spells_it,
          test_usage_comes_last_and_is_null_before,
          test_the_same_question_gets_the_same_answer_under_another_id,
          test_logprobs_have_the_entropy_that_was_asked_for,
          test_the_mean_entropy_is_the_wanted_mean,
          test_a_token_far_down_is_not_among_the_candidates, test_an_answer_ends_for_a_reason,
          test_several_choices_take_turns_and_differ,
          test_choices_that_stop_early_leave_the_turns_to_the_others,
          test_all_choices_together_are_bounded, test_a_tool_is_called_in_fragments,
          test_without_tools_the_tool_mark_is_nothing, test_a_refusal_stands_in_its_own_member,
          test_faults_come_where_they_were_asked_for,
          test_garbage_is_no_frame_and_an_error_frame_is_one,
          test_logprobs_are_left_out_when_told_or_not_asked,
          test_the_document_says_what_the_stream_says,
          test_the_document_of_a_tool_call_or_refusal_is_whole)
