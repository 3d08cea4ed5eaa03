"""The same request is answered again without asking anybody: what counts as the same, and what such an answer looks like."""

import json
import re
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.caching import (DECISIONS, FORMS, GONE, RESULTS, Change, ask, ask_raw, assert_asked, assert_hit, caching,  # noqa: F401
                         caching_config, caching_daemon, echo, escalates_to, question, reload)
from lib.checks import assert_error
from lib.gateway import eventually, merge
from lib.scripts import confident, expert

ALICE, BOB = [("Authorization", "Bearer alice")], [("Authorization", "Bearer bob")]
SOURCES = {"draft": ("drafter", "cheap"), "heavyweight": ("heavyweight", "good")}


def prepare(upstream, source, text="It is Paris."):
    if source == "draft":
        upstream.on("small-1", confident(text))
    else:
        escalates_to(upstream, expert(text))


def has_usage(source, form):
    """Is the usage known? A heavyweight's stream tells it only if it was asked for."""
    return source == "draft" or form != "stream"


PAIRS = [(source, first, second) for source in SOURCES for first in FORMS for second in FORMS]

# A repeat


@pytest.mark.parametrize("source, first, second", [p for p in PAIRS if has_usage(p[0], p[1]) or p[2] == "stream"])
def test_a_repeat_in_any_form_is_answered_without_asking_anybody(caching, upstream, question, source, first, second):
    prepare(upstream, source)
    told = ask(caching, question, first)
    assert_asked(told)
    asked = len(upstream.requests)
    again = ask(caching, question, second)
    assert_hit(again, "exact", *SOURCES[source])
    assert len(upstream.requests) == asked
    assert (again.text, again.finish) == ("It is Paris.", ["stop"])
    if second != "stream":
        assert again.usage == f.usage(11, len(f.tokens_of("It is Paris.")))


@pytest.mark.parametrize("second", ["json", "usage"])
def test_an_answer_whose_usage_nobody_knows_is_not_given_to_who_wants_it(caching, upstream, question, second):
    prepare(upstream, "heavyweight")
    assert_asked(ask(caching, question, "stream"))
    assert_hit(ask(caching, question, "stream"), "exact", *SOURCES["heavyweight"])
    told = ask(caching, question, second)
    assert_asked(told)
    assert told.usage["total_tokens"] > 0
    # The new answer, which has it, has taken the other's place.
    for form in FORMS:
        assert_hit(ask(caching, question, form), "exact", *SOURCES["heavyweight"])


@pytest.mark.parametrize("source", SOURCES)
def test_it_is_the_same_document_but_for_id_and_time(caching, upstream, question, source):
    prepare(upstream, source)
    first = ask(caching, question).document
    began = int(time.time())
    hits = [ask(caching, question).document for _ in range(3)]
    for hit in hits:
        assert began <= hit.pop("created") <= time.time()
        assert re.fullmatch(r"chatcmpl-\w+", hit["id"]), hit
    ids = {first.pop("id"), *(hit.pop("id") for hit in hits)}
    assert len(ids) == 4
    del first["created"]
    assert hits == [first] * 3


def test_every_value_is_given_again_as_upstream_spelled_it(caching, upstream, question):
    values = [rb'"caf\u00e9 \"\\\/ \ud83d\ude00 { \n"', b'"1.50 : , "', b"[1.0e2,null,{}]", b'{"total_tokens":7,"x":1.50}']
    body = b"""{ "id" : "x", "created" :\t1, "object":"chat.completion","model":%b,\r\n "choices" : [ {"index":0,
        "message":{"role":"assistant", "content": %b}, "finish_reason":"stop"} ], "x_more": %b,
        "usage": %b }""" % (values[1], values[0], values[2], values[3])
    escalates_to(upstream, scripts.reply(200, body))
    first = ask(caching, question)
    hit = ask(caching, question)
    assert_hit(hit, "exact", *SOURCES["heavyweight"])
    assert all(value in hit.head.body for value in values), hit.head.body
    assert {**hit.document, "id": 0, "created": 0} == {**first.document, "id": 0, "created": 0}
    streamed = ask(caching, question, "usage")
    assert streamed.text == first.text
    assert all(value in streamed.stream.raw for value in (values[0], values[1], values[3]))


