"""What the agent asks of a topology: people, their voices, one voice of its own, and text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.events import TransportEvent
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import Routing


@dataclass(frozen=True, slots=True)
class Caption:
    """A piece of transcription as listeners see it (``lk.transcription``)."""

    segment_id: str
    """Stays the same while the text of one utterance or reply grows and settles."""
    identity: Identity
    """Whose words these are."""
    text: str
    """All words of the segment so far, not only the new ones."""
    final: bool
    """True once: the text will not change again and is on disk."""
    interrupted: bool = False
    """True if a reply ended before its end; `text` is what was heard, `unspoken` the rest."""
    unspoken: str = ""
    listener: Identity | None = None
    """Who alone is shown these words, because they are whispered; None is everybody."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A typed message (``lk.chat``)."""

    message_id: str
    """Unique among its sender's: 1 to 64 letters, digits, ``_`` or ``-`` of ASCII.

    An agent's message repeats a reply that was spoken, and has its segment id, or says what she
    cannot say aloud.
    """
    text: str
    listener: Identity | None = None
    """Who alone gets it; None is everybody."""


SendFrame: TypeAlias = Callable[[Samples], None]
"""Speaks 20 ms (int16, shape (960,), 48 kHz) now; never blocks."""


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """Counters of one participant's way into our ear."""

    frames_received: int
    frames_dropped: int
    """Oldest frames thrown away because the reader was slow."""
    packets_lost: int
    packets_received: int = 0
    """Of this participant's voice, on all connections of theirs so far; 0 if nobody counts."""
    packets_recovered: int = 0
    """Lost, or too late, and made good by forward error correction."""
    packets_late: int = 0
    """Came after they were given up."""
    frames_concealed: int = 0
    """Made up, 20 ms each, for what was lost and not recovered."""
    buffer_delay: float = 0.0
    """Seconds from a packet's arrival until it was passed on, on average."""


class Transport(Protocol):
    """One stay in one room. Enter it to join, leave it to leave.

    Entering raises TransportError when the room cannot be joined. All methods belong to the
    event loop that entered. Events and frames are produced whether or not anybody reads them.
    """

    @property
    def room(self) -> RoomName:
        """The room that was joined."""
        ...

    @property
    def topology(self) -> Topology:
        """How its media is routed."""
        ...

    @property
    def local(self) -> Participant:
        """Ourselves."""
        ...

    @property
    def participants(self) -> Mapping[Identity, Participant]:
        """Everybody else in the room now, by identity."""
        ...

    def events(self) -> AsyncIterator[TransportEvent]:
        """What happens in the room, oldest first; nothing is dropped. One reader.

        Ends when we left or were removed; raises ConnectionLost when the room is out of reach.
        """
        ...

    def frames(self, identity: Identity) -> AsyncIterator[AudioFrame]:
        """Decoded voice of one participant, oldest first: int16, shape (960,), 48 kHz mono.

        A slow reader loses the oldest frames, counted in `stats`. Ends when the track ends.
        """
        ...

    def send_frame(self, samples: Samples) -> None:
        """Speak 20 ms (int16, shape (960,), 48 kHz) to all listeners now. Never blocks.

        The caller paces: one call per 20 ms while speaking and none while silent.
        """
        ...

    def expect_speech(self) -> None:
        """We may speak soon: do now what would make the first frame late. Cheap, never blocks."""
        ...

    async def whisper(self, listener: Identity) -> SendFrame:
        """Return when what is sent with the result reaches this person and nobody else.

        It is for one reply; while it is in use nothing is sent with `send_frame`. What
        `speak_to` allows does not matter: a whisper is asked for. Raises TransportError if they
        are not here or cannot be reached in time.
        """
        ...

    @property
    def routing(self) -> Routing:
        """What is wanted; it holds once `hear` and `speak_to` have returned.

        Shown to everybody as our attribute `ROUTING_ATTRIBUTE` from then on.
        """
        ...

    async def hear(self, identity: Identity, on: bool) -> None:
        """Receive somebody's voice, or do not: then no packet arrives and no decoder runs.

        Returns when it is so; `frames` ends and `TrackUnsubscribed` comes, or the reverse. Holds
        for this identity until it is changed, over reloads, and for those who are not here yet.
        Raises TransportError if it cannot be had in time; then it is still tried.
        """
        ...

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Send our voice to these only; None is everybody, whoever comes later included.

        Returns when it is so: no packet that is sent later reaches anybody else, and none is on
        its way. Raises TransportError if that cannot be had in time; then it is still tried.
        """
        ...

    async def send_caption(self, caption: Caption) -> None:
        """Show words to everybody, or to their one listener. Who is out of reach misses them."""
        ...

    async def send_chat(self, message: ChatMessage) -> None:
        """Send a typed message to everybody, or to its one listener."""
        ...

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        """Tell everybody whose packets came to us in the last second. May get lost."""
        ...

    @property
    def receptions(self) -> Mapping[Identity, frozenset[Identity]]:
        """Whose packets came to each of the others, as they said in the last seconds.

        Only of and about those who are in the room, ourselves included among the heard.
        """
        ...

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Merge into our participant's attributes; an empty value removes a key."""
        ...

    def stats(self, identity: Identity) -> SubscriptionStats:
        """Counters of one participant's subscription; zeros if there is none."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
