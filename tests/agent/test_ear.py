from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest

import mulisa.agent.ear as ear_module
from mulisa.agent.ear import CALMING_WINDOWS, FAINT, LEAD_IN_WINDOWS, Ear, EarConfig
from mulisa.agent.events import (
    EarEvent,
    InterimTranscribed,
    SpeechEnded,
    SpeechStarted,
    Transcribed,
    TranscriptionFailed,
    UtteranceId,
)
from mulisa.agent.speech import SpeechConfig
from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.errors import ConnectionLost, ProviderError
from mulisa.core.provider import Transcription
from mulisa.core.room import Identity
from mulisa.providers.scripted import (
    ScriptedSTT,
    ScriptedSTTStream,
    ScriptedVAD,
    ScriptedVADStream,
)
from tests.speech import frames_of, paced, quiet, say

pytestmark = pytest.mark.unit

ALICE = Identity("alice")


def near(seconds: float) -> Any:
    """Windows are 32 ms and the resampler blurs an edge."""
    return pytest.approx(seconds, abs=0.04)


def now() -> float:
    return asyncio.get_running_loop().time()


class RecordingSTT(ScriptedSTT):
    """Keeps what was pushed to each stream."""

    def __init__(self, **options: Any) -> None:
        super().__init__(str, **options)
        self.streams: list[RecordingStream] = []

    def stream(self, names: Any = ()) -> RecordingStream:
        self.streams.append(RecordingStream(self, names))
        return self.streams[-1]


class RecordingStream(ScriptedSTTStream):
    def __init__(self, stt: ScriptedSTT, names: Any) -> None:
        super().__init__(stt, names)
        self.pushed: list[Samples] = []

    def push(self, samples: Samples) -> None:
        self.pushed.append(samples)
        super().push(samples)

    @property
    def seconds(self) -> float:
        return sum(map(len, self.pushed)) / 16_000


class Listening:
    """An ear whose events are kept with the time since the first frame began."""

    def __init__(self, config: EarConfig | None = None, **options: Any) -> None:
        self.vad = options.pop("vad", None) or ScriptedVAD()
        self.stt = RecordingSTT(**options)
        self.began = now()
        self.log: list[tuple[float, EarEvent]] = []
        numbers = count(1)
        self.ear = Ear(
            ALICE,
            self.vad,
            self.stt,
            lambda event: self.log.append((now() - self.began, event)),
            config or EarConfig(),
            ["Mulisa"],
            lambda: UtteranceId(f"u{next(numbers)}"),
        )

    @property
    def events(self) -> list[EarEvent]:
        return [event for _, event in self.log]

    @property
    def story(self) -> list[str]:
        return [tell(event) for event in self.events]

    async def hear(self, *parts: Samples) -> None:
        await self.ear.run(paced(frames_of(np.concatenate(parts), now())))

    def when(self, kind: type[EarEvent]) -> list[float]:
        return [at for at, event in self.log if isinstance(event, kind)]


def tell(event: EarEvent) -> str:
    match event:
        case Transcribed(transcription=words):
            return f"{event.utterance_id} said {words.text}".rstrip()
        case InterimTranscribed(text=text):
            return f"{event.utterance_id} interim {text}"
        case SpeechStarted():
            return f"{event.utterance_id} started"
        case SpeechEnded():
            return f"{event.utterance_id} ended"
        case TranscriptionFailed():
            return f"{event.utterance_id} failed"


async def test_one_utterance() -> None:
    alice = Listening()
    await alice.hear(quiet(1.0), say(5, seconds=0.8, pause=0), quiet(1.0))
    assert alice.story == ["u1 started", "u1 ended", "u1 said 5"]
    started, ended, said = alice.events
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    assert isinstance(said, Transcribed)
    assert started.at - alice.began == near(1.0)
    assert ended.at - alice.began == near(1.8)
    assert (said.speech_started_at, said.speech_ended_at) == (started.at, ended.at)
    assert alice.stt.streams[0].names == ["Mulisa"]
    assert alice.stt.open_streams == alice.vad.open_streams == 0


