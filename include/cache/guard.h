/*
 * Do two questions that a model of meaning holds for the same differ in something that changes the answer? A
 * cosine cannot tell "347 + 892" from "347 + 893", nor a question from its reversal; these rules can. Each is a
 * veto: it may refuse two questions that are the same, and is meant to refuse every two that are not. Pure.
 */
#ifndef CACHE_GUARD_H
#define CACHE_GUARD_H

#include "base/bytes.h"

enum guard {
	GUARD_NONE,     /* nothing speaks against it */
	GUARD_SHORT,    /* too short to be judged by its meaning */
	GUARD_NUMBERS,  /* different numbers, as digits or as words */
	GUARD_UNITS,    /* different units, or currencies, of numbers */
	GUARD_DATES,    /* different dates, times, weekdays, months, or words such as tomorrow */
	GUARD_QUOTES,   /* different quoted texts or code */
	GUARD_NEGATION, /* one denies what the other asks */
	GUARD_NAMES, /* different identifiers, capitalised names or acronyms, by case ("us" is not "US") */
	GUARD_OPPOSITES, /* a word against its opposite: enable, disable */
	GUARD_ORDER,     /* the same words in another order: X before Y, Y before X */
	GUARD_RUNNER_UP, /* another question with another answer is nearly as close (cache/cache.h) */
	GUARD_COUNT,
};

/* Is it too short for anything but an exact repeat? */
bool guard_is_short(struct bytes question);

/* The first rule that keeps `asked` from being answered as `known` was; GUARD_NONE: none does. UTF-8;
 * symmetric; linear in time but for sorting. Texts longer than 64 KiB are refused as GUARD_SHORT is: too long to be
 * judged. GUARD_SHORT also when memory is out. */
enum guard guard_compare(struct bytes asked, struct bytes known);

const char *guard_name(enum guard guard); /* one word: numbers, units, … */

#endif
