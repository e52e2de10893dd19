"""What a realtime session knows of a call, and what to send so that it knows what it should. Pure.

The service keeps the conversation as *items*. Here is the list of them, each with the message of
the call that it stands for. Before each response the messages of the call are compared with it:
what is missing is created as named text (or is the speech that is answered), what is not to be
known any more (a whisper, what tools told, what the memory has summarised) is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

from mulisa.core.provider import Message, ToolCall

Event: TypeAlias = dict[str, Any]
"""As it is sent, without its ``event_id``."""
SPEECH: Final = "speech"
"""Type of the event in whose place the speech is to be appended and committed."""
ROOT: Final = "root"
"""Previous item of the first one."""
TOLERANCE: Final = 0.02
"""Seconds that may be missing of an item that was heard to its end."""

_Key: TypeAlias = tuple[str, str, str]
"""Of a message: role, who, what. Of a call and its result: ``call`` or ``tool``, and its id."""


@dataclass(slots=True, eq=False)
class _Known:
    """One message that the service knows, as one or several items."""

    key: _Key | None
    """None: part of the reply that is going on."""
    item_ids: list[str] = field(default_factory=list)
    """That of speech is the second one, and comes when the service tells it."""
    seconds: float = 0.0
    """Audio of a reply that came."""
    complete: bool = False
    """A reply's item that will get no more audio."""


class Conversation:
    """One session's items. Methods that return events expect them to be sent, in this order."""

    def __init__(self, assistant_text: str) -> None:
        """`assistant_text` is the content type of what the agent said, as text."""
        self._assistant_text = assistant_text
        self._known: list[_Known] = []
        self._uncommitted: list[_Known] = []
        self._numbers = count(1)

    def sync(self, messages: Sequence[Message], speech: bool) -> list[Event]:
        """Make the service know these messages and no others.

        With `speech` given the last message of role ``user`` is that speech, unless it is known.
        """
        wanted = [pair for message in messages for pair in _items(message, self._assistant_text)]
        found = self._match([key for key, _ in wanted])
        events = self._forget(set(found.values()))
        spoken = max((at for at, (key, _) in enumerate(wanted) if key[0] == "user"), default=-1)
        previous: _Known | None = None
        for at, (key, item) in enumerate(wanted):
            if (known := found.get(at)) is None:
                known = _Known(key)
                is_speech = speech and at == spoken and self._is_last(previous)
                events += self._create(known, previous, item, key[1] if is_speech else None)
            previous = known
        return events

    def committed(self, item_id: str) -> list[Event]:
        """The service told the id of the speech that was committed first of those without one."""
        if not self._uncommitted:
            return []
        known = self._uncommitted.pop(0)
        known.item_ids.append(item_id)
        return [] if known in self._known else [_delete(item_id)]

    def reply_began(self, item_id: str) -> None:
        """The reply has one more message."""
        self._known.append(_Known(None, [item_id]))

    def reply_called(self, item_id: str, call_id: str) -> None:
        """The reply asks for a tool."""
        self._known.append(_Known(("call", call_id, ""), [item_id]))

    def reply_went_on(self, item_id: str, seconds: float) -> None:
        """More audio of a reply's message came."""
        for known in self._reply():
            if item_id in known.item_ids:
                known.seconds += seconds

    def reply_completed(self, item_id: str) -> None:
        """No more audio of a reply's message will come."""
        for known in self._reply():
            known.complete = known.complete or item_id in known.item_ids

    def settle(self, words: Message | None, seconds: float) -> list[Event]:
        """The reply is over; so much of it was heard, and `words` stand for that."""
        events: list[Event] = []
        heard: list[_Known] = []
        for known in self._reply():
            if words is None or seconds <= 0 or not known.seconds:
                events += self._remove(known)
                continue
            if not known.complete or seconds < known.seconds - TOLERANCE:
                events.append(_truncate(known.item_ids[0], min(seconds, known.seconds)))
            seconds -= known.seconds
            heard.append(known)
        if heard and words is not None:
            self._merge(heard, _key(words))
        return events

    def _reply(self) -> list[_Known]:
        return [known for known in self._known if known.key is None]

    def _merge(self, heard: list[_Known], key: _Key) -> None:
        first = heard[0]
        first.key = key
        for other in heard[1:]:
            first.item_ids += other.item_ids
            self._known.remove(other)

    def _match(self, keys: Sequence[_Key]) -> dict[int, _Known]:
        """Which known message each wanted one is; the same words twice are two messages."""
        free = list(self._known)
        found: dict[int, _Known] = {}
        for at, key in enumerate(keys):
            if known := next((known for known in free if known.key == key), None):
                free.remove(known)
                found[at] = known
        return found

    def _forget(self, kept: set[_Known]) -> list[Event]:
        events: list[Event] = []
        for known in list(self._known):
            if known.key is not None and known not in kept:
                events += self._remove(known)
        return events

    def _remove(self, known: _Known) -> list[Event]:
        self._known.remove(known)
        return [_delete(item_id) for item_id in known.item_ids]

    def _is_last(self, known: _Known | None) -> bool:
        return not self._known if known is None else self._known[-1] is known

    def _create(
        self, known: _Known, previous: _Known | None, item: Event, speaker: str | None
    ) -> list[Event]:
        """Events for a message after `previous`; as speech if there is a `speaker`."""
        if speaker is not None:
            self._uncommitted.append(known)
            item = _message("user", "input_text", f"{speaker or 'Somebody'} says:")
        place: Event = {}
        if not self._is_last(previous):
            ids = previous.item_ids if previous is not None else [ROOT]
            place = {"previous_item_id": ids[-1]} if ids else {}
        known.item_ids.append(f"mulisa_{next(self._numbers)}")
        at = 0 if previous is None else self._known.index(previous) + 1
        self._known.insert(at, known)
        create = {
            "type": "conversation.item.create",
            **place,
            "item": {"id": known.item_ids[-1], **item},
        }
        return [create] if speaker is None else [create, {"type": SPEECH}]


def _items(message: Message, assistant_text: str) -> list[tuple[_Key, Event]]:
    """A message as items; what was said before a tool call is the reply's own item already."""
    if message.tool_calls:
        return [(("call", call.call_id, ""), _call(call)) for call in message.tool_calls]
    if message.role == "tool":
        result = {
            "type": "function_call_output",
            "call_id": message.call_id,
            "output": message.content,
        }
        return [(_key(message), result)]
    kind = assistant_text if message.role == "assistant" else "input_text"
    text = f"{message.name}: {message.content}" if message.name else message.content
    return [(_key(message), _message(message.role, kind, text))]


def _key(message: Message) -> _Key:
    if message.role == "tool":
        return ("tool", message.call_id, "")
    return (message.role, message.name, message.content)


def _message(role: str, kind: str, text: str) -> Event:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def _call(call: ToolCall) -> Event:
    arguments: Mapping[str, Any] = call.arguments
    return {
        "type": "function_call",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": json.dumps(dict(arguments)),
    }


def _delete(item_id: str) -> Event:
    return {"type": "conversation.item.delete", "item_id": item_id}


def _truncate(item_id: str, seconds: float) -> Event:
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": int(seconds * 1000),
    }
