"""The real daemon as a child process, with a configuration of its own and everything it says at hand."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from .client import Client

WAIT = 20
REPOSITORY = Path(__file__).resolve().parents[3]
# How much slower than a release build everything is; tests that measure time multiply by it.
SLOW = float(os.environ.get("DT_TEST_SLOW", "1"))
# Timers count in ticks of the kernel's coarse clock (4 ms on most), so one may be early by as much.
TICK_S = 0.005
SANITIZER = re.compile(r"(ERROR|WARNING|SUMMARY): \w*Sanitizer|runtime error:")

DRAFT_KEY = "sk-cheap-1234567890abcdefSECRET"
HEAVY_KEY = "sk-good-0987654321fedcbaSECRET"


def binary():
    return os.environ.get("DRAFT_THINKER") or str(REPOSITORY / "build/release/draft-thinker")


def environment(**variables):
    """The environment for a child: no key of the caller's, no proxy, and what is given."""
    kept = {k: v for k, v in os.environ.items() if "API_KEY" not in k and "proxy" not in k.lower()}
    return {**kept, "LC_ALL": "C", **variables}


def long_form(upstream, **overrides):
    """A configuration in the long form: two providers on the scripted server, three models, one route.

    What tests of one behaviour must not stumble over is off: retries, breaker, speculation, live streams.
    """
    provider = {"connect_timeout": 5, "first_byte_timeout": 10, "idle_timeout": 10, "retries": 0}
    config = {
        "server": {"listen": ["127.0.0.1:0"], "drain_timeout": 5},
        "providers": {
            "cheap": {"base_url": upstream.url("/cheap/v1"), "api_key": DRAFT_KEY, **provider},
            "good": {"base_url": upstream.url("/good/v1"), "api_key": HEAVY_KEY, **provider},
        },
        "models": {
            "drafter": {"provider": "cheap", "model": "small-1"},
            "heavyweight": {"provider": "good", "model": "large-1"},
            "other": {"provider": "good", "model": "other-1"},
        },
        "routes": {"auto": {"drafter": "drafter", "heavyweight": "heavyweight"}},
        "entropy": {"threshold": 2.0, "window_size": 10, "early_exit_count": 10, "top_logprobs": 5},
        "speculative": {"enabled": False},
        "stream": {"mode": "hold"},
        "cache": {"enabled": False},
        # One daemon serves many tests, most of which make models fail.
        "breaker": {"failures": 0, "failed_part": 0},
    }
    return merge(config, overrides)


