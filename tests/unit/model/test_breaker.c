#include "model/breaker.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

/*
 * A row is a breaker's life in words, in virtual time that starts at 1000 s:
 *	f s           a request that was let through before fails, succeeds
 *	pf ps pn      the probe fails, succeeds, ends without telling anything
 *	xs            a panic's request succeeds
 *	pass probe no what the next request is told
 *	closed open half   how it stands
 *	+N            N milliseconds go by
 *	reprobe       the probe fails at once, and the pause goes by
 *	6*f           six times f
 */
struct life {
	const char *rule;
	struct breaker_options options;
	const char *words;
};

/* Either rule alone, with round numbers; and what the configuration has when it says nothing. */
#define IN_ROW                                                                                     \
	{                                                                                          \
		.failures = 3, .open_ms = 1000, .open_max_ms = 5000                                \
	}
#define PART                                                                                       \
	{                                                                                          \
		.failed_part = 0.5, .minimum = 4, .window_ms = 10000, .open_ms = 1000,             \
		.open_max_ms = 5000                                                                \
	}
#define DEFAULTS                                                                                   \
	{                                                                                          \
		5, 0.5, 10, 30000, 30000, 300000                                                   \
	}

static const struct life lives[] = {
        {"a new one lets all through", IN_ROW, "closed 9*pass"},
        {"fewer failures than the limit keep it closed", IN_ROW, "2*f closed pass"},
        {"failures in a row open it", IN_ROW, "3*f open no"},
        {"a success between starts the row anew", IN_ROW, "2*f s 2*f closed f open"},
        {"a neutral end does not break the row", IN_ROW, "2*f n f open"},
        {"a neutral end does not count", IN_ROW, "9*n closed"},
        {"time does not break the row", IN_ROW, "2*f +9999999 f open"},
        {"the rule of the row is off at 0", PART, "3*f closed"},

        {"half of enough results open it", PART, "s s f closed f open"},
        {"less than the part keeps it closed", PART, "s s s f closed pass"},
        {"fewer results than the minimum do not tell", PART, "3*f closed"},
        {"the result that completes the minimum may be a success", PART, "3*f closed s open"},
        {"neutral ends are not results", PART, "3*f 9*n closed"},
        {"results older than the window are forgotten", PART, "3*f +10000 f closed"},
        {"results within the window are kept", PART, "3*f +9000 f open"},
        {"old successes leave the window too", PART, "9*s +5000 3*f closed +5000 f open"},
        {"the window moves on in tenths", PART,
         "f +1000 f +1000 f +8000 s closed +1000 f closed f open"},
        {"a slot used again starts from nothing", PART, "3*f +20000 3*f closed"},
        {"the rule of the part is off at 0", {3, 0, 2, 10000, 1000, 1000}, "f s f s f s closed"},
        {"no window, no rule of the part", {0, 0.5, 2, 0, 1000, 1000}, "9*f closed"},
        {"a window shorter than its slots is one all the same",
         {0, 0.5, 2, 5, 1000, 1000},
         "f +10 f closed f open"},
        {"a part of all needs all to fail", {0, 1, 3, 10000, 1000, 1000}, "s 9*f closed"},
        {"a part of all opens when all fail", {0, 1, 3, 10000, 1000, 1000}, "3*f open"},
        {"the part is compared without rounding errors",
         {0, 0.56, 25, 10000, 1000, 1000},
         "13*f 11*s closed f open"},
        {"a minimum of 0 lets the first failure open it",
         {0, 0.5, 0, 10000, 1000, 1000},
         "s closed f open"},
        {"without a failure no part opens it", {0, 1e-9, 0, 10000, 1000, 1000}, "9*s closed"},

        {"the defaults: five in a row", DEFAULTS, "4*f closed f open +29999 no +1 probe"},
        {"the defaults: five of ten", DEFAULTS, "s f s f s f s f s closed f open"},
        {"all options zero: it never opens", {0}, "99*f closed pass +9 99*f closed pass"},

        {"open until its pause is over", IN_ROW, "3*f +999 open no +1 half probe"},
        {"one that nobody asks is half-open by time", IN_ROW, "3*f +1000 half"},
        {"half-open lets exactly one through", IN_ROW, "3*f +1000 probe 9*no half"},
        {"no time lets a second probe through", IN_ROW, "3*f +1000 probe +9999999 no"},
        {"the probe's success closes it", IN_ROW, "3*f +1000 probe ps closed 9*pass"},
        {"closing forgets the row", IN_ROW, "3*f +1000 probe ps 2*f closed f open"},
        {"closing forgets the window", PART, "4*f +1000 probe ps 3*f closed f open"},
        {"the probe's failure reopens it for twice as long", IN_ROW,
         "3*f +1000 probe pf open no +1999 no +1 probe"},
        {"the pause doubles up to the longest", IN_ROW,
         "3*f +1000 probe pf +2000 probe pf +3999 no +1 probe pf +4999 no +1 probe pf +4999 no "
         "+1 probe"},
        {"many openings stay at the longest",
         {1, 0, 0, 0, 1, 4000000000},
         "f +4000000000 40*reprobe probe pf +3999999999 no +1 probe"},
        {"a success starts the doubling anew", IN_ROW,
         "3*f +1000 probe pf +2000 probe ps 3*f +999 no +1 probe"},
        {"a longest below the first pause does not shorten it",
         {1, 0, 0, 0, 1000, 10},
         "f +999 no +1 probe pf +999 no +1 probe"},
        {"a pause of 0: probes only, one at a time",
         {1, 0, 0, 0, 0, 0},
         "f half probe no pf half probe ps closed"},
        {"a probe that tells nothing leaves the place to the next", IN_ROW,
         "3*f +1000 probe pn half probe no ps closed"},

        {"a late success does not close an open one", IN_ROW, "3*f s open no"},
        {"a late success does not close a half-open one", IN_ROW, "3*f +1000 s half probe s no"},
        {"a late success does not stop the doubling", IN_ROW,
         "3*f s +1000 probe pf +1999 no +1 probe"},
        {"a late failure does not prolong the pause", IN_ROW, "3*f +900 9*f +99 no +1 probe"},
        {"a late failure does not reopen a half-open one", IN_ROW, "3*f +1000 9*f half probe"},
        {"a late failure does not spoil the probe", IN_ROW,
         "3*f +1000 probe 9*f half ps closed 2*f closed"},
        {"a late failure does not double the pause", IN_ROW,
         "3*f 3*f +1000 probe pf +1999 no +1 probe"},
        {"a late neutral end does not free the probe's place", IN_ROW, "3*f +1000 probe n no"},

        {"a panic's success closes an open one", IN_ROW, "3*f xs closed pass"},
        {"a panic's success forgets the counts", IN_ROW, "3*f xs 2*f closed f open"},
        {"a panic's success starts the doubling anew", IN_ROW,
         "3*f +1000 probe pf xs 3*f +999 no +1 probe"},
        {"a panic's success closes a half-open one", IN_ROW, "3*f +1000 probe xs closed pass"},
        {"a panic's success is a success for a closed one", IN_ROW, "2*f xs 2*f closed"},
        {"a probe that ends after a panic closed it is one result of many", IN_ROW,
         "3*f +1000 probe xs pf closed 2*f open"},
        {"a probe from before is the only one, though it opened again meanwhile", IN_ROW,
         "3*f +1000 probe xs 3*f +1000 no pn probe no"},
        {"a probe from before neither closes nor prolongs the next pause", IN_ROW,
         "3*f +1000 probe xs 3*f +500 ps open +499 no +1 probe"},
};