@pytest.mark.parametrize("form", ["stream", "usage"])
@pytest.mark.parametrize("first", FORMS)
def test_a_stream_from_the_cache_is_what_an_sdk_expects(caching, upstream, question, first, form):
    upstream.on("small-1", confident("It is Paris."))
    ask(caching, question, first)
    began = int(time.time())
    answer = ask(caching, question, form)
    assert_hit(answer)
    stream = answer.stream
    said, end, *rest = stream.frames
    assert said["choices"][0]["delta"] == {"role": "assistant", "content": "It is Paris."} or (
        said["choices"][0]["delta"] == {"role": "assistant", "content": "It is Paris.", "refusal": None}), said
    assert said["choices"][0]["finish_reason"] is None and said["choices"][0]["index"] == 0
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, "stop")
    assert [frame["choices"] for frame in rest] == ([[]] if form == "usage" else [])
    assert [frame["usage"]["total_tokens"] for frame in rest] == ([14] if form == "usage" else [])
    if form == "stream":
        assert not any(frame.get("usage") for frame in stream.frames)
    for frame in stream.frames:
        assert frame["object"] == "chat.completion.chunk" and frame["model"] == "small-1-0613"
        assert began <= frame["created"] <= time.time()
    assert [item[0] for item in stream.items[-2:]] == ["comment", "data"]
    assert set(stream.routing) == {"decision", "reason", "model", "duration_ms"}
    assert stream.head.header("Cache-Control") == "no-cache, no-transform"
    other = ask(caching, question, form)
    assert answer.id.startswith("chatcmpl-") and other.id.startswith("chatcmpl-") and answer.id != other.id


@pytest.mark.parametrize("second", FORMS)
def test_logprobs_that_were_asked_for_are_given_again(caching, upstream, question, second):
    prepare(upstream, "draft")
    ask(caching, question, logprobs=True, top_logprobs=2)
    hit = ask(caching, question, second, logprobs=True, top_logprobs=2)
    assert_hit(hit)
    parts = [hit.document] if second == "json" else hit.stream.frames
    entries = [entry for part in parts for choice in part["choices"]
               for entry in (choice.get("logprobs") or {}).get("content") or []]
    assert [entry["token"] for entry in entries] == f.tokens_of("It is Paris.")
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


def test_one_answer_is_known_by_one_id_and_its_age_in_seconds(caching, upstream, question):
    prepare(upstream, "draft")
    stored = time.monotonic()
    ask(caching, question)
    first = ask(caching, question)
    assert first.head.header("Age") == str(int(time.monotonic() - stored))

    def older():
        hit = ask(caching, question, "stream")
        assert hit.head.header("X-Cache-Id") == first.head.header("X-Cache-Id")
        assert int(hit.head.header("Age")) <= time.monotonic() - stored + 0.01
        return int(hit.head.header("Age")) >= 1

    eventually(older, "an age of a second")
    assert time.monotonic() - stored >= 0.99


# What is the same request


def schema(*names):
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": ["a"]}


def base(question):
    """A request with a bit of everything."""
    return {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello, Äpfel / \"quotes\"."},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": question},
        ],
        "temperature": 0.5,
        "seed": 7,
        "max_tokens": 100,
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema("a", "b")}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema("a", "b")}},
    }


