#include "route/cascade.h"

#include <math.h>

#include "base/mem.h"

#define TO(state) (1u << CASCADE_##state)

/* legal_moves[from] has bit `to` set. */
static const unsigned legal_moves[] = {
        [CASCADE_IDLE] =
                TO(FOLLOWING) | TO(DRAFTING) | TO(ESCALATED) | TO(ANSWERED) | TO(ABANDONED),
        [CASCADE_FOLLOWING] =
                TO(DRAFTING) | TO(ESCALATED) | TO(ANSWERED) | TO(FAILED) | TO(ABANDONED),
        [CASCADE_DRAFTING] =
                TO(FLOWING) | TO(ESCALATED) | TO(ANSWERED) | TO(FAILED) | TO(ABANDONED),
        [CASCADE_FLOWING] = TO(ESCALATED) | TO(ANSWERED) | TO(FAILED) | TO(ABANDONED),
        [CASCADE_ESCALATED] =
                TO(RELAYING) | TO(FALLING_BACK) | TO(ANSWERED) | TO(FAILED) | TO(ABANDONED),
        [CASCADE_RELAYING] = TO(ANSWERED) | TO(FAILED) | TO(ABANDONED),
        [CASCADE_FALLING_BACK] = TO(ANSWERED) | TO(FAILED) | TO(ABANDONED),
        [CASCADE_ANSWERED] = 0,
        [CASCADE_FAILED] = 0,
        [CASCADE_ABANDONED] = 0,
};

static void
cascade_move(struct cascade *cascade, enum cascade_state to)
{
	if (!(legal_moves[cascade->state] & 1u << to))
		die("cascade: illegal move from state %d to %d", (int)cascade->state, (int)to);
	cascade->state = to;
}

static void
cascade_act(struct cascade *cascade, struct cascade_actions *actions, enum cascade_action_kind kind,
            enum cascade_leg leg)
{
	if (actions->count == CASCADE_ACTIONS_MAX)
		die("cascade: too many actions in state %d", (int)cascade->state);
	actions->list[actions->count++] = (struct cascade_action){kind, leg};
	if (kind == CASCADE_START_LEG || kind == CASCADE_SPECULATE || kind == CASCADE_JOIN)
		cascade->running[leg] = true;
	else if (kind == CASCADE_CANCEL_LEG)
		cascade->running[leg] = false;
}

static void
cascade_cancel(struct cascade *cascade, struct cascade_actions *actions, enum cascade_leg leg)
{
	if (cascade->running[leg])
		cascade_act(cascade, actions, CASCADE_CANCEL_LEG, leg);
}

void
cascade_init(struct cascade *cascade, const struct cascade_options *options)
{
	*cascade = (struct cascade){.options = *options};
	rule_init(&cascade->rule, options->rule, &options->rule_options);
}

void
cascade_fini(struct cascade *cascade)
{
	rule_fini(&cascade->rule);
}

/* ---------------------------------------------------------------- ends */

static void
cascade_fail(struct cascade *cascade, enum cascade_action_kind how, enum cascade_leg leg,
             struct cascade_actions *actions)
{
	cascade_cancel(cascade, actions, CASCADE_DRAFT);
	cascade_cancel(cascade, actions, CASCADE_HEAVY);
	cascade_move(cascade, CASCADE_FAILED);
	cascade_act(cascade, actions, how, leg);
}

static void
cascade_accept(struct cascade *cascade, const char *reason, struct cascade_actions *actions)
{
	cascade_cancel(cascade, actions, CASCADE_HEAVY);
	cascade_move(cascade, CASCADE_ANSWERED);
	cascade->decision = DECISION_ACCEPT;
	cascade->reason = reason;
	cascade_act(cascade, actions, CASCADE_ANSWER_DRAFT, CASCADE_DRAFT);
}

