"""`draft-thinker simulate`: an honest stand-in for a model server, and the gateway in front of it."""

import base64
import math
import struct
import time

import pytest

from lib import frames as f
from lib.checks import assert_error, assert_routed
from lib.client import Client, Cut
from lib.simulator import Simulator


@pytest.fixture
def simulate():
    """simulate(option, …): a simulator on a free port, ended and checked with the test."""
    started = []

    def begin(*options):
        started.append(Simulator(*options))
        return started[-1]

    yield begin
    for simulator in started:
        simulator.stop()


@pytest.fixture
def simulator(simulate):
    return simulate()


def entries_of(stream):
    return [
        entry for frame in stream.frames for choice in frame["choices"]
        for entry in ((choice.get("logprobs") or {}).get("content") or [])
    ]


def test_it_answers_a_chat(simulator):
    document = simulator.chat("Hello [[tokens=9]]").json()
    assert document["object"] == "chat.completion" and document["model"] == "m"
    assert document["choices"][0]["finish_reason"] == "stop" and document["choices"][0]["message"]["content"]
    assert document["usage"]["completion_tokens"] == 9
    assert document["usage"]["total_tokens"] == document["usage"]["prompt_tokens"] + 9


def test_a_stream_says_the_same_as_the_whole_answer(simulator):
    whole = simulator.chat("Hello [[tokens=20]]").text
    stream = simulator.stream("Hello [[tokens=20]]").read()
    assert stream.text == whole and stream.done and stream.complete


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(simulate):
    one, same, other = simulate("--seed", "5"), simulate("--seed", "5"), simulate("--seed", "6")
    texts = [s.chat("Tell me [[tokens=40,entropy=3]]").text for s in (one, same, other)]
    assert texts[0] == texts[1] != texts[2]


def test_its_logprobs_sum_as_they_should(simulator):
    stream = simulator.stream("Hello [[tokens=50,entropy=1.5]]", logprobs=True, top_logprobs=20).read()
    entries = entries_of(stream)
    assert len(entries) == 50
    for entry in entries:
        top = [t["logprob"] for t in entry["top_logprobs"]]
        assert top == sorted(top, reverse=True) and len(top) == 20
        assert 0.2 < sum(math.exp(lp) for lp in top) <= 1 + 1e-6
        assert entry["logprob"] <= 0
        assert any(t["token"] == entry["token"] and t["logprob"] == entry["logprob"] for t in entry["top_logprobs"]) or entry["logprob"] <= top[-1]


def test_its_entropy_is_the_one_asked_for(simulator):
    stream = simulator.stream("Hello [[tokens=10,entropy=0.3,entropy@4=2.5]]", logprobs=True, top_logprobs=20).read()
    bits = [f.bound([math.exp(t["logprob"]) for t in entry["top_logprobs"]]) for entry in entries_of(stream)]
    assert bits[3] == pytest.approx(2.5, abs=0.3)
    assert all(0.05 < b < 0.6 for i, b in enumerate(bits) if i != 3), bits


def test_logprobs_and_usage_come_only_when_asked(simulator):
    plain = simulator.stream("Hello").read()
    assert entries_of(plain) == [] and all(frame.get("usage") is None for frame in plain.frames)
    asked = simulator.stream("Hello [[tokens=4]]", stream_options={"include_usage": True}).read()
    assert asked.frames[-1]["choices"] == [] and asked.frames[-1]["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_status_can_be_asked_for(simulator, status):
    answer = simulator.chat(f"Hello [[status={status},retry-after=7]]")
    assert answer.status == status and "error" in answer.json()
    assert answer.header("Retry-After") == "7"


def test_a_stream_can_be_cut(simulator):
    stream = simulator.stream("Hello [[cut=4]]").read()
    assert len(stream.frames) == 4 and not stream.complete and not stream.done


def test_a_stream_can_stall(simulator):
    stream = simulator.stream("Hello [[stall=2]]")
    assert stream.next() and stream.next()
    stream.client.timeout = 0.2
    stream._pieces = stream.client.pieces(stream.head, timeout=0.2)
    with pytest.raises(AssertionError, match="nothing came"):
        stream.next()
    stream.client.close()


def test_other_faults_can_be_asked_for(simulator):
    assert b"<html" in simulator.chat("Hello [[html502]]").body.lower()
    assert "error" in simulator.chat("Hello [[error200=0]]").json()
    with pytest.raises(ValueError):
        simulator.chat("Hello [[garbage=0]]").json()
    with Client(simulator.address) as client:
        client.begin("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x [[cut=0]]"}]})
        with pytest.raises(Cut):
            client.read_head()
    assert simulator.stream("Hello [[no-done]]").read().done is False
    assert entries_of(simulator.stream("Hello [[no-logprobs]]", logprobs=True).read()) == []


def test_it_can_be_slow(simulator):
    started = time.monotonic()
    simulator.chat("Hello [[delay=200ms]]")
    assert time.monotonic() - started >= 0.19
    started = time.monotonic()
    simulator.stream("Hello [[tokens=10,tps=50]]").read()
    assert time.monotonic() - started >= 0.15


def test_a_profile_holds_for_one_model(simulate):
    simulator = simulate("--profile", "slow-1:tokens=3", "--tokens", "8")
    assert simulator.chat("Hello", model="slow-1").json()["usage"]["completion_tokens"] == 3
    assert simulator.chat("Hello", model="m").json()["usage"]["completion_tokens"] == 8


