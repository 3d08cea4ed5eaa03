/* One test for each thing that the client relies on libcurl to do, or not to do. */
#include "crowd.h"
#include "fetching.h"

#include <dirent.h>
#include <fcntl.h>

#include "net/http_client_private.h"

static char hello_whole[] = OK_HELLO;
static char hello_and_more[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

START_TEST(environment_proxy_is_ignored)
{
	static const char *const names[] = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		setenv(names[i], "http://127.0.0.1:1", 1);
	peer_start(&peer, script_answer_and_close, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_OK);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&tape);
}
END_TEST

START_TEST(redirect_is_not_followed)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {.field = HTTP_ANSWER_RETRY_AFTER};
	struct http_target *target;

	peer_start(&peer, script_answer_and_await_end,
	           (char[]){"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nRetry-After: "
	                    "0\r\nContent-Length: 0\r\n\r\n"});
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_int_eq(tape.status, 302);
	ck_assert_str_eq(tape.header, "0");
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	ck_assert_int_eq(peer.requests, 1);
}
END_TEST

/* The whole head, byte for byte: nothing is added that nobody asked for. */
START_TEST(head_holds_nothing_superfluous)
{
	static const struct http_header fixed[] = {{"Authorization", "Bearer k"},
	                                           {"Content-Type", "application/json"},
	                                           {"X-Empty", ""}};
	static const struct http_header extra[] = {{"Accept", "text/event-stream"}, {"X-Id", "7"}};
	struct fetching f;
	struct peer peer;
	struct tape post = {0}, get = {0}, again = {0};
	struct http_target *target;
	struct http_fetch_spec spec;
	char url[64], error[100], expected[500];

	peer_start(&peer, script_answer_always,
	           (char[]){"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"});
	fetching_open(&f);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/x?y=1", peer.port);
	target = http_target_new(url, fixed, 3, error, sizeof(error));
	ck_assert_ptr_nonnull(target);
	spec = spec_post(target, "{}");
	spec.headers = extra;
	spec.header_count = 2;
	tape_start(&post, &f, &spec);
	fetching_run(&f);
	snprintf(expected, sizeof(expected),
	         "POST /v1/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
	         "Accept: text/event-stream\r\nX-Id: 7\r\n"
	         "Authorization: Bearer k\r\nContent-Type: application/json\r\nX-Empty:\r\n"
	         "User-Agent: draft-thinker/" DT_VERSION "\r\n"
	         "Content-Length: 2\r\n\r\n{}",
	         peer.port);
	ck_assert_str_eq(peer.request, expected);
	/* The same handle and connection: what the one before set is gone. */
	tape_start(&get, &f, &(struct http_fetch_spec){.target = target, .method = "GET"});
	fetching_run(&f);
	snprintf(expected, sizeof(expected),
	         "GET /v1/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
	         "Authorization: Bearer k\r\nContent-Type: application/json\r\nX-Empty:\r\n"
	         "User-Agent: draft-thinker/" DT_VERSION "\r\n\r\n",
	         peer.port);
	ck_assert_str_eq(peer.request, expected);
	tape_run(&again, &f, target);
	ck_assert_ptr_nonnull(strstr(peer.request, "\r\nContent-Length: 2\r\n\r\n{}"));
	ck_assert_uint_eq(http_client_connects(f.client), 1);
	fetching_close(&f);
	peer_stop(&peer);
	ck_assert_int_eq(peer.requests, 3);
	http_target_free(target);
}
END_TEST

START_TEST(a_fetch_that_failed_leaves_no_handle_that_cannot_be_used)
{
	struct http_target *nobody = target_of_url("http://nobody.invalid/"), *target;
	struct tape failed = {0}, tape = {0};
	struct fetching f;
	struct peer peer;
	struct http_fetch_spec spec = {.target = nobody, .method = "GET"};

	peer_start(&peer, script_answer_and_close, hello_whole);
	fetching_open(&f);
	tape_start(&failed, &f, &spec);
	fetching_run(&f);
	assert_result(&failed, HTTP_FETCH_DNS);
	target = target_of_peer(&peer);
	spec.target = target;
	spec.trickles = true;
	tape_start(&tape, &f, &spec);
	fetching_run(&f);
	assert_result(&tape, HTTP_FETCH_OK);
	fetching_close(&f);
	http_target_free(nobody);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&failed);
	tape_fini(&tape);
}
END_TEST

