"""What the daemon tells its operator: metrics and the access log."""

import json
import re
import time
from datetime import datetime, timezone

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import total
from lib.gateway import REPOSITORY, TICK_S, eventually
from lib.scripts import confident, expert, speak, uncertain

ELEVEN = {
    "draftthinker_requests_total": "counter",
    "draftthinker_errors_total": "counter",
    "draftthinker_upstream_latency_seconds": "histogram",
    "draftthinker_entropy_distribution": "histogram",
    "draftthinker_routing_decisions_total": "counter",
    "draftthinker_speculative_triggers_total": "counter",
    "draftthinker_speculative_cancellations_total": "counter",
    "draftthinker_speculative_latency_saved_seconds": None,
    "draftthinker_cache_hits_total": "counter",
    "draftthinker_cache_misses_total": "counter",
    "draftthinker_cache_lookup_latency_seconds": "histogram",
}


@pytest.fixture
def busy(start, upstream):
    """A daemon of its own that has accepted 3, escalated 2 and answered 1 directly."""
    gateway = start()
    upstream.on("small-1", confident("Paris is it."))
    for _ in range(3):
        assert gateway.chat().status == 200
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris."))
    for _ in range(2):
        assert gateway.chat().status == 200
    upstream.on("other-1", expert("It is Paris."))
    assert gateway.chat(model="other").status == 200
    return gateway


# The page


def test_the_page_is_prometheus_text(busy):
    answer = busy.get("/metrics")
    assert answer.header("Content-Type").startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    assert text.endswith("\n")
    typed = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed, f"{name} is declared twice"
            typed[name] = kind
        elif line.startswith("#"):
            assert line.startswith("# HELP "), line
        else:
            assert re.fullmatch(r'[a-z_]+(\{([a-z]+="(\\.|[^"\\])*",?)*\})? (\+Inf|NaN|[-+0-9.e]+)', line), line
            name = line.split("{")[0].split(" ")[0]
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in typed or typed.get(base) == "histogram", line


def test_the_eleven_metrics_stand_under_their_names(busy):
    text = busy.get("/metrics").body.decode()
    for name, kind in ELEVEN.items():
        assert f"# HELP {name} " in text, name
        assert f"# TYPE {name} {kind or ''}" in text, name


def test_names_that_no_label_splits_are_there_before_anything_happened(start):
    metrics = start().metrics()
    for name in ("speculative_triggers_total", "speculative_cancellations_total", "speculative_latency_saved_seconds",
                 "cache_hits_total", "cache_misses_total", "requests_in_flight", "client_disconnects_total"):
        assert metrics[f"draftthinker_{name}"] == 0, name


def test_figures_of_the_process_are_there(busy):
    metrics = busy.metrics()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds"):
        assert metrics[name] > 0, name


def test_decisions_are_counted(busy):
    metrics = busy.metrics()
    for decision, count in (("accept", 3), ("escalate", 2), ("direct", 1)):
        assert metrics[f'draftthinker_routing_decisions_total{{decision="{decision}"}}'] == count


def test_requests_are_counted_by_model_and_status(busy):
    metrics = busy.metrics()
    name = "draftthinker_requests_total"
    assert total(metrics, name, model="drafter", status="200") == 3
    assert total(metrics, name, model="heavyweight", status="200") == 2
    assert total(metrics, name, model="other", status="200") == 1
    assert total(metrics, name) == 6


def test_upstream_latency_is_measured_by_leg(busy):
    metrics = busy.metrics()
    name = "draftthinker_upstream_latency_seconds_count"
    assert total(metrics, name, provider="drafter") == 5
    assert total(metrics, name, provider="heavyweight") >= 2


def test_the_entropy_of_each_scored_token_is_counted(start, upstream):
    gateway = start()
    upstream.on("small-1", speak(tokens=[("a", 0.1), ("b", 1.0), ("c", 1.9), ("", 5.0)]))
    gateway.chat()
    metrics = gateway.metrics()
    assert metrics["draftthinker_entropy_distribution_count"] == 3
    assert metrics["draftthinker_entropy_distribution_sum"] == pytest.approx(3.0, abs=0.01)
    assert metrics['draftthinker_entropy_distribution_bucket{le="+Inf"}'] == 3


