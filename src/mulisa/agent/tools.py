"""What she can do in a room: the same tools for the concierge and for any LLM."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mulisa.agent.memory import Entry, Memory
from mulisa.agent.minutes import Sentence, smooth
from mulisa.agent.tool_calls import SPECS, Call, parse_call
from mulisa.core.errors import InputError, MulisaError, TransportError
from mulisa.core.provider import ToolSpec
from mulisa.core.room import Identity, RoomName, Topology
from mulisa.core.routing import Routing

_MAX_TEXT_CHARS = 600
_SELF = frozenset({"me", "i", "myself", "us", "asker", "user"})
_AGENT = frozenset({"you", "yourself", "assistant", "agent"})
_EVERYBODY = frozenset({"everybody", "everyone", "all", "all of us", "us all", "*"})
_ABILITIES = (
    "who is here",
    "what somebody said about something",
    "what you missed",
    "the minutes of this call",
    "how long it has been going",
    "the time and the date",
    "how you are connected",
    "my last answer again",
    "being quiet until I am called",
    "whom I hear and to whom I speak",
    "an answer that I whisper to you alone",
)


@dataclass(frozen=True, slots=True)
class Presence:
    """A person in the room now."""

    identity: Identity
    name: str
    joined_at: float
    """Loop seconds."""
    muted: bool = False


class RoomView(Protocol):
    """What the tools may see of the room."""

    @property
    def room(self) -> RoomName:
        """The room's name."""
        ...

    @property
    def topology(self) -> Topology:
        """How its participants are connected."""
        ...

    @property
    def people(self) -> Sequence[Presence]:
        """Everybody present but agents, in order of coming."""
        ...

    @property
    def routing(self) -> Routing:
        """Whom she hears and to whom she speaks."""
        ...


