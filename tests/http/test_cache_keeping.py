"""Which answers are kept to be given again, which are not and why, and for how long."""

import pytest

from lib import frames as f
from lib import scripts
from lib.caching import (ANSWERS, FORMS, GONE, Change, ask, assert_asked, assert_hit, caching, caching_config,  # noqa: F401
                         caching_daemon, echo, escalates_to, holds, question, reload, text_stream)
from lib.checks import assert_error
from lib.gateway import eventually, merge
from lib.live import HEAVY, draft_of, heavy_of
from lib.scripts import confident, expert, speak, uncertain

CALLS = [("call_a", "weather", '{"city":"Paris"}'), ("call_b", "clock", "{}")]
NO_LOGPROBS = scripts.frames(*f.text_frames([("It", 0), (" is Paris.", 0)], logprobs=False))


class Case:
    """One request that is asked twice. servers: what each model does; result: what is counted of the answer; None: nothing,
    for the request has nothing to do with the cache. parts: content besides the question. again: the form of the repeat."""

    def __init__(self, servers, result, form="json", model="auto", parts=None, again=None, **members):
        self.servers, self.result, self.form, self.model = servers, result, form, model
        self.parts, self.members = parts, members
        self.again = again or form

    def script(self, upstream):
        for model, script in self.servers.items():
            upstream.on(model, script)

    def ask(self, gateway, question, form=None):
        content = question if self.parts is None else [{"type": "text", "text": question}, *self.parts]
        messages = [{"role": "user", "content": content}]
        return ask(gateway, question, form or self.form, model=self.model, messages=messages, **self.members)


def heavy(script):
    return {"small-1": uncertain(), "large-1": script}


def whole(text="It is Paris.", **options):
    return scripts.reply(200, f.completion(text, head=HEAVY, usage=f.usage(), **options))


def choices(count):
    document = f.completion("One.", head=HEAVY, usage=f.usage())
    return {**document, "choices": [{**document["choices"][0], "index": i} for i in range(count)]}


def message(**members):
    document = f.completion("", head=HEAVY, usage=f.usage())
    document["choices"][0]["message"].update(members)
    return scripts.reply(200, document)


IMAGE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_id": "file-1"}}
SCORED = [("It", 0.1), (" is", 1.7), (" Paris.", 0.1)]
LENGTH = heavy(expert(finish="length"))
PARIS = {"small-1": confident("It is Paris.")}

KEPT = {
    "a_draft": Case(PARIS, "kept"),
    "a_draft_streamed": Case(PARIS, "kept", "stream"),
    "a_draft_that_flowed": Case({"small-1": confident("It is Paris , as all who have been there know .")}, "kept", "stream", "live"),
    "a_draft_that_is_sure_by_the_margin": Case({"small-1": speak(tokens=SCORED)}, "kept"),
    "a_draft_of_one_part": Case(PARIS, "kept", parts=[]),
    "a_heavyweight": Case(heavy(whole()), "kept"),
    "a_heavyweight_streamed": Case(heavy(expert()), "kept", "stream"),
    "a_heavyweight_streamed_with_usage": Case(heavy(expert()), "kept", "usage"),
    "a_heavyweight_in_json_though_a_stream_was_asked_for": Case(heavy(whole()), "kept", "stream", again="json"),
    "a_heavyweight_streamed_though_json_was_asked_for": Case(
        heavy(scripts.frames(*f.text_frames([("It is", 0), (" Paris.", 0)], head=HEAVY, usage=f.usage()))), "kept"),
    "a_heavyweight_after_a_drafter_that_failed": Case({"small-1": scripts.failure(500), "large-1": expert()}, "kept"),
    "a_heavyweight_where_no_draft_could_be_scored": Case({"small-1": NO_LOGPROBS, "large-1": expert()}, "kept"),
    "a_heavyweight_that_is_asked_after_a_live_draft_tripped_unseen": Case(heavy(expert()), "kept", "usage", "live"),
    "an_empty_tool_list": Case(heavy(message(content="It is Paris.", tool_calls=[])), "kept"),
    "at_the_highest_temperature": Case(PARIS, "kept", temperature=1),
    "at_a_temperature_that_the_route_allows": Case(PARIS, "kept", model="warm", temperature=1.5),
    "a_request_of_nearly_256_kb": Case(PARIS, "kept", x_long="x" * 260_000),
    "with_n_of_one": Case(PARIS, "kept", n=1),
    "without_a_margin": Case({"small-1": speak(tokens=[("It is", 1.99), (" Paris.", 0.1)])}, "kept", model="any_margin"),
}