def test_a_histograms_buckets_grow(busy):
    metrics = busy.metrics()
    series = {}
    for sample, value in metrics.items():
        if "_bucket{" in sample:
            key = re.sub(r'le="[^"]*",?', "", sample)
            bound = re.search(r'le="([^"]*)"', sample).group(1)
            series.setdefault(key, []).append((float(bound.replace("+Inf", "inf")), value))
    assert series
    for key, buckets in series.items():
        assert [count for _, count in sorted(buckets)] == sorted(count for _, count in buckets), key
        assert buckets[-1][0] == float("inf"), key


def test_duration_and_first_byte_are_measured(busy):
    metrics = busy.metrics()
    for name in ("draftthinker_request_duration_seconds", "draftthinker_time_to_first_byte_seconds"):
        assert total(metrics, f"{name}_count") == 6
        assert 0 < total(metrics, f"{name}_sum") < 60


def test_tokens_are_counted_as_upstream_told_them(start, upstream):
    gateway = start()
    upstream.on("small-1", confident(usage=f.usage(100, 7)))
    gateway.chat()
    metrics = gateway.metrics()
    assert total(metrics, "draftthinker_tokens_total", model="drafter", kind="prompt") == 100
    assert total(metrics, "draftthinker_tokens_total", model="drafter", kind="completion") == 7


def test_requests_in_flight_go_up_and_down(start, upstream):
    gateway = start()
    upstream.on("other-1", scripts.after(scripts.PART, scripts.stall))
    streams = [gateway.stream(model="other") for _ in range(3)]
    assert gateway.metrics()["draftthinker_requests_in_flight"] == 3
    for stream in streams:
        stream.client.close()
    eventually(lambda: gateway.metrics()["draftthinker_requests_in_flight"] == 0, "nothing in flight")
    assert total(gateway.metrics(), "draftthinker_upstream_requests_in_flight") == 0


@pytest.mark.parametrize(
    "kind, cause",
    [
        ("invalid_request_error", lambda g: g.chat(b"{")),
        ("invalid_request_error", lambda g: g.chat(temperature=7)),
        ("invalid_request_error", lambda g: g.get("/nothing")),
        ("upstream_error", lambda g: g.chat(model="other")),
    ],
)
def test_errors_are_counted_by_type(gateway, upstream, kind, cause):
    upstream.on("other-1", scripts.failure(500))
    before = total(gateway.metrics(), "draftthinker_errors_total", type=kind)
    cause(gateway)
    assert total(gateway.metrics(), "draftthinker_errors_total", type=kind) == before + 1


def test_a_refusal_by_framing_is_counted(gateway):
    before = total(gateway.metrics(), "draftthinker_errors_total", type="invalid_request_error")
    with gateway.client() as client:
        client.send(b"GARBAGE\r\n\r\n")
        client.read_to_end()
    assert total(gateway.metrics(), "draftthinker_errors_total", type="invalid_request_error") == before + 1


def of_the_gateway(samples):
    """Without the one metric whose label clients choose; test_dialects.py has its bound."""
    return {name for name in samples if not name.startswith("draftthinker_project_requests_total{")}


def test_no_label_holds_what_a_client_made_up(start, upstream):
    gateway = start()
    upstream.on("small-1", confident())
    upstream.on("large-1", expert())
    upstream.on("other-1", scripts.reply(599, {"error": {"message": "x", "type": "made-up-type", "code": "made-up-code"}}))

    def load(mark):
        for i in range(30):
            gateway.chat(model=f"made-up-{mark}-{i}", user=f"made-up-{mark}-{i}", project_id=f"made-up-{mark}-{i}",
                         headers=[("X-Request-ID", f"made-up-{mark}-{i}"), ("User-Agent", f"made-up-{mark}-{i}")])
            gateway.request("GET", f"/made-up-{mark}-{i}")
            gateway.chat(model="other")
            with gateway.client() as client:
                client.begin(f"MADEUP{i}", "/health")
                client.read_response()

    load("a")
    first = of_the_gateway(gateway.metrics())
    load("b")
    second = of_the_gateway(gateway.metrics())
    assert "made-up" not in "".join(second) and "MADEUP" not in "".join(second)
    assert first == second


