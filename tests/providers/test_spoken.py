from __future__ import annotations

import pytest

from mulisa.providers.spoken import clip, counted, listed, past, quote, sentence

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("names", "spoken"),
    [([], ""), (["A"], "A"), (["A", "B"], "A and B"), (["A", "B", "C"], "A, B and C")],
)
def test_listed(names: list[str], spoken: str) -> None:
    assert listed(names) == spoken


def test_clip_ends_where_a_clause_ends() -> None:
    assert clip("one two three", 5) == "one two three"
    assert clip("one two three, four five six seven", 5) == "one two three"
    assert clip("one two three four five six seven", 3) == "one two three, and so on"


def test_past() -> None:
    assert [past(d) for d in ("a minute", "an hour", "5 minutes")] == [
        "the last minute",
        "the last hour",
        "the last 5 minutes",
    ]


def test_sentences() -> None:
    assert sentence("alice is here,") == "Alice is here."
    assert sentence("Who?") == "Who?"
    assert quote({"name": "Bob", "text": "hi"}) == "Bob said: hi"
    assert [counted(n) for n in (0, 3, 12, 13, -1)] == ["no", "three", "twelve", "13", "-1"]
