"""Rooms of the example application on a real mediasoup, and our transports in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count

from mulisa.core.audio import FRAME_SAMPLES, Samples
from mulisa.core.events import TrackSubscribed
from mulisa.core.room import Identity, Participant, RoomName
from mulisa.core.routing import Routing
from mulisa.core.transport import SendFrame
from mulisa.transport.mediasoup.demo import DemoSignalling
from mulisa.transport.mediasoup.signalling import Abilities
from mulisa.transport.mediasoup.transport import MediasoupTransport
from tests.mediasoup_server import MediasoupServer
from tests.transport.mesh.rooms import PATIENCE, Witness, tone

ALICE, BOB, CAROL, MULISA = map(Identity, ("alice", "bob", "carol", "mulisa"))
A_WHILE = 0.8
"""Seconds in which a voice that is heard sends forty packets."""

_numbers = count(1)


class PlainSignalling(DemoSignalling):
    """As against mediasoup's own demo: nothing beyond its words."""

    async def join(self, *arguments: object) -> None:
        """See `Signalling`."""
        await super().join(*arguments)  # type: ignore[arg-type]
        self.abilities = Abilities()


class Call:
    """One room, and those whom `join` brought into it."""

    def __init__(self, server: MediasoupServer, stack: AsyncExitStack) -> None:
        self.server = server
        self.room = RoomName(f"room {next(_numbers)}")
        self.transports: dict[Identity, MediasoupTransport] = {}
        self.witnesses: dict[Identity, Witness] = {}
        self._stack = stack

    def transport(
        self, identity: Identity, *, routing: Routing | None = None, plain: bool = False
    ) -> MediasoupTransport:
        """Not in the room yet; Mulisa is an agent. `plain`: with what the demo has."""
        kind = PlainSignalling if plain else DemoSignalling
        local = Participant(
            identity, identity.title(), kind="agent" if identity == MULISA else "standard"
        )
        return MediasoupTransport(
            lambda: kind(self.server.url, self.room, identity), self.room, local, routing=routing
        )

    async def join(
        self, identity: Identity, *, routing: Routing | None = None, plain: bool = False
    ) -> MediasoupTransport:
        """In the room until the call is over."""
        transport = self.transport(identity, routing=routing, plain=plain)
        await self._stack.enter_async_context(transport)
        self.transports[identity] = transport
        self.witnesses[identity] = Witness(transport)
        return transport


@asynccontextmanager
async def call(server: MediasoupServer, *identities: Identity) -> AsyncIterator[Call]:
    """These are in the room and hear each other."""
    async with AsyncExitStack() as stack:
        made = Call(server, stack)
        for identity in identities:
            await made.join(identity)
        for identity, witness in made.witnesses.items():
            if others := [other for other in identities if other != identity]:
                await witness.until(*[TrackSubscribed(other) for other in others])
        yield made


@asynccontextmanager
async def speaking(
    send: SendFrame, frequency: float = 500.0, *, words: Samples | None = None
) -> AsyncIterator[None]:
    """A tone, or these words (48 kHz) again and again, until the block ends."""
    sound = tone(frequency, 50) if words is None else frames_of(words)

    async def go_on() -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for n in range(10_000):
            await asyncio.sleep(max(0.0, begin + n * 0.02 - loop.time()))
            send(sound[n % len(sound)])

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def frames_of(samples: Samples) -> list[Samples]:
    """In frames of 20 ms; what is left over is not said."""
    n_frames = len(samples) // FRAME_SAMPLES
    return list(samples[: n_frames * FRAME_SAMPLES].reshape(n_frames, FRAME_SAMPLES))


def packets_of(transport: MediasoupTransport) -> int:
    """Packets of voices that have come, whether or not anybody listened."""
    return sum(each.packets for each in transport._stay.consuming)


async def eventually(is_true: Callable[[], bool]) -> None:
    """Wait for something that nobody reports."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
