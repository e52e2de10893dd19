"""Pure: what somebody wants of the concierge, from words as a recogniser wrote them.

Rules are tried in order and search within the text, so that a misheard name before or after the
question does no harm. Expect "who's in the cold" for "who is in the call".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from mulisa.providers.orders import whom_to_hear, whom_to_speak_to

Kind = Literal[
    "hear",
    "speak_to",
    "heard",
    "quiet",
    "stop",
    "repeat",
    "who",
    "said",
    "catch_up",
    "minutes",
    "duration",
    "time",
    "date",
    "connection",
    "help",
    "identity",
    "hearing",
    "wellbeing",
    "thanks",
    "hello",
    "bye",
    "yes",
    "question",
    "statement",
]
Aspect = Literal["", "decisions", "tasks", "open_questions", "topics"]


@dataclass(frozen=True, slots=True)
class Intent:
    """What is wanted. Names and topics stand as they were said."""

    kind: Kind
    person: str = ""
    """Whom the question is about; ``me`` for who asks."""
    topic: str = ""
    minutes: float | None = None
    """Only the last so many minutes."""
    aspect: Aspect = ""
    """The part of the minutes that is wanted; empty for all."""
    people: tuple[str, ...] = ()
    """To whom she shall speak; ``me`` for who asks, ``everybody``."""
    on: bool = True
    """Whether she shall hear `person`, who may be ``everybody``."""


def understand(
    text: str, *, agent: str = "", people: Sequence[str] = (), before: Intent | None = None
) -> Intent:
    """The intent of `text`, said to `agent` in a call with `people`.

    `before` is the intent of the speaker's previous question, for follow-ups like "and Bob?".
    Any text has an intent: a `question` or a `statement` if nothing more is known.
    """
    found = [
        _without_call(sentence, agent, people, before)
        for sentence in re.split(r"(?<=[.?!])\s+", text[-_MAX_CHARS:])
    ]
    for weak in (_UNKNOWN | _CIVIL, _UNKNOWN):
        for intent in reversed(found):
            if intent.kind not in weak:
                return intent
    return _understand(text[-_MAX_CHARS:], agent, people, before)


def _without_call(text: str, agent: str, people: Sequence[str], before: Intent | None) -> Intent:
    """As `_understand`; if nothing is, without one to three words that a comma sets off."""
    whole = intent = _understand(text, agent, people, before)
    for _ in range(_MAX_CALLS):
        call, comma, text = text.partition(",")
        if intent.kind not in _UNKNOWN or not comma or len(call.split()) > 3:
            break
        intent = _understand(text, agent, people, before)
    return whole if intent.kind in _UNKNOWN else intent


def _understand(text: str, agent: str, people: Sequence[str], before: Intent | None) -> Intent:
    plain = strip_name(normalise(text), agent)
    plain = " ".join(_MANNER.sub(" ", plain).split())
    if not plain and text.strip():
        return Intent("yes")
    span, rest = _minutes(plain)
    if before is not None and (intent := _follow_up(rest, people, before)):
        return replace(intent, minutes=span or intent.minutes)
    for rule in _RULES:
        if intent := rule(rest if rule is not _rule_catch_up else plain):
            return replace(intent, minutes=span) if span else intent
    if span is not None:
        return Intent("catch_up", minutes=span)
    asks = text.rstrip().endswith("?") or _ASKS.match(plain)
    return Intent("question" if asks else "statement", topic=plain)


def normalise(text: str) -> str:
    """Lower-case words with single spaces, without marks and fillers."""
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)", " ", text.lower().replace("’", "'"))
    words = re.findall(r"\w+(?:'\w+)*", text)
    return " ".join(word for word in words if word not in _FILLERS)


def strip_name(plain: str, agent: str) -> str:
    """Normalised words without the agent's name, or what sounds like it, at either end."""
    name = agent.lower()
    words = plain.split()
    first = 0
    while first < len(words) and words[first] in _LEAD_IN:
        first += 1
    heads = {n: "".join(words[first : first + n]) for n in (1, 2, 3)}
    tails = {n: "".join(words[-n:]) for n in (1, 2) if len(words) - first > n}
    if name and (count := _most_alike(heads, name)):
        words = words[first + count :]
    elif name and (count := _most_alike(tails, name)):
        words = words[:-count]
    return " ".join(words) or plain


