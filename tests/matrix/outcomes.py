"""The classes of outcome that the table of failures names: in words, for docs/failures.md, and in figures, for the test.

A class says what becomes of the *answer*. What it means for counts and headers follows from the class and the cell, in
expected(), and from nothing else.
"""

import math
from dataclasses import dataclass, field

RETRIES = 1  # of the matrix's providers

# Classes of a failing drafter, then of a heavyweight, then of what fails after the first byte.
WORDS = {
    "accepts": "The draft is the answer, whole. Nothing is lost and nothing is said of it: decision `accept`, reason `confident`, "
               "status 200. The heavyweight is not asked. The drafter's breaker counts a success. Log: `end` is `done`.",
    "escalates": "The client sees the heavyweight's answer, and nothing of the draft: decision `escalate`, reason `drafter_error`. "
                 "The drafter is asked once and never waited for. Log: `end` is `done`, `detail` says what was wrong "
                 "with the draft. The drafter's breaker counts what the second table says.",
    "answers": "The heavyweight's answer is delivered as it is, whole, status 200. It is asked once; its breaker counts a success. "
               "Log: `end` is `done`.",
    "passes": "The fault is the request's own: the client gets the heavyweight's status and body as they are. It is asked once; "
              "its breaker takes no notice. Log: the status, `end` is `error`, `error` is `invalid_request_error`.",
    "502": "The client gets status 502, type `upstream_error`. The heavyweight is asked once; another of its list would be asked "
           "next, but never the same again. Log: status 502, `end` is `error`, `error` is `upstream_error`.",
    "504": "The client gets status 504, type `timeout_error`, and is told which timeout it was. The heavyweight is asked once: "
           "it was slow once and would be again; another of its list would be asked next. Log: status 504, `end` is `error`, `error` is `timeout_error`.",
    "final, 502": "As `502`, with `x-should-retry: false`, since the model server said so itself.",
    "retried, 502": "The only heavyweight of a list is asked again, `retries` times, after a pause that chance makes or that the model "
                    "server asks for. When it fails each time, the client gets status 502, type `upstream_error`, with "
                    "`x-should-retry: false`, and the `Retry-After` that came with a 503 or 529; the breaker counts each attempt. "
                    "Log: status 502, `end` is `error`, `error` is `upstream_error`. When it answers in time, see *retried, "
                    "answered*.",
    "retried, 504": "As `retried, 502`, but the client gets status 504, type `timeout_error`.",
    "retried, 429": "As `retried, 502`, but the client gets status 429, type `rate_limit_error`, with the model server's "
                    "`Retry-After`, also told as `retry-after-ms`.",
    "retried, answered": "The heavyweight failed and was asked again before the client had seen anything: the client gets its answer, "
                         "status 200, and can tell only by `x-gateway-attempts`. The breaker counts both. Log: `end` is `done`.",
    "cut": "Status 200 has been sent already, and so has a part of the text. That part stays as it is; then comes a frame "
           "`{\"error\": {\"type\": \"upstream_error\", \"code\": \"upstream_truncated\", …}}`, no finish_reason, no `[DONE]`, and "
           "the connection is closed. Nobody is asked again. The breaker counts a failure. Log: status 200, `end` is `upstream_truncated`, "
           "`error` is `upstream_error`.",
}

NEVER = {
    "head": "what a response head tells, and what happens before it, comes before the first byte of the answer",
    "connect": "by the time something has been delivered, there is a connection",
    "json": "it is a fault of streams, and the heavyweight was asked for JSON",
    "asked": "a drafter is always asked for a stream, and so is a heavyweight when the client asked for one",
    "said": "something has been said already",
    "whole": "an answer that is not streamed is delivered in one piece, when it is complete",
    "accepted": "the draft is accepted all the same, so the heavyweight is not asked",
}

BEFORE = {"drafter": ("accepts", "escalates"),
          "heavyweight": ("answers", "passes", "502", "504", "final, 502", "retried, 502", "retried, 504", "retried, 429")}
LATE = {"drafter": ("accepts", "cut"), "heavyweight": ("answers", "cut")}

ERROR_TYPES = {400: "invalid_request_error", 413: "invalid_request_error", 422: "invalid_request_error",
               429: "rate_limit_error", 502: "upstream_error", 504: "timeout_error"}


def never(outcome):
    """Why the cell cannot be; None if it can."""
    return outcome[len("never: "):] if outcome.startswith("never: ") else None


def none_counted():
    return {"success": 0, "failure": 0, "ignored": 0}


@dataclass
class Expected:
    """All that is checked of a cell. model: the role of the model that the answer names."""

    decision: str = "escalate"
    reason: str = "early_exit"
    model: str = "heavyweight"
    status: int = 200
    error: str = None       # its type, as the client and the log have it
    code: str = None
    end: str = "done"
    says: str = None        # words of the error and of the log's detail
    should_retry: str = None
    retry_after: str = None
    retry_after_ms: str = None
    calls: dict = field(default_factory=lambda: {"drafter": 1, "heavyweight": 0})
    counts: dict = field(default_factory=lambda: {"drafter": none_counted(), "heavyweight": none_counted()})
    detail: bool = False    # does the log say what went wrong?
    pause_ms: int = 0       # at least so long between the heavyweight's attempts


def expected(cell):
    """What is to be seen of a cell."""
    e = Expected()
    e.says = cell.fault.says
    if cell.role == "drafter" and cell.outcome in ("accepts", "cut"):
        e.decision, e.reason, e.model = "accept", "confident", "drafter"
        _expect_answer(e, cell, "drafter")
        return e
    if cell.role == "pinned":
        e.decision, e.reason, e.calls["drafter"] = "direct", "pinned", 0
    elif cell.role in ("heavyweight", "heavyweight_once"):
        # Uncertain at its first token, and cut off: it had said something.
        e.counts["drafter"]["success"] = 1
    else:
        e.reason, e.detail = "drafter_error", True
        e.counts["drafter"][cell.fault.counts] = 1
    e.calls["heavyweight"] = 1
    _expect_answer(e, cell, "heavyweight")
    return e


def _expect_answer(e, cell, role):
    outcome, counts = cell.outcome, e.counts[role]
    if outcome in ("accepts", "answers", "escalates"):
        counts["success"] = 1
        return
    if outcome == "retried, answered":
        counts["success"], counts[cell.fault.counts] = 1, 1
        e.calls[role], e.detail, e.pause_ms = 2, True, cell.fault.pause_ms
        return
    e.detail = True
    if outcome == "cut":
        counts["failure"] = 1
        e.error, e.code, e.end = "upstream_error", "upstream_truncated", "upstream_truncated"
        return
    if outcome.startswith("retried"):
        e.calls[role] = 1 + RETRIES
        e.pause_ms = cell.fault.pause_ms
    counts[cell.fault.counts] = e.calls[role]
    e.status = int(cell.fault.says) if outcome == "passes" else int(outcome[-3:])
    e.error, e.code, e.end = ERROR_TYPES[e.status], cell.fault.code, "error"
    if e.calls[role] > 1 or outcome.startswith("final"):
        e.should_retry = "false"
    if cell.fault.pause_ms:
        e.retry_after = str(math.ceil(cell.fault.pause_ms / 1000))
        e.retry_after_ms = str(cell.fault.pause_ms)
