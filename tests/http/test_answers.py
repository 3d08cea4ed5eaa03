"""The answer to a request without `stream`: one chat.completion, and the headers around it."""

import re

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.scripts import confident, expert, speak, uncertain

ROUTES = {"accept": "auto", "escalate": "auto", "direct": "other"}


@pytest.fixture
def answered(gateway, upstream):
    """answered(decision, …): the answer that came this way."""

    def ask(decision, headers=(), **members):
        upstream.on("small-1", confident() if decision == "accept" else uncertain())
        upstream.on("large-1", expert())
        upstream.on("other-1", expert())
        return gateway.chat(headers=headers, model=ROUTES[decision], **members)

    return ask


# The document


def test_an_accepted_draft_is_assembled_into_one_completion(gateway, upstream):
    head = f.head(id="chatcmpl-7", created=1712345678, model="small-1-0613", system_fingerprint="fp_7")
    upstream.on("small-1", speak("Paris is it.", head=head, usage=f.usage(9, 3)))
    answer = gateway.chat()
    document = answer.json()
    assert document["id"] == "chatcmpl-7"
    assert document["object"] == "chat.completion"
    assert document["created"] == 1712345678
    assert document["model"] == "small-1-0613"
    assert document["system_fingerprint"] == "fp_7"
    assert document["usage"] == f.usage(9, 3)
    [choice] = document["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"] == "Paris is it."
    assert "delta" not in choice


def test_usage_is_passed_on_with_all_its_details(gateway, upstream):
    usage = f.usage(9, 3, prompt_tokens_details={"cached_tokens": 4, "audio_tokens": 0}, x_unknown=[1.50])
    upstream.on("small-1", confident(usage=usage))
    assert gateway.chat().json()["usage"] == usage


def test_usage_that_upstream_did_not_tell_is_not_invented(gateway, upstream):
    upstream.on("small-1", scripts.frames(*f.text_frames([("Paris", 0.1)])))
    assert gateway.chat().json().get("usage") is None


def test_usage_in_the_last_content_frame_is_found(gateway, upstream):
    frames = f.text_frames([("Paris", 0.1)])
    frames[-1]["usage"] = f.usage(5, 1)
    upstream.on("small-1", scripts.frames(*frames))
    assert gateway.chat().json()["usage"] == f.usage(5, 1)


def test_text_is_copied_with_its_escapes_as_they_stand(gateway, upstream):
    spelled = rb"\u0000\u00e9\ud83d\ude00\ud800 \/ \" \\ \n" + "é漢".encode()
    frame = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant",' \
        b'"content":"%b"},"logprobs":{"content":[{"token":"x","logprob":0.0,"top_logprobs":[{"token":"x","logprob":0.0}]}]}}]}' % spelled
    upstream.on("small-1", scripts.frames(frame, f.chunk({}, finish="stop")))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    assert b'"' + spelled + b'"' in answer.body
    assert answer.text == "\x00é\U0001f600\ud800 / \" \\ \né漢"


def test_text_split_inside_a_surrogate_pair_is_joined(gateway, upstream):
    def frame(text):
        return b'{"choices":[{"index":0,"delta":{"content":"%b"},"logprobs":{"content":[{"token":"x","logprob":0.0,"top_logprobs":' \
            b'[{"token":"x","logprob":0.0}]}]}}]}' % text

    upstream.on("small-1", scripts.frames(frame(rb"a\ud83d"), frame(rb"\ude00b"), f.chunk({}, finish="stop")))
    assert gateway.chat().text == "a\U0001f600b"


