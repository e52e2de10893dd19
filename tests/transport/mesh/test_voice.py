"""One encoder for all listeners, and RTP time that passes in silence."""

from __future__ import annotations

import asyncio

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, silence
from mulisa.core.room import Identity
from mulisa.transport.mesh.voice import MAX_WAITING_PACKETS, Voice, VoiceTrack
from mulisa.transport.rtp import spurts
from mulisa.transport.rtp.spurts import SpeechClock, VoicePacket
from tests.transport.mesh.rooms import pitch, tone

pytestmark = pytest.mark.unit

ALICE, BOB, CAROL = Identity("alice"), Identity("bob"), Identity("carol")


def test_timestamps_advance_by_a_frame_whatever_the_jitter() -> None:
    clock = SpeechClock()
    jitter = [0.0, 0.015, 0.05, 0.0, 0.03, 0.0]
    stamps = [clock.stamp(7.0 + i * FRAME_DURATION + late) for i, late in enumerate(jitter)]
    assert stamps == [i * FRAME_SAMPLES for i in range(len(jitter))]


def test_timestamps_advance_by_the_time_that_passed_in_silence() -> None:
    clock = SpeechClock()
    clock.stamp(7.0)
    assert clock.stamp(17.0) == 10 * 48_000
    assert clock.stamp(17.02) == 10 * 48_000 + FRAME_SAMPLES


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60))
def test_timestamps_grow_in_whole_frames_and_keep_up_with_time(waits: list[float]) -> None:
    clock = SpeechClock()
    now, last = 5.0, -FRAME_SAMPLES
    clock.stamp(now)
    for wait in waits:
        now += wait
        pts = clock.stamp(now)
        assert pts > last and pts % FRAME_SAMPLES == 0
        assert pts / 48_000 >= now - 5.0 - spurts.GAP - 1e-6
        last = pts


async def listen(
    voice: Voice, listener: Identity = ALICE
) -> tuple[VoiceTrack, asyncio.Task[list[VoicePacket]]]:
    """A track that is being read until it is stopped, as aiortc's sender reads it."""
    listening = asyncio.Event()
    track = voice.track(listener, listening.set)
    packets: list[VoicePacket] = []

    async def read() -> list[VoicePacket]:
        try:
            while track.readyState == "live":
                async with asyncio.timeout(5.0):
                    packets.append(await track.recv())
        except (MediaStreamError, TimeoutError):
            pass
        return packets

    task = asyncio.create_task(read())
    await listening.wait()
    return track, task


async def speak(voice: Voice, n_frames: int) -> None:
    for samples in tone(440.0, n_frames):
        voice.speak(samples)
        await asyncio.sleep(FRAME_DURATION)


async def test_a_frame_is_encoded_once_for_all_listeners() -> None:
    voice = Voice()
    readers = [await listen(voice) for _ in range(5)]
    await speak(voice, 25)
    await asyncio.sleep(1.0)
    assert voice.frames_encoded == 25 + spurts.TAIL_FRAMES
    first, *others = [await task for _, task in readers]
    assert len(first) == 25 + spurts.TAIL_FRAMES
    for packets in others:
        assert [id(p) for p in packets] == [id(p) for p in first]


async def test_the_packets_are_opus_of_20_ms_at_speech_rate() -> None:
    voice = Voice()
    _, reading = await listen(voice)
    await speak(voice, 100)
    packets = await reading
    spoken = packets[:100]
    assert [p.pts for p in spoken] == [i * FRAME_SAMPLES for i in range(100)]
    sizes = [len(bytes(p)) for p in spoken]
    assert 20_000 < sum(sizes) * 8 / 2.0 < 40_000, "bits a second"
    assert all(bytes(p)[0] & 0b100 == 0 for p in spoken), "mono (RFC 6716, 3.1)"
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, av.AudioLayout("mono")
    decoder.format = av.AudioFormat("s16")
    pcm = np.concatenate([f.to_ndarray()[0] for p in spoken for f in decoder.decode(p)])
    assert len(pcm) == 100 * FRAME_SAMPLES
    assert pitch(pcm[4_800:]) == pytest.approx(440.0, abs=2.0)


