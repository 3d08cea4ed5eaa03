"""The breaker as an operator sees it: gauge, log and readiness, over reloads, and with several workers."""

import re
import signal
import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import SLOW, eventually, long_form, merge
from lib.scripts import expert, uncertain

CLOSED, PROBING, OPEN = 0, 1, 2
LONG = {"failures": 3, "failed_part": 0, "open": 60, "open_max": 600}
SHORT_S = 0.3 * max(1, SLOW / 3)
SHORT = {**LONG, "open": f"{int(SHORT_S * 1000)}ms", "open_max": 600}


class Own:
    """A daemon, and its configuration to be changed by a reload."""

    def __init__(self, start, upstream, **config):
        self.upstream = upstream
        self.config = config
        self.gateway = start(**config)

    def reload(self, **changes):
        config = merge(long_form(self.upstream, **merge(self.config, changes)),
                       {"log": {"access": str(self.gateway.directory / "access.log")}})
        port = self.gateway.address[1]
        config = merge(config, {"server": {"listen": ["127.0.0.1:0"]}})
        seen = len(self.gateway.stderr.lines)
        self.gateway.write_config(config)
        self.gateway.signal(signal.SIGHUP)
        line = self.gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)
        assert "reloaded" in line, line
        assert self.gateway.address[1] == port


@pytest.fixture
def begin(start, upstream):
    def run(breaker=LONG, **config):
        return Own(start, upstream, breaker=breaker, **config)

    return run


def fail(own, count=3, model="other", server="other-1", status=500):
    """Each on a connection of its own, so that they fall on any worker."""
    own.upstream.on(server, scripts.failure(status))
    for _ in range(count):
        assert_error(own.gateway.chat(model=model), 502)


def gauge(own, model="other"):
    return own.gateway.metrics().get(f'draftthinker_breaker_state{{model="{model}"}}', CLOSED)


def events(own, name):
    return [line for line in own.gateway.stderr.lines if re.search(rf"\b{name}\b", line)]


def is_open(own):
    """A pinned model whose breaker is open is asked all the same, and the answer says so."""
    return own.gateway.chat(model="other").header("X-Routing-Reason") == "panic"


WORKERS = pytest.mark.parametrize("workers", [1, 2])


# Gauge and log


@WORKERS
def test_the_gauge_and_the_log_tell_that_it_opens_and_closes(begin, workers):
    own = begin(server={"workers": workers})
    fail(own, 2)
    assert gauge(own) == CLOSED and not events(own, "breaker_opened")
    fail(own, 1, status=503)
    assert gauge(own) == OPEN
    (line,) = eventually(lambda: events(own, "breaker_opened"), "a line for the opening")
    assert 'model="other"' in line and "status=503" in line and "why=status" in line
    own.upstream.on("other-1", expert())
    assert is_open(own)  # which, since it was answered, closes it
    assert gauge(own) == CLOSED
    (line,) = eventually(lambda: events(own, "breaker_closed"), "a line for the closing")
    assert 'model="other"' in line
    assert not is_open(own)


@WORKERS
def test_the_gauge_tells_the_probe_and_what_becomes_of_it(begin, workers):
    own = begin(SHORT, server={"workers": workers})
    upstream, gateway = own.upstream, own.gateway
    fail(own)
    assert gauge(own) == OPEN
    gate = upstream.gate()

    def slow_failure(exchange):
        exchange.wait(gate)
        scripts.failure(500)(exchange)

    def slow_success(exchange):
        exchange.wait(gate)
        expert()(exchange)

    def probe(script):
        """Lets the breaker's pause pass, and a request through."""
        upstream.on("other-1", script)
        gate.clear()
        upstream.gate().wait(2.2 * SHORT_S)
        asked = len(upstream.requests)
        client = gateway.client()
        client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
        upstream.wait_for(lambda: len(upstream.requests) > asked, "the probe")
        assert gauge(own) == PROBING
        gate.set()
        return client.read_response()

    assert_error(probe(slow_failure), 502)
    assert gauge(own) == OPEN
    eventually(lambda: len(events(own, "breaker_opened")) == 2, "a line for each opening")
    answer = probe(slow_success)
    assert_routed(answer, "direct", "pinned")
    assert gauge(own) == CLOSED
    eventually(lambda: len(events(own, "breaker_closed")) == 1, "a line for the closing")


