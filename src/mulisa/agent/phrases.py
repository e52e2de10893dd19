"""Pure: short forms of spoken English that the gate and the floor tell apart by their words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from mulisa.agent.names import NameMatcher

_POLITE: Final = (
    r"(?:ok(?:ay)?|alright|right|thanks|thank you|please|no|yes|yeah|hey|now|just|got it|sorry|uh"
    r"|um|oh|can you|could you|you can|i said|very much|so much|good|great)"
)
_STOP = re.compile(
    rf"(?:{_POLITE} )*"
    r"(?:stop(?: it| that| this| there| here| talking| speaking| now)*|be (?:quiet|quite|silent)"
    r"|quiet|silence|shush|hush|sh+|shut up|enough|(?:that's|that is|thats|it's) (?:enough|all|it)"
    r"|that(?:'ll| will) do|(?:wait|hold on|hang on)(?: (?:a|one) (?:minute|second|moment|sec))?"
    r"|(?:one|just a) (?:moment|second|minute)|never ?mind|cancel(?: that)?|pause|forget it)"
    rf"(?: {_POLITE}| enough| stop| wait)*"
)
_QUIET = re.compile(
    r"\b(?:stay|be|keep|remain) (?:\w+ )?(?:quiet|quite|silent|muted?)\b"
    r"(?=.*\b(?:until|till|unless|before|for now|from now)\b)"
    r"|\b(?:stay|keep|remain) (?:quiet|quite|silent|muted)\b"
    r"|\b(?:don't|do not|no) (?:talk|speak|talking|speaking|say anything|answer)\b"
    r".*\b(?:until|till|unless|anymore|any more|for now)\b"
    r"|\bspeak only when (?:called|spoken|you)|\bonly (?:talk|speak|answer) (?:when|if)\b"
    r"|\bmute yourself\b|\bgo to sleep\b"
)
_BACKCHANNEL = re.compile(
    r"(?:(?:m+|h+m+|m+h+m*|u+h+|u+m+|er+m?|a+h+|o+h+|u+hu+h+|ok(?:ay)?|kay"
    r"|yeah|yep|yup|yes|aha|right|sure|alright|all right|cool|nice|great|wow|true|exactly"
    r"|of course|indeed|good|fine"
    r"|i see|got it|really|huh|well|so|and|ha|hehe|haha|perfect|wonderful|interesting)(?: |$))*"
)
_REQUEST = re.compile(
    r"(?:(?:and|but|so|ok(?:ay)?|well|then|now|uh|um|oh|hm+|also|please|yes|yeah|no|hey|hi|hello"
    r"|alright|thanks|thank you|great|sorry) )*"
    r"(?:who|who's|what|what's|whats|when|when's|where|where's|why|how|how's|which|whose"
    r"|(?:can|could|will|would|do|did|does|are|is|was|were|have|has|should|may) "
    r"(?:you|i|we|it|he|she|they|there|that|this|anyone|anybody|everyone|everybody|the|any)"
    r"|tell|say|repeat|give|show|explain|summari[sz]e|sum|stop|be quiet|stay|help|list|read|remind"
    r"|please|let me know|let us know|introduce|describe|answer|note|remember|speak|start|define"
    r"|translate|catch|fill|bring|find|search|look|check|go on|continue|any|anything|anyone)\b"
)
_GREETING = re.compile(
    r"(?:(?:ok(?:ay)?|well|great|hey) )*(?:thanks|thank you|hello|hi|bye"
    r"|good (?:morning|evening))\b"
)
_CONTINUATION = re.compile(
    r"(?:and|or|but|what about|how about|no|yes|more|again|the other|not|since|from|about|in|at|for"
    r"|with|only|why|once more|one more|i mean|i meant|sorry)\b"
)
_EVERYBODY = re.compile(
    r"\b(?:everyone|everybody|guys|folks|all of you|you all|you two|y'all|any of you|team)$"
    r"|^(?:(?:hey|hi|hello|so|okay|ok|thanks|and|well) )?(?:everyone|everybody|guys"
    r"|folks|you guys|team)\b"
)


def is_stop(text: str, name: str = "Mulisa") -> bool:
    """True for orders to stop speaking: "stop", "Mulisa, stop", "okay thank you that's enough"."""
    return bool(
        _STOP.fullmatch(_plain(text)) or _STOP.fullmatch(_plain(_matcher(name).without(text)))
    )


def is_quiet_order(text: str) -> bool:
    """True for "stay quiet until I call you" and the like."""
    return bool(_QUIET.search(_plain(text)))


def is_backchannel(text: str) -> bool:
    """True if the text only signals listening ("mm-hm", "okay", "uh huh") or holds no word."""
    return bool(_BACKCHANNEL.fullmatch(_plain(text)))


def is_request(text: str) -> bool:
    """True if some sentence of the text is a question or an order, as far as its form tells."""
    return any(
        part.endswith("?") or _REQUEST.match(_plain(part))
        for part in re.split(r"(?<=[.?!])\s+", text.strip(" ,.;:!"))
    )


def has_words(text: str) -> bool:
    """False for silence, and for sounds as recognisers write them: ``(coughs)``, ``[MUSIC]``."""
    return bool(_plain(text))


def is_greeting(text: str) -> bool:
    """True if the text begins with thanks, hello or goodbye."""
    return bool(_GREETING.match(_plain(text)))


def is_to_everybody(text: str) -> bool:
    """True for words to the whole room: "what do you think, everybody?"."""
    return bool(_EVERYBODY.search(_plain(text)))


def asks_or_continues(text: str) -> bool:
    """True for a request, and for a few words that go on where an answer ended: "and Bob"."""
    plain = _plain(text)
    if is_request(text):
        return True
    return len(plain.split()) <= 5 and bool(_CONTINUATION.match(plain)) and not is_backchannel(text)


def _plain(text: str) -> str:
    """Lower-case words with single spaces, without marks and without described sounds."""
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|\*[^*]*\*", " ", text.lower().replace("’", "'"))
    return " ".join(re.findall(r"\w+(?:'\w+)*", text))


@lru_cache(maxsize=16)
def _matcher(name: str) -> NameMatcher:
    return NameMatcher(name)
