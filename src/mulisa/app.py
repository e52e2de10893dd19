"""The composition root: from a `Config` to engines, and from those to sessions in rooms.

Engines are made by `mulisa.providers.registry`, which knows what is installed. Three names are
wishes that depend on the machine and are settled here: ``local``, ``auto`` and ``ollama``. A
setting may name several engines, a chain: each takes over where the one before it fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from mulisa.config import Config, EngineSpec
from mulisa.core.errors import ConfigError, MulisaError, ProviderUnavailable
from mulisa.core.provider import Engines, Provider
from mulisa.core.secrets import conceal
from mulisa.providers.registry import Kind, available, create

if TYPE_CHECKING:
    from mulisa.agent.persona import Persona
    from mulisa.core.account import Account
    from mulisa.core.metrics import SessionObserver
    from mulisa.core.room import RoomName
    from mulisa.core.transcript import TranscriptEntry
    from mulisa.core.transport import Transport
    from mulisa.store.transcript import TranscriptStore

OLLAMA_TIMEOUT: Final = 0.5
"""Seconds; it is on this machine or it is not."""

KINDS: Final[tuple[Kind, ...]] = ("vad", "stt", "llm", "tts", "realtime")
_LOCAL: Final[Mapping[Kind, str]] = {"vad": "silero", "stt": "whisper", "tts": "piper"}
_LLM_WISHES: Final = ("auto", "local", "ollama")
_LLM_KEYS: Final = {
    "openai_api_key": "openai",
    "openai_base_url": "openai",
    "azure_openai_api_key": "azure",
}
"""What picks a language model by being set, the strongest first."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine that is really meant, and what it may ask for when it is made."""

    kind: Kind
    spec: EngineSpec
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """``language``, ``api_key``, ``base_url`` and the like; empty ones are not passed on."""
    why: str = ""
    """Why this one, for people, after "because": ``OPENAI_API_KEY is set``."""
    missing: str = ""
    """It was asked for, and cannot be had here: what was found, and the mend."""

    @property
    def same(self) -> tuple[EngineSpec, frozenset[tuple[str, str]]]:
        """Two choices with the same are one engine."""
        return self.spec, frozenset(self.options.items())

    def create(self) -> Provider:
        """Make it without loading it.

        Raises ConfigError for an unknown name, ProviderUnavailable if it is not installed.
        """
        if self.missing:
            raise ProviderUnavailable(self.missing)
        return create(self.kind, str(self.spec), self.options)


class EngineProgress(Protocol):
    """Told what the engines do while they load."""

    def __call__(self, kind: Kind, doing: str, fraction: float | None) -> None:
        """`fraction` is 0..1 if known; 1.0 comes once, when the engine is ready."""
        ...


def check_names(config: Config) -> None:
    """Raises ConfigError if the persona cannot be read or an engine's name is unknown."""
    build_persona(config)
    for kind in KINDS:
        for spec in config.chain(kind):
            if spec.name not in _wishes(kind):
                _check_name(kind, spec.name)


async def choose_engines(
    kind: Kind, config: Config, language: str = ""
) -> tuple[EngineChoice, ...]:
    """Which engines a setting means on this machine, in the order in which they are tried.

    None for a kind that is not wanted. Raises ConfigError for a name that nothing provides.
    """
    chosen = [await _choose(kind, spec, config, language) for spec in config.chain(kind)]
    first_of_each = {choice.same: choice for choice in reversed(chosen)}
    return tuple(choice for choice in chosen if first_of_each[choice.same] is choice)


async def build_engines(config: Config, persona: Persona, progress: EngineProgress) -> Engines:
    """Make and load all engines, at the same time.

    Raises ProviderUnavailable that names every engine that could not be had, and ConfigError for
    a wrong name; nothing stays loaded then.
    """
    loaded: dict[Kind, Any] = {}

    async def load(kind: Kind) -> None:
        loaded[kind] = await _load(kind, config, persona, progress)

    try:
        wanted = [kind for kind in KINDS if config.chain(kind)]
        results = await asyncio.gather(*map(load, wanted), return_exceptions=True)
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
    account: Account | None = None,
) -> None:
    """Take part in a room from joining to leaving; the room's call ends with it.

    What the engines use for it is written into `account`, which may bound it. Cancel to leave. If
    the room is lost or the process dies, the call stays open and goes on when the agent is back.
    Raises TransportError.
    """
    from mulisa.agent.session import Session

    call = _Call(store)
    try:
        await Session(transport, engines, persona, call, observer=observer, account=account).run()
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
    choices = await choose_engines(kind, config, persona.language)
    progress(kind, f"loading {', '.join(str(choice.spec) for choice in choices)}", None)
    engine = await asyncio.to_thread(_create, choices, config.patience)  # imports their SDKs

    def report(doing: str, fraction: float | None) -> None:
        progress(kind, doing, None if fraction is None else min(fraction, 0.99))

    try:
        await engine.load(report)
    except BaseException:
        await engine.aclose()
        raise
    is_own_pick = kind == "llm" and not config.origin(kind)
    because = f", because {choices[0].why}" if is_own_pick else ""
    progress(kind, engine.label + because, 1.0)
    return engine


