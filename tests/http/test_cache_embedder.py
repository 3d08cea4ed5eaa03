"""What compares questions: an embeddings model, however badly it behaves, or the daemon itself."""

import math
import signal
import time

import pytest

from lib import frames as f
from lib import scripts
from lib import vectors as v
from lib.checks import assert_routed
from lib.gateway import DRAFT_KEY, Gateway, eventually, merge, soon
from lib.scripts import FullBacklog, confident, expert, refusing_port, uncertain
from lib.vectors import Talk, assert_hit, cached, talk  # noqa: F401

LIMIT_MS = 50
ASKED = "What is the tallest mountain in all of Europe?"
AGAIN = "Please, what is the tallest mountain in all of Europe?"
VECTOR = v.unit("any")
PAIR = {"drafter": "drafter", "heavyweight": "heavyweight"}


@pytest.fixture(scope="module")
def nobody():
    """A port that refuses connections, and one that never takes them."""
    port, sock = refusing_port()
    backlog = FullBacklog()
    yield {"refused": port, "hanging": backlog.port}
    backlog.close()
    sock.close()


@pytest.fixture(scope="module")
def cached_daemon(shared, nobody, tmp_path_factory):
    """That of lib/vectors, with embedders that cannot be reached, too."""
    server = {name: {"base_url": f"http://127.0.0.1:{port}/v1", "connect_timeout": 5} for name, port in nobody.items()}
    gateway = Gateway(tmp_path_factory.mktemp("embedder"), cached(
        shared.upstream, providers=server,
        models={f"embedder_{name}": {"provider": name, "model": v.MODEL} for name in nobody},
        routes={name: {**PAIR, "cache": {"embedding_model": f"embedder_{name}", "embedding_timeout": v.SHORT_S}} for name in nobody},
    )).start()
    yield gateway
    gateway.stop()


def says(embedding, **members):
    return scripts.reply(200, v.document(embedding, **members))


def dripping(exchange):
    """A byte now and then, and never the last one."""
    exchange.head(content_type="application/json")
    while not exchange.connection.closed.wait(0.02):
        exchange.write(b" ")


def cut_in_body(exchange):
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + b'{"data":[{"embed')
    exchange.cut()


def cut_in_chunks(exchange):
    exchange.head(content_type="application/json")
    exchange.write(b'{"data":[')
    exchange.cut()


