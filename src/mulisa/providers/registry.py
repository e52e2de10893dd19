"""Engines by name: what is installed declares itself as an entry point ``mulisa.<kind>``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeAlias

from mulisa.core.errors import ConfigError, ProviderUnavailable
from mulisa.core.provider import Provider

Kind: TypeAlias = Literal["vad", "stt", "llm", "tts", "realtime"]


def available(kind: Kind) -> list[str]:
    """Names that `create` knows for this kind of engine, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"mulisa.{kind}")})


def create(kind: Kind, spec: str, options: Mapping[str, str] | None = None) -> Provider:
    """An engine that is not loaded yet, from ``name`` or ``name:argument``.

    The argument is the first one of the engine's constructor: a model, a voice, a path.
    `options` (``language``, ``api_key``, ``base_url``) are offered: an engine gets those that
    are not empty and that its constructor names.
    Raises ConfigError for a name or an argument that does not exist, and ProviderUnavailable
    with the command to run when the engine's package is not installed.
    """
    name, _, argument = spec.strip().partition(":")
    entry = _find(kind, name)
    try:
        factory = entry.load()
    except ImportError as error:
        raise ProviderUnavailable(
            f"{name} needs the package {error.name or error}: {_mend(entry)}"
        ) from error
    parameters = inspect.signature(factory).parameters
    if argument and not parameters:
        raise ConfigError(f"{name} takes no argument, but got {argument!r}")
    wanted = {key: value for key, value in (options or {}).items() if value and key in parameters}
    engine: Provider = factory(*([argument] if argument else []), **wanted)
    return engine


def _find(kind: Kind, name: str) -> EntryPoint:
    for entry in entry_points(group=f"mulisa.{kind}"):
        if entry.name == name:
            return entry
    raise ConfigError(
        f"no {kind.upper()} engine is called {name!r}; there is: {', '.join(available(kind))}"
    )


def _mend(entry: EntryPoint) -> str:
    if entry.value.startswith("mulisa."):
        extra = "azure" if entry.value.startswith("mulisa.providers.azure") else "local"
        return f"pip install 'mulisa[{extra}]'"
    return f"install what {entry.dist.name if entry.dist else entry.value} depends on"