def _most_alike(heard: Mapping[int, str], name: str) -> int:
    """The key of what is most like the name; 0 if nothing is."""
    scored = {count: fuzz.ratio(words, name) for count, words in heard.items()}
    best = max(scored, key=lambda count: scored[count], default=0)
    return best if best and scored[best] >= _ALIKE else 0


_MAX_CHARS = 600
_ALIKE = 72.0
_MAX_CALLS = 2
_CIVIL: Final = frozenset({"thanks", "hello", "bye", "yes", "wellbeing", "hearing"})
"""What is said beside the point if there is a point."""
_UNKNOWN: Final = frozenset({"question", "statement"})
_FILLERS: Final = frozenset("um uh uhm er erm hm hmm mm".split())
_LEAD_IN: Final = frozenset("hey hi hello ok okay so and well now please oh".split())
_NOBODY: Final = frozenset(
    "we they people everybody everyone anybody anyone somebody someone you all the others guys "
    "others folks it he she his her nobody no one there".split()
)
_NUMBERS: Final = {
    "a": 1, "one": 1, "two": 2, "couple": 2, "three": 3, "few": 5, "four": 4, "five": 5,
    "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "fifteen": 15,
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
}  # fmt: skip
_SPAN = re.compile(
    r"\b(?:(?:in|of|from|during|over|for|within) )?(?:the |these |this )?(?:last|past|previous)"
    r" (?:(?P<half>half(?: an)?)|(?:a )?(?P<count>\d{1,4}|"
    + "|".join(_NUMBERS)
    + r"))?(?: of)? ?(?P<unit>minutes?|min|hours?)\b"
)
_ASKS = re.compile(
    r"(?:who|what|when|where|why|how|which|whose|can|could|do|does|did|is|are|was|were|will"
    r"|would|should|has|have|am|tell|give|show|explain)\b"
)
_SAY = (
    r"(?:say|said|saying|says|mention|mentioned|tell|told|telling|think|thought|talk|talked"
    r"|talking|suggest|suggested|propose|proposed|want|wanted|ask|asked|mean|report|reported"
    r"|answer|answered|respond|reply|promise|promised|explain|explained|speak|spoke|comment)"
)
_ABOUT = r"(?:about|regarding|concerning|on|of)"
_PLACE = (
    r"(?:call|cool|coil|cold|car|hall|room|rome|meeting|conversation|conference|chat|line|space"
    r"|session|group|coal)"
)


def _minutes(plain: str) -> tuple[float | None, str]:
    """A span like "the last five minutes", and the words without it."""
    found = _SPAN.search(plain)
    if found is None:
        return None, plain
    count = found["count"]
    number = 0.5 if found["half"] else 1.0
    if count:
        number = float(count) if count.isdigit() else float(_NUMBERS[count])
    elif found["unit"] == "minutes":
        number = 5.0
    if found["unit"].startswith("hour"):
        number *= 60
    rest = f"{plain[: found.start()]} {plain[found.end() :]}"
    return max(number, 0.5), " ".join(rest.split())


def _follow_up(plain: str, people: Sequence[str], before: Intent) -> Intent | None:
    """ "And Bob?", "what about the budget?" after a question of the same person."""
    found = re.fullmatch(
        r"(?:(?:and|or|what about|how about|and what about|and how about) )+(?P<what>.{1,60}?)"
        r"(?: please| then)?",
        plain,
    )
    if found is None:
        return None
    what = found["what"]
    if what in ("me", "i", "myself"):
        return _also(before, "me")
    if what in ("you", "yourself") and before.kind == "said":
        return replace(before, person="you")
    named = next((name for name in people if _alike(what, name.lower())), None)
    if named is not None and before.kind in ("hear", "speak_to"):
        return _also(before, named.lower())
    if named is not None:
        kind = before.kind if before.kind in ("said", "connection", "who") else "said"
        return replace(before, kind=kind, person=named)
    about = re.fullmatch(rf"(?:{_ABOUT} )?(?P<topic>.+)", what)
    if before.kind == "said" and about and not _ASKS.match(what) and len(what.split()) <= 5:
        return replace(before, topic=_without_article(about["topic"]))
    return None


