"""The tools as a model is told of them, and what it makes of that, validated. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mulisa.core.errors import InputError
from mulisa.core.provider import ToolSpec
from mulisa.core.room import Identity

_MAX_TURNS: Final = 50
_DEFAULT_TURNS: Final = 12
_MAX_NAMES: Final = 50


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool, its arguments validated."""

    asker: Identity
    now: float
    listener: Identity | None = None
    """Who alone will hear the answer; None is everybody."""
    who: str = ""
    names: tuple[str, ...] = ()
    on: bool = True
    by: str = ""
    about: str = ""
    minutes: float | None = None
    limit: int = _DEFAULT_TURNS
    until_called: bool = True


def parse_call(
    name: str,
    arguments: Mapping[str, Any],
    asker: Identity,
    now: float,
    listener: Identity | None,
) -> Call:
    """A call of one of `SPECS`. Raises InputError for what the tool does not take."""
    if not isinstance(arguments, Mapping):
        raise InputError(f"the arguments of {name} are an object")
    known = next(spec for spec in SPECS if spec.name == name).parameters["properties"]
    values: dict[str, Any] = {}
    for key, value in arguments.items():
        if key not in known:
            takes = ", ".join(known) or "no arguments"
            raise InputError(f"{name} has no argument {key!r}; it takes {takes}")
        if value is not None and value != "":
            values[key] = _PARSERS[known[key]["type"]](key, value)
    if "limit" in values:
        values["limit"] = int(min(max(values["limit"], 1), _MAX_TURNS))
    if values.get("minutes", 1) <= 0:
        raise InputError("minutes is a number above 0")
    if isinstance(values.get("who"), tuple):
        values["names"] = values.pop("who")
    return Call(asker, now, listener, **values)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{key} is a text")
    return " ".join(value.split())[:200]


def _number(key: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise InputError(f"{key} is a number")
    return number


def _truth(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{key} is true or false")
    return value


def _texts(key: str, value: object) -> tuple[str, ...]:
    """A list of names; a model may write them as one text."""
    if isinstance(value, str):
        value = re.split(r",| and | & ", value)
    if not isinstance(value, list) or len(value) > _MAX_NAMES:
        raise InputError(f"{key} is a list of at most {_MAX_NAMES} names")
    return tuple(name for name in (_text(key, item) for item in value) if name)


_PARSERS: Mapping[str, Callable[[str, object], Any]] = {
    "string": _text,
    "number": _number,
    "integer": _number,
    "boolean": _truth,
    "array": _texts,
}


def _spec(name: str, description: str, **properties: Mapping[str, Any]) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return ToolSpec(name, description, schema)


_SINCE = {
    "type": "number",
    "description": "Only the last so many minutes; leave out for the whole call.",
}
SPECS: Final = (
    _spec("who_is_here", "Who is in the call now, since when, and who has left."),
    _spec(
        "what_was_said",
        "What people (and you) said in this call, word for word, with names and times.",
        by={
            "type": "string",
            "description": "Only this person, by name; 'me' for who asks, 'you' for yourself.",
        },
        about={"type": "string", "description": "Only turns with words of this topic."},
        minutes=_SINCE,
        limit={
            "type": "integer",
            "description": f"At most so many turns, the latest (1-{_MAX_TURNS}).",
        },
    ),
    _spec(
        "minutes",
        "Minutes of the call: speakers, topics, decisions, tasks, open questions, highlights.",
        minutes=_SINCE,
    ),
    _spec("call_duration", "Since when the call has been going, and when who asks joined."),
    _spec("last_reply", "What you said last to who asks, and what was cut off, to repeat it."),
    _spec("date_time", "The time and the date now."),
    _spec(
        "connection",
        "How somebody is connected to you: topology, path, network figures.",
        who={"type": "string", "description": "A person's name; leave out for who asks."},
    ),
    _spec(
        "stay_quiet",
        "Say nothing more until somebody calls you by name. Only if you are asked to.",
        until_called={"type": "boolean", "description": "False to take it back."},
    ),
    _spec(
        "hear",
        "Listen to somebody, or stop listening to them: then their voice does not come to you at "
        "all. Only if you are asked to. They can undo it on the page or in the chat.",
        who={
            "type": "string",
            "description": "A person's name, 'me' for who asks, or 'everybody'.",
        },
        on={"type": "boolean", "description": "False to stop listening to them."},
    ),
    _spec(
        "speak_to",
        "Let only some people hear your voice, or everybody again. Only if you are asked to.",
        who={
            "type": "array",
            "items": {"type": "string"},
            "description": "Names, 'me' for who asks, or only 'everybody'.",
        },
    ),
    _spec("help", "What you can do in this call."),
)
