"""The embedded SFU in the gateway: its rooms, its server APIs and whom it tells what happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from livekit.protocol import models, rtc
from livekit.protocol.agent_dispatch import RoomAgentDispatch

from mulisa.core.errors import InputError
from mulisa.core.room import Identity, RoomName
from mulisa.server import dispatch_service, room_service
from mulisa.server.agents import AgentEndpoint
from mulisa.server.config import GatewayConfig
from mulisa.server.dispatch_service import AgentDispatchService
from mulisa.server.embedded_rooms import EmbeddedRooms
from mulisa.server.events import Joined, Left, OnEvent
from mulisa.server.ice import IceServers
from mulisa.server.ratelimit import RateLimit
from mulisa.server.room_service import RoomService
from mulisa.server.rooms import RoomState
from mulisa.server.tokens import TokenIssuer, TokenVerifier, utc_now
from mulisa.server.twirp import TwirpService, limited
from mulisa.server.webhooks import Webhooks
from mulisa.sfu.config import HostConfig, HostCounters
from mulisa.sfu.events import Report
from mulisa.sfu.host import Host

logger = logging.getLogger(__name__)


class EmbeddedSFU:
    """A `RoomDirectory`, and what the gateway mounts. Belongs to one event loop.

    `on_change` is called after the events of a room in which somebody came or went.
    """

    def __init__(
        self,
        config: GatewayConfig,
        issuer: TokenIssuer,
        verifier: TokenVerifier,
        agents: AgentEndpoint,
        *,
        is_elsewhere: Callable[[RoomName], bool],
        on_event: OnEvent,
        on_change: Callable[[RoomName], None],
    ) -> None:
        """`is_elsewhere` tells of a room that is open in another topology now."""
        self._config = config
        self._verifier = verifier
        self._agents = agents
        self._is_elsewhere = is_elsewhere
        self._on_event = on_event
        self._on_change = on_change
        self._ice = IceServers(config.ice_servers, config.turn_secret)
        self._rooms = EmbeddedRooms()
        self._webhooks = Webhooks(config.webhooks, issuer)
        self._host = Host(
            HostConfig(
                verify=verifier.claims,
                issue_refresh=lambda claims: issuer.refresh(claims, utc_now()),
                rtc_host="0.0.0.0",  # behind a proxy, signalling alone comes to the gateway's host
                rtc_port=config.rtc_port,
                public_address=config.public_address,
                ice_servers=self._ice_servers,
                is_elsewhere=is_elsewhere,
                on_report=self._follow,
                on_agents=self._wish,
            )
        )

    def routes(self) -> list[web.RouteDef]:
        """``/rtc`` and what is below it, and ``/twirp``."""
        config, loop = self._config, asyncio.get_running_loop()
        admit = limited(RateLimit(config.api_rate, config.api_burst), loop.time)
        rooms = RoomService(self._host, self._is_elsewhere)
        dispatches = AgentDispatchService(self._host, self._agents, self._is_elsewhere)
        services = [
            TwirpService(room_service.NAME, rooms.methods(), self._verifier.claims, admit),
            TwirpService(dispatch_service.NAME, dispatches.methods(), self._verifier.claims, admit),
        ]
        return [*self._host.routes(), *(route for each in services for route in each.routes())]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the RTC port open while inside. Raises ConfigError if it is taken."""
        async with self._webhooks.delivering(), self._host:
            yield

    async def shut_down(self) -> None:
        """Send everybody away, to come back to the next gateway."""
        await self._host.shut_down()

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        return self._rooms.room(name)

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return self._rooms.rooms()

    def holds(self, name: RoomName) -> bool:
        """The room is open, though nobody may be in it."""
        return self._rooms.holds(name)

    def clear(self, name: RoomName) -> None:
        """Put all agents out of the room."""
        room = self._rooms.room(name)
        for stay in room.stays if room else ():
            if stay.participant.is_agent:
                self._host.remove(name, stay.participant.identity)

    def describe(self, name: RoomName) -> models.Room:
        """What a worker is told of a room."""
        return self._host.room(name) or models.Room(name=name)

    @property
    def port(self) -> int:
        """The RTC port, UDP and TCP."""
        return self._host.port

    @property
    def counters(self) -> HostCounters:
        """What happened so far."""
        return self._host.counters

    def _ice_servers(self, identity: Identity) -> list[rtc.ICEServer]:
        servers = self._ice.of(identity, utc_now())
        return [
            rtc.ICEServer(
                urls=[server.urls] if isinstance(server.urls, str) else server.urls,
                username=server.username or "",
                credential=server.credential or "",
            )
            for server in servers
        ]

    def _follow(self, report: Report) -> None:
        self._webhooks.tell(report)
        name, events = RoomName(report.room.name), self._rooms.follow(report)
        for event in events:
            self._on_event(event)
        if any(isinstance(event, (Joined, Left)) for event in events):
            self._on_change(name)
        if report.event == "room_finished":
            self._agents.room_ended(name)

    def _wish(self, name: RoomName, wanted: Sequence[RoomAgentDispatch]) -> None:
        """The room was made with wishes; one with too many of them goes without."""
        try:
            self._agents.wish(name, wanted, is_instead=True)
        except InputError as error:
            logger.warning("agents that a token wished for are left out: %s", error)
