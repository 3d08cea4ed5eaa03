"""A scripted embeddings model, texts to unit vectors with chosen cosines, and a daemon whose cache asks it."""

import base64
import itertools
import math
import random
import struct

import pytest

from . import frames as f
from . import scripts
from .checks import assert_routed
from .gateway import SLOW, Gateway, eventually, long_form, merge

MODEL = "embed-1"
KEY = "sk-vectors-5647382910abcdefSECRET"
DIMENSIONS = 64
TOKENS = 7  # that the model counts for each text
EMBEDDINGS = "draftthinker_cache_embeddings_total"
SHORT_S = 0.2  # embedding_timeout of the route hasty
BRIEF_S = 0.5 * max(1, SLOW / 3)  # ttl_seconds of the route brief


# Vectors


def scaled(vector, length=1.0):
    size = math.sqrt(sum(x * x for x in vector))
    return [x * length / size for x in vector]


def unit(name, dimensions=DIMENSIONS):
    """A direction of its own for each name; two of them are nearly at a right angle."""
    source = random.Random(f"direction of {name}")
    return scaled([source.gauss(0, 1) for _ in range(dimensions)])


def near(vector, cosine, name="aside"):
    """A unit vector at this cosine to another one, turned away from it in a direction of the name's own."""
    aside = unit(name, len(vector))
    along = sum(a * b for a, b in zip(aside, vector))
    aside = scaled([a - along * b for a, b in zip(aside, vector)])
    return [cosine * v + math.sqrt(1 - cosine * cosine) * a for v, a in zip(vector, aside)]


def packed(vector):
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def listed(vector):
    return list(vector)


def document(embedding, tokens=TOKENS, **members):
    """A whole answer. embedding: as it is to stand there, from packed() or listed()."""
    item = {"object": "embedding", "index": 0, "embedding": embedding}
    return {"object": "list", "data": [item], "model": "embed-1-0001",
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens}, **members}


class Embedder:
    """The model server's script. What it was told nothing of has a direction of its own."""

    def __init__(self, upstream, model=MODEL, form=packed):
        self._upstream = upstream
        self.model = model
        self.form = form
        self.vectors = {}
        upstream.on(model, self)

    def __call__(self, exchange):
        text = exchange.request.json["input"]
        exchange.reply(200, document(self.form(self.vector(text))))

    def vector(self, text):
        return self.vectors.get(text) or unit(text)

    def place(self, text, vector):
        self.vectors[text] = vector

    def alike(self, text, *others):
        """The others get the very vector of the text."""
        for other in others:
            self.vectors[other] = self.vector(text)

    def apart(self, text, cosine, other):
        """`other` lies at this cosine to the text."""
        self.vectors[other] = near(self.vector(text), cosine, other)

    def hold(self):
        """Who asks from now on is answered when this gate is opened."""
        gate = self._upstream.gate()

        def held(exchange):
            exchange.wait(gate)
            self(exchange)

        self._upstream.on(self.model, held)
        return gate

    @property
    def requests(self):
        return self._upstream.requests_for(self.model)


# A daemon with a cache


def cached(upstream, **overrides):
    """auto: compares by the embeddings model. The other routes differ from it in what their names say."""
    pair = {"drafter": "drafter", "heavyweight": "heavyweight"}
    live = {"stream": {"mode": "live"}, "entropy": {"window_size": 2, "early_exit_count": 2}}
    return merge(long_form(upstream), merge({
        "providers": {"vectors": {"base_url": upstream.url("/vectors/v1"), "api_key": KEY, "connect_timeout": 5}},
        "models": {"embedder": {"provider": "vectors", "model": MODEL, "capabilities": ["embeddings"],
                                "price": {"input": 0.5, "output": 0}}},
        "cache": {"enabled": True, "embedding_model": "embedder"},
        "routes": {
            "auto": pair,
            "second": pair,
            "live": {**pair, **live},
            "beside": {**pair, **live, "speculative": {"enabled": True, "soft_threshold_mult": 0.5}},
            "falling": {**pair, "on_heavyweight_down": "draft"},
            "hasty": {**pair, "cache": {"embedding_timeout": SHORT_S}},
            "sized": {**pair, "cache": {"embedding_dimensions": DIMENSIONS}},
            "brief": {**pair, "cache": {"ttl_seconds": BRIEF_S}},
            "lexical": {**pair, "cache": {"embedder": "lexical"}},
            "unlike": {**pair, "cache": {"embedder": "none"}},
        },
    }, overrides))


