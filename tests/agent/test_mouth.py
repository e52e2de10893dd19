from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest

from mulisa.agent.mouth import Mouth, MouthConfig, Playout, PlayoutPosition
from mulisa.agent.playout import FADE_SAMPLES
from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from tests.speech import joined, voice

pytestmark = pytest.mark.unit

SECOND = SAMPLE_RATE_HZ


class Wire:
    """What a mouth sent, and when."""

    def __init__(self) -> None:
        self.frames: list[Samples] = []
        self.times: list[float] = []

    def send(self, samples: Samples) -> None:
        assert samples.shape == (FRAME_SAMPLES,)
        assert samples.dtype == np.int16
        self.frames.append(samples)
        self.times.append(now())

    @property
    def samples(self) -> Samples:
        return joined(self.frames)


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def a_mouth(config: MouthConfig | None = None) -> AsyncIterator[tuple[Mouth, Wire]]:
    wire = Wire()
    mouth = Mouth(wire.send, config or MouthConfig())
    playing = asyncio.create_task(mouth.play())
    await asyncio.sleep(0)
    yield mouth, wire
    playing.cancel()
    await asyncio.wait([playing])
    assert playing.cancelled()


async def spoken(playout: Playout, text: str, samples: Samples) -> None:
    playout.segment(text)
    await playout.write(samples, SAMPLE_RATE_HZ)


async def test_one_frame_per_20_ms_from_the_first_moment_on() -> None:
    source = voice(SECOND)
    async with a_mouth() as (mouth, wire):
        await asyncio.sleep(0.5)
        assert wire.frames == []
        began = now()
        playout = mouth.begin()
        await spoken(playout, "One second.", source)
        playout.finish()
        assert await playout.wait_started() == began
        position = await playout.wait_drained()
        assert position == PlayoutPosition(SECOND, "One second.", "")
        await asyncio.sleep(0.5)
    assert wire.times == pytest.approx([began + n * FRAME_DURATION for n in range(50)])
    assert np.array_equal(wire.samples, source)
    assert mouth.underruns == mouth.stalls == 0


async def test_the_last_frame_is_filled_up_with_silence() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "Hm.", voice(1000))
        await asyncio.sleep(1.0)
        assert len(wire.frames) == 1
        playout.finish()
        await playout.wait_drained()
    assert np.array_equal(wire.samples[:1000], voice(1000))
    assert not wire.samples[1000:].any()
    assert len(wire.frames) == 2


async def test_nothing_drifts_in_ten_minutes() -> None:
    minutes = 10
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        began = now()
        for number in range(minutes * 60):
            await spoken(playout, "word", voice(SECOND, seed=number % 3))
        playout.finish()
        await playout.wait_drained()
    assert len(wire.frames) == minutes * 60 * 50
    late = [at - began - n * FRAME_DURATION for n, at in enumerate(wire.times)]
    assert max(late) < 1e-6 > -min(late)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100])
async def test_resampling_loses_nothing_at_the_end_of_a_segment(rate_hz: int) -> None:
    time = np.arange(rate_hz) / rate_hz
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    expected = np.round(8000 * np.sin(2 * np.pi * 440 * np.arange(SECOND) / SECOND))
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        for text in ("first", "second"):
            playout.segment(text)
            for start in range(0, rate_hz, 1111):
                await playout.write(tone[start : start + 1111], rate_hz)
        playout.finish()
        position = await playout.wait_drained()
    assert position.samples_sent == pytest.approx(2 * SECOND, abs=2)
    for half in (wire.samples[:SECOND], wire.samples[SECOND : 2 * SECOND]):
        inner = slice(1000, -1000)  # ringing at the edges of a cut tone is no loss
        assert np.abs(half[inner] - expected[inner]).max() < 200


async def test_the_end_of_a_segment_does_not_wait_for_the_next_one() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        playout.segment("first")
        await playout.write(voice(22_050), 22_050)
        await asyncio.sleep(2.0)
        assert len(wire.frames) < 50  # the resampler holds back what may go on
        playout.segment("second")
        await asyncio.sleep(1.0)
        assert len(wire.frames) == 50