FAULTS = {  # what the embedder does, the route, and what is counted
    "status_400": (scripts.failure(400), "auto", "status"),
    "status_401": (scripts.failure(401), "auto", "status"),
    "status_404": (scripts.failure(404), "auto", "status"),
    "status_413": (scripts.failure(413), "auto", "status"),
    "status_429": (scripts.failure(429, headers=[("Retry-After", "7")]), "auto", "status"),
    "status_500": (scripts.failure(500), "auto", "status"),
    "status_502_html": (scripts.reply(502, scripts.HTML_502, "text/html"), "auto", "status"),
    "status_302": (scripts.FAILURES["status_302"], "auto", "status"),
    "refused": (None, "refused", "unreachable"),
    "closed_before_head": (scripts.cut, "auto", "unreachable"),
    "reset_before_head": (scripts.reset, "auto", "unreachable"),
    "garbage_for_head": (scripts.FAILURES["garbage_for_head"], "auto", "unreachable"),
    "cut_in_head": (scripts.FAILURES["cut_in_head"], "auto", "unreachable"),
    "cut_in_body": (cut_in_body, "auto", "unreachable"),
    "cut_in_chunks": (cut_in_chunks, "auto", "unreachable"),
    "never_connected": (None, "hanging", "timeout"),
    "silent": (scripts.stall, "hasty", "timeout"),
    "silent_after_head": (scripts.after([], scripts.stall), "hasty", "timeout"),
    "dripping": (dripping, "hasty", "timeout"),
    "status_204": (scripts.FAILURES["status_204"], "auto", "malformed"),
    "empty": (scripts.reply(200, b""), "auto", "malformed"),
    "html": (scripts.reply(200, b"<html>hello</html>", "text/html"), "auto", "malformed"),
    "half_of_it": (scripts.reply(200, v.f.dump(v.document(v.packed(VECTOR)))[:-9]), "auto", "malformed"),
    "two_of_it": (scripts.reply(200, v.f.dump(v.document(v.packed(VECTOR))) * 2), "auto", "malformed"),
    "a_list": (scripts.reply(200, b"[1,2]"), "auto", "malformed"),
    "deep": (scripts.reply(200, b"[" * 100_000), "auto", "malformed"),
    "no_data": (scripts.reply(200, {"object": "list"}), "auto", "malformed"),
    "data_null": (scripts.reply(200, {"data": None}), "auto", "malformed"),
    "data_empty": (scripts.reply(200, {"data": []}), "auto", "malformed"),
    "data_no_objects": (scripts.reply(200, {"data": [1]}), "auto", "malformed"),
    "no_embedding": (scripts.reply(200, {"data": [{"index": 0}]}), "auto", "malformed"),
    "embedding_null": (says(None), "auto", "malformed"),
    "embedding_an_object": (says({"0": 1}), "auto", "malformed"),
    "embedding_of_texts": (says(["1", "0"]), "auto", "malformed"),
    "embedding_of_lists": (says([VECTOR, VECTOR]), "auto", "malformed"),
    "no_base64": (says("*" * 344), "auto", "malformed"),
    "base64_of_part_of_a_number": (says(v.packed(VECTOR)[:-8] + "AAA="), "auto", "malformed"),
    "nan": (says(v.packed([math.nan, *VECTOR[1:]])), "auto", "malformed"),
    "infinite": (says(v.packed([math.inf, *VECTOR[1:]])), "auto", "malformed"),
    "nan_in_json": (scripts.reply(200, b'{"data":[{"embedding":[NaN,0.5]}]}'), "auto", "malformed"),
    "beyond_floats": (scripts.reply(200, b'{"data":[{"embedding":[1e999,0.5]}]}'), "auto", "malformed"),
    "zero": (says(v.packed([0.0] * 64)), "auto", "malformed"),
    "zero_listed": (says([0] * 64), "auto", "malformed"),
    "five_megabytes": (scripts.reply(200, b'{"x":"' + b"x" * 5_000_000 + b'"}'), "auto", "malformed"),
    "error_in_200": (scripts.reply(200, {"error": {"message": "no", "type": "server_error"}}), "auto", "error"),
    "error_text_in_200": (scripts.reply(200, {"error": "no"}), "auto", "error"),
    "no_numbers": (says([]), "auto", "dimensions"),
    "no_bytes": (says(""), "auto", "dimensions"),
    "one_too_few": (says(v.packed(VECTOR[1:])), "sized", "dimensions"),
    "one_too_many": (says([*VECTOR, 0.5]), "sized", "dimensions"),
    "more_than_there_may_be": (says([0.5] * 65537), "auto", "dimensions"),
}


@pytest.mark.parametrize("early", [True, False], ids=["before_the_draft", "after_the_draft"])
@pytest.mark.parametrize("name", sorted(FAULTS))
def test_with_a_faulty_embedder_the_draft_is_the_answer_and_kept_for_exact_repeats(talk, upstream, name, early):
    script, talk.route, result = FAULTS[name]
    upstream.on(v.MODEL, script)
    before = talk.counted(result)
    if early:
        talk.misses(ASKED, result=result)
    else:
        upstream.on("small-1", confident(Talk.ANEW))
        assert_routed(talk.ask(ASKED), "accept", "confident")
    eventually(lambda: talk.counted(result) == before + 1, f"the result {result}")
    reply = talk.ask(ASKED)
    assert_routed(reply, "cache_hit", "exact")
    assert reply.text == Talk.ANEW


def test_the_connection_to_a_silent_embedder_is_closed_when_its_time_is_over(talk, upstream):
    talk.route = "hasty"
    upstream.on(v.MODEL, scripts.stall)
    upstream.on("small-1", confident())
    talk.ask(ASKED)
    request = upstream.wait_request(v.MODEL)
    taken = upstream.wait_closed(request) - request.at
    assert v.SHORT_S - 0.05 <= taken


def test_a_vector_is_asked_for_once(talk, upstream):
    """Nothing is tried again: nobody waits for it."""
    upstream.on(v.MODEL, scripts.failure(503, headers=[("retry-after-ms", "1")]))
    talk.misses(ASKED, result="status")
    assert len(upstream.requests_for(v.MODEL)) == 1


# It is asked beside the draft, and delays nothing