async def test_an_onset_is_reported_within_100_ms_and_an_end_within_a_quarter_second() -> None:
    for offset in range(0, 32, 5):  # wherever the onset falls in a window
        alice = Listening()
        lead = 0.5 + offset / 1000
        await alice.hear(quiet(lead), say(5, seconds=0.8, pause=0), quiet(1.0))
        assert 0 < alice.when(SpeechStarted)[0] - lead <= 0.1
        assert 0.19 <= alice.when(SpeechEnded)[0] - (lead + 0.8) <= 0.24


async def test_the_recogniser_hears_a_little_before_and_after_and_nothing_else() -> None:
    alice = Listening()
    await alice.hear(quiet(5.0), say(5, seconds=1.0, pause=0), quiet(5.0))
    (stream,) = alice.stt.streams
    assert stream.seconds == pytest.approx(0.3 + 1.0 + 0.5, abs=0.07)


async def test_speech_that_goes_on_outdates_the_result_and_the_next_covers_all() -> None:
    alice = Listening(latency=0.3)
    # After 0.4 s of silence, so 0.2 s into the flush, speech goes on.
    await alice.hear(quiet(0.5), say(1, pause=0.4), say(2, pause=2.0))
    assert alice.story == ["u1 started", "u1 ended", "u1 started", "u1 ended", "u1 said 1 2"]
    said = alice.events[-1]
    assert isinstance(said, Transcribed)
    assert said.speech_started_at - alice.began == near(0.5)
    assert said.speech_ended_at - alice.began == near(1.5)


async def test_each_pause_is_transcribed_until_the_turn_is_committed() -> None:
    alice = Listening()
    hearing = asyncio.create_task(alice.hear(say(1, pause=1.5), say(2, pause=1.0), say(3, pause=1)))
    await asyncio.sleep(2.5)
    assert alice.story[-1] == "u1 said 1 2"
    alice.ear.commit(UtteranceId("u1"))
    alice.ear.commit(UtteranceId("u1"))
    alice.ear.commit(UtteranceId("unknown"))
    await hearing
    assert alice.story[3:] == [
        *("u1 started", "u1 ended", "u1 said 1 2"),
        *("u2 started", "u2 ended", "u2 said 3"),
    ]
    # Pauses of 1.5 s are shortened to trailing silence and pre-roll.
    assert alice.stt.streams[0].seconds == pytest.approx(0.3 + 0.5 + 0.3 + 0.3 + 0.5, abs=0.15)
    assert alice.stt.open_streams == 0


async def test_speech_that_goes_on_at_the_commit_is_a_new_utterance() -> None:
    alice = Listening()
    hearing = asyncio.create_task(alice.hear(say(1, pause=0.7), say(2, pause=1.0)))
    await asyncio.sleep(1.0 + 0.1)  # the second onset is found
    assert alice.story[3:] == ["u1 started"]
    alice.ear.commit(UtteranceId("u1"))
    await hearing
    assert alice.story == [
        *("u1 started", "u1 ended", "u1 said 1"),
        *("u1 started", "u1 ended", "u2 started"),
        *("u2 ended", "u2 said 2"),
    ]


async def test_the_pre_roll_holds_nothing_of_the_former_utterance() -> None:
    alice = Listening()
    hearing = asyncio.create_task(alice.hear(say(1, seconds=1.0, pause=0.25), say(2, pause=1.0)))
    await asyncio.sleep(1.0 + 0.245)
    assert alice.story[-1] == "u1 said 1"
    alice.ear.commit(UtteranceId("u1"))
    await hearing
    assert alice.story[-1] == "u2 said 2"
    before = np.concatenate(alice.stt.streams[1].pushed)[: round(0.2 * 16_000)]
    assert np.abs(before).max() < 100


async def test_a_commit_while_the_words_are_awaited_still_tells_them() -> None:
    alice = Listening(latency=0.5)
    hearing = asyncio.create_task(alice.hear(say(1, pause=0.3), quiet(0.1), say(2, pause=1.0)))
    await asyncio.sleep(0.65)
    assert alice.story == ["u1 started", "u1 ended"]
    alice.ear.commit(UtteranceId("u1"))
    await hearing
    assert sorted(alice.story[2:]) == ["u1 said 1", "u2 ended", "u2 said 2", "u2 started"]


