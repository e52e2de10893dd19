from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mulisa.core.errors import ConfigError, ProviderError, TransportError
from mulisa.core.events import ParticipantJoined, TransportEvent
from mulisa.core.room import RoomName
from mulisa.core.routing import Routing
from mulisa.core.transport import Transport
from mulisa.transport.loopback import LoopbackRoom
from mulisa.worker.process import SessionFactory
from mulisa.worker.status import RoomEntered, RoomLost, Status
from mulisa.worker.stay import RoomStay
from mulisa.worker.telling import RoomObserver

pytestmark = pytest.mark.unit

ROOM = RoomName("loopback")


class Scene:
    """A room, the agent that stays in it, and what was told."""

    def __init__(self, session: SessionFactory | None = None) -> None:
        self.room = LoopbackRoom()
        self.told: list[Status] = []
        self.seen: list[TransportEvent] = []
        self.refusals: list[Exception] = []
        self.routings: list[Routing] = []
        self.is_closed = False
        self.stay = RoomStay(
            ROOM,
            self._open,
            session or follow,
            lambda transport: self.is_closed,
            self.told.append,
            self.seen.append,
        )

    def _open(self, routing: Routing) -> Transport:
        self.routings.append(routing)
        if self.refusals:
            raise self.refusals.pop(0)
        return self.room.join("mulisa", kind="agent", routing=routing)

    @asynccontextmanager
    async def staying(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.stay.run())
        await asyncio.sleep(0.1)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def follow(transport: Transport, observer: RoomObserver) -> None:
    async with transport:
        async for _ in transport.events():
            pass


async def test_she_joins_by_herself_and_stays_when_everybody_goes() -> None:
    scene = Scene()
    async with scene.staying() as task:
        assert scene.told == [RoomEntered(ROOM)]
        async with scene.room.join("alice"):
            await asyncio.sleep(0.1)
        await asyncio.sleep(3600.0)
        assert not task.done()
    assert isinstance(scene.seen[0], ParticipantJoined)
    assert scene.told == [RoomEntered(ROOM)]


async def test_she_comes_back_when_the_room_is_lost_and_again_and_again() -> None:
    scene = Scene()
    async with scene.staying():
        for _ in range(3):
            scene.room.lose("mulisa")
            await asyncio.sleep(1.0)
    kinds = [type(status) for status in scene.told]
    assert kinds == [RoomEntered] + 3 * [RoomLost, RoomEntered]
    waits = [status.retry_in for status in scene.told if isinstance(status, RoomLost)]
    assert max(waits) <= 0.25, "each time she had been inside"


async def test_she_tries_for_ever_but_not_all_the_time() -> None:
    scene = Scene()
    scene.refusals = [TransportError("nobody there")] * 8
    async with scene.staying():
        await asyncio.sleep(40.0)
    waits = [status.retry_in for status in scene.told if isinstance(status, RoomLost)]
    assert len(waits) == 8
    assert 3.75 <= waits[-1] <= 5.0
    assert scene.told[-1] == RoomEntered(ROOM)


async def test_a_room_that_the_server_closed_is_entered_again() -> None:
    scene = Scene()
    async with scene.staying():
        scene.is_closed = True
        scene.room.remove("mulisa")
        await asyncio.sleep(1.0)
    entered, lost, again = scene.told
    assert entered == again == RoomEntered(ROOM)
    assert isinstance(lost, RoomLost) and "closed" in lost.reason


async def test_who_is_removed_does_not_come_back() -> None:
    scene = Scene()
    async with scene.staying() as task:
        scene.room.remove("mulisa")
        await asyncio.wait_for(task, 1.0)
    assert scene.told == [RoomEntered(ROOM)]


@pytest.mark.parametrize(
    "refusal",
    [TransportError("a wrong key", retryable=False), ConfigError("a wrong setting")],
    ids=["refused", "misconfigured"],
)
async def test_what_cannot_be_mended_by_trying_ends_it(refusal: Exception) -> None:
    scene = Scene()
    scene.refusals = [refusal]
    with pytest.raises(type(refusal), match="a wrong"):
        await scene.stay.run()
    assert scene.told == []


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ProviderError("no ears"), "no ears"),
        (ValueError("a bug"), "ValueError: a bug"),
        (ExceptionGroup("tasks", [TransportError("cut")]), "cut"),
    ],
    ids=["engine", "bug", "group"],
)
async def test_a_session_that_fails_is_told_and_tried_again(
    failure: Exception, reason: str
) -> None:
    attempts: list[Exception] = [failure]

    async def session(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            if attempts:
                raise attempts.pop()
            async for _ in transport.events():
                pass

    scene = Scene(session)
    async with scene.staying():
        await asyncio.sleep(1.0)
    entered, lost, again = scene.told
    assert entered == again == RoomEntered(ROOM)
    assert isinstance(lost, RoomLost) and lost.reason == reason


async def test_what_she_was_told_of_routing_holds_when_she_comes_back() -> None:
    async def session(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            await transport.speak_to(frozenset())
            async for _ in transport.events():
                pass

    scene = Scene(session)
    async with scene.staying():
        scene.room.lose("mulisa")
        await asyncio.sleep(1.0)
    assert scene.routings == [Routing(), Routing(listeners=frozenset())]
