/*
 * The inside of an exchange, shared by route/exchange*.c alone:
 *
 *	exchange.c         its life: begin, events and actions, client, deadline, the end
 *	exchange_legs.c    attempts, and what the legs say
 *	exchange_answer.c  what is sent to the client
 *	exchange_recall.c  the cache: looking the answer up
 *	exchange_keep.c    the cache: keeping the answer
 *	exchange_dialect.c what the door adds to that, for its client alone
 *	exchange_share.c   identical requests under way: one asks, the others follow
 *	exchange_report.c  what is told of it: headers, access line, metrics
 */
#ifndef ROUTE_EXCHANGE_PRIVATE_H
#define ROUTE_EXCHANGE_PRIVATE_H

#include "model/price.h"
#include "net/timer.h"
#include "route/cascade.h"
#include "route/choose.h"
#include "route/deliver.h"
#include "route/draft.h"
#include "route/exchange.h"
#include "route/leg.h"
#include "route/recall.h"
#include "route/relay.h"
#include "route/request_id.h"

/* Who asked, and what was sent there so far. */
struct exchange_client {
	struct http_call *call; /* lent by the server; NULL once answered or gone */
	char id[REQUEST_ID_MAX + 1];
	char peer[64],
	        path[64]; /* for the log: the call is gone before the client's absence is told */
	struct chat_request *
	        request; /* owned; borrows `body`, or else the call's; NULL once nobody else will be asked */
	struct blob *body; /* owned: one share; a large one; NULL: none */
	uint64_t body_bytes;
	bool wants_stream;
	struct chat_frame_view view; /* what it wants to see of a frame */
	const char *effort;          /* static: reasoning_effort, as it was or became; NULL: none */
	char *model; /* owned: as it was asked for, where the dialect tells it; else NULL */
	uint64_t deadline_ms; /* an answer is to have begun by then; 0: none, or it has */
	bool streaming;       /* the reply's head is out */
	uint64_t sent_us;     /* when something was last sent on that */
	uint64_t started_us, first_byte_us, sent_bytes;
	char *project_id; /* owned: the body's, or else the header's; NULL: none */

	enum dialect dialect;
	uint64_t chunk_count; /* frames that were written in that */
	struct buf held;      /* owned; a frame that may turn out to be the last; empty: none */
};

struct exchange {
	uint32_t magic;
	struct service *service; /* borrowed */
	struct plan *plan;       /* owned: one reference */
	struct exchange_client client;
	const struct config_route *route;    /* NULL when pinned or not resolved */
	const struct config_model *pinned;   /* NULL when routed */
	bool admitted;                       /* counted in service->requests */
	struct choice choices[CASCADE_LEGS]; /* whom to ask, in order */
	const char *effort; /* static; what the client's reasoning_effort auto became, else NULL */

	struct recall recall;            /* the cache */
	TAILQ_ENTRY(exchange) followers; /* in its flight, unless it leads that */
	const struct api_error
	        *shared_error;    /* borrowed; while following: what the leader was told */
	struct bytes shared_body; /* borrowed; likewise */

	struct cascade cascade;
	bool cascading; /* cascade, draft and relay are initialised */
	struct draft draft;
	struct relay relay;
	struct attempts attempts[CASCADE_LEGS];
	struct leg *legs
	        [CASCADE_LEGS];  /* owned; NULL: none. One that has failed stays until the next */
	bool used[CASCADE_LEGS]; /* the client got something of it */
	bool speculating;        /* the heavyweight runs alongside, and nobody waits for it */
	bool head_start;         /* that of a heavyweight which ran alongside was used */
	bool head_start_failed;  /* the heavyweight did, while it ran alongside */
	bool panic;              /* every breaker was open, and one model was asked all the same */
	bool expired;            /* the deadline has passed */
	enum health_answer refusal; /* why no heavyweight could be asked */
	struct timer *retry;        /* owned; armed between attempts */
	struct timer *deadline;     /* owned; armed until the answer begins, then NULL */

