"""The answer to a request with `stream`: frames, the trailing comment, [DONE]; and the truth when it breaks."""

import socket
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import SLOW
from lib.scripts import confident, expert, speak, uncertain

ROUTES = {"accept": "auto", "escalate": "auto", "direct": "other"}
SERVERS = {"accept": "small-1", "escalate": "large-1", "direct": "other-1"}


@pytest.fixture
def streamed(gateway, upstream):
    """streamed(decision, …): the stream that came this way, read to its end."""

    def ask(decision, text="It is Paris.", **members):
        upstream.on("small-1", confident(text) if decision == "accept" else uncertain())
        upstream.on("large-1", expert(text))
        upstream.on("other-1", expert(text))
        return gateway.stream(model=ROUTES[decision], **members).read()

    return ask


@pytest.fixture
def relayed(gateway, upstream):
    """relayed(decision, script): the stream relayed from the server that answers this way. Not read yet."""

    def ask(decision, script, **members):
        upstream.on("small-1", uncertain())
        upstream.on(SERVERS[decision], script)
        return gateway.stream(model=ROUTES[decision], **members)

    return ask


# A good stream


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_a_stream_has_the_headers_of_one(streamed, decision):
    head = streamed(decision).head
    assert head.header("Content-Type").startswith("text/event-stream")
    assert head.header("Cache-Control") == "no-cache, no-transform"
    assert head.header("X-Accel-Buffering") == "no"
    assert head.header("Content-Length") is None
    assert head.header("X-Request-ID") == head.header("x-gateway-request-id")
    assert head.header("X-Request-Duration-Ms").isdigit()


