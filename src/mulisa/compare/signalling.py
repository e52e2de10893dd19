"""Counts what is said on signalling sockets, between everybody and the server.

A small proxy through which pages and Mulisa reach the server: what they say to it and hear from it
passes here, is named, and goes on unchanged. Media never comes this way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

import aiohttp
import jwt
from aiohttp import web
from livekit.protocol import agent as agent_wire
from livekit.protocol import models, rtc

from mulisa.compare.clock import now
from mulisa.compare.metrics import Topology
from mulisa.compare.protoo import Protoo
from mulisa.compare.scenario import MULISA
from mulisa.core.errors import InputError
from mulisa.sfu.joining import Wish, read_wish

Way: TypeAlias = Literal["up", "down"]
"""To the server, or from it."""

UNCOUNTED: Final = frozenset(
    {
        *("ping", "pong", "ping_req", "pong_resp", "speakers_changed", "connection_quality"),
        *("witness", "speakingPeers", "dominantSpeaker", "text"),
    }
)
"""What is said all the time, whatever happens, and text, which other servers' data channels take.
"""
_HOP_BY_HOP: Final = {"connection", "upgrade", "transfer-encoding", "content-length"}
_AGENT_PATH: Final = "/agent"
_SFU_PATH: Final = "/rtc"


@dataclass(frozen=True, slots=True)
class Message:
    """One signalling message on one socket."""

    at: float
    """Seconds since 1970."""
    who: str
    """Identity of the client; empty for an agent process that takes jobs."""
    way: Way
    kind: str


class Signalling:
    """What was said so far, oldest first."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.jobs: list[float] = []
        """When Mulisa was asked to come somewhere, or was let in where she comes by herself."""
        self.clients: dict[str, str] = {}
        """By identity, which library came to the SFU, and its version."""

    def since(self, begin: float, end: float = float("inf")) -> list[Message]:
        """What was said between two moments, without what is `UNCOUNTED`."""
        return [x for x in self.messages if begin <= x.at <= end and x.kind not in UNCOUNTED]

    def note(self, path: str, who: str, way: Way, data: str | bytes) -> None:
        """A frame passed on a socket of a gateway."""
        if path == _AGENT_PATH:
            if way == "down" and isinstance(data, bytes) and _is_job(data):
                self.jobs.append(now())
            return
        self.messages.append(Message(now(), who, way, kind_of(way, data)))

    def note_protoo(self, protoo: Protoo, who: str, way: Way, data: str | bytes) -> None:
        """A frame passed on this socket of a mediasoup application."""
        self.messages.append(Message(now(), who, way, protoo.kind_of(way, data)))
        if protoo.device:
            self.clients[who] = protoo.device


class Door:
    """Keeps agent processes waiting that are ready, until they are let in."""

    def __init__(self) -> None:
        self.knocked = asyncio.Event()
        """Somebody came."""
        self._is_open = asyncio.Event()

    def open(self) -> None:
        """Let them in: the server asks them into its rooms now."""
        self._is_open.set()

    def close(self) -> None:
        """Whoever comes from now on waits."""
        self._is_open.clear()
        self.knocked.clear()

    async def admits(self, request: web.Request) -> bool:
        """False for one who has given up by then."""
        self.knocked.set()
        await self._is_open.wait()
        return request.transport is not None and not request.transport.is_closing()


def descriptions(messages: Sequence[Message], kind: str, topology: Topology) -> int:
    """How many descriptions of a kind were made, however many sockets each of them crossed.

    A mesh's gateway relays: what comes down of it went up before. An SFU answers and offers itself.
    """
    return sum(x.kind == kind and (topology != "mesh" or x.way == "up") for x in messages)


