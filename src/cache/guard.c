#include "cache/guard.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cache/guard_private.h"
#include "cache/letter.h"

enum { SHORT_WORDS = 3, SHORT_CHARACTERS = 12, OPPOSITES_MAX = 8 };

/* One token of either text, to be paired with those of the other. Told apart by hashes alone: they only say why. */
struct entry {
	uint64_t key;
	uint32_t place;
	uint8_t guard;
	bool is_paired;
};

struct entries {
	struct entry *list;   /* by place */
	struct entry *sorted; /* by rule, key and place; is_paired is not kept up */
	size_t count;
};

bool
guard_is_short(struct bytes question)
{
	const char *p = question.p, *end = p ? p + question.n : NULL;
	size_t words = 0, characters = 0, spaces = 0;
	bool in_word = false;

	while (p < end && (words < SHORT_WORDS || characters < SHORT_CHARACTERS)) {
		uint32_t c = letter_next(&p, end);

		if (letter_is_space(c)) {
			in_word = false;
			spaces += characters > 0;
			continue;
		}
		/* Space within the text counts, space at its end does not. */
		characters += 1 + spaces;
		spaces = 0;
		if (letter_is_ideograph(c)) {
			/* Half a word or more, and as much meaning as two letters. */
			words++;
			characters++;
			in_word = false;
		} else if (!in_word && (letter_is_letter(c) || letter_is_digit(c))) {
			words++;
			in_word = true;
		}
	}
	return words < SHORT_WORDS || characters < SHORT_CHARACTERS;
}

static uint64_t
hash(struct bytes text)
{
	uint64_t h = 0xCBF29CE484222325;

	for (size_t i = 0; i < text.n; i++)
		h = (h ^ (unsigned char)text.p[i]) * 0x100000001B3;
	return h;
}

/* The same for words that may stand for each other, but for slips of the pen. */
static uint64_t
token_key(const struct guard_token *token)
{
	struct bytes text = token->text;

	if (token->guard != GUARD_WORDS)
		return hash(text);
	if (token->word && token->word->kind == PLAIN && token->word->same[0])
		return hash(bytes_of(token->word->same));
	if (text.n > 3 && text.p[text.n - 1] == 's' && text.p[text.n - 2] != 's' &&
	    !(token->word && (token->word->flags & FIXED)))
		text.n--;
	return hash(text);
}

