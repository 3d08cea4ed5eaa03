"""The breaker: a model that keeps failing is passed over for a while. What counts for it, cell by cell, is in test_failures.py."""

import signal
import threading
import time

import pytest

from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import SLOW, eventually, merge
from lib.scripts import FAILURES, confident, expert, uncertain

FIVE = {"failures": 5, "failed_part": 0, "open": 60, "open_max": 600}
NEVER = {"failures": 0, "failed_part": 0}
# A failure after which the same model is not asked again, so that one request is one call.
ONE_CALL = scripts.failure(500, headers=[("x-should-retry", "false")])


@pytest.fixture
def begin(start, upstream):
    """begin(breaker, …): a daemon whose heavyweights are well."""

    def run(breaker, **overrides):
        upstream.on("large-1", expert())
        upstream.on("other-1", expert())
        providers = {name: {"retries": 1, "first_byte_timeout": f"{int(300 * SLOW)}ms"} for name in ("cheap", "good")}
        return start(**merge({"breaker": breaker, "providers": providers, "stream": {"mode": "live"}}, overrides))

    return run


def calls(upstream, model):
    return len(upstream.requests_for(model))


def counted(gateway, model):
    samples = gateway.metrics()
    name = "draftthinker_breaker_results_total"
    return {result: samples.get(f'{name}{{model="{model}",result="{result}"}}', 0) for result in ("success", "failure", "ignored")}


def fail(gateway, upstream, model, server, count=5, script=ONE_CALL):
    """Lets requests that are pinned to a model fail."""
    upstream.on(server, script)
    for _ in range(count):
        assert gateway.chat(model=model).status == 502


def draft_fails(gateway, upstream, count, script=FAILURES["status_500"]):
    upstream.on("small-1", script)
    for _ in range(count):
        assert_routed(gateway.chat(), "escalate", "drafter_error", model="heavyweight")


def is_asked(gateway, upstream, server="small-1", **members):
    """Does one more request reach the model?"""
    before = calls(upstream, server)
    gateway.chat(**members)
    return calls(upstream, server) > before


# Opening


def test_five_failures_in_a_row_open_it_and_a_drafter_is_passed_over(begin, upstream):
    gateway = begin(FIVE)
    draft_fails(gateway, upstream, 5)
    for stream in (False, True):
        answer = gateway.stream().read().head if stream else gateway.chat()
        assert_routed(answer, "escalate", "drafter_error", model="heavyweight")
        assert answer.header("x-gateway-attempts") == "1"
    assert calls(upstream, "small-1") == 5
    assert counted(gateway, "drafter") == {"success": 0, "failure": 5, "ignored": 0}


def test_a_success_between_starts_the_count_anew(begin, upstream):
    gateway = begin(FIVE)
    draft_fails(gateway, upstream, 4)
    upstream.on("small-1", confident())
    assert_routed(gateway.chat(), "accept", "confident")
    draft_fails(gateway, upstream, 4)
    assert is_asked(gateway, upstream)
    assert not is_asked(gateway, upstream), "that was the fifth"


@pytest.mark.parametrize(
    "name", ["status_408", "status_429", "status_503", "status_529", "cut_stream", "reset_before_head", "no_output", "error_frame_later",
             "malformed_later_frame", "stall"])
def test_each_kind_of_failure_opens_it(begin, upstream, name):
    gateway = begin({**FIVE, "failures": 2})
    draft_fails(gateway, upstream, 2, scripts.stall if name == "stall" else FAILURES[name])
    assert not is_asked(gateway, upstream)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_an_error_of_the_request_never_opens_it(begin, upstream, status):
    gateway = begin({**FIVE, "failed_part": 0.1, "minimum": 1})
    draft_fails(gateway, upstream, 12, FAILURES[f"status_{status}"])
    assert is_asked(gateway, upstream)
    assert counted(gateway, "drafter") == {"success": 0, "failure": 0, "ignored": 13}


def test_a_stream_cut_after_delivery_counts(begin, upstream):
    gateway = begin(FIVE)
    upstream.on("other-1", scripts.after(scripts.PART, scripts.cut))
    for _ in range(5):
        assert gateway.stream(model="other").read().error["code"] == "upstream_truncated"
    assert gateway.chat(model="other").header("X-Routing-Reason") == "panic"


