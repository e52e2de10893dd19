"""What the engines use for one room, what may be used, and what goes wrong with them.

Engines are shared by all rooms, so they do not know for whom they work: whoever works for a room
enters its `Account` (`working_for`), all tasks started in there inherit it (PEP 567), and an
engine that costs money calls `spend`. Outside of a room both calls do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from mulisa.core.errors import BudgetSpent

MOST_AT_ONCE: Final = 1e7
"""Of any unit; a service that tells of more is not believed."""

Stage: TypeAlias = Literal["stt", "llm", "tts", "realtime"]
Unit: TypeAlias = Literal["seconds", "tokens", "characters"]
"""Of audio sent to or got from a service, of a language model, of text to be spoken."""

UNITS: Final[tuple[Unit, ...]] = ("seconds", "tokens", "characters")


@dataclass(frozen=True, slots=True)
class Trouble:
    """An engine fails its room, or works again."""

    stage: Stage
    engine: str
    """As people know it: ``OpenAI``."""
    reason: str
    """Plain words that say what to do; never a secret. Empty: it works again."""
    successor: str = ""
    """Who does its work meanwhile; empty if nobody does."""


@dataclass(slots=True)
class Account:
    """Of one room. Numbers only grow."""

    budget: Mapping[Unit, float] = field(default_factory=dict)
    """The most that may be spent; a unit that is not in it is free."""
    on_spent: Callable[[str, Unit, float], None] = lambda engine, unit, amount: None
    """Told each time something is used: engine, unit, amount. Must not raise."""
    on_trouble: Callable[[Trouble], None] = lambda trouble: None
    """Told when an engine fails or works again. Must not raise."""
    spent: dict[Unit, float] = field(default_factory=lambda: dict.fromkeys(UNITS, 0.0))
    is_told: bool = False
    """The room was told that the budget is spent."""

    @property
    def is_spent(self) -> bool:
        """Nothing that costs money may be used any more."""
        return any(self.spent[unit] >= limit for unit, limit in self.budget.items())

    def check(self) -> None:
        """Raises BudgetSpent, a ProviderUnavailable, when the budget is spent."""
        for unit, limit in self.budget.items():
            if self.spent[unit] >= limit:
                raise BudgetSpent(
                    f"this room has used up its budget of {limit:g} {unit}; raise it with --budget"
                )


_account: ContextVar[Account | None] = ContextVar("account", default=None)


@contextmanager
def working_for(account: Account) -> Iterator[None]:
    """Everything that is done and started in here is done for this account's room."""
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


def check_budget() -> None:
    """Before something is used that costs money. Raises BudgetSpent if there is none."""
    if (account := _account.get()) is not None:
        account.check()


def budget_is_spent() -> bool:
    """What fails now may fail because nothing may be spent any more."""
    account = _account.get()
    return account is not None and account.is_spent


def is_first_to_tell() -> bool:
    """The room was not told yet that its budget is spent; True once."""
    account = _account.get()
    if account is None or account.is_told:
        return False
    account.is_told = True
    return True


def spend(engine: str, unit: Unit, amount: float) -> None:
    """Something was used that costs money; to be reported even if that exceeds the budget."""
    if (account := _account.get()) is not None and 0 < amount < MOST_AT_ONCE:
        account.spent[unit] += amount
        account.on_spent(engine, unit, amount)


def report(trouble: Trouble) -> None:
    """An engine fails the room, or works again."""
    if (account := _account.get()) is not None:
        account.on_trouble(trouble)
