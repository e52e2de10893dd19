"""What a receiver makes of packets: other sources, gaps, pauses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiortc.rtp import RtcpByePacket, RtpPacket

from mulisa.core.audio import FRAME_DURATION
from mulisa.transport.mesh.receiving import SUPERSEDED, VoiceReceiver
from tests.transport.rtp.test_stream import WITH_FEC

pytestmark = pytest.mark.unit


class _Router:
    """As far as a receiver knows aiortc's."""

    def __init__(self) -> None:
        self.ssrc_table: dict[int, object] = {}

    def register_receiver(self, receiver: object, **_: object) -> None: ...


class _Transport:
    state = "connected"

    def __init__(self) -> None:
        self._rtp_router = _Router()


class Source:
    """Sends one voice to a receiver, in virtual time."""

    def __init__(self, receiver: VoiceReceiver, ssrc: int) -> None:
        self._receiver, self.ssrc, self._sent = receiver, ssrc, 0

    async def send(self, n_packets: int) -> None:
        for _ in range(n_packets):
            await asyncio.sleep(FRAME_DURATION)
            packet = RtpPacket(96, 1, self._sent & 0xFFFF, 960 * self._sent, self.ssrc)
            packet.payload = WITH_FEC[self._sent]
            self._receiver.transport._rtp_router.ssrc_table[self.ssrc] = self._receiver
            await self._receiver._handle_rtp_packet(packet, 0)
            self._sent += 1

    async def say_bye(self) -> None:
        await self._receiver._handle_rtcp_packet(RtcpByePacket([self.ssrc]))


def receiver() -> VoiceReceiver:
    transport: Any = _Transport()
    result = VoiceReceiver(transport, "test", lambda: None)
    result.take([96])
    result.begin()
    return result


async def test_one_source_is_heard_at_a_time_and_another_one_when_it_has_fallen_silent() -> None:
    hearing = receiver()
    first, second = Source(hearing, 1), Source(hearing, 2)
    for _ in range(10):
        await first.send(1)
        await second.send(1)
    assert hearing.stats().frames_received == 10
    assert hearing.stats().packets_received == 20
    assert list(hearing.transport._rtp_router.ssrc_table) == [1], "no table grows"
    await asyncio.sleep(SUPERSEDED)
    await second.send(10)
    assert hearing.stats().frames_received == 20
    await second.say_bye()
    await first.send(5)
    assert hearing.stats().frames_received == 25
    hearing.pause()


async def test_what_waits_behind_a_gap_comes_out_though_nothing_follows() -> None:
    hearing = receiver()
    source = Source(hearing, 1)
    await source.send(3)
    source._sent += 2
    await source.send(1)
    assert hearing.stats().frames_received == 3
    await asyncio.sleep(0.05)
    stats = hearing.stats()
    assert (stats.frames_received, stats.packets_lost) == (6, 2)
    assert stats.packets_recovered + stats.frames_concealed == 2
    assert 0.0 < stats.buffer_delay < 0.01
    hearing.pause()


async def test_who_is_paused_counts_and_wakes_nobody() -> None:
    hearing = receiver()
    source = Source(hearing, 1)
    await source.send(3)
    source._sent += 1
    await source.send(1)
    hearing.pause()
    await source.send(5)
    await asyncio.sleep(1.0)
    stats = hearing.stats()
    assert (stats.packets_received, stats.packets_lost, stats.frames_received) == (9, 1, 0)
    hearing.begin()
    await source.send(5)
    assert hearing.stats().frames_received == 5
    hearing.pause()
