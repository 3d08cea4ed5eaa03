#include "net/worker.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/timer.h"
#include "unit.h"

#define THREADS 4
#define POSTS   2000

struct room {
	struct worker *worker;
	struct timer *timer;
	pthread_t thread; /* the worker's */
	int last[THREADS];
	int posts, buried, fired;
	uint64_t start_us, fired_us;
	bool in_callback;
};

struct note {
	struct room *room;
	int sender, number;
};

static void
on_note(void *arg)
{
	struct note *note = arg;
	struct room *room = note->room;

	ck_assert(pthread_equal(pthread_self(), room->thread));
	ck_assert_int_eq(room->last[note->sender], note->number - 1);
	room->last[note->sender] = note->number;
	free(note);
	if (++room->posts == THREADS * POSTS)
		worker_stop(room->worker);
}

struct sender {
	struct room *room;
	int number;
};

static void *
send_notes(void *arg)
{
	struct sender *sender = arg;

	for (int i = 1; i <= POSTS; i++) {
		struct note *note = mem_new(sizeof(*note));

		*note = (struct note){sender->room, sender->number, i};
		worker_post(sender->room->worker, on_note, note);
	}
	return NULL;
}

START_TEST(test_posts_run_on_the_workers_thread_in_the_order_of_each_sender)
{
	struct room room = {.worker = worker_new(3, NULL), .thread = pthread_self()};
	struct sender sender[THREADS];
	pthread_t thread[THREADS];

	ck_assert_uint_eq(worker_index(room.worker), 3);
	ck_assert_ptr_null(worker_log(room.worker));
	for (int i = 0; i < THREADS; i++) {
		sender[i] = (struct sender){&room, i};
		pthread_create(&thread[i], NULL, send_notes, &sender[i]);
	}
	worker_run(room.worker);
	ck_assert_int_eq(room.posts, THREADS * POSTS);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	worker_free(room.worker);
}
END_TEST

static void
destroy_one(void *arg)
{
	struct room *room = arg;

	ck_assert(!room->in_callback);
	room->buried++;
}

static void
destroy_and_bury(void *arg)
{
	struct room *room = arg;

	destroy_one(room);
	worker_bury(room->worker, room, destroy_one);
}

static void
stop(void *arg)
{
	worker_stop(((struct room *)arg)->worker);
}

static void
bury(void *arg)
{
	struct room *room = arg;

	room->in_callback = true;
	worker_bury(room->worker, room, destroy_one);
	worker_bury(room->worker, room, destroy_and_bury);
	ck_assert_int_eq(room->buried, 0);
	room->in_callback = false;
	worker_post(room->worker, stop, room);
}

START_TEST(test_what_is_buried_goes_after_the_callback_returned)
{
	struct room room = {.worker = worker_new(0, NULL)};

	worker_post(room.worker, bury, &room);
	worker_run(room.worker);
	ck_assert_int_eq(room.buried, 3);
	worker_free(room.worker);
}
END_TEST

START_TEST(test_freeing_a_worker_empties_its_graveyard_and_drops_its_posts)
{
	struct room room = {.worker = worker_new(0, NULL)};

	worker_bury(room.worker, &room, destroy_and_bury);
	worker_post(room.worker, bury, &room);
	worker_free(room.worker);
	ck_assert_int_eq(room.buried, 2);
	worker_free(NULL);
}
END_TEST

static void
on_timer(void *arg)
{
	struct room *room = arg;

	room->fired++;
	room->fired_us = clock_now_us();
	if (room->fired == 1)
		timer_arm_ms(room->timer, 0);
	if (room->fired == 2) {
		timer_free(room->timer);
		worker_stop(room->worker);
	}
}

START_TEST(test_a_timer_fires_once_each_time_it_is_armed)
{
	struct room room = {.worker = worker_new(0, NULL)};
	struct timer *other;

	room.timer = timer_new(room.worker, on_timer, &room);
	other = timer_new(room.worker, stop, &room);
	timer_arm_ms(other, 5);
	timer_disarm(other);
	room.start_us = worker_now_us(room.worker);
	timer_arm_ms(room.timer, 5);
	timer_arm_ms(room.timer, 30);
	worker_run(room.worker);
	ck_assert_int_eq(room.fired, 2);
	ck_assert_uint_ge(room.fired_us - room.start_us, 29000);
	timer_free(other);
	timer_free(NULL);
	worker_free(room.worker);
}
END_TEST

static void *
stop_soon(void *arg)
{
	struct room *room = arg;

	worker_stop(room->worker);
	return NULL;
}

START_TEST(test_an_idle_worker_is_stopped_from_another_thread)
{
	struct room room = {.worker = worker_new(0, NULL)};
	pthread_t thread;

	for (int i = 0; i < 20; i++) { /* and it can run again */
		pthread_create(&thread, NULL, stop_soon, &room);
		worker_run(room.worker);
		pthread_join(thread, NULL);
	}
	worker_free(room.worker);
}
END_TEST

static int taken; /* pieces of memory by libevent */
static int given_back;

static void *
take_memory(size_t size)
{
	taken++;
	return malloc(size);
}

