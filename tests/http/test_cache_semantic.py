"""The semantic tier: who asks an answered question in other words is given its answer, and nobody is given another's."""

import time

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import chat_body, eventually, soon
from lib.scripts import confident, expert, speak, uncertain
from lib.vectors import BRIEF_S, Talk, assert_hit, cached, cached_daemon, talk  # noqa: F401

LIMIT_MS = 50
ASKED = "What is the tallest mountain in all of Europe?"
AGAIN = "Please, what is the tallest mountain in all of Europe?"
ONCE_MORE = "What is the tallest mountain in all of Europe, please?"
CALM, DOUBT, TRIP = 0.1, 1.5, 6.0  # bits


def says(*bits, ending=scripts.stall):
    """A stream with tokens of these entropies, then silence."""
    pairs = [(f"{i} ", each) for i, each in enumerate(bits)]
    return scripts.after(f.text_frames(pairs, finish=None), ending)


def known(talk, cosine=1.0, **members):
    """ASKED is answered, and AGAIN is this near to it."""
    talk.keep(ASKED, **members)
    talk.embedder.apart(ASKED, cosine, AGAIN)


# A hit


@pytest.mark.parametrize("cosine", [0.951, 0.97, 1.0])
def test_a_near_question_gets_the_answer_that_was_kept(talk, cosine):
    known(talk, cosine)
    reply = talk.hits(AGAIN, similarity=cosine)
    exact = talk.ask(ASKED)
    assert_routed(exact, "cache_hit", "exact")
    assert reply.header("X-Cache-Id") == exact.header("X-Cache-Id")
    assert reply.header("x-gateway-provider") == "cheap"
    assert reply.json()["choices"][0]["finish_reason"] == "stop"


def test_a_stream_gets_it_as_a_stream(talk):
    known(talk)
    stream = talk.look(AGAIN, stream=True)
    assert_hit(stream, 1.0)
    assert stream.text == "It was kept." and stream.done and stream.complete
    assert stream.routing["decision"] == "cache_hit" and stream.routing["reason"] == "semantic"
    assert stream.routing["model"] == "drafter"


@pytest.mark.parametrize("route", ["auto", "live"])
def test_an_answer_kept_of_a_stream_is_given_in_one_piece(talk, route):
    talk.route = route
    talk.embedder.alike(ASKED, AGAIN)
    talk.upstream.on("small-1", confident("It was kept."))
    before = talk.counted("ok")
    assert talk.stream(ASKED).text == "It was kept."
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    assert_routed(talk.ask(ASKED), "cache_hit", "exact")
    reply = talk.hits(AGAIN)
    assert reply.json()["usage"]["completion_tokens"] > 0


def test_an_answer_without_usage_is_given_only_to_streams_that_want_none(talk):
    talk.embedder.alike(ASKED, AGAIN)
    talk.upstream.on("small-1", uncertain())
    talk.upstream.on("large-1", expert("It was kept."))
    before = talk.counted("ok")
    assert talk.stream(ASKED).text == "It was kept."
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    no_store = [("Cache-Control", "no-store")]
    assert_hit(talk.look(AGAIN, no_store, stream=True), model="heavyweight")
    wanted = talk.look(AGAIN, no_store, stream=True, stream_options={"include_usage": True})
    assert wanted.text == Talk.ANEW
    talk.misses(AGAIN, no_store)


def test_a_heavyweights_answer_is_given_under_its_name(talk):
    talk.embedder.alike(ASKED, AGAIN)
    talk.upstream.on("small-1", uncertain())
    talk.upstream.on("large-1", expert("The expert's."))
    before = talk.counted("ok")
    assert_routed(talk.ask(ASKED), "escalate", "early_exit", "heavyweight")
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    reply = talk.hits(AGAIN, "The expert's.", model="heavyweight")
    assert reply.header("x-gateway-provider") == "good"


def test_it_is_logged_and_counted(talk):
    known(talk, 0.96)
    name = 'draftthinker_cache_results_total{result="semantic"}'
    before = talk.gateway.metrics()
    talk.hits(AGAIN, headers=[("X-Request-ID", "semantic-hit")])
    after = talk.gateway.metrics()
    assert after[name] == before.get(name, 0) + 1
    assert after["draftthinker_cache_hits_total"] == before["draftthinker_cache_hits_total"] + 1
    line = talk.gateway.access_line("semantic-hit")
    assert (line["decision"], line["reason"], line["cache"]) == ("cache_hit", "semantic", "semantic")
    assert (line["model"], line["status"], line["end"]) == ("drafter", 200, "done")
    assert "cache_guard" not in line


