"""Cuts streamed LLM text into pieces that can be spoken. Pure.

The first piece is as short as a clause, so that speech starts early; the others are sentences,
because a TTS speaks whole ones best. Markdown, emoji and addresses become words.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

MIN_WORDS: Final = 3
MIN_CHARS: Final = 12
"""A first piece below either sounds chopped off and leaves no time to synthesise the next one."""
LONG_CHARS: Final = 120
"""A sentence that is longer may be cut at a clause."""
MAX_CHARS: Final = 300
"""A piece that finds no boundary is cut between two words."""

_EMOJI = (
    "\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u200d\ufe0f\u20e3"
    "\U000e0020-\U000e007f"
)
_CLOSERS = rf"""["'”’»)\]*_`~{_EMOJI}]*"""
_BOUNDARY = re.compile(
    rf"""
    (?P<line>[^\S\n]*\n\s*)
    | (?P<wide>[。！？]+{_CLOSERS})
    | (?P<end>[.!?…]+){_CLOSERS}(?=\s)
    | (?P<clause>[,;:]{_CLOSERS}(?=\s) | \s*—\s* | \s(?:–|--)\s)
    """,
    re.VERBOSE,
)
_LAST_TOKEN = re.compile(r"[\w.]*\Z")
_WORD = re.compile(r"\w")
_UNCLOSED_LINK = re.compile(r"\[[^\]]*\Z|\]\([^)]*\Z")
_LIST_NUMBER = re.compile(r"(?:\A|\n)\s*\d+\Z")
_DOTTED = re.compile(r"(?:[^\W\d]\.)+[^\W\d]")

_NEVER_LAST = frozenset(
    "dr mr mrs ms mx prof st sr jr rev hon gen col sgt capt lt e.g i.e cf vs approx fig vol".split()
)
_SOMETIMES_LAST = frozenset("etc a.m p.m inc ltd corp co".split())


class SentenceSplitter:
    """Cuts the text of one reply; no word is lost, doubled or reordered."""

    def __init__(self) -> None:
        self._pending = ""
        self._is_first = True

    def push(self, delta: str) -> list[str]:
        """Append LLM text; the segments that are complete now, ready for a TTS."""
        self._pending += delta
        segments = []
        while (cut := self._next_cut()) is not None:
            segments += self._cut(cut)
        return segments

    def flush(self) -> list[str]:
        """The rest, at the end of the LLM's text. The next `push` begins a new text."""
        segments = self.push("\n")
        segments += self._cut(len(self._pending))
        self._is_first = True
        return segments

    def _cut(self, end: int) -> list[str]:
        segment = speakable(self._pending[:end])
        self._pending = self._pending[end:]
        if segment:
            self._is_first = False
        return [segment] if segment else []

    def _next_cut(self) -> int | None:
        for match in _BOUNDARY.finditer(self._pending):
            kind = _kind(match, self._pending)
            if kind is _Kind.UNDECIDED:
                break
            if self._may_cut(kind, self._pending[: match.end()]):
                return match.end()
        return self._forced_cut()

    def _may_cut(self, kind: _Kind, segment: str) -> bool:
        if kind is _Kind.HARD:
            return True
        if kind is _Kind.NONE or _UNCLOSED_LINK.search(segment):
            return False
        if kind is _Kind.CLAUSE and not self._is_first:
            return len(segment) >= LONG_CHARS
        return not self._is_first or _is_enough(segment)

    def _forced_cut(self) -> int | None:
        if len(self._pending) <= MAX_CHARS:
            return None
        end = self._pending.rfind(" ", 1, MAX_CHARS)
        return end if end > 0 else None


class _Kind(Enum):
    HARD = auto()
    """The end of a line, or of a sentence in a script without spaces: always a segment."""
    SENTENCE = auto()
    CLAUSE = auto()
    NONE = auto()
    UNDECIDED = auto()
    """What follows decides, and it is not there yet."""


def _kind(match: re.Match[str], text: str) -> _Kind:
    if match["line"] or match["wide"]:
        return _Kind.HARD
    if match["clause"]:
        return _Kind.CLAUSE
    if match["end"][-1] in "!?":
        return _Kind.SENTENCE
    following = text[match.end() :].lstrip()[:1]
    if match["end"] == ".":
        return _kind_of_dot(text[: match.start()], following)
    if not following:
        return _Kind.UNDECIDED
    return _Kind.CLAUSE if following.islower() else _Kind.SENTENCE  # an ellipsis


def _kind_of_dot(before: str, following: str) -> _Kind:
    token = _LAST_TOKEN.findall(before)[0].lower()
    if token in _NEVER_LAST or _LIST_NUMBER.search(before):
        return _Kind.NONE
    if token in _SOMETIMES_LAST or token == "no":
        if not following:
            return _Kind.UNDECIDED
        goes_on = following.isdigit() if token == "no" else not following.isupper()
        return _Kind.NONE if goes_on else _Kind.SENTENCE
    is_initial = len(token) == 1 and token.isalpha() and token != "i"
    return _Kind.NONE if is_initial or _DOTTED.fullmatch(token) else _Kind.SENTENCE


def _is_enough(segment: str) -> bool:
    text = speakable(segment)
    return len(text) >= MIN_CHARS and len(text.split()) >= MIN_WORDS


_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(
    r"<?\b(?:https?://|www\.)(?:www\.)?([\w.-]*\w)(?::\d+)?(?:[/?#][^\s>]*[^\s>.,;:!?)])?/?>?"
)
_LINE_MARK = re.compile(r"\A\s*(?:(?:\#{1,6}|>|[-*+•])\s+)+")
_FENCE = re.compile(r"```\w*")
_TIMES = re.compile(r"(?<=\d)\s*[*×]\s*(?=\d)")
_UNDERSCORES = re.compile(r"(?<!\w)_+|_+(?!\w)")
_DECORATION = re.compile(rf"[*`~{_EMOJI}]+")
_DASH = re.compile(r"\s*—\s*|\s+(?:–|--)\s+")


def speakable(text: str) -> str:
    """`text` as a TTS should read it: no markup, no emoji, of an address only the host.

    Empty if no word is left.
    """
    words = _FENCE.sub(" ", text)
    words = _LINK.sub(r"\1", words)
    words = _URL.sub(r"\1", words)
    words, marks = _LINE_MARK.subn("", words)
    words = _TIMES.sub(" times ", words)
    words = _UNDERSCORES.sub("", _DECORATION.sub("", words))
    words = _DASH.sub(", ", words.strip(" —–|")).replace("|", ", ").replace("→", " to ")
    words = " ".join(words.split())
    if not _WORD.search(words):
        return ""
    is_whole_line = marks > 0 and text.endswith("\n")
    return words + "." if is_whole_line and _WORD.match(words[-1]) else words
