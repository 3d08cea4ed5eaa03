"""The cache's bounds: what it takes, whose answers make room, and when they go."""

import signal
import threading

import pytest

from lib import vectors as v
from lib.checks import assert_routed
from lib.gateway import SLOW, chat_body, eventually, long_form, merge
from lib.scripts import confident, stall
from lib.vectors import Talk, cached, quick

ENTRIES, BYTES = "draftthinker_cache_entries", "draftthinker_cache_bytes"
ROOM = 'draftthinker_cache_evictions_total{reason="room"}'
A, B, C = ([("Authorization", f"Bearer {name}")] for name in ("ann", "bob", "cid"))


def bounded(upstream, **cache):
    return merge(long_form(upstream), {"cache": {"enabled": True, "embedder": "none", **cache}})


@pytest.fixture
def holds(start, upstream):
    """holds(**cache): a daemon with these bounds, whose drafter says as little as it can."""

    def begin(workers=1, **cache):
        upstream.on("small-1", quick("It was kept."))
        return Holder(start(**merge(bounded(upstream, **cache), {"server": {"workers": workers}})), upstream)

    return begin


class Holder:
    """A daemon that is asked many questions on one connection."""

    def __init__(self, gateway, upstream):
        self.gateway = gateway
        self.upstream = upstream
        self.client = gateway.client()

    def ask(self, text, headers=(), **members):
        reply = self.client.request(
            "POST", "/v1/chat/completions", chat_body({"messages": [{"role": "user", "content": text}]}, members), headers)
        assert reply.status == 200, reply
        return reply

    def asks(self, count, headers=(), start=0, name="Question"):
        """So many questions; all figures that were seen meanwhile."""
        seen = []
        for n in range(start, start + count):
            self.ask(f"{name} {n}", headers)
            if n % 10 == 9:
                seen.append(self.figures())
        return [*seen, self.figures()]

    def figures(self):
        return self.gateway.metrics()

    def has(self, text, headers=()):
        """Is it answered from the cache? It is not kept by asking."""
        reply = self.ask(text, [*headers, ("Cache-Control", "no-store")])
        return reply.header("X-Routing-Decision") == "cache_hit"

    def known(self, count, headers=(), start=0, name="Question"):
        """Which of so many questions are answered from the cache."""
        return [n for n in range(start, start + count) if self.has(f"{name} {n}", headers)]


# Entries


def test_there_are_never_more_answers_than_there_may_be(holds):
    held = holds(max_entries=50, caller_share=1)
    for seen in held.asks(200):
        assert seen[ENTRIES] <= 50
    assert seen[ENTRIES] == 50 == seen["draftthinker_cache_entries_max"]
    assert seen[ROOM] == 150
    assert seen["draftthinker_cache_insertions_total"] == 200
    assert held.known(200) == list(range(150, 200))


def test_a_caller_may_have_all_of_what_nobody_else_wants(holds):
    held = holds(max_entries=50)
    assert held.asks(200, A)[-1][ENTRIES] == 50
    assert held.known(200, A) == list(range(150, 200))


def test_the_least_recently_used_makes_room(holds):
    held = holds(max_entries=10, caller_share=1)
    held.asks(10)
    for n in (0, 5):
        assert_routed(held.ask(f"Question {n}"), "cache_hit", "exact")
    held.asks(8, start=10)
    assert held.known(18) == [0, 5, *range(10, 18)]


def test_a_newer_answer_to_the_same_request_takes_the_olders_place(holds, upstream):
    held = holds(max_entries=10)
    for n in range(30):
        upstream.on("small-1", confident(f"Answer {n}"))
        held.ask("Question", [("Cache-Control", "no-cache")])
    seen = held.figures()
    assert seen[ENTRIES] == 1 and seen[ROOM] == 0
    assert seen['draftthinker_cache_evictions_total{reason="replaced"}'] == 29
    assert held.ask("Question").text == "Answer 29"


def test_one_entry_is_enough_of_a_cache(holds):
    held = holds(max_entries=1, caller_share=1)
    held.asks(5)
    assert held.known(5) == [4]


# Bytes


def test_there_are_never_more_bytes_than_there_may_be(holds, upstream):
    held = holds(max_bytes=200_000, caller_share=1)
    upstream.on("small-1", quick("x" * 5000))
    for seen in held.asks(200):
        assert seen[BYTES] <= 200_000 == seen["draftthinker_cache_bytes_max"]
    assert 20 <= seen[ENTRIES] <= 40, "most of it are answers"
    assert seen[BYTES] >= 150_000
    kept = held.known(200)
    assert kept == list(range(200 - len(kept), 200)) and len(kept) == seen[ENTRIES]


