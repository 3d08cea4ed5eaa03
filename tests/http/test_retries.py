"""Who is asked again, when, how often, and who is passed over."""

import json
import socket
import threading
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import SLOW, eventually, merge
from lib.scripts import FAILURES, confident, expert, uncertain

LIMIT_S = 0.05 * SLOW  # how much later than due a thing may be
PROVIDERS = ("cheap", "good")


class Turns:
    """The n-th request is answered by the n-th script, and all later ones by the last."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)

    def __call__(self, exchange):
        (self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])(exchange)


@pytest.fixture
def begin(start):
    """begin(retries, …): a daemon that tries again so often."""

    def run(retries=2, **overrides):
        return start(**merge({"providers": {name: {"retries": retries} for name in PROVIDERS}}, overrides))

    return run


def times(upstream, model):
    return [request.at for request in upstream.requests_for(model)]


def gaps(upstream, model):
    at = times(upstream, model)
    return [later - earlier for earlier, later in zip(at, at[1:])]


def ask(gateway, model="other", stream=False, **members):
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions",
                 {"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}], **members})
    return client


def answer_text(gateway, model="other", stream=False):
    """The answer's text and its head."""
    if stream:
        events = gateway.stream(model=model).read()
        assert events.done and events.error is None
        return events.text, events.head
    answer = gateway.chat(model=model)
    assert answer.status == 200, answer
    return answer.text, answer


# The only model

AGAIN = {
    "streamed": sorted(set(FAILURES) - {name for name in FAILURES if name.startswith("status_4")}
                       - {"status_204", "status_302", "empty_stream", "no_output", "only_comments",
                          "cut_stream", "reset_stream", "ended_without_finish", "truncated_event", "short_content_length",
                          "malformed_later_frame", "frame_not_an_object", "choices_not_an_array", "invalid_utf8_frame", "error_frame_later"})
    + ["status_408", "empty_stream", "only_comments"],
    "whole": ["status_408", "status_500", "status_503", "status_529", "status_502_html", "status_200_html", "closed_before_head",
              "reset_before_head", "garbage_for_head", "cut_in_head", "head_then_closed", "head_then_reset", "cut_stream", "reset_stream",
              "ended_without_finish", "truncated_event", "short_content_length", "bad_chunk_size", "malformed_later_frame",
              "error_frame_later", "error_in_200_json", "garbage_in_200_json", "empty_json", "empty_stream", "only_comments"],
}


