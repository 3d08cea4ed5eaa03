#include "route/cascade.h"

#include <math.h>

#include "base/mem.h"

/* legal_moves[from] has bit `to` set. */
static const unsigned legal_moves[] = {
        [CASCADE_IDLE] = 1u << CASCADE_DRAFTING | 1u << CASCADE_ESCALATED | 1u << CASCADE_ABANDONED,
        [CASCADE_DRAFTING] =
                1u << CASCADE_ESCALATED | 1u << CASCADE_ANSWERED | 1u << CASCADE_ABANDONED,
        [CASCADE_ESCALATED] = 1u << CASCADE_RELAYING | 1u << CASCADE_ANSWERED |
                              1u << CASCADE_FAILED | 1u << CASCADE_ABANDONED,
        [CASCADE_RELAYING] =
                1u << CASCADE_ANSWERED | 1u << CASCADE_FAILED | 1u << CASCADE_ABANDONED,
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
            enum cascade_leg leg, size_t index)
{
	if (actions->count == CASCADE_ACTIONS_MAX)
		die("cascade: too many actions in state %d", (int)cascade->state);
	actions->list[actions->count++] = (struct cascade_action){kind, leg, index};
	if (kind == CASCADE_START_LEG)
		cascade->running[leg] = true;
	else if (kind == CASCADE_CANCEL_LEG)
		cascade->running[leg] = false;
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

static void
cascade_escalate(struct cascade *cascade, const char *reason, struct cascade_actions *actions)
{
	cascade_move(cascade, CASCADE_ESCALATED);
	cascade->decision = DECISION_ESCALATE;
	cascade->reason = reason;
	if (cascade->running[CASCADE_DRAFT])
		cascade_act(cascade, actions, CASCADE_CANCEL_LEG, CASCADE_DRAFT, cascade->drafter);
	cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_HEAVY, 0);
}

static void
cascade_begin(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->state != CASCADE_IDLE)
		return;
	switch (cascade->options.begin) {
	case CASCADE_BEGIN_PINNED:
		cascade_escalate(cascade, "pinned", actions);
		cascade->decision = DECISION_DIRECT;
		return;
	case CASCADE_BEGIN_UNSCORABLE:
		if (!cascade->options.accept_unscorable) {
			cascade_escalate(cascade, "unscorable", actions);
			return;
		}
		cascade->unscorable = true;
		break;
	case CASCADE_BEGIN_CASCADE: break;
	}
	cascade_move(cascade, CASCADE_DRAFTING);
	cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_DRAFT, 0);
}

static void
cascade_unscorable(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->options.accept_unscorable)
		cascade->unscorable = true;
	else
		cascade_escalate(cascade, "unscorable", actions);
}

static void
cascade_token(struct cascade *cascade, double entropy_bits, struct cascade_actions *actions)
{
	/* A request that no draft can be scored for is not judged by half of its tokens. */
	if (cascade->options.begin == CASCADE_BEGIN_UNSCORABLE)
		return;
	if (isnan(entropy_bits))
		cascade_unscorable(cascade, actions);
	else if (rule_feed(&cascade->rule, entropy_bits) == RULE_ESCALATE)
		cascade_escalate(cascade, cascade->rule.reason, actions);
}

static void
cascade_draft_done(struct cascade *cascade, struct cascade_actions *actions)
{
	if (rule_finish(&cascade->rule) == RULE_ESCALATE) {
		cascade_escalate(cascade, cascade->rule.reason, actions);
		return;
	}
	/* An answer without a single scored token is not a certain one. */
	if (isnan(rule_score(&cascade->rule)) && cascade->rule.token_count == 0 &&
	    !cascade->unscorable) {
		cascade_unscorable(cascade, actions);
		if (cascade->state != CASCADE_DRAFTING)
			return;
	}
	cascade_move(cascade, CASCADE_ANSWERED);
	cascade->decision = DECISION_ACCEPT;
	cascade->reason = cascade->unscorable ? "unscorable" : "confident";
	cascade_act(cascade, actions, CASCADE_ANSWER_DRAFT, CASCADE_DRAFT, cascade->drafter);
}

