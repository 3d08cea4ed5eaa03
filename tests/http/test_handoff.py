"""A draft that trips after a part of it was seen: the heavyweight goes on, and the client sees one answer."""

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_routed
from lib.gateway import SLOW, eventually, soon
from lib.live import (DIALECTS, DRAFT, HEAVY, ROLE, Puppet, Watch, draft_of, heavy_of, live, live_config,  # noqa: F401
                      live_daemon, said, stop)

LIMIT_MS = 50
INSTRUCTION = {"role": "user", "content": "Your previous answer was cut off. Continue it exactly where it stops. "
               "Repeat nothing of it, and write no introduction and no comment."}


@pytest.fixture
def handed(live, upstream):
    """handed(pieces, heavy script, …): the stream of a draft of which the client got the pieces, read to its end."""

    def ask(pieces, heavy, model="auto", headers=(), **members):
        upstream.on("small-1", draft_of(*pieces))
        upstream.on("large-1", heavy)
        stream = live.stream(model=model, headers=headers, **members).read()
        assert b"DRAFTED" not in stream.raw
        return stream

    return ask


def finish_reasons(stream):
    return [c["finish_reason"] for frame in stream.frames for c in frame.get("choices", []) if c.get("finish_reason")]


def roles(stream):
    return [c["delta"]["role"] for frame in stream.frames for c in frame.get("choices", []) if "role" in c["delta"]]


def assert_one_answer(stream, text):
    """To the client it is one answer of one model, from its role to its one end."""
    assert stream.text == text
    assert stream.done and stream.complete
    assert {(frame["id"], frame["created"], frame["object"]) for frame in stream.frames} == {
        (DRAFT["id"], DRAFT["created"], "chat.completion.chunk")}
    assert roles(stream) == ["assistant"] and "role" in stream.frames[0]["choices"][0]["delta"]
    assert finish_reasons(stream) == ["stop"]
    assert [item[0] for item in stream.items[-2:]] == ["comment", "data"]


def assert_cut(stream, text):
    assert stream.text == text
    assert stream.error["code"] == "upstream_truncated" and "error" in stream.frames[-1]
    assert "[DONE]" not in stream.data and not stream.complete and finish_reasons(stream) == []
    assert stream.client.read_to_end() == b""


# One answer


def test_the_client_sees_one_answer(handed, live, upstream):
    before = live.metrics()
    stream = handed(["The", " capital", " of"], heavy_of(" France", " is", " Paris."), headers=[("X-Request-ID", "handed")])
    assert_one_answer(stream, "The capital of France is Paris.")
    assert_routed(stream.head, "accept", "confident", model="drafter")  # the verdict so far
    routing = stream.routing
    assert (routing["decision"], routing["reason"], routing["model"]) == ("escalate", "window", "heavyweight")
    assert float(routing["score"]) > 2
    line = live.access_line("handed")
    assert line["handed_off"] is True and line["end"] == "done" and line["attempts"] == 2
    assert (line["decision"], line["reason"], line["model"]) == ("escalate", "window", "heavyweight")
    assert (line["drafter"], line["heavyweight"]) == ("drafter", "heavyweight")
    sent = bytes(stream.raw)
    assert line["sent_bytes"] == len(sent[: sent.index(b": routing")])
    after = live.metrics()

    def grown(name):
        return after.get(name, 0) - before.get(name, 0)

    assert grown('draftthinker_routing_decisions_total{decision="escalate"}') == 1
    assert grown('draftthinker_routing_decisions_total{decision="accept"}') == 0
    assert grown('draftthinker_requests_total{model="heavyweight",status="200"}') == 1
    assert grown('draftthinker_tokens_total{model="drafter",kind="completion"}') > 0  # the client got some of them
    assert grown('draftthinker_tokens_total{model="drafter",kind="wasted"}') == 0


def test_the_drafter_is_let_go_at_once(live, upstream):
    heavy = Puppet(upstream, "large-1")
    drafter = Puppet(upstream, "small-1")

    def attempt():
        watch = Watch(live)
        drafter.take().say(ROLE, *[said(t) for t in ("The", " capital", " of", " France")])
        watch.wait_text("The capital")
        drafter.say(said(" DRAFTED", 5.0))
        taken = heavy.take()
        late = drafter.wait_closed() - taken.request.at
        heavy.end(said(" of", head=HEAVY), stop(HEAVY))
        assert_one_answer(watch.read(), "The capital of")
        return late

    soon(LIMIT_MS, attempt)


