"""What a request must be: anything else gets a clear error, and nothing is forwarded."""

import json

import pytest

from lib import scripts
from lib.checks import assert_error
from lib.client import Client

MESSAGES = [{"role": "user", "content": "hi"}]
SMALL = b'{"model":"auto","messages":[{"role":"user","content":"a \\u00e9 \xc3\xa9"}],"temperature":1.5e0,"stop":["x"],"user":null}'


@pytest.fixture
def refused(gateway, upstream):
    """refused(body, param=…): the body gets a 400 and upstream sees nothing of it."""

    def check(body, **wanted):
        answer = gateway.request("POST", "/v1/chat/completions", body)
        error = assert_error(answer, 400, **wanted)
        assert upstream.requests == []
        assert answer.header("X-Request-ID")
        return error

    return check


@pytest.fixture
def accepted(gateway, upstream):
    """accepted(**members): such a body is served."""
    upstream.on("small-1", scripts.confident())
    upstream.on("large-1", scripts.expert())

    def check(**members):
        answer = gateway.chat(**members)
        assert answer.status == 200, answer
        return upstream.requests[-1]

    return check


# JSON


def test_a_body_cut_anywhere_is_refused(gateway, upstream):
    upstream.on("small-1", scripts.confident())
    with gateway.client() as client:
        for length in range(len(SMALL)):
            answer = client.request("POST", "/v1/chat/completions", SMALL[:length])
            assert_error(answer, 400)
            assert upstream.requests == [], length
        assert client.request("POST", "/v1/chat/completions", SMALL).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"17",
        b'"text"',
        b"[]",
        b"{}{}",
        b'{"messages":[{"role":"user","content":"hi"}]} x',
        b"{'messages':[]}",
        b'{"messages":[{"role":"user","content":"hi"}],}',
        b'{"messages":[{"role":"user","content":"hi"},]}',
        b'{"messages":[{"role":"user","content":"hi"}] "n":1}',
        b'{"messages" [{"role":"user","content":"hi"}]}',
        b'{messages:[{"role":"user","content":"hi"}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":NaN}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":Infinity}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":01}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":+1}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":1.}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":.5}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":1e}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":-}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":0x10}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":tru}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":"\\x41"}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":"\\u12G4"}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":"a\nb"}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":"a\x00b"}',
        b'{"messages":[{"role":"user","content":"hi"}],"x":"a\tb"}',
        b'{"messages":[{"role":"user","content":"hi"}]/*,*/}',
        b'{"messages":[{"role":"user","content":"hi"}]}\x00',
        b"\x1f\x8b\x08\x00\x00\x00",
    ],
)
def test_what_is_not_one_json_object_is_refused(refused, body):
    refused(body)


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\xc3(",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
    ],
)
@pytest.mark.parametrize("place", ["content", "unknown", "key"])
def test_invalid_utf8_is_refused(refused, bad, place):
    content, unknown, key = (bad if place == name else b"x" for name in ("content", "unknown", "key"))
    refused(b'{"messages":[{"role":"user","content":"%b"}],"x":"%b","%b":1}' % (content, unknown, key + b"!"))


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [64, 65, 1000, 200000])
def test_nesting_deeper_than_64_is_refused(refused, bracket, depth):
    close = b"]" if bracket == b"[" else b"}"
    # The body's own object is one level.
    refused(b'{"messages":[{"role":"user","content":"hi"}],"x":' + bracket * depth + b"1" + close * depth + b"}")


def test_an_unclosed_depth_bomb_is_refused(refused):
    refused(b"[" * 1000000)
    refused(b'{"a":' * 200000)


def test_nesting_of_64_is_accepted(gateway, upstream):
    upstream.on("small-1", scripts.confident())
    body = b'{"messages":[{"role":"user","content":"hi"}],"x":' + b"[" * 63 + b"]" * 63 + b"}"
    assert gateway.chat(body).status == 200
    assert b"[" * 63 + b"]" * 63 in upstream.requests[0].body