def test_a_client_that_leaves_says_nothing_of_the_model(begin, upstream):
    gateway = begin(FIVE, providers={"cheap": {"first_byte_timeout": 60}})
    upstream.on("small-1", scripts.stall)
    for count in range(1, 7):
        client = gateway.client()
        client.begin("POST", "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "x"}]})
        request = upstream.wait_request("small-1", count)
        client.close()
        upstream.wait_closed(request)
    eventually(lambda: counted(gateway, "drafter")["ignored"] == 6, "six calls that told nothing")
    upstream.on("small-1", confident())
    assert_routed(gateway.chat(), "accept", "confident")


def test_half_of_ten_open_it_though_no_two_failures_follow_each_other(begin, upstream):
    gateway = begin({"failures": 0, "failed_part": 0.5, "minimum": 10, "window": 600, "open": 60})
    for _ in range(5):
        upstream.on("small-1", confident())
        assert_routed(gateway.chat(), "accept", "confident")
        draft_fails(gateway, upstream, 1)
    assert calls(upstream, "small-1") == 10
    assert not is_asked(gateway, upstream)


def test_fewer_results_than_the_minimum_open_nothing(begin, upstream):
    gateway = begin({"failures": 0, "failed_part": 0.5, "minimum": 10, "window": 600, "open": 60})
    draft_fails(gateway, upstream, 9)
    assert is_asked(gateway, upstream)
    assert not is_asked(gateway, upstream), "that was the tenth"


def test_rules_that_are_switched_off_open_nothing(begin, upstream):
    gateway = begin(NEVER)
    draft_fails(gateway, upstream, 30)
    assert is_asked(gateway, upstream)


def test_the_defaults_are_five_in_a_row_and_thirty_seconds(begin, upstream):
    gateway = begin(None)  # the block is left out
    fail(gateway, upstream, "other", "other-1")
    answer = gateway.chat(model="other")
    assert_error(answer, 503)
    assert 20 <= int(answer.header("Retry-After")) <= 30


def test_each_model_has_its_own(begin, upstream):
    gateway = begin(FIVE)
    fail(gateway, upstream, "other", "other-1")
    upstream.on("small-1", uncertain())
    answer = gateway.chat()  # the heavyweight is at the same provider
    assert_routed(answer, "escalate", "early_exit", model="heavyweight")


def test_all_workers_share_it(begin, upstream):
    gateway = begin(FIVE, server={"workers": 3})
    draft_fails(gateway, upstream, 5)
    for _ in range(20):  # each on a connection of its own
        gateway.chat()
    assert calls(upstream, "small-1") == 5


def test_a_reload_keeps_it(begin, upstream):
    gateway = begin(FIVE)
    draft_fails(gateway, upstream, 5)
    seen = len(gateway.stderr.lines)
    gateway.signal(signal.SIGHUP)
    gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)
    assert not is_asked(gateway, upstream)


# Recovering


def test_one_probe_is_let_through_and_its_success_closes_it(begin, upstream):
    gateway = begin({**FIVE, "open": f"{int(200 * SLOW)}ms"}, providers={"cheap": {"first_byte_timeout": 60}})
    draft_fails(gateway, upstream, 5)
    gate = upstream.gate()

    def script(exchange):
        exchange.wait(gate)
        confident()(exchange)

    upstream.on("small-1", script)
    answers = []

    def ask_until_the_probe():
        while calls(upstream, "small-1") < 6:
            answers.append(gateway.chat())

    thread = threading.Thread(target=ask_until_the_probe)
    thread.start()
    upstream.wait_request("small-1", 6)
    others = [gateway.chat() for _ in range(5)]
    assert calls(upstream, "small-1") == 6, "one probe, no more"
    for answer in others:
        assert_routed(answer, "escalate", "drafter_error")
    gate.set()
    thread.join()
    assert_routed(answers[-1], "accept", "confident")
    assert_routed(gateway.chat(), "accept", "confident")


def test_a_failed_probe_doubles_the_pause_up_to_its_limit(begin, upstream):
    pause_ms = int(150 * SLOW)
    gateway = begin({**FIVE, "open": f"{pause_ms}ms", "open_max": f"{2 * pause_ms}ms"})
    draft_fails(gateway, upstream, 5)
    eventually(lambda: gateway.chat() and calls(upstream, "small-1") >= 8, "three probes")
    times = [request.at for request in upstream.requests_for("small-1")]
    pauses = [(b - a) * 1000 for a, b in zip(times[4:], times[5:])][:3]
    for pause, least in zip(pauses, (pause_ms, 2 * pause_ms, 2 * pause_ms)):
        assert pause >= least - 10, pauses
    assert pauses[2] < 4 * pause_ms, "it does not double beyond open_max"


# Nothing else is left


def test_panic_asks_the_only_model_once_and_says_when_to_come_back(begin, upstream):
    gateway = begin(FIVE)
    fail(gateway, upstream, "other", "other-1")
    upstream.on("other-1", scripts.failure(500))
    for stream in (False, True):
        before = calls(upstream, "other-1")
        answer = gateway.chat(model="other", stream=stream)
        assert_error(answer, 503)
        assert_routed(answer, "direct", "panic", model="other")
        assert 0 < int(answer.header("Retry-After")) <= 60
        assert calls(upstream, "other-1") == before + 1


