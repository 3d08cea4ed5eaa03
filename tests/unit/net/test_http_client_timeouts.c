/* The four timers: each ends a fetch with its own result, and runs only when it should. */
#include "fetching.h"

#include <dlfcn.h>
#include <netdb.h>

static char hello_and_more[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
static char silence[] = "";

enum { RESOLVER_HANG_S = 3 };

/* Stands before libc's: a name that takes long to resolve. Its arguments are named as libc's are. */
int
getaddrinfo(const char *__name, const char *__service, const struct addrinfo *__req,
            struct addrinfo **__pai)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

	if (__name && strcmp(__name, "hangs.invalid") == 0) {
		sleep(RESOLVER_HANG_S);
		return EAI_AGAIN;
	}
	if (__name && strcmp(__name, "unknown.invalid") == 0)
		return EAI_NONAME;
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(__name, __service, __req, __pai);
}

struct limits {
	uint32_t connect_ms, first_byte_ms, idle_ms, total_ms;
};

/* Runs a POST with these limits; how long it took. */
static long
run_limited(struct tape *tape, const struct http_target *target, const char *body,
            struct limits limits)
{
	struct fetching f;
	struct http_fetch_spec spec = spec_post(target, body);
	uint64_t begin_us;
	long took_ms;

	spec.connect_ms = limits.connect_ms;
	spec.first_byte_ms = limits.first_byte_ms;
	spec.idle_ms = limits.idle_ms;
	spec.total_ms = limits.total_ms;
	fetching_open(&f);
	begin_us = clock_now_us();
	tape_start(tape, &f, &spec);
	fetching_run(&f);
	took_ms = (long)((clock_now_us() - begin_us) / 1000);
	ck_assert_int_eq(tape->ends, 1);
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	fetching_close(&f);
	return took_ms;
}

/* As above, against a script. */
static long
run_script(struct tape *tape, void (*script)(struct peer *peer), char *answer, struct limits limits)
{
	struct peer peer;
	struct http_target *target;
	long took_ms;

	peer_start(&peer, script, answer);
	target = target_of_peer(&peer);
	took_ms = run_limited(tape, target, "{}", limits);
	peer_join(&peer);
	http_target_free(target);
	tape_fini(tape);
	return took_ms;
}

static void
assert_took(long took_ms, long expected_ms)
{
	ck_assert_msg(took_ms >= expected_ms && took_ms < expected_ms + 500,
	              "%ld ms instead of %ld", took_ms, expected_ms);
}

/* A listener whose queue is full drops what comes next, so that connecting hangs. */
START_TEST(hanging_connect_is_a_connect_timeout)
{
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;
	struct sockaddr_in address = {.sin_family = AF_INET};
	int fillers[4];

	peer_listen(&peer);
	ck_assert_int_eq(listen(peer.listener, 0), 0);
	address.sin_port = htons(peer.port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_ge(fillers[i], 0);
		if (connect(fillers[i], (struct sockaddr *)&address, sizeof(address)) < 0)
			ck_assert_int_eq(errno, EINPROGRESS);
	}
	target = target_of_peer(&peer);
	assert_took(run_limited(&tape, target, "{}", (struct limits){.connect_ms = 200}), 200);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_CONNECT);
	ck_assert_str_eq(tape.detail, "no connection within 200 ms");
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	peer_join(&peer);
	http_target_free(target);
}
END_TEST

static void
script_accept_only(struct peer *peer)
{
	if (peer_accept(peer))
		peer_await_end(peer);
}

START_TEST(stalled_tls_handshake_is_a_connect_timeout)
{
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;
	char url[64];

	peer_start(&peer, script_accept_only, NULL);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", peer.port);
	target = target_of_url(url);
	assert_took(run_limited(&tape, target, "{}", (struct limits){.connect_ms = 200}), 200);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_CONNECT);
	peer_join(&peer);
	ck_assert_uint_ne(peer.ended_us, 0);
	http_target_free(target);
}
END_TEST

START_TEST(unknown_name_is_a_dns_failure)
{
	struct tape tape = {0};
	struct http_target *target = target_of_url("http://unknown.invalid/v1");

	run_limited(&tape, target, "{}", (struct limits){0});
	assert_result(&tape, HTTP_FETCH_DNS);
	http_target_free(target);
}
END_TEST

struct pulse {
	struct timer *timer;
	uint64_t last_us, longest_us;
	int left;
	struct tape *cancels;
};

