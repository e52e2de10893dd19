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
    TransportEvent,
)
from mulisa.core.reception import Receptions
from mulisa.core.room import Identity, Participant
from mulisa.core.routing import Routing
from mulisa.core.transport import ChatMessage
from mulisa.transport.attendance import Attendance
from mulisa.transport.chat import MAX_CHAT_CHARS, Allowance
from mulisa.transport.mediasoup.chatting import Chatting
from mulisa.transport.mediasoup.connection import RoomConnection
from mulisa.transport.mediasoup.consuming import Consuming
from mulisa.transport.mediasoup.hearing import Hearing
from mulisa.transport.mediasoup.signalling import (
    ChatClosed,
    ChatOffered,
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

logger = logging.getLogger(__name__)

OpenSignalling: TypeAlias = Callable[[], Signalling]
"""A signalling that is not connected yet, for each connection another one."""

RECONNECT_TIME: Final = 20.0
"""Seconds after which an interrupted stay is given up."""
FIRST_RETRY: Final = 0.2
LONGEST_RETRY: Final = 2.0
REASON_TIME: Final = 2.0
"""Seconds after its media ended in which an application may end our stay as a whole."""
RETURN_TIME: Final = 5.0
"""After we came back, those who were there before have this long to do so, too."""
REPORT_INTERVAL: Final = 1.0
"""Seconds between receiver reports, by which the server judges its way to us."""
MAX_PEOPLE: Final = 1_000
"""A server that tells of more is not believed."""


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
        """Whom we hear; let `consuming` settle after a change. Whom we speak to is `speaking`'s."""
        self.watch = Watch()
        self.attendance = Attendance()
        self.speaking = Speaking(routing.listeners)
        self.chatting = Chatting(self._hear_chat)
        self.receptions = Receptions()
        self.levels: Mapping[Identity, float] = {}
        """How loud who is heard was lately, in dBov, as the server measures it."""
        self.dominant_speaker: Identity | None = None
        """Who speaks, as the server judges."""
        self._open = open_signalling
        self._connection: RoomConnection | None = None
        self._allowances: dict[Identity, Allowance] = {}
        self._events: asyncio.Queue[TransportEvent | _End] = asyncio.Queue()
        self._lost = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.consuming = Consuming(
            self.attendance.present, self._shall_hear, self._events.put_nowait, self.watch
        )
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
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.speaking.aclose()
        await self.consuming.aclose()
        if self._connection is not None:
            await self._connection.aclose()

    async def events(self) -> AsyncIterator[TransportEvent]:
        """As `Transport.events`."""
        while not isinstance(event := await self._events.get(), _End):
            yield event
        self._events.put_nowait(event)
        if event.error is not None:
            raise event.error

    def show(self, local: Participant) -> None:
        """Ourselves, as the others shall see us."""
        self.local = local

    # The connection

    async def _connect(self) -> RoomConnection:
        connection = RoomConnection(
            self._open(),
            on_rtp=self.consuming.on_rtp,
            on_rtcp=self.consuming.on_rtcp,
            on_message=self.chatting.on_message,
            on_lost=self._on_lost,
        )
        try:
            await connection.enter(self.local)
            await self.speaking.begin(connection)
            await self.chatting.begin(connection)
            if connection.signalling.abilities.attributes and self.local.attributes:
                await connection.signalling.set_attributes(self.local.attributes)
            if not connection.is_carrying:
                raise ConnectionLost("the media path was lost while we joined")
        except BaseException:
            await connection.aclose()
            raise
        self._lost.clear()
        self._connection = connection
        self.consuming.begin(connection)
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
        self.consuming.lost()
        self.chatting.lost()
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
                self._show_mute(self.consuming.offered(event))
            case ConsumerClosed(consumer):
                self._show_mute(self.consuming.closed(consumer))
            case ConsumerMuted(consumer, muted):
                self._show_mute(self.consuming.muted(consumer, muted))
            case ChatOffered():
                self.chatting.offered(event)
            case ChatClosed(consumer):
                self.chatting.closed(consumer)
            case ListenerReady(identity):
                self._events.put_nowait(ListenerConnected(identity))
            case Loudness(levels):
                self.levels = {who: each for who, each in levels.items() if self._is_here(who)}
            case DominantSpeaker(identity):
                self.dominant_speaker = identity if self._is_here(identity) else None
            case TextReceived(sender, text):
                self._hear_text(sender, text)
        self.watch.changed()

    def _shall_hear(self, participant: Participant) -> bool:
        """Routing lets this voice come; that of an agent is for people."""
        if participant.is_agent and self.local.is_agent:
            return False
        return self.routing.hears(participant.identity)

    def _is_here(self, identity: Identity) -> bool:
        return identity in self.attendance.present

    def _meet(self, participant: Participant) -> None:
        identity = participant.identity
        is_new = not self._is_here(identity)
        is_crowded = is_new and len(self.attendance.present) >= MAX_PEOPLE
        if identity == self.local.identity or is_crowded:
            return
        hearing = self.consuming.met(identity)
        self._notice_change(
            self.attendance.seen(replace(participant, muted=_is_muted(participant, hearing)))
        )
        connection = self._connection
        if is_new and (connection is None or not connection.signalling.abilities.ready):
            self._events.put_nowait(ListenerConnected(identity))

    def _forget(self, identity: Identity) -> None:
        self.consuming.left(identity)
        self.speaking.left(identity)
        self._allowances.pop(identity, None)
        self._notice_change(self.attendance.gone(identity))

    def _notice_change(self, change: Any) -> None:
        if change is None:
            return
        if isinstance(change, ParticipantLeft):
            self.consuming.left(change.participant.identity)
        self._events.put_nowait(change)

    def _show_mute(self, identity: Identity | None) -> None:
        present = self.attendance.present.get(identity) if identity is not None else None
        if present is not None:
            muted = _is_muted(present, self.consuming.hearing(present.identity))
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
            self._take_chat(sender, message.message_id, message.text)

    def _hear_chat(self, sender: Identity, text: str) -> None:
        if self._is_here(sender) and 0 < len(text.strip()) and len(text) <= MAX_CHAT_CHARS:
            self._take_chat(sender, uuid4().hex, text)

    def _take_chat(self, sender: Identity, message_id: str, text: str) -> None:
        allowance = self._allowances.setdefault(sender, Allowance())
        if allowance.admits(asyncio.get_running_loop().time()):
            self._events.put_nowait(ChatReceived(sender, message_id or uuid4().hex, text))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            self.consuming.report()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_muted(participant: Participant, hearing: Hearing) -> bool:
    """An agent is silent most of the time, which says nothing."""
    return not participant.is_agent and hearing.muted
