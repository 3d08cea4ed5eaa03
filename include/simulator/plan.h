/*
 * How one answer is to be given: its speed, its length, how sure of itself it is, and what goes
 * wrong with it. A plan is made by applying marks on top of each other: those of the command line,
 * those of the model's profile, a fault drawn by lot, those in the prompt.
 *
 * Marks are written `name` or `name=value`, several with commas between them, and `MODEL:` in front when
 * they are for one model only. The names are in sim_plan_help(). Plain data; copies freely.
 */
#ifndef SIMULATOR_PLAN_H
#define SIMULATOR_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { SIM_POINTS_MAX = 16, SIM_NEVER = UINT32_MAX };

/* The entropy of one token, or of all from that one on. */
struct sim_point {
	uint32_t token; /* counted from 1 */
	bool onward;
	double bits;
};

struct sim_plan {
	uint32_t tokens; /* length of the answer */
	double entropy; /* mean bits per token; each token has between half and three halves of it */
	double uncertain;  /* share of prompts that get one uncertain token; negative: not said */
	bool entropy_said; /* a mark set `entropy` or a point */
	struct sim_point points[SIM_POINTS_MAX];
	size_t point_count;

	uint32_t delay_ms;   /* before the first byte */
	double tokens_per_s; /* 0: all at once */

	/* Counted in frames sent before it happens; SIM_NEVER: it does not. */
	uint32_t cut, stall, garbage, error200;
	uint16_t status;        /* answer with this error; 0: no */
	uint32_t retry_after_s; /* SIM_NEVER: no such header */
	bool html502, empty, no_logprobs, no_done, refusal, tool, echo;
	char finish[24]; /* finish_reason of an answer that was not cut short; empty: as it comes */
};

enum sim_mark_result {
	SIM_MARK_OK,      /* applied, or for another model */
	SIM_MARK_UNKNOWN, /* no such name */
	SIM_MARK_BAD,     /* a value that cannot be; `error` says why */
};

void sim_plan_init(struct sim_plan *plan);

/* Applies a list of marks, all or none. model: of the request; NULL: marks for any one model are
 * checked and left out. */
enum sim_mark_result sim_plan_apply(struct sim_plan *plan, struct bytes marks, const char *model,
                                    char *error, size_t size);

enum sim_mark_scope {
	SIM_MARKS_ALL,
	SIM_MARKS_ADDRESSED, /* only those that name their model */
};

/*
 * Applies the [[marks]] in a prompt and appends the rest of it to `text`. Brackets that hold no known
 * mark are part of the rest. An entropy said in the prompt leaves no room for a doubt by lot. False,
 * with a message in error[size], for a known mark with a bad value.
 */
bool sim_plan_read_prompt(struct sim_plan *plan, struct bytes prompt, enum sim_mark_scope scope,
                          const char *model, struct buf *text, char *error, size_t size);

/*
 * Gives the prompts that smell of doubt (they hold a word such as "maybe", "opinion" or "poem", or
 * the lot falls on them) one token of SIM_DOUBT_BITS among the first ten. Nothing when `uncertain`
 * is 0, or is not said while an entropy is.
 */
void sim_plan_add_doubt(struct sim_plan *plan, struct bytes prompt, uint64_t seed);

#define SIM_DOUBT_BITS 3.5

/* The entropy of a token (counted from 1); bits: chance for this token. */
double sim_plan_entropy(const struct sim_plan *plan, uint32_t token, uint64_t bits);

/* One line a mark, for --help. Static. */
const char *sim_plan_help(void);

#endif