def test_the_nearest_of_several_is_given(talk):
    talk.keep(ASKED, "The first.")
    no_cache = [("Cache-Control", "no-cache")]
    talk.embedder.apart(ASKED, 0.9, ONCE_MORE)
    talk.keep(ONCE_MORE, "The second.", no_cache)
    first, second = talk.embedder.vector(ASKED), talk.embedder.vector(ONCE_MORE)
    middle = [a + 3 * b for a, b in zip(first, second)]
    talk.embedder.place(AGAIN, middle)
    reply = talk.hits(AGAIN, "The second.")
    assert float(reply.header("X-Cache-Similarity")) > 0.99


def test_text_parts_are_compared_like_a_text(talk):
    def parts(*texts):
        content = [{"type": "text", "text": text} for text in texts]
        return {"messages": [{"role": "system", "content": talk.system}, {"role": "user", "content": content}]}

    whole = f"{ASKED}\nTell me only its name."
    talk.embedder.alike(whole, f"{AGAIN}\nTell me only its name.")
    talk.keep(whole, **parts(ASKED, "Tell me only its name."))
    talk.hits(AGAIN, **parts(AGAIN, "Tell me only its name."))
    assert [request.json["input"] for request in talk.embedder.requests][0] == whole


def test_workers_share_what_is_known(start, upstream):
    gateway = start(**cached(upstream, server={"workers": 2}))
    talk = Talk(gateway, upstream)
    known(talk)
    for _ in range(6):  # each on a connection of its own, so that they fall on any worker
        talk.upstream.on("small-1", scripts.stall)
        assert_hit(talk.ask(AGAIN, [("Cache-Control", "no-store")]))


# It ends what it makes needless, and comes too late for what was begun

PHASES = {  # route, stream, the servers, and who is at work when the hit comes
    "drafting": ("auto", False, {"small-1": scripts.stall}, ["small-1"]),
    "drafting_midway": ("auto", False, {"small-1": says(CALM, CALM)}, ["small-1"]),
    "draft_held": ("auto", True, {"small-1": says(*[CALM] * 20)}, ["small-1"]),
    "draft_held_back": ("live", True, {"small-1": says(CALM)}, ["small-1"]),
    "escalated": ("auto", False, {"small-1": uncertain(), "large-1": scripts.stall}, ["large-1"]),
    "escalated_streamed": ("live", True, {"small-1": uncertain(), "large-1": scripts.stall}, ["large-1"]),
    "speculating": ("beside", False, {"small-1": says(CALM, DOUBT), "large-1": scripts.stall}, ["small-1", "large-1"]),
    "head_start_joined": ("beside", False, {"small-1": says(DOUBT, TRIP), "large-1": scripts.stall}, ["large-1"]),
    "draft_kept": ("falling", False, {"small-1": says(TRIP), "large-1": scripts.stall}, ["small-1", "large-1"]),
    "falling_back": ("falling", False, {"small-1": says(TRIP), "large-1": scripts.failure(500)}, ["small-1"]),
}


@pytest.mark.parametrize("phase", sorted(PHASES))
def test_whoever_is_at_work_is_let_go_within_50_ms_of_the_vector(talk, upstream, phase):
    talk.route, streamed, servers, legs = PHASES[phase]

    def attempt():
        talk.renew()
        known(talk, 0.97)
        for model, script in servers.items():
            upstream.on(model, script)
        counts = {model: len(upstream.requests_for(model)) for model in servers}
        gate = talk.embedder.hold()
        with talk.begin(AGAIN, stream=streamed) as client:
            for model in servers:
                upstream.wait_request(model, counts[model] + 1)
            running = [upstream.requests_for(model)[-1] for model in legs]
            eventually(lambda: at_work(talk.gateway) == len(legs), f"{legs} at work")
            assert not any(upstream.connection_of(request).closed.is_set() for request in running)
            at = time.monotonic()
            gate.set()
            taken = max(upstream.wait_closed(request) for request in running) - at
            reply = client.stream().read() if streamed else client.read_response()
        assert_hit(reply, 0.97, "drafter")
        assert reply.text == "It was kept."
        return taken

    soon(LIMIT_MS, attempt)


def at_work(gateway):
    return sum(n for name, n in gateway.metrics().items() if name.startswith("draftthinker_upstream_requests_in_flight"))


