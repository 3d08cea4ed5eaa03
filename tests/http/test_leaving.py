"""Who leaves or is no longer needed is let go on the wire at once, in every phase."""

import pytest

from lib import frames as f
from lib import scripts
from lib.gateway import eventually, soon
from lib.scripts import confident, expert, uncertain

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
        import time

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
