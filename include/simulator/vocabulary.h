/*
 * The words the simulator knows, by the part they play in a sentence, and the pieces of JSON that
 * each of them becomes, rendered once. Immutable after it is made; may be shared.
 */
#ifndef SIMULATOR_VOCABULARY_H
#define SIMULATOR_VOCABULARY_H

#include <stdint.h>

#include "base/buf.h"

/* A part of speech; the words of one part stand together. */
enum sim_part {
	SIM_PART_OPENER,     /* " The": begins a sentence */
	SIM_PART_DETERMINER, /* " the" */
	SIM_PART_ADJECTIVE,
	SIM_PART_NOUN,
	SIM_PART_VERB,
	SIM_PART_PREPOSITION,
	SIM_PART_ADVERB,
	SIM_PART_LINK,  /* " and" */
	SIM_PART_MARK,  /* "." first, then "," and the rest */
	SIM_PART_FIXED, /* words of ready-made phrases */
	SIM_PART_COUNT,
};

enum { SIM_WORD_NONE = -1 };

struct sim_word {
	struct bytes text; /* static, with its leading space */
	struct bytes json; /* as a JSON string */
	struct bytes head; /* of a logprobs entry, up to the number: {"token":" the","logprob": */
	struct bytes tail; /* after the number: ,"bytes":[32,116,104,101] and no brace */
};

struct sim_vocabulary;

struct sim_vocabulary *sim_vocabulary_new(void);
void sim_vocabulary_free(struct sim_vocabulary *v);

/* At least SIM_CANDIDATES, so that one can be left out and the rest still fill a list of 20. */
unsigned sim_vocabulary_count(const struct sim_vocabulary *v);
const struct sim_word *sim_vocabulary_word(const struct sim_vocabulary *v, unsigned index);

/* The index of a word by its text, or SIM_WORD_NONE. */
int sim_vocabulary_find(const struct sim_vocabulary *v, struct bytes text);

/* A word of that part, picked by the bits. */
unsigned sim_vocabulary_pick(const struct sim_vocabulary *v, enum sim_part part, uint64_t bits);

/* Appends ,"bytes":[…] for any text. */
void sim_vocabulary_add_bytes(struct buf *out, struct bytes text);

#endif
