"""Streaming recognition by OpenAI's realtime transcription, or by its plain audio interface.

An utterance is a session of its own on a WebSocket (GA Realtime API, ``intent=transcription``),
opened when speech begins, while the first words are being said. The service's own detection of
turns is off: what we take for a pause commits what was said so far, as an item with a transcript.
"""

from __future__ import annotations

import asyncio
import io
import logging
import wave
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress, STTStream, Transcription
from mulisa.providers.openai.connection import (
    ANSWER_TIMEOUT,
    NotThere,
    connect,
    listed_models,
    openai_service,
    warn_if_gone,
)
from mulisa.providers.openai.recording import Part, Recording, joined
from mulisa.providers.openai.transcribing import TranscriptionSession

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "gpt-4o-mini-transcribe"
SUCCESSOR: Final = "gpt-transcribe"
"""Of the default, which OpenAI ends in February 2027; taken once only this one is there."""
HINTED_MODELS: Final = (SUCCESSOR, "gpt-live-transcribe")
"""Take keywords, and several languages in the place of one."""
PLAIN_MODELS: Final = ("whisper-1", "gpt-4o-transcribe-diarize")
"""Known to the plain interface, and not worth a session: they hear nothing before the end."""
PLAIN: Final = "plain/"
"""In front of a model: it is asked by the plain interface."""
SILENT_SESSIONS: Final = 2
"""So many in a row that say nothing, and the plain interface is asked first."""
NOTICEABLE: Final = 0.8
"""Seconds without words after which a session counts as silent, if it is given up."""
TRIES: Final = 2
"""Sessions that an utterance may use up before the plain interface is asked."""


