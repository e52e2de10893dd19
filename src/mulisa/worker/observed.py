"""A transport as the process around a session sees it: who comes and goes, and the routing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mulisa.core.events import TransportEvent
from mulisa.core.room import AGENT_STATE_ATTRIBUTE, AgentState, Identity
from mulisa.core.routing import Routing, RoutingChange
from mulisa.core.transport import Transport


def _ignore(_: object) -> None:
    pass


def _ignore_reception(_: Identity, heard: frozenset[Identity]) -> None:
    pass


class ObservedTransport:
    """A `Transport`: what it does not do itself, the one inside does.

    The agent changes its routing because it was told by voice, and the gateway because it was
    told by its API: here the changes of both happen one after another.
    """

    def __init__(
        self,
        transport: Transport,
        routing: Routing,
        *,
        on_entered: Callable[[], None] = lambda: None,
        on_routing: Callable[[Routing], None] = _ignore,
        on_event: Callable[[TransportEvent], None] = _ignore,
        on_state: Callable[[AgentState], None] = _ignore,
        on_reception: Callable[[Identity, frozenset[Identity]], None] = _ignore_reception,
    ) -> None:
        """`routing` is what the transport begins with.

        `on_routing` is called when other routing holds than before, whoever changed it.
        `on_event` is called for each event when the session takes it, and `on_state` when the
        session showed another state of the agent. `on_reception` is called when the session
        tells whom it hears, once a second: for us and for each who told us. None may raise.
        """
        self._transport = transport
        self._on_entered = on_entered
        self._on_routing = on_routing
        self._on_event = on_event
        self._on_state = on_state
        self._on_reception = on_reception
        self._routing = routing
        self._changing = asyncio.Lock()
        self._entered = asyncio.Event()

    if TYPE_CHECKING:  # for a type checker it has whatever a `Transport` has

        def __getattr__(self, name: str) -> Any: ...

    else:

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        self._entered.set()
        self._on_entered()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc, traceback)

    @property
    def routing(self) -> Routing:
        """What holds now."""
        return self._routing

    async def events(self) -> AsyncIterator[TransportEvent]:
        """As of the transport inside."""
        async for event in self._transport.events():
            self._on_event(event)
            yield event

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """As of the transport inside."""
        await self._transport.set_attributes(attributes)
        if state := attributes.get(AGENT_STATE_ATTRIBUTE):
            self._on_state(AgentState(state))

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        """As of the transport inside."""
        self._on_reception(self._transport.local.identity, heard)
        for listener, theirs in self._transport.receptions.items():
            self._on_reception(listener, theirs)
        await self._transport.send_reception(heard)

    async def hear(self, identity: Identity, on: bool) -> None:
        """As of the transport inside, after the changes that were asked for before."""
        await self.route(RoutingChange({identity: on}))

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """As of the transport inside, after the changes that were asked for before."""
        await self.route(RoutingChange(sets_listeners=True, speak_to=listeners))

    async def route(self, change: RoutingChange) -> Routing:
        """Once we are in the room, make the change; return the routing that holds with it.

        Raises TransportError; a part of the change may hold then.
        """
        await self._entered.wait()
        async with self._changing:
            try:
                for identity, on in change.hear.items():
                    await self._transport.hear(identity, on)
                if change.sets_listeners:
                    await self._transport.speak_to(change.speak_to)
            finally:
                self._look(self._transport.routing)
            return self._routing

    def _look(self, routing: Routing) -> None:
        if routing != self._routing:
            self._routing = routing
            self._on_routing(routing)