def test_questions_and_vectors_count_too(start, upstream):
    """Long questions with vectors of 1,000 numbers, and short answers."""
    gateway = start(**cached(upstream, cache={"max_bytes": 100_000, "caller_share": 1}))
    talk = Talk(gateway, upstream)
    upstream.on("small-1", quick("Yes."))
    for n in range(60):
        text = f"Is it so, or is it not so, for the number {n}? " + "x" * 500
        talk.embedder.place(text, v.unit(n, 1000))
        talk.ask(text)
        eventually(lambda: talk.counted("ok") == n + 1, "the vector")
        assert gateway.metrics()[BYTES] <= 100_000
    assert gateway.metrics()[ENTRIES] <= 100_000 / (4000 + 500)


def test_an_answer_larger_than_the_cache_is_not_kept_and_costs_no_other(holds, upstream):
    held = holds(max_bytes=100_000, caller_share=1)
    held.asks(10)
    upstream.on("small-1", quick("x" * 200_000))
    assert len(held.ask("A large one").text) == 200_000
    upstream.on("small-1", quick("It was kept."))
    assert held.known(10) == list(range(10))
    assert not held.has("A large one")
    assert held.figures()['draftthinker_cache_answers_total{result="no_room"}'] == 1


def test_a_large_answer_takes_the_place_of_many_small_ones(holds, upstream):
    held = holds(max_bytes=100_000, caller_share=1)
    held.asks(100)
    upstream.on("small-1", quick("x" * 80_000))
    held.ask("A large one")
    assert held.figures()[BYTES] <= 100_000
    upstream.on("small-1", quick("Anew."))
    assert held.has("A large one")


def test_a_cache_of_no_bytes_keeps_nothing(holds):
    held = holds(max_bytes=0)
    seen = held.asks(10)[-1]
    assert seen[ENTRIES] == seen[BYTES] == 0
    assert held.known(10) == []


def test_an_answer_longer_than_one_may_be_is_not_kept(holds, upstream):
    held = holds(max_answer_bytes=2000)
    upstream.on("small-1", quick("x" * 2001))
    held.ask("A long one")
    upstream.on("small-1", quick("x" * 1000))
    held.ask("A short one")
    assert held.has("A short one") and not held.has("A long one")
    assert held.figures()['draftthinker_cache_answers_total{result="too_large"}'] == 1


def test_after_all_of_it_is_deleted_nothing_is_taken(holds):
    held = holds()
    before = held.figures()[BYTES]
    held.asks(50, A)
    held.asks(50, B)
    assert held.client.request("DELETE", "/v1/cache", headers=A).status == 204
    assert held.known(50, A) == [] and held.known(50, B) == list(range(50))
    assert held.client.request("DELETE", "/v1/cache", headers=B).status == 204
    assert held.figures()[ENTRIES] == 0
    assert held.figures()[BYTES] <= before + 4096


# Callers


@pytest.mark.parametrize("bounds", [{"max_entries": 40}, {"max_bytes": 60_000}], ids=["entries", "bytes"])
def test_who_floods_the_cache_pushes_out_nobody_below_his_share(holds, bounds):
    held = holds(**bounds)
    held.asks(5, B, name="Of bob")
    held.asks(200, A)
    assert held.known(5, B, name="Of bob") == list(range(5))


def test_who_floods_the_cache_pushes_out_neither_of_two_others(holds):
    held = holds(max_entries=40, caller_share=0.25)
    held.asks(9, B, name="Of bob")
    held.asks(9, C, name="Of cid")
    held.asks(200, A)
    assert held.known(9, B, name="Of bob") == held.known(9, C, name="Of cid") == list(range(9))
    assert held.figures()[ENTRIES] == 40


def test_who_has_more_than_his_share_loses_it_to_who_has_less(holds):
    held = holds(max_entries=40)
    held.asks(100, A)
    held.asks(20, B, name="Of bob")
    assert held.known(20, B, name="Of bob") == list(range(20))
    assert held.known(100, A) == list(range(80, 100))
    held.asks(100, A, start=100)
    assert held.known(20, B, name="Of bob") == list(range(20))


def test_callers_without_a_key_are_one(holds):
    held = holds(max_entries=40)
    held.asks(5, B, name="Of bob")
    held.asks(200)
    assert held.known(5, B, name="Of bob") == list(range(5))