/* What was delivered cannot be taken back: then the answer at hand has come too late. */
static void
cascade_cached(struct cascade *cascade, const char *reason, struct cascade_actions *actions)
{
	bool whole = !cascade->delivered && cascade->state != CASCADE_RELAYING;

	if (!whole && cascade->state != CASCADE_FOLLOWING)
		return;
	cascade_cancel(cascade, actions, CASCADE_DRAFT);
	cascade_cancel(cascade, actions, CASCADE_HEAVY);
	cascade_move(cascade, CASCADE_ANSWERED);
	cascade->decision = DECISION_CACHE_HIT;
	cascade->reason = reason;
	cascade_act(cascade, actions, CASCADE_ANSWER_CACHED, CASCADE_DRAFT);
}

static void
cascade_following_step(struct cascade *cascade, const struct cascade_event *event,
                       struct cascade_actions *actions)
{
	if (event->kind == CASCADE_EVENT_FOLLOW && cascade->state == CASCADE_IDLE) {
		cascade_move(cascade, CASCADE_FOLLOWING);
	} else if (cascade->state != CASCADE_FOLLOWING) {
		return;
	} else if (event->kind == CASCADE_EVENT_SHARED) {
		cascade->delivered = true;
		cascade->decision = DECISION_CACHE_HIT;
		cascade->reason = "shared";
	} else if (event->kind == CASCADE_EVENT_SHARED_FAILED) {
		cascade_fail(cascade, cascade->delivered ? CASCADE_TRUNCATE : CASCADE_FAIL,
		             CASCADE_HEAVY, actions);
	}
}

static void
cascade_client_gone(struct cascade *cascade, struct cascade_actions *actions)
{
	cascade_cancel(cascade, actions, CASCADE_DRAFT);
	cascade_cancel(cascade, actions, CASCADE_HEAVY);
	cascade_move(cascade, CASCADE_ABANDONED);
}

/* ---------------------------------------------------------------- escalation */

/* The heavyweight is lost for good: the draft, if the operator prefers that to an outage. */
static void
cascade_heavy_lost(struct cascade *cascade, bool refused, struct cascade_actions *actions)
{
	bool draft = cascade->options.draft_if_down && !refused;

	if (draft && cascade->draft_done)
		cascade_accept(cascade, "degraded", actions);
	else if (draft && cascade->running[CASCADE_DRAFT])
		cascade_move(cascade, CASCADE_FALLING_BACK);
	else
		cascade_fail(cascade, cascade->delivered ? CASCADE_TRUNCATE : CASCADE_FAIL,
		             CASCADE_HEAVY, actions);
}

static void
cascade_escalate(struct cascade *cascade, const char *reason, bool keep_draft,
                 struct cascade_actions *actions)
{
	cascade_move(cascade, CASCADE_ESCALATED);
	cascade->decision = DECISION_ESCALATE;
	cascade->reason = reason;
	if (!keep_draft || !cascade->options.draft_if_down) {
		cascade_cancel(cascade, actions, CASCADE_DRAFT);
		cascade->draft_done = false;
	}
	if (cascade->speculation_spent)
		cascade_heavy_lost(cascade, true, actions);
	else if (cascade->running[CASCADE_HEAVY] || cascade->speculation_done)
		cascade_act(cascade, actions, CASCADE_JOIN, CASCADE_HEAVY);
	else
		cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_HEAVY);
}

/* The rule has tripped: a draft that can be read on is a draft all the same. */
static void
cascade_trip(struct cascade *cascade, const char *reason, bool scorable,
             struct cascade_actions *actions)
{
	if (cascade->state == CASCADE_FLOWING && cascade->options.finish_late) {
		cascade->letting_out = true;
		cascade->reason = reason;
	} else {
		cascade_escalate(cascade, reason, scorable, actions);
	}
}

