"""`draft-thinker explain`: one draft, its tokens coloured by entropy, and the verdict."""

import json
import re
import subprocess

import pytest

from lib import scripts
from lib.gateway import DRAFT_KEY, SANITIZER, binary, environment, long_form
from lib.scripts import confident, speak, uncertain


@pytest.fixture
def explain(upstream, tmp_path):
    """explain(argument, …): what it printed. overrides: of the configuration."""

    def run(*arguments, status=0, **overrides):
        path = tmp_path / "c.yaml"
        path.write_text(json.dumps(long_form(upstream, **overrides)))
        done = subprocess.run([binary(), "explain", "-c", str(path), *arguments], capture_output=True, text=True,
                              timeout=30, env=environment(), stdin=subprocess.DEVNULL)
        assert not SANITIZER.search(done.stderr), done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        assert DRAFT_KEY not in done.stdout + done.stderr
        return done

    return run


def test_it_prints_the_draft_its_entropies_and_the_verdict(explain, upstream):
    upstream.on("small-1", speak(tokens=[("It", 0.1), (" is", 0.5), (" Paris.", 1.25)]))
    out = explain("What is the capital of France?").stdout
    assert "It is Paris." in out
    for bits in ("0.1", "0.5", "1.25"):
        assert bits in out
    assert re.search(r"verdict: accept \(confident\)", out)


def test_it_says_why_a_draft_is_escalated(explain, upstream):
    upstream.on("small-1", uncertain())
    out = explain("What is the capital of France?").stdout
    assert re.search(r"verdict: escalate \(early_exit\), score 4", out)


def test_nothing_is_sent_to_the_heavyweight(explain, upstream):
    upstream.on("small-1", uncertain())
    explain("What?")
    assert [request.model for request in upstream.requests] == ["small-1"]


def test_the_drafter_is_asked_as_the_gateway_asks(explain, upstream):
    upstream.on("small-1", confident())
    explain('A "quoted"\nprompt é')
    body = upstream.requests[0].json
    assert body["messages"][-1]["content"] == 'A "quoted"\nprompt é'
    assert body["stream"] is True and body["logprobs"] is True and body["top_logprobs"] == 5
    assert upstream.requests[0].header("Authorization") == f"Bearer {DRAFT_KEY}"


def test_programs_get_json(explain, upstream):
    upstream.on("small-1", speak(tokens=[("It", 0.1), (' "is"\n', 0.5), (" é", 3.0), (" never", 0.1)]))
    document = json.loads(explain("--json", "What?").stdout)
    assert document["decision"] == "escalate" and document["reason"] == "early_exit"
    assert document["score"] == pytest.approx(3.0, abs=1e-6) and document["threshold"] == 2
    assert [token["text"] for token in document["tokens"]][:3] == ["It", ' "is"\n', " é"]
    assert [token["entropy"] for token in document["tokens"]][:3] == pytest.approx([0.1, 0.5, 3.0], abs=1e-6)


def test_colours_are_for_terminals_or_when_asked_for(explain, upstream):
    upstream.on("small-1", confident())
    assert "\x1b" not in explain("What?").stdout
    assert "\x1b[" in explain("--color", "always", "What?").stdout
    assert "\x1b" not in explain("--color", "never", "What?").stdout


def test_control_characters_of_a_draft_do_not_reach_the_terminal(explain, upstream):
    upstream.on("small-1", speak(tokens=[("a\x1b[31mred\x07", 0.1), ("\x9b31m", 0.1)]))
    out = explain("--color", "never", "What?").stdout
    assert "\x1b" not in out and "\x07" not in out and "\x9b" not in out


def test_the_route_can_be_chosen(explain, upstream):
    upstream.on("other-1", confident("From the other."))
    out = explain("--route", "second", "What?", routes={"second": {"drafter": "other", "heavyweight": "heavyweight"}}).stdout
    assert "From the other." in out


def test_an_unknown_route_is_a_failure(explain, upstream):
    assert "nowhere" in explain("--route", "nowhere", "What?", status=1).stderr
    assert upstream.requests == []


@pytest.mark.parametrize("name", ["status_500", "status_200_html", "cut_stream", "malformed_first_frame", "error_frame_first", "closed_before_head"])
def test_a_failing_drafter_is_a_failure_and_told(explain, upstream, name):
    upstream.on("small-1", scripts.FAILURES[name])
    done = explain("What?", status=1)
    assert done.stderr.startswith("draft-thinker: ")


def test_a_draft_without_logprobs_is_told(explain, upstream):
    upstream.on("small-1", scripts.frames(*scripts.PART, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    assert "verdict: accept" in explain("What?").stdout
    frames = [{"choices": [{"index": 0, "delta": {"content": "Bare."}, "finish_reason": "stop"}]}]
    upstream.on("small-1", scripts.frames(*frames))
    assert "unscorable" in explain("What?").stdout


def test_a_pool_has_no_draft_to_explain(explain, upstream):
    pool = {"drafter": None, "heavyweight": None, "models": ["other"]}
    done = explain("hello", status=1, routes={"auto": pool})
    assert "pool" in done.stderr and not upstream.requests