MANUAL = (REPOSITORY / "docs/draft-thinker.1").read_text()


def test_the_manual_page_names_every_metric(busy):
    names = set(re.findall(r"^# TYPE (draftthinker_\w+) ", busy.get("/metrics").body.decode(), re.M))
    assert len(names) > 20
    assert not [name for name in names if not re.search(rf"\b{name}\b", MANUAL)]


def test_the_manual_page_names_every_field_of_the_access_log(gateway, upstream):
    source = (REPOSITORY / "src/observe/access_log.c").read_text()
    fields = set(re.findall(r'\badd_\w+\(&?line, "(\w+)"', source)) | {"time"}
    upstream.on("small-1", confident())
    line = gateway.access_line(gateway.chat().header("X-Request-ID"))
    assert set(line) <= fields and len(fields) > 25
    section = MANUAL[MANUAL.index(".Sh ACCESS LOG"):MANUAL.index(".Sh METRICS")]
    assert not [name for name in fields if not re.search(rf"\b{name}\b", section)]


def test_the_pages_path_is_configured(start):
    gateway = start(metrics={"path": "/internal/figures"})
    assert gateway.get("/metrics").status == 404
    assert "draftthinker_requests_in_flight" in gateway.metrics("/internal/figures")


def test_the_page_can_be_switched_off(start):
    assert start(metrics={"enabled": False}).get("/metrics").status == 404


def test_a_scrape_is_no_chat_request(start):
    gateway = start()
    before = gateway.metrics()
    after = gateway.metrics()
    for name in ("draftthinker_requests_total", "draftthinker_routing_decisions_total"):
        assert total(before, name) == total(after, name) == 0


# The access log


def line_of(gateway, request_id, **members):
    gateway.chat(headers=[("X-Request-ID", request_id)], **members)
    return gateway.access_line(request_id)


def test_a_line_tells_an_accepted_draft(gateway, upstream):
    upstream.on("small-1", confident("Paris is it.", usage=f.usage(12, 3)))
    line = line_of(gateway, "log-accept")
    expected = {
        "id": "log-accept", "peer": "127.0.0.1", "method": "POST", "path": "/v1/chat/completions", "status": 200,
        "stream": False, "route": "auto", "decision": "accept", "reason": "confident", "drafter": "drafter",
        "model": "drafter", "attempts": 1, "prompt_tokens": 12, "completion_tokens": 3, "draft_tokens": 3, "end": "done",
    }
    assert {key: line.get(key) for key in expected} == expected
    assert line["score"] == pytest.approx(0.1, abs=0.001)
    assert "heavyweight" not in line and "error" not in line


def test_a_line_tells_an_escalation(gateway, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("It is Paris.", usage=f.usage(12, 3)))
    line = line_of(gateway, "log-escalate")
    expected = {
        "status": 200, "decision": "escalate", "reason": "early_exit", "drafter": "drafter", "heavyweight": "heavyweight",
        "model": "heavyweight", "attempts": 2, "prompt_tokens": 12, "completion_tokens": 3, "draft_tokens": 1, "end": "done",
    }
    assert {key: line.get(key) for key in expected} == expected
    assert line["score"] == pytest.approx(4.0, abs=0.001)


def test_a_line_tells_a_direct_call(gateway, upstream):
    upstream.on("other-1", expert())
    line = line_of(gateway, "log-direct", model="other")
    assert (line["decision"], line["reason"], line["model"]) == ("direct", "pinned", "other")
    assert "score" not in line and "drafter" not in line


