"""Who may subscribe to which of our tracks: what a LiveKit server is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mulisa.core.room import Identity


@dataclass(frozen=True, slots=True)
class Permissions:
    """Track sids by participant; who is not named may subscribe to nothing."""

    everything_for_all: bool = False
    tracks: Mapping[Identity, tuple[str, ...]] = field(default_factory=dict)


def permissions(
    listeners: frozenset[Identity] | None,
    people: Iterable[Identity],
    voice: str,
    whispers: Mapping[Identity, str],
    *,
    is_private: bool = False,
) -> Permissions:
    """The main voice is for `listeners` (None: all), each whisper for the one it is under.

    A server takes identities that are not in the room, so `listeners` hold for whoever comes; of
    `people` it must be told anew when somebody joins. `is_private`: a further track is about to
    be published that is for nobody yet.
    """
    if listeners is None and not whispers and not is_private:
        return Permissions(everything_for_all=True)
    hearing = set(people) if listeners is None else listeners
    sids = {
        identity: tuple(
            sid for sid in (voice if identity in hearing else "", whispers.get(identity, "")) if sid
        )
        for identity in sorted({*hearing, *whispers})
    }
    return Permissions(tracks={identity: each for identity, each in sids.items() if each})
