"""A client of LiveKit's protocol as the tests see it, whichever SDK it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.browser.people import until

PATIENCE = 30.0
"""Seconds after which something that should happen will not."""
A_WHILE = 0.8
"""Seconds in which a voice that is heard sends forty packets."""
FEW = 10
"""Packets in `A_WHILE` on a connection without a voice: reports and keep-alives."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A track as another participant sees it."""

    sid: str
    name: str
    kind: str
    """``audio`` or ``video``."""
    source: str
    """``microphone``, ``camera``, ``screen_share``, ``screen_share_audio`` or ``unknown``."""
    is_muted: bool
    is_subscribed: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """A participant as a client sees them, itself included."""

    sid: str
    identity: str
    name: str = ""
    metadata: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    quality: str = ""
    """``poor``, ``good``, ``excellent``, ``lost``; anything else while unknown."""
    is_agent: bool = False
    tracks: dict[str, Publication] = field(default_factory=dict)
    """By their names."""


@dataclass(frozen=True, slots=True)
class Data:
    """A message that came."""

    sender: str
    """Empty: the server."""
    topic: str
    text: str
    is_reliable: bool


@dataclass(frozen=True, slots=True)
class View:
    """All that a client knows and all that has happened to it."""

    connection: str
    """``connected``, ``reconnecting`` or ``disconnected``."""
    reason: str
    """Why it is disconnected, as LiveKit's `DisconnectReason` names it."""
    events: list[str]
    """Those about the connection (``reconnecting``, ``reconnected``), and
    ``subscribed NAME``, ``unsubscribed NAME``, ``left IDENTITY``, ``joined IDENTITY``.
    """
    room_sid: str
    room_name: str
    room_metadata: str
    me: Seen
    others: dict[str, Seen]
    speakers: list[str]
    """Their identities, the loudest first."""
    data: list[Data]
    texts: list[tuple[str, str, str]]
    """Sender, topic and text of the text streams that are complete."""
    can_publish: bool = True
    can_subscribe: bool = True

    def track(self, identity: str, name: str = "voice") -> Publication | None:
        """What somebody else publishes under this name."""
        seen = self.others.get(identity)
        return seen.tracks.get(name) if seen is not None else None

    def is_muted(self, identity: str, name: str = "voice") -> bool | None:
        """Whether that track is muted; None if there is none."""
        track = self.track(identity, name)
        return track.is_muted if track is not None else None

    def is_subscribed(self, identity: str, name: str = "voice") -> bool:
        """Whether that track has arrived here."""
        track = self.track(identity, name)
        return track is not None and track.is_subscribed


class Client(Protocol):
    """Somebody in a room. All that can fail raises what the SDK raises, as `ClientError`."""

    identity: str

    async def publish(self, frequency: float, name: str = "voice", **options: Any) -> str:
        """Send a tone until the end; the track's sid.

        Options: `red`, `dtx` (bool), `source`.
        """

    async def unpublish(self, name: str = "voice") -> None:
        """Take it back."""

    async def set_muted(self, is_muted: bool, name: str = "voice") -> None:
        """Mute or unmute an own track."""

    async def set_tone(self, frequency: float, name: str = "voice") -> None:
        """Change the tone; 0 is digital silence."""

    async def pitch(self, identity: str, name: str = "voice") -> float:
        """The frequency in Hz of what is heard of somebody now; 0 for silence or no track."""

    async def packets(self) -> int:
        """RTP and RTCP packets that have come to us so far, over all connections."""

    async def subscribe(self, identity: str, is_wanted: bool, name: str = "voice") -> None:
        """Ask for a track, or ask not to get it."""

    async def allow(self, *identities: str, everybody: bool = False) -> None:
        """Who may subscribe to our tracks."""

    async def send(self, text: str, *to: str, topic: str = "", is_reliable: bool = True) -> None:
        """A data packet to these, or to all."""

    async def send_text(self, text: str, *to: str, topic: str = "topic") -> None:
        """A text stream."""

    async def answer(self, method: str) -> None:
        """From now on answer this RPC with `IDENTITY: PAYLOAD`."""

    async def call(self, identity: str, method: str, payload: str) -> str:
        """An RPC; the answer."""

    async def describe(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
    ) -> None:
        """Change what is given about oneself."""

    async def view(self) -> View:
        """What it knows now."""

    async def leave(self) -> None:
        """Disconnect in order. Idempotent."""


class ClientError(Exception):
    """The SDK refused, or the server did."""


async def sees(client: Client, is_so: Callable[[View], Any], what: str) -> View:
    """Wait until it is so; its view then."""
    return await until(
        client.view, lambda view: bool(is_so(view)), f"{client.identity} to see {what}", PATIENCE
    )


async def subscribes(client: Client, *identities: str, name: str = "voice") -> None:
    """Wait until it has the tracks of all of these."""
    await sees(
        client,
        lambda view: all(view.is_subscribed(each, name) for each in identities),
        f"tracks of {identities}",
    )


async def hears(client: Client, identity: str, frequency: float, name: str = "voice") -> None:
    """Wait until this tone comes from somebody; 0 is silence."""
    await until(
        lambda: client.pitch(identity, name),
        lambda heard: abs(heard - frequency) <= 12.0,
        f"{client.identity} to hear {frequency} Hz of {identity}",
        PATIENCE,
    )
