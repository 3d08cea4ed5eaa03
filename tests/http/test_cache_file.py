"""The cache's file: what was known is known after a restart, and no file is ever half a one."""

import os
import random
import signal
import stat
import threading
import time

import pytest

from lib import scripts
from lib import vectors as v
from lib.checks import assert_routed
from lib.client import Cut
from lib.gateway import DRAFT_KEY, HEAVY_KEY, Gateway, chat_body, eventually, long_form, merge
from lib.scripts import confident
from lib.vectors import Talk, assert_hit, cached, quick

ASKED = "What is the tallest mountain in all of Europe?"
AGAIN = "Please, what is the tallest mountain in all of Europe?"
LEXICAL = "How do I change the password of my email account on the phone?"
LEXICAL_AGAIN = "Please, how do I change the password of my email account on the phone?"
ENTRIES = "draftthinker_cache_entries"
LOADED = ("cache_loaded", "cache_refused")


def lexical(upstream, path, **cache):
    """A configuration with a cache that compares without a model. The access log is off: a daemon is started again here."""
    store = {"enabled": True, "file": str(path), "file_interval": 0, **cache}
    return merge(long_form(upstream), {"cache": store, "log": {"access": "off"}})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers"


@pytest.fixture
def keeper(start, upstream, path):
    """keeper(**cache): a daemon with this file."""

    def begin(**cache):
        return start(access=False, **lexical(upstream, path, **cache))

    return begin


def again(gateway):
    """Ended in order, and started anew."""
    gateway.stop()
    return gateway.start()


def killed(gateway):
    """Ended at once, and started anew."""
    gateway.signal(signal.SIGKILL)
    gateway.wait_exit()
    return gateway.start()


def read(gateway):
    """The line that tells what became of the file."""
    return gateway.stderr.wait(lambda line: any(word in line for word in LOADED), "the file's fate")


def lines(gateway, event):
    return [line for line in gateway.stderr.lines if event in line]


def entries(gateway):
    return gateway.metrics()[ENTRIES]


def ask(gateway, text, headers=(), **members):
    return gateway.chat({"messages": [{"role": "user", "content": text}]}, headers, **members)


def keep(gateway, upstream, text, answer="It was kept.", headers=()):
    """Asks, and the answer is kept; its id."""
    upstream.on("small-1", confident(answer))
    assert_routed(ask(gateway, text, headers), "accept", "confident")
    reply = ask(gateway, text, headers)
    assert_routed(reply, "cache_hit", "exact")
    return reply.header("X-Cache-Id")


# A restart


def test_a_repeat_after_a_restart_is_answered_from_the_file_and_keeps_its_id(keeper, upstream):
    gateway = keeper()
    cache_id = keep(gateway, upstream, ASKED)
    upstream.on("small-1", scripts.cut)
    read(again(gateway))
    reply = ask(gateway, ASKED)
    assert_hit(reply, 1.0, reason="exact")
    assert reply.text == "It was kept." and reply.header("X-Cache-Id") == cache_id
    assert reply.header("x-gateway-provider") == "cheap"


def test_a_near_repeat_after_a_restart_is_answered_from_the_file_without_a_model(keeper, upstream):
    gateway = keeper()
    cache_id = keep(gateway, upstream, LEXICAL)
    upstream.on("small-1", scripts.cut)
    read(again(gateway))
    reply = ask(gateway, LEXICAL_AGAIN)
    assert_hit(reply)
    assert reply.text == "It was kept." and reply.header("X-Cache-Id") == cache_id


def test_a_near_repeat_after_a_restart_is_answered_from_the_file_with_one(start, upstream, path):
    gateway = start(access=False, **cached(upstream, cache={"file": str(path), "file_interval": 0}, log={"access": "off"}))
    talk = Talk(gateway, upstream)
    talk.keep(ASKED)
    talk.embedder.apart(ASKED, 0.97, AGAIN)
    read(again(gateway))
    reply = talk.hits(AGAIN, similarity=0.97)
    assert reply.header("X-Cache-Id") == talk.ask(ASKED).header("X-Cache-Id")


