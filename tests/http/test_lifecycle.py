"""Signals: drain, stop, reload, reopen; readiness; several workers."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_routed
from lib.client import Client, Cut
from lib.gateway import Gateway, binary, eventually, long_form, merge
from lib.scripts import confident, expert, speak, uncertain

CHAT = {"messages": [{"role": "user", "content": "x"}]}


def held(upstream, model="other-1"):
    """A stream that stays open until its gate is opened."""
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("first", 0)], finish=None, logprobs=False), done=False)
        exchange.wait(gate)
        exchange.frames(f.text_frames([(" last", 0)], role=False, logprobs=False))
        exchange.end()

    upstream.on(model, script)
    return gate


def refuses(gateway):
    try:
        Client(gateway.address, timeout=2).close()
    except OSError:
        return True
    return False


# SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_daemon_ends_at_once_and_in_order(start, number):
    gateway = start()
    assert gateway.get("/health").status == 200
    gateway.signal(number)
    assert gateway.wait_exit(5) == 0


def test_running_requests_finish_while_it_drains(start, upstream):
    gate = held(upstream)
    gateway = start()
    streams = [gateway.stream(model="other") for _ in range(5)]
    for stream in streams:
        stream.next()
    with gateway.client() as waiting:
        upstream.on("large-1", expert("Late."))
        waiting.begin("POST", "/v1/chat/completions", {**CHAT, "model": "heavyweight"})
        upstream.wait_request("large-1")
        gateway.signal(signal.SIGTERM)
        eventually(lambda: refuses(gateway), "the listener's close")
        gate.set()
        for stream in streams:
            assert stream.read().done and stream.complete and stream.text == "first last"
        assert waiting.read_response().text == "Late."
    assert gateway.wait_exit() == 0


def test_while_it_drains_new_connections_are_refused_and_idle_ones_closed(start, upstream):
    gate = held(upstream)
    gateway = start()
    stream = gateway.stream(model="other")
    stream.next()
    with gateway.client() as idle:
        assert idle.request("GET", "/health").status == 200
        gateway.signal(signal.SIGTERM)
        assert idle.read_to_end() == b""
    eventually(lambda: refuses(gateway), "the listener's close")
    assert gateway.is_alive()
    gate.set()
    assert stream.read().done
    assert gateway.wait_exit() == 0


def test_readiness_is_503_while_it_drains(start, upstream):
    gate = held(upstream)
    gateway = start()
    assert gateway.get("/health/ready").status == 200
    stream = gateway.stream(model="other")
    stream.next()
    with gateway.client() as client:
        # A request on its way: what is not idle is not closed.
        client.send(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n")
        pause = upstream.gate()
        pause.wait(0.05)  # for the bytes to be read
        gateway.signal(signal.SIGTERM)
        eventually(lambda: refuses(gateway), "the listener's close")
        client.send(b"\r\n")
        answer = client.read_response()
        assert answer.status == 503
        assert answer.header("Connection") == "close"
    gate.set()
    assert stream.read().done
    assert gateway.wait_exit() == 0


def test_what_does_not_finish_within_the_drain_timeout_is_cut(start, upstream):
    upstream.on("other-1", scripts.after(scripts.PART, scripts.stall))
    gateway = start(server={"drain_timeout": "300ms"})
    stream = gateway.stream(model="other")
    stream.next()
    started = time.monotonic()
    gateway.signal(signal.SIGTERM)
    stream.read()
    assert not stream.done
    assert gateway.wait_exit() == 0
    assert 0.25 < time.monotonic() - started < 5
    upstream.wait_closed(upstream.wait_request("other-1"))


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(start, upstream, second):
    upstream.on("other-1", scripts.after(scripts.PART, scripts.stall))
    gateway = start(server={"drain_timeout": 60})
    stream = gateway.stream(model="other")
    stream.next()
    gateway.signal(signal.SIGTERM)
    eventually(lambda: refuses(gateway), "the listener's close")
    started = time.monotonic()
    gateway.signal(second)
    gateway.wait_exit(5)
    assert time.monotonic() - started < 3
    assert not stream.read().done


def test_an_answer_given_while_it_drains_closes_its_connection(start, upstream):
    gate = upstream.gate()

    def script(exchange):
        exchange.wait(gate)
        expert("Late.")(exchange)

    upstream.on("other-1", script)
    gateway = start()
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {**CHAT, "model": "other"})
        upstream.wait_request("other-1")
        gateway.signal(signal.SIGTERM)
        eventually(lambda: refuses(gateway), "the listener's close")
        gate.set()
        assert client.read_response().text == "Late."
        assert client.read_to_end() == b""
    assert gateway.wait_exit() == 0


def test_a_draft_begun_before_the_drain_may_still_escalate(start, upstream):
    gate = upstream.gate()

    def script(exchange):
        exchange.wait(gate)
        uncertain()(exchange)

    upstream.on("small-1", script)
    upstream.on("large-1", expert("It is Paris."))
    gateway = start()
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", CHAT)
        upstream.wait_request("small-1")
        gateway.signal(signal.SIGTERM)
        eventually(lambda: refuses(gateway), "the listener's close")
        gate.set()
        assert client.read_response().text == "It is Paris."
    assert gateway.wait_exit() == 0


def test_the_last_access_lines_are_written_before_it_ends(start, upstream):
    upstream.on("small-1", confident())
    gateway = start()
    for i in range(20):
        gateway.chat(headers=[("X-Request-ID", f"last-{i}")])
    gateway.stop()
    ids = [json.loads(line).get("id") for line in gateway.access.lines]
    assert [i for i in ids if i and i.startswith("last-")] == [f"last-{i}" for i in range(20)]


def test_a_hundred_streams_finish_while_it_drains(start, upstream):
    gate = held(upstream)
    gateway = start()
    streams = [gateway.stream(model="other") for _ in range(100)]
    for stream in streams:
        stream.next()
    gateway.signal(signal.SIGTERM)
    eventually(lambda: refuses(gateway), "the listener's close")
    gate.set()
    for stream in streams:
        assert stream.read().done
        stream.client.close()
    assert gateway.wait_exit() == 0


def test_it_ends_when_nobody_reads_its_log(upstream, tmp_path):
    """A full pipe behind standard error must not stop the daemon, nor its end."""
    gateway = Gateway(tmp_path, long_form(upstream, log={"level": "debug", "access": "-"}), access=False)
    gateway.start()
    upstream.on("small-1", confident())
    with gateway.client() as client:
        for _ in range(100):
            assert client.request("POST", "/v1/chat/completions", CHAT).status == 200
    gateway.stop()


# SIGHUP


def reload(gateway, config):
    """Writes the file, asks for a reload and waits until the log tells of it. Returns that line."""
    seen = len(gateway.stderr.lines)
    gateway.write_config(config)
    gateway.signal(signal.SIGHUP)
    return gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)


def with_access(gateway, config):
    return merge(config, {"log": {"access": str(gateway.directory / "access.log")}})


def test_a_reload_takes_the_new_file(start, upstream):
    upstream.on("small-1", speak("Paris.", 1.0))
    upstream.on("large-1", expert())
    gateway = start()
    assert_routed(gateway.chat(), "accept", "confident")
    reload(gateway, with_access(gateway, long_form(upstream, entropy={"threshold": 0.5})))
    assert_routed(gateway.chat(), "escalate", "early_exit")


def test_a_reload_takes_new_models_keys_and_routes(start, upstream):
    upstream.on("new-1", confident("New."))
    gateway = start()
    reload(gateway, with_access(gateway, long_form(
        upstream,
        providers={"cheap": {"api_key": "sk-changed"}},
        models={"new": {"provider": "cheap", "model": "new-1"}},
        routes={"fresh": {"drafter": "new", "heavyweight": "other"}},
    )))
    assert_routed(gateway.chat(model="fresh"), "accept", "confident", model="new")
    assert upstream.wait_request("new-1").header("Authorization") == "Bearer sk-changed"


MISTYPED_PROVIDER = (
    "{providers: {p: {base_url: 'http://h/v1'}}, models: {d: {provider: q}, h: {provider: p}}, "
    "routes: {auto: {drafter: d, heavyweight: h, cache: {embedding_model: e}}}}\n"
)


@pytest.mark.parametrize("bad", ["entropy: {threshold: x}\n", "a: [", "", "nonsense: 1\n", MISTYPED_PROVIDER])
def test_a_bad_file_is_reported_and_the_old_one_stays(start, upstream, bad):
    upstream.on("small-1", confident("Paris."))
    gateway = start()
    text = bad or None
    if text is None:
        gateway.file.unlink()
        seen = len(gateway.stderr.lines)
        gateway.signal(signal.SIGHUP)
        gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)
    else:
        seen = len(gateway.stderr.lines)
        reload(gateway, text)
        if "a: [" != bad:
            gateway.stderr.wait(lambda line: "draft-thinker.yaml:1: " in line, "the fault", start=seen)
    assert gateway.chat().text == "Paris."
    assert gateway.chat(model="other").status == 502  # the old models are there (and nobody scripted this one)


def test_a_reload_loses_no_request_under_load(start, upstream):
    def echo(exchange):
        speak(exchange.request.json["messages"][0]["content"])(exchange)

    upstream.on("small-1", echo)
    gateway = start()
    stop, wrong, served = threading.Event(), [], []

    def load(name):
        with gateway.client() as client:
            i = 0
            while not stop.is_set():
                text = f"{name} says {i}"
                answer = client.request("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": text}]})
                if answer.status != 200 or answer.text != text:
                    wrong.append(answer)
                i += 1
            served.append(i)

    threads = [threading.Thread(target=load, args=(f"client {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for i in range(10):
        config = long_form(upstream, entropy={"window_size": 10 + i})
        reload(gateway, with_access(gateway, config) if i % 3 else "entropy: {threshold: x}\n")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not wrong, wrong[:3]
    assert len(served) == 4 and all(served)


def test_a_running_request_keeps_the_configuration_it_began_with(start, upstream):
    gate = held(upstream)
    gateway = start()
    stream = gateway.stream(model="other")
    stream.next()
    config = long_form(upstream)
    del config["models"]["other"]
    reload(gateway, with_access(gateway, config))
    gate.set()
    assert stream.read().done
    assert stream.routing["model"] == "other"


def test_connections_survive_a_reload(start, upstream):
    upstream.on("small-1", confident("Paris."))
    gateway = start()
    with gateway.client() as client:
        assert client.request("POST", "/v1/chat/completions", CHAT).text == "Paris."
        reload(gateway, with_access(gateway, long_form(upstream)))
        assert client.request("POST", "/v1/chat/completions", CHAT).text == "Paris."


def test_new_limits_hold_after_a_reload(start, upstream):
    upstream.on("small-1", confident())
    gateway = start()
    assert gateway.chat({"x": "y" * 5000}).status == 200
    reload(gateway, with_access(gateway, long_form(upstream, server={"max_body_bytes": 2000})))
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", b" " * 2001)
        assert client.read_response().status == 413


# SIGUSR1


def test_log_files_are_reopened(upstream, tmp_path):
    access, log = tmp_path / "a.log", tmp_path / "d.log"
    config = long_form(upstream, log={"access": str(access)})
    gateway = Gateway(tmp_path, config, access=False).start()
    upstream.on("small-1", confident())

    def lines(path):
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []

    try:
        gateway.chat(headers=[("X-Request-ID", "before")])
        eventually(lambda: "before" in lines(access), "the first line")
        os.rename(access, log)
        gateway.chat(headers=[("X-Request-ID", "between")])
        eventually(lambda: "between" in lines(log), "the line in the renamed file")
        gateway.signal(signal.SIGUSR1)
        eventually(access.exists, "the new file")
        gateway.chat(headers=[("X-Request-ID", "after")])
        eventually(lambda: "after" in lines(access), "the line in the new file")
        assert lines(log) == ["before", "between"] and lines(access) == ["after"]
    finally:
        gateway.stop()


def test_a_log_file_that_cannot_be_reopened_does_no_harm(upstream, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    config = long_form(upstream, log={"access": str(folder / "a.log")})
    gateway = Gateway(tmp_path, config, access=False).start()
    upstream.on("small-1", confident("Paris."))
    try:
        os.rename(folder, tmp_path / "moved")
        gateway.signal(signal.SIGUSR1)
        for _ in range(3):
            assert gateway.chat().text == "Paris."
        eventually(lambda: (tmp_path / "moved/a.log").read_text().count("\n") >= 3, "the lines in the old file")
    finally:
        gateway.stop()


def test_signals_without_an_access_file_do_no_harm(start, upstream):
    upstream.on("small-1", confident("Paris."))
    gateway = start(access=False, log={"access": "off"})
    gateway.signal(signal.SIGUSR1)
    gateway.signal(signal.SIGPIPE)
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait(lambda line: "reload" in line, "reload")
    assert gateway.chat().text == "Paris."


# Workers


def test_two_workers_serve_and_drain(start, upstream):
    def echo(exchange):
        speak(exchange.request.json["messages"][0]["content"])(exchange)

    upstream.on("small-1", echo)
    gate = held(upstream)
    gateway = start(server={"workers": 2})
    streams = [gateway.stream(model="other") for _ in range(20)]
    clients = [gateway.client() for _ in range(60)]
    for i, client in enumerate(clients):
        client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": f"number {i}"}]})
    for i, client in enumerate(clients):
        assert client.read_response().text == f"number {i}"
        client.close()
    # Each worker counts for itself; the page shows the sum.
    metrics = gateway.metrics()
    assert metrics['draftthinker_routing_decisions_total{decision="accept"}'] == 60
    assert metrics["draftthinker_requests_in_flight"] == 20
    gateway.signal(signal.SIGTERM)
    eventually(lambda: refuses(gateway), "the listener's close")
    gate.set()
    for stream in streams:
        assert stream.read().done
    assert gateway.wait_exit() == 0


def threads_at_work(gateway):
    """How often each thread has waited for something, by its id; the log's writers left out."""
    counts = {}
    for task in Path(f"/proc/{gateway.pid}/task").iterdir():
        if (task / "comm").read_text().strip() != "log":
            status = (task / "status").read_text()
            counts[task.name] = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
    return counts


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_all_workers_share_the_work(start, upstream, workers):
    """Each thread takes some of 64 connections; the odds against it are below 1 to 10^10. Others wake up now and then."""
    upstream.on("small-1", confident())
    gateway = start(server={"workers": workers})
    before = threads_at_work(gateway)
    clients = [gateway.client() for _ in range(64)]
    for client in clients:
        for _ in range(3):
            assert client.request("POST", "/v1/chat/completions", CHAT).status == 200
        client.close()
    after = threads_at_work(gateway)
    grown = {thread: after[thread] - before.get(thread, 0) for thread in after}
    assert sum(n >= 20 and n * 10 >= max(grown.values()) for n in grown.values()) == workers, grown


