/*
 * The event loop of one thread. Other threads reach it through a list under a mutex and a descriptor that wakes
 * the loop; libevent knows of one thread only, and takes no locks. What is buried is freed by an event of its
 * own, once the callback that buried it has returned. It has no lower priority than the rest: libevent would
 * starve it under load.
 */
#include "net/worker.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* How far ahead of the largest descriptor, and how many at a time. */
enum { FD_AHEAD = 512, FD_BLOCK = 1024 };

/* A loop has three descriptors of its own. */
enum { SPARE_FDS = 8 };

struct task {
	struct task *next;
	void (*run)(void *arg);
	void *arg;
};

struct grave {
	struct grave *next;
	void *p;
	void (*destroy)(void *p);
};

struct worker {
	unsigned index;
	struct log *log; /* borrowed */
	struct event_base *base;
	int wake_fd;          /* an eventfd: tasks were posted, or it is to stop */
	struct event *wake;   /* it can be read */
	struct event *sexton; /* activated by worker_bury */
	struct grave *graves;
	int fds; /* those below have their place in libevent's table */

	atomic_bool stopping;
	pthread_mutex_t mutex; /* guards the two below */
	struct task *first, **last;
};

/* Any thread. */
static void
wake(struct worker *worker)
{
	eventfd_write(worker->wake_fd, 1);
}

static void
run_tasks(struct worker *worker)
{
	struct task *task;

	pthread_mutex_lock(&worker->mutex);
	task = worker->first;
	worker->first = NULL;
	worker->last = &worker->first;
	pthread_mutex_unlock(&worker->mutex);
	while (task) {
		struct task *next = task->next;

		task->run(task->arg);
		free(task);
		task = next;
	}
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	eventfd_t count;

	(void)what;
	eventfd_read(fd, &count);
	run_tasks(worker);
	if (atomic_load(&worker->stopping))
		event_base_loopexit(worker->base, NULL);
}

static void
empty_graveyard(struct worker *worker)
{
	while (worker->graves) {
		struct grave *grave = worker->graves;

		worker->graves = grave->next;
		grave->destroy(grave->p);
		free(grave);
	}
}

static void
on_sexton(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	empty_graveyard(arg);
}

/* NULL: no memory. Where there is no descriptor libevent ends the process. */
static struct event_base *
base_new(void)
{
	struct event_config *options = event_config_new();
	struct event_base *base;

	if (!options)
		return NULL;
	/* Collects changes of interest until the loop polls: a third of the system
	 * time of a proxied request otherwise goes to epoll_ctl. */
	event_config_set_flag(options, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
	base = event_base_new_with_config(options);
	event_config_free(options);
	return base;
}

static bool
enter_base(struct worker *worker, struct event_base *base)
{
	worker->base = base;
	worker->fds = 0;
	worker->wake = event_new(base, worker->wake_fd, EV_READ | EV_PERSIST, on_wake, worker);
	worker->sexton = event_new(base, -1, 0, on_sexton, worker);
	return worker->wake && worker->sexton && event_add(worker->wake, NULL) == 0;
}

static void
leave_base(struct worker *worker)
{
	if (worker->wake)
		event_free(worker->wake);
	if (worker->sexton)
		event_free(worker->sexton);
	worker->wake = worker->sexton = NULL;
}

struct worker *
worker_new(unsigned index, struct log *log)
{
	struct worker *worker = mem_new(sizeof(*worker));
	struct event_base *base;

	worker->index = index;
	worker->log = log;
	worker->last = &worker->first;
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&worker->mutex, NULL);
	base = worker->wake_fd < 0 ? NULL : base_new();
	if (!base || !enter_base(worker, base)) {
		worker_free(worker);
		return NULL;
	}
	return worker;
}

void
worker_free(struct worker *worker)
{
	if (!worker)
		return;
	empty_graveyard(worker);
	while (worker->first) {
		struct task *task = worker->first;

		worker->first = task->next;
		free(task);
	}
	leave_base(worker);
	if (worker->base)
		event_base_free(worker->base);
	if (worker->wake_fd >= 0)
		close(worker->wake_fd);
	pthread_mutex_destroy(&worker->mutex);
	free(worker);
}

