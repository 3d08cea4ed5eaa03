/* Accepting, pausing, draining, ending. */
#include <netdb.h>
#include <dirent.h>
#include <sys/resource.h>

#include "base/log.h"
#include "http_fixture.h"

/* Is there an answer within `ms`? */
static bool
answers(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

START_TEST(test_each_accepted_connection_is_adopted)
{
	struct fixture f;
	int fd[200];
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < 200; i++) {
		fd[i] = dial(f.port);
		ck_assert(say(fd[i], GET("/hello")));
	}
	for (size_t i = 0; i < 200; i++)
		hear_until(fd[i], out, sizeof(out), "hello");
	ck_assert_uint_eq(fixture_connections(&f), 200);
	for (size_t i = 0; i < 200; i++)
		close(fd[i]);
	for (int i = 0; i < 5000 && fixture_connections(&f); i++)
		usleep(200);
	ck_assert_uint_eq(fixture_connections(&f), 0);
	fixture_stop(&f);
}
END_TEST

static size_t
lines_of(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t lines = 0;
	int c;

	ck_assert_ptr_nonnull(file);
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

START_TEST(test_accepting_pauses_without_descriptors_and_resumes)
{
	char path[] = "/tmp/draft-thinker-accept-XXXXXX", error[128], out[4096];
	struct log_sink *sink;
	struct log *log;
	struct fixture f;
	struct rlimit limit, low;
	int fd[2], spare[2], file = mkstemp(path);
	clock_t before;

	ck_assert_int_ge(file, 0);
	sink = log_sink_open(path, error, sizeof(error));
	log = log_new(sink, LOG_LEVEL_INFO);
	fixture_init(&f);
	f.log = log;
	fixture_start(&f);
	fd[0] = dial(f.port);
	ck_assert(say(fd[0], GET("/hello")));
	hear_until(fd[0], out, sizeof(out), "hello");
	/* Sockets made now take the last descriptors; the server's end gets none. */
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	spare[0] = dup(0);
	close(spare[0]);
	low = limit;
	low.rlim_cur = (rlim_t)spare[0] + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	fd[1] = dial(f.port);
	ck_assert(say(fd[1], GET("/hello")));
	before = clock();
	ck_assert(!answers(fd[1], 700));
	ck_assert_int_lt(clock() - before, CLOCKS_PER_SEC / 4); /* it waits, it does not spin */
	/* What is open is served all the while. */
	ck_assert(say(fd[0], GET("/hello")));
	hear_until(fd[0], out, sizeof(out), "hello");
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	hear_until(fd[1], out, sizeof(out), "hello");
	close(fd[0]);
	close(fd[1]);
	fixture_stop(&f);
	log_free(log);
	log_sink_close(sink);
	ck_assert_uint_eq(lines_of(path), 1);
	unlink(path);
	close(file);
}
END_TEST

static void
on_fixture_drained(void *arg)
{
	struct fixture *f = arg;

	atomic_fetch_add(&f->drained, 1);
}

static void
do_drain(struct fixture *f)
{
	http_server_drain(f->server, on_fixture_drained, f);
	ck_assert_int_eq(f->drained, 0);
}

static bool
refuses(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons(port),
	                         .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	bool refused = connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == ECONNREFUSED;

	close(fd);
	return refused;
}

START_TEST(test_draining_without_connections_ends_at_once)
{
	struct fixture f;

	fixture_init(&f);
	fixture_start(&f);
	fixture_do(&f, do_drain);
	ck_assert(wait_for(&f.drained, 1, 1000));
	ck_assert(refuses(f.port));
	fixture_stop(&f);
	ck_assert_int_eq(f.drained, 1);
}
END_TEST

START_TEST(test_draining_closes_idle_connections_and_finishes_calls)
{
	struct fixture f;
	char out[4096];
	int idle, call, half;

	fixture_init(&f);
	fixture_start(&f);
	idle = dial(f.port);
	ck_assert(say(idle, GET("/hello")));
	hear_until(idle, out, sizeof(out), "hello");
	call = dial(f.port);
	ck_assert(say(call, GET("/hold")));
	ck_assert(wait_for(&f.held, 1, 2000));
	half = dial(f.port);
	ck_assert(say(half, "GET /hello HTTP/1.1\r\nHo"));
	while (fixture_connections(&f) < 3)
		usleep(200);
	usleep(10000);
	fixture_do(&f, do_drain);
	ck_assert_uint_eq(hear_all(idle, out, sizeof(out), NULL), 0);
	ck_assert(say(half, "st: x\r\n\r\n"));
	hear_all(half, out, sizeof(out), NULL);
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "hello");
	ck_assert_int_eq(f.drained, 0);
	ck_assert_int_eq(f.gone, 0);
	close(half);
	fixture_do(&f, job_release);
	hear_all(call, out, sizeof(out), NULL);
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "released");
	close(call);
	ck_assert(wait_for(&f.drained, 1, 1000));
	close(idle);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_draining_finishes_streams_that_had_begun)
{
	struct fixture f;
	char out[65536];
	uint64_t start;
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, GET("/stream/500")));
	ck_assert_int_eq(recv(fd, out, 12, MSG_WAITALL), 12);
	fixture_do(&f, do_drain);
	start = clock_now_us();
	hear_all(fd, out, sizeof(out), NULL);
	ck_assert_uint_lt(clock_now_us() - start, 3000000);
	ck_assert_str_eq(out + strlen(out) - 7, "\r\n0\r\n\r\n");
	close(fd);
	ck_assert(wait_for(&f.drained, 1, 1000));
	fixture_stop(&f);
}
END_TEST