def _also(before: Intent, person: str) -> Intent:
    """The same for, or about, one more person."""
    if before.kind == "speak_to":
        return replace(before, people=(*before.people, person))
    return replace(before, person=person)


def _alike(heard: str, name: str) -> bool:
    if not heard or not name:
        return False
    short = len(name) <= 4 and heard[0] == name[0] and Levenshtein.distance(heard, name) <= 1
    return short or fuzz.ratio(heard, name) >= _ALIKE


def _without_article(topic: str) -> str:
    return re.sub(r"^(?:the|a|an|this|that|our|my|your) (?=\w)", "", topic)


def _person(words: str) -> str:
    """The name in "alice", "our friend bob"; empty for everybody, ``me`` for who asks."""
    words = re.sub(r"\b(?:just|actually|exactly|really|have|has|had|to|ever|also)\b", " ", words)
    words = " ".join(words.split())
    if words in ("i", "me", "myself"):
        return "me"
    return "" if not words or all(word in _NOBODY for word in words.split()) else words


def _topic(words: str | None) -> str:
    words = re.sub(
        r"\b(?:please|today|earlier|before|so far|again|just now|right now|now|then|anyway"
        r"|in (?:the|this) (?:call|meeting)|a (?:minute|moment|while) ago|you know)\b",
        " ",
        words or "",
    )
    words = " ".join(words.split())
    if words in ("it", "that", "this", "things", "anything", "something", "all", "me", "us"):
        return ""
    return _without_article(words)


def _rule_said(plain: str) -> Intent | None:
    for pattern in _SAID:
        found = pattern.search(plain)
        if found is None:
            continue
        groups = found.groupdict()
        person = groups.get("by") or ""
        if person in ("you", "you just"):
            topic = _topic(groups.get("topic"))
            return Intent("said", "you", topic) if topic else None
        return Intent("said", _person(person), _topic(groups.get("topic")))
    return None


_SAID = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:what|what's|whats|what all|anything|something|everything) (?:that )?"
        rf"(?:(?:did|does|do|has|have|had|was|is|were|are|would"
        rf"|will) )(?P<by>[\w' ]{{1,30}}?) {_SAY}"
        rf"(?:(?: to (?:me|us|you|everyone|everybody|say))?(?: anything| something)?"
        rf" (?:{_ABOUT}|to) (?P<topic>.+))?",
        rf"\b(?:did|does|has|have|was) (?P<by>[\w' ]{{1,30}}?) {_SAY}(?: to (?:me|us|you))?"
        rf"(?: anything| something| a word)?(?: (?:{_ABOUT}) (?P<topic>.+))",
        rf"\b(?:did|has|have) (?P<by>[\w' ]{{1,30}}?) {_SAY}(?: anything| something)\b",
        r"\b(?:did|has|have) (?P<by>[\w' ]{1,30}?) (?:mention|mentioned) (?P<topic>.+)",
        rf"\bwhat (?P<by>(?!was|is|time|day|date|about)\w+) (?:said|says|mentioned|thinks"
        rf"|told us)\b"
        rf"(?: {_ABOUT} (?P<topic>.+))?",
        rf"\bwho (?:was |is |has |had )?(?:{_SAY}|brought up)(?: (?:anything|something))?"
        rf"(?: {_ABOUT})? (?P<topic>.+)",
        rf"\bwhat (?:was|is|has been|have been|were|'s|has) (?:\w+ )?(?:said|discussed|mentioned"
        rf"|talked"
        rf"|decided|agreed) {_ABOUT} (?P<topic>.+)",
        r"\b(?:what(?:'s| is| was| are)?|tell me) (?P<by>\w+)(?:'s|s) (?:opinion|view|views|take"
        r"|position|idea|ideas|thoughts|plan|point)(?: (?:on|about|of|for"
        r"|regarding) (?P<topic>.+))?",
        rf"\bwhat (?:do|did) (?:we|you|they) (?:know|say|discuss"
        rf"|hear)(?: {_ABOUT}) (?P<topic>.+)",
        r"\b(?:search|look|find|remind me)(?: for| up| of| about"
        r"| what was said about)+ (?P<topic>.+)",
        r"\b(?:quote|last words of|last thing) (?P<by>\w+)(?: said)?$",
    )
)


def _rule_catch_up(plain: str) -> Intent | None:
    if not _CATCH_UP.search(plain):
        return None
    return Intent("catch_up")


