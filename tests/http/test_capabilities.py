"""Only models that can do what a request needs are asked."""

import pytest

from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.scripts import confident, expert

TOOLS = {"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]}
JSON = {"response_format": {"type": "json_object"}}
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
IMAGE = {"messages": [{"role": "user", "content": [
    {"type": "text", "text": "what is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40000}}]}]}
NEEDS = {"tools": TOOLS, "functions": {"functions": [{"name": "look"}]}, "json": JSON, "schema": SCHEMA, "vision": IMAGE}
WORD = {"tools": "tools", "functions": "tools", "json": "json", "schema": "json", "vision": "vision"}
ALL = ["tools", "json", "vision", "logprobs"]


def without(*missing):
    return {"capabilities": [name for name in ALL if name not in missing]}


@pytest.fixture
def begin(start, upstream):
    """begin(drafter={…}, heavyweight={…}, …): what each model is declared to be."""

    def run(route=None, **models):
        upstream.on("small-1", confident())
        upstream.on("large-1", expert())
        upstream.on("other-1", expert("I am the other."))
        return start(models=models, routes={"auto": route or {}})

    return run


def asked(upstream):
    return [request.model for request in upstream.requests]


POOL = {"drafter": None, "heavyweight": None, "models": ["heavyweight", "other"], "strategy": "order"}
needs = pytest.mark.parametrize("need", NEEDS)


@needs
def test_a_pool_leaves_out_who_cannot(begin, upstream, need):
    gateway = begin(POOL, heavyweight=without(WORD[need]), other=without())
    assert_routed(gateway.chat(NEEDS[need]), "direct", "pool", model="other")
    assert_routed(gateway.chat(), "direct", "pool", model="heavyweight")


@pytest.mark.parametrize("strategy", ["health", "weighted"])
def test_who_cannot_takes_no_turn(begin, upstream, strategy):
    gateway = begin({**POOL, "models": ["heavyweight", "other", "drafter"], "strategy": strategy},
                    heavyweight=without("tools"))
    for _ in range(10):
        assert gateway.chat(TOOLS).status == 200
    assert asked(upstream).count("large-1") == 0
    assert asked(upstream).count("small-1") == asked(upstream).count("other-1") == 5


@needs
def test_a_heavyweight_that_cannot_is_passed_over(begin, upstream, need):
    gateway = begin({"heavyweight": ["heavyweight", "other"]}, heavyweight=without(WORD[need]))
    upstream.on("small-1", scripts.uncertain())
    assert gateway.chat(NEEDS[need]).header("x-gateway-model") == "other"


@needs
def test_a_drafter_that_cannot_is_passed_over(begin, upstream, need):
    gateway = begin({"drafter": ["drafter", "other"]}, drafter=without(WORD[need]))
    upstream.on("other-1", confident())
    assert_routed(gateway.chat(NEEDS[need]), "accept", "confident", model="other")


@needs
@pytest.mark.parametrize("accept", [False, True])
def test_without_a_drafter_that_can_the_heavyweight_is_asked(begin, start, upstream, need, accept):
    route = {"entropy": {"on_unscorable": "accept"}} if accept else {}
    gateway = begin(route, drafter=without(WORD[need]))
    assert_routed(gateway.chat(NEEDS[need]), "escalate", "unscorable", model="heavyweight")
    assert asked(upstream) == ["large-1"]


@needs
@pytest.mark.parametrize("route", [{}, POOL], ids=["cascade", "pool"])
def test_when_nobody_can_the_error_says_what_is_missing(begin, upstream, need, route):
    gateway = begin(route, heavyweight=without(WORD[need]), other=without(WORD[need]))
    assert_error(gateway.chat(NEEDS[need]), 422, param=None, says=WORD[need])
    assert not upstream.requests


@pytest.mark.parametrize("format", [{"type": "text"}, {"type": "grammar"}, {}, None, "json_object", 3])
def test_any_other_format_needs_nothing(begin, format):
    gateway = begin(heavyweight=without("json"), drafter=without("json"))
    assert gateway.chat(response_format=format).status == 200


def test_empty_tools_need_nothing(begin):
    assert begin(heavyweight=without("tools"), drafter=without("tools")).chat(tools=[]).status == 200


@needs
def test_a_model_without_declared_capabilities_is_taken_to_be_able(begin, need):
    assert begin().chat(NEEDS[need]).status == 200


@needs
def test_a_pinned_model_is_asked_whatever_it_lacks(begin, need):
    gateway = begin(other=without(WORD[need]))
    assert_routed(gateway.chat(NEEDS[need], model="other"), "direct", "pinned", model="other")


def test_a_fallback_that_cannot_is_passed_over_and_one_that_can_is_enough(begin, upstream):
    gateway = begin(heavyweight=without("tools"), other=without("tools"))
    assert_error(gateway.chat(TOOLS, fallbacks=["other"]), 422, says="tools")
    assert_routed(gateway.chat(TOOLS, fallbacks=["other", "drafter"]), "accept", "confident")


# Context


def prompt(tokens):
    return {"messages": [{"role": "user", "content": "abcd" * tokens}]}


def test_a_prompt_that_is_too_long_goes_to_who_has_the_context(begin, upstream):
    gateway = begin(POOL, heavyweight={"context": 1000}, other={"context": 10000})
    assert gateway.chat(prompt(900)).header("x-gateway-model") == "heavyweight"
    assert gateway.chat(prompt(1100)).header("x-gateway-model") == "other"
    assert_error(gateway.chat(prompt(11000)), 422, says="context")


def test_a_drafter_with_too_little_context_does_not_draft(begin):
    gateway = begin(drafter={"context": 500})
    assert_routed(gateway.chat(prompt(400)), "accept", "confident")
    assert_routed(gateway.chat(prompt(600)), "escalate", "unscorable")


def test_of_a_picture_nobody_can_tell_the_tokens(begin):
    assert begin(drafter={"context": 500}, heavyweight={"context": 500}).chat(IMAGE).status == 200
