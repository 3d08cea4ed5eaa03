"""The simulator, seen from outside: `draft-thinker simulate` on a free port, spoken to over real sockets."""

import base64
import contextlib
import http.client
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from lib.gateway import SLOW, TICK_S

BINARY = os.environ.get("DRAFT_THINKER", "")

pytestmark = pytest.mark.skipif(not BINARY, reason="DRAFT_THINKER does not name the program")


class Simulator:
    def __init__(self, *arguments):
        self.stderr = tempfile.NamedTemporaryFile(
            "r", prefix="simulator-", suffix=".log", dir=os.environ.get("DT_STDERR_DIR"),
            delete=not os.environ.get("DT_STDERR_DIR"))
        self.process = subprocess.Popen(
            [BINARY, "simulate", "--listen", "127.0.0.1:0", *arguments],
            stdin=subprocess.DEVNULL, stderr=open(self.stderr.name, "w"))
        line = self.wait_line(r"listening")
        self.port = int(re.fullmatch(r"simulator listening on http://127\.0\.0\.1:(\d+)\n", line).group(1))

    def wait_line(self, pattern):
        """The first line on standard error that the pattern is found in."""
        deadline = time.monotonic() + 10 * SLOW
        while time.monotonic() < deadline:
            for line in self.said().splitlines(keepends=True):
                if line.endswith("\n") and re.search(pattern, line):
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"no {pattern!r} in: " + self.said())

    def stop(self, number=signal.SIGTERM):
        """Ends it and gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(10 * SLOW)
        finally:
            self.process.kill()

    def said(self):
        with open(self.stderr.name) as file:
            return file.read()

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10 * SLOW)
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer
        finally:
            connection.close()

    def chat(self, prompt, **members):
        return self.ask("POST", "/v1/chat/completions", chat_body(prompt, **members))

    def frames(self, prompt, **members):
        """The payloads of a stream that ended as it should."""
        answer = self.chat(prompt, stream=True, **members)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return payloads(answer.body)

    @contextlib.contextmanager
    def raw(self, prompt, **members):
        """A socket on which the request was sent and nothing read."""
        body = json.dumps(chat_body(prompt, **members)).encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=10 * SLOW) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                               % len(body) + body)
            yield connection


def chat_body(prompt, model="gpt-4.1-nano", **members):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **members}


def payloads(body):
    events = body.decode().split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") for event in events)
    return [event[6:] for event in events]


def read_all(connection):
    said = b""
    while piece := connection.recv(65536):
        said += piece
    return said


def entropy(entry):
    return -sum(math.exp(c["logprob"]) * c["logprob"] / math.log(2) for c in entry["top_logprobs"])


@pytest.fixture(scope="module")
def simulator():
    it = Simulator("--verbose")
    yield it
    it.stop()


@pytest.fixture
def start():
    """Starts simulators with options of the test's own."""
    started = []

    def starter(*arguments):
        started.append(Simulator(*arguments))
        return started[-1]

    yield starter
    for it in started:
        it.stop()


@pytest.mark.parametrize("base", ["", "/v1"])
def test_every_endpoint_answers_with_and_without_the_base_path(simulator, base):
    assert simulator.ask("GET", base + "/models").status == 200
    assert simulator.ask("GET", base + "/models/any/name").status == 200
    assert simulator.ask("GET", base + "/health").status == 200
    assert simulator.ask("POST", base + "/chat/completions", chat_body("hi")).status == 200
    assert simulator.ask("POST", base + "/embeddings", {"model": "m", "input": "hi"}).status == 200


@pytest.mark.parametrize("method, path, body, status, param", [
    ("GET", "/v1/nothing", None, 404, None),
    ("GET", "/v1/models/", None, 404, None),
    ("GET", "/v1/chat/completions", None, 405, None),
    ("POST", "/v1/models", "{}", 405, None),
    ("POST", "/v1/chat/completions", "{", 400, None),
    ("POST", "/v1/chat/completions", "{}", 400, "model"),
    ("POST", "/v1/chat/completions", '{"model":"m"}', 400, "messages"),
    ("POST", "/v1/chat/completions", chat_body("[[cut=x]]"), 400, "messages"),
    ("POST", "/v1/embeddings", '{"model":"m"}', 400, "input"),
    ("POST", "/v1/embeddings", {"model": "m", "input": "[[m:status=1]]"}, 400, "input"),
])
def test_a_wrong_request_gets_an_error_in_openais_shape(simulator, method, path, body, status, param):
    answer = simulator.ask(method, path, body)
    assert answer.status == status
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["param"] == param
    assert (answer.headers["Allow"] is not None) == (status == 405)


