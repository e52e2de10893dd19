"""One room's speech-to-speech session: connections that follow each other, one reply at a time.

A `Link` is one connection with the conversation that the service keeps for it; a `SpeechSession`
has one at a time, replaces it before the service ends it, and when it is lost. All that is said
in a call comes with each request, so a new link is told what the former knew with its first one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import HEARING_RATE_HZ, Samples, silence
from mulisa.core.backoff import Backoff
from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import AudioDelta, Message, RealtimeRequest, TextDelta, ToolCall
from mulisa.providers.openai.conversation import SPEECH, Conversation, Event
from mulisa.providers.openai.dialects import CANONICAL, RATE_HZ, Dialect

log = logging.getLogger(__name__)

PIECE: Final = RATE_HZ
"""Samples per message of speech."""
_BROKEN: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading an event may raise that is not as it should be."""
MAX_TOKENS: Final = 1e6
"""More than that is no count of one response."""
MAX_RESPONSE: Final = 10 * 60 * RATE_HZ * 2
"""Bytes: ten minutes of speech."""
MIN_SPEECH: Final = RATE_HZ // 5
"""Less than 100 ms is refused."""

_Delta: TypeAlias = TextDelta | AudioDelta | ToolCall


class Wire(Protocol):
    """A connection to the service: JSON objects in both directions."""

    async def send(self, event: Mapping[str, Any]) -> None:
        """Raises ProviderError."""
        ...

    async def receive(self) -> dict[str, Any]:
        """The next event. Raises ProviderError when there will be none, or for garbage."""
        ...

    async def aclose(self) -> None:
        """Idempotent."""
        ...


OpenWire: TypeAlias = Callable[[], Awaitable[Wire]]
"""Connects. Raises ProviderError."""


@dataclass(frozen=True, slots=True)
class SpeechSessionConfig:
    """Seconds."""

    max_age: float = 55 * 60.0
    """After which a connection is replaced as soon as nobody is answered; the services end it
    after 60 (OpenAI) or 30 minutes (Azure)."""
    setup_timeout: float = 5.0
    """For the service to accept the session."""
    cancel_timeout: float = 2.0
    """A connection is given up that does not end a response that long after it was cancelled."""
    first_wait: float = 0.5
    """Between two tries to connect, at first."""
    longest_wait: float = 15.0
    """... and at last."""
    refused_wait: float = 60.0
    """... when trying again helps only if somebody mends it meanwhile."""


@dataclass(slots=True, eq=False)
class _Response:
    """What the service says to one request."""

    deltas: asyncio.Queue[_Delta | ProviderError | None] = field(default_factory=asyncio.Queue)
    """None: that was all."""
    event_ids: set[str] = field(default_factory=set)
    """Of what was sent for it and must not fail."""
    response_id: str = ""
    size: int = 0
    """Bytes of text and audio that came."""
    cancelled: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, delta: _Delta, size: int) -> None:
        """Raises ValueError if the service does not come to an end."""
        self.size += size
        if self.size > MAX_RESPONSE:
            raise ValueError("endless response")
        self.deltas.put_nowait(delta)

    def end(self, failure: ProviderError | None) -> None:
        """Nothing more comes. Idempotent."""
        if not self.done.is_set():
            self.done.set()
            self.deltas.put_nowait(failure)


