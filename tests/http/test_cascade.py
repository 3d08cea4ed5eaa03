"""The decision: which answer the client gets, why, and with which score."""

import math
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import soon
from lib.scripts import confident, expert, speak, uncertain


@pytest.fixture
def judged(upstream):
    """judged(gateway, bits): the answer to a draft whose tokens have these entropies."""
    upstream.on("large-1", expert())

    def ask(gateway, bits, **members):
        tokens = [(f"t{i} ", b) for i, b in enumerate(bits)]
        upstream.on("small-1", speak(tokens=tokens, head=f.head(id="chatcmpl-draft")))
        return gateway.chat(**members)

    return ask


def score(response):
    return float(response.header("X-Routing-Score"))


# Accept, escalate, direct


def test_a_confident_draft_is_the_answer(gateway, upstream):
    upstream.on("small-1", confident("Paris."))
    upstream.on("large-1", expert())
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident", model="drafter", provider="cheap")
    assert answer.text == "Paris."
    assert upstream.requests_for("large-1") == []


def test_an_uncertain_draft_escalates_and_not_a_byte_of_it_is_shown(gateway, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    answer = gateway.chat()
    assert_routed(answer, "escalate", "early_exit", model="heavyweight", provider="good")
    assert answer.text == "It is Paris."
    assert b"DRAFTED" not in answer.body and b"chatcmpl-draft" not in answer.body


def test_an_uncertain_streamed_draft_escalates_and_not_a_byte_of_it_is_shown(gateway, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    stream = gateway.stream().read()
    assert stream.text == "It is Paris." and stream.done
    assert_routed(stream.head, "escalate", "early_exit", model="heavyweight")
    assert b"DRAFTED" not in stream.raw and b"chatcmpl-draft" not in stream.raw


@pytest.mark.parametrize("name", ["other", "good/other-1"])
def test_a_name_under_models_or_provider_and_model_pins(gateway, upstream, name):
    upstream.on("other-1", expert())
    answer = gateway.chat(model=name)
    assert_routed(answer, "direct", "pinned", model="other", provider="good")
    assert answer.header("X-Routing-Score") is None
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("name, served", [("drafter", "small-1"), ("cheap/small-1", "small-1"), ("heavyweight", "large-1"), ("good/large-1", "large-1")])
def test_a_models_of_a_route_can_be_pinned_too(gateway, upstream, name, served):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(model=name), "direct", "pinned")
    assert [request.model for request in upstream.requests] == [served]


@pytest.mark.parametrize("name", ["auto", "", "gpt-4.1", "small-1", "large-1", "cheap/large-1", "nobody/x", "AUTO", "x" * 200, "é"])
def test_any_other_model_name_is_the_default_route(gateway, upstream, name):
    upstream.on("small-1", confident())
    assert_routed(gateway.chat(model=name), "accept", "confident")
    assert [request.model for request in upstream.requests] == ["small-1"]


def test_a_very_long_model_name_is_answered(gateway, upstream):
    upstream.on("small-1", confident())
    assert gateway.chat(model="m" * 100000).status in (200, 400)
    assert gateway.chat().status == 200


def test_unknown_models_can_be_rejected(start, upstream):
    gateway = start(unknown_model="reject")
    upstream.on("small-1", confident())
    answer = gateway.chat(model="gpt-4.1")
    assert_error(answer, 404, param="model", code="model_not_found", says="gpt-4.1")
    assert upstream.requests == []
    assert gateway.chat(model="auto").status == 200
    assert gateway.chat(model="drafter").status == 200


def test_a_rejected_streamed_model_is_a_plain_404(start, upstream):
    gateway = start(unknown_model="reject")
    assert_error(gateway.chat(model="nobody", stream=True), 404, code="model_not_found")


def test_a_model_name_reaches_the_error_without_breaking_it(start):
    gateway = start(unknown_model="reject")
    for name in ('"quoted"', "new\nline", "\ud800", "é漢", "\\", "</script>"):
        assert_error(gateway.chat(model=name), 404, param="model", code="model_not_found")
    answer = gateway.chat(model="a\x00b")
    assert answer.status in (400, 404)
    assert_error(answer, answer.status, param="model")


def test_a_route_is_chosen_by_its_name(start, upstream):
    gateway = start(
        models={"tiny": {"provider": "cheap", "model": "tiny-1"}},
        routes={"fast": {"drafter": "tiny", "heavyweight": "other", "entropy": {"threshold": 0.05}}},
    )
    upstream.on("tiny-1", confident())
    upstream.on("other-1", expert())
    upstream.on("small-1", confident())
    assert_routed(gateway.chat(model="fast"), "escalate", "early_exit", model="other")
    assert_routed(gateway.chat(model="auto"), "accept", "confident", model="drafter")


def test_an_embeddings_model_in_a_chat_call_is_422(start, upstream):
    gateway = start(models={"embed": {"provider": "good", "model": "embed-1", "capabilities": ["embeddings"]}})
    assert_error(gateway.chat(model="embed"), 422, param="model")
    assert_error(gateway.chat(model="good/embed-1"), 422, param="model")
    assert upstream.requests == []


# The rule


def test_a_token_exactly_at_the_threshold_does_not_escalate(start, judged):
    half = math.log(0.5)
    assert math.exp(half) == 0.5
    gateway = start(entropy={"threshold": 1.0, "top_logprobs": 2})
    answer = judged(gateway, [1.0, 1.0, 1.0])
    assert_routed(answer, "accept", "confident")
    assert score(answer) == 1.0


def test_a_token_above_the_threshold_by_a_hair_escalates(start, judged):
    gateway = start(entropy={"threshold": 0.9999999, "top_logprobs": 2})
    assert_routed(judged(gateway, [1.0]), "escalate", "early_exit")


def test_a_threshold_of_zero_is_a_value(start, judged):
    gateway = start(entropy={"threshold": 0})
    assert_routed(judged(gateway, [0, 0, 0]), "accept", "confident")
    assert_routed(judged(gateway, [0, 0.0001]), "escalate", "early_exit")


@pytest.mark.parametrize("at", range(10))
def test_any_one_of_the_first_tokens_above_the_threshold_escalates(gateway, judged, at):
    bits = [0.1] * 12
    bits[at] = 2.1
    answer = judged(gateway, bits)
    assert_routed(answer, "escalate", "early_exit")
    assert score(answer) == pytest.approx(2.1, abs=0.001)


def test_a_single_uncertain_token_after_the_first_ones_does_not_escalate(gateway, judged):
    answer = judged(gateway, [0.1] * 10 + [6.0] + [0.1] * 10)
    assert_routed(answer, "accept", "confident")


def test_the_mean_of_a_window_above_the_threshold_escalates(start, judged):
    gateway = start(entropy={"early_exit_count": 2, "window_size": 4})
    answer = judged(gateway, [0.5, 0.5, 4.0, 4.0])
    assert_routed(answer, "escalate", "window")
    assert score(answer) == pytest.approx(2.25, abs=0.001)


def test_a_window_is_judged_only_once_it_is_full(start, judged):
    gateway = start(entropy={"early_exit_count": 1, "window_size": 4})
    assert_routed(judged(gateway, [0.5, 5.0, 5.0]), "accept", "confident")
    assert_routed(judged(gateway, [0.5, 5.0, 5.0, 5.0]), "escalate", "window")


def test_a_window_moves_on(start, judged):
    gateway = start(entropy={"early_exit_count": 0, "window_size": 3, "threshold": 2.0})
    assert_routed(judged(gateway, [5.9, 0.0, 0.05, 5.8, 0.1, 0.0]), "accept", "confident")
    assert_routed(judged(gateway, [0.0, 0.0, 0.0, 0.0, 3.0, 3.0, 0.1]), "escalate", "window")


def test_a_window_of_one_token_judges_each(start, judged):
    gateway = start(entropy={"early_exit_count": 0, "window_size": 1})
    assert_routed(judged(gateway, [0.1] * 15 + [2.2]), "escalate", "window")


def test_the_score_of_an_accepted_draft_is_the_largest_that_was_compared(gateway, judged):
    assert score(judged(gateway, [0.1, 1.7, 0.3])) == pytest.approx(1.7, abs=0.001)


def test_a_draft_is_escalated_by_the_rule_exactly_if_its_score_is_above_the_threshold(gateway, judged):
    for bits in ([1.9] * 20, [0.1] * 10 + [3.9] * 5, [0.1] * 10 + [2.5] * 12, [2.3], [1.0]):
        answer = judged(gateway, bits)
        assert (answer.header("X-Routing-Decision") == "escalate") == (score(answer) > 2.0), bits


def test_the_unseen_tail_counts_as_the_smallest_candidate_says(gateway, upstream):
    # Five candidates of 6 % each: renormalised 2.32 bits, with the tail log2(1/0.06) = 4.06.
    entry = f.token_of("x", [math.log(0.06)] * 5)
    upstream.on("small-1", scripts.frames(f.chunk({"content": "x"}, entries=[entry]), f.chunk({}, finish="stop")))
    upstream.on("large-1", expert())
    assert score(gateway.chat()) == pytest.approx(4.0588937, abs=0.0005)


def test_the_tail_can_be_thrown_away(start, upstream):
    gateway = start(entropy={"tail": "renormalise"})
    upstream.on("large-1", expert())
    for probabilities, bits in (([0.06] * 5, 2.321928094887), ([0.95, 0.03, 0.02], 0.334944486839)):
        entry = f.token_of("x", [math.log(p) for p in probabilities])
        upstream.on("small-1", scripts.frames(f.chunk({"content": "x"}, entries=[entry]), f.chunk({}, finish="stop")))
        assert score(gateway.chat()) == pytest.approx(bits, abs=0.0005)


@pytest.mark.parametrize("zero", ["-9999", "-9999.0", "-1e4", "null", "-1e400"])
def test_a_candidate_of_probability_zero_counts_as_none(gateway, upstream, zero):
    top = b",".join(b'{"token":"%d","logprob":%b}' % (i, lp.encode()) for i, lp in enumerate(["0.0", zero, zero]))
    frame = b'{"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":[{"token":"0","logprob":0.0,"top_logprobs":[%b]}]}}]}' % top
    upstream.on("small-1", scripts.frames(frame, f.chunk({}, finish="stop")))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert score(answer) == 0


def test_candidates_that_sum_above_one_have_no_tail(gateway, upstream):
    entry = f.token_of("x", [0.0, math.log(1e-6)])
    upstream.on("small-1", scripts.frames(f.chunk({"content": "x"}, entries=[entry]), f.chunk({}, finish="stop")))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert 0 <= score(answer) < 0.001


def test_a_sampled_token_that_is_no_candidate_is_added(gateway, upstream):
    # 0.5 and 0.25 by themselves leave a tail of 0.25; the sampled one fills it.
    entry = f.token_of("odd", [math.log(0.5), math.log(0.25)], sampled=math.log(0.25))
    upstream.on("small-1", scripts.frames(f.chunk({"content": "odd"}, entries=[entry]), f.chunk({}, finish="stop")))
    answer = gateway.chat()
    assert score(answer) == pytest.approx(1.5, abs=0.0005)


def test_special_tokens_with_an_empty_text_are_skipped(gateway, judged, upstream):
    tokens = [("", 6.0), ("It", 0.1), ("", 5.0), (" is.", 0.1)]
    upstream.on("small-1", speak(tokens=tokens))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert score(answer) == pytest.approx(0.1, abs=0.001)


def test_several_tokens_in_one_frame_are_each_judged(gateway, upstream):
    entries = [f.token("a", 0.1), f.token("b", 3.0), f.token("c", 0.1)]
    upstream.on("small-1", scripts.frames(f.chunk({"content": "abc"}, entries=entries), f.chunk({}, finish="stop")))
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "early_exit")


