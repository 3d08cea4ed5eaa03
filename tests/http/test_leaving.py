"""Who leaves or is no longer needed is let go on the wire at once, in every phase."""

import json
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.gateway import chat_body, eventually, merge, soon
from lib.scripts import confident, expert, speak, uncertain

LIMIT_MS = 50


def part_stream(bits=0.1):
    """Some frames of a stream, then silence."""

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("one", bits), (" two", bits)], finish=None), done=False)
        exchange.stall()

    return script


def part_json(exchange):
    exchange.head(content_type="application/json")
    exchange.write(b'{"id":"x","choices":[')
    exchange.stall()


def head_only(exchange):
    exchange.head()
    exchange.stall()


# The server that is at work when the client leaves, and what each server does.
PHASES = {
    "drafting_before_head": ("small-1", False, {"small-1": scripts.stall}),
    "drafting_before_head_streamed": ("small-1", True, {"small-1": scripts.stall}),
    "drafting_after_head": ("small-1", False, {"small-1": head_only}),
    "drafting_midway": ("small-1", False, {"small-1": part_stream()}),
    "drafting_midway_streamed": ("small-1", True, {"small-1": part_stream()}),
    "escalated_before_head": ("large-1", False, {"small-1": uncertain(), "large-1": scripts.stall}),
    "escalated_before_head_streamed": ("large-1", True, {"small-1": uncertain(), "large-1": scripts.stall}),
    "escalated_in_json": ("large-1", False, {"small-1": uncertain(), "large-1": part_json}),
    "escalated_after_head_streamed": ("large-1", True, {"small-1": uncertain(), "large-1": head_only}),
    "escalated_relaying": ("large-1", True, {"small-1": uncertain(), "large-1": part_stream()}),
    "after_a_failed_drafter": ("large-1", False, {"small-1": scripts.failure(500), "large-1": scripts.stall}),
    "direct_before_head": ("other-1", False, {"other-1": scripts.stall}),
    "direct_in_json": ("other-1", False, {"other-1": part_json}),
    "direct_relaying": ("other-1", True, {"other-1": part_stream()}),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", sorted(PHASES))
def test_when_the_client_leaves_upstream_is_let_go_within_50_ms(gateway, upstream, phase, how):
    server, stream, servers = PHASES[phase]
    for model, script in servers.items():
        upstream.on(model, script)
    seen = []

    def attempt():
        client = gateway.client()
        client.begin("POST", "/v1/chat/completions", {
            "model": "other" if server == "other-1" else "auto", "stream": stream,
            "messages": [{"role": "user", "content": "x"}]})
        seen.append(upstream.wait_request(server, len(seen) + 1))
        if phase.endswith("relaying"):
            assert client.stream().next() is not None
        at = getattr(client, how)()
        return upstream.wait_closed(seen[-1]) - at

    soon(LIMIT_MS, attempt)


def test_a_client_gone_while_others_stay_is_the_only_one_let_go(gateway, upstream):
    upstream.on("other-1", part_stream())
    streams = [gateway.stream(model="other") for _ in range(5)]
    for stream in streams:
        stream.next()
    streams[2].client.close()
    upstream.wait_for(lambda: sum(c.closed.is_set() for c in upstream.connections if c.requests) >= 1, "a close")
    for i, stream in enumerate(streams):
        if i != 2:
            assert "two" in stream.next()[1] or "two" in stream.next()[1]
    working = [c for c in upstream.connections if c.requests and c.requests[-1] in upstream.requests]
    assert sum(c.closed.is_set() for c in working) == 1


def test_a_client_that_leaves_with_its_body_half_sent_causes_no_upstream_request(gateway, upstream):
    upstream.on("small-1", confident())
    client = gateway.client()
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"messages\":[")
    client.close()
    assert gateway.chat().status == 200
    assert len(upstream.requests) == 1


def test_a_client_that_closes_its_sending_side_has_left(gateway, upstream):
    upstream.on("other-1", scripts.stall)
    seen = []

    def attempt():
        with gateway.client() as client:
            client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
            seen.append(upstream.wait_request("other-1", len(seen) + 1))
            at = time.monotonic()
            client.half_close()
            return upstream.wait_closed(seen[-1]) - at

    soon(LIMIT_MS, attempt)


def test_a_client_that_leaves_as_the_answer_is_sent_does_no_harm(gateway, upstream):
    upstream.on("other-1", expert("x" * 2_000_000))
    for i in range(20):
        client = gateway.client()
        client.begin("POST", "/v1/chat/completions", {"model": "other", "stream": bool(i % 2), "messages": [{"role": "user", "content": "x"}]})
        client.read_head()
        client.reset()
    assert gateway.get("/health").status == 200