def test_a_hit_after_an_escalation_names_the_model_that_had_answered(talk, upstream):
    known(talk)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", scripts.stall)
    gate = talk.embedder.hold()
    with talk.begin(AGAIN, [("X-Request-ID", "hit-after-escalation")]) as client:
        upstream.wait_request("large-1")
        gate.set()
        assert_hit(client.read_response(), 1.0, "drafter")
    line = talk.gateway.access_line("hit-after-escalation")
    assert (line["model"], line["heavyweight"], line["cache"]) == ("drafter", "heavyweight", "semantic")


def test_a_hit_that_comes_when_the_draft_flows_is_ignored(talk, upstream):
    talk.route = "live"
    known(talk)
    held, gate = upstream.gate(), talk.embedder.hold()

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([(f"{i} ", CALM) for i in range(6)], finish=None), done=False)
        exchange.wait(held)
        exchange.frames(f.text_frames([("end", CALM)], role=False))
        exchange.end()

    upstream.on("small-1", script)
    before = talk.counted("ok")
    with talk.begin(AGAIN, [("X-Request-ID", "flowing-when-hit")], stream=True) as client:
        stream = client.stream()
        assert stream.next_frame() is not None
        gate.set()
        eventually(lambda: talk.counted("ok") == before + 1, "the vector")
        held.set()
        stream.read()
    assert stream.text == "0 1 2 3 4 5 end" and stream.done
    assert_routed(stream.head, "accept", "confident", "drafter")
    assert stream.head.header("X-Cache-Id") is None
    assert talk.gateway.access_line("flowing-when-hit")["cache"] == "miss"


def test_a_hit_that_comes_when_the_heavyweights_answer_flows_is_ignored(talk, upstream):
    known(talk)
    held, gate = upstream.gate(), talk.embedder.hold()

    def script(exchange):
        exchange.head()
        exchange.frames(f.text_frames([("One", 0)], finish=None, logprobs=False), done=False)
        exchange.wait(held)
        exchange.frames(f.text_frames([(" two", 0)], role=False, logprobs=False))
        exchange.end()

    upstream.on("small-1", uncertain())
    upstream.on("large-1", script)
    before = talk.counted("ok")
    with talk.begin(AGAIN, stream=True) as client:
        stream = client.stream()
        assert stream.next_frame() is not None
        gate.set()
        eventually(lambda: talk.counted("ok") == before + 1, "the vector")
        held.set()
        stream.read()
    assert stream.text == "One two" and stream.done
    assert_routed(stream.head, "escalate", "early_exit", "heavyweight")


def test_an_answer_that_follows_an_ignored_hit_is_kept_itself(talk, upstream):
    talk.route = "live"
    known(talk)
    gate = talk.embedder.hold()
    upstream.on("small-1", confident("Another answer, which came first."))
    before = talk.counted("ok")
    assert talk.stream(AGAIN).text == "Another answer, which came first."
    gate.set()
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    reply = talk.ask(AGAIN)
    assert_routed(reply, "cache_hit", "exact")
    assert reply.text == "Another answer, which came first."


def test_who_follows_an_identical_request_gets_the_hit_too(talk, upstream):
    known(talk)
    upstream.on("small-1", scripts.stall)
    gate = talk.embedder.hold()
    with talk.begin(AGAIN) as leader:
        upstream.wait_request("small-1", 2)
        with talk.begin(AGAIN) as follower:
            eventually(lambda: talk.gateway.metrics()["draftthinker_requests_in_flight"] == 2, "two under way")
            gate.set()
            first, second = leader.read_response(), follower.read_response()
    assert_hit(first)
    assert_routed(second, "cache_hit", "shared", "drafter", "cheap")
    assert first.text == second.text == "It was kept."
    assert len(upstream.requests_for("small-1")) == 2


def test_who_follows_with_a_higher_threshold_is_not_given_a_hit_below_it(talk, upstream):
    known(talk, 0.97)
    upstream.on("small-1", scripts.stall)
    gate, held = talk.embedder.hold(), upstream.gate()

    def script(exchange):
        exchange.wait(held)
        confident(Talk.ANEW)(exchange)

    with talk.begin(AGAIN) as leader:
        upstream.wait_request("small-1", 2)
        upstream.on("small-1", script)
        with talk.begin(AGAIN, [("X-Cache-Threshold", "0.99")]) as follower:
            eventually(lambda: talk.gateway.metrics()["draftthinker_requests_in_flight"] == 2, "two under way")
            gate.set()
            assert_hit(leader.read_response(), 0.97)
            held.set()
            assert follower.read_response().text == Talk.ANEW


