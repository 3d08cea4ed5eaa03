"""The longest turn of the gateway's event loop, while it does what might hold up everybody else."""

import http.client
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


class Turns:
    """A gateway before the simulator, which takes bodies of any size, and the file where its longest turn stands."""

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
def watched():
    file = servers.WORK / "turns"
    file.write_bytes(bytes(8))
    with servers.Server("simulator", [servers.GATEWAY, "simulate", "--listen", "127.0.0.1:0"]) as models:
        models.port = int(models.wait_for_text(r"listening on http://\S*?:(\d+)"))
        prefix = ["env", f"LD_PRELOAD={servers.BUILT / 'turns.so'}", f"TURNS_FILE={file}"]
        with servers.gateway(models, prefix=prefix, cache=True) as gateway:
            yield Turns(gateway, file)


def measure():
    """Yields the rows."""
    def ask(content):
        body = json.dumps({"model": "big", "messages": [{"role": "user", "content": content}]}).encode()

        def post():
            connection = http.client.HTTPConnection("127.0.0.1", turns.gateway.port, timeout=60)
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status != 200:
                raise load.Failed(f"a large body was answered with {answer.status}")

        return post

    def reload():
        before = reloads()
        turns.gateway.process.send_signal(signal.SIGHUP)
        turns.gateway.wait(lambda: reloads() > before)
        time.sleep(0.1)  # what the loop does once it has been told

    def reloads():
        return turns.gateway.said.read_text().count(" reloaded ")

    with watched() as turns:
        for key, words, do in [
            ("turn_words", "a body of 10 MB", ask("words " * (BODY // 6))),
            ("turn_escapes", "a body of 10 MB, all escapes", ask("\n" * (BODY // 2))),
            ("turn_reload", "a reload", reload),
        ]:
            yield Row(key, f"longest turn of the loop: {words}", turns.longest_ms(do), "ms", MOST_MS)
