/*
 * Rule `window`: any one of the first early_exit_count tokens above the threshold escalates at that
 * token; after them the mean of the last window_size tokens does, as soon as there are as many. The
 * window runs over all tokens, the first ones included. It never waits for the end.
 */
#include "score/rule.h"

static enum rule_verdict
window_feed(struct rule *rule, double entropy_bits)
{
	if (rule->token_count <= rule->options.early_exit_count)
		return rule_compare(rule, entropy_bits, "early_exit");
	if (rule->token_count < rule->options.window_size)
		return RULE_CONTINUE;
	return rule_compare(rule, rule_window_mean(rule), "window");
}

static enum rule_verdict
window_finish(struct rule *rule)
{
	(void)rule;
	return RULE_CONTINUE;
}

const struct rule_kind rule_window = {
        .name = "window",
        .feed = window_feed,
        .finish = window_finish,
};
