#include "cache/guard_private.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cache/letter.h"

/*
 * Quotes by their kinds. `"5"` is not `'5'` in many a language, and neither is code; typographic ones are the same as
 * plain ones of their kind, for programs put them in of their own accord.
 */
static const struct quote {
	const char *open, *close, *other_close;
	const char *kind;
} quotes[] = {
        {"\"", "\"", NULL, "\""}, {"“", "”", "\"", "\""},   {"„", "“", "”", "\""},
        {"«", "»", NULL, "\""},   {"「", "」", NULL, "\""}, {"『", "』", NULL, "\""},
        {"'", "'", "’", "'"},     {"‘", "’", NULL, "'"},
};

enum {
	QUOTE_COUNT = sizeof(quotes) / sizeof(quotes[0]),
	QUOTE_SINGLE = 6, /* from here on: may be an apostrophe */
	TICKS_MAX = 6,    /* longest run of backticks that may open code */
	GAP_MIN = 3,      /* bytes of white space that mean something */
};

struct guard_token *
guard_token_add(struct guard_reader *r, enum guard guard, struct bytes text)
{
	struct guard_text *t = r->text;
	struct guard_token *token;

	/* No byte of a text makes more than one token; if one did, the text would not be judged. */
	token = &t->tokens[t->count];
	if (t->count < t->room)
		t->count++;
	else
		t->failed = true;
	*token = (struct guard_token){.text = text, .guard = guard, .after_stop = r->after_stop};
	r->after_stop = false;
	r->sentence_start = false;
	r->breaks = false;
	return token;
}

char *
guard_copy_take(struct guard_text *text, size_t n)
{
	char *p = text->copy + text->copied;

	if (n > text->copy_size - text->copied) {
		text->failed = true;
		return text->copy;
	}
	text->copied += n;
	return p;
}

static bool
begins_with(const char *p, const char *end, const char *what)
{
	size_t n = strlen(what);

	return (size_t)(end - p) >= n && memcmp(p, what, n) == 0;
}

static bool
is_word_byte(char c)
{
	uint32_t b = (unsigned char)c;

	return b >= 0x80 || letter_is_letter(b) || letter_is_digit(b);
}

/* Is p behind a letter or a digit? Of what is beyond ASCII only the last byte is looked at. */
static bool
is_after_word(const struct guard_reader *r, const char *p)
{
	const char *q = p;
	uint32_t c;

	if (p == r->start)
		return false;
	while (q > r->start && p - q < 4 && ((unsigned char)q[-1] & 0xC0) == 0x80)
		q--;
	if (q > r->start)
		q--;
	c = letter_next(&q, p);
	return q == p && (letter_is_letter(c) || letter_is_digit(c));
}

/* The end of what a single quote at p begins; NULL: it has none. A closing one stands behind a word and before none. */
static const char *
single_close(const struct guard_reader *r, const char *p, const struct quote *quote, size_t *n)
{
	for (; p < r->end; p++) {
		*n = begins_with(p, r->end, quote->close) ? strlen(quote->close)
		     : quote->other_close && begins_with(p, r->end, quote->other_close)
		             ? strlen(quote->other_close)
		             : 0;
		if (*n > 0 && p > r->start && !letter_is_space((unsigned char)p[-1]) &&
		    (p + *n == r->end || !is_word_byte(p[*n])))
			return p;
	}
	return NULL;
}

static const char *
double_close(const struct guard_reader *r, const char *p, const struct quote *quote, size_t *n)
{
	for (; p < r->end; p++) {
		if (begins_with(p, r->end, quote->close)) {
			*n = strlen(quote->close);
			return p;
		}
		if (quote->other_close && begins_with(p, r->end, quote->other_close)) {
			*n = strlen(quote->other_close);
			return p;
		}
	}
	return NULL;
}