def test_a_draft_is_not_escalated_for_a_client_that_left(gateway, upstream):
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.wait(gate)
        exchange.frames(f.text_frames([("DRAFTED", 4.0)]))

    upstream.on("small-1", script)
    upstream.on("large-1", expert())
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    request = upstream.wait_request("small-1")
    client.close()
    upstream.wait_closed(request)
    gate.set()
    assert gateway.get("/health").status == 200
    assert upstream.requests_for("large-1") == []


def test_one_who_left_is_counted_and_logged(gateway, upstream):
    upstream.on("other-1", part_stream())
    before = gateway.metrics()["draftthinker_client_disconnects_total"]
    stream = gateway.stream(model="other", headers=[("X-Request-ID", "left-early")])
    stream.next()
    stream.client.close()
    line = gateway.access_line("left-early")
    assert line["end"] == "client_gone"
    assert gateway.metrics()["draftthinker_client_disconnects_total"] == before + 1


def test_a_rejected_drafter_is_let_go_though_the_heavyweight_is_still_at_work(gateway, upstream):
    upstream.on("small-1", part_stream(bits=4.0))
    upstream.on("large-1", scripts.stall)
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
        heavy = upstream.wait_request("large-1")
        upstream.wait_closed(upstream.wait_request("small-1"))
        assert not upstream.connection_of(heavy).closed.is_set()


def test_a_finished_exchange_keeps_its_upstream_connection(gateway, upstream):
    """Only what is cut off is closed: an answer read to its end leaves a connection to be used again."""
    upstream.on("small-1", confident())
    for _ in range(10):
        assert gateway.chat().status == 200
    used = {upstream.connection_of(request) for request in upstream.requests_for("small-1")}
    # A second may be needed while the last bytes after [DONE] are still on their way on the first.
    assert len(used) <= 5
    assert not any(connection.closed.is_set() for connection in used)


def test_after_many_who_left_nothing_is_in_flight(gateway, upstream):
    upstream.on("other-1", part_stream())
    upstream.on("small-1", part_stream())
    clients = [gateway.client() for _ in range(50)]
    for i, client in enumerate(clients):
        client.begin("POST", "/v1/chat/completions", {
            "model": "other" if i % 2 else "auto", "stream": i % 3 == 0, "messages": [{"role": "user", "content": "x"}]})
    upstream.wait_for(lambda: len(upstream.requests) == 50, "50 requests")
    assert gateway.metrics()["draftthinker_requests_in_flight"] == 50
    for client in clients:
        client.close()
    eventually(lambda: gateway.metrics()["draftthinker_requests_in_flight"] == 0, "nothing in flight")
    upstream.wait_for(
        lambda: all(c.closed.is_set() for c in upstream.connections if c.requests and c.requests[-1] in upstream.requests),
        "all legs closed")


# What is under way besides one model at a time: a draft held back or flowing, a heavyweight beside it or after it

LIVE = {"stream": {"mode": "live"}, "entropy": {"window_size": 2, "early_exit_count": 2}}
BESIDE = merge(LIVE, {"speculative": {"enabled": True, "soft_threshold_mult": 0.5}})
FALLING = {"routes": {"auto": {"on_heavyweight_down": "draft"}}}
PAUSE = {"providers": {"good": {"retries": 2}}}
CALM, DOUBT, TRIP = 0.1, 1.5, 6.0  # bits
BUSY = scripts.failure(503, headers=[("retry-after-ms", "300")])


def says(*bits):
    """A stream with tokens of these entropies, then silence."""
    pairs = [(f"{i} ", each) for i, each in enumerate(bits)]
    return scripts.after(f.text_frames(pairs, finish=None), scripts.stall)


class Leaving:
    """config, stream, servers: what is asked, of whom. legs: the models at work when the client leaves. heard: the text that
    it has by then; None: no head. ended: attempts at the heavyweight that are over by then, by their result."""

    def __init__(self, config, stream, servers, legs, heard=None, ended=None):
        self.config, self.stream, self.servers, self.legs, self.heard, self.ended = config, stream, servers, legs, heard, ended


