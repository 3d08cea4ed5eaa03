"""The longest turn of the gateway's event loop, while it does what might hold up everybody else."""

import http.client
import itertools
import json
import signal
import struct
import time
from contextlib import contextmanager

from . import load, servers
from .rows import Row

MOST_MS = 5
BODY = 10 * 1000 * 1000
TIMES = 3
WRITTEN_S = 60  # at most, from one writing of the cache to the next


class Turns:
    """A gateway, and the file where its longest turn stands."""

    def __init__(self, gateway, file):
        self.gateway = gateway
        self.file = file

    def longest_ms(self, do):
        """Of the turns while do() runs; the least of several runs, since other processes empty the caches."""
        found = []
        for _ in range(TIMES):
            with self.file.open("r+b") as file:  # never cut off: the gateway has it mapped
                file.write(bytes(8))
            do()
            found.append(struct.unpack("=Q", self.file.read_bytes())[0] / 1e6)
        return min(found)


@contextmanager
def watched(models, cache):
    """A gateway before these models."""
    file = servers.WORK / "turns"
    file.write_bytes(bytes(8))
    prefix = ["env", f"LD_PRELOAD={servers.BUILT / 'turns.so'}", f"TURNS_FILE={file}"]
    with servers.gateway(models, prefix=prefix, cache=cache) as gateway:
        yield Turns(gateway, file)


@contextmanager
def simulator():
    """Takes bodies of any size."""
    with servers.Server("simulator", [servers.GATEWAY, "simulate", "--listen", "127.0.0.1:0"]) as models:
        models.port = int(models.wait_for_text(r"listening on http://\S*?:(\d+)"))
        yield models


def row(turns, key, words, do):
    return Row(key, f"longest turn of the loop: {words}", turns.longest_ms(do), "ms", MOST_MS)


def asks(turns, path, status, **members):
    """Posts a body."""
    body = json.dumps(members).encode()

    def post():
        connection = http.client.HTTPConnection("127.0.0.1", turns.gateway.port, timeout=60)
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != status:
            raise load.Failed(f"a large body was answered with {answer.status}")

    return post


def chat(turns, model, content):
    return asks(turns, "/v1/chat/completions", 200, model=model, messages=[{"role": "user", "content": content}])


def reload(turns):
    def told():
        return turns.gateway.said.read_text().count(" reloaded ")

    def do():
        before = told()
        turns.gateway.process.send_signal(signal.SIGHUP)
        turns.gateway.wait(lambda: told() > before)
        time.sleep(0.1)  # what the loop does once it has been told

    return do


def large_bodies():
    words, escapes = "words " * (BODY // 6), "\n" * (BODY // 2)
    with simulator() as models, watched(models, {"enabled": True}) as turns:
        yield row(turns, "turn_words", "a body of 10 MB", chat(turns, "big", words))
        yield row(turns, "turn_escapes", "a body of 10 MB, all escapes", chat(turns, "big", escapes))
        yield row(turns, "turn_draft", "a body of 10 MB, drafted and escalated", chat(turns, "hold", escapes))
        yield row(turns, "turn_fault", "a body of 10 MB, refused",
                  asks(turns, "/api/client/v1/chat/completions", 400, model="big", messages=[escapes, 1]))
        yield row(turns, "turn_embedding", "an embeddings request of 10 MB",
                  asks(turns, "/v1/embeddings", 200, model="big", input=escapes))
        yield row(turns, "turn_reload", "a reload", reload(turns))


def large_cache(up, count):
    """Look-ups among so many answers, and while they are written to the file."""
    file = servers.WORK / "cache"
    words = " ".join(["#####"] * 8)
    cache = {"enabled": True, "max_entries": count * 2, "max_bytes": count * 8192, "file": str(file), "file_interval": 2}
    seeds = itertools.count(1)

    def ask(requests, connections, headers=()):
        load.run(turns.gateway.port, load.request(model="undrafted", words=words, headers=headers), connections=connections,
                 requests=requests, varied=next(seeds), timeout=600)

    def written_ns():
        return file.stat().st_mtime_ns if file.exists() else 0

    def written():
        before, end = written_ns(), time.monotonic() + WRITTEN_S
        while written_ns() == before:
            if time.monotonic() > end:
                raise load.Failed("the cache's file is not written")
            ask(200, 2)

    with watched(up, cache) as turns:
        ask(count, 32, [("Cache-Control", "no-cache")])
        yield row(turns, "turn_cached", f"look-ups among {count:,} answers", lambda: ask(1000, 2))
        yield row(turns, "turn_snapshot", f"while {count:,} answers are written to a file", written)


def measure(up, effort):
    """Yields the rows."""
    yield from large_bodies()
    yield from large_cache(up, effort.cached)
