"""Reads clients' messages, which are not trusted. Pure.

Whoever sends nonsense is no LiveKit client, and is put out. What a newer client may say that we do
not know yet is no nonsense: unknown messages and fields pass, unknown values become known ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from mulisa.core.errors import SignalingError

MAX_NAME_CHARS: Final = 256
"""Of a track's name, its client id and its stream."""
MAX_LISTED: Final = 4_096
"""Tracks or participants that one message may name."""
MAX_CODECS: Final = 8
MAX_LAYERS: Final = 16
MAX_FEATURES: Final = 32


def decode_request(frame: bytes) -> rtc.SignalRequest:
    """One message of a client; it may be none that we know (``WhichOneof`` gives None).

    Raises SignalingError if it is no `SignalRequest`. What it holds is not checked yet.
    """
    try:
        return rtc.SignalRequest.FromString(frame)
    except DecodeError as error:
        raise SignalingError("this is no signalling message") from error


def check_request(request: rtc.SignalRequest) -> None:
    """Mend what can be mended of a message; descriptions are for those who read them.

    Raises SignalingError if it lacks what it must have, or holds too much.
    """
    kind = request.WhichOneof("message")
    if kind in _CHECKS:
        _CHECKS[kind](getattr(request, kind))


def check_add_track(wanted: rtc.AddTrackRequest) -> None:
    """As `check_request`, for one that came with the join."""
    _require(bool(wanted.cid), "a track has a client id")
    for text in (wanted.cid, wanted.name, wanted.stream):
        _require(len(text) <= MAX_NAME_CHARS, f"names have at most {MAX_NAME_CHARS} characters")
    _require(len(wanted.simulcast_codecs) <= MAX_CODECS, "a track has too many codecs")
    _check_layers(wanted.layers)
    for codec in wanted.simulcast_codecs:
        _require(len(codec.codec) + len(codec.cid) <= MAX_NAME_CHARS, "a codec's name is too long")
        _check_layers(codec.layers)
        _mend(codec, "video_layer_mode", models.VideoLayer.Mode)
    for field, values in _ADD_TRACK_ENUMS.items():
        _mend(wanted, field, values)
    _require(wanted.encryption in models.Encryption.Type.values(), "unknown encryption")
    _keep_known(wanted.audio_features, models.AudioTrackFeature)
    _keep_known(wanted.packet_trailer_features, models.PacketTrailerFeature)


def _check_layers(layers: Any) -> None:
    _require(len(layers) <= MAX_LAYERS, "a track has too many layers")
    for layer in layers:
        _require(len(layer.rid) <= MAX_NAME_CHARS, "a layer's name is too long")
        _mend(layer, "quality", models.VideoQuality)


def _check_subscription(request: rtc.UpdateSubscription) -> None:
    count = len(request.track_sids) + len(request.participant_tracks)
    count += sum(len(group.track_sids) for group in request.participant_tracks)
    _require(count <= MAX_LISTED, f"a message names at most {MAX_LISTED} tracks")


def _check_permission(request: rtc.SubscriptionPermission) -> None:
    count = len(request.track_permissions)
    count += sum(len(entry.track_sids) for entry in request.track_permissions)
    _require(count <= MAX_LISTED, f"a message names at most {MAX_LISTED} tracks and participants")


def _check_sync_state(state: rtc.SyncState) -> None:
    _check_subscription(state.subscription)
    count = len(state.publish_tracks) + len(state.track_sids_disabled)
    _require(count <= MAX_LISTED, f"a message names at most {MAX_LISTED} tracks")


def _check_audio(request: rtc.UpdateLocalAudioTrack) -> None:
    _keep_known(request.features, models.AudioTrackFeature)


def _check_leave(request: rtc.LeaveRequest) -> None:
    _mend(request, "reason", models.DisconnectReason)


def _check_setting(request: rtc.UpdateTrackSettings) -> None:
    _require(len(request.track_sids) <= MAX_LISTED, f"a message names at most {MAX_LISTED} tracks")


def _require(is_met: bool, rule: str) -> None:
    if not is_met:
        raise SignalingError(rule)


def _mend(message: Any, field: str, values: Any) -> None:
    """A value that we do not know would be one that other clients do not know."""
    if getattr(message, field) not in values.values():
        message.ClearField(field)


def _keep_known(features: Any, values: Any) -> None:
    _require(len(features) <= MAX_FEATURES, "a track has too many features")
    features[:] = [feature for feature in features if feature in values.values()]


_ADD_TRACK_ENUMS: Final[Mapping[str, Any]] = {
    "source": models.TrackSource,
    "backup_codec_policy": models.BackupCodecPolicy,
}
_CHECKS: Final[Mapping[str, Callable[[Any], None]]] = {
    "add_track": check_add_track,
    "subscription": _check_subscription,
    "track_setting": _check_setting,
    "leave": _check_leave,
    "subscription_permission": _check_permission,
    "sync_state": _check_sync_state,
    "update_audio_track": _check_audio,
}
