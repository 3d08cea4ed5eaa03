"""The doors of other gateways: what they add to answers, frames and errors, and that they add nothing else."""

import json
import re

import pytest

from lib import frames as f
from lib import scripts
from lib.caching import (Asked, ask, caching, caching_config, caching_daemon, escalates_to, eventually, question,  # noqa: F401
                         under_way)
from lib.checks import ERROR_TYPES, assert_routed
from lib.gateway import Gateway, long_form
from lib.live import ROLE, Puppet, said, stop
from lib.scripts import confident, expert, uncertain
from lib.ways import way  # noqa: F401

PLAIN = "/v1/chat/completions"
WITH_ID = "/api/client/v1/chat/completions"
WITH_EXTRAS = "/openai/v1/chat/completions"
DOORS = [PLAIN, WITH_ID, WITH_EXTRAS]
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
HEADERS = ["x-gateway-provider", "x-gateway-model", "x-gateway-attempts", "x-gateway-request-id"]
# USD for a million tokens; the third model has no price.
PRICED = {
    "drafter": {"price": {"input": 1, "cached_input": 0.25, "output": 2}},
    "heavyweight": {"price": {"input": 10, "output": 40}},
}
USAGE = f.usage(1000, 7, prompt_tokens_details={"cached_tokens": 400})
DRAFT_COST = {"input_tokens_cost": 0.0007, "output_tokens_cost": 0.000014, "request_cost": 0, "total_cost": 0.000714}
HEAVY_COST = {"input_tokens_cost": 0.01, "output_tokens_cost": 0.00028, "request_cost": 0, "total_cost": 0.01028}


@pytest.fixture(scope="module")
def priced_daemon(shared, tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("priced"), long_form(shared.upstream, models=PRICED, routes={
        "live": {"drafter": "drafter", "heavyweight": "heavyweight", "stream": {"mode": "live"},
                 "entropy": {"window_size": 2, "early_exit_count": 2}}})).start()
    yield gateway
    gateway.stop()


@pytest.fixture
def priced(priced_daemon, upstream):
    yield priced_daemon
    assert priced_daemon.is_alive(), priced_daemon.stderr.text()[-8000:]


def without(path, document):
    """The document without what the door adds: of extra fields, too, the cost."""
    kept = dict(document)
    kept.pop({PLAIN: None, WITH_ID: "request_id", WITH_EXTRAS: "extra_fields"}[path], None)
    if isinstance(kept.get("usage"), dict):
        kept["usage"] = {key: value for key, value in kept["usage"].items() if key != "cost"}
    return kept


# The documented requests, literally


def test_a_request_id_is_echoed(gateway, upstream):
    upstream.on("small-1", confident("Paris is it."))
    answer = gateway.request("POST", WITH_ID, b'{"request_id":"order-42","model":"auto",'
                             b'"messages":[{"role":"user","content":"Hello"}],"temperature":0.7,"max_tokens":100}')
    assert answer.status == 200
    assert answer.json()["request_id"] == "order-42"
    assert answer.header("X-Request-ID") == answer.header("x-gateway-request-id") == "order-42"
    assert answer.text == "Paris is it." and answer.json()["object"] == "chat.completion"
    assert b"request_id" not in upstream.requests[0].body
    assert gateway.access_line("order-42")["path"] == WITH_ID


def test_an_absent_request_id_is_made(gateway, upstream):
    upstream.on("small-1", confident())
    ids = []
    for _ in range(2):
        answer = gateway.chat(path=WITH_ID)
        ids.append(answer.json()["request_id"])
        assert re.fullmatch(r"req_[0-9a-f]{24}", ids[-1])
        assert answer.header("X-Request-ID") == ids[-1]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("body, header, expected", [
    ({"request_id": "body"}, "header", "body"),
    ({}, "header", "header"),
    ({}, "not good", None),
])
def test_the_bodys_request_id_goes_before_the_headers(gateway, upstream, body, header, expected):
    upstream.on("small-1", confident())
    answer = gateway.chat(body, [("X-Request-ID", header)], path=WITH_ID)
    found = answer.json()["request_id"]
    assert found == expected if expected else re.fullmatch(r"req_[0-9a-f]{24}", found)
    assert answer.header("X-Request-ID") == found


