"""A call of which two people have a bad network, each their own; the others have a good one."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from playwright.async_api import Browser

from mulisa.compare.homes import browsers_in, gateway, operator_at
from mulisa.compare.impairments import Impairment
from mulisa.compare.internet import internet
from mulisa.compare.namespaces import Namespace
from mulisa.compare.server import ENGINES, keys
from mulisa.compare.slow_wire import SlowWire

IMPAIRED: Final = 2
"""People with a bad network."""
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Line:
    """Between one person and the internet."""

    host: Namespace
    wire: SlowWire

    @contextmanager
    def impaired(self, impairment: Impairment) -> Iterator[None]:
        """While the block runs."""
        self.wire.delay, self.wire.jitter = impairment.delay, impairment.jitter
        self.host.lose(impairment.loss)
        if impairment.uplink_kbps:
            self.host.throttle(impairment.uplink_kbps)
        try:
            yield
        finally:
            self.wire.delay = self.wire.jitter = 0.0
            self.host.lose(0.0)
            if impairment.uplink_kbps:
                self.host.unthrottle()


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway with a Mulisa that listens, and computers for everybody."""

    url: str
    operator: aiohttp.ClientSession
    lines: tuple[Line, ...]
    bad: tuple[Browser, ...]
    """One behind each line."""
    good: Browser
    """Of all others."""

    @contextmanager
    def impaired(self, impairment: Impairment) -> Iterator[None]:
        """All lines, while the block runs."""
        first, second = self.lines
        with first.impaired(impairment), second.impaired(impairment):
            yield

    def browser_of(self, number: int) -> Browser:
        """Of the n-th person."""
        return self.bad[number] if number < IMPAIRED else self.good


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """Until the block ends. Raises ConfigError where something is missing."""
    async with AsyncExitStack() as stack:
        net = stack.enter_context(internet())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = net.host("server", 10)
        hosts = {"others": net.host("others", 29)}
        lines = []
        for number in range(IMPAIRED):
            host, wire = net.host_on_a_wire(f"bad{number}", 30 + number)
            slow = await stack.enter_async_context(SlowWire(wire, seed=SEED + number))
            lines.append(Line(host, slow))
            hosts[host.name] = host
        running = gateway(server, folder / "data", keys(), *ENGINES)
        url = await stack.enter_async_context(running)
        operator = await stack.enter_async_context(operator_at(server))
        browsers = await stack.enter_async_context(browsers_in(hosts, [url], folder))
        bad = tuple(browsers[line.host.name] for line in lines)
        yield Scene(url, operator, tuple(lines), bad, browsers["others"])
