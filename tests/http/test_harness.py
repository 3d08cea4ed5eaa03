"""The scripted upstream and the raw client themselves, without the daemon between them."""

import math
import threading
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.client import Client, Cut, strict_json
from lib.gateway import merge


@pytest.fixture
def direct(upstream):
    """A client that talks to the scripted upstream itself."""
    with Client(("127.0.0.1", upstream.port), timeout=5) as client:
        yield client


def ask(client, model="m", **members):
    client.begin("POST", "/v1/chat/completions", {"model": model, **members})


@pytest.mark.parametrize("k", [1, 2, 5, 20])
@pytest.mark.parametrize("bits", [0, 0.001, 0.1, 0.5, 1, 1.9999, 2, 2.0001, 2.3, 2.4, 4, 7.5])
def test_candidates_have_the_wanted_entropy(bits, k):
    ps = f.candidates(bits, k)
    assert len(ps) == k and sum(ps) <= 1 + 1e-12 and ps == sorted(ps, reverse=True)
    if bits:
        assert f.bound(ps) == pytest.approx(bits, abs=1e-9)
    else:
        assert ps[0] == 1


def test_entropy_figures_of_the_reference():
    assert f.renormalised([0.2] * 5) == pytest.approx(2.321928094887, abs=1e-12)
    assert f.renormalised([0.95, 0.03, 0.02]) == pytest.approx(0.334944486839, abs=1e-12)
    assert f.bound([0.5, 0.25]) == pytest.approx(0.5 + 0.5 + 0.25 * 2)


def test_a_token_entry_carries_natural_logarithms():
    entry = f.token(" Paris", 1.0, 5)
    assert entry["token"] == " Paris" and len(entry["top_logprobs"]) == 5
    assert entry["logprob"] == entry["top_logprobs"][0]["logprob"]
    assert f.bound([math.exp(t["logprob"]) for t in entry["top_logprobs"]]) == pytest.approx(1.0)


def test_text_is_cut_into_tokens_and_nothing_is_lost():
    for text in ("", "a", " a", "a b", "a  b c ", "It is Paris."):
        assert "".join(f.tokens_of(text)) == text


def test_every_request_is_recorded_byte_for_byte(upstream, direct):
    upstream.on("m", scripts.speak("hi"))
    body = b'{ "model" : "m", "x": [1e2,\n 0.70], "y": "\\ud800" }'
    direct.begin("POST", "/p/v1/chat/completions", body, [("X-Some", "Thing")])
    assert direct.read_response().text == "hi"
    request = upstream.wait_request("m")
    assert request.body == body
    assert request.path == "/p/v1/chat/completions" and request.header("x-some") == "Thing"


def test_a_connection_serves_several_requests(upstream, direct):
    upstream.on("m", scripts.speak("hi"))
    for _ in range(3):
        ask(direct)
        assert direct.read_response().text == "hi"
    first = upstream.requests_for("m")[0]
    assert upstream.connection_of(first).requests == upstream.requests_for("m") and len(upstream.requests) == 3


