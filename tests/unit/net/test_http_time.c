/* Deadlines, clients that leave, clients that read slowly. */
#include "http_fixture.h"

static unsigned
elapsed_ms(uint64_t since_us)
{
	return (unsigned)((clock_now_us() - since_us) / 1000);
}

/* Sends one byte every few milliseconds until the server has closed or answered. */
static unsigned
trickle(int fd, const char *text)
{
	uint64_t start = clock_now_us();
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (size_t i = 0; poll(&p, 1, 20) == 0; i++) {
		ck_assert_uint_lt(elapsed_ms(start), 5000);
		say_bytes(fd, text[i] ? text + i : "a", 1);
	}
	return elapsed_ms(start);
}

START_TEST(test_a_request_that_trickles_is_cut_at_the_deadline)
{
	static const char *const request[] = {
	        "GET /hello HTTP/1.1\r\nHost: x\r\nX: ",
	        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11111\r\n",
	};
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	f.options.read_timeout_ms = 400;
	fixture_start(&f);
	for (size_t i = 0; i < sizeof(request) / sizeof(request[0]); i++) {
		int fd = dial(f.port);
		unsigned ms = trickle(fd, request[i]);

		ck_assert_msg(ms >= 350 && ms < 1500, "cut after %u ms", ms);
		hear_all(fd, out, sizeof(out), NULL);
		ck_assert_msg(strncmp(out, "HTTP/1.1 408 ", 13) == 0, "%s", out);
		assert_has(out, "{\"error\":{");
		close(fd);
	}
	ck_assert_int_eq(f.requests, 0);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_connection_that_never_speaks_is_closed_without_a_word)
{
	struct fixture f;
	char out[64];
	uint64_t start;
	int fd;

	fixture_init(&f);
	f.options.read_timeout_ms = 200;
	fixture_start(&f);
	fd = dial(f.port);
	start = clock_now_us();
	ck_assert_uint_eq(hear_all(fd, out, sizeof(out), NULL), 0);
	ck_assert_uint_ge(elapsed_ms(start), 150);
	ck_assert_uint_lt(elapsed_ms(start), 1500);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_an_idle_connection_is_closed_without_a_word)
{
	struct fixture f;
	char out[4096];
	uint64_t start;
	int fd;

	fixture_init(&f);
	f.options.idle_timeout_ms = 200;
	fixture_start(&f);
	fd = dial(f.port);
	for (int i = 0; i < 5; i++) {
		ck_assert(say(fd, GET("/hello")));
		hear_until(fd, out, sizeof(out), "hello");
		usleep(60000);
	}
	start = clock_now_us();
	ck_assert_uint_eq(hear_all(fd, out, sizeof(out), NULL), 0);
	ck_assert_uint_lt(elapsed_ms(start), 1500);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_no_deadline_but_the_writers_holds_while_a_call_runs)
{
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	f.options.idle_timeout_ms = f.options.read_timeout_ms = f.options.write_timeout_ms = 100;
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, GET("/hold")));
	ck_assert(wait_for(&f.held, 1, 2000));
	usleep(400000);
	ck_assert_int_eq(f.gone, 0);
	fixture_do(&f, job_release);
	hear_until(fd, out, sizeof(out), "released");
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_client_that_leaves_during_a_call_is_noticed_within_50_ms)
{
	struct fixture f;
	uint64_t left;

	fixture_init(&f);
	fixture_start(&f);
	for (int i = 0; i < 4; i++) {
		int fd = dial(f.port);
		struct linger reset = {.l_onoff = 1};

		ck_assert(say(fd, GET("/hold")));
		ck_assert(wait_for(&f.held, i + 1, 2000));
		left = clock_now_us();
		if (i == 1) /* a reset instead of a close */
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		if (i == 2) /* half a close counts as one */
			shutdown(fd, SHUT_WR);
		if (i == 3) /* with a request waiting behind the one in progress */
			ck_assert(say(fd, GET("/hello")));
		if (i != 2)
			close(fd);
		ck_assert(wait_for(&f.gone, i + 1, 2000));
		ck_assert_uint_lt(f.gone_us - left, 50000);
		if (i == 2)
			close(fd);
	}
	usleep(20000);
	ck_assert_int_eq(f.gone, 4);
	ck_assert_int_eq(f.requests, 4);
	ck_assert_uint_eq(fixture_calls(&f), 0);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_client_that_leaves_during_a_stream_is_noticed_within_50_ms)
{
	struct fixture f;
	char out[512];
	uint64_t left;
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, GET("/stream/100000000")));
	ck_assert_int_gt(recv(fd, out, sizeof(out), 0), 0);
	left = clock_now_us();
	close(fd);
	ck_assert(wait_for(&f.gone, 1, 2000));
	ck_assert_uint_lt(f.gone_us - left, 50000);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_finished_call_is_never_gone)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	for (int i = 0; i < 50; i++) {
		int fd = dial(f.port);

		ck_assert(say(fd, GET("/stream/2")));
		hear_until(fd, out, sizeof(out), "\r\n0\r\n\r\n");
		close(fd);
	}
	ck_assert_int_eq(f.gone, 0);
	fixture_stop(&f);
	ck_assert_int_eq(f.gone, 0);
}
END_TEST

