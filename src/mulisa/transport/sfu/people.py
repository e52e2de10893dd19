"""Who is in an SFU room: the SDK's participants in our words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from livekit import rtc

from mulisa.core.room import Identity, Participant, ParticipantKind, ParticipantSid

VOICE_TRACK: Final = "voice"
"""Name of the track that an agent speaks to the room with."""
WHISPER_TRACK: Final = "whisper"
"""Name of a track that one person alone may hear."""

_VOICES: Final = (rtc.TrackSource.SOURCE_MICROPHONE, rtc.TrackSource.SOURCE_UNKNOWN)
"""A client that does not say what it publishes means a microphone."""


def kind_of(participant: rtc.Participant) -> ParticipantKind:
    """Agents are agents; who calls by telephone or plays a file is a person for us."""
    is_agent = participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
    return "agent" if is_agent else "standard"


def is_present(participant: rtc.RemoteParticipant) -> bool:
    """False for a recorder, which is nobody to talk to."""
    return participant.kind != rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS


def in_order_of_coming(people: Iterable[rtc.RemoteParticipant]) -> list[rtc.RemoteParticipant]:
    """The first to come first; the SDK keeps them in no order."""
    return sorted(people, key=lambda each: (_joined_at(each), each.identity))


def _joined_at(participant: rtc.RemoteParticipant) -> float:
    """Seconds since 1970; 0 where the server does not tell, or a time that is none."""
    try:
        return participant.joined_at.timestamp() if participant.joined_at else 0.0
    except (ValueError, OverflowError, OSError):
        return 0.0


def describe(participant: rtc.Participant) -> Participant:
    """As it stands now. An agent mutes its track whenever it is silent, which says nothing."""
    kind = kind_of(participant)
    muted = kind == "standard" and not any(
        not publication.muted for publication in voices_of(participant)
    )
    return Participant(
        Identity(participant.identity),
        participant.name or participant.identity,
        ParticipantSid(participant.sid),
        kind,
        muted,
        dict(participant.attributes),
    )


def voices_of(participant: rtc.Participant) -> list[rtc.TrackPublication]:
    """Published microphones, oldest first."""
    return [
        publication
        for publication in participant.track_publications.values()
        if publication.kind == rtc.TrackKind.KIND_AUDIO and publication.source in _VOICES
    ]


def wanted_voices(participant: rtc.RemoteParticipant) -> list[rtc.RemoteTrackPublication]:
    """What to subscribe to: a person's newest microphone; an agent's voice and its whisper."""
    voices = [
        each for each in voices_of(participant) if isinstance(each, rtc.RemoteTrackPublication)
    ]
    return voices if kind_of(participant) == "agent" else voices[-1:]
