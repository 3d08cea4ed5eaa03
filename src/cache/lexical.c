/*
 * Vectors are kept in files, so one and the same text must give the same bytes in every build: sums are of
 * integers, and what is done with floating point (one square root, a division for each dimension) is rounded by
 * IEEE 754 to the last bit. Any change here, to the words below too, makes other vectors.
 */
#include "cache/lexical.h"

#include <math.h>

#include "cache/letter.h"

enum {
	WORD_MAX = 32, /* characters; a longer word is cut into several */
	GRAM_MIN = 2,
	GRAM_MAX = 5,
	COUNTERS = 1024,
	/* Weights, in parts of UNIT. */
	UNIT = 256,
	PLAIN_WORD = UNIT,
	COMMON_WORD = UNIT / 2,
	FILLER_WORD = UNIT / 4,
	WHOLE_WEIGHT = UNIT / 4,
	PAIR_WEIGHT = UNIT / 12,
	IDEOGRAPH_WEIGHT = UNIT * 5 / 8,
	/* Sums are kept below this, so that their squares add up in 64 bits. */
	SUM_MAX = 1 << 26,
};

/*
 * What the n-grams of one length weigh in a word, all in all: short ones outweigh long ones, since a slip of the pen
 * in a word of eight letters spoils two of its pairs, but five of its fives. More of them would make strangers alike.
 */
static const int gram_weights[GRAM_MAX + 1] = {
        [2] = UNIT * 13 / 16, [3] = UNIT * 5 / 8, [4] = UNIT / 5, [5] = UNIT / 10};

/* UNIT / sqrt(n): a length's weight is shared by its n-grams such that their squares add up to its own. */
static const int shares[WORD_MAX + 2] = {UNIT, 256, 181, 148, 128, 114, 105, 97, 91, 85, 81, 77,
                                         74,   71,  68,  66,  64,  62,  60,  59, 57, 56, 55, 53,
                                         52,   51,  50,  49,  48,  48,  47,  46, 45, 45};

/* UNIT * (sqrt(n) - sqrt(n - 1)): what a word weighs when it comes for the nth time. */
static const int repeats[] = {256, 106, 81, 69, 60, 55, 50, 47, 44, 42, 40, 38, 36, 35, 34, 33};

/* Words that say little of what a text is about, in ascending order. */
static const char common_words[][12] = {
        "a",     "about", "after", "all",   "als",     "am",   "an",     "and",   "any",  "are",
        "as",    "at",    "auf",   "be",    "because", "been", "before", "but",   "by",   "can",
        "como",  "con",   "could", "das",   "de",      "del",  "der",    "des",   "did",  "die",
        "do",    "does",  "du",    "ein",   "eine",    "el",   "en",     "es",    "est",  "et",
        "for",   "from",  "get",   "had",   "has",     "have", "he",     "her",   "his",  "how",
        "i",     "ich",   "if",    "im",    "in",      "into", "is",     "ist",   "it",   "its",
        "la",    "las",   "le",    "les",   "los",     "may",  "me",     "mit",   "more", "most",
        "must",  "my",    "nicht", "no",    "not",     "of",   "on",     "or",    "our",  "out",
        "que",   "qui",   "shall", "she",   "should",  "so",   "some",   "than",  "that", "the",
        "their", "them",  "then",  "there", "these",   "they", "this",   "those", "to",   "um",
        "un",    "una",   "und",   "une",   "up",      "us",   "was",    "we",    "were", "what",
        "when",  "where", "which", "who",   "whose",   "why",  "wie",    "will",  "with", "would",
        "y",     "you",   "your",  "zu",
};

/* Words that say nothing of it. */
static const char filler_words[][12] = {
        "actually", "also", "basically", "exactly", "explain", "hello",  "hey",
        "hi",       "just", "kindly",    "know",    "like",    "maybe",  "please",
        "really",   "show", "simply",    "tell",    "thank",   "thanks", "want",
};

struct sums {
	int64_t of[LEXICAL_DIMENSIONS];
	uint8_t counts
	        [COUNTERS]; /* how often a word came, by its hash; words that share a counter are counted together */
	uint64_t last; /* the word before, 0: none */
	int last_weight;
	uint32_t ideograph; /* the one just before; 0: none */
	bool any;
};

static inline uint64_t
mix(uint64_t h)
{
	h = (h ^ h >> 32) * 0xD6E8FEB86659FD93;
	h = (h ^ h >> 32) * 0xD6E8FEB86659FD93;
	return h ^ h >> 32;
}

static inline uint64_t
hash_step(uint64_t h, uint64_t c)
{
	return (h ^ c) * 0x9E3779B97F4A7C15 + (h >> 29);
}

/* The highest bits choose the dimension, another the sign, so that strangers that meet there cancel each other. */
static inline void
feature_add(struct sums *sums, uint64_t hash, int weight)
{
	uint64_t h = mix(hash);

	sums->of[h >> 55] += h & 1 ? weight : -weight;
}

