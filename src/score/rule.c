/*
 * What all rules share: the ring of the last tokens, the score and the table of kinds.
 *
 * The sum over the ring does not drift: it is carried with its rounding error as a second double, and
 * taken afresh each time the ring wraps. So the mean of equal numbers is that number, and a draft that
 * stays at the threshold is not escalated by rounding.
 */
#include "score/rule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct rule_kind *const kinds[] = {&rule_window};

const struct rule_kind *
rule_kind_find(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	}
	return NULL;
}

void
rule_init(struct rule *rule, const struct rule_kind *kind, const struct rule_options *options)
{
	if (options->window_size < 1 || options->window_size > RULE_WINDOW_MAX)
		die("rule %s: a window of %u tokens", kind->name, options->window_size);
	*rule = (struct rule){.kind = kind, .options = *options, .score = NAN};
	rule->window = mem_array(options->window_size, sizeof(*rule->window));
}

void
rule_fini(struct rule *rule)
{
	free(rule->window);
	rule->window = NULL;
}

/* Adds to the sum; what rounding loses (exactly known: Knuth's two-sum) goes to window_rest. */
static void
sum_add(struct rule *rule, double value)
{
	double old = rule->window_sum, sum = old + value, part = sum - old;

	rule->window_sum = sum;
	rule->window_rest += (old - (sum - part)) + (value - part);
}

static void
window_add(struct rule *rule, double value)
{
	size_t size = rule->options.window_size, slot = rule->token_count % size;
	double old = rule->window[slot];

	rule->window[slot] = value;
	rule->token_count++;
	if (slot + 1 < size) {
		sum_add(rule, value);
		sum_add(rule, -old);
		return;
	}
	rule->window_sum = rule->window_rest = 0;
	for (size_t i = 0; i < size; i++)
		sum_add(rule, rule->window[i]);
}

enum rule_verdict
rule_feed(struct rule *rule, double entropy_bits)
{
	if (rule->reason)
		return RULE_ESCALATE;
	if (!isfinite(entropy_bits)) {
		rule->reason = "unscorable";
		return RULE_ESCALATE;
	}
	window_add(rule, entropy_bits);
	return rule->kind->feed(rule, entropy_bits);
}

enum rule_verdict
rule_finish(struct rule *rule)
{
	return rule->reason ? RULE_ESCALATE : rule->kind->finish(rule);
}

enum rule_verdict
rule_compare(struct rule *rule, double value, const char *reason)
{
	if (!rule->scored || value > rule->score)
		rule->score = value;
	rule->scored = true;
	if (!(value > rule->options.threshold))
		return RULE_CONTINUE;
	rule->reason = reason;
	return RULE_ESCALATE;
}

double
rule_score(const struct rule *rule)
{
	return rule->score;
}

double
rule_window_mean(const struct rule *rule)
{
	double size = rule->options.window_size, mean, error;

	if (rule->token_count < rule->options.window_size)
		return NAN;
	/* One step of Newton, so that the quotient of both halves of the sum is rounded only once. */
	mean = rule->window_sum / size;
	error = fma(-mean, size, rule->window_sum) + rule->window_rest;
	return mean + error / size;
}