START_TEST(test_a_slow_reader_holds_back_the_writer)
{
	struct fixture f;
	char *out = mem_new(1 << 20);
	size_t total = 0, body = (size_t)320 * 65536;
	int fd, small = 65536;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	ck_assert(say(fd, GET_CLOSE("/flood/320")));
	ck_assert(wait_for(&f.held, 1, 2000));
	usleep(200000);
	/* What the kernel takes, the high mark and the one piece that crossed it. */
	ck_assert_uint_lt(f.written, (size_t)12 * 1024 * 1024);
	ck_assert_uint_gt(f.pending_max, 256 * 1024);
	ck_assert_uint_lt(f.pending_max, 384 * 1024);
	for (;;) {
		ssize_t n = recv(fd, out, 1 << 20, 0);

		if (n <= 0)
			break;
		total += (size_t)n;
	}
	ck_assert_uint_gt(total, body);
	ck_assert_uint_lt(total, body + 16384);
	ck_assert_uint_lt(f.pending_max, 384 * 1024);
	ck_assert_int_ge(f.drains, 10);
	/* The writer goes on before the last byte has left. */
	ck_assert_int_ge(f.drains_early, 1);
	close(fd);
	free(out);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_reader_that_stops_is_dropped_at_the_write_timeout)
{
	struct fixture f;
	int fd, small = 65536;
	uint64_t start;

	fixture_init(&f);
	f.options.write_timeout_ms = 300;
	fixture_start(&f);
	fd = dial(f.port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	start = clock_now_us();
	ck_assert(say(fd, GET("/flood/3200")));
	ck_assert(wait_for(&f.gone, 1, 5000));
	ck_assert_uint_ge(elapsed_ms(start), 250);
	ck_assert_uint_lt(elapsed_ms(start), 3000);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_reader_that_is_slow_but_steady_is_kept)
{
	struct fixture f;
	char *out = mem_new(1 << 20);
	int fd, small = 65536;

	fixture_init(&f);
	f.options.write_timeout_ms = 300;
	fixture_start(&f);
	fd = dial(f.port);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	ck_assert(say(fd, GET("/flood/3200")));
	ck_assert(wait_for(&f.held, 1, 2000));
	for (int i = 0; i < 20; i++) {
		usleep(50000);
		ck_assert_int_eq(recv(fd, out, 1 << 20, MSG_WAITALL), 1 << 20);
	}
	ck_assert_int_eq(f.gone, 0);
	close(fd);
	free(out);
	fixture_stop(&f);
}
END_TEST

/* The server's end of a connection: it is in this process too. */
static int
other_end(int fd)
{
	struct sockaddr_in mine = {0}, peer = {0};
	socklen_t size = sizeof(mine);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&mine, &size), 0);
	for (int other = 0; other < 1024; other++) {
		size = sizeof(peer);
		if (getpeername(other, (struct sockaddr *)&peer, &size) == 0 &&
		    peer.sin_family == AF_INET && peer.sin_port == mine.sin_port)
			return other;
	}
	return -1;
}

START_TEST(test_small_writes_leave_at_once)
{
	struct fixture f;
	char out[16384];
	uint64_t start;
	int fd, on = 0;
	socklen_t size = sizeof(on);

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, GET("/hello")));
	hear_until(fd, out, sizeof(out), "hello");
	start = clock_now_us();
	ck_assert(say(fd, GET("/stream/64")));
	hear_until(fd, out, sizeof(out), "\r\n0\r\n\r\n");
	ck_assert_uint_lt(elapsed_ms(start), 500);
	/* Nagle's algorithm would hold back each piece that follows another. */
	ck_assert_int_eq(getsockopt(other_end(fd), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
	ck_assert_int_ne(on, 0);
	close(fd);
	fixture_stop(&f);
}
END_TEST

UNIT_MAIN("http_time", test_a_request_that_trickles_is_cut_at_the_deadline,
          test_a_connection_that_never_speaks_is_closed_without_a_word,
          test_an_idle_connection_is_closed_without_a_word,
          test_no_deadline_but_the_writers_holds_while_a_call_runs,
          test_a_client_that_leaves_during_a_call_is_noticed_within_50_ms,
          test_a_client_that_leaves_during_a_stream_is_noticed_within_50_ms,
          test_a_finished_call_is_never_gone, test_a_slow_reader_holds_back_the_writer,
          test_a_reader_that_stops_is_dropped_at_the_write_timeout,
          test_a_reader_that_is_slow_but_steady_is_kept, test_small_writes_leave_at_once)