def turned(value, inside=None):
    """With the members of all objects in the opposite order, but for those of `properties`."""
    if isinstance(value, list):
        return [turned(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    return {key: turned(item, key) for key, item in (items if inside == "properties" else reversed(items))}


def escaped(body):
    """With each letter of its strings, keys included, as an escape."""
    text = json.dumps(body, ensure_ascii=True).replace("/", r"\/")
    return re.sub(r'"((?:[^"\\]|\\.)*)"', lambda found: '"' + re.sub(
        r"\\.[0-9a-f]{0,4}|[a-z]", lambda part: part[0] if len(part[0]) > 1 else f"\\u{ord(part[0]):04X}", found[1]) + '"', text).encode()


def with_messages(body, number, **members):
    messages = [dict(message) for message in body["messages"]]
    messages[number].update(members)
    return {**body, "messages": messages}


SAME = {
    "stream": lambda b: {**b, "stream": True},
    "stream_false": lambda b: {**b, "stream": False},
    "stream_options": lambda b: {**b, "stream": True, "stream_options": {"include_usage": True}},
    "user": lambda b: {**b, "user": "u-1"},
    "metadata": lambda b: {**b, "metadata": {"a": "b"}},
    "request_id": lambda b: {**b, "request_id": "r-1"},
    "project_id": lambda b: {**b, "project_id": "p-1"},
    "model_empty": lambda b: {**b, "model": ""},
    "model_unknown": lambda b: {**b, "model": "gpt-4.1"},
    "model_absent": lambda b: {key: value for key, value in b.items() if key != "model"},
    "null_member": lambda b: {**b, "stop": None},
    "order_of_members": turned,
    "white_space": lambda b: json.dumps(b, indent=3).replace("\n", "\r\n\t").encode(),
    "no_white_space": lambda b: json.dumps(b, separators=(",", ":"), ensure_ascii=False).encode(),
    "string_escapes": escaped,
}


@pytest.mark.parametrize("what", SAME)
def test_it_is_the_same_request_whatever_the(caching, upstream, question, what):
    upstream.on("small-1", confident("It is Paris."))
    variant = SAME[what](base(question))
    assert variant != base(question) or what == "order_of_members"
    assert_asked(ask_raw(caching, base(question), ALICE))
    hit = ask_raw(caching, variant, ALICE)
    assert_hit(hit)
    assert hit.text == "It is Paris." and len(upstream.requests) == 1


def test_headers_that_are_not_about_the_cache_do_not_matter(caching, upstream, question):
    upstream.on("small-1", confident())
    assert_asked(ask(caching, question))
    headers = [("User-Agent", "other"), ("X-Request-ID", "another-1"), ("Cache-Control", "max-age=0"), ("Accept", "*/*")]
    assert_hit(ask(caching, question, headers=headers))


OTHER = {
    "route": lambda b: {**b, "model": "twin"},
    "system_prompt": lambda b: with_messages(b, 0, content="Be verbose."),
    "role": lambda b: with_messages(b, 0, role="developer"),
    "earlier_turn": lambda b: with_messages(b, 1, content="Hello?"),
    "earlier_answer": lambda b: with_messages(b, 2, content="Bonjour."),
    "missing_turn": lambda b: {**b, "messages": b["messages"][:1] + b["messages"][3:]},
    "order_of_turns": lambda b: {**b, "messages": [b["messages"][i] for i in (0, 2, 1, 3)]},
    "question": lambda b: with_messages(b, 3, content=b["messages"][3]["content"] + "?"),
    "letter_case": lambda b: with_messages(b, 3, content=b["messages"][3]["content"].upper()),
    "blank_in_the_text": lambda b: with_messages(b, 3, content=b["messages"][3]["content"] + " "),
    "part_for_a_string": lambda b: with_messages(b, 3, content=[{"type": "text", "text": b["messages"][3]["content"]}]),
    "name_of_the_user": lambda b: with_messages(b, 3, name="eve"),
    "tools": lambda b: {**b, "tools": b["tools"] + [{"type": "function", "function": {"name": "clock"}}]},
    "no_tools": lambda b: {key: value for key, value in b.items() if key != "tools"},
    "tool_choice": lambda b: {**b, "tool_choice": "none"},
    "temperature": lambda b: {**b, "temperature": 0.6},
    "seed": lambda b: {**b, "seed": 8},
    "max_tokens": lambda b: {**b, "max_tokens": 101},
    "stop": lambda b: {**b, "stop": ["x"]},
    "logprobs": lambda b: {**b, "logprobs": True},
    "unknown_member": lambda b: {**b, "x_top_k": 3},
    "response_format": lambda b: {**b, "response_format": {"type": "json_object"}},
    "order_of_properties": lambda b: {
        **b, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema("b", "a")}}},
    "number_spelling": lambda b: json.dumps(b).replace("0.5", "0.50").encode(),
}