static void
cascade_begin(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->state != CASCADE_IDLE &&
	    (cascade->state != CASCADE_FOLLOWING || cascade->delivered))
		return;
	switch (cascade->options.begin) {
	case CASCADE_BEGIN_PINNED:
		cascade_escalate(cascade, "pinned", false, actions);
		cascade->decision = DECISION_DIRECT;
		return;
	case CASCADE_BEGIN_POOL:
		cascade_escalate(cascade, "pool", false, actions);
		cascade->decision = DECISION_DIRECT;
		return;
	case CASCADE_BEGIN_UNSCORABLE:
		if (!cascade->options.accept_unscorable) {
			cascade_escalate(cascade, "unscorable", false, actions);
			return;
		}
		cascade->unscorable = true;
		break;
	case CASCADE_BEGIN_CASCADE: break;
	}
	cascade_move(cascade, CASCADE_DRAFTING);
	cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_DRAFT);
}

/* ---------------------------------------------------------------- the draft */

static void
cascade_unscorable(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->options.accept_unscorable)
		cascade->unscorable = true;
	else
		cascade_trip(cascade, "unscorable", false, actions);
}

/* The rule goes on: is the token doubtful enough to start the heavyweight, or are doubts over? */
static void
cascade_doubt(struct cascade *cascade, double entropy_bits, struct cascade_actions *actions)
{
	bool useful = cascade->state == CASCADE_DRAFTING || !cascade->options.finish_late;

	if (entropy_bits > cascade->options.soft_bits) {
		cascade->calm_tokens = 0;
		if (cascade->options.speculate && !cascade->speculated && useful) {
			cascade->speculated = true;
			cascade_act(cascade, actions, CASCADE_SPECULATE, CASCADE_HEAVY);
		}
		return;
	}
	cascade->calm_tokens++;
	if (cascade->calm_tokens >= cascade->options.rule_options.window_size)
		cascade_cancel(cascade, actions, CASCADE_HEAVY);
}

static void
cascade_token(struct cascade *cascade, double entropy_bits, struct cascade_actions *actions)
{
	/* A request that no draft can be scored for is not judged by half of its tokens. */
	if (cascade->options.begin == CASCADE_BEGIN_UNSCORABLE || cascade->letting_out)
		return;
	if (isnan(entropy_bits))
		cascade_unscorable(cascade, actions);
	else if (rule_feed(&cascade->rule, entropy_bits) == RULE_ESCALATE)
		cascade_trip(cascade, cascade->rule.reason, true, actions);
	else
		cascade_doubt(cascade, entropy_bits, actions);
}

static const char *
cascade_accept_reason(const struct cascade *cascade)
{
	if (cascade->letting_out)
		return cascade->reason;
	return cascade->unscorable ? "unscorable" : "confident";
}

static void
cascade_draft_visible(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->state != CASCADE_DRAFTING || cascade_visible_tokens(cascade) == 0)
		return;
	cascade_move(cascade, CASCADE_FLOWING);
	cascade->delivered = true;
	cascade->decision = DECISION_ACCEPT;
	cascade->reason = cascade_accept_reason(cascade);
	/* What flows will be let out whatever comes, so the heavyweight is of no more use. */
	if (cascade->options.finish_late)
		cascade_cancel(cascade, actions, CASCADE_HEAVY);
	cascade_act(cascade, actions, CASCADE_FLOW, CASCADE_DRAFT);
}

static void
cascade_draft_done(struct cascade *cascade, struct cascade_actions *actions)
{
	bool open = !cascade->letting_out;

	cascade->draft_done = true;
	if (open && rule_finish(&cascade->rule) == RULE_ESCALATE)
		cascade_trip(cascade, cascade->rule.reason, true, actions);
	/* An answer without a single scored token is not a certain one. */
	else if (open && isnan(rule_score(&cascade->rule)) && cascade->rule.token_count == 0 &&
	         !cascade->unscorable)
		cascade_unscorable(cascade, actions);
	if (cascade->state == CASCADE_DRAFTING || cascade->state == CASCADE_FLOWING)
		cascade_accept(cascade, cascade_accept_reason(cascade), actions);
}