static int
entry_compare(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;

	if (a->guard != b->guard)
		return a->guard < b->guard ? -1 : 1;
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

static void
entries_fill(struct entries *entries, const struct guard_text *text)
{
	entries->count = text->count;
	for (size_t i = 0; i < text->count; i++) {
		entries->list[i] = (struct entry){token_key(&text->tokens[i]), (uint32_t)i,
		                                  text->tokens[i].guard, false};
		entries->sorted[i] = entries->list[i];
	}
	qsort(entries->sorted, entries->count, sizeof(*entries->sorted), entry_compare);
}

/* Marks what both have, as many times as both have it. */
static void
entries_pair(struct entries *a, struct entries *b)
{
	size_t i = 0, k = 0;

	while (i < a->count && k < b->count) {
		const struct entry *left = &a->sorted[i], *right = &b->sorted[k];

		if (left->guard == right->guard && left->key == right->key) {
			a->list[left->place].is_paired = true;
			b->list[right->place].is_paired = true;
			i++;
			k++;
		} else if (left->guard != right->guard ? left->guard < right->guard
		                                       : left->key < right->key) {
			i++;
		} else {
			k++;
		}
	}
}

/* Place of the next entry of that rule (GUARD_NONE: of any), paired or not. */
static size_t
entries_next(const struct entries *entries, size_t at, enum guard guard, bool is_paired)
{
	while (at < entries->count && ((guard != GUARD_NONE && entries->list[at].guard != guard) ||
	                               entries->list[at].is_paired != is_paired))
		at++;
	return at;
}

static bool
has_unpaired(const struct entries *entries, enum guard guard)
{
	return entries_next(entries, 0, guard, false) < entries->count;
}

/* Do the paired ones, of one rule or of all, stand in the same order? */
static bool
is_in_order(const struct entries *a, const struct entries *b, enum guard guard)
{
	size_t i = entries_next(a, 0, guard, true), k = entries_next(b, 0, guard, true);

	while (i < a->count && k < b->count) {
		if (a->list[i].key != b->list[k].key)
			return false;
		i = entries_next(a, i + 1, guard, true);
		k = entries_next(b, k + 1, guard, true);
	}
	return true;
}

/* Is one of the first unpaired words of a text the opposite of one of the other's? */
static bool
has_opposites(const struct guard_text *a, const struct guard_text *b, const struct entries *of_a,
              const struct entries *of_b)
{
	size_t i = entries_next(of_a, 0, GUARD_WORDS, false);

	for (size_t n = 0; n < OPPOSITES_MAX && i < of_a->count; n++) {
		size_t k = entries_next(of_b, 0, GUARD_WORDS, false);

		for (size_t m = 0; m < OPPOSITES_MAX && k < of_b->count; m++) {
			if (guard_is_opposite(a->tokens[i].text, b->tokens[k].text))
				return true;
			k = entries_next(of_b, k + 1, GUARD_WORDS, false);
		}
		i = entries_next(of_a, i + 1, GUARD_WORDS, false);
	}
	return false;
}

/* Why two texts that are not the same are not. */
static enum guard
difference_name(const struct guard_text *a, const struct guard_text *b, struct entries *of_a,
                struct entries *of_b)
{
	entries_fill(of_a, a);
	entries_fill(of_b, b);
	entries_pair(of_a, of_b);
	for (enum guard guard = GUARD_NUMBERS; guard < GUARD_OPPOSITES; guard++) {
		if (has_unpaired(of_a, guard) || has_unpaired(of_b, guard))
			return guard;
		if (guard == GUARD_NUMBERS && !is_in_order(of_a, of_b, guard))
			return guard;
	}
	if (has_opposites(a, b, of_a, of_b))
		return GUARD_OPPOSITES;
	return is_in_order(of_a, of_b, GUARD_NONE) ? GUARD_WORDS : GUARD_ORDER;
}

static enum guard
texts_compare(const struct guard_text *a, const struct guard_text *b)
{
	struct entries of_a, of_b;
	enum guard guard;

	if (guard_match(a, b))
		return GUARD_NONE;
	of_a.list = mem_try(2 * (a->count + b->count) * sizeof(*of_a.list));
	if (!of_a.list)
		return GUARD_SHORT;
	of_a.sorted = of_a.list + a->count;
	of_b.list = of_a.sorted + a->count;
	of_b.sorted = of_b.list + b->count;
	guard = difference_name(a, b, &of_a, &of_b);
	free(of_a.list);
	return guard;
}

enum guard
guard_compare(struct bytes asked, struct bytes known)
{
	struct guard_text a, b;
	enum guard guard = GUARD_SHORT;

	if (asked.n > GUARD_TEXT_MAX || known.n > GUARD_TEXT_MAX || guard_is_short(asked) ||
	    guard_is_short(known))
		return GUARD_SHORT;
	if (bytes_equal(asked, known))
		return GUARD_NONE;
	if (!guard_text_read(&a, asked))
		return GUARD_SHORT;
	if (guard_text_read(&b, known)) {
		guard = texts_compare(&a, &b);
		guard_text_free(&b);
	}
	guard_text_free(&a);
	return guard;
}

const char *
guard_name(enum guard guard)
{
	switch (guard) {
	case GUARD_NONE: return "none";
	case GUARD_SHORT: return "short";
	case GUARD_NUMBERS: return "numbers";
	case GUARD_UNITS: return "units";
	case GUARD_DATES: return "dates";
	case GUARD_QUOTES: return "quotes";
	case GUARD_NEGATION: return "negation";
	case GUARD_NAMES: return "names";
	case GUARD_QUESTION: return "question";
	case GUARD_OPPOSITES: return "opposites";
	case GUARD_ORDER: return "order";
	case GUARD_WORDS: return "words";
	case GUARD_RUNNER_UP: return "runner_up";
	case GUARD_COUNT: break;
	}
	return "?";
}
