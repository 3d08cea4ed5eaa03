/* Connections above max_connections: told why, turned away, and never able to stay. */
#include "http_fixture.h"

#define LIMIT   4
#define SURPLUS 64 /* the least that may be open to be turned away */

static int
held(struct fixture *f)
{
	int fd = dial(f->port);
	char out[4096];

	ck_assert(say(fd, GET("/hello")));
	hear_until(fd, out, sizeof(out), "hello");
	return fd;
}

/* A server with all its places taken by kept-alive connections. */
static void
fixture_fill(struct fixture *f, int fd[LIMIT])
{
	f->options.max_connections = LIMIT;
	fixture_start(f);
	for (int i = 0; i < LIMIT; i++)
		fd[i] = held(f);
}

static void
close_all(const int *fd, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fd[i]);
}

/* Waits until just so many connections are open. */
static void
await_connections(struct fixture *f, unsigned count)
{
	for (int i = 0; i < 5000 && fixture_connections(f) != count; i++)
		usleep(1000);
	ck_assert_uint_eq(f->connections, count);
}

static void
assert_turned_away(const char *out)
{
	assert_has(out, "HTTP/1.1 503 Service Unavailable\r\n");
	assert_has(out, "\r\nRetry-After: 1\r\n");
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "\r\nContent-Type: application/json\r\n");
	assert_has(out, "\"type\":\"overloaded_error\"");
}

START_TEST(test_a_request_above_the_limit_gets_503_and_no_handler)
{
	static const char *const request[] = {
	        GET("/hello"),
	        GET_CLOSE("/hello"),
	        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
	        "Expect: 100-continue\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
	        "GET /hello HTTP/1.0\r\n\r\n",
	        GET("/hello") GET("/hello") GET("/hello"),
	        "G",
	};
	struct fixture f;
	int fd[LIMIT];
	char out[4096];

	fixture_init(&f);
	fixture_fill(&f, fd);
	for (size_t i = 0; i < sizeof(request) / sizeof(request[0]); i++) {
		ask(&f, request[i], out, sizeof(out));
		assert_turned_away(out);
		ck_assert_ptr_null(strstr(out + 1, "HTTP/1.1")); /* one answer */
		ck_assert_int_eq(f.refused, (int)i + 1);
		ck_assert_int_eq(f.refused_status, 503);
	}
	ck_assert_int_eq(f.requests, LIMIT);
	/* The others notice nothing. */
	for (int i = 0; i < LIMIT; i++) {
		ck_assert(say(fd[i], GET("/hello")));
		hear_until(fd[i], out, sizeof(out), "hello");
	}
	close_all(fd, LIMIT);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_room_by_the_first_byte_is_room_enough)
{
	struct fixture f;
	int fd[LIMIT], late, later;
	char out[4096];

	fixture_init(&f);
	fixture_fill(&f, fd);
	late = dial(f.port);
	later = dial(f.port);
	await_connections(&f, LIMIT + 2);
	close(fd[0]);
	await_connections(&f, LIMIT + 1);
	for (int i = 0; i < 3; i++) { /* and it stays */
		ck_assert(say(late, GET("/hello")));
		hear_until(late, out, sizeof(out), "hello");
	}
	ck_assert(say(later, GET("/hello")));
	hear_all(later, out, sizeof(out), NULL);
	assert_turned_away(out);
	close(late);
	close(later);
	await_connections(&f, LIMIT - 1);
	fd[0] = held(&f);
	close_all(fd, LIMIT);
	fixture_stop(&f);
}
END_TEST

