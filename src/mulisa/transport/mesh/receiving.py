"""What one connection receives: frames while the peer is heard, and counted packets always.

A receiver of our own in the place of aiortc's, which holds back 80 ms, conceals nothing, decodes in
a thread, and ends for good when it is stopped or RTCP BYE arrives (RFC 3550, 6.6), which a browser
sends with its last packet. Ours begins and pauses as negotiated, for as long as the connection is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from aiortc import RTCDtlsTransport, RTCRtpReceiver, RTCRtpTransceiver
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtcpSrPacket, RtpPacket

from mulisa.core.transport import SubscriptionStats
from mulisa.transport.rtp.stream import StreamCounters, VoiceStream
from mulisa.transport.subscription import Subscription
from mulisa.wire.rtcp import ReceiverReport, SenderReport

RECEIVING: Final = ("sendrecv", "recvonly")
"""Directions of our transceiver in which packets may come."""
SUPERSEDED: Final = 0.1
"""Seconds without a packet after which another source may take the voice over (RFC 3550, 8.2)."""
REPORT_INTERVAL: Final = (0.5, 1.5)
"""Seconds from one receiver report to the next, at random (RFC 3550, 6.2; RFC 4585, 3.4)."""


class Receiving:
    """The receiving half of a connection's transceiver."""

    def __init__(
        self, transceiver: RTCRtpTransceiver, name: str, on_garbage: Callable[[], None]
    ) -> None:
        """`name` is for the names of tasks; `on_garbage` is called once when of all that comes
        nothing can be decoded, and the subscription has ended.
        """
        self._transceiver = transceiver
        self._receiver = VoiceReceiver(transceiver.receiver.transport, name, on_garbage)
        self._receiver._set_rtcp_ssrc(transceiver.sender._ssrc)
        setattr(transceiver, "_RTCRtpTransceiver__receiver", self._receiver)  # noqa: B010

    @property
    def subscription(self) -> Subscription | None:
        """What is decoded now; None while nothing shall come."""
        return self._receiver.subscription

    @property
    def is_on(self) -> bool:
        """As it was negotiated last, packets may come."""
        return self._transceiver.currentDirection in RECEIVING

    def settle(self) -> None:
        """Do as was negotiated. Call it in one step with what aiortc negotiated.

        When nothing shall come, nothing is decoded any more when this returns, and the frames of
        the subscription have ended. What comes nevertheless is counted.
        """
        self._receiver.take([codec.payloadType for codec in self._transceiver._codecs])
        if self.is_on:
            self._receiver.begin()
        else:
            self._receiver.pause()

    def close(self) -> None:
        """End the subscription; the connection is closed. Idempotent."""
        self._receiver.pause()

    def stats(self) -> SubscriptionStats:
        """Counters of this connection; frames of its present subscription."""
        return self._receiver.stats()