def test_a_probe_whose_client_leaves_decides_nothing_and_another_follows(begin):
    own = begin(SHORT)
    upstream, gateway = own.upstream, own.gateway
    fail(own)
    upstream.on("other-1", scripts.stall)
    upstream.gate().wait(1.1 * SHORT_S)
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
    request = upstream.wait_request("other-1", 4)
    assert gauge(own) == PROBING
    client.close()
    upstream.wait_closed(request)
    eventually(lambda: gauge(own) == OPEN, "the gauge waits for a probe again")
    upstream.on("other-1", expert())
    assert_routed(gateway.chat(model="other"), "direct", "pinned")
    assert gauge(own) == CLOSED


def test_each_opening_is_told_once_whatever_fails_after_it(begin):
    own = begin()
    fail(own)
    own.upstream.on("other-1", scripts.failure(500))
    for _ in range(5):
        assert_error(own.gateway.chat(model="other"), 503)
    eventually(lambda: events(own, "breaker_opened"), "a line for the opening")
    assert len(events(own, "breaker_opened")) == 1 and gauge(own) == OPEN
    assert gauge(own, "heavyweight") == CLOSED and gauge(own, "drafter") == CLOSED


def test_a_call_that_was_not_made_is_told_in_the_log(begin):
    own = begin()
    own.upstream.on("small-1", scripts.failure(500))
    own.upstream.on("large-1", expert())
    for _ in range(4):
        answer = own.gateway.chat(headers=[("X-Request-ID", f"open-{_}")])
        assert_routed(answer, "escalate", "drafter_error")
    line = own.gateway.access_line("open-3")
    assert line["attempts"] == 1 and "drafter" not in line
    assert "breaker is open" in line["detail"]


def test_a_client_is_told_to_wait_until_the_first_of_a_list_is_due(begin):
    own = begin({**LONG, "failures": 1, "open": "60s", "open_max": "600s"},
                routes={"auto": {"heavyweight": ["heavyweight", "other"]}})
    own.upstream.on("small-1", uncertain())
    own.upstream.on("large-1", scripts.failure(500))
    own.upstream.on("other-1", scripts.failure(500))
    fail(own, 1)
    own.reload(breaker={"open": "300s"})
    fail(own, 1, "heavyweight", "large-1")
    answer = own.gateway.chat()
    assert_error(answer, 503, code="no_upstream_available")
    assert len(own.upstream.requests_for("other-1")) == 2 and len(own.upstream.requests_for("large-1")) == 1
    assert 1 <= int(answer.header("Retry-After")) <= 60


@pytest.mark.parametrize("form", ["whole", "streamed"])
def test_a_draft_whose_frames_do_not_fit_together_counts(begin, form):
    """The client of a whole answer gets it put together, and what cannot be is a failure like another."""
    own = begin()
    call = f.chunk({"tool_calls": [{"index": "first", "id": "c1", "type": "function", "function": {"name": "a", "arguments": ""}}]},
                   entries=[f.token("a", 0.1)])
    own.upstream.on("small-1", scripts.frames(call, f.chunk({}, finish="tool_calls")))
    own.upstream.on("large-1", expert())
    for _ in range(3):
        answer = own.gateway.chat(stream=form == "streamed")
        assert_routed(answer, *(("escalate", "drafter_error") if form == "whole" else ("accept", "confident")))
    assert gauge(own, "drafter") == (OPEN if form == "whole" else CLOSED)


def test_upstreams_wish_not_to_be_asked_again_is_passed_on_in_a_panic_too(begin):
    own = begin({**LONG, "failures": 1})
    fail(own, 1)
    own.upstream.on("other-1", scripts.failure(500, headers=[("x-should-retry", "false")]))
    answer = own.gateway.chat(model="other")
    assert_error(answer, 503, code="no_upstream_available")
    assert answer.header("x-should-retry") == "false"


# Workers


