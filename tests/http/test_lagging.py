"""A client that does not keep up: its upstream waits, it alone pays for it, and it has an end."""

import socket
import time

import pytest

from lib import frames as f
from lib.client import strict_json
from lib.gateway import SLOW, eventually
from lib.scripts import expert

FRAMES, TEXT = 2000, 10_000  # 20 MB
# How the long stream comes about: the model asked for, the server that speaks, the configuration.
KINDS = {
    "direct": ("other", "other-1", {"stream": {"mode": "hold"}}),
}

each_kind = pytest.mark.parametrize("kind", sorted(KINDS))


def text_of(number):
    return f"{number:06}" + chr(97 + number % 26) * (TEXT - 6)


class Source:
    """A server that streams 20 MB as fast as they are taken, and notes how far it is."""

    def __init__(self):
        self.sent = 0

    def __call__(self, exchange):
        # The kernel would take in megabytes of what nobody reads, and hide the pause.
        exchange.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.sent = 0
        exchange.head()
        for number in range(FRAMES):
            data = f.event(f.chunk({"content": text_of(number)}, entries=[f.token("x", 0.1)]))
            exchange.write(data)
            self.sent += len(data)
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    def settle(self, gate, timeout=20):
        """Waits until nothing more is taken; how many bytes were."""
        before, same, deadline = -1, 0, time.monotonic() + timeout
        while same < 6:
            assert time.monotonic() < deadline, "upstream is never paused"
            same = same + 1 if self.sent == before else 0
            before = self.sent
            gate.wait(0.05)  # nobody opens it
        return before


def open_stream(gateway, model, request_id):
    """A stream whose client takes little in ahead of what it reads."""
    client = gateway.client()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    client.begin("POST", "/v1/chat/completions", body, [("X-Request-ID", request_id)])
    stream = client.stream()
    assert stream.next() is not None
    return stream


@pytest.fixture
def lagging(start, upstream, kind):
    """begin(**server) → (gateway, source, stream that was read a little)."""
    model, server, overrides = KINDS[kind]
    source = Source()
    upstream.on(server, source)

    def begin(**options):
        gateway = start(server=options, env={"ASAN_OPTIONS": "quarantine_size_mb=0"}, **overrides)
        # Once at full speed, so that what grows once has grown.
        assert gateway.stream(model=model).read().done
        before = gateway.memory_bytes()
        return gateway, source, open_stream(gateway, model, "lagging"), before

    return begin


@each_kind
def test_upstream_is_paused_and_nothing_piles_up(lagging, upstream):
    gateway, source, stream, before = lagging()
    taken = source.settle(upstream.gate())
    # Our receive buffer (1 MiB, of which the kernel makes 2), the other socket buffers, what waits here.
    assert taken < 4 << 20, taken
    grown = gateway.memory_bytes() - before
    assert grown < (1 << 20) * max(1, SLOW / 2), f"{grown} bytes more, {taken} taken"
    stream.client.close()


@each_kind
def test_it_goes_on_when_the_client_does_and_every_byte_is_right(lagging, upstream):
    gateway, source, stream, _ = lagging()
    for _ in range(2):  # it lags more than once
        source.settle(upstream.gate())
        for _ in range(500):
            stream.next()
    stream.read()
    assert stream.done and stream.complete
    texts = [frame["choices"][0]["delta"].get("content") for frame in map(strict_json, stream.data[:-1])]
    assert texts[:FRAMES] == [text_of(number) for number in range(FRAMES)]
    assert texts[FRAMES:] == [None]
    assert gateway.access_line("lagging")["end"] == "done"
    stream.client.close()


@each_kind
def test_others_get_their_frames_in_time_meanwhile(lagging, upstream):
    """How long a frame is on its way, from the server's write to the client's read."""
    count, spacing_s, limit_s = 60, 0.01, 0.05
    times = []

    def steady(exchange):
        exchange.head()
        pause = upstream.gate()
        times.clear()
        for number in range(count):
            times.append(time.monotonic())
            exchange.write(f.event(f.chunk({"content": str(number)})))
            pause.wait(spacing_s)  # nobody opens it
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    upstream.on("large-1", steady)
    gateway, source, lag, _ = lagging()
    source.settle(upstream.gate())
    seen = []
    for _ in range(3):  # a busy machine can make a frame late; a late gateway does it each time
        stream = gateway.stream(model="heavyweight").read()
        arrived = [at for kind, _, at in stream.items if kind == "data"][:count]
        assert stream.done and len(arrived) == count
        seen.append(max(came - went for came, went in zip(arrived, times)))
        if seen[-1] <= limit_s * SLOW:
            break
    assert min(seen) <= limit_s * SLOW, seen
    assert source.sent < FRAMES * TEXT  # it lagged all the while
    lag.client.close()


@each_kind
def test_many_that_lag_take_a_bounded_part_each(lagging, upstream, kind):
    """Each holds what may wait for it, not what upstream has."""
    count, model = 10, KINDS[kind][0]
    gateway, source, first, before = lagging()
    streams = [first] + [open_stream(gateway, model, f"lagging-{i}") for i in range(1, count)]
    source.settle(upstream.gate())
    grown = gateway.memory_bytes() - before
    assert grown < (count << 20) * max(1, SLOW / 2), f"{grown / count} bytes more each"
    for stream in streams:
        stream.client.close()
    eventually(lambda: gateway.metrics()["draftthinker_requests_in_flight"] == 0, "their end")
    assert gateway.stream(model=model).read().done


@each_kind
def test_one_that_reads_nothing_any_more_is_dropped_after_write_timeout(lagging, upstream, kind):
    timeout_s = 0.7
    gateway, source, stream, _ = lagging(write_timeout=timeout_s)
    request = upstream.requests_for(KINDS[kind][1])[-1]
    source.settle(upstream.gate())
    at = time.monotonic()
    closed_at = upstream.wait_closed(request)
    # The wait above had begun before; the lines are drawn wide on purpose.
    assert closed_at - at < (timeout_s + 1) * SLOW
    assert gateway.access_line("lagging")["end"] == "client_gone"
    assert source.sent < FRAMES * TEXT
    # What it had been sent can be read; that it is not all can be seen.
    while stream.next() is not None:
        pass
    assert not stream.complete and not stream.done
    stream.client.close()
    upstream.on("large-1", expert("It is Paris."))
    assert gateway.chat(model="heavyweight").text == "It is Paris."


@each_kind
def test_one_that_reads_slowly_is_not_dropped(lagging, upstream):
    """write_timeout is about progress, not about the whole."""
    gateway, source, stream, _ = lagging(write_timeout=0.5)
    pause = upstream.gate()
    began = time.monotonic()
    read = 0
    while time.monotonic() - began < 1.5:
        stream.next()
        read += 1
        if read % 20 == 0:  # some 200 kB every 50 ms
            pause.wait(0.05)
    stream.read()
    assert stream.done
    assert gateway.access_line("lagging")["end"] == "done"
    stream.client.close()