def test_panic_that_succeeds_is_an_answer_and_closes_it(begin, upstream):
    gateway = begin(FIVE)
    fail(gateway, upstream, "other", "other-1")
    upstream.on("other-1", expert("It is Paris."))
    answer = gateway.chat(model="other")
    assert_routed(answer, "direct", "panic", model="other")
    assert answer.text == "It is Paris."
    assert_routed(gateway.chat(model="other"), "direct", "pinned")


def test_panic_passes_on_what_is_the_requests_own_fault(begin, upstream):
    gateway = begin(FIVE)
    fail(gateway, upstream, "other", "other-1")
    for status in (400, 429):
        upstream.on("other-1", scripts.failure(status))
        answer = gateway.chat(model="other")
        assert answer.status == status
        assert_routed(answer, "direct", "panic")


def test_an_escalation_panics_too_and_says_so_in_the_log(begin, upstream):
    gateway = begin(FIVE)
    fail(gateway, upstream, "heavyweight", "large-1")
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    stream = gateway.stream(headers=[("X-Request-ID", "panic-1")]).read()
    assert_routed(stream.head, "escalate", "panic", model="heavyweight")
    assert stream.routing["reason"] == "panic" and stream.text == "It is Paris."
    line = gateway.access_line("panic-1")
    assert (line["decision"], line["reason"], line["end"]) == ("escalate", "panic", "done")


# Lists


LIST = {"routes": {"auto": {"heavyweight": ["heavyweight", "other"]}}}


def test_the_next_of_a_list_is_asked_after_a_failure_without_waiting(begin, upstream):
    gateway = begin(NEVER, **LIST)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(429, headers=[("Retry-After", "30")]))
    started = time.monotonic()
    answer = gateway.chat()
    assert time.monotonic() - started < 10
    assert_routed(answer, "escalate", "early_exit", model="other")
    assert answer.header("x-gateway-attempts") == "3"
    assert (calls(upstream, "large-1"), calls(upstream, "other-1")) == (1, 1)


def test_each_of_a_list_is_asked_once_and_the_last_failure_is_told(begin, upstream):
    gateway = begin(NEVER, **LIST)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(500, "first"))
    upstream.on("other-1", scripts.failure(503, "second"))
    answer = gateway.chat()
    assert_error(answer, 502, says="second")
    assert answer.header("x-should-retry") == "false"
    assert (calls(upstream, "large-1"), calls(upstream, "other-1")) == (1, 1)


@pytest.mark.parametrize("status", [401, 403, 404, 409])
def test_the_next_of_a_list_is_asked_where_the_same_model_would_not_be(begin, upstream, status):
    gateway = begin(NEVER, **LIST)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(status))
    assert_routed(gateway.chat(), "escalate", "early_exit", model="other")


@pytest.mark.parametrize("status", [400, 413, 422])
def test_no_other_model_is_asked_for_a_fault_of_the_request(begin, upstream, status):
    gateway = begin(NEVER, **LIST)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.failure(status))
    assert gateway.chat().status == status
    assert calls(upstream, "other-1") == 0


def test_a_model_of_a_list_that_is_open_is_passed_over(begin, upstream):
    gateway = begin(FIVE, **LIST)
    fail(gateway, upstream, "heavyweight", "large-1")
    upstream.on("small-1", uncertain())
    answer = gateway.chat()
    assert_routed(answer, "escalate", "early_exit", model="other")
    assert answer.header("x-gateway-attempts") == "2"
    assert calls(upstream, "large-1") == 5


def test_of_a_list_that_is_all_open_the_one_due_soonest_is_asked(begin, upstream):
    gateway = begin(FIVE, **LIST)
    fail(gateway, upstream, "other", "other-1")  # first, so it is due first
    fail(gateway, upstream, "heavyweight", "large-1")
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    upstream.on("other-1", expert())
    assert_routed(gateway.chat(), "escalate", "panic", model="other")
    assert calls(upstream, "large-1") == 5


def test_the_next_drafter_is_asked_where_the_first_is_open(begin, upstream):
    gateway = begin(FIVE, models={"second": {"provider": "cheap", "model": "small-2"}},
                    routes={"auto": {"drafter": ["drafter", "second"]}})
    upstream.on("small-1", FAILURES["status_500"])
    upstream.on("small-2", confident())
    for count in range(1, 8):
        assert_routed(gateway.chat(), "accept", "confident", model="second")
        assert calls(upstream, "small-1") == min(count, 5)
        assert calls(upstream, "small-2") == count
