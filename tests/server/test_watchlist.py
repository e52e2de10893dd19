from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mulisa.core.room import Identity, Participant, ParticipantSid, RoomName
from mulisa.server.events import Joined, Left, RoomClosed, RoomOpened, Updated
from mulisa.server.rooms import Stay
from mulisa.server.watchlist import WatchConfig, Watchlist

pytestmark = pytest.mark.unit

ROOM, OTHER = RoomName("standup"), RoomName("retro")
AT = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = WatchConfig(
    expected_interval=0.25,
    expected_time=10.0,
    occupied_interval=1.0,
    looks_per_second=4.0,
    quiet_interval=3.0,
    forget_after=100.0,
)


def person(name: str = "Alice", sid: str = "PA_1", *, muted: bool = False) -> Stay:
    identity = Identity(f"{name.lower()}-7f3k")
    return Stay(Participant(identity, name, ParticipantSid(sid), muted=muted), AT)


def expecting(*rooms: RoomName) -> Watchlist:
    watchlist = Watchlist(CONFIG)
    for room in rooms:
        watchlist.expect(room, now=100.0)
    return watchlist


def test_a_look_that_told_nothing_is_followed_by_a_pause() -> None:
    watchlist = expecting(ROOM, OTHER)
    watchlist.seen(OTHER, [], 100.0, AT)
    watchlist.missed(ROOM, 100.0)
    assert watchlist.deadline() == 100.5
    assert watchlist.due(100.5) == [OTHER]
    assert watchlist.due(101.0) == [ROOM, OTHER]


def test_nothing_is_looked_for_without_a_token() -> None:
    watchlist = Watchlist(CONFIG)
    assert watchlist.deadline() is None
    assert watchlist.due(5.0) == watchlist.due_quiet(5.0) == []


def test_who_comes_changes_and_goes_is_told_once() -> None:
    watchlist = expecting(ROOM)
    assert watchlist.due(100.0) == [ROOM]
    assert watchlist.seen(ROOM, [], 100.0, AT) == []
    assert watchlist.room(ROOM) is None

    alice, muted = person(), person(muted=True)
    assert watchlist.seen(ROOM, [alice], 101.0, AT) == [
        RoomOpened(ROOM, "sfu"),
        Joined(ROOM, alice.participant),
    ]
    assert watchlist.seen(ROOM, [alice], 102.0, AT) == []
    assert watchlist.seen(ROOM, [muted], 103.0, AT) == [Updated(ROOM, muted.participant)]
    state = watchlist.room(ROOM)
    assert state is not None and (state.stays, state.topology) == ((muted,), "sfu")

    assert watchlist.seen(ROOM, [], 104.0, AT) == [
        Left(ROOM, muted.participant, "left"),
        RoomClosed(ROOM),
    ]
    assert watchlist.rooms() == []


def test_a_room_keeps_its_age_while_people_come_and_go() -> None:
    watchlist = expecting(ROOM)
    watchlist.seen(ROOM, [person()], 100.0, AT)
    watchlist.seen(ROOM, [person("Bob", "PA_2")], 101.0, AT + timedelta(seconds=1))
    (room,) = watchlist.rooms()
    assert room.created_at == AT


def test_who_came_back_between_two_looks_was_away() -> None:
    watchlist = expecting(ROOM)
    before, after = person(sid="PA_1"), person(sid="PA_2")
    watchlist.seen(ROOM, [before], 100.0, AT)
    assert watchlist.seen(ROOM, [after], 101.0, AT) == [
        Left(ROOM, before.participant, "replaced"),
        Joined(ROOM, after.participant),
    ]


def test_looks_are_dense_after_a_token_and_regular_while_somebody_is_there() -> None:
    watchlist = expecting(ROOM)
    watchlist.seen(ROOM, [], 100.0, AT)
    assert watchlist.deadline() == 100.25
    assert watchlist.due(100.0) == [] and watchlist.due(100.25) == [ROOM]
    watchlist.seen(ROOM, [person()], 109.9, AT)
    assert watchlist.deadline() == 110.15
    watchlist.seen(ROOM, [person()], 110.15, AT)
    assert watchlist.deadline() == 111.15
    watchlist.expect(ROOM, 110.5)
    assert watchlist.due(110.5) == [ROOM], "a new token: at once"


def test_many_rooms_share_the_looks() -> None:
    rooms = [RoomName(f"r{n}") for n in range(6)]
    watchlist = expecting(*rooms)
    for room in rooms:
        watchlist.seen(room, [person()], 200.0, AT)
    watchlist.seen(rooms[0], [person()], 201.0, AT)
    assert watchlist.due(201.5) == rooms[1:]
    assert watchlist.due(202.5) == rooms, "six rooms, four looks a second"


def test_many_tokens_do_not_make_many_looks() -> None:
    rooms = [RoomName(f"r{n}") for n in range(20)]
    watchlist = expecting(*rooms)
    for room in rooms:
        watchlist.seen(room, [], 100.0, AT)
    assert watchlist.deadline() == 105.0, "twenty rooms, four looks a second"


def test_empty_rooms_are_asked_for_together_until_their_tokens_ran_out() -> None:
    watchlist = expecting(ROOM, OTHER)
    for room in (ROOM, OTHER):
        watchlist.seen(room, [], 111.0, AT)
    assert watchlist.due(111.0) == []
    assert watchlist.due_quiet(111.0) == [ROOM, OTHER]
    watchlist.found([OTHER], 111.0)
    assert watchlist.due(111.0) == [OTHER]
    watchlist.seen(OTHER, [person()], 111.0, AT)
    assert watchlist.due_quiet(113.9) == []
    assert watchlist.due_quiet(114.0) == [ROOM]
    watchlist.found([], 114.0)
    watchlist.seen(OTHER, [], 199.0, AT)
    watchlist.expect(OTHER, 199.5)
    watchlist.seen(OTHER, [], 215.0, AT)
    assert watchlist.due_quiet(215.0) == [OTHER], "the other room's token ran out at 200"
    assert watchlist.due_quiet(300.0) == []
    assert watchlist.deadline() is None


def test_a_failed_look_is_due_again() -> None:
    watchlist = expecting(ROOM)
    assert watchlist.due(100.0) == [ROOM]
    assert watchlist.due(101.0) == [ROOM]
