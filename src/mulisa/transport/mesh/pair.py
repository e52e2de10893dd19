"""One other participant and the connection to them, replaced when it fails.

The shell around `Negotiation`: one task takes events in order, performs what the machine says,
and keeps the time. A peer that sends nonsense has its connection closed and gets an offer of a
fresh one, ever more slowly; nobody else notices.

A connection whose path is lost gives way to another one, and carries what it can until that one
is connected: if the path returns, nobody has to wait for the new connection.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from mulisa.core.audio import AudioFrame
from mulisa.core.errors import NegotiationError, SignalingError
from mulisa.core.room import Identity, Participant
from mulisa.core.transport import ChatMessage, SubscriptionStats
from mulisa.transport.chat import Allowance
from mulisa.transport.mesh import negotiation
from mulisa.transport.mesh.negotiation import Negotiation, Role, offers_first, role_towards
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.transport.mesh.peer import (
    AudioDirection,
    Peer,
    PeerBack,
    PeerCandidate,
    PeerConnected,
    PeerEvent,
    PeerFailed,
    PeerListening,
    PeerLost,
    PeerSilent,
    PeerSpeaking,
    PeerText,
    PeerTextOpen,
)
from mulisa.transport.mesh.signaling import (
    AnswerFrom,
    AnswerTo,
    CandidateFrom,
    CandidateTo,
    ClientMessage,
    IceServer,
    OfferFrom,
    OfferTo,
)
from mulisa.transport.mesh.unheard import Unheard
from mulisa.transport.mesh.voice import Voice
from mulisa.transport.subscription import Subscription
from mulisa.transport.text import Reception, TextMessage, encode_text, parse_text
from mulisa.transport.watch import Watch

logger = logging.getLogger(__name__)

CONNECT_TIME: Final = 15.0
"""What a connection has from its first description, or a newcomer for the first offer."""
FIRST_BACKOFF: Final = 0.5
LAST_BACKOFF: Final = 30.0
STEADY: Final = 10.0
"""A connection that lasted so long was none of a series of failures."""
MAX_WAITING_CHATS: Final = 100
OPEN_INTERVAL: Final = 0.25
"""Seconds from one connection to the next, however often a peer replaces it: each costs a
certificate, sockets and a handshake."""
MAX_WAITING_EVENTS: Final = 256
"""What a peer may send ahead of that; more is lost, and its connection with it."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """The participant can be heard from now on."""


@dataclass(frozen=True, slots=True)
class NotHearing:
    """The participant can no longer be heard."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The participant hears us from now on."""


@dataclass(frozen=True, slots=True)
class _Redirected:
    """Whether we want to hear the participant has changed."""


@dataclass(frozen=True, slots=True)
class _Unfit:
    """The connection does not do as asked."""


PairEvent: TypeAlias = Hearing | NotHearing | Listening | TextMessage
FromPeer: TypeAlias = tuple[Peer, PeerEvent]
Received: TypeAlias = "negotiation.Event | FromPeer | _Redirected | _Unfit"


