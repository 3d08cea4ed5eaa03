"""Answers kept and shared: a daemon with a cache, requests in each form, and what an answer of it looks like."""

import re
import signal
import socket
import time

import pytest

from . import frames as f
from .checks import assert_routed
from .client import EventStream, Response
from .gateway import WAIT, Gateway, eventually, long_form, merge
from .live import Watch
from .scripts import expert, speak, uncertain

FORMS = {
    "json": {"stream": False},
    "stream": {"stream": True},
    "usage": {"stream": True, "stream_options": {"include_usage": True}},
}
DECISIONS = 'draftthinker_routing_decisions_total{decision="%s"}'
RESULTS = 'draftthinker_cache_results_total{result="%s"}'
ANSWERS = 'draftthinker_cache_answers_total{result="%s"}'
GONE = 'draftthinker_cache_evictions_total{reason="%s"}'
IN_FLIGHT = "draftthinker_requests_in_flight"
UPSTREAM_IN_FLIGHT = "draftthinker_upstream_requests_in_flight"


def caching_config(upstream, **overrides):
    """One worker, one route for each way in which the cache is told apart; `auto` holds its drafts."""
    pair = {"drafter": "drafter", "heavyweight": "heavyweight"}
    flows = {"stream": {"mode": "live"}, "entropy": {"window_size": 2, "early_exit_count": 2}}
    return long_form(upstream, **merge({
        "server": {"workers": 1},
        "cache": {"enabled": True, "embedder": "none"},
        "routes": {
            "auto": pair,
            "twin": pair,
            "live": {**pair, **flows},
            "finish": {**pair, **merge(flows, {"stream": {"late": "finish"}})},
            "accept": {**pair, "entropy": {"on_unscorable": "accept"}},
            "degrade": {**pair, "on_heavyweight_down": "draft"},
            "live_degrade": {**pair, **flows, "on_heavyweight_down": "draft"},
            "off": {**pair, "cache": {"enabled": False}},
            "calls": {**pair, "cache": {"tool_calls": True}},
            "warm": {**pair, "cache": {"max_temperature": 2}},
            "cool": {**pair, "cache": {"max_temperature": 0.5}},
            "small": {**pair, "cache": {"max_answer_bytes": 2048}},
            "large": {**pair, "cache": {"max_answer_bytes": 8 << 20}},
            "brief": {**pair, "cache": {"ttl_seconds": 0.3}},
            "any_margin": {**pair, "cache": {"min_margin": 0}},
            "wide_margin": {**pair, "cache": {"min_margin": 1}},
        },
    }, overrides))


@pytest.fixture(scope="module")
def caching_daemon(shared, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("caching"), caching_config(shared.upstream)).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def caching(caching_daemon, upstream):
    """The module's daemon with caching_config; it must outlive the test, and have nothing left to do."""
    yield caching_daemon
    if not caching_daemon.is_alive():
        pytest.fail(f"the daemon died:\n{caching_daemon.stderr.text()[-8000:]}")
    upstream.reset()
    assert_idle(caching_daemon)


@pytest.fixture
def question(request):
    """Words that no other test asks with."""
    return f"What is {request.module.__name__} {request.node.name}?"


# Asking


class Asked(Watch):
    """A request under way: watched, or waited for as a whole."""

    def __init__(self, gateway, question, form="json", headers=(), **members):
        messages = [{"role": "user", "content": question}]
        super().__init__(gateway, headers, **{"messages": messages, **FORMS[form], **members})

    def answer(self, timeout=None):
        """All of it; the connection is closed."""
        with self.client:
            if self.stream is not None:
                return Answer(stream=self.stream.read())
            return read_answer(self.client, timeout)


def read_answer(client, timeout=None):
    """The answer to what was sent, whatever its form."""
    head = client.read_head(timeout)
    if head.status == 200 and head.header("Content-Type").startswith("text/event-stream"):
        return Answer(stream=EventStream(client, head, timeout).read())
    body = b"".join(client.pieces(head, timeout=timeout))
    return Answer(Response(head, body, True))


class Answer:
    """What an answer says, in either form. head: its headers; stream: its events, or None."""

    def __init__(self, response=None, stream=None):
        self.head = response if stream is None else stream.head
        self.stream = stream
        self.status = self.head.status
        self.document = None
        if stream is not None:
            self._read(stream.frames, "delta")
        elif self.status == 200:
            self.document = response.json()
            self._read([self.document], "message")

    def _read(self, parts, member):
        choices = [choice for part in parts for choice in part.get("choices", [])]
        usages = [part["usage"] for part in parts if part.get("usage")]
        self.text = "".join(choice[member].get("content") or "" for choice in choices)
        self.finish = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        self.usage = usages[-1] if usages else None
        self.calls = [call for choice in choices for call in choice[member].get("tool_calls") or []]
        [self.id] = {part["id"] for part in parts if "id" in part} or {None}
        [self.created] = {part["created"] for part in parts if "created" in part} or {None}

    @property
    def whole(self):
        """It came to its end, and says so."""
        if self.status != 200:
            return False
        return self.stream is None or (self.stream.done and self.stream.complete and self.stream.error is None)

    @property
    def cut(self):
        """It is a stream that says that it is not whole."""
        return self.stream is not None and self.stream.error is not None and "[DONE]" not in self.stream.data

    @property
    def decision(self):
        return self.head.header("X-Routing-Decision"), self.head.header("X-Routing-Reason")

    def __repr__(self):
        return f"<{self.status} {self.head.headers} {self.stream.items if self.stream else self.head!r}>"


