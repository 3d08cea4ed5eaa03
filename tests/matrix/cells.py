"""The table of failures, read, and the cells that follow from it."""

from dataclasses import dataclass
from pathlib import Path

import outcomes

HERE = Path(__file__).resolve().parent
TABLE = HERE / "failures.txt"
COLUMNS = ["name", "drafter", "heavy, streamed", "heavy, whole", "late drafter", "late heavy", "code", "says", "counts", "wait ms",
           "fault"]
# Faults of a host rather than of an answer. That one fails only once is not staged.
HOSTS = ("refused", "connect_hang", "tls_failure", "dns_failure", "dns_hang")


@dataclass(frozen=True)
class Fault:
    name: str
    drafter: str
    heavy_streamed: str
    heavy_whole: str
    late_drafter: str
    late_heavy: str
    code: str    # None where the table has "-", here and below
    says: str
    counts: str
    wait: str
    words: str

    @property
    def pause_ms(self):
        """Longer than any pause that chance could make."""
        return int(self.wait or 0)


@dataclass(frozen=True)
class Cell:
    """One fault, one place, one form of answer, one time. role: drafter, heavyweight, both, heavyweight_once,
    or pinned: a request to the heavyweight itself."""

    fault: Fault
    role: str
    streamed: bool
    late: bool
    outcome: str

    @property
    def id(self):
        return "-".join([self.fault.name, self.role, "streamed" if self.streamed else "whole", "after" if self.late else "before"])

    @property
    def is_possible(self):
        return outcomes.never(self.outcome) is None


def read_table():
    rows = [line for line in TABLE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    cut = [[part.strip() for part in row.split("|")] for row in rows]
    assert cut[0] == COLUMNS, cut[0]
    faults = []
    for number, parts in enumerate(cut[1:], 1):
        assert len(parts) == len(COLUMNS), f"row {number} has {len(parts)} columns: {parts}"
        fault = Fault(*parts[:6], *(None if part == "-" else part for part in parts[6:10]), parts[10])
        check(fault)
        faults.append(fault)
    assert len({fault.name for fault in faults}) == len(faults), "a fault stands twice"
    return faults


def check(fault):
    for outcome, known in [
        (fault.drafter, outcomes.BEFORE["drafter"]), (fault.late_drafter, outcomes.LATE["drafter"]),
        (fault.heavy_streamed, outcomes.BEFORE["heavyweight"]), (fault.heavy_whole, outcomes.BEFORE["heavyweight"]),
        (fault.late_heavy, outcomes.LATE["heavyweight"]),
    ]:
        reason = outcomes.never(outcome)
        assert outcome in known if reason is None else reason in outcomes.NEVER, f"{fault.name}: {outcome!r}"
    assert fault.counts in (None, "failure", "ignored"), f"{fault.name}: {fault.counts!r}"


def cells_of(fault):
    """All cells of a fault, those that cannot be as well."""
    heavy = {True: fault.heavy_streamed, False: fault.heavy_whole}
    cells = []
    for streamed in (True, False):
        late_drafter = fault.late_drafter if streamed else "never: whole"
        late_heavy = fault.late_heavy if streamed else "never: whole"
        cells += [
            Cell(fault, "drafter", streamed, False, fault.drafter),
            Cell(fault, "drafter", streamed, True, late_drafter),
            Cell(fault, "heavyweight", streamed, False, heavy[streamed]),
            Cell(fault, "heavyweight", streamed, True, late_heavy),
            Cell(fault, "pinned", streamed, False, heavy[streamed]),
            Cell(fault, "pinned", streamed, True, late_heavy),
            Cell(fault, "both", streamed, False, both(fault, heavy[streamed])),
            Cell(fault, "both", streamed, True, both(fault, late_heavy)),
        ]
        if heavy[streamed].startswith("retried") and fault.name not in HOSTS:
            cells.append(Cell(fault, "heavyweight_once", streamed, False, "retried, answered"))
    return cells


def both(fault, heavy):
    """The drafter fails first, before anything was delivered, and the heavyweight then does as it would."""
    if outcomes.never(fault.drafter):
        return fault.drafter
    return "never: accepted" if fault.drafter == "accepts" else heavy


def all_cells():
    return [cell for fault in read_table() for cell in cells_of(fault)]
