"""Identical requests under way at the same time: one asks, the others get what it gets, also when that is an error."""

import signal
import time

import pytest

from lib import scripts
from lib.caching import (DECISIONS, IN_FLIGHT, RESULTS, Asked, Change, ask, assert_asked, assert_hit, caching,  # noqa: F401
                         caching_config, caching_daemon, escalates_to, holds, question, turns, under_way)
from lib.checks import assert_error
from lib.flights import HEAVY_ROLE, STREAMED, TEXT, assert_shared, assert_told, ending, fly, join, leave, word
from lib.gateway import SLOW, TICK_S, eventually
from lib.live import HEAVY, ROLE, Puppet, said
from lib.scripts import confident, expert, uncertain

# One asks for all

MIXES = {
    "in_json": ["json"] * 5,
    "streamed": ["stream"] * 5,
    "streamed_with_usage": ["usage"] * 5,
    "any_after_json": ["json", "stream", "usage", "json", "stream"],
    "any_after_usage": ["usage", "stream", "json", "usage", "stream"],
}


@pytest.mark.parametrize("model", ["auto", "live"])
@pytest.mark.parametrize("source", ["draft", "heavyweight"])
@pytest.mark.parametrize("mix", MIXES)
def test_identical_requests_are_one_request_upstream(caching, upstream, question, mix, source, model):
    gate = upstream.gate()
    if source == "draft":
        upstream.on("small-1", holds(gate, confident(TEXT)))
    else:
        escalates_to(upstream, holds(gate, expert(TEXT)))
    server, name = {"draft": ("small-1", ("drafter", "cheap")), "heavyweight": ("large-1", ("heavyweight", "good"))}[source]
    change = Change(caching)
    requests = join(caching, question, MIXES[mix], lambda: upstream.wait_request(server), model=model)
    gate.set()
    answers = [request.answer() for request in requests]
    assert_asked(answers[0])
    for answer, form in zip(answers, MIXES[mix]):
        assert_told(answer, form)
    for answer, form in zip(answers[1:], MIXES[mix][1:]):
        assert_shared(answer, form, *name)
    assert len(upstream.requests) == (1 if source == "draft" else 2)
    assert change.of(RESULTS % "shared") == change.of("draftthinker_cache_hits_total") == change.of(DECISIONS % "cache_hit") == 4
    assert change.of("draftthinker_cache_misses_total") == 1
    if mix != "streamed" or source == "draft":
        assert_hit(ask(caching, question, model=model), "exact", *name)


def test_who_wants_usage_does_not_follow_a_stream_that_has_none(caching, upstream, question):
    gate = upstream.gate()
    escalates_to(upstream, holds(gate, expert(TEXT)))
    forms = ["stream", "json", "usage", "stream", "json"]
    requests = join(caching, question, forms, lambda: upstream.wait_request("large-1"))
    upstream.wait_request("large-1", 2)
    gate.set()
    answers = [request.answer() for request in requests]
    for answer, form in zip(answers, forms):
        assert_told(answer, form)
    assert len(upstream.requests_for("large-1")) == 2
    for answer, form in list(zip(answers, forms))[2:]:
        assert_shared(answer, form)


APART = {
    "another_caller": {"headers": [("Authorization", "Bearer other")]},
    "another_route": {"model": "twin"},
    "another_temperature": {"temperature": 0.5},
    "one_that_skips_the_look_up": {"headers": [("Cache-Control", "no-cache")]},
    "one_that_skips_the_keeping": {"headers": [("Cache-Control", "no-store")]},
}


@pytest.mark.parametrize("what", APART)
def test_never_follows(caching, upstream, question, what):
    gate = upstream.gate()
    upstream.on("small-1", holds(gate, confident(TEXT)))
    requests = join(caching, question, ["json"], lambda: upstream.wait_request("small-1"))
    requests.append(Asked(caching, question, **APART[what]))
    upstream.wait_request("small-1", 2)
    gate.set()
    for request in requests:
        assert_asked(request.answer())


ALONE = {
    "no_store": ({"headers": [("Cache-Control", "no-store")]}, "small-1"),
    "a_pinned_model": ({"model": "other"}, "other-1"),
    "a_route_without_a_cache": ({"model": "off"}, "small-1"),
    "a_high_temperature": ({"temperature": 1.5}, "small-1"),
    "several_choices": ({"n": 2}, "large-1"),
}


@pytest.mark.parametrize("what", ALONE)
def test_each_asks_for_itself_with(caching, upstream, question, what):
    gate = upstream.gate()
    members, server = ALONE[what]
    upstream.on(server, holds(gate, confident(TEXT)))
    requests = [Asked(caching, question, **members) for _ in range(3)]
    upstream.wait_request(server, 3)
    gate.set()
    for request in requests:
        assert_asked(request.answer())