class Link:
    """One connection, and the conversation in it."""

    def __init__(
        self, wire: Wire, dialect: Dialect, engine: str, config: SpeechSessionConfig
    ) -> None:
        """`engine` is the service as people know it."""
        self._wire = wire
        self._dialect = dialect
        self._engine = engine
        self._config = config
        self._conversation = Conversation(dialect.assistant_text)
        self._outgoing: asyncio.Queue[Event] = asyncio.Queue()
        self._numbers = count(1)
        self._response: _Response | None = None
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: ProviderError | None = None
        self._told: tuple[str, object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def failure(self) -> ProviderError | None:
        """Why it has ended; None while it lives."""
        return self._failure

    async def run(self) -> None:
        """Live until it is lost or closed; never raises ProviderError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                jobs = [tasks.create_task(job) for job in (self._read(), self._write())]
                await self._ended.wait()
                for job in jobs:
                    job.cancel()
        finally:
            self.lose(ProviderUnavailable(f"the session with {self._engine} is over"))
            await self._wire.aclose()

    async def set_up(self) -> None:
        """Agree on the session. Raises ProviderError; then it has ended."""
        self._send({"type": "session.update", "session": self._dialect.setup()})
        try:
            async with asyncio.timeout(self._config.setup_timeout):
                await self._ready.wait()
        except TimeoutError:
            self.lose(ProviderTimeout(f"{self._engine} did not accept the session in time"))
        if self._failure is not None:
            raise self._failure

    def lose(self, failure: ProviderError) -> None:
        """It is of no use any more. Idempotent."""
        if self._failure is None:
            self._failure = failure
            if self._response is not None:
                self._response.end(failure)
            if self._timer is not None:
                self._timer.cancel()
            self._ready.set()
            self._ended.set()

    async def wait_ended(self) -> None:
        """Until it is lost or closed."""
        await self._ended.wait()

    async def respond(
        self, request: RealtimeRequest, speech: Samples | None
    ) -> AsyncGenerator[_Delta, None]:
        """See `RealtimeSession.respond`; `speech` is at `RATE_HZ`."""
        if self._response is not None:
            await self._response.done.wait()
        if self._failure is not None:
            raise self._failure
        response = self._response = _Response()
        self._tell(request)
        for event in self._conversation.sync(request.messages[1:], speech is not None):
            if event["type"] == SPEECH and speech is not None:
                self._send_speech(speech, response)
            else:
                self._send(event)
        wish = {"tool_choice": "none"} if request.final else {}
        response.event_ids.add(self._send({"type": "response.create", "response": wish}))
        try:
            while (delta := await response.deltas.get()) is not None:
                if isinstance(delta, ProviderError):
                    raise delta
                yield delta
        finally:
            self._stop(response)

    def heard(self, words: Message | None, seconds: float) -> None:
        """See `RealtimeSession.heard`."""
        if self._failure is not None:
            return
        if self._response is not None:
            self._stop(self._response)
        for event in self._conversation.settle(words, seconds):
            self._send(event)

    # Sending

    def _send(self, event: Event) -> str:
        event_id = f"event_{next(self._numbers)}"
        self._outgoing.put_nowait({"event_id": event_id, **event})
        return event_id

    def _tell(self, request: RealtimeRequest) -> None:
        """Instructions and tools, if they are not what they were."""
        told = (request.messages[0].content, request.tools)
        if told != self._told:
            self._told = told
            update = self._dialect.update(request.messages[0].content, request.tools)
            self._send({"type": "session.update", "session": update})

    def _send_speech(self, speech: Samples, response: _Response) -> None:
        for start in range(0, len(speech), PIECE):
            pcm = speech[start : start + PIECE].astype("<i2", copy=False).tobytes()
            audio = base64.b64encode(pcm).decode()
            append = {"type": "input_audio_buffer.append", "audio": audio}
            response.event_ids.add(self._send(append))
        response.event_ids.add(self._send({"type": "input_audio_buffer.commit"}))
        spend(self._engine, "seconds", len(speech) / RATE_HZ)

    def _stop(self, response: _Response) -> None:
        if response.done.is_set() or response.cancelled:
            return
        response.cancelled = True
        which = {"response_id": response.response_id} if response.response_id else {}
        self._send({"type": "response.cancel", **which})
        silent = ProviderTimeout(f"{self._engine} did not stop when it was told to")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            self._config.cancel_timeout,
            lambda: None if response.done.is_set() else self.lose(silent),
        )

    async def _write(self) -> None:
        try:
            while True:
                await self._wire.send(await self._outgoing.get())
        except ProviderError as error:
            self.lose(error)

    # Receiving

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._wire.receive())
        except ProviderError as error:
            self.lose(error)

    def _take(self, event: Mapping[str, Any]) -> None:
        name = event.get("type")
        handler = _HANDLERS.get(CANONICAL.get(name, name)) if isinstance(name, str) else None
        if handler is None:
            return
        try:
            handler(self, event)
        except _BROKEN as error:
            raise ProviderError(f"{self._engine} sent a broken {name}") from error

    def _current(self, event: Mapping[str, Any]) -> _Response | None:
        """The response that an event belongs to, if anybody waits for it."""
        response = self._response
        if response is None or response.done.is_set() or response.cancelled:
            return None
        return response if event["response_id"] == response.response_id else None

    def _on_updated(self, _: Mapping[str, Any]) -> None:
        self._ready.set()

    def _on_created(self, event: Mapping[str, Any]) -> None:
        response = self._response
        if response is not None and not response.response_id and not response.done.is_set():
            response.response_id = str(event["response"]["id"])

    def _on_item(self, event: Mapping[str, Any]) -> None:
        item, response = event["item"], self._response
        if response is None or event["response_id"] != response.response_id:
            return
        if response.cancelled:  # too late to be heard
            self._send({"type": "conversation.item.delete", "item_id": str(item["id"])})
        elif item["type"] == "function_call":
            self._conversation.reply_called(str(item["id"]), str(item["call_id"]))
        elif item["type"] == "message":
            self._conversation.reply_began(str(item["id"]))

    def _on_item_done(self, event: Mapping[str, Any]) -> None:
        item = event["item"]
        if item["type"] == "message":
            if item.get("status") != "incomplete":
                self._conversation.reply_completed(str(item["id"]))
        elif item["type"] == "function_call" and (response := self._current(event)):
            response.take(_tool_call(item), len(item["arguments"]))

    def _on_text(self, event: Mapping[str, Any]) -> None:
        if response := self._current(event):
            response.take(TextDelta(_text(event["delta"])), len(event["delta"]))

    def _on_audio(self, event: Mapping[str, Any]) -> None:
        if response := self._current(event):
            pcm = base64.b64decode(_text(event["delta"]), validate=True)
            samples = np.frombuffer(pcm, dtype="<i2").astype(np.int16)
            self._conversation.reply_went_on(str(event["item_id"]), len(samples) / RATE_HZ)
            response.take(AudioDelta(samples), len(pcm))

    def _on_done(self, event: Mapping[str, Any]) -> None:
        done = event["response"]
        usage = done.get("usage") or {}
        spend(self._engine, "tokens", min(float(usage.get("total_tokens") or 0), MAX_TOKENS))
        response = self._response
        if response is None or response.response_id not in ("", str(done["id"])):
            return
        failed = done.get("status") == "failed"
        why = (done.get("status_details") or {}).get("error") or {}
        response.end(self._as_error(why) if failed and not response.cancelled else None)

    def _on_committed(self, event: Mapping[str, Any]) -> None:
        for following in self._conversation.committed(str(event["item_id"])):
            self._send(following)

    def _on_error(self, event: Mapping[str, Any]) -> None:
        error = event["error"]
        failure, event_id = self._as_error(error), error.get("event_id")
        response = self._response
        if not self._ready.is_set():
            self.lose(failure)
        elif response is not None and (event_id is None or event_id in response.event_ids):
            response.end(failure)
        else:
            log.info("%s", failure)

    def _as_error(self, error: Mapping[str, Any]) -> ProviderError:
        said = " ".join(str(error.get("message") or "it does not say why").split())[:300]
        code = str(error.get("code") or error.get("type") or "")
        if code in _REFUSALS:
            return ProviderUnavailable(f"{self._engine} refuses: {said}; {_REFUSALS[code]}")
        return ProviderError(f"{self._engine} failed: {said}")


_REFUSALS: Final = {
    "insufficient_quota": "check plan and billing of the account",
    "invalid_api_key": "check the key",
    "model_not_found": "check --realtime NAME:MODEL",
}
_HANDLERS: Final[dict[str, Callable[[Link, Mapping[str, Any]], None]]] = {
    "session.updated": Link._on_updated,
    "response.created": Link._on_created,
    "response.output_item.added": Link._on_item,
    "response.output_item.done": Link._on_item_done,
    "response.output_audio_transcript.delta": Link._on_text,
    "response.output_audio.delta": Link._on_audio,
    "response.done": Link._on_done,
    "input_audio_buffer.committed": Link._on_committed,
    "error": Link._on_error,
}


class SpeechSession:
    """See `RealtimeSession`."""

    def __init__(
        self, open_wire: OpenWire, dialect: Dialect, engine: str, config: SpeechSessionConfig
    ) -> None:
        self._open_wire = open_wire
        self._dialect = dialect
        self._engine = engine
        self._config = config
        self._backoff = Backoff(config.first_wait, config.longest_wait)
        self._link: Link | None = None
        self._speaking: Link | None = None
        """The link of the reply that is going on."""
        self._refusal: ProviderError | None = None
        """Why it is not connected, after a first try."""
        self._news = asyncio.Event()
        """Fires, and is replaced, when one of these changes."""
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def engine(self) -> str:
        """The service as people know it."""
        return self._engine

    @property
    def sample_rate_hz(self) -> int:
        """Of what `respond` yields."""
        return RATE_HZ

    async def run(self) -> None:
        """See `RealtimeSession`."""
        async with asyncio.TaskGroup() as tasks:
            former: Link | None = None
            while True:
                link = await self._open(tasks)
                if former is not None:
                    await self._until_idle(former)
                self._now(link, None)
                if former is not None:
                    former.lose(ProviderUnavailable(f"a new session with {self._engine} began"))
                await self._until_old(link)
                former = link

    async def respond(self, request: RealtimeRequest) -> AsyncGenerator[_Delta, None]:
        """See `RealtimeSession`."""
        check_budget()
        self._idle.clear()
        speech = None
        if request.speech is not None:
            speech = await asyncio.to_thread(_resampled, request.speech)
        link = await self._usable_link()
        goes_on = any(message.role == "tool" for message in request.messages)
        if goes_on and self._speaking is not link:
            raise ProviderError(f"the session with {self._engine} was lost in the middle")
        self._speaking = link
        deltas = link.respond(request, speech)
        try:
            async for delta in deltas:
                yield delta
        finally:
            await deltas.aclose()

    def heard(self, words: Message | None, seconds: float) -> None:
        """See `RealtimeSession`."""
        link, self._speaking = self._speaking, None
        if link is not None:
            link.heard(words, seconds)
        self._idle.set()

    async def _usable_link(self) -> Link:
        """Wait for a connection while one may come. Raises ProviderError."""
        while self._link is None or self._link.failure is not None:
            if self._refusal is not None:
                raise self._refusal
            await self._news.wait()
        return self._link

    async def _open(self, tasks: asyncio.TaskGroup) -> Link:
        """A new link, however often it must be tried."""
        while True:
            try:
                check_budget()
                link = Link(await self._open_wire(), self._dialect, self._engine, self._config)
                tasks.create_task(link.run())
                await link.set_up()
                return link
            except ProviderError as error:
                await self._wait_after(error)

    async def _wait_after(self, error: ProviderError) -> None:
        log.warning("no speech-to-speech: %s", error)
        self._now(self._link, error)
        wait = self._backoff.failed()
        await asyncio.sleep(wait if error.retryable else self._config.refused_wait)

    def _now(self, link: Link | None, refusal: ProviderError | None) -> None:
        self._link, self._refusal = link, refusal
        self._news.set()
        self._news = asyncio.Event()

    async def _until_old(self, link: Link) -> None:
        """Until the next one must be opened; a little later if they are lost one after another."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._config.max_age):
                await link.wait_ended()
        except TimeoutError:
            await self._until_idle(link)
        lived = asyncio.get_running_loop().time() - began
        if lived > self._config.longest_wait:
            self._backoff.succeeded()
        elif link.failure is not None:
            await self._wait_after(link.failure)

    async def _until_idle(self, link: Link) -> None:
        """Until nobody is answered with it, or nobody can be any more."""
        while not self._idle.is_set() and link.failure is None:
            async with asyncio.TaskGroup() as tasks:
                waits = [tasks.create_task(w) for w in (self._idle.wait(), link.wait_ended())]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()


async def check(open_wire: OpenWire, dialect: Dialect, engine: str) -> None:
    """Begin a session and end it: key, model and address are right. Raises ProviderError."""
    link = Link(await open_wire(), dialect, engine, SpeechSessionConfig())
    running = asyncio.create_task(link.run())
    try:
        await link.set_up()
    finally:
        link.lose(ProviderUnavailable("it was only a check"))
        await running


def _resampled(speech: Samples) -> Samples:
    """16 kHz -> `RATE_HZ`, and never too short to be accepted."""
    out: Samples = soxr.resample(speech, HEARING_RATE_HZ, RATE_HZ)
    short = MIN_SPEECH - len(out)
    return out if short <= 0 else np.concatenate((out, silence(short)))


def _tool_call(item: Mapping[str, Any]) -> ToolCall:
    arguments = json.loads(item["arguments"] or "{}")
    if not isinstance(arguments, dict):
        raise ValueError("arguments are no object")
    return ToolCall(_text(item["call_id"]), _text(item["name"]), arguments)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    value.encode()  # raises ValueError for half a surrogate, which nobody could send on
    return value
