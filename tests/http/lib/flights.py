"""Flights: identical requests under way at one time, brought to a stage by the test, and what each is told."""

from . import frames as f
from .caching import Asked, assert_hit, under_way
from .gateway import eventually
from .live import DRAFT, HEAVY, ROLE, Puppet, said, stop

TEXT = "It is Paris."
USAGE = f.usage(11, 3)
HEAVY_ROLE = f.chunk({"role": "assistant", "content": ""}, head=HEAVY, usage=None)


def word(text):
    """A frame of a heavyweight that tells its usage at the end."""
    return f.chunk({"content": text}, head=HEAVY, usage=None)


def ending(usage=True):
    """The frames at the end of a heavyweight's stream."""
    return [stop(HEAVY), *[f.usage_frame(USAGE, head=HEAVY)] * usage]


def join(gateway, question, forms, first=None, **members):
    """Requests in these forms, all under way. first: waits until the first of them has been put to a model."""
    requests = []
    for form in forms:
        requests.append(Asked(gateway, question, form, **members))
        under_way(gateway, *requests)
        if len(requests) == 1 and first:
            first()
    return requests


def assert_shared(answer, form="json", model="heavyweight", provider="good", text=TEXT):
    assert_hit(answer, "shared", model, provider)
    assert_told(answer, form, text)


def assert_told(answer, form, text=TEXT, finish="stop"):
    """The whole answer, just once, with the usage if that was asked for."""
    assert answer.whole and answer.text == text and answer.finish == [finish], answer
    if form == "stream":
        assert not any(frame.get("usage") for frame in answer.stream.frames), answer
    else:
        assert answer.usage, answer


class Stage:
    """A flight at some stage: begin() brings the models there, seen is what streams have by then, end() ends it."""

    def __init__(self, upstream, name):
        self.drafter, self.heavy = Puppet(upstream, "small-1"), Puppet(upstream, "large-1")
        self.name, self.seen, self.at_work = name, None, None
        self.model = "live" if name in ("flowing", "handing_over") else "auto"

    def begin(self):
        self.drafter.take().say(ROLE)
        if self.name == "drafting":
            self.drafter.say(said("It "))
        elif self.name in ("flowing", "handing_over"):
            self.drafter.say(*[said(text) for text in ("It ", "is ", "held ", "back ")])
            self.seen = "It is "
        if self.name in ("escalated", "relaying", "handing_over"):
            self.drafter.say(said("DRAFTED", 5.0))
            self.heavy.take()
        if self.name == "relaying":
            self.heavy.say(HEAVY_ROLE, word("It "))
            self.seen = "It "
        self.at_work = self.drafter if self.name in ("drafting", "flowing") else self.heavy

    @property
    def text(self):
        return "It is held back Paris." if self.name == "flowing" else TEXT

    def end(self):
        if self.at_work is self.drafter:
            rest = [said("is "), said("Paris.")] if self.name == "drafting" else [said("Paris.")]
            self.drafter.end(*rest, stop(), f.usage_frame(USAGE, head=DRAFT))
        else:
            rest = {"escalated": "It is Paris.", "relaying": "is Paris.", "handing_over": "Paris."}[self.name]
            self.heavy.end(word(rest), *ending())

    def is_undisturbed(self):
        return not self.at_work.exchange.connection.closed.is_set()


STAGES = ["drafting", "escalated", "relaying", "flowing", "handing_over"]
STREAMED = ["relaying", "flowing", "handing_over"]


def fly(gateway, upstream, question, name, forms):
    """The stage, and the requests in it."""
    stage = Stage(upstream, name)
    requests = join(gateway, question, forms, stage.begin, model=stage.model)
    if stage.seen:
        for request, form in zip(requests, forms):
            if form != "json":
                request.wait_text(stage.seen)
    return stage, requests


def leave(gateway, asked, how="close"):
    """The client leaves, and the gateway has noticed."""
    name = "draftthinker_client_disconnects_total"
    before = gateway.metrics()[name]
    getattr(asked.client, how)()
    eventually(lambda: gateway.metrics()[name] > before, "its count")