def test_what_the_heavyweight_says_flows_as_it_comes(live, upstream):
    upstream.on("small-1", draft_of("The", " capital"))
    heavy = Puppet(upstream, "large-1")
    watch = Watch(live)
    heavy.take()
    watch.wait_text("The capital")
    heavy.say(f.chunk({"role": "assistant", "content": ""}, head=HEAVY))
    assert watch.settle().text == "The capital" and len(watch.stream.frames) == 3
    heavy.say(said(" of", head=HEAVY))
    watch.wait_text("The capital of")
    heavy.say(said(" France", head=HEAVY))
    watch.wait_text("The capital of France")
    heavy.end(stop(HEAVY))
    assert_one_answer(watch.read(), "The capital of France")


def test_a_heavyweight_that_answers_in_json_goes_on_all_the_same(handed):
    answer = scripts.reply(200, f.completion(" France is Paris.", head=HEAVY, usage=f.usage(20, 4)))
    assert_one_answer(handed(["The", " capital", " of"], answer), "The capital of France is Paris.")


def test_a_heavyweight_with_nothing_to_add_ends_the_answer(handed):
    assert_one_answer(handed(["The", " capital"], heavy_of()), "The capital")


def test_done_without_a_finish_reason_loses_no_text(handed):
    """What may yet become a repetition is kept back until the end."""
    stream = handed(["The", " end"], heavy_of(" of", " it. The", finish=None))
    assert stream.text == "The end of it. The" and stream.done and finish_reasons(stream) == []
    stream = handed(["The", " end"], heavy_of("The", " e", finish=None))
    assert stream.text == "The endThe e" and stream.done and finish_reasons(stream) == []


# What the heavyweight is asked

TEXTS = {
    "plain": ["The", " capital", " of"],
    "escapes": ['say "', "hi\\", "n\n\t/ \u2028 \x7f <b>"],
    "umlauts": ["Grüße", " aus", " Köln: ß"],
    "emoji": ["a 👩‍👩‍👧", " 🇫🇷", " é e\u0301"],
    "newlines": ["one\r\n", "\n", "two"],
    "white_space": ["Result:", "\n", "\n\n "],
}


def asked_for(dialect, text):
    """The messages and members that a heavyweight gets with this dialect."""
    partial = {"role": "assistant", "content": text.rstrip() if dialect == "anthropic" else text}
    if dialect in ("deepseek", "mistral"):
        partial["prefix"] = True
    more = {"add_generation_prompt": False, "continue_final_message": True} if dialect == "vllm" else {}
    return ([partial, INSTRUCTION] if dialect == "none" else [partial]), more


@pytest.mark.parametrize("kind", sorted(TEXTS))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_heavyweight_is_asked_to_continue_just_what_the_client_has(handed, upstream, dialect, kind):
    text = "".join(TEXTS[kind])
    stream = handed(TEXTS[kind], heavy_of("|go", " on"), model=dialect)
    assert_one_answer(stream, text + "|go on")
    body = upstream.requests_for("large-1")[0].json
    messages, more = asked_for(dialect, text)
    assert body == {"model": "large-1", "stream": True, **more,
                    "messages": [{"role": "user", "content": "What is the capital of France?"}, *messages]}


def test_every_other_byte_of_the_clients_body_stays(live, upstream):
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", heavy_of(" of"))
    body = (b'{ "temperature" : 0.70, "x":[1e0,"\\u0041\\/"],"stream":true,  "messages" :[ {"role":"user", "content":"hi \\u00e4"}'
            b'\n ] ,"model":"plain","seed":12345678901234567890,"max_tokens": 100,"user":"u" }')
    assert live.stream(body).read().text == "The capital of"
    want = body.replace(b'"plain"', b'"large-1"').replace(b'"max_tokens": 100', b'"max_tokens": 98')
    want = want.replace(b"}\n ]", b'},{"role":"assistant","content":"The capital"}\n ]')
    assert upstream.requests_for("large-1")[0].body == want


