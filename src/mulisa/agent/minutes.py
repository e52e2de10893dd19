"""Pure: extractive minutes. What a call was about, in the words of those who spoke.

Sentences are chosen, never written: topics by term weight, decisions, tasks and open questions
by cues of spoken English.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_SENTENCE = re.compile(r"[^.?!]+[.?!]*")
_SOUND = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
_FILLER = re.compile(
    r"\b(?:um+|uh+|uhm|er|erm|hm+|mm+|mhm)\b ?,? ?|, you know(?=[ ,.])", re.IGNORECASE
)
_STUTTER = re.compile(r"\b(\w+(?:'\w+)?)(?:[ ,]+\1\b)+", re.IGNORECASE)
_MIN_TOPIC_TURNS = 2
_ANSWER_TURNS = 3

STOP_WORDS: Final = frozenset(
    "a about above actually after again ago all almost already alright also although always am an "
    "and another any anybody anyone anything are aren't around as ask asked at away back basically "
    "be because been before being better between big bit both but by call called came can can't "
    "cannot come could couldn't course did didn't different do does doesn't doing don't done down "
    "each either else enough er even ever every everybody everyone everything exactly far few fine "
    "first for from get gets getting give go goes going gone gonna good got great guess had happen "
    "has have haven't having he he's hear hello her here hers hey hi him his hm hmm how how's i "
    "i'd i'll i'm i've if in into is isn't it it'd it'll it's its just keep kind know known last "
    "least less let let's like little long look looking lot lots made make makes making many may "
    "maybe me mean means mhm might mine minute minutes mm more most much mulisa must my need needs "
    "never new next nice no nobody none nor not nothing now of off oh ok okay on once one ones "
    "only or other our out over own part people perhaps please point pretty probably put quite "
    "rather really right said same saw say saying says second see seem seems seen she she's should "
    "shouldn't since so some somebody someone something sometimes sorry sort still stuff such sure "
    "take tell than thank thanks that that'd that'll that's the their them themselves then there "
    "there's these they they'll they're they've thing things think thinking this those though "
    "thought three through time times to today together told too took true try trying two uh uhm "
    "um under until up upon us use used very want wanted wants was wasn't way we we'd we'll we're "
    "we've well went were weren't what what's whatever when where where's whether which while who "
    "who's whole whom whose why will with within without won't word words would wouldn't yeah yep "
    "yes yet you you'd you'll you're you've your yours".split()
)

_DECISION = re.compile(
    r"\b(?:(?:we|i|they)(?:'ve| have)? (?:all )?(?:decided|agreed|settled|concluded|chose|voted)"
    r"|(?:it's|it is|that's|that is) (?:decided|agreed|settled)|decision|agreed\b"
    r"|let's (?!see|look|wait|say|hear|talk|think|try|assume|suppose|imagine|be|not|just|face)\w+"
    r"|we(?:'ll| will|'re going to|'re gonna| are going to) (?:go with|use|move|take|keep|meet"
    r"|ship|start|postpone|drop|skip|stick)|(?:final|settled) (?:answer|on)|we're going with)",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"\b(?:i(?:'ll| will|'m going to|'m gonna| am going to| can) (?!be\b|say\b|see\b|think\b"
    r"|tell\b|just say\b|hear\b|understand\b|imagine\b)\w+"
    r"|(?:can|could|will|would) you (?:please )?(?!hear|see|tell|repeat|say|imagine|guys)\w+"
    r"|action item|to-?do|remind (?:me|us|him|her)|(?:someone|somebody|you) (?:should|has to|must)"
    r"|we (?:should|need to|have to|must)|don't forget|make sure"
    r"|(?:\w+) (?:will|is going to|has to|needs to) (?:send|write|prepare|check|fix|call|ask|look"
    r"|make|finish|do|bring|organi[sz]e|review|test|update|talk|find))\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^(?:(?:and|but|so|ok|okay|well|um|uh),? )*(?:who|what|when|where|why|how|which|should|can"
    r"|could|do|does|did|is|are|will|would|have|has)\b",
    re.IGNORECASE,
)


_QUESTION_WORD = re.compile(
    r"(?:\w+,? ){0,2}(?:who|what|when|where|why|how|which)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of somebody, and what can be told of it."""

    name: str
    text: str
    """As it was said, without "um", stutters and described sounds."""
    stems: frozenset[str]
    """Of the words that carry meaning."""
    n_words: int
    asks: bool
    decides: bool
    orders: bool
    """Gives somebody something to do."""

    @property
    def tells(self) -> bool:
        """False for what is too short or too empty to be quoted."""
        return self.n_words >= 4 and bool(self.stems)


