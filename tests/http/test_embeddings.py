"""POST /v1/embeddings: passed to the model's provider and back, byte for byte, through the door of the chats."""

import json
import time

import pytest

from lib import scripts
from lib.caching import turns
from lib.checks import assert_error, assert_routed
from lib.gateway import HEAVY_KEY, SLOW, eventually, soon

LIMIT_MS = 50
DOORS = ["/v1/embeddings", "/openai/v1/embeddings", "/api/client/v1/embeddings"]

# Not as a JSON library would write them.
FLOATS = (b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10, -2e-1,\n 3.0,1E+0]},\n'
          b'{"object":"embedding","index":1,"embedding":[1,0,0,0.50]}],"model":"embed-1-0613","zeta":1,'
          b'"usage":{"prompt_tokens":7,"total_tokens":7}}\n')
BASE64 = (rb'{"object":"list","data":[{"object":"embedding","embedding":"AACAPwAAAAAAAAAAAAAA\/w==","index":0}],'
          rb'"model":"embed-1","usage":{"prompt_tokens":3,"total_tokens":3}}')

MODELS = {
    "embed": {"provider": "good", "model": "embed-1", "capabilities": ["embeddings"],
              "price": {"input": 0.02, "output": 0}},
    "talker": {"provider": "good", "model": "talk-1", "capabilities": ["tools", "logprobs"]},
}


@pytest.fixture
def door(start, upstream):
    """A gateway with an embeddings model that answers."""
    upstream.on("embed-1", scripts.reply(200, FLOATS))
    return start(models=MODELS)


def embed(gateway, body=None, path="/v1/embeddings", headers=(), **members):
    if body is None:
        body = {"model": "embed", "input": "hello", **members}
    return gateway.request("POST", path, body, headers)


@pytest.mark.parametrize("path", DOORS)
def test_each_door_passes_it_on(door, upstream, path):
    answer = embed(door, path=path)
    assert answer.status == 200 and answer.body == FLOATS
    assert answer.header("Content-Type") == "application/json"
    request = upstream.wait_request("embed-1")
    assert (request.method, request.path) == ("POST", "/good/v1/embeddings")
    assert request.header("Authorization") == f"Bearer {HEAVY_KEY}"


@pytest.mark.parametrize("said", [FLOATS, BASE64], ids=["float", "base64"])
def test_the_answer_comes_byte_for_byte(door, upstream, said):
    upstream.on("embed-1", scripts.reply(200, said))
    assert embed(door).body == said


@pytest.mark.parametrize(
    "sent, forwarded",
    [
        (b'{"model":"embed","input":"x"}', b'{"model":"embed-1","input":"x"}'),
        (b' {\n"input" : ["a\\u00e9", "b"] ,"model":  "embed" } ', b' {\n"input" : ["a\\u00e9", "b"] ,"model":  "embed-1" } '),
        (b'{"encoding_format":"base64","model":"good/embed-1","input":[1,2e0,3],"dimensions":4,"x":{"model":"y"},"z":1e2}',
         b'{"encoding_format":"base64","model":"embed-1","input":[1,2e0,3],"dimensions":4,"x":{"model":"y"},"z":1e2}'),
        (b'{"request_id":"r","model":"embed","project_id":"p","input":"x","fallbacks":["a/b"]}',
         b'{"model":"embed-1","input":"x"}'),
    ],
)
def test_only_the_model_and_the_gateways_own_members_change(door, upstream, sent, forwarded):
    assert embed(door, sent).status == 200
    assert upstream.wait_request("embed-1").body == forwarded


def test_the_headers_tell_who_answered(door, upstream):
    upstream.on("embed-1", scripts.reply(200, FLOATS, headers=[("x-ratelimit-remaining-tokens", "9"), ("X-Secret", "s")]))
    answer = embed(door, headers=[("X-Request-ID", "mine-1")])
    assert_routed(answer, "direct", "pinned", "embed", "good")
    assert answer.header("X-Request-ID") == "mine-1" and answer.header("x-gateway-attempts") == "1"
    assert answer.header("x-ratelimit-remaining-tokens") == "9" and answer.header("X-Secret") is None
    assert answer.header("X-Gateway-Cost-USD") == "0.00000014"


def test_a_model_of_which_nothing_is_declared_may_make_them(door, upstream):
    upstream.on("other-1", scripts.reply(200, FLOATS))
    assert embed(door, model="other").body == FLOATS


@pytest.mark.parametrize("name", ["nobody", "good/nobody", "embed-1", "text-embedding-3-small"])
def test_an_unknown_model_is_404(door, upstream, name):
    assert_error(embed(door, model=name), 404, "model", "model_not_found")
    assert not upstream.requests


