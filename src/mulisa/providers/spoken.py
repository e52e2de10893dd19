"""Pure: facts as spoken English sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_MAX_WORDS = 40
_NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()


def listed(names: Sequence[str]) -> str:
    """``Alice, Bob and Carol``; empty for none."""
    if len(names) < 2:
        return names[0] if names else ""
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(number: int) -> str:
    """Small numbers in words, as people say them."""
    return _NUMBERS[number] if 0 <= number < len(_NUMBERS) else str(number)


def past(duration: str) -> str:
    """``the last minute`` of ``a minute``, ``the last 5 minutes`` of ``5 minutes``."""
    return f"the last {duration.removeprefix('an ').removeprefix('a ')}"


def clip(text: str, max_words: int = _MAX_WORDS) -> str:
    """At most so many words, ended where a sentence or a clause ends if one does."""
    words = text.split()
    if len(words) <= max_words:
        return text
    kept = " ".join(words[:max_words])
    ends = [found.end() for found in re.finditer(r"[.?!;,](?= |$)", kept)]
    late = [end for end in ends if end > len(kept) // 2]
    return kept[: late[-1]].rstrip(",; ") if late else f"{kept}, and so on"


def quote(item: Mapping[str, str]) -> str:
    """A sentence with its speaker: ``Bob: the tests are green.``"""
    return f"{item['name']} said: {clip(item['text'])}"


def sentence(text: str) -> str:
    """With a capital letter and a mark at the end."""
    text = text.strip()
    if text and text[-1] in ",;:-":
        text = text[:-1]
    if not text or text[-1] not in ".?!":
        text += "."
    return text[:1].upper() + text[1:]