class OpenAISTT:
    """A recogniser behind OpenAI's or a compatible service."""

    def __init__(
        self, model: str = "", base_url: str = "", api_key: str = "", language: str = ""
    ) -> None:
        """`model` is one of the service's; ``plain/MODEL`` asks by the plain audio interface."""
        self._model = model.removeprefix(PLAIN) or DEFAULT_MODEL
        self._is_default = not model.removeprefix(PLAIN)
        self._base_url = base_url
        self._api_key = api_key
        self._language = language
        self.is_plain = model.startswith(PLAIN) or self._model in PLAIN_MODELS
        """The plain interface is asked; also once a service has shown that it has no other."""
        self.silent_sessions = 0
        """In a row; they connect, and nothing comes: a proxy may swallow it."""
        self._service = openai_service(base_url, "--stt openai:MODEL")
        self._client: AsyncOpenAI | None = None

    @property
    def label(self) -> str:
        """Model and where it runs."""
        return f"{self._model} ({self._service.where})"

    async def load(self, progress: Progress) -> None:
        """Connect and check the key. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        progress(f"asking {self._service.where}", None)
        if not self._base_url and not self._api_key:
            raise ProviderUnavailable("OpenAI's recognisers need a key; set OPENAI_API_KEY")
        await self.aclose()
        self._client = await asyncio.to_thread(connect, self._base_url, self._api_key)
        models = await listed_models(self._client, self._service)
        if self._is_default and DEFAULT_MODEL not in models and SUCCESSOR in models:
            self._model = SUCCESSOR
        warn_if_gone(self._model, models, self._service)

    def stream(self, names: Sequence[str] = ()) -> STTStream:
        """Begin one utterance. Needs a running event loop."""
        return _Stream(self, names)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def open_session(self, names: Sequence[str]) -> TranscriptionSession:
        """A session for one utterance. Raises ProviderError."""
        check_budget()
        settings = self._settings(names)
        return await TranscriptionSession.open(self._loaded(), self._service, settings)

    async def transcribe(self, samples: Samples, names: Sequence[str]) -> str:
        """All at once, by the plain interface. Raises ProviderError."""
        check_budget()
        settings = self._settings(names)
        with self._service.translation():
            async with asyncio.timeout(ANSWER_TIMEOUT):
                found = await self._loaded().audio.transcriptions.create(
                    file=("speech.wav", _wav(samples), "audio/wav"), **settings
                )
            text = getattr(found, "text", None)
            if not isinstance(text, str):
                raise ValueError("no text")
        self.spent(len(samples))
        return text

    def spent(self, samples: int) -> None:
        """So many were sent."""
        spend(self._service.name, "seconds", samples / HEARING_RATE_HZ)

    def _loaded(self) -> AsyncOpenAI:
        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._service.where} is not loaded")
        return self._client

    def _settings(self, names: Sequence[str]) -> dict[str, Any]:
        language = self._language.partition("-")[0]
        known = [name for name in dict.fromkeys(" ".join(name.split()) for name in names) if name]
        if self._model in HINTED_MODELS:
            keywords = [name.replace("<", "").replace(">", "") for name in known]  # are refused
            hints: dict[str, Any] = {"languages": [language] * bool(language), "keywords": keywords}
        else:
            prompt = f"A conversation with {', '.join(known)}." if known else ""
            has_prompt = self._model != "gpt-realtime-whisper"
            hints = {"language": language, "prompt": prompt if has_prompt else ""}
        return {"model": self._model} | {name: hint for name, hint in hints.items() if hint}


class _Stream:
    """One utterance: kept until it is understood, whatever happens to connections."""

    def __init__(self, stt: OpenAISTT, names: Sequence[str]) -> None:
        self._stt = stt
        self._names = names
        self._recording = Recording()
        self._interims: asyncio.Queue[str | None] = asyncio.Queue()
        self._flushing = asyncio.Lock()
        self._session: asyncio.Task[None] | None = None

    def push(self, samples: Samples) -> None:
        """Append audio; sent as soon as there is a connection."""
        self._recording.push(samples)
        if self._session is None and not self._stt.is_plain:
            self._session = asyncio.create_task(self._attend())

    async def interims(self) -> AsyncIterator[str]:
        """As the service has them; the plain interface has none."""
        while (text := await self._interims.get()) is not None:
            yield text

    async def flush(self) -> Transcription:
        """Commit what was pushed and wait for its words.

        Raises ProviderError when two sessions and the plain interface failed, and at once where
        the service refuses us.
        """
        async with self._flushing:
            parts = self._recording.commit()
            tries = TRIES if self._stt.silent_sessions < SILENT_SESSIONS else 0
            for _ in range(tries):
                if self._recording.pending and not self._stt.is_plain:
                    await self._try_session(self._recording.pending)
            for part in self._recording.pending:
                text = await self._stt.transcribe(part.since(0), self._names)
                self._recording.understand(part, text)
            return Transcription(joined([part.text or "" for part in parts]))

    async def aclose(self) -> None:
        """End the session. Idempotent."""
        self._interims.put_nowait(None)
        await self._end_session()

    async def _try_session(self, parts: Sequence[Part]) -> None:
        """Wait for a session to understand these; raises only what another try meets again."""
        session = self._session = self._session or asyncio.create_task(self._attend())
        waiting = asyncio.create_task(self._recording.wait_understood(parts))
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.wait(
                {session, waiting},
                timeout=ANSWER_TIMEOUT,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if waiting.done():
                return
        finally:
            waited = asyncio.get_running_loop().time() - began
            if not (waiting.done() or session.done()) and waited > NOTICEABLE:
                self._stt.silent_sessions += 1
            waiting.cancel()
        error = session.exception() if session.done() else None
        await self._end_session()
        if isinstance(error, NotThere):
            self._stt.is_plain = True
            log.info("%s; its plain audio interface is asked from now on", error)
        elif isinstance(error, ProviderError) and not error.retryable:
            raise error
        else:
            log.warning("%s; said again in a new session", error or "no words in time")

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.cancel()
            await asyncio.wait({session})
            if not session.cancelled():
                session.exception()  # is known to who waited for it

    async def _attend(self) -> None:
        """Open a session, send what is not understood, then what comes, for ever."""
        session = await self._stt.open_session(self._names)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive(session))
                tasks.create_task(self._send(session))
        except ExceptionGroup as group:
            raise _first(group) from group
        finally:
            await session.aclose()

    async def _send(self, session: TranscriptionSession) -> None:
        recording = self._recording
        place, sent = recording.first_unknown, 0
        while True:
            recording.grown.clear()
            part = recording.parts[place] if place < len(recording.parts) else None
            if part is not None and sent < len(part):
                samples = part.since(sent)
                sent += len(samples)
                self._stt.spent(len(samples))
                await session.append(samples)
            elif part is not None and part.committed:
                place, sent = place + 1, 0
                await session.commit(part)
            else:
                await recording.grown.wait()

    async def _receive(self, session: TranscriptionSession) -> None:
        async for part, text, is_final in session.transcripts():
            if is_final and part is not None:
                self._recording.understand(part, text)
                self._stt.silent_sessions = 0
            self._interims.put_nowait(self._recording.text_with(part, text))


def _first(group: BaseExceptionGroup[BaseException]) -> ProviderError:
    for error in group.exceptions:
        if isinstance(error, ProviderError):
            return error
    return ProviderError(f"a session failed: {group.exceptions[0]}")


def _wav(samples: Samples) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(HEARING_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()
