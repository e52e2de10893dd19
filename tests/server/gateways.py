"""A real gateway on loopback, and workers that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp.test_utils import BaseTestServer, TestServer
from livekit.protocol import agent as wire
from yarl import URL

from mulisa.core.room import Identity, RoomName
from mulisa.server.events import GatewayEvent
from mulisa.server.gateway import Gateway, GatewayConfig
from mulisa.server.tokens import Grant, TokenIssuer, utc_now

KEY, SECRET = "devkey", "secret"
ROOM = RoomName("standup")


def built_page(folder: Path) -> Path:
    """A page as the build writes it."""
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Mulisa</title>")
    (folder / "assets" / "main-a1b2c3.js").write_text("export {}")
    (folder / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return folder


def config(folder: Path, **changes: Any) -> GatewayConfig:
    """A gateway that keeps everything in `folder`."""
    page = folder / "page"
    if not page.exists():
        built_page(page)
    keys = {"api_key": KEY, "api_secret": SECRET}
    ports = {"port": 0, "rtc_port": 0}
    values: dict[str, Any] = keys | ports | {"data_dir": folder, "page_folder": page}
    return GatewayConfig(**values | changes)


def token_for(room: str = ROOM, name: str = "Alice", secret: str = SECRET, **changes: Any) -> str:
    """A room token as the gateway issues it."""
    identity = Identity(f"{name.lower()}-7f3k")
    grant = Grant(identity, name, RoomName(room), room_join=True, can_update_metadata=True)
    return TokenIssuer(KEY, secret).issue(grant, changes.get("now", utc_now()))


def worker_token(secret: str = SECRET, key: str = KEY) -> str:
    """What a worker registers with."""
    return TokenIssuer(key, secret).issue(Grant(Identity(""), agent=True), utc_now())


@dataclass
class RunningGateway:
    """A gateway and a client of it, whose Host header is the operator's."""

    server: BaseTestServer
    http: aiohttp.ClientSession
    gateway: Gateway
    events: list[GatewayEvent] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    @property
    def rtc_port(self) -> int:
        return self.gateway.rtc_port

    def url(self, path: str) -> URL:
        """The path as it is: a hostile one is not made tidy."""
        return URL(f"http://127.0.0.1:{self.server.port}{path}", encoded=True)

    def follow(self, event: GatewayEvent) -> None:
        self.events.append(event)
        self._changed.set()

    async def wait_for(self, is_it: Callable[[GatewayEvent], bool]) -> GatewayEvent:
        """The first event so far, or from now on, that is the one."""
        async with asyncio.timeout(10):
            while True:
                if found := next(filter(is_it, self.events), None):
                    return found
                self._changed.clear()
                await self._changed.wait()

    @asynccontextmanager
    async def person(
        self, room: str = ROOM, name: str = "Alice"
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Somebody in a mesh room."""
        token = token_for(room, name)
        async with self.http.ws_connect(f"{self.ws_url}/mesh?access_token={token}") as socket:
            assert (await socket.receive_json(timeout=5))["type"] == "joined"
            yield socket


@asynccontextmanager
async def running_gateway(config: GatewayConfig) -> AsyncIterator[RunningGateway]:
    """Serve on any free port."""
    relayed: list[GatewayEvent] = []
    follow: Callable[[GatewayEvent], None] = relayed.append
    gateway = Gateway(config, lambda event: follow(event))
    async with TestServer(gateway.application()) as server, aiohttp.ClientSession() as http:
        running = RunningGateway(server, http, gateway)
        follow = running.follow
        yield running


class ScriptedWorker:
    """A worker's side of LiveKit's agent protocol, said line by line."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, gateway: RunningGateway, key: str = KEY, secret: str = SECRET
    ) -> AsyncIterator[Self]:
        headers = {"Authorization": f"Bearer {worker_token(secret, key)}"}
        async with gateway.http.ws_connect(f"{gateway.ws_url}/agent", headers=headers) as socket:
            yield cls(socket)

    @classmethod
    @asynccontextmanager
    async def registered(
        cls, gateway: RunningGateway, key: str = KEY, secret: str = SECRET
    ) -> AsyncIterator[Self]:
        async with cls.connect(gateway, key, secret) as worker:
            await worker.say(register=wire.RegisterWorkerRequest(type=wire.JT_ROOM))
            assert (await worker.hear("register")).register.worker_id.startswith("AW_")
            yield worker

    async def say(self, **message: Any) -> None:
        await self.socket.send_bytes(wire.WorkerMessage(**message).SerializeToString())

    async def hear(self, kind: str) -> wire.ServerMessage:
        """The next message, which must be of this kind."""
        message = wire.ServerMessage.FromString(await self.socket.receive_bytes(timeout=5))
        assert message.WhichOneof("message") == kind, message
        return message

    async def accept(self, **answer: Any) -> wire.JobAssignment:
        """Take the job that is offered next."""
        job = (await self.hear("availability")).availability.job
        await self.say(
            availability=wire.AvailabilityResponse(job_id=job.id, available=True, **answer)
        )
        return (await self.hear("assignment")).assignment
