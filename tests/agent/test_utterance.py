from __future__ import annotations

import pytest

from mulisa.agent.utterance import words_only

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" Hello there. ", "Hello there."),
        ("[BLANK_AUDIO]", ""),
        ("(coughs)", ""),
        ("*sighs*", ""),
        ("♪ la la ♪", ""),
        (" . . . ", ""),
        ("[MUSIC] Hello (laughs) you", "Hello you"),
    ],
)
def test_words_only(text: str, words: str) -> None:
    assert words_only(text) == words
