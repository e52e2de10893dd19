"""``mulisa worker`` and ``mulisa join``: engines in this process, sessions on somebody's server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mulisa.app import build_engines, build_persona, close_engines, run_session
from mulisa.config import Config, load_api_keys, server_api_keys
from mulisa.core.account import Account, Unit
from mulisa.core.errors import ConnectionLost, MulisaError
from mulisa.core.events import ParticipantJoined, ParticipantLeft, TransportEvent
from mulisa.core.metrics import Observers
from mulisa.core.room import Identity, Participant, RoomName
from mulisa.core.routing import Routing
from mulisa.core.transport import Transport
from mulisa.providers.registry import Kind
from mulisa.server.events import Joined, Left
from mulisa.store.transcript import TranscriptStore
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.worker.link import WorkerConfig
from mulisa.worker.metrics import AgentMetrics
from mulisa.worker.process import SessionFactory, run
from mulisa.worker.status import CannotStart, EngineLoading, OnStatus, Removed, RoomLost
from mulisa.worker.stay import OpenTransport, RoomStay
from mulisa.worker.telling import RoomObserver

if TYPE_CHECKING:
    from mulisa.agent.persona import Persona
    from mulisa.announce import Announcer

GATEWAY_URL: Final = "ws://localhost:8000"
"""Where a worker looks for a gateway when it is told nothing else: `mulisa serve` here."""


async def take_part(config: Config, on_status: OnStatus, agent_name: str = "") -> None:
    """Load the engines, then serve rooms until cancelled; with a name, those that ask for it.

    Raises MulisaError, told as `CannotStart` before, when something is missing.
    """
    try:
        persona = build_persona(config)
        keys = load_api_keys(config)
        async with _sessions(config, persona, on_status) as session:
            worker = WorkerConfig(
                url=config.livekit_url or GATEWAY_URL,
                api_key=keys.key,
                api_secret=keys.secret,
                identity=persona.identity,
                name=persona.name,
                agent_name=agent_name,
                network=MeshNetwork(config.public_address, config.mesh_port_range),
            )
            await run(worker, session, on_status)
    except MulisaError as error:
        on_status(CannotStart(str(error)))
        raise


@dataclass(frozen=True, slots=True)
class RoomToJoin:
    """What `mulisa join` is told besides its settings."""

    room: RoomName
    relay_only: bool = False
    """Media goes through TURN servers only."""
    mediasoup_url: str = ""
    """Of the mediasoup application whose room it is; empty: the LiveKit server's."""


async def join_room(config: Config, wanted: RoomToJoin, announce: Announcer) -> None:
    """Load the engines, then stay in one room of a server until removed or cancelled.

    Raises MulisaError, told as `CannotStart` before, when something is missing or wrong.
    """
    try:
        persona = build_persona(config)
        if not wanted.mediasoup_url:
            await _check_server(config, wanted.room, announce)
        async with _sessions(config, persona, announce) as session:
            stay = RoomStay(
                wanted.room,
                _opener(config, persona, wanted),
                session,
                _never_closed if wanted.mediasoup_url else _was_closed,
                announce,
                lambda event: _tell(event, wanted.room, announce),
            )
            await stay.run()
            announce(Removed(wanted.room))
    except MulisaError as error:
        announce(CannotStart(str(error)))
        raise


async def _check_server(config: Config, room: RoomName, announce: Announcer) -> None:
    """A wrong key is found before engines load. Raises ConfigError."""
    from mulisa.server.livekit import livekit_server

    keys = server_api_keys(config)
    async with livekit_server(config.livekit_url, keys.key, keys.secret) as server:
        try:
            await server.check()
        except ConnectionLost as error:
            announce(RoomLost(room, str(error), 0.0))


def _opener(config: Config, persona: Persona, wanted: RoomToJoin) -> OpenTransport:
    if wanted.mediasoup_url:
        return _mediasoup_opener(persona, wanted)
    return _livekit_opener(config, persona, wanted)


def _mediasoup_opener(persona: Persona, wanted: RoomToJoin) -> OpenTransport:
    from mulisa.transport.mediasoup.demo import DemoSignalling
    from mulisa.transport.mediasoup.transport import MediasoupTransport  # loads aioice and PyAV

    local = Participant(Identity(persona.identity), persona.name, kind="agent")

    def open_signalling() -> DemoSignalling:
        return DemoSignalling(wanted.mediasoup_url, wanted.room, local.identity)

    def open_transport(routing: Routing) -> Transport:
        return MediasoupTransport(open_signalling, wanted.room, local, routing=routing)

    return open_transport


def _livekit_opener(config: Config, persona: Persona, wanted: RoomToJoin) -> OpenTransport:
    from mulisa.server.tokens import Grant, TokenIssuer, utc_now
    from mulisa.transport.sfu.transport import SFUTransport  # loads the livekit SDK

    keys = server_api_keys(config)
    issuer = TokenIssuer(keys.key, keys.secret)
    grant = Grant(
        identity=persona.identity,
        name=persona.name,
        room=wanted.room,
        kind="agent",
        room_join=True,
        can_update_metadata=True,
    )

    def open_transport(routing: Routing) -> Transport:
        return SFUTransport(
            config.livekit_url,
            lambda: issuer.issue(grant, utc_now()),
            routing=routing,
            relay_only=wanted.relay_only,
        )

    return open_transport


def _was_closed(transport: Transport) -> bool:
    from mulisa.transport.sfu.transport import SFUTransport

    return isinstance(transport, SFUTransport) and transport.was_closed


def _never_closed(_: Transport) -> bool:
    """A mediasoup application says the same whether it removes somebody or closes the room."""
    return False


def _tell(event: TransportEvent, room: RoomName, announce: Announcer) -> None:
    match event:
        case ParticipantJoined(participant):
            announce(Joined(room, participant))
        case ParticipantLeft(participant):
            announce(Left(room, participant, "left"))


class Accounts:
    """Of all rooms of this process."""

    def __init__(self, budget: Mapping[Unit, float]) -> None:
        """`budget` is that of each room."""
        self._budget = budget
        self._kept: dict[RoomName, Account] = {}

    @contextmanager
    def of(self, room: RoomName) -> Iterator[Account]:
        """For one session; one that failed is followed by the next with the same account."""
        account = self._kept.pop(room, None) or Account(self._budget)
        try:
            yield account
        except Exception:
            self._kept[room] = account
            raise


@asynccontextmanager
async def _sessions(
    config: Config, persona: Persona, on_status: OnStatus
) -> AsyncIterator[SessionFactory]:
    """What runs a session in a room, with the engines loaded. Raises MulisaError."""

    def progress(kind: Kind, doing: str, fraction: float | None) -> None:
        on_status(EngineLoading(kind, doing, fraction))

    async with TranscriptStore(config.data) as store:
        engines = await build_engines(config, persona, progress)
        metrics = AgentMetrics()
        accounts = Accounts(config.limits)

        async def session(transport: Transport, observer: RoomObserver) -> None:
            metrics.session_started()
            observers = Observers(metrics, observer)
            try:
                with accounts.of(observer.room) as account:
                    await run_session(transport, engines, persona, store, observers, account)
            finally:
                metrics.session_ended()

        try:
            yield session
        finally:
            await close_engines(engines)
