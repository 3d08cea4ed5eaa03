"""Many slow streams at the same time: memory, and frames that are lost or late."""

import time

from . import load, machine, servers
from .rows import Row

FRAMES_A_SECOND = 10000  # of all streams together
PACE_LEAST_MS = 100
LATE_MS = 50
SETTLE_SECONDS = 3
WARM_UP = 100
SOURCES = 16  # addresses of clients: each has its own ports


def pace_of(streams):
    """Milliseconds between two frames of a stream."""
    return max(PACE_LEAST_MS, streams * 1000 // FRAMES_A_SECOND)


def memory(pid):
    return {"rss_kb": machine.rss_kb(pid), "anonymous_kb": machine.anonymous_kb(pid)}


def through(server, message, streams):
    """Memory before, at its highest and after, and what the load client found."""
    found = {"started": memory(server.pid)}
    load.run(server.port, message(1), connections=WARM_UP // 10, requests=WARM_UP, frames=load.FRAMES)
    time.sleep(SETTLE_SECONDS)
    found["idle"] = memory(server.pid)
    pace = pace_of(streams)
    options = {"frames": load.FRAMES, "stamped": True, "late": LATE_MS, "ramp": max(500, streams * 1000 // (pace * 10)),
               "sources": SOURCES, "timeout": 60 + pace * load.FRAMES // 1000}
    found["busy"] = found["idle"]
    cpu = machine.cpu_seconds(server.pid)
    with load.running(server.port, message(pace), connections=streams, requests=streams, **options) as client:
        while client.poll() is None:
            found["busy"] = max(found["busy"], memory(server.pid), key=lambda m: m["rss_kb"])
            time.sleep(0.25)
        found["load"] = load.result(client, strict=False)
    found["cpu_us_a_frame"] = (machine.cpu_seconds(server.pid) - cpu) * 1e6 / max(1, found["load"]["frames"])
    time.sleep(SETTLE_SECONDS)
    found["after"] = memory(server.pid)
    found["kb_a_stream"] = (found["busy"]["rss_kb"] - found["idle"]["rss_kb"]) / streams
    found["streams"], found["pace_ms"] = streams, pace
    return found


def measure(up, effort):
    """Yields the rows."""
    def message(model):
        return lambda pace: load.request(model=model, stream=True, words=f"paced-{pace}")

    with servers.gateway(up) as gateway:
        own = through(gateway, message("big"), effort.streams)
    with servers.haproxy(up) as haproxy:
        other = through(haproxy, message("gpt-4.1"), effort.streams)
    both = {"gateway": own, "haproxy": other}
    detail = {"gateway": own, "haproxy": other}
    words = f"{effort.streams:,} streams at once"

    def sides(value):
        return {name: value(found) for name, found in both.items()}

    def lost(found):
        result = found["load"]
        return result["missing"] + result["twice"] + result["requests"] - result["answered"]

    yield Row("stream_memory", f"{words}: memory of one", own["kb_a_stream"], "kB", 20,
              sides=sides(lambda found: found["kb_a_stream"]), sides_unit="kB", detail=detail)
    yield Row("idle_memory", "idle: resident memory", own["idle"]["rss_kb"] / 1024, "MB", 8,
              sides=sides(lambda found: found["idle"]["rss_kb"] / 1024), sides_unit="MB")
    yield Row("after_memory", "after them: resident memory", own["after"]["rss_kb"] / own["idle"]["rss_kb"], "× idle", 1.2,
              sides=sides(lambda found: found["after"]["rss_kb"] / 1024), sides_unit="MB")
    yield Row("lost_frames", f"{words}: frames lost", lost(own), "", 0, sides=sides(lost))
    yield Row("late_frames", f"{words}: frames later than {LATE_MS} ms", own["load"]["late"], "", 0,
              sides=sides(lambda found: found["load"]["late"]))
    yield Row("frame_cost", f"{words}: a frame", own["cpu_us_a_frame"], "µs",
              sides=sides(lambda found: found["cpu_us_a_frame"]), sides_unit="µs")