@pytest.mark.parametrize("path", [PLAIN, WITH_EXTRAS])
def test_a_request_id_in_the_body_is_nothing_to_the_other_doors(gateway, upstream, path):
    upstream.on("small-1", confident())
    answer = gateway.chat(request_id="order-42", path=path)
    assert "request_id" not in answer.json()
    assert re.fullmatch(r"[0-9a-f]{16}", answer.header("X-Request-ID"))


def test_extra_fields_of_an_answer(priced, upstream):
    upstream.on("small-1", confident("Paris is it.", usage=USAGE))
    answer = priced.request("POST", WITH_EXTRAS, b'{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Hello!"}],'
                            b'"fallbacks":["good/large-1"]}')
    document = answer.json()
    extra = document["extra_fields"]
    assert isinstance(extra.pop("latency"), int)
    assert extra == {"request_type": "chat_completion", "provider": "cheap", "model_requested": "openai/gpt-4o-mini",
                     "model_deployment": "small-1"}
    assert document["usage"] == {**USAGE, "cost": DRAFT_COST}
    assert float(answer.header("X-Gateway-Cost-USD")) == DRAFT_COST["total_cost"]
    assert b"fallbacks" not in upstream.requests[0].body


def test_extra_fields_of_a_stream(priced, upstream):
    upstream.on("small-1", confident("Paris is it.", usage=USAGE))
    stream = priced.stream(model="gpt-4o", stream_options={"include_usage": True}, path=WITH_EXTRAS).read()
    frames = stream.frames
    assert stream.done and stream.text == "Paris is it."
    assert [frame["extra_fields"]["chunk_index"] for frame in frames] == list(range(len(frames)))
    for frame in frames:
        extra = frame["extra_fields"]
        assert {key: extra[key] for key in extra if key not in ("latency", "chunk_index")} == {
            "request_type": "chat_completion_stream", "provider": "cheap", "model_requested": "gpt-4o",
            "model_deployment": "small-1"}
        assert isinstance(extra["latency"], int)
    assert frames[-1]["choices"] == [] and frames[-1]["usage"] == {**USAGE, "cost": DRAFT_COST}
    assert all(not frame.get("usage") for frame in frames[:-1])


# Every other byte


@pytest.mark.parametrize("path", [WITH_ID, WITH_EXTRAS])
def test_a_direct_answer_keeps_every_other_byte(gateway, upstream, path):
    said_so = (b'{"id":"c-1",\n "object":"chat.completion", "created":1,"model":"x","choices":[{"index":0,"message":'
               b'{"role":"assistant","content":"\\u00e9\\/ 0.70"},"finish_reason":"stop","x":1.50e0}] ,"x_more":{} }\n')
    upstream.on("other-1", scripts.reply(200, said_so))
    body = gateway.chat(model="other", path=path).body
    name = "request_id" if path == WITH_ID else "extra_fields"
    at = body.index(b',"%b":' % name.encode())
    assert body[:at] == said_so[:said_so.rindex(b" }")]
    assert body.endswith(b" }\n") and json.loads(body)


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("path", [WITH_ID, WITH_EXTRAS])
def test_a_stream_differs_from_the_plain_one_in_what_is_added_alone(gateway, way, path, usage):
    model = way(expert("It is Paris.", usage=USAGE))
    members = {"stream_options": {"include_usage": True}} if usage else {}
    plain, other = [gateway.stream(model=model, path=door, **members).read() for door in (PLAIN, path)]
    assert [without(path, frame) for frame in other.frames] == plain.frames
    assert other.done and other.complete
    assert other.routing["decision"] == way.decision
    for before, after in zip(plain.data, other.data):
        assert after == before == "[DONE]" or after.startswith(before[:-1])