def test_a_line_tells_a_stream(gateway, upstream):
    upstream.on("other-1", expert())
    gateway.stream(model="other", headers=[("X-Request-ID", "log-stream")], stream_options={"include_usage": True}).read()
    line = gateway.access_line("log-stream")
    assert line["stream"] is True and line["end"] == "done" and line["completion_tokens"] == 3


def test_a_line_tells_times_and_bytes(gateway, upstream):
    pause = upstream.gate()

    def script(exchange):
        pause.wait(0.1)  # nobody opens it: upstream takes its time
        expert()(exchange)

    upstream.on("other-1", script)
    before = time.time()
    answer = gateway.chat(model="other", headers=[("X-Request-ID", "log-times")])
    line = gateway.access_line("log-times")
    assert 100 <= line["duration_ms"] < 10000
    assert 100 <= line["first_byte_ms"] <= line["duration_ms"]
    assert 0 <= line["overhead_ms"] < 100
    assert line["sent_bytes"] >= len(answer.body)
    told = datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    assert told.tzinfo is not None
    assert before - 1 <= told.astimezone(timezone.utc).timestamp() <= time.time() + 1


def test_a_line_tells_a_failure_of_upstream(gateway, upstream):
    upstream.on("other-1", scripts.failure(503))
    line = line_of(gateway, "log-502", model="other")
    assert line["status"] == 502 and line["error"] == "upstream_error" and "503" in line["detail"]


def test_a_line_tells_a_failed_drafter(gateway, upstream):
    upstream.on("small-1", scripts.cut)
    upstream.on("large-1", expert())
    line = line_of(gateway, "log-draft-failed")
    assert line["status"] == 200 and line["reason"] == "drafter_error" and line["detail"]


def test_a_line_tells_a_cut_stream(gateway, upstream):
    upstream.on("other-1", scripts.after(scripts.PART, scripts.cut))
    gateway.stream(model="other", headers=[("X-Request-ID", "log-cut")]).read()
    assert gateway.access_line("log-cut")["end"] == "upstream_truncated"


def test_a_line_tells_a_refused_request(gateway):
    gateway.chat(b"{", headers=[("X-Request-ID", "log-400")])
    line = gateway.access_line("log-400")
    assert line["status"] == 400 and line["error"] == "invalid_request_error"


def test_each_chat_request_has_one_line_and_only_one(start, upstream):
    gateway = start()
    upstream.on("small-1", confident())
    upstream.on("other-1", scripts.failure(500))
    for i in range(30):
        request_id = [("X-Request-ID", f"one-{i}")]
        if i % 3 == 0:
            gateway.chat(headers=request_id)
        elif i % 3 == 1:
            gateway.stream(headers=request_id).read()
        else:
            gateway.chat(model="other", headers=request_id)
    gateway.stop()
    ids = [json.loads(line).get("id") for line in gateway.access.lines]
    assert sorted(i for i in ids if i) == sorted(f"one-{i}" for i in range(30))


def test_no_line_holds_a_text(start, upstream):
    gateway = start(log={"level": "debug"})
    asked, drafted, answered, failed = "ASKED-secret-words", "DRAFTED-secret-words", "ANSWERED-secret-words", "FAILED-secret-words"
    messages = [{"role": "system", "content": asked}, {"role": "user", "content": asked}]
    upstream.on("small-1", uncertain(drafted))
    upstream.on("large-1", expert(answered))
    gateway.chat(messages=messages, user=asked, metadata={"x": asked})
    gateway.stream(messages=messages).read()
    upstream.on("small-1", confident(drafted))
    gateway.chat(messages=messages)
    upstream.on("other-1", scripts.frames(f.chunk({"content": failed}), b"{" + failed.encode()))
    gateway.stream(model="other", messages=messages).read()
    gateway.chat(b'{"messages":"' + asked.encode())
    gateway.chat(messages=[{"role": "user", "content": asked}], temperature=asked)
    gateway.stop()
    said = gateway.access.text() + gateway.stderr.text()
    for words in (asked, drafted, answered, failed):
        assert words not in said


