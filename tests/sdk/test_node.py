"""The official openai package for Node, unchanged but for its baseURL; client.mjs has the conversations."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lib import frames as f
from lib import scripts
from lib.live import ROLE, draft_of, heavy_of, live, live_daemon, said  # noqa: F401
from lib.scripts import confident, expert, uncertain
from lib.ways import way  # noqa: F401

SCRIPT = Path(__file__).with_name("client.mjs")
CALLS = [("call_a", "weather", '{"city":"Paris"}'), ("call_b", "weather", '{"city":"Rome"}')]


DOORS = ["/v1", "/openai/v1", "/api/client/v1"]


def begin(gateway, case, model, door="/v1"):
    url = f"http://{gateway.address[0]}:{gateway.address[1]}{door}"
    return subprocess.Popen(
        ["node", str(SCRIPT), os.environ["DT_SDK_NODE"], url, case, model],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, say=""):
    out, err = process.communicate(say, timeout=30)
    assert process.returncode == 0 and out, err
    return json.loads(out)


@pytest.fixture(params=DOORS)
def talk(request, gateway):
    """talk(case, model): what came of this conversation, at each door."""

    def run(case, model="auto", on=gateway):
        return finish(begin(on, case, model, request.param))

    return run


@pytest.fixture
def ask(gateway):
    """The same at the first door only, which has more than chat."""
    return lambda case, model="auto": finish(begin(gateway, case, model))


def text_of(chunks):
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_plain_chat(talk, way):
    answer = talk("plain", way(confident("Paris is it.", usage=f.usage(12, 3))))["value"]
    assert answer["choices"][0]["message"]["content"] == "Paris is it."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == 15


def test_streamed_chat(talk, way):
    chunks = talk("stream", way(confident("Paris is it.")))["value"]
    assert text_of(chunks) == "Paris is it."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(not chunk.get("usage") for chunk in chunks)


def test_usage_of_a_stream(talk, way):
    chunks = talk("usage", way(confident("Paris is it.", usage=f.usage(12, 3))))["value"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 15
    assert all(not chunk.get("usage") for chunk in chunks[:-1])


def test_logprobs_when_asked(talk, way):
    answer = talk("logprobs", way(confident("Paris is it.")))["value"]
    entries = answer["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["Paris", " is", " it."]
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


def test_streamed_logprobs_when_asked(talk, way):
    chunks = talk("streamed_logprobs", way(confident("Paris is it.")))["value"]
    entries = [e for c in chunks for choice in c["choices"] for e in ((choice.get("logprobs") or {}).get("content") or [])]
    assert [entry["token"] for entry in entries] == ["Paris", " is", " it."]


def test_tool_calls(talk, way):
    answer = talk("tools", way(scripts.calls_tools(CALLS, logprobs=True)))["value"]
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == CALLS
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_streamed_tool_calls(talk, way):
    answer = talk("streamed_tools", way(scripts.calls_tools(CALLS, logprobs=True)))["value"]
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == CALLS


@pytest.mark.parametrize(
    "status, kind, seen",
    [
        (400, "BadRequestError", 400),
        (422, "UnprocessableEntityError", 422),
        (429, "RateLimitError", 429),
        (401, "InternalServerError", 502),
        (500, "InternalServerError", 502),
    ],
)
@pytest.mark.parametrize("case", ["plain", "stream"])
def test_upstreams_errors_become_the_right_exception(talk, upstream, case, status, kind, seen):
    upstream.on("other-1", scripts.failure(status, "no luck", headers=[("Retry-After", "7")]))
    outcome = talk(case, "other")
    assert (outcome["error"], outcome["status"]) == (kind, seen)
    assert "no luck" in outcome["message"] and outcome["request_id"]
    if status == 429:
        assert outcome["retry_after"] == "7"
    assert len(upstream.requests) == 1


def test_a_bad_parameter_is_named(talk):
    outcome = talk("bad_parameter")
    assert outcome["error"] == "BadRequestError" and outcome["param"] == "temperature"


def test_an_unknown_model_is_not_found_where_it_is_rejected(talk, start):
    outcome = talk("plain", "gpt-17", on=start(unknown_model="reject"))
    assert outcome["error"] == "NotFoundError" and outcome["code"] == "model_not_found"


def test_a_timeout_of_upstream_is_an_internal_server_error(talk, start, upstream):
    upstream.on("other-1", scripts.stall)
    outcome = talk("plain", "other", on=start(providers={"good": {"first_byte_timeout": "200ms"}}))
    assert (outcome["error"], outcome["status"], outcome["type"]) == ("InternalServerError", 504, "timeout_error")


def test_a_timeout_of_the_client_lets_upstream_go(talk, upstream):
    upstream.on("other-1", scripts.stall)
    assert talk("timeout", "other")["error"] == "APIConnectionTimeoutError"
    upstream.wait_closed(upstream.wait_request("other-1"))


def test_a_stream_that_breaks_throws_and_does_not_just_end(talk, upstream):
    upstream.on("other-1", scripts.after(scripts.PART, scripts.cut))
    outcome = talk("break", "other")
    assert outcome["error"] == "APIError" and outcome["code"] == "upstream_truncated"
    assert outcome["said"] == "DRAFTED half"


@pytest.mark.parametrize("server, model", [("other-1", "other"), ("large-1", "auto")])
def test_a_stream_that_is_aborted_lets_upstream_go(talk, upstream, server, model):
    upstream.on("small-1", uncertain())
    upstream.on(server, scripts.after(scripts.PART, scripts.stall))
    assert "value" in talk("abort_stream", model)
    upstream.wait_closed(upstream.wait_request(server), timeout=2)


def test_a_request_that_is_aborted_before_its_answer_lets_upstream_go(gateway, upstream):
    upstream.on("other-1", scripts.stall)
    process = begin(gateway, "abort_before_answer", "other")
    request = upstream.wait_request("other-1")
    assert finish(process, "now\n")["error"] == "APIUserAbortError"
    upstream.wait_closed(request, timeout=2)


def test_models_are_listed(ask):
    assert set(ask("models")["value"]) == {"auto", "drafter", "heavyweight", "other"}


def test_a_model_is_retrieved(ask):
    assert ask("model", "auto")["value"]["id"] == "auto"
    assert ask("model", "nobody")["error"] == "NotFoundError"


def test_the_answers_of_the_heavyweight_are_its_own(talk, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    assert talk("plain")["value"]["choices"][0]["message"]["content"] == "It is Paris."


# Live streams

LIVE = {
    "accepted": (confident("The capital of France is Paris.", usage=f.usage(12, 6)), expert(), 18),
    "handed_off": (draft_of("The", " capital", " of"), heavy_of("capital of France", " is", " Paris.", usage=f.usage(30, 4)), 34),
}


@pytest.fixture(params=sorted(LIVE))
def flowing(request, live, talk, upstream):
    """(talk(case), total of its usage) of a live stream that says the same whichever way it comes."""
    drafter, heavyweight, total = LIVE[request.param]
    upstream.on("small-1", drafter)
    upstream.on("large-1", heavyweight)
    yield lambda case: talk(case, on=live), total
    assert len(upstream.requests_for("large-1")) == (request.param == "handed_off")


def members(chunks, name):
    """The values of a choice's member, or of its delta's, where it has one."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return [value for choice in choices if (value := choice.get(name) or choice["delta"].get(name))]