/* However large the body is and however it is sent, the answer is there to be read. */
START_TEST(test_a_client_in_the_middle_of_a_large_body_can_read_the_503)
{
	static const char head[] =
	        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n";
	static char body[16777216];
	struct fixture f;
	int fd[LIMIT], large;
	char out[4096];
	bool reset;

	fixture_init(&f);
	f.options.max_body_bytes = sizeof(body);
	fixture_fill(&f, fd);
	for (int whole = 0; whole < 2; whole++) {
		large = dial(f.port);
		ck_assert(say(large, head));
		if (!whole) /* the answer comes before the body */
			hear_until(large, out, sizeof(out), "}}");
		ck_assert(say_bytes(large, body, sizeof(body)));
		if (whole)
			hear_until(large, out, sizeof(out), "}}");
		assert_turned_away(out);
		hear_all(large, out, sizeof(out), &reset);
		ck_assert(!reset);
		close(large);
	}
	ck_assert_int_eq(f.requests, LIMIT);
	close_all(fd, LIMIT);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_silence_above_the_limit_lasts_two_seconds_at_most)
{
	static const uint32_t read_timeout_ms[] = {0, 10000, 300};
	static const uint64_t expected_ms[] = {2000, 2000, 300};
	struct fixture f;
	int fd[LIMIT], silent;
	uint64_t start, taken;
	char out[64];

	for (size_t i = 0; i < 3; i++) {
		fixture_init(&f);
		f.options.read_timeout_ms = read_timeout_ms[i];
		fixture_fill(&f, fd);
		start = clock_now_us();
		silent = dial(f.port);
		ck_assert_uint_eq(hear_all(silent, out, sizeof(out), NULL), 0);
		taken = clock_now_us() - start;
		ck_assert_uint_ge(taken, (expected_ms[i] - 50) * 1000);
		ck_assert_uint_le(taken, (expected_ms[i] + 1500) * 1000);
		close(silent);
		ck_assert_int_eq(f.refused, 0); /* it asked for nothing */
		close_all(fd, LIMIT);
		fixture_stop(&f);
	}
}
END_TEST

START_TEST(test_one_that_is_turned_away_and_does_not_go_is_closed)
{
	struct fixture f;
	int fd[LIMIT], stays, talks;

	fixture_init(&f);
	fixture_fill(&f, fd);
	stays = dial(f.port);
	ck_assert(say(stays, GET("/hello")));
	talks = dial(f.port);
	ck_assert(say(talks, "POST /echo HTTP/1.1\r\nContent-Length: 1000000\r\n"));
	ck_assert(wait_for(&f.refused, 2, 2000));
	for (int i = 0; i < 200 && fixture_connections(&f) > LIMIT; i++) {
		say(talks, "x");
		usleep(20000);
	}
	ck_assert_uint_eq(f.connections, LIMIT);
	close(stays);
	close(talks);
	close_all(fd, LIMIT);
	fixture_stop(&f);
}
END_TEST

