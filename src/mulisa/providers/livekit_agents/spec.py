"""What of a plugin is meant, and the arguments that its constructor is given."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, Literal, Self, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, urlsplit

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mulisa.core.errors import ConfigError
from mulisa.core.secrets import keep_secret

MODEL_ARGUMENTS: Final = ("model", "model_id", "model_name", "voice", "voice_id", "voice_name")
"""What the word after the slash is for: the first of these that the constructor has."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*(?:\.[A-Za-z_]\w*)*")
_SECRET: Final = re.compile(r"(?:^|_)(?:key|token|secret|password|credentials?)(?:_|$)")
_ANYTHING: Final = ConfigDict(arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """``NAME``, ``NAME/MODEL`` or ``NAME/MODEL?OPTION=VALUE&OPTION=VALUE``."""

    name: str
    """Of the module in `livekit.plugins`."""
    path: tuple[str, ...] = ()
    """What in it is meant, if it is not the usual class: ``deepgram.STTv2``."""
    model: str = ""
    options: Mapping[str, list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ConfigError."""
        target, _, query = text.strip().partition("?")
        name, _, model = target.partition("/")
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is no plugin of LiveKit's; write livekit:NAME or livekit:NAME/MODEL,"
                " as in livekit:deepgram/nova-3"
            )
        first, *path = name.split(".")
        return cls(first.replace("-", "_"), tuple(path), model, _parse_options(query))


def _parse_options(query: str) -> dict[str, list[str]]:
    try:
        options = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise ConfigError("options are written as ?NAME=VALUE&NAME=VALUE") from error
    for name, values in options.items():
        if _SECRET.search(name):
            raise ConfigError(f"{name} is a secret; plugins find theirs in the environment")
        for value in values:
            _keep_password(value)
    return options


def _keep_password(value: str) -> None:
    """An address may hold one."""
    try:
        keep_secret(urlsplit(value).password or "")
    except ValueError:
        return


def arguments(
    factory: Callable[..., Any], spec: PluginSpec, defaults: Mapping[str, str]
) -> dict[str, Any]:
    """Keyword arguments for a plugin's constructor.

    `defaults` are given where the constructor names them and `spec` does not. Raises ConfigError,
    which names the options there are.
    """
    hints = _hints(factory)
    given: dict[str, Any] = {name: value for name, value in defaults.items() if name in hints}
    if spec.model:
        given[_model_argument(hints, spec)] = spec.model
    valid = sorted(name for name, hint in hints.items() if _is_option(name, hint))
    for name, values in spec.options.items():
        if name not in valid:
            raise ConfigError(
                f"the plugin {spec.name} has no option {name!r};"
                f" there is: {', '.join(valid) or 'none'}"
            )
        given[name] = _typed(name, values, hints[name])
    return given


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Type of each parameter that has a name; a guess for what cannot be found out."""
    function = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
    # LiveKit's own words, which some plugins import for a type checker only
    names = vars(sys.modules.get("livekit.agents.types", object))
    names = {**names, **getattr(function, "__globals__", {})}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: _hint(parameter, names)
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind in named
    }


def _hint(parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    """By itself: another one's may be a name that only a type checker imports."""
    default = type(parameter.default)
    guess = default if default in (bool, int, float) else str
    if parameter.annotation is inspect.Parameter.empty:
        return guess
    holder = SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return get_type_hints(holder, globalns=names)["it"]
    except Exception:  # such a name, or anything else
        return guess


def _model_argument(hints: Mapping[str, Any], spec: PluginSpec) -> str:
    for name in MODEL_ARGUMENTS:
        if name in hints:
            return name
    raise ConfigError(f"the plugin {spec.name} takes neither a model nor a voice: {spec.model!r}")


def _is_option(name: str, hint: Any) -> bool:
    """It can be written in a flag."""
    return not name.startswith("_") and not _SECRET.search(name) and _is_textual(hint)


def _is_textual(hint: Any) -> bool:
    if hint in (str, int, float, bool) or get_origin(hint) is Literal:
        return True
    return any(_is_textual(each) for each in get_args(hint))


def _typed(name: str, values: list[str], hint: Any) -> Any:
    """A value as the constructor wants it: one, several, or JSON."""
    adapter: TypeAdapter[Any] = TypeAdapter(hint, config=_ANYTHING)
    problem = ""
    for candidate in _readings(values):
        try:
            return adapter.validate_python(candidate)
        except ValidationError as error:
            problem = problem or error.errors(include_url=False, include_input=False)[0]["msg"]
    raise ConfigError(f"the plugin's option {name} is wrong: {problem}")


def _readings(values: list[str]) -> Iterator[Any]:
    if len(values) > 1:
        yield values
        return
    yield values[0]
    yield values
    with suppress(ValueError, RecursionError):
        yield json.loads(values[0])
