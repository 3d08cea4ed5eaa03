/*
 * What the simulator says: a row of tokens that begins with an echo of the prompt and goes on in
 * grammatical, meaningless sentences. The same seed, prompt and count give the same tokens. The prompt
 * alone decides how the sentences are built, the seed which words they hold: so one speech can go on in
 * the middle of a sentence of another.
 *
 * The tokens borrow from the vocabulary and from the prompt. One thread.
 */
#ifndef SIMULATOR_SPEECH_H
#define SIMULATOR_SPEECH_H

#include "simulator/vocabulary.h"

enum { SIM_SPEECH_MAX = 32768 }; /* tokens of one answer */

struct sim_token {
	const char *p; /* borrowed */
	uint32_t n;
	int32_t word; /* in the vocabulary, or SIM_WORD_NONE */
};

struct sim_speech {
	struct sim_token *tokens; /* owned */
	uint32_t count;
};

void sim_speech_fini(struct sim_speech *speech);

/* Says `count` tokens (at most SIM_SPEECH_MAX). prompt: UTF-8. False when there is no memory. */
bool sim_speech_answer(struct sim_speech *speech, const struct sim_vocabulary *v, uint64_t seed,
                       struct bytes prompt, uint32_t count);

/* Leaves out as many of the first tokens as a partial answer holds, so that the rest goes on from it. */
void sim_speech_skip(struct sim_speech *speech, struct bytes partial);

/* Puts a text, borrowed, in front as one token. At most once a speech. */
void sim_speech_repeat(struct sim_speech *speech, struct bytes text);

/* Says that it will not help, in at most `count` tokens. */
bool sim_speech_refusal(struct sim_speech *speech, const struct sim_vocabulary *v, uint32_t count);

/* Says a text in fragments of a few bytes, cut between UTF-8 characters. */
bool sim_speech_fragments(struct sim_speech *speech, struct bytes text);

/* Ends the speech before the first place where one of the texts stands; the token in which it
 * begins is cut short. True when one was found. */
bool sim_speech_stop(struct sim_speech *speech, const struct bytes *stops, size_t count);

/* Appends the text of all tokens. */
void sim_speech_text(const struct sim_speech *speech, struct buf *out);

/*
 * How many tokens a text is worth: a run of letters one for each 8 bytes begun, a run of digits one
 * for each 3 begun, any other visible character one (outside ASCII one for each 3 bytes). It is near
 * what OpenAI's tokenizers count for English, and nothing more than that.
 */
uint64_t sim_speech_count(struct bytes text);

#endif
