"""Relays only: nobody has a way to the LiveKit server but through TURN, and all hear each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulisa.compare.coturn import RELAY_PORTS
from tests.browser.people import browser_at, person_in
from tests.browser.server import Program, Server, credentials
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate
from tests.livekit_server import LiveKitServer
from tests.turn_server import turn_server

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SELECTED = "[remote][selected"
ROOM = "behind-a-firewall"
BUDGET = "I think we should move the budget review to Friday."
QUESTION = "Mulisa, what did Bob say about the budget?"


@pytest.mark.parametrize("kind", ["coturn", "livekit-turn"])
async def test_people_and_mulisa_hear_each_other_through_a_relay(
    kind: str, studio: Studio, chromium: str, livekit_program: str, tmp_path: Path
) -> None:
    (budget,) = await studio.speak(BOB, BUDGET)
    (question,) = await studio.speak(ALICE, QUESTION)
    with _livekit(kind, livekit_program, tmp_path) as livekit, _served(livekit, tmp_path) as server:
        async with browser_at(chromium) as browser:
            alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
            for person in (alice, bob):
                await person.enter(server.url, ROOM, "&relay=1")
            await alice.sees("Bob")
            for person in (alice, bob):
                await person.mulisa_is("listening")
                types = await person.local_candidates()
                assert types and set(types) == {"relay"}, types
            await alice.record(await bob.identity())
            await bob.say(budget)
            await alice.reads("Bob")
            (heard,) = await studio.understand(await alice.recorded(await bob.identity()))
            assert word_error_rate(BUDGET, heard) <= 0.5, heard
            await alice.record()
            await alice.ask(question)
            answer = await alice.reads("Mulisa", "Bob said")
            assert word_error_rate(BUDGET, answer.partition(":")[2]) <= 0.5, answer
            (heard,) = await studio.understand(await alice.recorded())
            assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
        ports = _remote_ports(livekit.log())
    assert len(ports) == 3, ports
    assert all(port in RELAY_PORTS for port in ports.values()), ports


@contextmanager
def _livekit(kind: str, program: str, folder: Path) -> Iterator[LiveKitServer]:
    if kind == "livekit-turn":
        with LiveKitServer(program, turn=True) as livekit:
            yield livekit
        return
    with turn_server(folder) as coturn:
        config = {"rtc": {"turn_servers": [coturn.livekit]}}
        with LiveKitServer(program, config=config) as livekit:
            yield livekit


@contextmanager
def _served(livekit: LiveKitServer, folder: Path) -> Iterator[Server]:
    """The page from a gateway without an agent, and Mulisa by `mulisa join`."""
    data = folder / "data"
    server = Server(data, "--no-agent", livekit=livekit)
    try:
        options = ("--room", ROOM, "--url", livekit.url, "--relay", "--llm", "concierge")
        mulisa = Program("join", *options, "--data", str(data), environment=credentials(livekit))
        try:
            mulisa.wait_for("room_entered")
            yield server
        finally:
            assert mulisa.stop() == 0
    finally:
        assert server.stop() == 0


def _remote_ports(log: str) -> dict[str, int]:
    """From which port each participant's packets come, as the server selected it."""
    ports = {}
    for line in log.splitlines():
        if "participant active" in line:
            active = json.loads(line.split("\t")[-1])
            (selected,) = [c for c in active["publisherCandidates"] if SELECTED in c]
            port = selected.split(" related ")[0].rpartition(":")[2]
            ports[active["participant"]] = int(port)
    return ports
