"""Who follows an identical request under way: those that leave, those that are slow, and many at once."""

import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib import frames as f
from lib import scripts
from lib.caching import (FORMS, RESULTS, UPSTREAM_IN_FLIGHT, Asked, Flood, ask, assert_asked, assert_idle, caching, caching_config,  # noqa: F401
                         caching_daemon, escalates_to, holds, left, question, text_stream, turns, under_way)
from lib.checks import assert_error
from lib.flights import (HEAVY_ROLE, STAGES, STREAMED, TEXT, USAGE, Stage, assert_shared, assert_told, ending, fly, join, leave, word)
from lib.gateway import SLOW, eventually
from lib.live import DRAFT, ROLE, Puppet, said, stop
from lib.scripts import confident, expert, speak
from lib.upstream import Gone

# Who leaves


@pytest.mark.parametrize("name, form", [(s, form) for s in STAGES for form in FORMS if form != "json" or s not in STREAMED])
def test_when_the_leaders_client_leaves_another_in_the_same_form_takes_its_place(caching, upstream, question, name, form):
    stage, requests = fly(caching, upstream, question, name, [form] * 4)
    asked = len(upstream.requests)
    for gone in requests[:2]:  # and when that one leaves, too
        leave(caching, gone)
    assert stage.is_undisturbed()
    stage.end()
    for request in requests[2:]:
        assert_told(request.answer(), form, stage.text)
    assert len(upstream.requests) == asked
    if name != "handing_over":
        assert ask(caching, question, form, model=stage.model).decision == ("cache_hit", "exact")


@pytest.mark.parametrize("name", ["drafting", "flowing"])
def test_who_has_taken_the_place_is_led_on_by_what_the_models_say(caching, upstream, question, name):
    """The draft is rejected only then, so the request that goes on is the new one's."""
    stage, requests = fly(caching, upstream, question, name, ["usage"] * 3)
    leave(caching, requests[0])
    stage.drafter.say(said("DRAFTED", 5.0))
    stage.heavy.take()
    assert stage.heavy.request.json["stream_options"] == {"include_usage": True}
    stage.heavy.end(word("Paris."), *ending())
    for request in requests[1:]:
        assert_told(request.answer(), "usage", ("It is " if name == "flowing" else "") + "Paris.")
    assert len(upstream.requests) == 2


def test_who_has_taken_the_place_is_logged_for_itself_and_the_other_as_gone(caching, upstream, question):
    stage = Stage(upstream, "relaying")
    requests = []
    for number in range(3):
        requests.append(Asked(caching, question, "stream", [("X-Request-ID", f"takes-{number}")]))
        under_way(caching, *requests)
        if number == 0:
            stage.begin()
    requests[2].wait_text("It ")
    leave(caching, requests[0])
    line = caching.access_line("takes-0")
    assert (line["end"], line["status"], line["cache"]) == ("client_gone", 200, "miss")
    stage.end()
    for number in (1, 2):
        assert requests[number].answer().text == TEXT
    lines = [caching.access_line(f"takes-{number}") for number in (1, 2)]
    assert [(line["end"], line["status"], line["model"]) for line in lines] == [("done", 200, "heavyweight")] * 2
    assert lines[1]["cache"] == "shared"


def test_between_two_attempts_a_client_may_take_anothers_place_too(start, upstream, question):
    gateway = start(**caching_config(upstream, providers={"good": {"retries": 2}}))
    busy = scripts.failure(503, headers=[("retry-after-ms", "300")])
    escalates_to(upstream, turns(busy, expert(TEXT)))
    requests = join(gateway, question, ["json"] * 3)
    failed = 'draftthinker_upstream_results_total{model="heavyweight",result="status"}'
    eventually(lambda: gateway.metrics().get(failed), "the first attempt's end")
    requests[0].close()
    answers = [request.answer() for request in requests[1:]]
    assert [answer.text for answer in answers] == [TEXT] * 2
    assert len(upstream.requests_for("large-1")) == 2 and len(upstream.requests_for("small-1")) == 1


