#include "route/attempts.h"

#include <string.h>

#include "unit.h"

enum { MODELS_MAX = 3, NOW = 1000000 };

/*
 * A row is the story of one leg, in virtual time that starts at NOW.
 *
 * models, a word each: ok; open:N its breaker is open for N ms more; due: its pause is over, so that the next
 * is the probe; probed: its probe is out; busy: its provider is full; busyopen: both, due in 1 ms.
 *
 * words:
 *	A B C         the next thing is to ask the first, second, third model
 *	!A            the same, as panic
 *	wait:N        the next thing is to wait N ms
 *	tried open busy   nothing is left, and that is why nothing was begun
 *	again elsewhere never   the attempt failed, allowing that, and something is left
 *	again:N       the same, upstream asked to wait N ms
 *	again/        the same, and nothing is left (so with each of these)
 *	64*retry      so often `again`, a pause, and A
 *	full          the first model's provider has as many requests as it may have
 *	+N            N ms go by
 */
struct story {
	const char *rule, *models, *words;
	unsigned retries;
	uint64_t deadline; /* after NOW; 0: none */
	double chance;     /* 0: one half */
	unsigned failures; /* in a row that open a breaker; 0: none does */
	bool hasty;        /* not patient: a drafter */
};

/* What a row does not name is 0. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static const struct story stories[] = {
        {"a list is gone through once, in order", "ok ok ok", "A again B again C again/ tried",
         .retries = 9},
        {"a list is gone through without waiting, whatever upstream asks for", "ok ok",
         "A again:5000 B again:5000/ tried", .retries = 9},
        {"a failure that only another model may mend goes to the next", "ok ok",
         "A elsewhere B elsewhere/ tried"},
        {"the request's own fault ends a list", "ok ok", "A never/ tried"},
        {"nothing is asked twice at once", "ok ok", "A B tried"},
        {"what was said last is said again", "ok", "A never/ tried tried"},

        {"the only model is asked again up to its retries", "ok",
         "A again wait:50 +50 A again wait:100 +100 A again/ tried", .retries = 2},
        {"no retries, no second attempt", "ok", "A again/ tried"},
        {"the only model is not asked again when only another may do better", "ok",
         "A elsewhere/ tried", .retries = 2},
        {"the request's own fault ends the only model's turn", "ok", "A never/ tried",
         .retries = 2},
        {"the pause doubles up to two seconds", "ok",
         "A again wait:50 +50 A again wait:100 +100 A again wait:200 +200 A again wait:400 +400 "
         "A again wait:800 +800 A again wait:1000 +1000 A again wait:1000 +1000 A",
         .retries = 99},
        {"the pause is near its longest by chance", "ok",
         "A again wait:99 +99 A again wait:199 +199 A", .retries = 9, .chance = 0.999},
        {"the pause may be none by chance", "ok", "A again A", .retries = 9, .chance = 1e-9},
        {"far retries do not overflow", "ok", "A 64*retry again wait:1000", .retries = 200},
        {"what upstream asks for is the pause", "ok", "A again:7000 wait:7000 +7000 A",
         .retries = 1},
        {"what upstream asks for counts for one pause", "ok",
         "A again:10 wait:10 +10 A again wait:100", .retries = 2},
        {"while the pause runs the rest is told", "ok",
         "A again:100 wait:100 +60 wait:40 +39 wait:1 +1 A", .retries = 1},
        {"a pause that is long over is no pause", "ok", "A again:100 +5000 A", .retries = 1},
        {"a pause without end is none", "ok", "A again:18446744073709551615/ tried", .retries = 1},

        {"nothing is begun at the deadline", "ok", "+100 tried", .deadline = 100},
        {"something is begun just before the deadline", "ok", "+99 A", .deadline = 100},
        {"a pause may end just before the deadline", "ok", "A again:99 wait:99 +99 A", .retries = 2,
         .deadline = 100},
        {"a pause that ends at the deadline is not begun", "ok", "A again:100/ tried", .retries = 2,
         .deadline = 100},
        {"a pause that ends past the deadline is not begun", "ok", "A again:101/ tried",
         .retries = 2, .deadline = 100},
        {"a backoff past the deadline is not begun", "ok", "A +60 again/ tried", .retries = 2,
         .deadline = 100},
        {"a wait that was slept through the deadline is the end", "ok", "A again:50 +100 tried",
         .retries = 2, .deadline = 100},
        {"no next model at the deadline", "ok ok", "A +100 again/ tried", .deadline = 100},
        {"the next model just before the deadline", "ok ok", "A +99 again B", .deadline = 100},
        {"the deadline passes after the failure", "ok ok", "A again +100 tried", .deadline = 100},
        {"no panic at the deadline", "open:500", "+100 tried", .deadline = 100},

        {"an open breaker is passed over", "open:500 ok", "B never/ tried"},
        {"a busy provider is passed over", "busy ok", "B never/ tried"},
        {"what was passed over counts as tried", "open:500 ok", "B +900 again/ tried"},
        {"the next is passed over later in the list", "ok open:500 ok", "A again C again/ tried"},
        {"what is left may be passed over all the same", "ok open:500", "A again tried"},
        {"a busy one is left after an attempt: all were tried", "ok busy", "A again tried"},
        {"a probe is an attempt like any other", "due ok", "A again B"},
        {"a model whose probe is out is passed over", "probed ok", "B"},
        {"in a list of several the last is not asked again", "open:500 ok", "B again/ tried",
         .retries = 9},

        {"all busy: nothing is begun", "busy busy", "busy busy"},
        {"the only one busy: nothing is begun", "busy", "busy", .retries = 9},
        {"one busy, the others open: busy, and no panic", "open:500 busy open:500", "busy busy"},
        {"busy at a retry: nothing is left", "ok", "A again:10 +10 full tried +10 tried",
         .retries = 2},

        {"all open: the one due soonest is asked as panic", "open:500 open:300 open:400",
         "!B again/ tried"},
        {"equally soon: the first of the list", "open:300 open:300", "!A"},
        {"a probe under way is due at once", "open:300 probed", "!B"},
        {"the only one open: panic, without retries", "open:500", "!A again/ tried", .retries = 9},
        {"after a panic nothing is left, whatever the failure", "open:500 open:600",
         "!A elsewhere/ +900 tried"},
        {"a panic that did not fail is not repeated", "open:500", "!A +900 tried"},
        {"the panic's limit holds", "busyopen", "busy"},
        {"one is due since: it is the probe, no panic", "open:500 open:300", "+300 B"},

        {"its own failures open the breaker: nothing is left, no panic", "ok",
         "A again +50 A again +100 tried tried", .retries = 9, .failures = 2},
        {"a failed probe opens the breaker again: nothing is left", "due", "A again +50 tried",
         .retries = 9, .failures = 9},
        {"its own failures on a list do not matter to the next model", "ok ok",
         "A again B again/ tried", .failures = 1},

        {"a drafter is not asked again", "ok", "A again/ tried", .retries = 9, .hasty = true},
        {"a drafter is not waited for", "ok", "A again:10/ tried", .retries = 9, .hasty = true},
        {"drafters are gone through in order", "ok open:500 ok", "A again C elsewhere/ tried",
         .hasty = true},
        {"drafters all open: no panic", "open:500 open:300", "open open", .hasty = true},
        {"drafters all busy", "busy busy", "busy", .hasty = true},
        {"drafters busy or open: busy", "busy open:300", "busy", .hasty = true},
        {"the request's own fault ends the drafters", "ok ok", "A never/ tried", .hasty = true},
};

/* The world of one story. */
struct stage {
	const char *rule;
	struct config_provider providers[MODELS_MAX];
	struct config_model models[MODELS_MAX];
	struct candidate list[MODELS_MAX];
	struct permit probes[MODELS_MAX]; /* of `probed` */
	size_t count;
	struct attempts attempts;
	struct permit permit; /* of the attempt begun last */
	double chance;
	uint64_t now;
};