def test_two_workers_reload(start, upstream):
    upstream.on("small-1", speak("Paris.", 1.0))
    upstream.on("large-1", expert())
    gateway = start(server={"workers": 2})
    reload(gateway, with_access(gateway, long_form(upstream, server={"workers": 2}, entropy={"threshold": 0.5})))
    for _ in range(20):
        assert_routed(gateway.chat(), "escalate", "early_exit")


def test_two_workers_end_at_once_when_idle(start):
    gateway = start(server={"workers": 2})
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit(5) == 0


def test_one_worker_for_each_core(start, upstream):
    upstream.on("small-1", confident("Paris."))
    assert start(server={"workers": 0}).chat().text == "Paris."


# Addresses


def test_it_listens_on_each_address_given(start, upstream):
    upstream.on("small-1", confident("Paris."))
    gateway = start(server={"listen": ["127.0.0.1:0", "127.0.0.2:0"]})
    found = gateway.stderr.wait(lambda line: "listening" in line and "127.0.0.2:" in line, "the second address")
    port = int(found.split("127.0.0.2:")[1].split()[0].strip('"'))
    with Client(("127.0.0.2", port)) as client:
        assert client.request("POST", "/v1/chat/completions", CHAT).text == "Paris."
    assert gateway.chat().text == "Paris."