def test_age_goes_on_over_a_restart(keeper, upstream):
    gateway = keeper()
    keep(gateway, upstream, ASKED)
    kept_at = time.monotonic()
    read(again(gateway))
    upstream.gate().wait(max(0, kept_at + 1.1 - time.monotonic()))
    assert 1 <= int(ask(gateway, ASKED).header("Age")) <= time.monotonic() - kept_at + 1
    read(again(gateway))
    assert int(ask(gateway, ASKED).header("Age")) >= 1


def test_an_answer_can_be_deleted_after_a_restart_and_stays_deleted(keeper, upstream):
    gateway = keeper()
    cache_id = keep(gateway, upstream, ASKED)
    keep(gateway, upstream, LEXICAL)
    read(again(gateway))
    assert gateway.request("DELETE", f"/v1/cache/{cache_id}").status == 204
    assert gateway.request("DELETE", f"/v1/cache/{cache_id}").status == 404
    read(again(gateway))
    assert gateway.request("DELETE", f"/v1/cache/{cache_id}").status == 404
    assert entries(gateway) == 1
    assert_routed(ask(gateway, ASKED), "accept", "confident")


def test_an_answer_whose_time_is_over_is_not_read(keeper, upstream):
    gateway = keeper(ttl_seconds=1)
    keep(gateway, upstream, ASKED)
    gateway.stop()
    upstream.gate().wait(1.1)
    gateway.start()
    read(gateway)
    assert entries(gateway) == 0
    assert_routed(ask(gateway, ASKED), "accept", "confident")


def test_callers_stay_apart_over_a_restart(keeper, upstream):
    gateway = keeper()
    one, two = [("Authorization", "Bearer one")], [("Authorization", "Bearer two")]
    ids = [keep(gateway, upstream, ASKED, f"For {i}.", headers) for i, headers in enumerate([one, two])]
    read(again(gateway))
    assert ask(gateway, ASKED, one).text == "For 0." and ask(gateway, ASKED, two).text == "For 1."
    assert gateway.request("DELETE", f"/v1/cache/{ids[0]}", headers=two).status == 404
    assert_routed(ask(gateway, ASKED), "accept", "confident")


def test_any_text_comes_back_as_it_was(keeper, upstream):
    gateway = keeper()
    texts = ["Ein schöner Satz über Bäume & „Zeichen“", "\u0000\u0001 zero \U0001f600 and \\ \" escapes", "a long one " * 5000]
    for text in texts:
        upstream.on("small-1", quick(text))
        assert ask(gateway, f"Say: {text}").text == text
    read(again(gateway))
    upstream.on("small-1", scripts.cut)
    for text in texts:
        reply = ask(gateway, f"Say: {text}")
        assert_routed(reply, "cache_hit", "exact")
        assert reply.text == text


def test_a_file_is_read_whatever_embedder_it_was_written_with(start, keeper, upstream, path):
    gateway = keeper()
    keep(gateway, upstream, LEXICAL)
    gateway.stop()
    other = start(access=False, **cached(upstream, cache={"file": str(path), "file_interval": 0}, log={"access": "off"}))
    assert "cache_loaded" in read(other)
    talk = Talk(other, upstream)
    talk.keep(ASKED)
    talk.embedder.alike(ASKED, AGAIN)
    talk.hits(AGAIN)


def test_of_a_file_with_more_than_there_is_room_for_the_most_recently_used_are_taken(keeper, upstream, path):
    gateway = keeper()
    for n in range(20):
        keep(gateway, upstream, f"Question number {n} of them", f"Answer {n}")
    assert ask(gateway, "Question number 3 of them").text == "Answer 3"
    gateway.stop()
    gateway.write_config(lexical(upstream, path, max_entries=5, caller_share=1))
    gateway.start()
    read(gateway)
    assert entries(gateway) == 5
    upstream.on("small-1", scripts.cut)
    for n in (3, 16, 17, 18, 19):
        assert ask(gateway, f"Question number {n} of them").text == f"Answer {n}"


