/* Cancelling, from everywhere: the peer sees it at once, the owner hears nothing more. */
#include "fetching.h"

enum { CANCEL_MAX_MS = 50 };

static char hello_and_more[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
static char hello_whole[] = OK_HELLO;
static char only_head[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
static char silence[] = "";

struct canceller {
	struct tape *victim;
	uint64_t at_us;
	void *wipe; /* freed after the cancel, as an owner may do with a body */
};

static void
cancel_by(struct canceller *c)
{
	tape_cancel(c->victim);
	free(c->wipe);
	c->at_us = clock_now_us();
}

static void
on_tape_cancel(struct tape *tape)
{
	cancel_by(tape->arg);
}

static void
on_timer_cancel(void *arg)
{
	cancel_by(arg);
}

static void
assert_seen_in_time(const struct peer *peer, const struct canceller *c)
{
	ck_assert_uint_ne(peer->ended_us, 0);
	ck_assert_msg(peer->ended_us < c->at_us + CANCEL_MAX_MS * 1000, "seen after %ld us",
	              (long)(peer->ended_us - c->at_us));
}

/* The client is alive, but its loop does not turn, while the peer waits for the end. */
static void
check_own_cancel(bool at_head, char *answer)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct canceller c = {.victim = &tape};
	struct http_target *target;
	struct http_fetch_spec spec;

	peer_start(&peer, script_answer_and_await_end, answer);
	fetching_open(&f);
	target = target_of_peer(&peer);
	spec = spec_post(target, "{}");
	tape.arg = &c;
	if (at_head)
		tape.at_head = on_tape_cancel;
	else
		tape.at_data = on_tape_cancel;
	tape_start(&tape, &f, &spec);
	fetching_run(&f);
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	peer_join(&peer);
	assert_seen_in_time(&peer, &c);
	ck_assert_int_eq(tape.ends, 0);
	ck_assert_int_eq(tape.pieces, at_head ? 0 : 1);
	http_target_free(target);
	fetching_close(&f);
	tape_fini(&tape);
}

START_TEST(cancel_inside_every_callback)
{
	check_own_cancel(true, hello_and_more);
	check_own_cancel(true, hello_whole);
	check_own_cancel(true, only_head);
	check_own_cancel(false, hello_and_more);
	check_own_cancel(false, hello_whole);
}
END_TEST

static void
on_tape_cancel_itself(struct tape *tape)
{
	http_fetch_cancel(tape->fetch);
}

START_TEST(cancel_inside_its_own_end_is_nothing)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {.at_end = on_tape_cancel_itself};
	struct http_target *target;

	peer_start(&peer, script_answer_and_close, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&tape);
}
END_TEST

/* Both peers are asked by turns: after the cancelled one the next fetch must find a new connection. */
static void
script_two_connections(struct peer *peer)
{
	if (!peer_serve(peer, hello_and_more) || !peer_await_end(peer))
		return;
	peer_serve(peer, hello_whole);
}

START_TEST(cancelled_connection_is_closed_and_not_reused)
{
	struct fetching f;
	struct peer peer;
	struct tape first = {.at_data = on_tape_cancel}, second = {0};
	struct canceller c = {.victim = &first};
	struct http_target *target;
	struct http_fetch_spec spec;

	peer_start(&peer, script_two_connections, NULL);
	fetching_open(&f);
	target = target_of_peer(&peer);
	spec = spec_post(target, "{}");
	first.arg = &c;
	tape_start(&first, &f, &spec);
	fetching_run(&f);
	tape_run(&second, &f, target);
	assert_result(&second, HTTP_FETCH_OK);
	ck_assert_uint_eq(http_client_connects(f.client), 2);
	peer_join(&peer);
	assert_seen_in_time(&peer, &c);
	ck_assert_int_eq(peer.accepts, 2);
	fetching_close(&f);
	http_target_free(target);
	tape_fini(&first);
	tape_fini(&second);
}
END_TEST