@pytest.mark.parametrize(
    "member", ["model", "messages", "stream", "stream_options", "logprobs", "top_logprobs", "n"]
)
def test_a_member_the_gateway_reads_must_not_stand_twice(refused, member):
    # Another parser might read the other one.
    values = {"model": '"auto"', "messages": json.dumps(MESSAGES), "stream_options": "{}", "top_logprobs": "1", "n": "1"}
    value = values.get(member, "true")
    rest = "" if member == "messages" else f'"messages":{json.dumps(MESSAGES)},'
    more = '"logprobs":true,' if member == "top_logprobs" else ""
    more += '"stream":true,' if member == "stream_options" else ""
    refused(f'{{{rest}{more}"{member}":{value},"{member}":{value}}}'.encode(), param=member)


def test_a_member_spelled_with_escapes_is_the_same_member(refused):
    body = b'{"messages":[{"role":"user","content":"hi"}],"n":1,"\\u006e":2}'
    refused(body, param="n")


# Members


@pytest.mark.parametrize(
    "messages",
    [None, [], {}, "hi", 1, [1], ["hi"], [None], [[]], [{"role": "user", "content": "a"}, 7]],
)
def test_messages_is_a_non_empty_array_of_objects(refused, messages):
    error = refused({"messages": messages})
    assert error["param"].startswith("messages"), error


def test_messages_must_be_there(refused):
    refused({"model": "auto"}, param="messages")


@pytest.mark.parametrize("role", [None, 1, {}, [], True])
def test_a_role_is_a_string(refused, role):
    refused({"messages": [*MESSAGES, {"role": role, "content": "hi"}]}, param="messages[1].role")


def test_a_role_must_be_there(refused):
    refused({"messages": [{"content": "hi"}]}, param="messages[0].role")


@pytest.mark.parametrize("content", [1, True, {}, {"text": "hi"}])
def test_content_is_a_string_or_an_array_of_parts(refused, content):
    refused({"messages": [{"role": "user", "content": content}]}, param="messages[0].content")


def test_null_content_stands_only_with_tool_calls(refused):
    refused({"messages": [{"role": "user", "content": None}]}, param="messages[0].content")


def test_null_content_with_tool_calls_is_accepted(accepted):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    accepted(messages=[
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "17"},
    ])