def test_the_daemon_listens_before_the_file_is_read(keeper, upstream):
    gateway = keeper(max_answer_bytes=1 << 20)
    upstream.on("small-1", quick("x" * 1_000_000))
    for n in range(12):
        assert ask(gateway, f"Question {n}").status == 200
    gateway.stop()
    gateway.start()
    assert gateway.get("/health/ready").status == 200
    read(gateway)
    order = [word for line in gateway.stderr.lines for word in ("listening", *LOADED) if word in line]
    assert order == ["listening", "cache_loaded"]
    assert entries(gateway) == 12


def test_what_is_kept_while_the_file_is_read_is_written_too(keeper, upstream):
    gateway = keeper(max_answer_bytes=1 << 20)
    upstream.on("small-1", quick("x" * 1_000_000))
    for n in range(10):
        assert ask(gateway, f"Question {n}").status == 200
    upstream.on("small-1", confident("At once."))
    for n in range(4):
        again(gateway)
        assert ask(gateway, f"Right at the start, {n}").text == "At once."
        read(gateway)
    again(gateway)
    upstream.on("small-1", scripts.cut)
    read(gateway)
    assert [ask(gateway, f"Right at the start, {n}").text for n in range(4)] == ["At once."] * 4


# Writing


def test_it_is_its_owners_alone_and_nothing_lies_beside_it(keeper, upstream, path):
    old = os.umask(0)
    try:
        gateway = keeper()
    finally:
        os.umask(old)
    keep(gateway, upstream, ASKED)
    gateway.stop()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["answers"]


def test_a_file_that_others_may_read_is_its_owners_alone_once_it_is_written(keeper, upstream, path):
    path.write_bytes(b"")
    path.chmod(0o644)
    gateway = keeper()
    keep(gateway, upstream, ASKED)
    gateway.stop()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_written_in_the_background(keeper, upstream, path):
    gateway = keeper(file_interval=0.05)
    keep(gateway, upstream, ASKED)
    eventually(path.exists, "the file")
    read(killed(gateway))
    assert_routed(ask(gateway, ASKED), "cache_hit", "exact")


def test_it_is_not_written_again_while_nothing_changes(keeper, upstream, path):
    gateway = keeper(file_interval=0.02)
    keep(gateway, upstream, ASKED)
    eventually(path.exists, "the file")
    upstream.gate().wait(0.1)
    first = path.stat()
    assert_routed(ask(gateway, ASKED), "cache_hit", "exact")
    upstream.gate().wait(0.2)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    gateway.stop()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_deletion_is_written_too(keeper, upstream, path):
    gateway = keeper(file_interval=0.05)
    cache_id = keep(gateway, upstream, ASKED)
    eventually(path.exists, "the file")
    assert gateway.request("DELETE", f"/v1/cache/{cache_id}").status == 204
    before = path.stat().st_ino, path.stat().st_mtime_ns
    eventually(lambda: (path.stat().st_ino, path.stat().st_mtime_ns) != before, "another writing")
    read(killed(gateway))
    assert entries(gateway) == 0


def test_without_an_interval_it_is_written_only_at_the_end(keeper, upstream, path):
    gateway = keeper(file_interval=0)
    keep(gateway, upstream, ASKED)
    upstream.gate().wait(0.3)
    assert not path.exists()
    gateway.stop()
    assert path.exists()


def test_a_daemon_that_kept_nothing_writes_nothing(keeper, path):
    keeper(file_interval=0.01).stop()
    assert not path.exists()