def test_the_tokens_of_a_refusal_are_judged(gateway, upstream):
    def refusal(bits):
        frame = f.chunk({"refusal": "I cannot."})
        frame["choices"][0]["logprobs"] = {"content": None, "refusal": [f.token("I cannot.", bits)]}
        return scripts.frames(frame, f.chunk({}, finish="stop"))

    upstream.on("large-1", expert())
    upstream.on("small-1", refusal(0.1))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert answer.message["refusal"] == "I cannot."
    upstream.on("small-1", refusal(3.0))
    assert_routed(gateway.chat(), "escalate", "early_exit")


def test_escalation_does_not_wait_for_the_draft_to_end(gateway, upstream):
    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("DRAFTED", 4.0)], finish=None), done=False)
        exchange.stall()

    upstream.on("small-1", script)
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "early_exit")


def test_a_rejected_drafter_is_cut_off_within_50_ms(gateway, upstream):
    said = []

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("fine", 0.1)], finish=None), done=False)
        said.append(time.monotonic())
        exchange.write(f.event(f.chunk({"content": "DRAFTED"}, entries=[f.token("DRAFTED", 4.0)])))
        exchange.stall()

    upstream.on("small-1", script)
    upstream.on("large-1", expert())

    def attempt():
        count = len(upstream.requests_for("small-1"))
        assert gateway.chat().status == 200
        return upstream.wait_closed(upstream.requests_for("small-1")[count]) - said[-1]

    soon(50, attempt)