async def test_frames_that_stop_in_mid_word_end_speech() -> None:
    alice = Listening()
    release = asyncio.Event()

    async def frames() -> AsyncIterator[AudioFrame]:
        async for frame in paced(frames_of(say(4, seconds=0.6, pause=0), now())):
            yield frame
        await release.wait()
        async for frame in paced(frames_of(say(5, seconds=0.6, pause=1.0), now())):
            yield frame

    hearing = asyncio.create_task(alice.ear.run(frames()))
    await asyncio.sleep(10)
    assert alice.story == ["u1 started", "u1 ended", "u1 said 4"]
    assert alice.when(SpeechEnded)[0] == near(0.6 + 0.3)
    release.set()
    await hearing
    assert alice.story[3:] == ["u1 started", "u1 ended", "u1 said 4 5"]


async def test_a_stalled_loop_hears_what_waits_before_it_believes_in_silence() -> None:
    alice = Listening()
    loop = asyncio.get_running_loop()
    loop.call_later(0.5, loop.advance, 0.7)  # type: ignore[attr-defined]  # something blocks it
    await alice.hear(say(4, seconds=2.0, pause=1.0))
    assert alice.story == ["u1 started", "u1 ended", "u1 said 4"]


async def test_a_click_is_no_word() -> None:
    alice = Listening()
    await alice.hear(quiet(0.5), say(5, seconds=0.05, pause=0), quiet(1.0))
    assert alice.story == ["u1 started", "u1 ended", "u1 said"]
    assert alice.stt.calls == 0


async def test_a_click_before_words_is_recognised_with_them() -> None:
    alice = Listening()
    await alice.hear(say(5, seconds=0.08, pause=0.5), say(6, pause=1.0))
    assert alice.story[-1] == "u1 said 5 6"
    assert alice.stt.calls == 1


async def test_a_failed_recognition_is_told_and_the_next_goes_on() -> None:
    alice = Listening(failures={0})
    await alice.hear(say(1, pause=1.0), say(2, pause=1.0))
    assert alice.story[2] == "u1 failed"
    assert alice.story[-1] == "u1 said 1 2"


@pytest.mark.parametrize("place", ["flush", "interims", "aclose"])
async def test_a_recogniser_that_raises_something_of_its_own_does_not_deafen(place: str) -> None:
    """Engines come from other packages, too."""

    class BuggySTT(ScriptedSTTStream):
        async def flush(self) -> Transcription:
            if place == "flush":
                raise IndexError("list index out of range")
            return await super().flush()

        async def interims(self) -> AsyncIterator[str]:
            if place == "interims":
                raise IndexError("list index out of range")
            async for text in super().interims():
                yield text

        async def aclose(self) -> None:
            await super().aclose()
            if place == "aclose":
                raise IndexError("list index out of range")

    alice = Listening()
    alice.stt.stream = lambda names=(): BuggySTT(alice.stt, names)  # type: ignore
    await alice.hear(say(1, pause=1.0), say(2, pause=1.0))
    end = "failed" if place == "flush" else "said 1 2"
    assert alice.story[-2:] == ["u1 ended", f"u1 {end}"]
    assert alice.stt.open_streams == 0


async def test_a_recogniser_that_hangs_is_given_up() -> None:
    alice = Listening(EarConfig(transcription_timeout=5.0), latency=1e6)
    await alice.hear(say(1, pause=1.0))
    assert alice.story == ["u1 started", "u1 ended", "u1 failed"]
    assert alice.when(TranscriptionFailed)[0] - alice.when(SpeechEnded)[0] == near(5.0)
    assert alice.stt.open_streams == 0


async def test_a_slow_recogniser_does_not_delay_hearing() -> None:
    alice = Listening(latency=4.0)
    hearing = asyncio.create_task(alice.hear(*[say(n, pause=0.7) for n in range(4)]))
    for number in range(4):
        await asyncio.sleep(1.0)
        alice.ear.commit(UtteranceId(f"u{number + 1}"))
    await hearing
    assert alice.when(SpeechStarted) == [near(n + 0.08) for n in range(4)]
    assert [tell(event) for event in alice.events if isinstance(event, Transcribed)] == [
        f"u{n + 1} said {n}" for n in range(4)
    ]


