"""One voice from its packets: what is lost is copied or made up, and time is kept."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from mulisa.transport.rtp.decoding import HEAD_START, MAX_FILLED, MAX_GARBLED, VoiceDecoder
from mulisa.transport.rtp.opus import OpusDecoder
from mulisa.transport.rtp.stream import Sound, VoiceStream

pytestmark = pytest.mark.unit

FRAME = 0.02


def voiced(n_frames: int) -> Samples:
    """Harmonics of a pitch that glides, so that the future cannot be told from the past."""
    seconds = np.arange(n_frames * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * (140 * seconds + 3 * np.sin(2 * np.pi * 2 * seconds))
    wave = sum(np.sin(k * phase) * 6_000 / k for k in range(1, 9))
    return np.asarray(wave).astype(np.int16)


def encoded(samples: Samples, *, fec: bool) -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.bit_rate, encoder.sample_rate = 32_000, SAMPLE_RATE_HZ
    encoder.format, encoder.layout = av.AudioFormat("s16"), av.AudioLayout("mono")
    encoder.time_base = Fraction(1, SAMPLE_RATE_HZ)
    encoder.options = {"application": "voip", "frame_duration": "20"}
    if fec:
        encoder.options |= {"fec": "1", "packet_loss": "10"}
    payloads: list[bytes] = []
    for number, part in enumerate(samples.reshape(-1, FRAME_SAMPLES)):
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, number * FRAME_SAMPLES
        payloads += map(bytes, encoder.encode(frame))
    return payloads


VOICE = voiced(150)
WITH_FEC, WITHOUT_FEC = encoded(VOICE, fec=True), encoded(VOICE, fec=False)


class Heard:
    """A stream and all that came out of it."""

    def __init__(self, sequence: int = 65_500, timestamp: int = 2**32 - 50_000) -> None:
        self.stream = VoiceStream(1, sequence)
        self.sounds: list[Sound] = []
        self._sequence, self._timestamp = sequence, timestamp

    def bring(self, number: int, payload: bytes, now: float, at: int | None = None) -> None:
        """`at` is its place in time in samples, if not the one that follows from its number."""
        self.pass_time(now)
        timestamp = self._timestamp + (number * FRAME_SAMPLES if at is None else at)
        sequence = (self._sequence + number) & 0xFFFF
        self.sounds += self.stream.receive(sequence, timestamp & 0xFFFFFFFF, payload, now)

    def pass_time(self, now: float) -> None:
        while (deadline := self.stream.deadline) is not None and deadline <= now:
            self.sounds += self.stream.expire(deadline)

    @property
    def samples(self) -> Samples:
        return np.concatenate([samples for samples, _ in self.sounds])

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.sounds]


def heard(payloads: Iterable[bytes], lost: Collection[int]) -> Heard:
    result = Heard()
    for number, payload in enumerate(payloads):
        if number not in lost:
            result.bring(number, payload, number * FRAME)
    return result


def likeness(samples: Samples, whole: Samples, number: int) -> float:
    """Correlation of a frame with what it would be if nothing was lost."""
    frame = slice(number * FRAME_SAMPLES, (number + 1) * FRAME_SAMPLES)
    return float(np.corrcoef(samples[frame], whole[frame])[0, 1])


def test_a_whole_voice_is_what_was_spoken_frame_by_frame() -> None:
    result = heard(WITH_FEC, ())
    assert [len(samples) for samples, _ in result.sounds] == [FRAME_SAMPLES] * 150
    assert result.times == [number * FRAME for number in range(150)]
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = SAMPLE_RATE_HZ, av.AudioLayout("mono")
    decoder.format = av.AudioFormat("s16")
    parts = [each.to_ndarray()[0] for p in WITH_FEC for each in decoder.decode(av.Packet(p))]
    assert np.array_equal(result.samples, np.concatenate(parts)), "as FFmpeg's libopus has it"


LOST = [n for n in range(20, 140, 6) if OpusDecoder().copied(WITH_FEC[n + 1])]
"""The encoder makes a copy where it thinks that one is worth it."""


def test_a_lost_packet_is_copied_from_its_successor() -> None:
    with_fec, without = heard(WITH_FEC, LOST), heard(WITHOUT_FEC, LOST)
    assert len(with_fec.samples) == len(without.samples) == len(VOICE)
    copied, made_up = (
        np.median([likeness(each.samples, heard(sent, ()).samples, number) for number in LOST])
        for each, sent in ((with_fec, WITH_FEC), (without, WITHOUT_FEC))
    )
    assert copied > 0.85
    assert copied > made_up + 0.05
    counters = with_fec.stream.counters()
    n_lost = len(LOST)
    assert n_lost > 10
    assert (counters.lost, counters.recovered, counters.concealed) == (n_lost, n_lost, 0)
    counters = without.stream.counters()
    assert (counters.lost, counters.recovered, counters.concealed) == (n_lost, 0, n_lost)


def test_what_is_made_up_is_dated_back_to_when_it_should_have_come() -> None:
    result = heard(WITH_FEC[:40], range(20, 24))
    result.pass_time(1.0)
    gap = result.times[20:25]
    assert np.diff(gap) == pytest.approx([FRAME] * 4)
    assert gap[-1] == pytest.approx(24 * FRAME + 0.01), "when the four were given up"
    assert len(result.samples) == 40 * FRAME_SAMPLES
    assert result.stream.counters().concealed == 3
    assert 0.0 < result.stream.counters().mean_delay < 0.001


def test_a_silence_that_was_not_sent_is_filled_only_so_far() -> None:
    """DTX: sequence numbers go on, timestamps jump."""
    result = Heard()
    for number in range(10):
        result.bring(number, WITH_FEC[number], number * FRAME)
    result.bring(10, WITH_FEC[10], 0.4, at=20 * FRAME_SAMPLES)
    assert len(result.samples) == 21 * FRAME_SAMPLES
    result.bring(11, WITH_FEC[11], 3_600.0, at=3_600 * SAMPLE_RATE_HZ)
    assert len(result.samples) == 22 * FRAME_SAMPLES + MAX_FILLED
    counters = result.stream.counters()
    assert (counters.lost, counters.recovered, counters.concealed) == (0, 0, 0)
    assert result.times == sorted(result.times)


def test_a_sender_who_begins_anew_is_heard_and_nothing_is_made_up() -> None:
    result = heard(WITH_FEC[:10], ())
    for number in range(10, 20):
        result.bring(number + 20_000, WITH_FEC[number], number * FRAME, at=7_777_777 + 960 * number)
    assert len(result.samples) == 19 * FRAME_SAMPLES, "the first one might have strayed"
    assert result.stream.counters().lost == 0


def test_stereo_is_mixed_and_other_lengths_of_packets_are_taken() -> None:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout = SAMPLE_RATE_HZ, av.AudioLayout("stereo")
    encoder.format, encoder.bit_rate = av.AudioFormat("s16"), 96_000
    encoder.options = {"frame_duration": "60"}
    both = np.repeat(VOICE, 2).reshape(1, -1)
    payloads: list[bytes] = []
    for begin in range(0, both.shape[1], 2 * 2_880):
        part = np.ascontiguousarray(both[:, begin : begin + 2 * 2_880])
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, begin // 2
        payloads += map(bytes, encoder.encode(frame))
    result = Heard()
    for number, payload in enumerate(payloads):
        if number != 5:
            result.bring(number, payload, 0.06 * number, at=2_880 * number)
    result.pass_time(10.0)
    assert len(result.samples) == 2_880 * len(payloads)
    assert np.std(result.samples[40 * FRAME_SAMPLES :]) == pytest.approx(np.std(VOICE), rel=0.1)


def test_garbage_is_noticed_and_a_single_mishap_is_not() -> None:
    result = heard(WITH_FEC[:5], ())
    for number in range(5, 4 + MAX_GARBLED):
        result.bring(number, b"\xff" * 20, number * FRAME)
    result.bring(4 + MAX_GARBLED, WITH_FEC[5], (4 + MAX_GARBLED) * FRAME)
    assert not result.stream.is_garbled
    for number in range(5 + MAX_GARBLED, 5 + 2 * MAX_GARBLED):
        result.bring(number, b"", number * FRAME)
    assert result.stream.is_garbled


HARMFUL = st.tuples(
    st.one_of(st.integers(0, 65_535), st.integers(0, 150)),
    st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 200_000)),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(WITH_FEC[:20]),
        st.sampled_from([b"\xf8", b"\xfb\x86\xff\xfe" * 3]),
    ),
    st.floats(0.0, 0.3),
)


@given(st.lists(HARMFUL, max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_packet_does_harm_and_nobody_speaks_faster_than_time(
    packets: list[tuple[int, int, bytes, float]],
) -> None:
    stream, now, n_samples = VoiceStream(1, 0), 0.0, 0
    for sequence, timestamp, payload, passed in packets:
        now += passed
        sounds = stream.expire(now) + stream.receive(sequence, timestamp, payload, now)
        n_samples += sum(len(samples) for samples, _ in sounds)
        assert all(at <= now for _, at in sounds)
        assert n_samples <= HEAD_START + VoiceDecoder.PACE * SAMPLE_RATE_HZ * now
        assert stream.counters().lost >= 0


@given(st.binary(max_size=1_500))
@settings(max_examples=300, deadline=None)
def test_bytes_are_decoded_or_refused(payload: bytes) -> None:
    opus = OpusDecoder()
    try:
        duration = opus.duration(payload)
    except ValueError:
        duration = 0
    try:
        assert len(opus.decode(payload)) == duration
    except ValueError:
        pass
    assert 0 <= opus.copied(payload) <= 2_880


@pytest.mark.slow
def test_ten_minutes_of_losses_keeps_time() -> None:
    chance, result = random.Random(3), Heard()
    n_samples = 0
    for number in range(30_000):
        if chance.random() < 0.9:
            result.bring(number, WITH_FEC[number % 150], number * FRAME)
        n_samples += sum(len(samples) for samples, _ in result.sounds)
        result.sounds.clear()
    assert abs(n_samples - 30_000 * FRAME_SAMPLES) <= 10 * FRAME_SAMPLES
