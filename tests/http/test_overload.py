"""More connections than there is room for, no descriptors, half-sent bodies: refused in order, bounded, and over when they go."""

import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lib import frames as f
from lib.checks import assert_error
from lib.gateway import SLOW, Gateway, eventually, long_form
from lib.scripts import confident, expert, stall

CHAT = {"messages": [{"role": "user", "content": "x"}]}
DIRECT = {**CHAT, "model": "other"}
REFUSED = 'draftthinker_errors_total{type="overloaded_error"}'


def ask(client, body=DIRECT):
    return client.request("POST", "/v1/chat/completions", body)


def peak_memory_bytes(gateway, seconds):
    """The most seen over a while."""
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, gateway.memory_bytes())
    return most


def cpu_seconds(gateway):
    """Of all its threads."""
    tasks = Path(f"/proc/{gateway.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def descriptors(gateway):
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def close_all(clients):
    for client in clients:
        client.close()


# max_connections


@pytest.fixture
def full(start, upstream):
    """A daemon with room for 3 connections, and 3 kept-alive ones on it."""
    upstream.on("other-1", expert("It is Paris."))
    gateway = start(server={"max_connections": 3})
    clients = [gateway.client() for _ in range(3)]
    for client in clients:
        assert ask(client).text == "It is Paris."
    yield gateway, clients
    close_all(clients)


def test_above_max_connections_the_answer_is_503_at_once(full, upstream):
    gateway, clients = full
    asked = len(upstream.requests)
    for path, body in (("/v1/chat/completions", DIRECT), ("/v1/chat/completions", {**DIRECT, "stream": True}), ("/v1/models", None)):
        with gateway.client() as extra:
            answer = extra.request("POST" if body else "GET", path, body)
            assert_error(answer, 503, param=None, says="connections")
            assert answer.header("Retry-After") == "1"
            assert answer.header("Connection") == "close"
            assert extra.read_to_end() == b""
    assert len(upstream.requests) == asked
    for client in clients:
        assert ask(client).text == "It is Paris."


def test_log_and_metrics_see_who_was_turned_away(full):
    gateway, clients = full

    def refused():
        page = clients[0].request("GET", "/metrics").body.decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(REFUSED))

    before = refused()
    for _ in range(2):
        assert ask(gateway.client()).status == 503
    assert refused() == before + 2
    for _ in range(2):
        gateway.access.wait(lambda line: '"status":503' in line and '"error":"overloaded_error"' in line, "the refusal")


def test_a_place_that_becomes_free_is_given_to_the_next(full):
    gateway, clients = full
    assert ask(gateway.client()).status == 503
    clients.pop().close()
    clients.append(eventually(lambda: served(gateway), "a free place"))


def served(gateway):
    client = gateway.client()
    if ask(client).status == 200:
        return client
    client.close()
    return None


def test_a_client_with_a_large_body_can_read_the_503(full):
    gateway, _ = full
    body = {**DIRECT, "messages": [{"role": "user", "content": "x" * 8_000_000}]}
    for _ in range(3):
        with gateway.client() as extra:
            assert_error(ask(extra, body), 503)


def test_a_running_stream_is_not_disturbed_by_those_turned_away(start, upstream):
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("first", 0)], finish=None, logprobs=False), done=False)
        exchange.wait(gate)
        exchange.frames(f.text_frames([(" last", 0)], role=False, logprobs=False))
        exchange.end()

    upstream.on("other-1", script)
    gateway = start(server={"max_connections": 1})
    stream = gateway.stream(model="other")
    stream.next()
    for _ in range(100):
        with gateway.client() as extra:
            assert ask(extra).status == 503
    gate.set()
    assert stream.read().done and stream.text == "first last"
    stream.client.close()


def test_over_tls_the_503_is_readable_too(start, upstream, tmp_path):
    pair = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                    "-keyout", pair["key"], "-out", pair["certificate"]], check=True, capture_output=True)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    gateway = start(server={"max_connections": 1, "tls": pair})

    def client():
        found = gateway.client()
        found.sock = context.wrap_socket(found.sock)
        return found

    with client() as first:
        assert first.request("GET", "/health").status == 200
        for _ in range(3):
            with client() as extra:
                extra.begin("POST", "/v1/chat/completions", {**DIRECT, "padding": "x" * 3_000_000})
                assert_error(extra.read_response(), 503)
                assert extra.read_to_end() == b""
        assert first.request("GET", "/health").status == 200


def test_two_workers_answer_everyone_one_way_or_the_other(start, upstream):
    upstream.on("other-1", expert())
    gateway = start(server={"max_connections": 4, "workers": 2})
    clients = [gateway.client() for _ in range(40)]
    for client in clients:
        client.begin("POST", "/v1/chat/completions", DIRECT)
    statuses = [client.read_response().status for client in clients]
    # Whichever worker a connection falls to: the limit is one, not a share for each.
    assert (statuses.count(200), statuses.count(503)) == (4, 36), statuses
    close_all(clients)


# No descriptors


def starving(upstream, directory, limit=64, **overrides):
    """A daemon that may have only so many descriptors."""
    return Gateway(directory, long_form(upstream, **overrides), prefix=["prlimit", f"--nofile={limit}:{limit}"]).start()


def exhaust(gateway, limit=64):
    """Opens connections until the daemon has no descriptor left."""
    clients = [gateway.client() for _ in range(limit)]
    eventually(lambda: descriptors(gateway) >= limit, "the last descriptor's use")
    gateway.stderr.wait(lambda line: "accept_paused" in line, "the pause")
    return clients


def paused_lines(gateway):
    return sum("accept_paused" in line for line in gateway.stderr.lines)


