"""Where calls take place: a server behind a proxy that counts, and how Mulisa comes into its rooms.

The talking room has a gateway, which asks her into rooms and takes an operator's wishes. In a
mediasoup application she comes by herself, and is asked aloud or in writing by who is there.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import psutil  # type: ignore[import-untyped]

from mulisa.compare.browser import Person, until
from mulisa.compare.clock import now
from mulisa.compare.metrics import Topology
from mulisa.compare.protoo import MAX_NAME
from mulisa.compare.scenario import MULISA
from mulisa.compare.server import ENGINES, Program, keys, program, server
from mulisa.compare.signalling import Door, Message, Signalling, Way, tapped
from mulisa.core.errors import ConfigError

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_LOOKING: Final = aiohttp.ClientTimeout(total=10)
_NO_ANSWER: Final = "no mediasoup application answers at {url}: start one (examples/mediasoup)"
_STOP_HEARING: Final = "Mulisa, don't listen to me anymore."
_HEAR_AGAIN: Final = "Mulisa, listen to me again."
_SPEAK_TO_ME: Final = "Mulisa, speak only to me."
_SPEAK_TO_ALL: Final = "Mulisa, speak to everybody."


@dataclass(frozen=True, slots=True)
class Change:
    """A change of her routing. Seconds since 1970."""

    asked: float
    held: float
    """From when on no packet may contradict it."""


@dataclass(frozen=True, slots=True)
class Venue(ABC):
    """A server that runs, and what stands between it and everybody."""

    url: str
    """Where people go: through the proxy that counts signalling."""
    pid: int | None
    """Of the server; None if it is not on this machine."""
    signalling: Signalling
    door: Door
    """Behind which Mulisa waits."""
    software: str = ""
    """Name and version of a server that is not ours."""

    @abstractmethod
    def link_options(self, topology: Topology) -> str:
        """What is added to the link to a room."""

    @abstractmethod
    def mulisa(self, room: str) -> AbstractAsyncContextManager[Program]:
        """Her process, which loads its engines, and then wants to come into this room."""

    @abstractmethod
    async def hear(self, room: str, person: Person, on: bool) -> Change:
        """Let her hear this person, or not."""

    @abstractmethod
    async def speak_to(self, room: str, person: Person, only: bool) -> Change:
        """Let her speak to this person only, or to everybody again."""

    @abstractmethod
    async def take_back(self, room: str, person: Person) -> None:
        """Let her hear this person and speak to everybody, whatever was changed."""


@dataclass(frozen=True, slots=True)
class Gateway(Venue):
    """`mulisa serve`, with mesh and embedded SFU."""

    operator: aiohttp.ClientSession | None = None
    """Asks the server itself."""
    data: Path = Path()
    environment: Mapping[str, str] | None = None
    """By which server and Mulisa know each other."""

    def link_options(self, topology: Topology) -> str:
        """See `Venue`."""
        return f"&topology={topology}"

    @asynccontextmanager
    async def mulisa(self, room: str) -> AsyncIterator[Program]:
        """See `Venue`; she would go into every room, and there is no other."""
        url = self.url.replace("http", "ws", 1)
        options = ("--url", url, "--data", str(self.data), *ENGINES)
        async with program("worker", *options, environment=self.environment or {}) as running:
            running.read_on()
            yield running

    async def hear(self, room: str, person: Person, on: bool) -> Change:
        """See `Venue`."""
        return await self._route(room, hear={person.identity: on})

    async def speak_to(self, room: str, person: Person, only: bool) -> Change:
        """See `Venue`."""
        return await self._route(room, speak_to=[person.identity] if only else None)

    async def take_back(self, room: str, person: Person) -> None:
        """See `Venue`."""
        await self._route(room, hear={person.identity: True}, speak_to=None)

    async def _route(self, room: str, **change: object) -> Change:
        """The operator's request, which is answered when the change holds."""
        assert self.operator is not None
        asked = now()
        async with self.operator.put(f"/api/rooms/{room}/routing", json=change) as response:
            response.raise_for_status()
            await response.read()
        return Change(asked, now())


