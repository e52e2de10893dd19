"""Two halves of an answer: no word is half, none is said twice."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.providers.chain.joint import Continuation, WholeWords

pytestmark = pytest.mark.unit

SAID = "The capital of France is "


def continued(said: str, *deltas: str) -> str:
    words, continuation = WholeWords(), Continuation(said)
    text = "".join(continuation.push(words.push(delta)) for delta in deltas)
    return text + continuation.push(words.flush()) + continuation.flush()


@pytest.mark.parametrize(
    ("said", "answer", "new"),
    [
        (SAID, "Paris, of course.", "Paris, of course."),
        (SAID, " Paris.", "Paris."),
        (SAID, "is Paris.", "Paris."),
        (SAID, "France is Paris.", "Paris."),
        (SAID, "The capital of France is Paris.", "Paris."),
        (SAID, "the capital, of FRANCE is... Paris.", "Paris."),
        (SAID, "The capital of Italy is Rome.", "The capital of Italy is Rome."),
        (SAID, "The capital", "The capital"),
        (SAID, "is", ""),
        (SAID, "", ""),
        ("", "  Paris.", "  Paris."),
        ("Well,", " it is.", " it is."),
        ("你好，", "世界。", "世界。"),
    ],
)
def test_what_was_said_is_not_said_again(said: str, answer: str, new: str) -> None:
    tokens = re.findall(r"\s*.", answer)
    assert continued(said, answer) == new
    assert continued(said, *tokens) == new, "however it is cut into deltas"


def test_a_word_is_held_back_until_it_is_whole() -> None:
    words = WholeWords()
    assert [words.push(delta) for delta in ("Par", "is", " is", " big")] == [
        "",
        "",
        "Paris ",
        "is ",
    ]
    assert words.flush() == "big"


def test_a_script_without_spaces_is_not_held_back() -> None:
    assert WholeWords().push("你好") == "你好"


@given(st.lists(st.text(max_size=6), max_size=8))
def test_whole_words_lose_nothing(deltas: list[str]) -> None:
    words = WholeWords()
    assert "".join([*map(words.push, deltas), words.flush()]) == "".join(deltas)


@given(st.text(max_size=20), st.lists(st.text(max_size=6), max_size=8))
def test_a_continuation_is_an_end_of_what_came(said: str, deltas: list[str]) -> None:
    assert "".join(deltas).strip().endswith(continued(said, *deltas).strip())