def test_a_stream_has_logprobs_and_usage_only_if_asked(upstream, direct):
    upstream.on("m", scripts.speak("It is so."))
    ask(direct, stream=True)
    plain = direct.stream().read()
    assert plain.done and plain.complete and plain.text == "It is so."
    assert all("usage" not in frame and "logprobs" not in frame["choices"][0] for frame in plain.frames)
    ask(direct, stream=True, logprobs=True, top_logprobs=3, stream_options={"include_usage": True})
    full = direct.stream().read()
    assert full.frames[-1]["choices"] == [] and full.frames[-1]["usage"]["completion_tokens"] == 3
    assert len(full.frames[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3


def test_streamed_tool_calls_come_in_pieces(upstream, direct):
    upstream.on("m", scripts.calls_tools([("call_1", "look", '{"at":"Paris"}')]))
    ask(direct, stream=True)
    stream = direct.stream().read()
    parts = [c["delta"]["tool_calls"][0] for fr in stream.frames for c in fr["choices"] if "tool_calls" in c["delta"]]
    assert parts[0]["function"]["name"] == "look"
    assert "".join(p["function"]["arguments"] for p in parts) == '{"at":"Paris"}'


def test_the_peers_close_is_timed(upstream, direct):
    upstream.on("m", scripts.stall)
    ask(direct)
    request = upstream.wait_request("m")
    at = direct.close()
    assert 0 <= upstream.wait_closed(request) - at < 0.5


def test_the_peers_reset_is_seen_as_one(upstream, direct):
    upstream.on("m", scripts.stall)
    ask(direct)
    request = upstream.wait_request("m")
    direct.reset()
    upstream.wait_closed(request)
    assert upstream.connection_of(request).was_reset


def test_a_close_in_the_middle_of_a_stream_is_seen_while_the_script_waits(upstream, direct):
    gate = upstream.gate()
    ended = threading.Event()

    def script(exchange):
        exchange.head()
        exchange.write(b": one\n\n")
        try:
            exchange.wait(gate)
        finally:
            ended.set()

    upstream.on("m", script)
    ask(direct)
    direct.stream().next()
    direct.close()
    upstream.wait_closed(upstream.wait_request("m"))
    gate.set()
    assert ended.wait(5)


def test_a_cut_stream_is_no_complete_one(upstream, direct):
    upstream.on("m", scripts.after(scripts.PART, scripts.cut))
    ask(direct)
    stream = direct.stream().read()
    assert stream.text == "DRAFTED half" and not stream.complete and not stream.done


def test_a_reset_reaches_the_client_even_while_the_server_reads(upstream, direct):
    upstream.on("m", scripts.reset)
    ask(direct)
    with pytest.raises(Cut):
        direct.read_head()


def test_a_short_body_is_no_complete_one(upstream, direct):
    upstream.on("m", scripts.FAILURES["short_content_length"])
    ask(direct)
    assert not direct.read_response().complete


def test_a_body_can_be_cut_at_every_byte(upstream, direct):
    upstream.on("m", scripts.body(b"data: {}\n\ndata: [DONE]\n\n", pieces=1))
    ask(direct)
    stream = direct.stream().read()
    assert stream.data == ["{}", "[DONE]"] and stream.done


@pytest.mark.parametrize("name", sorted(scripts.FAILURES))
def test_no_failing_script_gives_a_whole_answer(upstream, direct, name):
    upstream.on("m", scripts.FAILURES[name])
    ask(direct, stream=True)
    try:
        answer = direct.read_response()
    except (Cut, AssertionError, ValueError):
        return
    if answer.status == 200 and answer.complete and answer.header("Content-Type") == "text/event-stream":
        assert b'"finish_reason":"stop"' not in answer.body or name == "no_output"
    elif name == "json_where_a_stream_was_asked":
        assert answer.text == "DRAFTED whole"


def test_a_fault_in_a_script_is_kept_for_the_tests_end(upstream, direct):
    def broken(exchange):
        raise KeyError("nothing")

    upstream.on("m", broken)
    ask(direct)
    with pytest.raises(Cut):
        direct.read_head()
    faults = upstream.reset()
    assert len(faults) == 1 and "KeyError" in faults[0]


def test_reset_ends_what_is_running_and_opens_gates(upstream, direct):
    gate = upstream.gate()
    upstream.on("m", scripts.stall)
    ask(direct)
    upstream.wait_request("m")
    assert upstream.reset() == []
    assert gate.is_set() and upstream.requests == []
    with pytest.raises(Cut):
        direct.read_head()


def test_many_connections_at_once_are_all_answered(upstream):
    def echo(exchange):
        exchange.reply(200, f.completion(exchange.request.json["say"]))

    upstream.on("m", echo)
    clients = [Client(("127.0.0.1", upstream.port)) for _ in range(100)]
    for i, client in enumerate(clients):
        ask(client, say=f"number {i}")
    for i, client in enumerate(clients):
        assert client.read_response().text == f"number {i}"
        client.close()
    assert len(upstream.requests_for("m")) == 100


def test_a_full_backlog_lets_a_connect_hang():
    full = scripts.FullBacklog()
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        Client(("127.0.0.1", full.port), timeout=0.3)
    assert time.monotonic() - started >= 0.29
    full.close()


def test_nobody_listens_on_the_refusing_port():
    port, keeper = scripts.refusing_port()
    with pytest.raises(ConnectionRefusedError):
        Client(("127.0.0.1", port))
    keeper.close()


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"a":NaN}', "{", ""])
def test_json_is_read_strictly(text):
    with pytest.raises((AssertionError, ValueError)):
        strict_json(text)


def test_merging_lays_mappings_over_each_other():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merge(base, {"a": {"b": 9}, "d": None, "e": {"f": 1}}) == {"a": {"b": 9, "c": 2}, "e": {"f": 1}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