@pytest.mark.parametrize("form", [{}, {"stream": True}])
@pytest.mark.parametrize("path", [WITH_ID, WITH_EXTRAS])
def test_tool_calls_go_through_each_door(gateway, way, path, form):
    calls = [("call_a", "weather", '{"city":"Paris"}')]
    model = way(scripts.calls_tools(calls, logprobs=True))
    members = {"tools": [{"type": "function", "function": {"name": "weather"}}]}
    if form:
        frames = gateway.stream(model=model, path=path, **members).read().frames
        assert frames == [frame for frame in frames if "error" not in frame]
        said_so = "".join(call["function"].get("arguments", "") for frame in frames for choice in frame["choices"]
                          for call in choice["delta"].get("tool_calls") or [])
        assert said_so == '{"city":"Paris"}'
        assert frames[-1]["choices"][0]["finish_reason"] == "tool_calls"
    else:
        [call] = gateway.chat(model=model, path=path, **members).message["tool_calls"]
        assert call["function"]["arguments"] == '{"city":"Paris"}'


def test_every_frame_has_the_request_id(gateway, way):
    model = way(expert())
    stream = gateway.stream(model=model, request_id="order-7", path=WITH_ID).read()
    assert [frame["request_id"] for frame in stream.frames] == ["order-7"] * len(stream.frames)
    assert stream.head.header("X-Request-ID") == "order-7"


def test_frames_flow_as_they_come(priced, upstream):
    drafter = Puppet(upstream, "small-1")
    stream = None
    with priced.client() as client:
        client.begin("POST", WITH_EXTRAS, {"model": "live", "stream": True, "messages": MESSAGES})
        drafter.take().say(ROLE, *[said(text) for text in ("It ", "is ", "held ", "back ")])
        stream = client.stream()
        while stream.text != "It is ":
            assert stream.next_frame() is not None
        drafter.say(said("Paris."), stop())
        while stream.text != "It is held ":
            assert stream.next_frame() is not None
        drafter.end(f.usage_frame(USAGE))
        frames = stream.read().frames
    assert stream.text == "It is held back Paris." and stream.done
    assert [frame["extra_fields"]["chunk_index"] for frame in frames] == list(range(len(frames)))
    assert frames[-1]["choices"][0]["finish_reason"] == "stop"
    assert frames[-1]["usage"]["cost"] == DRAFT_COST


# Costs


@pytest.mark.parametrize("model, script, cost", [
    ("auto", "draft", DRAFT_COST),
    ("auto", "heavy", HEAVY_COST),
    ("heavyweight", "heavy", HEAVY_COST),
])
@pytest.mark.parametrize("form", ["json", "usage"])
def test_the_cost_is_that_of_the_answer(priced, upstream, model, script, cost, form):
    upstream.on("small-1", confident(usage=USAGE) if script == "draft" else uncertain())
    upstream.on("large-1", expert(usage=USAGE))
    if form == "json":
        usage = priced.chat(model=model, path=WITH_EXTRAS).json()["usage"]
    else:
        stream = priced.stream(model=model, stream_options={"include_usage": True}, path=WITH_EXTRAS).read()
        usage = stream.frames[-1]["usage"]
    assert usage == {**USAGE, "cost": cost}


def test_the_last_frame_of_a_draft_tells_the_cost_unasked(priced, upstream):
    """We have asked for its usage, so it is known."""
    upstream.on("small-1", confident("Paris is it.", usage=USAGE))
    frames = priced.stream(path=WITH_EXTRAS).read().frames
    assert frames[-1]["choices"][0]["finish_reason"] == "stop"
    assert frames[-1]["usage"] == {**USAGE, "cost": DRAFT_COST}
    assert all("usage" not in frame for frame in frames[:-1])


