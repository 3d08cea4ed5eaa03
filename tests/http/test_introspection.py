"""What the gateway tells of its models and of how it would route: /v1/models, /v1/routing/status, /v1/routing/explain."""

import json
import re

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error
from lib.gateway import DRAFT_KEY, HEAVY_KEY, eventually, merge
from lib.scripts import confident, expert

MODELS = {
    "drafter": {"price": {"input": 0.1, "cached_input": 0.025, "output": 0.4}, "capabilities": ["logprobs", "tools"],
                "context": 128000},
    "heavyweight": {"price": {"input": 2, "output": 8}},
    "embed": {"provider": "good", "model": "embed-1", "capabilities": ["embeddings"]},
    "spare": {"provider": "good", "model": "spare-1"},
}
OPENS = {"failures": 2, "open": 60}
CACHE = {"enabled": True, "embedder": "lexical"}


@pytest.fixture
def known(start):
    return start(models=MODELS)


def entry(gateway, name):
    return gateway.get(f"/v1/models/{name}").json()["draft_thinker"]


def status(gateway, name=None):
    document = gateway.get("/v1/routing/status").json()
    return document if name is None else next(model for model in document["models"] if model["id"] == name)


def explain(gateway, body=None, headers=(), **members):
    if body is None:
        body = {"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}], **members}
    return gateway.request("POST", "/v1/routing/explain", body, headers)


def would(explained, leg=None):
    return [(model["model"], model["would"]) for model in explained["order"] if leg in (None, model["leg"])]


def break_model(gateway, upstream, name="other", server="other-1"):
    upstream.on(server, scripts.failure(500, "it is broken"))
    for _ in range(2):
        gateway.chat(model=name)


# Models


def test_a_model_tells_what_it_can_and_costs(known):
    assert entry(known, "drafter") == {
        "kind": "model", "provider": "cheap", "model": "small-1", "context": 128000, "capabilities": ["tools", "logprobs"],
        "price": {"input": 0.1, "cached_input": 0.025, "output": 0.4}, "health": {"state": "closed", "in_flight": 0}}


def test_numbers_are_written_as_they_were_configured(known):
    assert b'"price":{"input":0.1,"cached_input":0.025,"output":0.4}' in known.get("/v1/models/drafter").body


def test_what_is_not_known_is_left_out(known):
    assert entry(known, "other") == {
        "kind": "model", "provider": "good", "model": "other-1", "health": {"state": "closed", "in_flight": 0}}


def test_a_route_tells_its_models(known):
    assert entry(known, "auto") == {
        "kind": "route", "default": True, "drafter": ["drafter"], "heavyweight": ["heavyweight"],
        "health": {"state": "closed", "in_flight": 0}}


def test_the_list_and_the_single_entry_say_the_same(known):
    listed = known.get("/v1/models").json()["data"]
    assert [one["id"] for one in listed] == ["auto", "drafter", "heavyweight", "other", "embed", "spare"]
    for one in listed:
        assert known.get("/v1/models/" + one["id"]).json() == one
        assert list(one)[:4] == ["id", "object", "created", "owned_by"]


def test_a_model_at_its_provider_is_told_too(known):
    assert known.get("/v1/models/good/other-1").json()["draft_thinker"]["model"] == "other-1"


def test_what_is_in_flight_is_told(known, upstream):
    upstream.on("other-1", scripts.stall)
    with known.client() as client:
        client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
        upstream.wait_request("other-1")
        assert entry(known, "other")["health"]["in_flight"] == 1
        assert status(known, "other")["in_flight"] == 1 and status(known)["in_flight"] == 1
    eventually(lambda: entry(known, "other")["health"]["in_flight"] == 0, "nothing in flight")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/drafter", "/v1/routing/status"])
def test_no_address_and_no_key_is_told(known, upstream, path):
    text = known.get(path).body.decode()
    assert DRAFT_KEY not in text and HEAVY_KEY not in text and str(upstream.port) not in text and "http" not in text


# Status


def test_the_status_at_rest(known):
    document = status(known)
    assert re.fullmatch(r"\d+\.\d+\.\d+", document["version"]) and document["draining"] is False
    assert 0 <= document["uptime_s"] < 3600 and document["in_flight"] == 0
    assert [one["id"] for one in document["models"]] == ["drafter", "heavyweight", "other", "embed", "spare"]
    for model in document["models"]:
        assert model["usable"] is True and model["breaker"] == "closed" and model["out"] is None
        assert model["latency_ms"] is None and model["last_failure"] is None
        assert (model["requests"], model["failures"], model["in_flight"]) == (0, 0, 0)
    assert [one["id"] for one in document["providers"]] == ["cheap", "good"]


def test_requests_and_their_latency_are_told(known, upstream):
    def slow(exchange):
        import time
        time.sleep(0.1)
        expert()(exchange)

    upstream.on("other-1", slow)
    for _ in range(3):
        assert known.chat(model="other").status == 200
    model = status(known, "other")
    assert (model["requests"], model["failures"]) == (3, 0)
    latency = model["latency_ms"]
    assert 90 <= latency["p50"] <= latency["p90"] <= latency["p99"] < 5000


def test_a_latency_is_of_the_first_byte_not_of_the_head(known, upstream):
    def late(exchange):
        import time
        exchange.head()
        time.sleep(0.2)
        exchange.frames(f.text_frames([("Paris", 0.1)]))
        exchange.end()

    upstream.on("other-1", late)
    assert known.stream(model="other").read().done
    assert status(known, "other")["latency_ms"]["p50"] >= 180


def test_a_model_that_is_out_tells_why(start, upstream):
    gateway = start(models=MODELS, breaker=OPENS)
    break_model(gateway, upstream)
    model = status(gateway, "other")
    assert model["usable"] is False and model["breaker"] == "open" and (model["requests"], model["failures"]) == (2, 2)
    assert model["out"]["reason"] == "breaker_open" and "500" in model["out"]["last_failure"]
    assert 0 < model["out"]["due_in_ms"] <= 60000 and model["out"]["open_for_ms"] < 20000
    assert "500" in model["last_failure"]["detail"] and model["last_failure"]["ago_ms"] < 20000
    assert entry(gateway, "other")["health"]["state"] == "open"
    assert status(gateway, "spare")["usable"] is True


def test_a_failure_that_opens_nothing_is_told_too(known, upstream):
    upstream.on("other-1", scripts.cut)
    known.chat(model="other")
    model = status(known, "other")
    assert model["usable"] is True and model["out"] is None and model["failures"] == 1 and model["last_failure"]["detail"]


def test_the_callers_own_fault_is_no_failure(known, upstream):
    upstream.on("other-1", scripts.failure(400))
    known.chat(model="other")
    model = status(known, "other")
    assert (model["requests"], model["failures"], model["last_failure"]) == (1, 0, None)


@pytest.mark.parametrize("message", ["é" * 300, "x" * 208 + "é" * 100, "a\u0000b\u2028\ud83d\ude00" * 60])
def test_any_message_of_a_failure_can_be_told(known, upstream, message):
    upstream.on("other-1", scripts.reply(200, {"error": {"message": message}}))
    known.chat(model="other")
    assert status(known, "other")["last_failure"]["detail"]


def test_a_busy_provider_is_why_a_model_is_out(start, upstream):
    gateway = start(models=MODELS, providers={"good": {"max_concurrent": 1}})
    upstream.on("other-1", scripts.stall)
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
        upstream.wait_request("other-1")
        assert status(gateway, "spare")["out"] == {"reason": "provider_busy"}
        assert status(gateway)["providers"][1] == {"id": "good", "in_flight": 1, "max_concurrent": 1}
        assert would(explain(gateway).json()) == [("drafter", "first"), ("heavyweight", "provider_busy")]


def test_status_and_explain_know_their_methods(known):
    answer = known.request("POST", "/v1/routing/status", b"{}")
    assert_error(answer, 405)
    assert answer.header("Allow") == "GET, HEAD"
    answer = known.get("/v1/routing/explain")
    assert_error(answer, 405)
    assert answer.header("Allow") == "POST"


# Explain


def test_a_request_that_would_be_drafted(known):
    document = explain(known).json()
    assert (document["decision"], document["route"], document["model"]) == ("cascade", "auto", "auto")
    assert "reason" not in document and "pinned" not in document
    assert [(one["leg"], one["model"], one["provider"], one["would"], one["breaker"]) for one in document["order"]] == [
        ("drafter", "drafter", "cheap", "first", "closed"), ("heavyweight", "heavyweight", "good", "first", "closed")]
    assert document["entropy"] == {"rule": "window", "threshold": 2.0, "window_size": 10, "early_exit_count": 10,
                                   "top_logprobs": 5, "tail": "bound", "on_unscorable": "escalate"}
    assert document["stream"] == {"asked": False, "mode": "hold", "late": "handoff"}
    assert document["speculation"] == {"allowed": False, "why_not": "disabled"}
    assert document["cache"] == {"looks_up": False, "keeps": False, "why_not": "disabled"}


@pytest.mark.parametrize("name", ["other", "good/other-1"])
def test_a_pinned_model(known, name):
    document = explain(known, model=name).json()
    assert (document["decision"], document["reason"], document["pinned"]) == ("direct", "pinned", "other")
    assert [(one["leg"], one["model"], one["would"]) for one in document["order"]] == [("direct", "other", "first")]
    assert document["speculation"]["why_not"] == "pinned" and document["cache"]["why_not"] == "pinned"
    assert "route" not in document and "entropy" not in document


@pytest.mark.parametrize("members", [{"n": 2}, {"modalities": ["text", "audio"], "audio": {"voice": "x"}}])
def test_an_unscorable_request_goes_straight_to_the_heavyweight(known, members):
    document = explain(known, **members).json()
    assert (document["decision"], document["reason"]) == ("escalate", "unscorable")
    assert would(document) == [("drafter", "unscorable"), ("heavyweight", "first")]


def test_an_unscorable_request_is_drafted_where_that_is_accepted(start):
    document = explain(start(entropy={"on_unscorable": "accept"}), n=2).json()
    assert (document["decision"], document["reason"]) == ("cascade", "unscorable")
    assert would(document, "drafter") == [("drafter", "first")]


def test_a_list_is_told_in_its_order(start, upstream):
    gateway = start(models=MODELS, breaker=OPENS,
                    routes={"auto": {"drafter": "drafter", "heavyweight": ["other", "heavyweight", "spare"]}})
    assert would(explain(gateway).json(), "heavyweight") == [("other", "first"), ("heavyweight", "next"), ("spare", "next")]
    break_model(gateway, upstream)
    document = explain(gateway).json()
    assert would(document, "heavyweight") == [("other", "breaker_open"), ("heavyweight", "first"), ("spare", "next")]
    assert 0 < document["order"][1]["due_in_ms"] <= 60000


def test_the_only_model_whose_breaker_is_open_is_asked_in_panic(start, upstream):
    gateway = start(models=MODELS, breaker=OPENS)
    break_model(gateway, upstream)
    assert would(explain(gateway, model="other").json()) == [("other", "panic")]
    break_model(gateway, upstream, "drafter", "small-1")
    assert would(explain(gateway).json(), "drafter") == [("drafter", "breaker_open")]


def test_the_cache_scope_is_of_the_caller_and_all_but_the_question(start):
    gateway = start(cache=CACHE)

    def cache(headers=(), **members):
        return explain(gateway, headers=headers, **members).json()["cache"]

    first = cache()
    assert first["looks_up"] is True and first["keeps"] is True and first["has_question"] is True
    assert first["compares"] is True and first["embedder"] == "lexical" and first["similarity_threshold"] == 0.95
    assert re.fullmatch("[0-9a-f]{64}", first["key"]) and re.fullmatch("[0-9a-f]{64}", first["scope"])
    assert cache() == first and cache(stream=True, user="u") == first
    other = cache(messages=[{"role": "user", "content": "What is the capital of Spain?"}])
    assert other["scope"] == first["scope"] and other["key"] != first["key"]
    for changed in (cache(temperature=0.5), cache([("Authorization", "Bearer someone")])):
        assert changed["scope"] != first["scope"] and changed["key"] != first["key"]
    assert "scope" not in cache(messages=[{"role": "assistant", "content": "x"}])


@pytest.mark.parametrize(
    "headers, members, expected",
    [
        ([("Cache-Control", "no-cache")], {}, {"looks_up": False, "keeps": True, "why_no_look_up": "no-cache"}),
        ([("Cache-Control", "no-store")], {}, {"looks_up": True, "keeps": False, "why_not_kept": "no-store"}),
        ([("X-Cache-Threshold", "0.99")], {}, {"looks_up": True, "keeps": True, "similarity_threshold": 0.99}),
        ([], {"temperature": 1.5}, {"looks_up": False, "keeps": False, "why_not": "temperature"}),
        ([], {"n": 2}, {"looks_up": False, "keeps": False, "why_not": "choices"}),
        ([], {"user": "x" * 300000}, {"looks_up": False, "keeps": False, "why_not": "too_large"}),
    ],
)
def test_why_the_cache_is_not_used(start, headers, members, expected):
    found = explain(start(cache=CACHE), headers=headers, **members).json()["cache"]
    assert {key: found.get(key) for key in expected} == expected


def test_speculation_is_told(start):
    gateway = start(speculative={"enabled": True, "soft_threshold_mult": 0.5})
    assert explain(gateway).json()["speculation"] == {"allowed": True, "above_bits": 1.0}
    assert explain(gateway, n=2).json()["speculation"] == {"allowed": False, "why_not": "unscorable"}


BAD = [b"", b"[]", b"{", b'{"messages":[]}', b'{"model":"auto","messages":"x"}', b'{"messages":[{"role":"user","content":"x"}],"n":0}',
       b'{"model":"embed","messages":[{"role":"user","content":"x"}]}', b'{"model":1,"messages":[{"role":"user","content":"x"}]}']


@pytest.mark.parametrize("body", BAD)
def test_an_invalid_body_gets_the_error_of_the_chat(known, body):
    chat, explained = known.chat(body), explain(known, body)
    assert chat.status in (400, 422)
    assert (explained.status, explained.json()) == (chat.status, chat.json())


def test_a_bad_header_gets_the_error_of_the_chat(start):
    gateway = start(cache=CACHE)
    headers = [("X-Cache-Threshold", "x")]
    assert explain(gateway, headers=headers).json() == gateway.chat(headers=headers).json()
    assert_error(explain(gateway, headers=[("Content-Encoding", "gzip")]), 415)


def test_an_unknown_model_is_404_where_those_are_rejected(start):
    assert_error(explain(start(unknown_model="reject"), model="nobody"), 404, "model", "model_not_found")


def test_it_asks_nobody_and_changes_nothing(start, upstream):
    gateway = start(cache=CACHE, models=MODELS, breaker=OPENS, speculative={"enabled": True, "max_share": 0.5})
    upstream.on("small-1", confident())
    break_model(gateway, upstream)

    def state():
        samples = gateway.metrics()
        samples = {key: value for key, value in samples.items() if not re.match("process_|draftthinker_.*cache_bytes", key)}
        models = status(gateway)["models"]
        for model in models:
            (model["out"] or {}).pop("due_in_ms", None), (model["out"] or {}).pop("open_for_ms", None)
            (model["last_failure"] or {}).pop("ago_ms", None)
        return samples, models

    before, asked = state(), len(upstream.requests)
    answers = [explain(gateway, model=name).json() for name in ("auto", "other", "auto", "other") for _ in range(5)]
    assert state() == before and len(upstream.requests) == asked
    assert answers[0] == answers[10]
    # What was explained was not kept: it is asked for.
    assert gateway.chat().header("x-gateway-attempts") == "1"


def test_the_explanation_has_its_access_line(known):
    explain(known, headers=[("X-Request-ID", "why-1")])
    line = known.access_line("why-1")
    assert (line["path"], line["status"]) == ("/v1/routing/explain", 200)
    assert "France" not in json.dumps(line)


def test_the_short_form_is_told_under_its_names(start, upstream):
    text = json.dumps({
        "server": {"listen": ["127.0.0.1:0"]},
        "drafter": {"provider": "local", "base_url": upstream.url("/v1"), "model": "small-1"},
        "heavyweight": {"provider": "local", "base_url": upstream.url("/v1"), "model": "large-1"},
        "cache": merge(CACHE, {}),
    })
    gateway = start(text=text)
    assert entry(gateway, "drafter")["provider"] == "local" and entry(gateway, "drafter")["model"] == "small-1"
    assert would(explain(gateway, model="gpt-4.1").json()) == [("drafter", "first"), ("heavyweight", "first")]