async def test_a_talk_spurt_ends_in_a_little_silence_and_then_nothing_is_sent() -> None:
    voice = Voice()
    _, reading = await listen(voice)
    await speak(voice, 10)
    await asyncio.sleep(2.0)
    voice.speak(silence())
    packets = await reading
    stamps = [p.pts for p in packets]
    n_first = 10 + spurts.TAIL_FRAMES
    assert stamps[:n_first] == [i * FRAME_SAMPLES for i in range(n_first)]
    assert stamps[n_first] == pytest.approx(48_000 * 2.2, abs=2 * FRAME_SAMPLES)
    assert len(packets) == n_first + 1 + spurts.TAIL_FRAMES


async def test_before_a_connection_asks_nothing_is_kept() -> None:
    voice = Voice()
    track = voice.track(ALICE, lambda: None)
    await speak(voice, 50)
    reading = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    voice.speak(silence())
    packet = await reading
    assert packet.pts == 50 * FRAME_SAMPLES
    voice.close()


async def test_a_stalled_connection_gets_the_latest_packets() -> None:
    voice = Voice()
    track = voice.track(ALICE, lambda: None)
    first = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    for _ in range(20):
        voice.speak(silence())
    assert (await first).pts == (20 - MAX_WAITING_PACKETS) * FRAME_SAMPLES
    voice.close()


async def test_a_talk_spurt_and_its_end_go_to_those_who_may_listen_then() -> None:
    voice = Voice(frozenset({ALICE, BOB}))
    readings = {who: (await listen(voice, who))[1] for who in (ALICE, BOB, CAROL)}
    await speak(voice, 10)
    voice.speak_to(frozenset({ALICE}))
    await asyncio.sleep(1.0)
    voice.speak_to(None)
    voice.speak(silence())
    packets = {who: await reading for who, reading in readings.items()}
    first = 10 + spurts.TAIL_FRAMES
    second = 1 + spurts.TAIL_FRAMES
    assert len(packets[ALICE]) == first + second
    assert [p.pts for p in packets[BOB][:10]] == [i * FRAME_SAMPLES for i in range(10)]
    assert len(packets[BOB]) == 10 + second, "he had no more of the first, not even its end"
    assert packets[BOB][10:] == packets[CAROL] == packets[ALICE][first:]


async def test_what_waits_for_who_may_listen_no_more_is_taken_back() -> None:
    voice = Voice()
    track = voice.track(BOB, lambda: None)
    reading = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    voice.speak(silence())
    voice.speak_to(frozenset({ALICE}))
    await asyncio.sleep(1.0)
    assert not reading.done(), "though it was woken"
    voice.speak_to(None)
    voice.speak(silence())
    assert (await reading).pts == 50 * FRAME_SAMPLES
    voice.close()


async def test_a_whisper_goes_to_its_listener_alone_and_leaves_nothing_in_what_follows() -> None:
    voice, other = Voice(frozenset()), Voice()
    readings = {who: (await listen(voice, who))[1] for who in (ALICE, BOB)}
    _, unwhispered = await listen(other, BOB)
    whisper = voice.whisper(ALICE)
    for samples in tone(700.0, 10):
        whisper(samples)
        await asyncio.sleep(FRAME_DURATION)
    voice.speak_to(None)
    for samples in tone(440.0, 10):
        voice.speak(samples)
        other.speak(samples)
        await asyncio.sleep(FRAME_DURATION)
    to_alice, to_bob = [await readings[who] for who in (ALICE, BOB)]
    assert len(to_alice) == 20 + 2 * spurts.TAIL_FRAMES
    stamps = np.array([p.pts for p in to_alice])
    assert np.all(np.diff(stamps) > 0), "one RTP stream"
    assert [id(p) for p in to_alice[10 + spurts.TAIL_FRAMES :]] == [id(p) for p in to_bob]
    assert [bytes(p) for p in to_bob] == [bytes(p) for p in await unwhispered]


async def test_a_whisper_after_what_was_said_aloud_waits_for_its_end() -> None:
    voice = Voice()
    _, reading = await listen(voice, ALICE)
    await speak(voice, 3)
    whisper = voice.whisper(ALICE)
    whisper(silence())
    await asyncio.sleep(FRAME_DURATION)
    voice.close()
    packets = await reading
    assert len(packets) == 3 + spurts.TAIL_FRAMES + 1


async def test_a_stopped_track_gets_no_more() -> None:
    voice = Voice()
    track = voice.track(ALICE, lambda: None)
    track.stop()
    voice.speak(silence())
    with pytest.raises(MediaStreamError):
        await track.recv()
    voice.close()


def test_a_frame_has_960_samples() -> None:
    with pytest.raises(ValueError, match="960"):
        Voice().speak(silence(480))