static void
give_memory_back(void *p)
{
	given_back += p != NULL;
	free(p);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* What libevent takes for the first event of a descriptor. */
static int
taken_for_event(struct worker *worker, int fd)
{
	struct event *event = event_new(worker_base(worker), fd, EV_READ, on_readable, NULL);
	int before = taken;

	ck_assert_int_eq(event_add(event, NULL), 0);
	before = taken - before;
	event_free(event);
	return before;
}

START_TEST(test_a_descriptor_that_was_noted_takes_no_more_memory)
{
	struct worker *worker;
	int ends[2];

	event_set_mem_functions(take_memory, realloc, free);
	ck_assert_int_eq(pipe(ends), 0);
	worker = worker_new(0, NULL);
	ck_assert_int_gt(taken_for_event(worker, 300), 0);
	worker_note_fd(worker, ends[0]);
	ck_assert_int_eq(taken_for_event(worker, ends[0]), 0);
	ck_assert_int_eq(taken_for_event(worker, ends[1]), 0);
	ck_assert_int_eq(taken_for_event(worker, ends[0] + 500), 0);
	ck_assert_int_gt(taken_for_event(worker, ends[0] + 5000), 0);
	worker_note_fd(worker, ends[0] + 4000);
	ck_assert_int_eq(taken_for_event(worker, ends[0] + 4500), 0);
	worker_free(worker);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static void
leave(void *arg)
{
	struct room *room = arg;

	timer_free(room->timer);
	room->timer = NULL;
}

static void
enter(void *arg)
{
	struct room *room = arg;

	room->timer = timer_new(room->worker, on_timer, room);
	timer_arm_ms(room->timer, 5);
}

static void
leave_loop(void *arg)
{
	worker_leave(((struct room *)arg)->worker);
}

START_TEST(test_a_loop_made_anew_goes_on_without_the_tables_of_the_old_one)
{
	struct room room = {0};
	pthread_t thread;

	event_set_mem_functions(take_memory, realloc, give_memory_back);
	room.worker = worker_new(0, NULL);
	enter(&room);
	worker_post(room.worker, leave_loop, &room);
	ck_assert(!worker_run(room.worker));
	worker_note_fd(room.worker, 3000);
	worker_bury(room.worker, &room, destroy_one);
	given_back = 0;
	ck_assert(worker_renew(room.worker, leave, enter, &room));
	ck_assert_int_gt(given_back, 3000);
	ck_assert_int_eq(room.buried, 1);
	ck_assert_int_gt(taken_for_event(room.worker, 300), 0);

	/* What wakes it still does, and what was put onto it runs. */
	ck_assert(worker_run(room.worker));
	ck_assert_int_eq(room.fired, 2);
	pthread_create(&thread, NULL, stop_soon, &room);
	ck_assert(worker_run(room.worker));
	pthread_join(thread, NULL);
	worker_free(room.worker);
}
END_TEST

START_TEST(test_a_stop_that_comes_while_the_loop_is_made_anew_is_not_lost)
{
	struct room room = {.worker = worker_new(0, NULL)};

	enter(&room);
	timer_disarm(room.timer);
	worker_stop(room.worker);
	ck_assert(worker_renew(room.worker, leave, enter, &room));
	timer_disarm(room.timer);
	ck_assert(worker_run(room.worker));
	leave(&room);
	worker_free(room.worker);
}
END_TEST

START_TEST(test_a_loop_with_something_left_on_it_stays)
{
	struct room room = {.worker = worker_new(0, NULL)};
	struct timer *left = timer_new(room.worker, stop, &room);

	enter(&room);
	timer_arm_ms(left, 0);
	ck_assert(!worker_renew(room.worker, leave, enter, &room));
	timer_disarm(room.timer);
	ck_assert(worker_run(room.worker)); /* it is what was left that stops it */
	timer_free(left);
	leave(&room);
	worker_free(room.worker);
}
END_TEST

START_TEST(test_without_a_descriptor_the_loop_stays_as_it_is)
{
	struct room room = {.worker = worker_new(0, NULL)};
	struct rlimit limit, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	enter(&room);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert(!worker_renew(room.worker, leave, enter, &room));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_ptr_nonnull(room.timer);
	ck_assert(worker_run(room.worker));
	ck_assert_int_eq(room.fired, 2);
	worker_free(room.worker);
}
END_TEST

UNIT_MAIN("worker", test_a_descriptor_that_was_noted_takes_no_more_memory,
          test_posts_run_on_the_workers_thread_in_the_order_of_each_sender,
          test_what_is_buried_goes_after_the_callback_returned,
          test_freeing_a_worker_empties_its_graveyard_and_drops_its_posts,
          test_a_timer_fires_once_each_time_it_is_armed,
          test_an_idle_worker_is_stopped_from_another_thread,
          test_a_loop_made_anew_goes_on_without_the_tables_of_the_old_one,
          test_a_stop_that_comes_while_the_loop_is_made_anew_is_not_lost,
          test_a_loop_with_something_left_on_it_stays,
          test_without_a_descriptor_the_loop_stays_as_it_is)