def test_an_answer_given_while_it_drains_is_written(keeper, upstream, path):
    gateway = keeper()
    gate = upstream.gate()

    def script(exchange):
        exchange.wait(gate)
        confident("The last.")(exchange)

    upstream.on("small-1", script)
    with gateway.client() as client:
        client.begin("POST", "/v1/chat/completions", chat_body({"messages": [{"role": "user", "content": ASKED}]}, {}))
        upstream.wait_request("small-1")
        gateway.signal(signal.SIGTERM)
        gateway.stderr.wait(lambda line: "drain" in line, "draining")
        gate.set()
        assert client.read_response().text == "The last."
    assert gateway.wait_exit() == 0
    read(gateway.start())
    assert ask(gateway, ASKED).text == "The last."


def test_no_key_is_in_it(start, upstream, path):
    gateway = start(access=False, **cached(upstream, cache={"file": str(path), "file_interval": 0}, log={"access": "off"}))
    secret = "sk-callers-own-0192837465abcdefSECRET"
    talk = Talk(gateway, upstream)
    talk.keep(ASKED, headers=[("Authorization", f"Bearer {secret}"), ("X-Api-Key", f"other-{secret}")])
    gateway.stop()
    data = path.read_bytes()
    assert ASKED.encode() in data, "so texts in it can be looked for"
    for text in (secret, "Bearer", DRAFT_KEY, HEAVY_KEY, v.KEY):
        assert text.encode() not in data


# Files that are none


@pytest.fixture(scope="module")
def good(shared, tmp_path_factory):
    """The bytes of a file with some answers and their vectors in it."""
    folder, upstream = tmp_path_factory.mktemp("good"), shared.upstream
    config = cached(upstream, cache={"file": str(folder / "answers"), "file_interval": 0}, log={"access": "off"})
    gateway = Gateway(folder, config, access=False).start()
    talk = Talk(gateway, upstream)
    for n in range(4):
        talk.keep(f"What is so special about the number {n}?", f"Answer {n}")
    gateway.stop()
    return (folder / "answers").read_bytes()


def assert_refused(gateway):
    """It was, with one warning, and the cache is empty."""
    assert "cache_refused" in read(gateway)
    assert entries(gateway) == 0
    (line,) = lines(gateway, "cache_refused")
    assert "level=warn" in line or "warn" in line.lower(), line
    assert not lines(gateway, "cache_loaded")


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_a_good_file_is_taken(good, keeper, path):
    path.write_bytes(good)
    gateway = keeper()
    assert "cache_loaded" in read(gateway)
    assert entries(gateway) == 4


@pytest.mark.parametrize("part", range(4))
def test_a_file_with_a_flipped_bit_is_refused_wherever_it_is(good, keeper, path, part):
    places = sorted({*range(0, 64, 5), *random.Random(7).sample(range(len(good)), 24), *range(len(good) - 32, len(good), 5)})
    gateway = None
    for at in places[part::4]:
        path.write_bytes(flip(good, at))
        gateway = killed(gateway) if gateway else keeper()
        assert_refused(gateway)


