"""One room of a LiveKit server for as long as we are wanted there: ``mulisa join``.

Nobody sends us: we join by ourselves, stay when everybody else goes, and come back when the
server was lost or closed the room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from mulisa.core.backoff import Backoff
from mulisa.core.errors import ConfigError, ConnectionLost, MulisaError, TransportError
from mulisa.core.events import TransportEvent
from mulisa.core.room import AgentState, RoomName
from mulisa.core.routing import Routing
from mulisa.core.transport import Transport
from mulisa.worker.observed import ObservedTransport
from mulisa.worker.process import SessionFactory
from mulisa.worker.status import AgentStateChanged, OnStatus, RoomEntered, RoomLost
from mulisa.worker.telling import RoomObserver

logger = logging.getLogger(__name__)

OpenTransport: TypeAlias = Callable[[Routing], Transport]
"""From the routing to begin with to a transport not entered yet, with a token of its own."""
WasClosed: TypeAlias = Callable[[Transport], bool]
"""Whether a stay that is over ended because the server closed the room, which may open again."""

_FIRST_RETRY: Final = 0.25
_LONGEST_RETRY: Final = 5.0


class RoomStay:
    """Keeps the agent in one room; belongs to one event loop."""

    def __init__(
        self,
        room: RoomName,
        open_transport: OpenTransport,
        session_factory: SessionFactory,
        was_closed: WasClosed,
        on_status: OnStatus,
        on_event: Callable[[TransportEvent], None],
    ) -> None:
        """`on_event` is told what the session is told of the room; it may not raise."""
        self._room = room
        self._open_transport = open_transport
        self._run_session = session_factory
        self._was_closed = was_closed
        self._on_status = on_status
        self._on_event = on_event
        self._routing = Routing()
        self._backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)

    async def run(self) -> None:
        """Stay until we are removed from the room, or cancelled.

        Raises ConfigError or TransportError if trying again would not help.
        """
        while True:
            try:
                await self._stay()
                return
            except Exception as error:
                reason = self._reason_to_come_back(error)
            wait = self._backoff.failed()
            self._on_status(RoomLost(self._room, reason, wait))
            await asyncio.sleep(wait)

    async def _stay(self) -> None:
        inside = self._open_transport(self._routing)
        transport = ObservedTransport(
            inside,
            self._routing,
            on_entered=self._entered,
            on_routing=self._keep_routing,
            on_event=self._on_event,
            on_state=self._tell_state,
        )
        observer = RoomObserver(self._room, self._on_status)
        await self._run_session(cast(Transport, transport), observer)
        if self._was_closed(inside):
            raise ConnectionLost("the server closed the room")

    def _reason_to_come_back(self, error: Exception) -> str:
        """Raises the error itself if there is none."""
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, ConfigError) or (
            isinstance(cause, TransportError) and not cause.retryable
        ):
            raise cause
        if isinstance(cause, TransportError):
            return str(cause)
        logger.error("the session failed", exc_info=error)
        return str(cause) if isinstance(cause, MulisaError) else f"{type(cause).__name__}: {cause}"

    def _entered(self) -> None:
        self._backoff.succeeded()
        self._on_status(RoomEntered(self._room))

    def _keep_routing(self, routing: Routing) -> None:
        self._routing = routing

    def _tell_state(self, state: AgentState) -> None:
        self._on_status(AgentStateChanged(self._room, state.value))
