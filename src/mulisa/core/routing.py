"""Whom the agent hears and whom she speaks to: one row and one column of who hears whom. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mulisa.core.errors import InputError
from mulisa.core.room import Identity

ROUTING_ATTRIBUTE: Final = "mulisa.routing"
"""Participant attribute of the agent that carries `Routing.as_attribute`; none by default."""
MAX_IDENTITIES: Final = 500
"""More are refused in one wish or message: no room is that big."""
MAX_IDENTITY_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class Routing:
    """The agent hears everybody and speaks to everybody unless it says otherwise here.

    Identities stay in it when people leave, so that a reload undoes nothing.
    """

    unheard: frozenset[Identity] = frozenset()
    """Whose packets do not come."""
    listeners: frozenset[Identity] | None = None
    """To whom she speaks; None is everybody, whoever comes later included."""

    def hears(self, identity: Identity) -> bool:
        """Whether this person's voice comes to her."""
        return identity not in self.unheard

    def speaks_to(self, identity: Identity) -> bool:
        """Whether her voice goes to this person."""
        return self.listeners is None or identity in self.listeners

    def changed(self, change: RoutingChange) -> Routing:
        """What holds after the change."""
        unheard = set(self.unheard)
        for identity, on in change.hear.items():
            (unheard.discard if on else unheard.add)(identity)
        listeners = change.speak_to if change.sets_listeners else self.listeners
        return Routing(frozenset(unheard), listeners)

    def to_json(self, people: Iterable[Identity] = ()) -> dict[str, Any]:
        """``{"hear": {identity: bool}, "speak_to": [identity...] or null}``.

        Under ``hear`` stand all `people`, and whoever else is not heard.
        """
        everybody = sorted({*people, *self.unheard})
        return {
            "hear": {identity: self.hears(identity) for identity in everybody},
            "speak_to": None if self.listeners is None else sorted(self.listeners),
        }

    def as_attribute(self) -> str:
        """`to_json` as text; empty, as what removes an attribute, while it is the default."""
        return "" if self == Routing() else json.dumps(self.to_json(), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """A wish: who is not named in `hear` stays as they are."""

    hear: Mapping[Identity, bool] = field(default_factory=dict)
    sets_listeners: bool = False
    """False: those she speaks to stay as they are."""
    speak_to: frozenset[Identity] | None = None
    """With `sets_listeners`: to whom she shall speak; None is everybody."""

    @classmethod
    def parse(cls, data: object, limit: int | None = MAX_IDENTITIES) -> RoutingChange:
        """Read ``{"hear": {...}, "speak_to": [...] or null}``; each key may be missing.

        Raises InputError, also for more than `limit` identities under one of them.
        """
        if not isinstance(data, dict) or set(data) - {"hear", "speak_to"}:
            raise InputError('a routing is an object with "hear" and "speak_to"')
        hear = data.get("hear", {})
        if not isinstance(hear, dict) or not all(isinstance(on, bool) for on in hear.values()):
            raise InputError('"hear" is an object from identities to true or false')
        listeners = data.get("speak_to")
        if listeners is not None and not isinstance(listeners, list):
            raise InputError('"speak_to" is a list of identities, or null for everybody')
        if limit is not None and max(len(hear), len(listeners or ())) > limit:
            raise InputError(f"a routing names at most {limit} identities")
        return cls(
            {parse_identity(each): on for each, on in hear.items()},
            "speak_to" in data,
            None if listeners is None else frozenset(map(parse_identity, listeners)),
        )


def parse_routing(data: object) -> Routing:
    """Read what `Routing.to_json` wrote, which many changes may have made. Raises InputError."""
    return Routing().changed(RoutingChange.parse(data, limit=None))


def parse_identity(text: object) -> Identity:
    """Raises InputError."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_IDENTITY_CHARS:
        raise InputError(f"an identity is a text of 1 to {MAX_IDENTITY_CHARS} characters")
    return Identity(text)