static void
on_pulse(void *arg)
{
	struct pulse *pulse = arg;
	uint64_t now_us = clock_now_us();

	if (now_us - pulse->last_us > pulse->longest_us)
		pulse->longest_us = now_us - pulse->last_us;
	pulse->last_us = now_us;
	if (pulse->left-- > 0)
		timer_arm_ms(pulse->timer, 10);
	else if (pulse->cancels)
		tape_cancel(pulse->cancels);
}

/* A pulse of 10 ms goes on through a look-up that is given up by a deadline, and one by a cancel,
 * and by the end of the client. */
START_TEST(resolver_hang_does_not_stall_the_loop)
{
	struct fetching f;
	struct tape late = {0}, cancelled = {0}, freed = {0};
	struct http_target *target = target_of_url("http://hangs.invalid/v1");
	struct http_fetch_spec spec = spec_post(target, "{}");
	struct pulse pulse = {.last_us = clock_now_us(), .left = 30, .cancels = &cancelled};
	uint64_t begin_us;

	fetching_open(&f);
	pulse.timer = timer_new(f.worker, on_pulse, &pulse);
	timer_arm_ms(pulse.timer, 10);
	tape_start(&cancelled, &f, &spec);
	spec.connect_ms = 150;
	tape_start(&late, &f, &spec);
	fetching_run(&f);
	assert_result(&late, HTTP_FETCH_TIMEOUT_CONNECT);
	ck_assert_int_eq(cancelled.ends, 0);
	ck_assert_msg(pulse.longest_us < 500 * 1000, "%lu us", (unsigned long)pulse.longest_us);
	tape_start(&freed, &f, &spec);
	timer_free(pulse.timer);
	begin_us = clock_now_us();
	fetching_close(&f);
	ck_assert_uint_lt(clock_now_us() - begin_us, 500 * 1000);
	http_target_free(target);
}
END_TEST

START_TEST(silence_after_the_request_is_a_first_byte_timeout)
{
	struct tape tape = {0};

	assert_took(run_script(&tape, script_answer_and_await_end, silence,
	                       (struct limits){.connect_ms = 100,
	                                       .first_byte_ms = 300,
	                                       .idle_ms = 50,
	                                       .total_ms = 5000}),
	            300);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_FIRST_BYTE);
	ck_assert_str_eq(tape.detail, "no response within 300 ms");
	ck_assert_uint_gt(tape.times.connected_us, 0);
	ck_assert_uint_eq(tape.times.first_byte_us, 0);
}
END_TEST

START_TEST(whole_seconds_are_told_as_seconds)
{
	struct tape tape = {0};

	assert_took(run_script(&tape, script_answer_and_await_end, silence,
	                       (struct limits){.first_byte_ms = 1000}),
	            1000);
	ck_assert_str_eq(tape.detail, "no response within 1 s");
}
END_TEST

static void
send_slowly(struct peer *peer, const char *text, int times)
{
	for (int i = 0; i < times && peer_send(peer, text); i++)
		peer_wait(peer->fd, POLLIN, 50); /* ends early when the other side does */
}

static void
script_interim_for_ever(struct peer *peer)
{
	if (peer_serve(peer, ""))
		send_slowly(peer, "HTTP/1.1 100 Continue\r\n\r\n", 40);
}

static void
script_head_trickles(struct peer *peer)
{
	if (peer_serve(peer, "HTTP/1.1 200 OK\r\nX-Slow: "))
		send_slowly(peer, "x", 40);
}

START_TEST(neither_interim_heads_nor_a_trickle_are_a_first_byte)
{
	void (*const scripts[])(struct peer *) = {script_interim_for_ever, script_head_trickles};

	for (size_t i = 0; i < 2; i++) {
		struct tape tape = {0};

		assert_took(
		        run_script(&tape, scripts[i], NULL, (struct limits){.first_byte_ms = 300}),
		        300);
		assert_result(&tape, HTTP_FETCH_TIMEOUT_FIRST_BYTE);
		ck_assert_int_eq(tape.heads, 0);
	}
}
END_TEST

static void
script_read_nothing(struct peer *peer)
{
	if (!peer_accept(peer))
		return;
	while (!atomic_load(&peer->stop))
		usleep(1000);
}

