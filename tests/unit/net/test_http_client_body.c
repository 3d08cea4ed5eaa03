/* How the body of a request is sent, and for how long it is needed. */
#include "fetching.h"

static char hello_whole[] = OK_HELLO;

START_TEST(no_expect_100_for_2MiB_body)
{
	struct peer peer;
	size_t n = 2 << 20;
	char *body = body_of(n);
	struct http_fetch_spec spec = {.method = "POST", .body = bytes_of(body)};

	run_spec(&peer, spec, NULL, NULL);
	ck_assert_ptr_null(strcasestr(peer.request, "Expect"));
	ck_assert_uint_eq(peer.request_bytes - peer.head_bytes, n);
	ck_assert_int_eq(memcmp(peer.request + peer.head_bytes, body, n), 0);
	peer_join(&peer);
	free(body);
}
END_TEST

START_TEST(body_of_each_size_arrives_whole)
{
	static const size_t sizes[] = {0,     1,     16383, 32767, 32768,
	                               32769, 65535, 65536, 65537, 200000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct peer peer;
		char *body = body_of(sizes[i]), line[64];
		struct http_fetch_spec spec = {.method = "POST", .body = bytes_of(body)};

		run_spec(&peer, spec, NULL, NULL);
		snprintf(line, sizeof(line), "\r\nContent-Length: %zu\r\n", sizes[i]);
		ck_assert_ptr_nonnull(strstr(peer.request, line));
		ck_assert_uint_eq(peer.request_bytes - peer.head_bytes, sizes[i]);
		ck_assert_int_eq(memcmp(peer.request + peer.head_bytes, body, sizes[i]), 0);
		peer_join(&peer);
		free(body);
	}
}
END_TEST

START_TEST(body_in_pieces_arrives_whole)
{
	static const size_t sizes[] = {3, 100000, 0, 1, 70000, 65536, 2};
	struct http_fetch_spec spec = {.method = "POST"};
	struct rope rope;
	struct peer peer;
	size_t n = 0;
	char *body;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		n += sizes[i];
	body = body_of(n);
	rope_init(&rope, 1000);
	for (size_t i = 0, at = 0; i < sizeof(sizes) / sizeof(sizes[0]); at += sizes[i++])
		rope_add(&rope, (struct bytes){body + at, sizes[i]});
	ck_assert_uint_eq(rope.borrowed_count, 3);
	spec.rope = &rope;
	run_spec(&peer, spec, NULL, NULL);
	ck_assert_uint_eq(peer.request_bytes - peer.head_bytes, n);
	ck_assert_int_eq(memcmp(peer.request + peer.head_bytes, body, n), 0);
	peer_join(&peer);
	rope_fini(&rope);
	free(body);
}
END_TEST

static void
shout(void *arg)
{
	char *body = arg;

	memset(body, 'Z', strlen(body));
}

START_TEST(body_is_sent_by_reference)
{
	static const size_t sizes[] = {10, 200000};

	for (size_t i = 0; i < 2; i++) {
		struct peer peer;
		char *body = body_of(sizes[i]);
		struct http_fetch_spec spec = {.method = "POST", .body = bytes_of(body)};

		run_spec(&peer, spec, shout, body);
		ck_assert_int_eq(memcmp(peer.request + peer.head_bytes, body, sizes[i]), 0);
		ck_assert_int_eq(peer.request[peer.head_bytes], 'Z');
		peer_join(&peer);
		free(body);
	}
}
END_TEST

/* One fetch of a body from a peer with this script, written down on the tape. */
static void
run_tape(struct tape *tape, const char *body, void (*script)(struct peer *peer), void *arg)
{
	struct fetching f;
	struct peer peer;
	struct http_fetch_spec spec;
	struct http_target *target;

	peer_start(&peer, script, arg);
	fetching_open(&f);
	target = target_of_peer(&peer);
	spec = spec_post(target, body);
	tape_start(tape, &f, &spec);
	ck_assert(!http_fetch_is_sent(tape->fetch));
	fetching_run(&f);
	assert_result(tape, HTTP_FETCH_OK);
	ck_assert_int_eq(tape->heads, 1);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(tape);
}

/* Whatever libcurl would still read of it then, AddressSanitizer would see. */
static void
free_body(struct tape *tape)
{
	ck_assert(http_fetch_is_sent(tape->fetch));
	free(tape->arg);
	tape->arg = NULL;
}

START_TEST(body_may_go_once_it_is_sent_and_the_response_has_begun)
{
	static const size_t sizes[] = {0, 10, 200000};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tape tape = {.at_head = free_body, .arg = body_of(sizes[i])};

		run_tape(&tape, tape.arg, script_answer_and_close, hello_whole);
		ck_assert_ptr_null(tape.arg);
	}
}
END_TEST

static void
script_answer_early(struct peer *peer)
{
	if (peer_accept(peer) && peer_send(peer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") &&
	    peer_read_request(peer) && peer_send(peer, "hello"))
		peer_await_end(peer);
}

static void
keep_body(struct tape *tape)
{
	ck_assert(!http_fetch_is_sent(tape->fetch));
}

START_TEST(body_is_kept_when_the_response_comes_before_its_end)
{
	struct tape tape = {.at_head = keep_body};
	char *body = body_of(3 << 20);

	run_tape(&tape, body, script_answer_early, NULL);
	free(body);
}
END_TEST

START_TEST(post_without_content_type_is_not_called_a_form)
{
	struct peer peer;
	struct http_fetch_spec spec = {.method = "POST", .body = bytes_of("{}")};

	run_spec(&peer, spec, NULL, NULL);
	ck_assert_ptr_null(strcasestr(peer.request, "Content-Type"));
	peer_join(&peer);
}
END_TEST

UNIT_MAIN("http_client_body", no_expect_100_for_2MiB_body, body_of_each_size_arrives_whole,
          body_in_pieces_arrives_whole, body_is_sent_by_reference,
          body_may_go_once_it_is_sent_and_the_response_has_begun,
          body_is_kept_when_the_response_comes_before_its_end,
          post_without_content_type_is_not_called_a_form)
