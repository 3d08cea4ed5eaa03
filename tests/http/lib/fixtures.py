"""Fixtures: a scripted upstream, the daemon with a common configuration, and daemons of a test's own."""

import pytest

from .gateway import Gateway, long_form
from .upstream import Upstream


class Shared:
    """The daemon that tests without a configuration of their own share, and started anew if it died."""

    def __init__(self, make_directory):
        self.make_directory = make_directory
        self.upstream = Upstream()
        self.gateway = None

    def running(self):
        if self.gateway is None:
            self.gateway = Gateway(self.make_directory("gateway"), long_form(self.upstream))
            self.gateway.start()
        return self.gateway

    def check(self):
        """After each test: it lives, and no sanitizer complained."""
        gateway = self.gateway
        if gateway is not None and not gateway.is_alive():
            self.gateway = None
            status = gateway.wait_exit()
            gateway.kill()
            pytest.fail(f"the daemon died with {status}:\n{gateway.stderr.text()[-8000:]}")

    def stop(self):
        try:
            if self.gateway is not None:
                self.gateway.stop()
        finally:
            self.upstream.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    shared = Shared(tmp_path_factory.mktemp)
    yield shared
    shared.stop()


@pytest.fixture
def upstream(shared):
    """The scripted model server, with no script set and nothing recorded."""
    yield shared.upstream
    faults = shared.upstream.reset()
    assert not faults, faults


@pytest.fixture
def gateway(shared, upstream):
    """The shared daemon; it must outlive the test."""
    yield shared.running()
    shared.check()


@pytest.fixture
def start(upstream, tmp_path_factory):
    """start(**overrides) or start(text=…): a daemon of the test's own, stopped and checked at its end."""
    started = []

    def begin(text=None, env=None, access=True, **overrides):
        config = text if text is not None else long_form(upstream, **overrides)
        gateway = Gateway(tmp_path_factory.mktemp("own"), config, env, access and text is None)
        started.append(gateway)
        return gateway.start()

    yield begin
    problems = upstream.reset()
    for gateway in started:
        try:
            gateway.stop()
        except AssertionError as error:
            problems.append(str(error))
            gateway.kill()
    assert not problems, problems
