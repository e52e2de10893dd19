"""What one connection receives: decoded frames while the peer sends, and counted packets always.

aiortc's receiver cannot pause: it ends for good when it is stopped, and when RTCP BYE arrives
(RFC 3550, 6.6), which a browser sends with its last packet. So one that has ended gives way to a
fresh one on the same transceiver, and the connection, with our voice on it, goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import av
import numpy as np
from aiortc import RTCDtlsTransport, RTCRtpReceiver, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.transport import SubscriptionStats
from mulisa.transport.subscription import Subscription

logger = logging.getLogger(__name__)

RECEIVING: Final = ("sendrecv", "recvonly")
"""Directions of our transceiver in which packets may come."""


class Receiving:
    """The receiving half of a connection's transceiver."""

    def __init__(
        self, transceiver: RTCRtpTransceiver, name: str, on_garbage: Callable[[], None]
    ) -> None:
        """`on_garbage` is called when something comes that cannot be decoded."""
        self.subscription: Subscription | None = None
        """What is decoded now; None while nothing shall come."""
        self._transceiver = transceiver
        self._name = name
        self._on_garbage = on_garbage
        self._decoding: asyncio.Task[None] | None = None
        self._strays = _Strays()
        self._packets_before = 0
        self._packets_lost_before = 0
        self._renew()

    @property
    def is_on(self) -> bool:
        """As it was negotiated last, packets may come."""
        return self._transceiver.currentDirection in RECEIVING

    async def settle(self) -> None:
        """Do as was negotiated. Call it in one step with what aiortc negotiated.

        When nothing shall come, the decoder's thread has ended when this returns, and so have
        the frames of the subscription.
        """
        if self.is_on:
            self._begin_decoding()
            return
        types = [codec.payloadType for codec in self._transceiver._codecs]
        payload_types = [each for each in types if each is not None]
        router = self._transceiver.receiver.transport._rtp_router
        router.register_receiver(self._strays, ssrcs=[], payload_types=payload_types)
        if self._transceiver.receiver.track is not None:
            await self._transceiver.receiver.stop()
            await self._end_decoding()
            self._renew()

    async def aclose(self) -> None:
        """End what belongs to it; the connection is closed. Idempotent."""
        await self._end_decoding()

    def stats(self) -> SubscriptionStats:
        """Counters of this connection; frames of its present subscription."""
        heard = self.subscription
        received, lost = _counters(self._transceiver.receiver)
        return SubscriptionStats(
            heard.frames_received if heard else 0,
            heard.frames_dropped if heard else 0,
            self._packets_lost_before + lost,
            self._packets_before + received + self._strays.packets,
        )

    def _begin_decoding(self) -> None:
        track = self._transceiver.receiver.track
        if self.subscription is None and track is not None:
            self.subscription = Subscription()
            self._decoding = asyncio.create_task(
                self._decode(track, self.subscription), name=f"hearing {self._name}"
            )

    def _renew(self) -> None:
        """Put a fresh receiver of our kind in the place of one that has ended, or of aiortc's."""
        former = self._transceiver.receiver
        received, lost = _counters(former)
        self._packets_before += received
        self._packets_lost_before += lost
        fresh = _Receiver(former.transport, self._strays)
        fresh._set_rtcp_ssrc(self._transceiver.sender._ssrc)
        setattr(self._transceiver, "_RTCRtpTransceiver__receiver", fresh)  # noqa: B010

    async def _end_decoding(self) -> None:
        decoding, self._decoding = self._decoding, None
        if self.subscription is not None:
            self.subscription.close()
            self.subscription = None
        if decoding is not None:
            decoding.cancel()
            await asyncio.wait({decoding})

    async def _decode(self, track: MediaStreamTrack, subscription: Subscription) -> None:
        """Until the track ends; a connection of which we understand nothing is of no use."""
        try:
            await _pass_on(track, subscription)
        except Exception as error:  # whatever a peer's packets make of a decoder
            logger.warning("could not decode what the peer says: %r", error)
            self._on_garbage()
        finally:
            subscription.close()


class _Receiver(RTCRtpReceiver):
    """Receives from its start until it is stopped.

    aiortc's own is disabled while an answer is still being applied, and from then on discards
    uncounted what was on its way.
    """

    def __init__(self, transport: RTCDtlsTransport, strays: _Strays) -> None:
        super().__init__("audio", transport)
        self._strays = strays

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        self.transport._rtp_router.unregister_receiver(self._strays)
        await super().receive(parameters)

    @property
    def _enabled(self) -> bool:
        return True

    @_enabled.setter
    def _enabled(self, on: bool) -> None:
        pass


class _Strays:
    """In a receiver's place while nothing shall come: what comes nevertheless is counted."""

    def __init__(self) -> None:
        self.packets = 0

    async def _handle_rtp_packet(self, packet: object, arrival_time_ms: int) -> None:
        self.packets += 1

    async def _handle_rtcp_packet(self, packet: object) -> None:
        """Reports and BYE concern nobody."""

    def _handle_disconnect(self) -> None:
        """There is no decoder to end."""


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


def _counters(receiver: RTCRtpReceiver) -> tuple[int, int]:
    """Packets received and lost. aiortc has them only behind a coroutine that writes a report."""
    streams = getattr(receiver, "_RTCRtpReceiver__remote_streams").values()  # noqa: B009
    received = sum(stream.packets_received for stream in streams)
    return received, sum(max(0, stream.packets_lost) for stream in streams)
