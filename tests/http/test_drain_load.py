"""Draining and reloading in the middle of work: what runs ends whole, what is refused is refused clearly, nothing is lost."""

import signal
import threading
import time

import pytest

from lib import frames as f
from lib.checks import assert_error
from lib.client import Client, Cut
from lib.gateway import SLOW, eventually, long_form, merge
from lib.scripts import confident, expert, uncertain

each_worker_count = pytest.mark.parametrize("workers", [1, 2])
MESSAGES = [{"role": "user", "content": "x"}]
STREAMS, STEPS = 200, 15


def ticking(upstream, whole=None, pause_s=0.1):
    """A stream that says a word every so often; an answer that is no stream comes when the gate opens."""
    pause = upstream.gate()

    def script(exchange):
        if not exchange.request.json.get("stream"):
            whole.wait()
            exchange.reply(200, f.completion("whole"))
            return
        exchange.head()
        for step in range(STEPS):
            exchange.write(f.event(f.chunk({"content": f"{step} "})))
            pause.wait(pause_s)  # nobody opens it
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    upstream.on("other-1", script)
    return "".join(f"{step} " for step in range(STEPS))


def refusal(gateway):
    """How a new request is refused: "refused" (no connection), "closed" (no answer), 503; None: it is not."""
    try:
        with Client(gateway.address, timeout=5) as client:
            answer = client.request("POST", "/v1/chat/completions", {"model": "heavyweight", "messages": MESSAGES})
    except (Cut, ConnectionResetError, BrokenPipeError):
        return "closed"
    except OSError:
        return "refused"
    if answer.status == 503:
        assert_error(answer, 503)
        return 503
    assert answer.status == 200, answer
    return None


# SIGTERM


@each_worker_count
def test_200_streams_end_whole_while_new_ones_are_refused(start, upstream, workers):
    whole = upstream.gate()
    said = ticking(upstream, whole)
    upstream.on("large-1", expert())
    gateway = start(server={"drain_timeout": 15 * SLOW, "workers": workers})
    idle = [gateway.client() for _ in range(10)]
    for client in idle:
        assert client.request("GET", "/health").status == 200
    streams = [gateway.stream(model="other") for _ in range(STREAMS)]
    waiting = [gateway.client() for _ in range(20)]
    for client in waiting:
        client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": MESSAGES})
    upstream.wait_for(lambda: len(upstream.requests) == STREAMS + len(waiting), "all requests")
    at = time.monotonic()
    gateway.signal(signal.SIGTERM)
    for client in idle:
        assert client.read_to_end() == b""
    eventually(lambda: refusal(gateway) is not None, "the listeners' close")
    for _ in range(20):
        assert refusal(gateway) in ("refused", 503)
    assert gateway.is_alive()
    whole.set()
    for stream in streams:
        stream.read()
        assert stream.done and stream.complete and stream.text == said, stream.data
        stream.client.close()
    for client in waiting:
        answer = client.read_response()
        assert answer.text == "whole" and answer.header("Connection") == "close"
        client.close()
    assert gateway.wait_exit() == 0
    assert time.monotonic() - at < 15 * SLOW
    assert "status=clean" in gateway.stderr.text()


@each_worker_count
def test_a_request_is_answered_whole_or_not_begun_when_sigterm_comes(start, upstream, workers):
    """Clients that never stop asking, each time on a new connection or on the one they have."""
    upstream.on("large-1", expert("It is Paris."))
    upstream.on("small-1", confident("Paris."))
    gateway = start(server={"workers": workers})
    stop, faults, served = threading.Event(), [], []

    def ask(number):
        client = None
        while not stop.is_set():
            model = "auto" if number % 2 else "heavyweight"
            try:
                if client is None:
                    client = Client(gateway.address, timeout=10)
                answer = client.request("POST", "/v1/chat/completions", {"model": model, "messages": MESSAGES, "stream": number % 4 > 1})
            except (Cut, OSError):
                if client is not None and client._buffer:
                    faults.append(bytes(client._buffer))
                client = None  # not begun: that is a refusal
                continue
            except AssertionError as error:
                faults.append(error)
                return
            if not answer.complete or answer.status not in (200, 503):
                faults.append(answer)
            served.append(answer.status)
            if number % 3 or answer.header("Connection") == "close":
                client.close()
                client = None

    crowd = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in crowd:
        thread.start()
    eventually(lambda: len(served) > 100, "the load")
    gateway.signal(signal.SIGTERM)
    status = gateway.wait_exit()
    stop.set()
    for thread in crowd:
        thread.join(20)
    assert status == 0 and not faults, faults
    assert "status=clean" in gateway.stderr.text()


