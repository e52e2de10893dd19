"""Joins the halves of an answer that two engines wrote. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MAX_COMPARED_WORDS: Final = 400

_OPEN_WORD = re.compile(r"[^\s\u2e80-\U0010ffff]*\Z")
"""What may still grow; scripts that write without spaces have no such thing."""
_TOKEN = re.compile(r"\S+")
_LETTERS = re.compile(r"\w+")


class WholeWords:
    """Holds back a last word that may be half, so that another engine can go on after it."""

    def __init__(self) -> None:
        self._open = ""

    def push(self, text: str) -> str:
        """Append; what is whole now."""
        text = self._open + text
        match = _OPEN_WORD.search(text)
        cut = match.start() if match else len(text)
        self._open = text[cut:]
        return text[:cut]

    def flush(self) -> str:
        """The last word, at the end."""
        rest, self._open = self._open, ""
        return rest


class Continuation:
    """Drops from the beginning of a continuation what was said already.

    An engine that is asked to go on may begin anew, or with the last words once more.
    """

    def __init__(self, said: str) -> None:
        self._said = [word for word, _ in _words(said)][-MAX_COMPARED_WORDS:]
        self._needs_space = bool(said) and not said[-1].isspace()
        self._strip = bool(said)
        self._held = ""
        self._is_decided = not self._said

    def push(self, text: str) -> str:
        """Append whole words; what is new of all so far, as soon as that is known."""
        if not self._is_decided:
            self._held += text
            words = _words(self._held)
            if self._may_repeat([word for word, _ in words]):
                return ""
            text = self._decide()
        return self._joined(text)

    def flush(self) -> str:
        """The rest, at the end."""
        return "" if self._is_decided else self._joined(self._decide())

    def _may_repeat(self, words: Sequence[str]) -> bool:
        """More words may show that it says again what was said."""
        n = len(words)
        starts = range(len(self._said) - n)
        return any(self._said[start : start + n] == words for start in starts)

    def _decide(self) -> str:
        self._is_decided = True
        words = _words(self._held)
        said = [word for word, _ in words]
        longest = min(len(said), len(self._said))
        sizes = (n for n in range(longest, 0, -1) if self._said[-n:] == said[:n])
        repeated = next(sizes, 0)
        return self._held[words[repeated - 1][1] :] if repeated else self._held

    def _joined(self, text: str) -> str:
        if self._strip and text.strip():
            self._strip = False
            goes_on = text[0].isspace() and self._needs_space
            return (" " if goes_on else "") + text.lstrip()
        return "" if self._strip else text


def _words(text: str) -> list[tuple[str, int]]:
    """Each word as it is compared, and where it ends."""
    found = ((_LETTERS.findall(token[0].lower()), token.end()) for token in _TOKEN.finditer(text))
    return [("".join(letters), end) for letters, end in found if letters]
