/* Requests and replies as a client sees them. */
#include "http_fixture.h"

START_TEST(test_a_reply_has_length_date_and_no_invented_content_type)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, GET_CLOSE("/hello"), out, sizeof(out));
	assert_has(out, "HTTP/1.1 200 OK\r\n");
	assert_has(out, "\r\nContent-Length: 5\r\n");
	assert_has(out, "\r\nDate: ");
	assert_has(out, " GMT\r\n");
	assert_has(out, "\r\nContent-Type: text/plain\r\n");
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "\r\n\r\nhello");
	ask(&f, GET_CLOSE("/inject"), out, sizeof(out));
	assert_has_not(out, "Content-Type");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_header_value_cannot_end_its_line)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, GET_CLOSE("/inject"), out, sizeof(out));
	assert_has(out, "\r\nX-Bad: one  X-Forged: two\r\n");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_connection_is_used_again)
{
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	for (int i = 0; i < 100; i++) {
		ck_assert(
		        say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"));
		hear_until(fd, out, sizeof(out), "\r\n\r\nabc");
		assert_has_not(out, "Connection: close");
	}
	ck_assert_int_eq(f.requests, 100);
	ck_assert_uint_eq(fixture_connections(&f), 1);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_pipelined_requests_are_answered_in_order)
{
	struct fixture f;
	char out[65536], *at = out, wanted[32];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	for (int i = 0; i < 100; i++) {
		char request[128];

		snprintf(request, sizeof(request),
		         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n%s\r\n%03d",
		         i == 99 ? "Connection: close\r\n" : "", i);
		ck_assert(say(fd, request));
	}
	hear_all(fd, out, sizeof(out), NULL);
	for (int i = 0; i < 100; i++) {
		snprintf(wanted, sizeof(wanted), "\r\n\r\n%03d", i);
		at = strstr(at, wanted);
		ck_assert_msg(at != NULL, "no answer %d", i);
	}
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_head_gets_the_length_and_no_body)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n" GET_CLOSE("/method"), out, sizeof(out));
	assert_has(out, "\r\nContent-Length: 5\r\n");
	assert_has_not(out, "hello");
	assert_has(out, "\r\n\r\nGET");
	ask(&f, "HEAD /stream/3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", out,
	    sizeof(out));
	assert_has_not(out, "xxx");
	ck_assert_str_eq(out + strlen(out) - 4, "\r\n\r\n");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_204_has_neither_body_nor_length)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, GET_CLOSE("/nothing"), out, sizeof(out));
	assert_has(out, "HTTP/1.1 204 No Content\r\n");
	assert_has_not(out, "Content-Length");
	ck_assert_str_eq(out + strlen(out) - 4, "\r\n\r\n");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_http_1_0_is_answered_without_chunks_and_closed)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", out, sizeof(out));
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "\r\n\r\nhello");
	ask(&f, "GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", out, sizeof(out));
	assert_has_not(out, "Transfer-Encoding");
	assert_has_not(out, "Content-Length");
	assert_has(out, "\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	ck_assert_int_eq(f.requests, 2);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_stream_is_chunked_and_the_connection_lives_on)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, GET("/stream/2") GET_CLOSE("/hello"), out, sizeof(out));
	assert_has(out, "\r\nTransfer-Encoding: chunked\r\n");
	assert_has(out, "\r\n\r\n14\r\nxxxxxxxxxxxxxxxxxxxx\r\n14\r\nxxxxxxxxxxxxxxxxxxxx\r\n0\r\n"
	                "\r\nHTTP/1.1 200");
	assert_has(out, "hello");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_an_aborted_reply_lacks_the_last_chunk)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f, GET("/abort"), out, sizeof(out));
	ck_assert_str_eq(out + strlen(out) - 14, "\r\n\r\n5\r\nhello\r\n");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_chunked_request_is_answered_and_closes_the_connection)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f,
	    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "3\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Trailer: y\r\n\r\n" GET("/hello"),
	    out, sizeof(out));
	assert_has(out, "\r\nConnection: close\r\n");
	assert_has(out, "\r\n\r\nabc0123456789");
	assert_has_not(out, "hello");
	ck_assert_ptr_null(strstr(out + 1, "HTTP/1.1"));
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_body_of_any_size_up_to_the_cap_arrives_whole)
{
	struct fixture f;
	size_t n = 1024 * 1024;
	char *body = mem_new(n + 1), *out = mem_new(n + 4096), head[128];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < n; i++)
		body[i] = (char)('a' + i % 26);
	fd = dial(f.port);
	snprintf(head, sizeof(head),
	         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\nConnection: "
	         "close\r\n\r\n",
	         n);
	ck_assert(say(fd, head));
	ck_assert(say_bytes(fd, body, n));
	hear_all(fd, out, n + 4096, NULL);
	ck_assert_str_eq(strstr(out, "\r\n\r\n") + 4, body);
	close(fd);
	free(body);
	free(out);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_expect_100_continue_is_answered_before_the_body)
{
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	for (int i = 0; i < 2; i++) {
		ck_assert(say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
		                  "Expect: 100-continue\r\n\r\n"));
		hear_until(fd, out, sizeof(out), "\r\n\r\n");
		ck_assert_str_eq(out, "HTTP/1.1 100 Continue\r\n\r\n");
		ck_assert(say(fd, "body"));
		hear_until(fd, out, sizeof(out), "\r\n\r\nbody");
		assert_has(out, "HTTP/1.1 200 OK");
	}
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_the_path_is_decoded_and_without_query_and_authority)
{
	static const struct {
		const char *target, *path;
	} row[] = {
	        {"/path", "/path"},
	        {"/path?x=1&y=%20", "/path"},
	        {"/path/a%2Fb%20c%e2%82%ac", "/path/a/b c\xe2\x82\xac"},
	        {"http://host:80/path/abs?x", "/path/abs"},
	        {"https://host/path/abs", "/path/abs"},
	        {"/path//a:b", "/path//a:b"},
	        {"/path/http://x/y", "/path/http://x/y"},
	        {"/path/%", NULL},
	        {"/path/%4", NULL},
	        {"/path/%zz", NULL},
	        {"/path%00/x", NULL},
	};
	struct fixture f;
	char out[4096], request[256], wanted[128];

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		snprintf(request, sizeof(request),
		         "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", row[i].target);
		ask(&f, request, out, sizeof(out));
		snprintf(wanted, sizeof(wanted), "\r\n\r\n%s",
		         row[i].path ? row[i].path : "{\"error\":");
		assert_has(out, wanted);
		assert_has(out, row[i].path ? "HTTP/1.1 200" : "HTTP/1.1 400");
	}
	fixture_stop(&f);
}
END_TEST