@dataclass(frozen=True, slots=True)
class Note:
    """One turn, read once when it was said."""

    name: str
    sentences: tuple[Sentence, ...]
    stems: frozenset[str]
    terms: Mapping[str, str]
    """Stems of words and of neighbouring pairs, each with the words as said."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """What can be told of a stretch of talk, in the words of those who spoke."""

    speakers: tuple[tuple[str, int], ...]
    """Names and how many words each said, the most talkative first."""
    topics: tuple[str, ...]
    """Terms of one or two words, the weightiest first."""
    decisions: tuple[Sentence, ...]
    tasks: tuple[Sentence, ...]
    open_questions: tuple[Sentence, ...]
    """Questions that nobody answered as far as can be told."""
    highlights: tuple[Sentence, ...]
    """The most telling sentences, in the order in which they were said."""


def take_note(name: str, text: str) -> Note:
    """Read one turn."""
    sentences = tuple(_read(name, part) for part in split_sentences(text))
    stems = frozenset(stem for sentence in sentences for stem in sentence.stems)
    return Note(name, sentences, stems, _terms([sentence.text for sentence in sentences]))


def take_minutes(notes: Sequence[Note], limit: int = 4) -> Minutes:
    """Minutes of turns, oldest first, with at most `limit` entries of each kind."""
    words: Counter[str] = Counter()
    for note in notes:
        words[note.name] += sum(sentence.n_words for sentence in note.sentences)
    sentences = [sentence for note in notes for sentence in note.sentences]
    telling = [sentence for sentence in sentences if sentence.tells]
    return Minutes(
        speakers=tuple(words.most_common()),
        topics=tuple(topics(notes, limit + 1)),
        decisions=_latest((s for s in telling if s.decides and not s.asks), limit),
        tasks=_latest((s for s in telling if s.orders and not s.decides), limit),
        open_questions=_latest(_unanswered(notes), limit),
        highlights=tuple(_weightiest(telling, limit)),
    )


def gist(sentences: Sequence[Sentence], chars: int) -> list[Sentence]:
    """The most telling sentences in the order in which they were said.

    As lines ``Name: sentence`` they have at most `chars` characters in all.
    """
    kept: set[int] = set()
    for index in _by_weight(sentences):
        cost = len(sentences[index].name) + len(sentences[index].text) + 3
        if cost <= chars:
            chars -= cost
            kept.add(index)
    return [sentences[index] for index in sorted(kept)]


def topics(notes: Iterable[Note], limit: int) -> list[str]:
    """Terms that several turns share, as they were said most often; the weightiest first."""
    turns_with: Counter[str] = Counter()
    shown: dict[str, Counter[str]] = {}
    total = 0
    for note in notes:
        total += 1
        for term, surface in note.terms.items():
            turns_with[term] += 1
            shown.setdefault(term, Counter())[surface] += 1
    weight = {
        term: count * math.log(1 + total / count) * (1.6 if " " in term else 1.0)
        for term, count in turns_with.items()
        if count >= _MIN_TOPIC_TURNS or (total < 4 * _MIN_TOPIC_TURNS and " " not in term)
    }
    chosen: list[str] = []
    for term in sorted(weight, key=lambda term: (-weight[term], term)):
        if len(chosen) == limit:
            break
        if not any(set(term.split()) & set(other.split()) for other in chosen):
            chosen.append(term)
    return [shown[term].most_common(1)[0][0] for term in chosen]


def content_words(text: str) -> frozenset[str]:
    """Stems of the words of a text that carry meaning."""
    return frozenset(_stem(word) for word in _lowered(text) if _carries_meaning(word))


def smooth(text: str) -> str:
    """A turn as it would be written down: without described sounds, "um" and stutters."""
    return " ".join(split_sentences(text))


def split_sentences(text: str) -> list[str]:
    """Sentences of a turn, marks included, without described sounds, "um" and stutters."""
    text = _SOUND.sub(" ", text)
    parts = (_smooth(found[0]) for found in _SENTENCE.finditer(text))
    return [part for part in parts if any(c.isalnum() for c in part)]


def _read(name: str, text: str) -> Sentence:
    return Sentence(
        name,
        text,
        content_words(text),
        len(_WORD.findall(text)),
        text.endswith("?") or bool(_QUESTION.match(text) and "," not in text),
        bool(_DECISION.search(text)),
        bool(_TASK.search(text)) and not (text.endswith("?") and _QUESTION_WORD.match(text)),
    )


def _smooth(sentence: str) -> str:
    sentence = _FILLER.sub("", sentence)
    sentence = _STUTTER.sub(r"\1", sentence)
    sentence = " ".join(re.sub(r"\s+([,.;:?!])", r"\1", sentence).split()).lstrip(" ,.;:-")
    return sentence[:1].upper() + sentence[1:]


def _weightiest(sentences: Sequence[Sentence], limit: int) -> list[Sentence]:
    return [sentences[i] for i in sorted(_by_weight(sentences)[:limit])]


def _by_weight(sentences: Sequence[Sentence]) -> list[int]:
    """Indices of sentences, the most telling first: terms of the whole talk, cues, length."""
    frequency = Counter(stem for sentence in sentences for stem in sentence.stems)
    weights = []
    for sentence in sentences:
        weight = sum(math.log(1 + frequency[stem]) for stem in sentence.stems)
        weight /= math.sqrt(4 + sentence.n_words)
        weights.append(weight * 1.5 if sentence.decides or sentence.orders else weight)
    ranked = sorted(range(len(sentences)), key=lambda i: (-weights[i], i))
    return [i for i in ranked if weights[i] > 0]


def _unanswered(notes: Sequence[Note]) -> Iterable[Sentence]:
    """Questions of some substance after which nobody else said anything to the point."""
    for index, note in enumerate(notes):
        for sentence in note.sentences:
            if not sentence.asks or len(sentence.stems) < 2:
                continue
            later = notes[index + 1 : index + 1 + _ANSWER_TURNS]
            if not any(_answers(reply, sentence) for reply in later):
                yield sentence


def _answers(reply: Note, question: Sentence) -> bool:
    if reply.name == question.name or all(sentence.asks for sentence in reply.sentences):
        return False
    return bool(reply.stems & question.stems) or len(reply.stems) >= 2


def _latest(found: Iterable[Sentence], limit: int) -> tuple[Sentence, ...]:
    return tuple(dict.fromkeys(found))[-limit:]


def _terms(sentences: Iterable[str]) -> Mapping[str, str]:
    terms: dict[str, str] = {}
    for sentence in sentences:
        before: tuple[str, str] | None = None
        for found in _WORD.finditer(sentence):
            word = found[0].lower().replace("’", "'")
            if not _carries_meaning(word):
                before = None
                continue
            stem, surface = _stem(word), found[0] if found.start() else word
            terms[stem] = surface
            if before is not None and before[0] != stem:
                terms[f"{before[0]} {stem}"] = f"{before[1]} {surface}"
            before = stem, surface
    return terms


def _lowered(text: str) -> list[str]:
    return [found[0].lower().replace("’", "'") for found in _WORD.finditer(text)]


def _carries_meaning(word: str) -> bool:
    return len(word) > 2 and word not in STOP_WORDS and not word.endswith("n't")


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    """Cuts the endings of English inflection: plans, planned and planning are one."""
    word = word.removesuffix("'s")
    for ending, rest in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending) + rest
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] in "bdgmnprt":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 4 else word