class Pair:
    """Ourselves and one other participant.

    Between two agents the audio is inactive: an agent's voice is for people, and what it says
    reaches other agents as text. Whom we do not hear is offered our voice alone.
    """

    def __init__(
        self,
        local: Participant,
        remote: Participant,
        *,
        voice: Voice,
        hears: bool,
        ice_servers: Callable[[], Sequence[IceServer]],
        network: MeshNetwork,
        send: Callable[[ClientMessage], None],
        report: Callable[[Pair, PairEvent], None],
        watch: Watch,
    ) -> None:
        """`hears` as in `hear`; `watch` is told of every change; `ice_servers` gives the latest.

        `send` and `report` are called from within the loop and only enqueue.
        """
        self.remote = remote
        self._local = local.identity
        self._role = role_towards(remote, local)
        self._has_audio = not (local.is_agent and remote.is_agent)
        self._voice = voice
        self._hears = hears
        self._redirections = 0
        """How many changes of that the connection was not told of yet."""
        self._ice_servers = ice_servers
        self._network = network
        self._send = send
        self._report = report
        self._watch = watch
        self._negotiation = Negotiation(self._role)
        self._peer: Peer | None = None
        self._former: Peer | None = None
        """What `_peer` is to take the place of; it works, or worked, and `_peer` not yet."""
        self._connected_at = float("inf")
        self._unheard = Unheard()
        self._closing: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None
        self._inbox: asyncio.Queue[Received] = asyncio.Queue()
        self._packets_before = 0
        self._waiting_chats: deque[str] = deque(maxlen=MAX_WAITING_CHATS)
        self._replace_at: float | None = None
        self._may_open_at = 0.0
        self._failures = 0
        self._chats = Allowance()
        self._log = logging.LoggerAdapter(logger, {"peer": remote.sid})

    @property
    def identity(self) -> Identity:
        """Who is at the other end."""
        return self.remote.identity

    async def run(self, *, is_newcomer: bool) -> None:
        """Connect and stay connected until cancelled."""
        if offers_first(self._role, is_newcomer=is_newcomer):
            self._inbox.put_nowait(negotiation.NegotiationNeeded())
        self._expect_connection()
        try:
            while True:
                await self._handle(await self._next_event())
                self._watch.changed()
        finally:
            await self._close_former()
            await self._close_peer()

    def receive(self, message: OfferFrom | AnswerFrom | CandidateFrom) -> None:
        """The peer sent this through the gateway."""
        if self._inbox.qsize() >= MAX_WAITING_EVENTS:
            self._log.debug("a peer sends more than we can follow; a message is dropped")
            return
        self._inbox.put_nowait(_event_of(message))

    def hear(self, on: bool) -> None:
        """Agree with the participant that they send us their voice, or do not.

        Never blocks; `follows` tells when it is so.
        """
        if on is not self._hears:
            self._hears = on
            self._redirections += 1
            self._inbox.put_nowait(_Redirected())

    @property
    def follows(self) -> bool:
        """What `hear` asked for was agreed and is being done.

        Hearing: what they send is decoded. Not hearing: they have stopped, and so has the decoder;
        a connection that is made later will not have begun.
        """
        if self._redirections:
            return False
        peer = self._peer
        if not self._has_audio:
            return True
        if not self._hears:
            is_silent = peer is None or not peer.may_be_heard
            is_alone = self._former is None and self._closing is None
            return is_silent and is_alone and self._subscription is None
        if peer is None or not peer.is_connected or not self._negotiation.is_settled:
            return False
        return self._subscription is not None or not peer.may_be_heard

    @property
    def is_listening(self) -> bool:
        """What we say now to this participant is sent to them."""
        return any(peer.is_listening for peer in self._peers)

    @property
    def heard_at(self) -> float:
        """Loop time at which the participant last gave a sign of life; -inf if never."""
        return max((peer.heard_at for peer in self._peers), default=float("-inf"))

    async def pass_through(self) -> None:
        """Return when no packet between us is on its way; the caller bounds the time.

        Raises NegotiationError if the participant does not answer.
        """
        if self._has_audio:
            for peer in self._peers:
                await peer.pass_through()

    def replace(self) -> None:
        """Close the connection and offer another one, because this one does not do as asked."""
        self._inbox.put_nowait(_Unfit())

    def send_now(self, message: TextMessage) -> None:
        """Send this, if the peer is connected. Raises SignalingError if it is too long."""
        text = encode_text(message)
        peer = self._in_charge
        if peer is not None and peer.can_send_text:
            self._send_text(peer, text)

    def send_chat(self, message: ChatMessage) -> None:
        """Send this as soon as the channel is open. Raises SignalingError if it is too long."""
        self._waiting_chats.append(encode_text(message))
        self._send_chats()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """What the peer says until the present connection ends."""
        if self._subscription is not None:
            async for frame in self._subscription.frames():
                yield frame

    def stop_hearing(self) -> None:
        """End the iterators of `frames` and say so. Idempotent."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
            self._report(self, NotHearing())

    def stats(self) -> SubscriptionStats:
        """Counters of the present connection; packets of all connections so far."""
        peer = self._in_charge
        stats = peer.stats() if peer is not None else SubscriptionStats(0, 0, 0)
        received = sum(each.stats().packets_received for each in self._peers)
        received += self._packets_before
        return dataclasses.replace(stats, packets_received=received)

    async def _next_event(self) -> Received:
        try:
            async with asyncio.timeout_at(self._replace_at):
                return await self._inbox.get()
        except TimeoutError:
            return negotiation.ConnectionBroken()

    async def _handle(self, event: Received) -> None:
        if isinstance(event, tuple):
            await self._on_peer(*event)
            return
        if isinstance(event, _Redirected):
            await self._redirect()
            return
        if isinstance(event, _Unfit):
            await self._close_former()
            await self._close_peer()
            event = negotiation.ConnectionBroken()
        if isinstance(event, negotiation.ConnectionBroken):
            self._log.info("the connection to a peer is replaced")
            self._expect_connection()
        await self._negotiate(event)

    async def _redirect(self) -> None:
        """Tell the connection what we want to hear; one that is made later knows."""
        self._redirections -= 1
        if self._former is not None:
            await self._close_former()
            self._replace_in(FIRST_BACKOFF)
        if self._peer is not None and self._peer.direct(self._audio):
            await self._negotiate(negotiation.NegotiationNeeded())

    async def _negotiate(self, event: negotiation.Event) -> None:
        for action in self._negotiation.receive(event):
            try:
                await self._perform(action)
            except NegotiationError as error:
                level = logging.DEBUG if self._failures else logging.WARNING
                self._log.log(level, "negotiation with a peer failed: %s", error)
                self._fail()
                await self._negotiate(negotiation.DescriptionRefused(action.connection))
                return

    async def _perform(self, action: negotiation.Action) -> None:
        match action:
            case negotiation.OpenConnection(name):
                await self._open_peer(name)
            case negotiation.CloseConnection():
                await self._close_peer()
            case negotiation.SupersedeConnection():
                await self._supersede_peer()
            case _:
                if self._peer is not None:
                    await self._describe(self._peer, action)

    async def _describe(self, peer: Peer, action: negotiation.Action) -> None:
        to = self.remote.sid
        match action:
            case negotiation.SendOffer(name):
                self._send(OfferTo(to=to, connection=name, sdp=await peer.offer()))
            case negotiation.SendAnswer(name):
                self._send(AnswerTo(to=to, connection=name, sdp=await peer.answer()))
            case negotiation.AcceptOffer(_, sdp):
                await peer.accept("offer", sdp)
            case negotiation.AcceptAnswer(_, sdp):
                await peer.accept("answer", sdp)
            case negotiation.AddCandidate(_, candidate):
                await peer.add_candidate(candidate)
            case negotiation.RollBack():
                raise NegotiationError("aiortc cannot roll back its offer")

    async def _on_peer(self, peer: Peer, event: PeerEvent) -> None:
        if peer is self._former:
            await self._on_former(event)
        elif peer is self._peer and isinstance(event, PeerCandidate):
            to, name = self.remote.sid, peer.connection
            self._send(CandidateTo(to=to, connection=name, candidate=event.candidate))
        elif peer is self._peer:
            await self._on_current(event)

    async def _on_former(self, event: PeerEvent) -> None:
        match event:
            case PeerText(text):
                self._on_text(text)
            case PeerBack():
                self._log.info("the path to a peer is back before its new connection")
                self._replace_at = None  # the new one may come, or wait until it is needed again
                self._send_chats()
            case PeerLost():
                self._fail()
            case PeerFailed():
                await self._close_former()
                self._fail()

    async def _on_current(self, event: PeerEvent) -> None:
        match event:
            case PeerConnected():
                self._connected_at = asyncio.get_running_loop().time()
                self._unheard = Unheard()
                self._replace_at = None
                self._log.info("connected to a peer")
                await self._close_former()
            case PeerSpeaking(subscription):
                self._subscription = subscription
                self._report(self, Hearing())
            case PeerSilent():
                self.stop_hearing()
            case PeerListening():
                self._report(self, Listening())
            case PeerTextOpen():
                self._send_chats()
            case PeerText(text):
                self._on_text(text)
            case PeerLost():
                self._log.info("the path to a peer is lost")
                self._fail(at_once=True)
            case PeerBack():
                self._log.info("the path to a peer is back")
                self._connected_at = asyncio.get_running_loop().time()
                self._replace_at = None
                self._send_chats()
            case PeerFailed():
                self._log.info("the connection to a peer failed")
                if self._former is None:
                    self.stop_hearing()
                self._fail()

    def _on_text(self, text: str) -> None:
        try:
            message = parse_text(text)
        except SignalingError as error:
            self._log.debug("a text message is ignored: %s", error)
            return
        if isinstance(message, Reception):
            self._on_reception(message.heard)
        now = asyncio.get_running_loop().time()
        if isinstance(message, ChatMessage) and not self._chats.admits(now):
            self._log.debug("a peer types more than a person can; a message is dropped")
            return
        self._report(self, message)

    def _on_reception(self, heard: frozenset[Identity]) -> None:
        """A connection on which we speak and are not heard is of no use, whatever it says."""
        if self._peer is None or self._former is not None:
            return
        self._unheard.report(self._local in heard, self._peer.packets_sent)
        if self._unheard.is_unheard and self._replace_at is None:
            self._log.warning("a peer does not hear us; its connection is replaced")
            self._fail(at_once=True)

    def _from_peer(self, peer: Peer, event: PeerEvent) -> None:
        if isinstance(event, PeerText) and self._inbox.qsize() >= MAX_WAITING_EVENTS:
            return
        self._inbox.put_nowait((peer, event))

    def _send_chats(self) -> None:
        peer = self._in_charge
        while peer is not None and peer.carries and peer.can_send_text and self._waiting_chats:
            self._send_text(peer, self._waiting_chats.popleft())

    def _send_text(self, peer: Peer, text: str) -> None:
        try:
            peer.send_text(text)
        except NegotiationError as error:
            self._log.warning("a text message was not sent: %s", error)

    async def _open_peer(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._may_open_at - loop.time()))
        self._may_open_at = loop.time() + OPEN_INTERVAL
        self._expect_connection()
        self._peer = Peer(
            name,
            self.identity,
            voice=self._voice,
            audio=self._audio,
            ice_servers=self._ice_servers(),
            network=self._network,
            report=self._from_peer,
        )

    @property
    def _audio(self) -> AudioDirection:
        if not self._has_audio:
            return "inactive"
        return "sendrecv" if self._hears else "sendonly"

    @property
    def _in_charge(self) -> Peer | None:
        """Over which text goes: the connection that is there, be it the former one."""
        return self._former or self._peer

    @property
    def _peers(self) -> list[Peer]:
        return [peer for peer in (self._peer, self._former) if peer is not None]

    async def _supersede_peer(self) -> None:
        """Keep the connection that was connected last until the next one is."""
        peer = self._peer
        if self._former is None and peer is not None and peer.is_connected:
            self._former, self._peer = peer, None
        else:
            await self._close_peer()

    async def _close_former(self) -> None:
        """What comes on it was what we hear: the other one was not connected until now."""
        former, self._former = self._former, None
        if former is not None:
            self.stop_hearing()
            await self._close(former)

    async def _close_peer(self) -> None:
        peer, self._peer = self._peer, None
        if self._former is None:
            self.stop_hearing()
        await self._close(peer)

    async def _close(self, peer: Peer | None) -> None:
        if peer is not None:
            self._packets_before += peer.stats().packets_received
            self._closing = asyncio.create_task(peer.aclose(), name=f"closing {peer.connection}")
        if self._closing is not None:
            # To its end even if we are cancelled: half closed, a connection is never freed.
            await asyncio.wait({self._closing})
            if error := self._closing.exception():
                self._log.warning("a connection did not close cleanly: %r", error)
            self._closing = None

    def _expect_connection(self) -> None:
        self._replace_in(CONNECT_TIME)

    def _fail(self, *, at_once: bool = False) -> None:
        """`at_once`: the first failure after a steady time costs no waiting."""
        if asyncio.get_running_loop().time() - self._connected_at >= STEADY:
            self._failures = 0
        backoff = min(LAST_BACKOFF, FIRST_BACKOFF * 2**self._failures)
        self._replace_in(0.0 if at_once and not self._failures else backoff)
        self._connected_at = float("inf")
        self._failures += 1

    def _replace_in(self, delay: float) -> None:
        """Offer a new connection then, if that is for us to do.

        A polite side waits for the other's offer: two that replace at once would only cross.
        """
        if self._role in (Role.IMPOLITE, Role.OFFERER):
            self._replace_at = asyncio.get_running_loop().time() + delay


def _event_of(message: OfferFrom | AnswerFrom | CandidateFrom) -> negotiation.Event:
    match message:
        case OfferFrom(connection=connection, sdp=sdp):
            return negotiation.OfferReceived(connection, sdp)
        case AnswerFrom(connection=connection, sdp=sdp):
            return negotiation.AnswerReceived(connection, sdp)
        case CandidateFrom(connection=connection, candidate=candidate):
            return negotiation.CandidateReceived(connection, candidate)
