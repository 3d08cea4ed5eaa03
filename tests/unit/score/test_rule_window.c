#include "score/rule.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "unit.h"

/* A draft's entropies, ended by a negative number, and where and why it escalates. */
static const struct {
	const char *what;
	double threshold;
	unsigned early, window;
	double tokens[16];
	unsigned at; /* the token that escalates, from 1; 0: none does */
	const char *reason;
	double score;
} drafts[] = {
        {"one early token above", 2, 3, 2, {1, 2.5, 0, -1}, 2, "early_exit", 2.5},
        {"the last early token above", 2, 3, 2, {1, 1, 2.5, -1}, 3, "early_exit", 2.5},
        {"an early token at the threshold", 2, 3, 2, {2, 2, 2, 2, 2, 2, -1}, 0, NULL, 2},
        {"one late token above, the window not", 2, 3, 2, {0, 0, 1, 2.5, 0, -1}, 0, NULL, 1.75},
        {"the window above", 2, 3, 2, {0, 0, 1, 2.5, 2.5, 0, -1}, 5, "window", 2.5},
        {"the window holds early tokens", 2, 3, 2, {0, 0, 2, 2.5, -1}, 4, "window", 2.25},
        {"a window longer than the early tokens", 2, 1, 3, {2, 2, 3, -1}, 3, "window", 7 / 3.0},
        {"the window above once it is there", 2, 1, 4, {0, 9, 9, 0, -1}, 4, "window", 4.5},
        {"a draft shorter than the window", 2, 1, 4, {0, 9, 9, -1}, 0, NULL, 0},
        {"no early tokens", 2, 0, 2, {9, -1}, 0, NULL, NAN},
        {"no early tokens, a full window", 2, 0, 2, {9, 0, -1}, 2, "window", 4.5},
        {"a window of one", 2, 1, 1, {1, 3, -1}, 2, "window", 3},
        {"a window that recovers", 2, 0, 2, {1, 2, 2, 1, 0, -1}, 0, NULL, 2},
        {"the largest compared, not the last", 2, 2, 2, {1.5, .5, .25, .25, -1}, 0, NULL, 1.5},
        {"no token", 2, 10, 10, {-1}, 0, NULL, NAN},
        {"a threshold of zero", 0, 2, 2, {0, 0, 0, 1e-9, -1}, 4, "window", 5e-10},
};

START_TEST(test_a_draft_escalates_at_the_token_that_decides)
{
	for (size_t i = 0; i < sizeof(drafts) / sizeof(drafts[0]); i++) {
		struct rule_options options = {drafts[i].threshold, drafts[i].window,
		                               drafts[i].early};
		enum rule_verdict verdict = RULE_CONTINUE;
		struct rule rule;
		double score;
		unsigned n = 0;

		rule_init(&rule, &rule_window, &options);
		while (drafts[i].tokens[n] >= 0 && verdict == RULE_CONTINUE)
			verdict = rule_feed(&rule, drafts[i].tokens[n++]);
		ck_assert_msg((verdict == RULE_ESCALATE) == (drafts[i].at > 0) &&
		                      (!drafts[i].at || drafts[i].at == n),
		              "%s: verdict %d at token %u", drafts[i].what, verdict, n);
		ck_assert_msg(rule_finish(&rule) == verdict, "%s", drafts[i].what);
		if (drafts[i].at)
			ck_assert_str_eq(rule.reason, drafts[i].reason);
		score = rule_score(&rule);
		ck_assert_msg(isnan(drafts[i].score) ? isnan(score)
		                                     : fabs(score - drafts[i].score) < 1e-12,
		              "%s: score %.12f", drafts[i].what, score);
		ck_assert_msg((verdict == RULE_ESCALATE) == (score > drafts[i].threshold), "%s",
		              drafts[i].what);
		rule_fini(&rule);
	}
}
END_TEST

START_TEST(test_a_draft_that_stays_at_the_threshold_is_never_escalated_by_rounding)
{
	for (unsigned size = 1; size <= RULE_WINDOW_MAX; size += size < 40 ? 1 : 41) {
		for (int tenth = 1; tenth < 40; tenth += 3) {
			struct rule_options options = {tenth * 0.1, size, 0};
			struct rule rule;

			rule_init(&rule, &rule_window, &options);
			for (unsigned i = 0; i < 3 * size; i++)
				ck_assert_int_eq(rule_feed(&rule, tenth * 0.1), RULE_CONTINUE);
			ck_assert_double_eq(rule_score(&rule), tenth * 0.1);
			rule_fini(&rule);
		}
	}
}
END_TEST

START_TEST(test_the_window_mean_does_not_drift)
{
	struct rule_options options = {1e9, 7, 0};
	struct rule rule;
	double last[7];
	uint64_t state = 99;

	/* Large numbers amid small ones would leave their rounding errors in a running sum. */
	rule_init(&rule, &rule_window, &options);
	for (int i = 0; i < 100000; i++) {
		double value, sum = 0;

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		value = (double)(state >> 40) * (i % 11 == 0 ? 1e-3 : 1e-12);
		last[i % 7] = value;
		ck_assert_int_eq(rule_feed(&rule, value), RULE_CONTINUE);
		if (i < 6) {
			ck_assert(isnan(rule_window_mean(&rule)));
			continue;
		}
		for (int k = 0; k < 7; k++)
			sum += last[k];
		ck_assert_double_le(fabs(rule_window_mean(&rule) - sum / 7), sum * 1e-15);
	}
	rule_fini(&rule);
}
END_TEST

START_TEST(test_an_unscorable_token_is_not_a_certain_one)
{
	static const double values[] = {NAN, INFINITY, -INFINITY};

	for (size_t i = 0; i < 3; i++) {
		struct rule_options options = {2, 2, 2};
		struct rule rule;

		rule_init(&rule, &rule_window, &options);
		ck_assert_int_eq(rule_feed(&rule, 1), RULE_CONTINUE);
		ck_assert_int_eq(rule_feed(&rule, values[i]), RULE_ESCALATE);
		ck_assert_str_eq(rule.reason, "unscorable");
		ck_assert_double_eq(rule_score(&rule), 1);
		ck_assert_int_eq(rule_finish(&rule), RULE_ESCALATE);
		rule_fini(&rule);
	}
}
END_TEST

START_TEST(test_a_rule_is_found_by_its_name)
{
	ck_assert_ptr_eq(rule_kind_find("window"), &rule_window);
	ck_assert_ptr_null(rule_kind_find("windows"));
	ck_assert_ptr_null(rule_kind_find(""));
}
END_TEST

UNIT_MAIN("rule_window", test_a_draft_escalates_at_the_token_that_decides,
          test_a_draft_that_stays_at_the_threshold_is_never_escalated_by_rounding,
          test_the_window_mean_does_not_drift, test_an_unscorable_token_is_not_a_certain_one,
          test_a_rule_is_found_by_its_name)
