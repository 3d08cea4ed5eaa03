#include "cache/guard_private.h"

#include "cache/letter.h"

/* What a word is written in. */
enum shape { SHAPE_LOWER, SHAPE_TITLE, SHAPE_MIXED };

/* A word in lower case, as far as the tables need it. */
struct lower {
	char p[GUARD_WORD_MAX + 4];
	size_t n;
	enum shape shape;
};

static bool
is_apostrophe(uint32_t c)
{
	return c == '\'' || c == 0x2019 || c == 0x2BC;
}

/* What a word is in lower case, with plain apostrophes; one that is too long for the tables becomes empty. */
static struct lower
lower_of(struct bytes word)
{
	struct lower lower = {.shape = SHAPE_LOWER};
	const char *p = word.p, *end = word.p + word.n;
	bool first = true, fits = true;

	while (p < end) {
		uint32_t c = letter_next(&p, end), small = letter_fold(c);

		if (is_apostrophe(c))
			small = '\'';
		else if (small != c)
			lower.shape = first ? SHAPE_TITLE : SHAPE_MIXED;
		first = false;
		if (lower.n < GUARD_WORD_MAX)
			lower.n += letter_write(small, lower.p + lower.n);
		else
			fits = false;
	}
	if (!fits || lower.n > GUARD_WORD_MAX)
		lower.n = 0;
	return lower;
}

static enum guard
guard_of(const struct guard_word *word)
{
	switch ((enum guard_kind)word->kind) {
	case NUMBER: return GUARD_NUMBERS;
	case UNIT: return GUARD_UNITS;
	case DATE: return GUARD_DATES;
	case NEGATION: return GUARD_NEGATION;
	case QUESTION: return GUARD_QUESTION;
	case NAME: return GUARD_NAMES;
	case PLAIN:
	case SPLIT: break;
	}
	return GUARD_WORDS;
}

static bool
is_behind_number(const struct guard_reader *r)
{
	const struct guard_text *t = r->text;

	return t->count > 0 && !r->after_stop && t->tokens[t->count - 1].guard == GUARD_NUMBERS &&
	       (t->tokens[t->count - 1].is_number || t->tokens[t->count - 1].word);
}

/* A word that is known, and meant. */
static void
known_add(struct guard_reader *r, const struct guard_word *word)
{
	enum guard guard = guard_of(word);
	struct bytes same = bytes_of(word->same);
	struct guard_token *token;

	if (word->kind == UNIT && (word->flags & AFTER) && !is_behind_number(r))
		guard = GUARD_WORDS;
	if (guard == GUARD_WORDS || same.n == 0)
		same = bytes_of(word->word);
	r->asks |= guard == GUARD_QUESTION;
	r->text->flags |= word->flags;
	token = guard_token_add(r, guard, same);
	token->word = word;
}

/* Both words of isn't. */
static void
split_add(struct guard_reader *r, const struct guard_word *word)
{
	const char *space = strchr(word->same, ' ');
	struct bytes parts[2] = {{word->same, (size_t)(space - word->same)}, bytes_of(space + 1)};

	for (unsigned i = 0; i < 2; i++) {
		const struct guard_word *part = guard_word_find(parts[i]);

		if (part)
			known_add(r, part);
		else
			guard_token_add(r, GUARD_WORDS, parts[i]);
	}
}

/* The word with plain apostrophes. */
static struct bytes
plain_apostrophes(struct guard_reader *r, struct bytes word)
{
	const char *p = word.p, *end = word.p + word.n;
	char *copy, *out;

	while (p < end && (unsigned char)*p < 0x80)
		p++;
	if (p == end)
		return word;
	copy = out = guard_copy_take(r->text, word.n);
	for (p = word.p; p < end;) {
		uint32_t c = letter_next(&p, end);

		out += letter_write(is_apostrophe(c) ? '\'' : c, out);
	}
	return (struct bytes){copy, (size_t)(out - copy)};
}

static bool
is_time_zone(struct bytes word)
{
	static const char *const zones[] = {"UTC", "GMT", "EST", "EDT", "CST", "CDT", "PST",
	                                    "PDT", "MST", "CET", "BST", "IST", "JST", "AEST"};

	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		if (bytes_is(word, zones[i]))
			return true;
	}
	return false;
}

