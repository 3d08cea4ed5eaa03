#include "cache/guard.h"

#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cache/guard_private.h"
#include "unit.h"

struct row {
	enum guard guard;
	const char *one, *other;
};

static const struct row apart[] = {
#define APART(guard, one, other) {GUARD_##guard, one, other},
#include "guard_apart.def"
#undef APART
};

static const struct row alike[] = {
#define ALIKE(guard, one, other) {GUARD_##guard, one, other},
#include "guard_alike.def"
#undef ALIKE
};

static const struct row near_misses[] = {
#define NEAR(one, other) {GUARD_NONE, one, other},
#include "guard_near.def"
#undef NEAR
};

static const struct row said[] = {
#define SAID(one, other)   {GUARD_NONE, one, other},
#define MISSED(one, other) {GUARD_WORDS, one, other},
#include "guard_said.def"
#undef SAID
#undef MISSED
};

static const struct {
	const struct row *rows;
	size_t count;
} tables[] = {
        {apart, sizeof(apart) / sizeof(apart[0])},
        {alike, sizeof(alike) / sizeof(alike[0])},
        {near_misses, sizeof(near_misses) / sizeof(near_misses[0])},
        {said, sizeof(said) / sizeof(said[0])},
};

enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

static enum guard
compare(const char *one, const char *other)
{
	return guard_compare(bytes_of(one), bytes_of(other));
}

static void
check_apart(enum guard wanted)
{
	size_t seen = 0;

	for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]); i++) {
		enum guard guard = compare(apart[i].one, apart[i].other);

		if (apart[i].guard != wanted)
			continue;
		seen++;
		ck_assert_msg(guard == wanted, "%s: %s | %s", guard_name(guard), apart[i].one,
		              apart[i].other);
	}
	ck_assert_uint_ge(seen, 25);
}

static void
check_alike(enum guard wanted)
{
	size_t seen = 0;

	for (size_t i = 0; i < sizeof(alike) / sizeof(alike[0]); i++) {
		enum guard guard = compare(alike[i].one, alike[i].other);

		if (alike[i].guard != wanted)
			continue;
		seen++;
		ck_assert_msg(guard == GUARD_NONE, "%s: %s | %s", guard_name(guard), alike[i].one,
		              alike[i].other);
	}
	ck_assert_uint_ge(seen, 10);
}

#define RULE_TEST(name, guard)                                                                     \
	START_TEST(test_##name##_tell_apart)                                                       \
	{                                                                                          \
		check_apart(guard);                                                                \
		check_alike(guard);                                                                \
	}                                                                                          \
	END_TEST

RULE_TEST(numbers, GUARD_NUMBERS)
RULE_TEST(units, GUARD_UNITS)
RULE_TEST(dates, GUARD_DATES)
RULE_TEST(quotes, GUARD_QUOTES)
RULE_TEST(negations, GUARD_NEGATION)
RULE_TEST(names, GUARD_NAMES)
RULE_TEST(questions, GUARD_QUESTION)
RULE_TEST(opposites, GUARD_OPPOSITES)
RULE_TEST(orders, GUARD_ORDER)
RULE_TEST(words, GUARD_WORDS)

START_TEST(test_every_near_miss_is_refused)
{
	for (size_t i = 0; i < sizeof(near_misses) / sizeof(near_misses[0]); i++) {
		enum guard guard = compare(near_misses[i].one, near_misses[i].other);

		ck_assert_msg(guard != GUARD_NONE && guard != GUARD_SHORT, "%s: %s | %s",
		              guard_name(guard), near_misses[i].one, near_misses[i].other);
	}
}
END_TEST

START_TEST(test_most_restatements_pass)
{
	for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		enum guard guard = compare(said[i].one, said[i].other);

		ck_assert_msg(said[i].guard != GUARD_NONE || guard == GUARD_NONE, "%s: %s | %s",
		              guard_name(guard), said[i].one, said[i].other);
		ck_assert_msg(guard != GUARD_SHORT, "short: %s | %s", said[i].one, said[i].other);
	}
}
END_TEST

