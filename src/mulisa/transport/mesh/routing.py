"""Whom we hear and to whom we speak in a mesh: a direction and a choice on each connection.

Speaking is ours alone to decide: `Voice` hands packets to the connections that may have them.
Hearing is agreed with the other side, which must stop sending. Either way an acknowledgement
means that no packet is left on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from mulisa.core.errors import TransportError
from mulisa.core.room import Identity
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing, RoutingChange
from mulisa.core.transport import SendFrame
from mulisa.transport.mesh.pair import Pair
from mulisa.transport.mesh.voice import Voice
from mulisa.transport.watch import Watch

ROUTING_TIME: Final = 5.0
"""What a change may take: some round trips, one of them through the other side's page."""


class MeshRouting:
    """What `routing` says, made so on all connections there are."""

    def __init__(
        self,
        routing: Routing,
        voice: Voice,
        watch: Watch,
        *,
        pair_of: Callable[[Identity], Pair | None],
        pairs: Callable[[], Collection[Pair]],
    ) -> None:
        """`pairs` are those of the room now; `watch` tells of every change in them."""
        self.routing = routing
        """Holds for every connection that is made from now on."""
        self._voice = voice
        self._watch = watch
        self._pair_of = pair_of
        self._pairs = pairs
        self._shown = ""

    def news(self) -> Mapping[str, str]:
        """Attributes that show the routing; empty while they are shown already."""
        text = self.routing.as_attribute()
        if text == self._shown:
            return {}
        self._shown = text
        return {ROUTING_ATTRIBUTE: text}

    async def hear(self, identity: Identity, on: bool) -> None:
        """As `Transport.hear`."""
        self.routing = self.routing.changed(RoutingChange(hear={identity: on}))
        if pair := self._pair_of(identity):
            pair.hear(on)
        try:
            async with asyncio.timeout(ROUTING_TIME):
                await self._watch.until(lambda: self._follows(identity, on))
                if not on:
                    await self._pass_through(identity)
        except TimeoutError as error:
            if (pair := self._pair_of(identity)) and self.routing.hears(identity) is on:
                pair.replace()
            wish = "send us audio" if on else "stop sending us audio"
            raise TransportError(f"{identity} did not {wish} in {ROUTING_TIME:.0f} s") from error
        if self.routing.hears(identity) is not on:
            raise TransportError(f"hearing {identity} was changed again meanwhile")

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """As `Transport.speak_to`. What we send obeys before this awaits anything."""
        change = RoutingChange(sets_listeners=True, speak_to=listeners)
        self.routing = self.routing.changed(change)
        self._voice.speak_to(listeners)
        others = [pair for pair in self._pairs() if not self.routing.speaks_to(pair.identity)]
        confirming = [self._confirm_silence(pair) for pair in others]
        for error in await asyncio.gather(*confirming, return_exceptions=True):
            if error is not None:
                raise error

    async def whisper(self, listener: Identity) -> SendFrame:
        """As `Transport.whisper`."""
        try:
            async with asyncio.timeout(ROUTING_TIME):
                await self._watch.until(lambda: self._is_reached_or_gone(listener))
        except TimeoutError as error:
            raise TransportError(f"there is no connection to {listener}") from error
        if self._pair_of(listener) is None:
            raise TransportError(f"{listener} is not in the room")
        return self._voice.whisper(listener)

    def _follows(self, identity: Identity, on: bool) -> bool:
        """It is so, nobody is there for whom it could be, or it is wanted no longer."""
        pair = self._pair_of(identity)
        return pair is None or pair.follows or self.routing.hears(identity) is not on

    def _is_reached_or_gone(self, listener: Identity) -> bool:
        pair = self._pair_of(listener)
        return pair is None or pair.is_listening

    async def _confirm_silence(self, pair: Pair) -> None:
        try:
            async with asyncio.timeout(ROUTING_TIME):
                await pair.pass_through()
        except TimeoutError as error:
            raise TransportError(
                f"{pair.identity} gets no more, but does not confirm what was on its way"
            ) from error

    async def _pass_through(self, identity: Identity) -> None:
        if pair := self._pair_of(identity):
            await pair.pass_through()