static bool
word_is(const char *word, size_t n, const char *name)
{
	return strlen(name) == n && memcmp(word, name, n) == 0;
}

static bool
word_begins(const char *word, size_t n, const char *name)
{
	return n >= strlen(name) && memcmp(word, name, strlen(name)) == 0;
}

static void
permit_end(struct permit *permit, enum health_result result, uint64_t now)
{
	enum breaker_state old, state;

	permit_return(permit, result, now, &old, &state);
}

static void
stage_add(struct stage *stage, const char *word, size_t n, const struct story *story)
{
	size_t i = stage->count++;
	struct breaker_options options = {.failures = 1, .open_ms = 1, .open_max_ms = 100000};
	struct candidate *candidate = &stage->list[i];
	struct permit permit;

	ck_assert_uint_lt(i, MODELS_MAX);
	if (word_begins(word, n, "open:"))
		options.open_ms = (uint32_t)strtoul(word + 5, NULL, 10);
	stage->providers[i].retries = story->retries;
	stage->models[i].provider = &stage->providers[i];
	*candidate = (struct candidate){&stage->models[i], health_new(&options), load_new()};
	if (!word_is(word, n, "ok") && !word_is(word, n, "busy")) {
		/* What is due, or has its probe out, was opened a while ago. */
		uint64_t when =
		        word_is(word, n, "due") || word_is(word, n, "probed") ? NOW - 10 : NOW;

		health_admit(candidate->health, candidate->load, 0, false, when, &permit);
		permit_end(&permit, HEALTH_FAILURE, when);
	}
	if (word_is(word, n, "probed"))
		health_admit(candidate->health, candidate->load, 0, false, NOW, &stage->probes[i]);
	if (word_begins(word, n, "busy")) {
		stage->providers[i].max_concurrent = 1;
		load_enter(candidate->load, 0);
	}
	options.failures = story->failures ? story->failures : 1000;
	options.open_ms = options.open_max_ms;
	health_configure(candidate->health, &options);
}