START_TEST(cancel_from_the_loop_is_seen_at_once)
{
	char *const answers[] = {silence, only_head, hello_and_more};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct fetching f;
		struct peer peer;
		struct tape tape = {0};
		struct canceller c = {.victim = &tape};
		struct http_target *target;
		struct http_fetch_spec spec;
		struct timer *timer;

		peer_start(&peer, script_answer_and_await_end, answers[i]);
		fetching_open(&f);
		target = target_of_peer(&peer);
		spec = spec_post(target, "{}");
		tape_start(&tape, &f, &spec);
		timer = timer_new(f.worker, on_timer_cancel, &c);
		timer_arm_ms(timer, 60);
		fetching_run(&f);
		peer_join(&peer);
		assert_seen_in_time(&peer, &c);
		ck_assert_int_eq(tape.ends, 0);
		ck_assert_uint_eq(http_client_in_flight(f.client), 0);
		timer_free(timer);
		fetching_close(&f);
		http_target_free(target);
		tape_fini(&tape);
	}
}
END_TEST

/* The victim's peer; `ready` is posted once it holds the request. */
static void
on_victim_ready(void *arg)
{
	struct peer *other = arg;

	atomic_store(&other->stop, true); /* lets script_answer_when_told go on */
}

struct victim_script {
	struct fetching *f;
	struct peer *other;
	const char *answer;
	bool reads;
};

static void
script_victim(struct peer *peer)
{
	struct victim_script *v = peer->arg;

	if (!peer_accept(peer) || (v->reads && !peer_read_request(peer)))
		return;
	peer_send(peer, v->answer);
	worker_post(v->f->worker, on_victim_ready, v->other);
	if (v->reads)
		peer_await_end(peer);
	else
		while (!atomic_load(&peer->stop))
			usleep(1000);
	peer_await_end(peer);
}

static void
script_answer_when_told(struct peer *peer)
{
	if (!peer_accept(peer) || !peer_read_request(peer))
		return;
	while (!atomic_load(&peer->stop))
		usleep(1000);
	peer_send(peer, peer->arg);
	peer_await_end(peer);
}

/* A fetch cancels another one inside its callback; the other's body is freed at once. */
static void
check_cancel_of_another(const char *victims_answer, size_t body_bytes, bool victim_reads,
                        bool at_head)
{
	struct fetching f;
	struct peer peer, victims_peer;
	struct tape tape = {0}, victim = {0};
	struct canceller c = {.victim = &victim, .wipe = malloc(body_bytes)};
	struct victim_script v = {&f, &peer, victims_answer, victim_reads};
	struct http_target *target, *victims_target;
	struct http_fetch_spec spec, victims_spec;

	memset(c.wipe, 'b', body_bytes);
	fetching_open(&f);
	peer_start(&peer, script_answer_when_told, hello_whole);
	peer_start(&victims_peer, script_victim, &v);
	target = target_of_peer(&peer);
	victims_target = target_of_peer(&victims_peer);
	spec = spec_post(target, "{}");
	victims_spec = spec_post(victims_target, "");
	victims_spec.body = (struct bytes){c.wipe, body_bytes};
	tape.arg = &c;
	if (at_head)
		tape.at_head = on_tape_cancel;
	else
		tape.at_end = on_tape_cancel;
	tape_start(&tape, &f, &spec);
	tape_start(&victim, &f, &victims_spec);
	fetching_run(&f);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_int_eq(victim.ends, 0);
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	atomic_store(&victims_peer.stop, true);
	peer_join(&victims_peer);
	ck_assert_uint_ne(victims_peer.ended_us, 0);
	if (victim_reads)
		assert_seen_in_time(&victims_peer, &c);
	fetching_close(&f);
	peer_join(&peer);
	http_target_free(target);
	http_target_free(victims_target);
	tape_fini(&tape);
	tape_fini(&victim);
}

START_TEST(cancel_of_another_fetch_inside_a_callback)
{
	for (int at_head = 0; at_head <= 1; at_head++) {
		check_cancel_of_another(silence, 100, true, at_head);
		check_cancel_of_another(only_head, 100, true, at_head);
		check_cancel_of_another(hello_and_more, 100, true, at_head);
		/* While its body is being sent. */
		check_cancel_of_another(silence, 8 << 20, false, at_head);
	}
}
END_TEST

struct starter {
	struct tape tapes[3];
	struct http_target *target;
	int used;
};

static void
on_tape_start_another(struct tape *tape)
{
	struct starter *s = tape->arg;
	struct http_fetch_spec spec = spec_post(s->target, "{}");

	tape_start(&s->tapes[s->used++], tape->f, &spec);
}

