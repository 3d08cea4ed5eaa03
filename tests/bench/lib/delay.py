"""What a request waits for in between: one at a time, against going to the model server directly."""

from contextlib import ExitStack
from statistics import median

from . import load, servers
from .rows import Row

PACE_MS = 1


def added(found, name, kind, part):
    """How much later than directly. Of medians, the median over the rounds; of a p99, which whatever else runs on the
    machine sets, that of each side's quietest round."""
    if part == "p50":
        return median(via[kind][part] - direct[kind][part] for via, direct in zip(found[name], found["direct"]))
    return min(run[kind][part] for run in found[name]) - min(run[kind][part] for run in found["direct"])


def rounds(ports, messages, count, **options):
    """{name: results of the load client}, the sides taking turns."""
    found = {name: [] for name in ports}
    for number in range(count):
        for name in list(ports) if number % 2 == 0 else reversed(ports):
            found[name].append(load.run(ports[name], messages.get(name, messages["direct"]), **options))
    return found


def rows_of(found, kinds):
    """kinds: (key, words, kind, percentile, target) each."""
    for key, words, kind, part, target in kinds:
        sides = {name: added(found, name, kind, part) for name in found if name != "direct"}
        direct = median(run[kind][part] for run in found["direct"])
        yield Row(key, words, sides["gateway"], "µs", target, sides=sides, sides_unit="µs", detail={"direct_us": direct})


def measure(up, effort):
    """Yields the rows."""
    with ExitStack() as stack:
        ports = {"direct": up.port}
        for start in (servers.gateway, servers.haproxy, servers.nginx):
            server = stack.enter_context(start(up))
            ports[server.name] = server.port
        plain = {"direct": load.request(model="gpt-4.1"), "gateway": load.request(model="big")}
        found = rounds(ports, plain, effort.delay_rounds, requests=effort.delay_requests)
        yield from rows_of(found, [("latency_p50", "added to an answer, p50", "latency_us", "p50", 80),
                                   ("latency_p99", "added to an answer, p99", "latency_us", "p99", 250)])
        words = f"paced-{PACE_MS}"
        paced = {"direct": load.request(model="gpt-4.1", stream=True, words=words),
                 "gateway": load.request(model="big", stream=True, words=words)}
        found = rounds(ports, paced, effort.delay_rounds, requests=effort.paced_requests, frames=load.FRAMES, stamped=True)
        yield from rows_of(found, [("first_token", "added to the first token, p50", "first_us", "p50", 200),
                                   ("token_p50", "added to each token, p50", "delay_us", "p50", None),
                                   ("token_p99", "added to each token, p99", "delay_us", "p99", 10)])
