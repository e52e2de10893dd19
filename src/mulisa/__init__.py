"""Mulisa is an AI participant for voice rooms with several people.

What is named here is the public API; everything else may move. Nothing is imported before it is
used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mulisa.agent.persona import Persona, load_persona
    from mulisa.agent.session import Session, SessionConfig
    from mulisa.core.audio import AudioFrame, Samples
    from mulisa.core.errors import MulisaError, ProviderError, TransportError
    from mulisa.core.metrics import SessionObserver
    from mulisa.core.provider import (
        LLM,
        STT,
        TTS,
        VAD,
        ChatRequest,
        Delta,
        Engines,
        Message,
        Progress,
        STTStream,
        TextDelta,
        ToolCall,
        ToolSpec,
        Transcription,
        VADStream,
    )
    from mulisa.core.room import Participant
    from mulisa.core.transcript import TranscriptEntry, TranscriptLog
    from mulisa.core.transport import Transport
    from mulisa.transport.mediasoup.transport import MediasoupTransport
    from mulisa.transport.mesh.transport import MeshTransport
    from mulisa.transport.sfu.transport import SFUTransport

    __version__: str

__all__ = [
    "LLM",
    "STT",
    "TTS",
    "VAD",
    "AudioFrame",
    "ChatRequest",
    "Delta",
    "Engines",
    "MediasoupTransport",
    "MeshTransport",
    "Message",
    "MulisaError",
    "Participant",
    "Persona",
    "Progress",
    "ProviderError",
    "SFUTransport",
    "STTStream",
    "Samples",
    "Session",
    "SessionConfig",
    "SessionObserver",
    "TextDelta",
    "ToolCall",
    "ToolSpec",
    "TranscriptEntry",
    "TranscriptLog",
    "Transcription",
    "Transport",
    "TransportError",
    "VADStream",
    "__version__",
    "load_persona",
]

_HOMES = {
    "agent.persona": ("Persona", "load_persona"),
    "agent.session": ("Session", "SessionConfig"),
    "core.audio": ("AudioFrame", "Samples"),
    "core.errors": ("MulisaError", "ProviderError", "TransportError"),
    "core.metrics": ("SessionObserver",),
    "core.provider": (
        *("LLM", "STT", "TTS", "VAD", "Engines", "Progress", "STTStream", "VADStream"),
        *("ChatRequest", "Delta", "Message", "TextDelta", "ToolCall", "ToolSpec"),
        "Transcription",
    ),
    "core.room": ("Participant",),
    "core.transcript": ("TranscriptEntry", "TranscriptLog"),
    "core.transport": ("Transport",),
    "transport.mediasoup.transport": ("MediasoupTransport",),
    "transport.mesh.transport": ("MeshTransport",),
    "transport.sfu.transport": ("SFUTransport",),
}
_HOME = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # type checkers shall know the names above and no others

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return import_module("importlib.metadata").version(__name__)
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
