"""Pure: does a text call somebody by name, where in it, and how sure is that?

Recognisers seldom know the agent's name: tiny.en writes Mulisa as Nilsa, Melissa, "Milis of"
or "Mule is a". One to three neighbouring words are joined and compared by sound and by letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Position = Literal["opening", "closing", "alone", "within"]
"""Where a name stands: calling somebody at the beginning or the end of what is said, being all
that is said, or within it, where it usually is talk *about* somebody."""


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Words of a text that sound like the name."""

    words: str
    """As they stand in the text: ``Mule is a``."""
    start: int
    end: int
    """Character offsets in the text."""
    score: float
    """0..1: 1 for the name itself, about 0.5 for a guess."""
    position: Position


class NameMatcher:
    """Finds one name, however a recogniser may have written it."""

    def __init__(self, name: str, aliases: Sequence[str] = ()) -> None: ...

    def find(self, text: str, others: Sequence[str] = ()) -> NameMatch | None:
        """The likeliest call of the name in `text`; None if nothing sounds like it.

        `others` are the names of people present: words that are theirs are not taken for ours.
        """
        raise NotImplementedError


def find_person(text: str, names: Sequence[str]) -> str | None:
    """Who of `names` is spoken *to* in `text` ("Bob, what do you think?"); None if nobody."""
    raise NotImplementedError
