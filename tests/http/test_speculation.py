"""A doubtful token starts the heavyweight beside the draft: when, for how long, and what becomes of what it says."""

import queue
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import SLOW, eventually, merge, soon
from lib.scripts import expert
from lib.upstream import Gone

LIMIT_MS = 50
CALM, DOUBT, TRIP = 0.1, 1.5, 6.0  # bits; the threshold is 2, the soft one 1
DRAFT = f.head(id="chatcmpl-draft", model="small-1-0613")
HEAVY = f.head(id="chatcmpl-heavy", model="large-1-0613")
PRICES = {
    "drafter": {"price": {"input": 1, "output": 2}},
    "heavyweight": {"price": {"input": 10, "output": 40}},
}


class Speaker:
    """A model's stream of which the test says each frame; each method returns once it is on the wire."""

    def __init__(self, upstream, model, head):
        self.head = head
        self._todo = queue.SimpleQueue()
        upstream.on(model, self.script)

    def script(self, exchange):
        if not exchange.request.json.get("stream"):
            self._run(exchange)
            return
        exchange.head()
        exchange.frames(f.text_frames([], finish=None, head=self.head), done=False)
        self._run(exchange)

    def _run(self, exchange):
        while True:
            try:
                act, over, said = self._todo.get(timeout=0.01)
            except queue.Empty:
                if exchange.connection.closed.is_set():
                    raise Gone() from None
                continue
            try:
                act(exchange)
            finally:
                said.put(None)
            if over:
                return

    def act(self, act, over=False):
        said = queue.SimpleQueue()
        self._todo.put((act, over, said))
        said.get(timeout=20)

    def say(self, *tokens):
        """tokens: (text, bits) each."""
        frames = f.text_frames(tokens, finish=None, head=self.head, role=False)
        self.act(lambda exchange: exchange.frames(frames, done=False))

    def finish(self, usage=None):
        frames = f.text_frames([], head=self.head, role=False, **({"usage": usage} if usage else {}))

        def act(exchange):
            exchange.frames(frames)
            exchange.end()

        self.act(act, over=True)

    def reply(self, text, **options):
        """The whole answer, to a request that was not for a stream."""
        self.act(lambda exchange: exchange.reply(200, f.completion(text, head=self.head, **options)), over=True)