@pytest.mark.parametrize(
    "decision, reason, model, provider",
    [
        ("accept", "confident", "drafter", "cheap"),
        ("escalate", "early_exit", "heavyweight", "good"),
        ("direct", "pinned", "other", "good"),
    ],
)
def test_a_stream_tells_its_routing_in_headers_and_in_the_last_comment(streamed, decision, reason, model, provider):
    stream = streamed(decision)
    assert_routed(stream.head, decision, reason, model, provider)
    routing = stream.routing
    assert routing["decision"] == decision and routing["reason"] == reason and routing["model"] == model
    assert routing["duration_ms"].isdigit()
    score = stream.head.header("X-Routing-Score")
    if decision == "direct":
        assert score is None
    else:
        assert float(routing["score"]) == float(score)


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_the_comment_is_the_last_thing_before_done(streamed, decision):
    stream = streamed(decision)
    assert stream.complete and stream.done
    assert stream.items[-2][0] == "comment" and stream.items[-2][1].startswith(": routing decision=")
    assert all(kind == "data" for kind, _, _ in stream.items[:-2])


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_a_stream_gives_the_whole_text_once(streamed, decision):
    stream = streamed(decision)
    assert stream.text == "It is Paris."
    assert stream.frames[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(frame["object"] == "chat.completion.chunk" for frame in stream.frames)
    assert len({frame["id"] for frame in stream.frames}) == 1
    assert stream.frames[0]["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_frames_stay_the_ones_that_upstream_cut(streamed, decision):
    contents = [c["delta"].get("content") for frame in streamed(decision).frames for c in frame["choices"]]
    assert contents == ["", "It", " is", " Paris.", None]


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_logprobs_members_are_removed_unless_asked_for(streamed, decision):
    stream = streamed(decision)
    assert b"logprob" not in stream.raw


@pytest.mark.parametrize("decision", sorted(ROUTES))
@pytest.mark.parametrize("asked", [0, 1, 3, 5, 20])
def test_logprobs_are_there_with_the_clients_number_of_candidates(streamed, decision, asked):
    stream = streamed(decision, logprobs=True, top_logprobs=asked)
    entries = [
        entry
        for frame in stream.frames
        for choice in frame["choices"]
        for entry in ((choice.get("logprobs") or {}).get("content") or [])
    ]
    assert [entry["token"] for entry in entries] == ["It", " is", " Paris."]
    if decision == "accept":  # the others asked upstream themselves
        assert [len(entry["top_logprobs"]) for entry in entries] == [asked] * 3


@pytest.mark.parametrize("decision", sorted(ROUTES))
@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}, {"stream_options": {}}])
def test_no_usage_is_there_unless_asked_for(streamed, decision, options):
    stream = streamed(decision, **options)
    assert all(frame["choices"] for frame in stream.frames)
    assert b'"usage"' not in stream.raw


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_the_usage_frame_is_there_once_and_last_if_asked_for(streamed, decision):
    stream = streamed(decision, stream_options={"include_usage": True})
    told = [frame for frame in stream.frames if frame.get("usage")]
    assert told == [stream.frames[-1]]
    assert told[0]["choices"] == [] and told[0]["usage"] == f.usage(11, 3)


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_text_passes_with_its_escapes_as_they_stand(relayed, upstream, gateway, decision):
    spelled = rb"\u0000\ud800 \/ \ud83d\ude00 \"\\" + "é漢".encode()
    logprobs = b'"logprobs":{"content":[{"token":"x","logprob":0.0,"top_logprobs":[{"token":"x","logprob":0.0}]}]},' if decision == "accept" else b""
    frame = b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","x":[1e2,0.70],"choices":[{"index":0,%b"delta":{"content":"%b"}}]}' % (logprobs, spelled)
    if decision == "accept":
        upstream.on("small-1", scripts.frames(frame, f.chunk({}, finish="stop")))
        stream = gateway.stream().read()
    else:
        stream = relayed(decision, scripts.frames(frame, f.chunk({}, finish="stop"))).read()
    assert spelled in stream.raw and b'"x":[1e2,0.70]' in stream.raw


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_a_relayed_frame_that_needs_no_change_is_not_changed(relayed, decision):
    frame = b'{ "id":"c", "object":"chat.completion.chunk","y":null, "choices":[ {"index":0,"delta":{"content":"a"},"finish_reason":null} ] }'
    stream = relayed(decision, scripts.frames(frame, f.chunk({}, finish="stop"))).read()
    assert b"data: " + frame + b"\n\n" in stream.raw


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_tool_calls_are_streamed_in_their_pieces(gateway, upstream, decision):
    calls = [("call_a", "weather", '{"city":"Paris"}'), ("call_b", "time", "{}")]
    upstream.on("small-1", scripts.calls_tools(calls, logprobs=decision == "accept"))
    upstream.on("large-1", scripts.calls_tools(calls))
    upstream.on("other-1", scripts.calls_tools(calls))
    stream = gateway.stream(model=ROUTES[decision], tools=[{"type": "function", "function": {"name": "weather"}}]).read()
    assert stream.head.header("X-Routing-Decision") == decision
    arguments = {0: "", 1: ""}
    for frame in stream.frames:
        for choice in frame["choices"]:
            for part in choice["delta"].get("tool_calls", []):
                arguments[part["index"]] += part["function"]["arguments"]
    assert arguments == {0: '{"city":"Paris"}', 1: "{}"}
    assert stream.frames[-1]["choices"][0]["finish_reason"] == "tool_calls" and stream.done


def test_several_choices_are_relayed(gateway, upstream):
    frames = [
        f.chunk({"content": "a"}, index=0),
        f.chunk({"content": "b"}, index=1),
        f.chunk({}, finish="stop", index=1),
        f.chunk({}, finish="length", index=0),
    ]
    upstream.on("large-1", scripts.frames(*frames))
    stream = gateway.stream(n=2).read()
    assert stream.frames == frames and stream.done


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_comments_of_upstream_are_not_relayed(relayed, decision):
    body = b": upstream's own\n\n" + b"".join(f.event(p) for p in f.text_frames([("Paris", 0.1)], logprobs=False)) + f.DONE
    stream = relayed(decision, scripts.body(body)).read()
    assert len(stream.comments) == 1 and stream.done


@pytest.mark.parametrize("decision", ["escalate", "direct"])
@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
@pytest.mark.parametrize("pieces", [1, 13])
def test_a_relayed_stream_may_be_spelled_and_cut_in_any_way(relayed, decision, ending, pieces):
    body = b"".join(f.event(p) for p in f.text_frames([("It", 0), (" is", 0)], logprobs=False)) + f.DONE
    stream = relayed(decision, scripts.body(body.replace(b"\n", ending), pieces=pieces)).read()
    assert stream.text == "It is" and stream.done


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_a_finish_reason_without_done_is_complete(relayed, decision):
    stream = relayed(decision, scripts.frames(*f.text_frames([("It", 0)], logprobs=False), done=False)).read()
    assert stream.text == "It" and stream.done and stream.complete and stream.error is None