def ask(gateway, question, form="json", headers=(), **members):
    return Asked(gateway, question, form, headers, **members).answer()


def ask_raw(gateway, body, headers=()):
    """body: bytes as they stand, or an object."""
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", body, headers)
        return read_answer(client)


def under_way(gateway, *requests):
    """Waits until the gateway has seen just so many requests, which have joined each other by then. Gives them."""
    eventually(lambda: gateway.metrics()[IN_FLIGHT] == len(requests), f"{len(requests)} requests under way")
    return requests


def left(samples, name):
    """{sample: number} of a metric with labels, without what is zero."""
    return {key: number for key, number in samples.items() if key.split("{")[0] == name and number}


def assert_idle(gateway):
    def idle():
        samples = gateway.metrics()
        return samples[IN_FLIGHT] == 0 and not left(samples, UPSTREAM_IN_FLIGHT)

    eventually(idle, "nothing in flight")


class Change:
    """What became more of a metric since this was made."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.before = gateway.metrics()

    def of(self, name):
        return self.gateway.metrics().get(name, 0) - self.before.get(name, 0)

    def answers(self):
        """What became of answers that might have been kept: {result: how many}."""
        after = self.gateway.metrics()
        found = {name: number - self.before.get(name, 0) for name, number in after.items()
                 if name.startswith("draftthinker_cache_answers_total{")}
        return {name.split('"')[1]: number for name, number in found.items() if number}


def reload(gateway, config):
    """Another configuration, in force when this returns."""
    seen = len(gateway.stderr.lines)
    gateway.write_config(merge(config, {"log": {"access": str(gateway.directory / "access.log")}}))
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)


# What is expected


def assert_hit(answer, reason="exact", model="drafter", provider="cheap"):
    """It came from the cache, or from an identical request under way, and nobody was asked for it."""
    assert answer.whole, answer
    assert_routed(answer.head, "cache_hit", reason, model, provider)
    assert answer.head.header("x-gateway-attempts") == "0"
    assert answer.head.header("X-Routing-Score") is None
    if reason == "exact":
        assert re.fullmatch(r"[0-9a-f]{16}", answer.head.header("X-Cache-Id")), answer
        assert answer.head.header("X-Cache-Similarity") == "1.000000"
        assert re.fullmatch(r"\d+", answer.head.header("Age")), answer
    if answer.stream is not None:
        routing = answer.stream.routing
        assert (routing["decision"], routing["reason"], routing["model"]) == ("cache_hit", reason, model)
        assert "score" not in routing


def assert_asked(answer):
    """A model was asked for it."""
    assert answer.whole, answer
    assert answer.head.header("X-Routing-Decision") in ("accept", "escalate", "direct"), answer
    assert int(answer.head.header("x-gateway-attempts")) > 0
    for name in ("X-Cache-Id", "X-Cache-Similarity", "Age"):
        assert answer.head.header(name) is None, answer


# Model servers


def escalates_to(upstream, script=None):
    """The draft is rejected, and the heavyweight does this."""
    upstream.on("small-1", uncertain())
    upstream.on("large-1", script or expert("It is Paris."))


def echo(bits=0.1, prefix="", **options):
    """A server that says the question again, so that an answer tells whose it is."""

    def script(exchange):
        text = exchange.request.json["messages"][-1]["content"]
        speak(prefix + text, bits, **options)(exchange)

    return script


def holds(gate, script):
    """Does what the script does once the test has opened the gate."""

    def held(exchange):
        exchange.wait(gate)
        script(exchange)

    return held


def text_stream(size, pieces):
    """The frames of an answer of that size in so many pieces, and its text."""
    texts = [f"{number:06}" + chr(97 + number % 26) * (size // pieces - 6) for number in range(pieces)]
    return f.text_frames([(text, 0.1) for text in texts], logprobs=False), "".join(texts)


def turns(*scripts):
    """The n-th request is answered by the n-th script, and all later ones by the last."""
    left_over = list(scripts)

    def script(exchange):
        (left_over.pop(0) if len(left_over) > 1 else left_over[0])(exchange)

    return script


class Flood:
    """A server that streams as fast as it is taken, and notes how much was."""

    def __init__(self, frames):
        self.events = [f.event(frame) for frame in frames]
        self.sent = 0

    def __call__(self, exchange):
        # The kernel would take in megabytes of what nobody reads, and hide a pause.
        exchange.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.sent = 0
        exchange.head()
        for data in self.events:
            exchange.write(data)
            self.sent += len(data)
        exchange.write(f.DONE)
        exchange.end()

    def settle(self, gate):
        """Waits until nothing more is taken; how many bytes were."""
        before, same, deadline = -1, 0, time.monotonic() + WAIT
        while same < 6:
            assert time.monotonic() < deadline, "upstream is never paused"
            same = same + 1 if self.sent == before else 0
            before = self.sent
            gate.wait(0.05)  # nobody opens it
        return before
