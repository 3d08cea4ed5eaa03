"""What reaches upstream: the client's body byte for byte, with only the gateway's own members changed."""

import json

import pytest

from lib import scripts
from lib.gateway import DRAFT_KEY, HEAVY_KEY, SLOW
from lib.scripts import confident, expert, uncertain

OWNED = {"model", "stream", "logprobs", "top_logprobs", "stream_options"}


@pytest.fixture
def both(upstream):
    """Drafter and heavyweight answer; the draft is never good enough."""
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    upstream.on("other-1", expert())
    return upstream


# The heavyweight and pinned models


BODIES = {
    "plain": b'{"model":"MODEL","messages":[{"role":"user","content":"hi"}]}',
    "key_order": b'{"zeta":1,"messages":[{"content":"hi","role":"user"}],"alpha":2,"model":"MODEL","beta":3}',
    "white_space": b' {\n\t"model" :  "MODEL" ,\r\n "messages":[ {"role" : "user","content":"hi" } ] \n} ',
    "numbers": b'{"model":"MODEL","messages":[{"role":"user","content":"hi"}],"temperature":0.7,"a":1e2,"b":1E+2,"c":-0.0,'
    b'"d":9223372036854775808,"e":18446744073709551616,"f":0.1000000000000000055511151231257827,"g":1e400,"h":0.70}',
    "escapes": rb'{"model":"MODEL","messages":[{"role":"user","content":"\u0000 \u00e9 \/ \b\f\n\r\t \" \\ \ud83d\ude00"}]}',
    "lone_surrogates": rb'{"model":"MODEL","messages":[{"role":"user","content":"\ud800 \udfff \ud800x"}],"\udead":"\uDEAD"}',
    "raw_unicode": '{"model":"MODEL","messages":[{"role":"user","content":"é 漢字 😀 \u2028 \ufeff \x7f"}]}'.encode(),
    "unknown_members": b'{"model":"MODEL","thinking":{"type":"enabled","budget":1},"messages":[{"role":"user","content":"hi",'
    b'"cache_control":{"type":"ephemeral"}}],"chat_template_kwargs":{"x":[true,false,null,{}]},"":{"":""}}',
    "repeated_unknown_members": b'{"model":"MODEL","x":1,"messages":[{"role":"user","content":"hi","y":1,"y":2}],"x":2}',
    "similar_names": b'{"Model":"a","model ":"b","model":"MODEL","messages":[{"role":"user","content":"hi","model":"c"}],'
    b'"x":{"model":"d","stream":true,"request_id":"e"}}',
    "model_last": b'{"messages":[{"role":"user","content":"hi"}],"model":"MODEL"}',
    "nested_quotes": rb'{"messages":[{"role":"user","content":"{\"model\":\"MODELO\"},"}],"model":"MODEL"}',
    "all_members": b'{"model":"MODEL","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text",'
    b'"text":"hi"}]}],"temperature":0,"top_p":1,"n":1,"stop":["\\n"],"max_tokens":16,"presence_penalty":-2,'
    b'"frequency_penalty":2.0,"logit_bias":{"50256":-100},"user":"u","seed":9223372036854775807,'
    b'"response_format":{"type":"json_object"},"tools":[],"parallel_tool_calls":true,"service_tier":"auto","store":false,'
    b'"metadata":{"a":"b"},"reasoning_effort":"low","logprobs":true,"top_logprobs":2,"stream":false}',
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_pinned_model_gets_the_body_byte_for_byte(gateway, both, name):
    answer = gateway.chat(BODIES[name].replace(b'"MODEL"', b'"other"'))
    assert answer.status == 200
    assert both.requests[0].body == BODIES[name].replace(b'"MODEL"', b'"other-1"')


@pytest.mark.parametrize("name", sorted(BODIES))
def test_the_heavyweight_gets_the_body_byte_for_byte(gateway, both, name):
    answer = gateway.chat(BODIES[name].replace(b'"MODEL"', b'"auto"'))
    assert answer.status == 200
    assert both.wait_request("large-1").body == BODIES[name].replace(b'"MODEL"', b'"large-1"')


def members_raw(body):
    """The top-level members of a compact body in order, each as its bytes `"key":value`."""
    text = body.decode("utf-8", "surrogatepass")
    decoder = json.JSONDecoder()
    found, at = [], 1
    while text[at] != "}":
        key, after = decoder.raw_decode(text, at)
        assert text[after] == ":", text
        _, end = decoder.raw_decode(text, after + 1)
        found.append((key, text[at:end]))
        at = end + (text[end] == ",")
    return found


@pytest.mark.parametrize("name", sorted(set(BODIES) - {"white_space"}))
def test_the_drafter_gets_all_other_members_byte_for_byte_and_in_order(gateway, both, name):
    body = BODIES[name].replace(b'"MODEL"', b'"auto"')
    gateway.chat(body)
    sent = [raw for key, raw in members_raw(body) if key not in OWNED]
    got = [raw for key, raw in members_raw(both.wait_request("small-1").body) if key not in OWNED]
    assert got == sent


def test_white_space_around_members_stays(gateway, both):
    gateway.chat(BODIES["white_space"].replace(b'"MODEL"', b'"auto"'))
    body = both.wait_request("small-1").body
    assert body.startswith(b' {\n\t"model" :  "small-1" ,\r\n "messages":[ {"role" : "user","content":"hi" } ]')
    assert json.loads(body)["stream"] is True


def test_a_replaced_member_keeps_its_place(gateway, both):
    gateway.chat(
        b'{"stream":false,"a":1,"top_logprobs":1,"b":2,"model":"auto","c":3,"logprobs":true,"d":4,'
        b'"stream_options":null,"messages":[{"role":"user","content":"hi"}]}'
    )
    keys = [key for key, _ in members_raw(both.wait_request("small-1").body)]
    assert keys == ["stream", "a", "top_logprobs", "b", "model", "c", "logprobs", "d", "stream_options", "messages"]


def test_a_missing_model_is_added(gateway, both):
    gateway.chat(b'{"messages":[{"role":"user","content":"hi"}],"x":1e2}')
    heavy = both.wait_request("large-1")
    assert heavy.model == "large-1" and b'"x":1e2' in heavy.body
    assert both.wait_request("small-1").model == "small-1"


def test_a_null_model_is_replaced(gateway, both):
    gateway.chat(b'{"model":null,"messages":[{"role":"user","content":"hi"}]}')
    assert both.wait_request("large-1").body == b'{"model":"large-1","messages":[{"role":"user","content":"hi"}]}'


@pytest.mark.parametrize(
    "sent, forwarded",
    [
        (b'{"request_id":"r","model":"other","messages":M}', b'{"model":"other-1","messages":M}'),
        (b'{"model":"other","project_id":"p","messages":M}', b'{"model":"other-1","messages":M}'),
        (b'{"model":"other","messages":M,"request_id":"r"}', b'{"model":"other-1","messages":M}'),
        (b'{"request_id":"r","project_id":"p","model":"other","messages":M}', b'{"model":"other-1","messages":M}'),
        (b'{"model":"other","messages":M,"request_id":"r","project_id":"p"}', b'{"model":"other-1","messages":M}'),
        (b'{"request_id":"r","model":"other","project_id":"p","messages":M,"x":1}', b'{"model":"other-1","messages":M,"x":1}'),
        (b'{"model":"other","fallbacks":["good/large-1"],"messages":M}', b'{"model":"other-1","messages":M}'),
        (b'{"model":"other","messages":M,"x":{"request_id":"r"}}', b'{"model":"other-1","messages":M,"x":{"request_id":"r"}}'),
    ],
)
def test_members_for_the_gateway_alone_are_removed(gateway, both, sent, forwarded):
    messages = b'[{"role":"user","content":"hi"}]'
    assert gateway.chat(sent.replace(b"M", messages)).status == 200
    assert both.requests[0].body == forwarded.replace(b"M", messages)


def test_members_for_the_gateway_alone_are_removed_from_both_legs(gateway, both):
    gateway.chat(request_id="r-1", project_id="p-1", fallbacks=["good/other-1"])
    for model in ("small-1", "large-1"):
        body = both.wait_request(model).json
        assert not {"request_id", "project_id", "fallbacks"} & set(body)


def test_removal_amid_white_space_leaves_valid_json(gateway, both):
    for body in (
        b'{ "request_id" : "r" ,\n "messages":[{"role":"user","content":"hi"}] , "model":"other" }',
        b'{ "messages":[{"role":"user","content":"hi"}] , "model":"other" ,\n "request_id" : "r" }',
        b'{ "messages":[{"role":"user","content":"hi"}] , "request_id" : "r" , "model":"other" , "project_id":"p" }',
    ):
        assert gateway.chat(body).status == 200
        assert both.requests[-1].json == {"messages": [{"role": "user", "content": "hi"}], "model": "other-1"}


def test_stream_and_its_options_reach_the_heavyweight_as_the_client_wrote_them(gateway, both):
    body = b'{"model":"auto","stream":true,"stream_options":{"include_usage":true,"x":[1e2]},"messages":[{"role":"user","content":"hi"}]}'
    gateway.stream(body).read()
    assert both.wait_request("large-1").body == body.replace(b'"auto"', b'"large-1"')


def test_nothing_is_added_to_a_streamed_direct_call(gateway, both):
    body = b'{"model":"other","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    assert gateway.stream(body).read().done
    assert both.requests[0].body == body.replace(b'"other"', b'"other-1"')


# The drafter


@pytest.mark.parametrize("stream", [False, True, None])
def test_the_drafter_is_asked_for_a_stream_with_logprobs_and_usage(gateway, both, stream):
    members = {} if stream is None else {"stream": stream}
    gateway.chat(**members)
    body = both.wait_request("small-1").json
    assert body["stream"] is True
    assert body["logprobs"] is True
    assert body["top_logprobs"] == 5
    assert body["stream_options"]["include_usage"] is True


def test_the_number_of_candidates_is_configured(start, both):
    start(entropy={"top_logprobs": 17}).chat()
    assert both.wait_request("small-1").json["top_logprobs"] == 17


@pytest.mark.parametrize("asked, sent", [(0, 5), (2, 5), (5, 5), (6, 6), (20, 20)])
def test_the_drafter_is_asked_for_as_many_candidates_as_client_or_score_need(gateway, both, asked, sent):
    gateway.chat(logprobs=True, top_logprobs=asked)
    assert both.wait_request("small-1").json["top_logprobs"] == sent


def test_a_drafter_that_rejects_stream_options_is_not_sent_them(start, upstream):
    gateway = start(providers={"cheap": {"stream_usage": False}})
    upstream.on("small-1", confident())
    answer = gateway.chat()
    assert answer.header("X-Routing-Decision") == "accept"
    assert "stream_options" not in upstream.wait_request("small-1").json


def test_logprobs_reach_the_heavyweight_only_if_the_client_asked(gateway, both):
    gateway.chat()
    assert not {"logprobs", "top_logprobs"} & set(both.wait_request("large-1").json)
    gateway.chat(logprobs=True, top_logprobs=3)
    assert both.wait_request("large-1", 2).json["top_logprobs"] == 3


# Heads


def test_each_provider_gets_its_own_key_at_its_own_url(gateway, both):
    gateway.chat()
    draft, heavy = both.wait_request("small-1"), both.wait_request("large-1")
    assert (draft.method, draft.path) == ("POST", "/cheap/v1/chat/completions")
    assert (heavy.method, heavy.path) == ("POST", "/good/v1/chat/completions")
    assert draft.header("Authorization") == f"Bearer {DRAFT_KEY}"
    assert heavy.header("Authorization") == f"Bearer {HEAVY_KEY}"


def test_a_provider_without_a_key_gets_none(start, both):
    gateway = start(providers={"cheap": {"api_key": None}, "good": {"api_key": None}})
    gateway.chat(headers=[("Authorization", "Bearer the-clients-own")])
    for model in ("small-1", "large-1"):
        assert both.wait_request(model).header("Authorization") is None


def test_the_clients_own_headers_stay_here(gateway, both):
    private = [
        ("Authorization", "Bearer the-clients-own"),
        ("Cookie", "a=b"),
        ("X-Private", "1"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("OpenAI-Organization", "org-client"),
        ("api-key", "the-clients-own"),
    ]
    gateway.chat(headers=private)
    for model in ("small-1", "large-1"):
        raw = both.wait_request(model).raw_head
        for word in (b"the-clients-own", b"a=b", b"X-Private", b"10.0.0.1", b"org-client"):
            assert word not in raw


def test_a_providers_configured_headers_are_sent(start, both):
    gateway = start(providers={"cheap": {"headers": {"X-Title": "Gate way", "HTTP-Referer": "https://example.org/"}}})
    gateway.chat()
    request = both.wait_request("small-1")
    assert request.header("X-Title") == "Gate way"
    assert request.header("HTTP-Referer") == "https://example.org/"
    assert both.wait_request("large-1").header("X-Title") is None


def test_upstream_gets_a_plain_json_request(gateway, both):
    gateway.chat()
    for model in ("small-1", "large-1"):
        request = both.wait_request(model)
        assert request.header("Content-Type").startswith("application/json")
        assert int(request.header("Content-Length")) == len(request.body)
        assert request.header("Host") == f"127.0.0.1:{both.port}"
        assert request.header("Expect") is None
        assert request.header("Accept-Encoding") in (None, "identity")
        assert request.header("Content-Encoding") is None


def test_a_big_body_is_sent_without_waiting_for_100_continue(gateway, both):
    both.on("other-1", expert())
    answer = gateway.chat(model="other", messages=[{"role": "user", "content": "x" * 2_000_000}])
    assert answer.status == 200
    assert both.requests[0].header("Expect") is None


def test_a_base_url_may_end_in_a_slash(start, both):
    gateway = start(providers={"cheap": {"base_url": both.url("/cheap/v1/")}})
    gateway.chat()
    assert both.wait_request("small-1").path == "/cheap/v1/chat/completions"


def test_proxies_of_the_environment_are_not_used(start, both):
    port, keeper = scripts.refusing_port()
    proxy = f"http://127.0.0.1:{port}"
    gateway = start(env={"http_proxy": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy, "all_proxy": proxy})
    assert gateway.chat(model="other").status == 200
    keeper.close()


def test_a_redirect_is_not_followed(gateway, both):
    both.on("other-1", scripts.raw(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"))
    assert gateway.chat(model="other").status == 502
    assert [request.path for request in both.requests] == ["/good/v1/chat/completions"]


def test_upstream_connections_are_kept_and_used_again(start, both):
    gateway = start()
    for _ in range(10):
        assert gateway.chat(model="other").status == 200
    used = {id(both.connection_of(request)) for request in both.requests}
    assert len(used) == 1


def test_a_kept_connection_that_upstream_closed_is_no_failure(start, both):
    gateway = start()
    for _ in range(5):
        assert gateway.chat(model="other").status == 200
        both.connection_of(both.requests[-1]).close()
    assert len(both.requests) == 5


def test_a_request_is_forwarded_at_once(gateway, both):
    """Nothing waits in a socket for Nagle's algorithm or a delayed acknowledgement."""
    import time

    gateway.chat(model="other")
    taken = []
    for size in (10, 3000, 70000):
        for _ in range(5):
            started = time.monotonic()
            with gateway.client() as client:
                client.begin("POST", "/v1/chat/completions", {
                    "model": "other", "messages": [{"role": "user", "content": "x" * size}]})
                assert client.read_response().status == 200
            taken.append(time.monotonic() - started)
    assert sorted(taken)[len(taken) // 2] < 0.030 * SLOW, taken
