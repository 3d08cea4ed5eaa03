/* Pausing: reading stops, memory stays bounded, nothing is lost. */
#include "fetching.h"

#include <fcntl.h>

enum { FLOOD_BYTES = 48 << 20 };

static char hello_whole[] = OK_HELLO;
static char hello_and_more[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

static void
on_tape_pause(struct tape *tape)
{
	http_fetch_pause(tape->fetch);
}

static void
on_resume(void *arg)
{
	struct tape *tape = arg;

	http_fetch_resume(tape->fetch);
}

struct flood {
	struct fetching *f;
	struct tape *tape;
	size_t before_pause; /* what could be written until it did not go on for 300 ms */
	int pieces;          /* on the tape by then */
};

static void
on_flood_blocked(void *arg)
{
	struct flood *flood = arg;

	flood->pieces = flood->tape->pieces;
	http_fetch_resume(flood->tape->fetch);
}

static void
script_flood(struct peer *peer)
{
	struct flood *flood = peer->arg;
	static const char zeros[65536];
	char head[100];
	size_t sent = 0;

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", FLOOD_BYTES);
	if (!peer_serve(peer, head))
		return;
	fcntl(peer->fd, F_SETFL, O_NONBLOCK);
	while (sent < FLOOD_BYTES) {
		ssize_t n = send(peer->fd, zeros, sizeof(zeros), MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
		} else if (!peer_wait(peer->fd, POLLOUT, flood->before_pause ? 10000 : 300)) {
			if (flood->before_pause)
				return;
			flood->before_pause = sent;
			worker_post(flood->f->worker, on_flood_blocked, flood);
		}
	}
	peer_await_end(peer);
}

static void
on_tape_pause_first(struct tape *tape)
{
	if (tape->pieces <= 1)
		http_fetch_pause(tape->fetch);
	tape->body.n = 0; /* counted by Content-Length, not kept */
}

START_TEST(pause_stops_reading_and_resume_loses_nothing)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {.at_data = on_tape_pause_first};
	struct flood flood = {.f = &f, .tape = &tape};
	struct http_target *target;

	fetching_open(&f);
	peer_start(&peer, script_flood, &flood);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_uint_gt(flood.before_pause, 0);
	ck_assert_uint_lt(flood.before_pause, FLOOD_BYTES / 2);
	ck_assert_int_eq(flood.pieces, 1);
	ck_assert_uint_le(tape.largest, 65536);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&tape);
}
END_TEST

struct later {
	struct tape *tape;
	struct timer *timer;
	int pieces, ends; /* when it fired */
	bool in_flight;
	void (*act)(void *arg);
};

static void
on_later(void *arg)
{
	struct later *later = arg;

	later->pieces = later->tape->pieces;
	later->ends = later->tape->ends;
	later->in_flight = http_client_in_flight(later->tape->f->client) == 1;
	later->act(later->tape);
}

/* Runs one fetch; after_ms later `act` is called for it. */
static void
run_with_later(struct tape *tape, struct later *later, void (*script)(struct peer *peer),
               char *answer, uint64_t after_ms, uint32_t idle_ms, uint32_t total_ms)
{
	struct fetching f;
	struct peer peer;
	struct http_target *target;
	struct http_fetch_spec spec;

	peer_start(&peer, script, answer);
	fetching_open(&f);
	target = target_of_peer(&peer);
	spec = spec_post(target, "{}");
	spec.idle_ms = idle_ms;
	spec.total_ms = total_ms;
	later->tape = tape_start(tape, &f, &spec);
	later->timer = timer_new(f.worker, on_later, later);
	timer_arm_ms(later->timer, after_ms);
	fetching_run(&f);
	timer_free(later->timer);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	ck_assert_uint_ne(peer.requests, 0);
}

START_TEST(end_is_held_back_by_a_pause)
{
	struct tape tape = {.at_data = on_tape_pause};
	struct later later = {.act = on_resume};

	run_with_later(&tape, &later, script_answer_and_await_end, hello_whole, 100, 0, 0);
	ck_assert_int_eq(later.pieces, 1);
	ck_assert_int_eq(later.ends, 0);
	ck_assert(later.in_flight);
	assert_result(&tape, HTTP_FETCH_OK);
	tape_fini(&tape);
}
END_TEST

START_TEST(body_is_held_back_by_a_pause_in_the_head)
{
	struct tape tape = {.at_head = on_tape_pause};
	struct later later = {.act = on_resume};

	run_with_later(&tape, &later, script_answer_and_await_end, hello_whole, 100, 0, 0);
	ck_assert_int_eq(later.pieces, 0);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert(tape_body_is(&tape, "hello"));
	tape_fini(&tape);
}
END_TEST

START_TEST(cut_is_held_back_by_a_pause)
{
	struct tape tape = {.at_data = on_tape_pause};
	struct later later = {.act = on_resume};

	run_with_later(&tape, &later, script_answer_and_close, hello_and_more, 100, 0, 0);
	ck_assert_int_eq(later.ends, 0);
	assert_result(&tape, HTTP_FETCH_CUT);
	tape_fini(&tape);
}
END_TEST

static void
on_cancel(void *arg)
{
	tape_cancel(arg);
}