def kind_of(way: Way, data: str | bytes) -> str:
    """The name of a message: of the mesh's JSON, or of LiveKit's protobuf; "?" for others."""
    try:
        if isinstance(data, str):
            return str(json.loads(data)["type"])
        message = rtc.SignalRequest() if way == "up" else rtc.SignalResponse()
        message.ParseFromString(data)
        return str(message.WhichOneof("message") or "?")
    except Exception:  # not ours to judge: it goes on as it came
        return "?"


def _is_job(data: bytes) -> bool:
    message = agent_wire.ServerMessage()
    message.ParseFromString(data)
    return bool(message.WhichOneof("message") == "availability")


@asynccontextmanager
async def tapped(target: str, signalling: Signalling, door: Door) -> AsyncIterator[str]:
    """Forward everything to `target` and note it; yields our own base URL."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            url = f"{target}{request.rel_url}"
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
            if _is_agent(request) and not await door.admits(request):
                return web.Response(status=503)
            if _is_socket(request):
                return await _join(request, session, url, headers, signalling)
            body = await request.read()
            async with session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
                return web.Response(body=await answer.read(), status=answer.status, headers=kept)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def _join(
    request: web.Request,
    session: aiohttp.ClientSession,
    url: str,
    headers: dict[str, str],
    signalling: Signalling,
) -> web.StreamResponse:
    kept = {k: v for k, v in headers.items() if not k.lower().startswith("sec-websocket")}
    protocols = [each.strip() for each in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    offered = [each for each in protocols if each]
    async with session.ws_connect(url, headers=kept, protocols=offered, max_msg_size=0) as there:
        here = web.WebSocketResponse(protocols=offered, max_msg_size=0)
        await here.prepare(request)
        note = _noting(request, signalling)
        up = asyncio.create_task(_copy(here, there, lambda data: note("up", data)))
        down = asyncio.create_task(_copy(there, here, lambda data: note("down", data)))
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        code = there.close_code or here.close_code or 1000
        await there.close()
        await here.close(code=code if code != 1006 else 1001)
        await asyncio.wait({up, down})
        return here


def _noting(request: web.Request, signalling: Signalling) -> Callable[[Way, str | bytes], None]:
    """What notes the frames of one socket."""
    if peer := _protoo_peer(request):
        if peer == MULISA:
            signalling.jobs.append(now())
        return partial(signalling.note_protoo, Protoo(), peer)
    who = _identity(request)
    if wish := _wish(request):
        _note_wish(signalling, who, wish)
    return partial(signalling.note, request.path, who)


def _is_socket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _is_agent(request: web.Request) -> bool:
    """An agent process for a gateway's rooms, or Mulisa who comes by herself."""
    return request.path == _AGENT_PATH or _protoo_peer(request) == MULISA


def _protoo_peer(request: web.Request) -> str:
    """Who comes to a mediasoup application; empty for others."""
    return request.query.get("peerId", "") if _is_socket(request) else ""


async def _copy(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    note: Callable[[str | bytes], None],
) -> None:
    with suppress(ConnectionError):  # one of them hung up
        async for message in source:
            if message.type is aiohttp.WSMsgType.TEXT:
                note(message.data)
                await target.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                note(message.data)
                await target.send_bytes(message.data)


def _identity(request: web.Request) -> str:
    """Whose token it is; that it is genuine is for the server to say."""
    header = request.headers.get("Authorization", "").removeprefix("Bearer ")
    token = request.query.get("access_token", "") or header
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("sub", ""))


def _wish(request: web.Request) -> Wish | None:
    """How a client wants to join an SFU."""
    try:
        return read_wish(request.query) if request.path.startswith(_SFU_PATH) else None
    except InputError:
        return None


def _note_wish(signalling: Signalling, who: str, wish: Wish) -> None:
    """What it is, and its first offer if that came with its request to join."""
    library = models.ClientInfo.SDK.Name(wish.client.sdk)
    signalling.clients[who] = f"{library} {wish.client.version}"
    if wish.offer is not None:
        signalling.messages.append(Message(now(), who, "up", "offer"))