def _create(choices: Sequence[EngineChoice], patience: float | None) -> Provider:
    """One engine of all that are installed; raises ProviderUnavailable if none is."""
    made: list[Any] = []
    missing: list[ProviderUnavailable] = []
    for choice in choices:
        try:
            made.append(choice.create())
        except ProviderUnavailable as error:
            missing.append(error)
    if not made:
        raise _as_one(missing)
    for lack in missing:
        logger.warning("%s; the others of the chain do its work", lack)
    return _chained(choices[0].kind, made, patience)


def _chained(kind: Kind, engines: Sequence[Any], patience: float | None) -> Provider:
    """A chain, also of one engine, as it brings the time-outs; other kinds as they are."""
    if kind in ("vad", "realtime"):
        return cast(Provider, engines[0])
    from mulisa.providers.chain.llm import LLMChain
    from mulisa.providers.chain.rota import ChainConfig
    from mulisa.providers.chain.stt import STTChain
    from mulisa.providers.chain.tts import TTSChain

    chains: dict[Kind, Any] = {"stt": STTChain, "llm": LLMChain, "tts": TTSChain}
    limits = ChainConfig() if patience is None else ChainConfig(first=patience)
    return cast(Provider, chains[kind](engines, limits))


async def _choose(kind: Kind, spec: EngineSpec, config: Config, language: str) -> EngineChoice:
    if kind == "llm" and spec.name in _LLM_WISHES:
        return await _wish_llm(spec, config)
    why = _named(config, kind)
    if spec.name == "local":
        spec = EngineSpec(_LOCAL[kind], spec.model)
    _check_name(kind, spec.name)
    spec = _with_default_model(kind, spec, config)
    return EngineChoice(kind, spec, _options(kind, spec.name, config, language), why)


def _named(config: Config, kind: Kind) -> str:
    return f"{config.origin(kind)} names it" if config.origin(kind) else "it is the default"


def _with_default_model(kind: Kind, spec: EngineSpec, config: Config) -> EngineSpec:
    """The model that the settings name for a service that has none of its own."""
    models = {
        ("llm", "azure"): config.azure_openai_deployment,
        ("realtime", "azure"): config.azure_voice_live_model,
    }
    return EngineSpec(spec.name, spec.model or models.get((kind, spec.name), ""))


def _options(kind: Kind, name: str, config: Config, language: str = "") -> dict[str, str]:
    """What an engine of this name may ask for. Each vendor's key goes to that vendor alone."""
    options = {"language": language} if kind != "llm" else {}
    if name == "openai":
        options["api_key"] = config.openai_api_key.get_secret_value()
        options["base_url"] = config.openai_base_url
    elif name == "azure":
        options |= _azure_options(kind, config)
    return options


def _azure_options(kind: Kind, config: Config) -> dict[str, str]:
    """Azure's services have keys and addresses of their own."""
    if kind == "llm":
        return {
            "api_key": config.azure_openai_api_key.get_secret_value(),
            "endpoint": config.azure_openai_endpoint,
            "api_version": config.openai_api_version,
        }
    if kind == "realtime":
        return {
            "api_key": config.azure_voice_live_api_key.get_secret_value(),
            "endpoint": config.azure_voice_live_endpoint,
        }
    return {
        "api_key": config.azure_speech_key.get_secret_value(),
        "region": config.azure_speech_region,
        "endpoint": config.azure_speech_endpoint,
    }


async def _wish_llm(spec: EngineSpec, config: Config) -> EngineChoice:
    """``auto``: what has a key, else what runs here, else the concierge."""
    if spec.name == "auto":
        for setting, name in _LLM_KEYS.items():
            if config.origin(setting):
                spec = _with_default_model("llm", EngineSpec(name, spec.model), config)
                why = f"{config.origin(setting)} is set"
                return EngineChoice("llm", spec, _options("llm", name, config), why)
    models = await find_ollama_models(config.ollama_url)
    if models:
        base_url = f"{config.ollama_url.rstrip('/')}/v1"
        ollama = {"api_key": "ollama", "base_url": base_url, "free": "yes"}
        why = f"an Ollama answers at {conceal(config.ollama_url)}"
        return EngineChoice("llm", EngineSpec("openai", spec.model or models[0]), ollama, why)
    if spec.name == "ollama":
        missing = (
            f"no Ollama with a model answers at {conceal(config.ollama_url)}; "
            "start it with 'ollama serve' and get a model with 'ollama pull'"
        )
        return EngineChoice("llm", spec, why=_named(config, "llm"), missing=missing)
    none = "no Ollama is here" if spec.name == "local" else "no key is set and no Ollama is here"
    return EngineChoice("llm", EngineSpec("concierge"), why=none)


def _check_name(kind: Kind, name: str) -> None:
    known = available(kind)
    if name not in known:
        raise ConfigError(
            f"there is no {kind} engine {name!r}; there are {', '.join((*known, *_wishes(kind)))}"
        )


def _wishes(kind: Kind) -> tuple[str, ...]:
    return _LLM_WISHES if kind == "llm" else ("local",) if kind in _LOCAL else ()


def _as_one(failures: Sequence[BaseException]) -> BaseException:
    for failure in failures:
        if not isinstance(failure, MulisaError) or isinstance(failure, ConfigError):
            return failure
    return ProviderUnavailable("; ".join(dict.fromkeys(str(failure) for failure in failures)))