_CATCH_UP = re.compile(
    r"\b(?:what|anything) (?:did|have|had|do|that) i (?:miss|missed|mist|misst|mess)\b"
    r"|\bdid i (?:miss|mist|mess) (?:anything|something|much)|\bi (?:missed|was away"
    r"|just (?:joined|came|got))"
    r"|\bcatch (?:me|us) up\b|\bget me up to speed\b|\bup to (?:speed|date)\b|\bfill (?:me"
    r"|us) in\b"
    r"|\bbring me up\b|\bwhat(?:'s| is| has| was)? (?:been )?(?:happened|happening|going on"
    r"|happen)\b"
    r"|\bwhat (?:were|are|have|did) (?:we|they|you|you guys|you all|people) (?:been )?"
    r"(?:just )?(?:talk|talking|talked|discuss|discussing|discussed|doing|saying)\b(?: about)?"
    r"|\bwhat (?:was|has been|is being) (?:just )?(?:said|discussed|talked about)\b(?! about)"
    r"|\bwhat is this (?:call|meeting) about\b|\bwhere (?:were|are) we\b"
)


_MANNER = re.compile(
    r"^(?:(?:please|just|can you|could you|would you|will you) )*whisper\b(?: (?:it|that|this))?"
    r"(?: (?:to me|me|in my ear|please)\b)*"
    r"|\b(?:privately|in private|secretly|in secret|in a whisper"
    r"|(?<!speak )(?<!talk )(?:only|just) to me|(?:just )?between (?:us|you and me|you and i))\b"
)
"""How she shall answer, not what: `mulisa.agent.discretion` reads it."""


def _rule_hear(plain: str) -> Intent | None:
    wanted = whom_to_hear(plain)
    return Intent("hear", person=wanted[0], on=wanted[1]) if wanted else None


def _rule_speak_to(plain: str) -> Intent | None:
    people = whom_to_speak_to(plain)
    return Intent("speak_to", people=people) if people else None


def _keyed(kind: Kind, pattern: str) -> Callable[[str], Intent | None]:
    compiled = re.compile(pattern)

    def rule(plain: str) -> Intent | None:
        return Intent(kind) if compiled.search(plain) else None

    return rule


def _rule_minutes(plain: str) -> Intent | None:
    for aspect, pattern in _ASPECTS:
        if pattern.search(plain):
            return Intent("minutes", aspect=aspect)
    return None


_ASPECTS: Final[tuple[tuple[Aspect, re.Pattern[str]], ...]] = (
    (
        "decisions",
        re.compile(
            r"\bwhat (?:did|have|had|has|was|were|is) (?:\w+ )?(?:been )?(?:decide|decided|agree"
            r"|agreed|concluded|conclude)\b|\bdecisions?\b(?! to\b)|\bwhat we (?:decided"
            r"|agreed)\b"
        ),
    ),
    (
        "tasks",
        re.compile(
            r"\baction (?:items?|points?)\b|\bto ?do list\b|\btodos?\b|\b(?:next steps?|tasks?)\b"
            r"|\bwho (?:has to|does|is doing|needs to do|must do) what\b"
            r"|\bwhat (?:do|does|should|must) (?:we|i|\w+) (?:have|need)?(?: to)? ?do (?:next"
            r"|now)\b"
        ),
    ),
    (
        "open_questions",
        re.compile(r"\b(?:open|unanswered|remaining) (?:questions?|issues?|points?)"),
    ),
    ("topics", re.compile(r"\b(?:topics?|subjects?)\b|\bwhat is it all about\b")),
    (
        "",
        re.compile(
            r"\b(?:minutes (?:of|so far|please|for)|(?:the|meeting|call) minutes|take minutes"
            r"|minutes$|summar\w*|summer (?:eyes|rise|ice|is|i'm|ised)|some (?:arise|eyes|rise"
            r"|mary)"
            r"|sum (?:it |this |that |everything |things |the \w+ )?up|re ?cap\w*|over ?view"
            r"|(?:main|key|important) (?:points?|things)|gist|highlights?|in short|wrap up"
            r"|what have we (?:got|done|covered))\b"
        ),
    ),
)


