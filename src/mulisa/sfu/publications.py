"""One published track, from its announcement to its end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from livekit.protocol import models, rtc

from mulisa.sfu.media import Codec, Inbound, MediaKind, TrackSid

_MIME_TYPES: Final = {
    "opus": "audio/opus",
    "red": "audio/red",
    "vp8": "video/VP8",
    "h264": "video/H264",
    "vp9": "video/VP9",
    "av1": "video/AV1",
}
_STREAMS: Final = {
    models.CAMERA: "camera",
    models.MICROPHONE: "camera",
    models.SCREEN_SHARE: "screen",
    models.SCREEN_SHARE_AUDIO: "screen",
}
"""LiveKit's groups of tracks that belong together."""


class Publication:
    """A track that its publisher announced; it exists for others once it is bound."""

    def __init__(self, sid: TrackSid, request: rtc.AddTrackRequest, enabled: Sequence[str]) -> None:
        """`enabled` are the MIME types that may be published."""
        self.sid = sid
        self.cid = request.cid
        self.request = request
        self.info = _announced(sid, request)
        """What is true of it now; copied into every message."""
        self.info.codecs.extend(_codecs(request, self.kind, enabled))
        self.is_bound = False
        """An m-line of the publisher carries it."""
        self.is_heard = False
        """Somebody subscribed to it, which its publisher was told."""

    @property
    def kind(self) -> MediaKind:
        """Its kind, which never changes."""
        return "audio" if self.info.type == models.AUDIO else "video"

    def bind(self, inbound: Inbound) -> None:
        """Its m-line is known, and what it carries."""
        self.is_bound = True
        self.info.mid = inbound.mid
        self.info.mime_type = mime_type(inbound.codecs[0]) if inbound.codecs else ""
        codec = self.info.codecs[0]
        codec.mid, codec.mime_type = self.info.mid, self.info.mime_type

    def set_features(self, features: list[models.AudioTrackFeature]) -> None:
        """Replace its audio features, and what older fields say of them."""
        del self.info.audio_features[:]
        self.info.audio_features.extend(dict.fromkeys(features))
        self.info.stereo = models.TF_STEREO in features
        self.info.disable_dtx = models.TF_NO_DTX in features


def mime_type(codec: Codec) -> str:
    """As LiveKit writes it."""
    return _MIME_TYPES.get(codec.name, codec.name)


def _announced(sid: TrackSid, request: rtc.AddTrackRequest) -> models.TrackInfo:
    return models.TrackInfo(
        sid=sid,
        type=request.type,
        name=request.name,
        muted=request.muted,
        width=request.width,
        height=request.height,
        disable_dtx=request.disable_dtx,
        source=request.source,
        layers=request.layers,
        stereo=request.stereo,
        disable_red=request.disable_red,
        encryption=request.encryption,
        stream=request.stream or _STREAMS.get(request.source, "unknown"),
        audio_features=_features(request),
        backup_codec_policy=_backup_policy(request),
        packet_trailer_features=dict.fromkeys(request.packet_trailer_features),
    )


def _codecs(
    request: rtc.AddTrackRequest, kind: MediaKind, enabled: Sequence[str]
) -> list[models.SimulcastCodecInfo]:
    """What is not enabled gives way to what is: clients publish what they are told here."""
    known = {mime.lower(): mime for mime in enabled if mime.startswith(f"{kind}/")}
    infos: dict[str, models.SimulcastCodecInfo] = {}
    for wanted in request.simulcast_codecs:
        name = f"{kind}/{wanted.codec.lower().removeprefix(f'{kind}/')}"
        mime = known.get(name, next(iter(known.values()), name))
        info = models.SimulcastCodecInfo(
            mime_type=mime,
            cid=wanted.cid,
            layers=wanted.layers or request.layers,
            video_layer_mode=wanted.video_layer_mode,
        )
        infos.setdefault(mime, info)
    unnamed = models.SimulcastCodecInfo(cid=request.cid, layers=request.layers)
    return list(infos.values()) or [unnamed]


def _backup_policy(request: rtc.AddTrackRequest) -> models.BackupCodecPolicy:
    """As LiveKit's server has it for audio that does not ask for another."""
    if request.type == models.AUDIO and request.backup_codec_policy != models.REGRESSION:
        return models.SIMULCAST
    return request.backup_codec_policy


def _features(request: rtc.AddTrackRequest) -> list[models.AudioTrackFeature]:
    features = list(request.audio_features)
    if request.stereo:
        features.append(models.TF_STEREO)
    if request.disable_dtx:
        features.append(models.TF_NO_DTX)
    return list(dict.fromkeys(features))
