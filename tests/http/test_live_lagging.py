"""Live streams for a client that does not keep up: the drafter waits, or the heavyweight that goes on."""

import pytest

from lib.gateway import SLOW, eventually, soon
from lib.live import ROLE, draft_of, live, live_config, live_daemon, said  # noqa: F401
from test_lagging import FRAMES, TEXT, Source, open_stream, text_of

MOST_TAKEN = 4 << 20  # our receive buffer (1 MiB, of which the kernel makes 2), the other socket buffers, what waits here
LEGS = {"draft": "small-1", "continuation": "large-1"}


@pytest.fixture(params=sorted(LEGS))
def lagging(request, live, upstream):
    """(gateway, the server that streams 20 MB, its model, a stream that was read a little)."""
    source = Source()
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on(LEGS[request.param], source)
    stream = open_stream(live, "auto", f"lagging-{request.param}")
    return live, source, LEGS[request.param], stream


def texts_of(stream):
    return [c["delta"]["content"] for frame in stream.frames for c in frame["choices"] if c["delta"].get("content")]


def test_the_server_that_speaks_is_paused_and_goes_on_when_the_client_does(lagging, upstream):
    gateway, source, model, stream = lagging
    for _ in range(2):
        before = source.sent
        taken = source.settle(upstream.gate())
        assert taken - before < MOST_TAKEN and taken < FRAMES * TEXT
        for _ in range(500):
            stream.next()
    stream.read()
    assert stream.done and stream.complete
    assert texts_of(stream)[-FRAMES:] == [text_of(number) for number in range(FRAMES)]
    assert "".join(texts_of(stream)[:-FRAMES]) == ("" if model == "small-1" else "The capital")
    line = gateway.access_line(f"lagging-{'draft' if model == 'small-1' else 'continuation'}")
    assert line["end"] == "done" and line.get("handed_off", False) == (model == "large-1")
    stream.client.close()


def test_little_waits_in_memory_for_it(live, upstream):
    upstream.on("small-1", Source())
    assert live.stream().read().done  # what grows once has grown
    before = live.memory_bytes()
    source = Source()
    upstream.on("small-1", source)
    stream = open_stream(live, "auto", "lagging-memory")
    source.settle(upstream.gate())
    # What waits for the client, the text so far, and the allocator's change.
    assert live.memory_bytes() - before < (1 << 20) * max(1, SLOW / 2)
    stream.client.close()


def test_a_client_that_leaves_while_the_drafter_is_paused_lets_it_go(live, upstream):
    def attempt():
        source = Source()
        upstream.on("small-1", source)
        stream = open_stream(live, "auto", f"leaves-{len(upstream.requests)}")
        source.settle(upstream.gate())
        request = upstream.requests_for("small-1")[-1]
        return -stream.client.close() + upstream.wait_closed(request)

    soon(50, attempt)
    eventually(lambda: live.metrics()["draftthinker_requests_in_flight"] == 0, "its end")


def test_no_comments_pile_up_for_it(start, upstream):
    """What waits for a slow client is no silence."""
    source, gate = Source(), upstream.gate()
    upstream.on("small-1", source)
    gateway = start(**live_config(upstream, server={"keepalive_interval": "20ms"}))
    stream = open_stream(gateway, "auto", "lagging-comments")
    source.settle(gate)
    before = len(stream.comments)
    gate.wait(2)  # nobody opens it; time for 100 of them
    for _ in range(1000):  # more than had been on its way
        stream.next()
    # A busy machine makes true silences, but few.
    assert len(stream.comments) - before < 50
    stream.client.close()


def test_a_draft_that_trips_while_its_client_lags_is_handed_on_and_all_of_it_arrives(live, upstream):
    """The doubt stands right behind the words at which the drafter was paused."""
    count, source = 400, Source()  # 4 MB
    upstream.on("large-1", source)

    def script(exchange):
        exchange.head()
        exchange.frames([ROLE], done=False)
        exchange.frames([said(text_of(number)) for number in range(count)], done=False)
        exchange.frames([said("DRAFTED", 6.0), said("DRAFTED", 6.0)])
        exchange.stall()

    upstream.on("small-1", script)
    stream = open_stream(live, "plain", "lagging-trip")
    gate = upstream.gate()
    gate.wait(0.3)  # nobody opens it: it lags
    assert upstream.requests_for("large-1") == []
    stream.read()
    assert stream.done and b"DRAFTED" not in stream.raw
    got = texts_of(stream)
    assert got[: count - 2] == [text_of(number) for number in range(count - 2)]
    assert got[count - 2 :] == [text_of(number) for number in range(FRAMES)]
    asked = upstream.requests_for("large-1")[0].json["messages"][1]["content"]
    assert asked == "".join(got[: count - 2])
    stream.client.close()
