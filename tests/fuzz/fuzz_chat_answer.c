/*
 * Whatever frames come, one a line, the answer made of them is one valid chat.completion, which can be
 * read as a frame is; it has output and is finished exactly if the answer says so.
 *
 * Input: one byte for the options, then the frames.
 */
#include "wire/chat_answer.h"

#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static void
check_document(const struct chat_answer *answer, bool keep_logprobs)
{
	struct chat_frame document;
	bool has_output = false, is_finished = true;
	struct buf out;

	buf_init(&out, 0);
	chat_answer_write(answer, &out);
	check(!out.failed, "not written");
	chat_frame_init(&document);
	check(chat_frame_read(&document, buf_bytes(&out)), "unreadable");
	check(document.error.kind == JSON_KIND_NONE, "an error");
	for (size_t i = 0; i < document.choice_count; i++) {
		const struct chat_choice *choice = &document.choices[i];

		has_output |= choice->has_output;
		is_finished &= choice->finish_reason.kind == JSON_KIND_STRING;
		check(i == 0 || choice[-1].index < choice->index, "choices out of order");
		check(choice->role.kind == JSON_KIND_STRING, "no role");
		check(choice->content.kind != JSON_KIND_NONE, "no content");
		check(keep_logprobs || choice->logprobs.value.kind == JSON_KIND_NONE, "logprobs");
	}
	check(chat_answer_is_finished(answer) == (is_finished && document.choice_count > 0),
	      "finished");
	check(chat_answer_has_output(answer) == has_output, "output");
	check(chat_answer_usage(answer).known == document.usage_counts.known, "usage");
	chat_frame_fini(&document);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	struct chat_answer *answer;
	struct chat_frame frame;
	bool keep_logprobs, good = true;
	char *text, *p, *end;

	if (n < 1)
		return 0;
	keep_logprobs = input[0] & 1;
	answer = chat_answer_new(input[0] & 2 ? 4096 : 1 << 24, keep_logprobs, input[0] >> 2 & 31);
	check(answer != NULL, "no memory");
	text = mem_new(n);
	memcpy(text, input + 1, n - 1);
	p = text;
	end = text + n - 1;
	chat_frame_init(&frame);
	while (good && p < end) {
		char *stop = memchr(p, '\n', (size_t)(end - p));

		if (!stop)
			stop = end;
		if (chat_frame_read(&frame, (struct bytes){p, (size_t)(stop - p)}))
			good = chat_answer_add(answer, &frame);
		p = stop + 1;
	}
	if (good)
		check_document(answer, keep_logprobs);
	chat_frame_fini(&frame);
	chat_answer_free(answer);
	free(text);
	return 0;
}
