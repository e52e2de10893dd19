"""Names that nobody chose: those of rooms, of stays in them and of publications."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from livekit.protocol import models

from mulisa.core.room import ParticipantSid
from mulisa.sfu.media import TrackSid

_LETTERS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LENGTH: Final = 12
_TYPES: Final[Mapping[int, str]] = {models.AUDIO: "A", models.VIDEO: "V"}
_SOURCES: Final[Mapping[int, str]] = {
    models.CAMERA: "C",
    models.MICROPHONE: "M",
    models.SCREEN_SHARE: "S",
    models.SCREEN_SHARE_AUDIO: "s",
}


def new_room_sid() -> str:
    """``RM_...``, for a room that was just opened."""
    return _new("RM_")


def new_participant_sid() -> ParticipantSid:
    """``PA_...``, for one stay of a participant."""
    return ParticipantSid(_new("PA_"))


def new_track_sid(type_: int, source: int) -> TrackSid:
    """``TR_...``, for one publication; the letters that follow say of what, as LiveKit's do."""
    return TrackSid(_new("TR_" + _TYPES.get(type_, "") + _SOURCES.get(source, "")))


def _new(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
