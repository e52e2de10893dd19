"""The composition root: from a `Config` to engines, and from those to sessions in rooms.

Engines are found by entry points (groups ``mulisa.vad``, ``mulisa.stt``, ``mulisa.llm`` and
``mulisa.tts``), ours and those of other packages alike. An entry point names a class or function
that makes the engine without loading it; it is called with those of `EngineOptions` for which
it has a parameter.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, cast

from mulisa.config import Config, EngineSpec
from mulisa.core.errors import ConfigError, MulisaError, ProviderUnavailable
from mulisa.core.provider import LLM, STT, TTS, VAD, Engines, Progress, Provider

if TYPE_CHECKING:
    from mulisa.agent.persona import Persona
    from mulisa.core.metrics import TurnMetrics
    from mulisa.core.transport import Transport
    from mulisa.store.transcript import TranscriptStore

EngineKind: TypeAlias = Literal["vad", "stt", "llm", "tts"]

OLLAMA_TIMEOUT: Final = 0.5
"""Seconds; it is on this machine or it is not."""

_LOCAL: Final[dict[EngineKind, str]] = {"vad": "silero", "stt": "whisper", "tts": "piper"}
_LLM_WITHOUT_ENTRY_POINT: Final = ("auto", "local", "ollama")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine may ask for when it is made; an empty one is not passed on."""

    model: str = ""
    """What follows the colon in ``NAME:MODEL``: a model, a voice, a path."""
    language: str = ""
    """BCP 47 code of what is mostly spoken."""
    api_key: str = field(default="", repr=False)
    """OPENAI_API_KEY."""
    base_url: str = ""
    """OPENAI_BASE_URL."""


class EngineProgress(Protocol):
    """Told what the engines do while they load."""

    def __call__(self, kind: EngineKind, doing: str, fraction: float | None) -> None:
        """`fraction` is 0..1 if known; 1.0 comes once, when the engine is ready."""
        ...


def engine_names(kind: EngineKind) -> list[str]:
    """What may stand before the colon in an engine's name, in order."""
    found = {point.name for point in entry_points(group=f"mulisa.{kind}")}
    return sorted(found.union(_LLM_WITHOUT_ENTRY_POINT if kind == "llm" else ("local",)))


async def resolve_engine(kind: EngineKind, config: Config) -> tuple[EngineSpec, EngineOptions]:
    """Which engine a setting means on this machine: ``local``, ``auto`` and ``ollama`` are wishes.

    Raises ConfigError for a name that nothing provides, ProviderUnavailable if Ollama was asked
    for and is not there.
    """
    spec = EngineSpec.parse(getattr(config, kind))
    if kind == "llm":
        return await _resolve_llm(spec, config)
    if spec.name == "local":
        spec = EngineSpec(_LOCAL[kind], spec.model)
    _find(kind, spec.name)
    return spec, EngineOptions(model=spec.model)


def create_engine(kind: EngineKind, spec: EngineSpec, options: EngineOptions) -> Provider:
    """Make an engine without loading it.

    Raises ConfigError for an unknown name, ProviderUnavailable if it cannot be imported.
    """
    point = _find(kind, spec.name)
    try:
        factory = point.load()
        return cast(Provider, factory(**_accepted(factory, options)))
    except ImportError as error:
        raise ProviderUnavailable(
            f"{kind} {spec}: {error.name or error} is not installed; pip install 'mulisa[local]'"
        ) from error


