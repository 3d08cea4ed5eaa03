/* The tables of the guard: searched by halving, so their order counts, and what they claim must not contradict
 * itself. */
#include "cache/guard_private.h"
#include "unit.h"

struct row {
	const char *first, *second;
};

static const struct {
	const char *word, *same;
	enum guard_kind kind;
	uint32_t flags;
} words[] = {
#define WORD(word, same, kind, flags) {word, same, kind, flags},
#include "cache/guard_words.def"
#undef WORD
};

static const struct row units[] = {
#define UNIT(sign, same) {sign, same},
#include "cache/guard_units.def"
#undef UNIT
};

static const struct row opposites[] = {
#define OPPOSITE(word, other) {word, other},
#include "cache/guard_opposites.def"
#undef OPPOSITE
};

static const char *const typos[] = {
#define TYPO(word) word,
#include "cache/guard_typos.def"
#undef TYPO
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

START_TEST(test_words_are_in_order_and_found)
{
	for (size_t i = 0; i < COUNT(words); i++) {
		const struct guard_word *found = guard_word_find(bytes_of(words[i].word));

		ck_assert_msg(i == 0 || strcmp(words[i - 1].word, words[i].word) < 0, "%s",
		              words[i].word);
		ck_assert_msg(found && strcmp(found->word, words[i].word) == 0, "%s",
		              words[i].word);
		ck_assert_str_eq(found->same, words[i].same);
		ck_assert_uint_eq(found->kind, words[i].kind);
	}
	ck_assert_ptr_null(guard_word_find(bytes_of("")));
	ck_assert_ptr_null(guard_word_find(bytes_of("wha")));
	ck_assert_ptr_null(guard_word_find(bytes_of("whatwhatwhatwhatwhatwhatwhat")));
}
END_TEST

START_TEST(test_words_of_one_meaning_have_one_that_stands_for_them)
{
	size_t pairs = 0;

	for (size_t i = 0; i < COUNT(words); i++) {
		const struct guard_word *same = guard_word_find(bytes_of(words[i].same));

		if (words[i].kind == SPLIT)
			ck_assert_msg(strchr(words[i].same, ' ') != NULL, "%s", words[i].word);
		if (words[i].kind != PLAIN || words[i].same[0] == '\0')
			continue;
		ck_assert_msg(same && same->kind == PLAIN, "%s", words[i].word);
		ck_assert_str_eq(same->same, words[i].same);
		/* What is refused as an opposite must not be taken for the same. */
		ck_assert_msg(!guard_is_opposite(bytes_of(words[i].word), bytes_of(same->word)),
		              "%s", words[i].word);
		pairs += strcmp(words[i].word, words[i].same) != 0;
	}
	ck_assert_uint_ge(pairs, 350);
}
END_TEST

START_TEST(test_units_are_in_order_and_found)
{
	for (size_t i = 0; i < COUNT(units); i++) {
		ck_assert_msg(i == 0 || strcmp(units[i - 1].first, units[i].first) < 0, "%s",
		              units[i].first);
		ck_assert(bytes_is(guard_unit_find(bytes_of(units[i].first)), units[i].second));
	}
	ck_assert_ptr_null(guard_unit_find(bytes_of("furlong")).p);
	ck_assert_ptr_null(guard_unit_find(bytes_of("")).p);
}
END_TEST

START_TEST(test_opposites_are_in_order_and_go_both_ways)
{
	ck_assert_uint_ge(COUNT(opposites) / 2, 150);
	for (size_t i = 0; i < COUNT(opposites); i++) {
		const struct row *row = &opposites[i];
		int order = i == 0 ? -1 : strcmp(row[-1].first, row->first);

		ck_assert_msg(order < 0 || (order == 0 && strcmp(row[-1].second, row->second) < 0),
		              "%s", row->first);
		ck_assert(guard_is_opposite(bytes_of(row->first), bytes_of(row->second)));
		ck_assert_msg(guard_is_opposite(bytes_of(row->second), bytes_of(row->first)),
		              "%s, %s", row->first, row->second);
		ck_assert(!guard_is_opposite(bytes_of(row->first), bytes_of(row->first)));
	}
}
END_TEST

START_TEST(test_opposites_are_known_in_other_forms)
{
	static const struct row rows[] = {
	        {"opens", "closes"},          {"enabled", "disabled"},  {"enabling", "disabling"},
	        {"locking", "unlocking"},     {"buying", "selling"},    {"pushed", "pulled"},
	        {"conscious", "unconscious"}, {"sender", "receiver"},   {"stable", "unstable"},
	        {"smoker", "nonsmoker"},      {"starting", "stopping"},
	};

	for (size_t i = 0; i + 1 < COUNT(rows); i++)
		ck_assert_msg(guard_is_opposite(bytes_of(rows[i].first), bytes_of(rows[i].second)),
		              "%s", rows[i].first);
	/* A doubled letter is beyond it; another rule refuses such a pair. */
	ck_assert(!guard_is_opposite(bytes_of("starting"), bytes_of("stopping")));
	ck_assert(!guard_is_opposite(bytes_of("open"), bytes_of("opens")));
	ck_assert(!guard_is_opposite(bytes_of("a"), bytes_of("una")));
}
END_TEST

/* A slip of the pen in them is believed, so none may be a known word's neighbour. */
START_TEST(test_typos_are_in_order_long_and_no_opposites)
{
	for (size_t i = 0; i < COUNT(typos); i++) {
		const struct guard_word *word = guard_word_find(bytes_of(typos[i]));

		ck_assert_msg(i == 0 || strcmp(typos[i - 1], typos[i]) < 0, "%s", typos[i]);
		ck_assert(guard_typo_find(bytes_of(typos[i])));
		ck_assert_uint_ge(strlen(typos[i]), 6);
		ck_assert_msg(!word || word->kind == PLAIN, "%s", typos[i]);
		for (size_t k = 0; k < COUNT(opposites); k++)
			ck_assert_str_ne(typos[i], opposites[k].first);
	}
	ck_assert(!guard_typo_find(bytes_of("casual")));
	ck_assert(!guard_typo_find(bytes_of("desert")));
	ck_assert(!guard_typo_find(bytes_of("insulin")));
}
END_TEST

UNIT_MAIN("guard_words", test_words_are_in_order_and_found,
          test_words_of_one_meaning_have_one_that_stands_for_them,
          test_units_are_in_order_and_found, test_opposites_are_in_order_and_go_both_ways,
          test_opposites_are_known_in_other_forms, test_typos_are_in_order_long_and_no_opposites)
