from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import Routing
from mulisa.server.rooms import TOKEN_GRACE, AllRooms, RoomState, Stay, room_json

pytestmark = pytest.mark.unit

ROOM, OTHER = RoomName("standup"), RoomName("retro")
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Directory:
    def __init__(self) -> None:
        self.states: dict[RoomName, RoomState] = {}

    def open(self, name: RoomName, topology: Topology) -> None:
        alice = Stay(Participant(Identity("alice-7f3k"), "Alice"), AT)
        self.states[name] = RoomState(name, topology, AT, (alice,))

    def room(self, name: RoomName) -> RoomState | None:
        return self.states.get(name)

    def rooms(self) -> list[RoomState]:
        return list(self.states.values())

    def holds(self, name: RoomName) -> bool:
        return name in self.states


@pytest.fixture
def mesh() -> Directory:
    return Directory()


@pytest.fixture
def sfu() -> Directory:
    return Directory()


@pytest.fixture
def rooms(mesh: Directory, sfu: Directory) -> AllRooms:
    return AllRooms("sfu", {"mesh": mesh, "sfu": sfu})


def test_the_rooms_of_all_topologies(rooms: AllRooms, mesh: Directory, sfu: Directory) -> None:
    mesh.open(ROOM, "mesh")
    sfu.open(OTHER, "sfu")
    assert [room.name for room in rooms.rooms()] == [ROOM, OTHER]
    assert rooms.room(OTHER) == sfu.states[OTHER]
    assert rooms.room(RoomName("nobody")) is None


def test_places_are_people_s() -> None:
    alice = Stay(Participant(Identity("alice"), "Alice"), AT)
    mulisa = Stay(Participant(Identity("mulisa"), "Mulisa", kind="agent"), AT)
    full = RoomState(ROOM, "mesh", AT, (alice, mulisa), places=1)
    assert full.has_place_for(Identity("alice")), "who is in it has one"
    assert not full.has_place_for(Identity("bob"))
    assert RoomState(ROOM, "mesh", AT, (alice, mulisa), places=2).has_place_for(Identity("bob"))
    assert RoomState(ROOM, "sfu", AT, (alice, mulisa)).has_place_for(Identity("bob"))


def test_the_first_token_chooses_and_later_ones_follow(rooms: AllRooms) -> None:
    assert rooms.topology(ROOM, now=0.0) is None
    assert rooms.promise(ROOM, None, now=0.0) == "sfu"
    assert rooms.promise(OTHER, "mesh", now=0.0) == "mesh"
    assert rooms.promise(OTHER, "sfu", now=1.0) == "mesh"
    assert rooms.promise(OTHER, None, now=2.0) == "mesh"
    assert rooms.topology(OTHER, now=2.0 + TOKEN_GRACE - 0.1) == "mesh"


def test_a_room_that_nobody_came_to_may_be_opened_otherwise(rooms: AllRooms) -> None:
    rooms.promise(ROOM, "mesh", now=0.0)
    assert rooms.topology(ROOM, now=TOKEN_GRACE) is None
    assert rooms.promise(ROOM, None, now=TOKEN_GRACE) == "sfu"


def test_an_open_room_keeps_its_topology(rooms: AllRooms, mesh: Directory) -> None:
    mesh.open(ROOM, "mesh")
    assert rooms.promise(ROOM, "sfu", now=1000.0) == "mesh"
    assert rooms.topology(ROOM, now=1e9) == "mesh"


def test_a_room_shows_its_routing() -> None:
    mulisa = Stay(Participant(Identity("mulisa"), "Mulisa", kind="agent"), AT)
    alice = Stay(Participant(Identity("alice-7f3k"), "Alice"), AT)
    room = RoomState(ROOM, "sfu", AT, (alice, mulisa))
    gone = Identity("bob-2222")
    routing = Routing(frozenset({gone}), frozenset({Identity("alice-7f3k")}))
    shown = room_json(room, routing, {})
    assert shown["routing"] == {
        "hear": {"alice-7f3k": True, "bob-2222": False},
        "speak_to": ["alice-7f3k"],
    }
