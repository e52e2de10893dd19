"""Mulisa's end of a real mesh in this process, and a gateway and people in another one.

Run as a program it is the other process: ``_mesh.py N`` serves, N people join, and do as they are
told on standard input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

import numpy as np
from aiohttp import web

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from mulisa.core.events import ListenerConnected, TrackSubscribed
from mulisa.core.room import Identity, ParticipantKind, RoomName
from mulisa.core.transport import Transport
from mulisa.server.mesh import MeshEndpoint
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, utc_now
from mulisa.transport.mesh.transport import MeshTransport

KEY, SECRET = "bench", "bench"
ROOM = RoomName("bench")
HER: Final = Identity("mulisa")
TICK_EVERY: Final = 10
"""Frames from one loud frame to the next."""
QUIET: Final = 40
"""Amplitude between them: too loud for a microphone that is switched off."""


class People:
    """The gateway and so many people in another process."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.url = ""

    async def __aenter__(self) -> People:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(self._number),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.url = (await self._process.stdout.readline()).decode().strip()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tell("end")
        await self._process.wait()

    async def tell(self, what: str) -> None:
        """``talk``, ``tick`` or ``end``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())
        await self._process.stdin.drain()


async def be_people(number: int) -> None:
    """The other process: serve, join, and do as told on standard input."""
    endpoint = MeshEndpoint(TokenVerifier(KEY, SECRET).verify)
    app = web.Application()
    app.router.add_get("/mesh", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "ws://{}:{}".format(*runner.addresses[0][:2])
    async with AsyncExitStack() as stack:
        people = [
            await stack.enter_async_context(transport(url, f"p{i}", "standard"))
            for i in range(number)
        ]
        print(url, flush=True)
        doing: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        while (what := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) != "end":
            for person in people:
                await person.speak_to(frozenset({HER}))  # the others would cost more than she
            doing = asyncio.create_task(tick(people[0]) if what == "tick" else talk(people))
        if doing is not None:
            doing.cancel()
    await endpoint.shut_down()
    await runner.cleanup()


async def talk(people: Sequence[MeshTransport]) -> None:
    """All of them speak, as browsers do: without a pause."""
    frames = hum(50)
    async for i in paced():
        for person in people:
            person.send_frame(frames[i % 50])


async def tick(person: MeshTransport) -> None:
    """Quiet noise, and now and then a loud frame."""
    loud, random = hum(1)[0], np.random.default_rng(1)
    async for i in paced():
        quiet = random.integers(-QUIET, QUIET, FRAME_SAMPLES).astype(np.int16)
        person.send_frame(loud if i % TICK_EVERY == TICK_EVERY - 1 else quiet)


async def paced() -> AsyncIterator[int]:
    """Count frames in real time."""
    loop = asyncio.get_running_loop()
    begin, i = loop.time(), 0
    while True:
        await asyncio.sleep(max(0.0, begin + i * FRAME_DURATION - loop.time()))
        yield i
        i += 1


def hum(n_frames: int) -> list[Samples]:
    """Something voiced: a few harmonics of 150 Hz."""
    seconds = np.arange(n_frames * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    wave = sum(np.sin(2 * np.pi * 150.0 * k * seconds) * (5_000 / k) for k in range(1, 9))
    return list(np.asarray(wave).astype(np.int16).reshape(n_frames, FRAME_SAMPLES))


async def ignore(her: Transport, identity: Identity) -> None:
    """Take the frames as an ear would, and do nothing with them."""
    async for _ in her.frames(identity):
        pass


async def until_connected(her: Transport, n_peers: int) -> None:
    """Both directions with everybody."""
    missing = 2 * n_peers
    async with asyncio.timeout(30.0):
        async for event in her.events():
            missing -= isinstance(event, TrackSubscribed | ListenerConnected)
            if missing == 0:
                return


def transport(url: str, identity: str, kind: ParticipantKind) -> MeshTransport:
    """A participant with a token of its own."""
    grant = Grant(
        Identity(identity), identity, ROOM, kind, room_join=True, can_update_metadata=True
    )
    return MeshTransport(url, TokenIssuer(KEY, SECRET).issue(grant, utc_now()))


if __name__ == "__main__":
    asyncio.run(be_people(int(sys.argv[1])))
