"""Calls with aiortc's sender in which packets are lost, or BYE is said and nobody goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpByePacket, RtcpRrPacket

from mulisa.core.audio import FRAME_DURATION, Samples
from mulisa.core.room import Identity
from mulisa.transport.mesh.description import opus_only
from mulisa.transport.mesh.receiving import Receiving
from mulisa.transport.mesh.voice import Voice
from tests.transport.mesh.rooms import PATIENCE, closing, pitch, tone

pytestmark = pytest.mark.network

N_FRAMES = 150


class Call:
    """aiortc speaks, our receiver hears."""

    def __init__(self, speaker: RTCPeerConnection, listener: RTCPeerConnection) -> None:
        self.voice = Voice()
        self.reports: asyncio.Queue[RtcpRrPacket] = asyncio.Queue()
        self._listening = asyncio.Event()
        self.sender = speaker.addTrack(self.voice.track(Identity("her"), self._listening.set))
        transceiver = listener.addTransceiver("audio", direction="recvonly")
        transceiver.setCodecPreferences(opus_only())
        self.receiving = Receiving(transceiver, "test", self._on_garbage)
        self.transport = transceiver.receiver.transport
        self._speaker, self._listener = speaker, listener

    async def connect(self) -> None:
        await self._listener.setLocalDescription(await self._listener.createOffer())
        assert "useinbandfec=1" in self._listener.localDescription.sdp
        await self._speaker.setRemoteDescription(self._listener.localDescription)
        await self._speaker.setLocalDescription(await self._speaker.createAnswer())
        await self._listener.setRemoteDescription(self._speaker.localDescription)
        self.receiving.settle()
        handle = self.sender._handle_rtcp_packet

        async def note(packet: Any) -> None:
            if isinstance(packet, RtcpRrPacket):
                self.reports.put_nowait(packet)
            await handle(packet)

        setattr(self.sender, "_handle_rtcp_packet", note)  # noqa: B010
        async with asyncio.timeout(PATIENCE):
            await self._listening.wait()

    async def speak(self, frames: list[Samples]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for number, samples in enumerate(frames):
            await asyncio.sleep(max(0.0, begin + number * FRAME_DURATION - loop.time()))
            self.voice.speak(samples)

    async def hear(self, n_frames: int) -> Samples:
        assert self.receiving.subscription is not None
        heard = []
        async with asyncio.timeout(PATIENCE):
            async for frame in self.receiving.subscription.frames():
                heard.append(frame.samples)
                if len(heard) == n_frames:
                    break
        return np.concatenate(heard)

    def _on_garbage(self) -> None:
        raise AssertionError("all of it can be decoded")


@asynccontextmanager
async def call() -> AsyncIterator[Call]:
    async with closing(RTCPeerConnection()) as speaker, closing(RTCPeerConnection()) as listener:
        result = Call(speaker, listener)
        await result.connect()
        yield result
        result.voice.close()


async def test_what_is_lost_is_made_good_and_reported_to_the_sender() -> None:
    chance, n_dropped = random.Random(5), 0
    async with call() as peers:
        handle = peers.transport._handle_rtp_data

        async def lose(data: bytes, arrival_time_ms: int) -> None:
            nonlocal n_dropped
            if chance.random() < 0.1:
                n_dropped += 1
            else:
                await handle(data, arrival_time_ms)

        setattr(peers.transport, "_handle_rtp_data", lose)  # noqa: B010
        hearing = asyncio.create_task(peers.hear(N_FRAMES))
        await peers.speak(tone(440.0, N_FRAMES + 10))
        heard = (await hearing)[9_600:]
        pitches = [pitch(part) for part in np.split(heard, range(9_600, len(heard), 9_600))]
        assert np.median(pitches) == pytest.approx(440.0, abs=5.0)
        async with asyncio.timeout(PATIENCE):
            while not any(report.fraction_lost for report in (await peers.reports.get()).reports):
                pass
        stats = peers.receiving.stats()
        assert 0 < stats.packets_lost <= n_dropped
        assert stats.packets_recovered + stats.frames_concealed > 0
        assert stats.packets_late == 0


async def test_hearing_goes_on_after_a_bye() -> None:
    async with call() as peers:
        bye = bytes(RtcpByePacket(sources=[peers.sender._ssrc]))
        for _ in range(2):
            hearing = asyncio.create_task(peers.hear(20))
            await peers.speak(tone(440.0, 30))
            assert pitch((await hearing)[4_800:]) == pytest.approx(440.0, abs=5.0)
            await peers.sender.transport._send_rtp(bye)