def test_a_usage_that_nobody_told_has_no_cost(priced, upstream):
    upstream.on("large-1", expert())
    frames = priced.stream(model="heavyweight", path=WITH_EXTRAS).read().frames
    assert all("usage" not in frame for frame in frames)
    upstream.on("large-1", scripts.frames(*f.text_frames([("Paris", 0.1)], logprobs=False)))
    assert "usage" not in priced.chat(model="heavyweight", path=WITH_EXTRAS).json()


@pytest.mark.parametrize("form", [{}, {"stream": True, "stream_options": {"include_usage": True}}])
def test_a_price_that_is_unknown_is_not_zero(priced, upstream, form):
    upstream.on("other-1", expert(usage=USAGE))
    if form:
        document = priced.stream(model="other", path=WITH_EXTRAS, **form).read().frames[-1]
    else:
        document = priced.chat(model="other", path=WITH_EXTRAS).json()
    assert document["usage"] == USAGE
    assert document["extra_fields"]["provider"] == "good"


def test_costs_are_decimal_numbers_without_loss(start, upstream):
    gateway = start(models={"drafter": {"price": {"input": 0.0375, "cached_input": 0.01875, "output": 0.15}}})
    upstream.on("small-1", confident(usage=f.usage(2, 1)))
    body = gateway.chat(path=WITH_EXTRAS).body
    assert (b'"cost":{"input_tokens_cost":0.000000075,"output_tokens_cost":0.00000015,"request_cost":0,'
            b'"total_cost":0.000000225}') in body


# Errors


def assert_dialect_error(response, path, status, **extra):
    """The error in the usual shape, with what the door adds beside it. Gives the document."""
    assert response.status == status, response
    document = response.json()
    error = document["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == ERROR_TYPES[status], document
    if path == WITH_ID:
        assert set(document) == {"error", "request_id"}, document
        assert document["request_id"] == response.header("X-Request-ID")
    else:
        assert set(document) == {"error", "extra_fields"}, document
        assert document["extra_fields"] == {"request_type": "chat_completion", **extra}
    return document


@pytest.mark.parametrize("body, param", [
    (b'{"request_id":"mine","model":"auto","messages":[]}', "messages"),
    (b'{"messages":[],"model":"auto","request_id":"mine"}', "messages"),
    (b'{"temperature":3,"request_id":"mine","model":"auto","messages":[{"role":"user","content":"x"}]}', "temperature"),
])
def test_a_bad_request_is_answered_under_its_own_id(gateway, body, param):
    document = assert_dialect_error(gateway.chat(body, path=WITH_ID), WITH_ID, 400)
    assert document["error"]["param"] == param and document["request_id"] == "mine"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"request_id":"not good","messages":[]}', b'{"request_id":7}'])
def test_a_body_without_a_good_id_is_answered_under_a_new_one(gateway, body):
    document = assert_dialect_error(gateway.chat(body, path=WITH_ID), WITH_ID, 400)
    assert re.fullmatch(r"req_[0-9a-f]{24}", document["request_id"])


@pytest.mark.parametrize("path", [WITH_ID, WITH_EXTRAS])
@pytest.mark.parametrize("upstreams, status", [(400, 400), (422, 422), (429, 429), (401, 502), (503, 502)])
def test_upstreams_errors_are_told_at_each_door(gateway, upstream, path, upstreams, status):
    upstream.on("other-1", scripts.failure(upstreams, "no luck", headers=[("Retry-After", "7")]))
    response = gateway.chat(model="other", path=path)
    assert response.status == status and "no luck" in response.json()["error"]["message"]
    if path == WITH_ID:
        assert response.json()["request_id"] == response.header("X-Request-ID")
    else:
        assert response.json()["extra_fields"] == {"request_type": "chat_completion", "provider": "good", "model_requested": "other"}
    if status == 429:
        assert response.header("Retry-After") == "7"


@pytest.mark.parametrize("path", [WITH_ID, WITH_EXTRAS])
def test_a_model_that_is_not_there_and_one_too_many(start, path):
    rejects = start(unknown_model="reject")
    document = assert_dialect_error(rejects.chat(model="gpt-17", path=path), path, 404, model_requested="gpt-17")
    assert document["error"]["code"] == "model_not_found"