@pytest.mark.parametrize("form, name", [(form, name) for form in AGAIN for name in AGAIN[form]])
def test_the_only_model_is_asked_again_after(begin, upstream, form, name):
    gateway = begin()
    upstream.on("other-1", Turns(FAILURES[name], expert("It is Paris.")))
    text, head = answer_text(gateway, stream=form == "streamed")
    assert text == "It is Paris."
    assert head.header("x-gateway-attempts") == "2"
    assert head.header("x-should-retry") is None
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("name", ["status_429", "status_503"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_escalations_only_heavyweight_is_asked_again_too(begin, upstream, name, stream):
    gateway = begin()
    upstream.on("small-1", uncertain())
    upstream.on("large-1", Turns(scripts.failure(int(name[-3:])), expert("It is Paris.")))
    text, head = answer_text(gateway, "auto", stream)
    assert text == "It is Paris."
    assert_routed(head, "escalate", "early_exit", model="heavyweight")
    assert head.header("x-gateway-attempts") == "3"


@pytest.mark.parametrize("name", ["status_401", "status_403", "status_404", "status_409", "status_400", "status_413", "status_422"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_only_model_is_not_asked_again_after(begin, upstream, name, stream):
    gateway = begin()
    upstream.on("other-1", Turns(FAILURES[name], expert()))
    answer = gateway.chat(model="other", stream=stream)
    assert answer.status == (int(name[-3:]) if name[-3:] in ("400", "413", "422") else 502)
    assert answer.header("x-gateway-attempts") == "1"
    assert answer.header("x-should-retry") is None
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("timer", ["first_byte_timeout", "idle_timeout", "timeout"])
def test_the_only_model_is_not_asked_again_once_its_time_is_over(begin, upstream, timer):
    gateway = begin(providers={"good": {timer: "200ms"}})
    upstream.on("other-1", Turns(scripts.after([], scripts.stall) if timer == "idle_timeout" else scripts.stall, expert()))
    assert_error(gateway.chat(model="other", stream=True), 504, code="upstream_timeout")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_it_is_asked_again_so_often_and_no_more(begin, upstream, retries):
    gateway = begin(retries)
    upstream.on("other-1", scripts.failure(503))
    answer = gateway.chat(model="other")
    assert_error(answer, 502, code="upstream_status")
    assert len(upstream.requests) == retries + 1
    assert answer.header("x-gateway-attempts") == str(retries + 1)
    assert answer.header("x-should-retry") == ("false" if retries else None)


def test_two_retries_are_the_default(start, upstream):
    gateway = start(providers={"good": {"retries": None}})
    upstream.on("other-1", scripts.failure(503))
    assert_error(gateway.chat(model="other"), 502)
    assert len(upstream.requests) == 3


def test_the_short_form_has_retries_too(start, upstream):
    text = json.dumps({
        "server": {"listen": ["127.0.0.1:0"]},
        "drafter": {"provider": "openai", "base_url": upstream.url("/cheap/v1"), "model": "small-1"},
        "heavyweight": {"provider": "openai", "base_url": upstream.url("/good/v1"), "model": "large-1", "retries": 1},
        "cache": {"enabled": False},
    })
    gateway = start(text=text)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(503))
    assert_error(gateway.chat(), 502)
    assert len(upstream.requests_for("large-1")) == 2


def test_a_model_nobody_listens_for_is_tried_again(begin, upstream):
    port, keeper = scripts.refusing_port()
    gateway = begin(providers={"good": {"base_url": f"http://127.0.0.1:{port}/v1"}})
    answer = gateway.chat(model="other")
    assert_error(answer, 502, code="upstream_unreachable")
    assert answer.header("x-gateway-attempts") == "3"
    keeper.close()


def test_a_model_that_cannot_speak_tls_is_tried_again(begin):
    heard = []

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            heard.append(sock.recv(4096)[:1])
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            sock.close()

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    gateway = begin(providers={"good": {"base_url": f"https://127.0.0.1:{listener.getsockname()[1]}/v1"}})
    answer = gateway.chat(model="other")
    assert_error(answer, 502, code="upstream_unreachable")
    assert answer.header("x-gateway-attempts") == "3"
    assert heard == [b"\x16"] * 3, "a ClientHello each"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_model_that_takes_no_connection_in_time_is_tried_again(begin, upstream):
    full = scripts.FullBacklog()
    gateway = begin(1, providers={"good": {"base_url": f"http://127.0.0.1:{full.port}/v1", "connect_timeout": "150ms"}})
    answer = gateway.chat(model="other")
    assert_error(answer, 504, says="connect")
    assert answer.header("x-gateway-attempts") == "2"
    full.close()


def test_a_failed_retry_is_followed_by_the_next(begin, upstream):
    gateway = begin(3)
    upstream.on("other-1", Turns(scripts.failure(500), FAILURES["cut_in_head"], scripts.reply(200, b"{"), expert("It is Paris.")))
    text, head = answer_text(gateway)
    assert text == "It is Paris." and head.header("x-gateway-attempts") == "4"


def test_the_last_failure_is_the_one_that_is_told(begin, upstream):
    gateway = begin(1)
    upstream.on("other-1", Turns(scripts.failure(500, "the first"), scripts.failure(429, "the second")))
    answer = gateway.chat(model="other")
    assert_error(answer, 429, says="the second")
    assert answer.header("x-should-retry") == "false"


def test_a_retry_sends_the_same_bytes(begin, upstream):
    gateway = begin()
    upstream.on("other-1", Turns(scripts.failure(500), expert()))
    body = b'{ "messages" : [{"role":"user","content":"\\u0041 \xc3\xa9"}], "temperature":0.70, "model":"other", "x": 1e2}'
    assert gateway.chat(body).status == 200
    one, two = upstream.requests
    assert one.body == two.body and b"0.70" in one.body


def test_attempts_are_in_the_access_log(begin, upstream):
    gateway = begin()
    upstream.on("small-1", scripts.failure(500))
    upstream.on("large-1", Turns(scripts.failure(500), expert()))
    answer = gateway.chat(headers=[("X-Request-ID", "tried-1")])
    assert_routed(answer, "escalate", "drafter_error")
    assert answer.header("x-gateway-attempts") == "3"
    assert gateway.access_line("tried-1")["attempts"] == 3


# Pauses


def test_a_pause_is_at_most_100_ms_doubled_each_time(begin, upstream):
    gateway = begin(4)
    upstream.on("other-1", scripts.failure(500))
    for _ in range(3):
        before = len(upstream.requests)
        assert gateway.chat(model="other").status == 502
        at = times(upstream, "other-1")[before:]
        pauses = [later - earlier for earlier, later in zip(at, at[1:])]
        assert len(pauses) == 4
        for n, pause in enumerate(pauses):
            assert pause <= 0.1 * 2**n + LIMIT_S, pauses


def test_a_pause_is_left_to_chance(begin, upstream):
    gateway = begin(1)
    upstream.on("other-1", scripts.failure(500))
    for _ in range(12):
        gateway.chat(model="other")
    pauses = gaps(upstream, "other-1")[::2]
    # Twelve times below a quarter of the longest, or all within 5 ms: less likely than 1 in 10 million.
    assert max(pauses) > 0.025 and max(pauses) - min(pauses) > 0.005, pauses


@pytest.mark.parametrize(
    "headers, least",
    [
        ([("Retry-After", "1")], 1.0),
        ([("retry-after-ms", "350")], 0.35),
        ([("retry-after-ms", "350"), ("Retry-After", "30")], 0.35),
        ([("Retry-After", "0.4")], 0.4),
    ],
    ids=["seconds", "milliseconds", "both", "a_fraction"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_upstreams_pause_is_kept(begin, upstream, status, headers, least):
    gateway = begin(1)
    upstream.on("other-1", Turns(scripts.failure(status, headers=headers), expert("It is Paris.")))
    assert answer_text(gateway)[0] == "It is Paris."
    (pause,) = gaps(upstream, "other-1")
    assert least - 0.005 <= pause <= least + 0.1 * SLOW, pause


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_a_pause_beyond_the_deadline_is_not_waited_for(begin, upstream, status, stream):
    gateway = begin(2, server={"request_timeout": 5})
    upstream.on("other-1", scripts.failure(status, headers=[("Retry-After", "30")]))
    at = time.monotonic()
    answer = gateway.chat(model="other", stream=stream)
    assert time.monotonic() - at < 1 * SLOW
    assert_error(answer, 429 if status == 429 else 502)
    assert answer.header("Retry-After") == "30"
    assert answer.header("x-should-retry") is None, "the client may come again, later"
    assert len(upstream.requests) == 1


def test_a_429s_pause_is_passed_on_in_whole_seconds_and_in_milliseconds(begin, upstream):
    gateway = begin(0)
    upstream.on("other-1", scripts.failure(429, headers=[("retry-after-ms", "1200")]))
    answer = gateway.chat(model="other")
    assert_error(answer, 429)
    assert (answer.header("Retry-After"), answer.header("retry-after-ms")) == ("2", "1200")


@pytest.mark.parametrize("word", ["-1", "soon", "", "1e3", "99999999999999999999999", "NaN", "Tue, 99 Nov 2025"])
def test_a_pause_that_makes_no_sense_does_no_harm(begin, upstream, word):
    gateway = begin(1, server={"request_timeout": 5})
    upstream.on("other-1", Turns(scripts.failure(503, headers=[("Retry-After", word)]), expert()))
    answer = gateway.chat(model="other")
    assert answer.status == (502 if word.startswith("999") else 200)


# The deadline


def part_json(exchange):
    exchange.head(content_type="application/json")
    exchange.write(b'{"id":"x","choices":[')
    exchange.stall()


ROLE = f.chunk({"role": "assistant", "content": ""})
STALLS = {
    "drafter": ("auto", False, {"small-1": scripts.stall}),
    "drafter_streamed": ("auto", True, {"small-1": scripts.stall}),
    "draft_held": ("auto", True, {"small-1": scripts.after(scripts.PART, scripts.stall)}),
    "heavyweight": ("auto", False, {"small-1": uncertain(), "large-1": scripts.stall}),
    "heavyweight_streamed": ("auto", True, {"small-1": uncertain(), "large-1": scripts.stall}),
    "heavyweight_head": ("auto", True, {"small-1": uncertain(), "large-1": scripts.after([], scripts.stall)}),
    "heavyweight_role": ("auto", True, {"small-1": uncertain(), "large-1": scripts.after([ROLE], scripts.stall)}),
    "heavyweight_part_json": ("auto", False, {"small-1": uncertain(), "large-1": part_json}),
    "pinned": ("other", False, {"other-1": scripts.stall}),
    "pinned_after_a_retry": ("other", False, {"other-1": lambda: Turns(scripts.failure(500), scripts.stall)}),
}


@pytest.mark.parametrize("mode", ["hold", "live"])
@pytest.mark.parametrize("name", sorted(STALLS))
def test_the_deadline_ends_whatever_has_not_begun_to_answer(begin, upstream, name, mode):
    limit = 0.4 * max(1, SLOW / 4)
    gateway = begin(server={"request_timeout": f"{int(limit * 1000)}ms"}, stream={"mode": mode})
    model, stream, servers = STALLS[name]
    for server, script in servers.items():
        upstream.on(server, script() if name == "pinned_after_a_retry" else script)
    at = time.monotonic()
    answer = gateway.chat(model=model, stream=stream, headers=[("X-Request-ID", "late-1")])
    taken = time.monotonic() - at
    assert_error(answer, 504, code="deadline_exceeded")
    assert limit - 0.01 <= taken <= limit + 2 * LIMIT_S, taken
    upstream.wait_closed(upstream.requests[-1])
    line = gateway.access_line("late-1")
    assert (line["status"], line["end"], line["error"]) == (504, "error", "timeout_error")
    assert not any(gateway.metrics().get(f'draftthinker_upstream_requests_in_flight{{model="{m}"}}', 0)
                   for m in ("drafter", "heavyweight", "other"))


def test_the_deadline_covers_all_attempts_together(begin, upstream):
    """Each pause ends before the deadline, so it is one of the attempts that the deadline ends."""
    gateway = begin(10, server={"request_timeout": "500ms"})
    gate = upstream.gate()

    def slow(exchange):
        gate.wait(0.15)
        scripts.failure(503, headers=[("retry-after-ms", "1")])(exchange)

    upstream.on("other-1", slow)
    at = time.monotonic()
    answer = gateway.chat(model="other")
    assert time.monotonic() - at <= 0.5 + 2 * LIMIT_S
    assert answer.status in (502, 504)
    assert 2 <= len(upstream.requests) <= 4
    assert answer.header("x-should-retry") == "false"


@pytest.mark.parametrize("model, mode", [("other", "hold"), ("auto", "live")])
def test_the_deadline_never_cuts_a_stream_that_has_begun(begin, upstream, model, mode):
    gateway = begin(server={"request_timeout": "300ms"}, stream={"mode": mode}, entropy={"window_size": 1, "early_exit_count": 1})
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("It", 0.1), (" is", 0.1), (" Paris", 0.1)], finish=None), done=False)
        gate.wait(0.6)
        exchange.frames(f.text_frames([(".", 0.1)], role=False))
        exchange.end()

    upstream.on("other-1", script)
    upstream.on("small-1", script)
    at = time.monotonic()
    stream = gateway.stream(model=model)
    assert stream.next() is not None
    assert time.monotonic() - at < 0.3
    stream.read()
    assert stream.text == "It is Paris." and stream.done and stream.error is None


@pytest.mark.parametrize("model", ["auto", "other"])
def test_the_deadline_is_counted_from_the_whole_request_on(begin, upstream, model):
    limit_s = 0.3 * max(1, SLOW / 4)
    gateway = begin(server={"request_timeout": f"{int(limit_s * 1000)}ms"})
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    upstream.on("other-1", expert("It is Paris."))
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode()
    with gateway.client() as client:
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
        upstream.gate().wait(1.5 * limit_s)
        client.send(body[10:])
        answer = client.read_response()
    assert answer.status == 200, answer
    assert answer.text == "It is Paris."


def test_a_deadline_of_zero_is_none(begin, upstream):
    gateway = begin(server={"request_timeout": 0})
    gate = upstream.gate()

    def script(exchange):
        gate.wait(0.3)
        expert("It is Paris.")(exchange)

    upstream.on("other-1", script)
    assert gateway.chat(model="other").text == "It is Paris."


# What upstream advises


@pytest.mark.parametrize("status", [401, 404, 409, 400, 422])
def test_upstreams_x_should_retry_true_allows_the_same_model_again(begin, upstream, status):
    gateway = begin()
    upstream.on("other-1", Turns(scripts.failure(status, headers=[("x-should-retry", "true")]), expert("It is Paris.")))
    text, head = answer_text(gateway)
    assert text == "It is Paris." and head.header("x-gateway-attempts") == "2"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_upstreams_x_should_retry_false_forbids_it_and_is_passed_on(begin, upstream, status):
    gateway = begin()
    upstream.on("other-1", Turns(scripts.failure(status, headers=[("x-should-retry", "false")]), expert()))
    answer = gateway.chat(model="other")
    assert_error(answer, 429 if status == 429 else 502)
    assert answer.header("x-should-retry") == "false"
    assert answer.header("x-gateway-attempts") == "1" and len(upstream.requests) == 1


# Lists


LISTS = {
    "models": {"second": {"provider": "cheap", "model": "small-2"}, "third": {"provider": "cheap", "model": "small-3"}},
    "routes": {"auto": {"drafter": ["drafter", "second", "third"], "heavyweight": ["heavyweight", "other"]}},
}


@pytest.mark.parametrize("stream", [False, True])
def test_the_heavyweights_of_a_list_are_asked_in_order_once_each_and_at_once(begin, upstream, stream):
    gateway = begin(3, models={"last": {"provider": "good", "model": "last-1"}},
                    routes={"auto": {"heavyweight": ["other", "heavyweight", "last"]}})
    upstream.on("small-1", uncertain())
    for server in ("large-1", "other-1", "last-1"):
        upstream.on(server, scripts.failure(503, headers=[("Retry-After", "1")]))
    answer = gateway.chat(stream=stream)
    assert_error(answer, 502)
    assert answer.header("x-gateway-attempts") == "4"
    assert answer.header("x-should-retry") == "false"
    assert answer.header("x-gateway-model") == "last"
    assert [request.model for request in upstream.requests] == ["small-1", "other-1", "large-1", "last-1"]
    at = [request.at for request in upstream.requests]
    assert at[3] - at[1] < 2 * LIMIT_S


@pytest.mark.parametrize("timer", ["first_byte_timeout", "idle_timeout", "timeout", "connect_timeout"])
def test_a_timeout_goes_on_to_the_next_of_a_list(begin, upstream, timer):
    full = scripts.FullBacklog()
    slow = {"base_url": upstream.url("/slow/v1") if timer != "connect_timeout" else f"http://127.0.0.1:{full.port}/v1", timer: "150ms"}
    gateway = begin(providers={"slow": slow}, models={"sleeper": {"provider": "slow", "model": "sleepy-1"}},
                    routes={"auto": {"heavyweight": ["sleeper", "heavyweight"]}})
    upstream.on("small-1", uncertain())
    upstream.on("sleepy-1", scripts.after([], scripts.stall) if timer == "idle_timeout" else scripts.stall)
    upstream.on("large-1", expert("It is Paris."))
    text, head = answer_text(gateway, "auto", True)
    assert text == "It is Paris."
    assert_routed(head, "escalate", "early_exit", model="heavyweight")
    assert head.header("x-gateway-attempts") == "3"
    full.close()


@pytest.mark.parametrize("name", sorted(FAILURES))
def test_the_next_drafter_starts_at_once_after(begin, upstream, name):
    gateway = begin(**LISTS)
    upstream.on("small-1", FAILURES[name])
    upstream.on("small-2", confident("Paris."))
    text, head = answer_text(gateway, "auto")
    assert text == "Paris."
    assert_routed(head, "accept", "confident", model="second")
    assert head.header("x-gateway-attempts") == "2"
    one, two = upstream.requests
    assert two.at - one.at < 2 * LIMIT_S


def test_after_the_last_drafter_the_heavyweight_is_asked(begin, upstream):
    gateway = begin(**LISTS)
    for server in ("small-1", "small-2", "small-3"):
        upstream.on(server, scripts.failure(429, headers=[("Retry-After", "1")]))
    upstream.on("large-1", expert("It is Paris."))
    text, head = answer_text(gateway, "auto")
    assert text == "It is Paris."
    assert_routed(head, "escalate", "drafter_error", model="heavyweight")
    assert head.header("x-gateway-attempts") == "4"
    assert [request.model for request in upstream.requests] == ["small-1", "small-2", "small-3", "large-1"]
    assert upstream.requests[3].at - upstream.requests[0].at < 3 * LIMIT_S


def test_the_only_drafter_is_not_tried_again(begin, upstream):
    gateway = begin(5)
    upstream.on("small-1", scripts.failure(503))
    upstream.on("large-1", expert())
    assert_routed(gateway.chat(), "escalate", "drafter_error")
    assert [request.model for request in upstream.requests] == ["small-1", "large-1"]


def test_the_next_draft_begins_with_an_empty_sheet(begin, upstream):
    """Neither text nor score of the drafter that failed is in the answer of the next."""
    gateway = begin(**LISTS)
    upstream.on("small-1", scripts.after(f.text_frames([("DRAFTED", 1.9)] * 3, finish=None), scripts.cut))
    upstream.on("small-2", confident("Paris."))
    for stream in (False, True):
        text, head = answer_text(gateway, "auto", stream)
        assert text == "Paris."
        assert float(head.header("X-Routing-Score")) == pytest.approx(0.1, abs=0.001)


# Never after the first byte


@pytest.mark.parametrize("model, server", [("other", "other-1"), ("auto", "large-1")])
@pytest.mark.parametrize("ending", [scripts.cut, scripts.reset], ids=["cut", "reset"])
def test_once_a_frame_was_delivered_there_is_no_retry(begin, upstream, model, server, ending):
    gateway = begin(routes={"auto": {"heavyweight": ["heavyweight", "other"]}})
    upstream.on("small-1", uncertain())
    gate = upstream.gate()

    def script(exchange):
        exchange.head()
        exchange.frames(scripts.PART, done=False)
        exchange.wait(gate)
        ending(exchange)

    upstream.on(server, Turns(script, expert()))
    stream = gateway.stream(model=model)
    while stream.text != "DRAFTED half":
        assert stream.next() is not None
    gate.set()
    stream.read()
    assert stream.text == "DRAFTED half"
    assert stream.error["code"] == "upstream_truncated" and "[DONE]" not in stream.data
    assert [request.model for request in upstream.requests if request.model != "small-1"] == [server]


@pytest.mark.parametrize("model, server, again", [("other", "other-1", "other-1"), ("auto", "large-1", "other-1")])
def test_frames_that_say_nothing_yet_may_be_followed_by_another_attempt(begin, upstream, model, server, again):
    gateway = begin(routes={"auto": {"heavyweight": ["heavyweight", "other"]}})
    upstream.on("small-1", uncertain())
    failing = scripts.after([f.chunk({"role": "assistant", "content": ""}, head=f.head(id="chatcmpl-failed"))] * 3, scripts.cut)
    turns = Turns(failing, expert("It is Paris."))
    upstream.on(server, turns)
    upstream.on(again, turns)
    stream = gateway.stream(model=model).read()
    assert stream.text == "It is Paris." and stream.done
    assert {frame["id"] for frame in stream.frames} == {"chatcmpl-heavy"}
    assert sum("role" in choice["delta"] for frame in stream.frames for choice in frame["choices"]) == 1


# Limits of requests at a time


def hold(gateway, upstream, server="other-1", model="other", **members):
    """A request that is under way until it is told otherwise; the client, once upstream has it."""
    count = len(upstream.requests_for(server))
    client = ask(gateway, model, **members)
    upstream.wait_request(server, count + 1)
    return client


def assert_full(answer, model=None):
    assert_error(answer, 503, code="over_capacity")
    assert answer.header("Retry-After") == "1"


@pytest.mark.parametrize("limit", ["provider", "server"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["done", "gone", "failed", "cut"])
def test_a_place_is_free_again_however_its_request_ended(begin, upstream, limit, workers, how):
    if limit == "provider":
        gateway = begin(0, server={"workers": workers}, providers={"good": {"max_concurrent": 3}})
    else:
        gateway = begin(0, server={"workers": workers, "max_concurrent": 3})
    gate = upstream.gate()

    def script(exchange):
        if how == "cut":
            exchange.head()
            exchange.frames(scripts.PART, done=False)
        exchange.wait(gate)
        {"done": expert(), "gone": scripts.stall, "failed": scripts.failure(500), "cut": scripts.cut}[how](exchange)

    upstream.on("other-1", script)
    for _ in range(3):
        clients = [hold(gateway, upstream, stream=how == "cut") for _ in range(3)]
        asked = len(upstream.requests)
        for stream in (False, True) * 3:
            at = time.monotonic()
            assert_full(gateway.chat(model="other", stream=stream))
            assert time.monotonic() - at < 10 * LIMIT_S
        assert len(upstream.requests) == asked
        if how == "gone":
            for client in clients:
                client.close()
        gate.set()
        if how in ("done", "failed"):
            for client in clients:
                assert client.read_response().status == (200 if how == "done" else 502)
        elif how == "cut":
            for client in clients:
                assert client.stream().read().error is not None
        eventually(lambda: gateway.metrics()["draftthinker_requests_in_flight"] == 0, "all ended")
        gate.clear()


def test_limits_are_for_all_workers_together(begin, upstream):
    gateway = begin(0, server={"workers": 2}, providers={"good": {"max_concurrent": 4}})
    upstream.on("other-1", scripts.stall)
    clients = [ask(gateway) for _ in range(12)]
    upstream.wait_for(lambda: len(upstream.requests) == 4, "4 requests")
    eventually(lambda: gateway.metrics()["draftthinker_requests_in_flight"] == 4, "8 answers")
    assert len(upstream.requests) == 4
    clients[0].close()
    for client in clients[1:]:
        client.close()


def test_health_and_metrics_are_answered_at_the_limit(begin, upstream):
    gateway = begin(0, server={"max_concurrent": 1})
    upstream.on("other-1", scripts.stall)
    client = hold(gateway, upstream)
    assert gateway.get("/health/ready").status == 200
    assert gateway.get("/v1/models").status == 200
    assert gateway.metrics()["draftthinker_requests_in_flight"] == 1
    assert_full(gateway.chat(model="other", headers=[("X-Request-ID", "full-1")]))
    line = gateway.access_line("full-1")
    assert (line["status"], line["error"]) == (503, "overloaded_error")
    client.close()


def test_a_drafters_provider_at_its_limit_is_passed_over(begin, upstream):
    gateway = begin(models={"second": {"provider": "good", "model": "small-2"}}, providers={"cheap": {"max_concurrent": 1}})
    upstream.on("small-1", scripts.stall)
    upstream.on("large-1", expert("It is Paris."))
    client = hold(gateway, upstream, "small-1", "auto")
    answer = gateway.chat()
    assert_routed(answer, "escalate", "drafter_error", model="heavyweight")
    assert answer.header("x-gateway-attempts") == "1" and answer.text == "It is Paris."
    assert len(upstream.requests_for("small-1")) == 1
    client.close()


def test_the_next_drafter_is_asked_where_the_firsts_provider_is_at_its_limit(begin, upstream):
    gateway = begin(models={"second": {"provider": "good", "model": "small-2"}}, providers={"cheap": {"max_concurrent": 1}},
                    routes={"auto": {"drafter": ["drafter", "second"]}})
    upstream.on("small-1", scripts.stall)
    upstream.on("small-2", confident())
    client = hold(gateway, upstream, "small-1", "auto")
    answer = gateway.chat()
    assert_routed(answer, "accept", "confident", model="second")
    assert answer.header("x-gateway-attempts") == "1"
    client.close()


def test_the_next_heavyweight_is_asked_where_the_firsts_provider_is_at_its_limit(begin, upstream):
    gateway = begin(models={"spare": {"provider": "cheap", "model": "spare-1"}}, providers={"good": {"max_concurrent": 1}},
                    routes={"auto": {"heavyweight": ["heavyweight", "spare"]}})
    upstream.on("small-1", uncertain())
    upstream.on("other-1", scripts.stall)
    upstream.on("spare-1", expert())
    client = hold(gateway, upstream)
    assert_routed(gateway.chat(), "escalate", "early_exit", model="spare")
    assert upstream.requests_for("large-1") == []
    client.close()


def test_an_escalation_finds_no_place_left(begin, upstream):
    gateway = begin(providers={"good": {"max_concurrent": 1}})
    upstream.on("small-1", uncertain())
    upstream.on("other-1", scripts.stall)
    client = hold(gateway, upstream)
    for stream in (False, True):
        answer = gateway.chat(stream=stream)
        assert_full(answer)
        assert_routed(answer, "escalate", "early_exit")
        assert answer.header("x-gateway-attempts") == "1"
    client.close()


def test_a_place_is_worth_waiting_for_no_longer_than_that_where_another_models_breaker_is_open(begin, upstream):
    gateway = begin(0, models={"spare": {"provider": "cheap", "model": "spare-1"}}, providers={"good": {"max_concurrent": 1}},
                    routes={"auto": {"heavyweight": ["spare", "heavyweight"]}}, breaker={"failures": 1, "open": 60})
    upstream.on("small-1", uncertain())
    upstream.on("spare-1", scripts.failure(500))
    upstream.on("other-1", scripts.stall)
    assert_error(gateway.chat(model="spare"), 502)
    client = hold(gateway, upstream)
    assert_full(gateway.chat())
    client.close()


def test_no_limit_is_the_default(begin, upstream):
    gateway = begin()
    upstream.on("other-1", scripts.stall)
    clients = [ask(gateway) for _ in range(100)]
    upstream.wait_for(lambda: len(upstream.requests) == 100, "100 requests")
    for client in clients:
        client.close()
