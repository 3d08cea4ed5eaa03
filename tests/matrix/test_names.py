"""Look-ups of host names that fail or hang, with the library in names.c before the C library's."""

import threading
import time

import pytest

import faults
import runner
from lib.checks import assert_error, assert_routed
from lib.scripts import confident, expert


@pytest.fixture
def begin(start, upstream, library):
    """begin(host): a daemon whose heavyweights are at this host, and its drafter on the loopback."""

    def run(host, **server):
        upstream.on("small-1", confident())
        good = {"base_url": f"http://{host}:{upstream.port}/good/v1", "connect_timeout": f"{3 * faults.SHORT_MS}ms", "retries": 0}
        return start(env=runner.preloaded(library), providers={"good": good}, server=server)

    return run


def test_names_that_are_neither_are_looked_up_as_ever(begin, upstream):
    gateway = begin("localhost")
    upstream.on("other-1", expert("It is Paris."))
    assert gateway.chat(model="other").text == "It is Paris."


def test_a_name_that_does_not_exist_is_told_at_once(begin):
    answer = begin("model.gone.test").chat(model="other")
    assert_error(answer, 502, code="upstream_unreachable")


def test_a_look_up_that_hangs_ends_by_the_connect_timeout_and_holds_nobody_up(begin, upstream):
    gateway = begin("model.hang.test")
    answers = []

    def ask():
        started = time.monotonic()
        answers.append((gateway.chat(model="other"), time.monotonic() - started))

    hanging = [threading.Thread(target=ask) for _ in range(4)]
    for thread in hanging:
        thread.start()
    for _ in range(10):
        assert_routed(gateway.chat(), "accept", "confident")
    assert not answers, "the others were answered while the look-ups hung"
    for thread in hanging:
        thread.join()
    for answer, taken in answers:
        assert_error(answer, 504, code="upstream_timeout", says="connect")
        assert taken * 1000 < faults.HANG_MS, "by the timeout, not by the look-up's end"


def test_a_daemon_stops_though_a_look_up_hangs(begin, upstream):
    gateway = begin("model.hang.test", drain_timeout="100ms")
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
    assert_routed(gateway.chat(), "accept", "confident")  # so the other has been read, too
    started = time.monotonic()
    gateway.stop()
    assert (time.monotonic() - started) * 1000 < faults.HANG_MS
    client.close()
