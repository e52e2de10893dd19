"""The gateway: one event loop that serves the page, tokens, signalling and agent dispatch.

It loads no model and does nothing that blocks; what reads files runs in a thread.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp import web
from livekit.protocol import models

from mulisa.core.room import RoomName, Topology
from mulisa.server.agents import AgentEndpoint
from mulisa.server.api import RoomAPI
from mulisa.server.config import GatewayConfig
from mulisa.server.embedded import EmbeddedSFU
from mulisa.server.events import (
    GatewayEvent,
    Joined,
    Left,
    OnEvent,
    RoomClosed,
    RoomOpened,
    Updated,
)
from mulisa.server.garbage import log_garbage_briefly
from mulisa.server.ice import IceServers
from mulisa.server.listening import is_strict, listen
from mulisa.server.livekit import LiveKitRooms
from mulisa.server.mesh import MeshEndpoint
from mulisa.server.metrics import GatewayMetrics
from mulisa.server.page import NOT_BUILT, Page
from mulisa.server.proxies import TrustedProxies
from mulisa.server.ratelimit import RateLimit
from mulisa.server.responses import SecurityHeaders, answer_errors, error_response
from mulisa.server.rooms import AllRooms, RoomDirectory
from mulisa.server.tls import Tls
from mulisa.server.tokens import TokenIssuer, TokenVerifier, load_signing
from mulisa.transport.mesh import outcome

__all__ = ["Gateway", "GatewayConfig", "serve"]

MAX_BODY_BYTES: Final = 16 * 1024
_IDLE_TIME: Final = 30.0
"""Seconds that a connection may be open without a request, the first one included."""
_SHUTDOWN_TIME: Final = 3.0
"""Seconds that requests have to end when the gateway stops."""


def _ignore(_: GatewayEvent) -> None:
    pass


class Gateway:
    """Everything behind one port. Make it inside a running event loop.

    `on_event` is called at once, in order, and must neither block nor raise.
    """

    def __init__(
        self, config: GatewayConfig, on_event: OnEvent = _ignore, *, is_strict: bool = False
    ) -> None:
        """`is_strict`: browsers are told to speak https to this host only (`SecurityHeaders`)."""
        self._config = config
        self._is_strict = is_strict
        self._on_event = on_event
        self._metrics = GatewayMetrics()
        self._page = Page(config.page_folder)
        issuer = TokenIssuer(config.api_key, config.api_secret)
        verifier = TokenVerifier(config.api_key, config.api_secret)
        ice = IceServers(config.ice_servers, config.turn_secret)
        self._mesh = MeshEndpoint(
            verifier.verify,
            ice_servers=ice.of,
            secret=config.api_secret,
            join_limit=RateLimit(config.join_rate, config.join_burst),
            is_elsewhere=lambda room: self._is_in(room, "sfu"),
            on_event=self._follow_room,
            on_message=self._metrics.signalling_message,
        )
        self._agents = AgentEndpoint(
            config, issuer, verifier, self._metrics, on_event, self._clear_room, self._describe
        )
        self._external = self._livekit_rooms() if config.livekit_url else None
        self._embedded = None if config.livekit_url else self._embedded_sfu(issuer, verifier)
        self._directories = self._all_directories()
        self._rooms = AllRooms(config.topology, self._directories)
        self._api = RoomAPI(
            config=config,
            directory=self._rooms,
            agents=self._agents,
            issuer=issuer,
            verifier=verifier,
            metrics=self._metrics,
            token_limit=RateLimit(config.token_rate, config.token_burst),
            ice=ice,
            expects_agent=lambda: config.agent or self._agents.has_workers,
            expect_in_sfu=self._external.expect if self._external else lambda room: None,
        )

    @property
    def rtc_port(self) -> int:
        """The embedded SFU's, UDP and TCP, once the application has started; 0 without one."""
        return self._embedded.port if self._embedded else 0

    def application(self) -> web.Application:
        """A new aiohttp application of this gateway."""
        log_garbage_briefly()
        config = self._config
        app = web.Application(
            middlewares=[TrustedProxies(config.trusted_proxies).middleware(), answer_errors],
            client_max_size=MAX_BODY_BYTES,
        )
        headers = SecurityHeaders(config.livekit_url, is_strict=self._is_strict)
        app.on_response_prepare.append(headers.add)
        app.cleanup_ctx.append(self._run_sfu)
        app.on_shutdown.append(self._say_goodbye)
        app.add_routes(self._api.routes())
        app.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/metrics", self._metrics_page),
                web.get("/mesh", self._mesh.handle),
                web.get("/agent", self._agents.connect),
            ]
        )
        if self._embedded:
            app.add_routes(self._embedded.routes())
        app.add_routes(self._page.routes())
        return app

    async def _health(self, _: web.Request) -> web.Response:
        if not self._page.is_built:
            return error_response(503, NOT_BUILT)
        return web.json_response({"status": "ok"})

    async def _metrics_page(self, _: web.Request) -> web.Response:
        if self._embedded:
            self._metrics.count_sfu(self._embedded.counters)
        text = await asyncio.to_thread(self._metrics.render)
        return web.Response(body=text, content_type="text/plain", charset="utf-8")

    async def _say_goodbye(self, _: web.Application) -> None:
        goodbyes = [self._agents.aclose(), self._mesh.shut_down()]
        if self._embedded:
            goodbyes.append(self._embedded.shut_down())
        await asyncio.gather(*goodbyes)

    def _livekit_rooms(self) -> LiveKitRooms:
        config = self._config
        return LiveKitRooms(
            config.livekit_url,
            config.api_key,
            config.api_secret,
            self._on_event,
            lambda room: self._count_and_dispatch(room, "sfu"),
        )

    def _embedded_sfu(self, issuer: TokenIssuer, verifier: TokenVerifier) -> EmbeddedSFU:
        return EmbeddedSFU(
            self._config,
            issuer,
            verifier,
            self._agents,
            is_elsewhere=lambda room: self._is_in(room, "mesh"),
            on_event=self._on_event,
            on_change=lambda room: self._count_and_dispatch(room, "sfu"),
        )

    def _all_directories(self) -> dict[Topology, RoomDirectory]:
        sfu = self._external or self._embedded
        assert sfu is not None  # there is always one of the two
        return {"mesh": self._mesh, "sfu": sfu}

    async def _run_sfu(self, _: web.Application) -> AsyncIterator[None]:
        if self._embedded:
            async with self._embedded.running():
                yield
        elif self._external:
            watching = asyncio.create_task(self._external.watch(), name="look into the SFU's rooms")
            yield
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    def _is_in(self, room: RoomName, topology: Topology) -> bool:
        return self._rooms.topology(room, asyncio.get_running_loop().time()) == topology

    def _clear_room(self, room: RoomName, topology: Topology) -> None:
        if topology == "mesh":
            self._mesh.close_room(room)
        elif self._embedded:
            self._embedded.clear(room)
        elif self._external:
            self._external.clear(room, self._config.agent_identity)

    def _describe(self, room: RoomName) -> models.Room:
        return self._embedded.describe(room) if self._embedded else models.Room(name=room)

    def _follow_room(self, event: outcome.RoomEvent) -> None:
        match event:
            case outcome.RoomOpened(room):
                self._on_event(RoomOpened(room, "mesh"))
            case outcome.ParticipantEntered(room, participant):
                self._on_event(Joined(room, participant))
                self._count_and_dispatch(room)
            case outcome.ParticipantChanged(room, participant):
                self._on_event(Updated(room, participant))
            case outcome.ParticipantGone(room, participant, reason):
                self._on_event(Left(room, participant, reason))
                self._count_and_dispatch(room)
            case outcome.RoomClosed(room):
                self._on_event(RoomClosed(room))
                self._count_and_dispatch(room)

    def _count_and_dispatch(self, room: RoomName, topology: Topology = "mesh") -> None:
        rooms = self._rooms.rooms()
        people = sum(len(state.people) for state in rooms)
        self._metrics.set_rooms(len(rooms))
        self._metrics.set_participants("standard", people)
        self._metrics.set_participants("agent", sum(len(state.stays) for state in rooms) - people)
        here = self._directories[topology].room(room)
        stays = here.stays if here else ()
        self._agents.room_changed(room, topology, (stay.participant for stay in stays))


async def serve(config: GatewayConfig, on_event: OnEvent = _ignore) -> None:
    """Serve until cancelled; everybody is told goodbye then.

    Raises ConfigError if the address cannot be listened on, or the certificate not be used.
    """
    _allow_many_sockets()
    tls = await asyncio.to_thread(Tls, config.tls) if config.tls else None
    runner = web.AppRunner(
        Gateway(config, on_event, is_strict=is_strict(config, tls)).application(),
        access_log=None,  # its lines would hold tokens
        keepalive_timeout=_IDLE_TIME,
        shutdown_timeout=_SHUTDOWN_TIME,
    )
    await runner.setup()
    try:
        on_event(await listen(runner, config, tls))
        await asyncio.to_thread(load_signing)
        if tls:
            await tls.watch(on_event)
        await asyncio.get_running_loop().create_future()
    finally:
        await runner.cleanup()


def _allow_many_sockets() -> None:
    """As many as we may have: the usual limit, 1,024, is soon reached by strangers alone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