def test_one_that_skips_the_look_up_may_be_followed(caching, upstream, question):
    gate = upstream.gate()
    upstream.on("small-1", holds(gate, confident(TEXT)))
    first = join(caching, question, ["json"], lambda: upstream.wait_request("small-1"), headers=[("Cache-Control", "no-cache")])
    others = [Asked(caching, question) for _ in range(2)]
    under_way(caching, *first, *others)
    gate.set()
    assert_asked(first[0].answer())
    for other in others:
        assert_shared(other.answer(), "json", "drafter", "cheap")
    assert len(upstream.requests) == 1


def test_the_access_lines_tell_who_asked(caching, upstream, question):
    gate = upstream.gate()
    upstream.on("small-1", holds(gate, confident(TEXT)))
    requests = []
    for number, form in enumerate(["json", "json", "stream"]):
        requests.append(Asked(caching, question, form, [("X-Request-ID", f"shares-{number}")]))
        under_way(caching, *requests)
    gate.set()
    for request in requests:
        request.answer()
    lines = [caching.access_line(f"shares-{number}") for number in range(3)]
    assert [line["cache"] for line in lines] == ["miss", "shared", "shared"]
    assert [(line["decision"], line["reason"]) for line in lines] == [("accept", "confident")] + [("cache_hit", "shared")] * 2
    assert [(line["attempts"], line["status"], line["end"]) for line in lines] == [(1, 200, "done"), (0, 200, "done"), (0, 200, "done")]


# As it comes


@pytest.mark.parametrize("first, second", [("stream", "stream"), ("usage", "usage"), ("usage", "stream")])
def test_a_follower_sees_each_frame_as_it_comes_and_a_late_one_all_so_far_at_once(caching, upstream, question, first, second):
    escalates_to(upstream)
    heavy = Puppet(upstream, "large-1")
    leader, early = join(caching, question, [first, second], heavy.take)
    heavy.say(HEAVY_ROLE, word("It "))
    for each in (leader, early):
        each.wait_text("It ")
    heavy.say(word("is "))
    for each in (leader, early):
        each.wait_text("It is ")
    late = Asked(caching, question, second)
    late.wait_text("It is ")
    later = [Asked(caching, question, "json")] if first == "usage" else []
    under_way(caching, leader, early, late, *later)
    heavy.end(word("Paris."), *ending(first == "usage"))
    answers = [each.answer() for each in (leader, early, late)]
    assert_asked(answers[0])
    assert_told(answers[0], first)
    for answer in answers[1:]:
        assert_shared(answer, second)
    assert [a.stream.frames for a in answers[1:]] == [answers[1].stream.frames] * 2
    if first == second:
        assert answers[1].stream.frames == answers[0].stream.frames
    else:
        assert len(answers[1].stream.frames) == len(answers[0].stream.frames) - 1
    for request in later:
        assert_shared(request.answer())
    assert len(upstream.requests_for("large-1")) == 1


def test_a_flowing_draft_and_what_takes_over_from_it_flow_to_all(caching, upstream, question):
    drafter, heavy = Puppet(upstream, "small-1"), Puppet(upstream, "large-1")
    forms = ["usage", "usage", "stream", "json"]
    requests = join(caching, question, forms, drafter.take, model="live")
    drafter.say(ROLE, *[said(text) for text in ("It ", "is ", "so ", "or ")])
    for request in requests[:3]:
        request.wait_text("It is ")
    drafter.say(said("DRAFTED", 5.0))
    heavy.take()
    requests.append(Asked(caching, question, "stream", model="live"))
    requests[4].wait_text("It is ")
    heavy.end(word("Paris."), *ending())
    answers = [request.answer() for request in requests]
    for answer, form in zip(answers, [*forms, "stream"]):
        assert_told(answer, form)
    assert [answer.decision[1] for answer in answers] == ["confident", "shared", "shared", "shared", "shared"]
    assert answers[0].stream.routing["decision"] == "escalate"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("script, finish", [
    (scripts.calls_tools([("call_a", "weather", '{"city":"Paris"}')], head=HEAVY), "tool_calls"),
    (expert(TEXT, finish="length"), "length"),
], ids=["tool_calls", "length"])
@pytest.mark.parametrize("mix", ["any_after_json", "any_after_usage"])
def test_what_may_not_be_kept_is_shared_all_the_same(caching, upstream, question, mix, script, finish):
    gate = upstream.gate()
    escalates_to(upstream, holds(gate, script))
    requests = join(caching, question, MIXES[mix], lambda: upstream.wait_request("large-1"))
    gate.set()
    answers = [request.answer() for request in requests]
    for answer, form in zip(answers, MIXES[mix]):
        assert_told(answer, form, answers[0].text, finish)
        assert "".join(call["function"]["arguments"] for call in answer.calls) == ('{"city":"Paris"}' if finish == "tool_calls" else "")
    assert len(upstream.requests_for("large-1")) == 1
    assert_asked(ask(caching, question))


