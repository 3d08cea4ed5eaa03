"""A body from 256 KiB on is read by another thread. Nothing else is different about it."""

import json

import pytest

from lib import scripts
from lib.checks import assert_error
from lib.gateway import SLOW, chat_body, eventually, merge

LARGE = 300 << 10
DOORS = ["/v1/chat/completions", "/api/client/v1/chat/completions", "/openai/v1/chat/completions"]
EMBED = {"models": {"embed": {"provider": "good", "model": "embed-1", "capabilities": ["embeddings"]}}}


def padded(body, size=LARGE):
    """The same body with white space before its last brace."""
    assert body.endswith(b"}")
    return body[:-1] + b" \n" * (size // 2) + b"}"


def body_of(**members):
    return json.dumps(chat_body(None, members), separators=(",", ":")).encode()


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("model", ["auto", "other"])
def test_it_goes_upstream_byte_for_byte(gateway, upstream, path, model):
    server = {"auto": "small-1", "other": "other-1"}[model]
    upstream.on("small-1", scripts.confident())
    upstream.on("other-1", scripts.expert())
    text = "é\\u00e9\\n" * (LARGE // 10)
    body = b'{ "messages" : [{"role":"user","content":"%s"}], "model":"%s" , "zeta":1e400 }' % (text.encode(), model.encode())
    answer = gateway.chat(body, path=path)
    assert answer.status == 200, answer
    sent = upstream.requests[-1].body
    assert sent.startswith(b'{ "messages" : [{"role":"user","content":"%s"}], "model":"%s" ' % (text.encode(), server.encode()))
    assert b'"zeta":1e400' in sent


@pytest.mark.parametrize("stream", [False, True])
def test_a_draft_of_it_is_escalated(gateway, upstream, stream):
    upstream.on("small-1", scripts.uncertain())
    upstream.on("large-1", scripts.expert())
    body = padded(body_of(stream=stream))
    if stream:
        assert gateway.stream(body).read().done
    else:
        assert gateway.chat(body).status == 200
    assert len(upstream.requests) == 2


FAULTS = {
    "no JSON": b'{"model":"auto",}',
    "wrong type": body_of(temperature="hot"),
    "not allowed": body_of(n=0),
    "member twice": b'{"model":"auto","model":"auto","messages":[]}',
    "no messages": b'{"model":"auto"}',
    "unknown fallback": body_of(fallbacks=["nobody"]),
    "named": b'{"request_id":"mine-1","model":7}',
}


@pytest.mark.parametrize("path", [*DOORS, "/v1/routing/explain"])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_it_is_refused_as_a_small_one_is(gateway, upstream, path, fault):
    small = gateway.chat(FAULTS[fault], path=path)
    large = gateway.chat(padded(FAULTS[fault]), path=path)
    assert 400 <= small.status < 500 and large.status == small.status
    # The place of a fault in the text differs, as do identifiers that were drawn.
    for member in ("type", "param", "code"):
        assert large.json()["error"][member] == small.json()["error"][member]
    if fault == "named" and path.startswith("/api"):
        assert large.header("X-Request-ID") == small.header("X-Request-ID") == "mine-1"
    assert upstream.requests == []


@pytest.mark.parametrize("path", [*DOORS, "/v1/embeddings", "/v1/routing/explain"])
def test_an_encoded_one_is_refused(start, path):
    gateway = start(**EMBED)
    answer = gateway.chat(padded(body_of()), path=path, headers=[("Content-Encoding", "gzip")])
    assert answer.status == 415 and "Content-Encoding" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [*DOORS, "/v1/embeddings"])
def test_it_counts_among_the_requests_at_a_time(start, upstream, path):
    gateway = start(**merge(EMBED, {"server": {"max_concurrent": 1}}))
    upstream.on("other-1", scripts.stall)
    with gateway.client() as first:
        first.begin("POST", "/v1/chat/completions", body_of(model="other"))
        upstream.wait_request("other-1")
        for _ in range(3):
            answer = gateway.chat(padded(body_of()), path=path)
            assert answer.status == 503 and answer.json()["error"]["code"] == "over_capacity"


def test_an_embeddings_request_goes_upstream_byte_for_byte(start, upstream):
    gateway = start(**EMBED)
    upstream.on("embed-1", scripts.reply(200, b'{"object":"list","data":[]}'))
    text = b"\\n" * (LARGE // 2)
    answer = gateway.request("POST", "/v1/embeddings", b'{"input":"%s","model":"embed" ,"dimensions":  3}' % text)
    assert answer.status == 200, answer
    assert upstream.requests[-1].body == b'{"input":"%s","model":"embed-1" ,"dimensions":  3}' % text
    assert_error(gateway.request("POST", "/v1/embeddings", b'{"input":"%s","model":"embed"' % text), 400)


def test_an_explanation_is_that_of_a_small_one(gateway):
    small = gateway.chat(body_of(), path="/v1/routing/explain").json()
    large = gateway.chat(padded(body_of()), path="/v1/routing/explain").json()
    # It is too large for a semantic look-up, and so for a key.
    small.pop("cache"), large.pop("cache")
    assert large == small


def test_who_leaves_while_it_waits_to_be_read_costs_nothing(start, upstream):
    gateway = start(server={"max_body_bytes": 16 << 20})
    upstream.on("small-1", scripts.confident())
    upstream.on("other-1", scripts.expert())
    ahead = b'{"model":"auto","messages":[{"role":"user","content":"%s"}]}' % (b"\\n" * (6 << 20))
    left = padded(body_of(model="other"))
    for _ in range(3):
        clients = [gateway.client() for _ in range(4)]
        for client in clients[:3]:
            client.begin("POST", "/v1/chat/completions", ahead)
        clients[3].begin("POST", "/v1/chat/completions", left)
        clients[3].close()
        for client in clients[:3]:
            assert client.read_response(timeout=20 * SLOW).status == 200
            client.close()

    def lines():
        return [json.loads(line) for line in gateway.access.text().splitlines() if json.loads(line).get("status") == 499]

    eventually(lambda: len(lines()) == 3, "the lines of those who left")
    assert all(line["end"] == "client_gone" for line in lines())
    assert not [request for request in upstream.requests if b"other" in request.body]
    metrics = gateway.get("/metrics").body.decode()
    assert "draftthinker_client_disconnects_total 3" in metrics


def test_it_may_be_as_large_as_max_body_bytes(start, upstream):
    gateway = start(server={"max_body_bytes": 2 << 20})
    upstream.on("small-1", scripts.confident())
    body = body_of()
    most = padded(body, (2 << 20) - len(body) - len(body) % 2)
    assert gateway.chat(most).status == 200
    assert gateway.chat(most[:-1] + b"   }").status == 413


def test_at_the_end_those_that_wait_are_let_go(start, upstream):
    """The process ends while bodies wait to be read: nothing is lost that a sanitizer would miss."""
    gateway = start(server={"max_body_bytes": 16 << 20, "drain_timeout": 0.05})
    upstream.on("small-1", scripts.confident())
    body = b'{"model":"auto","messages":[{"role":"user","content":"%s"}]}' % (b"\\n" * (4 << 20))
    clients = [gateway.client() for _ in range(6)]
    for client in clients:
        client.begin("POST", "/v1/chat/completions", body)
    gateway.stop()
    for client in clients:
        client.close()
