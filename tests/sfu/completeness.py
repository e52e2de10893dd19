"""Whether a server message holds all that clients take for granted.

The Python SDK aborts its process on what is missing here, browsers refuse to connect, or hang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol import models, rtc

KNOWN_TYPES = (models.AUDIO, models.VIDEO)


def is_complete(message: rtc.SignalResponse) -> bool:
    """Complete, known and of values that every client knows."""
    kind = message.WhichOneof("message")
    if kind is None:
        return False
    content = getattr(message, kind)
    return _knows_every_value(message) and CHECKS.get(kind, lambda _: True)(content)


def _join(join: rtc.JoinResponse) -> bool:
    return (
        join.HasField("room")
        and _room(join.room)
        and join.HasField("participant")
        and _participant(join.participant)
        and join.participant.state == models.ParticipantInfo.JOINING
        and all(_participant(other) for other in join.other_participants)
        and join.participant.sid not in {other.sid for other in join.other_participants}
        and join.ping_interval > 0
        and join.ping_timeout > join.ping_interval
        and bool(join.server_info.version)
        and bool(join.server_version)
        and join.server_info.protocol >= 13
        and any(codec.mime == "audio/opus" for codec in join.enabled_publish_codecs)
        and not join.subscriber_primary
        and join.fast_publish
    )


def _reconnect(reconnect: rtc.ReconnectResponse) -> bool:
    return reconnect.HasField("server_info") and bool(reconnect.server_info.version)


def _room(room: models.Room) -> bool:
    return room.sid.startswith("RM_") and bool(room.name) and room.creation_time > 0


def _participant(info: models.ParticipantInfo) -> bool:
    return (
        info.sid.startswith("PA_")
        and bool(info.identity)
        and info.joined_at > 0
        and info.joined_at_ms > 0
        and info.HasField("permission")
        and all(_track(track) and bool(track.mid) for track in info.tracks)
        and len({track.sid for track in info.tracks}) == len(info.tracks)
        and not (info.state == models.ParticipantInfo.DISCONNECTED and info.tracks)
    )


def _track(track: models.TrackInfo) -> bool:
    return track.sid.startswith("TR_") and track.type in KNOWN_TYPES and len(track.codecs) > 0


def _update(update: rtc.ParticipantUpdate) -> bool:
    return len(update.participants) > 0 and all(map(_participant, update.participants))


def _track_published(response: rtc.TrackPublishedResponse) -> bool:
    return bool(response.cid) and response.HasField("track") and _track(response.track)


def _request_response(response: rtc.RequestResponse) -> bool:
    return response.WhichOneof("request") is not None or response.request_id > 0


def _speakers(changed: rtc.SpeakersChanged) -> bool:
    speakers = changed.speakers
    return len(speakers) > 0 and all(
        speaker.sid.startswith("PA_") and speaker.active == (0 < speaker.level <= 1)
        for speaker in speakers
    )


def _quality(update: rtc.ConnectionQualityUpdate) -> bool:
    updates = update.updates
    return len(updates) > 0 and all(
        info.participant_sid.startswith("PA_") and 1 <= info.score <= 4.5 for info in updates
    )


def _permission(update: rtc.SubscriptionPermissionUpdate) -> bool:
    return update.participant_sid.startswith("PA_") and update.track_sid.startswith("TR_")


def _knows_every_value(message: Any) -> bool:
    """No enumeration holds a number that has no name: Rust clients do not expect it."""
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.enum_type is not None:
            if any(number not in field.enum_type.values_by_number for number in values):
                return False
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            if not all(map(_knows_every_value, values)):
                return False
    return True


CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "join": _join,
    "reconnect": _reconnect,
    "update": _update,
    "room_update": lambda update: update.HasField("room") and _room(update.room),
    "track_published": _track_published,
    "track_unpublished": lambda response: response.track_sid.startswith("TR_"),
    "track_subscribed": lambda response: response.track_sid.startswith("TR_"),
    "mute": lambda request: request.sid.startswith("TR_"),
    "refresh_token": bool,
    "pong": lambda milliseconds: milliseconds > 0,
    "pong_resp": lambda pong: pong.timestamp > 0,
    "request_response": _request_response,
    "speakers_changed": _speakers,
    "connection_quality": _quality,
    "subscription_permission_update": _permission,
    "subscription_response": lambda response: response.err != models.SE_UNKNOWN,
}
