"""One RTCPeerConnection to one participant: a track each way and the channel ``text``.

aiortc gathers all candidates before it hands out a description, so ours travel in the SDP and
only the other side trickles. What its callbacks tell is passed on as events; the pair that owns
the connection acts on them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import av
import numpy as np
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import SessionDescription, candidate_from_sdp

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.errors import NegotiationError
from mulisa.core.transport import SubscriptionStats
from mulisa.transport.mesh.signaling import IceCandidate, IceServer
from mulisa.transport.mesh.subscription import Subscription
from mulisa.transport.mesh.text import CHANNEL_ID, CHANNEL_LABEL, MAX_TEXT_BYTES
from mulisa.transport.mesh.voice import Voice

logger = logging.getLogger(__name__)

MAX_REMOTE_CANDIDATES: Final = 64
"""Of one connection; each is checked against all of ours."""
MAX_BUFFERED_BYTES: Final = 256 * 1024
"""What may wait in the data channel for a peer that does not acknowledge."""
CLOSING_TIME: Final = 6.0
"""Longer than aioice waits for a STUN server that does not answer (5 s)."""

AudioDirection: TypeAlias = Literal["sendrecv", "inactive"]


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """Media and text can flow."""


@dataclass(frozen=True, slots=True)
class PeerSpeaking:
    """The peer sends audio, at once or since a later description, and it is being decoded."""

    subscription: Subscription


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
class PeerFailed:
    """The connection is of no use any more."""


PeerEvent: TypeAlias = (
    PeerConnected | PeerSpeaking | PeerListening | PeerTextOpen | PeerText | PeerFailed
)


class Peer:
    """A connection, from its first description until `aclose`."""

    def __init__(
        self,
        connection: str,
        *,
        voice: Voice,
        audio: AudioDirection,
        ice_servers: Sequence[IceServer],
        report: Callable[[Peer, PeerEvent], None],
    ) -> None:
        """`report` is called from within the loop and only enqueues.

        Raises NegotiationError if an ICE server is nonsense.
        """
        self.connection = connection
        self.subscription: Subscription | None = None
        self._audio = audio
        self._report = report
        self._n_candidates = 0
        self._hearing: asyncio.Task[None] | None = None
        self._operation: asyncio.Task[None] | None = None
        with _refusing("set up the connection"):
            self._rtc = RTCPeerConnection(_configuration(ice_servers))
            self._track = voice.track(on_listening=lambda: report(self, PeerListening()))
            transceiver = self._rtc.addTransceiver(self._track, direction=audio)
            transceiver.setCodecPreferences(_opus_only())
            self._text = self._rtc.createDataChannel(CHANNEL_LABEL, negotiated=True, id=CHANNEL_ID)
        self._rtc.on("connectionstatechange", self._on_connection_state)
        self._rtc.on("track", self._on_track)
        self._text.on("open", lambda: report(self, PeerTextOpen()))
        self._text.on("message", self._on_text)

    async def offer(self) -> str:
        """Our offer as SDP, candidates included. Raises NegotiationError."""
        with _refusing("make an offer"):
            await self._to_the_end(self._rtc.setLocalDescription())
        return self._rtc.localDescription.sdp

    async def answer(self) -> str:
        """Our answer as SDP, candidates included. Raises NegotiationError."""
        with _refusing("make an answer"):
            await self._to_the_end(self._rtc.setLocalDescription())
        return self._rtc.localDescription.sdp

    async def accept(self, kind: Literal["offer", "answer"], sdp: str) -> None:
        """Apply the peer's description. Raises NegotiationError."""
        with _refusing(f"apply the {kind}"):
            sdp = _without_useless_candidates(sdp)
            _check_shape(sdp)
            description = RTCSessionDescription(sdp=sdp, type=kind)
            await self._to_the_end(self._rtc.setRemoteDescription(description))

    async def add_candidate(self, candidate: IceCandidate | None) -> None:
        """Try a further address of the peer; None, or an empty one, ends them.

        One that cannot be used (mDNS, TCP, garbage) is ignored.
        """
        usable = None if candidate is None or not candidate.candidate else _usable(candidate)
        if usable is None and candidate is not None and candidate.candidate:
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

    def stats(self) -> SubscriptionStats:
        """Counters of what we hear from this peer; zeros while we hear nothing."""
        heard = self.subscription
        if heard is None:
            return SubscriptionStats(0, 0, 0)
        lost = sum(_packets_lost(receiver) for receiver in self._rtc.getReceivers())
        return SubscriptionStats(heard.frames_received, heard.frames_dropped, lost)

    async def aclose(self) -> None:
        """Close the connection and end what belongs to it. Idempotent."""
        self._rtc.remove_all_listeners()
        self._text.remove_all_listeners()
        if self.subscription is not None:
            self.subscription.close()
        self._track.stop()
        try:
            async with asyncio.timeout(CLOSING_TIME):
                if self._operation is not None:
                    await asyncio.wait({self._operation})
                await self._rtc.close()
        except TimeoutError:
            logger.warning("a peer connection did not close in time and is abandoned")
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.wait({self._hearing})

    async def _to_the_end(self, operation: Coroutine[Any, Any, None]) -> None:
        """Let aiortc finish even if we are cancelled: half gathered, it leaks sockets."""
        self._operation = asyncio.create_task(operation, name=f"describing {self.connection}")
        self._operation.add_done_callback(_retrieve)
        await asyncio.shield(self._operation)

    def _on_connection_state(self) -> None:
        state = self._rtc.connectionState
        if state == "connected":
            self._report(self, PeerConnected())
            if self.subscription is not None:
                self._report(self, PeerSpeaking(self.subscription))
        elif state in ("failed", "closed"):
            self._report(self, PeerFailed())

    def _on_track(self, track: MediaStreamTrack) -> None:
        if self._audio == "inactive" or self.subscription is not None:
            return
        self.subscription = Subscription()
        self._hearing = asyncio.create_task(
            self._hear(track, self.subscription), name=f"hearing {self.connection}"
        )
        if self._rtc.connectionState == "connected":
            self._report(self, PeerSpeaking(self.subscription))

    async def _hear(self, track: MediaStreamTrack, subscription: Subscription) -> None:
        """Until the track ends; a connection of which we understand nothing is of no use."""
        try:
            with _refusing("decode what the peer says"):
                await _pass_on(track, subscription)
        except NegotiationError as error:
            logger.warning("%s", error)
            self._report(self, PeerFailed())
        finally:
            subscription.close()

    def _on_text(self, data: str | bytes) -> None:
        if isinstance(data, str) and len(data) <= MAX_TEXT_BYTES:
            self._report(self, PeerText(data))