static void
cascade_draft_failed(struct cascade *cascade, bool again, struct cascade_actions *actions)
{
	if (cascade->delivered) {
		cascade_fail(cascade, CASCADE_TRUNCATE, CASCADE_DRAFT, actions);
		return;
	}
	if (!again) {
		cascade_escalate(cascade, "drafter_error", false, actions);
		return;
	}
	/* The next drafter is judged afresh. */
	rule_fini(&cascade->rule);
	rule_init(&cascade->rule, cascade->options.rule, &cascade->options.rule_options);
	cascade->unscorable = cascade->options.begin == CASCADE_BEGIN_UNSCORABLE;
	cascade->calm_tokens = 0;
	cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_DRAFT);
}

/* A draft that has been rejected, and is read on because the heavyweight may be down. */
static void
cascade_kept_draft_step(struct cascade *cascade, const struct cascade_event *event,
                        struct cascade_actions *actions)
{
	bool waited_for = cascade->state == CASCADE_FALLING_BACK;

	if (event->kind == CASCADE_EVENT_LEG_DONE) {
		cascade->running[CASCADE_DRAFT] = false;
		cascade->draft_done = true;
		if (waited_for)
			cascade_accept(cascade, "degraded", actions);
	} else if (event->kind == CASCADE_EVENT_LEG_FAILED) {
		cascade->running[CASCADE_DRAFT] = false;
		if (waited_for)
			cascade_fail(cascade, cascade->delivered ? CASCADE_TRUNCATE : CASCADE_FAIL,
			             CASCADE_HEAVY, actions);
	}
}

static void
cascade_draft_step(struct cascade *cascade, const struct cascade_event *event,
                   struct cascade_actions *actions)
{
	if (cascade->state != CASCADE_DRAFTING && cascade->state != CASCADE_FLOWING) {
		cascade_kept_draft_step(cascade, event, actions);
		return;
	}
	switch (event->kind) {
	case CASCADE_EVENT_TOKEN: cascade_token(cascade, event->entropy_bits, actions); break;
	case CASCADE_EVENT_NO_LOGPROBS:
		if (!cascade->letting_out)
			cascade_unscorable(cascade, actions);
		break;
	case CASCADE_EVENT_VISIBLE: cascade_draft_visible(cascade, actions); break;
	case CASCADE_EVENT_LEG_DONE:
		cascade->running[CASCADE_DRAFT] = false;
		cascade_draft_done(cascade, actions);
		break;
	case CASCADE_EVENT_LEG_FAILED:
		cascade->running[CASCADE_DRAFT] = false;
		cascade_draft_failed(cascade, event->again, actions);
		break;
	case CASCADE_EVENT_BEGIN:
	case CASCADE_EVENT_LEG_OUTPUT:
	case CASCADE_EVENT_FOLLOW:
	case CASCADE_EVENT_SHARED:
	case CASCADE_EVENT_SHARED_FAILED:
	case CASCADE_EVENT_CACHED:
	case CASCADE_EVENT_DEADLINE:
	case CASCADE_EVENT_CLIENT_GONE: break;
	}
}

/* ---------------------------------------------------------------- the heavyweight */

/* While the draft is still being judged, the heavyweight's end is only noted. */
static void
cascade_speculation_step(struct cascade *cascade, const struct cascade_event *event)
{
	if (event->kind != CASCADE_EVENT_LEG_DONE && event->kind != CASCADE_EVENT_LEG_FAILED)
		return;
	cascade->running[CASCADE_HEAVY] = false;
	cascade->speculation_done = event->kind == CASCADE_EVENT_LEG_DONE;
	cascade->speculation_spent = event->kind == CASCADE_EVENT_LEG_FAILED && !event->again;
}

static void
cascade_heavy_step(struct cascade *cascade, const struct cascade_event *event,
                   struct cascade_actions *actions)
{
	bool relaying = cascade->state == CASCADE_RELAYING;