START_TEST(request_that_is_not_taken_is_a_first_byte_timeout)
{
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;
	size_t n = 32 << 20;
	char *body = malloc(n + 1);

	memset(body, 'b', n);
	body[n] = '\0';
	peer_start(&peer, script_read_nothing, NULL);
	target = target_of_peer(&peer);
	assert_took(run_limited(&tape, target, body, (struct limits){.first_byte_ms = 300}), 300);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_FIRST_BYTE);
	peer_stop(&peer);
	http_target_free(target);
	free(body);
}
END_TEST

START_TEST(silence_within_the_body_is_an_idle_timeout)
{
	struct tape tape = {0};

	assert_took(run_script(&tape, script_answer_and_await_end, hello_and_more,
	                       (struct limits){.connect_ms = 5000,
	                                       .first_byte_ms = 5000,
	                                       .idle_ms = 250,
	                                       .total_ms = 5000}),
	            250);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_IDLE);
	ck_assert_str_eq(tape.detail, "nothing more of the response within 250 ms");
	ck_assert_int_eq(tape.pieces, 1);
}
END_TEST

START_TEST(silence_after_the_head_is_an_idle_timeout)
{
	struct tape tape = {0};

	assert_took(run_script(&tape, script_answer_and_await_end,
	                       (char[]){"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
	                       (struct limits){.idle_ms = 250}),
	            250);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_IDLE);
}
END_TEST

static void
script_slow_but_steady(struct peer *peer)
{
	if (!peer_serve(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		return;
	send_slowly(peer, "1\r\nx\r\n", 16);
	peer_send(peer, "0\r\n\r\n");
}

START_TEST(each_piece_begins_the_idle_time_anew)
{
	struct tape tape = {0};
	struct limits limits = {.connect_ms = 400, .first_byte_ms = 400, .idle_ms = 400};

	assert_took(run_script(&tape, script_slow_but_steady, NULL, limits), 800);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_int_eq(tape.pieces, 16);
}
END_TEST

START_TEST(total_time_ends_a_steady_stream)
{
	struct tape tape = {0};

	assert_took(run_script(&tape, script_slow_but_steady, NULL,
	                       (struct limits){.connect_ms = 5000,
	                                       .first_byte_ms = 5000,
	                                       .idle_ms = 5000,
	                                       .total_ms = 300}),
	            300);
	assert_result(&tape, HTTP_FETCH_TIMEOUT_TOTAL);
	ck_assert_str_eq(tape.detail, "no complete response within 300 ms");
	ck_assert_int_gt(tape.pieces, 2);
}
END_TEST

static void
on_tape_cancel_other(struct tape *tape)
{
	tape_cancel(tape->arg);
}

/* Two that expire in the same turn: the end of whichever is first cancels the other. */
START_TEST(expired_fetch_may_be_cancelled_by_another_ones_end)
{
	struct fetching f;
	struct peer peer, other;
	struct tape first = {.at_end = on_tape_cancel_other};
	struct tape second = {.at_end = on_tape_cancel_other, .arg = &first};
	struct http_target *target, *others_target;
	struct http_fetch_spec spec;

	peer_start(&peer, script_answer_and_await_end, silence);
	peer_start(&other, script_answer_and_await_end, silence);
	fetching_open(&f);
	target = target_of_peer(&peer);
	others_target = target_of_peer(&other);
	first.arg = &second;
	spec = spec_post(target, "{}");
	spec.total_ms = 200;
	tape_start(&first, &f, &spec);
	spec.target = others_target;
	tape_start(&second, &f, &spec);
	fetching_run(&f);
	ck_assert_int_eq(first.ends + second.ends, 1);
	assert_result(first.ends ? &first : &second, HTTP_FETCH_TIMEOUT_TOTAL);
	fetching_close(&f);
	peer_join(&peer);
	peer_join(&other);
	http_target_free(target);
	http_target_free(others_target);
}
END_TEST

UNIT_MAIN("http_client_timeouts", hanging_connect_is_a_connect_timeout,
          stalled_tls_handshake_is_a_connect_timeout, unknown_name_is_a_dns_failure,
          resolver_hang_does_not_stall_the_loop, silence_after_the_request_is_a_first_byte_timeout,
          whole_seconds_are_told_as_seconds, neither_interim_heads_nor_a_trickle_are_a_first_byte,
          request_that_is_not_taken_is_a_first_byte_timeout,
          silence_within_the_body_is_an_idle_timeout, silence_after_the_head_is_an_idle_timeout,
          each_piece_begins_the_idle_time_anew, total_time_ends_a_steady_stream,
          expired_fetch_may_be_cancelled_by_another_ones_end)
