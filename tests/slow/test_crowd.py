"""Many people in a mesh, some of whom come and go: it is between the two of each pair alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
import pytest

from mulisa.core.events import ListenerConnected
from mulisa.providers.tones import tone
from mulisa.transport.mesh.transport import MeshTransport
from tests.browser.people import Person, browser_at, person_in, until
from tests.browser.server import Server
from tests.transport.mesh.rooms import Witness

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

SCRIPTED: Final = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted")
AGENT: Final = "mulisa"
VISITS: Final = 5
CROWD: Final = 6
CPU_TIME: Final = 10.0
"""Seconds over which processor time is measured."""
UNHEARD_GAP: Final = 0.02
"""Fraction of what is heard that may be made up: a busy machine conceals a little; a gap of a
tenth of a second at each coming and going would be more."""

WATCH: Final = """
() => {
  window.renegotiations = [];
  for (const [name, connection] of Object.entries(window.mulisa.connections)) {
    connection.addEventListener("signalingstatechange", () => {
      window.renegotiations.push(`${name}: ${connection.signalingState}`);
    });
    connection.addEventListener("iceconnectionstatechange", () => {
      window.renegotiations.push(`${name}: ${connection.iceConnectionState}`);
    });
  }
}
"""
HEARD: Final = """
async (name) => {
  const stats = await window.person.fresh(window.mulisa.connections[name]);
  const voice = stats.find((each) => each.type === "inbound-rtp" && each.kind === "audio");
  const made = voice.concealedSamples - (voice.silentConcealedSamples ?? 0);
  return {ssrc: voice.ssrc, lost: voice.packetsLost, total: voice.totalSamplesReceived, made};
}
"""


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Server]:
    """A mesh with engines that take no time."""
    server = Server(tmp_path, *SCRIPTED, environment={"MULISA_VAD": "scripted"})
    try:
        server.wait_for("agent_ready")
        yield server
    finally:
        assert server.stop() == 0


async def enter(server: Server, room: str, people: list[Person]) -> dict[str, Person]:
    """All in the room, hearing each other and seen by Mulisa; by identity."""
    for person in people:
        await person.enter(server.url, room)
    present = {await person.identity(): person for person in people}
    for person in people:
        await person.mulisa_is("listening")
    for one, other in itertools.permutations(present, 2):
        await present[one].hears_on(other)
    return present


async def test_comings_and_goings_are_heard_by_nobody_else(scripted: Server, chromium: str) -> None:
    async with browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        await enter(scripted, "door", [alice, bob])
        identity = await bob.identity()
        speaking = asyncio.create_task(bob.say(tone(5, 60.0)))
        await alice.page.locator('[data-name="Bob"][data-speaking="true"]').wait_for()
        for person in (alice, bob):
            await person.page.evaluate(WATCH)

        before = await alice.page.evaluate(HEARD, identity)
        for _ in range(VISITS):
            await visit(scripted, "door", 3)
            await alice.sees("Carol", count=0)
        after = await alice.page.evaluate(HEARD, identity)

        for person in (alice, bob):
            assert await person.page.evaluate("window.renegotiations") == []
        speaking.cancel()
    made, total = after["made"] - before["made"], after["total"] - before["total"]
    print(f"{made} of {total} samples were concealed during {VISITS} visits")
    assert after["ssrc"] == before["ssrc"] and after["lost"] == before["lost"]
    assert made <= UNHEARD_GAP * total, (before, after)


async def visit(server: Server, room: str, others: int) -> None:
    """Carol comes, hears and is heard by all, and goes."""
    admission = await server.admit(room, "Carol")
    async with MeshTransport(server.url.replace("http", "ws", 1), admission["token"]) as carol:
        await Witness(carol).until(*[ListenerConnected] * others)


async def test_six_people_and_mulisa(scripted: Server, chromium: str) -> None:
    async with browser_at(chromium) as browser:
        people = [await person_in(browser, f"Person{number}") for number in range(CROWD)]
        await enter(scripted, "crowd", people)
        print(f"{CROWD} people and Mulisa: {await processor_time(scripted)}")
        for number in (0, CROWD - 1):
            before = [await person.packets_of(AGENT) for person in people]
            await people[number].say(tone(number, 0.4))
            await people[1].reads(f"Person{number}", f"word {number}")
            await people[number].write("Mulisa, do you hear me?")
            for person, packets in zip(people, before, strict=True):
                await until(
                    lambda person=person: person.packets_of(AGENT),  # type: ignore[misc]
                    lambda now, packets=packets: now > packets + 25,  # type: ignore[misc]
                    f"{person.name} to hear Mulisa",
                )
            await people[1].mulisa_is("listening")


async def processor_time(server: Server) -> str:
    """Of the gateway and of the agent, in cores; the browser's is what is left."""
    gateway, agent = psutil.Process(server.process.pid), server.agent()
    for process in (gateway, agent):
        process.cpu_percent()
    await asyncio.sleep(CPU_TIME)
    shares = (f"{process.cpu_percent() / 100:.3f}" for process in (gateway, agent))
    return "gateway {} and agent {} of a core".format(*shares)