@pytest.mark.parametrize("route", ["auto", "hanging", "refused"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_draft_waits_for_an_embedder_that_says_nothing(talk, upstream, route, stream):
    talk.route = route
    upstream.on(v.MODEL, scripts.stall)
    upstream.on("small-1", confident("At once."))
    before, asked = talk.counted(), []

    def attempt():
        talk.renew()
        asked.append(time.monotonic())
        reply = talk.stream(ASKED) if stream else talk.ask(ASKED)
        assert reply.text == "At once."
        return time.monotonic() - asked[-1]

    soon(LIMIT_MS, attempt)
    if route == "auto":
        upstream.wait_request(v.MODEL, len(asked))
    else:
        eventually(lambda: talk.counted() == before + len(asked), "the end of what was asked for")


@pytest.mark.parametrize("stream", [False, True])
def test_no_heavyweight_waits_for_an_embedder_that_says_nothing(talk, upstream, stream):
    upstream.on(v.MODEL, scripts.stall)
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert("At once."))
    assert (talk.stream(ASKED) if stream else talk.ask(ASKED)).text == "At once."
    upstream.wait_request(v.MODEL)


def test_the_drafter_goes_before_the_embedder_where_its_provider_has_one_place(start, upstream):
    """A model that the file does not name is one at the drafter's provider, and asked with its key."""
    gateway = start(**cached(upstream, cache={"embedding_model": "embed-2"}, providers={"cheap": {"max_concurrent": 1}}))
    talk = Talk(gateway, upstream)
    upstream.on("embed-2", talk.embedder)
    upstream.on("small-1", confident("Drafted."))
    reply = talk.ask(ASKED)
    assert_routed(reply, "accept", "confident", "drafter")
    assert talk.counted("busy") == 1 and upstream.requests_for("embed-2") == []


def test_a_model_without_a_name_of_its_own_is_asked_at_the_drafters_provider(start, upstream):
    gateway = start(**cached(upstream, cache={"embedding_model": "embed-2", "embedding_dimensions": 32}))
    talk = Talk(gateway, upstream)
    embedder = v.Embedder(upstream, "embed-2")
    for text in (ASKED, AGAIN):
        embedder.place(text, v.unit(ASKED, 32))
    talk.keep(ASKED)
    talk.hits(AGAIN)
    request = embedder.requests[0]
    assert (request.path, request.header("Authorization")) == ("/cheap/v1/embeddings", f"Bearer {DRAFT_KEY}")
    assert request.json == {"model": "embed-2", "input": ASKED, "encoding_format": "base64", "dimensions": 32}


def test_where_its_provider_has_no_place_left_it_is_not_asked(start, upstream):
    gateway = start(**cached(upstream, providers={"vectors": {"max_concurrent": 1}}))
    talk = Talk(gateway, upstream)
    upstream.on("small-1", confident("At once."))
    gate = talk.embedder.hold()
    assert talk.ask(ASKED).text == "At once."
    assert talk.ask("Another question, while that one waits.").text == "At once."
    assert talk.counted("busy") == 1 and len(talk.embedder.requests) == 1
    gate.set()
    eventually(lambda: talk.counted("ok") == 1, "the first one's vector")
    talk.embedder.alike(ASKED, AGAIN)
    talk.hits(AGAIN, "At once.")


# What it says is read in any form

FORMS = {
    "base64": v.packed,
    "floats": v.listed,
    "long": lambda vector: v.packed(v.scaled(vector, 7.0)),
    "short": lambda vector: v.listed(v.scaled(vector, 1e-3)),
    "whole_numbers": lambda vector: [round(x * 1_000_000) for x in vector],
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_vector_is_taken_in_any_form_and_length(talk, form):
    talk.embedder.form = FORMS[form]
    talk.embedder.apart(ASKED, 0.97, AGAIN)
    talk.keep(ASKED)
    talk.hits(AGAIN, similarity=0.97)


def test_a_vector_is_taken_with_other_members_around_it_and_in_pieces(talk, upstream):
    answer = v.f.dump({"error": None, "id": "x", "data": [{"x": {"embedding": 1}, "embedding": v.packed(VECTOR), "index": 0}], "usage": None})
    upstream.on(v.MODEL, scripts.body(answer, "application/json; charset=utf-8", pieces=7))
    talk.keep(ASKED)
    talk.hits(AGAIN)


def test_vectors_of_another_length_are_no_ones_neighbours(talk, upstream):
    talk.keep(ASKED)
    upstream.on(v.MODEL, says(v.packed(v.unit(ASKED)[:32])))
    talk.misses(AGAIN)
    assert_routed(talk.ask(AGAIN), "cache_hit", "exact")


@pytest.mark.parametrize("count", [1, 2, 3, 1536, 65536])
def test_vectors_may_have_any_length(talk, upstream, count):
    upstream.on(v.MODEL, says(v.packed(v.unit("a long one", count))))
    talk.keep(ASKED)
    talk.hits(AGAIN, similarity=1.0)


def test_its_tokens_and_their_cost_are_counted(talk):
    tokens = 'draftthinker_tokens_total{model="embedder",kind="embedding"}'
    cost = 'draftthinker_cost_usd_total{model="embedder",kind="embedding"}'
    before = talk.gateway.metrics()
    talk.keep(ASKED)
    talk.misses("Which river in Europe is the longest one?")
    after = talk.gateway.metrics()
    assert after[tokens] - before.get(tokens, 0) == 2 * v.TOKENS
    assert after[cost] - before.get(cost, 0) == pytest.approx(2 * v.TOKENS * 0.5 / 1e6, rel=1e-3)


def test_one_that_tells_no_tokens_is_taken_all_the_same(talk, upstream):
    upstream.on(v.MODEL, says(v.packed(VECTOR), usage=None))
    talk.keep(ASKED)
    talk.hits(AGAIN)


# Its breaker

LASTING = {"failures": 3, "failed_part": 0, "open": 60, "open_max": 600}
STATE = 'draftthinker_breaker_state{model="embedder"}'


def fail(talk, count=3, status=500):
    talk.upstream.on(v.MODEL, scripts.failure(status))
    for n in range(count):
        talk.misses(f"What is so special about the number {n} here?", result="status")


def test_one_that_keeps_failing_is_not_asked_for_a_while(start, upstream):
    talk = Talk(start(**cached(upstream, breaker=LASTING)), upstream)
    fail(talk)
    assert talk.gateway.metrics()[STATE] == 2
    assert len(upstream.requests_for(v.MODEL)) == 3
    talk.misses(ASKED, result="breaker")
    assert len(upstream.requests_for(v.MODEL)) == 3 and talk.counted("breaker") == 1
    assert_routed(talk.ask(ASKED), "cache_hit", "exact")


def test_one_that_recovers_is_asked_again(start, upstream):
    talk = Talk(start(**cached(upstream, breaker={**LASTING, "open": 0.3})), upstream)
    fail(talk)
    upstream.gate().wait(0.7)  # the pause is the least, and a part of it more at random
    talk.embedder = v.Embedder(upstream)
    talk.embedder.alike(ASKED, AGAIN)
    talk.keep(ASKED)
    assert talk.gateway.metrics()[STATE] == 0
    talk.hits(AGAIN)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_about_one_text_does_not_count_against_it(start, upstream, status):
    talk = Talk(start(**cached(upstream, breaker=LASTING)), upstream)
    fail(talk, 5, status)
    assert len(upstream.requests_for(v.MODEL)) == 5 and talk.counted("breaker") == 0


def test_what_was_let_go_of_does_not_count_against_it(start, upstream):
    talk = Talk(start(**cached(upstream, breaker=LASTING)), upstream)
    upstream.on(v.MODEL, scripts.stall)
    upstream.on("small-1", scripts.stall)
    for n in range(5):
        client = talk.begin(f"What is so special about the number {n} here?")
        upstream.wait_request(v.MODEL, n + 1)
        client.close()
        eventually(lambda: talk.counted("cancelled") == n + 1, "its end")
    assert talk.gateway.metrics().get(STATE, 0) == 0


def test_a_failing_embedder_says_nothing_of_the_models_at_its_provider(start, upstream):
    gateway = start(**cached(upstream, breaker=LASTING, models={"embedder": {"provider": "cheap"}}))
    talk = Talk(gateway, upstream)
    fail(talk)
    talk.misses(ASKED, result="breaker")
    assert talk.gateway.metrics().get('draftthinker_breaker_state{model="drafter"}', 0) == 0


def test_the_daemon_is_ready_whatever_became_of_its_embedder(start, upstream):
    talk = Talk(start(**cached(upstream, breaker=LASTING)), upstream)
    assert talk.gateway.get("/health/ready").status == 200
    fail(talk)
    assert talk.gateway.metrics()[STATE] == 2
    assert talk.gateway.get("/health/ready").status == 200


# Who needs it no more lets it go

TRIP = scripts.after(f.text_frames([("DRAFTED", 6.0)], finish=None), scripts.stall)
PHASES = {
    "drafting": (False, {"small-1": scripts.stall}),
    "drafting_streamed": (True, {"small-1": scripts.stall}),
    "escalated": (False, {"small-1": TRIP, "large-1": scripts.stall}),
    "relaying": (True, {"small-1": TRIP, "large-1": scripts.after(f.text_frames([("one", 0)], finish=None), scripts.stall)}),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", sorted(PHASES))
def test_when_the_client_leaves_the_embedder_is_let_go_within_50_ms(talk, upstream, phase, how):
    stream, servers = PHASES[phase]
    upstream.on(v.MODEL, scripts.stall)
    for model, script in servers.items():
        upstream.on(model, script)
    seen = []

    def attempt():
        talk.renew()
        before = talk.counted("cancelled")
        client = talk.begin(ASKED, stream=stream)
        seen.append(upstream.wait_request(v.MODEL, len(seen) + 1))
        upstream.wait_request(list(servers)[-1], len(seen))
        if phase == "relaying":
            assert client.stream().next() is not None
        at = getattr(client, how)()
        taken = upstream.wait_closed(seen[-1]) - at
        assert talk.counted("cancelled") == before + 1
        return taken

    soon(LIMIT_MS, attempt)


NOT_KEPT = {
    "failed": (502, {"small-1": uncertain(), "large-1": scripts.failure(500)}),
    "unfinished": (200, {"small-1": confident(finish="length")}),
}


@pytest.mark.parametrize("name", sorted(NOT_KEPT))
def test_when_there_is_no_answer_to_be_kept_the_embedder_is_let_go(talk, upstream, name):
    status, servers = NOT_KEPT[name]
    gate = upstream.gate()

    def late(script):
        def run(exchange):
            exchange.wait(gate)
            script(exchange)
        return run

    upstream.on(v.MODEL, scripts.stall)
    for model, script in servers.items():
        upstream.on(model, late(script))
    with talk.begin(ASKED) as client:
        request = upstream.wait_request(v.MODEL)
        gate.set()
        assert client.read_response().status == status
        upstream.wait_closed(request)


def test_when_the_answer_is_kept_the_embedder_is_waited_for_though_the_client_is_gone(talk, upstream):
    gate = talk.embedder.hold()
    upstream.on("small-1", confident("It was kept."))
    before = talk.counted("ok")
    talk.ask(ASKED)  # which closes its connection
    request = upstream.wait_request(v.MODEL)
    assert not upstream.connection_of(request).closed.is_set()
    gate.set()
    eventually(lambda: talk.counted("ok") == before + 1, "the vector")
    talk.embedder.alike(ASKED, AGAIN)
    talk.hits(AGAIN)


def test_a_daemon_that_drains_does_not_wait_for_an_embedder(start, upstream):
    talk = Talk(start(**cached(upstream, cache={"embedding_timeout": 60})), upstream)
    upstream.on(v.MODEL, scripts.stall)
    upstream.on("small-1", confident())
    assert talk.ask(ASKED).status == 200
    request = upstream.wait_request(v.MODEL)
    talk.gateway.signal(signal.SIGTERM)
    assert talk.gateway.wait_exit(5) == 0
    upstream.wait_closed(request)


def test_a_request_that_runs_while_the_daemon_drains_still_gets_its_hit(start, upstream):
    talk = Talk(start(**cached(upstream)), upstream)
    talk.embedder.alike(ASKED, AGAIN)
    talk.keep(ASKED)
    gate = talk.embedder.hold()
    upstream.on("small-1", scripts.stall)
    with talk.begin(AGAIN) as client:
        upstream.wait_request(v.MODEL, 2)
        talk.gateway.signal(signal.SIGTERM)
        talk.gateway.stderr.wait(lambda line: "drain" in line, "draining")
        gate.set()
        assert_hit(client.read_response())
    assert talk.gateway.wait_exit() == 0


def test_an_embedding_outlives_the_configuration_that_it_was_asked_under(start, upstream):
    config = cached(upstream)
    gateway = start(**config)
    talk = Talk(gateway, upstream)
    gate = talk.embedder.hold()
    upstream.on("small-1", confident("It was kept."))
    assert talk.ask(ASKED).status == 200
    upstream.wait_request(v.MODEL)
    without = merge(config, {"models": {"embedder": None}, "providers": {"vectors": None},
                             "routes": {"hasty": None, "sized": None}, "cache": {"embedding_model": None}})
    gateway.write_config(merge(without, {"log": {"access": str(gateway.directory / "access.log")}}))
    gateway.signal(signal.SIGHUP)
    assert "reloaded" in gateway.stderr.wait(lambda line: "reload" in line, "reload")
    gate.set()
    eventually(lambda: talk.counted("ok") == 1, "the vector")
    gateway.stop()


def test_vectors_of_another_model_are_no_ones_neighbours(start, upstream):
    """Whatever they are: a reload that names another model begins anew."""
    config = cached(upstream)
    gateway = start(**config)
    talk = Talk(gateway, upstream)
    upstream.on("embed-2", talk.embedder)
    talk.embedder.alike(ASKED, AGAIN)
    talk.keep(ASKED)
    gateway.write_config(merge(config, {"cache": {"embedding_model": "embed-2"}, "log": {"access": str(gateway.directory / "access.log")}}))
    gateway.signal(signal.SIGHUP)
    assert "reloaded" in gateway.stderr.wait(lambda line: "reload" in line, "reload")
    talk.misses(AGAIN)


def test_many_who_leave_their_embeddings_behind_leave_nothing_behind(talk, upstream):
    upstream.on(v.MODEL, scripts.stall)
    upstream.on("small-1", scripts.stall)
    before = talk.counted("cancelled")
    clients = [talk.begin(f"What is so special about the number {n} here?") for n in range(40)]
    upstream.wait_for(lambda: len(upstream.requests_for(v.MODEL)) == 40, "40 embeddings")
    for client in clients:
        client.close()
    eventually(lambda: talk.counted("cancelled") == before + 40, "the end of all")
    upstream.wait_for(
        lambda: all(c.closed.is_set() for c in upstream.connections if c.requests and c.requests[-1] in upstream.requests),
        "all connections closed")


# Without a model

LONG = "How do I change the password of my email account on the phone?"
NEAR = {
    "please": "Please, how do I change the password of my email account on the phone?",
    "case": "how do i change the password of my email account on the phone?",
    "punctuation": "How do I change the password of my email account on the phone",
    "marks": "How do I change the password of my email account, on the phone?!",
    "spaces": "How do I  change the password of my email account on the phone? ",
    "typo": "How do I change the pasword of my email account on the phone?",
}
OTHER = {
    "another_thing": "How do I change the language of my email account on the phone?",
    "another_place": "How do I change the password of my email account on the laptop?",
    "denied": "How do I not change the password of my email account on the phone?",
    "numbered": "How do I change the password of my 2 email account on the phone?",
    "unrelated": "Which of the planets in the solar system has the most moons today?",
}


@pytest.mark.parametrize("name", sorted(NEAR))
def test_a_near_repeat_is_found_without_a_model(talk, upstream, name):
    talk.route = "lexical"
    upstream.on("small-1", confident("It was kept."))
    talk.ask(LONG)
    asked = len(upstream.requests)
    reply = talk.ask(NEAR[name])
    assert_hit(reply)
    assert reply.text == "It was kept."
    assert len(upstream.requests) == asked


@pytest.mark.parametrize("name", sorted(OTHER))
def test_another_question_is_not_found_without_a_model(talk, upstream, name):
    talk.route = "lexical"
    upstream.on("small-1", confident("It was kept."))
    talk.ask(LONG)
    upstream.on("small-1", confident(Talk.ANEW))
    assert_routed(talk.ask(OTHER[name]), "accept", "confident")


def test_a_near_repeat_finds_nothing_where_questions_are_not_compared(talk, upstream):
    talk.route = "unlike"
    upstream.on("small-1", confident("It was kept."))
    talk.ask(LONG)
    assert_routed(talk.ask(NEAR["please"]), "accept", "confident")
    assert_routed(talk.ask(LONG), "cache_hit", "exact")
