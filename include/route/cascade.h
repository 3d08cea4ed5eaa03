/*
 * The decision: which model is asked, which answer is given, when a leg is cut off. A pure state
 * machine: events in, actions out. It holds no socket, no timer and no handle; whoever drives it
 * carries the actions out in order. So every path can be tested with made-up events.
 *
 *                    ┌────────────── draft accepted ──────────────► ANSWERED
 *	BEGIN ─► DRAFTING ─┤
 *	  │                └─ uncertain, unscorable, drafters failed ─► ESCALATED ─► RELAYING ─► ANSWERED
 *	  └──── pinned, or nothing a draft could be scored by ───────────►┘   │          │
 *	                                                                      └─ FAILED ◄┘
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
	CASCADE_DRAFTING,  /* a drafter is being read and judged */
	CASCADE_ESCALATED, /* a heavyweight is asked; nothing of its answer was delivered */
	CASCADE_RELAYING,  /* a heavyweight's stream is being delivered */
	CASCADE_ANSWERED,  /* final */
	CASCADE_FAILED,    /* final */
	CASCADE_ABANDONED, /* final: the client left */
};

enum cascade_decision { DECISION_NONE, DECISION_ACCEPT, DECISION_ESCALATE, DECISION_DIRECT };

/* Why the heavyweight is asked without a draft, or with which claim a draft may skip the rule. */
enum cascade_begin {
	CASCADE_BEGIN_CASCADE,    /* draft, score, decide */
	CASCADE_BEGIN_UNSCORABLE, /* a draft of this request could not be scored */
	CASCADE_BEGIN_PINNED,     /* the client chose the model */
};

struct cascade_options {
	size_t drafter_count; /* ≥ 1 unless pinned */
	const struct rule_kind *rule;
	struct rule_options rule_options;
	bool accept_unscorable; /* on_unscorable: accept */
	enum cascade_begin begin;
};

enum cascade_event_kind {
	CASCADE_EVENT_BEGIN,
	CASCADE_EVENT_TOKEN,       /* draft: one token's entropy in bits; NAN: unscorable */
	CASCADE_EVENT_NO_LOGPROBS, /* draft: a frame with output but without logprobs */
	CASCADE_EVENT_LEG_OUTPUT,  /* heavyweight: its stream has begun to say something */
	CASCADE_EVENT_LEG_DONE,    /* a leg's answer is complete and clean */
	CASCADE_EVENT_LEG_FAILED,  /* a leg ended without a complete answer */
	CASCADE_EVENT_CLIENT_GONE,
};

struct cascade_event {
	enum cascade_event_kind kind;
	enum cascade_leg leg;
	double entropy_bits; /* CASCADE_EVENT_TOKEN */
};

enum cascade_action_kind {
	CASCADE_START_LEG,    /* ask the model at `index` of the leg's list */
	CASCADE_CANCEL_LEG,   /* tear it down on the wire, now */
	CASCADE_ANSWER_DRAFT, /* deliver the whole draft */
	CASCADE_RELAY,        /* deliver the heavyweight's stream from its beginning, as it comes */
	CASCADE_ANSWER_HEAVY, /* the heavyweight is complete: deliver it, or what is left of it */
	CASCADE_FAIL,         /* nothing was delivered: answer with the heavyweight's failure */
	CASCADE_TRUNCATE,     /* part was delivered: say that it is cut, and close */
};

struct cascade_action {
	enum cascade_action_kind kind;
	enum cascade_leg leg;
	size_t index;
};

enum { CASCADE_ACTIONS_MAX = 4 };

struct cascade_actions {
	struct cascade_action list[CASCADE_ACTIONS_MAX];
	size_t count;
};

struct cascade {
	struct cascade_options options;
	enum cascade_state state;
	enum cascade_decision decision;
	const char *reason; /* one word, static; NULL while undecided */
	struct rule rule;
	bool running[CASCADE_LEGS];
	size_t drafter;  /* index of the drafter being asked */
	bool unscorable; /* something could not be scored, and the operator accepts that */
};

void cascade_init(struct cascade *cascade, const struct cascade_options *options);
void cascade_fini(struct cascade *cascade);

/* Takes one event and says what to do. Events of a leg that is not running are ignored, as is anything
 * after a final state: late callbacks are harmless. */
void cascade_step(struct cascade *cascade, const struct cascade_event *event,
                  struct cascade_actions *actions);

/* The number that was compared with the threshold; NAN when no draft was scored. */
double cascade_score(const struct cascade *cascade);

bool cascade_is_final(const struct cascade *cascade);

/* As the header X-Routing-Decision spells it; NULL for DECISION_NONE. */
const char *cascade_decision_name(enum cascade_decision decision);

#endif
