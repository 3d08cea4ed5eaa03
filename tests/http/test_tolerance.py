"""Upstreams that answer in JSON where a stream was asked for, or with a stream where JSON was."""

import json

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.scripts import expert, uncertain

WAYS = {"escalate": ("auto", "large-1"), "direct": ("other", "other-1")}


@pytest.fixture(params=sorted(WAYS))
def way(request, gateway, upstream):
    """way(script): the model's name to ask for, of which the server that does this then answers."""
    model, server = WAYS[request.param]

    def prepare(script):
        upstream.on("small-1", uncertain())
        upstream.on(server, script)
        return model

    return prepare


def scored(pairs, **options):
    """A whole completion with logprobs: (text, bits) each."""
    entries = [f.token(text, bits) for text, bits in pairs]
    return f.completion("".join(text for text, _ in pairs), entries=entries, **options)


SURE = [("Paris", 0.1), (" it", 0.1), (" is.", 0.1)]
UNSURE = [("DRAFTED", 0.1), (" Rome", 5.0), (" perhaps.", 0.1)]


# JSON where a stream was asked for


def test_a_draft_in_json_is_scored_and_accepted(gateway, upstream):
    upstream.on("small-1", scripts.reply(200, scored(SURE, usage=f.usage(9, 3), head=f.head(id="chatcmpl-whole"))))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    document = answer.json()
    assert answer.text == "Paris it is."
    assert document["id"] == "chatcmpl-whole" and document["object"] == "chat.completion"
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["usage"] == f.usage(9, 3)
    assert upstream.requests_for("large-1") == []


def test_a_draft_in_json_is_streamed_to_a_client_that_streams(gateway, upstream):
    upstream.on("small-1", scripts.reply(200, scored(SURE, usage=f.usage(9, 3))))
    answer = gateway.stream(stream_options={"include_usage": True}).read()
    assert answer.text == "Paris it is." and answer.done
    assert all(frame["object"] == "chat.completion.chunk" for frame in answer.frames)
    assert "logprobs" not in answer.frames[0]["choices"][0]
    assert answer.frames[-1]["choices"] == [] and answer.frames[-1]["usage"] == f.usage(9, 3)
    assert answer.routing["decision"] == "accept"


@pytest.mark.parametrize("stream", [False, True])
def test_an_uncertain_draft_in_json_is_escalated(gateway, upstream, stream):
    upstream.on("small-1", scripts.reply(200, scored(UNSURE, usage=f.usage(9, 3))))
    upstream.on("large-1", expert("It is Paris."))
    if stream:
        answer = gateway.stream().read()
        assert answer.text == "It is Paris." and answer.done
        assert_routed(answer.head, "escalate", "early_exit")
    else:
        answer = gateway.chat()
        assert answer.text == "It is Paris."
        assert_routed(answer, "escalate", "early_exit")


