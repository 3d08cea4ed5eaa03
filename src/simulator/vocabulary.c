#include "simulator/vocabulary.h"

#include <stdlib.h>

#include "base/mem.h"
#include "simulator/distribution.h"
#include "simulator/mix.h"

static const char *const openers[] = {" The", " Every",   " Each", " This",
                                      " One", " Another", " That", " Our"};
static const char *const determiners[] = {" the", " every",   " each", " this", " that", " one",
                                          " our", " another", " its",  " any",  " some", " no"};
static const char *const adjectives[] = {
        " small",  " large",  " simple",  " careful", " quiet", " early",   " late",   " clear",
        " plain",  " bright", " honest",  " patient", " quick", " slow",    " steady", " naïve",
        " modern", " old",    " new",     " common",  " rare",  " precise", " rough",  " warm",
        " cold",   " local",  " distant", " green",   " long",  " short",   " wide",   " narrow",
};
static const char *const nouns[] = {
        " answer",  " question",   " river",   " city",     " garden",  " teacher",  " engine",
        " model",   " letter",     " machine", " library",  " journey", " mountain", " bridge",
        " market",  " signal",     " method",  " result",   " reason",  " example",  " problem",
        " theory",  " experiment", " café",    " window",   " harbour", " morning",  " student",
        " network", " record",     " system",  " story",    " island",  " kitchen",  " village",
        " weather", " measure",    " pattern", " language", " number",  " sentence", " painter",
        " doctor",  " farmer",     " sailor",  " compass",  " map",     " clock",
};
static const char *const verbs[] = {
        " follows",  " explains", " keeps",   " changes",   " finds",   " shows",     " carries",
        " supports", " reaches",  " holds",   " improves",  " needs",   " describes", " joins",
        " leaves",   " moves",    " opens",   " protects",  " repeats", " teaches",   " watches",
        " builds",   " compares", " defines", " gathers",   " guides",  " limits",    " answers",
        " measures", " names",    " offers",  " remembers",
};
static const char *const prepositions[] = {" in",     " near",   " under", " behind",
                                           " beyond", " across", " with",  " without",
                                           " around", " from",   " for",   " through"};
static const char *const adverbs[] = {" often",  " slowly", " quietly", " clearly",
                                      " rarely", " always", " usually", " nearly",
                                      " simply", " calmly", " again",   " soon"};
static const char *const links[] = {" and", " but", " while", " because", " so", " although"};
static const char *const marks[] = {".", ",", ":", "!", "?", "\n", ";", " —", "\"", " ✓"};
static const char *const fixed[] = {
        "You",    " asked", "I",     "'m",   " sorry", " cannot", " help", " is",    " are",
        " was",   " were",  " be",   " has", " have",  " had",    " will", " would", " can",
        " could", " may",   " to",   " of",  " on",    " at",     " by",   " as",    " it",
        " he",    " she",   " they", " we",  " you",   " who",    " what", " when",  " where",
        " why",   " how",   " not",  " yes", " more",  " less",   " most", " than",  " then",
        " if",    " or",    " a",    " an",  " I",
};

#define PART(words)                                                                                \
	{                                                                                          \
		words, sizeof(words) / sizeof((words)[0])                                          \
	}

static const struct {
	const char *const *words;
	size_t count;
} parts[SIM_PART_COUNT] = {
        [SIM_PART_OPENER] = PART(openers),       [SIM_PART_DETERMINER] = PART(determiners),
        [SIM_PART_ADJECTIVE] = PART(adjectives), [SIM_PART_NOUN] = PART(nouns),
        [SIM_PART_VERB] = PART(verbs),           [SIM_PART_PREPOSITION] = PART(prepositions),
        [SIM_PART_ADVERB] = PART(adverbs),       [SIM_PART_LINK] = PART(links),
        [SIM_PART_MARK] = PART(marks),           [SIM_PART_FIXED] = PART(fixed),
};

enum { SLOTS = 1024 }; /* of the index by text: a power of two, several times the words */

struct sim_vocabulary {
	struct sim_word *words; /* owned */
	unsigned count;
	unsigned first[SIM_PART_COUNT];
	int16_t slots[SLOTS]; /* open addressing; SIM_WORD_NONE: free */
	struct buf pieces;    /* owned: the rendered texts */
};

