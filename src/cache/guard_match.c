#include "cache/guard_private.h"

enum {
	INEXACT_MAX = 6, /* words that may differ in two texts that are the same */
	TYPOS_MAX = 2,
	TYPO_LETTERS_MIN = 6,
};

struct pair {
	const struct guard_text *a, *b;
	bool is_plain;  /* words may be replaced by words of the same meaning */
	bool is_title;  /* only those that are about titles */
	bool is_spoken; /* it is about words, so a comma counts */
	size_t typos, inexact;
	size_t places[INEXACT_MAX];
};

static bool
is_same_text(const struct guard_token *a, const struct guard_token *b)
{
	return a->guard == b->guard && bytes_equal(a->text, b->text);
}

static bool
is_fixed(const struct guard_token *token)
{
	return token->word && (token->word->flags & FIXED);
}

static bool
ends_in(struct bytes word, const char *letters)
{
	return word.n > 0 && strchr(letters, word.p[word.n - 1]);
}

/* Is `many` the word `one` with an s, by the rules of English? */
static bool
is_plural(struct bytes one, struct bytes many)
{
	size_t n = one.n;

	if (n < 3 || many.n <= n || many.p[many.n - 1] != 's')
		return false;
	if (ends_in(one, "y") && !ends_in((struct bytes){one.p, n - 1}, "aeiou"))
		return many.n == n + 2 && memcmp(many.p, one.p, n - 1) == 0 &&
		       memcmp(many.p + n - 1, "ies", 3) == 0;
	if (memcmp(many.p, one.p, n) != 0)
		return false;
	if (ends_in(one, "sxzo") || (n > 3 && one.p[n - 1] == 'h' && strchr("cs", one.p[n - 2])))
		return many.n == n + 2 && many.p[n] == 'e';
	return many.n == n + 1 && !ends_in(one, "sui");
}

/* Does the text ask for a thing, so that it counts whether for one or several? */
static bool
is_order_for(const struct guard_text *t)
{
	return t->count > 0 && t->tokens[0].word && (t->tokens[0].word->flags & ASKS) &&
	       !bytes_is(t->tokens[0].text, "explain");
}

/* Is it said which of them is meant: the moon, my moons? */
static bool
is_definite(const struct guard_text *t, size_t at)
{
	static const char *const before[] = {"the", "this",  "that", "these", "those", "a",
	                                     "an",  "my",    "your", "his",   "her",   "our",
	                                     "its", "their", "each", "every", "'s",    "1"};

	for (size_t i = 0; at > 0 && i < sizeof(before) / sizeof(before[0]); i++) {
		if (bytes_is(t->tokens[at - 1].text, before[i]))
			return true;
	}
	return t->tokens[at].is_definite;
}

/* May one stand for several, as vitamin for vitamins? */
static bool
may_be_one_or_several(const struct pair *pair, size_t at)
{
	return !((pair->a->flags | pair->b->flags) & SUPERLATIVE) && !is_order_for(pair->a) &&
	       !is_order_for(pair->b) && !is_definite(pair->a, at) && !is_definite(pair->b, at);
}

/* Is it used as a verb that has an object: to fix a, fix my? */
static bool
is_transitive(const struct guard_text *t, size_t at)
{
	static const char *const before[] = {"to", "i", "we", "you", "and", "or", "please"};
	static const char *const behind[] = {"a",     "an",  "the",   "my",   "your", "our",
	                                     "his",   "her", "their", "this", "that", "these",
	                                     "those", "it",  "them",  "all",  "some", "any"};
	bool is_verb = at == 0;

	for (size_t i = 0; !is_verb && i < sizeof(before) / sizeof(before[0]); i++)
		is_verb = bytes_is(t->tokens[at - 1].text, before[i]);
	for (size_t i = 0; is_verb && at + 1 < t->count && i < sizeof(behind) / sizeof(behind[0]);
	     i++) {
		if (bytes_is(t->tokens[at + 1].text, behind[i]))
			return true;
	}
	return false;
}

/* Does a neighbour make a term of it, such as big data? */
static bool
is_term(const struct guard_text *t, size_t at)
{
	return (at > 0 && t->tokens[at - 1].word && (t->tokens[at - 1].word->flags & TERM)) ||
	       (at + 1 < t->count && t->tokens[at + 1].word &&
	        (t->tokens[at + 1].word->flags & TERM));
}

