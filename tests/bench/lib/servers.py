"""The processes of the benchmark, each on a free loopback port, ended by its own id."""

import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILT = ROOT / "build/bench"
WORK = BUILT / "work"
GATEWAY = ROOT / "build/release/draft-thinker"
START_SECONDS = 60
_numbers = itertools.count()


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def raise_descriptors(wanted):
    """Lets this process and its children have so many descriptors; how many they may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Server:
    """A child process; a context manager that ends it."""

    def __init__(self, name, command, port=None):
        self.name = name
        self.port = port
        self.said = WORK / f"{name}-{next(_numbers)}.log"
        env = {k: v for k, v in os.environ.items() if "API_KEY" not in k and "proxy" not in k.lower()}
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env, cwd=WORK)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def is_alive(self):
        return self.process.poll() is None

    def wait(self, ready):
        """Until ready() is true; its value."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := ready()):
            if not self.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"bench: {self.name} does not start:\n{self.said.read_text()[-2000:]}")
            time.sleep(0.02)
        return found

    def wait_for_text(self, pattern):
        return self.wait(lambda: re.search(pattern, self.said.read_text())).group(1)

    def wait_for_port(self):
        def answers():
            with socket.socket() as trial:
                return trial.connect_ex(("127.0.0.1", self.port)) == 0

        self.wait(answers)
        return self


def upstream():
    server = Server("upstream", [BUILT / "upstream"])
    server.port = int(server.wait_for_text(r"port (\d+)"))
    return server


def gateway_config(up, access, *, workers=1, cache=None):
    """Both models on the load upstream, which answers by the words in a prompt. `big` pins one; `undrafted` asks it,
    too, and keeps its answer. cache: its section of the configuration; None: off."""
    return {
        "server": {"listen": ["127.0.0.1:0"], "workers": workers, "max_connections": 0},
        "providers": {"load": {"base_url": f"http://127.0.0.1:{up.port}/v1", "api_key": "sk-bench-upstream"}},
        "models": {
            "big": {"provider": "load", "model": "gpt-4.1"},
            "small": {"provider": "load", "model": "gpt-4.1-nano"},
            "tiny": {"provider": "load", "model": "gpt-4.1-nano", "context": 16},
        },
        "routes": {
            "hold": {"drafter": "small", "heavyweight": "big", "stream": {"mode": "hold"}},
            "live": {"drafter": "small", "heavyweight": "big", "stream": {"mode": "live"}},
            "undrafted": {"drafter": "tiny", "heavyweight": "big"},
        },
        "cache": cache or {"enabled": False},
        "metrics": {"enabled": True},
        "log": {"access": str(access)},
    }


def gateway(up, *, prefix=(), **options):
    """prefix: a command that runs it."""
    number = next(_numbers)
    file = WORK / f"draft-thinker-{number}.yaml"
    file.write_text(json.dumps(gateway_config(up, WORK / f"access-{number}.log", **options), indent=1))
    server = Server("gateway", [*prefix, GATEWAY, "-c", file])
    server.port = int(server.wait_for_text(r"address=\S*?:(\d+) "))
    return server


def haproxy(up, refusal=b""):
    """One thread, keep-alive on both sides, small pieces passed on at once. A second port refuses everything with a
    fixed answer."""
    (WORK / "refusal.json").write_bytes(refusal or b"{}")
    port, refusing = free_port(), free_port()
    connections = (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200) // 2
    file = WORK / "haproxy.cfg"
    file.write_text(f"""
global
    nbthread 1
    maxconn {connections}
    stats socket {WORK}/haproxy.sock
defaults
    mode http
    option http-keep-alive
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend relay
    bind 127.0.0.1:{port}
    default_backend model
frontend refuse
    bind 127.0.0.1:{refusing}
    http-request return status 400 content-type application/json file {WORK}/refusal.json
backend model
    server model 127.0.0.1:{up.port}
""")
    server = Server("haproxy", ["haproxy", "-db", "-f", file], port)
    server.refusing = refusing
    return server.wait_for_port()


def nginx(up, static=b"", refusal=b""):
    """One process, keep-alive on both sides, no buffering. /static is a file that it keeps open; /refusal is a 400 with that
    body."""
    (WORK / "static").write_bytes(static)
    quoted = refusal.decode().replace("\\", "\\\\").replace('"', '\\"').replace("$", "")
    port = free_port()
    connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100
    file = WORK / "nginx.conf"
    file.write_text(f"""
daemon off;
master_process off;
worker_processes 1;
pid {WORK}/nginx.pid;
error_log {WORK}/nginx-error.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {WORK}/nginx-body;
    proxy_temp_path {WORK}/nginx-proxy;
    fastcgi_temp_path {WORK}/nginx-fastcgi;
    uwsgi_temp_path {WORK}/nginx-uwsgi;
    scgi_temp_path {WORK}/nginx-scgi;
    keepalive_requests 1000000000;
    open_file_cache max=16;
    sendfile on;
    upstream model {{
        server 127.0.0.1:{up.port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        location / {{ proxy_pass http://model; }}
        location = /static {{ root {WORK}; default_type application/json; }}
        location = /refusal {{ default_type application/json; return 400 "{quoted}"; }}
    }}
}}
""")
    return Server("nginx", ["nginx", "-c", file], port).wait_for_port()
