"""Thoughts of open models are left out, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.providers.openai.thoughts import Spoken

pytestmark = pytest.mark.unit


def said(text: str, cuts: list[int]) -> str:
    spoken = Spoken()
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[a:b] for a, b in zip(places, places[1:], strict=False)]
    return "".join([*map(spoken.push, pieces), spoken.end()])


@pytest.mark.parametrize(
    ("text", "aloud"),
    [
        ("Hello.", "Hello."),
        ("<think>Who is it? <b></think>\n\nIt is <think> Bob.", "It is <think> Bob."),
        ("\n<think></think>Yes.", "Yes."),
        ("<thin ice", "<thin ice"),
        ("<", "<"),
        (" ", " "),
        ("<think>never ends", ""),
        ("a </think> b", "a </think> b"),
    ],
)
@given(cuts=st.lists(st.integers(0, 100), max_size=12))
def test_thoughts_are_not_said(text: str, aloud: str, cuts: list[int]) -> None:
    assert said(text, cuts) == aloud


@given(st.text(max_size=30).filter(lambda text: "<" not in text), st.lists(st.integers(0, 40)))
def test_whatever_else_is_said_is_said_whole(text: str, cuts: list[int]) -> None:
    assert said(text, cuts) == text