class Controls(Protocol):
    """What the tools may do."""

    def stay_quiet(self, until_called: bool = True) -> None:
        """Say nothing more until somebody calls her by name; False takes it back."""
        ...

    async def connection(self, identity: Identity) -> str:
        """How a person is connected to her, one spoken sentence; empty if it is not known."""
        ...

    async def hear(self, identity: Identity, on: bool) -> None:
        """Listen to somebody or do not; returns when it is so. Raises TransportError."""
        ...

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Speak to these only, None is everybody; returns when it is so. Raises TransportError."""
        ...


class Toolbox:
    """The tools of one room.

    who_is_here, what_was_said, minutes, call_duration, last_reply, date_time, connection,
    stay_quiet, hear, speak_to, help.
    """

    def __init__(self, memory: Memory, room: RoomView, controls: Controls) -> None:
        self._memory = memory
        self._room = room
        self._controls = controls
        self._tools: dict[str, Callable[[Call], Awaitable[dict[str, Any]]]] = {
            "who_is_here": self._who_is_here,
            "what_was_said": self._what_was_said,
            "minutes": self._minutes,
            "call_duration": self._call_duration,
            "last_reply": self._last_reply,
            "date_time": self._date_time,
            "connection": self._connection,
            "stay_quiet": self._stay_quiet,
            "hear": self._hear,
            "speak_to": self._speak_to,
            "help": self._help,
        }

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as an LLM is told of them."""
        return SPECS

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        asker: Identity,
        now: float,
        *,
        listener: Identity | None = None,
    ) -> Mapping[str, Any]:
        """Run a tool for `asker`. The result is JSON data with facts and names of this call.

        `listener` is who alone will hear what is made of it; None is everybody, and then nothing
        that was whispered is in it.

        What an LLM invents (an unknown tool, wrong arguments) is answered with
        ``{"error": "one sentence"}``, never with an exception. Safe to cancel.
        """
        tool = self._tools.get(name)
        if tool is None:
            return {"error": f"there is no tool {name!r}; there are {', '.join(self._tools)}"}
        try:
            return await tool(parse_call(name, arguments, asker, now, listener))
        except MulisaError as error:
            return {"error": str(error)}

    async def _who_is_here(self, call: Call) -> dict[str, Any]:
        names = {stay.identity: stay.name for stay in self._memory.stays()}
        people = [
            {
                "name": names.get(person.identity, person.name),
                "is_you": person.identity == call.asker,
                "since": self._clock(person.joined_at),
                "for": spoken_duration(call.now - person.joined_at),
                "muted": person.muted,
                "you_hear_them": self._room.routing.hears(person.identity),
                "they_hear_you": self._room.routing.speaks_to(person.identity),
            }
            for person in self._room.people
        ]
        present = {person.identity for person in self._room.people}
        gone = [
            {
                "name": stay.name,
                "at": self._clock(stay.left_at),
                "ago": self._ago(stay.left_at, call),
            }
            for stay in self._memory.stays()
            if stay.left_at is not None and stay.identity not in present
        ]
        return {"room": self._room.room, "people": people, "left": gone[-10:]}

    async def _what_was_said(self, call: Call) -> dict[str, Any]:
        since = None if call.minutes is None else call.now - 60 * call.minutes
        found = self._entries(call, since)
        asked = self._question_of(call)
        found = [entry for entry in found if entry is not asked]
        turns = [
            {
                "name": entry.name,
                "text": smooth(entry.text)[:_MAX_TEXT_CHARS] or entry.text[:_MAX_TEXT_CHARS],
                "at": self._clock(entry.started_at),
                "ago": self._ago(entry.ended_at, call),
                "to_agent": entry.addressed,
                "by_agent": entry.kind == "agent",
            }
            for entry in found[-call.limit :]
        ]
        return {"turns": turns, "found": len(found)}

    def _entries(self, call: Call, since: float | None) -> Sequence[Entry]:
        if not call.by:
            return self._memory.entries(since, about=call.about, listener=call.listener)
        if call.by.casefold() in _AGENT or call.by.casefold() == self._memory.agent.casefold():
            everything = self._memory.entries(since, about=call.about, listener=call.listener)
            return [entry for entry in everything if entry.kind == "agent"]
        found = [
            entry
            for identity in self._identities(call.by, call.asker)
            for entry in self._memory.entries(since, identity, call.about)
        ]
        return sorted(found, key=lambda entry: entry.started_at)

    def _identities(self, name: str, asker: Identity) -> list[Identity]:
        """Whom a name means; of two people with it, both. Raises InputError for nobody."""
        if name.casefold() in _SELF:
            return [asker]
        stays = self._memory.find_people(name)
        if not stays:
            here = ", ".join(stay.name for stay in self._memory.stays()) or "nobody"
            raise InputError(f"nobody called {name} has been in this call; there were: {here}")
        named = [stay for stay in stays if stay.name.split()[0] == stays[0].name.split()[0]]
        return [stay.identity for stay in named]

    def _question_of(self, call: Call) -> Entry | None:
        """The turn that led to this call: it is no answer to itself."""
        for entry in reversed(self._memory.entries(by=call.asker)):
            if entry.addressed:
                return entry
        return None

    async def _minutes(self, call: Call) -> dict[str, Any]:
        since = None if call.minutes is None else call.now - 60 * call.minutes
        minutes = self._memory.minutes(since)
        begun = self._memory.started_at if since is None else max(since, self._memory.started_at)
        return {
            "since": self._clock(begun),
            "duration": spoken_duration(call.now - begun),
            "speakers": [{"name": name, "words": words} for name, words in minutes.speakers],
            "topics": list(minutes.topics),
            "decisions": _quoted(minutes.decisions),
            "tasks": _quoted(minutes.tasks),
            "open_questions": _quoted(minutes.open_questions),
            "highlights": _quoted(minutes.highlights),
        }

    async def _call_duration(self, call: Call) -> dict[str, Any]:
        joined = [person for person in self._room.people if person.identity == call.asker]
        stays = self._memory.stays()
        begun = min([self._memory.started_at, *(stay.joined_at for stay in stays)])
        result = {"since": self._clock(begun), "duration": spoken_duration(call.now - begun)}
        if joined:
            result["you_joined"] = self._clock(joined[0].joined_at)
            result["you_for"] = spoken_duration(call.now - joined[0].joined_at)
        return result

    async def _last_reply(self, call: Call) -> dict[str, Any]:
        listener = call.listener
        last = self._memory.last_reply(call.asker, listener=listener)
        entry = last or self._memory.last_reply(listener=listener)
        if entry is None:
            return {"text": "", "unspoken": ""}
        ago = self._ago(entry.ended_at, call)
        return {"text": entry.text, "unspoken": entry.unspoken, "ago": ago}

    async def _date_time(self, call: Call) -> dict[str, Any]:
        wall = self._memory.wall(call.now)
        date = f"{wall:%A}, {wall.day} {wall:%B %Y}"
        return {"time": f"{wall:%H:%M}", "date": date, "time_zone": wall.tzname() or ""}

    async def _connection(self, call: Call) -> dict[str, Any]:
        identity = self._identities(call.who or "me", call.asker)[0]
        name = next((s.name for s in self._memory.stays() if s.identity == identity), "")
        return {
            "name": name,
            "is_you": identity == call.asker,
            "topology": self._room.topology,
            "people": len(self._room.people),
            "description": await self._controls.connection(identity),
        }

    async def _stay_quiet(self, call: Call) -> dict[str, Any]:
        self._controls.stay_quiet(call.until_called)
        return {"quiet": call.until_called, "name": self._memory.agent}

    async def _hear(self, call: Call) -> dict[str, Any]:
        everybody = call.who.casefold() in _EVERYBODY
        chosen = self._everybody(call) if everybody else [self._one_person(call.who, call)]
        await self._hear_all(chosen, call.on)
        return {
            "hears": call.on,
            "everybody": everybody,
            "people": self._named(chosen, call),
            "to_undo": "" if call.on else "on the page or in the chat; who is not heard cannot say",
        }

    async def _hear_all(self, chosen: Sequence[Identity], on: bool) -> None:
        """One by one; that it fails with one of them keeps nobody else from it."""
        failures = []
        for identity in chosen:
            try:
                await self._controls.hear(identity, on)
            except TransportError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _everybody(self, call: Call) -> list[Identity]:
        """Who is here; to be heard again, also who is not heard and gone."""
        present = [person.identity for person in self._room.people]
        gone = sorted(self._room.routing.unheard.difference(present))
        return [*present, *gone] if call.on else present

    async def _speak_to(self, call: Call) -> dict[str, Any]:
        if not call.names:
            raise InputError("speak_to needs who: names, or everybody")
        if any(name.casefold() in _EVERYBODY for name in call.names):
            await self._controls.speak_to(None)
            return {"everybody": True, "people": []}
        chosen = list(dict.fromkeys(self._one_person(name, call) for name in call.names))
        await self._controls.speak_to(frozenset(chosen))
        return {"everybody": False, "people": self._named(chosen, call)}

    def _one_person(self, name: str, call: Call) -> Identity:
        """The one whom a name means, rather somebody present. Raises InputError."""
        if not name:
            raise InputError("a name is needed, or everybody")
        if name.casefold() in _AGENT or name.casefold() == self._memory.agent.casefold():
            raise InputError("that is me; say whom of the others you mean")
        found = self._identities(name, call.asker)
        present = {person.identity for person in self._room.people}
        here = [identity for identity in found if identity in present] or found
        labels = {stay.identity: stay.name for stay in self._memory.stays()}
        exact = [one for one in here if name.casefold() in (labels.get(one, "").casefold(), one)]
        if len(here) == 1 or (len(exact) == 1 and name[-1:].isdigit()):
            return (exact or here)[0]
        names = ", ".join(labels.get(identity, identity) for identity in here)
        raise InputError(f"there are several: {names}; choose on the page, or say which")

    def _named(self, identities: Sequence[Identity], call: Call) -> list[dict[str, Any]]:
        labels = {stay.identity: stay.name for stay in self._memory.stays()}
        return [
            {"name": labels[identity], "is_you": identity == call.asker}
            for identity in identities
            if identity in labels
        ]

    async def _help(self, call: Call) -> dict[str, Any]:
        return {"name": self._memory.agent, "abilities": list(_ABILITIES)}

    def _clock(self, at: float) -> str:
        return f"{self._memory.wall(at):%H:%M}"

    def _ago(self, at: float, call: Call) -> str:
        return spoken_ago(call.now - at)


def spoken_duration(seconds: float) -> str:
    """A span as people say it: ``12 minutes``, ``an hour and 5 minutes``."""
    if seconds < 45:
        return f"{max(1, round(seconds))} seconds" if seconds >= 1.5 else "a second"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if not hours:
        return "a minute" if minutes == 1 else f"{minutes} minutes"
    spoken = "an hour" if hours == 1 else f"{hours} hours"
    if not rest:
        return spoken
    return f"{spoken} and {'a minute' if rest == 1 else f'{rest} minutes'}"


def spoken_ago(seconds: float) -> str:
    """``just now``, ``5 minutes ago``."""
    if seconds < 10:
        return "just now"
    return f"{spoken_duration(seconds)} ago"


def _quoted(sentences: Sequence[Sentence]) -> list[dict[str, str]]:
    return [{"name": sentence.name, "text": sentence.text} for sentence in sentences]