START_TEST(test_which_is_asked_and_which_is_known_makes_no_difference)
{
	for (size_t t = 0; t < TABLES; t++) {
		for (size_t i = 0; i < tables[t].count; i++) {
			const struct row *row = &tables[t].rows[i];

			ck_assert_msg(compare(row->one, row->other) ==
			                      compare(row->other, row->one),
			              "%s | %s", row->one, row->other);
		}
	}
}
END_TEST

/* One that is the same but for a space at its end is really compared. */
static void
check_reflexive(const char *text)
{
	struct buf spaced;

	buf_init(&spaced, 0);
	buf_add_text(&spaced, text);
	buf_add_text(&spaced, " ");
	ck_assert_msg(compare(text, text) == GUARD_NONE, "%s", text);
	ck_assert_msg(guard_compare(bytes_of(text), buf_bytes(&spaced)) == GUARD_NONE, "%s |",
	              text);
	buf_fini(&spaced);
}

START_TEST(test_every_text_is_the_same_as_itself)
{
	for (size_t t = 0; t < TABLES; t++) {
		for (size_t i = 0; i < tables[t].count; i++) {
			check_reflexive(tables[t].rows[i].one);
			check_reflexive(tables[t].rows[i].other);
		}
	}
}
END_TEST

/* No two questions of different rows are the same but by their rows. */
START_TEST(test_questions_of_different_rows_are_refused)
{
	const struct row *rows = near_misses;
	size_t count = sizeof(near_misses) / sizeof(near_misses[0]);

	for (size_t i = 0; i < count; i++) {
		for (size_t k = i + 1; k < count; k++) {
			if (strcmp(rows[i].one, rows[k].one) == 0 ||
			    strcmp(rows[i].one, rows[k].other) == 0)
				continue;
			ck_assert_msg(compare(rows[i].one, rows[k].one) != GUARD_NONE, "%s | %s",
			              rows[i].one, rows[k].one);
			ck_assert_msg(compare(rows[i].one, rows[k].other) != GUARD_NONE, "%s | %s",
			              rows[i].one, rows[k].other);
		}
	}
}
END_TEST