# The threshold


def test_what_is_less_near_than_the_threshold_is_another_question(talk):
    known(talk, 0.949)
    talk.misses(AGAIN)


@pytest.mark.parametrize("header, cosine, hit", [
    ("0.98", 0.97, False), ("0.98", 0.985, True), ("1", 0.999, False), ("0.5", 0.9, False), ("0", 0.9, False), ("0.5", 0.96, True)])
def test_the_header_raises_the_threshold_and_never_lowers_it(talk, header, cosine, hit):
    known(talk, cosine)
    headers = [("X-Cache-Threshold", header)]
    talk.hits(AGAIN, headers=headers, similarity=cosine) if hit else talk.misses(AGAIN, headers)


@pytest.mark.parametrize("header", ["high", "1.01", "-0.1", "nan", "", "0,97"])
def test_a_threshold_that_is_no_number_from_0_to_1_is_refused(talk, header):
    reply = talk.ask(ASKED, [("X-Cache-Threshold", header)])
    assert_error(reply, 400, says="X-Cache-Threshold")


# The scope

USER = {"role": "user", "content": AGAIN}
SCOPES = {
    "another_caller": ([("Authorization", "Bearer another")], {}),
    "another_system_message": ([], {"messages": [{"role": "system", "content": "You are somebody else."}, USER]}),
    "earlier_turns": ([], {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}, USER]}),
    "another_temperature": ([], {"temperature": 0.5}),
    "another_limit": ([], {"max_tokens": 100}),
    "another_seed": ([], {"seed": 7}),
    "another_format": ([], {"response_format": {"type": "json_object"}}),
    "tools": ([], {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
    "a_named_user": ([], {"messages": [{**USER, "name": "Ann"}]}),
    "another_route": ([], {"model": "second"}),
}


@pytest.mark.parametrize("name", sorted(SCOPES))
def test_an_answer_is_not_given_in_another_scope(talk, name):
    headers, members = SCOPES[name]
    known(talk)
    reply = talk.look(AGAIN, headers, **members)
    assert_routed(reply, "accept", "confident")
    assert reply.text == Talk.ANEW
    talk.hits(AGAIN)


def test_what_does_not_shape_the_answer_makes_no_scope(talk):
    known(talk, user="ann")
    talk.hits(AGAIN, user="bob", metadata={"a": "b"}, project_id="p1")


# The guards

GUARDS = {
    "numbers": [
        ("What is the sum of 347 + 892, written out?", "What is the sum of 347 + 893, written out?"),
        ("How many people have won three gold medals?", "How many people have won four gold medals?"),
        ("Summarise the third chapter of this book", "Summarise the 4th chapter of this book")],
    "units": [
        ("How long does it take to walk 5 miles?", "How long does it take to walk 5 km?"),
        ("How many cups of rice are in 2 kg of it?", "How many cups of rice are in 2 lb of it?")],
    "dates": [
        ("Which shops in the town are open on Monday?", "Which shops in the town are open on Sunday?"),
        ("What will the weather be like tomorrow in Paris?", "What will the weather be like today in Paris?")],
    "quotes": [
        ('What is the meaning of the word "set" here?', 'What is the meaning of the word "get" here?'),
        ("What does the function `sort_up()` do here?", "What does the function `sort_down()` do here?")],
    "negation": [
        ("Why is the sky blue in the evening?", "Why is the sky not blue in the evening?"),
        ("Which of these birds can fly for days?", "Which of these birds can't fly for days?")],
    "names": [
        ("What do the laws say about us citizens?", "What do the laws say about US citizens?"),
        ("Who is the mayor of the city of London?", "Who is the mayor of the city of Paris?")],
    "opposites": [
        ("How do I enable the firewall on my laptop?", "How do I disable the firewall on my laptop?"),
        ("What is the largest animal in the ocean?", "What is the smallest animal in the ocean?")],
    "order": [
        ("Does the chicken come before the egg?", "Does the egg come before the chicken?"),
        ("How do I convert a string to a list here?", "How do I convert a list to a string here?")],
}
PAIRS = [pytest.param(guard, *pair, id=f"{guard}_{i}") for guard, pairs in GUARDS.items() for i, pair in enumerate(pairs)]


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("guard, one, other", PAIRS)
def test_what_a_guard_tells_apart_is_asked_anew_even_at_cosine_1(talk, guard, one, other, turned):
    kept, asked = (other, one) if turned else (one, other)
    talk.keep(kept)
    talk.embedder.alike(kept, asked)
    before = talk.guarded(guard)
    request_id = f"guarded-{guard}-{len(talk.gateway.access.lines)}"
    reply = talk.misses(asked, [("X-Request-ID", request_id)])
    line = talk.gateway.access_line(request_id)
    assert (line["cache"], line["cache_guard"]) == ("miss", guard)
    assert talk.guarded(guard) == before + 1
    assert reply.header("X-Cache-Id") is None
    assert talk.ask(asked).text == Talk.ANEW
    assert talk.ask(kept).text == "It was kept."


def test_an_answer_that_a_guard_refuses_does_not_hide_the_next_one(talk):
    wanted, other = "What is the sum of 347 + 892, please?", "What is the sum of 347 + 893?"
    talk.embedder.apart(ASKED, 0.99, other)
    talk.embedder.apart(ASKED, 0.96, wanted)
    talk.keep(other, "1240")
    talk.keep(wanted, "1239")
    asked = "What is the sum of 347 + 892?"
    talk.embedder.alike(ASKED, asked)
    talk.hits(asked, "1239", similarity=0.96)


def between(talk, answers=("The first.", "The second.")):
    """What is asked lies at the same cosine to two questions that are too far apart to be one. Each has two slips of the pen."""
    asked = "Which ambassador signed the agreement about agricultural activities?"
    one = "Which ambasador signed the agreemnt about agricultural activities?"
    other = "Which ambassador signed the agreement about agricultral activties?"
    talk.embedder.apart(asked, 0.97, one)
    talk.embedder.apart(asked, 0.97, other)
    talk.keep(one, answers[0])
    talk.keep(other, answers[1])
    return asked


def test_between_two_questions_with_different_answers_neither_is_given(talk):
    asked = between(talk)
    before = talk.guarded("runner_up")
    talk.misses(asked, [("X-Request-ID", "between-two")])
    assert talk.guarded("runner_up") == before + 1
    assert talk.gateway.access_line("between-two")["cache_guard"] == "runner_up"


def test_between_two_questions_with_the_same_answer_it_is_given(talk):
    talk.hits(between(talk, ("The same.", "The same.")), "The same.")


# What is asked for, and what is not


def test_the_question_alone_is_sent_to_the_embedder(talk, upstream):
    talk.keep(ASKED, headers=[("Authorization", "Bearer the-callers-own"), ("X-Own", "1")])
    (request,) = talk.embedder.requests
    assert (request.method, request.path) == ("POST", "/vectors/v1/embeddings")
    assert request.json == {"model": "embed-1", "input": ASKED, "encoding_format": "base64"}
    assert request.header("Content-Type") == "application/json"
    assert b"the-callers-own" not in request.raw_head and request.header("X-Own") is None


NOT_COMPARED = {
    "two_words": {"messages": [{"role": "user", "content": "tallest mountain"}]},
    "few_letters": {"messages": [{"role": "user", "content": "a b c d"}]},
    "a_long_text": {"messages": [{"role": "user", "content": ASKED + " Really?" * 600}]},
    "an_answer_begun": {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "It is"}]},
    "an_image": {"messages": [{"role": "user", "content": [
        {"type": "text", "text": ASKED}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]},
    "a_high_temperature": {"messages": [{"role": "user", "content": ASKED}], "temperature": 1.5},
    "a_pinned_model": {"model": "drafter", "messages": [{"role": "user", "content": ASKED}]},
    "two_choices": {"messages": [{"role": "user", "content": ASKED}], "n": 2},
    "no_embedder": {"model": "unlike", "messages": [{"role": "user", "content": ASKED}]},
    "a_lexical_one": {"model": "lexical", "messages": [{"role": "user", "content": ASKED}]},
}


@pytest.mark.parametrize("name", sorted(NOT_COMPARED))
def test_no_vector_is_asked_for_what_is_not_compared(talk, upstream, name):
    upstream.on("small-1", confident())
    upstream.on("large-1", expert())
    before = talk.counted()
    assert talk.gateway.chat(chat_body(NOT_COMPARED[name], {}), [("Authorization", f"Bearer {talk.system}")]).status == 200
    assert talk.counted() == before and talk.embedder.requests == []


def test_no_vector_is_asked_for_an_exact_repeat(talk):
    talk.keep(ASKED)
    assert_routed(talk.ask(ASKED), "cache_hit", "exact")
    assert len(talk.embedder.requests) == 1


def test_no_vector_is_asked_for_a_request_that_neither_looks_nor_keeps(talk, upstream):
    upstream.on("small-1", confident())
    assert_routed(talk.ask(ASKED, [("Cache-Control", "no-cache, no-store")]), "accept", "confident")
    assert talk.embedder.requests == []


# Keeping


def test_an_answer_ahead_of_its_vector_is_known_to_exact_repeats_at_once_and_to_similar_ones_with_it(talk, upstream):
    talk.embedder.alike(ASKED, AGAIN)
    gate = talk.embedder.hold()
    upstream.on("small-1", confident("It was kept."))
    before = talk.counted("ok")
    assert_routed(talk.ask(ASKED), "accept", "confident")
    exact = talk.ask(ASKED)
    assert_routed(exact, "cache_hit", "exact")
    gate.set()
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    reply = talk.hits(AGAIN)
    assert reply.header("X-Cache-Id") == exact.header("X-Cache-Id")


def test_an_answer_that_is_deleted_ahead_of_its_vector_stays_deleted(talk, upstream):
    talk.embedder.alike(ASKED, AGAIN)
    gate = talk.embedder.hold()
    upstream.on("small-1", confident("It was kept."))
    before = talk.counted("ok")
    talk.ask(ASKED)
    cache_id = talk.ask(ASKED).header("X-Cache-Id")
    assert talk.gateway.request("DELETE", f"/v1/cache/{cache_id}").status == 204
    gate.set()
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    talk.misses(AGAIN, [("Cache-Control", "no-store")])
    talk.misses(ASKED)


def test_a_newer_answer_is_not_replaced_by_an_older_ones_vector(talk, upstream):
    gate = talk.embedder.hold()
    upstream.on("small-1", confident("The older."))
    talk.ask(ASKED)
    upstream.wait_request("embed-1")
    talk.embedder.hold()
    upstream.on("small-1", confident("The newer."))
    assert talk.ask(ASKED, [("Cache-Control", "no-cache")]).text == "The newer."
    before = talk.counted("ok")
    gate.set()
    eventually(lambda: talk.counted("ok") == before + 1, "the older one's vector")
    assert talk.ask(ASKED).text == "The newer."
    upstream.wait_request("embed-1", 2)


def test_no_cache_asks_anew_and_keeps_what_comes_of_it(talk):
    known(talk)
    asked = [("Cache-Control", "no-cache")]
    talk.misses(AGAIN, asked)
    talk.misses(ASKED, asked)
    assert talk.ask(ASKED).text == Talk.ANEW
    talk.embedder.alike(ASKED, ONCE_MORE)
    talk.hits(ONCE_MORE, Talk.ANEW)


def test_no_store_is_answered_from_the_cache_and_keeps_nothing(talk, upstream):
    known(talk)
    asked = [("Cache-Control", "no-store")]
    talk.hits(AGAIN, headers=asked)
    talk.renew()
    talk.misses(ASKED, asked)
    talk.embedder.alike(ASKED, AGAIN)
    talk.misses(AGAIN, asked)
    talk.misses(ASKED, asked)


def test_a_draft_near_the_threshold_is_not_kept(talk, upstream):
    talk.embedder.alike(ASKED, AGAIN)
    upstream.on("small-1", speak("It is Elbrus, I think.", 1.9))
    assert_routed(talk.ask(ASKED), "accept", "confident")
    talk.misses(AGAIN)


def test_an_answer_whose_time_is_over_is_not_given(talk, upstream):
    talk.route = "brief"
    known(talk)
    talk.hits(AGAIN, headers=[("Cache-Control", "no-store")])
    upstream.gate().wait(BRIEF_S + 0.05)
    talk.misses(AGAIN)


def test_a_deleted_answer_is_not_given(talk):
    known(talk)
    cache_id = talk.hits(AGAIN, headers=[("Cache-Control", "no-store")]).header("X-Cache-Id")
    assert talk.gateway.request("DELETE", f"/v1/cache/{cache_id}").status == 204
    talk.misses(AGAIN)


def test_a_hit_is_not_kept_a_second_time(talk):
    known(talk)
    first = talk.hits(AGAIN).header("X-Cache-Id")
    assert talk.hits(AGAIN).header("X-Cache-Id") == first