STAGES = {
    "drafting": Leaving(LIVE, False, {"small-1": says(CALM, CALM)}, ["small-1"]),
    "draft_held_back": Leaving(LIVE, True, {"small-1": says(CALM, CALM)}, ["small-1"]),
    "draft_held": Leaving({"stream": {"mode": "hold"}}, True, {"small-1": says(*[CALM] * 30)}, ["small-1"]),
    "draft_flowing": Leaving(LIVE, True, {"small-1": says(*[CALM] * 5)}, ["small-1"], "0 1 2 "),
    "speculating": Leaving(BESIDE, False, {"small-1": says(CALM, DOUBT), "large-1": scripts.stall}, ["small-1", "large-1"]),
    "speculating_held_back": Leaving(
        BESIDE, True, {"small-1": says(CALM, DOUBT), "large-1": part_stream()}, ["small-1", "large-1"]),
    "speculating_flowing": Leaving(
        BESIDE, True, {"small-1": says(CALM, DOUBT, DOUBT, DOUBT), "large-1": part_stream()}, ["small-1", "large-1"], "0 1 "),
    "head_start_waited_for": Leaving(BESIDE, False, {"small-1": says(DOUBT, TRIP), "large-1": part_json}, ["large-1"]),
    "relaying": Leaving(LIVE, True, {"small-1": says(TRIP), "large-1": part_stream()}, ["large-1"], "one two"),
    "handing_off": Leaving(LIVE, True, {"small-1": says(CALM, CALM, CALM, TRIP), "large-1": scripts.stall}, ["large-1"], "0 "),
    "handing_off_after_head": Leaving(LIVE, True, {"small-1": says(CALM, CALM, CALM, TRIP), "large-1": head_only}, ["large-1"], "0 "),
    "handed_off": Leaving(LIVE, True, {"small-1": says(CALM, CALM, CALM, TRIP), "large-1": part_stream()}, ["large-1"], "0 one two"),
    "escalated_with_the_draft_kept": Leaving(
        FALLING, False, {"small-1": says(TRIP), "large-1": scripts.stall}, ["small-1", "large-1"]),
    "falling_back": Leaving(
        FALLING, False, {"small-1": says(TRIP), "large-1": scripts.failure(500)}, ["small-1"], None, {"status": 1}),
    "falling_back_flowing": Leaving(
        merge(LIVE, FALLING), True, {"small-1": says(CALM, CALM, CALM, TRIP), "large-1": scripts.failure(500)}, ["small-1"], "0 ", {"status": 1}),
    "after_a_retry": Leaving(
        PAUSE, False, {"small-1": says(TRIP), "large-1": [scripts.failure(500), scripts.stall]}, ["large-1"], None, {"status": 1}),
}


def turns(scripts_):
    """The n-th request is answered by the n-th script, and all later ones by the last."""
    left = list(scripts_)

    def script(exchange):
        (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return script


def in_flight(gateway):
    samples = gateway.metrics()
    return {name: n for name, n in samples.items() if name.startswith("draftthinker_upstream_requests_in_flight") and n}


def reach(gateway, upstream, stage, request_id):
    """A client whose request is at the stage, and the requests that are at work upstream."""
    counts = {model: len(upstream.requests_for(model)) for model in stage.servers}
    before = gateway.metrics()
    for model, script in stage.servers.items():
        upstream.on(model, turns(script) if isinstance(script, list) else script)
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions",
                 {"model": "auto", "stream": stage.stream, "messages": [{"role": "user", "content": "x"}]},
                 [("X-Request-ID", request_id)])
    if stage.heard is not None:
        stream = client.stream()
        while stream.text != stage.heard:
            assert stream.next() is not None, stream.items
    for result, count in (stage.ended or {}).items():
        name = f'draftthinker_upstream_results_total{{model="heavyweight",result="{result}"}}'
        eventually(lambda: gateway.metrics().get(name, 0) >= before.get(name, 0) + count, f"{count} {result}")
    for model in stage.servers:
        tried = len(stage.servers[model]) if isinstance(stage.servers[model], list) else 1
        upstream.wait_request(model, counts[model] + tried)
    eventually(lambda: sum(in_flight(gateway).values()) == len(stage.legs), f"{stage.legs} at work")
    return client, [upstream.requests_for(model)[-1] for model in stage.legs]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", sorted(STAGES))
def test_when_the_client_leaves_every_model_at_work_is_let_go_within_50_ms(start, upstream, name, workers):
    stage = STAGES[name]
    gateway = start(**merge(stage.config, {"server": {"workers": workers}}))
    tries = []

    def attempt():
        tries.append(f"{name}-{len(tries)}")
        client, requests = reach(gateway, upstream, stage, tries[-1])
        asked = len(upstream.requests)
        assert not any(upstream.connection_of(request).closed.is_set() for request in requests)
        at = client.close()
        taken = max(upstream.wait_closed(request) for request in requests) - at
        line = gateway.access_line(tries[-1])
        assert (line["end"], line["status"]) == ("client_gone", 499 if stage.heard is None else 200)
        assert "error" not in line
        # Another worker may be asked for the metrics between the line and the counts.
        eventually(lambda: gateway.metrics()["draftthinker_requests_in_flight"] == 0, "nothing in flight")
        assert gateway.metrics()["draftthinker_client_disconnects_total"] == len(tries)
        assert in_flight(gateway) == {}
        assert len(upstream.requests) == asked, "nobody is asked for one who has left"
        return taken

    soon(LIMIT_MS, attempt)


