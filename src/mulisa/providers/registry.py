"""Engines by name: what is installed declares itself as an entry point ``mulisa.<kind>``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeAlias

from mulisa.core.errors import ConfigError, ProviderUnavailable
from mulisa.core.provider import Provider

Kind: TypeAlias = Literal["vad", "stt", "llm", "tts"]


def available(kind: Kind) -> list[str]:
    """Names that `create` knows for this kind of engine, sorted."""
    return sorted({entry.name for entry in entry_points(group=f"mulisa.{kind}")})


def create(kind: Kind, spec: str, options: Mapping[str, str] | None = None) -> Provider:
    """An engine that is not loaded yet, from ``name`` or ``name:argument``.

    The argument is the first one of the engine's constructor: a model, a voice, a path. Those of
    the `options` for which the constructor has a parameter are given as keywords; empty ones not.
    Raises ConfigError for a name or an argument that does not exist, and ProviderUnavailable
    with the command to run when the engine's package is not installed.
    """
    name, _, argument = spec.strip().partition(":")
    factory = _find(kind, name)
    try:
        make = factory.load()
        wanted = inspect.signature(make).parameters
        keywords = {
            name: value for name, value in (options or {}).items() if value and name in wanted
        }
        engine: Provider = make(argument, **keywords) if argument else make(**keywords)
    except ImportError as error:
        raise ProviderUnavailable(
            f"{name} needs the package {error.name or error}: {_mend(factory)}"
        ) from error
    except TypeError as error:
        if not argument:
            raise
        raise ConfigError(f"{name} takes no argument, but got {argument!r}") from error
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
        return "pip install 'mulisa[local]'"
    return f"install what {entry.dist.name if entry.dist else entry.value} depends on"