async def test_pause_fades_out_within_a_frame_and_resume_goes_on_at_the_very_sample() -> None:
    source = voice(SECOND)
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "One second.", source)
        playout.finish()
        await asyncio.sleep(0.209)  # the frames of 0, 20, ... 200 ms
        mouth.pause()
        mouth.pause()
        assert mouth.paused
        await asyncio.sleep(3.0)
        assert len(wire.frames) == 12
        resumed = now()
        mouth.resume()
        mouth.resume()
        await playout.wait_drained()
    heard, farewell, rest = wire.frames[:11], wire.frames[11], joined(wire.frames[12:])
    position = 11 * FRAME_SAMPLES
    assert np.array_equal(joined(heard), source[:position])
    assert not farewell[FADE_SAMPLES:].any()
    assert (np.abs(farewell[:FADE_SAMPLES]) <= source[position : position + FADE_SAMPLES]).all()
    assert farewell[0] > 0.95 * source[position]
    assert wire.times[12] == resumed
    assert (rest[:FADE_SAMPLES] <= source[position : position + FADE_SAMPLES]).all()
    assert rest[0] == 0
    assert np.array_equal(rest[FADE_SAMPLES:], source[position + FADE_SAMPLES :])


async def test_a_pause_that_is_over_before_the_next_frame_is_not_heard() -> None:
    source = voice(SECOND)
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "One second.", source)
        playout.finish()
        await asyncio.sleep(0.109)
        mouth.pause()
        await asyncio.sleep(0.005)
        mouth.resume()
        await playout.wait_drained()
    assert np.array_equal(wire.samples, source)
    assert all(b - a == pytest.approx(FRAME_DURATION) for a, b in pairwise(wire.times))


async def test_frames_never_come_closer_than_20_ms_around_a_pause() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "text", voice(SECOND))
        playout.finish()
        for _ in range(10):
            await asyncio.sleep(0.033)
            mouth.pause()
            await asyncio.sleep(0.021)
            mouth.resume()
        await playout.wait_drained()
    assert min(b - a for a, b in pairwise(wire.times)) > FRAME_DURATION - 1e-9


async def test_a_paused_reply_that_has_not_begun_sends_nothing() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        mouth.pause()
        await spoken(playout, "text", voice(SECOND))
        await asyncio.sleep(1.0)
        assert wire.frames == []
        assert mouth.flush() == PlayoutPosition(0, "", "text")
        assert await playout.wait_started() is None
        await asyncio.sleep(1.0)
    assert wire.frames == []


async def test_flush_cuts_at_a_word() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "It is ten.", voice(SECOND))
        await spoken(playout, "Bob and Carol are here.", voice(2 * SECOND))
        playout.segment("And Dora.")
        await asyncio.sleep(1.999)
        position = mouth.flush()
        assert position == PlayoutPosition(
            2 * SECOND, "It is ten. Bob and", "Carol are here. And Dora."
        )
        assert await playout.wait_drained() == position
        assert playout.position() == position
        assert playout.ended
        assert not mouth.speaking
        await spoken(playout, "too late", voice(SECOND))
        playout.finish()
        await asyncio.sleep(1.0)
        assert mouth.flush() is None
    assert len(wire.frames) == 101
    assert not wire.frames[-1][FADE_SAMPLES:].any()


async def test_flush_while_paused_sends_nothing_more() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "Bob and Carol are here.", voice(2 * SECOND))
        await asyncio.sleep(0.999)
        mouth.pause()
        await asyncio.sleep(0.5)
        count = len(wire.frames)
        position = mouth.flush()
        assert position is not None
        assert position.heard_text == "Bob and"
        mouth.resume()
        await asyncio.sleep(0.5)
        assert len(wire.frames) == count
        following = mouth.begin()
        assert not mouth.paused
        await spoken(following, "Next.", voice(SECOND, seed=1))
        following.finish()
        await following.wait_drained()
    assert np.array_equal(joined(wire.frames[count:]), voice(SECOND, seed=1))


async def test_the_next_reply_follows_a_cut_one_without_a_burst() -> None:
    async with a_mouth() as (mouth, wire):
        await spoken(mouth.begin(), "one", voice(SECOND))
        await asyncio.sleep(0.109)
        mouth.flush()
        playout = mouth.begin()
        with pytest.raises(RuntimeError):
            mouth.begin()
        await spoken(playout, "two", voice(SECOND, seed=1))
        playout.finish()
        await playout.wait_drained()
    assert all(b - a == pytest.approx(FRAME_DURATION) for a, b in pairwise(wire.times))
    assert np.array_equal(joined(wire.frames[7:]), voice(SECOND, seed=1))


