"""One recogniser of Azure's Speech SDK, for asyncio.

The SDK is native code. Its calls may block (stopping waits for the service), so each recogniser
has a thread that makes them; its events come on threads of its own and are handed to the event
loop. Whatever a service does, a recogniser that is closed is gone after a few tenths of a second,
and none outlives the interpreter.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

from mulisa.core.audio import HEARING_RATE_HZ
from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.providers.azure.resource import SpeechResource

BYTES_PER_SECOND: Final = HEARING_RATE_HZ * 2
TICKS_PER_SECOND: Final = 10_000_000
MAX_NAMES: Final = 500
"""More phrases in one list are refused."""
END_TIMEOUT: Final = 1.0
"""Seconds that closing waits for the SDK; its threads end later then."""

_PROPERTIES: Final = {
    # We keep the audio and decide ourselves whether to try again.
    "SPEECH-Error-MaxRetryCount": "0",
    # Otherwise stopping waits 10 s for a service that has fallen silent.
    "SPEECH-StopRecognitionTimeoutInSeconds": "0.1",
    # Audio that waited for a connection is sent at once, not at twice the speed of speech. (sic)
    "SPEECH-TransmitLengthBeforThrottleMs": "3600000",
    # The SDK loses a phrase of more than 2,048 bytes; nobody says that in 30 s.
    "SPEECH-SegmentationSilenceTimeoutMs": "500",
    "SPEECH-SegmentationMaximumTimeMs": "30000",
}
_alive: Final[set[Recognition]] = set()


@dataclass(frozen=True, slots=True)
class Connected:
    """The service has accepted us."""


@dataclass(frozen=True, slots=True)
class Interim:
    """What may be said since the last phrase."""

    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """What was said, finally."""

    text: str
    """Empty if there were no words."""
    confidence: float
    end_bytes: int
    """So much of the audio that was written is understood with it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """All audio up to `end` is understood."""


Heard: TypeAlias = Connected | Interim | Phrase | Ended | ProviderError


def load_sdk() -> Any:
    """The SDK. Blocks for about a second. Raises ProviderUnavailable with the mend."""
    try:
        return import_module("azure.cognitiveservices.speech")
    except (ImportError, OSError) as error:  # OSError: its library does not fit this machine
        raise ProviderUnavailable(
            f"azure needs the package azure-cognitiveservices-speech ({error}):"
            " pip install 'mulisa[azure]'"
        ) from error


