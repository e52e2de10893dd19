"""Many people in one room, and those who vanish without a word."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.sfu.hosting import PATIENCE, Hosting, Person, hosting, pitch, until

pytestmark = pytest.mark.network

CROWD = 20
SPEAKERS = 3
ROOT = Path(__file__).parent.parent.parent
VANISHED_AFTER = 40.0
"""Consent lasts 15 s (RFC 7675), and a machine may be busy."""

GUEST = """
import asyncio, sys
from tests.sfu.hosting import Person

async def main() -> None:
    async with Person(sys.argv[1], sys.argv[2], dual=sys.argv[3] == "dual") as guest:
        await guest.speak(700.0)
        await guest.hear("alice", 0.1)
        print("here", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def frequency(number: int) -> float:
    return 300.0 + 100.0 * number


@pytest.mark.slow  # the conformance suite has twenty who do not come late
async def test_twenty_people_and_one_who_comes_late_hear_all_who_speak() -> None:
    async with hosting() as here, AsyncExitStack() as stack:
        people = [Person(here.url, f"p{number}", dual=number % 4 == 3) for number in range(CROWD)]
        await asyncio.gather(*(stack.enter_async_context(person) for person in people))
        await asyncio.gather(*(people[n].speak(frequency(n)) for n in range(SPEAKERS)))
        late = await stack.enter_async_context(Person(here.url, "late"))
        for listener in (people[0], people[-1], people[-2], late):
            for number in range(SPEAKERS):
                if listener is not people[number]:
                    heard = await listener.hear(f"p{number}", 0.3)
                    assert pitch(heard) == pytest.approx(frequency(number), abs=40.0)
        await asyncio.gather(*(sees_all(person) for person in people))
        await stack.aclose()
        await until(lambda: not here.clients())
        assert here.connections() == 0


async def sees_all(person: Person) -> None:
    speakers = {f"p{number}" for number in range(SPEAKERS)} - {person.identity}
    await person.until(lambda: set(person.tracks) == speakers)
    await person.until(lambda: len(person.sdk.remote_participants) == CROWD)


async def guest(here: Hosting, identity: str, mode: str) -> asyncio.subprocess.Process:
    """A client in a process of its own, which speaks and hears alice."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GUEST, here.url, identity, mode),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(2 * PATIENCE):
        assert await process.stdout.readline() == b"here\n"
    return process


@pytest.mark.slow
async def test_whose_process_dies_is_gone_after_a_while_and_leaves_nothing() -> None:
    async with hosting() as here, Person(here.url, "alice") as alice:
        await alice.speak(300.0)
        tasks, files = len(asyncio.all_tasks()), open_files()
        guests = [await guest(here, "bob", "single"), await guest(here, "carol", "dual")]
        await alice.until(lambda: len(alice.tracks) == 2)
        for each in guests:
            each.send_signal(signal.SIGKILL)
            await each.wait()
        async with asyncio.timeout(VANISHED_AFTER):
            await alice.watch.until(lambda: not alice.sdk.remote_participants)
        assert [each.identity for each in here.clients()] == ["alice"]
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: open_files() <= files)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