@pytest.fixture(scope="module")
def cached_daemon(shared, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("cached"), cached(shared.upstream)).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def talk(cached_daemon, upstream):
    """In the module's daemon; it must outlive the test."""
    yield Talk(cached_daemon, upstream)
    if not cached_daemon.is_alive():
        pytest.fail(f"the daemon died:\n{cached_daemon.stderr.text()[-8000:]}")


class Talk:
    """What is asked in a scope of its own, which is a system message that nobody else sends."""

    _scopes = itertools.count(1)
    ANEW = "Asked anew."

    def __init__(self, gateway, upstream, route="auto"):
        self.gateway = gateway
        self.upstream = upstream
        self.route = route
        self.embedder = Embedder(upstream)
        self.renew()

    def renew(self):
        """Another scope: nothing is known there."""
        self.system = f"You are helper {next(self._scopes)}."

    def body(self, text, **members):
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": text}]
        return {"model": self.route, "messages": messages, **members}

    def begin(self, text, headers=(), **members):
        """Sends a request; the client."""
        client = self.gateway.client()
        client.begin("POST", "/v1/chat/completions", self.body(text, **members), headers)
        return client

    def ask(self, text, headers=(), **members):
        """A request and its whole answer."""
        with self.begin(text, headers, **members) as client:
            return client.read_response()

    def stream(self, text, headers=(), **members):
        with self.begin(text, headers, stream=True, **members) as client:
            return client.stream().read()

    # The embedder's part

    def counted(self, result=None):
        """How many embeddings came to this result, or to any."""
        wanted = EMBEDDINGS if result is None else f'{EMBEDDINGS}{{result="{result}"}}'
        return sum(n for name, n in self.gateway.metrics().items() if name.startswith(wanted))

    def guarded(self, guard):
        return self.gateway.metrics().get(f'draftthinker_cache_guard_refusals_total{{guard="{guard}"}}', 0)

    def keep(self, text, answer="It was kept.", headers=(), **members):
        """Asks what nobody has asked: the draft is the answer, and is kept with its question's vector."""
        before = self.counted("ok")
        self.upstream.on("small-1", scripts.confident(answer))
        reply = self.ask(text, headers, **members)
        assert_routed(reply, "accept", "confident")
        eventually(lambda: self.counted("ok") == before + 1, "the question's vector")
        return reply

    def look(self, text, headers=(), result="ok", **members):
        """Asks, and the drafter says nothing until the look-up is over: a miss is answered by ANEW. result: the embedding's."""
        before, gate = self.counted(result), self.upstream.gate()

        def script(exchange):
            exchange.wait(gate)
            scripts.confident(self.ANEW)(exchange)

        self.upstream.on("small-1", script)
        with self.begin(text, headers, **members) as client:
            eventually(lambda: self.counted(result) > before, "the end of the look-up")
            gate.set()
            return client.stream().read() if members.get("stream") else client.read_response()

    def misses(self, text, headers=(), result="ok", **members):
        reply = self.look(text, headers, result, **members)
        assert_routed(reply, "accept", "confident")
        assert reply.text == self.ANEW
        return reply

    def hits(self, text, answer="It was kept.", headers=(), similarity=None, model="drafter", **members):
        """The answer comes from the cache though the drafter says nothing."""
        reply = self.look(text, headers, "ok", **members)
        assert_hit(reply, similarity, model)
        assert reply.text == answer
        return reply


def assert_hit(reply, similarity=None, model="drafter", reason="semantic"):
    """A whole answer or a stream's head with what an answer from the cache says of itself."""
    head = getattr(reply, "head", reply)
    assert head.status == 200, reply
    assert_routed(head, "cache_hit", reason, model)
    assert len(head.header("X-Cache-Id")) == 16 and int(head.header("X-Cache-Id"), 16) >= 0
    assert 0 <= int(head.header("Age")) < 120
    said = float(head.header("X-Cache-Similarity"))
    assert 0.95 - 1e-6 <= said <= 1 + 1e-6
    if similarity is not None:
        assert abs(said - similarity) < 1e-4, said


def quick(text):
    """A drafter that says a text in one frame, as cheaply as can be, and its usage."""
    frames = [
        f.chunk({"role": "assistant", "content": text}, entries=[f.token("x", 0.1)]),
        f.chunk({}, finish="stop", entries=None),
        f.usage_frame(f.usage(11, 1)),
    ]
    data = b"".join(f.event(frame) for frame in frames) + f.DONE

    def script(exchange):
        exchange.head()
        exchange.write(data)
        exchange.end()

    return script
