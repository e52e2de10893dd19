"""Pure: is an answer meant for one person's ears only?

The words are those of a turn that was said to her, as a recogniser wrote them. An order to whisper
is an order to her, not talk about whispering: "what did Bob whisper?" is answered aloud.
"""

from __future__ import annotations

import re
from typing import Final

_TELL: Final = (
    r"(?:tell|say|answer|speak|talk|reply|respond|explain|give|read|show|let|remind|repeat|list"
    r"|summari[sz]e)"
)
_ME: Final = r"(?:me|my ears?)"
_ELSE: Final = r"(?:nobody|no one|none of the others)(?: else)?"
_OTHERS: Final = r"(?:the others?|any(?:one|body) else|every(?:one|body) else)"
_CALLED: Final = (
    r"(?:(?!(?:what|who|how|why|when|where|did|does|do|has|have|had|was|were|is|are|i|we|they|he"
    r"|she|it|people|others?|use|the|a|with)\b)\w+ ){0,3}?"
)
"""Her name, or what was recognised for it, and words such as "please"; nobody who whispers."""
_ORDER: Final = (
    rf"^{_CALLED}(?:(?:(?:can|could|will|would) you|you can|please|just"
    r"|i want you to|i'd like you to|i would like you to|i need you to|and then) )*"
)
_WHAT: Final = (
    r"(?:it|that|this|what|what's|who|who's|whom|where|when|why|how|whether|if|the|your|me|my|to me"
    r"|to my|in my|into my|again|please|now|everything|something|anything|all|each|every|some|a"
    r"|an|his|her|their|our|minutes|\w+'s)"
)
_PRIVATELY: Final = (
    r"(?:privately|in private|in secret|secretly|discreetly|in confidence|confidentially)"
)
_PRIVATE: Final = re.compile(
    r"\b(?:just|only|strictly|stays?|keep (?:it|this|that)) between (?:us|you and (?:me|i)"
    r"|me and you|the two of us)\b"
    rf"|^{_CALLED}between (?:you and (?:me|i)|me and you|the two of us)\b"
    rf"|{_ORDER}{_TELL} (?:\w+ ){{0,6}}?(?:{_PRIVATELY}|in a whisper|(?:only|just) to {_ME})\b"
    rf"|{_ORDER}{_TELL} (?:it |this |that )?(?:only|just) {_ME}(?: and {_ELSE})?(?:$| (?!and |or ))"
    rf"|{_ORDER}{_TELL} (?:(?:it |this |that )?to )?me (?:only|alone|and {_ELSE})\b"
    rf"|{_ORDER}{_TELL} (?:\w+ ){{0,8}}?without (?:telling|letting) {_OTHERS}\b"
    rf"|\bwithout {_OTHERS} (?:hearing|listening|knowing)\b"
    rf"|{_ORDER}(?:don't|do not) (?:tell|let) (?:{_OTHERS}|any(?:one|body))\b"
    rf"|^{_CALLED}{_PRIVATELY}(?: please)?(?: (?:(?:can|could|would) you )?{_TELL}| what| who| how"
    r"| when| where| why|$)"
    rf"|^(?:only|just) (?:to|for) {_ME}\b|\b(?:for|in) my ears? (?:only|alone)\b"
    rf"|\bso (?:that )?(?:(?:only|just) i|{_ELSE}) (?:can )?hears?\b"
)
_WHISPER: Final = re.compile(
    rf"{_ORDER}whisper(?: {_WHAT}\b|$)|\bplease whisper\b|\b(?:can|could|would) you whisper\b"
)
_ALOUD: Final = re.compile(
    r"\b(?:aloud|out loud|tell (?:us|everybody|everyone|them|all)|to (?:everybody|everyone|us all)"
    r"|(?:don't|do not|stop|no more|no need to) whisper(?:ing)?)\b"
)
_REFERS_BACK: Final = re.compile(
    r"\b(?:repeat|once (?:more|again)|one more time|say (?:that|it) again|again please|come again"
    r"|pardon|what was that|what (?:did you|have you|you) (?:just )?(?:say|said|tell|told|whisper"
    r"|whispered)|did you (?:say|tell me|whisper)|i (?:didn't|did not|couldn't|could not) (?:catch"
    r"|get|hear|understand)|your (?:last )?(?:answer|whisper))\b"
    rf"|^{_CALLED}(?:and|or|what about|how about|what else|who else)\b(?: (?:\w+ ?){{0,4}})?$"
    rf"|^{_CALLED}(?:go on|continue|more|why|sorry|what)$"
)


def is_private(text: str, *, after_whisper: bool = False) -> bool:
    """Whether this turn, said to her, asks for an answer that nobody else hears.

    `after_whisper`: the last she said to this person was whispered, and what refers back to it
    ("what did you say?", "and Bob?") is answered in the same way.
    """
    sentences = [plain for part in _SENTENCE.split(text) if (plain := _plain(part))]
    if any(_ALOUD.search(sentence) for sentence in sentences):
        return False
    if any(_asks(sentence) for sentence in sentences):
        return True
    return after_whisper and any(_REFERS_BACK.search(sentence) for sentence in sentences)


_SENTENCE = re.compile(r"[.?!:;,]+(?=\s|$)|\s+[-\u2013\u2014]+\s+")


def _asks(sentence: str) -> bool:
    return bool(_PRIVATE.search(sentence) or _WHISPER.search(sentence))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+(?:'\w+)*", text.lower().replace("\u2019", "'")))
