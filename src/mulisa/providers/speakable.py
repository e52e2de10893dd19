"""What a voice can be given, and how pieces of speech are put together. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import numpy as np

from mulisa.core.audio import Samples

MAX_LINE_CHARS: Final = 200
MIN_SENTENCE_CHARS: Final = 12
"""A shorter sentence is spoken together with its neighbour."""

LEAD: Final = 0.010
SENTENCE_PAUSE: Final = 0.260
CLAUSE_PAUSE: Final = 0.130
WORD_PAUSE: Final = 0.040
AUDIBLE: Final = 160
"""About -46 dBFS: the voice's own noise floor stays below."""

_MARKUP = str.maketrans(dict.fromkeys("*_`#~|<>[]{}\\^", " "))
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"')\]]*\s+")
_CLAUSE_END = re.compile(r"(?<=[,;:—–])\s+")


def speakable_lines(text: str) -> list[str]:
    """Sentences of at most 200 characters without control characters, markup and symbols.

    What has no letter and no digit is left out: there is nothing to pronounce.
    """
    clean = "".join(_speakable(character) for character in text.translate(_MARKUP))
    clean = " ".join(clean.split())
    sentences = _join_short(_SENTENCE_END.split(clean))
    lines = [line for sentence in sentences for line in _break_long(sentence)]
    return [line for line in lines if any(character.isalnum() for character in line)]


def join_naturally(spoken: Samples, line: str, sample_rate_hz: int) -> Samples:
    """Trim silence around the words and end with the pause that the punctuation asks for."""
    audible = np.flatnonzero(np.abs(spoken.astype(np.int32)) > AUDIBLE)
    if not audible.size:
        return spoken[:0]
    start = max(0, int(audible[0]) - round(LEAD * sample_rate_hz))
    pause = round(_pause_after(line) * sample_rate_hz)
    end = int(audible[-1]) + 1
    tail = spoken[end : end + pause]
    return np.concatenate((spoken[start:end], tail, np.zeros(pause - tail.size, dtype=np.int16)))


def _speakable(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or category == "Mn" and character == "\ufe0f":
        return ""
    return " " if category[0] in "CZ" or category == "So" else character


def _join_short(sentences: list[str]) -> list[str]:
    joined: list[str] = []
    for sentence in sentences:
        if joined and len(joined[-1]) < MIN_SENTENCE_CHARS:
            joined[-1] = f"{joined[-1]} {sentence}"
        else:
            joined.append(sentence)
    return joined


def _break_long(sentence: str) -> list[str]:
    if len(sentence) <= MAX_LINE_CHARS:
        return [sentence]
    lines = [""]
    for clause in _CLAUSE_END.split(sentence):
        for word in [clause] if len(clause) <= MAX_LINE_CHARS else _words(clause):
            if lines[-1] and len(lines[-1]) + 1 + len(word) > MAX_LINE_CHARS:
                lines.append(word)
            else:
                lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _words(clause: str) -> list[str]:
    return [
        word[start : start + MAX_LINE_CHARS]
        for word in clause.split()
        for start in range(0, len(word), MAX_LINE_CHARS)
    ]


def _pause_after(line: str) -> float:
    ending = line.rstrip("\"')]")[-1:]
    if ending in ".!?…。！？":
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if ending in ",;:—–" else WORD_PAUSE
