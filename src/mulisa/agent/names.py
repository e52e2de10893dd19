"""Pure: does a text call somebody by name, where in it, and how sure is that?

Recognisers seldom know the agent's name: tiny.en writes Mulisa as Nilsa, Melissa, "Milis of"
or "Mule is a". One to three neighbouring words are joined and compared by sound (`sounds_like`)
and with known mishearings; what stands around them tells a call from talk about somebody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile
from typing import Final, Literal

from mulisa.agent.minutes import STOP_WORDS

Position = Literal["opening", "closing", "alone", "within"]
"""Where a name stands: calling somebody at the beginning or the end of a sentence, being all
that is said, or within it, where it usually is talk *about* somebody."""

MISHEARINGS: Final = {
    "mulisa": frozenset(
        (
            "nilsa nilesa melissa meilosa milisof muleisa yourelisa melisa molisa mulissa malisa "
            "milisa moolisa mulesa mulisha mylisa melisha nelisa alisa nolisa newlisa monalisa "
            "mealisa milesa millisa mullisa elisa theelisa mioza miosa niosa yulisa yolisa yilissa "
            "imyulisa imyolasa imyulasa imyolisa youlisa mulesir amulesir anulisa neilasaid "
            "meillicit"
        ).split()
    )
}
"""What recognisers wrote for a name, joined and lower case, by name."""

UNLIKELY_MISHEARINGS: Final = {
    "mulisa": frozenset(
        (
            "lisa lesa nila neil nielsen nielesuh yosa yoursir imyoursir nosir youlisten mule "
            "neilsaid neilisaid neilassert youlllisten youlllearn yourelisten youreliterally "
            "yourlisten youknowlisten youallisa yourelesser yourlesser yourelater yourlater "
            "yourlizard yourelittle yourlittle yourliterature yourletter yourlitter yourlister "
            "yourlisha yourelisha yourealoser yourloser youreloser youllanswer yourealisa "
            "youlovelisa meallofa mealisten melisten mylisten"
        ).split()
    )
}
"""Usual words that recognisers wrote for a name; they call somebody only where a name would
stand, apart from a question or an order."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_KNOWN_SCORE = 0.9
_UNLIKELY_SCORE = 0.65
_LEAST_SCORE = 0.5
_MAX_WORDS = 4
_MAX_SOUNDED_WORDS = 3
_MIN_SOUNDED_LETTERS = 5
_SEARCHED_WORDS = 64
"""From each end of a text; a turn of 50 s is searched whole, a typed page is not."""

_LEAD_IN = frozenset(
    "hey hi hello hallo heya yo okay ok so and but well um uh uhm er ah oh yes yeah yep no nope "
    "alright right now then please thanks thank you good morning afternoon evening bye goodbye "
    "dear sorry excuse me listen great perfect cool wait stop look actually hm hmm mm".split()
)
"""Words that may come before a call at the beginning of a sentence."""
_ABOUT_AFTER = frozenset(
    "said says saying told tells was were is isn't wasn't has hasn't had does doesn't thinks "
    "thought knows knew wants wanted asked asks mentioned gave gives got gets went goes came comes "
    "made makes whose that herself himself and or might must seems heard hears "
    "answered answers talked talks spoke speaks joined left would".split()
)
"""After a name without a comma these make it a subject."""
_MODALS = frozenset("can could will would should did do does are is was have has were".split())
_ABOUT_BEFORE = frozenset(
    "a an the this that's my your his her our their of to with about by from for at in on into "
    "like than as is was are were be been called named call name ask asked asking tell told "
    "telling say said use using used let let's and or without between hear heard think thought "
    "know knew see saw met have has had want wants need needs between it's who's he's she's "
    "i'm you're we're they're not because if when while that where's what's does did do can "
    "could will would should".split()
)
"""Before a name without a comma these make it an object or a predicate."""
_COMMON = (
    (_LEAD_IN | STOP_WORDS)
    .difference({"mulisa"})
    .union(
        (
            "alas analysis dunno input list mainly malice miles million mills mostly nearly newly "
            "person place police release south un unless unlike"
        ).split()
    )
)
"""Words so usual that a window of nothing else is a name only if it is a known mishearing."""