# SIGHUP


def load(gateway, stop, faults, counts):
    """Threads that ask in every way until told to stop; each answer must be right."""

    def ask(number):
        client, count = None, 0
        while not stop.is_set() or count < 3:
            stream, pinned = number % 2 == 1, count % 2 == 1
            try:
                client = client or gateway.client()
                body = {"model": "heavyweight" if pinned else "auto", "messages": MESSAGES, "stream": stream}
                client.begin("POST", "/v1/chat/completions", body)
                if stream:
                    answer = client.stream().read()
                    assert answer.done and answer.complete
                else:
                    answer = client.read_response()
                    assert answer.status == 200 and answer.complete, answer
                assert answer.text in ("It is Paris.",) if pinned else answer.text in ("Paris.", "It is Paris.")
            except (AssertionError, Cut, OSError) as error:
                faults.append(repr(error))
                return
            count += 1
            if count % 5 == 0:
                client.close()
                client = None
        counts.append(count)

    crowd = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in crowd:
        thread.start()
    return crowd


@each_worker_count
def test_twenty_reloads_under_load_lose_nothing(start, upstream, workers):
    upstream.on("small-1", confident("Paris."))
    upstream.on("large-1", expert("It is Paris."))
    said = ticking(upstream)
    gateway = start(server={"workers": workers})
    access = {"log": {"access": str(gateway.directory / "access.log")}}
    config = merge(long_form(upstream, server={"workers": workers}), access)
    stop, faults, counts = threading.Event(), [], []
    crowd = load(gateway, stop, faults, counts)
    through = [gateway.stream(model="other") for _ in range(10)]  # they live through several
    for number in range(20):
        seen = len(gateway.stderr.lines)
        bad = number % 5 == 2
        changed = {"entropy": {"threshold": 0.01 if number % 2 else 2.0, "window_size": 3 + number},
                   "server": {"max_connections": 1000 + number, "read_timeout": 20 + number}}
        gateway.write_config("server: {no_such_key: 1}\n" if bad else merge(config, changed))
        gateway.signal(signal.SIGHUP)
        line = gateway.stderr.wait(lambda l: "reloaded" in l or "reload_failed" in l, "the reload", start=seen)
        assert ("reload_failed" in line) == bad, line
        if bad:
            assert "kept" in line
            assert any("no_such_key" in l for l in gateway.stderr.lines[seen:])
        assert gateway.get("/health").status == 200
    for stream in through:
        assert stream.read().done and stream.text == said
        stream.client.close()
    stop.set()
    for thread in crowd:
        thread.join(30)
    assert not faults, faults
    assert len(counts) == 4 and sum(counts) > 40, counts
    # The last one was good (threshold 0.01), and it is in force on each worker.
    for _ in range(10):
        assert gateway.chat().text == "It is Paris."


def test_a_bad_file_under_load_keeps_what_was_in_force(start, upstream):
    upstream.on("small-1", uncertain("DRAFTED"))
    upstream.on("large-1", expert("It is Paris."))
    gateway = start()
    stop, faults, counts = threading.Event(), [], []
    crowd = load(gateway, stop, faults, counts)
    for text in ("{", "server: [", "models: {}\nroutes: {}\n", "entropy: {threshold: -1}\n"):
        seen = len(gateway.stderr.lines)
        gateway.write_config(text)
        gateway.signal(signal.SIGHUP)
        line = gateway.stderr.wait(lambda l: "reloaded" in l or "reload_failed" in l, "the reload", start=seen)
        assert "reload_failed" in line and "kept" in line, (text, line)
        assert gateway.chat().text == "It is Paris."
    stop.set()
    for thread in crowd:
        thread.join(30)
    assert not faults, faults