def test_without_descriptors_accepting_pauses_quietly_and_resumes(upstream, tmp_path):
    upstream.on("other-1", expert("It is Paris."))
    gateway = starving(upstream, tmp_path)
    try:
        for _ in range(2):
            clients = exhaust(gateway)
            lines = len(gateway.stderr.lines)
            before, at = cpu_seconds(gateway), time.monotonic()
            with gateway.client() as late:
                late.begin("GET", "/health")
                late.sock.settimeout(1.0)
                with pytest.raises(TimeoutError):
                    late.sock.recv(1)
                spent = cpu_seconds(gateway) - before
                assert spent < 0.1 * SLOW, f"{spent} s of CPU in {time.monotonic() - at} s"
                assert len(gateway.stderr.lines) - lines <= 1
                # Those that were accepted are served all the while.
                assert clients[0].request("GET", "/health").status == 200
                close_all(clients)
                assert late.read_response(method="GET").status == 200
        assert paused_lines(gateway) <= 2, gateway.stderr.text()
        assert gateway.chat(model="other").text == "It is Paris."
    finally:
        gateway.stop()


@pytest.mark.parametrize("limit, warned", [(400, True), (600, False)])
def test_too_few_descriptors_for_max_connections_are_warned_of_at_start(upstream, tmp_path, limit, warned):
    gateway = starving(upstream, tmp_path, limit, server={"max_connections": 100})
    gateway.get("/health")
    gateway.stop()
    found = [line for line in gateway.stderr.lines if "few_descriptors" in line]
    assert len(found) == warned, gateway.stderr.text()
    assert all("limit=400 needed=520 max_connections=100" in line for line in found)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_without_a_descriptor_for_upstream_the_answer_is_an_error_at_once(upstream, tmp_path, host):
    """localhost: looking a name up needs descriptors too."""
    upstream.on("other-1", expert("It is Paris."))
    upstream.on("small-1", confident())
    url = f"http://{host}:{upstream.port}"
    gateway = starving(upstream, tmp_path, providers={"cheap": {"base_url": url}, "good": {"base_url": url}})
    try:
        clients = exhaust(gateway)
        for body in (DIRECT, {**DIRECT, "stream": True}, CHAT, {**CHAT, "stream": True}):
            at = time.monotonic()
            answer = ask(clients[0], body)
            assert answer.status in (500, 502, 503), answer
            assert_error(answer, answer.status)
            assert time.monotonic() - at < 5 * SLOW
        close_all(clients[1:])
        # The same connection again, once there is room.
        assert eventually(lambda: (a := ask(clients[0])).status == 200 and a, "an answer").text == "It is Paris."
        assert ask(clients[0], CHAT).status == 200
        clients[0].close()
    finally:
        gateway.stop()


def test_many_requests_with_few_descriptors_are_all_answered(upstream, tmp_path):
    """Half of them cannot have an upstream connection; nothing hangs, nothing is left over."""
    upstream.on("other-1", expert("It is Paris."))
    gateway = starving(upstream, tmp_path, limit=80)
    statuses = []

    def worker():
        for _ in range(10):
            with gateway.client() as client:
                statuses.append(ask(client).status)

    try:
        crowd = [threading.Thread(target=worker) for _ in range(60)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join(60)
        assert len(statuses) == 600 and set(statuses) <= {200, 500, 502, 503}, set(statuses)
        assert gateway.chat(model="other").text == "It is Paris."
    finally:
        gateway.stop()


# Half-sent bodies


def test_half_sent_bodies_take_no_more_than_their_limit_each(start):
    count, limit = 40, 1 << 20
    gateway = start(server={"max_body_bytes": limit}, env={"ASAN_OPTIONS": "quarantine_size_mb=0"})
    assert gateway.get("/health").status == 200
    # A sanitizer keeps books on every byte, several bytes for each.
    fixed = 4 << 20 if SLOW == 1 else 5 * count * limit
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {limit}\r\n\r\n".encode()
    before, most = gateway.memory_bytes(), []
    for _ in range(6):
        clients = [gateway.client() for _ in range(count)]
        for client in clients:
            client.send(head + b"x" * (limit - 1))
        eventually(lambda: gateway.memory_bytes() - before > count * limit * 0.99, "the bodies' arrival")
        most.append(peak_memory_bytes(gateway, 0.2))
        assert most[-1] - before <= count * limit + fixed, f"{(most[-1] - before) / count / limit:.2f} of the limit each"
        close_all(clients)
        eventually(lambda: gateway.metrics() and descriptors(gateway) < count, "the connections' end")
    # The allocator keeps what was freed for the next; it does not need more each time.
    assert most[-1] - most[0] <= fixed, most
    assert gateway.get("/health").status == 200


def test_bodies_that_were_turned_away_take_nothing(start, upstream):
    """Their bytes are thrown away as they come."""
    upstream.on("other-1", stall)
    gateway = start(server={"max_connections": 1})
    with gateway.client() as holder:
        holder.begin("POST", "/v1/chat/completions", DIRECT)
        upstream.wait_request("other-1")
        before = gateway.memory_bytes()
        clients = [gateway.client() for _ in range(20)]
        for client in clients:
            client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 3_000_000)
        most = 0
        for client in clients:
            most = max(most, gateway.memory_bytes())
            assert_error(client.read_response(), 503)
            most = max(most, gateway.memory_bytes())
        # Of each connection at most the quarter of a MiB that may wait before it is thrown away.
        assert most - before < (20 * (256 << 10) + (2 << 20)) * max(1, SLOW / 2)
        close_all(clients)
