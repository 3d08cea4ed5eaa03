/*
 * An embedder without a model: a hashed bag of a text's words, its pairs of words and the character n-grams in its
 * words, weighted and scaled to length 1. Near are texts that share most of their words: repeats with a typo,
 * another case or another filler word. Paraphrases in other words are not near; it knows nothing of meaning. Pure.
 */
#ifndef CACHE_LEXICAL_H
#define CACHE_LEXICAL_H

#include "base/bytes.h"

enum { LEXICAL_DIMENSIONS = 512 };

/* UTF-8. False when the text has no word. */
bool lexical_embed(struct bytes text, float vector[LEXICAL_DIMENSIONS]);

#endif