def test_usage_that_waited_for_one_who_left_is_not_told_to_who_takes_the_place(caching, upstream, question):
    """A draft that was rejected waits with its usage, in case the heavyweight is down; which it is once its client has left."""
    drafter, gate = Puppet(upstream, "small-1"), upstream.gate()
    upstream.on("large-1", holds(gate, scripts.failure(500)))
    requests = join(caching, question, ["usage", "stream", "stream"], drafter.take, model="live_degrade")
    drafter.say(ROLE, *[said(text) for text in ("It ", "is ", "held ", "back ")])
    for request in requests:
        request.wait_text("It is ")
    drafter.end(said("Paris.", 5.0), stop(), f.usage_frame(USAGE, head=DRAFT))
    upstream.wait_request("large-1")
    eventually(lambda: sum(left(caching.metrics(), UPSTREAM_IN_FLIGHT).values()) == 1, "the draft's end")
    leave(caching, requests[0])
    gate.set()
    for request in requests[1:]:
        assert_told(request.answer(), "stream", "It is held back Paris.")


def test_a_head_start_is_not_lost_with_the_leaders_client(start, upstream, question):
    gateway = start(**caching_config(upstream, speculative={"enabled": True, "soft_threshold_mult": 0.5}))
    drafter, heavy = Puppet(upstream, "small-1"), Puppet(upstream, "large-1")
    requests = join(gateway, question, ["usage", "usage", "stream"], drafter.take)
    drafter.say(ROLE, said("It "), said("seems ", 1.5))
    heavy.take().say(HEAVY_ROLE, word("It "))
    leave(gateway, requests[0])
    drafter.say(said("DRAFTED", 5.0))
    heavy.end(word("is Paris."), *ending())
    answer = requests[1].answer()
    assert_told(answer, "usage")
    assert answer.decision == ("escalate", "speculative")
    assert_shared(requests[2].answer(), "stream")
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("name, forms", [
    ("drafting", ["json", "stream", "stream", "usage"]), ("escalated", ["json", "usage", "stream"]),
    ("drafting", ["usage", "json", "json"]), ("relaying", ["usage", "json", "json"]), ("flowing", ["usage", "json"]),
])
def test_when_there_is_none_in_the_same_form_one_of_them_asks_once_more(caching, upstream, question, name, forms):
    stage, requests = fly(caching, upstream, question, name, forms)
    server = "small-1" if stage.at_work is stage.drafter else "large-1"
    first = stage.at_work.request
    escalates_to(upstream)
    requests[0].close()
    upstream.wait_closed(first)
    answers = [request.answer() for request in requests[1:]]
    for answer, form in zip(answers, forms[1:]):
        assert_told(answer, form)
    assert len(upstream.requests_for(server)) == 2
    assert sorted(answer.decision[0] for answer in answers) == sorted(["cache_hit"] * (len(answers) - 1) + ["escalate"])


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("forms", [["usage", "stream", "usage"], ["usage", "stream", "json"], ["usage", "stream", "json", "usage"]],
                         ids="-".join)
def test_whoever_takes_the_place_nobody_loses_what_was_asked_for(caching, upstream, question, name, forms):
    """Of those who follow a stream with usage some want it and some do not. A draft is rejected after that."""
    stage, requests = fly(caching, upstream, question, name, forms)

    def goes_on(exchange):
        expert("Paris." if len(exchange.request.json["messages"]) > 1 else TEXT)(exchange)

    escalates_to(upstream, goes_on)
    leave(caching, requests[0])
    try:
        if stage.at_work is stage.drafter:
            stage.drafter.end(said("DRAFTED", 5.0), stop())
        else:
            stage.end()
    except Gone:
        pass  # it was let go: they ask again
    for request, form in zip(requests[1:], forms[1:]):
        assert_told(request.answer(), form)


@pytest.mark.parametrize("name", STAGES)
def test_when_all_have_left_upstream_is_let_go(caching, upstream, question, name):
    stage, requests = fly(caching, upstream, question, name, ["usage", "stream", "usage"])
    asked = len(upstream.requests)
    for request in requests:
        assert stage.is_undisturbed()
        request.close()
    stage.at_work.wait_closed()
    assert_idle(caching)
    assert len(upstream.requests) <= asked + 1  # one who wants less may have asked anew
    upstream.on("small-1", confident(TEXT))
    assert_asked(ask(caching, question, model=stage.model))