def test_as_process_1_it_drains_and_reloads(upstream, tmp_path):
    """In a container signals whose default action applies are lost; here none may be."""
    if subprocess.run(["unshare", "--user", "--map-root-user", "--pid", "--fork", "true"], capture_output=True).returncode:
        pytest.skip("no namespaces of processes here")
    gateway = Gateway(tmp_path, long_form(upstream), prefix=["unshare", "--user", "--map-root-user", "--pid", "--fork"])
    gateway.start()
    [inner] = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    try:
        for number in (signal.SIGUSR1, signal.SIGHUP):
            os.kill(int(inner), number)
        gateway.stderr.wait(lambda line: "reload" in line, "reload")
        assert gateway.get("/health").status == 200
        os.kill(int(inner), signal.SIGTERM)
        assert gateway.wait_exit(10) == 0
    finally:
        if gateway.is_alive():
            os.kill(int(inner), signal.SIGKILL)
        gateway.kill()


def test_a_client_that_never_reads_does_not_hold_up_the_end(start, upstream):
    upstream.on("other-1", expert("x" * 5_000_000))
    gateway = start(server={"drain_timeout": "300ms"})
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {**CHAT, "model": "other"})
        upstream.wait_request("other-1")
        gateway.signal(signal.SIGTERM)
        assert gateway.wait_exit(10) == 0
        try:
            assert not client.read_response().complete
        except Cut:
            pass


@pytest.mark.parametrize("workers", [1, 2])
def test_an_address_in_use_is_refused(start, tmp_path, upstream, workers):
    first = start(server={"workers": workers})
    config = tmp_path / "second.json"
    config.write_text(json.dumps(long_form(upstream, server={"workers": workers, "listen": ["%s:%d" % first.address]})))
    second = subprocess.run([binary(), "-c", str(config)], capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "in use" in second.stderr