static void
stage_init(struct stage *stage, const struct story *story)
{
	const char *word = story->models;

	*stage = (struct stage){.rule = story->rule, .now = NOW};
	stage->chance = story->chance > 0 ? story->chance : 0.5;
	while (*word) {
		size_t n = strcspn(word, " ");

		stage_add(stage, word, n, story);
		word += n + strspn(word + n, " ");
	}
	attempts_init(&stage->attempts, stage->list, stage->count, !story->hasty,
	              story->deadline ? NOW + story->deadline : 0);
}

static void
stage_fini(struct stage *stage)
{
	permit_end(&stage->permit, HEALTH_NEUTRAL, stage->now);
	for (size_t i = 0; i < stage->count; i++) {
		permit_end(&stage->probes[i], HEALTH_NEUTRAL, stage->now);
		health_unref(stage->list[i].health);
		load_unref(stage->list[i].load);
	}
}

static void
expect_start(struct stage *stage, char letter, bool panic, const char *at)
{
	unsigned made = stage->attempts.made;
	struct attempt attempt = attempts_next(&stage->attempts, stage->now);

	ck_assert_msg(attempt.kind == ATTEMPT_START, "%s: kind %d at \"%s\"", stage->rule,
	              attempt.kind, at);
	ck_assert_msg(attempt.candidate == &stage->list[letter - 'A'], "%s: model %c at \"%s\"",
	              stage->rule, (char)('A' + (attempt.candidate - stage->list)), at);
	ck_assert_msg(attempt.panic == panic && attempt.permit.panic == panic,
	              "%s: panic %d at \"%s\"", stage->rule, attempt.panic, at);
	ck_assert_ptr_eq(attempt.permit.health, attempt.candidate->health);
	ck_assert_ptr_eq(attempt.permit.load, attempt.candidate->load);
	ck_assert_uint_eq(stage->attempts.made, made + 1);
	permit_end(&stage->permit, HEALTH_NEUTRAL, stage->now);
	stage->permit = attempt.permit;
}

static void
expect_wait(struct stage *stage, uint64_t wait_ms, const char *at)
{
	struct attempt attempt = attempts_next(&stage->attempts, stage->now);

	ck_assert_msg(attempt.kind == ATTEMPT_WAIT && attempt.wait_ms == wait_ms,
	              "%s: kind %d, wait %ju at \"%s\"", stage->rule, attempt.kind,
	              (uintmax_t)attempt.wait_ms, at);
	ck_assert_ptr_null(attempt.permit.health);
}

static void
expect_none(struct stage *stage, enum health_answer refusal, const char *at)
{
	struct attempt attempt = attempts_next(&stage->attempts, stage->now);

	ck_assert_msg(attempt.kind == ATTEMPT_NONE && attempt.refusal == refusal,
	              "%s: kind %d, refusal %d at \"%s\"", stage->rule, attempt.kind,
	              attempt.refusal, at);
	ck_assert_ptr_null(attempt.permit.health);
}