@pytest.mark.parametrize("name", KEPT)
def test_kept_is(caching, upstream, question, name):
    case = KEPT[name]
    case.script(upstream)
    change = Change(caching)
    first = case.ask(caching, question)
    assert_asked(first)
    assert change.answers() == {"kept": 1}
    asked = len(upstream.requests)
    again = case.ask(caching, question, case.again)
    assert again.whole and again.decision == ("cache_hit", "exact")
    assert again.text == first.text != "" and again.finish == first.finish == ["stop"]
    assert len(upstream.requests) == asked
    assert change.answers() == {"kept": 1}  # what was given again is not kept again


ACCEPTED_CALLS = {"small-1": scripts.calls_tools(CALLS, logprobs=True)}

NOT_KEPT = {
    "tool_calls_of_a_draft": Case(ACCEPTED_CALLS, "tool_calls"),
    "tool_calls_of_a_draft_streamed": Case(ACCEPTED_CALLS, "tool_calls", "usage"),
    "tool_calls_of_a_heavyweight": Case(heavy(scripts.calls_tools(CALLS)), "tool_calls"),
    "tool_calls_of_a_heavyweight_streamed": Case(heavy(scripts.calls_tools(CALLS)), "tool_calls", "usage"),
    "a_call_that_ended_with_stop": Case(heavy(whole(tool_calls=CALLS)), "tool_calls"),
    "a_function_call": Case(heavy(message(content=None, function_call={"name": "x", "arguments": "{}"})), "tool_calls"),
    "what_says_tool_calls_and_has_none": Case(heavy(whole(finish="tool_calls")), "tool_calls", model="calls"),
    "a_call_that_ended_with_stop_even_where_calls_are_kept": Case(heavy(whole(tool_calls=CALLS)), "tool_calls", model="calls"),
    "a_draft_cut_by_length": Case({"small-1": confident(finish="length")}, "unfinished"),
    "a_heavyweight_cut_by_length": Case(LENGTH, "unfinished"),
    "a_heavyweight_cut_by_length_streamed": Case(LENGTH, "unfinished", "usage"),
    "a_filtered_draft": Case({"small-1": confident(finish="content_filter")}, "unfinished"),
    "a_filtered_heavyweight": Case(heavy(whole(finish="content_filter")), "unfinished"),
    "an_end_without_a_reason": Case(
        heavy(scripts.frames(*f.text_frames([("It is Paris.", 0)], finish=None, head=HEAVY))), "unfinished", "stream"),
    "several_choices": Case(heavy(scripts.reply(200, choices(2))), None, n=2),
    "more_choices_than_were_asked_for": Case(heavy(scripts.reply(200, choices(2))), "choices"),
    "an_image": Case(PARIS, None, parts=[IMAGE]),
    "a_sound": Case(PARIS, None, parts=[AUDIO]),
    "a_file": Case(PARIS, None, parts=[FILE]),
    "a_spoken_answer": Case(heavy(whole()), None, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
    "a_refusal": Case(heavy(message(content=None, refusal="No.")), "refusal"),
    "a_refusal_streamed": Case(
        heavy(scripts.frames(f.chunk({"role": "assistant", "refusal": "No."}), f.chunk({}, finish="stop"))), "refusal", "stream"),
    "a_refusal_besides_text": Case(heavy(message(content="It is", refusal="No.")), "refusal"),
    "empty_content": Case(heavy(message(content="")), "empty"),
    "null_content": Case(heavy(message(content=None)), "empty"),
    "a_request_of_more_than_256_kb": Case(PARIS, None, x_long="x" * (256 << 10)),
    "too_high_a_temperature": Case(PARIS, None, temperature=1.01),
    "too_high_a_temperature_for_the_route": Case(PARIS, None, model="cool", temperature=0.6),
    "no_temperature_where_less_than_one_is_the_limit": Case(PARIS, None, model="cool"),
    "a_draft_near_the_threshold": Case({"small-1": speak(tokens=[("It is", 1.9), (" Paris.", 0.1)])}, "margin"),
    "a_draft_not_as_sure_as_the_route_wants": Case({"small-1": speak(tokens=[("It is", 1.1), (" Paris.", 0.1)])}, "margin", model="wide_margin"),
    "a_flowing_draft_near_the_threshold": Case(
        {"small-1": speak(tokens=[("It ", 0.1), ("is ", 0.1), ("a ", 1.9), ("b ", 1.9), ("c ", 0.1)])}, "margin", "stream", "live"),
    "a_draft_that_is_accepted_unscored": Case({"small-1": NO_LOGPROBS}, "unsure", model="accept"),
    "a_degraded_draft": Case({"small-1": uncertain(), "large-1": scripts.failure(500)}, "unsure", model="degrade"),
    "a_draft_that_tripped_and_was_let_out": Case({"small-1": draft_of("It ", "is ", "so ")}, "unsure", "stream", "finish"),
    "a_hand_over": Case({"small-1": draft_of("The", " capital"), "large-1": heavy_of(" is Paris.")}, "handoff", "usage", "live"),
    "too_long_a_draft": Case({"small-1": confident("word " * 500)}, "too_large", model="small"),
    "too_long_a_draft_streamed": Case({"small-1": confident("word " * 500)}, "too_large", "stream", "small"),
    "too_long_a_heavyweight": Case(heavy(whole("x" * 2100)), "too_large", model="small"),
    "too_long_a_heavyweight_streamed": Case(heavy(expert("word " * 500)), "too_large", "usage", "small"),
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_not_kept_is(caching, upstream, question, name):
    case = NOT_KEPT[name]
    case.script(upstream)
    change = Change(caching)
    counts = []
    for number in range(1, 3):
        answer = case.ask(caching, question)
        assert_asked(answer)
        assert change.answers() == ({case.result: number} if case.result else {})
        counts.append(len(upstream.requests))
    assert counts[1] == 2 * counts[0]
    assert change.of("draftthinker_cache_entries") == 0
    lookups = change.of("draftthinker_cache_misses_total")
    assert lookups == (2 if case.result else 0)


FAILURES = {
    "an_error": (heavy(scripts.failure(500)), "json", "auto"),
    "a_refused_request": (heavy(scripts.failure(400)), "json", "auto"),
    "a_cut_document": (heavy(scripts.FAILURES["short_content_length"]), "json", "auto"),
    "a_cut_stream": (heavy(scripts.FAILURES["cut_stream"]), "stream", "auto"),
    "a_stream_with_an_error": (heavy(scripts.FAILURES["error_frame_later"]), "usage", "auto"),
    "a_cut_live_draft": ({"small-1": scripts.after(f.text_frames([("w ", 0.1)] * 6, finish=None), scripts.cut)}, "stream", "live"),
    "a_hand_over_that_failed": ({"small-1": draft_of("The", " capital"), "large-1": scripts.failure(500)}, "stream", "live"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_of_an_answer_that_failed_nothing_is_kept(caching, upstream, question, name):
    servers, form, model = FAILURES[name]
    for server, script in servers.items():
        upstream.on(server, script)
    change = Change(caching)
    assert not ask(caching, question, form, model=model).whole
    upstream.on("small-1", confident("It is Paris."))
    answer = ask(caching, question, form, model=model)
    assert_asked(answer)
    assert answer.text == "It is Paris."
    assert change.answers() == {"kept": 1}


def test_of_an_answer_whose_client_left_nothing_is_kept(caching, upstream, question):
    gate = upstream.gate()
    upstream.on("small-1", holds(gate, confident()))
    with caching.client() as client:
        client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": question}]})
        request = upstream.wait_request("small-1")
    upstream.wait_closed(request)
    gate.set()
    assert_asked(ask(caching, question))


def test_above_the_limit_of_temperature_what_is_kept_is_not_used_either(start, upstream, question):
    config = caching_config(upstream, cache={"max_temperature": 2})
    gateway = start(**config)
    upstream.on("small-1", confident())
    assert_asked(ask(gateway, question, temperature=1.5))
    assert_hit(ask(gateway, question, temperature=1.5))
    reload(gateway, merge(config, {"cache": {"max_temperature": 1.4}}))
    assert_asked(ask(gateway, question, temperature=1.5))
    reload(gateway, config)
    assert_hit(ask(gateway, question, temperature=1.5))


# Tool calls, where they are wanted


@pytest.mark.parametrize("source", ["draft", "heavyweight"])
@pytest.mark.parametrize("first", ["json", "usage"])
@pytest.mark.parametrize("second", FORMS)
def test_calls_are_kept_where_the_route_says_so(caching, upstream, question, source, first, second):
    if source == "draft":
        upstream.on("small-1", scripts.calls_tools(CALLS, logprobs=True))
    else:
        escalates_to(upstream, scripts.calls_tools(CALLS))
    assert_asked(ask(caching, question, first, model="calls"))
    asked = len(upstream.requests)
    hit = ask(caching, question, second, model="calls")
    assert hit.whole and hit.decision == ("cache_hit", "exact") and len(upstream.requests) == asked
    assert hit.finish == ["tool_calls"]
    wanted = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in CALLS]
    if second != "json":
        wanted = [{"index": number, **call} for number, call in enumerate(wanted)]
        assert [frame["choices"][0]["finish_reason"] for frame in hit.stream.frames[:2]] == [None, "tool_calls"]
        assert hit.stream.frames[1]["choices"][0]["delta"] == {}
    assert hit.calls == wanted


def test_an_answer_whose_server_tells_no_usage_is_given_again_as_it_was(caching, upstream, question):
    escalates_to(upstream, scripts.reply(200, f.completion("No count.", head=HEAVY)))
    assert "usage" not in ask(caching, question).document
    hit = ask(caching, question)
    assert_hit(hit, "exact", "heavyweight", "good")
    assert hit.text == "No count." and "usage" not in hit.document


# How much of it


@pytest.mark.parametrize("form", ["json", "usage"])
def test_it_is_the_answers_length_that_counts_not_that_of_its_frames(caching, upstream, question, form):
    text = "word " * 200  # a thousand bytes, in two hundred frames of as many bytes each
    escalates_to(upstream, expert(text))
    change = Change(caching)
    ask(caching, question, form, model="small")
    assert change.answers() == {"kept": 1}
    hit = ask(caching, question, model="small")
    assert_hit(hit, "exact", "heavyweight", "good")
    assert hit.text == text


@pytest.mark.parametrize("form", FORMS)
def test_a_long_answer_is_given_again_byte_by_byte(caching, upstream, question, form):
    frames, text = text_stream(2_000_000, 200)
    escalates_to(upstream, scripts.frames(*frames, f.usage_frame(f.usage())))
    assert ask(caching, question, "usage", model="large").text == text
    hit = ask(caching, question, form, model="large")
    assert_hit(hit, "exact", "heavyweight", "good")
    assert hit.text == text


# How long, and how many


def test_an_answer_is_given_as_long_as_it_lives_and_no_longer(caching, upstream, question):
    upstream.on("small-1", confident("Old."))
    ask(caching, question, model="brief")
    upstream.on("small-1", confident("New."))
    told = eventually(lambda: ask(caching, question, model="brief").text == "New.", "its end", timeout=5)
    assert told and len(upstream.requests) == 2
    # The new one lives as long again.
    assert ask(caching, question, model="brief").text == "New." and len(upstream.requests) <= 3


def test_what_has_expired_is_counted_so_and_makes_room(start, upstream, question):
    gateway = start(**caching_config(upstream, cache={"ttl_seconds": 0.2}))
    upstream.on("small-1", echo())
    for number in range(10):
        ask(gateway, f"{question} {number}")
    eventually(lambda: gateway.metrics()["draftthinker_cache_entries"] == 0, "their end")
    samples = gateway.metrics()
    assert samples[GONE % "expired"] == 10 and samples[GONE % "room"] == 0
    assert samples["draftthinker_cache_bytes"] == 0


def test_when_there_are_too_many_the_least_recently_used_goes(start, upstream, question):
    gateway = start(**caching_config(upstream, cache={"max_entries": 4, "caller_share": 1}))
    upstream.on("small-1", echo())
    for number in range(4):
        ask(gateway, f"{question} {number}")
    assert_hit(ask(gateway, f"{question} 0"))  # used: it is not the next to go
    ask(gateway, f"{question} 4")
    assert_hit(ask(gateway, f"{question} 0"))
    assert_asked(ask(gateway, f"{question} 1"))
    samples = gateway.metrics()
    assert samples["draftthinker_cache_entries"] == samples["draftthinker_cache_entries_max"] == 4
    assert samples[GONE % "room"] == 2 and samples[ANSWERS % "kept"] == 6


def test_all_that_is_kept_stays_within_its_bytes(start, upstream, question):
    gateway = start(**caching_config(upstream, cache={"max_bytes": 100_000}))
    upstream.on("small-1", speak(tokens=[("x" * 5000, 0.1)]))
    for number in range(50):
        ask(gateway, f"{question} {number}")
        assert gateway.metrics()["draftthinker_cache_bytes"] <= 100_000
    samples = gateway.metrics()
    assert samples["draftthinker_cache_bytes_max"] == 100_000
    assert samples[ANSWERS % "kept"] == 50
    assert samples["draftthinker_cache_entries"] == 50 - samples[GONE % "room"] >= 8
    assert_hit(ask(gateway, f"{question} 49"))


@pytest.mark.parametrize("bounds", [{"max_bytes": 0}, {"max_bytes": 3000}])
def test_an_answer_for_which_there_is_no_room_is_not_kept(start, upstream, question, bounds):
    gateway = start(**caching_config(upstream, cache=bounds))
    upstream.on("small-1", speak(tokens=[("x" * 4000, 0.1)]))
    for _ in range(2):
        answer = ask(gateway, question)
        assert_asked(answer)
        assert answer.text == "x" * 4000
    samples = gateway.metrics()
    assert samples[ANSWERS % "no_room"] == 2 and samples["draftthinker_cache_entries"] == 0


def test_a_caller_who_asks_much_does_not_push_out_the_others(start, upstream, question):
    gateway = start(**caching_config(upstream, cache={"max_entries": 20, "caller_share": 0.5}))
    upstream.on("small-1", echo())
    quiet, busy = [("Authorization", "Bearer quiet")], [("Authorization", "Bearer busy")]
    for number in range(5):
        ask(gateway, f"{question} {number}", headers=quiet)
    for number in range(100):
        ask(gateway, f"{question} busy {number}", headers=busy)
    for number in range(5):
        assert_hit(ask(gateway, f"{question} {number}", headers=quiet))
    assert gateway.metrics()["draftthinker_cache_entries"] <= 20


def test_less_room_after_a_reload_is_kept_to(start, upstream, question):
    config = caching_config(upstream)
    gateway = start(**config)
    upstream.on("small-1", echo())
    for number in range(20):
        ask(gateway, f"{question} {number}")
    reload(gateway, merge(config, {"cache": {"max_entries": 5}}))
    eventually(lambda: gateway.metrics()["draftthinker_cache_entries"] <= 5, "fewer entries")
    assert gateway.metrics()["draftthinker_cache_entries_max"] == 5


def test_one_request_has_one_answer_however_often_it_is_kept(caching, upstream, question):
    upstream.on("small-1", confident())
    change = Change(caching)
    for _ in range(20):
        ask(caching, question, headers=[("Cache-Control", "no-cache")])
    assert change.of("draftthinker_cache_entries") == 1
    assert change.of(GONE % "replaced") == 19 and change.answers() == {"kept": 20}


def test_an_answer_that_may_not_be_kept_leaves_the_one_that_is(caching, upstream, question):
    """What is given again is the last answer that was good enough."""
    upstream.on("small-1", confident("Good."))
    ask(caching, question)
    upstream.on("small-1", confident("Cut", finish="length"))
    assert ask(caching, question, headers=[("Cache-Control", "no-cache")]).text == "Cut"
    assert_error(caching.chat(b"{"), 400)
    hit = ask(caching, question)
    assert_hit(hit)
    assert hit.text == "Good."
