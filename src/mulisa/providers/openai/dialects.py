"""How a realtime session is set up: OpenAI's way, and that of Azure Voice Live. Pure.

Voice Live speaks the protocol as it was before its final version: a flat session, and other names
for some events. What a service sends is understood in either form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mulisa.core.provider import ToolSpec

RATE_HZ: Final = 24_000
"""Of PCM in both directions."""


class Dialect(Protocol):
    """One way to say it."""

    @property
    def voice(self) -> str:
        """Who speaks."""
        ...

    @property
    def assistant_text(self) -> str:
        """Content type of what the agent said, as text."""
        ...

    def setup(self) -> dict[str, Any]:
        """The session at its beginning: who answers, and that we decide when."""
        ...

    def update(self, instructions: str, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """What may change during a session."""
        ...


@dataclass(frozen=True, slots=True)
class OpenAIDialect:
    """OpenAI's Realtime API."""

    voice: str
    assistant_text: str = "output_text"

    def setup(self) -> dict[str, Any]:
        """See `Dialect`."""
        pcm = {"type": "audio/pcm", "rate": RATE_HZ}
        return {
            "type": "realtime",
            "output_modalities": ["audio"],
            "tool_choice": "auto",
            "audio": {
                "input": {"format": pcm, "turn_detection": None},
                "output": {"format": pcm, "voice": self.voice},
            },
        }

    def update(self, instructions: str, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """See `Dialect`."""
        return {"type": "realtime", "instructions": instructions, "tools": _functions(tools)}


@dataclass(frozen=True, slots=True)
class VoiceLiveDialect:
    """Azure Voice Live."""

    voice: str
    """Of Azure (``en-US-Ava:DragonHDLatestNeural``), or a model's own (``marin``)."""
    assistant_text: str = "text"

    def setup(self) -> dict[str, Any]:
        """See `Dialect`."""
        kind = "azure-standard" if "-" in self.voice else "openai"
        return {
            "modalities": ["text", "audio"],
            "voice": {"type": kind, "name": self.voice},
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_sampling_rate": RATE_HZ,
            "turn_detection": None,
            "tool_choice": "auto",
        }

    def update(self, instructions: str, tools: Sequence[ToolSpec]) -> dict[str, Any]:
        """See `Dialect`."""
        return {"instructions": instructions, "tools": _functions(tools)}


CANONICAL: Final[Mapping[str, str]] = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
}
"""Names of events that we read, as they were before."""


def _functions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        for tool in tools
    ]