def test_similar_questions_of_who_is_flooded_around_are_still_found(start, upstream):
    talk = Talk(start(**cached(upstream, cache={"max_entries": 40})), upstream)
    asked, again = "What is the tallest mountain in all of Europe?", "Please, what is the tallest mountain in all of Europe?"
    talk.embedder.alike(asked, again)
    talk.keep(asked, headers=B)
    upstream.on("small-1", quick("Of ann."))
    for n in range(200):
        talk.ask(f"What is so special about the number {n} that everybody asks for it?", A)
    eventually(lambda: talk.counted("ok") == 201, "all vectors")
    assert talk.gateway.metrics()[ENTRIES] == 40
    talk.hits(again, headers=B)


# Time


def test_what_has_expired_goes_by_itself(holds):
    held = holds(ttl_seconds=0.2)
    assert held.asks(30)[-1][ENTRIES] > 0
    eventually(lambda: held.figures()[ENTRIES] == 0, "an empty cache")
    assert held.figures()['draftthinker_cache_evictions_total{reason="expired"}'] == 30
    assert held.known(5) == []


def test_what_is_used_lives_no_longer_for_it(holds):
    time_s = max(1, SLOW / 3)
    held = holds(ttl_seconds=time_s)
    held.ask("Question")
    gate = held.upstream.gate()
    for _ in range(3):
        gate.wait(0.15 * time_s)
        held.ask("Question")
    gate.wait(0.7 * time_s)
    held.upstream.on("small-1", quick("Anew."))
    assert held.ask("Question").text == "Anew."


# Together, and changed


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bounds_hold_for_many_at_once(holds, workers):
    held = holds(workers, max_entries=30, max_bytes=30_000)
    faults = []

    def flood(part):
        try:
            own = Holder(held.gateway, held.upstream)
            own.asks(80, [("Authorization", f"Bearer {part}")])
        except Exception as error:  # reported below, in the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=flood, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen = held.figures()
        assert seen[ENTRIES] <= 30 and seen[BYTES] <= 30_000
    for thread in threads:
        thread.join()
    assert not faults, faults
    seen = held.figures()
    assert 0 < seen[ENTRIES] <= 30
    gone = sum(n for name, n in seen.items() if name.startswith("draftthinker_cache_evictions_total"))
    assert seen["draftthinker_cache_insertions_total"] == gone + seen[ENTRIES]


def test_many_at_once_each_get_their_own(start, upstream):
    """Forty questions, each asked again in other words by eight clients at a time."""
    talk = Talk(start(**cached(upstream)), upstream)
    pairs = [(f"What is so special about the number {n} in history?", f"Please, what is so special about the number {n} in history?")
             for n in range(1000, 1040)]
    for asked, again in pairs:
        talk.embedder.alike(asked, again)
    upstream.on("small-1", lambda exchange: confident(exchange.request.json["messages"][-1]["content"])(exchange))
    before = talk.counted("ok")
    for asked, _ in pairs:
        talk.ask(asked)
    eventually(lambda: talk.counted("ok") == before + len(pairs), "all vectors")
    upstream.on("small-1", stall)
    wrong = []

    def client(part):
        for asked, again in pairs[part::8]:
            reply = talk.ask(again)
            if reply.header("X-Routing-Reason") != "semantic" or reply.text != asked:
                wrong.append((again, reply))

    threads = [threading.Thread(target=client, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]


def reload(held, upstream, **cache):
    config = merge(bounded(upstream, **cache), {"log": {"access": str(held.gateway.directory / "access.log")}})
    seen = len(held.gateway.stderr.lines)
    held.gateway.write_config(config)
    held.gateway.signal(signal.SIGHUP)
    assert "reloaded" in held.gateway.stderr.wait(lambda line: "reload" in line, "reload", start=seen)


def test_a_reload_with_less_room_makes_it_smaller_and_one_with_more_larger(holds, upstream):
    held = holds(max_entries=100, caller_share=1)
    held.asks(100)
    reload(held, upstream, max_entries=20, caller_share=1)
    eventually(lambda: held.figures()[ENTRIES] == 20, "20 entries")
    assert held.known(100) == list(range(80, 100))
    reload(held, upstream, max_entries=60, caller_share=1)
    held.asks(60, start=100)
    assert held.known(160) == list(range(100, 160))


def test_a_reload_keeps_what_is_known(holds, upstream):
    held = holds(max_entries=100)
    held.asks(20)
    reload(held, upstream, max_entries=90)
    assert held.known(20) == list(range(20))