START_TEST(cancel_while_paused)
{
	char *const answers[] = {hello_whole, hello_and_more};

	for (size_t i = 0; i < 2; i++) {
		struct tape body = {.at_data = on_tape_pause}, head = {.at_head = on_tape_pause};
		struct later later = {.act = on_cancel};

		run_with_later(&body, &later, script_answer_and_await_end, answers[i], 100, 0, 0);
		ck_assert_int_eq(body.ends, 0);
		run_with_later(&head, &later, script_answer_and_await_end, answers[i], 100, 0, 0);
		ck_assert_int_eq(head.ends + head.pieces, 0);
		tape_fini(&body);
	}
}
END_TEST

START_TEST(idle_time_does_not_run_while_paused)
{
	struct tape tape = {.at_data = on_tape_pause};
	struct later later = {.act = on_resume};
	uint64_t begin_us = clock_now_us();

	run_with_later(&tape, &later, script_answer_and_await_end, hello_and_more, 400, 150, 0);
	ck_assert_int_eq(later.ends, 0);
	/* It runs again, from its beginning, after the resumption. */
	assert_result(&tape, HTTP_FETCH_TIMEOUT_IDLE);
	ck_assert_uint_ge(clock_now_us() - begin_us, 540 * 1000);
	tape_fini(&tape);
}
END_TEST

static void
on_nothing(void *arg)
{
	(void)arg;
}

START_TEST(total_time_runs_while_paused)
{
	struct tape tape = {.at_head = on_tape_pause};
	struct later later = {.act = on_nothing};

	run_with_later(&tape, &later, script_answer_and_await_end, hello_and_more, 50, 0, 150);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_TOTAL);
	ck_assert_int_eq(tape.pieces, 0);
}
END_TEST

static void
on_tape_pause_and_resume(struct tape *tape)
{
	http_fetch_pause(tape->fetch);
	http_fetch_resume(tape->fetch);
	http_fetch_resume(tape->fetch);
}

START_TEST(pause_and_resume_inside_a_callback)
{
	struct tape tape = {.at_head = on_tape_pause_and_resume,
	                    .at_data = on_tape_pause_and_resume};
	struct later later = {.act = on_nothing};

	run_with_later(&tape, &later, script_answer_and_await_end, hello_whole, 1, 0, 0);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert(tape_body_is(&tape, "hello"));
	tape_fini(&tape);
}
END_TEST

/* Each piece pauses again, also the one that the resumption itself hands over. */
static void
on_tape_pause_and_resume_later(struct tape *tape)
{
	struct timer *timer = tape->arg;

	http_fetch_pause(tape->fetch);
	timer_arm_ms(timer, 1);
}

static void
script_many_pieces(struct peer *peer)
{
	if (!peer_serve(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		return;
	for (int i = 0; i < 200; i++)
		peer_send(peer, "5\r\nhello\r\n");
	peer_send(peer, "0\r\n\r\n");
	peer_await_end(peer);
}

START_TEST(each_piece_may_pause)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {.at_data = on_tape_pause_and_resume_later};
	struct http_target *target;
	struct timer *timer;

	peer_start(&peer, script_many_pieces, NULL);
	fetching_open(&f);
	timer = timer_new(f.worker, on_resume, &tape);
	tape.arg = timer;
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_uint_eq(tape.body.n, 1000);
	timer_free(timer);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&tape);
}
END_TEST

static void
on_timer_stop(void *arg)
{
	worker_stop(arg);
}

static void
on_tape_resume_other(struct tape *tape)
{
	struct tape *other = tape->arg;

	http_fetch_resume(other->fetch);
}

START_TEST(resume_inside_the_callback_of_another_fetch)
{
	struct fetching f;
	struct peer peer, slow;
	struct tape paused = {.at_head = on_tape_pause}, tape = {0};
	struct http_target *target, *slow_target;
	struct http_fetch_spec spec;

	peer_start(&peer, script_answer_and_await_end, hello_whole);
	peer_start(&slow, script_answer_and_await_end, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&peer);
	slow_target = target_of_peer(&slow);
	spec = spec_post(target, "{}");
	tape_start(&paused, &f, &spec);
	tape.at_data = on_tape_resume_other;
	tape.arg = &paused;
	/* The other starts when the first has its head. */
	while (paused.heads == 0) {
		struct timer *timer = timer_new(f.worker, on_timer_stop, f.worker);

		timer_arm_ms(timer, 5);
		worker_run(f.worker);
		timer_free(timer);
	}
	tape_run(&tape, &f, slow_target);
	fetching_run(&f);
	assert_result(&tape, HTTP_FETCH_OK);
	assert_result(&paused, HTTP_FETCH_OK);
	ck_assert(tape_body_is(&paused, "hello"));
	fetching_close(&f);
	peer_join(&peer);
	peer_join(&slow);
	http_target_free(target);
	http_target_free(slow_target);
	tape_fini(&tape);
	tape_fini(&paused);
}
END_TEST

UNIT_MAIN("http_client_pause", pause_stops_reading_and_resume_loses_nothing,
          end_is_held_back_by_a_pause, body_is_held_back_by_a_pause_in_the_head,
          cut_is_held_back_by_a_pause, cancel_while_paused, idle_time_does_not_run_while_paused,
          total_time_runs_while_paused, pause_and_resume_inside_a_callback, each_piece_may_pause,
          resume_inside_the_callback_of_another_fetch)
