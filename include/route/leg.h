/*
 * One upstream attempt: a chat request to one model, from the connection to the last frame. It reads
 * a stream frame by frame, or one whole JSON answer, and tells the exchange what came, or how it failed.
 * Which of the two the exchange gets is what it asked for, also when upstream answered with the other.
 *
 * Its end is what the model's health learns of it: a failure, unless the request is to blame, or we
 * are; success; and nothing of a leg cancelled before it had said something.
 *
 * Created by the exchange and owned by it until leg_cancel or leg_release. Exactly one of on_done and
 * on_failed is called, unless it was cancelled. Worker's thread.
 */
#ifndef ROUTE_LEG_H
#define ROUTE_LEG_H

#include "base/blob.h"
#include "base/rope.h"
#include "route/attempts.h"
#include "route/cascade.h"
#include "route/service.h"
#include "wire/chat_frame.h"

struct leg;

enum leg_failure_kind {
	LEG_FAILURE_NONE,
	LEG_UNREACHABLE, /* name, connection or TLS */
	LEG_TIMEOUT,     /* `timer` says which */
	LEG_STATUS,      /* an HTTP status other than 2xx */
	LEG_MALFORMED,   /* not HTTP, not JSON, not a stream of chat frames */
	LEG_ERROR,       /* an `error` inside a 200 */
	LEG_CUT,         /* ended before the answer did */
	LEG_EMPTY,       /* a complete answer that says nothing (drafts only) */
	LEG_FAULT,       /* ours: no memory, too large */
};

enum leg_timer {
	LEG_TIMER_NONE,
	LEG_TIMER_CONNECT, /* the name, the connection and TLS */
	LEG_TIMER_FIRST_BYTE,
	LEG_TIMER_IDLE,
	LEG_TIMER_TOTAL,
};

enum leg_advice { LEG_ADVICE_NONE, LEG_ADVICE_RETRY, LEG_ADVICE_NO_RETRY };

struct leg_failure {
	enum leg_failure_kind kind;
	enum leg_timer timer;     /* of LEG_TIMEOUT */
	int status;               /* upstream's; 0: none was received */
	uint64_t retry_after_ms;  /* upstream's retry-after-ms or Retry-After; 0: none */
	enum leg_advice advice;   /* upstream's x-should-retry */
	enum attempt_retry retry; /* what all this allows */
	char detail[256];         /* for the log and for messages; no secrets */
	struct bytes body;        /* upstream's body, when there was one; borrowed from the leg */
};

struct leg_events {
	/* A readable frame without an error, in order. May cancel the leg, or make it fail. */
	void (*on_frame)(void *arg, struct leg *leg, const struct chat_frame *frame);
	/* The answer is complete: after the last frame, or with leg_reply() there. A drafter's says
	 * something. */
	void (*on_done)(void *arg, struct leg *leg);
	void (*on_failed)(void *arg, struct leg *leg);
};

struct leg_spec {
	enum cascade_leg role;
	const struct config_model *model; /* borrowed from the plan */
	const struct plan *plan;          /* borrowed; outlives the leg's life with the exchange */
	bool stream;                      /* the body asks for a stream */
	bool direct; /* keep the upstream's rate limit and processing time headers, for the client */
	struct rope body;     /* taken over */
	struct blob *blob;    /* what the body borrows; NULL: nothing */
	struct permit permit; /* taken over, also on failure; given back when the leg ends */
};

/* Never calls back before it returns. NULL when it cannot be started; the body is freed then too, and
 * the permit given back. */
struct leg *leg_start(struct service *service, const struct leg_spec *spec,
                      const struct leg_events *events, void *arg);

/* Closes the connection now, so that the upstream stops; no callback follows. */
void leg_cancel(struct leg *leg, const char *reason);

/* The end of a leg whose answer is of no use: calls on_failed. For the exchange in on_frame, where a frame
 * that can be read turns out not to fit. */
void leg_fail(struct leg *leg, enum leg_failure_kind kind, const char *detail);

/* The exchange is done with a leg that is done or has failed. The rest of a response that is complete
 * in meaning is still read for a moment, so that the connection can be used again. */
void leg_release(struct leg *leg);

/* Before the service's HTTP client goes: ends those that leg_release left reading. */
void leg_end_lingering(struct service *service);

void leg_pause(struct leg *leg);
void leg_resume(struct leg *leg);

enum cascade_leg leg_role(const struct leg *leg);
const struct config_model *leg_model(const struct leg *leg);
const struct leg_failure *leg_failure(const struct leg *leg);
const char *leg_failure_name(enum leg_failure_kind kind);

/* The headers of the response that a client may see: openai-processing-ms and x-ratelimit-* of a
 * direct call. Borrowed from the leg. */
const struct http_header *leg_passed_headers(const struct leg *leg, size_t *count);

struct bytes leg_reply(const struct leg *leg); /* the whole JSON answer of a leg without stream */

/* As told by upstream; when it told none, completion tokens are the frames with output, `known` false. */
struct chat_usage leg_usage(const struct leg *leg);
uint64_t leg_started_us(const struct leg *leg);
uint64_t leg_ended_us(const struct leg *leg); /* 0: not yet */

#endif
