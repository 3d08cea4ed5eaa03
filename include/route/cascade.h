/*
 * The decision: which model is asked, which answer is given, when a leg is cut off. A pure state
 * machine: events in, actions out. It holds no socket, no timer and no handle; whoever drives it
 * carries the actions out in order. So every path can be tested with made-up events.
 *
 *	IDLE ──► DRAFTING ──► FLOWING (live)          a draft that is accepted ─────► ANSWERED
 *	  │         │            │                                                      ▲
 *	  │         │ trips,     │ trips late                                           │
 *	  │         ▼ or fails   ▼                                                      │
 *	  └──────► ESCALATED ◄───┘ ──────────────────► RELAYING ────────────────────────┤
 *	  pinned,   │   a heavyweight is asked          its stream is delivered         │
 *	  unscorable└────────────────────────────────► FALLING_BACK ────────────────────┘
 *	                it is down                      the draft is waited for
 *
 * From any of them it may go to FAILED or ABANDONED; and, as long as nothing was delivered, to ANSWERED by
 * an answer from the cache. A request may also begin by FOLLOWING another one: then it gets the answer that the
 * other asks for, or begins for itself when that fails before anything of it was delivered here.
 *
 * Same thread as its driver; embedded and owned by the exchange.
 */
#ifndef ROUTE_CASCADE_H
#define ROUTE_CASCADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "score/rule.h"

enum cascade_leg { CASCADE_DRAFT, CASCADE_HEAVY, CASCADE_LEGS };

enum cascade_state {
	CASCADE_IDLE,
	CASCADE_FOLLOWING, /* another request asks for just this answer, which will be this one's too */
	CASCADE_DRAFTING,  /* a drafter is being read and judged; nothing of it was delivered */
	CASCADE_FLOWING,   /* the draft is delivered while it is judged */
	CASCADE_ESCALATED, /* a heavyweight is asked; nothing of its answer was delivered */
	CASCADE_RELAYING,  /* a heavyweight's stream is being delivered */
	CASCADE_FALLING_BACK, /* the heavyweight is down: the draft, still running, will be the answer */
	CASCADE_ANSWERED,  /* final */
	CASCADE_FAILED,    /* final */
	CASCADE_ABANDONED, /* final: the client left */
};

enum cascade_decision {
	DECISION_NONE,
	DECISION_ACCEPT,
	DECISION_ESCALATE,
	DECISION_DIRECT,
	DECISION_CACHE_HIT,
};

/* Why the heavyweight is asked without a draft, or with which claim a draft may skip the rule. */
enum cascade_begin {
	CASCADE_BEGIN_CASCADE,    /* draft, score, decide */
	CASCADE_BEGIN_UNSCORABLE, /* a draft of this request could not be scored */
	CASCADE_BEGIN_PINNED,     /* the client chose the model */
	CASCADE_BEGIN_POOL,       /* one model of many answers */
};

struct cascade_options {
	const struct rule_kind *rule;
	struct rule_options rule_options;
	bool accept_unscorable; /* on_unscorable: accept */
	bool live;              /* the draft may be delivered while it is judged */
	bool finish_late;       /* stream.late: finish */
	bool speculate;         /* a doubtful token starts the heavyweight alongside */
	double soft_bits;       /* above this it is doubtful */
	bool draft_if_down;     /* on_heavyweight_down: draft */
	enum cascade_begin begin;
};

enum cascade_event_kind {
	CASCADE_EVENT_BEGIN,
	CASCADE_EVENT_TOKEN,       /* draft: one token's entropy in bits; NAN: unscorable */
	CASCADE_EVENT_NO_LOGPROBS, /* draft: a frame with output but without logprobs */
	CASCADE_EVENT_VISIBLE, /* draft: it has output that may be seen, by cascade_visible_tokens */
	CASCADE_EVENT_LEG_OUTPUT, /* heavyweight: its stream has begun to say something */
	CASCADE_EVENT_LEG_DONE,   /* a leg's answer is complete and clean */
	CASCADE_EVENT_LEG_FAILED, /* a leg ended without a complete answer */
	CASCADE_EVENT_FOLLOW, /* instead of BEGIN, or before it: another request is under way for the same answer */
	CASCADE_EVENT_SHARED, /* following: the first part of that answer is delivered here, too */
	CASCADE_EVENT_SHARED_FAILED, /* following: that answer will not come, or not whole */
	CASCADE_EVENT_CACHED, /* an answer is at hand that nobody need be asked for, or a shared one is complete */
	CASCADE_EVENT_DEADLINE, /* an answer should have begun by now */
	CASCADE_EVENT_CLIENT_GONE,
};