@pytest.mark.parametrize("what", OTHER)
def test_it_is_another_request_with_another(caching, upstream, question, what):
    upstream.on("small-1", confident())
    bodies = base(question), OTHER[what](base(question))
    for number, body in enumerate(bodies, 1):
        assert_asked(ask_raw(caching, body, ALICE))
        assert len(upstream.requests) == number
    for body in bodies:
        assert_hit(ask_raw(caching, body, ALICE))
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("mine, theirs", [(ALICE, BOB), (ALICE, []), ([], ALICE), (ALICE, [("Authorization", "Basic alice")])],
                         ids=["bearer", "none", "some", "scheme"])
def test_another_caller_is_never_given_it(caching, upstream, question, mine, theirs):
    upstream.on("small-1", confident())
    assert_asked(ask(caching, question, headers=mine))
    assert_asked(ask(caching, question, headers=theirs))
    assert len(upstream.requests) == 2
    ids = {ask(caching, question, headers=who).head.header("X-Cache-Id") for who in (mine, theirs)}
    assert len(ids) == 2 and None not in ids


@pytest.mark.parametrize("model", ["other", "good/other-1"])
def test_a_pinned_model_is_always_asked(caching, upstream, question, model):
    upstream.on("small-1", confident("Routed."))
    upstream.on("other-1", expert("Pinned."))
    assert_asked(ask(caching, question))
    change = Change(caching)
    for form in ("json", "stream", "json"):
        answer = ask(caching, question, form, model=model)
        assert_asked(answer)
        assert answer.text == "Pinned." and answer.decision == ("direct", "pinned")
    assert len(upstream.requests_for("other-1")) == 3 and change.answers() == {}
    assert ask(caching, question).text == "Routed."


# What the client says about it


@pytest.mark.parametrize("value", ["no-cache", "NO-CACHE", "max-age=0, no-cache", "no-cache,foo"])
def test_no_cache_skips_the_look_up_and_replaces_what_was_kept(caching, upstream, question, value):
    upstream.on("small-1", confident("Old."))
    ask(caching, question)
    upstream.on("small-1", confident("New."))
    change = Change(caching)
    answer = ask(caching, question, headers=[("Cache-Control", value)])
    assert_asked(answer)
    assert answer.text == "New."
    hit = ask(caching, question)
    assert_hit(hit)
    assert hit.text == "New."
    assert change.of(GONE % "replaced") == 1 and change.of("draftthinker_cache_entries") == 0
    assert change.of(RESULTS % "miss") == 0  # it was not looked for


@pytest.mark.parametrize("value", ["no-store", "No-Store", "max-age=0 , no-store"])
def test_no_store_skips_the_keeping_but_not_the_look_up(caching, upstream, question, value):
    upstream.on("small-1", confident())
    for _ in range(2):
        assert_asked(ask(caching, question, headers=[("Cache-Control", value)]))
    assert_asked(ask(caching, question))
    assert_hit(ask(caching, question, headers=[("Cache-Control", value)]))


def test_both_skip_both(caching, upstream, question):
    upstream.on("small-1", confident("Old."))
    ask(caching, question)
    upstream.on("small-1", confident("New."))
    assert ask(caching, question, headers=[("Cache-Control", "no-cache, no-store")]).text == "New."
    assert ask(caching, question).text == "Old."


@pytest.mark.parametrize("value", ["max-age=60", "no-cached", "x-no-store", "private", ""])
def test_other_directives_skip_nothing(caching, upstream, question, value):
    upstream.on("small-1", confident())
    assert_asked(ask(caching, question, headers=[("Cache-Control", value)]))
    assert_hit(ask(caching, question, headers=[("Cache-Control", value)]))


@pytest.mark.parametrize("value", ["x", "1.01", "-0.1", "0.5x", "nan", "inf", "0,5", ""])
def test_a_threshold_that_is_no_number_from_0_to_1_is_refused(caching, upstream, question, value):
    answer = caching.chat(messages=[{"role": "user", "content": question}], headers=[("X-Cache-Threshold", value)])
    assert_error(answer, 400, says="X-Cache-Threshold")
    assert upstream.requests == []


