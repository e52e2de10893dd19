"""What was said and heard in a call, by whom and when; bounded for calls of any length."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Literal

from mulisa.agent.minutes import (
    Minutes,
    Note,
    Sentence,
    content_words,
    gist,
    take_minutes,
    take_note,
)
from mulisa.agent.names import sounds_like
from mulisa.agent.phrases import is_request
from mulisa.core.provider import Message
from mulisa.core.room import Identity, Participant
from mulisa.core.transcript import TranscriptEntry

_CUT = "[you were interrupted here; nobody heard the rest]"
_NAMELESS = "Somebody"
_MAX_STAYS = 1_000
_MAX_TURN_CHARS = 4_000
_MAX_MINUTED_TURNS = 1_500


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """Budgets."""

    history_chars: int = 12_000
    """Most characters of conversation given to an LLM, the system message not counted."""
    verbatim_chars: int = 6_000
    """Of these, what is kept word for word; older turns are summarised into the rest."""
    max_entries: int = 5_000
    """Turns kept for questions about the call; older ones are forgotten."""
    max_recalled: int = 300
    """Utterances taken over from the transcript of a call that she comes into again."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One turn of a person, or one reply of the agent as far as it was heard."""

    identity: Identity
    name: str
    """Distinguishable: of two people called Alice the later one is ``Alice 2``."""
    text: str
    started_at: float
    ended_at: float
    kind: Literal["person", "agent"] = "person"
    source: Literal["voice", "chat"] = "voice"
    addressed: bool = False
    """A person's turn was said to the agent."""
    unspoken: str = ""
    """What a reply that was cut would have said further."""
    to: Identity | None = None
    """Whom a reply answers."""
    listener: Identity | None = None
    """Who alone heard a reply, because it was whispered; None is everybody."""

    def may_be_told(self, listener: Identity | None) -> bool:
        """Whether `listener` alone (None: everybody) may hear of it."""
        return self.listener is None or self.listener == listener


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody's presence in the call."""

    identity: Identity
    name: str
    joined_at: float
    left_at: float | None = None