bool
worker_run(struct worker *worker)
{
	event_base_loop(worker->base, EVLOOP_NO_EXIT_ON_EMPTY);
	/* Tasks own what they carry: those that came too late for the loop are run all the same. */
	run_tasks(worker);
	return atomic_load(&worker->stopping);
}

void
worker_leave(struct worker *worker)
{
	event_base_loopexit(worker->base, NULL);
}

/* Takes descriptors so that nobody else does. False: so many are not to be had. */
static bool
reserve(int fds[SPARE_FDS])
{
	int n = 0;

	while (n < SPARE_FDS && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
		n++;
	if (n == SPARE_FDS)
		return true;
	while (n > 0)
		close(fds[--n]);
	return false;
}

static void
release(const int fds[SPARE_FDS])
{
	for (int i = 0; i < SPARE_FDS; i++)
		close(fds[i]);
}

bool
worker_renew(struct worker *worker, void (*leave)(void *arg), void (*enter)(void *arg), void *arg)
{
	int fds[SPARE_FDS];
	bool left;

	/* WORKAROUND(libevent-2.1): it ends the process when it gets none for a loop.
	 * test_without_a_descriptor_the_loop_stays_as_it_is */
	if (!reserve(fds))
		return false;
	empty_graveyard(worker);
	leave(arg);
	leave_base(worker);
	left = event_base_get_num_events(worker->base,
	                                 EVENT_BASE_COUNT_ADDED | EVENT_BASE_COUNT_ACTIVE) == 0;
	if (left)
		event_base_free(worker->base);
	release(fds);
	if (left)
		worker->base = base_new();
	if (!worker->base || !enter_base(worker, worker->base))
		die("out of memory");
	enter(arg);
	return left;
}

void
worker_stop(struct worker *worker)
{
	atomic_store(&worker->stopping, true);
	wake(worker);
}

void
worker_post(struct worker *worker, void (*run)(void *arg), void *arg)
{
	struct task *task = mem_new(sizeof(*task));
	bool is_first;

	task->run = run;
	task->arg = arg;
	pthread_mutex_lock(&worker->mutex);
	is_first = !worker->first;
	*worker->last = task;
	worker->last = &task->next;
	pthread_mutex_unlock(&worker->mutex);
	/* Whoever put the first one there wakes it for all of them. */
	if (is_first)
		wake(worker);
}

void
worker_run_posted(struct worker *worker)
{
	run_tasks(worker);
}

unsigned
worker_index(const struct worker *worker)
{
	return worker->index;
}

struct log *
worker_log(const struct worker *worker)
{
	return worker->log;
}

uint64_t
worker_now_us(struct worker *worker)
{
	(void)worker;
	return clock_now_us();
}

void
worker_bury(struct worker *worker, void *p, void (*destroy)(void *p))
{
	struct grave *grave = mem_new(sizeof(*grave));

	grave->p = p;
	grave->destroy = destroy;
	grave->next = worker->graves;
	worker->graves = grave;
	event_active(worker->sexton, 0, 0);
}

static void
on_nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/*
 * WORKAROUND(libevent-2.1): it keeps a small block of memory for each descriptor that ever had an event, from the
 * first time on and for good. Made one by one, amid all that a connection allocates, such blocks held 15 MB
 * of pages after 2,000 streams; so they are made many at a time and lie side by side. The change of interest is
 * taken back before the loop polls, so the kernel never hears of it.
 * test_a_descriptor_that_was_noted_takes_no_more_memory
 */
void
worker_note_fd(struct worker *worker, int fd)
{
	struct event event;

	if (fd < worker->fds - FD_AHEAD)
		return;
	for (int end = fd + FD_BLOCK; worker->fds < end; worker->fds++) {
		if (event_assign(&event, worker->base, worker->fds, EV_READ, on_nothing, NULL) <
		            0 ||
		    event_add(&event, NULL) < 0)
			return;
		event_del(&event);
	}
}

struct event_base *
worker_base(struct worker *worker)
{
	return worker->base;
}
