import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.providers.speakable import MAX_LINE_CHARS, join_naturally, speakable_lines

pytestmark = pytest.mark.unit

RATE = 22_050


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Hello there, Alice.", ["Hello there, Alice."]),
        ("One sentence here. And another one!", ["One sentence here.", "And another one!"]),
        ("Yes. I heard that.", ["Yes. I heard that."]),
        ("line\nbreak\tand\x00nul", ["line break and nul"]),
        ("**bold** and `code`", ["bold and code"]),
        ("[[raw phonemes]]", ["raw phonemes"]),
        ("It costs 3.50 dollars.", ["It costs 3.50 dollars."]),
        ("fine 😀", ["fine"]),
        ("", []),
        ("... !? —", []),
    ],
)
def test_lines(text: str, lines: list[str]) -> None:
    assert speakable_lines(text) == lines


@given(st.text(max_size=1000))
def test_every_line_is_one_line_that_can_be_pronounced(text: str) -> None:
    for line in speakable_lines(text):
        assert 0 < len(line) <= MAX_LINE_CHARS
        assert line.isprintable()
        assert line == line.strip()
        assert any(character.isalnum() for character in line)


@given(st.text(alphabet="ab ,.", max_size=1000))
def test_nothing_is_lost(text: str) -> None:
    letters = [character for character in text if character.isalnum()]
    spoken = "".join(speakable_lines(text))
    assert [character for character in spoken if character.isalnum()] == letters


@pytest.mark.parametrize(
    ("line", "pause"), [("Yes.", 0.26), ('"Yes?"', 0.26), ("well,", 0.13), ("and", 0.04)]
)
def test_the_pause_follows_the_punctuation(line: str, pause: float) -> None:
    word = np.full(RATE, 8000, np.int16)
    silence = np.zeros(RATE, np.int16)
    joined = join_naturally(np.concatenate((silence, word, silence)), line, RATE)
    assert joined.size == pytest.approx(RATE * (0.01 + 1 + pause), abs=2)
    clipped = join_naturally(word, line, RATE)
    assert clipped.size == pytest.approx(RATE * (1 + pause), abs=2)


def test_silence_is_nothing() -> None:
    assert join_naturally(np.zeros(1000, np.int16), "Yes.", RATE).size == 0