class Memory:
    """What one agent knows of one call. All times are loop seconds that never go backwards.

    `now` and `wall` are one instant on the loop's clock and on the wall clock (with a time
    zone), so that times can be told to people. `agent` is the agent's own name.

    What was whispered to one person is told to that person alone: wherever there is a
    `listener`, it is who alone will hear what is made of the answer, and None is everybody.
    """

    def __init__(self, config: MemoryConfig, *, agent: str, now: float, wall: datetime) -> None:
        self._config = config
        self._agent = agent
        self._origin = self._started_at = now
        self._wall = wall
        self._entries: deque[Entry] = deque(maxlen=config.max_entries)
        self._notes: deque[Note] = deque(maxlen=config.max_entries)
        self._recent: list[tuple[Entry, Note]] = []
        self._gist: list[Sentence] = []
        self._stays: dict[Identity, Stay] = {}
        self._labels: dict[Identity, str] = {}

    @property
    def agent(self) -> str:
        """The agent's own name."""
        return self._agent

    @property
    def started_at(self) -> float:
        """Loop seconds at which the agent's knowledge of this call begins."""
        return self._started_at

    def wall(self, at: float) -> datetime:
        """The wall-clock time of a loop time, in the time zone given at the beginning."""
        return self._wall + timedelta(seconds=at - self._origin)

    def recall(self, entries: Sequence[TranscriptEntry]) -> None:
        """What was written down of this call, oldest first, before the agent came (again).

        Nobody of then counts as present, until they are reported with `joined`. Whom a reply
        answered is not written down: it is taken to be who spoke right before.
        """
        before: TranscriptEntry | None = None
        for entry, following in zip_longest(entries, entries[1:]):
            started_at, ended_at = self._at(entry.started_at), self._at(entry.ended_at)
            self._started_at = min(self._started_at, started_at)
            if entry.kind == "agent":
                to = before.identity if before is not None and before.kind != "agent" else None
                if entry.listener is not None:
                    to = entry.listener
                self.replied(
                    entry.text, entry.unspoken, to, started_at, ended_at, listener=entry.listener
                )
            else:
                answered = following is not None and following.kind == "agent"
                self._recall_stay(entry, started_at, ended_at)
                self.said(
                    entry.identity,
                    entry.name,
                    entry.text,
                    started_at,
                    ended_at,
                    answered,
                    entry.source,
                )
            before = entry

    def joined(self, participant: Participant, now: float) -> None:
        """Somebody came in. Agents are ignored; a second call renews the name."""
        if participant.is_agent:
            return
        name = self._label(participant.identity, participant.name)
        stay = self._stays.pop(participant.identity, None)
        if stay is None or stay.left_at is not None:
            stay = Stay(participant.identity, name, now)
        self._stays[participant.identity] = replace(stay, name=name)
        self._forget_stays()

    def left(self, participant: Participant, now: float) -> None:
        """Somebody is gone; what they said stays."""
        stay = self._stays.get(participant.identity)
        if stay is not None and stay.left_at is None:
            self._stays[participant.identity] = replace(stay, left_at=now)

    def said(
        self,
        identity: Identity,
        name: str,
        text: str,
        started_at: float,
        ended_at: float,
        addressed: bool,
        source: Literal["voice", "chat"] = "voice",
    ) -> None:
        """A person said or wrote something. Text without words is not kept."""
        text = _tidy(text)
        if any(c.isalnum() for c in text):
            label = self._label(identity, name)
            self._append(
                Entry(identity, label, text, started_at, ended_at, "person", source, addressed)
            )

    def replied(
        self,
        text: str,
        unspoken: str,
        to: Identity | None,
        started_at: float,
        ended_at: float,
        *,
        listener: Identity | None = None,
    ) -> None:
        """The agent said `text` (as far as it was heard); `unspoken` was cut off.

        With `listener` it was whispered to them.
        """
        text, unspoken = _tidy(text), _tidy(unspoken)
        if text or unspoken:
            me = Identity("")
            entry = Entry(me, self._agent, text, started_at, ended_at, "agent", to=to)
            self._append(replace(entry, unspoken=unspoken, listener=listener))

    def messages(
        self, system: str, asker: Identity | None = None, *, listener: Identity | None = None
    ) -> tuple[Message, ...]:
        """History for an LLM within the budget, the system message first.

        People are role ``user`` with their name, the agent is ``assistant``; old turns are
        summarised in a second system message; a reply that was cut says so. With `asker` given
        the last message is that person's latest addressed turn, whatever was said after it.
        """
        messages = [Message("system", system)]
        if self._gist:
            lines = "\n".join(f"{sentence.name}: {sentence.text}" for sentence in self._gist)
            messages.append(Message("system", f"Earlier in this call, in short:\n{lines}"))
        told = (e for e in self._in_order_for(asker) if e.may_be_told(listener))
        messages.extend(map(_as_message, told))
        return tuple(messages)

    def stays(self) -> Sequence[Stay]:
        """Everybody who was here, in order of coming; those present have no `left_at`."""
        return sorted(self._stays.values(), key=lambda stay: stay.joined_at)

    def entries(
        self,
        since: float | None = None,
        by: Identity | None = None,
        about: str = "",
        *,
        listener: Identity | None = None,
    ) -> Sequence[Entry]:
        """What was said, oldest first: after `since`, by one person, about a topic.

        `about` keeps turns with at least half of its content words, tolerant of inflection.
        """
        topic = content_words(about)
        return [
            entry
            for entry, note in zip(self._entries, self._notes, strict=True)
            if (since is None or entry.ended_at >= since)
            and (by is None or (entry.identity == by and entry.kind == "person"))
            and entry.may_be_told(listener)
            and 2 * len(topic & note.stems) >= len(topic)
        ]

    def minutes(self, since: float | None = None, limit: int = 4) -> Minutes:
        """Extractive minutes of the last 1,500 turns at most.

        Of what people said to each other; if that is nothing, of what they told the agent.
        """
        turns = [
            (entry, note)
            for entry, note in zip(self._entries, self._notes, strict=True)
            if entry.kind == "person" and (since is None or entry.ended_at >= since)
        ]
        among_them = [note for entry, note in turns if not entry.addressed]
        notes = among_them or [note for entry, note in turns if not is_request(entry.text)]
        return take_minutes(notes[-_MAX_MINUTED_TURNS:], limit)

    def last_reply(
        self, to: Identity | None = None, *, listener: Identity | None = None
    ) -> Entry | None:
        """Her latest reply (to somebody); None if there was none."""
        for entry in reversed(self._entries):
            if entry.kind == "agent" and (to is None or entry.to == to):
                if entry.may_be_told(listener):
                    return entry
        return None

    def find_people(self, name: str) -> Sequence[Stay]:
        """Those who are or were here whose name is or sounds like `name`, the likeliest first."""
        scored = [(_likeness(name, stay), stay) for stay in self.stays()]
        likely = [(score, stay) for score, stay in scored if score >= 0.75]
        likely.sort(key=lambda pair: (-pair[0], pair[1].left_at is not None))
        return [stay for _, stay in likely]

    def _at(self, wall: datetime) -> float:
        """The loop time of a time on the wall clock, which may have been set since."""
        return self._origin + min((wall - self._wall).total_seconds(), 0.0)

    def _recall_stay(self, entry: TranscriptEntry, joined_at: float, left_at: float) -> None:
        name = self._label(entry.identity, entry.name)
        known = self._stays.get(entry.identity)
        first = joined_at if known is None else known.joined_at
        self._stays[entry.identity] = Stay(entry.identity, name, first, left_at)

    def _label(self, identity: Identity, name: str) -> str:
        """The name, with a number if somebody else in this call has it already.

        Not every server insists on a name, or on one that is more than white space.
        """
        name = " ".join(name.split()) or " ".join(identity.split()) or _NAMELESS
        known = self._labels.get(identity)
        if known is not None and (known == name or known.rstrip("0123456789") == f"{name} "):
            return known
        taken = {label.casefold() for other, label in self._labels.items() if other != identity}
        label, number = name, 2
        while label.casefold() in taken:
            label, number = f"{name} {number}", number + 1
        self._labels[identity] = label
        return label

    def _append(self, entry: Entry) -> None:
        """Keep an entry; when too much stands word for word, summarise all but the latest.

        The summary changes seldom, so that consecutive requests share a long prefix.
        """
        note = take_note(entry.name, entry.text)
        self._entries.append(entry)
        self._notes.append(note)
        self._recent.append((entry, note))
        if sum(_length(entry) for entry, _ in self._recent) > self._config.verbatim_chars:
            self._summarise()

    def _summarise(self) -> None:
        kept = _latest_within(self._recent, self._config.verbatim_chars // 2)
        older = self._recent[: len(self._recent) - len(kept)]
        self._recent = list(kept)
        left = self._config.history_chars - self._config.verbatim_chars
        # The summary is everybody's, so whispers are not in it.
        fresh = [s for entry, note in older if entry.may_be_told(None) for s in note.sentences]
        self._gist = gist([*self._gist, *fresh], left)

    def _in_order_for(self, asker: Identity | None) -> Sequence[Entry]:
        """What stands word for word, and last of all what the asker said to the agent."""
        recent = [entry for entry, _ in self._recent]
        if asker is None:
            return recent
        for entry in reversed(self._entries):
            if entry.identity == asker and entry.addressed:
                return [*(other for other in recent if other is not entry), entry]
        return recent

    def _forget_stays(self) -> None:
        gone = [identity for identity, stay in self._stays.items() if stay.left_at is not None]
        for identity in gone[: max(0, len(self._stays) - _MAX_STAYS)]:
            del self._stays[identity]
            self._labels.pop(identity, None)


def reply_message(text: str, unspoken: str) -> Message:
    """How a reply stands in `Memory.messages` that was heard so far."""
    return Message("assistant", _with_cut(_tidy(text), _tidy(unspoken)))


def _with_cut(text: str, unspoken: str) -> str:
    return f"{text} {_CUT}".strip() if unspoken else text


def _as_message(entry: Entry) -> Message:
    if entry.kind == "person":
        return Message("user", entry.text, name=entry.name)
    return Message("assistant", _with_cut(entry.text, entry.unspoken))


def _latest_within(turns: Sequence[tuple[Entry, Note]], chars: int) -> Sequence[tuple[Entry, Note]]:
    """The latest turns that fit; at least the last one."""
    first = len(turns) - 1
    used = _length(turns[first][0])
    while first > 0 and used + _length(turns[first - 1][0]) <= chars:
        first -= 1
        used += _length(turns[first][0])
    return turns[first:]


def _length(entry: Entry) -> int:
    return len(entry.text) + len(entry.name)


def _likeness(name: str, stay: Stay) -> float:
    wanted, label = name.casefold().strip(), stay.name.casefold()
    if wanted in (label, str(stay.identity).casefold()):
        return 1.0
    if not wanted or not label:
        return 0.0
    first = label.split()[0]
    if wanted == first:
        return 0.95
    return 0.9 * max(sounds_like(wanted, label), sounds_like(wanted, first))


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TURN_CHARS else f"{text[:_MAX_TURN_CHARS].rstrip()} ..."