class Recognition:
    """Recognises one stretch of audio: `write` it, `end` it, read `heard`, and `close`."""

    def __init__(
        self, resource: SpeechResource, locale: str, model: str, names: Sequence[str]
    ) -> None:
        """Connects at once. `model` is the deployment of a Custom Speech model, or empty."""
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()
        """Ends with `Ended` or an error."""
        self.written_bytes = 0
        self._resource = resource
        self._locale = locale
        self._model = model
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._work: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="azure recogniser", daemon=True)
        _alive.add(self)
        self._thread.start()

    def write(self, audio: bytes) -> None:
        """Append int16 at 16 kHz mono. Never blocks."""
        if audio:
            self.written_bytes += len(audio)
            self._work.put(audio)

    def end(self) -> None:
        """No more audio: what is under way becomes final."""
        self._work.put(b"")

    def close(self) -> None:
        """Stop, if it has not ended; nothing more is heard. Returns at once."""
        self._work.put(None)

    async def gone(self) -> None:
        """Wait, not for long, until a closed one has freed what it holds."""
        try:
            async with asyncio.timeout(END_TIMEOUT):
                await self._gone.wait()
        except TimeoutError:
            pass  # a daemon thread of ours waits for the SDK

    def join(self, timeout: float) -> None:
        """For the end of the interpreter: blocks."""
        self._thread.join(timeout)

    def _run(self) -> None:
        """The thread."""
        try:
            self._recognise()
        except Exception as error:  # the SDK raises RuntimeError, ValueError, TypeError
            said = self._resource.without_key(str(error).partition("[CALL STACK")[0])
            self._report(ProviderError(f"Azure's Speech SDK failed: {said}"))
        finally:
            _alive.discard(self)
            self._call(self._gone.set)

    def _recognise(self) -> None:
        sdk = load_sdk()
        audio = sdk.audio.PushAudioInputStream()
        config = sdk.audio.AudioConfig(stream=audio)
        recogniser = sdk.SpeechRecognizer(self._speech_config(sdk), config)
        grammar = sdk.PhraseListGrammar.from_recognizer(recogniser)
        for name in self._names[:MAX_NAMES]:
            grammar.addPhrase(name)
        connection = sdk.Connection.from_recognizer(recogniser)
        signals = self._listen(sdk, recogniser, connection)
        try:
            recogniser.start_continuous_recognition_async().get()
            while (piece := self._work.get()) is not None:
                audio.write(piece) if piece else audio.close()
        finally:
            for signal in signals:
                signal.disconnect_all()
            recogniser.stop_continuous_recognition_async().get()

    def _speech_config(self, sdk: Any) -> Any:
        resource = self._resource
        key = resource.key or None
        if resource.endpoint:
            config = sdk.SpeechConfig(endpoint=resource.endpoint, subscription=key)
        else:
            config = sdk.SpeechConfig(region=resource.region, subscription=key)
        config.speech_recognition_language = self._locale
        config.output_format = sdk.OutputFormat.Detailed  # with the confidence
        if self._model:
            config.endpoint_id = self._model
        config.set_properties_by_name(_PROPERTIES)
        return config

    def _listen(self, sdk: Any, recogniser: Any, connection: Any) -> list[Any]:
        """The signals that call us: on threads of the SDK, which swallows what is raised there."""

        def recognising(event: Any) -> None:
            self._report(Interim(event.result.text))

        def recognised(event: Any) -> None:
            self._report(_phrase(event.result))

        def canceled(event: Any) -> None:
            details = event.cancellation_details
            is_end = details.reason == sdk.CancellationReason.EndOfStream
            code = details.code.name
            self._report(Ended() if is_end else self._failure(code, details.error_details))

        connection.connected.connect(lambda _: self._report(Connected()))
        recogniser.recognizing.connect(recognising)
        recogniser.recognized.connect(recognised)
        recogniser.canceled.connect(canceled)
        return [
            connection.connected,
            recogniser.recognizing,
            recogniser.recognized,
            recogniser.canceled,
        ]

    def _failure(self, code: str, details: str) -> ProviderError:
        said = self._resource.without_key(details.partition("SessionId:")[0])
        where = self._resource.where
        if "(404)" in said:
            return self._resource.refusal(404, said)
        match code:
            case "AuthenticationFailure" | "Forbidden":
                return self._resource.refusal(401, said)
            case "TooManyRequests":
                return self._resource.refusal(429, said)
            case "BadRequest":
                return ProviderError(
                    f"{where} does not understand us: {said}; is {self._locale} a language that"
                    " it recognises, and does the model exist?",
                    retryable=False,
                )
            case "ConnectionFailure":
                return self._resource.unreachable(said)
            case "ServiceTimeout":
                return ProviderTimeout(f"{where} did not answer in time: {said}")
            case _ if "quota" in said.lower():
                return self._resource.refusal(429, said)
            case _:
                return ProviderError(f"{where} failed: {said}")

    def _report(self, heard: Heard) -> None:
        self._call(self.heard.put_nowait, heard)

    def _call(self, function: Any, *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # the loop is closed: nobody is interested any more


def _phrase(result: Any) -> Phrase:
    end = (result.offset + result.duration) * BYTES_PER_SECOND // TICKS_PER_SECOND
    return Phrase(result.text.strip(), _confidence(result.json), end & ~1)


def _confidence(detailed: str) -> float:
    """Of the best guess; 1.0 where the service does not say."""
    try:
        confidence = float(json.loads(detailed)["NBest"][0]["Confidence"])
    except (ValueError, LookupError, TypeError):
        return 1.0
    return confidence if 0.0 <= confidence <= 1.0 else 1.0


@atexit.register
def _end_all() -> None:
    """An event of the SDK must not come while the interpreter is torn down."""
    alive = list(_alive)
    for recognition in alive:
        recognition.close()
    for recognition in alive:
        recognition.join(END_TIMEOUT)