def test_a_draft_in_json_may_call_tools(gateway, upstream):
    entries = [f.token("f", 0.1)]
    whole = f.completion(finish="tool_calls", tool_calls=[("call_1", "f", '{"x": 1}'), ("call_2", "g", "{}")], entries=entries)
    upstream.on("small-1", scripts.reply(200, whole))
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident")
    calls = answer.message["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [("call_1", "f", '{"x": 1}'), ("call_2", "g", "{}")]


@pytest.mark.parametrize(
    "whole",
    [
        f.completion(""),
        f.completion("DRAFTED", finish=None, entries=[f.token("DRAFTED", 0.1)]),
        {"choices": []},
        {"usage": f.usage()},
        {"error": {"message": "DRAFTED overloaded"}},
        {"object": "list", "data": []},
        [],
    ],
    ids=["empty", "unfinished", "no_choices", "only_usage", "error", "no_completion", "array"],
)
def test_a_document_that_is_no_answer_is_a_failed_draft(gateway, upstream, whole):
    upstream.on("small-1", scripts.reply(200, whole))
    upstream.on("large-1", expert("It is Paris."))
    answer = gateway.chat()
    assert_routed(answer, "escalate", "drafter_error")
    assert answer.text == "It is Paris." and b"DRAFTED" not in answer.body


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON; charset=utf-8", "text/plain", "application/octet-stream"])
def test_a_whole_answer_is_streamed_to_a_client_that_streams(gateway, way, content_type):
    model = way(scripts.reply(200, f.completion("It is Paris.", usage=f.usage(9, 3)), content_type))
    answer = gateway.stream(model=model, stream_options={"include_usage": True}).read()
    assert answer.text == "It is Paris." and answer.done
    assert [choice["finish_reason"] for frame in answer.frames for choice in frame["choices"]] == ["stop"]
    assert answer.frames[-1]["usage"] == f.usage(9, 3)
    assert {frame["object"] for frame in answer.frames} == {"chat.completion.chunk"}


def test_each_choice_of_a_whole_answer_is_streamed(gateway, upstream):
    whole = f.completion("first")
    whole["choices"].append({**whole["choices"][0], "index": 1, "message": {"role": "assistant", "content": "second"}, "finish_reason": "length"})
    upstream.on("other-1", scripts.reply(200, whole))
    answer = gateway.stream(model="other", n=2).read()
    assert answer.done
    said = [(c["index"], c["delta"]["content"], c["finish_reason"]) for frame in answer.frames for c in frame["choices"]]
    assert said == [(0, "first", "stop"), (1, "second", "length")]


def test_tool_calls_of_a_whole_answer_get_their_index(gateway, way):
    model = way(scripts.reply(200, f.completion(finish="tool_calls", tool_calls=[("a", "f", "{}"), ("b", "g", "{}")])))
    answer = gateway.stream(model=model).read()
    [choice] = answer.frames[0]["choices"]
    assert [(call["index"], call["id"]) for call in choice["delta"]["tool_calls"]] == [(0, "a"), (1, "b")]


def test_a_document_over_several_lines_is_streamed(gateway, way):
    model = way(scripts.reply(200, json.dumps(f.completion("It is Paris."), indent=2).encode()))
    client = gateway.client()
    with client:
        client.begin("POST", "/v1/chat/completions", {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]})
        raw = client.read_response().body
    events = [block for block in raw.split(b"\n\n") if block.startswith(b"data: ")]
    frame = json.loads(b"\n".join(line.removeprefix(b"data: ") for line in events[0].split(b"\n")))
    assert frame["choices"][0]["delta"]["content"] == "It is Paris."
    assert events[-1] == b"data: [DONE]"


@pytest.mark.parametrize("ending", ["cut", "reset"])
def test_a_document_that_breaks_off_is_502(gateway, way, ending):
    def script(exchange):
        exchange.head(content_type="application/json")
        exchange.write(f.dump(f.completion("It is Paris.")))
        getattr(exchange, ending)()

    assert_error(gateway.chat(model=way(script), stream=True), 502)


