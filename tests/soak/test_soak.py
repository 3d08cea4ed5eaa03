"""Whatever clients, models and the operator do, each at random and all at once."""

# What has to happen for the rest to mean anything.
HAPPENED = (
    "200", "400", "404", "405", "413", "422", "502", "503", "accept", "escalate", "direct", "cache_hit", "whole stream",
    "cut stream", "left in a request", "left in an answer",
)


def test_much_of_what_can_happen_did(soak):
    assert not [what for what in HAPPENED if not soak.seen[what]], soak.seen
    said = soak.gateway.stderr.text()
    assert " reloaded" in said and "reload_failed" in said


def test_every_answer_is_whole_or_says_that_it_is_not(soak):
    assert not soak.faults, f"{len(soak.faults)} answers; the first:\n{soak.faults[0]}"


def test_nothing_stays_under_way_when_the_clients_have_gone(soak):
    assert not soak.in_flight


def test_stopped_at_work_it_ends_in_order(soak):
    """And with no word from a sanitizer."""
    assert not soak.end
