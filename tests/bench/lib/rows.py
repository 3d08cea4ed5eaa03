"""A line of the table, and how much is done for it."""

from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """value is what the target is about; sides: the same or a like figure for each process, where there are several."""

    key: str
    words: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False  # the target is the least, not the most
    sides: dict = field(default_factory=dict)
    sides_unit: str = ""
    detail: dict = field(default_factory=dict)

    @property
    def met(self):
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def document(self):
        return {**asdict(self), "met": self.met}


@dataclass
class Effort:
    """How much of everything is done. What is compared takes turns, so many rounds of it."""

    connections: int = 32
    rounds: int = 7
    requests: int = 8000  # of the cheapest kind, in a round
    delay_rounds: int = 15  # short ones, so that some are quiet
    delay_requests: int = 1000
    paced_requests: int = 8
    streams: int = 10000
    spreads: int = 3
    cached: int = 1000000  # answers, for the turns


SMOKE = Effort(rounds=2, requests=1000, delay_rounds=3, delay_requests=300, paced_requests=4, streams=100, spreads=1, cached=5000)


def shown(value):
    """A figure with about three digits that count, or a whole number."""
    if isinstance(value, int):
        return f"{value:,}"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def with_unit(value, unit):
    return f"{shown(value)} {unit}".rstrip()


def verdict(row):
    """From a row as in the JSON document."""
    if row["met"] is None:
        return ""
    return "met" if row["met"] else "missed"


def target(row):
    if row["target"] is None:
        return ""
    return f"{'≥' if row['at_least'] else '≤'} {with_unit(row['target'], row['unit'])}"


# What haproxy takes for an answer in JSON on the machine for which the times were set.
REFERENCE_US = 14.5


def slowness(rows):
    """How many times slower this machine is than that one; rows as in the JSON document."""
    return next(row for row in rows if row["key"] == "direct_json")["sides"]["haproxy"] / REFERENCE_US


def on_the_reference(row, slowness):
    """The figure that a machine which is so much faster would show. None: the speed does not matter."""
    if row["unit"] == "µs":
        return row["value"] / slowness
    return row["value"] * slowness if row["unit"] == "tokens/s" else None


COLUMNS = ["", "gateway", "haproxy", "nginx", "measured", "target", ""]


def cells(row):
    """One line of the table, from a row as in the JSON document."""
    sides = [with_unit(row["sides"][name], row["sides_unit"]) if name in row["sides"] else ""
             for name in ("gateway", "haproxy", "nginx")]
    return [row["words"], *sides, with_unit(row["value"], row["unit"]), target(row), verdict(row)]


LOAD_COLUMNS = ["", "", "requests/s", "p50", "p99", "first token", "RSS"]


def load_cells(rows):
    """Lines of the second table: what the client saw of each side while as many requests ran as it has connections."""
    for row in rows:
        words = row["words"]
        for name, seen in row["detail"].get("load", {}).items():
            if name in row["sides"]:
                first = with_unit(seen["first_us"] / 1e3, "ms") if seen["first_us"] else ""
                yield [words, name, f"{seen['per_second']:,.0f}", with_unit(seen["p50_us"] / 1e3, "ms"),
                       with_unit(seen["p99_us"] / 1e3, "ms"), first, with_unit(seen["rss_mb"], "MB")]
                words = ""


def load_table(rows):
    return aligned([LOAD_COLUMNS, *load_cells(rows)])


def table(rows):
    return aligned([COLUMNS, *map(cells, rows)])


def aligned(lines):
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:6], widths[1:6]), line[6]]).rstrip() for line in lines)
