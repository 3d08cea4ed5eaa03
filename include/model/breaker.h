/*
 * A circuit breaker: stops asking a model that keeps failing. Pure: the caller brings the time.
 *
 *	CLOSED ──(failures in a row, or too large a part of the recent ones)──► OPEN
 *	   ▲                                                                   │ open_ms, doubling to open_max_ms
 *	   └────── the probe succeeds ────── HALF_OPEN ◄───────────────────────┘
 *	                                         └── the probe fails ──► OPEN, for twice as long
 *
 * Plain data, embedded; whoever shares one brings the lock.
 */
#ifndef MODEL_BREAKER_H
#define MODEL_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker_options {
	unsigned failures; /* so many in a row open it; 0: that rule is off */
	double failed_part; /* this part (0 to 1) of at least `minimum` results within the window opens it; 0: off */
	unsigned minimum;              /* results within the window */
	uint32_t window_ms;            /* 0: the rule of the part is off */
	uint32_t open_ms, open_max_ms; /* a maximum below open_ms: it does not double */
};

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

/* What a request may do: go; go as the one probe; or not at all. */
enum breaker_answer { BREAKER_PASS, BREAKER_PROBE, BREAKER_REFUSED };

enum { BREAKER_SLOTS = 10 }; /* the window is counted in so many parts */

struct breaker {
	struct breaker_options options;
	enum breaker_state state;
	bool probing; /* a probe is out, whatever became of the state since */
	unsigned failed_in_row;
	unsigned opened_in_row; /* times it opened since it was closed: doubles the pause */
	uint64_t due_ms;        /* OPEN: when it becomes half-open */
	struct {
		uint64_t tick; /* which part of time the slot counts */
		unsigned failed, total;
	} slots[BREAKER_SLOTS];
};

void breaker_init(struct breaker *breaker, const struct breaker_options *options);

/* New options of a reload. What was counted stays, but for a window of another length, which starts anew. A
 * pause under way runs as it was begun. An open breaker closes when both rules are switched off. */
void breaker_configure(struct breaker *breaker, const struct breaker_options *options);

/* May a request go? After BREAKER_PROBE exactly one of the three below must follow, with probe true. */
enum breaker_answer breaker_ask(struct breaker *breaker, uint64_t now_ms);

/* How a request ended. `probe`: it was the probe. A breaker that is not closed heeds the probe's result only:
 * requests begun before it opened neither close nor prolong it; but the success of one that went without
 * asking (panic) closes it. Closing forgets all counts. breaker_neutral: it ended without telling anything
 * (cancelled, or the request's own fault); if it was the probe, the next to ask is the probe. */
void breaker_success(struct breaker *breaker, bool probe, bool panic, uint64_t now_ms);
void breaker_failure(struct breaker *breaker, bool probe, uint64_t now_ms);
void breaker_neutral(struct breaker *breaker, bool probe);

/* As it stands at that time: an open one whose pause is over is half-open. */
enum breaker_state breaker_state_at(const struct breaker *breaker, uint64_t now_ms);
const char *breaker_state_name(enum breaker_state state); /* closed, open, half_open */

#endif