def _retrieve(operation: asyncio.Task[None]) -> None:
    """An operation that fails after we were cancelled concerns nobody."""
    if not operation.cancelled():
        operation.exception()


async def _pass_on(track: MediaStreamTrack, subscription: Subscription) -> None:
    """Give the decoded track to who hears it, until it ends."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if isinstance(frame, av.AudioFrame):
            subscription.push(_mono(frame), loop.time())


def _mono(frame: av.AudioFrame) -> Samples:
    """aiortc decodes Opus to s16, 48 kHz, interleaved stereo; a mono voice is twice the same."""
    assert frame.sample_rate == SAMPLE_RATE_HZ and frame.format.name == "s16"
    samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    if samples.shape[1] == 1:
        return samples[:, 0].astype(np.int16)
    halves = samples.astype(np.int32)
    return ((halves[:, 0] + halves[:, 1]) >> 1).astype(np.int16)


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


def _configuration(servers: Sequence[IceServer]) -> RTCConfiguration:
    """One transport for audio and text; without servers no STUN, where aiortc would ask Google."""
    return RTCConfiguration(
        iceServers=[
            RTCIceServer(urls=server.urls, username=server.username, credential=server.credential)
            for server in servers
        ],
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )


def _opus_only() -> list[RTCRtpCodecCapability]:
    """No G.711, and no fmtp: a browser then sends mono at about 32 kb/s.

    We do not ask for in-band FEC (``useinbandfec``), because aiortc's decoder never looks at it;
    what we send has it whatever the browser asks for.
    """
    capabilities = RTCRtpReceiver.getCapabilities("audio")
    assert capabilities is not None
    return [codec for codec in capabilities.codecs if codec.mimeType == "audio/opus"]


def _check_shape(sdp: str) -> None:
    """One Opus m-line, at most one data channel, and a fingerprint for each.

    aiortc would make a decoder for every m-line, and its connecting task, which nobody awaits,
    fails without a fingerprint.
    """
    media = SessionDescription.parse(sdp).media
    kinds = [m.kind for m in media]
    if kinds.count("audio") != 1 or kinds.count("application") > 1 or len(kinds) > 2:
        raise NegotiationError(f"expected one audio and one data m-line, found {kinds}")
    if not all(m.dtls is not None and m.dtls.fingerprints for m in media):
        raise NegotiationError("an m-line has no DTLS fingerprint")


def _without_useless_candidates(sdp: str) -> str:
    lines = []
    n_candidates = 0
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            n_candidates += 1
            if n_candidates > MAX_REMOTE_CANDIDATES or _parse_candidate(line[2:]) is None:
                continue
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def _usable(candidate: IceCandidate) -> RTCIceCandidate | None:
    parsed = _parse_candidate(candidate.candidate)
    if parsed is not None:
        parsed.sdpMid = candidate.sdp_mid
        parsed.sdpMLineIndex = candidate.sdp_m_line_index
        if parsed.sdpMid is None and parsed.sdpMLineIndex is None:
            return None
    return parsed


def _parse_candidate(line: str) -> RTCIceCandidate | None:
    """A UDP candidate with an address (RFC 8839, 5.1); None for anything else.

    mDNS names are left out: resolving one takes seconds, and a browser that hides its addresses
    still reaches ours.
    """
    try:
        parsed = candidate_from_sdp(line.removeprefix("candidate:"))
        ipaddress.ip_address(parsed.ip)
    except (AssertionError, ValueError, IndexError):
        return None
    usable = parsed.protocol.lower() == "udp" and 0 < parsed.port < 65536 and parsed.component == 1
    return parsed if usable else None


def _packets_lost(receiver: RTCRtpReceiver) -> int:
    """aiortc has these counters only behind a coroutine that builds a whole report."""
    streams = getattr(receiver, "_RTCRtpReceiver__remote_streams").values()  # noqa: B009
    return sum(max(0, stream.packets_lost) for stream in streams)