	bool ripe; /* in service->ripe: events wait for the end of this turn of the loop */
	TAILQ_ENTRY(exchange) ripes;
	uint64_t visible_tokens; /* of the draft, when it became ripe */
	struct leg *paused;      /* borrowed: waits for the client */
	bool held;               /* the heavyweight runs alongside, and has said enough for now */
	struct timer *keepalive; /* owned; NULL unless a stream is open */

	unsigned attempts_made;
	const struct config_model *asked[CASCADE_LEGS]; /* last model asked */
	const struct config_model *answered;            /* whose answer is delivered */
	struct chat_usage usage; /* of that answer, once its leg was let go of */
	uint64_t prompt_tokens;  /* as any leg has told; 0: none yet */
	uint64_t cost_nano_usd;
	bool cost_unknown;              /* a model that was asked has no price */
	char cost_text[PRICE_TEXT_MAX]; /* in USD, once it is over and if it is known */
	int64_t leg_us[CASCADE_LEGS];   /* -1: never ended */
	char *detail; /* owned: the last upstream failure, for the log; NULL: none */
	uint64_t idle_since_us, own_us;
};

/* exchange.c */
struct exchange *exchange_cast(void *arg);
uint64_t exchange_now_us(const struct exchange *x);
/* Its client's leaving and draining come here from now on. */
void exchange_watch(struct exchange *x);
/* For the client's deadline, if it has one. */
void exchange_arm_deadline(struct exchange *x);
/* Feeds the cascade and does what it says. A final action finishes the exchange, which then rests until
 * the callback that is running has returned. */
void exchange_step(struct exchange *x, struct cascade_event event);
/* Lets go of a leg: one that has ended is done with, any other is cut off. */
void exchange_drop_leg(struct exchange *x, enum cascade_leg role, const char *reason);
/* The only end of an exchange. The reply is sent by the caller afterwards, through the call that is
 * returned: NULL when the client is gone. `error` is the type of an error answered, or NULL. */
struct http_call *exchange_finish(struct exchange *x, const char *end, int status,
                                  const char *error);

/* Nobody else will be asked: the answer of the last one has begun to be delivered. A long stream need not keep a long
 * prompt. */
void exchange_forget_request(struct exchange *x);
/* Gets the request's models asked, unless the cache knows better. */
void exchange_ask(struct exchange *x);
/* The same for one that has just come and is not known: where an identical one is under way, it follows that. */
void exchange_answer_anew(struct exchange *x);
/* Has it the lead of a flight? */
static inline bool
exchange_leads(const struct exchange *x)
{
	return x->recall.flight && x->recall.flight->leader == x;
}

/* In what form its answer is wanted. */
static inline enum flight_form
exchange_form(const struct exchange *x)
{
	return recall_form(x->client.wants_stream, x->client.view.usage);
}

/* exchange_recall.c */
bool exchange_recall_init(struct exchange *x, struct api_error *error);
/* Looks for the same request. False: nobody knows it. True: it is answered; or another thread looks, after which it is
 * answered or exchange_answer_anew() is called. */
bool exchange_recall_exact(struct exchange *x);
/* Looks for the same question in other words: by their words, before anybody is asked; or by their meaning, for
 * which an embeddings model is asked beside the draft. */
void exchange_recall_words(struct exchange *x);
void exchange_recall_meaning(struct exchange *x);
/* Before the end: what is still under way for the cache goes. */
void exchange_recall_end(struct exchange *x);

/* exchange_keep.c */
/* A leg's frame may tell the usage, whoever gets to see it. */
void exchange_note_usage(struct exchange *x, enum cascade_leg role, const struct chat_frame *frame);
/* A copy of the answer that is complete now, for the cache and for who follows; with a reference for the
 * caller. The body of an answer in one piece, or else n == 0: what was delivered as a stream. NULL: there is
 * nobody to give it to, or no memory. */
struct cache_entry *exchange_keep(struct exchange *x, struct bytes body);

