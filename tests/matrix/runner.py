"""Carries the matrix's cells out, many at a time, and keeps what was seen of each.

Each cell has models and a route of its own, so what metrics and access log say of a model is said of one cell,
however many run beside it. A gateway takes a bounded number of cells, since it bounds its metrics' series.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import faults
import outcomes
from lib.client import EventStream, Response
from lib.gateway import SLOW, WAIT, Gateway, eventually
from lib.upstream import Upstream

CELLS_PER_GATEWAY = 80
PARALLEL = int(os.environ.get("MATRIX_PARALLEL", "16"))
WORKERS = int(os.environ.get("MATRIX_WORKERS", "1"))
CLIENT_WAIT = WAIT + 10 * SLOW


def configuration(cells, hosts):
    """One route and two models for each cell."""
    models, routes = {}, {}
    for cell in cells:
        failing = faults.provider_of(cell.fault)
        drafter = failing if cell.role in ("drafter", "both") else "sound"
        heavy = "sound" if cell.role == "drafter" else failing
        names = {role: model_name(cell, role) for role in ("drafter", "heavyweight")}
        models[names["drafter"]] = {"provider": drafter, "model": names["drafter"]}
        models[names["heavyweight"]] = {"provider": heavy, "model": names["heavyweight"]}
        routes[cell.id] = names
    return {
        "server": {"listen": ["127.0.0.1:0"], "drain_timeout": 5, "workers": WORKERS},
        "providers": hosts.providers(outcomes.RETRIES),
        "models": models,
        "routes": routes,
        "entropy": {"threshold": 2.0, "window_size": faults.WINDOW, "early_exit_count": faults.EARLY, "top_logprobs": 5},
        "speculative": {"enabled": False},
        "stream": {"mode": "live"},
        "cache": {"enabled": False},
        # It counts, but never opens: the cells are to meet the faults.
        "breaker": {"failures": 0, "failed_part": 0},
    }


def model_name(cell, role):
    return f"{cell.id}.{role[0]}"


def preloaded(library):
    """The environment that puts the library's look-up of names before the C library's."""
    options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
    return {"LD_PRELOAD": str(library), "NAMES_HANG_MS": str(faults.HANG_MS), "ASAN_OPTIONS": options}


@dataclass
class Seen:
    """What the client saw of one cell, and afterwards what the gateway and the upstreams tell of it."""

    head: object
    response: object = None  # a whole one
    stream: object = None    # or a stream, read to its end
    log: dict = None
    results: dict = None     # draftthinker_upstream_results_total by role
    counts: dict = None      # draftthinker_breaker_results_total by role and result
    requests: dict = None    # seen by the scripted upstreams, by role


class Matrix:
    def __init__(self, cells, make_directory, library):
        self.cells = cells
        self.sound, self.faulty = Upstream(), Upstream()
        self.hosts = faults.Hosts(self.sound, self.faulty)
        self.seen, self.errors, self.gateways = {}, {}, []
        self._make_directory = make_directory
        self._library = library

    def run(self):
        groups = [self.cells[at : at + CELLS_PER_GATEWAY] for at in range(0, len(self.cells), CELLS_PER_GATEWAY)]
        jobs = []
        for cells in groups:
            gateway = Gateway(self._make_directory("matrix"), self.configuration(cells), preloaded(self._library))
            self.gateways.append(gateway)
            gateway.start()
            jobs += [(gateway, cell) for cell in cells]
        # Those that wait for timeouts first, so that none is left alone at the end.
        jobs.sort(key=lambda job: job[1].fault.name not in faults.TIMEOUTS)
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(self._run_cell, jobs))
        for gateway, cells in zip(self.gateways, groups):
            self._gather(gateway, cells)

    def configuration(self, cells):
        return configuration(cells, self.hosts)

    def _run_cell(self, job):
        gateway, cell = job
        gate = self.faulty.gate()
        try:
            self._script(cell, gate)
            self.seen[cell.id] = ask(gateway, cell, gate)
        except Exception as error:  # told by the cell's test
            self.errors[cell.id] = error
        finally:
            gate.set()

    def _script(self, cell, gate):
        drafter, heavy = model_name(cell, "drafter"), model_name(cell, "heavyweight")
        self.sound.on(drafter, faults.unsure_script())
        self.sound.on(heavy, faults.sound_script("heavyweight"))
        if cell.role == "drafter":
            self.faulty.on(drafter, faults.script_of(cell.fault, "drafter", True, cell.late, cell.outcome, gate))
            return
        if cell.role == "both":
            self.faulty.on(drafter, faults.script_of(cell.fault, "drafter", True, False, cell.fault.drafter, gate))
        script = faults.script_of(cell.fault, "heavyweight", cell.streamed, cell.late, cell.outcome, gate)
        if cell.role == "heavyweight_once":
            script = faults.once(script, faults.closing(faults.sound_script("heavyweight")))
        self.faulty.on(heavy, script)

    def _gather(self, gateway, cells):
        lines = {}

        def complete():
            lines.update((line["id"], line) for line in map(json.loads, gateway.access.lines[len(lines):]))
            return all(cell.id in lines for cell in cells if cell.id in self.seen)

        def settled():
            samples = gateway.metrics()
            running = [v for name, v in samples.items() if name.startswith("draftthinker_upstream_requests_in_flight")]
            return samples if not any(running) else None

        eventually(complete, "a log line for each cell")
        samples = by_model(eventually(settled, "an end of all upstream requests"))
        for cell in cells:
            if seen := self.seen.get(cell.id):
                self._complete(cell, seen, lines[cell.id], samples)

    def _complete(self, cell, seen, line, samples):
        seen.log, seen.results, seen.counts, seen.requests = line, {}, {}, {}
        for role in ("drafter", "heavyweight"):
            name = model_name(cell, role)
            seen.results[role] = sum(samples.get(("upstream", name), {}).values())
            seen.counts[role] = {**outcomes.none_counted(), **samples.get(("breaker", name), {})}
            seen.requests[role] = self.sound.requests_for(name) + self.faulty.requests_for(name)

    def stop(self):
        """Ends everything; the faults that were not of a cell."""
        problems = self.faulty.reset() + self.sound.reset()
        for gateway in self.gateways:
            try:
                gateway.stop()
            except AssertionError as error:
                problems.append(str(error))
                gateway.kill()
        self.hosts.close()
        self.faulty.stop()
        self.sound.stop()
        return problems


def ask(gateway, cell, gate):
    """Plays the client. It opens the gate when it has got all that can be got before a late fault."""
    shown = faults.SHOWN if cell.role == "drafter" else faults.ANSWER
    model = model_name(cell, "heavyweight") if cell.role == "pinned" else cell.id
    body = {"model": model, "stream": cell.streamed, "messages": [{"role": "user", "content": "Where?"}]}
    with gateway.client(CLIENT_WAIT) as client:
        client.begin("POST", "/v1/chat/completions", body, [("X-Request-ID", cell.id)])
        if not cell.streamed:
            response = client.read_response()
            return Seen(response, response=response)
        head = client.read_head()
        if not (head.header("Content-Type") or "").startswith("text/event-stream"):
            return Seen(head, response=Response(head, b"".join(client.pieces(head)), True))
        stream = EventStream(client, head)
        while cell.late and stream.text != shown and stream.next() is not None:
            pass
        gate.set()
        return Seen(head, stream=stream.read())


def by_model(samples):
    """{("upstream" | "breaker", model): {result: count}}"""
    kinds = {"draftthinker_upstream_results_total": "upstream", "draftthinker_breaker_results_total": "breaker"}
    found = {}
    for sample, value in samples.items():
        name, _, labels = sample.partition("{")
        if name in kinds:
            label = dict(part.split("=", 1) for part in labels.rstrip("}").split(","))
            model, result = label["model"].strip('"'), label["result"].strip('"')
            found.setdefault((kinds[name], model), {})[result] = value
    return found