START_TEST(start_inside_every_callback)
{
	struct fetching f;
	struct peer peer;
	struct starter s = {0};
	struct tape tape = {.at_head = on_tape_start_another,
	                    .at_data = on_tape_start_another,
	                    .at_end = on_tape_start_another,
	                    .arg = &s};

	/* One connection after the other: what waits is accepted when the last one has gone. */
	peer_start(&peer, script_answer_always,
	           (char[]){"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
	                    "Connection: close\r\n\r\nhello"});
	fetching_open(&f);
	s.target = target_of_peer(&peer);
	tape_run(&tape, &f, s.target);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_int_eq(s.used, 3);
	for (int i = 0; i < 3; i++) {
		assert_result(&s.tapes[i], HTTP_FETCH_OK);
		tape_fini(&s.tapes[i]);
	}
	fetching_close(&f);
	peer_stop(&peer);
	http_target_free(s.target);
	tape_fini(&tape);
}
END_TEST

static void
on_tape_start_and_cancel(struct tape *tape)
{
	struct starter *s = tape->arg;

	on_tape_start_another(tape);
	tape_cancel(&s->tapes[s->used - 1]);
}

START_TEST(fetch_may_be_cancelled_before_it_began)
{
	struct fetching f;
	struct peer peer;
	struct starter s = {0};
	struct tape tape = {.at_head = on_tape_start_and_cancel,
	                    .at_data = on_tape_start_and_cancel,
	                    .at_end = on_tape_start_and_cancel,
	                    .arg = &s};

	peer_start(&peer, script_answer_and_await_end, hello_whole);
	fetching_open(&f);
	s.target = target_of_peer(&peer);
	tape_run(&tape, &f, s.target);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_int_eq(s.used, 3);
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	ck_assert_uint_eq(http_client_connects(f.client), 1);
	fetching_close(&f);
	peer_join(&peer);
	http_target_free(s.target);
	tape_fini(&tape);
}
END_TEST

static void
on_timer_stop(void *arg)
{
	worker_stop(arg);
}

/* Fetches in each state: connecting, waiting, receiving, its end held back; and idle connections. */
START_TEST(client_is_freed_with_fetches_in_flight)
{
	struct fetching f;
	struct peer served, mute, streaming, held;
	struct tape tapes[5] = {0};
	struct peer *const peers[] = {&served, &mute, &streaming, &held};
	struct http_target *targets[4];
	struct timer *timer;

	peer_start(&served, script_answer_and_await_end, hello_whole);
	peer_start(&mute, script_answer_and_await_end, silence);
	peer_start(&streaming, script_answer_and_await_end, hello_and_more);
	peer_start(&held, script_answer_and_await_end, hello_whole);
	fetching_open(&f);
	for (int i = 0; i < 4; i++) {
		struct http_fetch_spec spec;

		targets[i] = target_of_peer(peers[i]);
		spec = spec_post(targets[i], "{}");
		tape_start(&tapes[i], &f, &spec);
	}
	http_fetch_pause(tapes[3].fetch);
	timer = timer_new(f.worker, on_timer_stop, f.worker);
	timer_arm_ms(timer, 100);
	worker_run(f.worker);
	ck_assert_int_eq(tapes[0].ends, 1);
	ck_assert_int_eq(tapes[2].pieces, 1);
	ck_assert_int_eq(tapes[3].heads, 1);
	tape_start(&tapes[4], &f, &(struct http_fetch_spec){.target = targets[1], .method = "GET"});
	ck_assert_uint_eq(http_client_in_flight(f.client), 4);
	timer_free(timer);
	fetching_close(&f);
	ck_assert_int_eq(tapes[1].ends + tapes[2].ends + tapes[3].ends + tapes[4].ends, 0);
	for (int i = 0; i < 4; i++) {
		peer_join(peers[i]);
		ck_assert_uint_ne(peers[i]->ended_us, 0);
		http_target_free(targets[i]);
	}
	for (int i = 0; i < 5; i++)
		tape_fini(&tapes[i]);
}
END_TEST

UNIT_MAIN("http_client_cancel", cancel_inside_every_callback, cancel_inside_its_own_end_is_nothing,
          cancelled_connection_is_closed_and_not_reused, cancel_from_the_loop_is_seen_at_once,
          cancel_of_another_fetch_inside_a_callback, start_inside_every_callback,
          fetch_may_be_cancelled_before_it_began, client_is_freed_with_fetches_in_flight)