/* exchange_share.c */
/* Joins an identical request under way. True: it follows that. */
bool exchange_follow(struct exchange *x);
void exchange_lead(struct exchange *x); /* others may follow from now on */
/* Events for the client, which may have come to a leader that was asked for more than it wants. */
void exchange_share_write(struct exchange *x, struct bytes piece);
/* Events that were sent to the leader's client. */
void exchange_share_piece(struct exchange *x, struct bytes piece);
/* The leader's answer is complete. entry NULL: all there is of it has been sent piece by piece. */
void exchange_share_done(struct exchange *x, struct cache_entry *entry);
void exchange_share_failed(struct exchange *x, const struct api_error *error, struct bytes body);
/* What was delivered is all there will be. */
void exchange_share_cut(struct exchange *x, const struct api_error *error);
/* The leader's client has left. Gives the exchange that has to end for it: another one if a follower's client has taken
 * its place. */
struct exchange *exchange_share_left(struct exchange *x);
/* Out of its flight, before the end. */
void exchange_share_end(struct exchange *x);

/* exchange_legs.c */
void exchange_init_attempts(struct exchange *x);
/* Makes the leg's next attempt, or waits for it. True when that failed at once: then `event` is to be fed. */
bool exchange_start_leg(struct exchange *x, enum cascade_leg role, struct cascade_event *event);
bool exchange_speculate(struct exchange *x, struct cascade_event *event);
/* Takes over the heavyweight that runs alongside. True when `event` is to be fed. */
bool exchange_join(struct exchange *x, struct cascade_event *event);
void exchange_cancel_leg(struct exchange *x, enum cascade_leg role);

/* exchange_answer.c */
/* The head, unless it is out, and keepalives: for a stream that will go on. */
void exchange_open_stream(struct exchange *x);
void exchange_flow(struct exchange *x);
void exchange_relay(struct exchange *x);
/* Sends events to the client alone; exchange_send also to its followers, and keeps them. */
void exchange_write(struct exchange *x, struct bytes piece);
void exchange_send(struct exchange *x, struct bytes piece);
/* Bytes as they stand, past the dialect. */
void exchange_write_raw(struct exchange *x, struct bytes piece);
/* Pauses the leg whose answer flows while a client lags, and resumes it. */
void exchange_pace(struct exchange *x);
/* Something more may be sent. Frames often come many at a time, and one write of them all costs less. */
void exchange_ripen(struct exchange *x);
/* Sends it now. */
void exchange_flush(struct exchange *x);
void exchange_answer_draft(struct exchange *x);
void exchange_answer_heavy(struct exchange *x);
void exchange_answer_cached(struct exchange *x);
void exchange_fail(struct exchange *x, const struct api_error *error);
void exchange_fail_heavy(struct exchange *x);
void exchange_truncate(struct exchange *x, enum cascade_leg role);

/* exchange_dialect.c */
/* False with `error` filled: the header that names a project is at fault. */
bool exchange_check_project(const struct exchange *x, struct api_error *error);
/* The request's id and its project, once the body was read; good: without a fault. */
void exchange_choose_names(struct exchange *x, bool good);
/* For a dialect that is not plain. */
/* Whole events, as they were made for every dialect. */
void exchange_dialect_write(struct exchange *x, struct bytes piece);
/* What is still held goes out: as the last frame, unless the answer breaks off. */
void exchange_dialect_flush(struct exchange *x, bool last);
/* Appends the answer in one piece, or, for any dialect, an error's document. */
void exchange_dialect_answer(const struct exchange *x, struct bytes body, struct buf *out);
void exchange_dialect_error(struct exchange *x, const struct api_error *error, struct bytes body,
                            struct buf *out);

/* exchange_report.c */
/* What is known of the answer so far. */
struct deliver_facts exchange_facts(const struct exchange *x);
/* Counts what a leg that is let go of has cost. */
void exchange_count_leg(struct exchange *x, const struct leg *leg);
/* Writes the access line and counts the metrics of an exchange that ends now. */
void exchange_report(const struct exchange *x, const char *end, int status, const char *error,
                     uint64_t now_us);

#endif