@pytest.mark.parametrize("name", ["talker", "good/talk-1", "auto"])
def test_a_model_that_only_chats_is_422(door, upstream, name):
    assert_error(embed(door, model=name), 422, "model")
    assert not upstream.requests


def test_a_chat_with_an_embeddings_model_is_422(door):
    assert_error(door.chat(model="embed"), 422, "model")


@pytest.mark.parametrize(
    "body, param",
    [
        (b'{"input":"x"}', "model"), (b'{"model":null,"input":"x"}', "model"), (b'{"model":"","input":"x"}', "model"),
        (b'{"model":7,"input":"x"}', "model"), (b'{"model":"embed"}', "input"), (b'{"model":"embed","input":null}', "input"),
        (b'{"model":"embed","input":{}}', "input"), (b'{"model":"embed","model":"embed","input":"x"}', "model"),
        (b'{"model":"embed","input":"x","request_id":"a b"}', "request_id"),
        (b'{"model":"embed","input":"x","fallbacks":"a/b"}', "fallbacks"),
        (b"", None), (b"[]", None), (b'{"model":"embed","input":"x"', None), (b'{"model":"embed","input":"\xff"}', None),
    ],
)
def test_a_malformed_body_is_400(door, upstream, body, param):
    assert_error(embed(door, body), 400, param)
    assert not upstream.requests


def test_a_compressed_body_is_415(door):
    assert_error(embed(door, headers=[("Content-Encoding", "gzip")]), 415)


def test_other_methods_are_405(door):
    answer = door.get("/v1/embeddings")
    assert_error(answer, 405)
    assert answer.header("Allow") == "POST"


def test_too_long_a_body_is_413(start):
    gateway = start(models=MODELS, server={"max_body_bytes": 1000})
    assert_error(embed(gateway, input="x" * 1000), 413)


# Failures


@pytest.mark.parametrize("status", [400, 413, 422])
def test_upstreams_word_about_the_request_passes_with_its_body(door, upstream, status):
    upstream.on("embed-1", scripts.failure(status, "too long"))
    answer = embed(door)
    assert answer.status == status and answer.json()["error"]["message"] == "too long"


def test_a_429_passes_with_its_retry_after(door, upstream):
    upstream.on("embed-1", scripts.failure(429, headers=[("Retry-After", "7")]))
    answer = embed(door)
    assert_error(answer, 429)
    assert answer.header("Retry-After") == "7"


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_another_status_is_502(door, upstream, status):
    upstream.on("embed-1", scripts.failure(status, f"no: {HEAVY_KEY}"))
    answer = embed(door)
    assert_error(answer, 502, says=str(status))
    assert HEAVY_KEY.encode() not in answer.body


@pytest.mark.parametrize(
    "script, status",
    [
        (scripts.cut, 502), (scripts.reset, 502), (scripts.reply(200, b"{DRAFTED"), 502), (scripts.reply(200, b""), 502),
        (scripts.reply(200, scripts.HTML_502, "text/html"), 502), (scripts.reply(200, {"error": {"message": "x"}}), 502),
        (scripts.reply(200, {"object": "list"}), 502), (scripts.body(FLOATS[:100], "application/json"), 502),
        (scripts.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + FLOATS), 502),
    ],
)
def test_no_answer_in_http_or_json_is_502(door, upstream, script, status):
    upstream.on("embed-1", script)
    assert_error(embed(door), status)


def test_silence_is_504(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"first_byte_timeout": 0.2}})
    upstream.on("embed-1", scripts.stall)
    assert_error(embed(gateway), 504, says="first byte")


def test_the_requests_time_limit_is_504(start, upstream):
    gateway = start(models=MODELS, server={"request_timeout": 0.2})
    upstream.on("embed-1", scripts.stall)
    assert_error(embed(gateway), 504, code="deadline_exceeded")
    assert upstream.wait_closed(upstream.wait_request("embed-1"))


def test_it_is_tried_again_like_the_only_model_of_a_list(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"retries": 2}})
    upstream.on("embed-1", turns(scripts.failure(500), scripts.reply(200, b"{"), scripts.reply(200, FLOATS)))
    answer = embed(gateway)
    assert answer.body == FLOATS and answer.header("x-gateway-attempts") == "3"
    bodies = [request.body for request in upstream.requests_for("embed-1")]
    assert len(bodies) == 3 and len(set(bodies)) == 1


def test_after_retries_the_client_is_told_not_to_retry(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"retries": 1}})
    upstream.on("embed-1", scripts.failure(500))
    answer = embed(gateway)
    assert_error(answer, 502)
    assert answer.header("x-should-retry") == "false" and len(upstream.requests) == 2


def test_a_refusal_of_the_request_is_not_tried_again(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"retries": 2}})
    upstream.on("embed-1", scripts.failure(400))
    assert embed(gateway).status == 400
    assert len(upstream.requests) == 1


