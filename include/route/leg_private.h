/* The inside of a leg, shared by route/leg*.c alone. */
#ifndef ROUTE_LEG_PRIVATE_H
#define ROUTE_LEG_PRIVATE_H

#include <sys/queue.h>

#include "net/http_client.h"
#include "route/leg.h"
#include "route/passed.h"
#include "wire/chat_answer.h"
#include "wire/sse_reader.h"

enum {
	LEG_EVENT_MAX_BYTES = 16 * 1024 * 1024, /* one frame */
	LEG_FRAME_TOKENS = 256,                 /* for which there stays room from frame to frame */
	LEG_REPLY_MAX_BYTES = 64 * 1024 * 1024, /* a whole JSON answer */
};

enum leg_reading {
	LEG_READING_UNKNOWN, /* its type says nothing: the first byte that is no space will */
	LEG_READING_STREAM,
	LEG_READING_WHOLE, /* one document, or the body of an error status */
};

/* What we send; the fetch borrows it. */
struct leg_body {
	struct rope text;
	struct blob *blob; /* owned: one share; what the text borrows; NULL: nothing */
};

struct leg {
	struct service *service; /* borrowed */
	struct plan *plan;       /* owned: one reference, for the target */
	const struct config_model *model;
	enum cascade_leg role;
	struct leg_events events;
	void *arg;
	struct http_fetch *fetch; /* NULL once the transfer is over */
	struct timer *linger;     /* owned; made when needed */
	struct leg_body *body;    /* owned; NULL once it is sent */

	struct permit permit; /* owned; empty once given back */

	bool stream; /* what the exchange asked for, and gets */
	bool direct;
	enum leg_reading reading; /* what upstream answers with */
	bool guessed;             /* from the first byte */
	int status;
	struct passed passed; /* of a direct call */
	struct sse_reader reader;
	struct chat_frame_head *head; /* owned: what its frames begin with */
	struct chat_answer *answer;   /* owned; a stream where JSON was asked for; NULL: none */
	struct buf reply;             /* a JSON answer, or an error's body */
	uint64_t choices_seen[2], choices_finished[2]; /* bit sets over the choice index */
	uint64_t output_frames;
	struct chat_usage usage;

	bool ended;                  /* told to the exchange, or cancelled */
	bool released;               /* the exchange has let go */
	LIST_ENTRY(leg) lingerers;   /* in service->lingering while the linger timer is there */
	struct leg_failure *failure; /* owned; NULL: nothing is known of one yet */
	uint64_t started_us, ended_us;
	bool begun; /* a byte of its answer came */
};

/* The two ends that a response can come to are this and leg_fail. Both call the exchange, which may let the
 * leg go. */
void leg_done(struct leg *leg);

/* Where it is noted how the leg fails, or would. */
struct leg_failure *leg_failing(struct leg *leg);

/* What the transfer says; the leg is the argument. */
extern const struct http_fetch_events leg_fetch_events;

void leg_forget_body(struct leg *leg);

/* The end of a leg that nobody needs any more; it rests until the running callback has returned. */
void leg_bury(struct leg *leg);

#endif
