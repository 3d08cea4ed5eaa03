"""What a request costs: processor time of the gateway and of plain proxies that relay the same bytes."""

import http.client
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from . import load, machine, servers
from .rows import Row

SPREAD_CONNECTIONS = 256


@dataclass
class Side:
    """One process and what it is asked."""

    server: servers.Server
    message: bytes
    frames: int = 0
    status: int = 200
    port: int = 0  # another one than the server's own

    def run(self, requests, connections):
        return load.run(self.port or self.server.port, self.message, connections=connections, requests=requests,
                        frames=self.frames, status=self.status)

    def round(self, requests, connections):
        """Microseconds of processor time a request, and what the client saw."""
        before = machine.cpu_seconds(self.server.pid)
        found = self.run(requests, connections)
        return (machine.cpu_seconds(self.server.pid) - before) / requests * 1e6, self.seen(requests, found)

    def seen(self, requests, found):
        """As the columns of rows.LOAD_COLUMNS. A stream's first token is its first frame's."""
        return {"per_second": requests / found["seconds"], "p50_us": found["latency_us"]["p50"],
                "p99_us": found["latency_us"]["p99"], "first_us": found["first_us"]["p50"] if self.frames else None,
                "rss_mb": machine.rss_kb(self.server.pid) / 1024}


