"""One RTCPeerConnection to one participant: a track each way and the channel ``text``.

Our track is always offered; whether the peer's comes is agreed anew whenever it changes. What
aiortc's callbacks tell is passed on as events; the pair that owns the connection acts on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from aioice.candidate import Candidate
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError

from mulisa.core.errors import NegotiationError
from mulisa.core.room import Identity
from mulisa.core.transport import SubscriptionStats
from mulisa.ending import within
from mulisa.transport.mesh.description import (
    MAX_REMOTE_CANDIDATES,
    check_shape,
    opus_only,
    renegotiating,
    usable_candidate,
    with_more_to_come,
    without_useless_candidates,
)
from mulisa.transport.mesh.gathering import Gathering
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.transport.mesh.receiving import RECEIVING, Receiving
from mulisa.transport.mesh.selection import Selection
from mulisa.transport.mesh.signaling import ClientCandidate, IceCandidate, IceServer
from mulisa.transport.mesh.voice import Voice
from mulisa.transport.path import Path
from mulisa.transport.subscription import Subscription
from mulisa.transport.text import CHANNEL_ID, CHANNEL_LABEL, MAX_TEXT_BYTES
from mulisa.wire.sctp_limits import limit

logger = logging.getLogger(__name__)

MAX_BUFFERED_BYTES: Final = 256 * 1024
"""What may wait in the data channel for a peer that does not acknowledge."""
MAX_DATAGRAM_BYTES: Final = 1500
"""What pylibsrtp has room for."""
CLOSING_TIME: Final = 6.0
"""Longer than aioice waits for a STUN server that does not answer (5 s)."""

_Receive: TypeAlias = Callable[[], Coroutine[Any, Any, bytes]]
AudioDirection: TypeAlias = Literal["sendrecv", "sendonly", "inactive"]
"""Of our transceiver: both ways; our voice alone; none, as between two agents."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """Media and text can flow."""


@dataclass(frozen=True, slots=True)
class PeerSpeaking:
    """The peer sends audio, at once or since a later description, and it is being decoded."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """It was agreed that the peer sends no audio; the subscription has ended."""


@dataclass(frozen=True, slots=True)
class PeerListening:
    """What we say from now on is sent to the peer."""


@dataclass(frozen=True, slots=True)
class PeerTextOpen:
    """The channel ``text`` is open."""


@dataclass(frozen=True, slots=True)
class PeerText:
    """The peer sent this on the channel; not validated."""

    text: str


@dataclass(frozen=True, slots=True)
class PeerLost:
    """Nothing comes any more, or nothing of ours arrives; the connection itself still stands."""


@dataclass(frozen=True, slots=True)
class PeerBack:
    """What was lost is back."""


@dataclass(frozen=True, slots=True)
class PeerFailed:
    """The connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class PeerCandidate:
    """A further address of ours, for the peer to try; None: there will be no more."""

    candidate: ClientCandidate | None


PeerEvent: TypeAlias = (
    PeerConnected
    | PeerSpeaking
    | PeerSilent
    | PeerListening
    | PeerTextOpen
    | PeerText
    | PeerLost
    | PeerBack
    | PeerFailed
    | PeerCandidate
)


