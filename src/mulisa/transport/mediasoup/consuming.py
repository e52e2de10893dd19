"""What is received in a room: whose consumer is taken, which is decoded, and what is declined."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from mulisa.core.errors import MulisaError, TransportError
from mulisa.core.events import TrackSubscribed, TrackUnsubscribed, TransportEvent
from mulisa.core.room import Identity, Participant
from mulisa.transport.mediasoup.connection import RoomConnection
from mulisa.transport.mediasoup.hearing import Consumer, Hearing
from mulisa.transport.mediasoup.parameters import RtpParameters, parse
from mulisa.transport.mediasoup.signalling import ConsumerOffered
from mulisa.transport.watch import Watch
from mulisa.wire import rtcp
from mulisa.wire.rtp import RtpHeader

logger = logging.getLogger(__name__)

MAX_CONSUMERS: Final = 1_000
"""A server that offers more is not believed."""
MAX_REMEMBERED: Final = 1_000
"""Participants whose counters are kept; of those who are gone the oldest are forgotten."""


class Consuming:
    """All consumers of the present connection, and the ears behind them."""

    def __init__(
        self,
        present: Mapping[Identity, Participant],
        shall_hear: Callable[[Participant], bool],
        notice: Callable[[TransportEvent], None],
        watch: Watch,
    ) -> None:
        """`present` are those in the room; `notice` only enqueues."""
        self._present = present
        self._shall_hear = shall_hear
        self._notice = notice
        self._watch = watch
        self._connection: RoomConnection | None = None
        self._hearings: dict[Identity, Hearing] = {}
        self._whose: dict[str, Identity] = {}
        """By consumer."""
        self._streams: dict[int, Identity] = {}
        """By SSRC: whose consumer it is."""
        self._settling: dict[Identity, asyncio.Task[None]] = {}

    def begin(self, connection: RoomConnection) -> None:
        """Consumers are this one's from now on."""
        self._connection = connection

    def lost(self) -> None:
        """The connection is gone with all its consumers."""
        self._connection = None
        for identity, hearing in self._hearings.items():
            hearing.consumers.clear()
            self._shut(identity)
        self._whose.clear()
        self._streams.clear()

    async def aclose(self) -> None:
        """Decode nothing any more. Idempotent."""
        tasks = set(self._settling.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for hearing in self._hearings.values():
            hearing.close()

    def hearing(self, identity: Identity) -> Hearing:
        """Of somebody who may not be here."""
        return self._hearings.get(identity) or Hearing()

    def __iter__(self) -> Iterator[Hearing]:
        """All that is remembered."""
        return iter(self._hearings.values())

    def follows(self, identity: Identity) -> bool:
        """What we receive of somebody is what we want."""
        if self._connection is None or identity in self._settling:
            return False
        return self._next_step(identity) is None

    def settle(self, identity: Identity) -> None:
        """Ask for what shall be received of somebody, and for nothing else."""
        if identity not in self._settling and self._connection is not None:
            task = asyncio.create_task(self._settle(identity), name="mediasoup consumers")
            self._settling[identity] = task
            task.add_done_callback(lambda done: self._settled(identity, done))

    def met(self, identity: Identity) -> Hearing:
        """Somebody is here."""
        hearing = self._hearings.setdefault(identity, Hearing())
        if len(self._hearings) > MAX_REMEMBERED:
            gone = next((each for each in self._hearings if each not in self._present), None)
            if gone is not None and gone != identity:
                del self._hearings[gone]
        return hearing

    def left(self, identity: Identity) -> None:
        """Somebody is gone, and all that could be heard of them."""
        for consumer in list(self.hearing(identity).consumers):
            self.closed(consumer)
        self._shut(identity)

    def offered(self, offer: ConsumerOffered) -> Identity | None:
        """A consumer begins paused; it is taken at once if it is wanted, and only then.

        Whose it is; None if it cannot be.
        """
        identity = offer.identity
        consumer = self._readable(offer)
        if consumer is None or identity not in self._present or len(self._whose) >= MAX_CONSUMERS:
            return None
        self._hearings.setdefault(identity, Hearing()).consumers[consumer.id] = consumer
        self._whose[consumer.id] = identity
        self._streams[consumer.ssrc] = identity
        consumer.is_taken = offer.taken = self._wanted(identity) is consumer
        if consumer.is_taken:
            self._listen(identity, consumer)
        self.settle(identity)  # the one before it is not wanted any more
        return identity

    def closed(self, consumer_id: str) -> Identity | None:
        """A consumer is gone; whose it was."""
        identity = self._whose.pop(consumer_id, None)
        if identity is None:
            return None
        consumer = self._hearings[identity].consumers.pop(consumer_id)
        self._streams.pop(consumer.ssrc, None)
        self._drop(identity, consumer)
        self.settle(identity)
        return identity

    def muted(self, consumer_id: str, muted: bool) -> Identity | None:
        """Its producer was paused, or is no longer; whose it is."""
        identity = self._whose.get(consumer_id)
        if identity is not None:
            self._hearings[identity].consumers[consumer_id].muted = muted
        return identity

    def on_rtp(self, header: RtpHeader, payload: bytes, now: float) -> None:
        """A packet came."""
        identity = self._streams.get(header.ssrc)
        if identity is None:
            return
        hearing = self._hearings[identity]
        hearing.packets += 1
        ear = hearing.ear
        if (
            ear is not None
            and ear.consumer.ssrc == header.ssrc
            and ear.consumer.payload_type == header.payload_type
        ):
            ear.receive(header.sequence, header.timestamp, payload, now)

    def on_rtcp(self, compound: bytes, now: float) -> None:
        """Reports came."""
        for packet in rtcp.parse(compound):
            if isinstance(packet, rtcp.SenderReport) and packet.ssrc in self._streams:
                ear = self._hearings[self._streams[packet.ssrc]].ear
                if ear is not None:
                    ear.receive_report(packet, now)

    def report(self) -> None:
        """Tell the server what came since the last time."""
        now = asyncio.get_running_loop().time()
        for hearing in self._hearings.values():
            report = hearing.ear.report(now) if hearing.ear else None
            if report is not None and self._connection is not None:
                self._connection.receiving.send_rtcp(bytes(report))

    def _readable(self, offer: ConsumerOffered) -> Consumer | None:
        if offer.kind != "audio" or offer.consumer in self._whose:
            return None
        try:
            parameters = parse(RtpParameters, offer.rtp_parameters, "a consumer")
        except TransportError as error:
            logger.warning("%s", error)
            return None
        return Consumer.of(offer.consumer, parameters, muted=offer.muted)

    def _wanted(self, identity: Identity) -> Consumer | None:
        """The newest voice of somebody whom we shall hear."""
        participant = self._present.get(identity)
        if participant is None or not self._shall_hear(participant):
            return None
        return self.hearing(identity).newest

    async def _settle(self, identity: Identity) -> None:
        """One after another until all is as it shall be; the unwanted first."""
        while (step := self._next_step(identity)) is not None:
            consumer, is_wanted = step
            connection = self._connection
            if connection is None:
                return
            if not is_wanted:
                self._drop(identity, consumer)
            await connection.signalling.pause_consumer(consumer.id, not is_wanted)
            if not is_wanted:
                await connection.receiving.pass_through()
            consumer.is_taken = is_wanted
            if is_wanted and self._wanted(identity) is consumer:
                self._listen(identity, consumer)
            self._watch.changed()

    def _next_step(self, identity: Identity) -> tuple[Consumer, bool] | None:
        wanted = self._wanted(identity)
        for consumer in self.hearing(identity).consumers.values():
            if consumer.is_taken and consumer is not wanted:
                return consumer, False
        if wanted is not None and not wanted.is_taken:
            return wanted, True
        return None

    def _settled(self, identity: Identity, task: asyncio.Task[None]) -> None:
        self._settling.pop(identity, None)
        self._watch.changed()
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            if self._next_step(identity):
                self.settle(identity)
        elif isinstance(error, MulisaError):
            logger.info("what we hear of somebody could not be changed: %s", error)
        else:
            raise error

    def _listen(self, identity: Identity, consumer: Consumer) -> None:
        self._shut(identity)
        self._hearings[identity].open(consumer, lambda: self._drop(identity, consumer))
        self._notice(TrackSubscribed(identity))

    def _drop(self, identity: Identity, consumer: Consumer) -> None:
        """Decode this one no more, if it is the one."""
        ear = self.hearing(identity).ear
        if ear is not None and ear.consumer is consumer:
            self._shut(identity)

    def _shut(self, identity: Identity) -> None:
        if self.hearing(identity).close():
            self._notice(TrackUnsubscribed(identity))