@pytest.mark.parametrize("name", STAGES)
def test_a_follower_that_leaves_disturbs_nobody(caching, upstream, question, name):
    forms = ["usage", "stream", "json", "usage", "json"]
    stage, requests = fly(caching, upstream, question, name, forms)
    asked = len(upstream.requests)
    for gone in (1, 2):
        leave(caching, requests[gone], "reset")
    assert stage.is_undisturbed()
    stage.end()
    for number in (0, 3, 4):
        assert_told(requests[number].answer(), forms[number], stage.text)
    assert len(upstream.requests) == asked



# Who is slow


def slow(gateway, question, form, model="large"):
    """A client that reads nothing, and whose kernel takes in little."""
    asked = Asked(gateway, question, form, model=model)
    asked.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return asked


@pytest.mark.parametrize("order", ["leader", "follower"])
def test_one_that_is_slow_does_not_delay_the_others(caching, upstream, question, order):
    frames, text = text_stream(4_000_000, 400)
    gate, flood = upstream.gate(), Flood([*frames, f.usage_frame(USAGE)])
    escalates_to(upstream, holds(gate, flood))
    lagging = slow(caching, question, "usage") if order == "leader" else None
    if lagging:
        upstream.wait_request("large-1")
    others = [Asked(caching, question, form, model="large") for form in ("usage", "stream", "json")]
    lagging = lagging or slow(caching, question, "usage")
    under_way(caching, lagging, *others)
    gate.set()
    for request, form in zip(others, ("usage", "stream", "json")):
        assert_told(request.answer(), form, text)
    assert_told(lagging.answer(), "usage", text)
    assert len(upstream.requests_for("large-1")) == 1


@pytest.mark.parametrize("form", ["usage", "stream", "json"])
def test_one_that_joins_a_paused_stream_sets_it_going(caching, upstream, question, form):
    frames, text = text_stream(7_000_000, 700)
    flood = Flood([*frames, f.usage_frame(USAGE)])
    escalates_to(upstream, flood)
    lagging = slow(caching, question, "usage")
    upstream.wait_request("large-1")
    assert flood.settle(upstream.gate()) < 6_000_000
    follower = Asked(caching, question, form, model="large")
    assert_told(follower.answer(), form, text)
    lagging.close()
    assert len(upstream.requests_for("large-1")) == 1


def test_what_is_too_long_to_be_kept_is_paused_for_the_slowest(caching, upstream, question):
    frames, text = text_stream(20_000_000, 2000)
    flood = Flood(frames)
    escalates_to(upstream, flood)
    lagging = slow(caching, question, "stream", model="auto")
    upstream.wait_request("large-1")
    follower = Asked(caching, question, "stream")
    under_way(caching, lagging, follower)
    taken = flood.settle(upstream.gate())
    assert taken < 12_000_000, taken
    lagging.close()
    assert_told(follower.answer(), "stream", text)


@pytest.mark.parametrize("reading, bound", [(True, 8 << 20), (False, 200 * 300_000)], ids=["read", "unread"])
def test_two_hundred_followers_take_a_bounded_part_each(start, upstream, question, reading, bound):
    gateway = start(env={"ASAN_OPTIONS": "quarantine_size_mb=0"}, **caching_config(upstream))
    frames, text = text_stream(200_000, 40)
    escalates_to(upstream)
    heavy = Puppet(upstream, "large-1")
    [leader] = join(gateway, question, ["stream"], heavy.take)
    others = [Asked(gateway, question, "stream") for _ in range(200)]
    for other in others:
        other.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    under_way(gateway, leader, *others)
    before, grown = gateway.memory_bytes(), 0
    for number, frame in enumerate(frames[:-1]):
        heavy.say(frame)
        for other in others if reading and number else []:
            other.stream = other.stream or other.client.stream()
            while len(other.stream.raw) < len(text[: 5000 * number]):
                other.stream._more()
        grown = max(grown, gateway.memory_bytes() - before)
    heavy.end(frames[-1])
    leader.wait_text(text)
    grown = max(grown, gateway.memory_bytes() - before)
    assert grown < bound * max(1, SLOW / 2), grown
    for other in others:
        assert_shared(other.answer(), "stream", text=text)
    assert_asked(leader.answer())
    assert_idle(gateway)
    assert len(upstream.requests_for("large-1")) == 1


# Many at once

FORM_NAMES = sorted(FORMS)