def test_workers_share_it_and_its_one_probe(begin):
    own = begin(SHORT, server={"workers": 2}, routes={"auto": {"heavyweight": ["other", "heavyweight"]}})
    upstream, gateway = own.upstream, own.gateway
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    upstream.on("other-1", scripts.failure(500))
    for _ in range(3):
        assert_routed(gateway.chat(), "escalate", "early_exit", model="heavyweight")
    asked = len(upstream.requests_for("other-1"))
    for _ in range(12):
        assert gateway.chat().status == 200
    seen = len(upstream.requests_for("other-1"))
    assert asked == 3 and gauge(own) == OPEN
    if seen == asked:  # otherwise the machine was so slow that the pause was over
        upstream.gate().wait(1.1 * SHORT_S)
    gate = upstream.gate()

    def script(exchange):
        exchange.wait(gate)
        expert("It is Paris.")(exchange)

    upstream.on("other-1", script)
    clients = [gateway.client() for _ in range(12)]
    for client in clients:
        client.begin("POST", "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "x"}]})
    upstream.wait_for(lambda: len(upstream.requests_for("large-1")) >= 3 + 12 + 11, "all but the probe")
    assert len(upstream.requests_for("other-1")) == seen + 1
    gate.set()
    models = [client.read_response().header("x-gateway-model") for client in clients]
    assert sorted(models) == ["heavyweight"] * 11 + ["other"]
    assert gauge(own) == CLOSED


# Reloads


@WORKERS
def test_a_reload_keeps_it_open_and_its_gauge(begin, workers):
    own = begin(server={"workers": workers})
    fail(own)
    for _ in range(3):
        own.reload()
    assert gauge(own) == OPEN
    own.upstream.on("other-1", scripts.failure(500))
    assert is_open(own)
    own.upstream.on("other-1", expert())
    assert is_open(own)
    assert gauge(own) == CLOSED and not is_open(own)


def test_a_reload_keeps_the_failures_that_were_counted(begin):
    own = begin()
    fail(own, 2)
    own.reload()
    fail(own, 1)
    assert gauge(own) == OPEN


def test_a_reload_may_change_what_opens_it(begin):
    own = begin({**LONG, "failures": 5})
    fail(own, 2)
    own.reload(breaker={"failures": 3})
    fail(own, 1)
    assert gauge(own) == OPEN


def test_a_reload_that_switches_all_rules_off_closes_it(begin):
    own = begin()
    fail(own)
    assert gauge(own) == OPEN
    own.reload(breaker={"failures": 0, "failed_part": 0})
    own.upstream.on("other-1", expert())
    assert not is_open(own)
    assert gauge(own) == CLOSED


@pytest.mark.parametrize("change", ["name_at_the_provider", "base_url"])
def test_a_reload_that_puts_another_model_under_the_name_begins_anew(begin, change):
    own = begin()
    upstream = own.upstream
    fail(own)
    upstream.on("other-1", expert())
    upstream.on("other-2", expert())
    if change == "base_url":
        own.reload(providers={"good": {"base_url": upstream.url("/better/v1")}})
    else:
        own.reload(models={"other": {"model": "other-2"}})
    assert gauge(own) == CLOSED
    assert not is_open(own)
    assert gauge(own) == CLOSED


def test_a_request_that_is_under_way_over_a_reload_still_counts(begin):
    own = begin({**LONG, "failures": 1})
    upstream, gateway = own.upstream, own.gateway
    gate = upstream.gate()

    def script(exchange):
        exchange.wait(gate)
        scripts.failure(500)(exchange)

    upstream.on("other-1", script)
    client = gateway.client()
    client.begin("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
    upstream.wait_request("other-1")
    own.reload()
    gate.set()
    assert_error(client.read_response(), 502)
    assert gauge(own) == OPEN
    upstream.on("other-1", expert())
    assert is_open(own)


# Readiness


def test_ready_as_long_as_one_model_is_usable(begin):
    own = begin(SHORT)
    fail(own)
    fail(own, model="heavyweight", server="large-1")
    assert own.gateway.get("/health/ready").status == 200
    fail(own, model="drafter", server="small-1")
    at = time.monotonic()
    for path in ("/health/ready", "/health"):
        answer = own.gateway.get(path)
        if time.monotonic() - at < 0.5 * SHORT_S:
            assert_error(answer, 503, code="no_upstream_available")
            assert answer.header("Retry-After")
    assert own.gateway.get("/health/live").status == 200
    # A breaker whose pause is over lets a request through: the gateway is of use again.
    eventually(lambda: own.gateway.get("/health/ready").status == 200, "ready again")
    own.upstream.on("other-1", expert())
    assert_routed(own.gateway.chat(model="other"), "direct", "pinned")
