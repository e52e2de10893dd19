"""Pure: orders about whom she shall hear and to whom she shall speak, in normalised words.

An order is for her. Who only tells how it is ("I don't hear Bob", "you never listen to me"), or
asks ("did you speak only to Bob?"), orders nothing.
"""

from __future__ import annotations

import re
from typing import Final


def whom_to_hear(plain: str) -> tuple[str, bool] | None:
    """A name, ``me`` for who asks or ``everybody``, and whether to hear them; None: no order."""
    for pattern, on in ((_UNHEAR, False), (_HEAR, True)):
        found = pattern.search(plain)
        if found is None or _tells(plain, found):
            continue
        who = _whom(found["who"] or "me")
        if len(who) == 1:
            return who[0], on
    return None


def whom_to_speak_to(plain: str) -> tuple[str, ...]:
    """Names, ``me`` for who asks, or only ``everybody``; empty if that is no order."""
    for pattern in _SPEAK_TO:
        found = pattern.search(plain)
        if found and not _tells(plain, found) and (who := _whom(found["who"])):
            return who
    return ()


def _tells(plain: str, found: re.Match[str]) -> bool:
    """Whether somebody is said, or asked, to do it, rather than told to."""
    before = plain[: found.start()]
    is_not = found[0].startswith(("don't", "do not", "never", "no longer"))
    return bool(_SOMEBODY.search(before) or (is_not and _YOU.search(before)))


def _whom(words: str) -> tuple[str, ...]:
    """Names in "me and bob please"; empty if something in it is none."""
    words = re.sub(rf"(?: (?:{_AFTERWARDS}))+$", "", words.strip())
    who = []
    for part in re.split(r" and | or |, ?", words):
        if part in _ALL:
            return ("everybody",)
        if part in ("me", "myself"):
            who.append("me")
        elif len(part.split()) <= 2 and not set(part.split()) & _NO_NAMES:
            who.append(part)
        else:
            return ()
    return tuple(who)


_AFTERWARDS: Final = (
    r"again|please|anymore|any more|any longer|now|for now|from now on|for a while|at all|alone"
    r"|only|from here on|for a moment|ok|okay|then|until i say so"
)
_LISTED_ALL: Final = (
    "everybody else|everybody|everyone else|everyone|all of us|all of them|all|us all|us|them all"
    "|them|the room|the whole room|the others|anybody|anyone"
)
_ALL: Final = frozenset(_LISTED_ALL.split("|"))
_NO_NAMES: Final = frozenset(
    "it that this these those what when where who how why if the a an my your his her their you "
    "yourself music him to in on of with about something anything".split()
)
_ADVERBS: Final = r"(?: (?:really|still|just|only|also|always|all|both|often|usually|already|now))*"
_SOMEBODY: Final = re.compile(
    r"\b(?:i|we|they|he|she|people|who|(?:do|did|have|had|are|were|why|when|if|because|that) you)"
    r"(?: (?:can|could|will|would|should|must|may|might|do|did|have|had|am|are|was|were|to))?"
    rf"{_ADVERBS} $"
)
"""Who does it, right before the verb; "can you" and "you should" are for her to do."""
_YOU: Final = re.compile(rf"\byou{_ADVERBS} $")
"""Before "don't" a complaint."""
_UNHEAR: Final = re.compile(
    r"\b(?:(?:stop|quit|no longer) (?:listening|hearing|listen|hear)"
    r"|(?:don't|do not|never) (?:listen|hear))(?:(?: to)? (?P<who>.+))?$"
)
_HEAR: Final = re.compile(
    r"^(?:(?:please|now|and|so|okay|ok|you can|you may|can you|could you|start|begin) )*"
    r"(?:listen(?:ing)?|hear(?:ing)?) (?:again )?to (?P<who>.+)$"
)
_SPEAK: Final = r"(?:speak|talk|speaking|talking)"
_SPEAK_TO: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b{_SPEAK} (?:only|just|lonely|on me) (?:to|with) (?P<who>.+)$",
        rf"\b(?:only|just) {_SPEAK} (?:to|with) (?P<who>.+)$",
        rf"^(?:please )?{_SPEAK} (?:to|with) (?P<who>[\w ]+?) (?:only|alone)\b",
        rf"^(?:(?:please|now|you can|you may|can you|could you|start) )*{_SPEAK} (?:again )?"
        rf"(?:to|with) (?P<who>(?:{_LISTED_ALL})(?: (?:{_AFTERWARDS}))*)$",
    )
)