START_TEST(test_draining_gives_a_silent_new_connection_a_second_at_most)
{
	struct fixture f;
	int fd;
	char out[16];

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	while (fixture_connections(&f) < 1)
		usleep(200);
	fixture_do(&f, do_drain);
	ck_assert_uint_eq(hear_all(fd, out, sizeof(out), NULL), 0);
	ck_assert(wait_for(&f.drained, 1, 1500));
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_freeing_the_server_ends_calls_that_are_open)
{
	static const char *const request[] = {GET("/hold"), GET("/stream/1000000000"),
	                                      GET("/flood/100000"), "GET /hello HT", GET("/hello")};
	struct fixture f;
	char out[4096];
	int fd[5];

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < 5; i++) {
		fd[i] = dial(f.port);
		ck_assert(say(fd[i], request[i]));
	}
	hear_until(fd[4], out, sizeof(out), "hello");
	ck_assert(wait_for(&f.held, 3, 2000));
	fixture_stop(&f);
	ck_assert_int_eq(f.gone, 3);
	for (size_t i = 0; i < 5; i++)
		close(fd[i]);
}
END_TEST

START_TEST(test_freeing_an_accepting_server_loses_nothing)
{
	struct fixture f;
	int fd[8];

	fixture_init(&f);
	fixture_listen(&f, "127.0.0.1");
	for (size_t i = 0; i < 8; i++) {
		fd[i] = dial(f.port);
		ck_assert(say(fd[i], GET("/hello")));
	}
	/* The loop accepts them all and stops before it does anything else. */
	worker_stop(f.worker);
	worker_run(f.worker);
	fixture_stop(&f);
	for (size_t i = 0; i < 8; i++)
		close(fd[i]);
}
END_TEST

static void
do_reload(struct fixture *f)
{
	ck_assert(http_server_reload(f->server, &f->options, f->error, sizeof(f->error)));
}

START_TEST(test_reload_changes_limits_of_open_connections_too)
{
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	f.options.max_body_bytes = 10;
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, GET("/hello")));
	hear_until(fd, out, sizeof(out), "hello");
	f.options.max_body_bytes = 20;
	fixture_do(&f, do_reload);
	ck_assert(say(
	        fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n012345678901234"));
	hear_until(fd, out, sizeof(out), "012345678901234");
	f.options.idle_timeout_ms = 100;
	fixture_do(&f, do_reload);
	ck_assert_uint_eq(hear_all(fd, out, sizeof(out), NULL), 0);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_two_servers_share_a_port)
{
	struct fixture a, b;
	char out[4096];

	fixture_init(&a);
	a.options.share_port = true;
	fixture_start(&a);
	fixture_init(&b);
	b.options.share_port = true;
	b.index = 1;
	fixture_listen(&b, "127.0.0.1");
	ck_assert_msg(http_server_listen(b.server, "127.0.0.1", &a.port, b.error, sizeof(b.error)),
	              "%s", b.error);
	fixture_run(&b);
	/* The odds against both are 1 to 2^63. */
	for (int i = 0; i < 64; i++)
		ask(&a, GET_CLOSE("/hello"), out, sizeof(out));
	fixture_stop(&a);
	fixture_stop(&b);
	ck_assert_int_gt(a.requests, 0);
	ck_assert_int_gt(b.requests, 0);
}
END_TEST

START_TEST(test_an_address_in_use_is_refused_even_by_workers_that_share)
{
	struct fixture a, b;

	for (int share = 0; share < 2; share++) {
		fixture_init(&a);
		a.options.share_port = share;
		fixture_start(&a);
		fixture_init(&b);
		b.options.share_port = share;
		fixture_listen(&b, "127.0.0.1");
		ck_assert(!http_server_listen(b.server, "127.0.0.1", &a.port, b.error,
		                              sizeof(b.error)));
		assert_has(b.error, "in use");
		fixture_stop(&a);
		fixture_stop(&b);
	}
}
END_TEST

START_TEST(test_every_address_of_a_name_is_listened_on)
{
	struct addrinfo *list = NULL;
	struct fixture f;
	char out[4096];

	/* A bare container may know no names at all. */
	if (getaddrinfo("localhost", NULL, NULL, &list) != 0)
		return;
	freeaddrinfo(list);
	fixture_init(&f);
	fixture_listen(&f, "localhost");
	fixture_run(&f);
	ask(&f, GET_CLOSE("/hello"), out, sizeof(out)); /* to 127.0.0.1 */
	assert_has(out, "hello");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_an_address_that_cannot_be_bound_is_told)
{
	struct fixture f;
	uint16_t port = 0;

	fixture_init(&f);
	fixture_listen(&f, "127.0.0.1");
	ck_assert(!http_server_listen(f.server, "192.0.2.1", &port, f.error, sizeof(f.error)));
	assert_has(f.error, "192.0.2.1");
	ck_assert(!http_server_listen(f.server, "no such host", &port, f.error, sizeof(f.error)));
	assert_has(f.error, "no such host");
	fixture_stop(&f);
}
END_TEST

UNIT_MAIN("http_accept", test_each_accepted_connection_is_adopted,
          test_accepting_pauses_without_descriptors_and_resumes,
          test_draining_without_connections_ends_at_once,
          test_draining_closes_idle_connections_and_finishes_calls,
          test_draining_finishes_streams_that_had_begun,
          test_draining_gives_a_silent_new_connection_a_second_at_most,
          test_freeing_the_server_ends_calls_that_are_open,
          test_freeing_an_accepting_server_loses_nothing,
          test_reload_changes_limits_of_open_connections_too, test_two_servers_share_a_port,
          test_an_address_in_use_is_refused_even_by_workers_that_share,
          test_every_address_of_a_name_is_listened_on, test_an_address_that_cannot_be_bound_is_told)
