/*
 * A set of places in the text from which on the continuation so far repeats the text. Each byte of the
 * continuation throws out those that it contradicts; a place from which the text's end is reached has
 * shown a repetition. When none is left, the last one found is the longest, for it took the most bytes.
 *
 * What is kept back is not stored, but for white space that was looked over: as long as a place is left, it is
 * the text from there on.
 *
 * Work: a byte looks at every place left, so a continuation costs at most OVERLAP_WORDS_MAX_BYTES places
 * times as many bytes (16 million comparisons, for a text of nothing but one character), and the whole
 * text once. Ordinary text leaves a place or two after the first byte.
 */
#include "wire/overlap.h"

#include <stdlib.h>

#include "base/mem.h"

struct overlap {
	enum overlap_kind kind;
	char *text; /* owned; as much of the text as is looked at */
	size_t n;
	size_t *places; /* owned; offsets in the text, ascending */
	size_t place_count;
	size_t matched; /* bytes of the continuation that all places agree with */
	size_t best;    /* the longest repetition found */
	/* OVERLAP_WORDS: nothing fitted, so white space before the repetition is looked over. */
	bool retried, in_blank;
	struct buf blank; /* owned; that white space */
};

static bool
is_word_byte(char c)
{
	unsigned char b = (unsigned char)c;

	return b >= 0x80 || b == '_' || (b >= '0' && b <= '9') ||
	       ((b | 0x20) >= 'a' && (b | 0x20) <= 'z');
}

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_word_boundary(struct bytes text, size_t at)
{
	return !is_word_byte(text.p[at - 1]) || !is_word_byte(text.p[at]);
}

/* The length of the white space character that the text ends with; 0: none. */
static size_t
space_at_end(struct bytes text)
{
	const unsigned char *end;

	if (text.n == 0)
		return 0;
	end = (const unsigned char *)text.p + text.n;
	if (end[-1] == ' ' || (end[-1] >= '\t' && end[-1] <= '\r') ||
	    (end[-1] >= 0x1C && end[-1] <= 0x1F))
		return 1;
	if (text.n >= 2 && end[-2] == 0xC2 && (end[-1] == 0x85 || end[-1] == 0xA0))
		return 2;
	if (text.n >= 3) {
		unsigned c = (unsigned)end[-3] << 16 | (unsigned)end[-2] << 8 | end[-1];

		/* U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000 */
		if (c == 0xE19A80 || (c >= 0xE28080 && c <= 0xE2808A) || c == 0xE280A8 ||
		    c == 0xE280A9 || c == 0xE280AF || c == 0xE2819F || c == 0xE38080)
			return 3;
	}
	return 0;
}

struct bytes
overlap_trim(struct bytes text)
{
	size_t n;

	while ((n = space_at_end(text)) > 0)
		text.n -= n;
	return text;
}

/* Fills `places` with those to begin with; gives their number. Room for OVERLAP_WORDS_MAX_BYTES + 1. A
 * place within a character does no harm, for no continuation begins there. */
static size_t
find_places(enum overlap_kind kind, struct bytes text, size_t *places)
{
	size_t far = text.n > OVERLAP_WORDS_MAX_BYTES ? text.n - OVERLAP_WORDS_MAX_BYTES : 0;
	size_t first = kind == OVERLAP_SPACE ? overlap_trim(text).n : 0, count = 0;

	if (kind == OVERLAP_NONE)
		return 0;
	if (first < text.n)
		places[count++] = first;
	for (size_t at = first + 1 > far ? first + 1 : far; kind != OVERLAP_ECHO && at < text.n;
	     at++) {
		places[count++] = at;
	}
	return count;
}

struct overlap *
overlap_new(enum overlap_kind kind, struct bytes text)
{
	size_t found[OVERLAP_WORDS_MAX_BYTES + 1];
	struct overlap *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->kind = kind;
	buf_init(&o->blank, 0);
	o->place_count = find_places(kind, text, found);
	if (o->place_count == 0)
		return o;
	/* What lies before the first place is never looked at. */
	o->n = text.n - found[0];
	o->text = mem_try(o->n);
	o->places = calloc(o->place_count, sizeof(*o->places));
	if (!o->text || !o->places) {
		overlap_free(o);
		return NULL;
	}
	memcpy(o->text, text.p + found[0], o->n);
	for (size_t i = 0; i < o->place_count; i++)
		o->places[i] = found[i] - found[0];
	return o;
}

