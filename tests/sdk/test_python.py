"""The official openai package for Python, unchanged but for its base_url."""

import asyncio
import json

import openai
import pytest

from lib import frames as f
from lib import scripts
from lib.gateway import Gateway, long_form, soon
from lib.live import ROLE, draft_of, heavy_of, live, live_daemon, said  # noqa: F401
from lib.scripts import confident, expert, uncertain
from lib.ways import way  # noqa: F401

ASK = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALLS = [("call_a", "weather", '{"city":"Paris"}'), ("call_b", "weather", '{"city":"Rome"}')]


DOORS = ["/v1", "/openai/v1", "/api/client/v1"]


def sdk(gateway, door="/v1", **options):
    return openai.OpenAI(
        base_url=f"http://{gateway.address[0]}:{gateway.address[1]}{door}", api_key="sk-client", max_retries=0, timeout=20, **options)


@pytest.fixture(params=DOORS)
def client(request, gateway):
    """At each door."""
    with sdk(gateway, request.param) as client:
        yield client


@pytest.fixture
def main(gateway):
    """At the first door only, which has more than chat."""
    with sdk(gateway) as client:
        yield client


def test_plain_chat(client, way):
    model = way(confident("Paris is it.", usage=f.usage(12, 3)))
    answer = client.chat.completions.create(model=model, messages=ASK)
    assert answer.choices[0].message.content == "Paris is it."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.object == "chat.completion" and answer.id == "chatcmpl-draft"
    assert answer.usage.prompt_tokens == 12 and answer.usage.completion_tokens == 3
    assert answer._request_id


def test_the_routing_headers_can_be_read(client, way):
    model = way(confident())
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK)
    assert raw.headers["x-routing-decision"] == way.decision
    assert raw.parse().choices[0].message.content == "Paris is the capital."


def test_streamed_chat(client, way):
    model = way(confident("Paris is it."))
    chunks = list(client.chat.completions.create(model=model, messages=ASK, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Paris is it."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1


def test_streamed_chat_with_the_helper(client, way):
    model = way(confident("Paris is it."))
    with client.chat.completions.stream(model=model, messages=ASK) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and "content.done" in kinds
    assert final.choices[0].message.content == "Paris is it."


def test_usage_of_a_stream(client, way):
    model = way(confident("Paris is it.", usage=f.usage(12, 3)))
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=model, messages=ASK, stream=True, stream_options=options))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 15
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_when_asked(client, way, stream):
    model = way(confident("Paris is it."))
    answer = client.chat.completions.create(model=model, messages=ASK, logprobs=True, top_logprobs=2, stream=stream)
    choices = [c.choices[0] for c in answer] if stream else [answer.choices[0]]
    entries = [entry for choice in choices if choice.logprobs for entry in choice.logprobs.content or []]
    assert [entry.token for entry in entries] == ["Paris", " is", " it."]
    assert all(len(entry.top_logprobs) == 2 for entry in entries)


def test_tool_calls(client, way):
    model = way(scripts.calls_tools(CALLS, logprobs=True))
    answer = client.chat.completions.create(model=model, messages=ASK, tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in calls] == CALLS


def test_streamed_tool_calls(client, way):
    model = way(scripts.calls_tools(CALLS, logprobs=True))
    with client.chat.completions.stream(model=model, messages=ASK, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in calls] == CALLS


def test_a_conversation_with_tool_results(client, upstream):
    upstream.on("small-1", confident("Sunny."))
    messages = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
    ]
    assert client.chat.completions.create(model="auto", messages=messages, tools=TOOLS).choices[0].message.content == "Sunny."
    assert upstream.requests[0].json["messages"] == messages