def test_a_live_stream_is_one_answer(flowing):
    chunks = flowing[0]("stream")["value"]
    assert text_of(chunks) == "The capital of France is Paris."
    assert members(chunks, "role") == ["assistant"] and members(chunks, "finish_reason") == ["stop"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all(not chunk.get("usage") for chunk in chunks)


def test_a_live_stream_ends_with_the_usage_that_was_asked_for(flowing):
    talk_live, total = flowing
    chunks = talk_live("usage")["value"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == total
    assert all(len(chunk["choices"]) == 1 and not chunk.get("usage") for chunk in chunks[:-1])
    assert members(chunks, "finish_reason") == ["stop"] and len({chunk["id"] for chunk in chunks}) == 1


def test_a_live_stream_with_the_helper(flowing):
    final = flowing[0]("streamed_helper")["value"]
    assert final["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert final["choices"][0]["message"]["role"] == "assistant" and final["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("server", ["small-1", "large-1"])
def test_a_live_stream_that_is_cut_throws(live, talk, upstream, server):
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", scripts.after([said(" of")], scripts.cut))
    if server == "small-1":
        upstream.on("small-1", scripts.after([ROLE, *[said(t) for t in ("The", " capital", " of", " it")]], scripts.cut))
    outcome = talk("break", on=live)
    assert (outcome["error"], outcome["code"], outcome["type"]) == ("APIError", "upstream_truncated", "upstream_error")
    assert outcome["said"] == ("The capital" if server == "small-1" else "The capital of")
