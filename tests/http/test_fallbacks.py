"""Pinning by header, fallbacks in the body, and what reasoning_effort auto becomes."""

import pytest

from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.scripts import confident, expert, uncertain

FORCE = "X-Gateway-Force-Model"
DOWN = scripts.failure(500)


@pytest.fixture
def ready(gateway, upstream):
    upstream.on("small-1", confident())
    upstream.on("large-1", expert())
    upstream.on("other-1", expert("I am the other."))
    return gateway


def asked(upstream):
    return [request.model for request in upstream.requests]


# The header


@pytest.mark.parametrize("name", ["other", "good/other-1"])
@pytest.mark.parametrize("model", ["auto", "heavyweight", "unheard-of"])
def test_the_header_pins_a_model_whatever_the_body_says(ready, upstream, name, model):
    answer = ready.chat(model=model, headers=[(FORCE, name)])
    assert_routed(answer, "direct", "pinned", model="other")
    assert asked(upstream) == ["other-1"]


@pytest.mark.parametrize("name", ["nobody", "good/nobody", "auto", "x" * 3000])
def test_an_unknown_forced_model_is_refused(ready, upstream, name):
    assert_error(ready.chat(headers=[(FORCE, name)]), 404, param=None, code="model_not_found", says=FORCE)
    assert not upstream.requests


def test_an_empty_header_is_none(ready):
    assert_routed(ready.chat(headers=[(FORCE, "")]), "accept", "confident")


def test_a_forced_model_that_makes_embeddings_is_refused(start):
    gateway = start(models={"vectors": {"provider": "good", "capabilities": ["embeddings"]}})
    assert_error(gateway.chat(headers=[(FORCE, "vectors")]), 422, says="embeddings")


# Fallbacks


@pytest.mark.parametrize("stream", [False, True])
def test_fallbacks_follow_the_routes_models(ready, upstream, stream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", DOWN)
    answer = ready.chat(stream=stream, fallbacks=["other"])
    assert answer.status == 200 and b"other" in answer.body
    assert asked(upstream) == ["small-1", "large-1", "other-1"]
    assert all("fallbacks" not in request.json for request in upstream.requests)
    if not stream:
        assert_routed(answer, "escalate", "early_exit", model="other")


def test_fallbacks_follow_a_pinned_model_in_their_order(ready, upstream):
    upstream.on("other-1", DOWN)
    upstream.on("large-1", DOWN)
    answer = ready.chat(model="other", fallbacks=["good/large-1", "drafter"])
    assert_routed(answer, "direct", "pinned", model="drafter")
    assert asked(upstream) == ["other-1", "large-1", "small-1"]
    assert answer.header("x-gateway-attempts") == "3"


def test_fallbacks_are_not_asked_while_the_first_answers(ready, upstream):
    assert_routed(ready.chat(model="heavyweight", fallbacks=["other"]), "direct", "pinned", model="heavyweight")
    assert asked(upstream) == ["large-1"]


def test_no_model_is_asked_twice(ready, upstream):
    upstream.on("other-1", DOWN)
    assert_error(ready.chat(model="other", fallbacks=["other", "good/other-1"]), 502)
    assert asked(upstream) == ["other-1"]


def test_the_requests_own_fault_ends_them(ready, upstream):
    upstream.on("large-1", scripts.failure(422))
    assert ready.chat(model="heavyweight", fallbacks=["other"]).status == 422
    assert asked(upstream) == ["large-1"]


def test_what_was_begun_is_not_followed_by_a_fallback(ready, upstream):
    upstream.on("large-1", scripts.after(scripts.PART, scripts.cut))
    answer = ready.chat(model="heavyweight", stream=True, fallbacks=["other"])
    assert b"upstream_truncated" in answer.body and b"[DONE]" not in answer.body
    assert asked(upstream) == ["large-1"]


@pytest.mark.parametrize("names, param", [
    (["nobody"], "fallbacks[0]"), (["other", "good/nobody"], "fallbacks[1]"), (["auto"], "fallbacks[0]"),
    (["other", ""], "fallbacks[1]"), (["x" * 1000], "fallbacks[0]")])
def test_an_unknown_fallback_is_refused(ready, upstream, names, param):
    assert_error(ready.chat(fallbacks=names), 400, param=param)
    assert not upstream.requests


def test_at_most_eight(ready):
    assert ready.chat(fallbacks=["other"] * 8).status == 200
    assert_error(ready.chat(fallbacks=["other"] * 9), 400, param="fallbacks")


@pytest.mark.parametrize("none", [None, []])
def test_no_fallbacks(ready, none):
    assert_routed(ready.chat(fallbacks=none), "accept", "confident")


# reasoning_effort


@pytest.mark.parametrize("route, effort", [("auto", "medium"), ("deep", "high"), ("heavyweight", "medium")])
def test_auto_is_what_the_route_says(start, upstream, route, effort):
    gateway = start(routes={"deep": {"drafter": "drafter", "heavyweight": "heavyweight", "reasoning_effort": "high"}})
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    answer = gateway.chat(model=route, reasoning_effort="auto")
    assert answer.header("x-gateway-reasoning-effort") == effort
    assert [request.json["reasoning_effort"] for request in upstream.requests] == [effort] * len(upstream.requests)
    line = gateway.access_line(answer.header("X-Request-ID"))
    assert line["reasoning_effort"] == effort


def test_only_that_member_is_changed(ready, upstream):
    body = b'{ "x":1.50, "reasoning_effort" : "a\\u0075to" ,"model":"heavyweight","messages":[{"role":"user","content":"a"}]}'
    assert ready.chat(body).status == 200
    assert upstream.requests[0].body == body.replace(b'"a\\u0075to"', b'"medium"').replace(b'"heavyweight"', b'"large-1"')


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "high", "xhigh"])
def test_any_other_effort_stays(ready, upstream, effort):
    assert ready.chat(reasoning_effort=effort).header("x-gateway-reasoning-effort") == effort
    assert upstream.requests[0].json["reasoning_effort"] == effort
