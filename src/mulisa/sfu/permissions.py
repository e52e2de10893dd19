"""What a participant may do, and who may receive its tracks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from livekit.protocol import models, rtc

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity, ParticipantSid
from mulisa.sfu.media import TrackSid

_SOURCES: Final[Mapping[str, int]] = {
    name.lower(): value for name, value in models.TrackSource.items()
}


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a token's grant allows inside a room, LiveKit's defaults filled in."""

    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    can_update_own_metadata: bool = False
    sources: frozenset[int] = frozenset()
    """`models.TrackSource` that may be published; none: every source."""
    hidden: bool = False
    """Nobody else is told that this participant exists."""
    recorder: bool = False
    agent: bool = False
    room_admin: bool = False
    can_subscribe_metrics: bool = False
    can_manage_agent_session: bool = False

    @classmethod
    def from_claim(cls, video: Mapping[str, object]) -> Permissions:
        """Read the claim ``video`` of an access token.

        What is absent has LiveKit's default: publishing and subscribing are allowed, data goes
        with publishing, own metadata may not be changed. A value of the wrong type grants nothing.
        """
        can_publish = _granted(video, "canPublish", default=True)
        return cls(
            can_publish=can_publish,
            can_subscribe=_granted(video, "canSubscribe", default=True),
            can_publish_data=_granted(video, "canPublishData", default=can_publish),
            can_update_own_metadata=_granted(video, "canUpdateOwnMetadata", default=False),
            sources=_sources(video.get("canPublishSources")),
            hidden=_granted(video, "hidden", default=False),
            recorder=_granted(video, "recorder", default=False),
            agent=_granted(video, "agent", default=False),
            room_admin=_granted(video, "roomAdmin", default=False),
            can_subscribe_metrics=_granted(video, "canSubscribeMetrics", default=False),
            can_manage_agent_session=_granted(video, "canManageAgentSession", default=False),
        )

    @classmethod
    def from_message(
        cls, message: models.ParticipantPermission, *, room_admin: bool = False
    ) -> Permissions:
        """Those of an `UpdateParticipant` request, which replace all that was granted before."""
        return cls(
            can_publish=message.can_publish,
            can_subscribe=message.can_subscribe,
            can_publish_data=message.can_publish_data,
            can_update_own_metadata=message.can_update_metadata,
            sources=frozenset(message.can_publish_sources) & frozenset(_SOURCES.values()),
            hidden=message.hidden,
            recorder=message.recorder,
            agent=message.agent,
            room_admin=room_admin,
            can_subscribe_metrics=message.can_subscribe_metrics,
            can_manage_agent_session=message.can_manage_agent_session,
        )

    def may_publish(self, source: int) -> bool:
        """Whether a track of this `models.TrackSource` may be published."""
        return self.can_publish and (not self.sources or source in self.sources)

    def to_message(self) -> models.ParticipantPermission:
        """As participants are told."""
        return models.ParticipantPermission(
            can_publish=self.can_publish,
            can_subscribe=self.can_subscribe,
            can_publish_data=self.can_publish_data,
            can_update_metadata=self.can_update_own_metadata,
            can_publish_sources=[models.TrackSource.Name(s) for s in sorted(self.sources)],
            hidden=self.hidden,
            recorder=self.recorder,
            agent=self.agent,
            can_subscribe_metrics=self.can_subscribe_metrics,
            can_manage_agent_session=self.can_manage_agent_session,
        )

    def to_claim(self) -> dict[str, object]:
        """As a token's ``video`` claim says it; room and API grants are not in it."""
        claim: dict[str, object] = {
            "canPublish": self.can_publish,
            "canSubscribe": self.can_subscribe,
            "canPublishData": self.can_publish_data,
            "canUpdateOwnMetadata": self.can_update_own_metadata,
            "hidden": self.hidden,
            "recorder": self.recorder,
            "agent": self.agent,
            "canSubscribeMetrics": self.can_subscribe_metrics,
            "canManageAgentSession": self.can_manage_agent_session,
        }
        if self.sources:
            claim["canPublishSources"] = [n for n, s in _SOURCES.items() if s in self.sources]
        return claim


@dataclass(frozen=True, slots=True)
class Audience:
    """Who may subscribe to a publisher's tracks (`SubscriptionPermission`); first: everybody."""

    is_everybody: bool = True
    of_all_tracks: frozenset[Identity] = frozenset()
    of_one_track: Mapping[Identity, frozenset[TrackSid]] = field(default_factory=dict)

    @classmethod
    def from_message(
        cls,
        message: rtc.SubscriptionPermission,
        identity_of: Callable[[ParticipantSid], Identity | None],
    ) -> Audience:
        """Read a publisher's request; each one replaces those before.

        An identity need not be here yet. A sid that is not here is passed over, as nobody can come
        back with it. Raises SignalingError for an entry that names nobody.
        """
        if message.all_participants:
            return cls()
        of_all: set[Identity] = set()
        of_one: dict[Identity, frozenset[TrackSid]] = {}
        for entry in message.track_permissions:
            identity = _subscriber(entry, identity_of)
            if identity is None:
                continue
            of_all.discard(identity)  # the last entry about somebody counts
            of_one[identity] = frozenset(TrackSid(sid) for sid in entry.track_sids)
            if entry.all_tracks:
                of_all.add(identity)
        return cls(False, frozenset(of_all), of_one)

    def admits(self, identity: Identity, track: TrackSid) -> bool:
        """Whether this participant may subscribe to that track."""
        return (
            self.is_everybody
            or identity in self.of_all_tracks
            or track in self.of_one_track.get(identity, ())
        )


def _subscriber(
    entry: rtc.TrackPermission, identity_of: Callable[[ParticipantSid], Identity | None]
) -> Identity | None:
    if entry.participant_identity:
        return Identity(entry.participant_identity)
    if not entry.participant_sid:
        raise SignalingError("a track permission names no participant")
    return identity_of(ParticipantSid(entry.participant_sid))


def _granted(video: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = video.get(key)
    return default if value is None else value is True


def _sources(value: object) -> frozenset[int]:
    """Unknown sources, and what is no list, are UNKNOWN: nonsense is no free pass."""
    unknown = models.TrackSource.UNKNOWN
    if value is None:
        return frozenset()
    if not isinstance(value, (list, tuple)):
        return frozenset({unknown})
    return frozenset(_SOURCES.get(str(source).lower(), unknown) for source in value)