class Crowd:
    """Clients that ask the same few questions in random forms, some of which leave; and models that fail now and then."""

    def __init__(self, gateway, upstream, seed, count, questions):
        self.gateway, self.upstream = gateway, upstream
        self.chance, self.lock = random.Random(seed), threading.Lock()
        self.count, self.questions = count, questions
        self.outcomes = {}
        upstream.on("small-1", self.serve)
        upstream.on("large-1", self.serve)

    def pick(self, *options):
        with self.lock:
            return self.chance.choice(options)

    @staticmethod
    def text_of(question):
        """Long enough to be cut within, and nobody else's."""
        return " ".join(f"{question}:{number}" for number in range(12))

    def serve(self, exchange):
        streams, drafts = exchange.request.json.get("stream"), exchange.request.model == "small-1"
        question, *partial = [message["content"] for message in exchange.request.json["messages"]]
        text = self.text_of(question)
        assert not partial or text.startswith(partial[0])
        pairs = [(part, 0.1) for part in f.tokens_of(text[len(partial[0]) if partial else 0:])]
        fault = self.pick(*["none"] * 10, "doubt", "doubt", "late_doubt", "late_doubt", "500", "500", "before", *["within"] * 3)
        pause = self.upstream.gate()
        pause.wait(self.pick(0, 0.005, 0.02))  # nobody opens it
        if fault == "500":
            exchange.reply(500, {"error": {"message": "scripted", "type": "x"}})
        elif fault == "before":
            exchange.cut()
        elif fault in ("doubt", "late_doubt") and drafts:
            calm = 0 if fault == "doubt" else self.pick(3, 6)
            speak(tokens=pairs[:calm] + [(part, 5.0) for part, _ in pairs[calm:]])(exchange)
        elif fault == "within" and streams:
            scripts.after(f.text_frames(pairs, finish=None)[: self.pick(2, 5, 9)], scripts.cut)(exchange)
        elif streams:
            self.stream_slowly(exchange, pairs, pause)
        else:
            speak(tokens=pairs)(exchange)

    def stream_slowly(self, exchange, pairs, pause):
        exchange.head()
        for frame in f.text_frames(pairs, usage=USAGE):
            exchange.write(f.event(frame))
            if self.pick(*[False] * 15, True):
                pause.wait(0.003)
        exchange.write(f.DONE)
        exchange.end()

    def one(self, number):
        # Most ask what others ask just then.
        question = self.pick(*self.questions, *[self.questions[number // 25 % len(self.questions)]] * 60)
        form, leaves = self.pick(*FORM_NAMES), self.pick("no", "no", "no", "no", "no", "soon", "later")
        headers = self.pick([], [], [("Cache-Control", "no-cache")], [("Cache-Control", "no-cache")], [("Cache-Control", "no-store")])
        asked = Asked(self.gateway, question, form, headers, model=self.pick("auto", "live", "degrade"))
        if leaves == "soon":
            outcome = "left"
            asked.client.reset() if number % 2 else asked.close()
        elif leaves == "later":
            asked.client.read_head()
            asked.close()
            outcome = "left"
        else:
            outcome = self.judge(question, form, asked.answer())
        with self.lock:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def judge(self, question, form, answer):
        text = self.text_of(question)
        if answer.whole:
            assert_told(answer, form, text)
            return answer.decision[1]
        if answer.cut:
            assert text.startswith(answer.text) and answer.text and not answer.finish, (question, answer)
            return "cut"
        assert_error(answer.head, 502)
        return "failed"

    def run(self, at_once=24):
        with ThreadPoolExecutor(at_once) as pool:
            for done in [pool.submit(self.one, number) for number in range(self.count)]:
                done.result()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_answer_belongs_to_its_question_and_is_whole_or_marked_as_cut(start, upstream, question, workers):
    gateway = start(**caching_config(upstream, server={"workers": workers}))
    crowd = Crowd(gateway, upstream, workers, 500, [f"{question[-8:]}{number}" for number in range(20)])
    crowd.run()
    assert_idle(gateway)
    assert sum(crowd.outcomes.values()) == 500
    # All of it did happen.
    assert {"confident", "shared", "exact", "left", "cut", "failed"} <= set(crowd.outcomes), crowd.outcomes
    assert gateway.metrics()[RESULTS % "exact"] >= crowd.outcomes["exact"]
