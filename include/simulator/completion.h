/*
 * One answer to a chat request, made token by token: as the frames of a stream, one by one, or as one
 * chat.completion. It holds no socket and no clock; its owner sends what it writes, when it is due.
 *
 * Everything in it follows from the seed, the model's name and the prompt, save the id and the time
 * of creation. One thread.
 */
#ifndef SIMULATOR_COMPLETION_H
#define SIMULATOR_COMPLETION_H

#include "simulator/distribution.h"
#include "simulator/plan.h"
#include "simulator/request.h"
#include "simulator/vocabulary.h"

struct sim_completion;

struct sim_completion_spec {
	const struct sim_request *request; /* not needed any more after sim_completion_new */
	const struct sim_plan *plan;       /* copied */
	struct bytes prompt;               /* the last user message without its marks; copied */
	const struct sim_vocabulary *vocabulary; /* borrowed, as the next one */
	struct sim_distribution_set *distributions;
	uint64_t seed;
	uint64_t serial;    /* makes the id unique */
	uint64_t created_s; /* Unix time */
};

/* NULL when there is no memory. */
struct sim_completion *sim_completion_new(const struct sim_completion_spec *spec);
void sim_completion_free(struct sim_completion *c);

enum sim_step {
	SIM_STEP_FRAME, /* one frame was appended */
	SIM_STEP_CUT,   /* the plan says: close the connection now */
	SIM_STEP_STALL, /* the plan says: send nothing more, ever */
	SIM_STEP_END,   /* nothing is left to send */
};

/* Appends the next frame of the stream, `data: …` and the blank line. */
enum sim_step sim_completion_next(struct sim_completion *c, struct buf *out);

/* Appends the whole answer as one document, and counts its tokens as sent. */
void sim_completion_write(struct sim_completion *c, struct buf *out);

/* Tokens in all choices together, and how many of them were written so far. */
uint64_t sim_completion_tokens(const struct sim_completion *c);
uint64_t sim_completion_sent(const struct sim_completion *c);

/* Frames written so far, and choices. */
uint32_t sim_completion_frames(const struct sim_completion *c);
unsigned sim_completion_choices(const struct sim_completion *c);

/* Appends the error object of the error200 mark. */
void sim_completion_write_error(struct buf *out);

#endif