/* A word that the tables do not know, or a name. Which of two spellings is meant nobody knows: both are exact. */
static void
unknown_add(struct guard_reader *r, struct bytes word, const struct lower *lower)
{
	bool is_name = lower->shape != SHAPE_LOWER ||
	               (word.n == 1 && letter_is_letter((unsigned char)*word.p));
	struct guard_token *token;

	/* The oldest is one of many, whatever it is. */
	if (!is_name && word.n >= 5 && memcmp(word.p + word.n - 3, "est", 3) == 0)
		r->text->flags |= SUPERLATIVE;
	token = guard_token_add(r,
	                        is_time_zone(word) ? GUARD_DATES
	                        : is_name          ? GUARD_NAMES
	                                           : GUARD_WORDS,
	                        word);
	token->is_letter = word.n == 1 && lower->n == 1 && lower->p[0] == 'i';
}

static bool
has_apostrophe(struct bytes word)
{
	const char *p = word.p, *end = word.p + word.n;

	while (p < end) {
		if (is_apostrophe(letter_next(&p, end)))
			return true;
	}
	return false;
}

/* Offset of the apostrophe of a genitive; 0: it is none. There is one in a word, so what is left of it is none
 * again. */
static size_t
genitive_at(struct bytes word)
{
	static const char *const endings[] = {"'s", "’s", "'", "’"};

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t n = strlen(endings[i]);

		if (word.n > n && memcmp(word.p + word.n - n, endings[i], n) == 0)
			return has_apostrophe((struct bytes){word.p, word.n - n}) ? 0 : word.n - n;
	}
	return 0;
}

/* Letters and apostrophes. */
static void
word_add(struct guard_reader *r, struct bytes word)
{
	struct lower lower = lower_of(word);
	const struct guard_word *known = guard_word_find((struct bytes){lower.p, lower.n});
	bool is_plain = lower.shape == SHAPE_LOWER, is_i;
	size_t genitive;

	/* I'm */
	is_i = word.n > 1 && *word.p == 'I' && lower.n > 1 && lower.p[1] == '\'';
	if (known && (is_plain || is_i || (known->flags & ANYCASE) ||
	              (lower.shape == SHAPE_TITLE && r->sentence_start && (known->flags & FOLD)))) {
		if (known->kind == SPLIT)
			split_add(r, known);
		else if (word.n == 1 && *word.p != 'a' && *word.p != 'A')
			unknown_add(r, word, &lower); /* i, which may be a letter */
		else
			known_add(r, known);
		return;
	}
	/* Of a name like "Lyrics" no more is believed than that it may be that word. */
	if (known)
		r->text->flags |= known->flags & (FOREIGN | MENTION | TITLE | DEFINE | SUPERLATIVE);
	genitive = known ? 0 : genitive_at(word);
	if (genitive > 0) {
		bool has_s = *(word.p + word.n - 1) == 's';

		word_add(r, (struct bytes){word.p, genitive});
		guard_token_add(r, GUARD_WORDS, bytes_of(has_s ? "'s" : "'"));
		return;
	}
	unknown_add(r, plain_apostrophes(r, word), &lower);
}

bool
guard_unit_add(struct guard_reader *r, struct bytes sign)
{
	struct bytes unit = guard_unit_find(sign);
	const struct guard_word *word;

	if (unit.p) {
		bool is_hour = bytes_is(unit, "am") || bytes_is(unit, "pm");

		guard_token_add(r, is_hour ? GUARD_DATES : GUARD_UNITS, unit);
		return true;
	}
	word = guard_word_find(sign);
	if (!word || word->kind != UNIT)
		return false;
	known_add(r, word);
	return true;
}

/* What a piece consists of. */
struct contents {
	bool letters, digits, hyphens, slashes, commas, points, others;
};

static struct contents
contents_of(struct bytes piece)
{
	struct contents has = {.letters = false};
	const char *p = piece.p, *end = piece.p + piece.n;

	while (p < end) {
		bool first = p == piece.p;
		uint32_t c = letter_next(&p, end);

		if (letter_is_letter(c)) {
			has.letters = true;
		} else if (letter_is_digit(c)) {
			has.digits = true;
		} else if (c == '-' && !first && p < end) {
			has.hyphens = true;
		} else if (c == '/' && !first && p < end) {
			has.slashes = true;
		} else if (c == ',' && !first && p < end) {
			has.commas = true;
		} else if (c == '.' && !first && p < end) {
			has.points = true;
		} else if (!is_apostrophe(c) || first) {
			has.others = true;
		}
	}
	return has;
}