START_TEST(connection_is_reused)
{
	struct fetching f;
	struct peer peer;
	struct http_target *target;

	peer_start(&peer, script_answer_always, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&peer);
	for (int i = 0; i < 5; i++) {
		struct tape tape = {0};

		tape_run(&tape, &f, target);
		assert_result(&tape, HTTP_FETCH_OK);
		ck_assert(tape_body_is(&tape, "hello"));
		tape_fini(&tape);
	}
	ck_assert_uint_eq(http_client_connects(f.client), 1);
	fetching_close(&f);
	peer_stop(&peer);
	ck_assert_int_eq(peer.requests, 5);
	ck_assert_int_eq(peer.accepts, 1);
	http_target_free(target);
}
END_TEST

/* ---------------------------------------------------------------- repeated requests */

struct second {
	const char *answer; /* to the second request of a connection, before it is closed */
	bool reset;
};

static void
script_die_at_second(struct peer *peer)
{
	struct second *second = peer->arg;

	if (!peer_serve(peer, hello_whole) || !peer_read_request(peer))
		return;
	peer_send(peer, second->answer);
	if (second->reset)
		peer_reset(peer);
	else
		peer_close(peer);
	if (second->answer[0])
		return;
	if (peer_serve(peer, hello_whole))
		peer_await_end(peer);
}

static void
check_second(struct second *second, size_t body_bytes, enum http_fetch_result result, int requests)
{
	struct fetching f;
	struct peer peer;
	struct tape first = {0}, tape = {0};
	struct http_target *target;
	struct http_fetch_spec spec;
	char *body = body_of(body_bytes);

	peer_start(&peer, script_die_at_second, second);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&first, &f, target);
	assert_result(&first, HTTP_FETCH_OK);
	spec = spec_post(target, body);
	tape_start(&tape, &f, &spec);
	fetching_run(&f);
	assert_result(&tape, result);
	fetching_close(&f);
	peer_join(&peer);
	ck_assert_int_eq(peer.requests, requests);
	http_target_free(target);
	tape_fini(&first);
	tape_fini(&tape);
	free(body);
}

START_TEST(request_is_repeated_when_a_used_connection_ends_without_a_byte)
{
	/* A small body and one that is read piece by piece, from its start again. */
	check_second(&(struct second){"", false}, 10, HTTP_FETCH_OK, 3);
	check_second(&(struct second){"", true}, 10, HTTP_FETCH_OK, 3);
	check_second(&(struct second){"", false}, 200000, HTTP_FETCH_OK, 3);
}
END_TEST

START_TEST(request_is_not_repeated_after_a_byte_of_response)
{
	check_second(&(struct second){"HTTP/1.1 200 OK\r\n", false}, 10, HTTP_FETCH_CUT, 2);
	check_second(&(struct second){"HTTP/1.1 100 Continue\r\n\r\n", false}, 10, HTTP_FETCH_CUT,
	             2);
	check_second(&(struct second){"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx", false}, 10,
	             HTTP_FETCH_CUT, 2);
}
END_TEST

static void
script_close_each(struct peer *peer)
{
	while (!atomic_load(&peer->stop) && peer_accept(peer)) {
		peer_read_request(peer);
		peer_close(peer);
	}
}

START_TEST(request_is_not_repeated_on_a_new_connection)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;

	peer_start(&peer, script_close_each, NULL);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_CUT);
	fetching_close(&f);
	peer_stop(&peer);
	ck_assert_int_eq(peer.requests, 1);
	http_target_free(target);
}
END_TEST

/* ---------------------------------------------------------------- sockets */

/* The descriptor of ours that is connected to the port, or -1. */
static int
socket_to_port(uint16_t port)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int found = -1;

	while (found < 0 && (entry = readdir(dir))) {
		struct sockaddr_in peer = {0};
		socklen_t size = sizeof(peer);
		int fd = atoi(entry->d_name);

		if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
		    peer.sin_family == AF_INET && ntohs(peer.sin_port) == port)
			found = fd;
	}
	closedir(dir);
	return found;
}

