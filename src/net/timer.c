#include "net/timer.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "base/mem.h"

struct timer {
	struct event event;
	void (*on_timer)(void *arg);
	void *arg;
};

static void
on_event(evutil_socket_t fd, short what, void *arg)
{
	struct timer *timer = arg;

	(void)fd;
	(void)what;
	timer->on_timer(timer->arg);
}

struct timer *
timer_new(struct worker *worker, void (*on_timer)(void *arg), void *arg)
{
	struct timer *timer = mem_new(sizeof(*timer));

	timer->on_timer = on_timer;
	timer->arg = arg;
	evtimer_assign(&timer->event, worker_base(worker), on_event, timer);
	return timer;
}

void
timer_free(struct timer *timer)
{
	if (!timer)
		return;
	evtimer_del(&timer->event);
	free(timer);
}

void
timer_arm_ms(struct timer *timer, uint64_t ms)
{
	struct timeval after = {.tv_sec = (time_t)(ms / 1000),
	                        .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	evtimer_add(&timer->event, &after);
}

void
timer_disarm(struct timer *timer)
{
	evtimer_del(&timer->event);
}

void
timer_fire(struct timer *timer)
{
	event_active(&timer->event, EV_TIMEOUT, 0);
}
