#include "cache/guard_private.h"

#include <endian.h>

static const struct guard_word words[] = {
#define WORD(word, same, kind, flags) {word, same, flags, kind},
#include "cache/guard_words.def"
#undef WORD
};

/* Columns of equal width, so that looking for a word follows no pointers. */
static const struct {
	char sign[8], same[20];
} units[] = {
#define UNIT(sign, same) {sign, same},
#include "cache/guard_units.def"
#undef UNIT
};

static const struct opposite {
	char word[20], other[20];
} opposites[] = {
#define OPPOSITE(word, other) {word, other},
#include "cache/guard_opposites.def"
#undef OPPOSITE
};

static const char typos[][20] = {
#define TYPO(word) word,
#include "cache/guard_typos.def"
#undef TYPO
};

/* The first eight bytes, such that numbers are ordered as texts are. */
static inline uint64_t
load_8(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

/* The row of `count` rows of `size` bytes whose first column, `width` bytes filled up with zeros, is `text`;
 * NULL: none. */
static const void *
row_find(const void *rows, size_t count, size_t size, size_t width, struct bytes text)
{
	const char *first = rows;
	char key[GUARD_WORD_MAX + 1] = {0};
	uint64_t head;

	if (text.n == 0 || text.n >= width)
		return NULL;
	memcpy(key, text.p, text.n);
	head = load_8(key);
	while (count > 0) {
		const char *middle = first + count / 2 * size;
		uint64_t other = load_8(middle);
		int order = head < other ? -1 : head > other;

		if (order == 0)
			order = memcmp(key + 8, middle + 8, width - 8);
		if (order == 0)
			return middle;
		if (order > 0) {
			first = middle + size;
			count -= count / 2 + 1;
		} else {
			count /= 2;
		}
	}
	return NULL;
}

#define FIND(rows, column, text)                                                                   \
	row_find(rows, sizeof(rows) / sizeof((rows)[0]), sizeof((rows)[0]), column, text)

const struct guard_word *
guard_word_find(struct bytes lower)
{
	return FIND(words, sizeof(words[0].word), lower);
}

struct bytes
guard_unit_find(struct bytes sign)
{
	const char *row = FIND(units, sizeof(units[0].sign), sign);

	return bytes_of(row ? row + sizeof(units[0].sign) : NULL);
}

bool
guard_typo_find(struct bytes lower)
{
	return FIND(typos, sizeof(typos[0]), lower) != NULL;
}

static bool
opposite_find(struct bytes word, struct bytes other)
{
	const struct opposite *end = opposites + sizeof(opposites) / sizeof(opposites[0]);
	const struct opposite *row = FIND(opposites, sizeof(opposites[0].word), word);

	if (!row)
		return false;
	while (row > opposites && bytes_is(word, row[-1].word))
		row--;
	for (; row < end && bytes_is(word, row->word); row++) {
		if (bytes_is(other, row->other))
			return true;
	}
	return false;
}

static bool
ends_with(struct bytes text, const char *end)
{
	size_t n = strlen(end);

	return text.n > n && memcmp(text.p + text.n - n, end, n) == 0;
}

/* Without the last n bytes, and with an e in their place if need be: enabl-ing. */
static struct bytes
stem(struct bytes word, size_t n, bool with_e, char out[GUARD_WORD_MAX + 1])
{
	size_t left = word.n - n;

	memcpy(out, word.p, left);
	if (with_e)
		out[left++] = 'e';
	return (struct bytes){out, left};
}

static bool
is_prefixed(struct bytes longer, struct bytes word)
{
	static const char *const prefixes[] = {"un", "non", "dis",  "in", "im",
	                                       "il", "ir",  "mis",  "de", "anti",
	                                       "re", "pre", "post", "co", "sub"};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t n = strlen(prefixes[i]);

		if (longer.n == word.n + n && word.n >= 3 &&
		    memcmp(longer.p, prefixes[i], n) == 0 &&
		    memcmp(longer.p + n, word.p, word.n) == 0)
			return true;
	}
	return false;
}

bool
guard_is_opposite(struct bytes a, struct bytes b)
{
	static const char *const endings[] = {"s", "es", "ed", "d", "ing", "er", "ly"};
	char left[GUARD_WORD_MAX + 1], right[GUARD_WORD_MAX + 1];

	if (a.n > GUARD_WORD_MAX || b.n > GUARD_WORD_MAX)
		return false;
	if (opposite_find(a, b) || is_prefixed(a, b) || is_prefixed(b, a))
		return true;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		size_t n = strlen(endings[i]);

		if (!ends_with(a, endings[i]) || !ends_with(b, endings[i]))
			continue;
		for (unsigned with_e = 0; with_e < 4; with_e++) {
			if (opposite_find(stem(a, n, with_e & 1, left),
			                  stem(b, n, with_e & 2, right)))
				return true;
		}
	}
	return false;
}