def test_a_connection_serves_a_stream_and_then_another_request(gateway, upstream):
    upstream.on("small-1", confident("Paris."))
    with gateway.client() as client:
        for _ in range(3):
            client.begin("POST", "/v1/chat/completions", {"stream": True, "messages": [{"role": "user", "content": "x"}]})
            assert client.stream().read().done
            answer = client.request("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
            assert answer.text == "Paris."


def test_a_stream_to_an_old_client_ends_with_the_connection(gateway, upstream):
    upstream.on("other-1", expert("It is Paris."))
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {"model": "other", "stream": True, "messages": [{"role": "user", "content": "x"}]}, version="HTTP/1.0")
        head = client.read_head()
        assert head.header("Transfer-Encoding") is None and head.header("Content-Length") is None
        body = client.read_to_end()
    assert body.endswith(b"data: [DONE]\n\n") and b" Paris." in body


# At once


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_frames_are_relayed_one_by_one_as_they_come(relayed, upstream, decision):
    gates = [upstream.gate() for _ in range(20)]
    sent = []

    def script(exchange):
        exchange.head()
        for i, gate in enumerate(gates):
            exchange.wait(gate)
            sent.append(time.monotonic())
            exchange.write(f.event(f.chunk({"content": f"{i} "})))
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    gates[0].set()
    stream = relayed(decision, script)
    late = []
    for i in range(20):
        kind, text, at = stream.next()
        assert kind == "data" and f'"{i} "' in text
        late.append(at - sent[i])
        if i + 1 < 20:
            gates[i + 1].set()
    assert stream.read().done
    assert sorted(late)[10] < 0.020 * SLOW, late


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_the_head_of_a_relayed_stream_does_not_wait_for_the_second_frame(relayed, upstream, decision):
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.write(f.event(f.chunk({"content": "first"})))
        exchange.wait(gate)
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    stream = relayed(decision, script)
    assert "first" in stream.next()[1]
    gate.set()
    assert stream.read().done


def test_a_held_draft_is_not_shown_before_the_verdict(gateway, upstream):
    """In hold mode nothing leaves before the whole draft was judged."""
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([(f"t{i}", 0.1) for i in range(30)], finish=None), done=False)
        exchange.wait(gate)
        exchange.frames(f.text_frames([], role=False))
        exchange.end()

    upstream.on("small-1", script)
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", {"stream": True, "messages": [{"role": "user", "content": "x"}]})
        upstream.wait_request("small-1")
        with pytest.raises(AssertionError, match="nothing came"):
            client.read_head(timeout=0.2)
        gate.set()
        assert client.stream().read().done


@pytest.mark.parametrize("stream", [False, True])
def test_a_small_accepted_answer_is_not_held_by_the_kernel(gateway, upstream, stream):
    upstream.on("small-1", confident("Paris."))
    taken = []
    with gateway.client() as client:
        for _ in range(11):
            started = time.monotonic()
            client.begin("POST", "/v1/chat/completions", {"stream": stream, "messages": [{"role": "user", "content": "x"}]})
            if stream:
                client.stream().read()
            else:
                client.read_response()
            taken.append(time.monotonic() - started)
    assert sorted(taken)[5] < 0.030 * SLOW, taken


# Before anything was delivered


@pytest.mark.parametrize("decision", ["escalate", "direct"])
@pytest.mark.parametrize(
    "name",
    [
        "status_500", "status_503", "status_502_html", "status_200_html", "closed_before_head", "reset_before_head",
        "garbage_for_head", "head_then_closed", "head_then_reset", "malformed_first_frame", "error_frame_first",
        "error_in_200_json", "garbage_in_200_json", "empty_json", "empty_stream", "only_comments",
    ],
)
def test_a_failure_before_the_first_frame_is_a_plain_502(gateway, upstream, decision, name):
    upstream.on("small-1", uncertain())
    upstream.on(SERVERS[decision], scripts.FAILURES[name])
    answer = gateway.chat(model=ROUTES[decision], stream=True)
    assert_error(answer, 502)
    assert answer.header("X-Routing-Decision") == decision