def test_content_parts_are_accepted(accepted):
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    accepted(messages=[{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    "member, value",
    [
        *[("temperature", v) for v in (-0.1, 2.1, 1e9, "1", True, [], {})],
        *[("top_p", v) for v in (-0.01, 1.01, "1", False)],
        *[("presence_penalty", v) for v in (-2.01, 2.01, "0")],
        *[("frequency_penalty", v) for v in (-2.5, 3, [])],
        *[("n", v) for v in (0, -1, 129, 1.5, "1", True)],
        *[("max_tokens", v) for v in (0, -1, 1.5, "10", True)],
        *[("max_completion_tokens", v) for v in (0, -1, 2.5, "10")],
        *[("stop", v) for v in (1, True, {}, [1], ["a", None], ["a", "b", "c", "d", "e"])],
        *[("stream", v) for v in ("true", 1, {}, [])],
        *[("stream_options", v) for v in ("x", 1, [], True)],
        *[("logprobs", v) for v in ("true", 1, [])],
        *[("model", v) for v in (1, True, [], {})],
    ],
)
def test_a_member_of_the_wrong_type_or_out_of_range_is_named(refused, member, value):
    more = {"stream": True} if member == "stream_options" else {}
    error = refused({"model": "auto", "messages": MESSAGES, **more, member: value})
    assert error["param"].split("[")[0] == member, error


@pytest.mark.parametrize("value", [-1, 21, 1.5, "5", True])
def test_top_logprobs_out_of_range_is_named(refused, value):
    refused({"messages": MESSAGES, "logprobs": True, "top_logprobs": value}, param="top_logprobs")


@pytest.mark.parametrize(
    "spelled", [b"-0.0000001", b"2.0000001", b"2e1", b"-1e-300", b"1e400", b"99999999999999999999999"]
)
def test_a_range_holds_however_the_number_is_spelled(refused, spelled):
    refused(b'{"messages":[{"role":"user","content":"hi"}],"temperature":%b}' % spelled, param="temperature")


@pytest.mark.parametrize(
    "members",
    [
        {"temperature": 0},
        {"temperature": 2},
        {"temperature": 2.0},
        {"top_p": 0},
        {"top_p": 1},
        {"presence_penalty": -2, "frequency_penalty": 2},
        {"max_tokens": 1},
        {"max_completion_tokens": 100000},
        {"stop": "a"},
        {"stop": ["a", "b", "c", "d"]},
        {"n": 1},
        {"logprobs": True, "top_logprobs": 0},
        {"logprobs": True, "top_logprobs": 20},
        {"logprobs": False},
        {"stream": False},
        {"user": "u", "seed": -7, "metadata": {"a": "b"}, "not_known_to_anyone": [1, {"x": None}]},
        {"temperature": None, "top_p": None, "n": None, "stop": None, "max_tokens": None, "stream": None},
        {"logprobs": None, "top_logprobs": None, "presence_penalty": None, "stream_options": None},
    ],
)
def test_values_at_the_ends_of_their_ranges_and_nulls_are_accepted(accepted, members):
    accepted(**members)


def test_an_error_names_what_is_wrong_in_words(refused):
    error = refused({"messages": MESSAGES, "temperature": 3})
    assert "temperature" in error["message"] and "2" in error["message"]


def test_a_refused_request_leaves_the_connection_usable(gateway, upstream):
    upstream.on("small-1", scripts.confident())
    with gateway.client() as client:
        for _ in range(3):
            assert_error(client.request("POST", "/v1/chat/completions", b"{"), 400)
            assert client.request("POST", "/v1/chat/completions", {"messages": MESSAGES}).status == 200


# Bodies


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-unknown", "gzip, identity"])
def test_a_coded_body_is_415(gateway, upstream, coding):
    answer = gateway.chat(b"\x1f\x8b", headers=[("Content-Encoding", coding)])
    assert_error(answer, 415)
    assert upstream.requests == []


def test_the_identity_coding_is_no_coding(accepted, gateway):
    assert gateway.chat(headers=[("Content-Encoding", "identity")]).status == 200


def test_a_body_of_exactly_the_cap_is_forwarded_whole(gateway, upstream):
    upstream.on("small-1", scripts.confident())
    start, end = b'{"messages":[{"role":"user","content":"', b'"}]}'
    body = start + b"0123456789abcde\n".replace(b"\n", b" ") * ((10485760 - len(start) - len(end)) // 16)
    body += b"x" * (10485760 - len(body) - len(end)) + end
    assert len(body) == 10485760
    assert gateway.chat(body).status == 200
    assert start + body[len(start) : -len(end)] + b'"}]' in upstream.requests[0].body


def test_a_body_of_10_mb_of_escapes_is_forwarded_exactly(gateway, upstream):
    upstream.on("other-1", scripts.expert())
    text = rb"\u0000\ud800\n\"\\" * (9 * 1024 * 1024 // 20)
    body = b'{"model":"other-1","messages":[{"role":"user","content":"%b"}]}' % text
    assert gateway.chat(body.replace(b'"other-1"', b'"other"')).status == 200
    assert upstream.requests[0].body == body


def test_a_declared_body_over_the_cap_is_413_before_it_is_sent(gateway, upstream):
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", b'{"mess', [("Content-Length", "10485761")])
        assert_error(client.read_response(), 413)
        client.read_to_end()
    assert upstream.requests == []


def test_a_sent_body_over_the_cap_is_413(start, upstream):
    gateway = start(server={"max_body_bytes": 10000})
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", b" " * 10001)
        assert_error(client.read_response(), 413)
    assert upstream.requests == []


def test_a_chunked_body_over_the_cap_is_413(start, upstream):
    gateway = start(server={"max_body_bytes": 10000})
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", b"", [("Transfer-Encoding", "chunked")])
        for _ in range(11):
            client.send(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert_error(client.read_response(), 413)
    assert upstream.requests == []


def test_after_a_413_the_daemon_serves_others(start, upstream):
    gateway = start(server={"max_body_bytes": 1024})
    upstream.on("small-1", scripts.confident())
    for _ in range(5):
        with gateway.client() as client:
            client.begin("POST", "/v1/chat/completions", b" " * 1025)
            assert client.read_response().status == 413
    assert gateway.chat().status == 200


# Paths and methods


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/chat", "/v1/chat/completion", "/v1/chat/completions/x", "/nothing", "/v1/../health2", "/%2e", "/v1/files"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404(gateway, method, path):
    assert_error(gateway.request(method, path, b"{}" if method == "POST" else None), 404)


@pytest.mark.parametrize(
    "path, allowed",
    [
        ("/v1/chat/completions", {"POST"}),
        ("/v1/models", {"GET"}),
        ("/v1/models/auto", {"GET"}),
        ("/health", {"GET"}),
        ("/health/live", {"GET"}),
        ("/health/ready", {"GET"}),
        ("/metrics", {"GET"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_405_with_allow(gateway, upstream, method, path, allowed):
    if method in allowed:
        return
    with gateway.client() as client:
        client.begin(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None)
        answer = client.read_response()
    assert_error(answer, 405)
    assert {m.strip() for m in answer.header("Allow").split(",")} - {"HEAD"} == allowed
    assert upstream.requests == []


@pytest.mark.parametrize("method", ["TRACE", "BREW", "CONNECT", "get"])
def test_a_method_that_is_none_of_ours_is_405_or_501(gateway, upstream, method):
    with gateway.client() as client:
        client.begin(method, "/v1/chat/completions")
        answer = client.read_response()
        assert answer.status in (405, 501)
        assert_error(answer, answer.status)
    assert upstream.requests == []


def test_a_broken_escape_in_the_path_is_refused(gateway):
    for path in ("/%00", "/health%", "/health%2", "/health%zz", "/v1/models/%00auto"):
        answer = gateway.get(path)
        assert answer.status in (400, 404), answer
        assert_error(answer, answer.status)


def test_a_query_does_not_change_the_path(gateway, upstream):
    upstream.on("small-1", scripts.confident())
    answer = gateway.request("POST", "/v1/chat/completions?api-version=1&x=%00", {"messages": MESSAGES})
    assert answer.status == 200


def test_head_gives_the_head_alone(gateway):
    with gateway.client() as client:
        client.begin("HEAD", "/health")
        answer = client.read_response("HEAD")
        assert answer.status in (200, 405)
        # The connection is in step: what follows is read as its own answer.
        assert client.request("GET", "/health").status == 200


def test_an_error_before_the_handler_has_the_shape_of_all_errors(gateway):
    with gateway.client() as client:
        client.send(b"GARBAGE\r\n\r\n")
        assert_error(client.read_response(), 400)


def test_a_client_on_another_connection_is_not_touched_by_garbage(gateway, upstream):
    upstream.on("small-1", scripts.confident())
    with gateway.client() as good:
        assert good.request("GET", "/health").status == 200
        for _ in range(5):
            with Client(gateway.address) as bad:
                bad.send(b"\x00\xff\x16\x03\x01" * 20)
                bad.read_to_end()
        assert good.request("POST", "/v1/chat/completions", {"messages": MESSAGES}).status == 200