# A stream where JSON was asked for


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8", None, "text/plain"])
@pytest.mark.parametrize("pieces", [None, 1], ids=["at_once", "byte_by_byte"])
def test_a_stream_is_assembled_into_one_document(gateway, way, content_type, pieces):
    said = f.text_frames([("It", 0.1), (" is", 0.1), (" Paris.", 0.1)], usage=f.usage(9, 3), logprobs=False)
    data = b"".join(f.event(frame) for frame in said) + f.DONE
    answer = gateway.chat(model=way(scripts.body(data, content_type, pieces=pieces)))
    assert answer.status == 200 and answer.header("Content-Type").startswith("application/json")
    document = answer.json()
    assert answer.text == "It is Paris." and document["object"] == "chat.completion"
    assert document["id"] == f.HEAD["id"] and document["usage"] == f.usage(9, 3)
    assert document["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("begin", [b"\n\n", b" \r\n\t\n", b": hello\n\n", b"\xef\xbb\xbf", b"event: x\n"])
def test_a_stream_without_a_type_is_known_by_its_first_byte(gateway, way, begin):
    data = begin + b"".join(f.event(frame) for frame in f.text_frames([("It is Paris.", 0.1)], logprobs=False)) + f.DONE
    assert gateway.chat(model=way(scripts.body(data, None, pieces=1))).text == "It is Paris."


@pytest.mark.parametrize("begin", [b"", b" \r\n\t\n  "])
@pytest.mark.parametrize("stream", [False, True])
def test_a_document_without_a_type_is_known_by_its_first_byte(gateway, way, begin, stream):
    model = way(scripts.body(begin + f.dump(f.completion("It is Paris.")), None, pieces=1))
    answer = gateway.stream(model=model).read() if stream else gateway.chat(model=model)
    assert answer.text == "It is Paris."


def test_an_assembled_answer_has_its_logprobs(gateway, upstream):
    said = f.text_frames([("It", 0.1), (" is.", 0.3)], k=20)
    upstream.on("other-1", scripts.frames(*said))
    document = gateway.chat(model="other", logprobs=True, top_logprobs=20).json()
    entries = document["choices"][0]["logprobs"]["content"]
    assert [(entry["token"], len(entry["top_logprobs"])) for entry in entries] == [("It", 20), (" is.", 20)]


def test_an_assembled_answer_has_its_tool_calls(gateway, way):
    model = way(scripts.frames(*f.tool_frames([("call_1", "f", '{"x": 1}'), ("call_2", "g", "{}")])))
    message = gateway.chat(model=model).message
    assert [(c["id"], c["function"]["arguments"]) for c in message["tool_calls"]] == [("call_1", '{"x": 1}'), ("call_2", "{}")]


PART = f.text_frames([("It", 0.1), (" is", 0.1)], finish=None, logprobs=False)


@pytest.mark.parametrize(
    "script, says",
    [
        (scripts.after(PART, scripts.cut), "cut short"),
        (scripts.after(PART, scripts.reset), "cut short"),
        (scripts.frames(*PART, done=False), "finish_reason"),
        (scripts.frames(*PART, {"error": {"message": "Network connection lost"}}), "Network connection lost"),
        (scripts.frames(*PART, b"{garbage}"), "not a chat completion chunk"),
        (scripts.frames(*PART, {"choices": [{"index": 0, "delta": {"tool_calls": [7]}}]}), "do not fit together"),
        (scripts.frames(), "finish_reason"),
    ],
    ids=["cut", "reset", "no_finish", "error", "garbage", "no_fit", "nothing"],
)
def test_a_broken_stream_is_502_and_never_half_an_answer(gateway, way, script, says):
    assert_error(gateway.chat(model=way(script)), 502, says=says)


def test_a_stream_cut_after_its_last_finish_reason_is_complete(gateway, way):
    said = f.text_frames([("It is Paris.", 0.1)], logprobs=False)
    assert gateway.chat(model=way(scripts.after(said, scripts.cut))).text == "It is Paris."


def test_an_endless_stream_where_json_was_asked_ends(gateway, upstream):
    def script(exchange):
        exchange.head()
        while not exchange.connection.closed.is_set():
            exchange.frames([f.chunk({"content": "x" * 1_000_000})], done=False)

    upstream.on("other-1", script)
    assert_error(gateway.chat(model="other"), 502, says="too many")


# Neither


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "body, content_type",
    [
        (b"<html>hello</html>", "text/html; charset=utf-8"),
        (f.dump(f.completion("It is Paris.")), "text/html"),
        (b"hello", "text/plain"),
        (b"hello", None),
        (b"[1]", None),
        (b" \n ", None),
        (b"", None),
        (b"", "text/plain"),
    ],
)
def test_what_is_neither_is_502(gateway, way, body, content_type, stream):
    error = assert_error(gateway.chat(model=way(scripts.body(body, content_type)), stream=stream), 502)
    assert error["code"] == "upstream_malformed"
