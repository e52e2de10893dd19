"""The composition root: from a `Config` to engines, and from those to sessions in rooms.

Engines are made by `mulisa.providers.registry`, which knows what is installed. Three names are
wishes that depend on the machine and are settled here: ``local``, ``auto`` and ``ollama``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from mulisa.config import Config, EngineSpec
from mulisa.core.errors import ConfigError, MulisaError, ProviderUnavailable
from mulisa.core.provider import Engines, Provider
from mulisa.providers.registry import Kind, available, create

if TYPE_CHECKING:
    from mulisa.agent.persona import Persona
    from mulisa.core.metrics import SessionObserver
    from mulisa.core.room import RoomName
    from mulisa.core.transcript import TranscriptEntry
    from mulisa.core.transport import Transport
    from mulisa.store.transcript import TranscriptStore

OLLAMA_TIMEOUT: Final = 0.5
"""Seconds; it is on this machine or it is not."""

_KINDS: Final[tuple[Kind, ...]] = ("vad", "stt", "llm", "tts")
_LOCAL: Final[dict[Kind, str]] = {"vad": "silero", "stt": "whisper", "tts": "piper"}
_LLM_WISHES: Final = ("auto", "local", "ollama")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine that is really meant, and what it may ask for when it is made."""

    kind: Kind
    spec: EngineSpec
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """``language``, ``api_key``, ``base_url``; empty ones are not passed on."""

    def create(self) -> Provider:
        """Make it without loading it.

        Raises ConfigError for an unknown name, ProviderUnavailable if it is not installed.
        """
        return create(self.kind, str(self.spec), self.options)


class EngineProgress(Protocol):
    """Told what the engines do while they load."""

    def __call__(self, kind: Kind, doing: str, fraction: float | None) -> None:
        """`fraction` is 0..1 if known; 1.0 comes once, when the engine is ready."""
        ...


def check_names(config: Config) -> None:
    """Raises ConfigError if the persona cannot be read or an engine's name is unknown."""
    build_persona(config)
    for kind in _KINDS:
        name = EngineSpec.parse(getattr(config, kind)).name
        if name not in _wishes(kind):
            _check_name(kind, name)


async def choose_engine(kind: Kind, config: Config, language: str = "") -> EngineChoice:
    """Which engine a setting means on this machine.

    Raises ConfigError for a name that nothing provides, ProviderUnavailable if Ollama was asked
    for and is not there.
    """
    spec = EngineSpec.parse(getattr(config, kind))
    if kind == "llm":
        return await _choose_llm(spec, config)
    if spec.name == "local":
        spec = EngineSpec(_LOCAL[kind], spec.model)
    _check_name(kind, spec.name)
    return EngineChoice(kind, spec, {"language": language})


async def build_engines(config: Config, persona: Persona, progress: EngineProgress) -> Engines:
    """Make and load all engines, at the same time.

    Raises ProviderUnavailable that names every engine that could not be had, and ConfigError for
    a wrong name; nothing stays loaded then.
    """
    loaded: dict[Kind, Any] = {}

    async def load(kind: Kind) -> None:
        loaded[kind] = await _load(kind, config, persona, progress)

    try:
        results = await asyncio.gather(*map(load, _KINDS), return_exceptions=True)
        if failures := [result for result in results if result is not None]:
            raise _as_one(failures)
        return Engines(**loaded)
    except BaseException:
        await _close(loaded.values())
        raise


async def close_engines(engines: Engines) -> None:
    """Free all of them, even if one cannot be freed."""
    every = (engines.vad, engines.stt, engines.llm, engines.tts, engines.realtime)
    await _close(engine for engine in every if engine is not None)


def build_persona(config: Config) -> Persona:
    """The persona of the configuration. Raises ConfigError for a file that cannot be used."""
    from mulisa.agent.persona import Persona, load_persona

    return load_persona(config.persona) if config.persona else Persona()


async def run_session(
    transport: Transport,
    engines: Engines,
    persona: Persona,
    store: TranscriptStore,
    observer: SessionObserver | None = None,
) -> None:
    """Take part in a room from joining to leaving; the room's call ends with it.

    Cancel to leave. If the room is lost or the process dies, the call stays open and goes on
    when the agent is back. Raises TransportError.
    """
    from mulisa.agent.session import Session

    call = _Call(store)
    try:
        await Session(transport, engines, persona, call, observer=observer).run()
    except asyncio.CancelledError:
        await call.end()
        raise
    await call.end()


class _Call:
    """The log of one session, which knows what to end."""

    def __init__(self, store: TranscriptStore) -> None:
        self._store = store
        self._rooms: set[RoomName] = set()

    async def append(self, room: RoomName, entry: TranscriptEntry) -> None:
        self._rooms.add(room)
        await self._store.append(room, entry)

    async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        self._rooms.add(room)
        return await self._store.recent(room, limit)

    async def end(self) -> None:
        for room in self._rooms:
            await self._store.end_call(room)


async def find_ollama_models(url: str) -> list[str]:
    """Names of the chat models of the Ollama at `url`, the newest first; empty if none is there."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=OLLAMA_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url.rstrip('/')}/api/tags") as response,
        ):
            table = await response.json()
            names = [str(model["name"]) for model in table["models"]]
            return [name for name in names if "embed" not in name]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
        return []


async def _close(engines: Iterable[Provider]) -> None:
    await asyncio.gather(*(engine.aclose() for engine in engines), return_exceptions=True)


async def _load(kind: Kind, config: Config, persona: Persona, progress: EngineProgress) -> Provider:
    choice = await choose_engine(kind, config, persona.language)
    progress(kind, f"loading {choice.spec}", None)
    engine = await asyncio.to_thread(choice.create)  # imports its SDK

    def report(doing: str, fraction: float | None) -> None:
        progress(kind, doing, None if fraction is None else min(fraction, 0.99))

    try:
        await engine.load(report)
    except BaseException:
        await engine.aclose()
        raise
    progress(kind, engine.label, 1.0)
    return engine


async def _choose_llm(spec: EngineSpec, config: Config) -> EngineChoice:
    configured = {
        "api_key": config.openai_api_key.get_secret_value(),
        "base_url": config.openai_base_url,
    }
    if spec.name not in _LLM_WISHES:
        _check_name("llm", spec.name)
        return EngineChoice("llm", spec, configured)
    if spec.name == "auto" and any(configured.values()):
        return EngineChoice("llm", EngineSpec("openai", spec.model), configured)
    models = await find_ollama_models(config.ollama_url)
    if models:
        base_url = f"{config.ollama_url.rstrip('/')}/v1"
        ollama = {"api_key": "ollama", "base_url": base_url}
        return EngineChoice("llm", EngineSpec("openai", spec.model or models[0]), ollama)
    if spec.name == "ollama":
        raise ProviderUnavailable(
            f"no Ollama with a model answers at {config.ollama_url}; "
            "start it with 'ollama serve' and get a model with 'ollama pull'"
        )
    return EngineChoice("llm", EngineSpec("concierge"))


def _check_name(kind: Kind, name: str) -> None:
    known = available(kind)
    if name not in known:
        raise ConfigError(
            f"there is no {kind} engine {name!r}; there are {', '.join((*known, *_wishes(kind)))}"
        )


def _wishes(kind: Kind) -> tuple[str, ...]:
    return _LLM_WISHES if kind == "llm" else ("local",)


def _as_one(failures: Sequence[BaseException]) -> BaseException:
    for failure in failures:
        if not isinstance(failure, MulisaError) or isinstance(failure, ConfigError):
            return failure
    return ProviderUnavailable("; ".join(dict.fromkeys(str(failure) for failure in failures)))
