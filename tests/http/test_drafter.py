"""The drafter: fails in every way, and spells its stream in every way."""

import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_routed
from lib.scripts import FAILURES, confident, expert, speak


# The drafter fails


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(FAILURES))
def test_a_failed_drafter_means_the_heavyweight_answers(gateway, upstream, name, stream):
    upstream.on("small-1", FAILURES[name])
    upstream.on("large-1", expert("It is Paris."))
    if stream:
        answer = gateway.stream().read()
        assert answer.text == "It is Paris." and answer.done
        assert_routed(answer.head, "escalate", "drafter_error", model="heavyweight")
        assert answer.routing["reason"] == "drafter_error"
        raw = answer.raw
    else:
        answer = gateway.chat()
        assert_routed(answer, "escalate", "drafter_error", model="heavyweight")
        assert answer.text == "It is Paris."
        raw = answer.body
    assert b"DRAFTED" not in raw and b"scripted failure" not in raw
    assert len(upstream.requests_for("large-1")) == 1


def test_a_drafter_that_refuses_connections_means_the_heavyweight_answers(start, upstream):
    port, keeper = scripts.refusing_port()
    gateway = start(providers={"cheap": {"base_url": f"http://127.0.0.1:{port}/v1"}})
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "drafter_error")
    keeper.close()


def test_a_drafter_that_takes_no_connection_means_the_heavyweight_answers(start, upstream):
    full = scripts.FullBacklog()
    gateway = start(providers={"cheap": {"base_url": f"http://127.0.0.1:{full.port}/v1", "connect_timeout": "200ms"}})
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "drafter_error")
    full.close()


def test_a_drafter_whose_name_does_not_resolve_means_the_heavyweight_answers(start, upstream):
    gateway = start(providers={"cheap": {"base_url": "http://no-such-host.invalid/v1", "connect_timeout": 2}})
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "drafter_error")


@pytest.mark.parametrize(
    "name, timeouts, script",
    [
        ("first_byte", {"first_byte_timeout": "150ms"}, scripts.stall),
        ("idle_after_head", {"idle_timeout": "150ms"}, scripts.after([], scripts.stall)),
        ("idle_in_stream", {"idle_timeout": "150ms"}, scripts.after(scripts.PART, scripts.stall)),
        ("total", {"timeout": "300ms", "idle_timeout": "10s"}, scripts.after(scripts.PART, scripts.stall)),
    ],
)
def test_a_drafter_that_is_too_slow_means_the_heavyweight_answers(start, upstream, name, timeouts, script):
    gateway = start(providers={"cheap": timeouts})
    upstream.on("small-1", script)
    upstream.on("large-1", expert())
    started = time.monotonic()
    answer = gateway.chat()
    assert_routed(answer, "escalate", "drafter_error")
    assert time.monotonic() - started < 5
    upstream.wait_closed(upstream.wait_request("small-1"))
    assert b"DRAFTED" not in answer.body


def test_a_failed_drafter_has_no_score_unless_tokens_were_judged(gateway, upstream):
    upstream.on("small-1", scripts.failure(500))
    upstream.on("large-1", expert())
    assert gateway.chat().header("X-Routing-Score") is None


def test_a_draft_without_done_but_with_a_finish_reason_is_complete(gateway, upstream):
    upstream.on("small-1", scripts.frames(*f.text_frames([("Whole.", 0.1)]), done=False))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.text == "Whole."


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_the_finish_reason_of_a_draft_is_passed_on(gateway, upstream, finish):
    upstream.on("small-1", confident("Paris", finish=finish))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.json()["choices"][0]["finish_reason"] == finish


def test_a_drafter_may_close_its_connection_after_the_stream(gateway, upstream):
    def script(exchange):
        exchange.head(chunked=False, headers=[("Connection", "close")])
        exchange.frames(f.text_frames([("Whole.", 0.1)]))
        exchange.end()

    upstream.on("small-1", script)
    assert_routed(gateway.chat(), "accept", "confident")


def test_what_a_drafter_says_after_done_is_not_read(gateway, upstream):
    upstream.on("small-1", scripts.body(
        b"".join(f.event(fr) for fr in f.text_frames([("Whole.", 0.1)])) + f.DONE + b"data: {garbage\n\n"))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.text == "Whole."


# How a stream may be spelled


PAYLOADS = [*f.text_frames([("One", 0.1), (" two", 0.2), (" three \u00e9\U0001f600", 0.1)], usage=f.usage(3, 3))]
PLAIN = b"".join(f.event(p) for p in PAYLOADS) + f.DONE


@pytest.mark.parametrize(
    "spelled",
    [
        PLAIN,
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.replace(b"data: ", b"data:"),
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"data: ", b": comment\ndata: "),
        PLAIN.replace(b"data: ", b"event: message\nid: 7\nretry: 10\ndata: "),
        b": keepalive\n\n" * 5 + PLAIN.replace(b"\n\n", b"\n\n: keepalive\n\n"),
        PLAIN.replace(b"\n\n", b"\n\n\n\n"),
        PLAIN.replace(b'data: {"id"', b'data: {\ndata: "id"'),
        PLAIN.replace(b'","', b'" , "'),
    ],
    ids=["plain", "crlf", "cr", "no_blank", "bom", "comments", "fields", "keepalives", "blank_lines", "data_lines", "spaces"],
)
@pytest.mark.parametrize("pieces", [1, 7, None])
def test_any_spelling_and_cutting_of_a_stream_is_read_alike(gateway, upstream, spelled, pieces):
    upstream.on("small-1", scripts.body(spelled, pieces=pieces))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.text == "One two three \u00e9\U0001f600"
    assert answer.json()["usage"]["completion_tokens"] == 3


def test_interim_heads_are_skipped(gateway, upstream):
    body = b"".join(f.event(p) for p in PAYLOADS) + f.DONE
    upstream.on("small-1", scripts.raw(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body))
    assert_routed(gateway.chat(), "accept", "confident")


def test_a_frame_of_a_megabyte_is_read(gateway, upstream):
    big = "x" * 1_000_000
    upstream.on("small-1", speak(tokens=[("start ", 0.1), (big, 0.1)]))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.text == "start " + big


def test_a_draft_of_two_thousand_tokens_is_read(gateway, upstream):
    upstream.on("small-1", speak(tokens=[(f"t{i} ", 0.1) for i in range(2000)]))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.text == "".join(f"t{i} " for i in range(2000))
