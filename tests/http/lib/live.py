"""Live streams: a model server whose every frame the test sends itself, and what the client has so far."""

import queue
import select
import time

import pytest

from . import frames as f
from . import scripts
from .gateway import Gateway, eventually, long_form, merge

DRAFT = f.head(id="chatcmpl-draft", created=1700000001, model="small-1-0613")
HEAVY = f.head(id="chatcmpl-heavy", created=1700009999, model="large-1-0613")
ROLE = f.chunk({"role": "assistant", "content": "", "refusal": None}, entries=None, head=DRAFT)
SCORED = "draftthinker_entropy_distribution_count"
WAIT = 20


def said(text, bits=0.1, head=DRAFT, **options):
    """A frame of one scored token."""
    return f.chunk({"content": text}, entries=[f.token(text, bits)], head=head, **options)


def stop(head=DRAFT, finish="stop"):
    return f.chunk({}, finish=finish, entries=None, head=head)


class Puppet:
    """A model server that streams what the test says, when the test says it."""

    def __init__(self, upstream, model):
        self._upstream = upstream
        self._taken = queue.SimpleQueue()
        upstream.on(model, self)

    def __call__(self, exchange):
        gate = self._upstream.gate()
        exchange.head()
        self._taken.put((exchange, gate))
        exchange.wait(gate)

    def take(self):
        """The next request's exchange: its head is out, the rest is the caller's to say."""
        self.exchange, self._gate = self._taken.get(timeout=WAIT)
        return self

    @property
    def request(self):
        return self.exchange.request

    def say(self, *payloads):
        self.exchange.frames(payloads, done=False)

    def end(self, *payloads, done=True):
        """The stream's orderly end; the connection stays."""
        self.exchange.frames(payloads, done=done)
        self.exchange.end()
        self._gate.set()

    def drop(self, how="cut"):
        getattr(self.exchange, how)()
        self._gate.set()

    def wait_closed(self):
        """When the gateway closed the connection (monotonic)."""
        return self._upstream.wait_closed(self.request)


class Watch:
    """A client of a stream that tells what has come so far, the head included."""

    def __init__(self, gateway, headers=(), path="/v1/chat/completions", **members):
        self.gateway = gateway
        self.client = gateway.client()
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "What is it?"}], **members}
        self.client.begin("POST", path, body, headers)
        self.stream = None

    def _readable(self):
        return bool(self.client._buffer) or bool(select.select([self.client.sock], [], [], 0)[0])

    def poll(self):
        """Reads what is there. None while there is no head."""
        while self._readable() and not (self.stream and self.stream.ended):
            if self.stream is None:
                self.stream = self.client.stream()
            else:
                self.stream._more()
        return self.stream

    @property
    def text(self):
        """The content that has come; None before the head."""
        stream = self.poll()
        return None if stream is None else stream.text

    def settle(self):
        """Waits until the gateway has nothing more to do with what it was sent. Two turns of its loop."""
        for _ in range(2):
            assert self.gateway.get("/health/live").status == 200
        return self

    def read(self):
        if self.stream is None:
            self.stream = self.client.stream()
        return self.stream.read()

    def wait_text(self, text):
        """Reads until the content is this."""
        if self.stream is None:
            self.stream = self.client.stream()
        deadline = time.monotonic() + WAIT
        while self.stream.text != text:
            assert not self.stream.ended and time.monotonic() < deadline, (self.stream.text, self.stream.items)
            self.stream._more()
        return self.stream

    def close(self):
        return self.client.close()


class Scored:
    """Waits until the gateway has scored so many tokens since this was made."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.before = gateway.metrics()[SCORED]

    def wait(self, count):
        eventually(lambda: self.gateway.metrics()[SCORED] - self.before >= count, f"{count} tokens scored")


def visible(scored, window, early):
    """How many tokens may be seen when so many were scored and passed."""
    return max(0, scored - window) if scored >= early else 0


def judge(bits, window, early, threshold=2.0):
    """(tokens delivered, reason): what becomes of a draft with these entropies; reason None: accepted.

    Delivered of an accepted draft are all of its tokens.
    """
    for count, last in enumerate(bits, 1):
        if count <= early:
            trips, reason = last > threshold, "early_exit"
        else:
            part = bits[max(0, count - window) : count]
            trips, reason = len(part) == window and sum(part) / window > threshold, "window"
        if trips:
            return visible(count - 1, window, early), reason
    return len(bits), None


# The window and early_exit_count of the routes w…n…, and the dialects of prefill of the routes by name.
SIZES = [(1, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 5), (5, 2), (4, 4), (6, 10), (10, 10), (2, 12)]
DIALECTS = ["none", "plain", "vllm", "deepseek", "mistral", "anthropic"]


def live_config(upstream, **overrides):
    """Live streams. auto: W = N = 2, by instruction; hold, finish, accept: so set; w…n…: other sizes, and plain."""
    base = long_form(upstream)
    pair = {"drafter": "drafter", "heavyweight": "heavyweight"}
    plain = {"drafter": "drafter", "heavyweight": "heavy_plain"}
    good = {**base["providers"]["good"]}
    routes = {
        "auto": pair,
        "hold": {**pair, "stream": {"mode": "hold"}},
        "finish": {**pair, "stream": {"late": "finish"}},
        "accept": {**pair, "entropy": {"on_unscorable": "accept"}},
        "degrade": {**pair, "on_heavyweight_down": "draft"},
    }
    for window, early in SIZES:
        sizes = {"window_size": window, "early_exit_count": early}
        routes[f"w{window}n{early}"] = {**plain, "entropy": sizes}
    for dialect in DIALECTS:
        routes[dialect] = {**pair, "heavyweight": f"heavy_{dialect}"}
    return merge(base, merge({
        "providers": {dialect: {**good, "prefill": dialect} for dialect in DIALECTS},
        "models": {f"heavy_{dialect}": {"provider": dialect, "model": "large-1"} for dialect in DIALECTS},
        "routes": routes,
        "entropy": {"window_size": 2, "early_exit_count": 2},
        "stream": {"mode": "live"},
    }, overrides))


@pytest.fixture(scope="module")
def live_daemon(shared, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("live"), live_config(shared.upstream)).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def live(live_daemon, upstream):
    """The module's daemon with live_config; it must outlive the test."""
    yield live_daemon
    if not live_daemon.is_alive():
        pytest.fail(f"the daemon died:\n{live_daemon.stderr.text()[-8000:]}")


def draft_of(*pieces, held=(" DRAFTED", " held"), doubt=(" back", 4.0), head=DRAFT, **options):
    """A draft of which a client of auto gets these pieces, a token each, before it trips."""
    tokens = [(piece, 0.1) for piece in (*pieces, *held)] + [doubt]
    return scripts.speak(tokens=tokens, head=head, **options)


def heavy_of(*pieces, finish="stop", usage=None, **options):
    return scripts.speak(tokens=[(piece, 0.1) for piece in pieces], head=HEAVY, finish=finish, usage=usage, **options)
