"""LiveKit's ``ParticipantInfo`` as a stay of the gateway's directory."""

from __future__ import annotations

from datetime import UTC, datetime

from livekit.protocol.models import MICROPHONE, ParticipantInfo

from mulisa.core.room import Identity, Participant, ParticipantSid
from mulisa.server.rooms import Stay

_RECORDERS = (ParticipantInfo.EGRESS, ParticipantInfo.INGRESS)


def is_present(info: ParticipantInfo) -> bool:
    """Whether people and agents in the room have this one among them."""
    is_gone = info.state == ParticipantInfo.DISCONNECTED
    return not is_gone and not info.permission.hidden and info.kind not in _RECORDERS


def stay_of(info: ParticipantInfo) -> Stay:
    """Raises ValueError, OverflowError or OSError for a time that is none."""
    is_agent = info.kind == ParticipantInfo.AGENT
    microphones = [track for track in info.tracks if track.source == MICROPHONE]
    participant = Participant(
        Identity(info.identity),
        info.name or info.identity,
        ParticipantSid(info.sid),
        "agent" if is_agent else "standard",
        # An agent mutes its track whenever it has been silent for a while.
        muted=not is_agent and all(track.muted for track in microphones),
        attributes=dict(info.attributes),
    )
    joined_at = info.joined_at_ms / 1000 or info.joined_at
    return Stay(participant, datetime.fromtimestamp(joined_at, UTC))
