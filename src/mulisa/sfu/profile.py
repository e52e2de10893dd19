"""What participants say about themselves: name, metadata, attributes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from livekit.protocol import rtc

from mulisa.sfu import messages
from mulisa.sfu.errors import LimitExceeded
from mulisa.sfu.events import RoomConfig
from mulisa.sfu.participants import Participant
from mulisa.sfu.roster import Actions, Roster

_ANSWERS_SUCCESS_SINCE: Final = 15
"""Protocol version; older clients take every answer for an error."""


def check_profile(
    config: RoomConfig, name: str, metadata: str, attributes: Mapping[str, str]
) -> None:
    """Raises LimitExceeded for more than a room takes."""
    if len(name) > config.max_name_chars:
        raise LimitExceeded("exceeds name length limit")
    if len(metadata.encode()) > config.max_metadata_bytes:
        raise LimitExceeded("exceeds metadata size limit")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items())
    if size > config.max_attributes_bytes:
        raise LimitExceeded("exceeds attributes size limit")


class Profiles:
    """Changes them, and tells everybody."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def request(self, participant: Participant, request: rtc.SignalRequest) -> Actions:
        """``update_metadata``: answered by the participant's update and then by the outcome."""
        if not participant.permissions.can_update_own_metadata:
            reason = rtc.RequestResponse.NOT_ALLOWED
            text = "does not have permission to update own metadata"
            answer = messages.request_response(request, reason, text)
            yield from self._roster.tell(participant, answer)
            return
        wanted = request.update_metadata
        try:
            yield from self.update(
                participant, wanted.name, wanted.metadata, dict(wanted.attributes)
            )
        except LimitExceeded as error:
            reason = rtc.RequestResponse.LIMIT_EXCEEDED
            answer = messages.request_response(request, reason, str(error))
        else:
            if participant.client.protocol < _ANSWERS_SUCCESS_SINCE:
                return
            answer = messages.request_response(request, rtc.RequestResponse.OK)
        yield from self._roster.tell(participant, answer)

    def update(
        self, participant: Participant, name: str, metadata: str, attributes: Mapping[str, str]
    ) -> Actions:
        """What is empty stays; attributes merge, and an empty one is removed.

        Raises LimitExceeded, and then nothing has changed.
        """
        merged = participant.merged(attributes)
        check_profile(self._roster.config, name, metadata, merged)
        before = participant.name, participant.metadata, participant.attributes
        after = name or participant.name, metadata or participant.metadata, merged
        if after != before:
            participant.name, participant.metadata, participant.attributes = after
            yield from self._roster.announce(participant)