def test_an_answer_is_one_completion(simulator):
    answer = simulator.chat("Hello [[tokens=9]]", model="gpt-4.1")
    document = json.loads(answer.body)
    assert answer.headers["Content-Type"] == "application/json"
    assert document["object"] == "chat.completion" and document["model"] == "gpt-4.1"
    assert document["choices"][0]["message"]["content"].startswith("You asked: Hello")
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["choices"][0]["logprobs"] is None
    assert document["usage"]["completion_tokens"] == 9
    assert document["usage"]["total_tokens"] == document["usage"]["prompt_tokens"] + 9


def test_a_stream_says_what_the_document_says(simulator):
    whole = json.loads(simulator.chat("Tell me", n=2).body)
    frames = simulator.frames("Tell me", n=2, stream_options={"include_usage": True})
    assert frames.pop() == "[DONE]"
    frames = [json.loads(frame) for frame in frames]
    assert frames[-1]["choices"] == [] and frames[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        text = "".join(c["delta"].get("content") or "" for f in frames for c in f["choices"]
                       if c["index"] == choice["index"])
        assert text == choice["message"]["content"]
    assert all(f["usage"] is None for f in frames[:-1])
    assert len({f["id"] for f in frames}) == 1


def test_logprobs_are_a_distribution_with_the_wanted_entropy(simulator):
    frames = simulator.frames("Hello [[entropy@1+=0.5,entropy@4=1.5]]", logprobs=True, top_logprobs=20)
    entries = [e for f in frames[:-1] for c in json.loads(f)["choices"] if c["logprobs"]
               for e in c["logprobs"]["content"]]
    assert len(entries) == 64
    for at, entry in enumerate(entries, 1):
        assert sum(math.exp(c["logprob"]) for c in entry["top_logprobs"]) <= 1
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert abs(entropy(entry) - (1.5 if at == 4 else 0.5)) < 2e-3
        same = [c for c in entry["top_logprobs"] if c["token"] == entry["token"]]
        assert [c["logprob"] for c in same] == [entry["logprob"]] or not same


def test_by_default_some_prompts_are_uncertain_and_most_are_not(simulator):
    def peak(prompt):
        answer = json.loads(simulator.chat(prompt, logprobs=True, top_logprobs=20).body)
        return max(entropy(e) for e in answer["choices"][0]["logprobs"]["content"][:10])

    peaks = [peak(f"Question {i}") for i in range(80)]
    uncertain = [p for p in peaks if p > 2]
    assert 8 <= len(uncertain) <= 35
    assert all(p < 1 for p in peaks if p not in uncertain)
    assert peak("Write a poem about Monday") > 2


def test_embeddings_come_as_floats_and_as_base64(simulator):
    body = {"model": "text-embedding-3-small", "input": ["the red house", "a red house", "tax law"]}
    floats = json.loads(simulator.ask("POST", "/v1/embeddings", body).body)
    packed = json.loads(simulator.ask("POST", "/v1/embeddings", {**body, "encoding_format": "base64"}).body)
    vectors = [entry["embedding"] for entry in floats["data"]]
    assert [entry["index"] for entry in floats["data"]] == [0, 1, 2]
    for vector, entry in zip(vectors, packed["data"]):
        assert len(vector) == 1536
        raw = base64.b64decode(entry["embedding"], validate=True)
        assert all(abs(a - b) < 1e-7 for a, b in zip(vector, struct.unpack("<1536f", raw)))
        assert abs(sum(x * x for x in vector) - 1) < 1e-5
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[i])) for i in (1, 2))
    assert near > 0.8 and far < 0.3
    assert floats["usage"]["prompt_tokens"] == floats["usage"]["total_tokens"] == 8


def test_an_embeddings_call_heeds_only_marks_for_its_model(simulator):
    def status(text):
        return simulator.ask("POST", "/v1/embeddings", {"model": "e", "input": text}).status

    assert status("x [[status=503]]") == 200
    assert status("x [[other:status=503]]") == 200
    assert status("x [[e:status=503]]") == 503


def test_models_that_have_a_profile_are_listed(start):
    it = start("--profile", "my-model:entropy=1", "--profile", "gpt-4.1:tps=9")
    names = [m["id"] for m in json.loads(it.ask("GET", "/v1/models").body)["data"]]
    assert names.count("my-model") == 1 and names.count("gpt-4.1") == 1