@pytest.mark.parametrize("part", [0, 1])
def test_a_file_that_ends_early_or_late_is_refused(good, keeper, path, part):
    n = len(good)
    gateway = None
    for end in [0, 1, 7, 8, 63, 64, n // 4, n // 2, n - 33, n - 8, n - 1, n + 1][part::2]:
        path.write_bytes(good[:end] if end <= n else good + b"\0")
        gateway = killed(gateway) if gateway else keeper()
        assert_refused(gateway)


FOREIGN = {
    "text": b"What is the tallest mountain in all of Europe?\n" * 100,
    "zeros": b"\0" * 65536,
    "json": b'{"entries":[]}',
    "elf": b"\x7fELF" + bytes(range(256)) * 40,
    "half_and_half": None,
}


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_foreign_file_is_refused(good, keeper, path, name):
    data = FOREIGN[name]
    path.write_bytes(good[:1000] + b"x" * (len(good) - 1000) if data is None else data)
    assert_refused(keeper())


def test_a_refused_file_is_replaced(good, keeper, upstream, path):
    path.write_bytes(flip(good, len(good) // 2))
    gateway = keeper()
    assert_refused(gateway)
    keep(gateway, upstream, ASKED)
    again(gateway)
    assert "cache_loaded" in read(gateway)
    assert_routed(ask(gateway, ASKED), "cache_hit", "exact")
    assert entries(gateway) == 1


def test_a_directory_in_its_place_is_refused_and_harms_nothing(keeper, upstream, path):
    path.mkdir()
    gateway = keeper(file_interval=0.05)
    assert_refused(gateway)
    keep(gateway, upstream, ASKED)
    gateway.stderr.wait(lambda line: "cache_not_written" in line, "cache_not_written")
    gateway.stop()
    assert os.listdir(path) == []


def test_a_file_that_cannot_be_written_is_told_of_and_harms_nothing(start, upstream, tmp_path):
    gateway = start(access=False, **lexical(upstream, tmp_path / "nowhere" / "answers", file_interval=0.05))
    keep(gateway, upstream, ASKED)
    line = gateway.stderr.wait(lambda line: "cache_not_written" in line, "cache_not_written")
    assert "error" in line.lower() and "nowhere" in line
    assert_routed(ask(gateway, ASKED), "cache_hit", "exact")
    assert not lines(gateway, "cache_refused")
    gateway.stop()


# The end at any moment


def ask_on(gateway, round_):
    """Asks until the daemon is gone."""
    try:
        with gateway.client() as client:
            for n in range(10_000):
                client.request("POST", "/v1/chat/completions", chat_body({"messages": [{"role": "user", "content": f"{round_} {n}"}]}, {}))
    except (Cut, OSError):
        pass


def test_killed_at_any_moment_it_leaves_a_file_that_can_be_read(keeper, upstream, path):
    chance = random.Random(11)
    upstream.on("small-1", quick("x" * 50_000))
    gateway = keeper(file_interval=0.001, max_bytes=20_000_000)
    for round_ in range(20):
        before = path.stat().st_mtime_ns if path.exists() else None
        thread = threading.Thread(target=ask_on, args=(gateway, round_))
        thread.start()
        eventually(lambda: path.exists() and path.stat().st_mtime_ns != before, "a writing")
        upstream.gate().wait(chance.random() * 0.03)
        killed(gateway)
        thread.join()
        assert "cache_loaded" in read(gateway), gateway.stderr.text()
        assert entries(gateway) > 0
    # What the last one was at lies beside it, and no more than that.
    assert len(os.listdir(path.parent)) <= 2
    keep(gateway, upstream, ASKED)
    gateway.stop()
    assert os.listdir(path.parent) == ["answers"]


def test_a_copy_taken_at_any_moment_can_be_read(keeper, start, upstream, path, tmp_path_factory):
    upstream.on("small-1", quick("x" * 50_000))
    gateway = keeper(file_interval=0.001, max_bytes=20_000_000)
    thread = threading.Thread(target=ask_on, args=(gateway, 0))
    thread.start()
    copies = []
    for _ in range(8):
        before = path.stat().st_mtime_ns if path.exists() else None
        eventually(lambda: path.exists() and path.stat().st_mtime_ns != before, "a writing")
        copies.append(path.read_bytes())
    gateway.signal(signal.SIGKILL)
    thread.join()
    gateway.wait_exit()
    for data in copies:
        path.write_bytes(data)
        gateway.start()
        assert "cache_loaded" in read(gateway)
        gateway.signal(signal.SIGKILL)
        gateway.wait_exit()
    gateway.start()


def test_told_to_end_at_once_it_leaves_a_file_that_can_be_read(keeper, upstream, path):
    upstream.on("small-1", quick("x" * 200_000))
    gateway = keeper(file_interval=0.001)
    for _ in range(4):
        thread = threading.Thread(target=ask_on, args=(gateway, _))
        thread.start()
        eventually(path.exists, "a writing")
        gateway.signal(signal.SIGTERM)
        gateway.stderr.wait(lambda line: "drain" in line, "draining")
        gateway.signal(signal.SIGTERM)
        gateway.wait_exit()
        thread.join()
        gateway.start()
        assert "cache_loaded" in read(gateway)