def test_an_answer_too_long_to_be_kept_flows_to_those_who_are_there_and_the_others_ask(caching, upstream, question):
    escalates_to(upstream)
    first = Puppet(upstream, "large-1")
    forms = ["usage", "stream", "json", "json"]
    requests = join(caching, question, forms, first.take, model="small")
    text = "x" * 80_000
    second = Puppet(upstream, "large-1")
    first.say(HEAVY_ROLE, word(text), word(text))
    second.take()  # one of the two for both
    for request in requests[:2]:
        request.wait_text(text * 2)
    requests.append(Asked(caching, question, "stream", model="small"))
    under_way(caching, *requests)
    first.end(word("."), *ending())
    for request, form in zip(requests[:2], forms):
        assert_told(request.answer(), form, text * 2 + ".")
    second.end(HEAVY_ROLE, word(text * 2), word("."), *ending())
    for request, form in zip(requests[2:], ["json", "json", "stream"]):
        assert_told(request.answer(), form, text * 2 + ".")
    assert len(upstream.requests_for("large-1")) == 2


def test_a_silent_stream_is_kept_alive_for_all(start, upstream, question):
    gateway = start(**caching_config(upstream, server={"keepalive_interval": "50ms"}))
    escalates_to(upstream)
    heavy = Puppet(upstream, "large-1")
    requests = join(gateway, question, ["stream", "stream"], heavy.take)
    heavy.say(word("It "))
    requests.append(Asked(gateway, question, "stream"))
    for request in requests:
        request.wait_text("It ")
        eventually(lambda: request.poll().comments.count(": keepalive") >= 3, "comments")
    requests[0].close()
    under_way(gateway, *requests[1:])
    for request in requests[1:]:
        seen = request.poll().comments.count(": keepalive")
        eventually(lambda: request.poll().comments.count(": keepalive") >= seen + 3, "comments")
    heavy.end(word("is Paris."), *ending(False))
    for request in requests[1:]:
        assert request.answer().text == TEXT


def test_a_gateway_that_is_told_to_end_answers_all_of_them_first(start, upstream, question):
    gateway = start(**caching_config(upstream))
    escalates_to(upstream)
    heavy = Puppet(upstream, "large-1")
    forms = ["usage", "stream", "json"]
    requests = join(gateway, question, forms, heavy.take)
    heavy.say(HEAVY_ROLE, word("It "))
    requests[1].wait_text("It ")
    gateway.signal(signal.SIGTERM)
    gateway.stderr.wait(lambda line: "drain" in line, "draining")
    heavy.end(word("is Paris."), *ending())
    for request, form in zip(requests, forms):
        assert_told(request.answer(), form)
    assert gateway.wait_exit() == 0


# What fails

BEFORE = {
    "json": ["status_500", "status_503", "status_429", "status_401", "closed_before_head", "garbage_for_head", "cut_stream",
             "error_in_200_json", "garbage_in_200_json", "short_content_length"],
    "stream": ["status_500", "reset_before_head", "head_then_closed", "malformed_first_frame", "error_frame_first", "status_200_html"],
}
CASES = [(form, how) for form in BEFORE for how in BEFORE[form]]


@pytest.mark.parametrize("form, how", CASES)
def test_when_the_leader_fails_one_other_asks_once_more_for_all(caching, upstream, question, form, how):
    gate = upstream.gate()
    escalates_to(upstream, turns(holds(gate, scripts.FAILURES[how]), expert(TEXT)))
    requests = join(caching, question, [form] * 4, lambda: upstream.wait_request("large-1"))
    gate.set()
    first, *others = [request.answer() for request in requests]
    assert first.status >= 429
    for answer in others:
        assert_told(answer, form)
    assert sorted(answer.decision[0] for answer in others) == ["cache_hit", "cache_hit", "escalate"]
    assert len(upstream.requests_for("large-1")) == len(upstream.requests_for("small-1")) == 2


@pytest.mark.parametrize("form, how", CASES)
def test_when_that_fails_too_all_get_the_error(caching, upstream, question, form, how):
    gate = upstream.gate()
    escalates_to(upstream, holds(gate, scripts.FAILURES[how]))
    requests = join(caching, question, [form] * 4, lambda: upstream.wait_request("large-1"))
    gate.set()
    answers = [request.answer() for request in requests]
    assert len(upstream.requests_for("large-1")) == 2
    for answer in answers:
        assert_error(answer.head, answers[0].status)
        assert answer.head.body == answers[0].head.body
        assert answer.head.header("Retry-After") == answers[0].head.header("Retry-After")
    assert answers[0].status == (429 if how == "status_429" else 502)