def test_a_key_is_asked_for_when_one_is_set(start):
    it = start("--api-key", "sk-1")
    assert it.ask("GET", "/health").status == 200
    assert it.ask("GET", "/v1/models", headers={"Authorization": "Bearer sk-1"}).status == 200
    for headers in ({}, {"Authorization": "Bearer sk-2"}, {"Authorization": "sk-1"}):
        answer = it.ask("GET", "/v1/models", headers=headers)
        assert answer.status == 401
        assert json.loads(answer.body)["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("stream", [False, True])
def test_a_status_mark_gives_an_error_and_its_retry_after(simulator, stream):
    answer = simulator.chat("x [[status=503]][[retry-after=2]]", stream=stream)
    assert answer.status == 503 and answer.headers["Retry-After"] == "2"
    assert json.loads(answer.body)["error"]["type"] == "server_error"
    answer = simulator.chat("x [[retry-after=3]]", stream=stream)
    assert answer.status == 429 and answer.headers["Retry-After"] == "3"


def test_a_mark_with_a_models_name_is_for_that_model_only(simulator):
    prompt = "x [[gpt-4.1-nano:status=503]]"
    assert simulator.chat(prompt, model="gpt-4.1-nano").status == 503
    assert simulator.chat(prompt, model="gpt-4.1").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_proxys_page_is_html(simulator, stream):
    answer = simulator.chat("x [[html502]]", stream=stream)
    assert answer.status == 502 and answer.headers["Content-Type"] == "text/html"
    assert b"<html>" in answer.body


def test_an_error_may_come_with_status_200(simulator):
    answer = simulator.chat("x [[error200]]")
    assert answer.status == 200 and "error" in json.loads(answer.body)
    frames = simulator.frames("x [[error200=4]]")
    assert len(frames) == 5 and "error" in json.loads(frames[-1])


def test_garbage_is_not_json(simulator):
    with pytest.raises(ValueError):
        json.loads(simulator.chat("x [[garbage]]").body)
    frames = simulator.frames("x [[garbage=3,tokens=5]]")
    assert len(frames) == 9
    with pytest.raises(ValueError):
        json.loads(frames[3])


@pytest.mark.parametrize("stream, frames", [(True, 5), (False, 0)])
def test_a_cut_answer_has_no_proper_end(simulator, stream, frames):
    with simulator.raw("x [[cut=5]]", stream=stream) as connection:
        said = read_all(connection)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"data: ") == frames
    assert not said.endswith(b"0\r\n\r\n") and b"[DONE]" not in said


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_at_zero_gives_no_answer_at_all(simulator, stream):
    with simulator.raw("x [[cut]]", stream=stream) as connection:
        assert read_all(connection) == b""


@pytest.mark.parametrize("stream, at", [(True, 5), (False, 5), (True, 0), (False, 0)])
def test_a_stalled_answer_stays_open_and_says_no_more(simulator, stream, at):
    with simulator.raw(f"x [[stall={at}]]", stream=stream) as connection:
        connection.settimeout(0.3)
        said = b""
        with pytest.raises(TimeoutError):
            while True:
                piece = connection.recv(65536)
                assert piece, "it was closed"
                said += piece
    assert said.count(b"data: ") == (at if stream else 0)
    assert bool(said) == bool(at)


def test_a_stream_may_end_without_done(simulator):
    frames = simulator.frames("x [[no-done,tokens=3]]")
    assert len(frames) == 5 and json.loads(frames[-1])["choices"][0]["finish_reason"] == "stop"