def _rule_who(plain: str) -> Intent | None:
    if found := _PRESENT.search(plain):
        name = found["name"]
        if name not in _NOT_NAMES:
            return Intent("who", person=name)
    return Intent("who") if _WHO.search(plain) else None


_NOT_NAMES = frozenset(
    "anyone anybody everyone everybody someone somebody it this that there he she who what nobody "
    "you we they i else people the".split()
)
_PRESENT = re.compile(
    rf"\b(?:is|was|has) (?P<name>\w+) (?:still |already |even |also )?(?:here|there|in (?:the"
    rf"|this)"
    rf" {_PLACE}|with us|online|joined|left|gone|present|on the (?:call|line))\b"
)
_WHO = re.compile(
    rf"\b(?:who|who's|whose|who is|who was|who're|who are|whos|hoose|house|who lives)\b(?: all"
    rf"| else| is| was| are"
    rf"| were| lives| do we have| have we got)*(?: \w+)? ?(?:here|in (?:the|this|our|that"
    rf"|a) {_PLACE}|on (?:the|this)"
    rf" (?:call|line)|with (?:us|me)|present|online|around|there|listening|participating"
    rf"|attending|joined"
    rf"|just joined|left|came|has left|speaking|talking|missing)\b"
    rf"|\b(?:who else|who am i (?:talking|speaking)|who can hear me|who do you (?:hear|see)"
    rf"|who joined|who left"
    rf"|how many (?:people|of us|are|participants|persons)|participants?|attendees|roster"
    rf"|everybody here"
    rf"|(?:list|name) (?:the |all |of )*(?:people|names|everyone|everybody)"
    rf"|names? of (?:the|all) (?:people|participants)|(?:anybody|anyone|somebody"
    rf"|someone) (?:else )?(?:here|there|in here)"
    rf"|(?:am i|are we) (?:alone|the only)|people (?:are )?(?:here|in (?:the|this) {_PLACE}))\b"
    rf"|^who(?:'s| is| was| are)? (?:\w+ )?(?:in )?(?:the|this) {_PLACE}$|^in (?:the"
    rf"|this) {_PLACE}$"
)