static void
cascade_draft_failed(struct cascade *cascade, struct cascade_actions *actions)
{
	if (cascade->drafter + 1 >= cascade->options.drafter_count) {
		cascade_escalate(cascade, "drafter_error", actions);
		return;
	}
	/* The next drafter is judged afresh. */
	cascade->drafter++;
	rule_fini(&cascade->rule);
	rule_init(&cascade->rule, cascade->options.rule, &cascade->options.rule_options);
	cascade->unscorable = cascade->options.begin == CASCADE_BEGIN_UNSCORABLE;
	cascade_act(cascade, actions, CASCADE_START_LEG, CASCADE_DRAFT, cascade->drafter);
}

static void
cascade_client_gone(struct cascade *cascade, struct cascade_actions *actions)
{
	for (enum cascade_leg leg = 0; leg < CASCADE_LEGS; leg++) {
		if (cascade->running[leg])
			cascade_act(cascade, actions, CASCADE_CANCEL_LEG, leg, 0);
	}
	cascade_move(cascade, CASCADE_ABANDONED);
}

static void
cascade_draft_step(struct cascade *cascade, const struct cascade_event *event,
                   struct cascade_actions *actions)
{
	switch (event->kind) {
	case CASCADE_EVENT_TOKEN: cascade_token(cascade, event->entropy_bits, actions); break;
	case CASCADE_EVENT_NO_LOGPROBS: cascade_unscorable(cascade, actions); break;
	case CASCADE_EVENT_LEG_DONE:
		cascade->running[CASCADE_DRAFT] = false;
		cascade_draft_done(cascade, actions);
		break;
	case CASCADE_EVENT_LEG_FAILED:
		cascade->running[CASCADE_DRAFT] = false;
		cascade_draft_failed(cascade, actions);
		break;
	case CASCADE_EVENT_BEGIN:
	case CASCADE_EVENT_LEG_OUTPUT:
	case CASCADE_EVENT_CLIENT_GONE: break;
	}
}

static void
cascade_heavy_step(struct cascade *cascade, const struct cascade_event *event,
                   struct cascade_actions *actions)
{
	bool relaying = cascade->state == CASCADE_RELAYING;

	switch (event->kind) {
	case CASCADE_EVENT_LEG_OUTPUT:
		if (relaying)
			break;
		cascade_move(cascade, CASCADE_RELAYING);
		cascade_act(cascade, actions, CASCADE_RELAY, CASCADE_HEAVY, 0);
		break;
	case CASCADE_EVENT_LEG_DONE:
		cascade->running[CASCADE_HEAVY] = false;
		cascade_move(cascade, CASCADE_ANSWERED);
		cascade_act(cascade, actions, CASCADE_ANSWER_HEAVY, CASCADE_HEAVY, 0);
		break;
	case CASCADE_EVENT_LEG_FAILED:
		cascade->running[CASCADE_HEAVY] = false;
		cascade_move(cascade, CASCADE_FAILED);
		cascade_act(cascade, actions, relaying ? CASCADE_TRUNCATE : CASCADE_FAIL,
		            CASCADE_HEAVY, 0);
		break;
	case CASCADE_EVENT_BEGIN:
	case CASCADE_EVENT_TOKEN:
	case CASCADE_EVENT_NO_LOGPROBS:
	case CASCADE_EVENT_CLIENT_GONE: break;
	}
}

void
cascade_step(struct cascade *cascade, const struct cascade_event *event,
             struct cascade_actions *actions)
{
	actions->count = 0;
	if (cascade_is_final(cascade))
		return;
	if (event->kind == CASCADE_EVENT_BEGIN)
		cascade_begin(cascade, actions);
	else if (event->kind == CASCADE_EVENT_CLIENT_GONE)
		cascade_client_gone(cascade, actions);
	else if (!cascade->running[event->leg])
		return;
	else if (event->leg == CASCADE_DRAFT)
		cascade_draft_step(cascade, event, actions);
	else
		cascade_heavy_step(cascade, event, actions);
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
	}
	return NULL;
}