class Turns:
    """The n-th request is answered by the n-th script, and all later ones by the last."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)

    def __call__(self, exchange):
        (self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])(exchange)


@pytest.fixture
def begin(start):
    """begin(mode, …): a daemon that speculates, and judges by two tokens."""

    def run(mode="hold", **overrides):
        return start(**merge({
            "entropy": {"threshold": 2.0, "window_size": 2, "early_exit_count": 2},
            "speculative": {"enabled": True, "soft_threshold_mult": 0.5},
            "stream": {"mode": mode},
        }, overrides))

    return run


@pytest.fixture
def draft(upstream):
    return Speaker(upstream, "small-1", DRAFT)


@pytest.fixture
def heavy(upstream):
    return Speaker(upstream, "large-1", HEAVY)


def ask(gateway, stream=True, headers=(), **members):
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions",
                 {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "x"}], **members}, headers)
    return client


def answer_of(client, stream):
    """Text, routing headers: the answer to its end."""
    if not stream:
        response = client.read_response()
        return response.text, response
    events = client.stream().read()
    assert events.done
    return events.text, events.head


def settle(gateway):
    """What was on the wire before has been read when this returns: the loop went round twice since."""
    for _ in range(2):
        assert gateway.get("/health/live").status == 200


def is_open(upstream, request):
    return not upstream.connection_of(request).closed.is_set()


def calls(upstream):
    return len(upstream.requests_for("large-1"))


def sample(gateway, name):
    return gateway.metrics().get(f"draftthinker_{name}", 0)


def speculated(gateway):
    return sample(gateway, "speculative_triggers_total"), sample(gateway, "speculative_cancellations_total")


# When it starts


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["hold", "live"])
def test_a_doubtful_token_starts_the_heavyweight_beside_the_draft(begin, upstream, draft, mode, stream):
    gateway = begin(mode)
    upstream.on("large-1", scripts.stall)
    client = ask(gateway, stream, [("X-Request-ID", "doubt-1")])
    drafting = upstream.wait_request("small-1")
    draft.say(("It", CALM), (" is", DOUBT))
    heavy = upstream.wait_request("large-1")
    assert is_open(upstream, drafting)
    assert heavy.json.get("stream", False) is stream
    assert "logprobs" not in heavy.json
    draft.say((" Paris", DOUBT))
    draft.finish()
    text, head = answer_of(client, stream)
    assert text == "It is Paris"
    assert_routed(head, "accept", "confident", model="drafter")
    upstream.wait_closed(heavy)
    assert speculated(gateway) == (1, 1)
    line = gateway.access_line("doubt-1")
    assert (line["speculated"], line["attempts"], line["decision"]) == (True, 2, "accept")
    assert "handed_off" not in line


def test_the_draft_flows_on_beside_a_heavyweight_that_says_nothing(begin, upstream, draft):
    gateway = begin("live")
    upstream.on("large-1", scripts.stall)
    client = ask(gateway)
    draft.say(("0 ", CALM), ("1 ", DOUBT), ("2 ", DOUBT))
    heavy = upstream.wait_request("large-1")
    stream = client.stream()
    late = []
    for i in range(3, 33):
        at = time.monotonic()
        draft.say((f"{i} ", DOUBT))
        while f"{i - 2} " not in stream.text:
            assert stream.next() is not None
        late.append(time.monotonic() - at)
    assert is_open(upstream, heavy)
    assert sorted(late)[15] < 0.020 * SLOW, late
    draft.finish()
    assert stream.read().text == "".join(f"{i} " for i in range(33)) and stream.done
    assert calls(upstream) == 1


@pytest.mark.parametrize("bits, starts", [(0.99, False), (1.0, False), (1.01, True)], ids=["below", "exactly", "above"])
def test_only_a_token_above_the_soft_threshold_starts_it(begin, upstream, bits, starts):
    gateway = begin(entropy={"top_logprobs": 2})
    upstream.on("small-1", scripts.speak(tokens=[("a", CALM), ("b", bits), ("c", CALM)]))
    upstream.on("large-1", scripts.stall)
    assert_routed(gateway.chat(), "accept", "confident")
    assert speculated(gateway)[0] == starts
    if not starts:
        assert calls(upstream) == 0


@pytest.mark.parametrize("speculative", [{"enabled": False}, {"max_share": 0}], ids=["disabled", "max_share_0"])
def test_it_can_be_switched_off(begin, upstream, speculative):
    gateway = begin(speculative=speculative)
    upstream.on("small-1", scripts.speak(bits=DOUBT))
    upstream.on("large-1", expert())
    for i in range(20):
        assert_routed(gateway.chat(stream=False), "accept", "confident")
    assert calls(upstream) == 0 and speculated(gateway) == (0, 0)


@pytest.mark.parametrize("share, least, most", [(0.5, 9, 11), (1, 20, 20), (None, 20, 20), (0.1, 1, 3)])
def test_no_more_than_its_share_of_requests_start_it(begin, upstream, share, least, most):
    gateway = begin(speculative={"max_share": share})
    upstream.on("small-1", scripts.speak(bits=DOUBT))
    upstream.on("large-1", scripts.stall)
    for i in range(20):
        assert_routed(gateway.chat(), "accept", "confident")
    assert least <= speculated(gateway)[0] <= most
    assert calls(upstream) <= most


def test_what_will_be_let_out_whatever_comes_starts_none(begin, upstream, draft):
    """With stream.late finish nobody would ask the heavyweight once the draft flows."""
    gateway = begin("live", stream={"late": "finish"})
    upstream.on("large-1", scripts.stall)
    stream = ask(gateway)
    draft.say(*[(f"{i} ", CALM) for i in range(4)])
    stream = stream.stream()
    stream.next()
    draft.say(("x ", DOUBT), ("y ", DOUBT))
    draft.finish()
    assert stream.read().done
    assert calls(upstream) == 0


# When it is over


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["hold", "live"])
def test_it_is_cut_off_within_50_ms_once_the_draft_is_accepted(begin, upstream, draft, mode, stream):
    gateway = begin(mode)
    upstream.on("large-1", scripts.stall)

    def attempt():
        count = calls(upstream)
        client = ask(gateway, stream)
        draft.say(("It", CALM), (" is", DOUBT))
        heavy = upstream.wait_request("large-1", count + 1)
        at = time.monotonic()
        draft.finish()
        taken = upstream.wait_closed(heavy) - at
        assert answer_of(client, stream)[0] == "It is"
        return taken

    soon(LIMIT_MS, attempt)


def test_it_is_cut_off_within_50_ms_once_a_whole_window_was_calm(begin, upstream, draft):
    gateway = begin("live")
    upstream.on("large-1", scripts.stall)
    counts = []

    def attempt():
        count = calls(upstream)
        client = ask(gateway)
        draft.say(("0 ", CALM), ("1 ", DOUBT), ("2 ", CALM))
        heavy = upstream.wait_request("large-1", count + 1)
        stream = client.stream()
        while "0 " not in stream.text:  # the calm token was judged
            stream.next()
        settle(gateway)
        assert is_open(upstream, heavy), "one calm token is not a window"
        at = time.monotonic()
        draft.say(("3 ", CALM))
        taken = upstream.wait_closed(heavy) - at
        counts.append(1)
        assert speculated(gateway) == (len(counts), len(counts))
        draft.finish()
        assert stream.read().text == "0 1 2 3 " and stream.done
        return taken

    soon(LIMIT_MS, attempt)


def test_a_doubt_within_the_window_keeps_it(begin, upstream, draft):
    gateway = begin("live")
    upstream.on("large-1", scripts.stall)
    client = ask(gateway)
    draft.say(("0 ", DOUBT), ("1 ", CALM), ("2 ", DOUBT), ("3 ", CALM), ("4 ", DOUBT), ("5 ", CALM))
    heavy = upstream.wait_request("large-1")
    stream = client.stream()
    while "3 " not in stream.text:
        stream.next()
    settle(gateway)
    assert is_open(upstream, heavy)
    draft.finish()
    assert stream.read().done
    assert calls(upstream) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_after_it_was_cut_off_no_doubt_starts_it_again_but_the_rule_does(begin, upstream, draft, stream):
    gateway = begin()
    upstream.on("large-1", Turns(scripts.stall, expert("It is Paris.")))
    client = ask(gateway, stream)
    draft.say(("a", DOUBT))
    heavy = upstream.wait_request("large-1")
    draft.say(("b", CALM), ("c", CALM))
    upstream.wait_closed(heavy)
    draft.say(("d", DOUBT), ("e", DOUBT))
    settle(gateway)
    assert calls(upstream) == 1
    draft.say(("f", TRIP))
    text, head = answer_of(client, stream)
    assert text == "It is Paris."
    assert_routed(head, "escalate", "window", model="heavyweight")
    assert head.header("x-gateway-attempts") == "3"
    assert calls(upstream) == 2 and speculated(gateway) == (1, 1)
    assert sample(gateway, "speculative_latency_saved_seconds") == 0


# What it said meanwhile is used


@pytest.mark.parametrize("mode", ["hold", "live"])
def test_what_it_has_said_is_the_beginning_of_the_answer(begin, upstream, draft, heavy, mode):
    gateway = begin(mode, entropy={"early_exit_count": 8})
    client = ask(gateway)
    draft.say(("DRAFTED", CALM), (" no", DOUBT))
    upstream.wait_request("large-1")
    heavy.say(("It", 0), (" is", 0))
    settle(gateway)
    draft.say((" way", TRIP))
    stream = client.stream()
    while stream.text != "It is":  # though it says nothing more
        assert stream.next() is not None
    upstream.wait_closed(upstream.wait_request("small-1"))
    heavy.say((" Paris.", 0))
    heavy.finish()
    stream.read()
    assert stream.text == "It is Paris." and stream.done
    assert {frame["id"] for frame in stream.frames} == {"chatcmpl-heavy"}
    assert_routed(stream.head, "escalate", "speculative", model="heavyweight")
    assert calls(upstream) == 1 and speculated(gateway) == (1, 0)


@pytest.mark.parametrize("mode", ["hold", "live"])
def test_what_it_says_only_later_is_the_answer_too(begin, upstream, draft, heavy, mode):
    gateway = begin(mode)
    client = ask(gateway)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    draft.say((" no", TRIP))
    upstream.wait_closed(upstream.wait_request("small-1"))
    heavy.say(("It is", 0), (" Paris.", 0))
    heavy.finish()
    text, head = answer_of(client, True)
    assert text == "It is Paris." and calls(upstream) == 1
    assert_routed(head, "escalate", "speculative", model="heavyweight")


@pytest.mark.parametrize("mode", ["hold", "live"])
def test_a_stream_that_was_complete_before_is_answered_at_once(begin, upstream, draft, heavy, mode):
    gateway = begin(mode)
    client = ask(gateway)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    heavy.say(("It is", 0), (" Paris.", 0))
    heavy.finish()
    settle(gateway)
    draft.say((" no", TRIP))
    text, head = answer_of(client, True)
    assert text == "It is Paris." and calls(upstream) == 1
    assert_routed(head, "escalate", "speculative", model="heavyweight")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_whole_answer_is_used_whenever_it_was_complete(begin, upstream, draft, heavy, when):
    gateway = begin()
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    if when == "before":
        heavy.reply("It is Paris.", usage=f.usage(11, 4))
        settle(gateway)
    draft.say((" no", TRIP))
    if when == "after":
        upstream.wait_closed(upstream.wait_request("small-1"))
        heavy.reply("It is Paris.", usage=f.usage(11, 4))
    response = client.read_response()
    assert response.text == "It is Paris."
    assert response.json()["usage"]["completion_tokens"] == 4
    assert_routed(response, "escalate", "speculative", model="heavyweight")
    assert response.header("x-gateway-attempts") == "2"
    assert calls(upstream) == 1 and speculated(gateway) == (1, 0)


def test_an_answer_that_was_complete_before_a_calm_window_is_kept_for_the_trip(begin, upstream, draft, heavy):
    gateway = begin()
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    heavy.reply("It is Paris.")
    settle(gateway)
    draft.say(("a", CALM), ("b", CALM), ("c", CALM), ("d", TRIP))
    assert client.read_response().text == "It is Paris."
    assert calls(upstream) == 1 and speculated(gateway) == (1, 0)


# Live, and the client has a part of the draft already

DELIVERED = "one two"
FIT = [("one", 0), (" two", 0), (" three", 0)]
UNFIT = {
    "other_words": [("Uno", 0), (" due", 0), (" tre", 0)],
    "other_in_the_end": [("one", 0), (" too", 0), (" three", 0)],
    "not_as_far": [("one", 0), (" t", 0)],
    "nothing": [],
}


def deliver(upstream, client, draft):
    """Doubts from the second token on; the stream, with DELIVERED said. The heavyweight was asked before that."""
    draft.say(("one", CALM), (" two", DOUBT))
    upstream.wait_request("large-1")
    draft.say((" 3", DOUBT), (" 4", DOUBT))
    stream = client.stream()
    while stream.text != DELIVERED:
        assert stream.next() is not None
    return stream


@pytest.mark.parametrize("prefill", ["none", "vllm"])
@pytest.mark.parametrize("when", ["all_before", "part_before"])
def test_if_it_has_said_what_the_client_has_it_goes_on_from_there(begin, upstream, draft, heavy, prefill, when):
    gateway = begin("live", providers={"good": {"prefill": prefill}})
    client = ask(gateway, headers=[("X-Request-ID", "fits-1")])
    stream = deliver(upstream, client, draft)
    assert len(upstream.requests_for("large-1")[0].json["messages"]) == 1
    heavy.say(*FIT)
    if when == "all_before":
        heavy.say((" four.", 0))
        heavy.finish()
    settle(gateway)
    draft.say((" DRAFTED", TRIP))
    if when == "part_before":
        while stream.text != "one two three":
            assert stream.next() is not None
        heavy.say((" four.", 0))
        heavy.finish()
    stream.read()
    assert stream.text == "one two three four." and stream.done
    assert calls(upstream) == 1 and speculated(gateway) == (1, 0)
    assert {frame["id"] for frame in stream.frames} == {"chatcmpl-draft"}
    assert sum("role" in c["delta"] for frame in stream.frames for c in frame["choices"]) == 1
    assert (stream.routing["decision"], stream.routing["reason"]) == ("escalate", "speculative")
    line = gateway.access_line("fits-1")
    assert line["handed_off"] is True and line["speculated"] is True


@pytest.mark.parametrize("prefill", ["none", "vllm"])
@pytest.mark.parametrize("said", sorted(UNFIT))
def test_if_it_has_not_it_is_cut_off_and_asked_anew_with_the_delivered_text(begin, upstream, draft, prefill, said):
    gateway = begin("live", providers={"good": {"prefill": prefill}})
    first = Speaker(upstream, "large-1", HEAVY)
    upstream.on("large-1", Turns(first.script, expert(" three four.")))
    client = ask(gateway)
    stream = deliver(upstream, client, draft)
    first.say(*UNFIT[said])
    settle(gateway)
    draft.say((" DRAFTED", TRIP))
    stream.read()
    assert stream.text == "one two three four." and stream.done, stream.text
    one, two = upstream.requests_for("large-1")
    upstream.wait_closed(one)
    messages = two.json["messages"]
    assert messages[1] == {"role": "assistant", "content": DELIVERED}
    assert len(messages) == (3 if prefill == "none" else 2)
    assert speculated(gateway)[0] == 1
    assert stream.routing["reason"] == "window"
    assert sample(gateway, "speculative_latency_saved_seconds") == 0
    assert {frame["id"] for frame in stream.frames} == {"chatcmpl-draft"}


@pytest.mark.parametrize("prefill", ["none", "vllm"])
def test_one_that_was_asked_to_go_on_from_a_part_says_the_rest(begin, upstream, draft, heavy, prefill):
    """It starts when the client has `one` already, and is asked to go on from there; ` two` came meanwhile."""
    gateway = begin("live", providers={"good": {"prefill": prefill}})
    client = ask(gateway)
    draft.say(("one", CALM), (" two", CALM), (" 3", CALM))
    stream = client.stream()
    while stream.text != "one":
        assert stream.next() is not None
    draft.say((" 4", DOUBT))
    request = upstream.wait_request("large-1")
    assert request.json["messages"][1] == {"role": "assistant", "content": "one"}
    while stream.text != DELIVERED:
        assert stream.next() is not None
    heavy.say((" two", 0), (" three", 0), (" four.", 0))
    settle(gateway)
    draft.say((" DRAFTED", TRIP))
    heavy.finish()
    stream.read()
    assert stream.text == "one two three four." and stream.done
    assert calls(upstream) == 1


@pytest.mark.parametrize("prefill", ["none", "vllm"])
def test_one_that_repeats_the_part_is_trimmed_or_not_used(begin, upstream, draft, prefill):
    """Asked to go on from `one`, it begins anew: by instruction the repetition is taken off."""
    gateway = begin("live", providers={"good": {"prefill": prefill}})
    text = "one fine morning in the month of May two"
    first = Speaker(upstream, "large-1", HEAVY)
    upstream.on("large-1", Turns(first.script, expert(" three four.")))
    client = ask(gateway)
    draft.say(("one fine morning in the month of May", CALM), (" two", CALM), (" 3", CALM))
    stream = client.stream()
    while not stream.text:
        assert stream.next() is not None
    draft.say((" 4", DOUBT))
    upstream.wait_request("large-1")
    while stream.text != text:
        assert stream.next() is not None
    first.say((text, 0), (" three", 0), (" four.", 0))
    settle(gateway)
    draft.say((" DRAFTED", TRIP))
    if prefill == "none":
        first.finish()
    stream.read()
    assert stream.text == text + " three four." and stream.done
    assert calls(upstream) == (1 if prefill == "none" else 2)


# It fails

FAILURES = {
    "status_503": scripts.failure(503),
    "status_400": scripts.failure(400),
    "closed": scripts.cut,
    "cut": scripts.after(scripts.PART, scripts.cut),
    "garbage": scripts.body(b"data: {garbage}\n\n"),
    "html": scripts.FAILURES["status_200_html"],
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(FAILURES))
def test_its_failure_does_no_harm_to_an_accepted_draft(begin, upstream, draft, name, stream):
    gateway = begin("live")
    upstream.on("large-1", FAILURES[name])
    client = ask(gateway, stream)
    draft.say(("It", CALM), (" is", DOUBT))
    upstream.wait_request("large-1")
    eventually(lambda: sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0, "its end")
    draft.say((" Paris", CALM), (".", CALM))
    draft.finish()
    text, head = answer_of(client, stream)
    assert text == "It is Paris."
    assert_routed(head, "accept", "confident", model="drafter")
    assert calls(upstream) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(set(FAILURES) - {"status_400"}))
def test_after_its_failure_the_heavyweight_is_asked_again_on_a_trip(begin, upstream, draft, name, stream):
    gateway = begin()
    upstream.on("large-1", Turns(FAILURES[name], expert("It is Paris.")))
    client = ask(gateway, stream)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    eventually(lambda: sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0, "its end")
    assert calls(upstream) == 1, "nobody waits for it, so it is not tried again meanwhile"
    draft.say((" no", TRIP))
    text, head = answer_of(client, stream)
    assert text == "It is Paris."
    assert_routed(head, "escalate", "early_exit", model="heavyweight")
    assert calls(upstream) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_it_says_of_the_request_is_answered_without_a_second_call(begin, upstream, draft, stream, when):
    gateway = begin(providers={"good": {"retries": 2}})
    gate = upstream.gate()

    def refuse(exchange):
        exchange.wait(gate)
        scripts.failure(400, "no such thing")(exchange)

    upstream.on("large-1", refuse)
    client = ask(gateway, stream)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    if when == "before":
        gate.set()
        eventually(lambda: sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0, "its end")
    draft.say((" no", TRIP))
    upstream.wait_closed(upstream.wait_request("small-1"))
    gate.set()
    response = client.read_response()
    assert response.status == 400 and response.json()["error"]["message"] == "no such thing"
    assert response.header("x-should-retry") is None
    assert calls(upstream) == 1


def test_one_that_fails_after_the_trip_is_retried_like_any_other(begin, upstream, draft):
    gateway = begin(providers={"good": {"retries": 2}})
    gate = upstream.gate()

    def fail(exchange):
        exchange.wait(gate)
        exchange.cut()

    upstream.on("large-1", Turns(fail, expert("It is Paris.")))
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    draft.say((" no", TRIP))
    upstream.wait_closed(upstream.wait_request("small-1"))
    gate.set()
    assert client.read_response().text == "It is Paris."
    assert calls(upstream) == 2


def test_an_error_after_a_failed_head_start_and_another_attempt_is_not_to_be_retried(begin, upstream, draft):
    gateway = begin()
    upstream.on("large-1", scripts.failure(503))
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    eventually(lambda: sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0, "its end")
    draft.say((" no", TRIP))
    response = client.read_response()
    assert_error(response, 502)
    assert calls(upstream) == 2
    assert response.header("x-should-retry") == "false"
    assert response.header("x-gateway-attempts") == "3"


def test_a_heavyweight_nobody_listens_for_does_no_harm(begin, upstream, draft):
    port, sock = scripts.refusing_port()
    gateway = begin(providers={"good": {"base_url": f"http://127.0.0.1:{port}/v1"}})
    client = ask(gateway, stream=False)
    draft.say(("It", CALM), (" is", DOUBT), (" Paris.", CALM))
    draft.finish()
    assert client.read_response().text == "It is Paris."
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT), (" no", TRIP))
    assert_error(client.read_response(), 502, code="upstream_unreachable")
    sock.close()


def occupy(gateway, upstream):
    """A request that takes the heavyweight's provider's only place; closing the client frees it."""
    upstream.on("other-1", scripts.stall)
    client = ask(gateway, model="other", stream=False)
    upstream.wait_request("other-1")
    return client


def test_where_the_provider_has_no_place_none_is_started_and_the_draft_is_the_answer(begin, upstream, draft):
    gateway = begin(providers={"good": {"max_concurrent": 1}})
    upstream.on("large-1", expert("It is Paris."))
    other = occupy(gateway, upstream)
    client = ask(gateway, stream=False)
    draft.say(("It", DOUBT))
    draft.finish()
    assert client.read_response().text == "It"
    assert calls(upstream) == 0 and speculated(gateway) == (0, 0)
    # When the rule trips, a place may be free again.
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT))
    settle(gateway)
    other.close()
    upstream.wait_closed(upstream.wait_request("other-1"))
    draft.say((" no", TRIP))
    assert client.read_response().text == "It is Paris."
    assert calls(upstream) == 1 and speculated(gateway) == (0, 0)


def test_one_whose_breaker_is_open_is_not_started_in_panic(begin, upstream, draft):
    gateway = begin(breaker={"failures": 1, "open": 60})
    upstream.on("large-1", scripts.failure(500))
    assert gateway.chat(model="heavyweight").status == 502
    upstream.on("large-1", expert("It is Paris."))
    client = ask(gateway, stream=False)
    draft.say(("DRAFTED", DOUBT))
    settle(gateway)
    assert calls(upstream) == 1 and speculated(gateway) == (0, 0)
    draft.say((" no", TRIP))
    answer = client.read_response()
    assert answer.text == "It is Paris." and calls(upstream) == 2
    assert_routed(answer, "escalate", "panic", model="heavyweight")


def test_if_it_has_refused_the_request_the_draft_is_no_answer_for_it_is_not_down(begin, upstream, draft):
    gateway = begin(on_heavyweight_down="draft")
    upstream.on("large-1", scripts.failure(400))
    client = ask(gateway, stream=False)
    draft.say(("It", DOUBT))
    upstream.wait_request("large-1")
    eventually(lambda: sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0, "its end")
    draft.say((" is", TRIP))
    assert client.read_response().status == 400 and calls(upstream) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_deadline_ends_both(begin, upstream, draft, stream):
    gateway = begin(server={"request_timeout": f"{int(300 * max(1, SLOW / 4))}ms"})
    upstream.on("large-1", scripts.stall)
    client = ask(gateway, stream)
    draft.say(("DRAFTED", DOUBT))
    heavy = upstream.wait_request("large-1")
    assert_error(client.read_response(), 504, code="deadline_exceeded")
    upstream.wait_closed(heavy)
    upstream.wait_closed(upstream.wait_request("small-1"))
    assert speculated(gateway) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_in_the_other_form_is_used_too(begin, upstream, draft, stream):
    """JSON where a stream was asked for, and a stream where JSON was."""
    gateway = begin()
    whole = scripts.reply(200, f.completion("It is Paris.", head=HEAVY))
    events = scripts.frames(*f.text_frames([("It is", 0), (" Paris.", 0)], logprobs=False, head=HEAVY))
    upstream.on("large-1", whole if stream else events)
    client = ask(gateway, stream)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    eventually(lambda: sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0, "its end")
    draft.say((" no", TRIP))
    text, head = answer_of(client, stream)
    assert text == "It is Paris." and calls(upstream) == 1
    assert_routed(head, "escalate", "speculative", model="heavyweight")


# Its bounds


def test_one_that_says_much_while_nobody_waits_is_paused(begin, upstream, draft):
    gateway = begin()
    piece = f.event(f.chunk({"content": "x" * 100_000}, head=HEAVY))
    total = 600
    sent = []

    def script(exchange):
        exchange.head()
        for _ in range(total):
            exchange.write(piece)
            sent.append(len(piece))
        exchange.frames([f.chunk({}, finish="stop", head=HEAVY)])
        exchange.end()

    upstream.on("large-1", script)
    before = gateway.memory_bytes()
    client = ask(gateway)
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    # What it can say settles: only kernel buffers and what the gateway keeps are filled.
    seen, settled = -1, 0
    pause = upstream.gate()
    while settled < 5:
        settled = settled + 1 if sent and len(sent) == seen else 0
        seen = len(sent)
        pause.wait(0.05)
    assert sum(sent) < 16_000_000, sum(sent)
    assert gateway.memory_bytes() - before < 8_000_000 * (SLOW if SLOW > 1 else 1)
    # The draft is not stopped by that, and on the trip all of it is delivered.
    draft.say((" no", TRIP))
    stream = client.stream().read()
    assert stream.done and len(stream.text) == total * 100_000
    assert calls(upstream) == 1


def test_one_that_is_paused_is_cut_off_like_any_other(begin, upstream, draft):
    gateway = begin()
    piece = f.event(f.chunk({"content": "x" * 100_000}, head=HEAVY))

    def script(exchange):
        exchange.head()
        while True:
            exchange.write(piece)

    upstream.on("large-1", script)
    client = ask(gateway)
    draft.say(("It", DOUBT))
    heavy = upstream.wait_request("large-1")
    draft.say((" is", DOUBT))
    settle(gateway)
    draft.finish()
    assert answer_of(client, True)[0] == "It is"
    # It is at the end of a full buffer, where the reading side cannot see the close: what follows fails instead.
    eventually(lambda: not upstream.connection_of(heavy).busy, "the end of the script")
    assert sample(gateway, 'upstream_requests_in_flight{model="heavyweight"}') == 0


# What is told of it


@pytest.mark.parametrize("done_before", [False, True])
def test_the_time_saved_is_that_from_its_start_to_the_trip_or_to_its_end(begin, upstream, draft, heavy, done_before):
    gateway = begin()
    pause = upstream.gate()
    client = ask(gateway, stream=False)
    upstream.wait_request("small-1")
    doubted = time.monotonic()
    draft.say(("DRAFTED", DOUBT))
    asked = upstream.wait_request("large-1").at
    pause.wait(0.2)
    ending = time.monotonic()
    if done_before:
        heavy.reply("It is Paris.")
        settle(gateway)
        ended = time.monotonic()
        pause.wait(0.2)
        draft.say((" no", TRIP))
    else:
        draft.say((" no", TRIP))
        upstream.wait_closed(upstream.wait_request("small-1"))
        settle(gateway)
        ended = time.monotonic()
        pause.wait(0.2)
        heavy.reply("It is Paris.")
    assert client.read_response().text == "It is Paris."
    saved = sample(gateway, "speculative_latency_saved_seconds")
    assert ending - asked <= saved <= ended - doubted


def test_what_was_not_used_is_counted_as_wasted(begin, upstream, draft, heavy):
    gateway = begin(models=PRICES)
    client = ask(gateway, stream=True)
    draft.say(("It", DOUBT))
    upstream.wait_request("large-1")
    heavy.say(("a", 0), ("b", 0), ("c", 0))
    settle(gateway)
    draft.finish(usage=f.usage(11, 1))
    assert answer_of(client, True)[0] == "It"
    samples = gateway.metrics()
    assert samples['draftthinker_tokens_total{model="heavyweight",kind="wasted"}'] == 3
    assert samples['draftthinker_tokens_total{model="drafter",kind="completion"}'] == 1
    assert 'draftthinker_tokens_total{model="heavyweight",kind="completion"}' not in samples
    # The prompt is as long for one as for the other; the drafter has told how long.
    assert samples['draftthinker_cost_usd_total{model="heavyweight",kind="wasted"}'] == pytest.approx((11 * 10 + 3 * 40) / 1e6)
    assert samples['draftthinker_cost_usd_total{model="drafter",kind="draft"}'] == pytest.approx((11 * 1 + 1 * 2) / 1e6)


def test_an_accepted_draft_costs_what_it_did(begin, upstream):
    gateway = begin(models=PRICES)
    upstream.on("small-1", scripts.confident("Paris.", usage=f.usage(1000, 500)))
    answer = gateway.chat(headers=[("X-Request-ID", "cost-1")])
    assert float(answer.header("X-Gateway-Cost-USD")) == pytest.approx((1000 * 1 + 500 * 2) / 1e6)
    assert gateway.access_line("cost-1")["cost_usd"] == pytest.approx(0.002)


def test_an_escalation_costs_both(begin, upstream, draft, heavy):
    gateway = begin(models=PRICES)
    client = ask(gateway, stream=False, headers=[("X-Request-ID", "cost-2")])
    draft.say(("DRAFTED", DOUBT))
    upstream.wait_request("large-1")
    draft.say((" no", TRIP))
    heavy.reply("It is Paris.", usage=f.usage(11, 4))
    answer = client.read_response()
    samples = gateway.metrics()
    used = samples['draftthinker_cost_usd_total{model="heavyweight",kind="heavyweight"}']
    wasted = samples['draftthinker_cost_usd_total{model="drafter",kind="wasted"}']
    assert used == pytest.approx((11 * 10 + 4 * 40) / 1e6)
    assert wasted >= 2 * 2 / 1e6, "two tokens and a prompt"
    assert float(answer.header("X-Gateway-Cost-USD")) == pytest.approx(used + wasted)
    assert gateway.access_line("cost-2")["cost_usd"] == pytest.approx(used + wasted)


@pytest.mark.parametrize("missing", ["drafter", "heavyweight"])
def test_no_cost_is_told_where_a_price_is_missing(begin, upstream, missing):
    gateway = begin(models={name: price for name, price in PRICES.items() if name != missing})
    upstream.on("small-1", scripts.uncertain())
    upstream.on("large-1", expert())
    answer = gateway.chat(headers=[("X-Request-ID", "cost-3")])
    assert_routed(answer, "escalate", "early_exit")
    assert answer.header("X-Gateway-Cost-USD") is None
    assert "cost_usd" not in gateway.access_line("cost-3")
    told = {name for name in gateway.metrics() if name.startswith("draftthinker_cost_usd_total{")}
    assert told and not any(f'model="{missing}"' in name for name in told)


@pytest.mark.parametrize("missing", ["drafter", "heavyweight"])
def test_no_cost_is_told_of_a_failure_where_a_price_is_missing(begin, upstream, missing):
    gateway = begin(models={name: price for name, price in PRICES.items() if name != missing})
    upstream.on("small-1", scripts.uncertain())
    upstream.on("large-1", scripts.after(f.text_frames([("It", 0.1)], finish=None), scripts.cut))
    answer = gateway.chat(headers=[("X-Request-ID", "cost-5")])
    assert answer.status == 502
    assert answer.header("X-Gateway-Cost-USD") is None
    assert "cost_usd" not in gateway.access_line("cost-5")


def test_a_streams_cost_is_in_the_access_log(begin, upstream):
    gateway = begin(models=PRICES)
    upstream.on("small-1", scripts.confident("Paris.", usage=f.usage(1000, 500)))
    stream = gateway.stream(headers=[("X-Request-ID", "cost-4")]).read()
    assert stream.done and stream.head.header("X-Gateway-Cost-USD") is None
    assert gateway.access_line("cost-4")["cost_usd"] == pytest.approx(0.002)


def test_a_refusal_while_it_ran_ahead_names_the_model_that_refused(begin, upstream, draft):
    gateway = begin()
    upstream.on("large-1", scripts.failure(400, "too long"))
    client = ask(gateway, stream=False, headers=[("X-Request-ID", "refused-ahead")])
    draft.say(("It", DOUBT))
    upstream.wait_request("large-1")
    settle(gateway)
    draft.say((" is", TRIP))
    answer = client.read_response()
    assert answer.status == 400 and "too long" in answer.json()["error"]["message"]
    assert (answer.header("x-gateway-model"), answer.header("x-gateway-provider")) == ("heavyweight", "good")
    assert gateway.access_line("refused-ahead")["model"] == "heavyweight"
