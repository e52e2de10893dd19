"""Frames of one participant: cut to 20 ms, bounded, one reader."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mulisa.core.audio import AudioFrame, Samples
from mulisa.transport.subscription import MAX_WAITING_FRAMES, Subscription

pytestmark = pytest.mark.unit


def ramp(n_samples: int, start: int = 0) -> Samples:
    return np.arange(start, start + n_samples).astype(np.int16)


async def read_all(subscription: Subscription) -> list[AudioFrame]:
    return [frame async for frame in subscription.frames()]


@pytest.mark.parametrize("packet_samples", [120, 480, 960, 1920, 2880, 1000])
async def test_packets_of_any_length_become_frames_of_20_ms(packet_samples: int) -> None:
    subscription = Subscription()
    everything = ramp(packet_samples * 12)
    for start in range(0, len(everything), packet_samples):
        subscription.push(everything[start : start + packet_samples], now=1.0)
    subscription.close()
    frames = await read_all(subscription)
    assert all(frame.samples.shape == (960,) for frame in frames)
    joined = np.concatenate([frame.samples for frame in frames])
    assert np.array_equal(joined, everything[: len(everything) // 960 * 960])


async def test_a_slow_reader_loses_the_oldest_and_they_are_counted() -> None:
    subscription = Subscription()
    for i in range(MAX_WAITING_FRAMES + 7):
        subscription.push(ramp(960, i), now=float(i))
    subscription.close()
    frames = await read_all(subscription)
    assert [frame.received_at for frame in frames] == [
        float(i) for i in range(7, MAX_WAITING_FRAMES + 7)
    ]
    assert subscription.frames_received == MAX_WAITING_FRAMES + 7
    assert subscription.frames_dropped == 7


async def test_a_waiting_reader_gets_a_frame_at_once_and_ends_with_the_track() -> None:
    subscription = Subscription()
    reading = asyncio.create_task(read_all(subscription))
    await asyncio.sleep(1.0)
    subscription.push(ramp(960), now=2.0)
    await asyncio.sleep(0)
    subscription.close()
    assert [frame.received_at for frame in await reading] == [2.0]


async def test_a_second_reader_ends_the_first() -> None:
    subscription = Subscription()
    first = asyncio.create_task(read_all(subscription))
    await asyncio.sleep(0)
    second = asyncio.create_task(read_all(subscription))
    await asyncio.sleep(0)
    subscription.push(ramp(960), now=2.0)
    subscription.close()
    assert await first == []
    assert len(await second) == 1