static int
socket_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static void
on_tape_check_socket(struct tape *tape)
{
	struct peer *peer = tape->arg;
	int fd = socket_to_port(peer->port);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ne(socket_option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
	ck_assert_int_ne(socket_option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
	ck_assert_int_eq(socket_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
	ck_assert_int_eq(socket_option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

START_TEST(sockets_send_at_once_and_notice_dead_peers)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {.at_head = on_tape_check_socket, .arg = &peer};
	struct http_target *target;

	peer_start(&peer, script_answer_and_close, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_OK);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&tape);
}
END_TEST

/* Starts `count` GETs at once and runs them to their end; `beside` others are in flight. */
static void
run_many(struct fetching *f, const struct http_target *target, int count, int beside)
{
	struct tape *tapes = calloc((size_t)count, sizeof(*tapes));
	struct http_fetch_spec spec = {.target = target, .method = "GET", .total_ms = 15000};

	for (int i = 0; i < count; i++)
		tape_start(&tapes[i], f, &spec);
	ck_assert_uint_eq(http_client_in_flight(f->client), (unsigned)(count + beside));
	fetching_run(f);
	for (int i = 0; i < count; i++) {
		assert_result(&tapes[i], HTTP_FETCH_OK);
		ck_assert(tape_body_is(&tapes[i], "hello"));
		tape_fini(&tapes[i]);
	}
	free(tapes);
}

START_TEST(many_fetches_run_at_once)
{
	struct fetching f;
	static struct crowd crowd;
	struct http_target *target;

	crowd_start(&crowd, 200, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&crowd.peer);
	run_many(&f, target, 200, 0);
	ck_assert_uint_eq(http_client_connects(f.client), 200);
	fetching_close(&f);
	http_target_free(target);
	crowd_stop(&crowd);
}
END_TEST

START_TEST(idle_connections_survive_a_burst)
{
	struct fetching f;
	static struct crowd crowd;
	struct http_target *target;

	crowd_start(&crowd, 16, hello_whole);
	fetching_open(&f); /* keeps 16 */
	target = target_of_peer(&crowd.peer);
	for (int i = 0; i < 3; i++)
		run_many(&f, target, 16, 0);
	ck_assert_uint_eq(http_client_connects(f.client), 16);
	fetching_close(&f);
	http_target_free(target);
	crowd_stop(&crowd);
}
END_TEST

START_TEST(a_client_that_rests_keeps_its_connections)
{
	struct fetching f;
	static struct crowd crowd;
	struct http_target *target;

	crowd_start(&crowd, 16, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&crowd.peer);
	for (int i = 0; i < 3; i++) {
		http_client_rest(f.client);
		run_many(&f, target, 16, 0);
		http_client_rest(f.client);
	}
	ck_assert_uint_eq(http_client_connects(f.client), 16);
	fetching_close(&f);
	http_target_free(target);
	crowd_stop(&crowd);
}
END_TEST

START_TEST(no_more_idle_connections_are_kept_than_wanted)
{
	struct fetching f;
	static struct crowd crowd;
	struct http_target *target;

	crowd_start(&crowd, 16, hello_whole);
	fetching_open_with(&f, &(struct http_client_options){.max_idle_connections = 4});
	target = target_of_peer(&crowd.peer);
	run_many(&f, target, 16, 0);
	run_many(&f, target, 16, 0);
	ck_assert_uint_eq(http_client_connects(f.client), 28);
	fetching_close(&f);
	http_target_free(target);
	crowd_stop(&crowd);
}
END_TEST

/* Streams that take long do not push out the connections that serve short requests. */
START_TEST(idle_connections_are_kept_while_others_are_busy)
{
	struct fetching f;
	static struct crowd busy, quick;
	struct tape streams[8] = {0};
	struct http_target *target, *busy_target;

	crowd_start(&busy, 8, hello_and_more);
	crowd_start(&quick, 2, hello_whole);
	fetching_open_with(&f, &(struct http_client_options){.max_idle_connections = 2});
	target = target_of_peer(&quick.peer);
	busy_target = target_of_peer(&busy.peer);
	for (int i = 0; i < 8; i++)
		tape_start(&streams[i], &f,
		           &(struct http_fetch_spec){.target = busy_target, .method = "GET"});
	f.left -= 8; /* they do not end */
	for (int i = 0; i < 3; i++)
		run_many(&f, target, 2, 8);
	ck_assert_uint_eq(http_client_connects(f.client), 10);
	fetching_close(&f);
	crowd_stop(&busy);
	crowd_stop(&quick);
	http_target_free(target);
	http_target_free(busy_target);
	for (int i = 0; i < 8; i++)
		tape_fini(&streams[i]);
}
END_TEST

static void
on_head_of_many(struct tape *tape)
{
	fetching_done_one(tape->f);
}

/* CLIENT_MANY streams that do not end; returns once each has begun. */
static void
run_streams(struct tape *streams, struct fetching *f, const struct http_target *target)
{
	for (int i = 0; i < CLIENT_MANY; i++) {
		streams[i] = (struct tape){.at_head = on_head_of_many};
		tape_start(&streams[i], f,
		           &(struct http_fetch_spec){.target = target, .method = "GET"});
	}
	fetching_run(f);
}

START_TEST(with_all_connections_in_use_none_is_looked_for)
{
	enum { BUSY = CLIENT_MANY + 1 };
	static struct crowd busy, quick;
	static struct tape streams[BUSY];
	struct fetching f;
	struct http_target *target, *busy_target;

	crowd_start(&busy, CLIENT_MANY, hello_and_more);
	crowd_start(&quick, 2, hello_whole);
	fetching_open(&f);
	target = target_of_peer(&quick.peer);
	busy_target = target_of_peer(&busy.peer);
	run_streams(streams, &f, busy_target);
	streams[CLIENT_MANY] = (struct tape){0};
	tape_start(&streams[CLIENT_MANY], &f,
	           &(struct http_fetch_spec){.target = busy_target, .method = "GET"});
	f.left--; /* it is not answered */
	for (int i = 0; i < BUSY; i++)
		ck_assert(streams[i].fetch->fresh == (i == CLIENT_MANY));
	ck_assert_uint_eq(http_client_connects(f.client), CLIENT_MANY);
	/* Where there are idle ones they are found, among however many. */
	for (int i = 0; i < 3; i++)
		run_many(&f, target, 2, BUSY);
	ck_assert_uint_eq(http_client_connects(f.client), BUSY + 2);
	/* Who left holds none any more, and a handle that is used again may look. */
	for (int i = 0; i < BUSY; i++)
		http_fetch_cancel(streams[i].fetch);
	ck_assert_uint_eq(f.client->holders, 0);
	ck_assert_uint_eq(f.client->open_sockets, 2);
	run_many(&f, target, 2, 0);
	ck_assert_uint_eq(http_client_connects(f.client), BUSY + 2);
	fetching_close(&f);
	crowd_stop(&busy);
	crowd_stop(&quick);
	http_target_free(target);
	http_target_free(busy_target);
	for (int i = 0; i < BUSY; i++)
		tape_fini(&streams[i]);
}
END_TEST

struct chosen {
	int closing, kept;
};

static void
on_data_of_one(struct tape *tape)
{
	struct chosen *chosen = tape->arg;

	chosen->closing += tape->fetch->closes;
	chosen->kept += tape->fetch->keeps;
	ck_assert(!(tape->fetch->closes && tape->fetch->keeps));
}

START_TEST(enough_idle_connections_close_most_others)
{
	enum { IDLE = 2, QUICK = 4, ROUNDS = 40 };
	static struct crowd busy, quick;
	static struct tape streams[CLIENT_MANY];
	struct chosen chosen = {0};
	struct fetching f;
	struct http_target *target, *busy_target;

	crowd_start(&busy, CLIENT_MANY, hello_and_more);
	crowd_start(&quick, QUICK, hello_whole);
	fetching_open_with(&f, &(struct http_client_options){.max_idle_connections = IDLE});
	target = target_of_peer(&quick.peer);
	busy_target = target_of_peer(&busy.peer);
	run_streams(streams, &f, busy_target);
	for (int round = 0; round < ROUNDS; round++) {
		struct tape tapes[QUICK] = {0};

		for (int i = 0; i < QUICK; i++) {
			tapes[i].at_data = on_data_of_one;
			tapes[i].arg = &chosen;
			tape_start(&tapes[i], &f,
			           &(struct http_fetch_spec){.target = target, .method = "GET"});
		}
		fetching_run(&f);
		for (int i = 0; i < QUICK; i++)
			tape_fini(&tapes[i]);
		ck_assert_uint_eq(f.client->open_sockets, CLIENT_MANY + IDLE);
	}
	/* Two of each round are too many and close, but for the few that are kept in another one's place. */
	ck_assert_int_eq(chosen.kept, ROUNDS * QUICK / CLIENT_KEEPS_ONE_OF);
	ck_assert_int_le(chosen.closing, ROUNDS * (QUICK - IDLE));
	ck_assert_int_ge(chosen.closing, ROUNDS * (QUICK - IDLE) - chosen.kept);
	fetching_close(&f);
	crowd_stop(&busy);
	crowd_stop(&quick);
	http_target_free(target);
	http_target_free(busy_target);
	for (int i = 0; i < CLIENT_MANY; i++)
		tape_fini(&streams[i]);
}
END_TEST

UNIT_MAIN("http_client_settings", a_fetch_that_failed_leaves_no_handle_that_cannot_be_used,
          environment_proxy_is_ignored, redirect_is_not_followed, head_holds_nothing_superfluous,
          connection_is_reused, request_is_repeated_when_a_used_connection_ends_without_a_byte,
          request_is_not_repeated_after_a_byte_of_response,
          request_is_not_repeated_on_a_new_connection, sockets_send_at_once_and_notice_dead_peers,
          many_fetches_run_at_once, idle_connections_survive_a_burst,
          a_client_that_rests_keeps_its_connections, no_more_idle_connections_are_kept_than_wanted,
          idle_connections_are_kept_while_others_are_busy,
          with_all_connections_in_use_none_is_looked_for, enough_idle_connections_close_most_others)