async def build_engines(config: Config, persona: Persona, progress: EngineProgress) -> Engines:
    """Make and load all engines, at the same time.

    Raises ProviderUnavailable that names every engine that could not be had, and ConfigError for
    a wrong name; nothing stays loaded then.
    """
    kinds: tuple[EngineKind, ...] = ("vad", "stt", "llm", "tts")
    results = await asyncio.gather(
        *(_load(kind, config, persona, progress) for kind in kinds), return_exceptions=True
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    if failures:
        for engine in results:
            if not isinstance(engine, BaseException):
                await engine.aclose()
        raise _as_one(failures)
    vad, stt, llm, tts = cast(Sequence[Any], results)
    return Engines(vad=cast(VAD, vad), stt=cast(STT, stt), llm=cast(LLM, llm), tts=cast(TTS, tts))


async def close_engines(engines: Engines) -> None:
    """Free all of them, even if one cannot be freed."""
    await asyncio.gather(
        *(e.aclose() for e in (engines.vad, engines.stt, engines.llm, engines.tts)),
        return_exceptions=True,
    )


def build_persona(config: Config) -> Persona:
    """The persona of the configuration. Raises ConfigError for a file that cannot be used."""
    from mulisa.agent.persona import Persona, load_persona

    return load_persona(config.persona) if config.persona else Persona()


async def run_session(
    transport: Transport,
    engines: Engines,
    persona: Persona,
    store: TranscriptStore,
    observe: Callable[[TurnMetrics], None] | None = None,
) -> None:
    """Take part in a room from joining to leaving; the room's call begins and ends with it.

    Cancel to leave. If the room is lost or the process dies, the call stays open and goes on
    when the agent is back. Raises TransportError.
    """
    from mulisa.agent.session import Session

    room = transport.room
    await store.begin_call(room)
    try:
        await Session(transport, engines, persona, store, observe=observe).run()
    except asyncio.CancelledError:
        await store.end_call(room)
        raise
    await store.end_call(room)


async def find_ollama_models(url: str) -> list[str]:
    """Names of the models of the Ollama at `url`, its newest first; empty if there is none."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=OLLAMA_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url.rstrip('/')}/api/tags") as response,
        ):
            table = await response.json()
            return [str(model["name"]) for model in table["models"]]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError):
        return []


async def _load(
    kind: EngineKind, config: Config, persona: Persona, progress: EngineProgress
) -> Provider:
    spec, options = await resolve_engine(kind, config)
    options = EngineOptions(options.model, persona.language, options.api_key, options.base_url)
    progress(kind, f"loading {spec}", None)
    engine = await asyncio.to_thread(create_engine, kind, spec, options)  # imports its SDK
    report: Progress = lambda doing, fraction: progress(  # noqa: E731
        kind, doing, None if fraction is None else min(fraction, 0.99)
    )
    await engine.load(report)
    progress(kind, engine.label, 1.0)
    return engine


async def _resolve_llm(spec: EngineSpec, config: Config) -> tuple[EngineSpec, EngineOptions]:
    if spec.name not in _LLM_WITHOUT_ENTRY_POINT:
        _find("llm", spec.name)
        return spec, _openai_options(spec, config)
    is_configured = bool(config.openai_api_key.get_secret_value() or config.openai_base_url)
    if spec.name == "auto" and is_configured:
        return EngineSpec("openai", spec.model), _openai_options(spec, config)
    models = await find_ollama_models(config.ollama_url)
    if models:
        model = spec.model or models[0]
        base_url = f"{config.ollama_url.rstrip('/')}/v1"
        return EngineSpec("openai", model), EngineOptions(model, "", "ollama", base_url)
    if spec.name == "ollama":
        raise ProviderUnavailable(
            f"llm {spec}: no Ollama with a model answers at {config.ollama_url}; "
            "start it with 'ollama serve' and get a model with 'ollama pull'"
        )
    return EngineSpec("concierge"), EngineOptions()


def _openai_options(spec: EngineSpec, config: Config) -> EngineOptions:
    return EngineOptions(
        model=spec.model,
        api_key=config.openai_api_key.get_secret_value(),
        base_url=config.openai_base_url,
    )


def _find(kind: EngineKind, name: str) -> EntryPoint:
    for point in entry_points(group=f"mulisa.{kind}", name=name):
        return point
    raise ConfigError(
        f"there is no {kind} engine {name!r}; there are {', '.join(engine_names(kind))}"
    )


def _accepted(factory: Callable[..., object], options: EngineOptions) -> dict[str, str]:
    """Options that were chosen and that `factory` has a parameter for."""
    parameters = inspect.signature(factory).parameters
    chosen = {f.name: str(getattr(options, f.name)) for f in fields(options)}
    if chosen["model"] and "model" not in parameters:
        raise ConfigError(f"{factory.__name__} has no models to choose from: {chosen['model']!r}")
    return {name: value for name, value in chosen.items() if value and name in parameters}


def _as_one(failures: Sequence[BaseException]) -> BaseException:
    for failure in failures:
        if not isinstance(failure, MulisaError) or isinstance(failure, ConfigError):
            return failure
    return ProviderUnavailable("; ".join(dict.fromkeys(str(failure) for failure in failures)))
