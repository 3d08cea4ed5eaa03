"""`draft-thinker simulate` as a child process."""

import os
import re
import signal
import subprocess

from .client import Client
from .gateway import SANITIZER, Lines, binary, environment


class Simulator:
    def __init__(self, *options):
        end, start = os.pipe()
        self.process = subprocess.Popen(
            [binary(), "simulate", "--listen", "127.0.0.1:0", *options],
            stdin=subprocess.DEVNULL, stdout=start, stderr=start, env=environment())
        os.close(start)
        self.said = Lines(end)
        line = self.said.wait(lambda text: "listening" in text, "listening")
        self.address = ("127.0.0.1", int(re.search(r"127\.0\.0\.1:(\d+)", line).group(1)))
        self.url = f"http://127.0.0.1:{self.address[1]}/v1"

    def post(self, path, body, headers=()):
        with Client(self.address) as client:
            return client.request("POST", path, body, headers)

    def chat(self, text, headers=(), **members):
        return self.post("/v1/chat/completions", {"model": "m", **members, "messages": [{"role": "user", "content": text}]}, headers)

    def stream(self, text, **members):
        client = Client(self.address)
        client.begin("POST", "/v1/chat/completions", {
            "model": "m", "stream": True, **members, "messages": [{"role": "user", "content": text}]})
        return client.stream()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the simulator did not end") from None
        self.said.join()
        assert not SANITIZER.search(self.said.text()), self.said.text()
        assert status == 0, (status, self.said.text())
