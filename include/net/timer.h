/* A one-shot timer on a worker's loop. Owned by its creator; same thread. */
#ifndef NET_TIMER_H
#define NET_TIMER_H

#include "net/worker.h"

struct timer;

struct timer *timer_new(struct worker *worker, void (*on_timer)(void *arg), void *arg);
void timer_free(struct timer *timer); /* NULL is allowed; safe inside on_timer */

/* (Re)arms it to fire once after that many milliseconds; 0 fires on the next turn. */
void timer_arm_ms(struct timer *timer, uint64_t ms);
void timer_disarm(struct timer *timer);

/* Has it fire once behind what else is due in this turn of the loop. */
void timer_fire(struct timer *timer);

#endif
