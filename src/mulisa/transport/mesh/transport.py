"""A stay in a mesh room: all peers as one `Transport`."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import ValidationError

from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.errors import ConnectionLost, SignalingError, TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
    TransportEvent,
)
from mulisa.core.room import Identity, Participant, ParticipantSid, RoomName, Topology
from mulisa.core.routing import Routing
from mulisa.core.transport import Caption, ChatMessage, SendFrame, SubscriptionStats, Transport
from mulisa.ending import within
from mulisa.transport.mesh.pair import Hearing, Listening, NotHearing, Pair, PairEvent
from mulisa.transport.mesh.peer import CLOSING_TIME
from mulisa.transport.mesh.routing import MeshRouting
from mulisa.transport.mesh.signaling import (
    MAX_MESSAGE_BYTES,
    AnswerFrom,
    CandidateFrom,
    ClientMessage,
    Closing,
    ErrorMessage,
    GatewayMessage,
    Joined,
    Leave,
    OfferFrom,
    ParticipantInfo,
    PeerJoined,
    PeerLeft,
    PeerUpdated,
    Update,
    encode,
    parse_gateway_message,
)
from mulisa.transport.mesh.text import Reception, TextMessage
from mulisa.transport.mesh.voice import Voice
from mulisa.transport.watch import Watch

logger = logging.getLogger(__name__)

JOIN_TIME: Final = 10.0
HEARTBEAT: Final = 10.0
"""The gateway counts as gone when a ping of ours is not answered in half of this."""
LEAVE_TIME: Final = 2.0

_REMOVED: Final = ("removed", "replaced", "room_closed")


class MeshTransport:
    """One participant of a mesh room, with a connection to every other one.

    Only people are heard: the voices of other agents are neither received nor decoded.
    """

    def __init__(self, url: str, token: str, routing: Routing = Routing()) -> None:  # noqa: B008
        """`url` is the gateway's WebSocket base (``ws://HOST:8000``), `token` the room's.

        `routing` holds from the first offer on: no packet ever comes or goes against it.
        """
        self._url = url
        self._token = token
        self._voice = Voice(routing.listeners)
        self._watch = Watch()
        self._routing = MeshRouting(
            routing, self._voice, self._watch, pair_of=self._pair_of, pairs=self._pairs_now
        )
        self._joined: Joined | None = None
        self._local: Participant | None = None
        self._pairs: dict[ParticipantSid, Pair] = {}
        self._pair_tasks: dict[ParticipantSid, asyncio.Task[None]] = {}
        self._closing_pairs: set[asyncio.Task[None]] = set()
        self._participants: dict[Identity, Participant] = {}
        self._packets_before: Counter[Identity] = Counter()
        """Received from each in stays of theirs that are over."""
        self._outbox: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._events: asyncio.Queue[TransportEvent | _End] = asyncio.Queue()
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._signaling: asyncio.Task[None] | None = None
        self._is_leaving = False

    @property
    def topology(self) -> Topology:
        """How media is routed here."""
        return "mesh"

    @property
    def room(self) -> RoomName:
        """The room that was joined."""
        return RoomName(self._entered.room)

    @property
    def local(self) -> Participant:
        """Ourselves, as the others see us."""
        assert self._local is not None, "enter the transport first"
        return self._local

    @property
    def participants(self) -> Mapping[Identity, Participant]:
        """Everybody else in the room now, by identity."""
        return MappingProxyType(self._participants)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        try:
            self._socket, self._joined = await self._join(self._http)
        except BaseException:
            await self._http.close()
            raise
        self._local = self._joined.participant.participant()
        await self._show_routing()
        for info in self._joined.participants:
            self._add(info, is_newcomer=True)
        self._signaling = asyncio.create_task(self._signal(self._socket), name="mesh signalling")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._signaling is not None and self._http is not None
        self._is_leaving = True
        try:
            await self._say_goodbye()
        finally:
            # Its socket is closed, so it ends by itself. Cancelled while it closes connections
            # it would leave them half closed, which aiortc never recovers from.
            await asyncio.wait({self._signaling}, timeout=LEAVE_TIME + CLOSING_TIME)
            self._signaling.cancel()
            await asyncio.wait({self._signaling})
            await self._http.close()

    async def events(self) -> AsyncIterator[TransportEvent]:
        """What happens in the room, oldest first. One reader. Raises ConnectionLost."""
        while True:
            event = await self._events.get()
            if isinstance(event, _End):
                self._events.put_nowait(event)
                if event.error is not None:
                    raise event.error
                return
            yield event

    async def frames(self, identity: Identity) -> AsyncIterator[AudioFrame]:
        """Decoded voice of one participant until their present connection ends."""
        if pair := self._pair_of(identity):
            async for frame in pair.frames():
                yield frame

    def send_frame(self, samples: Samples) -> None:
        """Encode 20 ms once and hand the packet to every connection."""
        self._voice.speak(samples)

    def expect_speech(self) -> None:
        """Nothing to do: a connection is as ready after a pause as before it."""

    async def whisper(self, listener: Identity) -> SendFrame:
        """What is sent with the result goes to this one connection. Raises TransportError."""
        return await self._routing.whisper(listener)

    @property
    def routing(self) -> Routing:
        """Whom we hear and to whom we speak; applied to everybody who comes."""
        return self._routing.routing

    async def hear(self, identity: Identity, on: bool) -> None:
        """Renegotiate the pair; returns once nothing comes any more, or something can be heard.

        Raises TransportError after `ROUTING_TIME`; the connection is then replaced by one that
        has it so from the start.
        """
        try:
            await self._routing.hear(identity, on)
        finally:
            await self._show_routing()

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Choose which connections get our packets; returns once none is on its way to others.

        Raises TransportError if somebody does not confirm that; they get no more nevertheless.
        """
        try:
            await self._routing.speak_to(listeners)
        finally:
            await self._show_routing()

    async def send_caption(self, caption: Caption) -> None:
        """Show words to whom they are for and who is connected. SignalingError if too long."""
        self._send_now(caption, self._pairs_for(caption.listener))

    async def send_chat(self, message: ChatMessage) -> None:
        """Send to whom it is for, once they are connected. Raises SignalingError if too long."""
        for pair in self._pairs_for(message.listener):
            pair.send_chat(message)

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        """Tell everybody who is connected now whose packets came to us in the last second."""
        self._send_now(Reception(heard), self._pairs_now())

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Merge into our attributes; `local` shows them once the gateway has confirmed.

        Raises SignalingError if they are more than the protocol allows.
        """
        try:
            self._outbox.put_nowait(Update(attributes=dict(attributes)))
        except ValidationError as error:
            raise SignalingError(f"attributes were refused: {error}") from error

    def stats(self, identity: Identity) -> SubscriptionStats:
        """Counters of one participant's subscription; zeros if there is none."""
        pair = self._pair_of(identity)
        if pair is None:
            return SubscriptionStats(0, 0, 0)
        stats = pair.stats()
        received = self._packets_before[identity] + stats.packets_received
        return dataclasses.replace(stats, packets_received=received)

    @property
    def _entered(self) -> Joined:
        assert self._joined is not None, "enter the transport first"
        return self._joined

    @property
    def _place(self) -> str:
        return f"the gateway at {urlsplit(self._url).netloc}"

    async def _join(
        self, http: aiohttp.ClientSession
    ) -> tuple[aiohttp.ClientWebSocketResponse, Joined]:
        try:
            async with asyncio.timeout(JOIN_TIME):
                socket = await self._connect(http)
                try:
                    return socket, await self._first_message(socket)
                except BaseException:
                    await socket.close()
                    raise
        except TimeoutError as error:
            raise TransportError(f"{self._place} did not answer in {JOIN_TIME:.0f} s") from error

    async def _connect(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        try:
            return await http.ws_connect(
                f"{self._url.rstrip('/')}/mesh",
                params={"access_token": self._token},
                heartbeat=HEARTBEAT,
                max_msg_size=4 * MAX_MESSAGE_BYTES,
            )
        except aiohttp.WSServerHandshakeError as error:
            reason = {401: "the token was refused", 403: "the token is for another room"}
            what = reason.get(error.status, f"status {error.status}")
            message = f"{self._place} does not let us in: {what}"
            raise TransportError(message, retryable=error.status >= 500) from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"{self._place} cannot be reached: {error}") from error

    async def _first_message(self, socket: aiohttp.ClientWebSocketResponse) -> Joined:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise TransportError(f"{self._place} closed the socket before we were in the room")
        try:
            first = parse_gateway_message(message.data)
        except SignalingError as error:
            raise TransportError(f"{self._place} speaks another protocol: {error}") from error
        if not isinstance(first, Joined):
            raise TransportError(f"{self._place} began with {first.type!r} instead of 'joined'")
        return first

    async def _signal(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Exchange messages with the gateway until either side goes; then end everything."""
        end = _End(ConnectionLost(f"{self._place} is out of reach"))
        writing = asyncio.create_task(self._write(socket), name="mesh outbox")
        try:
            end = await self._read(socket) or end
        finally:
            if self._is_leaving:
                end = _End(None)
            writing.cancel()
            await asyncio.wait({writing})
            await self._close_everything()
            self._events.put_nowait(end)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> _End | None:
        """Handle messages; an `_End` if the gateway told us why, None if it only went away."""
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                parsed = parse_gateway_message(message.data)
            except SignalingError as error:
                logger.warning("a message of the gateway is ignored: %s", error)
                continue
            if isinstance(parsed, Closing):
                return self._end_of(parsed)
            self._on_message(parsed)
        return None

    def _end_of(self, closing: Closing) -> _End:
        logger.info("the gateway closed our stay: %s", closing.reason)
        if closing.reason in _REMOVED:
            return _End(None)
        return _End(ConnectionLost(f"{self._place} closed our stay: {closing.reason}"))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send what is queued; a broken socket ends the reader, which tells."""
        with suppress(ConnectionError):
            while True:
                await socket.send_str(encode(await self._outbox.get()))

    def _on_message(self, message: GatewayMessage) -> None:
        match message:
            case OfferFrom(sender=sid) | AnswerFrom(sender=sid) | CandidateFrom(sender=sid):
                if pair := self._pairs.get(sid):
                    pair.receive(message)
            case PeerJoined(participant=info):
                self._add(info, is_newcomer=False)
            case PeerUpdated(participant=info):
                self._update(info)
            case PeerLeft(sid=sid):
                self._remove(sid)
            case ErrorMessage(code=code, message=text):
                logger.warning("the gateway did not deliver a message: %s: %s", code, text)
            case _:
                logger.warning("the gateway sent %r, which is not expected now", message.type)

    def _add(self, info: ParticipantInfo, *, is_newcomer: bool) -> None:
        """`is_newcomer`: it is we who came later."""
        participant = info.participant()
        pair = Pair(
            self.local,
            participant,
            voice=self._voice,
            hears=self.routing.hears(participant.identity),
            ice_servers=self._entered.ice_servers,
            send=self._outbox.put_nowait,
            report=self._on_pair,
            watch=self._watch,
        )
        self._participants[participant.identity] = participant
        self._pairs[participant.sid] = pair
        self._events.put_nowait(ParticipantJoined(participant))
        self._pair_tasks[participant.sid] = asyncio.create_task(
            self._run(pair, is_newcomer=is_newcomer), name=f"pair with {participant.sid}"
        )

    async def _run(self, pair: Pair, *, is_newcomer: bool) -> None:
        """One remote peer that fails, whatever the reason, does not take down the room."""
        try:
            await pair.run(is_newcomer=is_newcomer)
        except Exception:
            logger.exception("a peer is given up", extra={"peer": pair.remote.sid})

    def _update(self, info: ParticipantInfo) -> None:
        participant = info.participant()
        if participant.sid == self.local.sid:
            self._local = participant
        elif participant.sid in self._pairs:
            self._participants[participant.identity] = participant
            self._events.put_nowait(ParticipantUpdated(participant))

    def _remove(self, sid: ParticipantSid) -> None:
        pair = self._pairs.get(sid)
        if pair is None:
            return
        pair.stop_hearing()
        del self._pairs[sid]
        task = self._pair_tasks.pop(sid)
        self._closing_pairs.add(task)
        task.add_done_callback(self._closing_pairs.discard)
        task.cancel()
        participant = self._participants.pop(pair.remote.identity)
        self._packets_before[participant.identity] += pair.stats().packets_received
        self._events.put_nowait(ParticipantLeft(participant))
        self._watch.changed()

    def _on_pair(self, pair: Pair, event: PairEvent) -> None:
        if pair.remote.sid not in self._pairs:
            return
        identity = pair.remote.identity
        match event:
            case Hearing():
                self._events.put_nowait(TrackSubscribed(identity))
            case NotHearing():
                self._events.put_nowait(TrackUnsubscribed(identity))
            case Listening():
                self._events.put_nowait(ListenerConnected(identity))
            case ChatMessage(message_id, text):
                self._events.put_nowait(ChatReceived(identity, message_id, text))
            case Caption() | Reception():
                pass  # shown to people; an agent knows what was said, and who hears whom is counted

    def _pair_of(self, identity: Identity) -> Pair | None:
        participant = self._participants.get(identity)
        return self._pairs.get(participant.sid) if participant else None

    def _pairs_now(self) -> list[Pair]:
        return list(self._pairs.values())

    def _pairs_for(self, listener: Identity | None) -> list[Pair]:
        if listener is None:
            return self._pairs_now()
        pair = self._pair_of(listener)
        return [pair] if pair else []

    def _send_now(self, message: TextMessage, pairs: list[Pair]) -> None:
        for pair in pairs:
            pair.send_now(message)

    async def _show_routing(self) -> None:
        """As our participant attribute, if it shows something else."""
        try:
            if news := self._routing.news():
                await self.set_attributes(news)
        except SignalingError as error:
            logger.warning("the routing is too long to be shown: %s", error)

    async def _close_everything(self) -> None:
        self._voice.close()
        for sid in list(self._pairs):
            self._remove(sid)
        if self._closing_pairs:
            await asyncio.wait(self._closing_pairs)

    async def _say_goodbye(self) -> None:
        """First of all, so that nobody takes our closing connections for broken ones."""
        assert self._socket is not None
        with suppress(ConnectionError):
            await within(LEAVE_TIME, self._socket.send_str(encode(Leave())))
        await within(LEAVE_TIME, self._socket.close())


class _End:
    """The last event: how the stay ended."""

    def __init__(self, error: ConnectionLost | None) -> None:
        self.error = error


def _check_protocol(transport: MeshTransport) -> Transport:
    return transport