@dataclass(frozen=True, slots=True)
class NameMatch:
    """Words of a text that sound like the name."""

    words: str
    """As they stand in the text: ``Mule is a``."""
    start: int
    end: int
    """Character offsets in the text."""
    score: float
    """0..1: 1 for the name itself, about 0.5 for a guess."""
    position: Position
    apart: bool
    """Set off by a comma or a full stop from all that is said with it."""


@dataclass(frozen=True, slots=True)
class Respelling:
    """Words of a text that stand for a name, and how it is written."""

    start: int
    end: int
    """Character offsets in the text that was searched."""
    name: str

    def apply(self, text: str, offset: int = 0) -> str:
        """`text`, which begins at `offset` of the searched one, with the name in its place.

        All else stays as it is, and so does a text that does not hold all of these words.
        """
        start, end = self.start - offset, self.end - offset
        if start < 0 or end > len(text):
            return text
        return f"{text[:start]}{self.name}{text[end:]}"


@dataclass(frozen=True, slots=True)
class _Word:
    lower: str
    start: int
    end: int


class NameMatcher:
    """Finds one name, however a recogniser may have written it."""

    def __init__(self, name: str, aliases: Sequence[str] = ()) -> None:
        self._name = name
        self._names: dict[str, str] = {}
        for own in (name, *aliases, *name.split()[:1]):
            if letters := _letters(own):
                self._names.setdefault(letters, own)
        self._known = MISHEARINGS.get(_letters(name), frozenset())
        self._unlikely = UNLIKELY_MISHEARINGS.get(_letters(name), frozenset())
        self._max_words = max([_MAX_WORDS, *(len(n.split()) for n in (name, *aliases))])

    def find(self, text: str, others: Sequence[str] = ()) -> NameMatch | None:
        """The likeliest call of the name in `text`; None if nothing sounds like it.

        `others` are the names of people present: words that are theirs are not taken for ours.
        In the midst of a very long text nobody is called.
        """
        rivals = tuple(_letters(part) for name in others for part in {name, *name.split()[:1]})
        found = [
            match
            for sentence, searched in _near_the_ends(_sentences(text))
            for match in self._in_sentence(text, sentence, searched, rivals)
        ]
        apart: list[NameMatch] = []
        for match in sorted(found, key=_preference):
            if all(match.end <= other.start or other.end <= match.start for other in apart):
                apart.append(match)
        return max(apart, key=lambda match: (match.position != "within", match.score), default=None)

    def score(self, words: str) -> float:
        """How likely `words` are what a recogniser made of the name, 0..1."""
        letters = _letters(words)
        if letters in self._names:
            return 1.0
        if letters in self._known:
            return _KNOWN_SCORE
        if letters in self._unlikely:
            return _UNLIKELY_SCORE
        lowered = _lowered(words)
        if len(lowered) > _MAX_SOUNDED_WORDS or all(word in _COMMON for word in lowered):
            return 0.0
        names = [name for name in self._names if _comparable(letters, name)]
        best = max((sounds_like(letters, name) for name in names), default=0.0)
        return max(0.0, 0.95 * best - 0.04 * (len(lowered) - 1))

    def without(self, text: str) -> str:
        """`text` without the words with which the name is called."""
        match = self.find(text)
        if match is None or match.position == "within":
            return text
        return f"{text[: match.start]} {text[match.end :]}".strip(" ,.;:?!")

    def respelling(self, match: NameMatch) -> Respelling:
        """How what was understood for the name is written; an alias that was said stays one."""
        letters = _letters(match.words)
        if letters in self._names:
            name = self._names[letters]
        elif letters in self._known or letters in self._unlikely:
            name = self._name
        else:
            name = self._names[max(self._names, key=lambda own: sounds_like(letters, own))]
        return Respelling(match.start, match.end, name)

    def _in_sentence(
        self, text: str, words: Sequence[_Word], searched: Iterable[int], rivals: Sequence[str]
    ) -> Iterable[NameMatch]:
        for first in searched:
            for after in range(first + 1, min(first + self._max_words, len(words)) + 1):
                start, end = words[first].start, words[after - 1].end
                spoken = text[start:end]
                score = self.score(spoken)
                if re.search(r"[,;:]", spoken) and score != _KNOWN_SCORE:
                    score = min(score, _UNLIKELY_SCORE) if _letters(spoken) in self._unlikely else 0
                if score < _LEAST_SCORE or _is_rivals(spoken, score, rivals):
                    continue
                position = _position(text, words, first, after)
                apart = _is_apart(text, words, first, after)
                yield NameMatch(spoken, start, end, round(score, 3), position, apart)


