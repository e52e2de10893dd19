"""The messages of the server. Complete ones: clients abort on what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from livekit.protocol import models, rtc

from mulisa.core.room import ParticipantSid
from mulisa.sfu.media import TrackSid
from mulisa.sfu.publications import Publication

Action = rtc.LeaveRequest.Action
Reason = rtc.RequestResponse.Reason

SERVER: Final = models.ServerInfo(
    edition=models.ServerInfo.Standard,
    version="1.11.0",
    protocol=17,
    node_id="ND_mulisa",
    agent_protocol=1,
)
"""The LiveKit server whose behaviour is ours; clients choose features by its version."""


def update(participants: Iterable[models.ParticipantInfo]) -> rtc.SignalResponse:
    """What is true of these participants, each of them in full."""
    return rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=participants))


def leave(reason: models.DisconnectReason, action: Action) -> rtc.SignalResponse:
    """The client is put out, for good or to join anew."""
    can_reconnect = action != rtc.LeaveRequest.DISCONNECT
    return rtc.SignalResponse(
        leave=rtc.LeaveRequest(reason=reason, action=action, can_reconnect=can_reconnect)
    )


def track_published(publication: Publication) -> rtc.SignalResponse:
    """The answer to ``add_track``."""
    return rtc.SignalResponse(
        track_published=rtc.TrackPublishedResponse(cid=publication.cid, track=publication.info)
    )


def track_unpublished(track: TrackSid) -> rtc.SignalResponse:
    """A track of the client's own was taken away."""
    return rtc.SignalResponse(track_unpublished=rtc.TrackUnpublishedResponse(track_sid=track))


def permission_update(
    publisher: ParticipantSid, track: TrackSid, *, is_allowed: bool
) -> rtc.SignalResponse:
    """Whether the client may receive a track that it wants."""
    return rtc.SignalResponse(
        subscription_permission_update=rtc.SubscriptionPermissionUpdate(
            participant_sid=publisher, track_sid=track, allowed=is_allowed
        )
    )


def request_response(
    request: rtc.SignalRequest, reason: Reason, message: str = ""
) -> rtc.SignalResponse:
    """What became of a request, which is sent back with it."""
    answer = rtc.RequestResponse(reason=reason, message=message)
    kind = request.WhichOneof("message")
    if kind == "add_track":
        answer.add_track.CopyFrom(request.add_track)
    elif kind == "mute":
        answer.mute.CopyFrom(request.mute)
    elif kind == "update_metadata":
        answer.request_id = request.update_metadata.request_id
        answer.update_metadata.CopyFrom(request.update_metadata)
    elif kind == "update_audio_track":
        answer.update_audio_track.CopyFrom(request.update_audio_track)
    elif kind == "update_video_track":
        answer.update_video_track.CopyFrom(request.update_video_track)
    elif kind == "publish_data_track_request":
        answer.publish_data_track.CopyFrom(request.publish_data_track_request)
    elif kind == "unpublish_data_track_request":
        answer.unpublish_data_track.CopyFrom(request.unpublish_data_track_request)
    elif kind in ("store_data_blob_request", "get_data_blob_request"):
        answer.request_id = getattr(request, kind).request_id
    return rtc.SignalResponse(request_response=answer)


def speakers(
    levels: Mapping[ParticipantSid, float], silent: Iterable[ParticipantSid]
) -> rtc.SignalResponse:
    """Everybody who speaks (Rust clients take them as the whole list), and who no longer does."""
    changed = rtc.SpeakersChanged()
    for sid, level in levels.items():
        changed.speakers.add(sid=sid, level=level, active=True)
    for sid in silent:
        changed.speakers.add(sid=sid, level=0.0, active=False)
    return rtc.SignalResponse(speakers_changed=changed)
