"""What the SFU's room is told, and what it wants done. The contract between `room` and `client`.

The room (`mulisa.sfu.room.Room`) is pure: every event goes in with `now`, a list of actions comes
out, in the order in which they must be performed. `ParticipantSid` names one stay; all that is
about a client is addressed to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from mulisa.core.room import Identity, ParticipantSid
from mulisa.sfu.media import Inbound, TrackSid

if TYPE_CHECKING:
    from livekit.protocol import models, rtc

    from mulisa.sfu.permissions import Permissions

DataLabel: TypeAlias = Literal["_reliable", "_lossy"]
"""LiveKit's two data channels."""
Target: TypeAlias = Literal["publisher", "subscriber"]
"""Which connection of a client: the single one of mode v1 is its publisher."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client whose token was verified wants to join."""

    sid: ParticipantSid
    identity: Identity
    name: str
    kind: int
    """`models.ParticipantInfo.Kind`."""
    metadata: str
    attributes: Mapping[str, str]
    permissions: Permissions
    client: models.ClientInfo
    is_single_connection: bool
    """Mode v1: one connection, whose offers are the client's. Else v0: two connections."""
    auto_subscribe: bool
    at: datetime
    refresh_token: str = ""
    add_track_requests: tuple[rtc.AddTrackRequest, ...] = ()
    """Tracks announced with the join itself (`JoinRequest.add_track_requests`)."""
    ice_servers: tuple[rtc.ICEServer, ...] = ()
    """For this participant; without any, those of the room's configuration."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A client that is still in the room has a new socket; all its connections were kept."""

    sid: ParticipantSid
    refresh_token: str = ""
    ice_servers: tuple[rtc.ICEServer, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A client's message. Offers, answers and candidates are not the room's: see `client`."""

    sid: ParticipantSid
    message: rtc.SignalRequest


@dataclass(frozen=True, slots=True)
class Bound:
    """An answered offer has m-lines for these published tracks, and for no others.

    The room announces those that are new, and ends those of this client that are gone.
    """

    sid: ParticipantSid
    tracks: tuple[Inbound, ...]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The client's connection can receive this track now: its description says so."""

    sid: ParticipantSid
    track: TrackSid


@dataclass(frozen=True, slots=True)
class Connected:
    """Media and data can flow over the client's primary connection."""

    sid: ParticipantSid


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """A data channel of the client can be written to."""

    sid: ParticipantSid
    label: DataLabel


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A message on a data channel, as it came; its bytes are not trusted."""

    sid: ParticipantSid
    label: DataLabel
    data: bytes


@dataclass(frozen=True, slots=True)
class SocketLost:
    """The client's WebSocket closed without a leave; it may resume while its connection lives."""

    sid: ParticipantSid


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """Nothing has come over the client's connection for longer than consent lasts (RFC 7675)."""

    sid: ParticipantSid


@dataclass(frozen=True, slots=True)
class LevelsMeasured:
    """The loudness of all audio tracks since the last report, every 400 ms.

    Per track: the share of the interval in which it was louder than the threshold (0 to 1), and
    its loudest level in dBov (0 is the loudest, -127 silence).
    """

    levels: Mapping[TrackSid, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class QualityMeasured:
    """Loss (0 to 1) and round-trip time (seconds) of each client's connection."""

    connections: Mapping[ParticipantSid, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: `Room.deadline` was reached."""


RoomEvent: TypeAlias = (
    Arrival
    | Resumption
    | Request
    | Bound
    | Subscribed
    | Connected
    | ChannelOpened
    | DataReceived
    | SocketLost
    | ConnectionFailed
    | LevelsMeasured
    | QualityMeasured
    | Tick
)


@dataclass(frozen=True, slots=True)
class Send:
    """Write to the client's socket; dropped if it has none now (a resumption sends state anew)."""

    sid: ParticipantSid
    message: rtc.SignalResponse


@dataclass(frozen=True, slots=True)
class ExpectTrack:
    """The client announced a track: bind the m-line whose track id is `cid` to it."""

    sid: ParticipantSid
    track: TrackSid
    request: rtc.AddTrackRequest


@dataclass(frozen=True, slots=True)
class Unpublish:
    """The track is gone for good, whatever the client's description says."""

    sid: ParticipantSid
    track: TrackSid


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Give the client this track: negotiate an m-line, then forward."""

    sid: ParticipantSid
    track: TrackSid
    publisher: ParticipantSid


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """From the moment of performing this no packet of the track goes to the client any more."""

    sid: ParticipantSid
    track: TrackSid
    has_ended: bool = False
    """For everybody: clients are told so, and need no new description to believe it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Forward the subscribed track to the client, or hold it back (`track_setting`)."""

    sid: ParticipantSid
    track: TrackSid
    is_paused: bool


@dataclass(frozen=True, slots=True)
class SetMuted:
    """A published track was muted or unmuted; while muted nothing of it is forwarded."""

    track: TrackSid
    is_muted: bool


@dataclass(frozen=True, slots=True)
class SendData:
    """Write to a data channel of the client that has opened."""

    sid: ParticipantSid
    label: DataLabel
    data: bytes


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the client's socket (after what was sent before) and its connections."""

    sid: ParticipantSid


@dataclass(frozen=True, slots=True)
class Report:
    """Something that the world outside may want to know: the directory, webhooks, dispatch.

    Names as LiveKit's webhooks have them, plus participant_updated.
    """

    event: Literal[
        "room_started",
        "room_finished",
        "participant_joined",
        "participant_left",
        "participant_connection_aborted",
        "participant_updated",
        "track_published",
        "track_unpublished",
    ]
    room: models.Room
    participant: models.ParticipantInfo | None = None
    track: models.TrackInfo | None = None


RoomAction: TypeAlias = (
    Send
    | ExpectTrack
    | Unpublish
    | Subscribe
    | Unsubscribe
    | Pause
    | SetMuted
    | SendData
    | Disconnect
    | Report
)


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """Limits and times (seconds) of every room of an SFU."""

    max_participants: int = 200
    max_tracks: int = 20
    """Published by one participant at once."""
    max_metadata_bytes: int = 64_000
    max_attributes_bytes: int = 64_000
    max_name_chars: int = 256
    max_queued_bytes: int = 1_048_576
    """Reliable data that waits for one client's channel to open."""
    data_burst: float = 10_000.0
    """Data packets of one client at once, on each of its channels; see `Channels.admits`."""
    data_rate: float = 1_000.0
    """The same per second in the long run."""
    empty_timeout: float = 300.0
    """For a room that nobody ever joined."""
    departure_timeout: float = 20.0
    """For a room that everybody left."""
    ping_interval: int = 5
    ping_timeout: int = 15
    resume_time: float = 15.0
    """For a client without a socket to come back, though its connection lives."""
    speakers_interval: float = 0.4
    enabled_codecs: tuple[str, ...] = (
        "audio/opus",
        "audio/red",
        "video/VP8",
        "video/H264",
        "video/VP9",
        "video/AV1",
    )
    """Those that clients publish in."""
    ice_servers: tuple[rtc.ICEServer, ...] = field(default_factory=tuple)