/* Is there an answer, or an end, within `ms`? */
static bool
answers(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

START_TEST(test_accepting_pauses_where_too_many_wait_to_be_turned_away_and_resumes)
{
	struct fixture f;
	int fd[LIMIT], waiting[SURPLUS], beyond[2];
	char out[4096];

	fixture_init(&f);
	fixture_fill(&f, fd);
	for (int i = 0; i < SURPLUS; i++)
		waiting[i] = dial(f.port);
	await_connections(&f, LIMIT + SURPLUS);
	for (int i = 0; i < 2; i++) {
		beyond[i] = dial(f.port);
		ck_assert(say(beyond[i], GET("/hello")));
	}
	ck_assert(!answers(beyond[0], 100));
	ck_assert_uint_eq(fixture_connections(&f), LIMIT + SURPLUS);
	/* Served all the while. */
	ck_assert(say(fd[0], GET("/hello")));
	hear_until(fd[0], out, sizeof(out), "hello");
	close(waiting[0]);
	hear_all(beyond[0], out, sizeof(out), NULL);
	assert_turned_away(out);
	/* Without anybody's doing: those who wait are closed in time. */
	hear_all(beyond[1], out, sizeof(out), NULL);
	assert_turned_away(out);
	close_all(waiting + 1, SURPLUS - 1);
	close_all(beyond, 2);
	await_connections(&f, LIMIT);
	close_all(fd, LIMIT);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_without_a_limit_nobody_is_turned_away)
{
	struct fixture f;
	int fd[300];

	fixture_init(&f);
	f.options.max_connections = 0;
	fixture_start(&f);
	for (int i = 0; i < 300; i++)
		fd[i] = held(&f);
	ck_assert_int_eq(f.refused, 0);
	close_all(fd, 300);
	fixture_stop(&f);
}
END_TEST

static void
do_reload(struct fixture *f)
{
	ck_assert(http_server_reload(f->server, &f->options, f->error, sizeof(f->error)));
}

START_TEST(test_reload_changes_the_limit_and_closes_nobody)
{
	struct fixture f;
	int fd[LIMIT], waiting;
	char out[4096];

	fixture_init(&f);
	fixture_fill(&f, fd);
	f.options.max_connections = LIMIT - 2;
	fixture_do(&f, do_reload);
	for (int i = 0; i < LIMIT; i++) {
		ck_assert(say(fd[i], GET("/hello")));
		hear_until(fd[i], out, sizeof(out), "hello");
	}
	close(fd[0]);
	await_connections(&f, LIMIT - 1);
	ask(&f, GET("/hello"), out, sizeof(out));
	assert_turned_away(out);
	waiting = dial(f.port);
	await_connections(&f, LIMIT);
	f.options.max_connections = 0;
	fixture_do(&f, do_reload);
	ck_assert(say(waiting, GET("/hello")));
	hear_until(waiting, out, sizeof(out), "hello");
	close(waiting);
	close_all(fd + 1, LIMIT - 1);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_many_at_once_are_each_answered_one_way_or_the_other)
{
	struct fixture f;
	int fd[200], served = 0, refused = 0;
	char out[4096];

	fixture_init(&f);
	f.options.max_connections = LIMIT;
	fixture_start(&f);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 200; i++) {
			fd[i] = dial(f.port);
			ck_assert(say(fd[i], GET_CLOSE("/hello")));
		}
		for (int i = 0; i < 200; i++) {
			hear_all(fd[i], out, sizeof(out), NULL);
			close(fd[i]);
			if (strstr(out, " 200 OK")) {
				served++;
			} else {
				assert_turned_away(out);
				refused++;
			}
		}
	}
	ck_assert_int_eq(served + refused, 600);
	ck_assert_int_eq(f.requests, served);
	ck_assert_int_eq(f.refused, refused);
	ck_assert_int_ge(served, LIMIT);
	await_connections(&f, 0);
	/* Nothing was counted wrongly: all places are there again. */
	for (int i = 0; i < LIMIT; i++)
		fd[i] = held(&f);
	ask(&f, GET("/hello"), out, sizeof(out));
	assert_turned_away(out);
	close_all(fd, LIMIT);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_freeing_the_server_closes_those_above_the_limit_too)
{
	struct fixture f;
	int fd[LIMIT], silent;
	char out[64];

	fixture_init(&f);
	fixture_fill(&f, fd);
	silent = dial(f.port);
	await_connections(&f, LIMIT + 1);
	fixture_stop(&f);
	ck_assert_uint_eq(hear_all(silent, out, sizeof(out), NULL), 0);
	close(silent);
	close_all(fd, LIMIT);
}
END_TEST

/* Workers of one process: wherever its connections are, there is room for as many as the limit says. */
START_TEST(test_servers_share_their_places)
{
	struct fixture a, b;
	unsigned places = 0;
	int fd[LIMIT];
	char out[4096];

	fixture_init(&a);
	fixture_init(&b);
	a.options.places = b.options.places = &places;
	b.options.max_connections = LIMIT;
	fixture_fill(&a, fd);
	fixture_start(&b);
	ask(&b, GET("/hello"), out, sizeof(out));
	assert_turned_away(out);
	close(fd[0]);
	await_connections(&a, LIMIT - 1);
	fd[0] = held(&b);
	ask(&a, GET("/hello"), out, sizeof(out));
	assert_turned_away(out);
	close_all(fd, LIMIT);
	await_connections(&a, 0);
	await_connections(&b, 0);
	fixture_stop(&a);
	fixture_stop(&b);
	ck_assert_uint_eq(places, 0);
}
END_TEST

UNIT_MAIN("http_overload", test_a_request_above_the_limit_gets_503_and_no_handler,
          test_room_by_the_first_byte_is_room_enough,
          test_a_client_in_the_middle_of_a_large_body_can_read_the_503,
          test_silence_above_the_limit_lasts_two_seconds_at_most,
          test_one_that_is_turned_away_and_does_not_go_is_closed,
          test_accepting_pauses_where_too_many_wait_to_be_turned_away_and_resumes,
          test_without_a_limit_nobody_is_turned_away,
          test_reload_changes_the_limit_and_closes_nobody,
          test_many_at_once_are_each_answered_one_way_or_the_other, test_servers_share_their_places,
          test_freeing_the_server_closes_those_above_the_limit_too)
