"""What is wrong with the engines of a room: told when it begins, and when it is over. Pure.

The operator is told what the engine said. The room is told in words of our own: what a service
says of a refused key or a used-up quota is about somebody's account.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from mulisa.core.account import Stage, Trouble
from mulisa.core.secrets import conceal

SETTLED: Final = 3.0
"""Seconds for which an engine must work again before its trouble is over."""
MAX_NAME_CHARS: Final = 40

_Key: TypeAlias = tuple[Stage, str]

_CAUSES: Final = (
    (r"\bbudget\b", "the budget of this room is used up"),
    (r"quota|billing|credit|plan\b", "its quota is used up"),
    (r"\bkeys?\b|_KEY\b|authenti|authori|permission|forbidden|\b40[13]\b", "it refuses our key"),
    (r"\bregion\b", "its region is not right"),
    (r"enough of us|rate limit|too many|throttl|busy|\b429\b", "it is too busy"),
    (r"no such|not found|\b404\b|deployment", "it does not have what it was asked for"),
    (r"in time|time-?out|timed out|within|silent", "it does not answer in time"),
    (r"reach|connect|network|\bDNS\b|hangs up", "it cannot be reached"),
)
_OTHER_CAUSE: Final = "something went wrong there"
_VENDOR: Final = re.compile(r"OpenAI|Azure(?: [A-Z]\w+)*")
_NAME: Final = re.compile(r"[\w .:+-]+")


@dataclass(frozen=True, slots=True)
class _Known:
    trouble: Trouble
    over_at: float | None = None
    """When it is over unless it comes back before; None: it holds."""


class Troubles:
    """Those of one room. `now` is seconds on a clock that never goes back."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Known] = {}
        """The latest begun last."""

    @property
    def current(self) -> Trouble | None:
        """The latest that is not over."""
        return next((known.trouble for known in reversed(self._known.values())), None)

    def receive(self, trouble: Trouble, now: float) -> list[Trouble]:
        """An engine fails or works again; what is to be told of it now."""
        key = (trouble.stage, trouble.engine)
        known = self._known.get(key)
        if not trouble.reason:
            if known is not None and known.over_at is None:
                self._known[key] = replace(known, over_at=now + SETTLED)
            return self.settle(now)
        self._known[key] = _Known(trouble)
        is_news = known is None or known.trouble.successor != trouble.successor
        return [*self.settle(now), *([trouble] if is_news else [])]

    def settle(self, now: float) -> list[Trouble]:
        """What is over by now."""
        over = [
            key
            for key, known in self._known.items()
            if known.over_at is not None and known.over_at <= now
        ]
        for key in over:
            del self._known[key]
        return [Trouble(stage, engine, "") for stage, engine in over]

    def deadline(self) -> float | None:
        """When to call `settle`; None while nothing is about to be over."""
        times = [known.over_at for known in self._known.values() if known.over_at is not None]
        return min(times, default=None)


def shown_to_room(trouble: Trouble | None) -> str:
    """The value of the agent's attribute: nothing but our own words and the engines' names."""
    if trouble is None:
        return ""
    return json.dumps(
        {
            "stage": trouble.stage,
            "engine": _name(trouble.engine),
            "reason": _cause(trouble.reason),
            "successor": _name(trouble.successor) if trouble.successor else "",
        }
    )


def _cause(reason: str) -> str:
    for pattern, words in _CAUSES:
        if re.search(pattern, reason, re.IGNORECASE):
            return words
    return _OTHER_CAUSE


def _name(label: str) -> str:
    """What people know an engine by.

    ``gpt-4.1-mini (OpenAI)`` is OpenAI, ``whisper tiny.en (bundled)`` is whisper tiny.en.
    """
    name, _, more = conceal(label).partition(" (")
    vendor = _VENDOR.match(more)
    name = vendor[0] if vendor else name.strip()
    return name[:MAX_NAME_CHARS] if _NAME.fullmatch(name) else "an engine"