def test_over_capacity_is_told_under_its_own_id(start, upstream):
    gateway = start(server={"max_concurrent": 1})
    drafter = Puppet(upstream, "small-1")
    with gateway.client() as client:
        client.begin("POST", PLAIN, {"model": "auto", "messages": MESSAGES})
        drafter.take()
        document = assert_dialect_error(gateway.chat(request_id="mine", path=WITH_ID), WITH_ID, 503)
        assert document["request_id"] == "mine"
        assert_dialect_error(gateway.chat(path=WITH_EXTRAS), WITH_EXTRAS, 503)
        drafter.end(ROLE, said("Paris."), stop())
        assert client.read_response().status == 200


@pytest.mark.parametrize("path", DOORS)
def test_a_stream_that_breaks_off_tells_it_in_its_dialect(gateway, upstream, path):
    upstream.on("other-1", scripts.after(f.text_frames([("It ", 0.1), ("is", 0.1)], logprobs=False, finish=None), scripts.cut))
    stream = gateway.stream(model="other", request_id="mine", path=path).read()
    last = stream.frames[-1]
    assert stream.error["code"] == "upstream_truncated" and "[DONE]" not in stream.data
    if path == WITH_ID:
        assert set(last) == {"error", "request_id"} and last["request_id"] == "mine"
    elif path == WITH_EXTRAS:
        assert last["extra_fields"] == {"request_type": "chat_completion_stream", "provider": "good", "model_requested": "other",
                                        "chunk_index": len(stream.frames) - 1}
    else:
        assert set(last) == {"error"}


def test_what_was_held_as_the_last_frame_is_not_lost_when_the_stream_breaks_off(start, upstream):
    gateway = start(models=PRICED)
    finish = f.chunk({}, finish="stop")
    upstream.on("other-1", scripts.after([f.chunk({"role": "assistant", "content": "It"}), finish, f.chunk({"content": "!"}, index=1)],
                                         scripts.cut))
    frames = gateway.stream(model="other", path=WITH_EXTRAS, n=2).read().frames
    assert [frame["extra_fields"]["chunk_index"] for frame in frames] == list(range(len(frames)))
    assert frames[1]["choices"][0]["finish_reason"] == "stop" and "error" in frames[-1]


# The cache


def debug_of(answer):
    parts = answer.stream.frames if answer.stream else [answer.document]
    found = [part["extra_fields"].get("cache_debug") for part in parts]
    assert not any(found[:-1]), found
    return found[-1]


@pytest.mark.parametrize("first", DOORS)
@pytest.mark.parametrize("form", ["json", "stream", "usage"])
def test_a_hit_is_told_in_the_dialect_of_who_asks(caching, upstream, question, first, form):
    upstream.on("small-1", confident("It is Paris.", usage=USAGE))
    ask(caching, question, form, path=first)
    plain = ask(caching, question, form)
    for document in plain.stream.frames if plain.stream else [plain.document]:
        assert not {"request_id", "extra_fields"} & set(document)
        assert "cost" not in (document.get("usage") or {})
    mine = ask(caching, question, form, path=WITH_ID, request_id="mine")
    for document in mine.stream.frames if mine.stream else [mine.document]:
        assert document["request_id"] == "mine" and "extra_fields" not in document
    extra = ask(caching, question, form, path=WITH_EXTRAS, model="auto")
    assert_routed(extra.head, "cache_hit", "exact", "drafter", "cheap")
    assert debug_of(extra) == {"cache_hit": True, "hit_type": "direct", "cache_id": extra.head.header("X-Cache-Id"), "similarity": 1}
    parts = extra.stream.frames if extra.stream else [extra.document]
    assert all("request_id" not in part and "cost" not in (part.get("usage") or {}) for part in parts)
    assert parts[0]["extra_fields"]["model_deployment"] == "small-1" and parts[0]["extra_fields"]["provider"] == "cheap"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("form", ["json", "stream", "usage"])