@pytest.mark.parametrize("stream", [False, True])
def test_one_who_leaves_between_two_attempts_causes_no_other(start, upstream, stream):
    gateway = start(**PAUSE)
    upstream.on("other-1", BUSY)
    name = 'draftthinker_upstream_results_total{model="other",result="status"}'
    tries = []

    def attempt():
        tries.append(f"between-{len(tries)}")
        client = gateway.client()
        client.begin("POST", "/v1/chat/completions",
                     {"model": "other", "stream": stream, "messages": [{"role": "user", "content": "x"}]}, [("X-Request-ID", tries[-1])])
        eventually(lambda: gateway.metrics().get(name, 0) == len(tries), "the first attempt's end")
        at = client.close()
        line = gateway.access_line(tries[-1])
        taken = time.monotonic() - at
        assert (line["end"], line["status"], line["attempts"]) == ("client_gone", 499, 1)
        assert gateway.metrics()["draftthinker_client_disconnects_total"] == len(tries)
        return taken

    soon(LIMIT_MS, attempt)
    upstream.gate().wait(0.5)  # the pause would have been over
    assert len(upstream.requests) == len(tries)
    assert gateway.metrics()["draftthinker_requests_in_flight"] == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_one_who_leaves_with_the_body_half_sent_leaves_nothing_behind(start, upstream, framing):
    gateway = start()
    head = b"Content-Length: 1000\r\n\r\n" if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n400\r\n"
    clients = [gateway.client() for _ in range(10)]
    for client in clients:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head + b'{"messages":[')
    for i, client in enumerate(clients):
        client.close() if i % 2 else client.reset()
    upstream.on("small-1", confident())
    assert gateway.chat().status == 200
    assert len(upstream.requests) == 1
    assert gateway.metrics()["draftthinker_requests_in_flight"] == 0


def test_a_flowing_draft_that_its_client_cannot_take_in_is_let_go_with_it(start, upstream):
    """The drafter is paused, so only the client's end tells."""
    gateway = start(**LIVE)

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("x" * 100_000, CALM)] * 300))
        exchange.end()

    upstream.on("small-1", script)
    stream = gateway.stream()
    assert stream.next() is not None
    request = upstream.wait_request("small-1")
    stream.client.reset()
    eventually(lambda: not upstream.connection_of(request).busy, "the end of the script")
    eventually(lambda: in_flight(gateway) == {}, "nothing at work")


@pytest.mark.parametrize("sent", [1, 40, -5], ids=["a_byte", "within_the_head", "within_the_body"])
def test_a_client_that_leaves_with_its_request_half_sent_is_counted(gateway, sent):
    before = gateway.metrics()["draftthinker_client_disconnects_total"]
    body = chat_body(None, {})
    whole = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(json.dumps(body)) + json.dumps(body).encode()
    seen = len(gateway.access.lines)
    client = gateway.client()
    client.send(whole[:sent])
    client.close()
    eventually(lambda: gateway.metrics()["draftthinker_client_disconnects_total"] == before + 1, "its count")
    line = gateway.access.wait(lambda l: json.loads(l).get("end") == "client_gone", "its line", start=seen)
    assert json.loads(line)["status"] == 499


def test_a_client_that_leaves_before_its_whole_answer_has_gone_out_is_counted(gateway, upstream):
    upstream.on("other-1", speak("It is Paris. " * 1_000_000))
    before = gateway.metrics()["draftthinker_client_disconnects_total"]
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions", chat_body(None, {"model": "other"}), [("X-Request-ID", "leaves-late")])
    assert gateway.access_line("leaves-late")["end"] == "done"
    client.close()
    eventually(lambda: gateway.metrics()["draftthinker_client_disconnects_total"] == before + 1, "its count")


def test_a_client_that_leaves_between_requests_is_not_counted(gateway, upstream):
    upstream.on("small-1", confident())
    before = gateway.metrics()["draftthinker_client_disconnects_total"]
    client = gateway.client()
    assert client.request("POST", "/v1/chat/completions", chat_body(None, {})).status == 200
    client.close()
    gateway.client().close()
    with gateway.client() as other:
        assert other.request("GET", "/health").status == 200
    assert gateway.metrics()["draftthinker_client_disconnects_total"] == before