/* Two tokens, the kind and what is quoted, byte for byte. */
static void
quote_add(struct guard_reader *r, const char *kind, const char *first, const char *last)
{
	guard_token_add(r, GUARD_QUOTES, bytes_of(kind));
	guard_token_add(r, GUARD_QUOTES, (struct bytes){first, (size_t)(last - first)});
}

/* A quotation at p, which is moved behind it. */
static bool
read_quote(struct guard_reader *r)
{
	for (unsigned i = 0; i < QUOTE_COUNT; i++) {
		const char *p = r->p, *close;
		size_t n = 0;

		if ((r->unclosed & 1U << i) || !begins_with(p, r->end, quotes[i].open))
			continue;
		p += strlen(quotes[i].open);
		if (is_after_word(r, r->p))
			return false;
		if (i < QUOTE_SINGLE) {
			close = double_close(r, p, &quotes[i], &n);
		} else {
			if (p == r->end || letter_is_space((unsigned char)*p))
				return false;
			close = single_close(r, p, &quotes[i], &n);
		}
		if (!close) {
			/* There is none for a later one either, so a text full of them is not searched anew for
			 * each. */
			r->unclosed |= 1U << i;
			return false;
		}
		quote_add(r, quotes[i].kind, p, close);
		r->p = close + n;
		return true;
	}
	return false;
}

/* Up to one more than is looked for. */
static size_t
ticks_count(const char *p, const char *end)
{
	const char *q = p;

	while (q < end && *q == '`' && q - p <= TICKS_MAX)
		q++;
	return (size_t)(q - p);
}

/* Code between runs of equally many backticks. */
static bool
read_code(struct guard_reader *r)
{
	size_t n = ticks_count(r->p, r->end);
	const char *first = r->p + n;
	unsigned bit = 1U << (QUOTE_COUNT + n);

	if (n == 0 || n > TICKS_MAX || (r->unclosed & bit))
		return false;
	for (const char *p = first; p < r->end;) {
		size_t run = ticks_count(p, r->end);

		if (run == n) {
			quote_add(r, "`", first, p);
			r->p = p + n;
			return true;
		}
		p += run > 0 ? run : 1;
	}
	r->unclosed |= bit;
	return false;
}

/*
 * White space. Where a line ends counts, unless a sentence ends there too, and so does its indentation: moving one may
 * move a statement of code out of a loop. Wide gaps within a line may be places of a board.
 */
static void
read_space(struct guard_reader *r, const char *after)
{
	const char *first = r->p, *line = after;

	while (line > first && line[-1] != '\n' && line[-1] != '\r')
		line--;
	r->p = after;
	if (line > first)
		r->sentence_start = true;
	if (r->text->count == 0 || after == r->end)
		return;
	if (line == first) {
		if (after - first >= GAP_MIN || memchr(first, '\t', (size_t)(after - first)))
			guard_token_add(r, GUARD_QUOTES,
			                (struct bytes){first, (size_t)(after - first)});
		return;
	}
	if (!r->breaks)
		guard_token_add(r, GUARD_QUOTES, bytes_of("\n"));
	if (line < after)
		guard_token_add(r, GUARD_QUOTES, (struct bytes){line, (size_t)(after - line)});
	r->sentence_start = true;
}

/* Characters of questions in languages that are not cut into words here. */
static bool
is_asking(uint32_t c)
{
	static const uint32_t list[] = {0x4EC0, 0x4E48, 0x5417, 0x5462, 0x8C01, 0x8AB0, 0x54EA,
	                                0x4F55, 0x51E0, 0x5E7E, 0x600E, 0x55CE, 0x9EBC, 0x304B};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		if (list[i] == c)
			return true;
	}
	return false;
}