static void
expect_answer(struct breaker *breaker, enum breaker_answer wanted, uint64_t now_ms,
              const char *what, const char *at)
{
	enum breaker_answer answer = breaker_ask(breaker, now_ms);

	ck_assert_msg(answer == wanted, "%s: answer %d at \"%s\"", what, answer, at);
}

static void
expect_state(const struct breaker *breaker, enum breaker_state wanted, uint64_t now_ms,
             const char *what, const char *at)
{
	enum breaker_state state = breaker_state_at(breaker, now_ms);

	ck_assert_msg(state == wanted, "%s: %s at \"%s\"", what, breaker_state_name(state), at);
}

static bool
word_is(const char *word, size_t n, const char *name)
{
	return strlen(name) == n && memcmp(word, name, n) == 0;
}

static void
live_word(struct breaker *breaker, const char *word, size_t n, uint64_t *now, const char *what)
{
	if (*word == '+')
		*now += strtoul(word + 1, NULL, 10);
	else if (word_is(word, n, "f") || word_is(word, n, "pf"))
		breaker_failure(breaker, *word == 'p', *now);
	else if (word_is(word, n, "s") || word_is(word, n, "ps"))
		breaker_success(breaker, *word == 'p', false, *now);
	else if (word_is(word, n, "n") || word_is(word, n, "pn"))
		breaker_neutral(breaker, *word == 'p');
	else if (word_is(word, n, "xs"))
		breaker_success(breaker, false, true, *now);
	else if (word_is(word, n, "pass"))
		expect_answer(breaker, BREAKER_PASS, *now, what, word);
	else if (word_is(word, n, "probe"))
		expect_answer(breaker, BREAKER_PROBE, *now, what, word);
	else if (word_is(word, n, "no"))
		expect_answer(breaker, BREAKER_REFUSED, *now, what, word);
	else if (word_is(word, n, "closed"))
		expect_state(breaker, BREAKER_CLOSED, *now, what, word);
	else if (word_is(word, n, "open"))
		expect_state(breaker, BREAKER_OPEN, *now, what, word);
	else if (word_is(word, n, "half"))
		expect_state(breaker, BREAKER_HALF_OPEN, *now, what, word);
	else if (word_is(word, n, "reprobe")) {
		expect_answer(breaker, BREAKER_PROBE, *now, what, word);
		breaker_failure(breaker, true, *now);
		*now += breaker->due_ms - *now;
	} else
		ck_abort_msg("%s: no such word: \"%s\"", what, word);
}

