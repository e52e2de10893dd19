from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from livekit.protocol.models import (
    CAMERA,
    MICROPHONE,
    DisconnectReason,
    ParticipantInfo,
    ParticipantPermission,
    Room,
    TrackInfo,
)

from mulisa.core.room import RoomName
from mulisa.server.embedded_rooms import EmbeddedRooms
from mulisa.server.events import GatewayEvent, Joined, Left, RoomClosed, RoomOpened, Updated
from mulisa.sfu.events import Report

pytestmark = pytest.mark.unit

STANDUP = RoomName("standup")
ROOM = Room(name="standup", sid="RM_1", creation_time_ms=1_767_225_600_000)


def person(sid: str = "PA_1", identity: str = "alice-7f3k", **fields: Any) -> ParticipantInfo:
    values = {"state": ParticipantInfo.ACTIVE, "joined_at_ms": 1_767_225_601_000} | fields
    return ParticipantInfo(sid=sid, identity=identity, **values)


@pytest.fixture
def rooms() -> EmbeddedRooms:
    rooms = EmbeddedRooms()
    assert rooms.follow(Report("room_started", ROOM)) == []
    return rooms


def tell(rooms: EmbeddedRooms, event: Any, info: ParticipantInfo) -> list[type[GatewayEvent]]:
    return [type(each) for each in rooms.follow(Report(event, ROOM, info))]


def test_a_room_is_shown_while_somebody_is_in_it(rooms: EmbeddedRooms) -> None:
    assert rooms.holds(STANDUP) and rooms.room(STANDUP) is None and rooms.rooms() == []
    assert tell(rooms, "participant_joined", person(name="Alice")) == [RoomOpened, Joined]
    state = rooms.room(STANDUP)
    assert state is not None and rooms.rooms() == [state]
    assert (state.topology, state.created_at) == ("sfu", datetime(2026, 1, 1, tzinfo=UTC))
    (stay,) = state.stays
    assert (stay.participant.identity, stay.participant.name) == ("alice-7f3k", "Alice")
    assert stay.joined_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert tell(rooms, "participant_left", person()) == [Left, RoomClosed]
    assert rooms.room(STANDUP) is None and rooms.holds(STANDUP)
    assert rooms.follow(Report("room_finished", ROOM)) == []
    assert not rooms.holds(STANDUP)


def test_somebody_is_there_before_their_media(rooms: EmbeddedRooms) -> None:
    early = person(state=ParticipantInfo.JOINED)
    assert tell(rooms, "participant_updated", early) == [RoomOpened, Joined]
    assert tell(rooms, "participant_joined", person()) == []
    assert tell(rooms, "participant_connection_aborted", person()) == [Left, RoomClosed]


def test_what_changes_of_somebody_is_told_once(rooms: EmbeddedRooms) -> None:
    tell(rooms, "participant_joined", person())
    microphone = TrackInfo(sid="TR_1", source=MICROPHONE)
    assert tell(rooms, "participant_updated", person(tracks=[microphone])) == [Updated]
    assert tell(rooms, "participant_updated", person(tracks=[microphone])) == []
    state = rooms.room(STANDUP)
    assert state is not None and not state.stays[0].participant.muted
    muted = TrackInfo(sid="TR_1", source=MICROPHONE, muted=True)
    camera = TrackInfo(sid="TR_2", source=CAMERA)
    assert tell(rooms, "participant_updated", person(tracks=[muted, camera])) == [Updated]
    state = rooms.room(STANDUP)
    assert state is not None and state.stays[0].participant.muted


def test_an_agent_is_no_person_and_not_muted(rooms: EmbeddedRooms) -> None:
    tell(rooms, "participant_joined", person(identity="mulisa", kind=ParticipantInfo.AGENT))
    state = rooms.room(STANDUP)
    assert state is not None and state.people == ()
    assert state.stays[0].participant.is_agent and not state.stays[0].participant.muted


@pytest.mark.parametrize(
    "fields",
    [
        {"permission": ParticipantPermission(hidden=True)},
        {"kind": ParticipantInfo.EGRESS},
        {"state": ParticipantInfo.DISCONNECTED},
    ],
)
def test_who_is_not_among_the_others_is_not_shown(
    rooms: EmbeddedRooms, fields: dict[str, Any]
) -> None:
    assert tell(rooms, "participant_joined", person(**fields)) == []
    assert tell(rooms, "participant_left", person(**fields)) == []
    assert rooms.rooms() == []


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (DisconnectReason.CLIENT_INITIATED, "left"),
        (DisconnectReason.DUPLICATE_IDENTITY, "replaced"),
        (DisconnectReason.PARTICIPANT_REMOVED, "removed"),
        (DisconnectReason.CONNECTION_TIMEOUT, "vanished"),
        (DisconnectReason.UNKNOWN_REASON, "vanished"),
    ],
)
def test_why_somebody_is_gone(rooms: EmbeddedRooms, reason: Any, word: str) -> None:
    tell(rooms, "participant_joined", person())
    left, _ = rooms.follow(Report("participant_left", ROOM, person(disconnect_reason=reason)))
    assert isinstance(left, Left) and left.reason == word


def test_who_comes_back_has_a_new_stay_whatever_the_order(rooms: EmbeddedRooms) -> None:
    tell(rooms, "participant_joined", person("PA_1"))
    assert tell(rooms, "participant_joined", person("PA_2")) == [Joined]
    assert tell(rooms, "participant_left", person("PA_1")) == [Left]
    state = rooms.room(STANDUP)
    assert state is not None and [stay.participant.sid for stay in state.stays] == ["PA_2"]


def test_a_room_that_is_closed_loses_everybody(rooms: EmbeddedRooms) -> None:
    tell(rooms, "participant_joined", person())
    gone = rooms.follow(Report("room_finished", ROOM))
    assert [type(event) for event in gone] == [Left, RoomClosed]
    assert rooms.rooms() == []


def test_reports_of_rooms_that_are_not_known_are_ignored() -> None:
    rooms = EmbeddedRooms()
    for event in ("participant_joined", "participant_updated", "participant_left"):
        assert tell(rooms, event, person()) == []
    assert rooms.follow(Report("room_finished", ROOM)) == []
    assert rooms.rooms() == []
