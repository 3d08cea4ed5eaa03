"""Pools: one of many models answers, chosen by order, weight or health."""

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import eventually
from lib.scripts import expert

NAMES = ("red", "green", "blue")
LIMITS = "x-ratelimit-{}-requests"


def pool(names=NAMES, strategy="health", providers=None, **config):
    """A route `auto` over models that are served under their own names."""
    return {
        "models": {name: {"provider": (providers or {}).get(name, "good")} for name in NAMES},
        "routes": {"auto": {"drafter": None, "heavyweight": None, "models": list(names), "strategy": strategy}},
        **config,
    }


def served(upstream, since=0):
    return Counter(request.model for request in upstream.requests[since:])


def all_well(upstream, names=NAMES):
    for name in names:
        upstream.on(name, expert(f"I am {name}."))


def flaky(every, script=None):
    """Fails at every so-manieth request."""
    lock, count = threading.Lock(), [0]

    def answer(exchange):
        with lock:
            count[0] += 1
            failing = count[0] % every == 0
        (scripts.failure(500) if failing else script or expert())(exchange)

    return answer


# Who answers


@pytest.mark.parametrize("stream", [False, True])
def test_one_model_of_the_pool_answers_without_a_draft(start, upstream, stream):
    gateway = start(**pool())
    all_well(upstream)
    answer = gateway.chat(stream=stream)
    assert answer.status == 200 and b"am" in answer.body
    assert_routed(answer, "direct", "pool", provider="good")
    (request,) = upstream.requests
    assert request.model == answer.header("x-gateway-model")
    assert "logprobs" not in request.json
    line = gateway.access_line(answer.header("X-Request-ID"))
    assert (line["route"], line["decision"], line["reason"]) == ("auto", "direct", "pool")


@pytest.mark.parametrize("workers", [1, 2])
def test_equal_models_get_equal_shares(start, upstream, workers):
    gateway = start(**pool(server={"workers": workers}))
    all_well(upstream)
    for _ in range(90):
        assert gateway.chat().status == 200
    assert set(served(upstream).values()) == {30}


def test_weights_are_shares(start, upstream):
    gateway = start(**pool([{"model": "red", "weight": 3}, "green", {"model": "blue", "weight": 2}], "weighted"))
    all_well(upstream)
    for _ in range(60):
        gateway.chat()
    assert served(upstream) == {"red": 30, "green": 10, "blue": 20}


def test_order_asks_the_first_that_can_be(start, upstream):
    gateway = start(**pool(["green", "red", "blue"], "order"))
    all_well(upstream)
    for _ in range(5):
        gateway.chat()
    assert served(upstream) == {"green": 5}
    upstream.on("green", scripts.failure(500))
    answer = gateway.chat()
    assert_routed(answer, "direct", "pool", model="red")
    assert answer.header("x-gateway-attempts") == "2"


def test_a_pool_of_one_is_asked_again(start, upstream):
    gateway = start(**pool(["red"], providers={"red": "good"}), providers={"good": {"retries": 1}})
    upstream.on("red", flaky(1))
    assert_error(gateway.chat(), 502)
    assert served(upstream) == {"red": 2}


def test_when_all_of_the_pool_fail_the_last_failure_is_told(start, upstream):
    gateway = start(**pool())
    for name in NAMES:
        upstream.on(name, scripts.failure(503))
    answer = gateway.chat()
    assert_error(answer, 502)
    assert answer.header("x-should-retry") == "false"
    assert served(upstream) == {name: 1 for name in NAMES}


def test_what_is_the_requests_own_fault_ends_the_pool(start, upstream):
    gateway = start(**pool())
    for name in NAMES:
        upstream.on(name, scripts.failure(400, "no such role"))
    answer = gateway.chat()
    assert answer.status == 400 and b"no such role" in answer.body
    assert len(upstream.requests) == 1


def test_a_pool_keeps_nothing_in_the_cache(start, upstream):
    gateway = start(**pool(cache={"enabled": True, "embedder": "lexical"}))
    all_well(upstream)
    for _ in range(3):
        assert gateway.chat().header("X-Cache-Id") is None
    assert len(upstream.requests) == 3


def test_a_route_may_be_a_pool_beside_a_cascade(start, upstream):
    config = pool()
    config["routes"] = {"either": {"models": list(NAMES)}}
    gateway = start(**config)
    all_well(upstream)
    upstream.on("small-1", scripts.confident())
    assert_routed(gateway.chat(), "accept", "confident")
    assert_routed(gateway.chat(model="either"), "direct", "pool")


# Health


def test_who_fails_half_the_time_gets_less_than_a_tenth_and_costs_no_request(start, upstream):
    gateway = start(**pool(["red", "green"]))
    upstream.on("red", expert())
    upstream.on("green", flaky(2))
    for _ in range(300):
        assert gateway.chat().status == 200
    assert served(upstream)["green"] < 30
    upstream.on("green", expert())
    # Its failures are forgotten by and by.
    def share():
        since = len(upstream.requests)
        for _ in range(20):
            assert gateway.chat().status == 200
        return served(upstream, since)["green"] >= 9
    eventually(share, "an equal share of a model that has healed", 90)


def test_a_model_that_dies_under_load_costs_no_request(start, upstream):
    gateway = start(**pool(breaker={"failures": 5, "failed_part": 0, "open": 60}))
    all_well(upstream)
    done = threading.Semaphore(0)

    def one(_):
        status = gateway.chat().status
        done.release()
        return status

    with ThreadPoolExecutor(8) as clients:
        answers = clients.map(one, range(200))
        for _ in range(50):
            done.acquire()
        upstream.on("green", scripts.cut)
        assert list(answers) == [200] * 200
    since = len(upstream.requests)
    for _ in range(10):
        gateway.chat()
    found = served(upstream, since)
    assert found["green"] <= 1 and found["red"] + found["blue"] == 10