def test_failures_open_the_models_breaker(start, upstream):
    gateway = start(models=MODELS, breaker={"failures": 2, "open": 60})
    upstream.on("embed-1", scripts.failure(500))
    for _ in range(2):
        assert_error(embed(gateway), 502)
    assert gateway.metrics()['draftthinker_breaker_state{model="embed"}'] == 2
    answer = embed(gateway)
    assert_error(answer, 503, says="tried again")
    assert answer.header("X-Routing-Reason") == "panic" and int(answer.header("Retry-After")) > 30
    assert gateway.stderr.wait(lambda line: "breaker_opened" in line and "embed" in line, "breaker_opened")


# The door


def test_max_concurrent_holds_for_chats_and_embeddings_together(start, upstream):
    gateway = start(models=MODELS, server={"max_concurrent": 1})
    upstream.on("embed-1", scripts.stall)
    with gateway.client() as client:
        client.begin("POST", "/v1/embeddings", {"model": "embed", "input": "x"})
        upstream.wait_request("embed-1")
        for answer in (embed(gateway), gateway.chat()):
            assert_error(answer, 503, code="over_capacity")
            assert answer.header("Retry-After") == "1"


def test_a_providers_max_concurrent_holds(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"max_concurrent": 1}})
    upstream.on("embed-1", scripts.stall)
    with gateway.client() as client:
        client.begin("POST", "/v1/embeddings", {"model": "embed", "input": "x"})
        upstream.wait_request("embed-1")
        assert_error(embed(gateway), 503, code="over_capacity")
        assert_error(gateway.chat(model="other"), 503, code="over_capacity")


def head_only(exchange):
    exchange.head(content_type="application/json")
    exchange.write(b'{"data":[')
    exchange.stall()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("script", [scripts.stall, head_only], ids=["before_head", "midway"])
def test_when_the_client_leaves_upstream_is_let_go_within_50_ms(door, upstream, script, how):
    upstream.on("embed-1", script)
    seen = []

    def attempt():
        client = door.client()
        client.begin("POST", "/v1/embeddings", {"model": "embed", "input": "x"})
        seen.append(upstream.wait_request("embed-1", len(seen) + 1))
        at = getattr(client, how)()
        return upstream.wait_closed(seen[-1]) - at

    soon(LIMIT_MS, attempt)
    eventually(lambda: door.metrics()["draftthinker_requests_in_flight"] == 0, "nothing in flight")


def test_a_client_that_leaves_between_attempts_ends_it(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"retries": 5}})
    upstream.on("embed-1", scripts.failure(500, headers=[("Retry-After", "30")]))
    client = gateway.client()
    client.begin("POST", "/v1/embeddings", {"model": "embed", "input": "x"}, [("X-Request-ID", "left-1")])
    upstream.wait_request("embed-1")
    time.sleep(0.05 * SLOW)
    client.close()
    line = gateway.access_line("left-1")
    assert (line["status"], line["end"], line["attempts"]) == (499, "client_gone", 1)
    assert len(upstream.requests) == 1


# What is left behind


def test_the_access_line(door):
    answer = embed(door, headers=[("X-Request-ID", "emb-1")], project_id="proj")
    line = door.access_line("emb-1")
    expected = {"method": "POST", "path": "/v1/embeddings", "status": 200, "decision": "direct", "reason": "pinned",
                "model": "embed", "end": "done", "attempts": 1, "prompt_tokens": 7, "project_id": "proj",
                "sent_bytes": len(answer.body)}
    assert {key: line.get(key) for key in expected} == expected
    assert "hello" not in json.dumps(line)


def test_the_metrics(door):
    before = door.metrics()
    embed(door)
    after = door.metrics()

    def change(name):
        return after.get(name, 0) - before.get(name, 0)

    assert change('draftthinker_requests_total{model="embed",status="200"}') == 1
    assert change('draftthinker_tokens_total{model="embed",kind="embedding"}') == 7
    assert change('draftthinker_cost_usd_total{model="embed",kind="embedding"}') == pytest.approx(1.4e-7)
    assert change('draftthinker_upstream_results_total{model="embed",result="ok"}') == 1
    assert change('draftthinker_breaker_results_total{model="embed",result="success"}') == 1
    assert change('draftthinker_request_duration_seconds_count{decision="embedding"}') == 1
    assert after["draftthinker_requests_in_flight"] == 0
    assert after['draftthinker_upstream_requests_in_flight{model="embed"}'] == 0


def test_a_large_answer_passes_whole(door, upstream):
    said = json.dumps({"object": "list", "data": [{"embedding": "A" * 4096, "index": i} for i in range(500)]}).encode()
    upstream.on("embed-1", scripts.body(said, "application/json", pieces=50000))
    assert embed(door).body == said
