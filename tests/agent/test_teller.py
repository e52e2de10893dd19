"""What is written and shown, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mulisa.agent.teller import Teller
from mulisa.core.room import Identity, RoomName
from mulisa.core.transcript import TranscriptEntry
from mulisa.core.transport import Caption
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport

pytestmark = pytest.mark.unit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALICE = Identity("alice")


class Disk:
    """A log whose appends take their time, fail, or never end."""

    def __init__(self, *, seconds: float = 0.1, failures: int = 0) -> None:
        self.written: list[str] = []
        self.seconds = seconds
        self.failures = failures

    async def append(self, room: RoomName, entry: TranscriptEntry) -> None:
        await asyncio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        self.written.append(entry.text)

    async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        return ()


def entry(text: str) -> TranscriptEntry:
    return TranscriptEntry(text, ALICE, "Alice", "standard", "voice", text, NOON, NOON)


@asynccontextmanager
async def told(disk: Disk) -> AsyncIterator[tuple[Teller, LoopbackTransport]]:
    """A teller in a room, and somebody who reads."""
    room = LoopbackRoom("told", delay=(0.0, 0.0))
    async with room.join("mulisa", kind="agent") as mulisa, room.join("alice") as alice:
        teller = Teller(mulisa, disk, max_delivery=5.0)
        running = asyncio.create_task(teller.run())
        try:
            yield teller, alice
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def finals(reader: LoopbackTransport) -> list[str]:
    await asyncio.sleep(0.01)
    return [caption.text for caption in reader.captions if caption.final]


async def test_words_are_final_when_they_are_on_disk_and_not_before() -> None:
    disk = Disk(seconds=1.0)
    async with told(disk) as (teller, alice):
        teller.write(entry("one"))
        await asyncio.sleep(0.9)
        assert await finals(alice) == []
        await teller.all_told()
        assert disk.written == ["one"]
        assert await finals(alice) == ["one"]


async def test_interim_and_final_keep_their_order() -> None:
    async with told(Disk()) as (teller, alice):
        teller.show(Caption("one", ALICE, "on", final=False))
        teller.write(entry("one"))
        teller.show(Caption("two", ALICE, "tw", final=False))
        await teller.all_told()
        await asyncio.sleep(0.01)
        assert [caption.text for caption in alice.captions] == ["on", "one", "tw"]


async def test_what_could_not_be_written_is_not_shown_as_final_and_the_next_is() -> None:
    async with told(Disk(failures=1)) as (teller, alice):
        teller.write(entry("lost"))
        teller.write(entry("kept"))
        await teller.all_told()
        assert await finals(alice) == ["kept"]


async def test_a_disk_that_hangs_holds_nobody_up_for_ever() -> None:
    disk = Disk(seconds=1e6)
    async with told(disk) as (teller, alice):
        teller.write(entry("lost"))
        teller.show(Caption("two", ALICE, "tw", final=False))
        await teller.all_told()
        await asyncio.sleep(0.01)
        assert [caption.text for caption in alice.captions] == ["tw"]