static bool
is_stop(uint32_t c)
{
	switch (c) {
	case '.':
	case ',':
	case ';':
	case ':':
	case '!':
	case '?':
	case 0x2026: /* … */
	case 0x3001: /* 、 */
	case 0x3002: /* 。 */
	case 0xFF01: /* ！ */
	case 0xFF0C: /* ， */
	case 0xFF0E: /* ． */
	case 0xFF1A: /* ： */
	case 0xFF1B: /* ； */
	case 0xFF1F: /* ？ */
	case 0x0964: /* । */
	case 0x060C: /* ، */
	case 0x061F: /* ؟ */
	case 0x06D4: /* ۔ */ return true;
	default: return false;
	}
}

static bool
is_bracket(uint32_t c)
{
	return c == '(' || c == ')' || c == '[' || c == ']' || c == '{' || c == '}';
}

/* Ends a piece, and is looked at by itself. */
static bool
is_cut(uint32_t c)
{
	return is_bracket(c) || c == '"' || c == '`' || c == 0xAB || c == 0xBB || c == 0x201C ||
	       c == 0x201D || c == 0x201E || (c >= 0x300C && c <= 0x300F);
}

static void
sentence_end(struct guard_reader *r)
{
	r->sentence_start = true;
	r->sentence_first = r->text->count;
	r->asks = false;
}

/* Is a point behind it no end of a sentence, as behind initials and Dr? */
static bool
is_abbreviation(struct bytes piece)
{
	if (piece.n == 0)
		return false;
	if ((piece.n == 1 && letter_is_letter((unsigned char)*piece.p)) ||
	    memchr(piece.p, '.', piece.n) || bytes_is(piece, "vs"))
		return true;
	return piece.n <= 3 && *piece.p >= 'A' && *piece.p <= 'Z';
}

/* Is the sentence a question, or an order, by its words? A verb that shows it begins the sentence, or follows a
 * comma. */
static bool
is_asking_sentence(const struct guard_reader *r)
{
	const struct guard_text *t = r->text;

	for (size_t i = r->sentence_first; i < t->count; i++) {
		const struct guard_token *token = &t->tokens[i];

		if ((i == r->sentence_first || token->after_stop) && token->word &&
		    (token->word->flags & (AUX | ASKS)))
			return true;
	}
	return r->asks;
}

/* Is what follows on the line no beginning of a sentence: a small letter, a digit, a letter without case? */
static bool
goes_on(const struct guard_reader *r, const char *p)
{
	uint32_t c;

	while (p < r->end && (*p == ' ' || *p == '\t'))
		p++;
	if (p == r->end)
		return false;
	c = letter_next(&p, r->end);
	return (letter_is_letter(c) && letter_fold(c) == c) || letter_is_digit(c);
}

/*
 * Marks of punctuation behind a piece. They carry no meaning, but for a question mark that alone makes a question of
 * a sentence, and for those that end a sentence where none begins: does ab? match a.
 */
static void
stops_add(struct guard_reader *r, struct bytes piece, const char *p, const char *end)
{
	bool ends = false, is_question = false, breaks = false;

	if (p == end)
		return;
	for (const char *q = p; q < end;) {
		uint32_t c = letter_next(&q, end);

		is_question |= c == '?' || c == 0xFF1F || c == 0x061F;
		ends |= c == '?' || c == '!' || c == 0x3002 || c == 0xFF01 || c == 0xFF1F ||
		        c == 0x0964 || c == 0x061F || c == 0x06D4 || c == 0xFF0E || c == 0x2026 ||
		        (c == '.' && !is_abbreviation(piece));
		breaks |= ends || c == '.' || c == ':' || c == ';';
	}
	if (ends && goes_on(r, end))
		guard_token_add(r, GUARD_QUOTES, (struct bytes){p, (size_t)(end - p)})->is_mark =
		        true;
	else if (is_question && !is_asking_sentence(r))
		guard_token_add(r, GUARD_QUESTION, bytes_of("?"));
	if (ends)
		sentence_end(r);
	r->after_stop = true;
	r->breaks = breaks;
}