@pytest.mark.parametrize("value", ["0", "1", "0.5", "1.0"])
def test_whatever_the_threshold_the_same_request_is_the_same(caching, upstream, question, value):
    upstream.on("small-1", confident())
    ask(caching, question)
    assert_hit(ask(caching, question, headers=[("X-Cache-Threshold", value)]))


# Deleting


def delete(gateway, path, headers=()):
    return gateway.request("DELETE", path, headers=headers)


@pytest.mark.parametrize("who", [[], ALICE], ids=["nobody", "alice"])
def test_a_caller_deletes_an_answer_of_theirs(caching, upstream, question, who):
    upstream.on("small-1", confident())
    ask(caching, question, headers=who)
    path = "/v1/cache/" + ask(caching, question, headers=who).head.header("X-Cache-Id")
    change = Change(caching)
    gone = delete(caching, path, who)
    assert (gone.status, gone.body) == (204, b"")
    assert change.of("draftthinker_cache_entries") == -1 and change.of(GONE % "deleted") == 1
    assert_error(delete(caching, path, who), 404)
    assert_asked(ask(caching, question, headers=who))


@pytest.mark.parametrize("theirs", [BOB, []], ids=["bob", "nobody"])
def test_nobody_deletes_the_answers_of_another(caching, upstream, question, theirs):
    upstream.on("small-1", confident())
    ask(caching, question, headers=ALICE)
    entry = ask(caching, question, headers=ALICE).head.header("X-Cache-Id")
    refused = delete(caching, "/v1/cache/" + entry, theirs)
    assert_error(refused, 404)
    # Nor are they told that there is one.
    absent = "0123456789abcdef"
    unknown = delete(caching, "/v1/cache/" + absent, theirs)
    assert unknown.body.replace(absent.encode(), entry.encode()) == refused.body
    assert delete(caching, "/v1/cache", theirs).status == 204
    assert_hit(ask(caching, question, headers=ALICE))


@pytest.mark.parametrize("name", ["x", "0" * 15, "0" * 17, "%30" * 16, "0" * 2000, "0/1", "..", "*"])
def test_what_is_no_id_is_not_found(caching, name):
    assert_error(delete(caching, "/v1/cache/" + name), 404)


def test_a_caller_deletes_all_of_theirs(caching, upstream, question):
    upstream.on("small-1", confident())
    mine = [f"{question} {number}" for number in range(20)]
    for each in mine:
        ask(caching, each, headers=BOB)
    ask(caching, question, headers=ALICE)
    gone = delete(caching, "/v1/cache", BOB)
    assert (gone.status, gone.body) == (204, b"")
    assert delete(caching, "/v1/cache", BOB).status == 204
    assert_hit(ask(caching, question, headers=ALICE))
    asked = len(upstream.requests)
    for each in mine:
        assert_asked(ask(caching, each, headers=BOB))
    assert len(upstream.requests) == asked + 20


