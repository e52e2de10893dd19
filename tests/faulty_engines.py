"""Scripted engines that do wrong what they are told to: the faults of services, in virtual time.

What happened is kept in a `Diary`: which request met a fault, who was asked then, and when it was
served after all. A request is known by the task that waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, TextDelta, Transcription
from mulisa.providers.scripted import ScriptedLLM, ScriptedSTT, ScriptedSTTStream, ScriptedTTS
from tests.services.faults import Fault, Faults

Stage: TypeAlias = Literal["stt", "llm", "tts"]

ERROR: Final = Fault("status")
BUSY: Final = Fault("status", status=429)
WRONG_KEY: Final = Fault("status", status=401, code="invalid_api_key")
SILENCE: Final = Fault("silence")
GARBAGE: Final = Fault("garbage")
REFUSALS: Final = (401, 403)


@dataclass(slots=True, eq=False)
class Incident:
    """One fault, and how it ended; seconds on the loop's clock."""

    stage: Stage
    engine: str
    fault: Fault
    at: float
    is_replaceable: bool = True
    """Another engine was ready to take over; else this one, or a resting one, is asked again."""
    asked_at: float | None = None
    """When the request went to an engine again; None if it did not."""
    asked: str = ""
    """Which."""
    served_at: float | None = None
    """When something useful came again; None if it never did."""


class Diary:
    """Of all engines of a call."""

    def __init__(self) -> None:
        self.incidents: list[Incident] = []
        self.is_replaceable: Callable[[Stage, str], bool] = lambda stage, engine: True
        """Whether another engine is ready to take over from one."""
        self._open: dict[tuple[asyncio.Task[Any] | None, Stage], list[Incident]] = {}

    def met(self, stage: Stage, engine: str, fault: Fault) -> None:
        """A request goes wrong now."""
        incident = Incident(stage, engine, fault, _now(), self.is_replaceable(stage, engine))
        self.incidents.append(incident)
        self._open.setdefault((asyncio.current_task(), stage), []).append(incident)

    def asked(self, stage: Stage, engine: str) -> None:
        """A request goes to an engine."""
        for incident in self._open.get((asyncio.current_task(), stage), ()):
            if incident.asked_at is None:
                incident.asked_at, incident.asked = _now(), engine

    def served(self, stage: Stage) -> None:
        """Something useful came."""
        for incident in self._open.pop((asyncio.current_task(), stage), ()):
            incident.served_at = _now()


@dataclass(slots=True)
class Vendor:
    """Whose engine it is: its name, its faults, the diary."""

    label: str
    stage: Stage
    diary: Diary = field(default_factory=Diary)
    faults: Faults = field(default_factory=Faults)

    def begin(self) -> Fault | None:
        """A request: what it meets."""
        self.diary.asked(self.stage, self.label)
        return self.faults.take(self.stage)

    async def meet(self, fault: Fault | None, piece: int) -> None:
        """Before piece `piece`: raises, waits or does nothing, as the fault says."""
        if fault is None or piece < fault.after or fault.kind == "garbage":
            return
        if piece == fault.after:
            self.diary.met(self.stage, self.label, fault)
        match fault.kind:
            case "latency":
                await asyncio.sleep(fault.delay)
            case "silence":
                await asyncio.get_running_loop().create_future()
            case "status":
                raise _refusal(self.label, fault)
            case "cut":
                raise ProviderError(f"{self.label} hung up")

    def is_garbage(self, fault: Fault | None, piece: int) -> bool:
        """Piece `piece` is to be rubbish."""
        if fault is None or fault.kind != "garbage" or piece != fault.after:
            return False
        self.diary.met(self.stage, self.label, fault)
        return True


class FaultySTT(ScriptedSTT):
    """Pieces are flushes; its streams go wrong when they are flushed."""

    def __init__(self, label: str, diary: Diary | None = None, **script: Any) -> None:
        super().__init__(**script)
        self.label = label
        self.vendor = Vendor(label, "stt", diary or Diary())
        self.streams: list[FaultySTTStream] = []

    def stream(self, names: Sequence[str] = ()) -> ScriptedSTTStream:
        self.streams.append(FaultySTTStream(self, names))
        return self.streams[-1]


class FaultySTTStream(ScriptedSTTStream):
    def __init__(self, stt: FaultySTT, names: Sequence[str]) -> None:
        super().__init__(stt, names)
        self._vendor = stt.vendor

    async def flush(self) -> Transcription:
        fault = self._vendor.begin()
        await self._vendor.meet(fault, 0)
        if self._vendor.is_garbage(fault, 0):
            return b"\x00\x01"  # type: ignore[return-value]
        transcription = await super().flush()
        self._vendor.diary.served("stt")
        return transcription


class FaultyLLM(ScriptedLLM):
    """Pieces are words."""

    def __init__(self, label: str, diary: Diary | None = None, **script: Any) -> None:
        super().__init__(**script)
        self.label = label
        self.vendor = Vendor(label, "llm", diary or Diary())

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        fault = self.vendor.begin()
        await self.vendor.meet(fault, 0)
        piece = 0
        async for piece, delta in _numbered(super().chat(request)):
            if piece:
                await self.vendor.meet(fault, piece)
            garbage = self.vendor.is_garbage(fault, piece)
            if not garbage:
                self.vendor.diary.served("llm")
            yield TextDelta("\x00\ufffd\x07") if garbage else delta
        await self.vendor.meet(fault, piece + 1)


class FaultyTTS(ScriptedTTS):
    """Pieces are words."""

    def __init__(self, label: str, diary: Diary | None = None, **script: Any) -> None:
        super().__init__(**script)
        self.label = label
        self.vendor = Vendor(label, "tts", diary or Diary())

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        fault = self.vendor.begin()
        await self.vendor.meet(fault, 0)
        piece = 0
        async for piece, samples in _numbered(super().synthesize(text)):
            if piece:
                await self.vendor.meet(fault, piece)
            garbage = self.vendor.is_garbage(fault, piece)
            if not garbage:
                self.vendor.diary.served("tts")
            yield np.array(["rubbish"]) if garbage else samples
        await self.vendor.meet(fault, piece + 1)


async def _numbered(items: AsyncIterator[Any]) -> AsyncIterator[tuple[int, Any]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


def _refusal(label: str, fault: Fault) -> ProviderError:
    if fault.status in REFUSALS or fault.code == "insufficient_quota":
        return ProviderUnavailable(f"{label} refuses us; check the key")
    error = ProviderError(f"{label} answered {fault.status}: {fault.message}")
    if fault.status == 429:
        error.retry_after = 1.0
    return error


def _now() -> float:
    return asyncio.get_running_loop().time()
