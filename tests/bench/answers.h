/*
 * What the benchmark's model server says, made once at the start: one JSON answer, embeddings, and streams of
 * ANSWER_FRAMES frames with and without logprobs, usage and doubt. Nothing is freed: they live as long as the process.
 *
 * Each frame's text has a mark "@NN:TTTTTTTT": the frame's number, from 00, and a time in microseconds of
 * CLOCK_MONOTONIC, modulo MARK_PERIOD_US. What is sent in one write has zeros there; a paced stream has the time at
 * which the frame was sent. The load client looks for these marks.
 */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

enum { ANSWER_FRAMES = 64, MARK_BYTES = 12, MARK_DIGITS = 8, MARK_PERIOD_US = 100000000 };

struct answer {
	char *text; /* head and body, as they go out */
	size_t n, room;
	/* A stream in its parts, one a frame; part i ends at end[i]. The first has head and role in it, the last
	 * finish_reason, usage and [DONE]. stamp[i]: where the digits of the mark's time are. */
	unsigned parts;
	size_t end[ANSWER_FRAMES], stamp[ANSWER_FRAMES];
};

struct stream_kind {
	int logprobs, usage, uncertain; /* 0 or 1 */
};

struct answers {
	struct answer json, missing;
	struct answer streams[2][2][2]; /* by logprobs, usage, uncertain */
};

void answers_make(struct answers *all);

/* One vector of so many numbers, as the request asks for it: base64 or an array. To be freed by the caller. */
void answer_make_embedding(struct answer *answer, unsigned dimensions, int base64);

/* Writes the time into MARK_DIGITS bytes. */
void mark_write(char *digits, uint64_t us);

#endif