	if (cascade->state == CASCADE_DRAFTING || cascade->state == CASCADE_FLOWING) {
		cascade_speculation_step(cascade, event);
	} else if (event->kind == CASCADE_EVENT_LEG_OUTPUT && !relaying) {
		cascade_cancel(cascade, actions, CASCADE_DRAFT);
		cascade_move(cascade, CASCADE_RELAYING);
		cascade_act(cascade, actions, CASCADE_RELAY, CASCADE_HEAVY);
	} else if (event->kind == CASCADE_EVENT_LEG_DONE) {
		cascade->running[CASCADE_HEAVY] = false;
		cascade_cancel(cascade, actions, CASCADE_DRAFT);
		cascade_move(cascade, CASCADE_ANSWERED);
		cascade_act(cascade, actions, CASCADE_ANSWER_HEAVY, CASCADE_HEAVY);
	} else if (event->kind == CASCADE_EVENT_LEG_FAILED) {
		cascade->running[CASCADE_HEAVY] = false;
		if (relaying)
			cascade_fail(cascade, CASCADE_TRUNCATE, CASCADE_HEAVY, actions);
		else if (event->again && !cascade->delivered)
			cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_HEAVY);
		else
			cascade_heavy_lost(cascade, event->refused, actions);
	}
}

/* ---------------------------------------------------------------- all of it */

static void
cascade_deadline(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->state == CASCADE_IDLE || cascade->state == CASCADE_RELAYING ||
	    cascade->delivered)
		return;
	if (cascade->state == CASCADE_ESCALATED && cascade->options.draft_if_down &&
	    cascade->draft_done)
		cascade_accept(cascade, "degraded", actions);
	else
		cascade_fail(cascade, CASCADE_EXPIRE, CASCADE_HEAVY, actions);
}

static void
cascade_leg_step(struct cascade *cascade, const struct cascade_event *event,
                 struct cascade_actions *actions)
{
	if (event->leg == CASCADE_DRAFT)
		cascade_draft_step(cascade, event, actions);
	else
		cascade_heavy_step(cascade, event, actions);
}

void
cascade_step(struct cascade *cascade, const struct cascade_event *event,
             struct cascade_actions *actions)
{
	actions->count = 0;
	if (cascade_is_final(cascade))
		return;
	switch (event->kind) {
	case CASCADE_EVENT_BEGIN: cascade_begin(cascade, actions); break;
	case CASCADE_EVENT_FOLLOW:
	case CASCADE_EVENT_SHARED:
	case CASCADE_EVENT_SHARED_FAILED: cascade_following_step(cascade, event, actions); break;
	case CASCADE_EVENT_CACHED: cascade_cached(cascade, event->reason, actions); break;
	case CASCADE_EVENT_CLIENT_GONE: cascade_client_gone(cascade, actions); break;
	case CASCADE_EVENT_DEADLINE: cascade_deadline(cascade, actions); break;
	case CASCADE_EVENT_TOKEN:
	case CASCADE_EVENT_NO_LOGPROBS:
	case CASCADE_EVENT_VISIBLE:
	case CASCADE_EVENT_LEG_OUTPUT:
	case CASCADE_EVENT_LEG_DONE:
	case CASCADE_EVENT_LEG_FAILED:
		if (cascade->running[event->leg])
			cascade_leg_step(cascade, event, actions);
		break;
	}
}

uint64_t
cascade_visible_tokens(const struct cascade *cascade)
{
	const struct rule_options *options = &cascade->options.rule_options;
	uint64_t passed = cascade->rule.token_count;

	if (!cascade->options.live)
		return 0;
	if (cascade->unscorable || cascade->letting_out)
		return UINT64_MAX;
	if (passed < options->early_exit_count || passed <= options->window_size)
		return 0;
	return passed - options->window_size;
}

double
cascade_score(const struct cascade *cascade)
{
	return rule_score(&cascade->rule);
}

bool
cascade_is_final(const struct cascade *cascade)
{
	return legal_moves[cascade->state] == 0;
}

const char *
cascade_decision_name(enum cascade_decision decision)
{
	switch (decision) {
	case DECISION_NONE: break;
	case DECISION_ACCEPT: return "accept";
	case DECISION_ESCALATE: return "escalate";
	case DECISION_DIRECT: return "direct";
	case DECISION_CACHE_HIT: return "cache_hit";
	}
	return NULL;
}
