"""Failures of the model that was to answer, as the client sees them."""

import socket
import threading
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import DRAFT_KEY, HEAVY_KEY
from lib.scripts import confident, expert, uncertain

WAYS = {"escalate": ("auto", "large-1"), "direct": ("other", "other-1")}


@pytest.fixture(params=sorted(WAYS))
def failed(request, gateway, upstream):
    """failed(script, …): the answer when the model that is to answer does this, escalated and pinned."""
    decision = request.param
    model, server = WAYS[decision]

    def ask(script, **members):
        upstream.on("small-1", uncertain())
        upstream.on(server, script)
        answer = gateway.chat(model=model, **members)
        assert answer.header("X-Routing-Decision") == decision
        assert len(upstream.requests_for(server)) >= 1
        return answer

    return ask


# Upstream's own errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_error_about_the_request_itself_passes_with_its_body(failed, status, stream):
    body = rb'{ "error": {"message":"bad \u00e9 thing","type":"invalid_request_error","param":"messages","code":"x","more":1e2} }'
    answer = failed(scripts.reply(status, body), stream=stream)
    assert answer.status == status
    assert answer.body == body
    assert answer.header("Content-Type").startswith("application/json")


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_error_about_the_request_that_is_not_json_has_the_common_shape(failed, status):
    answer = failed(scripts.reply(status, b"<html>too large</html>", "text/html"))
    assert answer.status in (status, 502)
    assert_error(answer, answer.status)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 408, 409, 500, 501, 502, 503, 504, 529])
def test_any_other_failure_is_502_with_upstreams_status_and_words(failed, status, stream):
    answer = failed(scripts.failure(status, "the model is on holiday"), stream=stream)
    assert_error(answer, 502, says=[str(status), "the model is on holiday"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_429_passes_with_its_retry_after(failed, stream):
    answer = failed(scripts.failure(429, "slow down", headers=[("Retry-After", "17")]), stream=stream)
    assert_error(answer, 429)
    assert answer.header("Retry-After") == "17"


def test_a_429_without_retry_after_has_none_invented(failed):
    answer = failed(scripts.failure(429, "slow down"))
    assert_error(answer, 429)
    assert answer.header("Retry-After") in (None, "1")


@pytest.mark.parametrize("value", ["17\x0b", "-1", "x" * 3000, "1e9", "Wed, 21 Oct 2065 07:28:00 GMT"])
def test_an_odd_retry_after_does_no_harm(failed, value):
    answer = failed(scripts.failure(429, headers=[("Retry-After", value)]))
    assert_error(answer, 429)
    told = answer.header("Retry-After")
    assert told is None or told == value or told.isdigit()


def test_an_html_error_page_is_502_with_an_excerpt(failed):
    answer = failed(scripts.reply(502, scripts.HTML_502, "text/html"))
    assert_error(answer, 502, says=["502", "Bad Gateway"])


def test_the_excerpt_has_at_most_two_kilobytes(failed):
    answer = failed(scripts.reply(500, b"Q" * 100000, "text/plain"))
    error = assert_error(answer, 502, says="500")
    assert 1000 <= error["message"].count("Q") <= 2048
    assert len(error["message"]) < 2560


def test_an_excerpt_of_odd_bytes_makes_a_valid_answer(failed):
    answer = failed(scripts.reply(500, bytes(range(256)) + "é漢😀".encode() * 1000, "text/plain"))
    assert_error(answer, 502)
    answer.body.decode("utf-8")


@pytest.mark.parametrize("at", range(2040, 2052))
def test_an_excerpt_is_not_cut_inside_a_character(failed, at):
    answer = failed(scripts.reply(500, b"a" * at + "é漢😀".encode() * 10, "text/plain"))
    assert_error(answer, 502)
    answer.body.decode("utf-8")


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_keys_in_upstreams_words_are_redacted(failed, status):
    answer = failed(scripts.failure(
        status, f"Incorrect API key provided: {HEAVY_KEY}. Authorization: Bearer {HEAVY_KEY} and {DRAFT_KEY}"))
    for key in (HEAVY_KEY, DRAFT_KEY, HEAVY_KEY[3:], DRAFT_KEY[:-1]):
        assert key.encode() not in answer.raw + answer.body


def test_a_key_of_the_usual_form_is_redacted_whoevers_it_is(failed):
    answer = failed(scripts.failure(401, "Incorrect API key provided: sk-proj-AbCdEf0123456789AbCdEf0123456789"))
    assert_error(answer, 502)
    assert b"AbCdEf0123456789AbCdEf" not in answer.body


# Upstream's answers that are none


@pytest.mark.parametrize(
    "name",
    [
        "status_200_html", "status_302", "status_204", "closed_before_head", "reset_before_head", "garbage_for_head", "cut_in_head",
        "head_then_closed", "head_then_reset", "error_in_200_json", "garbage_in_200_json", "empty_json",
    ],
)
def test_an_answer_that_is_none_is_502(failed, name):
    assert_error(failed(scripts.FAILURES[name]), 502)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"17", b'{"id":"x"', b'{"choices":[]} trailing', b'{"choices":"none"}', b"\xff\xfe", b"{}", b'{"choices":[{"message":{"content":"\xff"}}]}'],
)
def test_a_200_that_is_no_completion_is_502(failed, body):
    assert_error(failed(scripts.reply(200, body)), 502)