/* U.S and e.g, single letters with points between them, without the points. */
static bool
initials_add(struct guard_reader *r, struct bytes piece)
{
	char *copy;

	if (piece.n % 2 == 0)
		return false;
	for (size_t i = 0; i < piece.n; i++) {
		if (i % 2 ? piece.p[i] != '.' : !letter_is_letter((unsigned char)piece.p[i]))
			return false;
	}
	copy = guard_copy_take(r->text, piece.n / 2 + 1);
	for (size_t i = 0; i <= piece.n / 2; i++)
		copy[i] = piece.p[2 * i];
	guard_token_add(r, GUARD_NAMES, (struct bytes){copy, piece.n / 2 + 1});
	return true;
}

/* twenty-five */
static bool
tens_add(struct guard_reader *r, struct bytes piece, const char *hyphen)
{
	struct bytes left = {piece.p, (size_t)(hyphen - piece.p)},
	             right = {hyphen + 1, piece.n - left.n - 1};
	const struct guard_word *tens = guard_word_find(left), *ones = guard_word_find(right);
	char *copy;

	if (!tens || !ones || tens->kind != NUMBER || ones->kind != NUMBER ||
	    strlen(tens->same) != 2 || tens->same[1] != '0' || tens->same[0] == '1' ||
	    ones->same[0] < '1' || ones->same[0] > '9' || ones->same[1] != '\0')
		return false;
	copy = guard_copy_take(r->text, 2);
	copy[0] = tens->same[0];
	copy[1] = ones->same[0];
	guard_token_add(r, GUARD_NUMBERS, (struct bytes){copy, 2})->is_number = true;
	return true;
}

/* Parts with a mark between them: well-known, 5-year-old, and/or. The mark counts: a man-eating shark is no man
 * eating shark. */
static void
parts_add(struct guard_reader *r, struct bytes piece, char mark)
{
	const char *p = piece.p, *end = piece.p + piece.n;

	while (p < end) {
		const char *q = memchr(p, mark, (size_t)(end - p));
		struct bytes part = {p, (size_t)((q ? q : end) - p)};

		if (part.n > 0 && letter_is_digit((unsigned char)*part.p))
			guard_token_add(r, GUARD_NUMBERS, part)->is_number = true;
		else if (part.n > 0)
			word_add(r, part);
		p = q ? q + 1 : end;
		if (q && mark == ',')
			r->after_stop = true;
		else if (q)
			guard_token_add(r, GUARD_WORDS, (struct bytes){q, 1});
	}
}

/* Letters, or digits alone, between hyphens, and letters at last? */
static bool
is_compound(struct bytes piece)
{
	const char *p = piece.p, *end = piece.p + piece.n;

	while (p < end) {
		const char *q = memchr(p, '-', (size_t)(end - p));
		const char *stop = q ? q : end;
		bool is_number = guard_digits_end(p, stop) == stop;

		for (const char *c = p; c < stop && !is_number; c++) {
			if (letter_is_digit((unsigned char)*c))
				return false;
		}
		if (is_number && (p > piece.p || stop == end))
			return false;
		p = q ? q + 1 : end;
	}
	return true;
}

static bool
hyphens_add(struct guard_reader *r, struct bytes piece)
{
	const char *hyphen = memchr(piece.p, '-', piece.n);
	struct lower lower = lower_of(piece);
	const struct guard_word *known = guard_word_find((struct bytes){lower.p, lower.n});

	if (known && lower.shape == SHAPE_LOWER) {
		known_add(r, known);
		return true;
	}
	if (tens_add(r, piece, hyphen))
		return true;
	if (!is_compound(piece))
		return false;
	parts_add(r, piece, '-');
	return true;
}

void
guard_piece_add(struct guard_reader *r, struct bytes piece)
{
	struct contents has = contents_of(piece);
	bool plain_letters = has.letters && !has.digits && !has.others && !has.points;

	if (is_behind_number(r) && guard_unit_add(r, piece))
		return;
	if (plain_letters && !has.hyphens && !has.slashes && !has.commas) {
		word_add(r, piece);
		return;
	}
	if (guard_number_add(r, piece) || guard_sum_add(r, piece))
		return;
	if (has.letters && has.hyphens && !has.others && !has.points && !has.slashes &&
	    !has.commas && hyphens_add(r, piece))
		return;
	if (plain_letters && !has.hyphens && has.slashes != has.commas) {
		parts_add(r, piece, has.slashes ? '/' : ',');
		return;
	}
	if (has.letters && has.points && !has.digits && !has.others && initials_add(r, piece))
		return;
	guard_token_add(r,
	                letter_is_digit((unsigned char)*piece.p) ? GUARD_NUMBERS
	                : has.letters || has.digits              ? GUARD_NAMES
	                                                         : GUARD_QUOTES,
	                piece);
}
