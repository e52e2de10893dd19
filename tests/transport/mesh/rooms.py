"""A real gateway on loopback for mesh tests, and what participants in it say and hear."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web
from aiortc import RTCPeerConnection

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from mulisa.core.errors import TokenError
from mulisa.core.events import TransportEvent
from mulisa.core.room import Identity, RoomName
from mulisa.core.routing import Routing
from mulisa.core.transport import Transport
from mulisa.server.mesh import MeshEndpoint
from mulisa.server.tokens import Grant
from mulisa.transport.mesh.outcome import RoomEvent
from mulisa.transport.mesh.transport import MeshTransport
from mulisa.transport.rtp.opus import OpusDecoder

PATIENCE = 20.0
"""Seconds after which something that should happen will not."""
ROOM = RoomName("kitchen")
EVERYBODY = Routing()


def token(identity: str, kind: str = "standard", room: str = ROOM) -> str:
    """What `verify` below takes for a token."""
    return json.dumps({"identity": identity, "kind": kind, "room": room})


def verify(text: str) -> Grant:
    """A token is its own grant in JSON; anything else is a bad token."""
    try:
        claims = json.loads(text)
    except ValueError as error:
        raise TokenError("this is not a valid token") from error
    return Grant(
        Identity(claims["identity"]),
        claims["identity"].title(),
        RoomName(claims["room"]),
        claims["kind"],
        room_join=claims.get("room_join", True),
        can_update_metadata=True,
    )


class Gateway:
    """A mesh endpoint on a free port of loopback."""

    def __init__(self, max_people: int = 12, secret: str = "") -> None:
        self.happened: list[RoomEvent] = []
        self.endpoint = MeshEndpoint(
            verify, secret=secret, max_people=max_people, on_event=self._on_event
        )
        self.url = ""
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def transport(
        self, identity: str, kind: str = "standard", routing: Routing = EVERYBODY
    ) -> MeshTransport:
        """A participant that is not in the room yet."""
        return MeshTransport(self.url, token(identity, kind), routing)

    async def until(self, condition: Callable[[list[RoomEvent]], bool]) -> None:
        """Return once the events so far fulfil the condition."""
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: condition(self.happened))

    def _on_event(self, event: RoomEvent) -> None:
        self.happened.append(event)
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def gateway(
    max_people: int = 12, *, port: int = 0, secret: str = ""
) -> AsyncIterator[Gateway]:
    """Serve until the block ends; `secret` signs sids, and without one each has its own."""
    serving = Gateway(max_people, secret)
    app = web.Application()
    app.router.add_get("/mesh", serving.endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0][:2]
    serving.url = f"ws://{host}:{port}"
    try:
        yield serving
    finally:
        await serving.endpoint.shut_down()
        await runner.cleanup()


class Witness:
    """Reads the events of a transport; `until` returns the first that fits."""

    def __init__(self, transport: Transport) -> None:
        self._events = transport.events()
        self.seen: list[TransportEvent] = []

    async def until(self, *expected: TransportEvent | type[TransportEvent]) -> TransportEvent:
        """Read on until all of these have been seen; the last of them."""
        async with asyncio.timeout(PATIENCE):
            missing = list(expected)
            while True:
                event = await anext(self._events)
                self.seen.append(event)
                for each in missing:
                    if event == each or (isinstance(each, type) and isinstance(event, each)):
                        missing.remove(each)
                        break
                if not missing:
                    return event


def tone(frequency_hz: float, n_frames: int) -> list[Samples]:
    """A sine wave in frames of 20 ms."""
    time = np.arange(n_frames * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    wave = (np.sin(2 * np.pi * frequency_hz * time) * 8_000).astype(np.int16)
    return list(wave.reshape(n_frames, FRAME_SAMPLES))


def pitch(samples: Samples) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / len(samples))


async def say(transport: Transport, frames: list[Samples]) -> None:
    """Speak in real time."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for i, samples in enumerate(frames):
        await asyncio.sleep(max(0.0, begin + i * FRAME_DURATION - loop.time()))
        transport.send_frame(samples)


async def hear(transport: Transport, identity: Identity, n_frames: int) -> Samples:
    """The next frames of somebody, joined."""
    heard: list[Samples] = []
    async with asyncio.timeout(PATIENCE):
        async for frame in transport.frames(identity):
            heard.append(frame.samples)
            if len(heard) == n_frames:
                break
    return np.concatenate(heard)


def decoders() -> int:
    """How many voices are being decoded in this process."""
    return sum(isinstance(each, OpusDecoder) for each in gc.get_objects())


@asynccontextmanager
async def mallory(room: Gateway) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A person whose client is not one of ours."""
    async with aiohttp.ClientSession() as http:
        params = {"access_token": token("mallory")}
        async with http.ws_connect(f"{room.url}/mesh", params=params) as socket:
            yield socket


async def next_of(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next message of a type."""
    async with asyncio.timeout(PATIENCE):
        while True:
            message: dict[str, Any] = json.loads((await socket.receive()).data)
            if message["type"] == kind:
                return message


@asynccontextmanager
async def closing(connection: RTCPeerConnection) -> AsyncIterator[RTCPeerConnection]:
    """Close it in the end."""
    try:
        yield connection
    finally:
        await connection.close()