void
sim_vocabulary_add_bytes(struct buf *out, struct bytes text)
{
	buf_add_text(out, ",\"bytes\":[");
	for (size_t i = 0; i < text.n; i++) {
		if (i > 0)
			buf_add(out, ",", 1);
		buf_add_u64(out, (unsigned char)text.p[i]);
	}
	buf_add(out, "]", 1);
}

/* Renders a word's pieces; only their lengths are known while the buffer may still move. */
static void
word_render(struct sim_word *word, struct buf *pieces)
{
	size_t begin = pieces->n;

	buf_add_json_string(pieces, word->text);
	word->json.n = pieces->n - begin;
	begin = pieces->n;
	buf_add_text(pieces, "{\"token\":");
	buf_add_json_string(pieces, word->text);
	buf_add_text(pieces, ",\"logprob\":");
	word->head.n = pieces->n - begin;
	begin = pieces->n;
	sim_vocabulary_add_bytes(pieces, word->text);
	word->tail.n = pieces->n - begin;
}

static unsigned
slot_of(struct bytes text)
{
	return (unsigned)(sim_hash(0, text) % SLOTS);
}

static void
vocabulary_index(struct sim_vocabulary *v, unsigned index)
{
	unsigned slot = slot_of(v->words[index].text);

	if (sim_vocabulary_find(v, v->words[index].text) != SIM_WORD_NONE)
		die("the simulator's vocabulary holds '%s' twice", v->words[index].text.p);
	while (v->slots[slot] != SIM_WORD_NONE)
		slot = (slot + 1) % SLOTS;
	v->slots[slot] = (int16_t)index;
}

struct sim_vocabulary *
sim_vocabulary_new(void)
{
	struct sim_vocabulary *v = mem_new(sizeof(*v));
	const char *p;

	for (size_t i = 0; i < SLOTS; i++)
		v->slots[i] = SIM_WORD_NONE;
	buf_init(&v->pieces, 0);
	for (size_t part = 0; part < SIM_PART_COUNT; part++) {
		v->first[part] = v->count;
		v->count += (unsigned)parts[part].count;
	}
	v->words = mem_array(v->count, sizeof(*v->words));
	for (size_t part = 0; part < SIM_PART_COUNT; part++) {
		for (size_t i = 0; i < parts[part].count; i++) {
			unsigned index = v->first[part] + (unsigned)i;

			v->words[index].text = bytes_of(parts[part].words[i]);
			word_render(&v->words[index], &v->pieces);
			vocabulary_index(v, index);
		}
	}
	if (v->pieces.failed || v->count < SIM_CANDIDATES)
		die("the simulator's vocabulary cannot be made");
	p = v->pieces.p;
	for (unsigned i = 0; i < v->count; i++) {
		struct sim_word *word = &v->words[i];

		word->json.p = p;
		word->head.p = word->json.p + word->json.n;
		word->tail.p = word->head.p + word->head.n;
		p = word->tail.p + word->tail.n;
	}
	return v;
}

void
sim_vocabulary_free(struct sim_vocabulary *v)
{
	if (!v)
		return;
	buf_fini(&v->pieces);
	free(v->words);
	free(v);
}

unsigned
sim_vocabulary_count(const struct sim_vocabulary *v)
{
	return v->count;
}

const struct sim_word *
sim_vocabulary_word(const struct sim_vocabulary *v, unsigned index)
{
	return &v->words[index];
}

int
sim_vocabulary_find(const struct sim_vocabulary *v, struct bytes text)
{
	for (unsigned slot = slot_of(text); v->slots[slot] != SIM_WORD_NONE;
	     slot = (slot + 1) % SLOTS) {
		if (bytes_equal(v->words[v->slots[slot]].text, text))
			return v->slots[slot];
	}
	return SIM_WORD_NONE;
}

unsigned
sim_vocabulary_pick(const struct sim_vocabulary *v, enum sim_part part, uint64_t bits)
{
	return v->first[part] + (unsigned)(bits % parts[part].count);
}
