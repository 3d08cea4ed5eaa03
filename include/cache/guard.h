/*
 * Do two questions that a model of meaning holds for the same differ in something that changes the answer? A
 * cosine cannot tell "347 + 892" from "347 + 893", nor a question from its reversal; these rules can. Each is a
 * veto: it may refuse two questions that are the same, and is meant to refuse every two that are not. Pure.
 *
 * What passes is a restatement with the same words in the same order, but for what the rules know to make no
 * difference: punctuation, politeness, the case of a sentence's first word, spellings, abbreviations and some
 * synonyms, one or several of a thing, slips of the pen in words that cannot be mistaken for another, and ways
 * to begin a question.
 */
#ifndef CACHE_GUARD_H
#define CACHE_GUARD_H

#include "base/bytes.h"

enum guard {
	GUARD_NONE,     /* nothing speaks against it */
	GUARD_SHORT,    /* too short to be judged by its meaning */
	GUARD_NUMBERS,  /* different numbers, as digits or as words, or signs of arithmetic */
	GUARD_UNITS,    /* different units, or currencies */
	GUARD_DATES,    /* different dates, times, weekdays, months, or words such as tomorrow */
	GUARD_QUOTES,   /* different quoted texts, code, brackets or indentation */
	GUARD_NEGATION, /* one denies what the other asks */
	/* Different identifiers, capitalised names or acronyms, by case ("us" is not "US"), or characters of a script
	 * that is written without spaces. */
	GUARD_NAMES,
	GUARD_QUESTION,  /* another question word: who, when, how many */
	GUARD_OPPOSITES, /* a word against its opposite: enable, disable */
	GUARD_ORDER,     /* the same words in another order: X before Y, Y before X */
	GUARD_WORDS,     /* a word that the other has not, nor one that means the same */
	GUARD_RUNNER_UP, /* another question with another answer is nearly as close (cache/cache.h) */
	GUARD_COUNT,
};

/* Is it too short for anything but an exact repeat: less than 3 words, or 12 characters? */
bool guard_is_short(struct bytes question);

/* The first rule, in the order above, that keeps `asked` from being answered as `known` was; GUARD_NONE: none
 * does. UTF-8; symmetric; linear in time but for sorting. Texts longer than 64 KiB are refused as GUARD_SHORT
 * is: too long to be judged. GUARD_SHORT also when memory is out. */
enum guard guard_compare(struct bytes asked, struct bytes known);

const char *guard_name(enum guard guard); /* one word: numbers, units, … */

#endif