_MENTIONED = re.compile(r"\b(?:and|or|about)\W*$", re.IGNORECASE)


def find_person(text: str, names: Sequence[str]) -> str | None:
    """Who of `names` is spoken *to* in `text` ("Bob, what do you think?"); None if nobody.

    "And Bob?" and "what about Bob?" are about him.
    """
    best: tuple[float, str] | None = None
    for name in names:
        match = _matcher(name).find(text)
        if match is None or match.position == "within" or match.score < 0.85:
            continue
        if _MENTIONED.search(text[: match.start]):
            continue
        if best is None or match.score > best[0]:
            best = match.score, name
    return best[1] if best else None


def _comparable(letters: str, name: str) -> bool:
    """Whether a likeness in sound would mean something: not for short names, nor for sentences."""
    return len(name) >= _MIN_SOUNDED_LETTERS and len(letters) <= 2 * len(name)


@lru_cache(maxsize=4096)
def sounds_like(one: str, other: str) -> float:
    """Similarity in sound of two words, 0..1; 1 if they could be said alike.

    An edit distance over phones in which neighbours in sound (m and n, s and z, any two vowels)
    are cheap to exchange, as a share of what the whole of `other` weighs.
    """
    a, b = _phones(one), _phones(other)
    if not a or not b:
        return 0.0
    row = [0.0]
    for phone in b:
        row.append(row[-1] + _weight(phone))
    whole = row[-1]
    for mine in a:
        above, row = row, [row[0] + _weight(mine)]
        for column, theirs in enumerate(b):
            row.append(
                min(
                    above[column] + _exchange(mine, theirs),
                    above[column + 1] + _weight(mine),
                    row[column] + _weight(theirs),
                )
            )
    return max(0.0, 1.0 - row[-1] / whole)


_SPELLINGS = tuple(
    (re.compile(pattern), phones)
    for pattern, phones in (
        (r"'", ""),
        (r"^(kn|gn|pn)", "n"),
        (r"(?<=[mn])j", "y"),
        (r"(?<=[aeiou])r$", ""),
        (r"^wr", "r"),
        (r"mb$", "m"),
        (r"ph", "f"),
        (r"[aeo]ugh$|igh", "a"),
        (r"tch|ch", "C"),
        (r"sh|ti(?=on)|ci(?=a)", "S"),
        (r"th", "T"),
        (r"ck|q", "k"),
        (r"x", "ks"),
        (r"sc(?=[eiy])|c(?=[eiy])", "s"),
        (r"c", "k"),
        (r"dg(?=[eiy])|j", "J"),
        (r"(?<=[aeiou])[wh](?![aeiou])", ""),
        (r"(?<=[^aeiou])h", ""),
        (r"(?<=[^aeiouy])e$", ""),
        (r"(?<!^)y(?![aeiou])", "i"),
        (r"(.)\1+", r"\1"),
        (r"[ou][aeiou]*", "u"),
        (r"[aei][aeiu]*", "i"),
    )
)
_NEAR = {
    frozenset(pair): cost
    for pair, cost in (
        ("mn", 0.25),
        ("sz", 0.1),
        ("sS", 0.3),
        ("zS", 0.4),
        ("ui", 0.1),
        ("td", 0.2),
        ("pb", 0.2),
        ("kg", 0.2),
        ("fv", 0.2),
        ("fT", 0.3),
        ("CS", 0.3),
        ("CJ", 0.2),
        ("lr", 0.5),
        ("mb", 0.5),
        ("lw", 0.5),
        ("vw", 0.4),
        ("ly", 0.6),
        ("lu", 0.6),
        ("li", 0.6),
        ("my", 0.5),
        ("ny", 0.5),
    )
}


@lru_cache(maxsize=4096)
def _phones(word: str) -> str:
    """A rough transcription: consonants, vowels as front (i) or back (u)."""
    plain = word.lower()
    for pattern, phones in _SPELLINGS:
        plain = pattern.sub(phones, plain)
    return plain


