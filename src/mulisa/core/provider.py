"""What the agent asks of its engines: VAD, STT, LLM and TTS, or speech-to-speech.

An engine is loaded once per process and shared by all rooms; a *stream* belongs to one
participant or one utterance. Cancelling any of the coroutines is safe.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from mulisa.core.audio import Samples

Progress: TypeAlias = Callable[[str, float | None], None]
"""Called while an engine loads: what is being done, and the fraction done if known."""


class Provider(Protocol):
    """What all engines have in common."""

    @property
    def label(self) -> str:
        """Engine, model and where it came from, for people: ``whisper tiny.en (bundled)``."""
        ...

    async def load(self, progress: Progress) -> None:
        """Make ready for the first call. Raises ProviderUnavailable with the mend."""
        ...

    async def aclose(self) -> None:
        """Free models, processes and connections. Idempotent."""
        ...


class VADStream(Protocol):
    """Voice activity of one participant, window by window."""

    async def probability(self, window: Samples) -> float:
        """Probability in 0..1 that the window (int16, shape (512,), 16 kHz) holds speech.

        Windows of one stream are given in order, one call at a time.
        """
        ...

    def close(self) -> None:
        """Forget the participant. Idempotent."""
        ...


class VAD(Provider, Protocol):
    """Voice activity detection for many participants at once."""

    @property
    def window_samples(self) -> int:
        """Samples per window at 16 kHz."""
        ...

    def stream(self) -> VADStream:
        """Begin hearing one participant."""
        ...


@dataclass(frozen=True, slots=True)
class Transcription:
    """What a recogniser understood of the audio pushed so far."""

    text: str
    """Empty if there were no words."""
    confidence: float = 1.0
    """0..1; below about 0.4 the text is a guess."""

    @classmethod
    def joined(cls, parts: Iterable[Transcription]) -> Transcription:
        """One text; as sure as its parts are on average, by length."""
        spoken = [part for part in parts if part.text]
        if not spoken:
            return cls("")
        length = sum(len(part.text) for part in spoken)
        return cls(
            " ".join(part.text for part in spoken),
            confidence=sum(part.confidence * len(part.text) for part in spoken) / length,
        )


class STTStream(Protocol):
    """Recognition of one utterance of one person."""

    def push(self, samples: Samples) -> None:
        """Append audio: int16, 16 kHz mono, any length. Never blocks."""
        ...

    def interims(self) -> AsyncIterator[str]:
        """Text so far, each replacing the one before, while audio is pushed. May stay silent.

        Ends with `aclose`. One reader.
        """
        ...

    async def flush(self) -> Transcription:
        """Text of everything pushed so far, as good as it gets.

        The speaker has paused and may go on: `push` and `flush` may be called again and the
        next result covers everything from the beginning. Raises ProviderError.
        """
        ...

    async def aclose(self) -> None:
        """End the utterance and free what it holds. Idempotent."""
        ...


class STT(Provider, Protocol):
    """Speech to text."""

    def stream(self, names: Sequence[str] = ()) -> STTStream:
        """Begin one utterance. `names` are words that are likely: people, and the agent."""
        ...


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An LLM asks for a tool."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as it is described to an LLM."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments, an object."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat: the OpenAI roles."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    name: str = ""
    """Who said it, for role `user`: the participant's name."""
    tool_calls: tuple[ToolCall, ...] = ()
    """For role `assistant`: what it asked for."""
    call_id: str = ""
    """For role `tool`: which call this answers. `content` is JSON."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of LLM text, to be appended."""

    text: str


Delta: TypeAlias = TextDelta | ToolCall


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Everything an LLM needs for one step of a reply."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = field(default=())


class LLM(Provider, Protocol):
    """A language model, or something that behaves like one."""

    def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Stream one step: text, tool calls, or both. Raises ProviderError.

        After tool calls the caller runs the tools, appends their results and calls again.
        """
        ...


class TTS(Provider, Protocol):
    """Text to speech."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of what `synthesize` yields; known once loaded."""
        ...

    def synthesize(self, text: str) -> AsyncIterator[Samples]:
        """Speak one clause or sentence: mono int16 pieces of any length. Raises ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """A piece of spoken answer, to be appended."""

    samples: Samples
    """Mono int16 at the session's `sample_rate_hz`, any length."""


@dataclass(frozen=True, slots=True)
class RealtimeRequest:
    """Everything a speech-to-speech engine needs for one step of a reply."""

    messages: tuple[Message, ...]
    """As for an LLM: first the system message, then what was said; what is not in it must not be
    known to the engine any more."""
    tools: tuple[ToolSpec, ...] = ()
    speech: Samples | None = None
    """How the last message of role `user` was said: int16, 16 kHz mono. None: it was written, or
    is not there any more."""
    final: bool = False
    """It must answer now, without asking for tools."""


class RealtimeSession(Protocol):
    """A speech-to-speech engine's stay in one room. One reply at a time."""

    @property
    def engine(self) -> str:
        """The service as people know it: ``OpenAI``."""
        ...

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the samples of an `AudioDelta`."""
        ...

    async def run(self) -> None:
        """Keep in touch with the service for ever, connecting again when that is lost.

        Cancel to end. Never raises ProviderError: that is for `respond` to tell.
        """
        ...

    def respond(
        self, request: RealtimeRequest
    ) -> AsyncGenerator[TextDelta | AudioDelta | ToolCall, None]:
        """Stream one step of a reply: speech with its text, tool calls, or both.

        After tool calls the caller runs the tools, appends their results to the messages and
        calls again. Text comes about when its speech does. Raises ProviderError. Closing the
        iterator stops the service in the middle.
        """
        ...

    def heard(self, words: Message | None, seconds: float) -> None:
        """The reply (all its steps) is over, and so much of its audio was heard.

        `words` is the message that stands for it from now on; None: it was not heard at all, or
        another engine said some of it, so that the service must forget what it said. Never
        blocks.
        """
        ...


class Realtime(Provider, Protocol):
    """Speech to speech: hears a turn and speaks the answer."""

    def session(self) -> RealtimeSession:
        """For one room. Nothing happens before its `run`."""
        ...


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of one agent process, loaded once and shared by all its rooms."""

    vad: VAD
    stt: STT
    llm: LLM
    tts: TTS
    realtime: Realtime | None = None
    """Makes the replies, if there is one; `llm` and `tts` make those that it fails to make."""
