/* What a fetch reports for each way in which a peer can answer. */
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
script_answer_and_close(struct peer *peer)
{
	peer_serve(peer, peer->arg);
}

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

UNIT_MAIN("http_client", each_answer_has_its_result)