@pytest.mark.parametrize("path", ["/v1/cache", "/v1/cache/0123456789abcdef"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS"])
def test_answers_can_only_be_deleted(caching, path, method):
    answer = caching.request(method, path, {} if method in ("POST", "PUT", "PATCH") else None)
    assert_error(answer, 405, code="method_not_allowed")
    assert answer.header("Allow") == "DELETE"


# Switched off, and reloaded


def test_where_it_is_switched_off_nothing_is_kept_or_looked_up(gateway, upstream, question):
    upstream.on("small-1", confident())
    change = Change(gateway)
    for form in ("json", "json", "usage"):
        assert_asked(ask(gateway, question, form, headers=[("X-Request-ID", f"off-{form}"), ("X-Cache-Threshold", "none")]))
    assert len(upstream.requests) == 3
    assert "cache" not in gateway.access_line("off-json")
    assert change.answers() == {}
    for name in ("hits_total", "misses_total", "lookup_latency_seconds_count", "entries"):
        assert change.of(f"draftthinker_cache_{name}") == 0


def test_a_route_may_switch_it_off(caching, upstream, question):
    upstream.on("small-1", confident())
    for _ in range(2):
        assert_asked(ask(caching, question, model="off"))
    assert_asked(ask(caching, question))  # nor is it kept for another route


def test_a_route_may_switch_it_on(start, upstream, question):
    gateway = start(**caching_config(upstream, cache={"enabled": False}, routes={"auto": {"cache": {"enabled": True}}}))
    upstream.on("small-1", confident())
    for model in ("auto", "twin"):
        assert_asked(ask(gateway, question, model=model))
    assert_hit(ask(gateway, question, model="auto"))
    assert_asked(ask(gateway, question, model="twin"))


def test_a_reload_keeps_what_is_kept(start, upstream, question):
    config = caching_config(upstream)
    gateway = start(**config)
    upstream.on("small-1", confident())
    ask(gateway, question)
    reload(gateway, merge(config, {"entropy": {"threshold": 1.5}, "server": {"drain_timeout": 4}}))
    assert_hit(ask(gateway, question))
    reload(gateway, merge(config, {"cache": {"enabled": False}}))
    assert_asked(ask(gateway, question))
    reload(gateway, config)
    assert_hit(ask(gateway, question))


CHANGES = {
    "drafter": {"routes": {"auto": {"drafter": "other"}}},
    "heavyweight": {"routes": {"auto": {"heavyweight": "other"}}},
    "another_heavyweight": {"routes": {"auto": {"heavyweight": ["heavyweight", "other"]}}},
    "name_at_the_provider": {"models": {"drafter": {"model": "other-1"}}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_model_behind_the_route_answers_anew(start, upstream, question, what):
    config = caching_config(upstream)
    gateway = start(**config)
    upstream.on("small-1", confident("Old."))
    upstream.on("other-1", confident("New."))
    assert ask(gateway, question).text == "Old."
    reload(gateway, merge(config, CHANGES[what]))
    answer = ask(gateway, question)
    assert_asked(answer)
    assert answer.text == ("New." if what in ("drafter", "name_at_the_provider") else "Old.")
    reload(gateway, config)
    assert_hit(ask(gateway, question))


def test_all_workers_have_one_cache(start, upstream, question):
    gateway = start(**caching_config(upstream, server={"workers": 3}))
    upstream.on("small-1", echo())
    assert_asked(ask(gateway, question))
    for _ in range(30):  # each connection falls to some worker
        assert_hit(ask(gateway, question))
    assert len(upstream.requests) == 1


# What is told of it


def test_hits_and_misses_are_counted(caching, upstream, question):
    upstream.on("small-1", confident())
    change = Change(caching)
    ask(caching, question)
    for form in FORMS:
        ask(caching, question, form)
    counts = {name: change.of(name) for name in (
        "draftthinker_cache_hits_total", "draftthinker_cache_misses_total", "draftthinker_cache_lookup_latency_seconds_count",
        RESULTS % "exact", RESULTS % "miss", DECISIONS % "cache_hit", "draftthinker_cache_entries")}
    assert list(counts.values()) == [3, 1, 4, 3, 1, 3, 1], counts
    assert change.answers() == {"kept": 1}
    assert 0 < change.of("draftthinker_cache_bytes") < 65536


def test_the_access_line_tells_how_it_was_found(caching, upstream, question):
    upstream.on("small-1", confident())
    lines = []
    for number, form in enumerate(["json", "json", "usage"]):
        ask(caching, question, form, headers=[("X-Request-ID", f"line-{number}")])
        lines.append(caching.access_line(f"line-{number}"))
    assert [line["cache"] for line in lines] == ["miss", "exact", "exact"]
    assert [(line["decision"], line["reason"]) for line in lines] == [("accept", "confident")] + [("cache_hit", "exact")] * 2
    assert [(line["status"], line["end"], line["attempts"]) for line in lines] == [(200, "done", 1)] + [(200, "done", 0)] * 2
    assert lines[1]["model"] == "drafter"