def test_a_miss_is_told_too_and_no_look_up_is_not(caching, upstream, question, form):
    upstream.on("small-1", confident())
    assert debug_of(ask(caching, question, form, path=WITH_EXTRAS)) == {"cache_hit": False}
    for kind in ({"model": "off"}, {"headers": [("Cache-Control", "no-cache")]}):
        assert debug_of(ask(caching, question, form, path=WITH_EXTRAS, **kind)) is None


def test_a_similar_question_is_a_semantic_hit(start, upstream):
    gateway = start(cache={"enabled": True, "embedder": "lexical", "similarity_threshold": 0.5})
    upstream.on("small-1", confident())
    ask(gateway, "How do I reverse a list in Python?", path=WITH_EXTRAS)
    answer = ask(gateway, "How can I reverse a list in Python?", path=WITH_EXTRAS)
    assert answer.head.header("X-Routing-Reason") == "semantic", answer
    debug = debug_of(answer)
    assert (debug["cache_hit"], debug["hit_type"], debug["threshold"]) == (True, "semantic", 0.5)
    assert debug["cache_id"] == answer.head.header("X-Cache-Id") and 0.5 <= debug["similarity"] < 1


@pytest.mark.parametrize("leader", DOORS)
@pytest.mark.parametrize("form", ["stream", "json"])
def test_followers_get_their_own_dialect(caching, upstream, question, leader, form):
    drafter = Puppet(upstream, "small-1")
    asked = []
    for number, path in enumerate([leader, *DOORS, *DOORS]):
        name = f"r-{number}"
        asked.append(Asked(caching, question, form, path=path, request_id=name, model="live"))
        under_way(caching, *asked)
        if number == 0:
            drafter.take().say(ROLE, *[said(text) for text in ("It ", "is ", "held ", "back ")])
    drafter.end(said("Paris."), stop(), f.usage_frame(f.usage(11, 5)))
    answers = [request.answer() for request in asked]
    for number, (path, answer) in enumerate(zip([leader, *DOORS, *DOORS], answers)):
        parts = answer.stream.frames if answer.stream else [answer.document]
        assert answer.whole and answer.text == "It is held back Paris.", answer
        for index, part in enumerate(parts):
            assert ("request_id" in part) == (path == WITH_ID) and ("extra_fields" in part) == (path == WITH_EXTRAS)
            if path == WITH_ID:
                assert part["request_id"] == f"r-{number}"
            if path == WITH_EXTRAS and form == "stream":
                assert part["extra_fields"]["chunk_index"] == index
        if path == WITH_EXTRAS:
            assert debug_of(answer) == ({"cache_hit": True, "hit_type": "direct"} if number else {"cache_hit": False})
    assert len(upstream.requests) == 1


def test_who_takes_the_leaders_place_keeps_its_dialect(caching, upstream, question):
    drafter = Puppet(upstream, "small-1")
    asked = []
    for number, path in enumerate(DOORS + DOORS[1:]):
        asked.append(Asked(caching, question, "stream", path=path, request_id=f"r-{number}", model="live"))
        under_way(caching, *asked)
        if number == 0:
            drafter.take().say(ROLE, *[said(text) for text in ("It ", "is ", "held ", "back ")])
    for request in asked:
        request.wait_text("It is ")
    for gone in range(3):
        asked[gone].client.close()
        eventually(lambda: caching.metrics()["draftthinker_requests_in_flight"] == 4 - gone, "its leaving")
    drafter.end(said("Paris."), stop(), f.usage_frame(f.usage(11, 5)))
    mine, extra = [request.answer().stream for request in asked[3:]]
    assert mine.text == extra.text == "It is held back Paris." and mine.done and extra.done
    assert {frame["request_id"] for frame in mine.frames} == {"r-3"}
    assert [frame["extra_fields"]["chunk_index"] for frame in extra.frames] == list(range(len(extra.frames)))