@pytest.mark.parametrize("member", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit, left", [(100, 97), (4, 1), (3, 1), (2, 1)])
def test_the_tokens_that_the_client_has_are_taken_off_its_limit(handed, upstream, member, limit, left):
    handed(["a", " b", " c"], heavy_of(" d"), model="plain", **{member: limit})
    assert upstream.requests_for("small-1")[0].json[member] == limit
    assert upstream.requests_for("large-1")[0].json[member] == left


# What it repeats


REPEATS = {
    "nothing": (["The", " capital", " of"], " France is", " France is"),
    "the_whole_text": (["The", " capital", " of"], "The capital of France is", " France is"),
    "the_last_words": (["The", " capital", " of"], "capital of France is", " France is"),
    "the_last_word": (["The", " capital", " of"], "of France is", " France is"),
    "a_word_begun": (["The", " capi"], "capital of France", "tal of France"),
    "a_word_gone_on": (["The", " capi"], "tal of France", "tal of France"),
    "white_space": (["One:", "\n"], "\nTwo", "Two"),
    "wide_characters": (["Grüße", " aus", " Köln 👩‍👩‍👧"], "aus Köln 👩‍👩‍👧 und", " und"),
    "nothing_else": (["The", " capital"], "The capital", ""),
    "what_only_begins_alike": (["The", " capital"], "The capitol of", "The capitol of"),
    "an_end_of_a_word": (["The", " capital"], "tal", "tal"),
}


def pieces_of(text, cut):
    return list(text) if cut == "each_character" else [text] if cut == "one_frame" else f.tokens_of(text)


@pytest.mark.parametrize("cut", ["each_character", "words", "one_frame"])
@pytest.mark.parametrize("kind", sorted(REPEATS))
def test_what_is_repeated_is_seen_once(handed, kind, cut):
    pieces, continuation, new = REPEATS[kind]
    stream = handed(pieces, heavy_of(*pieces_of(continuation, cut)))
    assert_one_answer(stream, "".join(pieces) + new)


@pytest.mark.parametrize("dialect, continuation, new", [
    ("plain", "The capital", "The capital"),
    ("vllm", " capital", " capital"),
    ("deepseek", "capital", "capital"),
    ("mistral", "The capital of", " of"),
    ("mistral", "capital of", "capital of"),
    ("anthropic", " capital", " capital"),
])
def test_a_server_that_continues_exactly_is_taken_at_its_word(handed, dialect, continuation, new):
    for cut in ("each_character", "one_frame"):
        stream = handed(["The", " capital"], heavy_of(*pieces_of(continuation, cut)), model=dialect)
        assert_one_answer(stream, "The capital" + new)


def test_white_space_that_was_not_sent_is_not_said_twice(handed):
    for begins in ("\n\n", "\n", ""):
        stream = handed(["List:", "\n\n"], heavy_of(begins + "- one"), model="anthropic")
        assert_one_answer(stream, "List:\n\n- one")


# What was asked for


def entries_of(stream):
    return [e["token"] for frame in stream.frames for c in frame["choices"] for e in (c.get("logprobs") or {}).get("content") or []]


def test_logprobs_of_both_models_are_kept_if_asked_for(handed):
    stream = handed(["The", " capital"], heavy_of(" of", " France"), model="plain", logprobs=True, top_logprobs=2)
    assert_one_answer(stream, "The capital of France")
    assert entries_of(stream) == ["The", " capital", " of", " France"]


def test_logprobs_that_would_not_fit_what_is_left_of_a_repetition_are_left_out(handed):
    stream = handed(["The", " capital"], heavy_of("The capital of", " France"), logprobs=True)
    assert_one_answer(stream, "The capital of France")
    assert entries_of(stream) == ["The", " capital", " France"]


def test_without_being_asked_for_there_are_none(handed):
    scored = scripts.frames(*f.text_frames([(" of", 0.1)], head=HEAVY, usage=f.usage(9, 1)))  # unasked
    stream = handed(["The", " capital"], scored)
    assert_one_answer(stream, "The capital of")
    assert b"logprobs" not in stream.raw and not [frame for frame in stream.frames if frame.get("usage")]


def test_the_usage_frame_is_the_heavyweights_and_only_if_asked_for(handed, live):
    stream = handed(["The", " capital"], heavy_of(" of", usage=f.usage(31, 1)), stream_options={"include_usage": True},
                    headers=[("X-Request-ID", "handed-usage")])
    assert stream.text == "The capital of" and stream.done and finish_reasons(stream) == ["stop"]
    last = stream.frames[-1]
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 32 and last["id"] == DRAFT["id"]
    assert [frame["usage"] for frame in stream.frames[:-1]] == [None] * (len(stream.frames) - 1)
    assert live.access_line("handed-usage")["completion_tokens"] == 1


def test_tool_calls_of_the_heavyweight_pass(handed):
    calls = [("call_a", "weather", '{"city":"Paris"}'), ("call_b", "weather", '{"city":"Rome"}')]
    stream = handed(["Let", " me", " look."], scripts.calls_tools(calls, head=HEAVY))
    assert stream.text == "Let me look." and stream.done
    assert roles(stream) == ["assistant"] and finish_reasons(stream) == ["tool_calls"]
    assert {frame["id"] for frame in stream.frames} == {DRAFT["id"]}
    made = {}
    for frame in stream.frames:
        for part in frame["choices"][0]["delta"].get("tool_calls", []):
            made.setdefault(part["index"], ["", "", ""])
            made[part["index"]][0] += part.get("id", "")
            made[part["index"]][1] += part["function"].get("name", "")
            made[part["index"]][2] += part["function"]["arguments"]
    assert [tuple(made[i]) for i in sorted(made)] == calls


def test_the_finish_reason_is_the_heavyweights(handed):
    stream = handed(["The", " capital"], heavy_of(" of", finish="length"))
    assert finish_reasons(stream) == ["length"] and stream.done


# Other reasons to hand on


CALLS = [("call_a", "weather", '{"city":"Paris"}')]


@pytest.mark.parametrize("frame", [
    f.chunk({"content": " DRAFTED"}, head=DRAFT),
    f.chunk({"content": " DRAFTED"}, entries=[], head=DRAFT),
    f.tool_frames([("call_x", "DRAFTED", "{}")], head=DRAFT)[1],
], ids=["text", "no_candidates", "tool_call"])
def test_a_draft_that_can_no_longer_be_scored_is_handed_on(live, upstream, frame):
    words = [said(t) for t in ("Let", " me", " look", " it")]
    upstream.on("small-1", scripts.after([ROLE, *words, frame], scripts.stall))
    upstream.on("large-1", scripts.calls_tools(CALLS, head=HEAVY))
    stream = live.stream().read()
    assert stream.text == "Let me" and finish_reasons(stream) == ["tool_calls"] and stream.done
    assert b"DRAFTED" not in stream.raw and b"call_a" in stream.raw
    assert (stream.routing["decision"], stream.routing["reason"]) == ("escalate", "unscorable")
    assert upstream.requests_for("large-1")[0].json["messages"][1:] == [{"role": "assistant", "content": "Let me"}, INSTRUCTION]


def test_a_draft_that_can_no_longer_be_scored_runs_out_where_late_is_finish(live, upstream):
    frames = [ROLE, *[said(t) for t in ("The", " capital", " of", " it")], f.chunk({"content": " is"}, head=DRAFT), stop()]
    upstream.on("small-1", scripts.frames(*frames))
    stream = live.stream(model="finish").read()
    assert stream.text == "The capital of it is" and stream.done
    assert (stream.routing["decision"], stream.routing["reason"]) == ("accept", "unscorable")


def test_where_nothing_could_be_sent_of_what_the_client_has_the_whole_question_is_asked(handed, upstream):
    stream = handed(["\n", "\n"], heavy_of("\n\nParis."), model="anthropic", max_tokens=9)
    assert_one_answer(stream, "\n\nParis.")
    body = upstream.requests_for("large-1")[0].json
    assert len(body["messages"]) == 1 and body["max_tokens"] == 9


# When the heavyweight fails

PART = [f.chunk({"role": "assistant", "content": ""}, head=HEAVY), said(" of", head=HEAVY)]
FAILURES = {**scripts.FAILURES, "cut_after_its_role": scripts.after(PART[:1], scripts.cut)}
del FAILURES["no_output"]  # nothing to add is no failure
# Those that say something first.
SAY_FIRST = {"short_content_length": "DRAFTED"} | {how: "DRAFTED half" for how in (
    "cut_stream", "reset_stream", "ended_without_finish", "error_frame_later", "malformed_later_frame",
    "invalid_utf8_frame", "frame_not_an_object", "choices_not_an_array")}


@pytest.mark.parametrize("how", sorted(FAILURES))
def test_a_heavyweight_that_fails_leaves_a_broken_stream_and_is_not_asked_again(live, upstream, how):
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", FAILURES[how])
    stream = live.stream(headers=[("X-Request-ID", f"fail-{how}")]).read()
    assert_cut(stream, "The capital" + SAY_FIRST.get(how, ""))
    assert len(upstream.requests_for("large-1")) == 1
    line = live.access_line(f"fail-{how}")
    assert (line["end"], line["error"], line["status"]) == ("upstream_truncated", "upstream_error", 200)
    assert (line["decision"], line["reason"]) == ("escalate", "window")


def test_a_list_of_heavyweights_and_retries_are_not_tried_once_something_was_seen(start, upstream):
    providers = {"good": {"retries": 2}}
    gateway = start(**{**live_config(upstream, providers=providers,
                                     routes={"auto": {"heavyweight": ["heavyweight", "other"]}})})
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", scripts.failure(503))
    upstream.on("other-1", heavy_of(" of"))
    assert_cut(gateway.stream().read(), "The capital")
    assert len(upstream.requests_for("large-1")) == 1 and upstream.requests_for("other-1") == []


def test_a_heavyweight_that_has_no_place_free_leaves_a_broken_stream(start, upstream):
    gateway = start(**live_config(upstream, providers={"good": {"max_concurrent": 1}}))
    upstream.on("other-1", scripts.stall)
    upstream.on("small-1", draft_of("The", " capital"))
    with gateway.client() as other:
        other.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
        upstream.wait_request("other-1")
        stream = gateway.stream().read()
        assert_cut(stream, "The capital")
        assert "max_concurrent" in stream.error["message"] and upstream.requests_for("large-1") == []


@pytest.mark.parametrize("speculative", [False, True], ids=["late", "late_beside_a_head_start"])
def test_the_time_until_an_answer_begins_does_not_bound_a_hand_over(start, upstream, speculative):
    limit_s = 0.4 * max(1, SLOW / 4)
    gateway = start(**live_config(upstream, server={"request_timeout": f"{int(limit_s * 1000)}ms"},
                                  speculative={"enabled": speculative, "soft_threshold_mult": 0.5}))
    drafter = Puppet(upstream, "small-1")
    upstream.on("large-1", heavy_of(" of", " France."))
    watch = Watch(gateway)
    drafter.take().say(ROLE, *[said(t) for t in ("The", " capital", " DRAFTED", " held")])
    watch.wait_text("The capital")
    upstream.gate().wait(1.5 * limit_s)
    if speculative:
        drafter.say(said(" doubt", 1.5))
        watch.wait_text("The capital DRAFTED")
    drafter.say(said(" back", 4.0))
    stream = watch.read()
    assert stream.error is None and stream.done, stream.error
    assert stream.text.startswith("The capital") and stream.text.endswith(" France.")


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_heavyweight_that_breaks_later_does_too(live, upstream, how):
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", scripts.after(PART, getattr(scripts, how)))
    stream = live.stream(headers=[("X-Request-ID", f"later-{how}")]).read()
    assert_cut(stream, "The capital of")
    assert len(upstream.requests_for("large-1")) == 1
    line = live.access_line(f"later-{how}")
    assert line["handed_off"] is True and line["model"] == "heavyweight"


@pytest.mark.parametrize("ending", [
    scripts.frames(*PART, done=False),
    scripts.frames(*PART, b'{"id":"x","choices":['),
    scripts.frames(*PART, {"error": {"message": "overloaded", "type": "server_error"}}),
    scripts.after(PART, scripts.stall),
], ids=["end", "garbage", "error", "stall"])
def test_so_does_one_that_ends_in_any_other_way(start, upstream, ending):
    gateway = start(**live_config(upstream, providers={"good": {"idle_timeout": "300ms"}}))
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", ending)
    assert_cut(gateway.stream().read(), "The capital of")
    assert len(upstream.requests_for("large-1")) == 1


def test_where_the_draft_may_stand_in_it_goes_on_itself(live, upstream):
    drafter = Puppet(upstream, "small-1")
    upstream.on("large-1", scripts.failure(503))
    watch = Watch(live, model="degrade")
    drafter.take().say(ROLE, *[said(t) for t in ("The", " capital", " of", " France")], said(" is", 5.0))
    upstream.wait_request("large-1")
    watch.wait_text("The capital")
    assert watch.settle().text == "The capital"
    drafter.end(said(" Paris", 5.0), stop())
    stream = watch.read()
    assert_one_answer(stream, "The capital of France is Paris")
    assert (stream.routing["decision"], stream.routing["reason"], stream.routing["model"]) == ("accept", "degraded", "drafter")


def test_such_a_draft_is_let_go_when_the_heavyweight_has_said_something(live, upstream):
    drafter, heavy = Puppet(upstream, "small-1"), Puppet(upstream, "large-1")
    watch = Watch(live, model="degrade")
    drafter.take().say(ROLE, *[said(t) for t in ("The", " capital", " of", " France")], said(" is", 5.0))
    heavy.take()
    drafter.say(said(" DRAFTED"))
    assert watch.settle().text == "The capital" and not drafter.exchange.connection.closed.is_set()
    heavy.say(said(" of", head=HEAVY))
    watch.wait_text("The capital of")
    drafter.wait_closed()
    heavy.end(stop(HEAVY))
    assert_one_answer(watch.read(), "The capital of")


# Who leaves, who lags, and silence


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", ["flowing", "handing_off", "relaying"])
def test_a_client_that_leaves_is_counted_and_upstream_let_go_within_50_ms(live, upstream, phase, how):
    drafter, heavy = Puppet(upstream, "small-1"), Puppet(upstream, "large-1")
    name, tries = "draftthinker_client_disconnects_total", []
    before = live.metrics()[name]

    def attempt():
        tries.append(f"leaves-{phase}-{how}-{len(tries)}")
        watch = Watch(live, [("X-Request-ID", tries[-1])])
        server = drafter.take()
        drafter.say(ROLE, *[said(t) for t in ("The", " capital", " of", " France")])
        watch.wait_text("The capital")
        if phase != "flowing":
            drafter.say(said(" DRAFTED", 5.0))
            server = heavy.take()
            drafter.wait_closed()
        if phase == "relaying":
            heavy.say(said(" of", head=HEAVY))
            watch.wait_text("The capital of")
        at = getattr(watch.client, how)()
        return server.wait_closed() - at

    soon(LIMIT_MS, attempt)
    for number, request_id in enumerate(tries):
        line = live.access_line(request_id)
        assert (line["end"], line["status"]) == ("client_gone", 200)
        assert line["decision"] == ("accept" if phase == "flowing" else "escalate")
    assert live.metrics()[name] - before == len(tries)
    eventually(lambda: live.metrics()["draftthinker_requests_in_flight"] == 0, "their end")


def test_while_the_heavyweight_thinks_the_stream_is_kept_alive_between_events(start, upstream):
    gateway = start(**live_config(upstream, server={"keepalive_interval": "50ms"}))
    upstream.on("small-1", draft_of("The", " capital"))
    heavy = Puppet(upstream, "large-1")
    watch = Watch(gateway)
    heavy.take()
    stream = watch.wait_text("The capital")
    frame = f.event(said(" of", head=HEAVY))
    heavy.exchange.write(frame[:25])
    eventually(lambda: watch.poll().comments.count(": keepalive") >= 3, "comments")
    heavy.exchange.write(frame[25:])
    heavy.end(stop(HEAVY))
    watch.read()
    assert_one_answer(stream, "The capital of")
    assert not [item for item in stream.items if item[0] == "other"]


def test_many_at_once_do_not_mix(live, upstream):
    def drafts(exchange):
        name = exchange.request.json["messages"][0]["content"]
        draft_of(f"{name}:", f" draft {name}", head={**DRAFT, "id": name})(exchange)

    def goes_on(exchange):
        name = exchange.request.json["messages"][0]["content"]
        heavy_of(f" heavy {name}")(exchange)

    upstream.on("small-1", drafts)
    upstream.on("large-1", goes_on)
    watches = [Watch(live, messages=[{"role": "user", "content": f"n{i}"}]) for i in range(20)]
    for i, watch in enumerate(watches):
        stream = watch.read()
        assert stream.text == f"n{i}: draft n{i} heavy n{i}" and stream.done
        assert {frame["id"] for frame in stream.frames} == {f"n{i}"}
    assert [len(request.json["messages"]) for request in upstream.requests_for("large-1")] == [3] * 20