@dataclass(frozen=True, slots=True)
class MediasoupApplication(Venue):
    """Somebody's application on mediasoup, which has no operator: people ask her in writing."""

    data: Path = Path()

    def link_options(self, topology: Topology) -> str:
        """See `Venue`."""
        return ""

    @asynccontextmanager
    async def mulisa(self, room: str) -> AsyncIterator[Program]:
        """See `Venue`."""
        url = self.url.replace("http", "ws", 1)
        options = ("--room", room, "--mediasoup", url, "--data", str(self.data), *ENGINES)
        async with program("join", *options, environment={}) as running:
            running.read_on()
            yield running

    async def hear(self, room: str, person: Person, on: bool) -> Change:
        """See `Venue`."""
        words, method = (_HEAR_AGAIN, "resumeConsumer") if on else (_STOP_HEARING, "pauseConsumer")
        return await self._ask(person, words, method)

    async def speak_to(self, room: str, person: Person, only: bool) -> Change:
        """See `Venue`."""
        return await self._ask(person, _SPEAK_TO_ME if only else _SPEAK_TO_ALL, "setListeners")

    async def take_back(self, room: str, person: Person) -> None:
        """See `Venue`."""
        await person.write(_HEAR_AGAIN)
        await person.mulisa_is("listening")
        await person.write(_SPEAK_TO_ALL)
        await person.mulisa_is("listening")

    async def _ask(self, person: Person, words: str, method: str) -> Change:
        """From her own request to mediasoup until its answer: what she thinks is not counted."""
        wrote = await person.write(words)
        asked = await self._said(wrote, "up", method)
        answered = await self._said(asked, "down", f"answer to {method}")
        return Change(asked, answered)

    async def _said(self, since: float, way: Way, kind: str) -> float:
        def is_it(message: Message) -> bool:
            return (message.who, message.way, message.kind) == (MULISA, way, kind)

        async def look() -> list[float]:
            return [each.at for each in self.signalling.since(since) if is_it(each)]

        return (await until(look, bool, f"Mulisa's {kind}"))[0]


@asynccontextmanager
async def gateway(data: Path) -> AsyncIterator[Gateway]:
    """A talking room of its own, without Mulisa."""
    environment, signalling, door = keys(), Signalling(), Door()
    async with (
        server(data, environment) as (running, direct),
        tapped(direct, signalling, door) as url,
        aiohttp.ClientSession(direct) as operator,
    ):
        yield Gateway(
            url,
            running.pid,
            signalling,
            door,
            operator=operator,
            data=data,
            environment=environment,
        )


@asynccontextmanager
async def mediasoup(address: str, data: Path) -> AsyncIterator[MediasoupApplication]:
    """The application at this ws:// or wss:// address. Raises ConfigError if there is none."""
    target = origin_of(address).replace("ws", "http", 1)
    software = await _software(target)
    signalling, door = Signalling(), Door()
    async with tapped(target, signalling, door) as url:
        pid = await asyncio.to_thread(_listener, target)
        yield MediasoupApplication(url, pid, signalling, door, software, data)


def origin_of(address: str) -> str:
    """Scheme, host and port of a URL, which is all that is needed and may be told."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


async def _software(target: str) -> str:
    """What the server says that it is."""
    try:
        async with (
            aiohttp.ClientSession(timeout=_LOOKING) as http,
            http.get(f"{target}/r/room", raise_for_status=True) as response,
        ):
            return response.headers.get("Server", "mediasoup")[:MAX_NAME]
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ConfigError(_NO_ANSWER.format(url=target)) from error


def _listener(target: str) -> int | None:
    """The process that listens there, if it is one of this machine."""
    where = urlsplit(target)
    if where.hostname not in _LOOPBACK:
        return None
    with suppress(psutil.Error):
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr.port == where.port:
                return int(each.pid) if each.pid else None
    return None