def test_a_tool_is_called(simulator):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}}}}]
    call = json.loads(simulator.chat("Bonn [[tool]]", tools=tools).body)["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Bonn "}
    frames = [json.loads(f) for f in simulator.frames("Bonn [[tool]]", tools=tools)[:-1]]
    said = "".join(c["function"]["arguments"] for f in frames
                   for c in f["choices"][0]["delta"].get("tool_calls", []))
    assert said == call["function"]["arguments"]
    assert frames[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_first_byte_waits_and_tokens_keep_their_pace(simulator):
    begin = time.monotonic()
    with simulator.raw("x [[delay=200ms,tps=50,tokens=11]]", stream=True) as connection:
        connection.recv(1)
        first = time.monotonic() - begin
        said = b""
        while not said.endswith(b"0\r\n\r\n"):
            said += connection.recv(65536)
    whole = time.monotonic() - begin
    # The first token comes at once, ten more at 20 ms each, then the finish.
    assert 0.2 - TICK_S <= first < 0.2 + 0.15 * SLOW
    assert 0.4 - 2 * TICK_S <= whole < 0.42 + 0.25 * SLOW


def test_a_whole_answer_takes_as_long_as_its_stream(simulator):
    begin = time.monotonic()
    assert simulator.chat("x [[delay=100ms,tps=50,tokens=10]]").status == 200
    assert 0.3 - 2 * TICK_S <= time.monotonic() - begin < 0.3 + 0.25 * SLOW


def test_a_long_stream_to_a_slow_reader_is_whole(simulator):
    with simulator.raw("x [[tokens=32768]]", stream=True, logprobs=True, top_logprobs=5) as connection:
        time.sleep(0.2)
        said = b""
        pieces = []
        while not said.endswith(b"0\r\n\r\n"):
            pieces.append(connection.recv(1 << 20))
            said = (said + pieces[-1])[-16:]
    said = b"".join(pieces)
    assert said.count(b"data: ") == 32768 + 3 and said.count(b"[DONE]") == 1


def test_a_client_that_leaves_stops_the_stream(simulator):
    with simulator.raw("x [[tps=100,tokens=1000]]", model="leaver", stream=True) as connection:
        connection.recv(1)
    line = simulator.wait_line(r'model="leaver".*end=client_gone')
    assert int(re.search(r"tokens=(\d+)", line).group(1)) < 500
    with simulator.raw("x [[stall]]", model="leaver-of-nothing"):
        pass
    simulator.wait_line(r'model="leaver-of-nothing".*tokens=0 .*end=client_gone')


def test_a_request_is_logged_in_one_line_that_cannot_be_forged(simulator):
    simulator.chat("x [[tokens=7]]", model="log\nme=1 \"x\"", stream=True)
    line = simulator.wait_line(r"log\\nme")
    assert ' path="/v1/chat/completions" ' in line and "status=200 frames=10 tokens=7 " in line
    assert line.endswith("end=done\n")


def test_without_verbose_nothing_is_logged(start):
    it = start()
    it.chat("x")
    assert it.stop() == 0
    assert it.said().count("\n") == 1

def test_flags_are_defaults_and_profiles_and_marks_stand_above_them(start):
    it = start("--tokens", "4", "--entropy", "2", "--profile", "small:tokens=6,entropy=0")

    def tokens(prompt, model):
        return json.loads(it.chat(prompt, model=model).body)["usage"]["completion_tokens"]

    assert tokens("x", "any") == 4
    assert tokens("x", "small") == 6
    assert tokens("x [[tokens=8]]", "small") == 8
    answer = json.loads(it.chat("x", model="small", logprobs=True, top_logprobs=2).body)
    assert all(e["logprob"] == 0 and e["top_logprobs"][1]["logprob"] == -9999
               for e in answer["choices"][0]["logprobs"]["content"])


def test_another_seed_gives_another_answer(start):
    def content(it):
        return json.loads(it.chat("Tell me").body)["choices"][0]["message"]["content"]

    one, same, other = start(), start(), start("--seed", "2")
    assert content(one) == content(same) != content(other)


def test_a_fault_rate_is_the_share_of_requests_that_fail(start):
    it = start("--fault-rate", "0.3", "--fault", "status=500", "--fault", "other:status=501")
    statuses = [it.chat("x").status for _ in range(200)]
    assert set(statuses) == {200, 500}
    # Half of the faults drawn are for another model.
    assert 10 <= statuses.count(500) <= 60
    it = start("--fault", "status=418")
    assert [it.chat("x").status for _ in range(5)] == [418] * 5
    it = start("--fault-rate", "1")
    with it.raw("x", stream=True) as connection:
        read = threading.Thread(target=read_all, args=(connection,), daemon=True)
        read.start()
        connection.shutdown(socket.SHUT_RD)
        read.join(10 * SLOW)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once(start, number):
    it = start()
    with it.raw("x [[stall=3]]", stream=True) as connection:
        connection.recv(1)
        begin = time.monotonic()
        assert it.stop(number) == 0
        assert time.monotonic() - begin < 0.5 * SLOW


@pytest.mark.parametrize("arguments", [
    ["--nonsense"], ["argument"], ["--listen", "nowhere"], ["--listen", "x:99999"], ["--tokens", "x"],
    ["--tokens", "1,cut=5"], ["--entropy", "9"], ["--profile", "entropy=1"], ["--profile", "m:nope=1"],
    ["--fault", "nope"], ["--fault-rate", "2"], ["--seed", "-1"], ["--first-byte", "1d"], ["--listen"],
])
def test_a_wrong_command_line_is_refused_with_status_2(arguments):
    done = subprocess.run([BINARY, "simulate", *arguments], capture_output=True, text=True, timeout=10 * SLOW)
    assert done.returncode == 2
    assert done.stdout == "" and "simulate --help" in done.stderr


def test_an_address_that_is_taken_is_a_failure_told(simulator):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run([BINARY, "simulate", "--listen", "127.0.0.1:%d" % taken.getsockname()[1]],
                              capture_output=True, text=True, timeout=10 * SLOW)
    assert done.returncode == 1 and "draft-thinker simulate: " in done.stderr


def test_the_help_tells_every_option():
    done = subprocess.run([BINARY, "simulate", "--help"], capture_output=True, text=True, timeout=10 * SLOW)
    assert done.returncode == 0 and done.stderr == ""
    for option in ("listen", "api-key", "tokens", "first-byte", "tokens-per-second", "entropy", "uncertain",
                   "profile", "fault", "fault-rate", "seed", "verbose", "help"):
        assert f"  --{option} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
