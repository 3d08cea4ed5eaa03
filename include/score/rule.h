/*
 * A rule judges a draft from the entropies of its tokens: fed one token at a time it says
 * continue or escalate, and at the end it gives verdict and score.
 *
 * Each rule is a `struct rule_kind` in a file of its own; its state lives in `struct rule`, which the
 * caller embeds. Pure: no clock, no I/O.
 */
#ifndef SCORE_RULE_H
#define SCORE_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rule_verdict { RULE_CONTINUE, RULE_ESCALATE };

struct rule_options {
	double threshold;          /* bits; compared with strict > */
	unsigned window_size;      /* tokens; ≥ 1, at most RULE_WINDOW_MAX */
	unsigned early_exit_count; /* the first so many tokens are compared one by one; may be 0 */
};

enum { RULE_WINDOW_MAX = 1024 };

struct rule;

struct rule_kind {
	const char *name; /* as in `entropy.rule` */
	enum rule_verdict (*feed)(struct rule *rule, double entropy_bits);
	enum rule_verdict (*finish)(struct rule *rule);
};

struct rule {
	const struct rule_kind *kind; /* borrowed, static */
	struct rule_options options;
	uint64_t token_count;
	double score; /* the number compared with the threshold; see rule_score */
	const char *
	        reason; /* after RULE_ESCALATE: one word, static (`early_exit`, `window`, `unscorable`) */
	double *window;     /* owned: the last window_size entropies, a ring */
	double window_sum;  /* of the ring, rounded to a double */
	double window_rest; /* what that rounding left out */
	bool scored;        /* has `score` been set? */
};

/* The kind of that name, or NULL. */
const struct rule_kind *rule_kind_find(const char *name);

void rule_init(struct rule *rule, const struct rule_kind *kind, const struct rule_options *options);
void rule_fini(struct rule *rule);

/* One more token. After RULE_ESCALATE nothing more may be fed. NAN, an unscorable token, is for the
 * caller to judge; fed all the same it escalates (reason `unscorable`), for it is not the same as
 * certain, and leaves the score as it was. */
enum rule_verdict rule_feed(struct rule *rule, double entropy_bits);

/* The draft is complete: the verdict on the whole. */
enum rule_verdict rule_finish(struct rule *rule);

/* The number compared with the threshold: the one above it that escalated, otherwise the largest that
 * was compared. NAN when nothing was. So a draft was escalated by the rule exactly if score > threshold. */
double rule_score(const struct rule *rule);

/* The mean of the last window_size tokens; NAN until there are as many. For speculation and explain. */
double rule_window_mean(const struct rule *rule);

/* For the rules themselves: compares a number with the threshold and keeps the score. */
enum rule_verdict rule_compare(struct rule *rule, double value, const char *reason);

extern const struct rule_kind rule_window;

#endif