START_TEST(test_short_texts_are_for_exact_repeats_only)
{
	static const struct {
		const char *text;
		bool is_short;
	} rows[] = {
	        {"", true},
	        {"   ", true},
	        {"yes", true},
	        {"And then?", true},
	        {"Is it on?", true},
	        {"  go on now   ", true},
	        {"internationalization matters", true},
	        {"What is DNA?", false},
	        {"How are you?", false},
	        {"? ! ? ! ? ! ? !", true},
	        {"东京", true},
	        {"东京的人口", true},
	        {"东京人口多少", false},
	        {"Что такое ДНК?", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_msg(guard_is_short(bytes_of(rows[i].text)) == rows[i].is_short, "%s",
		              rows[i].text);
	}
	ck_assert_int_eq(compare("And then?", "And then?"), GUARD_SHORT);
	ck_assert_int_eq(compare("And then?", "What came then, and why?"), GUARD_SHORT);
	ck_assert_int_eq(guard_compare((struct bytes){NULL, 0}, (struct bytes){NULL, 0}),
	                 GUARD_SHORT);
}
END_TEST

START_TEST(test_texts_that_are_too_long_are_not_judged)
{
	char *text = mem_new(GUARD_TEXT_MAX + 2);

	for (size_t i = 0; i < GUARD_TEXT_MAX + 1; i++)
		text[i] = i % 5 == 4 ? ' ' : 'w';
	ck_assert_int_eq(guard_compare((struct bytes){text, GUARD_TEXT_MAX},
	                               (struct bytes){text, GUARD_TEXT_MAX}),
	                 GUARD_NONE);
	ck_assert_int_eq(guard_compare((struct bytes){text, GUARD_TEXT_MAX},
	                               (struct bytes){text, GUARD_TEXT_MAX - 6}),
	                 GUARD_NAMES);
	ck_assert_int_eq(guard_compare((struct bytes){text, GUARD_TEXT_MAX + 1},
	                               (struct bytes){text, GUARD_TEXT_MAX + 1}),
	                 GUARD_SHORT);
	free(text);
}
END_TEST

/* Measured: 60 ms at most, 0.2 s and 1.1 s under the sanitizers; a search anew for each byte takes seconds and more. */
#ifdef __SANITIZE_THREAD__
enum { HOSTILE_S = 8 };
#else
enum { HOSTILE_S = 1 };
#endif

/* Texts of nothing but what makes a reader search: each must be read in a time that grows with its length alone. */
START_TEST(test_hostile_texts_take_no_longer)
{
	static const char *const pieces[] = {
	        "'",        "\"",    "`",       "``a",          "“",
	        "„a ",      "('a",   "a's",     "a’s",          "1,111",
	        "1.",       "-",     "a-",      "5-",           "?",
	        "? a",      "a?",    "¿",       "\n ",          " ",
	        "i ",       "no 1 ", "how ",    "the a of ",    "what do ",
	        "[",        "\xE2",  "東",      "a/",           "a,",
	        "+1",       "<=",    "isn't ",  "colour ",      "colors ",
	        "a b c d ", ".",     "twenty-", "twenty-five ", "$1",
	        "1km",      "U.",    "the ",    "is ",          "please ",
	        "? ",       ". a",   "\t",      "   ",          "\n",
	        "x. ",
	};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct buf one, other;
		clock_t before;

		buf_init(&one, 0);
		buf_add_text(&one, "How are you? ");
		while (one.n + strlen(pieces[i]) < GUARD_TEXT_MAX - 20)
			buf_add_text(&one, pieces[i]);
		buf_init(&other, 0);
		buf_add_bytes(&other, buf_bytes(&one));
		buf_add_text(&one, " words at its end");
		before = clock();
		ck_assert_int_ne(guard_compare(buf_bytes(&one), buf_bytes(&other)), GUARD_NONE);
		ck_assert_int_eq(guard_compare(buf_bytes(&one), buf_bytes(&one)), GUARD_NONE);
		ck_assert_msg(clock() - before < HOSTILE_S * CLOCKS_PER_SEC, "%s", pieces[i]);
		buf_fini(&one);
		buf_fini(&other);
	}
}
END_TEST

START_TEST(test_each_guard_has_a_name_of_its_own)
{
	for (enum guard guard = GUARD_NONE; guard < GUARD_COUNT; guard++) {
		const char *name = guard_name(guard);

		ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		for (enum guard other = GUARD_NONE; other < guard; other++)
			ck_assert_str_ne(name, guard_name(other));
	}
	ck_assert_str_eq(guard_name(GUARD_NUMBERS), "numbers");
	ck_assert_str_eq(guard_name(GUARD_RUNNER_UP), "runner_up");
}
END_TEST

UNIT_MAIN("guard", test_numbers_tell_apart, test_units_tell_apart, test_dates_tell_apart,
          test_quotes_tell_apart, test_negations_tell_apart, test_names_tell_apart,
          test_questions_tell_apart, test_opposites_tell_apart, test_orders_tell_apart,
          test_words_tell_apart, test_every_near_miss_is_refused, test_most_restatements_pass,
          test_which_is_asked_and_which_is_known_makes_no_difference,
          test_every_text_is_the_same_as_itself, test_questions_of_different_rows_are_refused,
          test_short_texts_are_for_exact_repeats_only, test_texts_that_are_too_long_are_not_judged,
          test_hostile_texts_take_no_longer, test_each_guard_has_a_name_of_its_own)