def test_tool_calls_are_assembled_from_their_pieces(gateway, upstream):
    calls = [("call_a", "weather", '{"city":"Paris","unit":"c"}'), ("call_b", "time", '{"zone":"CET \\"x\\""}')]
    upstream.on("small-1", scripts.calls_tools(calls, logprobs=True, usage=f.usage(30, 12)))
    answer = gateway.chat(tools=[{"type": "function", "function": {"name": "weather"}}])
    assert_routed(answer, "accept", "confident")
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    assert answer.message["content"] is None
    assert answer.message["tool_calls"] == [
        {"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls
    ]
    assert answer.json()["usage"] == f.usage(30, 12)


def test_content_and_tool_calls_stand_together(gateway, upstream):
    frames = [f.chunk({"role": "assistant", "content": "Looking."}, entries=[f.token("Looking.", 0.1)])]
    frames += f.tool_frames([("call_a", "look", "{}")], logprobs=True)[1:]
    upstream.on("small-1", scripts.frames(*frames))
    message = gateway.chat().message
    assert message["content"] == "Looking." and message["tool_calls"][0]["function"]["name"] == "look"


def test_a_refusal_is_assembled(gateway, upstream):
    def part(text):
        frame = f.chunk({"refusal": text})
        frame["choices"][0]["logprobs"] = {"content": None, "refusal": [f.token(text, 0.1)]}
        return frame

    upstream.on("small-1", scripts.frames(part("I "), part("cannot."), f.chunk({}, finish="stop")))
    message = gateway.chat().message
    assert message["refusal"] == "I cannot." and message["content"] is None


def test_other_members_of_a_delta_are_kept(gateway, upstream):
    frames = [
        f.chunk({"role": "assistant", "reasoning_content": "Let me "}),
        f.chunk({"reasoning_content": "think."}),
        *f.text_frames([("Paris", 0.1)], role=False),
    ]
    upstream.on("small-1", scripts.frames(*frames))
    message = gateway.chat().message
    assert message["content"] == "Paris" and message["reasoning_content"] == "Let me think."


def test_logprobs_are_there_only_if_asked_for(gateway, upstream):
    upstream.on("small-1", confident("Paris is it."))
    plain = gateway.chat()
    assert plain.json()["choices"][0].get("logprobs") is None
    assert b"top_logprobs" not in plain.body
    asked = gateway.chat(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in asked] == ["Paris", " is", " it."]


@pytest.mark.parametrize("asked", [0, 1, 2, 5, 12, 20])
def test_as_many_candidates_are_there_as_the_client_asked_for(gateway, upstream, asked):
    upstream.on("small-1", confident("Paris is."))
    answer = gateway.chat(logprobs=True, top_logprobs=asked)
    assert_routed(answer, "accept", "confident")
    entries = answer.json()["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in entries] == [asked] * len(entries)
    if asked:
        assert entries[0]["top_logprobs"][0]["token"] == entries[0]["token"]


def test_logprobs_without_a_number_have_no_candidates(gateway, upstream):
    upstream.on("small-1", confident("Paris is."))
    entries = gateway.chat(logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert all(entry["top_logprobs"] == [] for entry in entries) and len(entries) == 2


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_a_whole_answer_is_passed_on_with_all_its_members(gateway, upstream, decision):
    body = rb'{ "id":"c1","object":"chat.completion","created":1,"model":"m","x":{"y":[1e2,0.70,9223372036854775808]},' \
        rb'"choices":[{"index":0,"message":{"role":"assistant","content":"\u0000\ud800 \/","z":null},"finish_reason":"stop"}],"usage":null}'
    upstream.on("small-1", uncertain())
    for model in ("large-1", "other-1"):
        upstream.on(model, scripts.reply(200, body))
    answer = gateway.chat(model=ROUTES[decision])
    assert answer.status == 200
    for part in (rb'"x":{"y":[1e2,0.70,9223372036854775808]}', rb'"content":"\u0000\ud800 \/","z":null'):
        assert part in answer.body


def test_an_answer_of_a_megabyte_is_passed_on(gateway, upstream):
    text = "0123456789abcdef" * 65536
    upstream.on("other-1", expert(tokens=[(text, 0.1)]))
    assert gateway.chat(model="other").text == text


@pytest.mark.parametrize("pieces", [1, 100])
def test_an_answer_that_comes_in_pieces_is_put_together(gateway, upstream, pieces):
    body = f.dump(f.completion("It is Paris."))
    upstream.on("other-1", scripts.body(body, "application/json", pieces=pieces))
    answer = gateway.chat(model="other")
    assert answer.text == "It is Paris."


def test_several_choices_of_the_heavyweight_are_passed_on(gateway, upstream):
    document = f.completion("a")
    document["choices"].append({"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"})
    upstream.on("large-1", scripts.reply(200, document))
    answer = gateway.chat(n=2)
    assert [choice["message"]["content"] for choice in answer.json()["choices"]] == ["a", "b"]


# The headers


@pytest.mark.parametrize(
    "decision, reason, model, provider, attempts",
    [
        ("accept", "confident", "drafter", "cheap", "1"),
        ("escalate", "early_exit", "heavyweight", "good", "2"),
        ("direct", "pinned", "other", "good", "1"),
    ],
)
def test_the_headers_tell_what_happened(answered, decision, reason, model, provider, attempts):
    answer = answered(decision)
    assert answer.status == 200
    assert_routed(answer, decision, reason, model, provider)
    assert answer.header("x-gateway-attempts") == attempts
    assert answer.header("Content-Type").startswith("application/json")
    assert re.fullmatch(r"\d{1,5}", answer.header("X-Request-Duration-Ms"))
    assert re.fullmatch(r"[0-9a-f]{16}", answer.header("X-Request-ID"))
    assert answer.header("x-gateway-request-id") == answer.header("X-Request-ID")
    if decision == "direct":
        assert answer.header("X-Routing-Score") is None
    else:
        assert float(answer.header("X-Routing-Score")) == pytest.approx(4.0 if decision == "escalate" else 0.1, abs=0.001)


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_nothing_was_retried_so_nothing_says_so(answered, decision):
    assert answered(decision).header("x-should-retry") is None


def test_the_duration_covers_the_wait_for_upstream(gateway, upstream):
    gate = upstream.gate()

    def script(exchange):
        gate.wait(0.2)  # nobody opens it: upstream takes its time
        expert()(exchange)

    upstream.on("other-1", script)
    assert 200 <= int(gateway.chat(model="other").header("X-Request-Duration-Ms")) < 5000


@pytest.mark.parametrize("wanted", ["a", "abc-DEF_1.2:3", "0" * 128, "550e8400-e29b-41d4-a716-446655440000"])
@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_the_clients_request_id_is_kept(answered, decision, wanted):
    answer = answered(decision, headers=[("X-Request-ID", wanted)])
    assert answer.header("X-Request-ID") == wanted
    assert answer.header("x-gateway-request-id") == wanted


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "é", "a\tb", "0" * 129, "x" * 5000, "a,b", "<script>", "a;b", "%0a"])
def test_a_request_id_of_another_form_is_replaced(answered, bad):
    answer = answered("direct", headers=[("X-Request-ID", bad)])
    assert re.fullmatch(r"[0-9a-f]{16}", answer.header("X-Request-ID"))


def test_generated_request_ids_differ(answered):
    assert len({answered("direct").header("X-Request-ID") for _ in range(20)}) == 20


def test_errors_carry_the_headers_as_far_as_they_are_known(gateway, upstream):
    upstream.on("other-1", scripts.failure(500))
    answer = gateway.chat(model="other", headers=[("X-Request-ID", "mine-2")])
    assert_error(answer, 502)
    assert_routed(answer, "direct", "pinned", "other", "good")
    assert answer.header("X-Request-ID") == "mine-2"
    assert answer.header("x-gateway-attempts") == "1"
    assert answer.header("X-Request-Duration-Ms").isdigit()


def test_a_malformed_body_carries_the_request_id(gateway):
    answer = gateway.chat(b"{", headers=[("X-Request-ID", "mine-3")])
    assert_error(answer, 400)
    assert answer.header("X-Request-ID") == "mine-3"
    assert answer.header("X-Routing-Decision") is None


UPSTREAM_HEADERS = [
    ("X-Request-Id", "upstreams-own"),
    ("Set-Cookie", "leak=1"),
    ("Server", "leak"),
    ("openai-organization", "leak"),
    ("openai-version", "leak"),
    ("CF-Ray", "leak"),
    ("X-Routing-Decision", "leak"),
    ("Alt-Svc", "leak"),
    ("Strict-Transport-Security", "leak"),
    ("Cache-Control", "leak"),
    ("openai-processing-ms", "123"),
    ("x-ratelimit-remaining-requests", "59"),
    ("X-RateLimit-Reset-Tokens", "6m0s"),
]


def honest_with_headers(exchange):
    if exchange.request.json.get("stream"):
        exchange.head(headers=UPSTREAM_HEADERS)
        exchange.frames(f.text_frames([("It", 4.0 if exchange.request.model == "small-1" else 0.1)]))
        exchange.end()
    else:
        exchange.reply(200, f.completion("It"), headers=UPSTREAM_HEADERS)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["auto", "other"])
