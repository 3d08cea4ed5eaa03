"""Live streams: what of a draft is seen when, and what becomes of one that breaks or runs late."""

import random

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import SLOW, Gateway, eventually
from lib.live import (DRAFT, ROLE, SIZES, Puppet, Scored, Watch, draft_of, heavy_of, judge, live, live_config,  # noqa: F401
                      live_daemon, said, stop, visible)
from lib.scripts import confident, expert, uncertain

WORDS = [f"t{i} " for i in range(1, 41)]


def text_of(count):
    return "".join(WORDS[:count])


# Frame by frame


@pytest.mark.parametrize("window, early", SIZES)
def test_a_token_is_seen_once_its_window_was_scored_and_never_before(live, upstream, window, early):
    drafter, scored = Puppet(upstream, "small-1"), Scored(live)
    watch = Watch(live, model=f"w{window}n{early}")
    drafter.take().say(ROLE)
    seen = 0
    count = max(window, early) + 4
    for number in range(1, count + 1):
        drafter.say(said(WORDS[number - 1]))
        due = visible(number, window, early)
        if due > seen:  # it comes, and nothing else has to happen first
            watch.wait_text(text_of(due))
        scored.wait(number)
        watch.settle()
        assert watch.text == (text_of(due) if due else None)
        seen = due
    drafter.say(stop())
    watch.settle()
    assert watch.text == text_of(seen)
    drafter.end()
    stream = watch.read()
    assert stream.text == text_of(count) and stream.done and stream.complete
    assert len(stream.frames) == count + 2  # each as it came: a role, tokens, an end
    assert [frame["choices"][0]["finish_reason"] for frame in stream.frames] == [None] * (count + 1) + ["stop"]
    assert upstream.requests_for("large-1") == []


def test_a_draft_shorter_than_the_window_comes_at_its_end(live, upstream):
    drafter, scored = Puppet(upstream, "small-1"), Scored(live)
    watch = Watch(live, model="w10n10")
    drafter.take().say(ROLE, *[said(word) for word in WORDS[:10]])
    scored.wait(10)
    assert watch.settle().text is None
    drafter.end(stop())
    assert watch.read().text == text_of(10)
    assert_routed(watch.stream.head, "accept", "confident", model="drafter")


