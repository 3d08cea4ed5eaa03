"""A gateway between random clients and a model server that fails at random, reloaded all the time, and stopped at work."""

import asyncio
import os
import signal
import subprocess
from collections import Counter

from clients import Clients
from lib.gateway import Gateway, eventually
from lib.simulator import Simulator
from settings import configuration, spoilt

CLIENTS = int(os.environ.get("SOAK_CLIENTS") or 40)
LAST_SECONDS = 2
IN_FLIGHT = ("draftthinker_requests_in_flight", "draftthinker_upstream_requests_in_flight")


class Soak:
    """seen: how often what happened. faults: what must not have. in_flight: what was still under way when all had gone.
    end: what was wrong with its end."""

    def __init__(self, directory, choose):
        self.choose = choose
        self.directory = directory
        self.seen, self.faults, self.in_flight, self.end = Counter(), [], {}, ""
        self.simulator = Simulator("--tokens", "40")
        self.gateway = Gateway(directory, self._configuration(), access=False)

    def _configuration(self):
        return configuration(self.choose, self.simulator, self.directory)

    def run(self, seconds):
        self.gateway.start()
        self.clients = Clients(self.gateway.address, self.choose, self.seen, self.faults)
        asyncio.run(self._work(seconds))
        self.in_flight = self._rest()
        asyncio.run(self._end())
        try:
            self.gateway.wait_exit()
            self.gateway.stop()
            self.simulator.stop()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.end = str(error)

    async def _work(self, seconds):
        operator = asyncio.create_task(self._operate())
        await self.clients.run(CLIENTS, seconds)
        operator.cancel()
        # Whatever the last file was: at the end there is time to drain.
        self._reload(self._configuration())

    async def _operate(self):
        while True:
            await asyncio.sleep(self.choose.random())
            if self.choose.random() < 0.2:
                self.gateway.signal(signal.SIGUSR1)
            elif self.choose.random() < 0.4:
                self._reload(spoilt(self.choose, self._configuration()))
            else:
                self._reload(self._configuration())

    def _reload(self, config):
        self.gateway.write_config(config)
        self.gateway.signal(signal.SIGHUP)

    def _rest(self):
        """Waits until nothing is under way any more; gives what still is."""

        def under_way():
            samples = self.gateway.metrics()
            return {name: value for name, value in samples.items() if name.startswith(IN_FLIGHT) and value}

        try:
            eventually(lambda: not under_way(), "rest")
        except AssertionError:
            pass
        return under_way()

    async def _end(self):
        asyncio.get_running_loop().call_later(LAST_SECONDS / 2, self.gateway.signal, signal.SIGTERM)
        await self.clients.run(CLIENTS, LAST_SECONDS)

    def kill(self):
        self.gateway.kill()
        if self.simulator.process.poll() is None:
            self.simulator.process.kill()