def test_no_other_header_of_upstream_passes(gateway, upstream, model, stream):
    for name in ("small-1", "large-1", "other-1"):
        upstream.on(name, honest_with_headers)
    if stream:
        answer = gateway.stream(model=model).read().head
    else:
        answer = gateway.chat(model=model)
    assert b"leak" not in answer.raw and b"upstreams-own" not in answer.raw
    passed = {name: answer.header(name) for name in ("openai-processing-ms", "x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens")}
    if model == "other":
        assert list(passed.values()) == ["123", "59", "6m0s"]
    else:
        assert list(passed.values()) == [None, None, None]


def test_headers_of_upstreams_errors_do_not_pass_either(gateway, upstream):
    upstream.on("other-1", scripts.failure(400, headers=UPSTREAM_HEADERS))
    answer = gateway.chat(model="other")
    assert answer.status == 400
    assert b"leak" not in answer.raw


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_the_reasoning_effort_is_passed_on_and_told(answered, upstream, effort):
    answer = answered("direct", reasoning_effort=effort)
    assert answer.header("x-gateway-reasoning-effort") == effort
    assert upstream.requests[0].json["reasoning_effort"] == effort


def test_without_a_reasoning_effort_none_is_told(answered):
    assert answered("direct").header("x-gateway-reasoning-effort") is None
