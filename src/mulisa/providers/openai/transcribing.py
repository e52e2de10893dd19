"""One transcription session: audio in, transcripts of what was committed out."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.providers.openai.connection import Service
from mulisa.providers.openai.recording import Part
from mulisa.providers.openai.socket import Socket, open_socket

if TYPE_CHECKING:
    from openai import AsyncOpenAI

RATE_HZ: Final = 24_000
MAX_CHARS: Final = 20_000
"""Of one transcript; an utterance is half a minute."""
MAX_ITEMS: Final = 1_000
_TRANSCRIPT: Final = "conversation.item.input_audio_transcription."
_FATAL: Final = ("insufficient_quota", "invalid_api_key", "model_not_found", "access_denied")
"""Error codes that another try meets again."""


class TranscriptionSession:
    """On one WebSocket. Parts are committed and answered in the same order."""

    def __init__(self, socket: Socket, service: Service) -> None:
        self._socket = socket
        self._service = service
        self._resampler = _resampler()
        self._committed: deque[Part] = deque()
        """Parts whose items are not named yet."""
        self._items: dict[str, Part] = {}
        self._words: dict[str, str] = {}

    @classmethod
    async def open(cls, client: AsyncOpenAI, service: Service, settings: Mapping[str, Any]) -> Self:
        """Connect, and say what is wanted: 24 kHz in, no detection of turns.

        Raises ProviderError; `connection.NotThere` where the service has no such interface.
        """
        socket = await open_socket(client, service, query={"intent": "transcription"})
        heard = {
            "format": {"type": "audio/pcm", "rate": RATE_HZ},
            "transcription": dict(settings),
            "turn_detection": None,
        }
        session = {"type": "transcription", "audio": {"input": heard}}
        try:
            await socket.send({"type": "session.update", "session": session})
        except BaseException:
            await socket.aclose()
            raise
        return cls(socket, service)

    async def append(self, samples: Samples) -> None:
        """Send audio: 16 kHz. Raises ProviderError."""
        await self._send_audio(self._resampler.resample_chunk(samples))

    async def commit(self, part: Part) -> None:
        """What was sent since the last commit is this part. Raises ProviderError."""
        await self._send_audio(
            self._resampler.resample_chunk(np.empty(0, dtype=np.int16), last=True)
        )
        self._resampler = _resampler()
        self._committed.append(part)
        await self._socket.send({"type": "input_audio_buffer.commit"})

    async def transcripts(self) -> AsyncIterator[tuple[Part | None, str, bool]]:
        """Part, its words so far, and whether they are final; until the session is lost.

        A part of None is the one that is not committed yet. Raises ProviderError.
        """
        while True:
            event = await self._socket.receive()
            kind = str(event.get("type"))
            if kind == "error" or kind == f"{_TRANSCRIPT}failed":
                raise self._failure(event.get("error"))
            if kind == "input_audio_buffer.committed" and self._committed:
                self._items[str(event.get("item_id"))] = self._committed.popleft()
            elif kind == f"{_TRANSCRIPT}delta":
                yield self._with_delta(event)
            elif kind == f"{_TRANSCRIPT}completed":
                part = self._items.get(str(event.get("item_id")))
                if part is not None:
                    yield part, _text(event.get("transcript")), True

    async def aclose(self) -> None:
        """Idempotent."""
        await self._socket.aclose()

    async def _send_audio(self, samples: Samples) -> None:
        if len(samples):
            audio = base64.b64encode(samples.astype("<i2").tobytes()).decode()
            await self._socket.send({"type": "input_audio_buffer.append", "audio": audio})

    def _with_delta(self, event: Mapping[str, Any]) -> tuple[Part | None, str, bool]:
        item_id = str(event.get("item_id"))
        words = self._words.get(item_id, "") + _text(event.get("delta"))
        if len(words) > MAX_CHARS or len(self._words) > MAX_ITEMS:
            raise ProviderError(f"{self._service.where} does not come to an end")
        self._words[item_id] = words
        return self._items.get(item_id), words, False

    def _failure(self, error: Any) -> ProviderError:
        told: Mapping[str, Any] = error if isinstance(error, dict) else {}
        said = " ".join(str(told.get("message") or "it does not say why").split())[:300]
        code, where = str(told.get("code") or told.get("type")), self._service.where
        if code in _FATAL:
            mend = (
                "check plan and billing of the account"
                if "quota" in code
                else f"check {self._service.key}, or name another model: {self._service.another}"
            )
            return ProviderUnavailable(f"{where} refuses to transcribe: {said}; {mend}")
        return ProviderError(f"{where} could not transcribe: {said}")


def _resampler() -> Any:
    return soxr.ResampleStream(HEARING_RATE_HZ, RATE_HZ, 1, dtype="int16")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
