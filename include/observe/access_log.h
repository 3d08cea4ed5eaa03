/*
 * The access log: one JSON line for each request, written at its end. Never a key, never a text of a
 * prompt or an answer.
 */
#ifndef OBSERVE_ACCESS_LOG_H
#define OBSERVE_ACCESS_LOG_H

#include "base/bytes.h"
#include "base/log_sink.h"

/* NULL texts and negative numbers are left out of the line. Texts are cut at 256 bytes, the path at 1 KiB
 * and the detail at 2 KiB. Everything is borrowed for the length of the call. */
struct access_record {
	uint64_t time_ms; /* wall clock, at the end */
	const char *id, *peer, *method, *path;
	int status;
	const char *route, *decision, *reason;
	double score;                      /* rounded to 6 decimals; not finite: none */
	const char *drafter, *heavyweight; /* model names, if asked */
	const char *model;                 /* that answered */
	const char *
	        cache; /* what came of the look-up: exact, semantic, shared, miss; NULL: none was made */
	const char *cache_guard; /* which guard refused the nearest answer */
	const char *end;    /* how the exchange ended: done, client_gone, upstream_truncated, … */
	const char *error;  /* error type answered */
	const char *detail; /* upstream failure, a short text without secrets */
	const char *project_id, *reasoning_effort;
	const char *cost_usd; /* of all models asked, a decimal number; NULL: not known */
	bool stream;
	bool speculated; /* the heavyweight was started alongside the draft */
	bool handed_off; /* the heavyweight went on from a part of the draft */
	unsigned attempts;
	int64_t prompt_tokens, completion_tokens; /* of the answer */
	bool tokens_estimated;
	int64_t draft_tokens; /* scored */
	uint64_t sent_bytes;
	int64_t duration_us, first_byte_us, draft_us, heavyweight_us, overhead_us;
};

/* Formats and queues the line. Any thread; sink NULL: nothing. */
void access_log_write(struct log_sink *sink, const struct access_record *record);

#endif