class VoiceReceiver(RTCRtpReceiver):
    """Packets as aiortc's transport hands them out -> frames of a `Subscription`."""

    def __init__(
        self, transport: RTCDtlsTransport, name: str, on_garbage: Callable[[], None]
    ) -> None:
        super().__init__("audio", transport)
        self.subscription: Subscription | None = None
        self._name = name
        self._on_garbage = on_garbage
        self._ssrc_of_reports = 0
        self._stream: VoiceStream | None = None
        self._before = StreamCounters()
        """Of the streams before."""
        self._packets = 0
        self._payload_types: frozenset[int] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._reporting: asyncio.Task[None] | None = None

    def take(self, payload_types: Iterable[int | None]) -> None:
        """From now on packets of these come to us, and those of no other."""
        self._payload_types = frozenset(each for each in payload_types if each is not None)
        self.transport._rtp_router.register_receiver(
            self, ssrcs=[], payload_types=list(self._payload_types)
        )

    def begin(self) -> None:
        """Decode what comes. Idempotent."""
        if self.subscription is None:
            self.subscription = Subscription()

    def pause(self) -> None:
        """Only count what comes; the frames end. Idempotent."""
        self._leave_stream()
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            subscription.close()

    def stats(self) -> SubscriptionStats:
        """Counters so far; frames of the present subscription."""
        heard = self.subscription
        counters = self._before
        if self._stream is not None:
            counters = counters + self._stream.counters()
        return SubscriptionStats(
            heard.frames_received if heard else 0,
            heard.frames_dropped if heard else 0,
            counters.lost,
            self._packets,
            counters.recovered,
            counters.late,
            counters.concealed,
            counters.mean_delay,
        )

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """As aiortc asks, once connected and after each description."""
        self.transport._register_rtp_receiver(self, parameters)
        if self._reporting is None:
            self._reporting = asyncio.create_task(self._report(), name=f"reporting to {self._name}")

    async def stop(self) -> None:
        """Irreversibly; aiortc closes the connection."""
        self.transport._unregister_rtp_receiver(self)
        self.pause()
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.wait({self._reporting})

    def _set_rtcp_ssrc(self, ssrc: int) -> None:
        self._ssrc_of_reports = ssrc

    def _handle_disconnect(self) -> None:
        self.pause()

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """`arrival_time_ms` is the wall clock's."""
        self._packets += 1
        if self.subscription is None or packet.payload_type not in self._payload_types:
            return
        now = asyncio.get_running_loop().time()
        stream = self._stream_of(packet, now)
        if stream is None:
            self.transport._rtp_router.ssrc_table.pop(packet.ssrc, None)  # which would grow
            return
        frames = stream.receive(packet.sequence_number, packet.timestamp, packet.payload, now)
        for samples, at in frames:
            self.subscription.push(samples, at)
        self._arm(stream)
        if stream.is_garbled:
            self.pause()
            self._on_garbage()

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        stream = self._stream
        if stream is None:
            return
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == stream.ssrc:
            ntp = packet.sender_info.ntp_timestamp
            report = SenderReport(packet.ssrc, ntp, packet.sender_info.rtp_timestamp, 0, 0)
            stream.reception.receive_report(report, asyncio.get_running_loop().time())
        elif isinstance(packet, RtcpByePacket) and stream.ssrc in packet.sources:
            stream.said_bye = True  # it may nevertheless go on: hearing does not end

    def _stream_of(self, packet: RtpPacket, now: float) -> VoiceStream | None:
        """One source is heard at a time; another one when that has fallen silent."""
        stream = self._stream
        if stream is not None and stream.ssrc != packet.ssrc:
            if now - stream.reception.heard < SUPERSEDED and not stream.said_bye:
                return None
            self._expire(flush=True)
            self._leave_stream()
        if self._stream is None:
            self._stream = VoiceStream(packet.ssrc, packet.sequence_number)
        return self._stream

    def _leave_stream(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stream is not None:
            self._before += self._stream.counters()
            self._stream = None

    def _arm(self, stream: VoiceStream) -> None:
        """While packets wait behind a gap, wake up when it is given up."""
        deadline = stream.deadline
        if deadline is None and self._timer is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self, *, flush: bool = False) -> None:
        stream = self._stream
        if stream is None or self.subscription is None:
            return
        now = asyncio.get_running_loop().time()
        for samples, at in stream.flush(now) if flush else stream.expire(now):
            self.subscription.push(samples, at)
        self._arm(stream)

    async def _report(self) -> None:
        """Receiver reports, by which a browser decides how much FEC it sends."""
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(random.uniform(*REPORT_INTERVAL))
                if report := self._next_report():
                    await self.transport._send_rtp(bytes(report))

    def _next_report(self) -> ReceiverReport | None:
        """None while nothing comes."""
        stream = self._stream
        if stream is None or not stream.reception.is_news:
            return None
        now = asyncio.get_running_loop().time()
        return ReceiverReport(self._ssrc_of_reports, (stream.reception.report(stream.ssrc, now),))
