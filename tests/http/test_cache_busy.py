"""While others have the cache no loop waits for it: another thread is asked, and all happens as ever."""

import os
from pathlib import Path

import pytest

from lib.caching import (ANSWERS, FORMS, Asked, Change, ask, assert_asked, assert_hit, assert_idle, caching,  # noqa: F401
                         caching_config, question)
from lib.checks import assert_error
from lib.flights import assert_shared
from lib.gateway import Gateway, eventually
from lib.scripts import confident, speak
from lib.vectors import cached, talk  # noqa: F401

ASKED = "What is the tallest mountain in all of Europe?"
AGAIN = "Please, what is the tallest mountain in all of Europe?"
LIBRARY = Path(__file__).resolve().parents[2] / "build/http/busy.so"
LOOKUPS = "draftthinker_cache_lookup_latency_seconds_count"
KEPT = ANSWERS % "kept"
BUSY = {"LD_PRELOAD": str(LIBRARY),
        "ASAN_OPTIONS": ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))}


@pytest.fixture(scope="module", autouse=True)
def library():
    assert LIBRARY.exists(), f"{LIBRARY} is not built: make {LIBRARY}"


def daemon(directory, config):
    gateway = Gateway(directory, config, env=BUSY).start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def caching_daemon(shared, tmp_path_factory):
    yield from daemon(tmp_path_factory.mktemp("busy"), caching_config(shared.upstream, cache={"embedder": "lexical"}))


@pytest.fixture(scope="module")
def cached_daemon(shared, tmp_path_factory):
    yield from daemon(tmp_path_factory.mktemp("busy"), cached(shared.upstream))


def keep(gateway, upstream, question, **members):
    """It is answered, and the answer kept."""
    change = Change(gateway)
    upstream.on("small-1", confident("It was kept."))
    assert_asked(ask(gateway, question, **members))
    eventually(lambda: change.of(KEPT) == 1, "an answer that is kept")


@pytest.mark.parametrize("again", FORMS)
@pytest.mark.parametrize("first", ["json", "usage"])
def test_a_repeat_is_answered_from_the_cache(caching, upstream, question, first, again):
    keep(caching, upstream, question, form=first)
    answer = ask(caching, question, again)
    assert_hit(answer)
    assert answer.text == "It was kept." and len(upstream.requests) == 1


@pytest.mark.parametrize("form", FORMS)
def test_what_nobody_knows_is_asked(caching, upstream, question, form):
    upstream.on("small-1", confident("It is new."))
    answer = ask(caching, question, form)
    assert_asked(answer)
    assert answer.text == "It is new."


def test_identical_requests_are_one_request_upstream(caching, upstream, question):
    gate = upstream.gate()

    def held(exchange):
        exchange.wait(gate)
        confident("It was shared.")(exchange)

    upstream.on("small-1", held)
    change = Change(caching)
    leader = Asked(caching, question)
    upstream.wait_request("small-1")
    follower = Asked(caching, question)
    # The leader's, once for the same request and once for one like it, and the follower's.
    eventually(lambda: change.of(LOOKUPS) == 3, "three look-ups")
    gate.set()
    assert_asked(leader.answer())
    assert_shared(follower.answer(), "json", "drafter", "cheap", "It was shared.")
    assert len(upstream.requests) == 1


def test_a_client_that_leaves_while_its_answer_is_looked_for_leaves_nothing_behind(caching, upstream, question):
    keep(caching, upstream, question)
    for _ in range(50):
        Asked(caching, question).client.close()
    assert_idle(caching)
    assert_hit(ask(caching, question))
    assert len(upstream.requests) == 1


def test_an_answer_without_room_is_refused(start, upstream, question):
    gateway = start(env=BUSY, **caching_config(upstream, cache={"max_bytes": 3000}))
    upstream.on("small-1", speak(tokens=[("x" * 4000, 0.1)]))
    change = Change(gateway)
    assert_asked(ask(gateway, question))
    eventually(lambda: change.of(ANSWERS % "no_room") == 1, "a refusal")
    assert change.of(KEPT) == 0 and gateway.metrics()["draftthinker_cache_entries"] == 0


def test_answers_are_deleted_one_by_one_and_all_at_once(caching, upstream, question):
    keep(caching, upstream, question)
    path = "/v1/cache/" + ask(caching, question).head.header("X-Cache-Id")
    assert caching.request("DELETE", path).status == 204
    assert_error(caching.request("DELETE", path), 404)
    keep(caching, upstream, question)
    assert caching.request("DELETE", "/v1/cache").status == 204
    assert caching.metrics()["draftthinker_cache_entries"] == 0
    assert_asked(ask(caching, question))


def test_a_question_of_the_same_meaning_gets_the_answer_that_was_kept(talk, upstream):  # noqa: F811
    talk.embedder.apart(ASKED, 0.97, AGAIN)
    change = Change(talk.gateway)
    talk.keep(ASKED)
    eventually(lambda: change.of(KEPT) == 1, "an answer that is kept")
    gate = upstream.gate()
    upstream.on("small-1", lambda exchange: exchange.wait(gate))
    answer = talk.ask(AGAIN)
    gate.set()
    assert answer.header("X-Routing-Reason") == "semantic" and answer.text == "It was kept."


def test_a_vector_that_comes_after_its_answer_is_added_to_it(talk, upstream):  # noqa: F811
    talk.embedder.alike(ASKED, AGAIN)
    held = talk.embedder.hold()
    upstream.on("small-1", confident("It was kept."))
    before = talk.counted("ok")
    change = Change(talk.gateway)
    talk.ask(ASKED)
    eventually(lambda: change.of(KEPT) == 1, "an answer that is kept")
    held.set()
    eventually(lambda: talk.counted("ok") == before + 1, "its vector")
    eventually(lambda: change.of("draftthinker_cache_insertions_total") == 2, "the answer with its vector")
    gate = upstream.gate()
    upstream.on("small-1", lambda exchange: exchange.wait(gate))
    answer = talk.ask(AGAIN)
    gate.set()
    assert answer.header("X-Routing-Reason") == "semantic" and answer.text == "It was kept."
