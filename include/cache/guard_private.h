/*
 * What the files of the guard share. A text is read into tokens, each of them belonging to one rule; what
 * carries no meaning by rules that can be named one by one is left out, and what is left must be the same, one
 * by one and in the same order. So whatever a rule forgets is refused.
 *
 *	cache/guard_words    what is known of words
 *	cache/guard_text     a text to tokens: quotes, brackets, pieces between spaces
 *	cache/guard_piece    a piece to tokens: words, compounds, identifiers
 *	cache/guard_number   a piece to tokens: numbers with their units, dates, sums
 *	cache/guard_phrase   what may be left out of the tokens, and what depends on its neighbours
 *	cache/guard_match    are the tokens of two texts the same?
 *	cache/guard          which rule is named when they are not
 */
#ifndef CACHE_GUARD_PRIVATE_H
#define CACHE_GUARD_PRIVATE_H

#include "cache/guard.h"

enum guard_kind {
	PLAIN,
	NUMBER,   /* compared as its digits, with a number's suffix as an ordinal */
	UNIT,     /* compared as the unit's name */
	DATE,     /* days, months, today */
	NEGATION, /* not, never, without */
	QUESTION, /* who, when */
	NAME,     /* no other word is spelled like it, so it is known without a capital */
	SPLIT,    /* stands for two words: isn't */
};

enum {
	/* Written with a capital, it is the same word at a sentence's start. */
	FOLD = 1 << 0,
	/* Shows that a text is English, or that it is not. */
	ENGLISH = 1 << 1,
	FOREIGN = 1 << 2,
	/* Begins a question that is answered by yes or no. */
	AUX = 1 << 3,
	/* An order to a model: can you ASKS is the same as ASKS. */
	ASKS = 1 << 4,
	/* How MEASURE is a question of its own. */
	MEASURE = 1 << 5,
	/* Asks for one of many, so one is not the same as several. */
	SUPERLATIVE = 1 << 6,
	/* The article may be missing before it. */
	THE = 1 << 7,
	/* With an s behind it, it is another word. */
	FIXED = 1 << 8,
	/* Of words of one meaning those that stand for several. */
	PLURAL = 1 << 9,
	/* Means the same as its like only as a verb with an object. */
	VERB = 1 << 10,
	/* Makes a term of the words beside it: big data. */
	TERM = 1 << 11,
	/* A text with one of these speaks of words, of works by their titles, or of what is the difference.
	 * Then no word stands for another; and of the first two nothing is left out either. */
	MENTION = 1 << 12,
	TITLE = 1 << 13,
	DEFINE = 1 << 14,
	/* A unit only behind a number. */
	AFTER = 1 << 15,
	/* Next TIME is a date. */
	TIME = 1 << 16,
	/* The same word in any case. */
	ANYCASE = 1 << 17,
	/* Carries the sentence rather than its meaning. */
	FUNCTION = 1 << 18,
};

enum { GUARD_WORD_MAX = 23, GUARD_TEXT_MAX = 64 << 10 };

struct guard_word {
	char word[GUARD_WORD_MAX + 1];
	char same[20];
	uint32_t flags;
	uint8_t kind;
};

/* NULL: it is not known. */
const struct guard_word *guard_word_find(struct bytes lower);
/* The unit's name for its sign; absent: it is none. */
struct bytes guard_unit_find(struct bytes sign);
/* Is a word that is nearly spelled like this one a slip of the pen? */
bool guard_typo_find(struct bytes lower);
/* By table, by a common ending, or by a prefix such as un-. */
bool guard_is_opposite(struct bytes a, struct bytes b);

struct guard_token {
	/* As it is compared; borrowed from the text, its copy or a table. */
	struct bytes text;
	/* What is known of it. NULL: nothing, or it is not taken for that word. */
	const struct guard_word *word;
	uint8_t guard;    /* the rule it belongs to; GUARD_NONE: it is left out */
	bool after_stop;  /* behind a mark of punctuation */
	bool is_number;   /* written in digits, without a suffix */
	bool is_definite; /* `the` was left out before it */
	bool is_mark;     /* the end of a sentence where none begins */
	bool is_letter;   /* one that may be the pronoun I */
};

struct guard_text {
	struct guard_token *tokens; /* owned, as all of it */
	size_t count, room;
	char *copy; /* of what is compared as it does not stand in the text */
	size_t copied, copy_size;
	uint32_t flags; /* of all its words */
	bool failed;
};

/* False when memory is out. The tokens borrow from `source`. */
bool guard_text_read(struct guard_text *text, struct bytes source);
void guard_text_free(struct guard_text *text);
bool guard_text_is_english(const struct guard_text *text);

/* Where reading stands. */
struct guard_reader {
	struct guard_text *text;
	const char *start, *p, *end;
	bool sentence_start; /* a capital here need not mean a name */
	bool after_stop;
	bool breaks; /* a line may end here without meaning it */
	bool asks;   /* the sentence is a question by its words */
	size_t sentence_first;
	unsigned unclosed; /* kinds of quotes that have no end from here on; a bit each */
};

struct guard_token *guard_token_add(struct guard_reader *r, enum guard guard, struct bytes text);
/* Room in the copy for n bytes, which stand in the text; each of them may be copied once. */
char *guard_copy_take(struct guard_text *text, size_t n);
/* The tokens of a piece of text without spaces, quotes and brackets, its punctuation marks taken off. */
void guard_piece_add(struct guard_reader *r, struct bytes piece);
/* The same for a number, with its unit, or a date; and for a sum such as x+1. False, and nothing added: it is none. */
bool guard_number_add(struct guard_reader *r, struct bytes piece);
bool guard_sum_add(struct guard_reader *r, struct bytes piece);
bool guard_unit_add(struct guard_reader *r, struct bytes sign);
const char *guard_digits_end(const char *p, const char *end);

void guard_phrase_apply(struct guard_text *text);

bool guard_match(const struct guard_text *a, const struct guard_text *b);

#endif