struct cascade_event {
	enum cascade_event_kind kind;
	enum cascade_leg leg;
	double entropy_bits; /* CASCADE_EVENT_TOKEN */
	bool again;   /* CASCADE_EVENT_LEG_FAILED: the leg's list of attempts is not used up */
	bool refused; /* the same: the request itself was refused, which is no outage */
	const char *reason; /* CASCADE_EVENT_CACHED: how it was found; one word, static */
};

enum cascade_action_kind {
	CASCADE_START_LEG, /* make the leg's next attempt */
	CASCADE_SPECULATE, /* start the heavyweight alongside the draft */
	/* The heavyweight was started alongside: use what it has said, or will say, if that fits behind what was
	 * delivered; otherwise start it anew. What it told already is then to be told again, as events. */
	CASCADE_JOIN,
	CASCADE_CANCEL_LEG,   /* tear it down on the wire, now */
	CASCADE_FLOW,         /* begin to deliver the draft, up to cascade_visible_tokens */
	CASCADE_ANSWER_DRAFT, /* deliver the whole draft, or what is left of it */
	CASCADE_RELAY,        /* deliver the heavyweight's stream from its beginning, as it comes */
	CASCADE_ANSWER_HEAVY, /* the heavyweight is complete: deliver it, or what is left of it */
	CASCADE_ANSWER_CACHED, /* deliver the answer that was at hand */
	CASCADE_FAIL,          /* nothing was delivered: answer with the heavyweight's failure */
	CASCADE_EXPIRE,        /* nothing was delivered: answer that the deadline has passed */
	CASCADE_TRUNCATE, /* part of this leg's answer was the last delivered: say that it is cut, and close */
};

struct cascade_action {
	enum cascade_action_kind kind;
	enum cascade_leg leg;
};

enum { CASCADE_ACTIONS_MAX = 4 };

struct cascade_actions {
	struct cascade_action list[CASCADE_ACTIONS_MAX];
	size_t count;
};

struct cascade {
	struct cascade_options options;
	enum cascade_state state;
	enum cascade_decision decision; /* while FLOWING: the verdict so far */
	const char *reason;             /* one word, static; NULL while undecided */
	struct rule rule;
	bool running[CASCADE_LEGS]; /* under way, waits between attempts included */
	bool unscorable;  /* something could not be scored, and the operator accepts that */
	bool delivered;   /* the client has a part of the draft */
	bool letting_out; /* the rule has tripped late, and stream.late is finish */
	bool draft_done;  /* a whole draft is at hand, tripped or not */
	/* Speculation: at most one for a request. */
	bool speculated;
	bool speculation_done, speculation_spent; /* it is complete; it failed for good */
	unsigned calm_tokens;                     /* since the last doubtful one */
};

void cascade_init(struct cascade *cascade, const struct cascade_options *options);
void cascade_fini(struct cascade *cascade);

/* Takes one event and says what to do. Events of a leg that is not running are ignored, as is anything
 * after a final state: late callbacks are harmless. */
void cascade_step(struct cascade *cascade, const struct cascade_event *event,
                  struct cascade_actions *actions);

/*
 * How many of the draft's scored tokens the client may see: none before early_exit_count of them
 * passed, and never the last window_size, so that no token of an uncertain window is ever seen. UINT64_MAX: all.
 */
uint64_t cascade_visible_tokens(const struct cascade *cascade);

/* The number that was compared with the threshold; NAN when no draft was scored. */
double cascade_score(const struct cascade *cascade);

bool cascade_is_final(const struct cascade *cascade);

/* As the header X-Routing-Decision spells it; NULL for DECISION_NONE. */
const char *cascade_decision_name(enum cascade_decision decision);

#endif
