"""A room of a mediasoup application as one `Transport`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.errors import ConnectionLost, SignalingError, TransportError
from mulisa.core.events import TransportEvent
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing, RoutingChange
from mulisa.core.transport import Caption, ChatMessage, SendFrame, SubscriptionStats, Transport
from mulisa.transport.mediasoup.stay import OpenSignalling, Stay
from mulisa.transport.text import Reception, TextMessage, encode_text

logger = logging.getLogger(__name__)

ROUTING_TIME: Final = 10.0
"""What a change of routing may take, a short reconnection included."""
TEXT_TIME: Final = 5.0
"""What final words and messages may wait for a connection that is being restored."""
MAX_ATTRIBUTES: Final = 64
MAX_ATTRIBUTE_BYTES: Final = 8 * 1024


class MediasoupTransport:
    """One participant of a room of a mediasoup application: a bot client without a browser.

    People are heard, and so are agents unless we are one: an agent's voice is for people.
    """

    def __init__(
        self,
        open_signalling: OpenSignalling,
        room: RoomName,
        local: Participant,
        *,
        routing: Routing | None = None,
    ) -> None:
        """`open_signalling` makes a `Signalling` to this room for us, as often as we connect.

        `routing` holds from before the first packet.
        """
        self._room = room
        local = _with_routing(local, routing or Routing())
        self._stay = Stay(open_signalling, local, routing or Routing())

    @property
    def topology(self) -> Topology:
        """How media is routed here."""
        return "sfu"

    @property
    def room(self) -> RoomName:
        """The room that was joined."""
        return self._room

    @property
    def local(self) -> Participant:
        """Ourselves, as the others see us."""
        return self._stay.local

    @property
    def participants(self) -> Mapping[Identity, Participant]:
        """Everybody else in the room now, by identity."""
        return self._stay.attendance.present

    @property
    def routing(self) -> Routing:
        """Whom we hear and to whom we speak; made so again after every reconnection."""
        return self._stay.routing

    @property
    def levels(self) -> Mapping[Identity, float]:
        """How loud each was lately, in dBov, by the server's AudioLevelObserver."""
        return self._stay.levels

    @property
    def dominant_speaker(self) -> Identity | None:
        """Who speaks, by the server's ActiveSpeakerObserver."""
        return self._stay.dominant_speaker

    async def __aenter__(self) -> Self:
        await self._stay.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stay.leave()

    async def events(self) -> AsyncIterator[TransportEvent]:
        """What happens in the room, oldest first. One reader. Raises ConnectionLost."""
        async for event in self._stay.events():
            yield event

    async def frames(self, identity: Identity) -> AsyncIterator[AudioFrame]:
        """Decoded voice of one participant until their present subscription ends."""
        if (ear := self._stay.consuming.hearing(identity).ear) is not None:
            async for frame in ear.subscription.frames():
                yield frame

    def send_frame(self, samples: Samples) -> None:
        """Encode 20 ms and send them now."""
        self._stay.speaking.send(samples)

    def expect_speech(self) -> None:
        """Nothing is to be done: the way is kept open, and an encoder is never cold."""

    async def whisper(self, listener: Identity) -> SendFrame:
        """A producer of its own that this person alone consumes, kept while they are here.

        Raises TransportError, not retryable, where the application knows no such thing.
        """
        await self._until_connected("whisper")
        return await self._stay.speaking.whisper(
            listener, lambda: listener in self._stay.attendance.present
        )

    async def hear(self, identity: Identity, on: bool) -> None:
        """Resume somebody's consumer or pause it; TransportError after `ROUTING_TIME`."""
        stay = self._stay
        stay.routing = stay.routing.changed(RoutingChange(hear={identity: on}))
        stay.consuming.settle(identity)
        try:
            async with asyncio.timeout(ROUTING_TIME):
                await stay.watch.until(lambda: stay.consuming.follows(identity))
                await self._show_routing()
        except TimeoutError as error:
            wish = "resumed" if on else "paused"
            raise TransportError(
                f"the voice of {identity} was not {wish} within {ROUTING_TIME:.0f} s"
            ) from error
        if stay.routing.hears(identity) is not on:
            raise TransportError(f"hearing {identity} was changed again meanwhile")

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Let the server forward our voice to these only.

        Raises TransportError, not retryable, where the application cannot; then all is as before.
        """
        stay = self._stay
        try:
            async with asyncio.timeout(ROUTING_TIME):
                await self._until_connected("change who hears us")
                await stay.speaking.choose(listeners)
                change = RoutingChange(sets_listeners=True, speak_to=listeners)
                stay.routing = stay.routing.changed(change)
                await self._show_routing()
        except TimeoutError as error:
            raise TransportError(
                f"who hears us was not changed within {ROUTING_TIME:.0f} s"
            ) from error

    async def send_caption(self, caption: Caption) -> None:
        """Show words, where the application passes text on. Raises SignalingError if too long."""
        await self._send(caption, caption.listener, wait=caption.final)

    async def send_chat(self, message: ChatMessage) -> None:
        """Send a typed message, where the application passes text on."""
        await self._send(message, message.listener, wait=True)
        if message.listener is None:
            self._stay.chatting.say(message.text)

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        """Tell everybody whose packets came to us in the last second."""
        await self._send(Reception(heard), None, wait=False)

    @property
    def receptions(self) -> Mapping[Identity, frozenset[Identity]]:
        """Whose packets came to each of the others, as they said in the last seconds."""
        present = {self.local.identity, *self.participants}
        return self._stay.receptions.matrix(present, asyncio.get_running_loop().time())

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Merge into our attributes. Raises SignalingError if they are too many."""
        shown = {**self.local.attributes, **attributes}
        shown = {key: value for key, value in shown.items() if value}
        size = sum(len(key.encode()) + len(value.encode()) for key, value in shown.items())
        if len(shown) > MAX_ATTRIBUTES or size > MAX_ATTRIBUTE_BYTES:
            raise SignalingError(
                f"at most {MAX_ATTRIBUTES} attributes with {MAX_ATTRIBUTE_BYTES} bytes are shown"
            )
        self._stay.show(replace(self.local, attributes=shown))
        connection = self._stay.connection
        if connection is not None and connection.signalling.abilities.attributes:
            try:
                await connection.signalling.set_attributes(shown)
            except ConnectionLost:
                logger.debug("our attributes are shown once we are connected again")

    def stats(self, identity: Identity) -> SubscriptionStats:
        """Counters of all subscriptions to one participant."""
        return self._stay.consuming.hearing(identity).stats()

    async def _show_routing(self) -> None:
        text = self._stay.routing.as_attribute()
        if text != self.local.attributes.get(ROUTING_ATTRIBUTE, ""):
            await self.set_attributes({ROUTING_ATTRIBUTE: text})

    async def _send(self, message: TextMessage, listener: Identity | None, *, wait: bool) -> None:
        """Who is out of reach misses it."""
        text = encode_text(message)
        if wait and self._stay.connection is None:
            try:
                await self._until_connected("send text")
            except TransportError as error:
                logger.warning("%s", error)
        connection = self._stay.connection
        if connection is None or not connection.signalling.abilities.text:
            return
        try:
            await connection.signalling.send_text(text, listener)
        except TransportError as error:
            logger.warning("text was not sent: %s", error)

    async def _until_connected(self, purpose: str) -> None:
        try:
            async with asyncio.timeout(TEXT_TIME):
                await self._stay.watch.until(lambda: self._stay.connection is not None)
        except TimeoutError as error:
            raise TransportError(f"we are not connected, so we cannot {purpose}") from error


def _with_routing(local: Participant, routing: Routing) -> Participant:
    text = routing.as_attribute()
    if not text:
        return local
    return replace(local, attributes={**local.attributes, ROUTING_ATTRIBUTE: text})


def _check_protocol(transport: MediasoupTransport) -> Transport:
    return transport