def test_when_nobody_can_be_reached_it_was_tried_twice_for_all(start, upstream, question):
    port, keep = scripts.refusing_port()
    gateway = start(**caching_config(upstream, providers={"good": {"base_url": f"http://127.0.0.1:{port}/v1"}}))
    gate = upstream.gate()
    upstream.on("small-1", holds(gate, uncertain()))
    requests = join(gateway, question, ["json", "stream", "json", "usage"], lambda: upstream.wait_request("small-1"))
    gate.set()
    for request in requests:
        assert_error(request.answer().head, 502)
    assert len(upstream.requests_for("small-1")) == 2
    keep.close()


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("forms", [["json"] * 4, ["usage", "json", "stream", "usage"]], ids=["json", "mixed"])
def test_what_upstream_says_against_the_request_is_said_to_all(caching, upstream, question, status, forms):
    gate = upstream.gate()
    escalates_to(upstream, holds(gate, scripts.failure(status, "too long for me")))
    requests = join(caching, question, forms, lambda: upstream.wait_request("large-1"))
    gate.set()
    answers = [request.answer() for request in requests]
    assert [answer.status for answer in answers] == [status] * 4
    assert len({answer.head.body for answer in answers}) == 1 and b"too long for me" in answers[0].head.body
    assert len(upstream.requests_for("large-1")) == 1
    eventually(lambda: caching.metrics()[IN_FLIGHT] == 0, "their end")


@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("name", STREAMED)
def test_when_a_stream_breaks_off_all_who_have_a_part_are_told_so_and_the_others_are_served(caching, upstream, question, name, how):
    forms = ["usage", "stream", "json", "usage", "json"]
    stage, requests = fly(caching, upstream, question, name, forms)
    counts = {server: len(upstream.requests_for(server)) for server in ("small-1", "large-1")}
    escalates_to(upstream)
    stage.at_work.drop(how)
    for number, form in enumerate(forms):
        answer = requests[number].answer()
        if form == "json":
            assert_told(answer, form)
        else:
            assert answer.cut and answer.text == stage.seen and not answer.finish, answer
            assert answer.stream.error["code"] == "upstream_truncated"
            assert not answer.stream.complete and not answer.stream.comments
    assert len(upstream.requests_for("small-1")) == counts["small-1"] + 1
    assert len(upstream.requests_for("large-1")) == counts["large-1"] + 1


# Deadlines


@pytest.fixture
def hasty(start, upstream):
    return start(**caching_config(upstream, server={"request_timeout": 0.8 * min(SLOW, 3)}))


def lasts(request):
    """How long until the answer, which is that the time is over."""
    assert_error(request.client.read_response(), 504, code="deadline_exceeded")
    return time.monotonic()


def test_a_follower_is_not_out_of_time_when_its_leader_is(hasty, upstream, question):
    escalates_to(upstream, turns(scripts.stall, expert(TEXT)))
    limit = 0.8 * min(SLOW, 3)
    [leader] = join(hasty, question, ["json"], lambda: upstream.wait_request("large-1"))
    upstream.gate().wait(limit / 2)  # nobody opens it
    follower = Asked(hasty, question)
    lasts(leader)
    assert_told(follower.answer(), "json")
    assert len(upstream.requests_for("large-1")) == 2


def test_a_follower_has_a_time_limit_of_its_own(hasty, upstream, question):
    escalates_to(upstream)
    heavy = Puppet(upstream, "large-1")
    [leader] = join(hasty, question, ["usage"], heavy.take)
    heavy.say(HEAVY_ROLE, word("It "))
    leader.wait_text("It ")
    began = time.monotonic()
    follower = Asked(hasty, question)
    assert lasts(follower) - began >= 0.8 * min(SLOW, 3) - TICK_S
    heavy.end(word("is Paris."), *ending())
    assert_told(leader.answer(), "usage")
    assert len(upstream.requests_for("large-1")) == 1


def test_who_takes_the_leaders_place_keeps_its_time_limit(hasty, upstream, question):
    escalates_to(upstream, scripts.stall)
    limit = 0.8 * min(SLOW, 3)
    [leader] = join(hasty, question, ["json"], lambda: upstream.wait_request("large-1"))
    upstream.gate().wait(limit / 2)  # nobody opens it
    began = time.monotonic()
    follower = Asked(hasty, question)
    under_way(hasty, leader, follower)
    leave(hasty, leader)
    assert lasts(follower) - began >= limit - TICK_S
    assert len(upstream.requests_for("large-1")) == 1