static bool
list_has(const char (*list)[12], size_t count, const char *word)
{
	size_t first = 0;

	while (first < count) {
		size_t middle = first + (count - first) / 2;
		int order = strcmp(word, list[middle]);

		if (order == 0)
			return true;
		if (order > 0)
			first = middle + 1;
		else
			count = middle;
	}
	return false;
}

#define LIST_HAS(list, word) list_has(list, sizeof(list) / sizeof((list)[0]), word)

/* A word's weight; its characters stand from word[1] on. */
static int
word_weight(const uint32_t *word, size_t n)
{
	char text[12];

	if (n >= sizeof(text))
		return PLAIN_WORD;
	for (size_t i = 0; i < n; i++) {
		if (word[1 + i] >= 0x80)
			return PLAIN_WORD;
		text[i] = (char)word[1 + i];
	}
	text[n] = '\0';
	if (LIST_HAS(common_words, text))
		return COMMON_WORD;
	return LIST_HAS(filler_words, text) ? FILLER_WORD : PLAIN_WORD;
}

/* A word of n characters, between two marks that stand for its ends. */
static void
word_add(struct sums *sums, uint32_t *word, size_t n)
{
	enum { BEGIN = 1, END = 2, WHOLE = 3, PAIR = 4 };
	uint64_t whole = WHOLE;
	int weight = word_weight(word, n);
	uint8_t *count;
	int repeat;

	word[0] = BEGIN;
	word[n + 1] = END;
	for (size_t i = 1; i <= n; i++)
		whole = hash_step(whole, word[i]);
	count = &sums->counts[mix(whole) % COUNTERS];
	repeat = weight * repeats[*count] / UNIT;
	*count += *count + 1U < sizeof(repeats) / sizeof(repeats[0]);
	feature_add(sums, whole, repeat * WHOLE_WEIGHT);
	for (size_t i = 0; i < n + 2; i++) {
		uint64_t gram = 0;

		for (size_t k = 1; k <= GRAM_MAX && i + k <= n + 2; k++) {
			gram = hash_step(gram, word[i + k - 1]);
			if (k >= GRAM_MIN)
				feature_add(sums, gram + k,
				            repeat * gram_weights[k] / UNIT * shares[n + 3 - k]);
		}
	}
	if (sums->last)
		feature_add(sums, hash_step(hash_step(PAIR, sums->last), whole),
		            (repeat < sums->last_weight ? repeat : sums->last_weight) *
		                    PAIR_WEIGHT);
	sums->last = whole;
	sums->last_weight = repeat;
	sums->any = true;
}

/* In scripts without spaces a character is half a word, and two of them are one. */
static void
ideograph_add(struct sums *sums, uint32_t c)
{
	enum { SINGLE = 5, DOUBLE = 6 };

	feature_add(sums, hash_step(SINGLE, c), UNIT * IDEOGRAPH_WEIGHT);
	if (sums->ideograph)
		feature_add(sums, hash_step(hash_step(DOUBLE, sums->ideograph), c),
		            UNIT * IDEOGRAPH_WEIGHT);
	sums->ideograph = c;
	sums->last = 0;
	sums->any = true;
}

static void
text_add(struct sums *sums, struct bytes text)
{
	const char *p = text.p, *end = p ? p + text.n : NULL;
	uint32_t word[WORD_MAX + 2];
	size_t n = 0;

	while (p < end) {
		uint32_t c = letter_fold(letter_next(&p, end));
		bool is_ideograph = letter_is_ideograph(c);

		/* Small sigma has another form at a word's end, the capital has not. */
		if (c == 0x3C2)
			c = 0x3C3;
		/* Don't is dont. */
		if (n > 0 && (c == '\'' || c == 0x2019))
			continue;
		if (!is_ideograph && (letter_is_letter(c) || letter_is_digit(c))) {
			word[++n] = c;
			if (n < WORD_MAX)
				continue;
		}
		if (n > 0)
			word_add(sums, word, n);
		n = 0;
		if (is_ideograph)
			ideograph_add(sums, c);
		else
			sums->ideograph = 0;
	}
	if (n > 0)
		word_add(sums, word, n);
}

bool
lexical_embed(struct bytes text, float vector[LEXICAL_DIMENSIONS])
{
	struct sums sums = {.last = 0};
	uint64_t squares = 0;
	double length;

	text_add(&sums, text);
	for (size_t i = 0; i < LEXICAL_DIMENSIONS; i++) {
		int64_t *sum = &sums.of[i];

		*sum = *sum > SUM_MAX ? SUM_MAX : *sum < -SUM_MAX ? -SUM_MAX : *sum;
		squares += (uint64_t)(*sum * *sum);
	}
	if (!sums.any || squares == 0)
		return false;
	length = sqrt((double)squares);
	for (size_t i = 0; i < LEXICAL_DIMENSIONS; i++)
		vector[i] = (float)((double)sums.of[i] / length);
	return true;
}