_RULES: Final[tuple[Callable[[str], Intent | None], ...]] = (
    _rule_hear,
    _rule_speak_to,
    _keyed(
        "heard",
        r"\bwho(?:m)? (?:all )?(?:do|can|are|will) you (?:\w+ )?(?:hear|hearing|listen|listening"
        r"|speak to|speaking to|talk to|talking to)\b|\b(?:do|can) you hear (?:everybody|everyone"
        r"|all of us|us all)\b|\bwho (?:can|do|does) (?:not )?hears? you\b|\bwho hears you\b",
    ),
    _keyed(
        "quiet",
        r"\b(?:stay|keep|remain|be) (?:\w+ )?(?:quiet|quite|silent|muted?)\b.*\b(?:until|till"
        r"|unless"
        r"|before|for now|from now)\b|\b(?:stay|keep|remain) (?:quiet|quite|silent|muted)\b"
        r"|\b(?:don't|do not|no more) (?:talk|speak|talking|speaking|say anything|answer)\b"
        r"|\bonly (?:talk|speak|answer) (?:when|if)\b|\bmute yourself\b|\bgo to sleep\b",
    ),
    _keyed(
        "stop",
        r"^(?:(?:please|ok|okay|no|now|thanks|thank you|just|can you|could you) )*(?:stop(?: it"
        r"| that"
        r"| now| talking| speaking| please)*|be (?:quiet|quite|silent)|quiet|silence|shut up"
        r"|shush|hush"
        r"|(?:that's|that is) (?:enough|all|it)|enough|never ?mind|forget it|cancel(?: that)?"
        r"|wait(?: a \w+)?|hold on(?: a \w+)?|hang on)(?: (?:please|now|thanks|thank you"
        r"|enough))*$",
    ),
    _keyed(
        "repeat",
        r"\b(?:repeat|say (?:that|it|this) (?:again|once more)|say again|once (?:more|again)"
        r"|come again|pardon|one more time"
        r"|what did you (?:just )?(?:say|said|whisper)(?! about| to(?! me))"
        r"|what was that|what were you saying|i (?:didn't|did not|couldn't|could not|can't) "
        r"(?:catch|get|hear|understand)(?: that| it| you| what you)?|again please"
        r"|your last (?:answer|words)"
        r"|what you (?:just )?said)\b|^(?:sorry|again|what|excuse me)$",
    ),
    _keyed(
        "identity",
        r"\b(?:who are you|who you are|what are you(?! (?:able|doing|talking|saying))|what(?:'s"
        r"| is) your name"
        r"|are you (?:a |an )?(?:robot|human|ai|real|bot|machine|computer|person|artificial)"
        r"|introduce yourself"
        r"|tell (?:me|us) about yourself)\b",
    ),
    _rule_catch_up,
    _rule_said,
    _keyed(
        "duration",
        r"\b(?:how long (?:have|has|are|is|did|was|were|do|we|am)\b(?! it take)|since when"
        r"|when did (?:we|the|this|i|it|our)"
        r" ?(?:\w+ )?(?:start|begin|join|began|started)|what time did (?:we|the \w+|this \w+|i"
        r"|it) (?:start|begin|join)"
        r"|(?:duration|length) of|how much time|when was the (?:start|beginning)|how long is this"
        r"|how long$|how long already)\b|^how long",
    ),
    _rule_minutes,
    _keyed(
        "connection",
        r"\b(?:how (?:am i|are we|is \w+|are you) (?:\w+ )?connected|connection|connected"
        r"|latency|ping|mesh"
        r"|peer to peer|p ?2 ?p|s ?f ?u|packet loss|network|topology|bandwidth|(?:round trip"
        r"|webrtc|web rtc))\b",
    ),
    _rule_who,
    _keyed(
        "help",
        r"\b(?:what (?:can|could|do|else can|all can) you (?:do|help)|how (?:can|could"
        r"|do) you (?:help|work)"
        r"|what are you able|what (?:should|can|could|may) i (?:ask|say)|help|your (?:abilities"
        r"|skills|features"
        r"|functions|commands)|how (?:do|can|should) i (?:use|talk|ask|address)|what (?:do"
        r"|can) you know)\b",
    ),
    _keyed(
        "date",
        r"\b(?:what(?:'s| is)? (?:the |today's )?(?:day|date)|which (?:day|date)|what day"
        r"|today's date"
        r"|the date|day (?:is it|of the week)|what year|which year|what month|day is (?:it"
        r"|today))\b",
    ),
    _keyed(
        "time",
        r"\b(?:what(?:'s| is| was)? (?:the )?(?:current )?times?(?! (?:did|will|should|do))"
        r"|how late is it|have you got the time"
        r"|do you (?:have|know) the time|tell (?:me|us) the time|the time please|time is it"
        r"|what o'clock|current time)\b",
    ),
    _keyed(
        "hearing",
        r"\b(?:(?:can|could|do|did) you (?:\w+ )?(?:hear|fear|here|understand) (?:me|us)"
        r"|are you (?:\w+ )?(?:there|here|listening|awake"
        r"|alive|online|working|with us)|you (?:hear|here) me|hear me|are you still|testing"
        r"|test test|mic check"
        r"|you there)\b|^(?:test|one two three)",
    ),
    _keyed(
        "wellbeing",
        r"\bhow (?:are|do) you(?: (?:doing|feeling|feel|today|all))*\b|\bhow's it going\b"
        r"|\bhow is it going\b|\bwhat's up\b",
    ),
    _keyed(
        "thanks",
        r"\b(?:thanks|thank you|thank|cheers|much appreciated|well done|good job|great job"
        r"|that was helpful"
        r"|that's helpful|that helps|very helpful|you're great|good work)\b",
    ),
    _keyed(
        "bye", r"\b(?:good ?bye|bye|see you|good night|have a (?:nice|good)|talk to you later)\b"
    ),
    _keyed(
        "hello",
        r"^(?:(?:hey|hi|hello|hallo|yo|good (?:morning|afternoon|evening|day)|welcome"
        r"|nice to meet you|greetings"
        r"|there|everyone|everybody|all|again) ?)+(?:\w+)?$",
    ),
    _keyed(
        "yes",
        r"^(?:(?:yes|yeah|yep|no|nope|ok|okay|sure|right|alright|all right|fine|good|great|cool"
        r"|perfect|nice|please|do it"
        r"|of course|exactly|i see|maybe|not yet|got it|understood|correct|true|not really"
        r"|go ahead|go on) ?)+$",
    ),
)
