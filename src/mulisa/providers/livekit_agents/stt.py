"""Recognition by a LiveKit plugin, streamed where the plugin can.

What a plugin makes of ``flush`` differs: some finish what they have heard, some ignore it, some
wait for a pause in the sound. What all finish is their input, so that a pause of the speaker ends
a plugin's stream; whoever goes on speaking is heard by a further one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import HEARING_RATE_HZ, Samples, silence
from mulisa.core.errors import ProviderError, ProviderTimeout
from mulisa.core.provider import Progress, STTStream, Transcription
from mulisa.providers.livekit_agents.levels import Levels
from mulisa.providers.livekit_agents.plugin import ANSWER_TIMEOUT, Plugin
from mulisa.providers.openai.recording import joined

if TYPE_CHECKING:
    from livekit.rtc import AudioFrame

log = logging.getLogger(__name__)

PAUSE: Final = 0.5
"""Seconds of silence after the speech: a service that ends turns by itself needs to hear it."""
SETTLED: Final = 0.3
"""Seconds after a final result that covers all speech, if the plugin does not end its stream."""
PATIENCE: Final = 0.8
"""Seconds after which an interim result is taken, if nothing else comes."""
LAG: Final = 1.0
"""Seconds that a result may lie behind, if it does not say where it ends."""


class LiveKitSTT:
    """A recogniser of a plugin."""

    def __init__(self, plugin: str = "", language: str = "") -> None:
        """`plugin` is ``NAME``, ``NAME/MODEL`` or ``NAME/MODEL?OPTION=VALUE``."""
        self.plugin: Final = Plugin("STT", plugin, language)
        self.ends_streams = True
        """When their input has ended and all is said. Not every plugin does; known by use."""

    @property
    def label(self) -> str:
        """Plugin and model."""
        return self.plugin.label

    async def load(self, progress: Progress) -> None:
        """Import the plugin, check its key with half a second of silence.

        Raises ProviderUnavailable, and ConfigError for options that it has not.
        """
        await self.plugin.load(progress, self._try)

    def stream(self, names: Sequence[str] = ()) -> STTStream:
        """Begin one utterance. `names` are not known to plugins in any common way."""
        if self.plugin.engine.capabilities.streaming:
            return _Stream(self)
        return _WholeUtterance(self.plugin)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self.plugin.aclose()

    async def _try(self) -> None:
        stream = self.stream()
        try:
            stream.push(silence(HEARING_RATE_HZ // 2))
            await stream.flush()
        finally:
            await stream.aclose()


class _Stream:
    """One utterance: a plugin's stream for each stretch of speech between two pauses."""

    def __init__(self, stt: LiveKitSTT) -> None:
        self._stt = stt
        self._stretches: list[_Stretch] = []
        self._refusal: ProviderError | None = None
        self._changed = asyncio.Event()
        self._is_closed = False

    def push(self, samples: Samples) -> None:
        """Append audio. What goes wrong is raised by `flush` and `interims`."""
        if self._refusal is not None:
            return
        try:
            if not self._stretches or self._stretches[-1].is_ended:
                check_budget()
                self._stretches.append(_Stretch(self._stt, self._changed))
            self._stretches[-1].push(samples)
        except Exception as error:  # a plugin may raise anything
            self._refusal = self._stt.plugin.translation.translated(error)
            self._changed.set()

    async def interims(self) -> AsyncIterator[str]:
        """As the plugin has them. Raises ProviderError as soon as it fails."""
        shown = ""
        while not self._is_closed:
            self._changed.clear()
            self._check()
            if (text := self._text()) != shown:
                shown = text
                yield text
            else:
                await self._changed.wait()

    async def flush(self) -> Transcription:
        """End the stretch and wait for its words.

        If the plugin keeps us waiting, an interim result is taken that covers nearly all. Raises
        ProviderTimeout after 10 s without any, ProviderError when the plugin has failed.
        """
        for stretch in self._stretches:
            await stretch.finish()
        self._check()
        return Transcription(self._text(), self._confidence())

    async def aclose(self) -> None:
        """End the plugin's streams. Idempotent."""
        self._is_closed = True
        self._changed.set()
        await asyncio.gather(*(stretch.aclose() for stretch in self._stretches))

    def _check(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        for stretch in self._stretches:
            stretch.check()

    def _text(self) -> str:
        return joined([stretch.text for stretch in self._stretches])

    def _confidence(self) -> float:
        """Of the final results, each as much as it is long."""
        results = [result for stretch in self._stretches for result in stretch.confidences]
        weight = sum(length for length, _ in results)
        return sum(length * value for length, value in results) / weight if weight else 1.0


class _Stretch:
    """One stream of a plugin, and what it said."""

    def __init__(self, stt: LiveKitSTT, changed: asyncio.Event) -> None:
        self.is_ended = False
        """Nothing more is pushed."""
        self.confidences: list[tuple[int, float]] = []
        """Characters and confidence of each final result that has one."""
        self._stt = stt
        self._finals: list[str] = []
        self._interim = ""
        self._levels = Levels()
        self._heard = 0
        """Samples that the last result covers, as far as is known."""
        self._knows_times = False
        """Results say where they end."""
        self._is_alive = False
        """The plugin has told something, though it may be without words."""
        self._is_settling = False
        """A final result came after the end of the input."""
        self._error: ProviderError | None = None
        self._changed = changed
        self._news = asyncio.Event()
        plugin = stt.plugin
        self._source = plugin.call(plugin.engine.stream, conn_options=plugin.options)
        self._reader = asyncio.create_task(self._read())

    @property
    def text(self) -> str:
        """All that is known."""
        return joined([*self._finals, self._interim])

    def push(self, samples: Samples) -> None:
        """Append audio."""
        self._levels.push(samples)
        spend(self._stt.plugin.name, "seconds", len(samples) / HEARING_RATE_HZ)
        with suppress(RuntimeError):  # it has ended already; the reader knows why
            self._source.push_frame(_frame(samples))

    async def finish(self) -> None:
        """End the input, and wait until all is said that will be. Raises ProviderError."""
        if not self.is_ended:
            await asyncio.sleep(0)  # some look first whether there is any input
            self._end()
        deadline = _now() + ANSWER_TIMEOUT
        while not self._reader.done():
            self._news.clear()
            try:
                async with asyncio.timeout_at(min(deadline, _now() + self._patience())):
                    await self._news.wait()
            except TimeoutError:
                self._give_up(is_late=_now() >= deadline)

    def check(self) -> None:
        """Raises ProviderError if it failed."""
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        """End it now. Idempotent."""
        self._reader.cancel()
        await asyncio.wait({self._reader})

    def _end(self) -> None:
        self.is_ended = True
        with suppress(RuntimeError):  # as above
            self._source.push_frame(_frame(silence(int(PAUSE * HEARING_RATE_HZ))))
            self._source.end_input()

    def _patience(self) -> float:
        """Seconds without news after which it is done, or will never be."""
        ends = self._stt.ends_streams
        is_all = self._levels.is_quiet_since(self._heard)
        is_settled = is_all if self._knows_times else not ends and (is_all or self._is_settling)
        if self._finals and not self._interim and is_settled:
            return SETTLED
        if self.text:
            unheard = (self._levels.samples - self._heard) / HEARING_RATE_HZ
            is_nearly_all = not self._knows_times and unheard <= LAG
            return PATIENCE if is_all or is_nearly_all else ANSWER_TIMEOUT
        return PATIENCE if self._is_alive and not ends else ANSWER_TIMEOUT

    def _give_up(self, *, is_late: bool) -> None:
        """Take what is there."""
        if is_late:
            self._error = ProviderTimeout(f"{self._stt.plugin.name} did not answer in time")
        else:
            self._stt.ends_streams = False
        self._reader.cancel()

    async def _read(self) -> None:
        try:
            async for event in self._source:
                self._take(event)
            if not self.is_ended:
                raise ProviderError(f"{self._stt.plugin.name} hung up in the middle")
            self._stt.ends_streams = True
        except Exception as error:  # a plugin may raise anything
            self._error = self._stt.plugin.translation.translated(error)
        finally:
            try:
                await _close(self._source)
            finally:
                self._tell()

    def _take(self, event: Any) -> None:
        self._is_alive = True
        kind = str(getattr(event.type, "value", event.type))
        if kind.endswith("_transcript") and event.alternatives:
            self._understand(event.alternatives[0], is_final=kind.startswith("final"))
        self._tell()

    def _understand(self, result: Any, *, is_final: bool) -> None:
        text = _checked(result.text, self._stt.plugin)
        end = round(result.end_time * HEARING_RATE_HZ)
        self._knows_times = end > 0  # 0 is what plugins say that do not know it
        self._heard = min(end or self._levels.samples, self._levels.samples)
        self._interim = text
        if is_final:
            self._finals.append(text)
            self._interim = ""
            self._is_settling = self.is_ended
            if result.confidence > 0:  # nor this
                self.confidences.append((len(text), result.confidence))

    def _tell(self) -> None:
        self._news.set()
        self._changed.set()


class _WholeUtterance:
    """One utterance for a plugin that does not stream: asked at each pause, for all of it."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._audio: list[Samples] = []
        self._closed = asyncio.Event()

    def push(self, samples: Samples) -> None:
        """Append audio."""
        self._audio.append(samples)

    async def interims(self) -> AsyncIterator[str]:
        """None."""
        await self._closed.wait()
        for text in list[str]():
            yield text

    async def flush(self) -> Transcription:
        """Recognise everything. Raises ProviderError."""
        plugin = self._plugin
        check_budget()
        if not self._audio:
            return Transcription("")
        samples = np.concatenate(self._audio)
        asked = plugin.engine.recognize([_frame(samples)], conn_options=plugin.options)
        with plugin.translation:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                event = await plugin.run(asked)
            spend(plugin.name, "seconds", len(samples) / HEARING_RATE_HZ)
            for best in event.alternatives[:1]:
                return Transcription(_checked(best.text, plugin), best.confidence or 1.0)
        return Transcription("")

    async def aclose(self) -> None:
        """Forget it. Idempotent."""
        self._audio.clear()
        self._closed.set()


def _checked(text: object, plugin: Plugin) -> str:
    """Raises ProviderError."""
    if not isinstance(text, str):
        raise ProviderError(f"{plugin.name} sent what is no text")
    return text


async def _close(source: Any) -> None:
    try:
        await source.aclose()
    except Exception as error:  # it has failed already, or is of no use any more
        log.debug("a plugin's stream did not close: %s", type(error).__name__)


def _frame(samples: Samples) -> AudioFrame:
    from livekit.rtc import AudioFrame

    data = samples.astype("<i2", copy=False).tobytes()
    return AudioFrame(data, HEARING_RATE_HZ, 1, len(samples))


def _now() -> float:
    return asyncio.get_running_loop().time()
