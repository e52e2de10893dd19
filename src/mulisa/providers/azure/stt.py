"""Azure's speech to text: a recogniser of the Speech SDK for each stretch of speech.

The service ends a phrase after half a second of silence, which is later than a reply should
begin. So a pause ends the audio, which makes everything final at once, and if the person goes on,
a further recogniser hears the rest. (The SDK can also ask for a commit amid the stream, but says
itself that services need not obey.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import Samples
from mulisa.core.backoff import Backoff
from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import Progress, Transcription
from mulisa.providers.azure.recognition import (
    BYTES_PER_SECOND,
    Connected,
    Ended,
    Interim,
    Phrase,
    Recognition,
    load_sdk,
)
from mulisa.providers.azure.resource import (
    CONNECT_TIMEOUT,
    ENGINE,
    SpeechResource,
    open_session,
    to_locale,
)

log = logging.getLogger(__name__)

FINAL_TIMEOUT: Final = 2.5
"""Seconds from the end of the audio to the last words."""
CATCH_UP: Final = 0.25
"""Further seconds for each second of audio that had to wait for a connection."""
TRIES: Final = 4
FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0
HELD_BYTES: Final = round(0.6 * BYTES_PER_SECOND)
"""So much after a pause may be the silence that follows speech, not worth a connection."""


class AzureSTT:
    """Recognition by an Azure Speech resource.

    Needs `region` or `endpoint`, and `api_key`. `model` is the deployment of a Custom Speech
    model; without it, it is Azure's own for the `language` (American English if none is given).
    """

    def __init__(
        self,
        model: str = "",
        region: str = "",
        endpoint: str = "",
        api_key: str = "",
        language: str = "",
    ) -> None:
        self._model = model
        self._language = language
        self._resource = SpeechResource.of(region, endpoint, api_key)
        self._locale: str | None = None

    @property
    def label(self) -> str:
        """The model, if it is not Azure's own, and where it is."""
        return f"{self._model} ({self._resource.where})" if self._model else self._resource.where

    async def load(self, progress: Progress) -> None:
        """Load the SDK and check the key with one call. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        self._resource.check_settings()
        locale = to_locale(self._language)
        progress("loading the Speech SDK", None)
        await asyncio.to_thread(load_sdk)
        progress(f"asking {self._resource.where}", None)
        try:
            await self._check_key()
        except ProviderError as error:
            if not error.retryable:
                raise
            log.warning("%s; it is asked again when somebody speaks", error)
            progress(f"{self._resource.where} does not answer yet", None)
        self._locale = locale

    def stream(self, names: Sequence[str] = ()) -> AzureSTTStream:
        """Begin one utterance; `names` go into the phrase list."""
        if self._locale is None:
            raise ProviderUnavailable(f"{self._resource.where} is not loaded")
        resource, locale, model = self._resource, self._locale, self._model
        phrases = [name for name in map(str.strip, names) if name]
        return AzureSTTStream(lambda: Recognition(resource, locale, model, phrases))

    async def aclose(self) -> None:
        """Take no further utterances; those that are open go on. Idempotent."""
        self._locale = None

    async def _check_key(self) -> None:
        resource = self._resource
        async with (
            open_session() as session,
            resource.answered(session, "POST", resource.token_url),
        ):
            pass


class AzureSTTStream:
    """One utterance of one person."""

    def __init__(self, recognise: Callable[[], Recognition]) -> None:
        self._recognise = recognise
        self._parts: list[_Part] = []
        """What was said between two pauses, each."""
        self._held = bytearray()
        self._interim_due = asyncio.Event()
        self._closed = False

    def push(self, samples: Samples) -> None:
        """Append audio: int16, 16 kHz mono, any length. Never blocks."""
        if self._closed or not samples.size:
            return
        self._held += samples.astype("<i2").tobytes()
        if not self._parts or not self._parts[-1].is_over or len(self._held) > HELD_BYTES:
            self._release()

    async def interims(self) -> AsyncIterator[str]:
        """Text so far, as the service guesses it. Ends with `aclose`. One reader."""
        shown = ""
        while True:
            await self._interim_due.wait()
            if self._closed:
                return
            self._interim_due.clear()
            text = " ".join(filter(None, (part.guess for part in self._parts)))
            if text and text != shown:
                shown = text
                yield text

    async def flush(self) -> Transcription:
        """Text of everything pushed so far.

        Audio is kept until it is understood: a lost connection is made anew and hears it again.
        Raises ProviderTimeout if the last words do not come within 2.5 s, ProviderUnavailable if
        there is no connection after four tries or the service refuses us, ProviderError for
        anything else. A further flush tries again.
        """
        if self._held:
            self._release()
        parts = list(self._parts)
        for part in parts:
            part.end()
        return Transcription.joined([await part.text() for part in parts])

    async def aclose(self) -> None:
        """End the utterance and free what it holds. Idempotent."""
        self._closed = True
        self._interim_due.set()
        parts, self._parts = self._parts, []
        await asyncio.gather(*(part.aclose() for part in parts))

    def _release(self) -> None:
        if not self._parts or self._parts[-1].is_over:
            self._parts.append(_Part(self._recognise, self._interim_due.set))
        self._parts[-1].push(bytes(self._held))
        self._held.clear()


@dataclass(slots=True)
class _Hearing:
    """A recogniser at work."""

    recognition: Recognition
    limit: asyncio.Timeout
    patience: float
    """Seconds from the end of the audio to the last words."""
    understood_bytes: int = 0
    is_connected: bool = False

    def end(self) -> None:
        self.recognition.end()
        self.limit.reschedule(asyncio.get_running_loop().time() + self.patience)


class _Part:
    """Speech between two pauses: who recognises it, and its audio until it is understood."""

    def __init__(self, recognise: Callable[[], Recognition], on_guess: Callable[[], None]) -> None:
        self.is_over = False
        self._recognise = recognise
        self._on_guess = on_guess
        self._audio = bytearray()
        """What is not understood yet."""
        self._phrases: list[Transcription] = []
        self._interim = ""
        self._hearing: _Hearing | None = None
        self._recognitions: list[Recognition] = []
        self._task = self._start()

    @property
    def guess(self) -> str:
        """The words so far."""
        said = [phrase.text for phrase in self._phrases]
        return " ".join(filter(None, [*said, self._interim]))

    def push(self, audio: bytes) -> None:
        """Not after `end`."""
        self._audio += audio
        if self._hearing is not None:
            self._hearing.recognition.write(audio)

    def end(self) -> None:
        """A pause: what is under way becomes final. Idempotent."""
        if self._hearing is not None and not self.is_over:
            self._hearing.end()
        self.is_over = True

    async def text(self) -> Transcription:
        """After `end`. Raises ProviderError; a further call tries again."""
        if self._task.done() and not self._task.cancelled() and self._task.exception():
            self._task = self._start()
        await asyncio.wait([self._task])  # goes on if we are cancelled
        if self._task.cancelled():
            raise ProviderError("the utterance was closed")
        return self._task.result()

    async def aclose(self) -> None:
        """Stop and free everything."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(recognition.gone() for recognition in self._recognitions))

    def _start(self) -> asyncio.Task[Transcription]:
        return asyncio.create_task(self._understand(), name="azure recognition")

    async def _understand(self) -> Transcription:
        """With further recognisers where one fails."""
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        for tries_left in reversed(range(TRIES)):
            try:
                await self._hear()
                break
            except ProviderError as error:
                if not tries_left or not error.retryable or isinstance(error, ProviderTimeout):
                    raise
                log.info("a recogniser failed and is replaced: %s", error)
            await asyncio.sleep(backoff.failed())
        self._audio.clear()
        return Transcription.joined(self._phrases)

    async def _hear(self) -> None:
        """With one recogniser, to the end."""
        check_budget()
        self._interim = ""
        recognition = self._recognise()
        self._recognitions.append(recognition)
        patience = FINAL_TIMEOUT + CATCH_UP * len(self._audio) / BYTES_PER_SECOND
        recognition.write(bytes(self._audio))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT) as limit:
                hearing = self._hearing = _Hearing(recognition, limit, patience)
                if self.is_over:
                    hearing.end()
                await self._take_all(hearing)
        except TimeoutError as error:
            raise ProviderTimeout("Azure Speech did not answer in time") from error
        finally:
            self._hearing = None
            recognition.close()
            if hearing.is_connected:
                spend(ENGINE, "seconds", recognition.written_bytes / BYTES_PER_SECOND)

    async def _take_all(self, hearing: _Hearing) -> None:
        while not isinstance(heard := await hearing.recognition.heard.get(), Ended):
            if isinstance(heard, ProviderError):
                raise heard
            if isinstance(heard, Connected):
                self._set_connected(hearing)
            else:
                self._take(heard, hearing)
        if self._interim or not self.is_over:
            raise ProviderError("Azure Speech ended in the middle")

    def _set_connected(self, hearing: _Hearing) -> None:
        hearing.is_connected = True
        if not self.is_over:
            hearing.limit.reschedule(None)

    def _take(self, heard: Interim | Phrase, hearing: _Hearing) -> None:
        if isinstance(heard, Interim):
            self._interim = heard.text.strip()
        else:
            self._interim = ""
            if heard.text:
                self._keep(heard, hearing)
        self._on_guess()

    def _keep(self, phrase: Phrase, hearing: _Hearing) -> None:
        """Audio that is understood need not be heard again."""
        self._phrases.append(Transcription(phrase.text, phrase.confidence))
        end = min(phrase.end_bytes, hearing.recognition.written_bytes)
        if end > hearing.understood_bytes:
            del self._audio[: end - hearing.understood_bytes]
            hearing.understood_bytes = end