def test_a_body_shorter_than_its_length_is_502(failed):
    whole = f.dump(f.completion("It is Paris."))
    answer = failed(scripts.raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (len(whole) + 10) + whole))
    assert_error(answer, 502)


def test_a_chunked_body_without_its_last_chunk_is_502(failed):
    def script(exchange):
        exchange.head(content_type="application/json")
        exchange.write(f.dump(f.completion("It is Paris.")))
        exchange.cut()

    assert_error(failed(script), 502)


def test_a_stream_where_json_was_asked_is_understood_or_502(failed):
    answer = failed(scripts.frames(*f.text_frames([("It", 0.1), (" is.", 0.1)], logprobs=False)))
    if answer.status == 200:
        assert answer.text == "It is."
    else:
        assert_error(answer, 502)


def test_an_error_in_a_200_says_what_upstream_said(failed):
    answer = failed(scripts.reply(200, {"error": {"message": "Network connection lost", "type": "x"}}))
    assert_error(answer, 502, says="Network connection lost")


def test_nothing_was_tried_twice(failed, upstream):
    failed(scripts.failure(500))
    assert len([r for r in upstream.requests if r.model != "small-1"]) == 1


# No upstream at all


def test_a_refused_connection_is_502(start, upstream):
    port, keeper = scripts.refusing_port()
    gateway = start(providers={"good": {"base_url": f"http://127.0.0.1:{port}/v1"}})
    upstream.on("small-1", uncertain())
    assert_error(gateway.chat(), 502)
    assert_error(gateway.chat(model="other"), 502)
    assert_error(gateway.chat(model="other", stream=True), 502)
    keeper.close()


def test_a_name_that_does_not_resolve_is_a_failure_of_upstream(start):
    gateway = start(providers={"good": {"base_url": "http://no-such-host.invalid/v1", "connect_timeout": 2}})
    answer = gateway.chat(model="other")
    assert_error(answer, answer.status)
    assert answer.status in (502, 504)


@pytest.fixture
def server():
    """server(serve): a port whose first connection is given to serve(socket), on a thread."""
    opened = []

    def begin(serve):
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            try:
                sock = listener.accept()[0]
            except OSError:
                return
            opened.append(sock)
            serve(sock)

        opened.append(listener)
        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1]

    yield begin
    for sock in opened:
        sock.close()


def test_a_server_that_speaks_no_tls_is_502(start, server):
    def plain(sock):
        sock.recv(100)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    gateway = start(providers={"good": {"base_url": f"https://127.0.0.1:{server(plain)}/v1"}})
    assert_error(gateway.chat(model="other"), 502)


# Timeouts


def taking(gateway, **members):
    started = time.monotonic()
    return gateway.chat(**members), time.monotonic() - started


def test_a_connect_timeout_is_504_and_says_so(start):
    full = scripts.FullBacklog()
    gateway = start(providers={"good": {"base_url": f"http://127.0.0.1:{full.port}/v1", "connect_timeout": "200ms"}})
    answer, taken = taking(gateway, model="other")
    assert_error(answer, 504, says="connect")
    assert 0.19 < taken < 5
    full.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "timeouts, script, says",
    [
        ({"first_byte_timeout": "200ms"}, scripts.stall, "first byte"),
        ({"idle_timeout": "200ms"}, scripts.after([], scripts.stall), "idle"),
        ({"timeout": "200ms"}, scripts.stall, "total"),
        ({"timeout": "200ms"}, scripts.after([], scripts.stall), "total"),
    ],
    ids=["first_byte", "idle", "total_before_head", "total_after_head"],
)
def test_a_timeout_is_504_and_says_which(start, upstream, timeouts, script, says, stream):
    gateway = start(providers={"good": timeouts})
    upstream.on("other-1", script)
    answer, taken = taking(gateway, model="other", stream=stream)
    assert_error(answer, 504, says=says)
    assert 0.19 < taken < 5
    upstream.wait_closed(upstream.wait_request("other-1"))