static bool
is_synonym(const struct pair *pair, size_t at)
{
	const struct guard_word *a = pair->a->tokens[at].word, *b = pair->b->tokens[at].word;

	if (!a || !b || a->same[0] == '\0' || a->kind != PLAIN || b->kind != PLAIN ||
	    strcmp(a->same, b->same) != 0)
		return false;
	if ((a->flags & PLURAL) != (b->flags & PLURAL) && !may_be_one_or_several(pair, at))
		return false;
	if (pair->is_title && !(a->flags & b->flags & TITLE))
		return false;
	if (is_term(pair->a, at) || is_term(pair->b, at))
		return false;
	return !((a->flags | b->flags) & VERB) ||
	       (is_transitive(pair->a, at) && is_transitive(pair->b, at));
}

/* Do they differ by one letter, or by two neighbours that changed places? The first and last letters are the same. */
static bool
is_near(struct bytes a, struct bytes b)
{
	size_t same = 0, rest;

	if (a.n < b.n) {
		struct bytes other = a;

		a = b;
		b = other;
	}
	if (a.n > b.n + 1 || a.p[0] != b.p[0] || a.p[a.n - 1] != b.p[b.n - 1])
		return false;
	while (same < b.n && a.p[same] == b.p[same])
		same++;
	rest = a.n - same;
	if (a.n > b.n)
		return memcmp(a.p + same + 1, b.p + same, rest - 1) == 0;
	if (rest == 0 || memcmp(a.p + same + 1, b.p + same + 1, rest - 1) == 0)
		return true;
	return rest >= 2 && a.p[same] == b.p[same + 1] && a.p[same + 1] == b.p[same] &&
	       memcmp(a.p + same + 2, b.p + same + 2, rest - 2) == 0;
}

static bool
is_small_letters(struct bytes word)
{
	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] < 'a' || word.p[i] > 'z')
			return false;
	}
	return true;
}

/* A slip of the pen: one is a word that no other word is near to, and the other is no word that is known. */
static bool
is_typo(const struct guard_token *a, const struct guard_token *b)
{
	if (a->text.n < TYPO_LETTERS_MIN || b->text.n < TYPO_LETTERS_MIN ||
	    !is_near(a->text, b->text) || !is_small_letters(a->text) || !is_small_letters(b->text))
		return false;
	if (guard_typo_find(a->text))
		return !b->word && !guard_typo_find(b->text);
	return guard_typo_find(b->text) && !a->word;
}

/* Does a comma before that token count? It does between numbers, and about negations: pardon impossible, not now. */
static bool
is_weighty(const struct guard_text *t, size_t at)
{
	return t->tokens[at].guard == GUARD_NEGATION || t->tokens[at - 1].guard == GUARD_NEGATION ||
	       (t->tokens[at].is_number && t->tokens[at - 1].is_number);
}

/* Are the tokens at that place the same, or as good as that? */
static bool
is_match(struct pair *pair, size_t at)
{
	const struct guard_token *a = &pair->a->tokens[at], *b = &pair->b->tokens[at];

	if (is_same_text(a, b))
		return at == 0 || a->after_stop == b->after_stop ||
		       !(pair->is_spoken || is_weighty(pair->a, at));
	if (!pair->is_plain || a->guard != GUARD_WORDS || b->guard != GUARD_WORDS ||
	    pair->inexact == INEXACT_MAX)
		return false;
	pair->places[pair->inexact++] = at;
	if (is_synonym(pair, at))
		return true;
	if (pair->is_title)
		return false;
	if (!is_fixed(a) && !is_fixed(b) && may_be_one_or_several(pair, at) &&
	    (is_plural(a->text, b->text) || is_plural(b->text, a->text)))
		return true;
	return is_typo(a, b) && ++pair->typos <= TYPOS_MAX;
}

/* Does the text speak of that word, or of another of the same meaning, as well? Then it is about what is
 * between them. */
static bool
has_other(const struct guard_text *t, const struct guard_token *own,
          const struct guard_token *other)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct guard_token *token = &t->tokens[i];

		if (token->guard != GUARD_WORDS || bytes_equal(token->text, own->text))
			continue;
		if (bytes_equal(token->text, other->text))
			return true;
		if (token->word && own->word && own->word->same[0] &&
		    strcmp(token->word->same, own->word->same) == 0)
			return true;
	}
	return false;
}

bool
guard_match(const struct guard_text *a, const struct guard_text *b)
{
	uint32_t flags = a->flags | b->flags;
	struct pair pair = {.a = a, .b = b};

	pair.is_plain = guard_text_is_english(a) && guard_text_is_english(b) &&
	                !(flags & (MENTION | DEFINE));
	pair.is_title = flags & TITLE;
	pair.is_spoken = flags & (MENTION | DEFINE);
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!is_match(&pair, i))
			return false;
	}
	for (size_t i = 0; i < pair.inexact; i++) {
		const struct guard_token *left = &a->tokens[pair.places[i]],
		                         *right = &b->tokens[pair.places[i]];

		if (has_other(a, left, right) || has_other(b, right, left))
			return false;
	}
	return true;
}
