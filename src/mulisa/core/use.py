"""How much the engines used for a room: by engine and unit. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

from mulisa.core.account import UNITS, Unit
from mulisa.core.errors import InputError

Use: TypeAlias = Mapping[str, Mapping[Unit, float]]
"""``{"OpenAI": {"tokens": 1250}}``: engines as people know them."""

MAX_ENGINES: Final = 32
MAX_ENGINE_CHARS: Final = 64


class UseTally:
    """Adds up; more than `MAX_ENGINES` engines are one more, called ``others``."""

    def __init__(self) -> None:
        self._use: dict[str, dict[Unit, float]] = {}

    def add(self, engine: str, unit: Unit, amount: float) -> None:
        """Something was used."""
        name = engine[:MAX_ENGINE_CHARS] or "an engine"
        if name not in self._use and len(self._use) >= MAX_ENGINES - 1:
            name = "others"
        units = self._use.setdefault(name, {})
        units[unit] = units.get(unit, 0.0) + amount

    def add_all(self, use: Use) -> None:
        """The same for many."""
        for engine, units in use.items():
            for unit, amount in units.items():
                self.add(engine, unit, amount)

    def take(self) -> Use:
        """What was added since the last time, which is forgotten."""
        taken, self._use = self._use, {}
        return taken

    @property
    def use(self) -> Use:
        """What was added."""
        return self._use


def parse_use(data: object) -> Use:
    """What somebody says was used. Raises InputError."""
    if not isinstance(data, dict) or len(data) > MAX_ENGINES:
        raise InputError(f'"use" is an object of at most {MAX_ENGINES} engines')
    return {_engine(name): _units(units) for name, units in data.items()}


def _engine(name: str) -> str:
    if not 0 < len(name) <= MAX_ENGINE_CHARS:
        raise InputError(f"an engine's name has 1 to {MAX_ENGINE_CHARS} characters")
    return name


def _units(data: object) -> dict[Unit, float]:
    if not isinstance(data, dict) or not data.keys() <= set(UNITS):
        raise InputError(f"what is used is counted in {', '.join(UNITS)}")
    return {unit: _amount(data[unit]) for unit in UNITS if unit in data}


def _amount(value: object) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        amount = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:
        amount = math.inf
    if not 0 <= amount < math.inf:
        raise InputError("an amount is a number that is not negative")
    return amount
