"""Requests as an application sends them, and runs of the load client."""

import itertools
import json
import subprocess
from contextlib import contextmanager

from .servers import BUILT, WORK

FRAMES = 64
SYSTEM = "You are a helpful assistant. Answer briefly."
QUESTION = "What does a gateway do, and why would one put it in front of a model server?"
# What the official Python package sends.
HEADERS = [
    ("Host", "127.0.0.1"), ("Accept-Encoding", "gzip, deflate"), ("Connection", "keep-alive"),
    ("Accept", "application/json"), ("Content-Type", "application/json"), ("User-Agent", "OpenAI/Python 1.66.3"),
    ("X-Stainless-Lang", "python"), ("X-Stainless-Package-Version", "1.66.3"), ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Arch", "x64"), ("X-Stainless-Runtime", "CPython"), ("X-Stainless-Runtime-Version", "3.11.2"),
    ("Authorization", "Bearer sk-bench-client"), ("X-Stainless-Async", "false"), ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
]
_numbers = itertools.count()


def request(path="/v1/chat/completions", body=None, method="POST", headers=(), words="", **members):
    """The bytes of a chat request. body: instead of the usual members; words: for the load upstream, in the prompt."""
    if body is None:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{QUESTION} {words}".rstrip()}]
        body = json.dumps({**members, "messages": messages}, separators=(",", ":")).encode()
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in [*HEADERS, *headers])]
    if method != "GET":
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + (body if method != "GET" else b"")


def drafting(**members):
    """What the gateway asks a drafter for, for a proxy that relays the same answer."""
    return request(model="gpt-4.1-nano", stream=True, logprobs=True, top_logprobs=5,
                   stream_options={"include_usage": True}, **members)


class Failed(Exception):
    """An answer was not what it had to be."""


@contextmanager
def running(port, message, *, connections=1, requests=1, **options):
    """The load client as a child process, ended at the latest with the block; options as its own."""
    file = WORK / f"request-{next(_numbers)}"
    file.write_bytes(message)
    command = [BUILT / "load", "--to", port, "--request", file, "--connections", connections, "--requests", requests]
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [f"--{name}", value]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        file.unlink()


def result(process, *, strict=True):
    """Waits for it; what it found. strict: a single wrong answer is an error."""
    found = process.stdout.read()
    if process.wait() != 0:
        raise Failed(f"the load client ended with {process.returncode}")
    found = json.loads(found)
    if strict and (found["answered"] != found["requests"] or found["missing"] or found["twice"]):
        raise Failed(f"wrong answers: {json.dumps(found)}")
    return found


def run(port, message, **options):
    with running(port, message, **options) as process:
        return result(process)