def merge(base, changes):
    """base with changes laid over it, mapping by mapping; a value of None removes the key."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


class Lines:
    """Lines that come from a descriptor, kept, and waited for."""

    def __init__(self, descriptor):
        self.lines = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, args=(descriptor,), daemon=True)
        self._thread.start()

    def _run(self, descriptor):
        with os.fdopen(descriptor, "rb") as source:
            for line in source:
                with self._changed:
                    self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, wanted, what, timeout=WAIT, start=0):
        """The first line from index `start` on for which wanted(line) is true."""

        def find():
            return next((line for line in self.lines[start:] if wanted(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: find() is not None or self._ended, timeout)
            found = find()
        assert found is not None, f"no line with {what} came; the last ones: {self.lines[-20:]}"
        return found

    def text(self):
        with self._changed:
            return "\n".join(self.lines)

    def join(self):
        self._thread.join(WAIT)


class Gateway:
    """Started by start(), which returns once it listens; stop() wants a clean end."""

    def __init__(self, directory, config, env=None, access=True, arguments=(), prefix=()):
        """config: an object (JSON is YAML) or the text of the file. access: read the access log
        through a pipe; False leaves `log` as the configuration has it. prefix: a command that runs it."""
        self.directory = Path(directory)
        self.file = self.directory / "draft-thinker.yaml"
        self.env = environment(**(env or {}))
        self.arguments = list(arguments)
        self.prefix = list(prefix)
        self.process = None
        self.stderr = None
        self.access = None
        self._access_end = None
        self._kept = set()
        if access:
            pipe = self.directory / "access.log"
            os.mkfifo(pipe)
            # Opened for both, so that the daemon never waits for a reader and the pipe never ends.
            self._access_end = os.open(pipe, os.O_RDWR)
            self.access = Lines(os.open(pipe, os.O_RDONLY))
            config = merge(config, {"log": {"access": str(pipe)}})
        self.write_config(config)

    def write_config(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        self.file.write_text(text)

    def memory_bytes(self):
        """What it holds of its own, without pages of files, which come and go."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("\nRssAnon:")[1].split()[0]) * 1024

    def start(self):
        end, start = os.pipe()
        self.process = subprocess.Popen(
            [*self.prefix, binary(), "-c", str(self.file), *self.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=start, env=self.env, cwd=self.directory,
        )
        os.close(start)
        self.stderr = Lines(end)
        line = self.stderr.wait(lambda l: "listening" in l and "address=" in l, "listening")
        found = re.search(r'address="?\[?([^\s"\]]+)\]?:(\d+)', line)
        assert found, line
        self.address = ("127.0.0.1", int(found.group(2)))
        return self

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=WAIT):
        status = self.process.wait(timeout)
        self.stderr.join()
        if self.process.pid not in self._kept:
            self._kept.add(self.process.pid)
            self._keep()
        return status

    def _keep(self):
        """Leaves what it said where tests/tools/http looks for sanitizers' reports."""
        if folder := os.environ.get("DT_STDERR_DIR"):
            (Path(folder) / f"{self.process.pid}.stderr").write_text(self.stderr.text())

    def stop(self):
        """Ends it by SIGTERM and asserts that it went in order and that no sanitizer complained."""
        if self.process is None:
            self._close_access()
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            status = self.wait_exit()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait_exit()
            status = "killed, for it did not end"
        self._close_access()
        report = self.sanitizer_report()
        assert not report, report
        assert status == 0, f"exit status {status}; stderr:\n{self.stderr.text()[-4000:]}"

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.wait_exit()
        self._close_access()

    def _close_access(self):
        if self._access_end is not None:
            os.close(self._access_end)
            self._access_end = None

    def sanitizer_report(self):
        text = self.stderr.text() if self.stderr else ""
        found = SANITIZER.search(text)
        return text[max(0, found.start() - 500) : found.start() + 8000] if found else ""

    # Asking

    def client(self, timeout=WAIT):
        return Client(self.address, timeout)

    def request(self, method, path, body=None, headers=(), timeout=None):
        with self.client() as client:
            return client.request(method, path, body, headers, timeout)

    def get(self, path, headers=()):
        return self.request("GET", path, headers=headers)

    def chat(self, body=None, headers=(), path="/v1/chat/completions", **members):
        """A chat request and its whole answer. body: bytes as they stand, or an object; members: more
        of the object. Without either: one user message."""
        return self.request("POST", path, chat_body(body, members), headers)

    def stream(self, body=None, headers=(), path="/v1/chat/completions", **members):
        """A streamed chat request; the stream, its head read. The caller may close stream.client."""
        client = self.client()
        client.begin("POST", path, chat_body(body, {"stream": True, **members}), headers)
        return client.stream()

    def access_line(self, request_id, timeout=WAIT):
        """The access log's line for this request id."""
        line = self.access.wait(lambda l: json.loads(l).get("id") == request_id, f"id {request_id}", timeout)
        return json.loads(line)

    def metrics(self, path="/metrics"):
        """{'name{label="value"}': number} of all samples."""
        answer = self.get(path)
        assert answer.status == 200, answer
        samples = {}
        for line in answer.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                assert name not in samples, f"{name} stands twice"
                samples[name] = float(value)
        return samples


def chat_body(body, members):
    if isinstance(body, bytes):
        assert not members or members == {"stream": True}
        return body
    base = {"model": "auto", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    return {**base, **(body or {}), **members}


def eventually(condition, what, timeout=WAIT):
    """For what gives no event to wait on: asks again until it holds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come to hold within {timeout} s"
        time.sleep(0.005)
    return found


def soon(limit_ms, attempt, tries=3):
    """Asserts that attempt() takes at most so many milliseconds, as it returns it itself.

    A busy machine can make a right program look late but never a late one look right, so the best of
    a few tries is what counts.
    """
    taken = []
    for _ in range(tries):
        taken.append(attempt() * 1000)
        if taken[-1] <= limit_ms * SLOW:
            return
    raise AssertionError(f"took {taken} ms where {limit_ms} ms are allowed")