async def test_slow_synthesis_leaves_a_gap_and_is_counted() -> None:
    source = voice(SECOND)
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        for start in range(0, SECOND, SECOND // 4):
            await spoken(playout, "word", source[start : start + SECOND // 4])
            await asyncio.sleep(0.4)
        playout.finish()
        await playout.wait_drained()
    assert np.array_equal(wire.samples[:SECOND], source)
    assert mouth.underruns == 3
    assert mouth.stalls == 0
    assert min(b - a for a, b in pairwise(wire.times)) > FRAME_DURATION - 1e-9


async def test_a_writer_waits_for_room() -> None:
    async with a_mouth(MouthConfig(max_queued=2.0)) as (mouth, _):
        playout = mouth.begin()
        began = now()
        written = []
        for _number in range(5):
            await playout.write(voice(SECOND), SAMPLE_RATE_HZ)
            written.append(now() - began)
        assert written == pytest.approx([0, 0, 0.78, 1.78, 2.78], abs=0.021)
        blocked = asyncio.create_task(playout.write(voice(SECOND), SAMPLE_RATE_HZ))
        mouth.pause()
        await asyncio.sleep(60)
        assert not blocked.done()
        mouth.flush()
        await blocked


async def test_a_late_loop_catches_up_with_at_most_three_frames() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        await spoken(playout, "text", voice(2 * SECOND))
        playout.finish()
        loop = asyncio.get_running_loop()
        advance = loop.advance  # type: ignore[attr-defined]  # as if something blocked the loop
        loop.call_later(0.205, advance, 0.05)
        loop.call_later(0.805, advance, 0.5)
        await playout.wait_drained()
    assert np.array_equal(wire.samples, voice(2 * SECOND))
    assert mouth.stalls == 1
    bursts = [wire.times.count(at) for at in set(wire.times)]
    assert max(bursts) == 3
    gaps = [b - a for a, b in pairwise(wire.times)]
    assert sum(gaps) == pytest.approx(99 * FRAME_DURATION + 0.5 - 0.02 - 2 * 0.02, abs=0.021)


async def test_an_empty_reply_ends() -> None:
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin()
        playout.finish()
        assert await playout.wait_started() is None
        assert await playout.wait_drained() == PlayoutPosition(0, "", "")
        assert not mouth.speaking
    assert wire.frames == []


async def test_a_reply_that_is_finished_after_its_last_frame_ends_then() -> None:
    async with a_mouth() as (mouth, _):
        playout = mouth.begin()
        await spoken(playout, "text", voice(SECOND))
        await asyncio.sleep(2.0)
        assert mouth.speaking
        playout.finish()
        assert playout.ended
        assert mouth.underruns == 0


async def test_a_whisper_goes_to_its_listener_and_waits_until_the_way_is_open() -> None:
    source, ear = voice(SECOND), Wire()
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin_whisper()
        await spoken(playout, "Psst.", source)
        playout.finish()
        await asyncio.sleep(0.3)
        assert mouth.speaking and playout.first_frame_sent_at is None
        opened = now()
        playout.open(ear.send)
        assert await playout.wait_started() == opened
        assert (await playout.wait_drained()).heard_text == "Psst."
        aloud = mouth.begin()
        await spoken(aloud, "Aloud.", voice(SECOND, seed=1))
        aloud.finish()
        await aloud.wait_drained()
    assert np.array_equal(ear.samples, source)
    assert np.array_equal(wire.samples, voice(SECOND, seed=1))
    assert mouth.underruns == mouth.stalls == 0


async def test_the_end_of_a_cut_whisper_is_for_its_listener_too() -> None:
    ear = Wire()
    async with a_mouth() as (mouth, wire):
        playout = mouth.begin_whisper()
        playout.open(ear.send)
        await spoken(playout, "A long secret.", voice(SECOND))
        await asyncio.sleep(0.109)
        mouth.pause()
        await asyncio.sleep(0.1)
        mouth.resume()
        await asyncio.sleep(0.109)
        mouth.flush()
        aloud = mouth.begin()
        await spoken(aloud, "Aloud.", voice(SECOND, seed=1))
        aloud.finish()
        await aloud.wait_drained()
    assert not ear.frames[-1][FADE_SAMPLES:].any(), "it faded"
    assert np.array_equal(wire.samples, voice(SECOND, seed=1))
    assert min(b - a for a, b in pairwise(ear.times + wire.times)) > FRAME_DURATION - 1e-9


async def test_what_is_said_aloud_instead_of_a_whisper_respects_the_pause() -> None:
    async with a_mouth() as (mouth, wire):
        secret = mouth.begin_whisper()
        await spoken(secret, "The secret.", voice(SECOND))
        mouth.pause()
        playout = mouth.begin_aloud_instead()
        assert secret.ended and secret.position().heard_text == ""
        await spoken(playout, "I cannot.", voice(SECOND, seed=1))
        playout.finish()
        await asyncio.sleep(1.0)
        assert wire.frames == []
        mouth.resume()
        await playout.wait_drained()
    assert np.array_equal(wire.samples, voice(SECOND, seed=1))
