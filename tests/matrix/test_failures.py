"""Every cell of the table of failures, and the page that is written from it."""

import subprocess
import sys
from pathlib import Path

import pytest

import cells
import faults
import outcomes
from lib.checks import assert_error

HERE = Path(__file__).resolve().parent
ALL = cells.all_cells()
POSSIBLE = [cell for cell in ALL if cell.is_possible]


@pytest.mark.parametrize("cell", POSSIBLE, ids=lambda cell: cell.id)
def test_failure(matrix, cell):
    if cell.id in matrix.errors:
        raise matrix.errors[cell.id]
    seen, e = matrix.seen[cell.id], outcomes.expected(cell)
    check_head(seen.head, cell, e)
    if seen.stream is None:
        check_response(seen.response, cell, e)
    else:
        check_stream(seen.stream, cell, e)
    check_calls(seen, cell, e)
    assert seen.counts == e.counts, "what the breakers counted"
    check_log(seen.log, cell, e)


def check_head(head, cell, e):
    name = f"{cell.id}.{e.model[0]}"
    told = {key: head.header(key) for key in (
        "X-Routing-Decision", "X-Routing-Reason", "x-gateway-model", "x-gateway-attempts", "X-Request-ID",
        "x-should-retry", "Retry-After", "retry-after-ms")}
    assert (head.status, told) == (e.status, {
        "X-Routing-Decision": e.decision, "X-Routing-Reason": e.reason, "x-gateway-model": name,
        "x-gateway-attempts": str(sum(e.calls.values())), "X-Request-ID": cell.id,
        "x-should-retry": e.should_retry, "Retry-After": e.retry_after, "retry-after-ms": e.retry_after_ms,
    })


def text_of(cell, e):
    """The whole text of the answer."""
    if e.model == "drafter":
        return faults.DRAFT
    return "" if cell.fault.name == "empty_answer" and cell.outcome == "answers" else faults.ANSWER


def check_response(response, cell, e):
    assert response.complete
    if e.error is None:
        assert response.text == text_of(cell, e)
        assert response.json()["choices"][0]["finish_reason"] == "stop"
    elif cell.outcome == "passes":
        assert response.body == faults.REFUSAL
    else:
        assert_error(response, e.status, code=e.code, says=e.says or ())
    if cell.streamed:
        assert e.error, "an answer is streamed, as was asked for"


def check_stream(stream, cell, e):
    assert e.status == 200
    if e.error is None:
        assert stream.text == text_of(cell, e)
        assert stream.error is None and stream.done and stream.complete
        assert (stream.routing["decision"], stream.routing["reason"]) == (e.decision, e.reason)
        return
    assert cell.outcome == "cut"
    assert stream.text == (faults.SHOWN if e.model == "drafter" else faults.ANSWER)
    assert (stream.error["type"], stream.error["code"]) == (e.error, e.code)
    assert "error" in stream.frames[-1], "nothing comes after the error"
    assert "[DONE]" not in stream.data
    assert not any(choice["finish_reason"] for frame in stream.frames for choice in frame.get("choices", []))
    assert not stream.complete, "the end of the answer is not claimed, the connection is closed"


def check_calls(seen, cell, e):
    assert seen.results == e.calls, "upstream requests, as the gateway counts them"
    if cell.fault.name not in cells.HOSTS:
        assert {role: len(requests) for role, requests in seen.requests.items()} == e.calls, "as upstream counts them"
    if e.pause_ms:
        first, second = seen.requests["heavyweight"]
        assert (second.at - first.at) * 1000 >= e.pause_ms - 5


def check_log(line, cell, e):
    expected = {
        "status": e.status, "decision": e.decision, "reason": e.reason, "end": e.end, "error": e.error, "stream": cell.streamed,
        "attempts": sum(e.calls.values()), "model": f"{cell.id}.{e.model[0]}", "drafter": f"{cell.id}.d" if e.calls["drafter"] else None,
        "heavyweight": f"{cell.id}.h" if e.calls["heavyweight"] else None,
    }
    assert {key: line.get(key) for key in expected} == expected
    if e.detail:
        assert (e.says or "").lower() in line["detail"].lower() and line["detail"]
    else:
        assert "detail" not in line


# The table itself


def test_every_place_form_and_time_of_every_fault_is_a_cell_or_said_to_be_none():
    for fault in cells.read_table():
        found = [(cell.role, cell.streamed, cell.late) for cell in cells.cells_of(fault) if cell.role != "heavyweight_once"]
        wanted = {(role, streamed, late) for role in ("drafter", "heavyweight", "pinned", "both")
                  for streamed in (True, False) for late in (True, False)}
        assert set(found) == wanted and len(found) == len(wanted), fault.name


def test_each_class_of_outcome_has_a_cell():
    assert {cell.outcome for cell in POSSIBLE} == set(outcomes.WORDS)


def test_a_wrong_class_in_the_table_is_found():
    fault = cells.read_table()[0]
    with pytest.raises(AssertionError, match="status_200"):
        cells.check(type(fault)(**{**fault.__dict__, "drafter": "excapes"}))


def test_the_page_of_failures_is_up_to_date():
    written = subprocess.run([sys.executable, str(HERE / "document")], stdout=subprocess.PIPE, check=True).stdout.decode()
    page = HERE.parents[1] / "docs/failures.md"
    assert page.read_text() == written, "docs/failures.md is out of date: make docs/failures.md"