async def test_interims_are_told_while_speech_lasts() -> None:
    alice = Listening(interim_interval=0.4)
    await alice.hear(say(1, 2, 3, pause=0.1), quiet(1.0))
    assert "u1 interim 1" in alice.story
    assert alice.story.index("u1 interim 1") < alice.story.index("u1 ended")
    assert alice.story[-1] == "u1 said 1 2 3"


async def test_a_long_utterance_is_split_and_nothing_is_lost_between_the_two() -> None:
    speech = replace(SpeechConfig(), max_utterance=3.0, split_patience=1.0)
    alice = Listening(EarConfig(speech))
    await alice.hear(quiet(0.5), say(*range(20), seconds=0.42, pause=0.1), quiet(1.0))
    said = [event for event in alice.events if isinstance(event, Transcribed)]
    assert " ".join(event.transcription.text for event in said).split() == [
        str(word) for word in range(20)
    ]
    assert len(said) == 4
    for event, following in pairwise(said):
        assert event.speech_ended_at == following.speech_started_at
        assert event.speech_ended_at - event.speech_started_at < 4.1
    audio = np.concatenate([part for stream in alice.stt.streams for part in stream.pushed])
    assert len(audio) / 16_000 == pytest.approx(0.3 + 20 * 0.52 + 0.4, abs=0.07)


async def test_speech_after_a_long_open_utterance_opens_a_new_one() -> None:
    alice = Listening()
    await alice.hear(say(1, pause=30.0), say(2, pause=1.0))
    assert alice.story == [
        *("u1 started", "u1 ended", "u1 said 1"),
        *("u2 started", "u2 ended", "u2 said 2"),
    ]


async def test_the_end_of_the_frames_ends_speech_and_waits_for_the_words() -> None:
    alice = Listening(latency=0.5)
    await alice.hear(quiet(0.5), say(3, seconds=0.5, pause=0))
    assert alice.story == ["u1 started", "u1 ended", "u1 said 3"]
    await alice.hear(say(4, pause=1.0))
    assert alice.story[3:] == ["u2 started", "u2 ended", "u2 said 4"]


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.45, 0.7, 1.0, 1.2])
async def test_cancelling_leaves_nothing(moment: float) -> None:
    alice = Listening(latency=0.4)
    hearing = asyncio.create_task(alice.hear(say(1, pause=0.7), say(2, pause=1.0)))
    await asyncio.sleep(moment)
    hearing.cancel()
    await asyncio.wait([hearing])
    assert hearing.cancelled()
    assert alice.stt.open_streams == alice.vad.open_streams == 0
    told = len(alice.log)
    alice.ear.commit(UtteranceId("u1"))
    await asyncio.sleep(5)
    assert len(alice.log) == told


async def test_a_lost_connection_is_raised_after_the_words() -> None:
    alice = Listening(latency=0.5)

    async def frames() -> AsyncIterator[AudioFrame]:
        async for frame in paced(frames_of(say(3, seconds=0.5, pause=0), now())):
            yield frame
        raise ConnectionLost("gone")

    with pytest.raises(ConnectionLost):
        await alice.ear.run(frames())
    assert alice.story == ["u1 started", "u1 ended", "u1 said 3"]


async def test_a_failing_vad_is_raised() -> None:
    alice = Listening(vad=ScriptedVAD(failures={3}))
    with pytest.raises(ProviderError):
        await alice.hear(say(1))


async def test_two_subscriptions_may_overlap() -> None:
    alice = Listening(latency=2.0)
    former = asyncio.create_task(alice.hear(say(1, pause=0)))
    await asyncio.sleep(0.5)
    await alice.hear(say(2, pause=1.0))
    await former
    assert [tell(event) for event in alice.events if isinstance(event, Transcribed)] == [
        "u1 said 1",
        "u2 said 2",
    ]


async def test_a_muted_microphone_costs_no_vad_and_is_heard_again_at_once() -> None:
    alice = Listening()
    await alice.hear(quiet(60.0), say(1, pause=1.0))
    assert alice.vad.calls < 100
    assert alice.when(SpeechStarted)[0] - 60.0 <= 0.1
    assert alice.story[-1] == "u1 said 1"


