"""After a burst: a worker that nobody is connected to makes its loop anew, and its memory goes back."""

import signal
import time
from contextlib import ExitStack

from lib.checks import assert_routed, total
from lib.scripts import confident, expert

CROWD = 70  # connections at a time, of one worker; 64 are a burst
CHAT = {"messages": [{"role": "user", "content": "x"}], "model": "heavyweight"}


def ask(client):
    answer = client.request("POST", "/v1/chat/completions", CHAT)
    assert answer.status == 200
    return answer


def crowd(gateway):
    """Everyone is connected at the same time; each has had an answer."""
    with ExitStack() as clients:
        for client in [clients.enter_context(gateway.client()) for _ in range(CROWD)]:
            ask(client)


def test_once_nobody_is_connected_the_loop_is_made_anew(start, upstream):
    upstream.on("large-1", expert())
    gateway = start()
    for _ in range(2):
        since = len(upstream.requests)
        crowd(gateway)
        # Its connections to upstreams went with the old loop.
        upstream.wait_closed(upstream.requests[since])
        assert_routed(gateway.chat(model="heavyweight"), "direct", "pinned")
    assert upstream.connection_of(upstream.requests[-1]) is not upstream.connection_of(upstream.requests[0])


def test_what_was_told_before_holds_on_the_new_loop(start, upstream):
    """Metrics, a reload, draining and the listener work as before."""
    upstream.on("large-1", expert())
    upstream.on("small-1", confident())
    gateway = start()
    crowd(gateway)
    upstream.wait_closed(upstream.requests[0])
    assert_routed(gateway.chat(), "accept", "confident")
    assert total(gateway.metrics(), "draftthinker_requests_total") == CROWD + 1
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait(lambda line: "reload" in line, "reload")
    assert_routed(gateway.chat(), "accept", "confident")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0


def test_as_long_as_a_client_is_connected_nothing_is_closed(start, upstream):
    upstream.on("large-1", expert())
    gateway = start()
    with gateway.client() as stays:
        ask(stays)
        crowd(gateway)
        end = time.monotonic() + 2.5  # twice the time between two looks
        while time.monotonic() < end:
            ask(stays)
        used = upstream.connection_of(upstream.requests[-1])
        assert used is upstream.connection_of(upstream.requests[0]) and not used.closed.is_set()
    upstream.wait_closed(upstream.requests[-1])
