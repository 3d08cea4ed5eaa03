/* What a fetch reports for each way in which a peer can answer. */
#include <sys/resource.h>

#include "fetching.h"

struct answer {
	const char *text;
	enum http_fetch_result result;
	int status; /* 0: no head is reported */
	const char *body;
};

static const struct answer answers[] = {
        {OK_HELLO, HTTP_FETCH_OK, 200, "hello"},
        {OK_EMPTY, HTTP_FETCH_OK, 200, ""},
        {"HTTP/1.1 204 No Content\r\n\r\n", HTTP_FETCH_OK, 204, ""},
        {"HTTP/1.0 200 OK\r\n\r\nuntil the end", HTTP_FETCH_OK, 200, "until the end"},
        {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", HTTP_FETCH_OK, 200, "ok"},
        {"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops", HTTP_FETCH_OK, 500, "oops"},
        {"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", HTTP_FETCH_OK, 429, ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
         HTTP_FETCH_OK, 200, "abc0123456789"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n",
         HTTP_FETCH_OK, 200, "a"},
        {"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" OK_HELLO,
         HTTP_FETCH_OK, 200, "hello"},
        {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nraw", HTTP_FETCH_OK,
         200, "raw"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", HTTP_FETCH_OK, 200, "abc"},
        {"", HTTP_FETCH_CUT, 0, ""},
        {"HTTP/1.1 200 OK\r\nContent-Le", HTTP_FETCH_CUT, 0, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", HTTP_FETCH_CUT, 200, "hello"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", HTTP_FETCH_CUT, 200, "he"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", HTTP_FETCH_CUT, 200,
         "he"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_FETCH_CUT, 200, ""},
        {"HTTP/1.1 100 Continue\r\n\r\n", HTTP_FETCH_CUT, 0, ""},
        {"SSH-2.0-OpenSSH_9.2\r\n", HTTP_FETCH_PROTOCOL, 0, ""},
        {"<html>not http</html>", HTTP_FETCH_PROTOCOL, 0, ""},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 binary", HTTP_FETCH_PROTOCOL, 0, ""},
        {"HTTP/1.1 abc\r\n\r\n", HTTP_FETCH_PROTOCOL, 0, ""},
        {"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n", HTTP_FETCH_PROTOCOL, 0, ""},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbytes", HTTP_FETCH_PROTOCOL, 0, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", HTTP_FETCH_PROTOCOL, 0, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: soup\r\n\r\n", HTTP_FETCH_PROTOCOL, 0, ""},
};

static void
check_answer(const struct answer *answer)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;
	char *text = strdup(answer->text);

	peer_start(&peer, script_answer_and_close, text);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(&tape, &f, target);
	ck_assert_msg(tape.result == answer->result, "%s (%s) for: %s",
	              http_fetch_result_name(tape.result), tape.detail, answer->text);
	ck_assert_msg(tape.status == answer->status, "status %d for: %s", tape.status,
	              answer->text);
	ck_assert_msg(tape_body_is(&tape, answer->body), "wrong body for: %s", answer->text);
	ck_assert_uint_eq(http_client_in_flight(f.client), 0);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(&tape);
	free(text);
}

START_TEST(each_answer_has_its_result)
{
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		check_answer(&answers[i]);
}
END_TEST

static const char *const split_answers[] = {
        "HTTP/1.1 100 Continue\r\n\r\n"
        "HTTP/1.1 200 OK\r\nRetry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        "4\r\nhe\r\n\r\n1\r\nl\r\n0\r\nX-T: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nhe\r\nl",
};

/* Sends a byte a turn from the loop itself, so that each comes alone. */
struct dripper {
	struct fetching *f;
	struct peer *peer;
	struct timer *timer;
	const char *text;
	size_t sent;
};

static void
on_drip(void *arg)
{
	struct dripper *d = arg;

	if (!d->text[d->sent])
		return;
	ck_assert(peer_send_bytes(d->peer, d->text + d->sent, 1));
	d->sent++;
	timer_arm_ms(d->timer, 0);
}

static void
on_dripper_ready(void *arg)
{
	struct dripper *d = arg;

	timer_arm_ms(d->timer, 0);
}

static void
script_hand_over(struct peer *peer)
{
	struct dripper *d = peer->arg;

	if (!peer_accept(peer) || !peer_read_request(peer))
		return;
	worker_post(d->f->worker, on_dripper_ready, d);
	peer_await_end(peer);
}

START_TEST(answer_may_come_a_byte_at_a_time)
{
	for (size_t i = 0; i < sizeof(split_answers) / sizeof(split_answers[0]); i++) {
		struct fetching f;
		struct peer peer;
		struct tape tape = {.field = HTTP_ANSWER_RETRY_AFTER};
		struct dripper d = {.f = &f, .peer = &peer, .text = split_answers[i]};
		struct http_target *target;

		fetching_open(&f);
		d.timer = timer_new(f.worker, on_drip, &d);
		peer_start(&peer, script_hand_over, &d);
		target = target_of_peer(&peer);
		tape_run(&tape, &f, target);
		assert_result(&tape, HTTP_FETCH_OK);
		ck_assert_int_eq(tape.heads, 1);
		ck_assert(tape_body_is(&tape, "he\r\nl"));
		ck_assert_int_eq(tape.pieces, 5);
		ck_assert_str_eq(tape.header, "1");
		timer_free(d.timer);
		fetching_close(&f);
		http_target_free(target);
		peer_join(&peer);
		tape_fini(&tape);
	}
}
END_TEST

static void
check_script(struct tape *tape, void (*script)(struct peer *peer), void *arg)
{
	struct fetching f;
	struct peer peer;
	struct http_target *target;

	peer_start(&peer, script, arg);
	fetching_open(&f);
	target = target_of_peer(&peer);
	tape_run(tape, &f, target);
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
	tape_fini(tape);
}

START_TEST(broken_chunk_is_a_protocol_fault)
{
	static char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsoup\r\n";
	struct tape tape = {0};

	check_script(&tape, script_answer_and_await_end, text);
	assert_result(&tape, HTTP_FETCH_PROTOCOL);
	ck_assert_int_eq(tape.status, 200);
}
END_TEST

static void
script_endless_line(struct peer *peer)
{
	static const char line[] =
	        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

	if (!peer_serve(peer, "HTTP/1.1 200 OK\r\nX-Long: "))
		return;
	while (peer_send(peer, line))
		;
	peer->ended_us = clock_now_us();
}

static void
script_endless_head(struct peer *peer)
{
	if (!peer_serve(peer, "HTTP/1.1 200 OK\r\n"))
		return;
	while (peer_send(peer, "X-More: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"))
		;
}

static void
script_endless_interim(struct peer *peer)
{
	if (!peer_serve(peer, ""))
		return;
	while (peer_send(peer, "HTTP/1.1 100 Continue\r\n\r\n"))
		;
}

static void
script_endless_trailer(struct peer *peer)
{
	if (!peer_serve(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"))
		return;
	while (peer_send(peer, "X-More: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"))
		;
}

START_TEST(endless_header_line_is_a_protocol_fault)
{
	struct tape tape = {0};

	check_script(&tape, script_endless_line, NULL);
	assert_result(&tape, HTTP_FETCH_PROTOCOL);
	ck_assert_str_eq(tape.detail, "the response's head is too large");
}
END_TEST

START_TEST(head_is_bounded)
{
	void (*const scripts[])(struct peer *) = {script_endless_head, script_endless_interim,
	                                          script_endless_trailer};

	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		struct tape tape = {0};

		check_script(&tape, scripts[i], NULL);
		assert_result(&tape, HTTP_FETCH_PROTOCOL);
		ck_assert_str_eq(tape.detail, "the response's head is too large");
	}
}
END_TEST

START_TEST(large_header_is_read_whole)
{
	struct tape tape = {.field = HTTP_ANSWER_RETRY_AFTER};
	struct buf text;

	buf_init(&text, 0);
	buf_add_text(&text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nRetry-After: ");
	for (int i = 0; i < 60000; i++)
		buf_add_text(&text, "y");
	buf_add_text(&text, "\r\n\r\n");
	buf_add(&text, "", 1);
	check_script(&tape, script_answer_and_close, text.p);
	buf_fini(&text);
	assert_result(&tape, HTTP_FETCH_OK);
	ck_assert_uint_eq(tape.header_bytes, 60000);
}
END_TEST

static void
script_reset_in_body(struct peer *peer)
{
	if (peer_serve(peer, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"))
		peer_reset(peer);
}

static void
script_reset_before_head(struct peer *peer)
{
	if (peer_serve(peer, ""))
		peer_reset(peer);
}

static void
script_reset_at_once(struct peer *peer)
{
	if (peer_accept(peer))
		peer_reset(peer);
}

START_TEST(reset_is_a_cut)
{
	void (*const scripts[])(struct peer *) = {script_reset_in_body, script_reset_before_head};

	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
		struct tape tape = {0};

		check_script(&tape, scripts[i], NULL);
		assert_result(&tape, HTTP_FETCH_CUT);
	}
}
END_TEST

/* Whether libcurl or the reset is first is not ours to say. */
START_TEST(reset_on_connecting_is_a_connect_failure_or_a_cut)
{
	struct tape tape = {0};

	check_script(&tape, script_reset_at_once, NULL);
	ck_assert(tape.result == HTTP_FETCH_CONNECT || tape.result == HTTP_FETCH_CUT);
}
END_TEST

START_TEST(header_is_the_last_of_its_name_in_any_case)
{
	static char text[] =
	        "HTTP/1.1 103 Early\r\nRetry-After: early\r\nX-Should-Retry: early\r\n\r\n"
	        "HTTP/1.1 200 OK\r\nRetry-After: one\r\nretry-after: two\r\nRetry-After-Ms:\r\n"
	        "Retry-After-Long: four\r\nOpenAI-Processing-Ms: 5\r\n 6\r\nReTRY-aFTer:  three "
	        "\r\n"
	        "Transfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: trailer\r\n\r\n";
	static const struct {
		enum http_answer_field field;
		const char *value;
	} rows[] = {
	        {HTTP_ANSWER_RETRY_AFTER, "three"},    {HTTP_ANSWER_RETRY_AFTER_MS, ""},
	        {HTTP_ANSWER_SHOULD_RETRY, "(none)"},  {HTTP_ANSWER_CONTENT_TYPE, "(none)"},
	        {HTTP_ANSWER_PROCESSING_MS, "(none)"}, /* folded */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tape tape = {.field = rows[i].field};

		check_script(&tape, script_answer_and_close, text);
		ck_assert_str_eq(tape.header, rows[i].value);
	}
}
END_TEST

START_TEST(refused_connection_is_a_connect_failure)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;

	peer_listen(&peer);
	target = target_of_peer(&peer);
	peer_join(&peer); /* nobody listens there any more */
	fetching_open(&f);
	tape_run(&tape, &f, target);
	assert_result(&tape, HTTP_FETCH_CONNECT);
	ck_assert_uint_eq(tape.times.connected_us, 0);
	ck_assert_uint_eq(http_client_connects(f.client), 0);
	fetching_close(&f);
	http_target_free(target);
}
END_TEST

START_TEST(lack_of_descriptors_is_our_fault)
{
	struct fetching f;
	struct peer peer;
	struct tape tape = {0};
	struct http_target *target;
	int taken[64], count = 0;
	struct rlimit limit;

	peer_listen(&peer);
	fetching_open(&f);
	target = target_of_peer(&peer);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 40;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (count < 64 && (taken[count] = dup(peer.listener)) >= 0)
		count++;
	tape_run(&tape, &f, target);
	while (count > 0)
		close(taken[--count]);
	assert_result(&tape, HTTP_FETCH_FAULT);
	ck_assert_str_eq(tape.detail, "no file descriptor for a socket");
	fetching_close(&f);
	http_target_free(target);
	peer_join(&peer);
}
END_TEST

START_TEST(times_are_in_order)
{
	struct tape tape = {0};

	check_script(&tape, script_answer_and_close, (char[]){OK_HELLO});
	ck_assert_uint_gt(tape.times.start_us, 0);
	ck_assert_uint_ge(tape.times.connected_us, tape.times.start_us);
	ck_assert_uint_ge(tape.times.first_byte_us, tape.times.connected_us);
}
END_TEST

START_TEST(each_result_has_a_name)
{
	for (int i = HTTP_FETCH_OK; i <= HTTP_FETCH_FAULT; i++)
		ck_assert_ptr_nonnull(http_fetch_result_name((enum http_fetch_result)i));
	ck_assert(http_fetch_result_is_timeout(HTTP_FETCH_TIMEOUT_CONNECT));
	ck_assert(http_fetch_result_is_timeout(HTTP_FETCH_TIMEOUT_TOTAL));
	ck_assert(!http_fetch_result_is_timeout(HTTP_FETCH_TLS));
	ck_assert(!http_fetch_result_is_timeout(HTTP_FETCH_CUT));
}
END_TEST

UNIT_MAIN("http_client", each_answer_has_its_result, answer_may_come_a_byte_at_a_time,
          broken_chunk_is_a_protocol_fault, endless_header_line_is_a_protocol_fault,
          head_is_bounded, large_header_is_read_whole, reset_is_a_cut,
          reset_on_connecting_is_a_connect_failure_or_a_cut,
          header_is_the_last_of_its_name_in_any_case, refused_connection_is_a_connect_failure,
          lack_of_descriptors_is_our_fault, times_are_in_order, each_result_has_a_name)
