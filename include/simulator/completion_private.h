/* What completion.c (which decides what is said) and completion_write.c (which spells it) share. */
#ifndef SIMULATOR_COMPLETION_PRIVATE_H
#define SIMULATOR_COMPLETION_PRIVATE_H

#include "simulator/completion.h"
#include "simulator/speech.h"

enum sim_answer_kind { SIM_ANSWER_TEXT, SIM_ANSWER_REFUSAL, SIM_ANSWER_TOOL };

struct sim_choice {
	struct sim_speech speech; /* owned; borrows from the completion's texts */
	uint64_t seed;
	const char *finish; /* borrowed: static, or the plan's */
	uint32_t at; /* 0: the role is next; then token at - 1; then the finish; then nothing */
};

struct sim_completion {
	struct sim_plan plan;
	const struct sim_vocabulary *vocabulary;
	struct sim_distribution_set *distributions;
	struct buf prompt;    /* owned */
	struct buf partial;   /* owned: the answer it goes on from; empty: none */
	struct buf model;     /* owned: as a JSON string */
	struct buf name;      /* owned: of the tool that is called */
	struct buf arguments; /* owned: and what with */
	struct buf head;      /* owned: what every frame begins with, up to the choice's index */
	struct sim_choice *choices;  /* owned */
	unsigned choice_count, turn; /* turn: whose frame is next */
	unsigned open;               /* choices that have not finished */
	enum sim_answer_kind kind;
	bool logprobs, include_usage;
	bool repeats; /* each choice begins with a token that is the partial answer */
	bool usage_sent, garbage_sent, ended;
	unsigned top_logprobs;
	uint64_t serial, created_s, fingerprint;
	uint64_t prompt_tokens, tokens, sent;
	uint32_t frames;
};

/* Appends what the frames begin with: {"id":… up to "choices":[. */
void sim_completion_write_head(const struct sim_completion *c, const char *object, struct buf *out);

/* Append one frame of a choice, `data: ` and blank line included. */
void sim_completion_write_role(const struct sim_completion *c, unsigned index, struct buf *out);
void sim_completion_write_token(const struct sim_completion *c, unsigned index, uint32_t token,
                                struct buf *out);
void sim_completion_write_finish(const struct sim_completion *c, unsigned index, struct buf *out);
void sim_completion_write_usage_frame(const struct sim_completion *c, struct buf *out);

/* Append a whole choice, and the usage member's value. */
void sim_completion_write_choice(const struct sim_completion *c, unsigned index, struct buf *out);
void sim_completion_write_usage(const struct sim_completion *c, struct buf *out);

#endif