def test_structured_output(client, way):
    pydantic = pytest.importorskip("pydantic")

    class City(pydantic.BaseModel):
        name: str

    model = way(confident(json.dumps({"name": "Paris"}, separators=(",", ":"))))
    answer = client.chat.completions.parse(model=model, messages=ASK, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Paris")


def test_every_parameter_reaches_upstream(client, upstream):
    upstream.on("other-1", expert())
    client.chat.completions.create(
        model="other", messages=ASK, temperature=0.7, top_p=0.9, n=1, stop=["x"], max_completion_tokens=5, presence_penalty=-1,
        frequency_penalty=1, logit_bias={"1": -100}, user="u", seed=7, response_format={"type": "json_object"},
        parallel_tool_calls=False, tools=TOOLS, tool_choice="auto", service_tier="auto", store=False, metadata={"a": "b"},
        reasoning_effort="low", extra_body={"thinking": {"budget": 1}})
    body = upstream.requests[0].json
    assert body["thinking"] == {"budget": 1} and body["seed"] == 7 and body["temperature"] == 0.7
    assert body["model"] == "other-1" and len(body) == 21


@pytest.mark.parametrize(
    "status, kind",
    [
        (400, openai.BadRequestError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (401, openai.InternalServerError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_upstreams_errors_become_the_right_exception(client, upstream, status, kind, stream):
    upstream.on("other-1", scripts.failure(status, "no luck", headers=[("Retry-After", "7")]))
    with pytest.raises(kind, match="no luck") as caught:
        client.chat.completions.create(model="other", messages=ASK, stream=stream)
    assert caught.value.request_id
    if status == 429:
        assert caught.value.response.headers["retry-after"] == "7"
    if status in (401, 500, 503):
        assert caught.value.status_code == 502 and caught.value.type == "upstream_error"
    assert len(upstream.requests) == 1


def test_a_bad_parameter_is_named(client, upstream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=ASK, temperature=3)
    assert caught.value.param == "temperature" and caught.value.type == "invalid_request_error"
    assert upstream.requests == []


def test_no_messages_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="auto", messages=[])
    assert caught.value.param == "messages"


def test_an_unknown_model_is_not_found_where_it_is_rejected(start):
    with sdk(start(unknown_model="reject")) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="gpt-17", messages=ASK)
        assert caught.value.code == "model_not_found" and caught.value.param == "model"


def test_a_timeout_of_upstream_is_an_internal_server_error(start, upstream):
    upstream.on("other-1", scripts.stall)
    with sdk(start(providers={"good": {"first_byte_timeout": "200ms"}})) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="other", messages=ASK)
        assert caught.value.status_code == 504 and caught.value.type == "timeout_error"


def test_a_timeout_of_the_client_lets_upstream_go(client, upstream):
    upstream.on("other-1", scripts.stall)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="other", messages=ASK, timeout=0.3)
    upstream.wait_closed(upstream.wait_request("other-1"))


def test_a_gateway_that_is_gone_is_a_connection_error(upstream, tmp_path):
    gateway = Gateway(tmp_path, long_form(upstream)).start()
    with sdk(gateway) as client:
        gateway.stop()
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model="auto", messages=ASK)


def test_a_stream_that_breaks_raises_and_does_not_just_end(client, upstream):
    upstream.on("other-1", scripts.after(scripts.PART, scripts.cut))
    said = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model="other", messages=ASK, stream=True):
            said += chunk.choices[0].delta.content or ""
    assert said == "DRAFTED half"
    assert caught.value.code == "upstream_truncated" and caught.value.type == "upstream_error"


@pytest.mark.parametrize("server, model", [("other-1", "other"), ("large-1", "auto")])
def test_a_stream_that_is_aborted_lets_upstream_go(client, upstream, server, model):
    import time

    upstream.on("small-1", uncertain())
    upstream.on(server, scripts.after(scripts.PART, scripts.stall))
    seen = []

    def attempt():
        stream = client.chat.completions.create(model=model, messages=ASK, stream=True)
        next(iter(stream))
        seen.append(upstream.wait_request(server, len(seen) + 1))
        at = time.monotonic()
        stream.close()
        return upstream.wait_closed(seen[-1]) - at

    soon(50, attempt)


def test_the_clients_own_retries_see_each_failure_once(gateway, upstream):
    upstream.on("other-1", scripts.failure(500))
    with sdk(gateway).with_options(max_retries=1) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="other", messages=ASK)
    assert len(upstream.requests) == 2


