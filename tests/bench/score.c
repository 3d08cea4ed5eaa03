/*
 * score: how fast a draft is judged. The bytes of a stream of server-sent events with five logprobs a token go through
 * the reader, the frames, the entropies and the rule, on one core, as they do in the gateway; prints one JSON object.
 *
 * malloc and its like are counted (-Wl,--wrap): judging a token must not need any.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answers.h"
#include "score/rule.h"
#include "score/token.h"
#include "wire/chat_frame.h"
#include "wire/sse_reader.h"

enum {
	PIECE_BYTES = 16 * 1024,
	STREAMS = 4000,
	ROUNDS = 7,
	CANDIDATES = 5,
	LINE_MAX_BYTES = 1024 * 1024
};

static unsigned long long allocations;

/* The linker makes these of the names. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *
__wrap_malloc(size_t n)
{
	allocations++;
	return __real_malloc(n);
}

void *
__wrap_calloc(size_t count, size_t n)
{
	allocations++;
	return __real_calloc(count, n);
}

void *
__wrap_realloc(void *p, size_t n)
{
	allocations++;
	return __real_realloc(p, n);
}

struct judge {
	struct sse_reader reader;
	struct chat_frame frame;
	struct rule rule;
	unsigned long long tokens, allocations;
	double score;
};

static double
entropy_of(const struct chat_token *token)
{
	size_t count = token->top_count < CANDIDATES ? token->top_count : CANDIDATES;
	bool among = token->sampled >= 0 && (size_t)token->sampled < count;

	return token_entropy(token->top, count, among ? NAN : token->logprob, ENTROPY_TAIL_BOUND);
}

/* False when anything is wrong with the frame, or the rule trips, which this stream must not make it do. */
static bool
judge_event(struct judge *judge, const struct sse_event *event)
{
	if (bytes_is(event->data, "[DONE]"))
		return true;
	if (!chat_frame_read(&judge->frame, event->data))
		return false;
	for (size_t i = 0; i < judge->frame.token_count; i++) {
		judge->tokens++;
		if (rule_feed(&judge->rule, entropy_of(&judge->frame.tokens[i])) != RULE_CONTINUE)
			return false;
	}
	return true;
}

/* One draft from its first byte to its verdict, in pieces as large as libcurl gives them. */
static bool
judge_stream(struct judge *judge, struct bytes stream)
{
	const struct rule_options options = {
	        .threshold = 2, .window_size = 10, .early_exit_count = 10};
	unsigned long long before;
	struct sse_event event;
	bool ok = true;

	rule_init(&judge->rule, &rule_window, &options);
	before = allocations;
	for (size_t at = 0; at < stream.n; at += PIECE_BYTES) {
		size_t n = stream.n - at < PIECE_BYTES ? stream.n - at : PIECE_BYTES;

		sse_reader_feed(&judge->reader, (struct bytes){stream.p + at, n});
		while (ok && sse_reader_next(&judge->reader, &event))
			ok = judge_event(judge, &event);
	}
	judge->allocations += allocations - before;
	ok = ok && rule_finish(&judge->rule) == RULE_CONTINUE && !judge->reader.failed;
	judge->score = rule_score(&judge->rule);
	rule_fini(&judge->rule);
	return ok;
}

/* The events of an answer without head and chunks; how many bytes, no more than it has. */
static size_t
copy_events(const struct answer *answer, char *text)
{
	const char *p = answer->text, *end = p + answer->n;
	size_t n = 0;

	while ((p = memmem(p, (size_t)(end - p), "data: ", 6))) {
		const char *stop = memmem(p, (size_t)(end - p), "\n\n", 2);
		size_t length = (size_t)(stop - p) + 2;

		memcpy(text + n, p, length);
		n += length;
		p += length;
	}
	return n;
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int
main(void)
{
	static struct answers answers;
	struct judge judge = {0};
	struct bytes stream;
	double rates[ROUNDS];
	char *text;

	answers_make(&answers);
	text = malloc(answers.streams[1][1][0].n);
	if (!text)
		return 1;
	stream = (struct bytes){text, copy_events(&answers.streams[1][1][0], text)};
	sse_reader_init(&judge.reader, LINE_MAX_BYTES);
	chat_frame_init(&judge.frame);
	/* The first draft lets the buffers grow. */
	if (!judge_stream(&judge, stream) || judge.tokens != ANSWER_FRAMES) {
		fputs("score: the stream was not accepted\n", stderr);
		free(text);
		return 1;
	}
	judge.allocations = 0;
	for (int i = 0; i < ROUNDS; i++) {
		double begin = cpu_seconds();

		judge.tokens = 0;
		for (int k = 0; k < STREAMS; k++)
			judge_stream(&judge, stream);
		rates[i] = (double)judge.tokens / (cpu_seconds() - begin);
	}
	qsort(rates, ROUNDS, sizeof(rates[0]), compare);
	printf("{\"tokens_per_second\": %.0f, \"allocations\": %llu, \"tokens\": %llu, "
	       "\"stream_bytes\": %zu, \"score\": %.6f}\n",
	       rates[ROUNDS / 2], judge.allocations, judge.tokens * ROUNDS, stream.n, judge.score);
	sse_reader_fini(&judge.reader);
	chat_frame_fini(&judge.frame);
	free(text);
	return 0;
}