def test_an_unscorable_drafter_is_cut_off_within_50_ms(gateway, upstream):
    said = []

    def script(exchange):
        exchange.head()
        said.append(time.monotonic())
        exchange.frames(f.text_frames([("DRAFTED", 0.1)], finish=None, logprobs=False), done=False)
        exchange.stall()

    upstream.on("small-1", script)
    upstream.on("large-1", expert())

    def attempt():
        count = len(upstream.requests_for("small-1"))
        assert gateway.chat().status == 200
        return upstream.wait_closed(upstream.requests_for("small-1")[count]) - said[-1]

    soon(50, attempt)


# Unscorable


@pytest.mark.parametrize(
    "members",
    [
        {"n": 2},
        {"n": 128},
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    ],
)
def test_what_cannot_be_scored_goes_straight_to_the_heavyweight(gateway, upstream, members):
    upstream.on("small-1", confident())
    upstream.on("large-1", expert())
    answer = gateway.chat(**members)
    assert_routed(answer, "escalate", "unscorable", model="heavyweight")
    assert upstream.requests_for("small-1") == []
    assert answer.header("X-Routing-Score") is None


@pytest.mark.parametrize("logprobs", [f.ABSENT, None, []])
def test_a_first_content_frame_without_logprobs_escalates(gateway, upstream, logprobs):
    payloads = [
        f.chunk({"role": "assistant", "content": ""}),
        f.chunk({"content": "DRAFTED"}, entries=logprobs),
        f.chunk({"content": " text"}, entries=[f.token(" text", 0.1)]),
        f.chunk({}, finish="stop"),
    ]
    upstream.on("small-1", scripts.frames(*payloads))
    upstream.on("large-1", expert())
    answer = gateway.chat()
    assert_routed(answer, "escalate", "unscorable")
    assert b"DRAFTED" not in answer.body


