"""A room on a LiveKit server as one `Transport`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from livekit import rtc
from livekit.rtc.data_stream import StreamError
from livekit.rtc.participant import PublishDataError, PublishTranscriptionError

from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.errors import TransportError
from mulisa.core.events import TransportEvent
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import Routing, RoutingChange
from mulisa.core.transport import Caption, ChatMessage, SendFrame, SubscriptionStats, Transport
from mulisa.transport.sfu.inbound import until_over
from mulisa.transport.sfu.people import describe
from mulisa.transport.sfu.stay import Stay
from mulisa.transport.sfu.text import (
    CHAT_TOPIC,
    LISTENER_ATTRIBUTE,
    RECEPTION_TOPIC,
    TRANSCRIPTION_TOPIC,
    caption_attributes,
    check_chat,
    encode_reception,
)

logger = logging.getLogger(__name__)

ROUTING_TIME: Final = 10.0
"""What a change of routing may take, a short reconnection included."""
TEXT_TIME: Final = 5.0
"""What final words and messages may wait for a connection that is being restored."""


class SFUTransport:
    """One participant of a room on a LiveKit server.

    People are heard, and so are agents unless we are one: an agent's voice is for people.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        routing: Routing | None = None,
        relay_only: bool = False,
    ) -> None:
        """`url` is the server's WebSocket base (``wss://HOST``), `token` the room's, or what
        makes one when we join; afterwards the server renews it.

        `routing` holds from before the first packet. `relay_only`: media goes through TURN only.
        """
        self._url = url
        self._token = token
        self._routing = routing or Routing()
        self._relay_only = relay_only
        self._entered: Stay | None = None

    @property
    def topology(self) -> Topology:
        """How media is routed here."""
        return "sfu"

    @property
    def room(self) -> RoomName:
        """The room that was joined."""
        return RoomName(self._stay.room.name)

    @property
    def local(self) -> Participant:
        """Ourselves, as the others see us."""
        local = describe(self._stay.room.local_participant)
        return replace(local, attributes=self._stay.own.over(local.attributes))

    @property
    def participants(self) -> Mapping[Identity, Participant]:
        """Everybody else in the room now, by identity."""
        return self._stay.attendance.present

    @property
    def routing(self) -> Routing:
        """Whom we hear and to whom we speak; made so again after every reconnection."""
        return self._entered.routing if self._entered else self._routing

    async def __aenter__(self) -> Self:
        stay = Stay(self._url, self._routing)
        token = self._token if isinstance(self._token, str) else self._token()
        await stay.enter(token, relay_only=self._relay_only)
        self._entered = stay
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stay.leave()

    @property
    def was_closed(self) -> bool:
        """Our stay ended because the server ended the room, not because of us."""
        return self._stay.was_closed

    async def events(self) -> AsyncIterator[TransportEvent]:
        """What happens in the room, oldest first. One reader. Raises ConnectionLost."""
        async for event in self._stay.events():
            yield event

    async def frames(self, identity: Identity) -> AsyncIterator[AudioFrame]:
        """Decoded voice of one participant until their present subscription ends."""
        if (subscription := self._stay.hearing(identity).subscription) is not None:
            async for frame in subscription.frames():
                yield frame

    def send_frame(self, samples: Samples) -> None:
        """Hand 20 ms to the encoder, and warm the voice up if it is cold."""
        self._stay.speaking.send(samples)

    def expect_speech(self) -> None:
        """Warm the voice up: unmute the track and pace silence on it for a while."""
        self._stay.speaking.expect()

    async def whisper(self, listener: Identity) -> SendFrame:
        """A track of its own that this person alone may subscribe to, kept while they are here."""
        await self._until_connected("whisper")
        return await self._stay.speaking.whisper(listener)

    async def hear(self, identity: Identity, on: bool) -> None:
        """Subscribe to somebody's microphone or unsubscribe; TransportError after `ROUTING_TIME`.

        It is asked for anew then with the next change of theirs or ours.
        """
        stay = self._stay
        stay.routing = stay.routing.changed(RoutingChange(hear={identity: on}))
        try:
            async with asyncio.timeout(ROUTING_TIME):
                ssrcs = frozenset() if on else await stay.hearing(identity).ssrcs()
                stay.settle(identity)
                await stay.watch.until(lambda: self._follows(identity))
                await until_over(stay.room, ssrcs)
                await stay.own.show_routing(stay.routing)
        except TimeoutError as error:
            wish = "subscribe to" if on else "unsubscribe from"
            raise TransportError(
                f"we could not {wish} {identity} within {ROUTING_TIME:.0f} s"
            ) from error
        if stay.routing.hears(identity) is not on:
            raise TransportError(f"hearing {identity} was changed again meanwhile")

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Say who may subscribe to our voice, and wait until nobody else is.

        Raises TransportError if somebody does not confirm that; the server sends them no more
        nevertheless.
        """
        stay = self._stay
        change = RoutingChange(sets_listeners=True, speak_to=listeners)
        stay.routing = stay.routing.changed(change)
        stay.speaking.choose(listeners)
        try:
            async with asyncio.timeout(ROUTING_TIME):
                await self._until_connected("change who hears us")
                await stay.speaking.confirm()
                await stay.own.show_routing(stay.routing)
        except TimeoutError as error:
            raise TransportError(
                f"who hears us was not changed within {ROUTING_TIME:.0f} s"
            ) from error

    async def send_caption(self, caption: Caption) -> None:
        """Show words as LiveKit's agents do, in the name of who said them.

        While the connection is restored only final ones wait, for `TEXT_TIME`. Raises
        SignalingError if they are too long.
        """
        track = self._stay.microphone_of(caption.identity)
        attributes = caption_attributes(caption, track)
        if not await self._can_send(wait=caption.final):
            return
        await self._send_text(
            caption.text,
            topic=TRANSCRIPTION_TOPIC,
            attributes=attributes,
            listener=caption.listener,
            sender=caption.identity,
        )
        if caption.listener is None and track is not None:
            await self._send_transcription(caption, track)

    async def send_chat(self, message: ChatMessage) -> None:
        """Send a typed message; it waits for a connection that is restored for `TEXT_TIME`.

        Raises SignalingError if it is too long.
        """
        check_chat(message)
        if await self._can_send(wait=True):
            whose = message.listener
            attributes = {} if whose is None else {LISTENER_ATTRIBUTE: whose}
            await self._send_text(
                message.text,
                topic=CHAT_TOPIC,
                attributes=attributes,
                listener=message.listener,
                stream_id=message.message_id,
            )

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        """Tell everybody whose packets came to us in the last second; unreliably."""
        if not await self._can_send(wait=False):
            return
        try:
            await self._stay.room.local_participant.publish_data(
                encode_reception(heard), reliable=False, topic=RECEPTION_TOPIC
            )
        except PublishDataError as error:
            logger.debug("our reception was not told: %s", error.message)

    @property
    def receptions(self) -> Mapping[Identity, frozenset[Identity]]:
        """Whose packets came to each of the others, as they said in the last seconds."""
        present = {self.local.identity, *self.participants}
        return self._stay.receptions.matrix(present, asyncio.get_running_loop().time())

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Merge into our attributes. Raises SignalingError if they are too many.

        Raises TransportError if the server does not answer; they are then shown once we are
        connected again.
        """
        await self._stay.own.show(attributes)

    def stats(self, identity: Identity) -> SubscriptionStats:
        """Counters of all subscriptions to one participant; packets are up to a second old."""
        return self._stay.hearing(identity).stats(asyncio.get_running_loop().time())

    @property
    def _stay(self) -> Stay:
        assert self._entered is not None, "enter the transport first"
        return self._entered

    def _follows(self, identity: Identity) -> bool:
        """What we receive of somebody is what we want, or they are not there."""
        stay = self._stay
        remote = stay.room.remote_participants.get(identity)
        if remote is None:
            return True
        hearing = stay.hearing(identity)
        if not stay.shall_hear(remote):
            return not hearing.track_sids
        return bool(hearing.track_sids) or stay.microphone_of(identity) is None

    async def _until_connected(self, purpose: str) -> None:
        try:
            async with asyncio.timeout(TEXT_TIME):
                await self._stay.watch.until(lambda: self._stay.is_connected)
        except TimeoutError as error:
            raise TransportError(f"we are not connected, so we cannot {purpose}") from error

    async def _can_send(self, *, wait: bool) -> bool:
        if wait and not self._stay.is_connected:
            try:
                await self._until_connected("send text")
            except TransportError as error:
                logger.warning("%s", error)
        return self._stay.is_connected

    async def _send_text(
        self,
        text: str,
        *,
        topic: str,
        attributes: Mapping[str, str],
        listener: Identity | None,
        sender: Identity | None = None,
        stream_id: str | None = None,
    ) -> None:
        """One text stream. Who is out of reach misses it."""
        try:
            writer = await self._stay.room.local_participant.stream_text(
                topic=topic,
                attributes=dict(attributes),
                destination_identities=None if listener is None else [listener],
                sender_identity=sender,
                stream_id=stream_id,
            )
            await writer.write(text)
            await writer.aclose()
        except StreamError as error:
            logger.warning("text was not sent: %s", error)

    async def _send_transcription(self, caption: Caption, track: str) -> None:
        """LiveKit's former way to show words, which many front ends still read."""
        segment = rtc.TranscriptionSegment(
            id=caption.segment_id,
            text=caption.text,
            start_time=0,
            end_time=0,
            language="",
            final=caption.final,
        )
        try:
            await self._stay.room.local_participant.publish_transcription(
                rtc.Transcription(
                    participant_identity=caption.identity, track_sid=track, segments=[segment]
                )
            )
        except PublishTranscriptionError as error:
            logger.debug("a transcription was not sent: %s", error.message)


def _check_protocol(transport: SFUTransport) -> Transport:
    return transport