def test_a_leader_that_fails_is_told_in_each_dialect(caching, upstream, question):
    gate = upstream.gate()

    def fails(exchange):
        exchange.wait(gate)
        scripts.failure(400, "no luck")(exchange)

    escalates_to(upstream, fails)
    asked = []
    for number, path in enumerate(DOORS):
        asked.append(Asked(caching, question, path=path, request_id=f"r-{number}"))
        under_way(caching, *asked)
    gate.set()
    documents = [request.answer().head.json() for request in asked]
    assert [set(document) for document in documents] == [{"error"}, {"error", "request_id"}, {"error", "extra_fields"}]
    assert documents[1]["request_id"] == "r-1"


# At every door


@pytest.mark.parametrize("path", DOORS)
def test_each_door_tells_the_gateways_headers(gateway, way, path):
    answer = gateway.chat(model=way(expert()), reasoning_effort="low", path=path)
    expected = {"accept": ("cheap", "drafter", "1"), "escalate": ("good", "heavyweight", "2"), "direct": ("good", "other", "1")}
    assert tuple(answer.header(name) for name in HEADERS[:3]) == expected[way.decision]
    assert answer.header("x-gateway-request-id") == answer.header("X-Request-ID")
    assert answer.header("x-gateway-reasoning-effort") == "low"


@pytest.mark.parametrize("path", DOORS)
def test_each_door_checks_reasoning_effort(gateway, path):
    answer = gateway.chat(reasoning_effort="a lot", path=path)
    assert answer.status == 400 and answer.json()["error"]["param"] == "reasoning_effort"


@pytest.mark.parametrize("path", DOORS[1:])
def test_only_post_is_for_the_doors(gateway, path):
    answer = gateway.get(path)
    assert answer.status == 405 and answer.header("Allow") == "POST"


# Projects


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("body, headers, project", [
    ({"project_id": "p.1:a_b-C"}, [], "p.1:a_b-C"),
    ({}, [("X-Gateway-Project-Id", "from-header")], "from-header"),
    ({"project_id": "from-body"}, [("x-gateway-project-id", "from-header")], "from-body"),
    ({}, [("X-Gateway-Project-Id", "p" * 64)], "p" * 64),
])
def test_a_project_tags_logs_and_metrics(gateway, upstream, path, body, headers, project):
    upstream.on("small-1", confident())
    name = f'draftthinker_project_requests_total{{project="{project}",status="200"}}'
    before = gateway.metrics().get(name, 0)
    answer = gateway.chat(body, headers, path=path)
    assert gateway.access_line(answer.header("X-Request-ID"))["project_id"] == project
    assert gateway.metrics()[name] == before + 1
    assert b"project" not in upstream.requests[0].body


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("project", ["", "a b", "p" * 65, 'p"', "ü"])
def test_a_project_that_is_none_is_refused(gateway, path, project):
    answer = gateway.chat(headers=[("X-Gateway-Project-Id", project)], path=path)
    assert answer.status == 400 and "X-Gateway-Project-Id" in answer.json()["error"]["message"]


def test_only_so_many_projects_are_counted_apart(start, upstream):
    """Whichever worker they come to."""
    gateway = start(server={"workers": 2})
    for number in range(1010):
        # Refused at once, which counts like any other.
        answer = gateway.chat(b'{"project_id":"p-%d","messages":[]}' % number)
        assert answer.status == 400
    samples = {name: number for name, number in gateway.metrics().items() if name.startswith("draftthinker_project_requests_total{")}
    assert len(samples) == 1001
    assert samples['draftthinker_project_requests_total{project="other",status="400"}'] == 10
    gateway.chat(b'{"project_id":"p-7","messages":[]}')
    gateway.chat(b'{"project_id":"p-1009","messages":[]}')
    after = gateway.metrics()
    assert after['draftthinker_project_requests_total{project="p-7",status="400"}'] == 2
    assert after['draftthinker_project_requests_total{project="other",status="400"}'] == 11
