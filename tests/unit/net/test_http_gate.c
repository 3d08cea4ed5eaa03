/* What is refused, how, and that nothing but JSON errors is ever seen. */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "http_fixture.h"

#define HEAD "POST /echo HTTP/1.1\r\nHost: x\r\n"

static const struct {
	const char *name, *request;
	int status;
} refused[] = {
        {"TE and CL", HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
        {"CL and TE", HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"CL twice, same", HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
        {"CL twice, other", HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
        {"CL list", HEAD "Content-Length: 5, 5\r\n\r\nhello", 400},
        {"CL signed", HEAD "Content-Length: +5\r\n\r\nhello", 400},
        {"CL negative", HEAD "Content-Length: -5\r\n\r\nhello", 400},
        {"CL with NUL", HEAD "Content-Length: 5\1 6\r\n\r\nhello", 400},
        {"CL with junk", HEAD "Content-Length: 5 6\r\n\r\nhello", 400},
        {"CL in hex", HEAD "Content-Length: 0x5\r\n\r\nhello", 400},
        {"CL empty", HEAD "Content-Length:\r\n\r\nhello", 400},
        {"CL beyond 64 bits", HEAD "Content-Length: 18446744073709551621\r\n\r\nhello", 413},
        {"space before the colon", HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
        {"tab before the colon", HEAD "Content-Length\t: 5\r\n\r\nhello", 400},
        {"TE not chunked", HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
        {"TE list", HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
        {"TE twice",
         HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"TE identity", HEAD "Transfer-Encoding: identity\r\n\r\n", 400},
        {"TE on 1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"chunk size 0x5", HEAD "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400},
        {"chunk size +5", HEAD "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400},
        {"chunk size with space", HEAD "Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
         400},
        {"chunk size with junk",
         HEAD "Transfer-Encoding: chunked\r\n\r\n5 junk\r\nhello\r\n0\r\n\r\n", 400},
        {"chunk extension", HEAD "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
         400},
        {"chunk without its CRLF", HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
         400},
        {"chunk size ending in LF", HEAD "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
         400},
        {"chunks beyond the cap", HEAD "Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 413},
        {"bare LF", "GET /hello HTTP/1.1\nHost: x\n\n", 400},
        {"bare LF in the head", "GET /hello HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400},
        {"bare CR", "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400},
        {"folded field", "GET /hello HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400},
        {"folded first field", "GET /hello HTTP/1.1\r\n Host: x\r\n\r\n", 400},
        {"empty name", "GET /hello HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400},
        {"no colon", "GET /hello HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", 400},
        {"no Host", "GET /hello HTTP/1.1\r\n\r\n", 400},
        {"two Hosts", "GET /hello HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400},
        {"HTTP/2.0", "GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"no version", "GET /hello\r\n\r\n", 400},
        {"two spaces", "GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"a relative target", "GET hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"a fragment", "GET /hello#x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"raw bytes in the target", "GET /h\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"a line before the request", "\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"TLS to a plain port", "\x16\x03\x01\x02", 400},
        {"HEAD with a body", "HEAD /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
         400},
        {"an unknown method", "BREW /hello HTTP/1.1\r\nHost: x\r\n\r\n", 501},
        {"a method in lower case", "get /hello HTTP/1.1\r\nHost: x\r\n\r\n", 501},
        {"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501},
        {"TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
        {"another expectation", HEAD "Expect: 200-ok\r\nContent-Length: 5\r\n\r\n", 417},
};

static void
assert_refused(const char *name, const char *out, int status)
{
	char line[32];

	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	ck_assert_msg(strncmp(out, line, strlen(line)) == 0, "%s: not %d but: %s", name, status,
	              out);
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "\r\nContent-Type: application/json\r\n");
	assert_has(out, "\r\n\r\n{\"error\":{\"message\":\"");
	ck_assert_msg(strcmp(out + strlen(out) - 2, "}}") == 0, "%s: %s", name, out);
	assert_has_not(out, "HTML");
}

START_TEST(test_each_ambiguous_request_is_refused_in_json_and_the_connection_closed)
{
	struct fixture f;
	char out[8192];
	bool reset;

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		int fd = dial(f.port);

		ck_assert(say(fd, refused[i].request));
		hear_all(fd, out, sizeof(out), &reset);
		ck_assert_msg(!reset, "%s: reset", refused[i].name);
		assert_refused(refused[i].name, out, refused[i].status);
		close(fd);
		ck_assert_int_eq(f.refused_status, refused[i].status);
		ck_assert_int_eq(f.refused, (int)i + 1);
	}
	ck_assert_int_eq(f.requests, 0);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_nul_in_the_head_is_refused)
{
	static const char request[] = "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n";
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say_bytes(fd, request, sizeof(request) - 1));
	hear_all(fd, out, sizeof(out), NULL);
	assert_refused("NUL", out, 400);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_refusals_are_the_same_byte_by_byte)
{
	struct fixture f;
	char out[8192];

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i += 7) {
		int fd = dial(f.port);

		for (const char *p = refused[i].request; *p; p++) {
			if (!say_bytes(fd, p, 1))
				break;
			usleep(100);
		}
		hear_all(fd, out, sizeof(out), NULL);
		assert_refused(refused[i].name, out, refused[i].status);
		close(fd);
	}
	fixture_stop(&f);
}
END_TEST

START_TEST(test_what_only_evhttp_refuses_is_answered_in_json)
{
	static const char *const target[] = {"//[x", "//x:99999999/", "http://[x/"};
	struct fixture f;
	char out[4096], request[256];

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < sizeof(target) / sizeof(target[0]); i++) {
		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target[i]);
		ask(&f, request, out, sizeof(out));
		assert_refused(target[i], out, 400);
	}
	ck_assert_int_eq(f.requests, 0);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_garbage_behind_a_request_is_answered_in_order)
{
	struct fixture f;
	char out[8192], *second;

	fixture_init(&f);
	fixture_start(&f);
	for (int i = 0; i < 20; i++) {
		ask(&f,
		    GET("/hello") GET("/method") "BREW / HTTP/1.1\r\nHost: x\r\n\r\n" GET("/hello"),
		    out, sizeof(out));
		assert_has(out, "hello");
		second = strstr(out, "\r\n\r\nGET");
		ck_assert_ptr_nonnull(second);
		assert_refused("garbage", second + 7, 501);
	}
	ck_assert_int_eq(f.requests, 40);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_garbage_during_a_reply_lets_the_reply_finish)
{
	struct fixture f;
	char out[65536];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, GET("/stream/200")));
	ck_assert(wait_for(&f.held, 1, 2000));
	ck_assert(say(fd, "\1\2\3"));
	hear_all(fd, out, sizeof(out), NULL);
	ck_assert_ptr_nonnull(strstr(out, "\r\n0\r\n\r\nHTTP/1.1 400 "));
	assert_refused("garbage", strstr(out, "\r\n0\r\n\r\n") + 7, 400);
	ck_assert_int_eq(f.gone, 0);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_body_over_the_cap_gets_a_413_that_can_be_read)
{
	struct fixture f;
	char *body = mem_new(1024 * 1024), out[4096];
	bool reset;

	fixture_init(&f);
	fixture_start(&f);
	for (int chunked = 0; chunked < 2; chunked++) {
		int fd = dial(f.port);

		ck_assert(say(fd, chunked ? HEAD "Transfer-Encoding: chunked\r\n\r\n1400000\r\n"
		                          : HEAD "Content-Length: 20971520\r\n\r\n"));
		for (int i = 0; i < 20; i++)
			ck_assert_msg(say_bytes(fd, body, 1024 * 1024), "MiB %d: %s", i,
			              strerror(errno));
		hear_all(fd, out, sizeof(out), &reset);
		ck_assert(!reset);
		assert_refused("large body", out, 413);
		close(fd);
	}
	ck_assert_int_eq(f.requests, 0);
	free(body);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_body_over_the_cap_is_refused_before_100_continue)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, HEAD "Content-Length: 20971520\r\nExpect: 100-continue\r\n\r\n", out, sizeof(out));
	assert_refused("large body", out, 413);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_large_head_gets_431_and_a_long_target_414)
{
	struct fixture f;
	char *request = mem_new(70000), out[4096];

	fixture_init(&f);
	fixture_start(&f);
	strcpy(request, "GET /hello HTTP/1.1\r\nHost: x\r\nX: ");
	memset(request + strlen(request), 'a', 60000);
	ask(&f, request, out, sizeof(out));
	assert_refused("large head", out, 431);
	memset(request, 0, 70000);
	strcpy(request, "GET /");
	memset(request + strlen(request), 'a', 60000);
	ask(&f, request, out, sizeof(out));
	assert_refused("long target", out, 414);
	free(request);
	fixture_stop(&f);
}
END_TEST

/* Freed memory that the address sanitizer keeps back would look like growth. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "quarantine_size_mb=1:thread_local_quarantine_size_kb=64";
}

static size_t
resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long total = 0, resident = 0;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%lu %lu", &total, &resident), 2);
	fclose(file);
	return resident * 4096;
}

static bool
flood(struct fixture *f, const char *request, size_t total)
{
	static const size_t part = 256 * 1024;
	char *junk = mem_new(part);
	int fd = dial(f->port);
	size_t before, n = 0;
	bool ok;

	memset(junk, 'G', part);
	ck_assert(say(fd, request));
	ck_assert(wait_for(&f->held, 1, 2000));
	before = resident_bytes();
	while (n < total && say_bytes(fd, junk, part))
		n += part;
	ok = resident_bytes() < before + (size_t)8 * 1024 * 1024;
	close(fd);
	free(junk);
	return ok && n >= total;
}

START_TEST(test_pipelined_input_during_a_reply_does_not_grow_memory)
{
	struct fixture f;

	fixture_init(&f);
	fixture_start(&f);
	ck_assert(flood(&f, GET("/hold"), (size_t)20 * 1024 * 1024));
	/* The client was read all the while, so its leaving is noticed too. */
	ck_assert(wait_for(&f.gone, 1, 1000));
	fixture_stop(&f);
}
END_TEST

static void
do_nothing(struct fixture *f)
{
	(void)f;
}

START_TEST(test_valid_input_ahead_of_its_turn_is_kept_within_bounds)
{
	struct fixture f;
	size_t n = 0, part = 0;
	char *ahead = mem_new(1024 * 1024), out[65536];
	int fd, unsent = 0;

	fixture_init(&f);
	fixture_start(&f);
	while (n < 1000000) {
		part = (size_t)sprintf(ahead + n, GET("/hello"));
		n += part;
	}
	fd = dial(f.port);
	ck_assert(say(fd, GET("/hold")));
	ck_assert(wait_for(&f.held, 1, 2000));
	ck_assert(say_bytes(fd, ahead, n));
	while (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > 0)
		usleep(200);
	/* Each turn of the loop reads some of it. */
	for (int i = 0; i < 300; i++)
		fixture_do(&f, do_nothing);
	fixture_do(&f, job_release);
	hear_all(fd, out, sizeof(out), NULL);
	assert_has(out, "\r\nConnection: close\r\n");
	ck_assert_str_eq(out + strlen(out) - 12, "\r\n\r\nreleased");
	ck_assert_int_eq(f.requests, 1);
	close(fd);
	free(ahead);
	fixture_stop(&f);
}
END_TEST

UNIT_MAIN("http_gate", test_each_ambiguous_request_is_refused_in_json_and_the_connection_closed,
          test_a_nul_in_the_head_is_refused, test_refusals_are_the_same_byte_by_byte,
          test_what_only_evhttp_refuses_is_answered_in_json,
          test_garbage_behind_a_request_is_answered_in_order,
          test_garbage_during_a_reply_lets_the_reply_finish,
          test_a_body_over_the_cap_gets_a_413_that_can_be_read,
          test_a_body_over_the_cap_is_refused_before_100_continue,
          test_a_large_head_gets_431_and_a_long_target_414,
          test_pipelined_input_during_a_reply_does_not_grow_memory,
          test_valid_input_ahead_of_its_turn_is_kept_within_bounds)
