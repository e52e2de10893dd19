"""Hears one participant: frames in, `EarEvent`s out.

Frames are resampled to 16 kHz windows (`windows`), a VAD gives each a probability, `speech` finds
onsets and offsets in these, and what lies between, with a little silence around it, is pushed to
the recogniser (`utterance`). Recognition runs beside hearing and never delays it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mulisa.agent.events import EarEvent, SpeechEnded, SpeechStarted, UtteranceId
from mulisa.agent.speech import (
    Boundary,
    Offset,
    Onset,
    SpeechConfig,
    SpeechDetector,
    may_split,
)
from mulisa.agent.utterance import Utterance
from mulisa.agent.windows import Window, Windows
from mulisa.core.audio import HEARING_RATE_HZ, AudioFrame, Samples
from mulisa.core.errors import MulisaError
from mulisa.core.provider import STT, VAD
from mulisa.core.room import Identity

GRACE: Final = 0.05
"""Seconds a timer may be late before frames are suspected to wait."""
HISTORY: Final = 1.5
"""Seconds kept of what was heard last; bounds the pre-roll."""
FAINT: Final = 32
"""Amplitude (int16, -60 dBFS) that can only be a muted microphone, or one in a silent room."""
CALMING_WINDOWS: Final = 16
"""So many faint windows in a row are given to the VAD before it is spared the rest."""
LEAD_IN_WINDOWS: Final = 8
"""So many of the faint windows before a louder one are given to the VAD after all, so that it
hears that one as if it had heard everything, and a word may begin in them."""


@dataclass(frozen=True, slots=True)
class EarConfig:
    """How speech is cut into utterances; seconds."""

    speech: SpeechConfig = field(default_factory=SpeechConfig)
    pre_roll: float = 0.3
    """So much of what was before an onset is recognised with it."""
    trailing: float = 0.5
    """So much silence inside an utterance is recognised with it."""
    transcription_timeout: float = 240.0
    """After which an utterance is given up; engines have limits of their own, which are shorter
    unless they are waited for until they are back.
    """
    max_kept: float = 300.0
    """So much speech of one person may wait for a recogniser; with more the oldest is given up."""


class Ear:
    """Turns one participant's frames into `EarEvent`s.

    A `SpeechEnded` is followed by a `Transcribed` or a `TranscriptionFailed` of the same
    utterance, unless a `SpeechStarted` of it comes first: then the next `SpeechEnded` is, and
    covers everything.
    """

    def __init__(
        self,
        identity: Identity,
        vad: VAD,
        stt: STT,
        emit: Callable[[EarEvent], None],
        config: EarConfig,
        names: Sequence[str],
        utterance_ids: Callable[[], UtteranceId],
        record: Callable[[UtteranceId, Samples], None] | None = None,
    ) -> None:
        """`emit` is called on the event loop and must neither block nor raise; so is `record`,

        with what is recognised of each utterance, at 16 kHz.
        """
        self.identity = identity
        self.names = names
        """Likely words, read when an utterance opens; replace it when people come and go."""
        self._vad = vad
        self._stt = stt
        self._emit = emit
        self._config = config
        self._utterance_ids = utterance_ids
        self._record = record
        self._hearings: list[_Hearing] = []
        self._is_finished = False

    async def run(self, frames: AsyncIterator[AudioFrame]) -> None:
        """Hear one subscription; ends with the frames, once all that was said is reported.

        May be run again for the next subscription, also before the former run has ended.
        Cancelling is safe and leaves no task. Raises ProviderError if the VAD fails, and what
        `frames` raises.
        """
        if self._is_finished:
            return
        hearing = _Hearing(self._config, self._vad, self._open_utterance, self._emit)
        self._hearings.append(hearing)
        try:
            await hearing.run(frames)
        finally:
            self._hearings.remove(hearing)

    def commit(self, utterance_id: UtteranceId) -> None:
        """The turn is over: close the utterance; later speech opens a new one. Idempotent.

        If speech has just gone on in it, that speech is moved to a new utterance: `SpeechEnded`
        of the old one, which no `Transcribed` follows, and `SpeechStarted` of the new one.
        """
        for hearing in self._hearings:
            hearing.commit(utterance_id)

    def finish(self) -> None:
        """Hear no more: `run` ends when the words of what was said are reported. Idempotent."""
        self._is_finished = True
        for hearing in self._hearings:
            hearing.finish()

    def _open_utterance(self, at: float, tasks: asyncio.TaskGroup) -> Utterance:
        return Utterance(
            self.identity,
            self._utterance_ids(),
            at,
            self._stt.stream(self.names),
            self._emit,
            tasks,
            self._config.transcription_timeout,
            self._record,
        )


class _Hearing:
    """One subscription; its utterances end with it."""

    def __init__(
        self,
        config: EarConfig,
        vad: VAD,
        open_utterance: Callable[[float, asyncio.TaskGroup], Utterance],
        emit: Callable[[EarEvent], None],
    ) -> None:
        self._config = config
        self._open_utterance = open_utterance
        self._emit = emit
        self._vad = vad.stream()
        self._windows = Windows(vad.window_samples)
        self._window = vad.window_samples / HEARING_RATE_HZ
        self._detector = SpeechDetector(config.speech, self._window)
        self._faint_windows = 0
        self._spared: deque[Window] = deque()
        """The latest windows that the VAD has not heard; the rest has not got them either."""
        self._recent: deque[Window] = deque(maxlen=round(HISTORY / self._window))
        self._unpushed = 0
        """So many of the recent windows the open utterance has not got."""
        self._onset_at = self._offset_at = float("-inf")
        self._utterance: Utterance | None = None
        self._closing: list[Utterance] = []
        self._timer: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[MulisaError | None] | None = None

    async def run(self, frames: AsyncIterator[AudioFrame]) -> None:
        """See `Ear.run`."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._listening = self._tasks.create_task(self._hear(frames))
                try:
                    await asyncio.wait({self._listening})
                    self._apply(self._detector.end())
                finally:
                    self._disarm()
                    self._close_utterance()
        finally:
            self._vad.close()
            for utterance in self._closing:
                await utterance.aclose()
        if not self._listening.cancelled() and (failure := self._listening.result()):
            raise failure

    def finish(self) -> None:
        """See `Ear.finish`."""
        if self._listening is not None:
            self._listening.cancel()

    def commit(self, utterance_id: UtteranceId) -> None:
        """See `Ear.commit`."""
        utterance = self._utterance
        if utterance is None or utterance.utterance_id != utterance_id:
            return
        self._close_utterance()
        if self._detector.speaking:
            self._emit(SpeechEnded(utterance.identity, utterance_id, self._onset_at))
            self._begin(self._onset_at)

    async def _hear(self, frames: AsyncIterator[AudioFrame]) -> MulisaError | None:
        """Until the frames end; what ended them, if it was a failure."""
        try:
            async for frame in frames:
                for window in self._windows.push(frame):
                    await self._weigh(window)
        except MulisaError as error:
            return error  # what was said before it is recognised all the same
        return None

    async def _weigh(self, window: Window) -> None:
        """Ask the VAD about a window, unless it is one more of a long silence."""
        is_faint = window.samples.max() <= FAINT and window.samples.min() >= -FAINT
        self._faint_windows = self._faint_windows + 1 if is_faint else 0
        if self._faint_windows > CALMING_WINDOWS:
            self._spare(window)
            return
        while self._spared:
            spared = self._spared.popleft()
            self._take(spared, await self._vad.probability(spared.samples))
        self._take(window, await self._vad.probability(window.samples))

    def _spare(self, window: Window) -> None:
        """Keep a window for the case that speech follows; the oldest of them was silence."""
        self._spared.append(window)
        if len(self._spared) > LEAD_IN_WINDOWS or self._detector.speaking:
            self._take(self._spared.popleft(), 0.0)

    def _take(self, window: Window, probability: float) -> None:
        self._recent.append(window)
        self._unpushed = min(self._unpushed + 1, len(self._recent))
        self._apply(self._detector.hear(probability, window.ended_at))
        if self._utterance is None:
            return
        if self._detector.speaking:
            self._split_if_long(self._utterance, window, probability)
            self._arm()
            self._push_unpushed()
        elif window.ended_at - self._offset_at <= self._config.trailing:
            self._push_unpushed()

    def _apply(self, boundary: Boundary | None) -> None:
        if isinstance(boundary, Onset):
            self._onset_at = boundary.at
            self._begin(boundary.at)
        elif isinstance(boundary, Offset):
            self._pause(boundary)

    def _begin(self, at: float) -> None:
        """Speech begins, or goes on in the open utterance."""
        utterance = self._utterance
        if utterance is not None and at - utterance.started_at < self._config.speech.max_utterance:
            utterance.go_on()
            self._unpushed = min(self._unpushed, self._count_pre_roll(at))
        else:
            self._close_utterance()
            utterance = self._utterance = self._open_utterance(at, self._tasks)
            self._unpushed = self._count_pre_roll(at)
        self._emit(SpeechStarted(utterance.identity, utterance.utterance_id, at))

    def _count_pre_roll(self, at: float) -> int:
        """How many recent windows to recognise with an onset: never those of former speech."""
        since = max(at - self._config.pre_roll, self._offset_at)
        return sum(window.ended_at > since for window in self._recent)

    def _pause(self, offset: Offset) -> None:
        """Speech ended in the open utterance."""
        utterance = self._utterance
        assert utterance is not None
        self._offset_at = offset.at
        self._emit(SpeechEnded(utterance.identity, utterance.utterance_id, offset.at))
        utterance.pause(offset.at, click=offset.click)

    def _split_if_long(self, utterance: Utterance, window: Window, probability: float) -> None:
        """Before this window, if the utterance is long and the window weak."""
        if not may_split(self._config.speech, window.ended_at - utterance.started_at, probability):
            return
        self._onset_at = window.ended_at - self._window
        self._pause(Offset(self._onset_at, click=False))
        self._close_utterance()
        self._begin(self._onset_at)
        self._unpushed = 1

    def _push_unpushed(self) -> None:
        assert self._utterance is not None
        for index in range(-self._unpushed, 0):
            self._utterance.push(self._recent[index].samples)
        self._unpushed = 0

    def _close_utterance(self) -> None:
        if self._utterance is not None:
            self._utterance.close()
            self._closing = [utterance for utterance in self._closing if not utterance.closed]
            self._closing.append(self._utterance)
            self._utterance = None
            self._keep_within_limit()

    def _keep_within_limit(self) -> None:
        kept = 0.0
        for utterance in reversed(self._closing):
            kept += utterance.seconds
            if kept > self._config.max_kept:
                utterance.give_up(f"more than {self._config.max_kept:g} s of speech wait")

    def _arm(self) -> None:
        """Frames may stop in mid-word: speech then ends at the detector's deadline."""
        deadline = self._detector.deadline()
        if self._timer is None and deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        assert self._timer is not None
        loop = asyncio.get_running_loop()
        if loop.time() - self._timer.when() > GRACE:
            # The loop stalled, so frames may wait to be heard: they come first.
            self._timer = loop.call_at(loop.time() + GRACE, self._on_deadline)
            return
        self._timer = None
        self._apply(self._detector.tick(loop.time()))
        self._arm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
