"""Her ear behind a path that delays or loses packets: a browser speaks, the recogniser is real.

The direct way between browser and server is cut; what is left leads through a relay of datagrams
that does by its seed what it is told.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Final

import pytest

from mulisa.compare.homes import PORT
from mulisa.compare.internet import Internet
from mulisa.compare.namespaces import Namespace
from mulisa.compare.ways import Nat
from tests.browser.people import Person, until
from tests.browser.server import Server
from tests.browser.speech import BOB, Studio, word_error_rate
from tests.namespaces import internet
from tests.network import UdpRelay
from tests.slow.homes import inhabitants

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

ROOM: Final = "street"
AGENT: Final = "mulisa"
MEDIA_PORT: Final = 20_000
SEED: Final = 11
LOSS: Final = 0.1
DELAY: Final = 0.060
JITTER: Final = 0.040
LINES: Final = (
    "I think we should move the budget review to Friday.",
    "Somebody should water the plants in the office tomorrow.",
)
WARM_UP: Final = 150
"""Packets after which the browser has been told of the loss."""
_COUNTERS: Final = r"of its voice SubscriptionStats\((.*)\)"


@dataclass(frozen=True, slots=True)
class Ear:
    """What her ear counted of one voice."""

    packets: int
    lost: int
    recovered: int
    late: int
    concealed: int
    """Frames of 20 ms."""
    delay: float
    """Seconds that a packet waited in it, on average."""

    @classmethod
    def of(cls, log: Path) -> Ear:
        """Of the last connection that ended, as its agent logged it."""
        told = dict(re.findall(r"(\w+)=([\d.e-]+)", re.findall(_COUNTERS, log.read_text())[-1]))
        return cls(
            int(told["packets_received"]),
            int(told["packets_lost"]),
            int(told["packets_recovered"]),
            int(told["packets_late"]),
            int(told["frames_concealed"]),
            float(told["buffer_delay"]),
        )


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


@asynccontextmanager
async def bob_in_a_call(
    net: Internet, chromium: str, folder: Path
) -> AsyncIterator[tuple[Person, UdpRelay]]:
    """Bob and Mulisa hear each other through the relay, which is a good network so far."""
    server, between, home = net.host("server", 10), net.host("between", 20), net.host("bob", 30)
    home.cut(server)
    options = (
        *("--host", "0.0.0.0", "--llm", "scripted", "--tts", "scripted", "--debug"),
        *("--public-address", between.address, "--mesh-ports", f"{MEDIA_PORT}-{MEDIA_PORT}"),
    )
    with (folder / "server.log").open("w") as log:
        running = Server(folder / "data", *options, log=log, prefix=server.prefix, port=PORT)
        try:
            running.wait_for("agent_ready")
            path = UdpRelay(
                (between.address, MEDIA_PORT),
                (server.address, MEDIA_PORT),
                seed=SEED,
                new_socket=lambda: between.socket(SOCK_DGRAM),
            )
            url = f"http://{server.address}:{PORT}"
            homes: dict[str, tuple[Nat, Namespace]] = {"Bob": ("full-cone", home)}
            async with path, inhabitants(chromium, homes, url, folder) as (bob,):
                await bob.enter(ROOM)
                await bob.person.mulisa_is("listening")
                await until(
                    lambda: bob.person.packets_to(AGENT), lambda sent: sent > 50, "Bob to send"
                )
                yield bob.person, path
        finally:
            assert running.stop() == 0


async def says(bob: Person, studio: Studio, path: UdpRelay) -> float:
    """He says all lines; the word error rate of what is written."""
    heard: list[str] = []
    for line, take in zip(LINES, await studio.speak(BOB, *LINES), strict=True):
        await bob.say(take)
        before = len(heard)
        heard = await until(lambda: words_of(bob), lambda now, n=before: len(now) > n, line)  # type: ignore[misc]
    rate = word_error_rate(" ".join(LINES), " ".join(heard))
    print(f"{path}: word error rate {rate:.0%}, {heard}")
    return rate


async def words_of(bob: Person) -> list[str]:
    """His captions that say something."""
    return [line.text for line in await bob.captions("Bob") if line.text]


async def test_she_understands_who_comes_late_and_adds_no_more_than_the_network_differs_by(
    net: Internet, chromium: str, studio: Studio, tmp_path: Path
) -> None:
    async with bob_in_a_call(net, chromium, tmp_path) as (bob, path):
        path.delay, path.jitter = DELAY, JITTER
        rate = await says(bob, studio, path)
    ear = Ear.of(tmp_path / "server.log")
    print(f"her ear: {ear}")
    assert rate <= 0.25
    assert 0.0 < ear.delay <= 2 * JITTER, ear
    assert ear.late <= 0.1 * ear.packets, "her ear has learnt how late they are"


async def test_she_understands_a_browser_a_tenth_of_whose_packets_are_lost(
    net: Internet, chromium: str, studio: Studio, tmp_path: Path
) -> None:
    async with bob_in_a_call(net, chromium, tmp_path) as (bob, path):
        path.loss = LOSS
        before = await bob.packets_to(AGENT)
        await until(
            lambda: bob.packets_to(AGENT), lambda sent: sent > before + WARM_UP, "to be told"
        )
        rate = await says(bob, studio, path)
    ear = Ear.of(tmp_path / "server.log")
    print(f"her ear: {ear}")
    assert rate <= 0.35
    assert 0.5 * LOSS <= ear.lost / (ear.lost + ear.packets) <= 2 * LOSS, ear
    assert ear.recovered > 0, ear
    assert ear.recovered + ear.concealed >= ear.lost // 2, ear