def test_the_headers_come_with_the_first_token_and_the_comment_at_the_end(live, upstream):
    drafter = Puppet(upstream, "small-1")
    watch = Watch(live, [("X-Request-ID", "live-1")])
    drafter.take().say(ROLE, said("a", 0.5), said("b", 0.2), said("c", 0.2))
    stream = watch.wait_text("a")
    assert_routed(stream.head, "accept", "confident", model="drafter", provider="cheap")
    assert float(stream.head.header("X-Routing-Score")) == pytest.approx(0.5, abs=1e-4)
    assert stream.head.header("X-Request-ID") == "live-1"
    assert stream.head.header("X-Request-Duration-Ms").isdigit()
    assert stream.head.header("x-gateway-attempts") == "1"
    drafter.end(said("d", 1.8), stop())
    stream = watch.read()
    assert stream.items[0][0] == "data" and stream.frames[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [item[0] for item in stream.items[-2:]] == ["comment", "data"] and stream.done and stream.complete
    routing = stream.routing
    assert set(routing) == {"decision", "reason", "score", "model", "duration_ms"}
    assert (routing["decision"], routing["reason"], routing["model"]) == ("accept", "confident", "drafter")
    assert float(routing["score"]) == pytest.approx(1.0, abs=1e-4)  # the mean of the last two
    assert routing["duration_ms"].isdigit()


def test_what_is_seen_is_what_upstream_said_without_what_was_not_asked_for(live, upstream):
    upstream.on("small-1", confident("a b c d e"))
    stream = live.stream().read()
    assert stream.text == "a b c d e"
    for frame in stream.frames:
        assert "usage" not in frame and "logprobs" not in frame["choices"][0]
        assert (frame["id"], frame["model"], frame["system_fingerprint"]) == ("chatcmpl-draft", "small-1-0613", "fp_scripted")


def test_logprobs_and_usage_flow_if_asked_for(live, upstream):
    upstream.on("small-1", confident("a b c d e", usage=f.usage(9, 5)))
    stream = live.stream(logprobs=True, top_logprobs=2, stream_options={"include_usage": True}).read()
    entries = [e for frame in stream.frames for c in frame["choices"] for e in (c.get("logprobs") or {}).get("content") or []]
    assert [entry["token"] for entry in entries] == ["a", " b", " c", " d", " e"]
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    assert stream.frames[-1]["choices"] == [] and stream.frames[-1]["usage"]["total_tokens"] == 14
    assert all(frame["usage"] is None for frame in stream.frames[:-1])
    assert stream.done


def test_a_frame_of_several_tokens_is_seen_when_its_last_one_may_be(live, upstream):
    drafter, scored = Puppet(upstream, "small-1"), Scored(live)
    watch = Watch(live)
    three = f.chunk({"content": "abc"}, entries=[f.token(t) for t in "abc"], head=DRAFT)
    drafter.take().say(ROLE, three, said("d"))
    scored.wait(4)
    assert watch.settle().text is None  # two of its tokens may be seen, the third not
    drafter.say(said("e"))
    watch.wait_text("abc")
    drafter.end(stop())
    assert watch.read().text == "abcde"


def test_a_draft_in_json_where_a_stream_was_asked_for_comes_at_its_end(live, upstream):
    entries = [f.token(t) for t in "abcdefgh"]
    upstream.on("small-1", scripts.reply(200, f.completion("abcdefgh", head=DRAFT, usage=f.usage(3, 8), entries=entries)))
    stream = live.stream().read()
    assert stream.text == "abcdefgh" and stream.done
    assert_routed(stream.head, "accept", "confident")


def test_an_answer_that_is_not_streamed_is_decided_as_a_whole(live, upstream):
    upstream.on("small-1", draft_of(*WORDS[:10]))
    upstream.on("large-1", expert("It is Paris."))
    answer = live.chat()
    assert answer.text == "It is Paris."
    assert_routed(answer, "escalate", "window")
    assert len(upstream.requests_for("large-1")[0].json["messages"]) == 1


def test_a_route_may_hold_where_live_is_the_default(live, upstream):
    upstream.on("small-1", draft_of(*WORDS[:10]))
    upstream.on("large-1", expert("It is Paris."))
    stream = live.stream(model="hold").read()
    assert stream.text == "It is Paris." and stream.frames[0]["id"] == "chatcmpl-heavy"
    assert_routed(stream.head, "escalate", "window")
    assert len(upstream.requests_for("large-1")[0].json["messages"]) == 1


# No token of an uncertain window is ever seen


def random_bits(chance):
    """Some stories that are calm, some that become uncertain late, some that waver."""
    count = chance.randint(1, 30)
    calm, wild = chance.uniform(0.0, 0.9), chance.choice([1.5, 2.5, 4.0, 6.0])
    late = chance.randint(0, count)
    return [chance.uniform(0.01, calm + 0.1) if i < late or chance.random() < calm else chance.uniform(0.0, wild)
            for i in range(count)]


def cut_into_frames(chance, count):
    """The number of tokens in each frame: mostly one."""
    sizes = []
    while sum(sizes) < count:
        sizes.append(min(chance.choice([1, 1, 1, 1, 2, 5]), count - sum(sizes)))
    return sizes


def frames_of(sizes, bits):
    at, frames = 0, [ROLE]
    for size in sizes:
        part = list(zip(WORDS, bits))[at : at + size]
        frames.append(f.chunk({"content": "".join(w for w, _ in part)}, entries=[f.token(*p) for p in part], head=DRAFT))
        at += size
    return [*frames, stop()]


def delivered_of(sizes, bits, window, early):
    """(tokens delivered, reason): judge(), where frames are seen whole or not at all."""
    _, reason = judge(bits, window, early)
    if reason is None:
        return len(bits), None
    tripped = next(i for i in range(1, len(bits) + 1) if judge(bits[:i], window, early)[1])
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    before = max(end for end in ends if end < tripped)  # the frame that tripped is not the last looked at
    return max(end for end in ends if end <= visible(before, window, early)), reason


@pytest.mark.parametrize("window, early", SIZES)
def test_no_token_of_an_uncertain_window_is_ever_seen(live, upstream, window, early):
    chance = random.Random(1000 * window + early)
    upstream.on("large-1", heavy_of("|HEAVY", " answer"))
    outcomes = set()
    for number in range(50):
        bits = random_bits(chance)
        sizes = cut_into_frames(chance, len(bits)) if number % 2 else [1] * len(bits)
        # What is too near the threshold depends on the last bit of a sum.
        if any(abs(sum(bits[i : i + window]) / window - 2) < 1e-4 for i in range(len(bits))):
            continue
        upstream.on("small-1", scripts.frames(*frames_of(sizes, bits)))
        delivered, reason = delivered_of(sizes, bits, window, early)
        asked = len(upstream.requests_for("large-1"))
        stream = live.stream(model=f"w{window}n{early}").read()
        story = (window, early, sizes, bits)
        assert stream.text == text_of(delivered) + ("|HEAVY answer" if reason else ""), story
        assert stream.done and stream.complete, story
        assert (stream.routing["decision"], stream.routing["reason"]) == (
            ("escalate", reason) if reason else ("accept", "confident")), story
        if reason:
            messages = upstream.requests_for("large-1")[asked].json["messages"]
            assert [m["content"] for m in messages[1:]] == ([text_of(delivered)] if delivered else []), story
        assert len(upstream.requests_for("large-1")) == asked + bool(reason), story
        outcomes.add(reason)
    assert len(outcomes) > 1  # the stories do differ


# Before anything was sent


@pytest.mark.parametrize("model, bits, reason", [
    ("auto", [4.0], "early_exit"),
    ("auto", [0.1, 4.0], "early_exit"),
    ("auto", [0.1, 0.1, 4.0], "window"),
    ("w3n1", [0.1, 4.0, 4.0], "window"),
    ("w10n10", [0.1] * 9 + [3.0], "early_exit"),
])
def test_a_draft_that_trips_before_anything_was_sent_escalates_as_in_hold_mode(live, upstream, model, bits, reason):
    upstream.on("small-1", scripts.speak(tokens=[(f"DRAFTED{i}", b) for i, b in enumerate(bits)], head=DRAFT))
    upstream.on("large-1", expert("It is Paris."))
    stream = live.stream(model=model).read()
    assert_routed(stream.head, "escalate", reason)
    assert stream.head.header("X-Routing-Score") == stream.routing["score"]
    assert stream.text == "It is Paris." and stream.done
    assert b"DRAFTED" not in stream.raw and b"chatcmpl-draft" not in stream.raw
    assert upstream.requests_for("large-1")[0].json == {
        **upstream.requests_for("large-1")[0].json, "messages": [{"role": "user", "content": "What is the capital of France?"}]}


def test_a_heavyweight_that_refuses_then_is_answered_with_its_status(live, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(429, "slow down", headers=[("Retry-After", "7")]))
    answer = live.chat(stream=True)
    assert_error(answer, 429, says="slow down")
    assert_routed(answer, "escalate", "early_exit")
    assert answer.header("Retry-After") == "7"


@pytest.mark.parametrize("how", sorted(scripts.FAILURES))
def test_a_drafter_that_fails_before_its_first_visible_token_is_not_seen(live, upstream, how):
    upstream.on("small-1", scripts.FAILURES[how])
    upstream.on("large-1", expert("It is Paris."))
    stream = live.stream().read()
    assert_routed(stream.head, "escalate", "drafter_error")
    assert stream.text == "It is Paris." and stream.done
    assert b"DRAFTED" not in stream.raw
    assert len(upstream.requests_for("large-1")[0].json["messages"]) == 1


def test_after_a_drafter_that_failed_unseen_the_next_one_flows(start, upstream):
    gateway = start(**live_config(upstream, routes={"auto": {"drafter": ["other", "drafter"]}}))
    upstream.on("other-1", scripts.after([ROLE, said("DRAFTED", 0.5), said(" half", 0.5)], scripts.cut))
    drafter = Puppet(upstream, "small-1")
    watch = Watch(gateway)
    drafter.take().say(ROLE, said("a"), said("b"))
    assert watch.settle().text is None  # the first one's tokens do not count
    drafter.say(said("c"))
    watch.wait_text("a")
    assert_routed(watch.stream.head, "accept", "confident", model="drafter")
    assert watch.stream.head.header("x-gateway-attempts") == "2"
    drafter.end(stop())
    stream = watch.read()
    assert stream.text == "abc" and stream.done and b"DRAFTED" not in stream.raw
    assert float(stream.routing["score"]) == pytest.approx(0.1, abs=1e-4)


def test_the_request_timeout_is_about_the_first_byte(start, upstream):
    gateway = start(**live_config(upstream, server={"request_timeout": "300ms"}))
    drafter, gate = Puppet(upstream, "small-1"), upstream.gate()
    watch = Watch(gateway)
    drafter.take().say(ROLE, said("a"), said("b"), said("c"))
    watch.wait_text("a")
    gate.wait(0.5)  # nobody opens it
    drafter.end(said("d"), stop())
    assert watch.read().text == "abcd" and watch.stream.done
    drafter = Puppet(upstream, "small-1")
    watch = Watch(gateway)
    drafter.take().say(ROLE, said("a"), said("b"))  # nothing to be seen
    assert_error(watch.client.read_response(), 504, code="deadline_exceeded")


# After something was sent

GARBAGE = b"data: {\"id\":\"x\",\"choices\":[\n\n"


def break_by(name):
    """What a drafter does after its first words, some of which the client has."""

    def script(exchange):
        exchange.head()
        exchange.frames([ROLE] + [said(word) for word in WORDS[:5]], done=False)
        if name in ("cut", "reset", "stall"):
            getattr(exchange, name)()
        elif name == "end":
            exchange.end()
        elif name == "garbage":
            exchange.write(GARBAGE)
            exchange.stall()
        elif name == "bytes":
            exchange.raw(b"nonsense\r\n")
            exchange.stall()
        elif name == "error":
            exchange.frames([{"error": {"message": "overloaded", "type": "server_error"}}], done=False)
            exchange.stall()
        elif name == "done":
            exchange.frames([])
            exchange.end()

    return script


@pytest.fixture(scope="module")
def impatient(shared, tmp_path_factory):
    short = {"providers": {"cheap": {"idle_timeout": "300ms"}, "good": {"idle_timeout": "300ms"}}}
    gateway = Gateway(tmp_path_factory.mktemp("impatient"), live_config(shared.upstream, **short)).start()
    yield gateway
    gateway.stop()


def assert_cut(stream, text):
    """The client has this text, is told that it is not all, and has no reason to believe that it is."""
    assert stream.text == text
    assert stream.error["type"] == "upstream_error" and stream.error["code"] == "upstream_truncated"
    assert stream.items[-1][0] == "data" and "error" in stream.frames[-1]  # the last thing said
    assert "[DONE]" not in stream.data and not stream.comments
    assert not stream.complete
    assert all(c["finish_reason"] is None for frame in stream.frames for c in frame.get("choices", []))
    assert stream.client.read_to_end() == b""


@pytest.mark.parametrize("how", ["cut", "reset", "stall", "end", "garbage", "bytes", "error", "done"])
def test_a_drafter_that_breaks_after_words_were_seen_ends_the_stream_by_an_error(impatient, upstream, how):
    upstream.on("small-1", break_by(how))
    upstream.on("large-1", expert())
    before = impatient.metrics()
    stream = impatient.stream(headers=[("X-Request-ID", f"broken-{how}")]).read()
    assert_cut(stream, text_of(3))
    assert upstream.requests_for("large-1") == []
    line = impatient.access_line(f"broken-{how}")
    assert (line["end"], line["status"], line["model"]) == ("upstream_truncated", 200, "drafter")
    assert line["error"] == "upstream_error" and "handed_off" not in line
    name = 'draftthinker_errors_total{type="upstream_error"}'
    assert impatient.metrics()[name] - before.get(name, 0) == 1


def test_the_error_says_what_happened(impatient, upstream):
    upstream.on("small-1", break_by("stall"))
    assert "idle timeout" in impatient.stream().read().error["message"]
    upstream.on("small-1", break_by("error"))
    assert "overloaded" in impatient.stream().read().error["message"]


def test_a_cut_after_the_last_finish_reason_has_lost_nothing(live, upstream):
    frames = [ROLE] + [said(word) for word in WORDS[:5]] + [stop()]
    upstream.on("small-1", scripts.after(frames, scripts.cut))
    stream = live.stream().read()
    assert stream.text == text_of(5) and stream.done and stream.complete


def test_late_finish_lets_the_draft_run_out(live, upstream):
    upstream.on("large-1", expert())
    tokens = [(word, bits) for word, bits in zip(WORDS, [0.1] * 5 + [5.0, 5.0, 0.1, 6.0, 0.1])]
    upstream.on("small-1", scripts.speak(tokens=tokens, head=DRAFT))
    stream = live.stream(model="finish", headers=[("X-Request-ID", "late")]).read()
    assert stream.text == text_of(10) and stream.done and stream.complete
    assert_routed(stream.head, "accept", "confident")
    assert (stream.routing["decision"], stream.routing["reason"], stream.routing["model"]) == ("accept", "window", "drafter")
    assert float(stream.routing["score"]) > 2
    assert upstream.requests_for("large-1") == []
    line = live.access_line("late")
    assert (line["decision"], line["reason"], line["model"]) == ("accept", "window", "drafter")


def test_late_finish_shows_the_rest_of_the_draft_as_it_comes(live, upstream):
    drafter = Puppet(upstream, "small-1")
    watch = Watch(live, model="finish")
    drafter.take().say(ROLE, *[said(word) for word in WORDS[:5]], said(WORDS[5], 5.0))
    watch.wait_text(text_of(6))  # what was held back as well: nothing more depends on it
    drafter.say(said(WORDS[6], 5.0))
    watch.wait_text(text_of(7))
    drafter.end(stop())
    assert watch.read().done


def test_late_finish_still_escalates_what_trips_early(live, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    stream = live.stream(model="finish").read()
    assert stream.text == "It is Paris."
    assert_routed(stream.head, "escalate", "early_exit")


# What does not flow


def tool_entry(text, **options):
    part = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": text}}
    return f.chunk({"tool_calls": [part]}, entries=[f.token(text or "x", **options)], head=DRAFT)


def refused(text):
    return f.chunk({"refusal": text}, entries=[f.token(text)], head=DRAFT)


@pytest.mark.parametrize("frame", [tool_entry, refused], ids=["tool_calls", "refusal"])
def test_from_the_first_frame_that_is_no_plain_text_on_all_waits_for_the_verdict(live, upstream, frame):
    drafter, scored = Puppet(upstream, "small-1"), Scored(live)
    watch = Watch(live)
    drafter.take().say(ROLE, *[said(word) for word in WORDS[:4]], *[frame(f"p{i}") for i in range(6)])
    scored.wait(10)
    assert watch.settle().text == text_of(4)
    assert all("tool_calls" not in frame["choices"][0]["delta"] for frame in watch.stream.frames)
    drafter.end(stop(finish="tool_calls"))
    stream = watch.read()
    assert len(stream.frames) == 12 and stream.done
    last = stream.frames[5:11]
    got = [c["choices"][0]["delta"].get("refusal") or c["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
           for c in last]
    assert got == [f"p{i}" for i in range(6)]
    assert stream.routing["decision"] == "accept"


def test_a_draft_that_begins_with_a_tool_call_is_decided_as_a_whole(live, upstream):
    frames = [f.chunk({"role": "assistant", "content": None}, head=DRAFT)]
    frames += [tool_entry(f"p{i}") for i in range(8)] + [tool_entry("DRAFTED", bits=6.0)]
    upstream.on("small-1", scripts.frames(*frames, stop(finish="tool_calls")))
    upstream.on("large-1", expert("It is Paris."))
    stream = live.stream().read()
    assert_routed(stream.head, "escalate", "window")
    assert stream.text == "It is Paris." and b"call_a" not in stream.raw
    assert len(upstream.requests_for("large-1")[0].json["messages"]) == 1


def test_several_choices_do_not_flow(live, upstream):
    def choice(index, text):
        return f.chunk({"content": text}, index=index, head=DRAFT)

    drafter = Puppet(upstream, "small-1")
    watch = Watch(live, model="accept", n=2)
    drafter.take().say(choice(0, "a"), choice(1, "b"), choice(0, "c"))
    watch.wait_text("a")  # plain text, before it is known that there are more
    assert watch.settle().text == "a"
    drafter.end(f.chunk({}, finish="stop", index=0, head=DRAFT), f.chunk({}, finish="stop", index=1, head=DRAFT))
    stream = watch.read()
    assert [(c["index"], c["delta"].get("content")) for frame in stream.frames for c in frame["choices"]] == [
        (0, "a"), (1, "b"), (0, "c"), (0, None), (1, None)]
    assert stream.done and (stream.routing["decision"], stream.routing["reason"]) == ("accept", "unscorable")


def test_an_accepted_draft_of_tool_calls_has_the_usage_that_was_asked_for(live, upstream):
    calls = [("call_a", "weather", '{"city":"Paris"}')]
    upstream.on("small-1", scripts.calls_tools(calls, logprobs=True, usage=f.usage(20, 9), head=DRAFT))
    stream = live.stream(stream_options={"include_usage": True}).read()
    assert stream.frames[-1]["choices"] == [] and stream.frames[-1]["usage"]["total_tokens"] == 29
    said_arguments = "".join(part["function"]["arguments"] for frame in stream.frames for choice in frame["choices"]
                             for part in choice["delta"].get("tool_calls", []))
    assert said_arguments == '{"city":"Paris"}' and stream.done


def test_what_cannot_be_scored_and_is_accepted_flows_at_once(live, upstream):
    drafter = Puppet(upstream, "small-1")
    watch = Watch(live, model="accept")
    drafter.take().say(ROLE)
    assert watch.settle().text is None
    text = ""
    for word in WORDS[:5]:
        drafter.say(f.chunk({"content": word}, head=DRAFT))
        text += word
        watch.wait_text(text)
    assert_routed(watch.stream.head, "accept", "unscorable", model="drafter")
    drafter.end(stop())
    stream = watch.read()
    assert stream.done and (stream.routing["decision"], stream.routing["reason"]) == ("accept", "unscorable")


# Silence


def test_a_live_draft_that_is_silent_is_kept_alive_between_events(start, upstream):
    gateway = start(text=None, server={"keepalive_interval": "50ms"}, stream={"mode": "live"},
                    entropy={"window_size": 2, "early_exit_count": 2})
    drafter = Puppet(upstream, "small-1")
    watch = Watch(gateway)
    drafter.take().say(ROLE, *[said(word) for word in WORDS[:4]])
    stream = watch.wait_text(text_of(2))
    half = f.event(said(WORDS[4]))
    drafter.exchange.write(half[:30])  # within an event of upstream's
    eventually(lambda: len([c for c in watch.poll().comments if c == ": keepalive"]) >= 3, "comments")
    drafter.exchange.write(half[30:])
    drafter.end(stop())
    watch.read()
    assert stream.text == text_of(5) and stream.done and not [item for item in stream.items if item[0] == "other"]


def test_before_the_first_visible_token_nothing_at_all_is_sent(start, upstream):
    gateway = start(text=None, server={"keepalive_interval": "20ms"}, stream={"mode": "live"})
    drafter, scored, gate = Puppet(upstream, "small-1"), Scored(gateway), upstream.gate()
    watch = Watch(gateway)
    drafter.take().say(ROLE, *[said(word) for word in WORDS[:9]])
    scored.wait(9)
    gate.wait(0.1 * min(SLOW, 3))  # nobody opens it
    assert watch.settle().text is None
    drafter.end(stop())
    assert watch.read().done
