"""A stay in a mesh room: all peers as one `Transport`."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType, TracebackType
from typing import Final, Self

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
from mulisa.core.reception import Receptions
from mulisa.core.room import Identity, Participant, ParticipantSid, RoomName, Topology
from mulisa.core.routing import Routing
from mulisa.core.transport import Caption, ChatMessage, SendFrame, SubscriptionStats, Transport
from mulisa.transport.mesh.link import LEAVE_TIME, GatewayLink
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.transport.mesh.pair import Hearing, Listening, NotHearing, Pair, PairEvent
from mulisa.transport.mesh.peer import CLOSING_TIME
from mulisa.transport.mesh.routing import MeshRouting
from mulisa.transport.mesh.signaling import (
    AnswerFrom,
    CandidateFrom,
    Closing,
    ErrorMessage,
    GatewayMessage,
    IceServersRenewed,
    Joined,
    OfferFrom,
    ParticipantInfo,
    PeerAttached,
    PeerDetached,
    PeerJoined,
    PeerLeft,
    PeerUpdated,
    Resumed,
    Update,
    Witness,
)
from mulisa.transport.mesh.vigil import LOOK_INTERVAL, Vigil
from mulisa.transport.mesh.voice import Voice
from mulisa.transport.text import Reception, TextMessage
from mulisa.transport.watch import Watch

logger = logging.getLogger(__name__)

_REMOVED: Final = ("removed", "replaced", "room_closed")


class MeshTransport:
    """One participant of a mesh room, with a connection to every other one.

    Only people are heard: the voices of other agents are neither received nor decoded.
    Connections go on while the gateway is out of reach, and when it is back.
    """

    def __init__(
        self,
        url: str,
        token: str,
        routing: Routing = Routing(),  # noqa: B008
        network: MeshNetwork = MeshNetwork(),  # noqa: B008
    ) -> None:
        """`url` is the gateway's WebSocket base (``ws://HOST:8000``), `token` the room's.

        `routing` holds from the first offer on: no packet ever comes or goes against it.
        """
        self._link = GatewayLink(url, token)
        self._network = network
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
        self._receptions = Receptions()
        self._packets_before: Counter[Identity] = Counter()
        """Received from each in stays of theirs that are over."""
        self._attributes: dict[str, str] = {}
        """Ours, as we want them."""
        self._vigil = Vigil()
        self._looking: asyncio.TimerHandle | None = None
        self._events: asyncio.Queue[TransportEvent | _End] = asyncio.Queue()
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
        self._joined = await self._link.enter()
        self._local = self._joined.participant.participant()
        self._attributes = dict(self._local.attributes)
        await self._show_routing()
        for info in self._joined.participants:
            self._add(info, is_newcomer=True)
        self._signaling = asyncio.create_task(self._signal(), name="mesh room")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._signaling is not None
        self._is_leaving = True
        try:
            # First of all, so that nobody takes our closing connections for broken ones.
            await self._link.leave()
        finally:
            # The link has ended, so it ends by itself. Cancelled while it closes connections
            # it would leave them half closed, which aiortc never recovers from.
            await asyncio.wait({self._signaling}, timeout=LEAVE_TIME + CLOSING_TIME)
            self._signaling.cancel()
            await asyncio.wait({self._signaling})

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

    @property
    def receptions(self) -> Mapping[Identity, frozenset[Identity]]:
        """Whose packets came to each of the others, as they said in the last seconds."""
        present = {self.local.identity, *self._participants}
        return self._receptions.matrix(present, asyncio.get_running_loop().time())

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Merge into our attributes; `local` shows them once the gateway has confirmed.

        Raises SignalingError if they are more than the protocol allows.
        """
        try:
            self._link.send(Update(attributes=dict(attributes)))
        except ValidationError as error:
            raise SignalingError(f"attributes were refused: {error}") from error
        self._attributes |= attributes

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

    async def _signal(self) -> None:
        """Exchange messages with the gateway until either side goes; then end everything."""
        end = _End(None)
        try:
            if closing := await self._link.run(self._on_message):
                end = self._end_of(closing)
        except TransportError as error:
            end = _End(ConnectionLost(str(error)))
        finally:
            if self._is_leaving:
                end = _End(None)
            await self._close_everything()
            self._events.put_nowait(end)

    def _end_of(self, closing: Closing) -> _End:
        logger.info("the gateway closed our stay: %s", closing.reason)
        if closing.reason in _REMOVED:
            return _End(None)
        return _End(ConnectionLost(f"{self._link.place} closed our stay: {closing.reason}"))

    def _on_message(self, message: GatewayMessage) -> None:
        match message:
            case OfferFrom(sender=sid) | AnswerFrom(sender=sid) | CandidateFrom(sender=sid):
                if pair := self._pairs.get(sid):
                    pair.receive(message)
            case Joined():
                self._rejoin(message)
            case Resumed(ice_servers=ice_servers) | IceServersRenewed(ice_servers=ice_servers):
                self._joined = self._entered.model_copy(update={"ice_servers": ice_servers})
            case PeerJoined(participant=info):
                self._meet(info, is_newcomer=False)
            case PeerUpdated(participant=info):
                self._update(info)
            case PeerLeft(sid=sid):
                self._remove(sid)
            case PeerDetached(sid=sid):
                self._vigil.detached(sid)
                self._look()
            case PeerAttached(sid=sid):
                self._vigil.settled(sid)
            case ErrorMessage(code=code, message=text):
                logger.warning("the gateway did not deliver a message: %s: %s", code, text)
            case _:
                logger.warning("the gateway sent %r, which is not expected now", message.type)

    def _rejoin(self, joined: Joined) -> None:
        """The gateway had forgotten us; if it knows us by our sid, connections are kept."""
        former, self._joined = self.local.sid, joined
        self._local = joined.participant.participant()
        if self._local.sid != former:
            for sid in list(self._pairs):
                self._remove(sid)
        if any(self._local.attributes.get(key, "") != v for key, v in self._attributes.items()):
            self._link.send(Update(attributes=self._attributes))
        missing = self._pairs.keys() - {info.sid for info in joined.participants}
        self._vigil.expect(missing, asyncio.get_running_loop().time())
        for info in joined.participants:
            self._meet(info, is_newcomer=True)
        self._look()

    def _meet(self, info: ParticipantInfo, *, is_newcomer: bool) -> None:
        """Somebody is here: one who was here before, or a new one. `is_newcomer` as in `_add`."""
        self._vigil.settled(info.sid)
        if info.sid in self._pairs:
            self._update(info)
            return
        if former := self._participants.get(info.identity):
            self._remove(former.sid)  # the gateway that forgot them could not tell that they left
        self._add(info, is_newcomer=is_newcomer)

    def _look(self) -> None:
        """Be a witness, and see who is gone, for as long as there is somebody to look at."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        loop = asyncio.get_running_loop()
        heard_at = {sid: pair.heard_at for sid, pair in self._pairs.items()}
        findings = self._vigil.look(heard_at, loop.time())
        for sid in findings.alive:
            self._link.send(Witness(sid=sid))
        for sid in findings.gone:
            self._remove(sid)
        if not self._vigil.is_over:
            self._looking = loop.call_later(LOOK_INTERVAL, self._look)

    def _add(self, info: ParticipantInfo, *, is_newcomer: bool) -> None:
        """`is_newcomer`: it is we who came later."""
        participant = info.participant()
        pair = Pair(
            self.local,
            participant,
            voice=self._voice,
            hears=self.routing.hears(participant.identity),
            ice_servers=lambda: self._entered.ice_servers,
            network=self._network,
            send=self._link.send,
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
        self._vigil.settled(sid)
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
            case Reception(heard):
                self._receptions.report(identity, heard, asyncio.get_running_loop().time())
            case Caption():
                pass  # shown to people; an agent knows what was said

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
        if self._looking is not None:
            self._looking.cancel()
        for sid in list(self._pairs):
            self._remove(sid)
        if self._closing_pairs:
            await asyncio.wait(self._closing_pairs)


class _End:
    """The last event: how the stay ended."""

    def __init__(self, error: ConnectionLost | None) -> None:
        self.error = error


def _check_protocol(transport: MeshTransport) -> Transport:
    return transport