/* Does an exclamation mark at p mean a factorial? */
static bool
is_factorial(const struct guard_reader *r, const char *first, const char *p)
{
	char last;

	if (p == r->start || p == r->end || *p != '!')
		return false;
	last = p[-1];
	if (p == first)
		return last == ')' || last == ']';
	return letter_is_digit((unsigned char)last) ||
	       (p - first == 1 && letter_is_letter((unsigned char)last));
}

/* Do marks stand by themselves, as in a ? b : c, or on a board, and not at a line's end as the French write them? */
static bool
is_lone_mark(const struct guard_reader *r, const char *first, const char *end)
{
	const char *next = end;

	if (first > r->start && !letter_is_space((unsigned char)first[-1]))
		return false;
	while (next < r->end && (*next == ' ' || *next == '\t'))
		next++;
	if (next < r->end && *next != '\n' && *next != '\r')
		return true;
	for (const char *p = first; p < end; p++) {
		if (*p == '.' || *p == ',')
			return true;
	}
	return false;
}

/* Marks in a row that are no punctuation; three points are. */
static bool
is_row(const char *p, const char *end)
{
	return end - p >= 2 && p[0] == p[1] &&
	       (*p == ',' || *p == ';' || *p == ':' || (*p == '.' && end - p != 3));
}

/* All up to the next space, quote, bracket or ideograph. */
static void
read_piece(struct guard_reader *r)
{
	const char *first = r->p, *core = first, *end = first, *next = first;

	while (next < r->end) {
		uint32_t c = letter_next(&next, r->end);

		if (letter_is_space(c) || is_cut(c) || letter_is_ideograph(c))
			break;
		end = next;
		if (!is_stop(c))
			core = end;
	}
	r->p = end;
	if (is_factorial(r, first, core))
		core++;
	else if (is_row(core, end) || (core == first && is_lone_mark(r, first, end)))
		core = end;
	if (core > first)
		guard_piece_add(r, (struct bytes){first, (size_t)(core - first)});
	stops_add(r, (struct bytes){first, (size_t)(core - first)}, core, end);
}

static void
read_token(struct guard_reader *r)
{
	const char *next = r->p;
	uint32_t c = letter_next(&next, r->end);

	if (letter_is_space(c)) {
		const char *after = next;

		while (next < r->end && letter_is_space(letter_next(&next, r->end)))
			after = next;
		read_space(r, after);
	} else if ((c == '`' && read_code(r)) ||
	           ((c == '"' || c == '\'' || c >= 0xAB) && read_quote(r))) {
		return;
	} else if (is_cut(c)) {
		guard_token_add(r, GUARD_QUOTES, (struct bytes){r->p, (size_t)(next - r->p)});
		r->p = next;
	} else if (c == 0xBF || c == 0xA1) {
		/* ¿ and ¡ */
		r->p = next;
		r->sentence_start = true;
	} else if (letter_is_ideograph(c)) {
		guard_token_add(r, GUARD_NAMES, (struct bytes){r->p, (size_t)(next - r->p)});
		r->asks |= is_asking(c);
		r->p = next;
	} else {
		read_piece(r);
	}
}

bool
guard_text_read(struct guard_text *text, struct bytes source)
{
	struct guard_reader r = {.text = text, .sentence_start = true, .breaks = true};

	*text = (struct guard_text){.room = source.n, .copy_size = source.n};
	/* One more, to be written to when there is no room. */
	text->tokens = mem_try((text->room + 1) * sizeof(*text->tokens) + text->copy_size);
	if (!text->tokens)
		return false;
	text->copy = (char *)(text->tokens + text->room + 1);
	r.start = r.p = source.p;
	r.end = source.p + source.n;
	while (r.p < r.end)
		read_token(&r);
	guard_phrase_apply(text);
	if (!text->failed)
		return true;
	guard_text_free(text);
	return false;
}

void
guard_text_free(struct guard_text *text)
{
	free(text->tokens);
}

bool
guard_text_is_english(const struct guard_text *text)
{
	return (text->flags & ENGLISH) && !(text->flags & FOREIGN);
}
