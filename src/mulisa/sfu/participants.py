"""One stay of a participant in a room: what is true of it, and what it has and wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from livekit.protocol import models, rtc

from mulisa.sfu.channels import Channels
from mulisa.sfu.events import Arrival
from mulisa.sfu.media import TrackSid
from mulisa.sfu.permissions import Audience, Permissions
from mulisa.sfu.publications import Publication

State = models.ParticipantInfo.State


class Participant:
    """Owned by its room, which alone changes it.

    What `info` says changes only together with `touch`, or clients would drop the change.
    """

    def __init__(self, arrival: Arrival, channels: Channels, deadline: float) -> None:
        self.sid, self.identity = arrival.sid, arrival.identity
        self.name, self.metadata = arrival.name, arrival.metadata
        self.attributes = dict(arrival.attributes)
        self.client = arrival.client
        is_known = arrival.kind in models.ParticipantInfo.Kind.values()
        self.kind = arrival.kind if is_known else models.ParticipantInfo.STANDARD
        self.permissions: Permissions = arrival.permissions
        self.joined_at = arrival.at
        self.refresh_token = arrival.refresh_token
        self.ice_servers: tuple[rtc.ICEServer, ...] = arrival.ice_servers
        self.state: State = State.JOINING
        self.disconnect_reason: models.DisconnectReason = models.UNKNOWN_REASON
        self.has_socket = True
        self.deadline: float | None = deadline
        """When it is put out, unless it connects or comes back before."""
        self.departures_before = 0
        """Of others, from the room: it need not know of them."""

        self.tracks: dict[TrackSid, Publication] = {}
        """Published or about to be, oldest first."""
        self.audience = Audience()

        self.wishes: dict[TrackSid, bool] = {}
        """Tracks of others that it asked for or does not want."""
        self.subscribes_by_itself = arrival.auto_subscribe
        self.subscribed: set[TrackSid] = set()
        self.admitted: dict[TrackSid, bool] = {}
        """Whether it may have a track that it wants, as it was told; it takes it for granted."""
        self.paused: set[TrackSid] = set()

        self.channels = channels
        self._version = 0
        self._info: models.ParticipantInfo | None = None

    @property
    def is_hidden(self) -> bool:
        """Nobody else may know of it."""
        return self.permissions.hidden

    @property
    def is_agent(self) -> bool:
        """May do what agents may."""
        return self.kind == models.ParticipantInfo.AGENT or self.permissions.agent

    @property
    def is_recorder(self) -> bool:
        """Receives whatever is published."""
        return self.kind == models.ParticipantInfo.EGRESS or self.permissions.recorder

    @property
    def is_dependent(self) -> bool:
        """Is here for the sake of others: keeps no room open, takes nobody's place."""
        return self.is_agent or self.is_recorder

    @property
    def is_active(self) -> bool:
        """Its connection was established."""
        return self.state == State.ACTIVE

    @property
    def is_publisher(self) -> bool:
        """Has a track that others may receive."""
        return any(publication.is_bound for publication in self.tracks.values())

    def wants(self, track: TrackSid) -> bool:
        """Whether it wishes to receive this track of somebody else."""
        return self.wishes.get(track, self.subscribes_by_itself)

    def forget_track(self, track: TrackSid) -> None:
        """A track of somebody else has ended."""
        self.wishes.pop(track, None)
        self.admitted.pop(track, None)
        self.subscribed.discard(track)
        self.paused.discard(track)

    def touch(self) -> None:
        """Something that others see has changed."""
        self._version += 1
        self._info = None

    def info(self) -> models.ParticipantInfo:
        """All that others see, complete; not to be changed."""
        if self._info is None:
            self._info = self._told()
        return self._info

    def merged(self, changes: Mapping[str, str]) -> dict[str, str]:
        """Its attributes after these changes; an empty value removes its key."""
        merged = {**self.attributes, **changes}
        return {key: value for key, value in merged.items() if value}

    def _told(self) -> models.ParticipantInfo:
        return models.ParticipantInfo(
            sid=self.sid,
            identity=self.identity,
            state=self.state,
            tracks=[track.info for track in self.tracks.values() if track.is_bound],
            metadata=self.metadata,
            joined_at=int(self.joined_at.timestamp()),
            joined_at_ms=int(self.joined_at.timestamp() * 1000),
            name=self.name,
            version=self._version,
            permission=self.permissions.to_message(),
            is_publisher=self.is_publisher,
            kind=models.ParticipantInfo.Kind.Name(self.kind),
            attributes=self.attributes,
            disconnect_reason=self.disconnect_reason,
            client_protocol=max(0, self.client.client_protocol),
            capabilities=_known_capabilities(self.client),
        )


def _known_capabilities(client: models.ClientInfo) -> list[models.ClientInfo.Capability]:
    known = models.ClientInfo.Capability.values()
    return [capability for capability in client.capabilities if capability in known]
