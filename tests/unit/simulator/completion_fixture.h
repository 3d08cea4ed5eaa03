/* One answer of the simulator, made for a prompt and taken apart into frames. */
#ifndef COMPLETION_FIXTURE_H
#define COMPLETION_FIXTURE_H

#include "unit.h"

#include "simulator/completion.h"
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
static inline void
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

static inline void
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

static inline void
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
static inline const char *
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

/* Adds what one choice of a frame says to `text`; its finish_reason, if it has one, to `finish`. */
static inline void
choice_join(const struct chat_choice *choice, struct buf *text, char finish[32])
{
	struct buf word = {0};

	if (choice->content.kind == JSON_KIND_STRING)
		json_string_decode(choice->content, text);
	if (choice->finish_reason.kind == JSON_KIND_STRING) {
		json_string_decode(choice->finish_reason, &word);
		ck_assert_uint_lt(word.n, 32);
		memcpy(finish, word.p, word.n);
		finish[word.n] = '\0';
	}
	buf_fini(&word);
}

/* The content of a choice, joined over all frames; its last finish_reason. */
static inline struct buf
content_of(const struct answer *a, unsigned index, char finish[32])
{
	struct chat_frame frame;
	struct buf text = {0};

	chat_frame_init(&frame);
	for (size_t i = 0; i < a->count && !bytes_is(a->frames[i], "[DONE]"); i++) {
		ck_assert(chat_frame_read(&frame, a->frames[i]));
		for (size_t k = 0; k < frame.choice_count; k++) {
			if (frame.choices[k].index == index)
				choice_join(&frame.choices[k], &text, finish);
		}
	}
	chat_frame_fini(&frame);
	return text;
}

#endif