def test_an_open_breaker_leaves_a_model_out_and_all_open_are_panic(start, upstream):
    gateway = start(**pool(["red", "green"], breaker={"failures": 1, "failed_part": 0, "open": 60}))
    upstream.on("red", scripts.failure(500))
    upstream.on("green", expert())
    for _ in range(2):
        assert gateway.chat().status == 200
    since = len(upstream.requests)
    for _ in range(10):
        assert_routed(gateway.chat(), "direct", "pool", model="green")
    assert served(upstream, since) == {"green": 10}
    upstream.on("green", scripts.failure(500))
    assert_error(gateway.chat(), 502)
    upstream.on("red", expert())
    upstream.on("green", expert())
    assert_routed(gateway.chat(), "direct", "panic")


def test_a_busy_provider_is_left_out(start, upstream):
    gateway = start(**pool(["red", "green"], "order", providers={"red": "cheap"}), providers={"cheap": {"max_concurrent": 1}})
    gate = upstream.gate()

    def slow(exchange):
        exchange.wait(gate)
        expert()(exchange)

    upstream.on("red", slow)
    upstream.on("green", expert())
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "x"}]})
    upstream.wait_request("red")
    assert_routed(gateway.chat(), "direct", "pool", model="green")
    gate.set()
    assert client.read_response().header("x-gateway-model") == "red"
    assert_routed(gateway.chat(), "direct", "pool", model="red")


# Rate limits


def limited(remaining, reset, of="requests"):
    """Answers, and says what is left of a limit."""

    def script(exchange):
        headers = [(f"x-ratelimit-limit-{of}", "60"), (f"x-ratelimit-remaining-{of}", str(remaining)),
                   (f"x-ratelimit-reset-{of}", reset)]
        exchange.reply(200, {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}, headers=headers)

    return script


@pytest.mark.parametrize("of", ["requests", "tokens"])
@pytest.mark.parametrize("strategy", ["order", "health", "weighted"])
def test_a_limit_that_is_used_up_keeps_a_model_out_until_its_reset(start, upstream, strategy, of):
    gateway = start(**pool(["red", "green"], strategy))
    upstream.on("red", limited(0, "6m0s", of))
    upstream.on("green", expert())
    assert gateway.chat().header("x-gateway-model") == "red"
    for _ in range(10):
        assert gateway.chat().header("x-gateway-model") == "green"
    # It is the last resort.
    upstream.on("green", scripts.failure(500))
    assert gateway.chat().header("x-gateway-model") == "red"


def test_after_the_reset_it_is_asked_again(start, upstream):
    gateway = start(**pool(["red", "green"], "order"))
    upstream.on("red", limited(0, "500ms"))
    upstream.on("green", expert())
    assert gateway.chat().header("x-gateway-model") == "red"
    assert gateway.chat().header("x-gateway-model") == "green"
    eventually(lambda: gateway.chat().header("x-gateway-model") == "red", "the reset")


def test_a_list_of_heavyweights_heeds_the_limits_too(start, upstream):
    gateway = start(models={name: {"provider": "good"} for name in NAMES},
                    routes={"auto": {"heavyweight": ["red", "green"]}})
    upstream.on("small-1", scripts.uncertain())
    upstream.on("red", limited(0, "1m"))
    upstream.on("green", expert())
    assert gateway.chat().header("x-gateway-model") == "red"
    assert gateway.chat().header("x-gateway-model") == "green"


def test_what_is_known_of_health_outlives_a_reload(start, upstream):
    gateway = start(**pool(["red", "green"], "order"))
    upstream.on("red", limited(0, "1m"))
    upstream.on("green", expert())
    assert gateway.chat().header("x-gateway-model") == "red"
    seen = len(gateway.stderr.lines)
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)
    assert gateway.chat().header("x-gateway-model") == "green"


# What is told of a pool


def test_a_pool_is_told_as_such_and_explained(start, upstream):
    gateway = start(**pool(strategy="order"))
    route = next(entry for entry in gateway.get("/v1/models").json()["data"] if entry["id"] == "auto")
    told = route["draft_thinker"]
    assert told["models"] == list(NAMES) and told["strategy"] == "order" and "drafter" not in told
    body = {"messages": [{"role": "user", "content": "Who would it be?"}]}
    explained = gateway.request("POST", "/v1/routing/explain", body).json()
    assert (explained["decision"], explained["reason"], explained["route"]) == ("direct", "pool", "auto")
    assert [(entry["leg"], entry["model"], entry["would"]) for entry in explained["order"]] == [
        ("pool", "red", "first"), ("pool", "green", "next"), ("pool", "blue", "next")]
    assert explained["speculation"] == {"allowed": False, "why_not": "pool"}
    forced = gateway.request("POST", "/v1/routing/explain", body, [("X-Gateway-Force-Model", "blue")]).json()
    assert forced["decision"] == "direct" and forced["pinned"] == "blue"
    assert not upstream.requests


def test_explaining_tells_who_lacks_what_a_request_needs(start, upstream):
    config = pool(strategy="order")
    config["models"]["red"] = {"provider": "good", "capabilities": ["json"]}
    gateway = start(**config)
    body = {"messages": [{"role": "user", "content": "Call it."}], "tools": [{"type": "function", "function": {"name": "f"}}]}
    order = gateway.request("POST", "/v1/routing/explain", body).json()["order"]
    assert [(entry["model"], entry["would"]) for entry in order] == [("green", "first"), ("blue", "next"), ("red", "lacking")]