def test_models_are_listed(main):
    assert {model.id for model in main.models.list()} == {"auto", "drafter", "heavyweight", "other"}


def test_a_model_is_retrieved(main):
    assert main.models.retrieve("auto").id == "auto"
    with pytest.raises(openai.NotFoundError):
        main.models.retrieve("nobody")


def test_the_asynchronous_client(gateway, upstream):
    upstream.on("small-1", confident("Paris is it."))
    upstream.on("other-1", scripts.after(scripts.PART, scripts.stall))
    url = f"http://{gateway.address[0]}:{gateway.address[1]}/v1"

    async def talk():
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-client", max_retries=0, timeout=20) as client:
            plain = await asyncio.gather(*[client.chat.completions.create(model="auto", messages=ASK) for _ in range(20)])
            assert {answer.choices[0].message.content for answer in plain} == {"Paris is it."}
            stream = await client.chat.completions.create(model="auto", messages=ASK, stream=True)
            assert "".join([c.choices[0].delta.content or "" async for c in stream]) == "Paris is it."
            task = asyncio.create_task(client.chat.completions.create(model="other", messages=ASK))
            await asyncio.to_thread(upstream.wait_request, "other-1")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(talk())
    upstream.wait_closed(upstream.wait_request("other-1"))


# Live streams

# What the servers do, what the client is told, and who says its usage.
LIVE = {
    "accepted": (confident("The capital of France is Paris.", usage=f.usage(12, 6)), expert(), 18),
    "handed_off": (draft_of("The", " capital", " of"), heavy_of("capital of France", " is", " Paris.", usage=f.usage(30, 4)), 34),
}


@pytest.fixture(params=sorted(LIVE))
def flowing(request, live, upstream):
    """(client, total of its usage) of a live stream that says the same whichever way it comes."""
    drafter, heavyweight, total = LIVE[request.param]
    upstream.on("small-1", drafter)
    upstream.on("large-1", heavyweight)
    with sdk(live) as client:
        yield client, total
    assert len(upstream.requests_for("large-1")) == (request.param == "handed_off")


def test_a_live_stream_is_one_answer(flowing):
    client, _ = flowing
    chunks = list(client.chat.completions.create(model="auto", messages=ASK, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "The capital of France is Paris."
    assert [c.choices[0].delta.role for c in chunks if c.choices[0].delta.role] == ["assistant"]
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({(c.id, c.created) for c in chunks}) == 1
    assert all(c.usage is None for c in chunks)


def test_a_live_stream_ends_with_the_usage_that_was_asked_for(flowing):
    client, total = flowing
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="auto", messages=ASK, stream=True, stream_options=options))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == total
    assert all(len(c.choices) == 1 and c.usage is None for c in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason == "stop" and len({c.id for c in chunks}) == 1


def test_a_live_stream_with_the_helper(flowing):
    client, _ = flowing
    with client.chat.completions.stream(model="auto", messages=ASK) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert deltas == final.choices[0].message.content == "The capital of France is Paris."
    assert final.choices[0].message.role == "assistant" and final.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("server", ["small-1", "large-1"])
def test_a_live_stream_that_is_cut_raises(live, upstream, server):
    upstream.on("small-1", draft_of("The", " capital"))
    upstream.on("large-1", scripts.after([said(" of")], scripts.cut))
    if server == "small-1":
        upstream.on("small-1", scripts.after([ROLE, *[said(t) for t in ("The", " capital", " of", " it")]], scripts.cut))
    text = ""
    with sdk(live) as client, pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model="auto", messages=ASK, stream=True):
            assert chunk.choices[0].finish_reason is None
            text += chunk.choices[0].delta.content or ""
    assert text == ("The capital" if server == "small-1" else "The capital of")
    assert caught.value.code == "upstream_truncated" and caught.value.type == "upstream_error"
    assert len(upstream.requests_for("large-1")) == (server == "large-1")