def compare(sides, effort, share=1.0):
    """Medians for each side, and the ratios of the first side to the others. The sides take turns, so that what else the
    machine does meets all of them, and a ratio is one of neighbours in time. share: of the usual number of requests, for
    what takes longer."""
    connections = effort.connections
    requests = max(connections, int(effort.requests * share))
    for side in sides.values():
        side.run(max(connections, requests // 10), connections)
    found = {name: [] for name in sides}
    for number in range(effort.rounds):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            found[name].append(sides[name].round(requests, connections))
    first = next(iter(sides))
    return {
        "requests": requests,
        "rounds": effort.rounds,
        "us": {name: median(us for us, _ in rounds) for name, rounds in found.items()},
        "us_lowest": {name: min(us for us, _ in rounds) for name, rounds in found.items()},
        "us_highest": {name: max(us for us, _ in rounds) for name, rounds in found.items()},
        "load": {name: {key: median(seen[key] for _, seen in rounds) if rounds[0][1][key] is not None else None
                        for key in rounds[0][1]} for name, rounds in found.items()},
        "ratios": {name: median(a[0] / b[0] for a, b in zip(found[first], found[name])) for name in sides if name != first},
    }


def row(key, words, sides, effort, *, target=None, share=1.0, against="haproxy"):
    detail = compare(sides, effort, share)
    return Row(key, words, detail["ratios"][against], f"× {against}", target, sides=detail["us"], sides_unit="µs",
               detail=detail)


def answer_to(server, body):
    """The body of the server's answer to that body."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    client.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = client.getresponse().read()
    client.close()
    return answer


def measure(up, effort):
    """Yields the rows."""
    plain = load.request(model="gpt-4.1")
    streamed = load.request(model="gpt-4.1", stream=True)
    drafted = load.drafting()
    bad = b'{"model":"big","messages":[{"role":"user","content":"What does a gateway do?"}'
    with ExitStack() as stack:
        gateway = stack.enter_context(servers.gateway(up))
        haproxy = stack.enter_context(servers.haproxy(up, answer_to(gateway, bad)))
        proxies = {"haproxy": haproxy, "nginx": stack.enter_context(servers.nginx(up))}

        def sides(own, relayed, frames=load.FRAMES):
            return {"gateway": Side(gateway, own, frames),
                    **{name: Side(proxy, relayed, frames) for name, proxy in proxies.items()}}

        yield row("direct_json", "direct, JSON", sides(load.request(model="big"), plain, 0), effort, target=3)
        yield row("direct_stream", "direct, stream of 64 frames", sides(load.request(model="big", stream=True), streamed),
                  effort, target=3, share=0.5)
        yield row("accepted_json", "accepted draft, as JSON", sides(load.request(model="hold"), drafted),
                  effort, target=4, share=0.4)
        yield row("accepted_hold", "accepted draft, streamed (hold)",
                  sides(load.request(model="hold", stream=True), drafted), effort, target=5, share=0.4)
        yield row("accepted_live", "accepted draft, streamed (live)",
                  sides(load.request(model="live", stream=True), drafted), effort, target=5, share=0.4)
        yield row("escalated", "escalated draft, then JSON",
                  {"gateway": Side(gateway, load.request(model="hold", words="uncertain")), "haproxy": Side(haproxy, plain)},
                  effort, share=0.4)
        yield from refusals(stack, up, gateway, haproxy, bad, effort)


def refusals(stack, up, gateway, haproxy, body, effort):
    """Beside haproxy that relays the same refusal, and beside one that refuses without looking at the request."""
    refusal = answer_to(gateway, body)
    relaying = stack.enter_context(servers.haproxy(stack.enter_context(servers.nginx(up, refusal=refusal))))
    refused = load.request(body=body)
    first = row("refused", "refused: the body is no JSON",
                {"gateway": Side(gateway, refused, status=400),
                 "haproxy": Side(relaying, load.request("/refusal", body=body), status=400),
                 "itself": Side(haproxy, refused, status=400, port=haproxy.refusing)}, effort, target=1.2)
    own = first.sides.pop("itself")
    yield first
    yield Row("refused_unread", "the same, beside haproxy's own refusal, unread", first.detail["ratios"]["itself"],
              "× haproxy", sides={"gateway": first.sides["gateway"], "haproxy": own}, sides_unit="µs")


def cache_hits(gateway):
    client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    client.request("GET", "/metrics")
    text = client.getresponse().read().decode()
    client.close()
    return float(re.search(r"^draftthinker_cache_hits_total (\S+)", text, re.M).group(1))


def measure_cache(up, effort):
    """Yields the rows of an exact hit. haproxy relays, and nginx has in a file, the same bytes."""
    question, file = load.request(model="hold"), load.request("/static", method="GET")
    with servers.gateway(up, cache={"enabled": True, "embedder": "none"}) as gateway:
        load.run(gateway.port, question, frames=load.FRAMES)
        answer = answer_to(gateway, question.partition(b"\r\n\r\n")[2])
        with servers.nginx(up, answer) as nginx, servers.haproxy(nginx) as haproxy:
            sides = {"gateway": Side(gateway, question, load.FRAMES), "haproxy": Side(haproxy, file, load.FRAMES),
                     "nginx": Side(nginx, file, load.FRAMES)}
            before = cache_hits(gateway)
            first = row("cache_hit", "exact cache hit", sides, effort, target=1.2)
            if cache_hits(gateway) - before < first.detail["requests"] * effort.rounds:
                raise load.Failed("what should have been cache hits were none")
    yield first
    yield Row("cache_hit_file", "the same, beside a file from nginx", first.detail["ratios"]["nginx"], "× nginx", 1.5,
              sides={name: first.sides[name] for name in ("gateway", "nginx")}, sides_unit="µs")
    yield Row("cache_hit_rate", "exact hits a second, on one core", 1e6 / first.sides["gateway"], "/s",
              sides={name: 1e6 / us for name, us in first.sides.items()}, sides_unit="/s")


def measure_workers(up, effort):
    """Yields the rows of two workers."""
    message = load.request(model="big")
    with servers.gateway(up) as one, servers.gateway(up, workers=2) as two:
        detail = compare({"two": Side(two, message), "one": Side(one, message)}, effort)
        yield Row("two_workers", "two workers, a request", detail["ratios"]["one"], "× one worker", 1.15,
                  sides={"gateway": detail["us"]["two"]}, sides_unit="µs", detail=detail)
        loops = [spread(two) for _ in range(effort.spreads)]
    busier = median(100 * max(counts) / max(1, sum(counts)) for counts in loops)
    yield Row("worker_share", f"connections at the busier of two, of {SPREAD_CONNECTIONS}", busier, "%", detail={"loops": loops})


def spread(gateway):
    """How many connections each worker has, while as many as can be are open with a slow stream."""
    counts = [0, 0]
    with load.running(gateway.port, load.request(model="big", stream=True, words="paced-50"), frames=load.FRAMES,
                      connections=SPREAD_CONNECTIONS, requests=SPREAD_CONNECTIONS) as client:
        while client.poll() is None and sum(counts) < SPREAD_CONNECTIONS:
            counts = max(counts, machine.connections_by_loop(gateway.pid, gateway.port), key=sum)
            time.sleep(0.05)
        load.result(client)
    return counts