def _weight(phone: str) -> float:
    if phone in "iu":
        return 0.35
    return 0.4 if phone in "hwy" else 1.0


def _exchange(one: str, other: str) -> float:
    if one == other:
        return 0.0
    return _NEAR.get(frozenset((one, other)), 0.9 * max(_weight(one), _weight(other)))


def _position(text: str, words: Sequence[_Word], first: int, after: int) -> Position:
    before = [w.lower for w in words[:first]]
    following = [w.lower for w in words[after:]]
    comma_before = first > 0 and _comma(text, words[first - 1].end, words[first].start)
    comma_after = after < len(words) and _comma(text, words[after - 1].end, words[after].start)
    led_in = all(word in _LEAD_IN for word in before)
    if led_in and not following:
        return "alone"
    if comma_before and comma_after:
        return "opening"
    if led_in and (comma_after or _may_be_told(following)):
        return "opening"
    if following and _asks_you(before) and before[-1] not in _ABOUT_BEFORE:
        return "opening"
    asked = before[-2:] == ["you", "think"]
    if not following and (comma_before or asked or before[-1] not in _ABOUT_BEFORE):
        return "closing"
    return "within"


def _is_apart(text: str, words: Sequence[_Word], first: int, after: int) -> bool:
    before = [word.lower for word in words[:first]]
    open_before = bool(before) and not _comma(text, words[first - 1].end, words[first].start)
    open_after = after < len(words) and not _comma(text, words[after - 1].end, words[after].start)
    return not open_after and (not open_before or before[-1] in _LEAD_IN)


def _may_be_told(following: Sequence[str]) -> bool:
    """Words after a name and no comma: a question or an order, not what somebody did."""
    if following[0] in _MODALS:
        return len(following) > 1 and following[1] in _SUBJECTS
    return following[0] not in _ABOUT_AFTER


def _asks_you(before: Sequence[str]) -> bool:
    """ "Can you tell us", "tell me please": words before a name that are said to somebody."""
    words = list(dropwhile(_LEAD_IN.__contains__, before))
    return len(words) > 1 and (
        (words[0] in _MODALS and words[1] == "you")
        or (words[0] in {"tell", "give", "show"} and words[1] in {"me", "us"})
    )


_SUBJECTS = frozenset(
    "you i we it he she they there that this these those the my our anybody anyone everybody "
    "everyone somebody someone nobody what not".split()
)


def _comma(text: str, start: int, end: int) -> bool:
    return any(c in ",;:—–" for c in text[start:end])


def _preference(match: NameMatch) -> tuple[float, int, int]:
    """Of overlapping matches the surest counts, and of these the longest."""
    return -match.score, match.start - match.end, match.start


def _is_rivals(spoken: str, score: float, rivals: Sequence[str]) -> bool:
    letters = _letters(spoken)
    return score < 1.0 and any(
        letters == rival or sounds_like(letters, rival) >= max(score, 0.9) for rival in rivals
    )


def _sentences(text: str) -> list[list[_Word]]:
    sentences: list[list[_Word]] = [[]]
    end = 0
    for found in _WORD.finditer(text):
        if sentences[-1] and re.search(r"[.?!…]", text[end : found.start()]):
            sentences.append([])
        sentences[-1].append(_Word(found[0].lower().replace("’", "'"), *found.span()))
        end = found.end()
    return [sentence for sentence in sentences if sentence]


def _near_the_ends(sentences: list[list[_Word]]) -> Iterable[tuple[list[_Word], list[int]]]:
    """Each sentence, and which of its words may begin a name: the work for any text is bounded."""
    tail = sum(map(len, sentences)) - _SEARCHED_WORDS
    start = 0
    for words in sentences:
        numbers = range(start, start + len(words))
        yield words, [n - start for n in numbers if n < _SEARCHED_WORDS or n >= tail]
        start += len(words)


def _lowered(text: str) -> list[str]:
    return [found[0].lower().replace("’", "'") for found in _WORD.finditer(text)]


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalpha())


@lru_cache(maxsize=256)
def _matcher(name: str) -> NameMatcher:
    return NameMatcher(name)
