"""HTTP/1.1 as clients speak it: what two parsers could read differently is refused, slowness has its end."""

import json
import socket
import time

import pytest

from lib import scripts
from lib.checks import assert_error
from lib.client import Cut
from lib.gateway import SLOW
from lib.scripts import confident

BODY = b'{"messages":[{"role":"user","content":"hi"}]}'
SIZE = str(len(BODY)).encode()
START = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
TYPE = b"Content-Type: application/json\r\n"
# Behind each refused request, in the same write: it must never be served.
SMUGGLED = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def chunked(body=BODY, size=None):
    return (size if size is not None else b"%x" % len(body)) + b"\r\n" + body + b"\r\n0\r\n\r\n"


REFUSED = {
    # Two ends of one body
    "te_and_cl": (400, START + HOST + b"Content-Length: " + SIZE + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked()),
    "cl_and_te": (400, START + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunked()),
    "two_cl_different": (400, START + HOST + b"Content-Length: " + SIZE + b"\r\nContent-Length: 5\r\n\r\n" + BODY),
    "two_cl_alike": (400, START + HOST + (b"Content-Length: " + SIZE + b"\r\n") * 2 + b"\r\n" + BODY),
    "cl_list": (400, START + HOST + b"Content-Length: " + SIZE + b", " + SIZE + b"\r\n\r\n" + BODY),
    "cl_plus": (400, START + HOST + b"Content-Length: +" + SIZE + b"\r\n\r\n" + BODY),
    "cl_minus": (400, START + HOST + b"Content-Length: -1\r\n\r\n" + BODY),
    "cl_hex": (400, START + HOST + b"Content-Length: 0x10\r\n\r\n" + BODY),
    "cl_words": (400, START + HOST + b"Content-Length: " + SIZE + b" 6\r\n\r\n" + BODY),
    "cl_empty": (400, START + HOST + b"Content-Length: \r\n\r\n" + BODY),
    "cl_decimal": (400, START + HOST + b"Content-Length: " + SIZE + b".0\r\n\r\n" + BODY),
    "cl_huge": ((400, 413), START + HOST + b"Content-Length: 99999999999999999999999999\r\n\r\n" + BODY),
    "cl_wraps_round": ((400, 413), START + HOST + b"Content-Length: 18446744073709551617\r\n\r\n" + BODY),
    "te_space_before_colon": (400, START + HOST + b"Transfer-Encoding : chunked\r\n\r\n" + chunked()),
    "cl_space_before_colon": (400, START + HOST + b"Content-Length : " + SIZE + b"\r\n\r\n" + BODY),
    "te_xchunked": ((400, 501), START + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked()),
    "te_gzip_chunked": ((400, 501), START + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked()),
    "te_chunked_gzip": ((400, 501), START + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + chunked()),
    "te_identity": ((400, 501), START + HOST + b"Transfer-Encoding: identity\r\n\r\n" + BODY),
    "te_twice": ((400, 501), START + HOST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunked()),
    "te_quoted": ((400, 501), START + HOST + b'Transfer-Encoding: "chunked"\r\n\r\n' + chunked()),
    "te_vertical_tab": ((400, 501), START + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + chunked()),
    "te_empty": ((400, 501), START + HOST + b"Transfer-Encoding: \r\n\r\n" + chunked()),
    "te_on_1_0": (400, START.replace(b"1.1", b"1.0") + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked()),
    # Chunks
    "chunk_size_0x": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b"0x2d")),
    "chunk_size_plus": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b"+2d")),
    "chunk_size_minus": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b"-2d")),
    "chunk_size_blank_before": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b" 2d")),
    "chunk_size_junk": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b"2d junk")),
    "chunk_size_empty": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b"")),
    "chunk_size_wraps_round": ((400, 413), START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(size=b"1000000000000002d")),
    "chunk_bare_lf": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked().replace(b"\r\n", b"\n")),
    "chunk_too_long": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n2c\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk_without_crlf": (400, START + HOST + b"Transfer-Encoding: chunked\r\n\r\n2d\r\n" + BODY + b"0\r\n\r\n"),
    # The head
    "bare_lf": (400, (START + HOST + b"Content-Length: " + SIZE + b"\r\n\r\n").replace(b"\r\n", b"\n") + BODY),
    "one_bare_lf": (400, START + HOST[:-2] + b"\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "bare_cr": (400, START + HOST + b"X-A: a\rb\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "nul_in_value": (400, START + HOST + b"X-A: a\0b\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "nul_in_name": (400, START + HOST + b"X\0A: a\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "nul_in_target": (400, b"GET /health\0 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "folded_field": (400, START + HOST + b"X-A: a\r\n b\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "folded_te": (400, START + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked()),
    "blank_before_name": (400, START + b" " + HOST + b"Content-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "empty_name": (400, START + HOST + b": a\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "name_not_a_token": (400, START + HOST + b"X(A): a\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "no_colon": (400, START + HOST + b"Nonsense\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "no_host": (400, START + b"Content-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "two_hosts": (400, START + HOST * 2 + b"Content-Length: " + SIZE + b"\r\n\r\n" + BODY),
    "no_version": (400, b"GET /health\r\n" + HOST + b"\r\n"),
    "version_2": ((400, 505), b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n"),
    "version_nonsense": ((400, 505), b"GET /health HTTP/x.y\r\n" + HOST + b"\r\n"),
    "other_protocol": (400, b"GET /health ICAP/1.0\r\n" + HOST + b"\r\n"),
    "two_blanks": (400, b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n"),
    "tab_for_blank": (400, b"GET\t/health\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "blank_in_target": (400, b"GET /hea lth HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no_target": (400, b"GET HTTP/1.1\r\n" + HOST + b"\r\n"),
    "http2_preface": ((400, 505), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "tls_greeting": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n" * 3),
    "long_head": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 200000 + b"\r\n\r\n"),
    "many_fields": (431, b"GET /health HTTP/1.1\r\n" + HOST + b"X-A: a\r\n" * 20000 + b"\r\n"),
    "long_target": ((414, 431), b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
}


def answers_in(raw):
    return raw.count(b"HTTP/1.1 ") + raw.count(b"HTTP/1.0 ")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_two_parsers_could_read_differently_is_refused(gateway, upstream, name):
    upstream.on("small-1", confident())
    statuses, request = REFUSED[name]
    with gateway.client() as client:
        try:
            client.send(request + SMUGGLED)
        except ConnectionError:
            pass  # it closed before it had read all: the answer may be lost to the reset
        try:
            answer = client.read_response()
        except Cut:
            assert name in ("long_head", "many_fields", "long_target"), "no answer"
            return
        assert answer.status in ([statuses] if isinstance(statuses, int) else statuses), answer
        assert_error(answer, answer.status)
        assert client.read_to_end() == b"", "something was answered behind it"
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["te_and_cl", "two_cl_alike", "chunk_size_junk", "bare_lf", "folded_field", "no_host", "te_xchunked"])
def test_it_is_refused_in_any_cutting(gateway, upstream, name):
    statuses, request = REFUSED[name]
    upstream.on("small-1", confident())
    with gateway.client() as client:
        try:
            for at in range(len(request)):
                client.send(request[at : at + 1])
        except ConnectionError:
            pass
        try:
            answer = client.read_response()
        except Cut:
            pass  # closed on the way: what was still being sent met a closed door
        else:
            assert answer.status in ([statuses] if isinstance(statuses, int) else statuses)
        client.read_to_end()
    assert upstream.requests == []


GOOD = {
    "content_length": START + HOST + TYPE + b"Content-Length: " + SIZE + b"\r\n\r\n" + BODY,
    "length_with_zeros": START + HOST + TYPE + b"Content-Length: 000" + SIZE + b"\r\n\r\n" + BODY,
    "blanks_around_values": START + HOST + TYPE + b"Content-Length:   " + SIZE + b"  \r\n\r\n" + BODY,
    "odd_case": b"POST /v1/chat/completions HTTP/1.1\r\nhOST: x\r\ncontent-LENGTH: " + SIZE + b"\r\n\r\n" + BODY,
    "one_chunk": START + HOST + TYPE + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(),
    "chunks_of_one": START + HOST + b"Transfer-Encoding: Chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % c for c in BODY) + b"0\r\n\r\n",
    "upper_case_size": START + HOST + b"Transfer-Encoding: chunked\r\n\r\n2D\r\n" + BODY + b"\r\n0\r\n\r\n",
    "size_with_zeros": START + HOST + b"Transfer-Encoding: chunked\r\n\r\n0000002d\r\n" + BODY + b"\r\n0\r\n\r\n",
    "latin_1_value": START + HOST + b"X-A: \xe9\xff\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY,
    "empty_value": START + HOST + b"X-A:\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY,
    "old_client": b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY,
}


@pytest.mark.parametrize("pieces", [None, 1])
@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_well_formed_is_served_in_any_cutting(gateway, upstream, name, pieces):
    assert len(BODY) == 0x2D
    upstream.on("small-1", confident("Paris."))
    request = GOOD[name]
    with gateway.client() as client:
        for at in range(0, len(request), pieces or len(request)):
            client.send(request[at : at + (pieces or len(request))])
        assert client.read_response().text == "Paris."
    assert json.loads(upstream.requests[0].body)["messages"] == json.loads(BODY)["messages"]


# Those that nothing reads are left out where they arrive whole.
MANY = b"GET /health HTTP/1.1\r\nX-A: 1\r\nHost: localhost\r\nX-Request-Ids: no\r\nX-Stainless-Lang: python\r\n%s" \
       b"x-request-id: %s\r\nUser-Agent: test\r\nX-Empty:\r\n\r\n"


@pytest.mark.parametrize("more", [b"", b"X-Long: " + b"a" * 300 + b"\r\n", b"X-Very-Long: " + b"a" * 9000 + b"\r\n"],
                         ids=["short", "long", "longer_than_a_read"])
def test_a_field_is_found_among_others_wherever_the_head_is_cut(gateway, more):
    first, second = MANY % (more, b"one"), MANY % (b"", b"two")
    cuts = [*range(0, 190, 3), *range(200, len(first), 1000), *range(len(first) - 70, len(first), 3)]
    with gateway.client() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in cuts:
            client.send(first[:at])
            client.send(first[at:] + second)
            assert [client.read_response("GET").header("x-request-id") for _ in range(2)] == ["one", "two"], at


def test_a_chunked_request_may_have_a_trailer_or_is_refused(gateway, upstream):
    upstream.on("small-1", confident("Paris."))
    with gateway.client() as client:
        client.send(START + HOST + b"Transfer-Encoding: chunked\r\n\r\n2d\r\n" + BODY + b"\r\n0\r\nX-T: 1\r\n\r\n")
        answer = client.read_response()
    assert answer.status == 200 or (answer.status == 400 and upstream.requests == [])


def test_requests_on_one_connection_are_answered_in_turn(gateway, upstream):
    upstream.on("small-1", confident("Paris."))
    with gateway.client() as client:
        for _ in range(20):
            assert client.request("POST", "/v1/chat/completions", BODY).text == "Paris."
            assert client.request("GET", "/health").status == 200


def test_pipelined_requests_are_answered_in_order(gateway, upstream):
    def echo(exchange):
        scripts.speak(exchange.request.json["messages"][0]["content"])(exchange)

    upstream.on("small-1", echo)
    bodies = [BODY.replace(b"hi", b"number %d" % i) for i in range(5)]
    with gateway.client() as client:
        client.send(b"".join(START + HOST + b"Content-Length: %d\r\n\r\n" % len(b) + b for b in bodies))
        for i in range(5):
            assert client.read_response().text == f"number {i}"


def test_a_request_pipelined_behind_a_stream_waits_for_it(gateway, upstream):
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.wait(gate)
        exchange.frames(scripts.PART + [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}])
        exchange.end()

    upstream.on("other-1", script)
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {"model": "other", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        client.begin("GET", "/health")
        upstream.wait_request("other-1")
        gate.set()
        stream = client.stream().read()
        assert stream.done and stream.complete
        assert client.read_response().status == 200


def test_connection_close_is_honoured(gateway):
    with gateway.client() as client:
        client.begin("GET", "/health", headers=[("Connection", "close")])
        answer = client.read_response()
        assert answer.status == 200 and answer.header("Connection") == "close"
        assert client.read_to_end() == b""


def test_an_old_client_is_answered_and_the_connection_closed(gateway):
    with gateway.client() as client:
        client.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert client.read_response().status == 200
        assert client.read_to_end() == b""


def test_expect_100_continue_is_answered(gateway, upstream):
    upstream.on("small-1", confident("Paris."))
    with gateway.client() as client:
        client.send(START + HOST + b"Expect: 100-continue\r\nContent-Length: " + SIZE + b"\r\n\r\n")
        interim = client._until(b"\r\n\r\n", time.monotonic() + 10)
        assert interim.startswith(b"HTTP/1.1 100 ")
        client.send(BODY)
        assert client.read_response().text == "Paris."


def test_a_body_cut_by_the_end_of_the_connection_is_not_forwarded(gateway, upstream):
    upstream.on("small-1", confident())
    for cut in (b"", BODY[:1], BODY[:-1]):
        with gateway.client() as client:
            client.send(START + HOST + b"Content-Length: " + SIZE + b"\r\n\r\n" + cut)
            client.half_close()
            rest = client.read_to_end()
            assert b" 200 " not in rest[:15]
    assert upstream.requests == []
    assert gateway.get("/health").status == 200


def test_a_connection_that_says_nothing_and_ends_does_no_harm(gateway):
    for _ in range(20):
        with gateway.client() as client:
            client.half_close()
            client.read_to_end()
        gateway.client().reset()
    assert gateway.get("/health").status == 200


def test_every_cut_of_a_request_followed_by_a_reset_does_no_harm(gateway, upstream):
    upstream.on("small-1", confident())
    request = GOOD["one_chunk"]
    for at in range(0, len(request) - 1, 3):
        client = gateway.client()
        client.send(request[:at])
        client.reset()
    assert gateway.get("/health").status == 200
    assert upstream.requests == []


# Slowness


@pytest.fixture
def strict(start):
    return start(server={"read_timeout": "400ms", "idle_timeout": "300ms"})


def trickle(client, data, pause_s=0.05):
    """Sends byte by byte until the peer has closed or all is sent. Returns the seconds it took."""
    started = time.monotonic()
    client.sock.settimeout(pause_s)
    for at in range(len(data)):
        try:
            client.send(data[at : at + 1])
            if client.sock.recv(1, 0x2) == b"":  # MSG_PEEK: closed?
                break
            break  # an answer has come
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - started


@pytest.mark.parametrize(
    "data",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 500,
        START + HOST + b"Content-Length: 500\r\n\r\n" + b" " * 499,
        START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 100,
    ],
    ids=["head", "body", "chunks"],
)
def test_a_request_that_trickles_in_is_ended_by_the_read_timeout(strict, upstream, data):
    with strict.client() as client:
        taken = trickle(client, data)
        assert 0.3 < taken < 3 * SLOW, taken
        rest = client.read_to_end()
    assert rest == b"" or rest.startswith(b"HTTP/1.1 408 "), rest
    assert upstream.requests == []


def test_a_connection_that_says_nothing_is_closed(strict):
    with strict.client() as client:
        started = time.monotonic()
        client.read_to_end(timeout=10)
        assert time.monotonic() - started < 5


def test_an_idle_connection_is_closed_after_the_idle_timeout(strict):
    with strict.client() as client:
        assert client.request("GET", "/health").status == 200
        started = time.monotonic()
        assert client.read_to_end(timeout=10) == b""
        assert 0.2 < time.monotonic() - started < 5


def test_the_read_timeout_does_not_run_while_the_answer_is_waited_for(strict, upstream):
    pause = upstream.gate()

    def script(exchange):
        pause.wait(1.0)  # nobody opens it: upstream thinks longer than any of the client's timeouts
        scripts.expert("Late.")(exchange)

    upstream.on("other-1", script)
    assert strict.chat(model="other").text == "Late."


def test_the_read_timeout_does_not_run_while_a_stream_is_silent(strict, upstream):
    pause = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames(scripts.PART, done=False)
        pause.wait(1.0)  # nobody opens it
        exchange.frames([{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}])
        exchange.end()

    upstream.on("other-1", script)
    assert strict.stream(model="other").read().done


def test_the_read_timeout_starts_anew_with_each_request(strict):
    pause = 0.25
    with strict.client() as client:
        for _ in range(4):
            assert client.request("GET", "/health").status == 200
            client.sock.settimeout(pause)
            with pytest.raises(TimeoutError):
                client.sock.recv(1)


def test_many_trickling_clients_do_not_hold_up_another(strict, upstream):
    upstream.on("small-1", confident("Paris."))
    slow = [strict.client() for _ in range(50)]
    for client in slow:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Le")
    assert strict.chat().text == "Paris."
    for client in slow:
        client.read_to_end()
        client.close()


# Many


def test_of_200_requests_at_once_none_is_lost_or_mixed_up(gateway, upstream):
    def echo(exchange):
        text = exchange.request.json["messages"][0]["content"]
        scripts.speak(text, 0.1 if text.endswith("sure") else 4.0)(exchange)

    def heavy(exchange):
        scripts.speak("heavy " + exchange.request.json["messages"][0]["content"])(exchange)

    upstream.on("small-1", echo)
    upstream.on("large-1", heavy)
    clients = [gateway.client() for _ in range(200)]
    words = [f"number {i} {'sure' if i % 2 else 'open'}" for i in range(200)]
    for client, word in zip(clients, words):
        client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": word}]})
    for client, word in zip(clients, words):
        answer = client.read_response()
        assert answer.text == (word if word.endswith("sure") else "heavy " + word)
        client.close()


def test_hundreds_of_idle_connections_do_not_hold_up_another(gateway, upstream):
    upstream.on("small-1", confident("Paris."))
    idle = [gateway.client() for _ in range(400)]
    assert gateway.chat().text == "Paris."
    for client in idle:
        client.close()