def test_faults_meet_their_share_of_requests(simulate):
    simulator = simulate("--fault", "status=503", "--fault-rate", "0.5")
    statuses = [simulator.chat(f"Hello {i}").status for i in range(60)]
    assert set(statuses) == {200, 503} and 10 < statuses.count(503) < 50


def test_a_key_can_be_asked_for(simulate):
    simulator = simulate("--api-key", "sk-sim")
    assert simulator.chat("Hello").status == 401
    assert simulator.chat("Hello", headers=[("Authorization", "Bearer sk-sim")]).status == 200


def test_embeddings_come_as_floats_and_as_base64(simulator):
    floats = simulator.post("/v1/embeddings", {"model": "e", "input": ["same", "other"], "dimensions": 64}).json()
    packed = simulator.post("/v1/embeddings", {
        "model": "e", "input": ["same", "other"], "dimensions": 64, "encoding_format": "base64"}).json()
    assert [entry["index"] for entry in floats["data"]] == [0, 1]
    for plain, coded in zip(floats["data"], packed["data"]):
        values = struct.unpack("<64f", base64.b64decode(coded["embedding"]))
        assert values == pytest.approx(plain["embedding"], abs=1e-6)
        assert math.sqrt(sum(v * v for v in values)) == pytest.approx(1, abs=1e-3)
    assert floats["data"][0]["embedding"] != floats["data"][1]["embedding"]


def test_models_are_listed(simulator):
    with Client(simulator.address) as client:
        document = client.request("GET", "/v1/models").json()
    assert document["object"] == "list" and document["data"]


# The gateway in front of it


@pytest.fixture
def tried(start, simulator):
    """A gateway whose drafter and heavyweight are one simulator."""
    return start(providers={"cheap": {"base_url": simulator.url}, "good": {"base_url": simulator.url}})


def ask(gateway, text, **members):
    return gateway.chat(messages=[{"role": "user", "content": text}], **members)


def test_a_confident_prompt_is_accepted_and_an_uncertain_one_escalated(tried):
    accepted = ask(tried, "Hello [[tokens=30,entropy=0.2]]")
    assert_routed(accepted, "accept", "confident")
    assert accepted.json()["usage"]["completion_tokens"] == 30 and accepted.json()["model"] == "small-1"
    escalated = ask(tried, "Hello [[tokens=30,entropy@3=5]]")
    assert_routed(escalated, "escalate", "early_exit")
    assert escalated.json()["model"] == "large-1"


def test_a_window_of_uncertain_tokens_escalates(tried):
    assert_routed(ask(tried, "Hello [[tokens=60,entropy=0.2,entropy@20+=5]]"), "escalate", "window")


@pytest.mark.parametrize("fault", ["status=500", "status=429", "cut=0", "cut=5", "garbage=2", "error200=1", "html502", "empty"])
def test_a_faulty_drafter_means_the_heavyweight_answers(tried, fault):
    answer = ask(tried, f"Hello [[small-1:{fault}]]")
    assert_routed(answer, "escalate", "drafter_error")
    assert answer.json()["model"] == "large-1"


def test_a_drafter_without_logprobs_is_unscorable(tried):
    assert_routed(ask(tried, "Hello [[small-1:no-logprobs]]"), "escalate", "unscorable")


def test_a_faulty_heavyweight_is_an_error(tried):
    assert_error(ask(tried, "Hello [[small-1:entropy@1=5]] [[large-1:status=503]]"), 502, says="503")


def tokens_of(simulator, text, model):
    """What a model says to a text, token by token."""
    return [choice["delta"]["content"] for frame in simulator.stream(text, model=model).read().frames
            for choice in frame["choices"] if choice["delta"].get("content")]


@pytest.mark.parametrize("prefill", ["none", "plain", "vllm", "deepseek", "mistral", "anthropic"])
def test_a_handoff_reads_as_one_text(start, simulate, prefill):
    simulator = simulate("--profile", "large-1:echo") if prefill == "mistral" else simulate()
    gateway = start(providers={"cheap": {"base_url": simulator.url},
                               "good": {"base_url": simulator.url, "prefill": prefill}}, stream={"mode": "live"})
    text = "Tell me of rivers [[small-1:entropy=0.1,entropy@30+=4]][[large-1:entropy=0.1]]"
    stream = gateway.stream(messages=[{"role": "user", "content": text}]).read()
    assert stream.done and stream.complete and "decision=escalate reason=window" in stream.comments[-1]
    draft, heavy = (tokens_of(simulator, text, model) for model in ("small-1", "large-1"))
    assert stream.text in ["".join(draft[:n] + heavy[n:]) for n in range(10, 30)]
    assert stream.text.startswith("You asked: Tell me of rivers. ") and draft != heavy
    assert "cut off" not in stream.text and "previous" not in stream.text


def test_a_paced_stream_flows(tried):
    stream = tried.stream(model="other", messages=[{"role": "user", "content": "Hello [[tokens=20,tps=100]]"}]).read()
    times = [at for kind, _, at in stream.items if kind == "data"]
    assert stream.done and times[-1] - times[0] > 0.1
    assert max(b - a for a, b in zip(times, times[1:])) < 0.1 * max(1, times[-1] - times[0]) + 0.1