def room_noise(seconds: float, dbfs: float) -> Samples:
    """White noise of so much power."""
    drawn = np.random.default_rng(1).normal(0, 32_768 * 10 ** (dbfs / 20), round(seconds * 48_000))
    return np.round(drawn).astype(np.int16)


async def test_an_open_microphone_in_a_silent_room_costs_no_vad() -> None:
    alice = Listening()
    await alice.hear(room_noise(60.0, -70.0), say(1, pause=1.0))
    assert alice.vad.calls < 100
    assert alice.when(SpeechStarted)[0] - 60.0 <= 0.1
    assert alice.story[-1] == "u1 said 1"


class SensitiveVAD(ScriptedVAD):
    """Hears speech also where it is faint, and remembers every window."""

    def __init__(self) -> None:
        super().__init__(threshold=8)
        self.heard: list[Samples] = []

    def stream(self) -> ScriptedVADStream:
        heard = self.heard

        class Stream(ScriptedVADStream):
            async def probability(self, window: Samples) -> float:
                heard.append(window)
                return await super().probability(window)

        return Stream(self)


async def test_a_word_that_begins_faintly_is_heard_from_its_first_sample_on() -> None:
    """The VAD was spared a long silence, and hears its end after all."""
    fricative = room_noise(0.2, -68.0)
    alice = Listening(vad=SensitiveVAD())
    await alice.hear(quiet(10.0), fricative, say(1, pause=1.0))
    started = next(event for event in alice.events if isinstance(event, SpeechStarted))
    assert started.at - alice.began == near(10.0)
    assert alice.story[-1] == "u1 said 1"
    pushed = np.concatenate(alice.stt.streams[0].pushed)
    audible = np.flatnonzero(np.abs(pushed) > 8)
    assert audible[0] / 16_000 == pytest.approx(0.3, abs=0.05), "its pre-roll is before it"


async def test_the_vad_hears_without_a_hole_what_leads_to_speech() -> None:
    vad = SensitiveVAD()
    await Listening(vad=vad).hear(room_noise(10.0, -80.0), say(1, pause=1.0))
    everything = SensitiveVAD()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ear_module, "FAINT", -1)
        await Listening(vad=everything).hear(room_noise(10.0, -80.0), say(1, pause=1.0))
    assert len(everything.heard) - len(vad.heard) > 200
    before_speech = [first_loud(heard) - LEAD_IN_WINDOWS for heard in (vad.heard, everything.heard)]
    assert before_speech[0] == CALMING_WINDOWS
    one, other = (
        np.concatenate(heard[start : start + 2 * LEAD_IN_WINDOWS])
        for start, heard in zip(before_speech, (vad.heard, everything.heard), strict=True)
    )
    assert np.abs(one - other).max() <= DITHER


DITHER = 2
"""Two runs of the resampler differ by so much."""


def first_loud(heard: Sequence[Samples]) -> int:
    return next(i for i, window in enumerate(heard) if np.abs(window).max() > 1000)


async def test_a_word_is_recognised_with_the_silence_around_it_whether_spared_or_not() -> None:
    pushed = []
    for faint in (-1, FAINT):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ear_module, "FAINT", faint)
            alice = Listening()
            await alice.hear(quiet(5.0), say(1, pause=5.0), say(2, pause=3.0))
            pushed.append(np.concatenate(alice.stt.streams[0].pushed))
    one, other = pushed
    assert one.size == other.size
    assert np.abs(one - other).max() <= DITHER


async def test_annotations_are_no_words() -> None:
    class AnnotatingSTT(ScriptedSTTStream):
        async def flush(self) -> Transcription:
            return Transcription(" [BLANK_AUDIO]", 0.9)

    alice = Listening()
    alice.stt.stream = lambda names=(): AnnotatingSTT(alice.stt, names)  # type: ignore
    await alice.hear(say(1, pause=1.0))
    said = alice.events[-1]
    assert isinstance(said, Transcribed)
    assert said.transcription == Transcription("", 0.9)
