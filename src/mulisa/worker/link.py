"""One connection to a gateway, a LiveKit server or a cluster: LiveKit's agent protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

import aiohttp
import jwt
from google.protobuf.message import DecodeError
from livekit.protocol import agent as wire
from livekit.protocol import models

from mulisa.core.control import ControlFrame, encode_control, parse_control
from mulisa.core.errors import ConfigError, ConnectionLost, InputError
from mulisa.core.leaving import LEAVING
from mulisa.core.room import Identity
from mulisa.transport.mesh.network import MeshNetwork

HEARTBEAT: Final = 10.0
"""Seconds between pings; the gateway is lost when one is not answered in half of this."""
REGISTER_TIMEOUT: Final = 10.0
_TOKEN_VALIDITY: Final = timedelta(minutes=10)
_HMAC_BLOCK_BYTES: Final = 64
_REFUSALS: Final = (401, 403)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One agent process."""

    url: str
    """WebSocket base of the gateway: ``ws://HOST:8000``."""
    api_key: str
    api_secret: str = field(repr=False)
    identity: Identity = Identity("mulisa")
    """Who to be in a room, if nobody else there is it."""
    name: str = "Mulisa"
    agent_name: str = ""
    """LiveKit's name for explicit dispatch; empty takes every room."""
    max_rooms: int = 50
    """Further ones are left to other processes."""
    network: MeshNetwork = MeshNetwork()
    """That its machine is in."""
    drain_time: float = LEAVING
    """Seconds that sessions have to leave their rooms when the process ends."""


class GatewayLink:
    """A registered worker's connection. Messages come in order; sending never waits."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._outbox: asyncio.Queue[wire.WorkerMessage | ControlFrame] = asyncio.Queue()
        self.worker_id = ""

    def send(self, message: wire.WorkerMessage | ControlFrame) -> None:
        """Queue a message; control frames are for a gateway of ours only."""
        self._outbox.put_nowait(message)

    async def receive(self) -> wire.ServerMessage | ControlFrame:
        """The next message. Raises ConnectionLost."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return _parse_control(message.data)
        if message.type is not aiohttp.WSMsgType.BINARY:
            code, reason = self._socket.close_code, message.extra
            raise ConnectionLost(f"the connection ended ({code}{f', {reason}' if reason else ''})")
        try:
            return wire.ServerMessage.FromString(message.data)
        except DecodeError as error:
            raise ConnectionLost("what answers there does not speak LiveKit's protocol") from error

    async def register(self, config: WorkerConfig) -> None:
        """Say who we are; the first message of both sides. Raises ConnectionLost."""
        permission = models.ParticipantPermission(
            can_subscribe=True,
            can_publish=True,
            can_publish_data=True,
            can_update_metadata=True,
            agent=True,
        )
        request = wire.RegisterWorkerRequest(
            type=wire.JT_ROOM,
            agent_name=config.agent_name,
            version=version("mulisa"),
            allowed_permissions=permission,
        )
        await self._socket.send_bytes(wire.WorkerMessage(register=request).SerializeToString())
        async with asyncio.timeout(REGISTER_TIMEOUT):
            answer = await self.receive()
        if not isinstance(answer, wire.ServerMessage) or not answer.HasField("register"):
            raise ConnectionLost("the server did not answer our registration")
        self.worker_id = answer.register.worker_id

    async def send_queued(self) -> None:
        """Send what is queued until the connection ends."""
        while True:
            message = await self._outbox.get()
            try:
                if isinstance(message, wire.WorkerMessage):
                    await self._socket.send_bytes(message.SerializeToString())
                else:
                    await self._socket.send_str(encode_control(message))
            except ConnectionError:
                return  # the receiving side sees the end, too


def _parse_control(text: str) -> ControlFrame:
    try:
        return parse_control(text)
    except InputError as error:
        raise ConnectionLost(f"the gateway is not understood: {error}") from error


@asynccontextmanager
async def registered(config: WorkerConfig) -> AsyncIterator[GatewayLink]:
    """A link that is registered.

    Raises ConfigError if the server refuses our key, ConnectionLost if it cannot be reached.
    """
    async with aiohttp.ClientSession() as session:
        socket = await _connect(session, config)
        link = GatewayLink(socket)
        try:
            await _register(link, config)
            sender = asyncio.create_task(link.send_queued(), name="to the gateway")
            try:
                yield link
            finally:
                sender.cancel()
        finally:
            await socket.close()


async def _connect(
    session: aiohttp.ClientSession, config: WorkerConfig
) -> aiohttp.ClientWebSocketResponse:
    headers = {"Authorization": f"Bearer {_registration_token(config)}"}
    try:
        async with asyncio.timeout(REGISTER_TIMEOUT):
            return await session.ws_connect(
                f"{config.url.rstrip('/')}/agent", headers=headers, heartbeat=HEARTBEAT
            )
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            raise ConfigError(
                f"{config.url} refuses this agent process ({error.status}); it must run with "
                "agents and with the same LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
            ) from error
        raise ConnectionLost(f"{config.url} answers {error.status}") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise ConnectionLost(
            f"the certificate of {config.url} is not trusted: {_why(error)}; a self-made one is "
            "named with --trust"
        ) from error
    except aiohttp.ServerDisconnectedError as error:
        hint = "; if it serves https, write wss://" if config.url.startswith("ws:") else ""
        raise ConnectionLost(f"{config.url} hangs up{hint}") from error
    except aiohttp.ClientConnectorError as error:
        reason = error.strerror or error
        raise ConnectionLost(f"{config.url} cannot be reached: {reason}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLost(f"{config.url} cannot be reached: {error}") from error
    except TimeoutError as error:
        raise ConnectionLost(f"{config.url} does not answer") from error


def _why(error: aiohttp.ClientConnectorCertificateError) -> str:
    """OpenSSL's reason, without the address that it repeats."""
    cause = error.certificate_error
    return str(getattr(cause, "verify_message", "") or cause)


async def _register(link: GatewayLink, config: WorkerConfig) -> None:
    try:
        await link.register(config)
    except TimeoutError as error:
        raise ConnectionLost(f"{config.url} does not answer our registration") from error
    except ConnectionError as error:
        raise ConnectionLost(f"{config.url} closed the connection") from error


def _registration_token(config: WorkerConfig) -> str:
    """A LiveKit access token that allows to serve as a worker, and nothing else."""
    expires = datetime.now(UTC) + _TOKEN_VALIDITY
    claims = {"iss": config.api_key, "exp": int(expires.timestamp()), "video": {"agent": True}}
    # HMAC pads a key with zeros itself (RFC 2104, 2); done here, PyJWT does not warn of short ones.
    key = config.api_secret.encode().ljust(_HMAC_BLOCK_BYTES, b"\0")
    return jwt.encode(claims, key, algorithm="HS256")