class Peer:
    """A connection, from its first description until `aclose`."""

    def __init__(
        self,
        connection: str,
        identity: Identity,
        *,
        voice: Voice,
        audio: AudioDirection,
        ice_servers: Sequence[IceServer],
        network: MeshNetwork,
        report: Callable[[Peer, PeerEvent], None],
    ) -> None:
        """`report` is called from within the loop and only enqueues."""
        self.connection = connection
        self._report = report
        self._n_candidates = 0
        self._operation: asyncio.Task[None] | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._offered: str | None = None
        with _refusing("set up the connection"):
            self._rtc = RTCPeerConnection(_configuration())
            self._track = voice.track(identity, lambda: report(self, PeerListening()))
            self._audio = self._rtc.addTransceiver(self._track, direction=audio)
            self._audio.setCodecPreferences(opus_only())
            self._text = self._rtc.createDataChannel(CHANNEL_LABEL, negotiated=True, id=CHANNEL_ID)
            limit(self._text.transport)
            ice = self._text.transport.transport.transport
            ice._recv = _possible(ice._recv)
            self._gathering = Gathering(ice._connection, ice_servers, network, self._on_candidate)
            self._selection = Selection(ice._connection)
            self._path = Path(ice._connection, self._on_path)
        self._receiving = Receiving(self._audio, connection, lambda: report(self, PeerFailed()))
        self._rtc.on("connectionstatechange", self._on_connection_state)
        self._text.on("open", lambda: report(self, PeerTextOpen()))
        self._text.on("message", self._on_text)

    def direct(self, audio: AudioDirection) -> bool:
        """Set the direction that the next description asks for; True if it is another one."""
        former, self._audio.direction = self._audio.direction, audio
        return former != audio

    @property
    def is_connected(self) -> bool:
        """Packets can come and go."""
        state: str = self._rtc.connectionState
        return state == "connected"

    @property
    def carries(self) -> bool:
        """Packets do come and go."""
        return self.is_connected and not self._path.is_lost

    @property
    def heard_at(self) -> float:
        """Loop time at which the peer last gave a sign of life on the path; -inf if never."""
        return self._path.heard_at

    @property
    def is_listening(self) -> bool:
        """What we say now is sent to the peer."""
        return self._track.is_listening

    @property
    def packets_sent(self) -> int:
        """Of our voice, on this connection."""
        return self._track.packets_sent

    @property
    def may_be_heard(self) -> bool:
        """Audio may come: it was agreed, or we have offered to take it."""
        return self._receiving.is_on or self._offered in RECEIVING

    async def offer(self) -> str:
        """Our offer as SDP, with the candidates so far. Raises NegotiationError."""
        with _refusing("make an offer"):
            await self._to_the_end(self._offer())
        return self._local_sdp

    async def answer(self) -> str:
        """Our answer as SDP, with the candidates so far. Raises NegotiationError."""
        with _refusing("make an answer"):
            await self._to_the_end(self._answer())
        return self._local_sdp

    async def accept(self, kind: Literal["offer", "answer"], sdp: str) -> None:
        """Apply the peer's description. Raises NegotiationError."""
        with _refusing(f"apply the {kind}"):
            sdp = without_useless_candidates(sdp)
            check_shape(sdp)
            await self._to_the_end(self._accept(RTCSessionDescription(sdp=sdp, type=kind)))

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Try a further address of the peer. One that we cannot use is ignored (mDNS, TCP).

        So is their end: a peer that names no address that we can use may still reach ours.
        """
        if candidate is None or not candidate.candidate:
            return
        usable = usable_candidate(candidate)
        if usable is None:
            logger.debug("a candidate that cannot be used is ignored")
            return
        self._n_candidates += 1
        if self._n_candidates > MAX_REMOTE_CANDIDATES:
            return
        with _refusing("add a candidate"):
            await self._to_the_end(self._rtc.addIceCandidate(usable))

    @property
    def can_send_text(self) -> bool:
        """The channel is open and the peer keeps up with it."""
        is_open: bool = self._text.readyState == "open"
        return is_open and self._text.bufferedAmount < MAX_BUFFERED_BYTES

    def send_text(self, text: str) -> None:
        """Send on the channel. Raises NegotiationError while it is not open."""
        try:
            self._text.send(text)
        except (InvalidStateError, ValueError, ConnectionError) as error:
            raise NegotiationError("the data channel does not take the message") from error

    async def pass_through(self) -> None:
        """Return when what was on its way between us has arrived or never will.

        A STUN binding request (RFC 8445, 7) takes the way that packets take, in both directions
        and, as far as the network keeps order, behind them. Returns at once if the connection is
        not or no longer there; the caller bounds the time for which nobody answers.
        """
        if not self.is_connected:
            return
        passing = asyncio.create_task(self._path.exchange(), name=f"pinging {self.connection}")
        self._passing.add(passing)
        passing.add_done_callback(self._passing.discard)
        try:
            await asyncio.wait({passing})
        finally:
            passing.cancel()
        if not passing.cancelled() and (error := passing.exception()):
            raise NegotiationError("the peer does not answer on the way of its packets") from error

    def stats(self) -> SubscriptionStats:
        """Counters of this connection."""
        return self._receiving.stats()

    async def aclose(self) -> None:
        """Close the connection and end what belongs to it. Idempotent."""
        way = self._selection.types or "nowhere"
        logger.debug("a connection ends; packets went %s; of its voice %s", way, self.stats())
        self._rtc.remove_all_listeners()
        self._text.remove_all_listeners()
        self._track.stop()
        for passing in self._passing:
            passing.cancel()
        await self._path.aclose()
        await self._selection.aclose()
        await self._gathering.aclose()
        if not await within(CLOSING_TIME, self._close()):
            logger.warning("a peer connection did not close in time and is abandoned")
        self._receiving.close()

    @property
    def _local_sdp(self) -> str:
        sdp: str = self._rtc.localDescription.sdp
        return sdp if self._gathering.is_over else with_more_to_come(sdp)

    async def _close(self) -> None:
        if self._operation is not None:
            await asyncio.wait({self._operation})
        await self._rtc.close()

    async def _offer(self) -> None:
        codecs, extensions = self._audio._codecs, self._audio._headerExtensions
        offer = await self._rtc.createOffer()
        if self._rtc.remoteDescription is not None:
            offer = renegotiating(offer, codecs, extensions)
        self._offered = self._audio.direction
        await self._rtc.setLocalDescription(offer)

    async def _answer(self) -> None:
        await self._rtc.setLocalDescription()
        await self._settle()

    async def _accept(self, description: RTCSessionDescription) -> None:
        await self._rtc.setRemoteDescription(description)
        if description.type == "answer":
            self._offered = None
            await self._settle()

    async def _settle(self) -> None:
        former = self._receiving.subscription
        self._receiving.settle()
        subscription = self._receiving.subscription
        if subscription is former:
            return
        if subscription is None:
            self._report(self, PeerSilent())
        elif self.is_connected:
            self._report(self, PeerSpeaking(subscription))

    async def _to_the_end(self, operation: Coroutine[Any, Any, None]) -> None:
        """Let aiortc finish even if we are cancelled: half gathered, it leaks sockets."""
        self._operation = asyncio.create_task(operation, name=f"describing {self.connection}")
        self._operation.add_done_callback(_retrieve)
        await asyncio.shield(self._operation)

    def _on_connection_state(self) -> None:
        state = self._rtc.connectionState
        if state == "connected":
            self._path.begin()
            self._report(self, PeerConnected())
            if self._receiving.subscription is not None:
                self._report(self, PeerSpeaking(self._receiving.subscription))
        elif state in ("failed", "closed"):
            self._report(self, PeerFailed())

    def _on_candidate(self, found: Candidate | None) -> None:
        candidate = None
        if found is not None:
            text = f"candidate:{found.to_sdp()}"
            candidate = ClientCandidate(candidate=text, sdp_mid=self._audio.mid)
        self._report(self, PeerCandidate(candidate))

    def _on_path(self) -> None:
        self._report(self, PeerLost() if self._path.is_lost else PeerBack())

    def _on_text(self, data: str | bytes) -> None:
        if isinstance(data, str) and len(data) <= MAX_TEXT_BYTES:
            self._report(self, PeerText(data))


def _retrieve(operation: asyncio.Task[None]) -> None:
    """An operation that fails after we were cancelled concerns nobody."""
    if not operation.cancelled():
        operation.exception()


@contextmanager
def _refusing(attempt: str) -> Iterator[None]:
    """Whatever aiortc raises over a peer's input concerns this connection alone.

    Its parsers raise ValueError, IndexError, AttributeError, AssertionError, OperationError
    and more; this is the boundary at which one remote peer fails.
    """
    try:
        yield
    except NegotiationError:
        raise
    except Exception as error:
        raise NegotiationError(f"could not {attempt}: {type(error).__name__} {error}") from error


def _configuration() -> RTCConfiguration:
    """One transport for audio and text; without servers, which are asked by `Gathering`."""
    return RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)


def _possible(receive: _Receive) -> _Receive:
    """Leaves out datagrams that no peer sends: aiortc ends the connection over a stranger's."""

    async def next_possible() -> bytes:
        while not 0 < len(data := await receive()) <= MAX_DATAGRAM_BYTES:
            pass
        return data

    return next_possible