def test_a_refused_stream_is_a_plain_400(gateway):
    assert_error(gateway.chat(stream=True, temperature=9), 400, param="temperature")


# After something was delivered: the truth

BROKEN = {
    "cut": scripts.after(scripts.PART, scripts.cut),
    "reset": scripts.after(scripts.PART, scripts.reset),
    "ended_without_finish": scripts.frames(*scripts.PART, done=False),
    "ended_amid_an_event": scripts.body(b"".join(f.event(frame) for frame in scripts.PART) + f.event(scripts.PART[2])[:30]),
    "garbage": scripts.frames(*scripts.PART, b"{garbage}"),
    "not_an_object": scripts.frames(*scripts.PART, b"17"),
    "invalid_utf8": scripts.frames(*scripts.PART, b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}'),
    "bad_chunk": scripts.after(scripts.PART, lambda exchange: (exchange.raw(b"xyz\r\n"), exchange.cut())),
    "error_frame": scripts.frames(*scripts.PART, {"error": {"message": "overloaded", "type": "server_error"}}),
}


@pytest.mark.parametrize("decision", ["escalate", "direct"])
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_stream_that_breaks_after_bytes_were_delivered_says_so(relayed, upstream, decision, name):
    stream = relayed(decision, BROKEN[name])
    stream.read()
    assert stream.text == "DRAFTED half"  # what had come whole is delivered
    assert stream.error is not None, stream.items
    assert stream.error["type"] == "upstream_error"
    assert stream.error["code"] == "upstream_truncated"
    assert stream.error["message"]
    assert "[DONE]" not in stream.data
    assert stream.data[-1].startswith('{"error"')
    assert b'"finish_reason":"' not in stream.raw
    stream.client.read_to_end()  # the connection is closed


@pytest.mark.parametrize("decision", ["escalate", "direct"])
def test_a_stream_that_stalls_after_bytes_were_delivered_says_so(start, upstream, decision):
    gateway = start(providers={"good": {"idle_timeout": "200ms"}})
    upstream.on("small-1", uncertain())
    upstream.on(SERVERS[decision], scripts.after(scripts.PART, scripts.stall))
    stream = gateway.stream(model=ROUTES[decision]).read()
    assert stream.text == "DRAFTED half"
    assert stream.error["code"] == "upstream_truncated" and "[DONE]" not in stream.data
    stream.client.read_to_end()
    upstream.wait_closed(upstream.wait_request(SERVERS[decision]))


def test_a_stream_whose_total_time_runs_out_says_so(start, upstream):
    gateway = start(providers={"good": {"timeout": "300ms"}})
    upstream.on("other-1", scripts.after(scripts.PART, scripts.stall))
    stream = gateway.stream(model="other").read()
    assert stream.error["code"] == "upstream_truncated" and "[DONE]" not in stream.data


def test_the_idle_timeout_counts_from_the_last_byte(start, upstream):
    gateway = start(providers={"good": {"idle_timeout": "400ms"}})
    pause = upstream.gate()

    def script(exchange):
        exchange.head()
        for i in range(6):
            exchange.write(f.event(f.chunk({"content": f"{i}"})))
            pause.wait(0.15)  # nobody opens it: upstream speaks slowly
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    upstream.on("other-1", script)
    stream = gateway.stream(model="other").read()
    assert stream.text == "012345" and stream.done


def test_an_upstream_that_broke_one_stream_serves_the_next(relayed, gateway, upstream):
    relayed("direct", BROKEN["cut"]).read()
    upstream.on("other-1", expert("It is Paris."))
    assert gateway.stream(model="other").read().done


# Slow clients


def test_a_slow_client_gets_all_of_a_long_stream(gateway, upstream):
    piece = "x" * 1000

    def script(exchange):
        exchange.head()
        exchange.frames([f.chunk({"content": piece})] * 3000 + [f.chunk({}, finish="stop")])
        exchange.end()

    upstream.on("other-1", script)
    stream = gateway.stream(model="other")
    stream.next()
    # While this one does not read, another is served without delay.
    upstream.on("small-1", confident("Paris."))
    assert gateway.chat().text == "Paris."
    stream.read()
    assert stream.done and len(stream.frames) == 3001