static void
expect_failed(struct stage *stage, enum attempt_retry retry, const char *word, size_t n)
{
	const char *colon = memchr(word, ':', n);
	uint64_t retry_after_ms = colon ? strtoull(colon + 1, NULL, 10) : 0;
	bool left;

	permit_end(&stage->permit, HEALTH_FAILURE, stage->now);
	left = attempts_failed(&stage->attempts, retry, retry_after_ms, stage->chance, stage->now);
	ck_assert_msg(left == (word[n - 1] != '/'), "%s: left %d at \"%s\"", stage->rule, left,
	              word);
}

static void
retries_fail(struct stage *stage, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		permit_end(&stage->permit, HEALTH_FAILURE, stage->now);
		ck_assert(
		        attempts_failed(&stage->attempts, ATTEMPT_RETRY_AGAIN, 0, 0.5, stage->now));
		stage->now += 2000;
		expect_start(stage, 'A', false, "retry");
	}
}

static void
play_word(struct stage *stage, const char *word, size_t n)
{
	if (*word == '+')
		stage->now += strtoul(word + 1, NULL, 10);
	else if (n == 1 && *word >= 'A' && *word <= 'C')
		expect_start(stage, *word, false, word);
	else if (n == 2 && *word == '!')
		expect_start(stage, word[1], true, word);
	else if (word_begins(word, n, "wait:"))
		expect_wait(stage, strtoul(word + 5, NULL, 10), word);
	else if (word_is(word, n, "tried"))
		expect_none(stage, HEALTH_ADMITTED, word);
	else if (word_is(word, n, "open"))
		expect_none(stage, HEALTH_OPEN, word);
	else if (word_is(word, n, "busy"))
		expect_none(stage, HEALTH_BUSY, word);
	else if (word_begins(word, n, "again"))
		expect_failed(stage, ATTEMPT_RETRY_AGAIN, word, n);
	else if (word_begins(word, n, "elsewhere"))
		expect_failed(stage, ATTEMPT_RETRY_ELSEWHERE, word, n);
	else if (word_begins(word, n, "never"))
		expect_failed(stage, ATTEMPT_RETRY_NEVER, word, n);
	else if (word_is(word, n, "64*retry"))
		retries_fail(stage, 64);
	else if (word_is(word, n, "full")) {
		stage->providers[0].max_concurrent = 1;
		load_enter(stage->list[0].load, 0);
	} else
		ck_abort_msg("%s: no such word: \"%s\"", stage->rule, word);
}

START_TEST(test_a_leg_makes_its_attempts_by_the_rules)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		const char *word = stories[i].words;
		struct stage stage;

		stage_init(&stage, &stories[i]);
		while (*word) {
			size_t n = strcspn(word, " ");

			play_word(&stage, word, n);
			word += n + strspn(word + n, " ");
		}
		stage_fini(&stage);
	}
}
END_TEST

START_TEST(test_a_refused_model_keeps_no_load)
{
	static const struct story story = {"refused", "open:500 open:300", "", .hasty = true};
	struct stage stage;

	stage_init(&stage, &story);
	expect_none(&stage, HEALTH_OPEN, "refused");
	ck_assert_uint_eq(load_count(stage.list[0].load), 0);
	ck_assert_uint_eq(load_count(stage.list[1].load), 0);
	stage_fini(&stage);
}
END_TEST

START_TEST(test_a_panic_that_succeeds_closes_the_breaker)
{
	static const struct story story = {"panic", "open:500", "", .retries = 2};
	struct stage stage;

	stage_init(&stage, &story);
	expect_start(&stage, 'A', true, "panic");
	permit_end(&stage.permit, HEALTH_SUCCESS, stage.now);
	ck_assert_int_eq(health_state(stage.list[0].health, stage.now), BREAKER_CLOSED);
	stage_fini(&stage);
}
END_TEST

UNIT_MAIN("attempts", test_a_leg_makes_its_attempts_by_the_rules,
          test_a_refused_model_keeps_no_load, test_a_panic_that_succeeds_closes_the_breaker)