def test_only_zero_candidates_are_unscorable_and_not_certain(gateway, upstream):
    entry = f.token_of("x", [-9999.0] * 5)
    upstream.on("small-1", scripts.frames(f.chunk({"content": "x"}, entries=[entry]), f.chunk({}, finish="stop")))
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "unscorable")


def test_the_role_frame_needs_no_logprobs(gateway, upstream):
    upstream.on("small-1", scripts.frames(
        f.chunk({"role": "assistant", "content": ""}, entries=None),
        f.chunk({"role": "assistant"}),
        f.chunk({"content": "x"}, entries=[f.token("x", 0.1)]),
        f.chunk({}, finish="stop", entries=None),
    ))
    assert_routed(gateway.chat(), "accept", "confident")


def test_tool_calls_drafted_without_logprobs_escalate(gateway, upstream):
    calls = [("call_1", "DRAFTED", "{}")]
    upstream.on("small-1", scripts.calls_tools(calls))
    upstream.on("large-1", scripts.calls_tools([("call_2", "look", '{"a":1}')]))
    answer = gateway.chat(tools=[{"type": "function", "function": {"name": "look", "parameters": {}}}])
    assert_routed(answer, "escalate", "unscorable")
    assert answer.message["tool_calls"][0]["id"] == "call_2"