def test_an_upstream_is_paused_while_its_client_does_not_read(gateway, upstream):
    piece = f.event(f.chunk({"content": "x" * 100_000}))
    sent = []
    total = 300

    def script(exchange):
        exchange.head()
        for _ in range(total):
            exchange.write(piece)
            sent.append(len(piece))
        exchange.frames([f.chunk({}, finish="stop")])
        exchange.end()

    upstream.on("other-1", script)
    # Once read at full speed, a connection would be given far larger buffers by the kernel.
    assert gateway.stream(model="other").read().done
    sent.clear()
    client = gateway.client()
    # Left alone, the kernel may grow this buffer to more than the whole stream.
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stream": True, "model": "other"})
    stream = client.stream()
    stream.next()
    # What upstream could send settles far below the whole; kernel buffers are all that fills.
    before, settled = -1, 0
    pause = upstream.gate()
    while settled < 5:
        settled = settled + 1 if len(sent) == before else 0
        before = len(sent)
        pause.wait(0.05)
    assert len(sent) < total * 0.7, len(sent)
    stream.read()
    assert stream.done and len(sent) == total


# Many at once


@pytest.mark.parametrize("decision", sorted(ROUTES))
def test_of_many_streams_at_once_none_is_lost_or_mixed_up(gateway, upstream, decision):
    def echo(exchange):
        speak(exchange.request.json["messages"][0]["content"])(exchange)

    upstream.on("small-1", echo if decision == "accept" else uncertain())
    upstream.on("large-1", echo)
    upstream.on("other-1", echo)
    streams = []
    clients = []
    for i in range(60):
        client = gateway.client()
        client.begin("POST", "/v1/chat/completions", {
            "model": ROUTES[decision], "stream": True, "messages": [{"role": "user", "content": f"this is number {i} of many"}]})
        clients.append(client)
    for client in clients:
        streams.append(client.stream().read())
        client.close()
    for i, stream in enumerate(streams):
        assert stream.text == f"this is number {i} of many" and stream.done
        assert stream.head.header("X-Routing-Decision") == decision


# Silence

def test_a_silent_stream_is_kept_alive_by_comments_between_events(start, upstream):
    gateway = start(server={"keepalive_interval": "100ms"})
    heard = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames([f.chunk({"role": "assistant", "content": ""}), f.chunk({"content": "It is"})], done=False)
        heard.wait(10)  # silence, until the comments have come
        exchange.frames([f.chunk({"content": " Paris."}), f.chunk({}, finish="stop")])
        exchange.end()

    upstream.on("other-1", script)
    stream = gateway.stream(model="other")
    kept = 0
    while kept < 3:
        item = stream.next()
        kept += item[:2] == ("comment", ": keepalive")
    heard.set()
    stream.read()
    assert stream.text == "It is Paris." and stream.done


def test_a_keepalive_interval_of_zero_sends_none(start, upstream):
    gateway = start(server={"keepalive_interval": 0})
    upstream.on("other-1", expert("It is Paris."))
    stream = gateway.stream(model="other").read()
    assert stream.done and b": keepalive" not in stream.raw


def test_what_a_client_did_not_ask_for_is_not_relayed(gateway, upstream):
    frames = f.text_frames(scripts.words("It is Paris."), logprobs=True, k=2)
    frames[-1]["usage"] = f.usage(3, 3)
    upstream.on("other-1", scripts.frames(*frames))
    stream = gateway.stream(model="other").read()
    assert stream.done and b'"logprobs":{' not in stream.raw and b"prompt_tokens" not in stream.raw
    assert "".join(c["delta"].get("content") or "" for frame in stream.frames for c in frame["choices"]) == "It is Paris."
    stream.client.close()


@pytest.mark.parametrize("mark", [b"data:  [DONE] \n\n", b"data:[DONE]\n\n"])
def test_the_mark_of_the_end_may_have_blanks_around_it(gateway, upstream, mark):
    frames = f.text_frames(scripts.words("It is Paris."))
    upstream.on("other-1", scripts.body(b"".join(f.event(frame) for frame in frames) + mark))
    stream = gateway.stream(model="other").read()
    assert stream.done and stream.complete
    stream.client.close()