static void
live(struct breaker *breaker, const char *words, uint64_t *now, const char *what)
{
	while (*words) {
		size_t n = strcspn(words, " ");
		const char *word = words, *star = memchr(words, '*', n);
		unsigned long times = 1;

		if (star) {
			times = strtoul(words, NULL, 10);
			word = star + 1;
		}
		for (unsigned long i = 0; i < times; i++)
			live_word(breaker, word, n - (size_t)(word - words), now, what);
		words += n + strspn(words + n, " ");
	}
}

START_TEST(test_a_breaker_opens_and_closes_by_its_rules)
{
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		uint64_t now = 1000000;
		struct breaker breaker;

		breaker_init(&breaker, &lives[i].options);
		live(&breaker, lives[i].words, &now, lives[i].rule);
	}
}
END_TEST

START_TEST(test_a_reload_keeps_what_was_counted)
{
	static const struct {
		const char *rule;
		struct breaker_options before;
		const char *words;
		struct breaker_options after;
		const char *then;
	} rows[] = {
	        {"the row goes on", IN_ROW, "2*f", IN_ROW, "closed f open"},
	        {"a lower limit counts from the next result",
	         IN_ROW,
	         "2*f",
	         {.failures = 1, .open_ms = 1000},
	         "closed f open"},
	        {"a higher limit counts on", IN_ROW, "2*f", DEFAULTS, "2*f closed f open"},
	        {"the window goes on", PART, "3*f", PART, "closed f open"},
	        {"a window of another length starts anew",
	         PART,
	         "+1000 3*f",
	         {0, 0.5, 4, 20000, 1000, 5000},
	         "3*f closed f open"},
	        {"a pause runs as it was begun", IN_ROW, "3*f", DEFAULTS, "+999 no +1 probe"},
	        {"the next pause doubles the new one", IN_ROW, "3*f", DEFAULTS,
	         "+1000 probe pf +59999 no +1 probe"},
	        {"a probe under way stays the only one", IN_ROW, "3*f +1000 probe", DEFAULTS,
	         "no ps closed"},
	        {"rules switched off close an open one", IN_ROW, "3*f", {0}, "closed 9*f pass"},
	        {"rules switched off close a half-open one",
	         IN_ROW,
	         "3*f +1000 probe",
	         {0},
	         "closed pass pf closed pass"},
	        {"one rule left keeps it open", IN_ROW, "3*f", PART, "open no"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t now = 1000000;
		struct breaker breaker;

		breaker_init(&breaker, &rows[i].before);
		live(&breaker, rows[i].words, &now, rows[i].rule);
		breaker_configure(&breaker, &rows[i].after);
		live(&breaker, rows[i].then, &now, rows[i].rule);
	}
}
END_TEST

START_TEST(test_a_state_has_a_name)
{
	ck_assert_str_eq(breaker_state_name(BREAKER_CLOSED), "closed");
	ck_assert_str_eq(breaker_state_name(BREAKER_OPEN), "open");
	ck_assert_str_eq(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
}
END_TEST

UNIT_MAIN("breaker", test_a_breaker_opens_and_closes_by_its_rules,
          test_a_reload_keeps_what_was_counted, test_a_state_has_a_name)