START_TEST(test_headers_are_found_in_any_case_and_the_first_counts)
{
	struct fixture f;
	char out[4096];

	fixture_init(&f);
	fixture_start(&f);
	ask(&f,
	    "GET /header HTTP/1.1\r\nHost: x\r\nX-REQUEST-ID:\t one \r\nx-request-id: "
	    "two\r\nConnection: "
	    "close\r\n\r\n",
	    out, sizeof(out));
	ck_assert_str_eq(strstr(out, "\r\n\r\n") + 4, "one");
	ask(&f, GET_CLOSE("/header"), out, sizeof(out));
	ck_assert_str_eq(strstr(out, "\r\n\r\n") + 4, "none");
	fixture_stop(&f);
}
END_TEST

START_TEST(test_every_method_of_ours_reaches_the_handler)
{
	static const char *const method[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
	struct fixture f;
	char out[4096], request[256];

	fixture_init(&f);
	fixture_start(&f);
	for (size_t i = 0; i < sizeof(method) / sizeof(method[0]); i++) {
		snprintf(request, sizeof(request),
		         "%s /method HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: "
		         "close\r\n\r\nab",
		         method[i]);
		ask(&f, request, out, sizeof(out));
		ck_assert_str_eq(strstr(out, "\r\n\r\n") + 4, method[i]);
	}
	fixture_stop(&f);
}
END_TEST

START_TEST(test_the_peer_address_is_text_for_both_families)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	fixture_listen(&f, "");
	fixture_run(&f);
	ask(&f, GET_CLOSE("/peer"), out, sizeof(out));
	ck_assert_str_eq(strstr(out, "\r\n\r\n") + 4, "127.0.0.1");
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	to.sin6_port = htons(f.port);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
		ck_assert(say(fd, GET_CLOSE("/peer")));
		hear_all(fd, out, sizeof(out), NULL);
		ck_assert_str_eq(strstr(out, "\r\n\r\n") + 4, "::1");
	}
	if (fd >= 0)
		close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_call_starts_with_the_first_byte_of_its_request)
{
	struct fixture f;
	char out[4096];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	fd = dial(f.port);
	ck_assert(say(fd, "GET /hello HT"));
	usleep(60000);
	ck_assert(say(fd, "TP/1.1\r\nHost: x\r\n\r\n"));
	hear_until(fd, out, sizeof(out), "hello");
	ck_assert_uint_ge(f.age_us, 55000);
	usleep(60000);
	ck_assert(say(fd, GET("/hello")));
	hear_until(fd, out, sizeof(out), "hello");
	ck_assert_uint_lt(f.age_us, 55000);
	close(fd);
	fixture_stop(&f);
}
END_TEST

START_TEST(test_a_client_that_closed_its_half_still_gets_a_finished_reply)
{
	struct fixture f;
	char out[8192];
	int fd;

	fixture_init(&f);
	fixture_start(&f);
	for (int i = 0; i < 50; i++) {
		fd = dial(f.port);
		ck_assert(say(fd, GET("/hello") GET("/method")));
		shutdown(fd, SHUT_WR);
		hear_all(fd, out, sizeof(out), NULL);
		assert_has(out, "hello");
		assert_has(out, "\r\n\r\nGET");
		close(fd);
	}
	fixture_stop(&f);
}
END_TEST

UNIT_MAIN("http_server", test_a_reply_has_length_date_and_no_invented_content_type,
          test_a_header_value_cannot_end_its_line, test_a_connection_is_used_again,
          test_pipelined_requests_are_answered_in_order, test_head_gets_the_length_and_no_body,
          test_204_has_neither_body_nor_length, test_http_1_0_is_answered_without_chunks_and_closed,
          test_a_stream_is_chunked_and_the_connection_lives_on,
          test_an_aborted_reply_lacks_the_last_chunk,
          test_a_chunked_request_is_answered_and_closes_the_connection,
          test_a_body_of_any_size_up_to_the_cap_arrives_whole,
          test_expect_100_continue_is_answered_before_the_body,
          test_the_path_is_decoded_and_without_query_and_authority,
          test_headers_are_found_in_any_case_and_the_first_counts,
          test_every_method_of_ours_reaches_the_handler,
          test_the_peer_address_is_text_for_both_families,
          test_a_call_starts_with_the_first_byte_of_its_request,
          test_a_client_that_closed_its_half_still_gets_a_finished_reply)