def test_a_client_cannot_forge_a_line(gateway, upstream):
    upstream.on("small-1", confident())
    before = len(gateway.access.lines)
    gateway.chat(model='x"}\n{"id":"forged"', headers=[("X-Request-ID", "real-1")], project_id='p"}\n{"id":"forged"')
    gateway.request("GET", "/a%0a%7b%22id%22:%22forged%22%7d")
    gateway.chat(headers=[("X-Request-ID", "real-2")])
    gateway.access_line("real-2")
    for line in gateway.access.lines[before:]:
        assert json.loads(line).get("id") != "forged"


@pytest.mark.parametrize("path", ["-", "off"])
def test_the_access_log_can_go_to_standard_error_or_nowhere(start, upstream, path):
    gateway = start(access=False, log={"access": path})
    upstream.on("small-1", confident())
    gateway.chat(headers=[("X-Request-ID", "where-to")])
    if path == "-":
        gateway.stderr.wait(lambda line: '"where-to"' in line, "the access line")
    gateway.stop()
    assert ('"where-to"' in gateway.stderr.text()) == (path == "-")


def test_the_project_is_in_the_line(gateway, upstream):
    upstream.on("small-1", confident())
    assert line_of(gateway, "log-project", project_id="proj_1.x:y")["project_id"] == "proj_1.x:y"


def test_the_log_tells_start_and_end(start):
    gateway = start()
    gateway.stop()
    text = gateway.stderr.text()
    assert "listening" in text
    for line in gateway.stderr.lines:
        assert re.match(r"\S+ (debug|info|warn|error) \w+", line), line


def test_a_failing_upstream_does_not_flood_the_log(start, upstream):
    gateway = start()
    upstream.on("other-1", scripts.failure(500))
    with gateway.client() as client:
        for _ in range(300):
            client.request("POST", "/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "x"}]})
    gateway.stop()
    assert len(gateway.stderr.lines) < 200


@pytest.mark.parametrize("model, mode", [("other", "hold"), ("auto", "live")])
def test_tokens_of_a_stream_that_the_client_left_are_in_the_log(start, upstream, model, mode):
    gateway = start(stream={"mode": mode}, entropy={"window_size": 1, "early_exit_count": 1})
    script = scripts.after(f.text_frames([("It", 0.1), (" is", 0.1), (" Paris", 0.1)], finish=None), scripts.stall)
    upstream.on("small-1", script)
    upstream.on("other-1", script)
    stream = gateway.stream(model=model, headers=[("X-Request-ID", "left-1")])
    while " is" not in stream.text:
        assert stream.next() is not None
    stream.client.close()
    line = gateway.access_line("left-1")
    assert line["end"] == "client_gone" and 2 <= line["completion_tokens"] <= 3 and line["tokens_estimated"] is True


def test_the_wait_for_a_retry_is_no_overhead_also_when_a_draft_ends_meanwhile(start, upstream):
    gateway = start(providers={"good": {"retries": 1}}, routes={"auto": {"on_heavyweight_down": "draft"}},
                    entropy={"window_size": 1, "early_exit_count": 1})
    failed = upstream.gate()
    turns = [scripts.failure(503, headers=[("retry-after-ms", "600")]), scripts.expert()]

    def draft(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("DRAFTED", 4.0)], finish=None), done=False)
        exchange.wait(failed)
        exchange.frames(f.text_frames([(" no", 0.1)], role=False))
        exchange.end()

    def heavy(exchange):
        turn = turns.pop(0)
        turn(exchange)
        failed.set()

    upstream.on("small-1", draft)
    upstream.on("large-1", heavy)
    assert gateway.chat(headers=[("X-Request-ID", "waits-1")]).text == "It is Paris."
    line = gateway.access_line("waits-1")
    assert line["duration_ms"] >= 600 - 1000 * TICK_S and line["overhead_ms"] < 300