def test_a_text_drafted_with_logprobs_is_accepted_though_tools_were_offered(gateway, upstream):
    upstream.on("small-1", confident("No tool needed."))
    answer = gateway.chat(tools=[{"type": "function", "function": {"name": "look", "parameters": {}}}])
    assert_routed(answer, "accept", "confident")
    assert answer.text == "No tool needed."


def test_tool_calls_drafted_with_logprobs_are_judged(gateway, upstream):
    calls = [("call_1", "look", '{"at":"Paris"}')]
    upstream.on("small-1", scripts.calls_tools(calls, logprobs=True))
    upstream.on("large-1", expert())
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    assert_routed(gateway.chat(tools=tools), "accept", "confident")
    upstream.on("small-1", scripts.calls_tools(calls, logprobs=True, bits=4.0))
    assert_routed(gateway.chat(tools=tools), "escalate", "early_exit")


def test_the_operator_may_accept_what_cannot_be_scored(start, upstream):
    gateway = start(entropy={"on_unscorable": "accept"})
    upstream.on("small-1", speak("Paris.", head=f.head(id="d")))
    assert_routed(gateway.chat(), "accept", "confident")

    def silent(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("Unscored", 0.1)], logprobs=False))
        exchange.end()

    upstream.on("small-1", silent)
    answer = gateway.chat()
    assert answer.header("X-Routing-Decision") == "accept" and answer.text == "Unscored"
    assert answer.header("X-Routing-Reason") == "unscorable"


# Both fail


@pytest.mark.parametrize("stream", [False, True])
def test_when_both_fail_the_heavyweights_error_is_what_the_client_sees(gateway, upstream, stream):
    upstream.on("small-1", scripts.failure(500, "the drafter's trouble"))
    upstream.on("large-1", scripts.failure(422, "the heavyweight's trouble"))
    answer = gateway.chat(stream=stream)
    assert answer.status == 422
    assert b"the heavyweight's trouble" in answer.body and b"drafter's" not in answer.body
    assert_routed(answer, "escalate", "drafter_error")


def test_an_uncertain_draft_and_a_heavyweight_down_is_the_heavyweights_error(gateway, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(503))
    answer = gateway.chat()
    assert_error(answer, 502, says="503")
    assert_routed(answer, "escalate", "early_exit")
    assert b"DRAFTED" not in answer.body


def test_with_the_heavyweight_down_the_whole_draft_may_stand_in(start, upstream):
    gateway = start(routes={"auto": {"on_heavyweight_down": "draft"}})
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(503))
    answer = gateway.chat()
    assert answer.status == 200, answer
    assert_routed(answer, "accept", "degraded")
    assert answer.json()["choices"][0]["message"]["content"] == "DRAFTED Rome, perhaps, or not."


def test_the_draft_that_may_stand_in_is_cut_off_once_the_heavyweight_speaks(start, upstream):
    gateway = start(routes={"auto": {"on_heavyweight_down": "draft"}})
    upstream.on("small-1", scripts.after(f.text_frames(scripts.words("DRAFTED Rome,", 4.0), finish=None), scripts.stall))
    upstream.on("large-1", expert())
    answer = gateway.chat()
    assert answer.status == 200, answer
    assert_routed(answer, "escalate", "early_exit")
    upstream.wait_closed(upstream.wait_request("small-1"))


def test_a_heavyweight_that_refuses_the_request_is_not_down(start, upstream):
    gateway = start(routes={"auto": {"on_heavyweight_down": "draft"}})
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(400, "context too long"))
    answer = gateway.chat()
    assert answer.status == 400 and b"context too long" in answer.body
