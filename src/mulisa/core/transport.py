"""What the agent asks of a topology: people, their voices, one voice of its own, and text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.events import TransportEvent
from mulisa.core.room import Identity, Participant, RoomName, Topology


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


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A typed message (``lk.chat``)."""

    message_id: str
    """Unique among its sender's: 1 to 64 letters, digits, ``_`` or ``-`` of ASCII.

    An agent's message repeats a reply that was spoken, and has its segment id.
    """
    text: str


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """Counters of one participant's way into our ear."""

    frames_received: int
    frames_dropped: int
    """Oldest frames thrown away because the reader was slow."""
    packets_lost: int


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

    async def send_caption(self, caption: Caption) -> None:
        """Show words to everybody. Who cannot be reached does not see them."""
        ...

    async def send_chat(self, message: ChatMessage) -> None:
        """Send a typed message to everybody."""
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
