"""People and servers on an internet of namespaces: a browser in each home, a gateway on a host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from playwright.async_api import Browser, Page, Playwright, async_playwright

from mulisa.compare.browser import FLAGS, chromium
from mulisa.compare.namespaces import Namespace, program_in
from mulisa.compare.server import program

PORT: Final = 8000
Name = TypeVar("Name")
_PATHS: Final = """
() => Promise.all(Object.entries(window.mulisa.connections).map(async ([name, connection]) => {
  const stats = await connection.getStats();
  const path = {name, local: "", remote: "", protocol: "", relay: "", asked: 0, answered: 0};
  for (const report of stats.values()) {
    if (report.type === "candidate-pair") {
      path.asked += report.requestsSent;
      path.answered += report.responsesReceived;
    }
    if (report.type !== "transport" || !report.selectedCandidatePairId) continue;
    const pair = stats.get(report.selectedCandidatePairId);
    if (pair.responsesReceived === 0) continue;
    const local = stats.get(pair.localCandidateId);
    path.local = local.candidateType;
    path.protocol = local.protocol;
    path.relay = local.relayProtocol ?? "";
    path.remote = stats.get(pair.remoteCandidateId).candidateType;
  }
  return path;
}))
"""


@dataclass(frozen=True, slots=True)
class PathSeen:
    """What a browser says of one of its connections."""

    name: str
    """The identity of whom it leads to; ``publisher`` or ``subscriber`` on an SFU."""
    local: str
    """Type of the selected candidate at this end; empty while none is selected."""
    remote: str
    protocol: str
    """Towards the peer: ``udp`` or ``tcp``."""
    relay: str
    """Towards the TURN server: ``udp``, ``tcp`` or ``tls``."""
    asked: int
    """Connectivity checks so far, on all pairs of candidates."""
    answered: int

    @property
    def is_relayed(self) -> bool:
        """A relay of either end carries it."""
        return "relay" in (self.local, self.remote)


async def paths_of(page: Page) -> dict[str, PathSeen]:
    """All connections of a page, by the name of where they lead."""
    seen: list[dict[str, Any]] = await page.evaluate(_PATHS)
    return {path["name"]: PathSeen(**path) for path in seen}


@asynccontextmanager
async def browsers_in(
    homes: Mapping[Name, Namespace], urls: Collection[str], folder: Path
) -> AsyncIterator[dict[Name, Browser]]:
    """A browser in each of these, by whatever names them; they take these servers for safe ones."""
    flags = [*FLAGS, f"--unsafely-treat-insecure-origin-as-secure={','.join(urls)}"]
    async with async_playwright() as playwright, AsyncExitStack() as stack:

        async def browser_in(home: Namespace) -> Browser:
            path = program_in(home, _path(playwright), folder)
            browser = await playwright.chromium.launch(executable_path=path, args=flags)
            stack.push_async_callback(browser.close)
            return browser

        found = await asyncio.gather(*map(browser_in, homes.values()))
        yield dict(zip(homes, found, strict=True))


def _path(playwright: Playwright) -> str:
    return chromium() or playwright.chromium.executable_path


@asynccontextmanager
async def gateway(
    host: Namespace, data: Path, environment: Mapping[str, str], *options: str
) -> AsyncIterator[str]:
    """`mulisa serve` there, once Mulisa is ready; its URL."""
    always = ("--host", "0.0.0.0", "--port", str(PORT), "--data", str(data))
    async with program(
        "serve", *always, *options, environment=environment, prefix=host.prefix
    ) as running:
        await running.wait_for("agent_ready")
        running.read_on()
        yield f"http://{host.address}:{PORT}"


@asynccontextmanager
async def operator_at(host: Namespace) -> AsyncIterator[aiohttp.ClientSession]:
    """Asks the gateway there from its own machine, so nobody wants a token."""
    connector = aiohttp.TCPConnector(socket_factory=lambda _: host.socket(socket.SOCK_STREAM))
    base = f"http://127.0.0.1:{PORT}"
    async with aiohttp.ClientSession(base, connector=connector) as session:
        yield session