void
overlap_free(struct overlap *overlap)
{
	if (!overlap)
		return;
	buf_fini(&overlap->blank);
	free(overlap->text);
	free(overlap->places);
	free(overlap);
}

/* Is what repeats the text from there to its end a repetition, and no chance? */
static bool
is_repetition(const struct overlap *o, size_t place)
{
	size_t n = o->n - place;
	struct bytes text = {o->text, o->n};

	if (o->kind != OVERLAP_WORDS || place == 0)
		return true;
	if (o->retried)
		return n >= OVERLAP_BLANK_MIN_BYTES;
	return n >= OVERLAP_INNER_MIN_BYTES || is_word_boundary(text, place);
}

/* Keeps the places that agree with one more byte. False when no longer repetition is possible; then
 * places[0] stands for what agreed before it. */
static bool
places_filter(struct overlap *o, char c)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->place_count; i++) {
		size_t at = o->places[i] + o->matched;

		if (o->text[at] != c)
			continue;
		if (at + 1 < o->n)
			o->places[kept++] = o->places[i];
		else if (is_repetition(o, o->places[i]))
			o->best = o->matched + 1;
	}
	o->place_count = kept;
	return kept > 0;
}

/* Appends what is kept back beyond the repetition. */
static void
release(struct overlap *o, struct buf *out)
{
	if (o->best == 0)
		buf_add_bytes(out, buf_bytes(&o->blank));
	out->failed |= o->blank.failed;
	if (o->matched > o->best)
		buf_add(out, o->text + o->places[0] + o->best, o->matched - o->best);
	o->place_count = 0;
}

/* Nothing has fitted. If the continuation began with white space, that is looked over, and the text looked for
 * behind it: what was taken so far is taken once more. False when it did not, or that has been done. */
static bool
retry(struct overlap *o, char c, struct buf *out)
{
	size_t found[OVERLAP_WORDS_MAX_BYTES + 1], taken_bytes = o->matched;
	const char *taken = o->text + o->places[0];
	struct buf again;

	if (o->kind != OVERLAP_WORDS || o->retried || o->best > 0 ||
	    !is_blank(taken_bytes > 0 ? taken[0] : c))
		return false;
	buf_init(&again, 0);
	buf_add(&again, taken, taken_bytes);
	o->retried = o->in_blank = true;
	o->matched = 0;
	o->place_count = find_places(o->kind, (struct bytes){o->text, o->n}, found);
	for (size_t i = 0; i < o->place_count; i++)
		o->places[i] = found[i];
	out->failed |= again.failed;
	overlap_feed(o, buf_bytes(&again), out);
	buf_fini(&again);
	return true;
}

void
overlap_feed(struct overlap *overlap, struct bytes piece, struct buf *out)
{
	size_t i = 0;

	while (i < piece.n && overlap->place_count > 0) {
		overlap->in_blank &= is_blank(piece.p[i]);
		if (overlap->in_blank) {
			buf_add(&overlap->blank, piece.p + i++, 1);
			continue;
		}
		if (places_filter(overlap, piece.p[i])) {
			overlap->matched++;
			i++;
			continue;
		}
		if (retry(overlap, piece.p[i], out))
			continue;
		release(overlap, out);
		if (overlap->best > overlap->matched)
			i++; /* the byte was the repetition's last */
	}
	buf_add(out, piece.p + i, piece.n - i);
}

void
overlap_end(struct overlap *overlap, struct buf *out)
{
	if (overlap->place_count > 0)
		release(overlap, out);
}

bool
overlap_is_settled(const struct overlap *overlap)
{
	return overlap->place_count == 0;
}

size_t
overlap_left_out(const struct overlap *overlap)
{
	return overlap->best > 0 ? overlap->best + overlap->blank.n : 0;
}
