"""Our stay in a room, through all its interruptions: who is there, and what is heard of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from uuid import uuid4

from mulisa.core.backoff import Backoff
from mulisa.core.errors import ConnectionLost, MulisaError, SignalingError, TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantLeft,
    TrackSubscribed,
    TrackUnsubscribed,
    TransportEvent,
)
from mulisa.core.reception import Receptions
from mulisa.core.room import Identity, Participant
from mulisa.core.routing import Routing
from mulisa.core.transport import ChatMessage
from mulisa.transport.attendance import Attendance
from mulisa.transport.chat import Allowance
from mulisa.transport.mediasoup.connection import RoomConnection
from mulisa.transport.mediasoup.hearing import Consumer, Hearing
from mulisa.transport.mediasoup.parameters import RtpParameters, parse
from mulisa.transport.mediasoup.signalling import (
    ConsumerClosed,
    ConsumerMuted,
    ConsumerOffered,
    DominantSpeaker,
    ListenerReady,
    Loudness,
    PeerGone,
    PeerSeen,
    RoomEvent,
    Signalling,
    TextReceived,
)
from mulisa.transport.mediasoup.speaking import Speaking
from mulisa.transport.text import Reception, parse_text
from mulisa.transport.watch import Watch
from mulisa.wire import rtcp
from mulisa.wire.rtp import RtpHeader

logger = logging.getLogger(__name__)

OpenSignalling: TypeAlias = Callable[[], Signalling]
"""A signalling that is not connected yet, for each connection another one."""

RECONNECT_TIME: Final = 20.0
"""Seconds after which an interrupted stay is given up."""
FIRST_RETRY: Final = 0.2
LONGEST_RETRY: Final = 2.0
REASON_TIME: Final = 1.0
"""Seconds after its media ended in which an application may end our stay as a whole."""
RETURN_TIME: Final = 5.0
"""After we came back, those who were there before have this long to do so, too."""
REPORT_INTERVAL: Final = 1.0
"""Seconds between receiver reports, by which the server judges its way to us."""
MAX_PEOPLE: Final = 1_000
"""Participants and consumers; a server that tells of more is not believed."""


@dataclass(frozen=True, slots=True)
class _End:
    error: ConnectionLost | None


class Stay:
    """Created and used within one event loop."""

    def __init__(
        self, open_signalling: OpenSignalling, local: Participant, routing: Routing
    ) -> None:
        self.local = local
        self.routing = routing
        """Whom we hear; call `settle` after a change. Whom we speak to is `speaking`'s."""
        self.watch = Watch()
        self.attendance = Attendance()
        self.speaking = Speaking(routing.listeners)
        self.receptions = Receptions()
        self.levels: Mapping[Identity, float] = {}
        """How loud who is heard was lately, in dBov, as the server measures it."""
        self.dominant_speaker: Identity | None = None
        """Who speaks, as the server judges."""
        self._open = open_signalling
        self._connection: RoomConnection | None = None
        self._hearings: dict[Identity, Hearing] = {}
        self._whose: dict[str, Identity] = {}
        """By consumer."""
        self._ears: dict[int, Identity] = {}
        """By SSRC: whose consumer it is."""
        self._allowances: dict[Identity, Allowance] = {}
        self._events: asyncio.Queue[TransportEvent | _End] = asyncio.Queue()
        self._lost = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._settling: dict[Identity, asyncio.Task[None]] = {}
        self._is_over = False

    @property
    def connection(self) -> RoomConnection | None:
        """The present one; None while it is interrupted."""
        return self._connection

    async def enter(self) -> None:
        """Raises TransportError."""
        connection = await self._connect()
        self._start(self._live(connection), "mediasoup room")
        self._start(self._report(), "mediasoup reports")

    async def leave(self) -> None:
        """Go at once, and leave no task."""
        self._end(None)
        tasks = {*self._tasks, *self._settling.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.speaking.aclose()
        for hearing in self._hearings.values():
            hearing.close()
        if self._connection is not None:
            await self._connection.aclose()

    async def events(self) -> AsyncIterator[TransportEvent]:
        """As `Transport.events`."""
        while not isinstance(event := await self._events.get(), _End):
            yield event
        self._events.put_nowait(event)
        if event.error is not None:
            raise event.error

    def hearing(self, identity: Identity) -> Hearing:
        """Of somebody who may not be here."""
        return self._hearings.get(identity) or Hearing()

    def people(self) -> list[Identity]:
        """Who is in the room but agents."""
        return [who for who, each in self.attendance.present.items() if not each.is_agent]

    def follows(self, identity: Identity) -> bool:
        """What we receive of somebody is what we want."""
        hearing = self.hearing(identity)
        wanted = self._wanted(identity)
        taken = [each for each in hearing.consumers.values() if each.is_taken]
        if self._connection is None or identity in self._settling:
            return False
        return taken == ([wanted] if wanted else [])

    def settle(self, identity: Identity) -> None:
        """Ask for what shall be received of somebody, and for nothing else."""
        if identity not in self._settling and not self._is_over:
            task = asyncio.create_task(self._settle(identity), name="mediasoup consumers")
            self._settling[identity] = task
            task.add_done_callback(lambda done: self._settled(identity, done))

    def show(self, local: Participant) -> None:
        """Ourselves, as the others shall see us."""
        self.local = local

    # The connection

    async def _connect(self) -> RoomConnection:
        connection = RoomConnection(
            self._open(), on_rtp=self._on_rtp, on_rtcp=self._on_rtcp, on_lost=self._on_lost
        )
        try:
            await connection.enter(self.local)
            await self.speaking.begin(connection)
            if connection.signalling.abilities.attributes and self.local.attributes:
                await connection.signalling.set_attributes(self.local.attributes)
        except BaseException:
            await connection.aclose()
            raise
        self._lost.clear()
        self._connection = connection
        self.watch.changed()
        return connection

    async def _live(self, connection: RoomConnection | None) -> None:
        """From one connection to the next, until one ends in order or there is none any more."""
        while connection is not None:
            if await self._attend(connection):
                self._end(None)
                return
            self._away()
            await connection.aclose()
            connection = await self._reconnect()
        self._end(ConnectionLost("the room is out of reach"))

    async def _attend(self, connection: RoomConnection) -> bool:
        """Take what the application tells. True if it has ended our stay."""
        reading = asyncio.create_task(self._read(connection), name="mediasoup events")
        waiting = asyncio.create_task(self._lost.wait(), name="mediasoup loss")
        try:
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if connection.was_closed:  # in order: the application may be about to say why
                await asyncio.wait({reading}, timeout=REASON_TIME)
            return reading.done() and reading.result()
        finally:
            for task in (reading, waiting):
                task.cancel()
            await asyncio.wait({reading, waiting})

    async def _read(self, connection: RoomConnection) -> bool:
        try:
            async for event in connection.signalling.events():
                self._notice(event)
        except (MulisaError, OSError) as error:
            logger.info("the room's signalling is lost: %s", error)
            return False
        # A path that went dead is why the demo ends a stay: then we come back.
        return connection.is_carrying or connection.was_closed

    async def _reconnect(self) -> RoomConnection | None:
        backoff = Backoff(FIRST_RETRY, LONGEST_RETRY)
        with suppress(TimeoutError):
            async with asyncio.timeout(RECONNECT_TIME):
                while True:
                    try:
                        connection = await self._connect()
                        self._back()
                        return connection
                    except MulisaError as error:
                        if isinstance(error, TransportError) and not error.retryable:
                            logger.warning("the room cannot be joined again: %s", error)
                            return None
                        logger.info("the room is out of reach: %s", error)
                    await asyncio.sleep(backoff.failed())
        return None

    def _on_lost(self, connection: RoomConnection) -> None:
        if connection is self._connection:
            self._lost.set()

    def _away(self) -> None:
        self._connection = None
        self.attendance.away()
        self.speaking.lost()
        for identity in list(self.attendance.present):
            self.attendance.gone(identity)
        for identity, hearing in self._hearings.items():
            hearing.consumers.clear()
            self._shut(identity)
        self._whose.clear()
        self._ears.clear()
        self.levels, self.dominant_speaker = {}, None
        self.watch.changed()

    def _back(self) -> None:
        if self.attendance.back():
            self._start(self._miss(), "mediasoup attendance")

    async def _miss(self) -> None:
        await asyncio.sleep(RETURN_TIME)
        for change in self.attendance.settle():
            self._notice_change(change)

    def _end(self, error: ConnectionLost | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        for change in self.attendance.end():
            self._notice_change(change)
        self._events.put_nowait(_End(error))
        self.watch.changed()

    # What the application tells

    def _notice(self, event: RoomEvent) -> None:
        match event:
            case PeerSeen(participant):
                self._meet(participant)
            case PeerGone(identity):
                self._forget(identity)
            case ConsumerOffered():
                self._offered(event)
            case ConsumerClosed(consumer):
                self._closed(consumer)
            case ConsumerMuted(consumer, muted):
                self._muted(consumer, muted)
            case ListenerReady(identity):
                self._events.put_nowait(ListenerConnected(identity))
            case Loudness(levels):
                self.levels = {who: each for who, each in levels.items() if self._is_here(who)}
            case DominantSpeaker(identity):
                self.dominant_speaker = identity if self._is_here(identity) else None
            case TextReceived(sender, text):
                self._hear_text(sender, text)
        self.watch.changed()

    def _is_here(self, identity: Identity) -> bool:
        return identity in self.attendance.present

    def _meet(self, participant: Participant) -> None:
        identity = participant.identity
        if identity == self.local.identity or len(self.attendance.present) >= MAX_PEOPLE:
            return
        is_new = not self._is_here(identity)
        hearing = self._hearings.setdefault(identity, Hearing())
        self._notice_change(
            self.attendance.seen(replace(participant, muted=_is_muted(participant, hearing)))
        )
        connection = self._connection
        if is_new and (connection is None or not connection.signalling.abilities.ready):
            self._events.put_nowait(ListenerConnected(identity))

    def _forget(self, identity: Identity) -> None:
        for consumer in list(self.hearing(identity).consumers):
            self._closed(consumer)
        self.speaking.left(identity)
        self._allowances.pop(identity, None)
        self._notice_change(self.attendance.gone(identity))

    def _notice_change(self, change: Any) -> None:
        if change is None:
            return
        if isinstance(change, ParticipantLeft):
            self._shut(change.participant.identity)
        self._events.put_nowait(change)

    def _offered(self, offer: ConsumerOffered) -> None:
        """A consumer begins paused; it is taken at once if it is wanted, and only then."""
        identity = offer.identity
        consumer = self._readable(offer)
        if consumer is None or not self._is_here(identity) or len(self._whose) >= MAX_PEOPLE:
            return
        hearing = self._hearings.setdefault(identity, Hearing())
        hearing.consumers[consumer.id] = consumer
        self._whose[consumer.id] = identity
        self._ears[consumer.ssrc] = identity
        consumer.is_taken = offer.taken = self._wanted(identity) is consumer
        if consumer.is_taken:
            self._listen(identity, consumer)
        self._show_mute(identity)
        self.settle(identity)  # the one before it is not wanted any more

    def _readable(self, offer: ConsumerOffered) -> Consumer | None:
        if offer.kind != "audio" or offer.consumer in self._whose:
            return None
        try:
            parameters = parse(RtpParameters, offer.rtp_parameters, "a consumer")
        except TransportError as error:
            logger.warning("%s", error)
            return None
        return Consumer.of(offer.consumer, parameters, muted=offer.muted)

    def _closed(self, consumer_id: str) -> None:
        identity = self._whose.pop(consumer_id, None)
        if identity is None:
            return
        hearing = self._hearings[identity]
        consumer = hearing.consumers.pop(consumer_id)
        self._ears.pop(consumer.ssrc, None)
        self._drop(identity, consumer)
        self._show_mute(identity)
        self.settle(identity)

    def _muted(self, consumer_id: str, muted: bool) -> None:
        identity = self._whose.get(consumer_id)
        if identity is not None:
            self._hearings[identity].consumers[consumer_id].muted = muted
            self._show_mute(identity)

    def _show_mute(self, identity: Identity) -> None:
        present = self.attendance.present.get(identity)
        if present is not None:
            muted = _is_muted(present, self._hearings[identity])
            self._notice_change(self.attendance.seen(replace(present, muted=muted)))

    def _hear_text(self, sender: Identity, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if not self._is_here(sender):
            return
        try:
            message = parse_text(text)
        except SignalingError as error:
            logger.debug("a text is ignored: %s", error)
            return
        if isinstance(message, Reception):
            self.receptions.report(sender, message.heard, now)
        elif isinstance(message, ChatMessage):
            if self._allowances.setdefault(sender, Allowance()).admits(now):
                chat = ChatReceived(sender, message.message_id or uuid4().hex, message.text)
                self._events.put_nowait(chat)

    # What is received

    def _wanted(self, identity: Identity) -> Consumer | None:
        """A person's newest voice, if routing lets it come; an agent's is for people."""
        participant = self.attendance.present.get(identity)
        if participant is None or not self.routing.hears(identity):
            return None
        if participant.is_agent and self.local.is_agent:
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
            self.watch.changed()

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
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, MulisaError):
                raise error
            logger.info("what we hear of somebody could not be changed: %s", error)
        elif not task.cancelled() and self._next_step(identity) and self._connection:
            self.settle(identity)
        self.watch.changed()

    def _listen(self, identity: Identity, consumer: Consumer) -> None:
        hearing = self._hearings[identity]
        if hearing.ear is not None:
            self._shut(identity)
        hearing.open(consumer, lambda: self._shut(identity))
        self._events.put_nowait(TrackSubscribed(identity))

    def _shut(self, identity: Identity) -> None:
        if self.hearing(identity).close():
            self._events.put_nowait(TrackUnsubscribed(identity))

    def _drop(self, identity: Identity, consumer: Consumer) -> None:
        """Decode this one no more, if it is the one."""
        ear = self.hearing(identity).ear
        if ear is not None and ear.consumer is consumer:
            self._shut(identity)

    def _on_rtp(self, header: RtpHeader, payload: bytes, now: float) -> None:
        identity = self._ears.get(header.ssrc)
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

    def _on_rtcp(self, compound: bytes, now: float) -> None:
        for packet in rtcp.parse(compound):
            if isinstance(packet, rtcp.SenderReport) and packet.ssrc in self._ears:
                ear = self._hearings[self._ears[packet.ssrc]].ear
                if ear is not None:
                    ear.receive_report(packet, now)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            now = asyncio.get_running_loop().time()
            for hearing in self._hearings.values():
                report = hearing.ear.report(now) if hearing.ear else None
                if report is not None and self._connection is not None:
                    self._connection.receiving.send_rtcp(bytes(report))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_muted(participant: Participant, hearing: Hearing) -> bool:
    """An agent is silent most of the time, which says nothing."""
    return not participant.is_agent and hearing.muted