def test_a_timeout_in_the_middle_of_a_json_body_is_504(start, upstream):
    gateway = start(providers={"good": {"idle_timeout": "200ms"}})

    def script(exchange):
        exchange.head(content_type="application/json")
        exchange.write(b'{"id":"x",')
        exchange.stall()

    upstream.on("other-1", script)
    assert_error(gateway.chat(model="other"), 504, says="idle")


def test_a_total_timeout_holds_though_bytes_keep_coming(start, upstream):
    gateway = start(providers={"good": {"timeout": "400ms"}})
    pause = upstream.gate()

    def script(exchange):
        exchange.head(content_type="application/json")
        while not exchange.connection.closed.is_set():
            exchange.write(b" ")
            pause.wait(0.03)

    upstream.on("other-1", script)
    answer, taken = taking(gateway, model="other")
    assert_error(answer, 504, says="total")
    assert 0.39 < taken < 5


def test_without_a_total_timeout_a_slow_answer_is_waited_for(start, upstream):
    gateway = start(providers={"good": {"first_byte_timeout": "300ms", "idle_timeout": "300ms"}})
    pause = upstream.gate()
    body = f.dump(f.completion("It is Paris."))

    def script(exchange):
        pause.wait(0.15)  # nobody opens it: upstream is slow
        exchange.head(content_type="application/json")
        for at in range(0, len(body), 60):
            exchange.write(body[at : at + 60])
            pause.wait(0.1)
        exchange.end()

    upstream.on("other-1", script)
    assert gateway.chat(model="other").text == "It is Paris."


def test_the_heavyweights_timeout_is_504_after_a_rejected_draft(start, upstream):
    gateway = start(providers={"good": {"first_byte_timeout": "200ms"}})
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.stall)
    answer = gateway.chat()
    assert_error(answer, 504, says="first byte")
    assert_routed(answer, "escalate", "early_exit")


def test_a_server_that_accepts_and_is_silent_is_a_first_byte_timeout(start, server):
    url = f"http://127.0.0.1:{server(lambda sock: None)}/v1"
    gateway = start(providers={"good": {"base_url": url, "first_byte_timeout": "200ms"}})
    assert_error(gateway.chat(model="other"), 504, says="first byte")


def test_a_server_that_is_silent_in_the_tls_greeting_is_a_connect_timeout(start, server):
    url = f"https://127.0.0.1:{server(lambda sock: None)}/v1"
    gateway = start(providers={"good": {"base_url": url, "connect_timeout": "200ms"}})
    assert_error(gateway.chat(model="other"), 504, says="connect")


# Limits on what upstream may send


def test_an_endless_head_of_upstream_is_502(failed):
    def script(exchange):
        exchange.raw(b"HTTP/1.1 200 OK\r\n")
        while not exchange.connection.closed.is_set():
            exchange.raw(b"X-Filler: " + b"x" * 10000 + b"\r\n")

    assert_error(failed(script), 502)


def test_an_endless_event_of_upstream_ends(gateway, upstream):
    def script(exchange):
        exchange.head()
        exchange.write(b"data: ")
        while not exchange.connection.closed.is_set():
            exchange.write(b"x" * 1_000_000)

    upstream.on("other-1", script)
    assert_error(gateway.chat(model="other", stream=True), 502)


def test_an_endless_event_of_a_drafter_means_the_heavyweight_answers(gateway, upstream):
    def script(exchange):
        exchange.head()
        exchange.write(b"data: ")
        while not exchange.connection.closed.is_set():
            exchange.write(b"x" * 1_000_000)

    upstream.on("small-1", script)
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "drafter_error")


def test_an_endless_json_body_of_upstream_ends(gateway, upstream):
    def script(exchange):
        exchange.head(content_type="application/json")
        exchange.write(b'{"x":"')
        while not exchange.connection.closed.is_set():
            exchange.write(b"x" * 1_000_000)

    upstream.on("other-1", script)
    assert_error(gateway.chat(model="other"), 502)


def test_after_all_failures_the_daemon_answers_as_before(gateway, upstream):
    for name, script in sorted(scripts.FAILURES.items()):
        upstream.on("other-1", script)
        gateway.chat(model="other")
    upstream.on("small-1", confident("Paris."))
    assert gateway.chat().text == "Paris."
