"""The signalling relay: who is told what, and what nobody can do to others."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.room import Identity, ParticipantSid
from mulisa.transport.mesh.outcome import (
    ParticipantEntered,
    ParticipantGone,
    RoomClosed,
    RoomOpened,
)
from mulisa.transport.mesh.relay import RoomFull
from mulisa.transport.mesh.stays import FLOOD_PATIENCE, MESSAGE_BURST, MESSAGES_PER_SECOND
from tests.transport.mesh.relays import HALL, KITCHEN, NOON, Gateway

pytestmark = pytest.mark.unit


def test_a_newcomer_learns_who_is_there_and_the_others_of_the_newcomer() -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    assert [m["type"] for m in gateway.news(alice)] == ["joined"]
    bob = gateway.enter("bob")
    (joined,) = gateway.news(bob)
    assert joined["room"] == KITCHEN
    assert joined["participant"]["sid"] == bob
    assert [p["sid"] for p in joined["participants"]] == [alice]
    (news,) = gateway.news(alice)
    assert news["type"] == "participant_joined"
    assert (
        news["participant"]
        == joined["participant"]
        == {
            "sid": bob,
            "identity": "bob",
            "name": "Bob",
            "kind": "standard",
            "muted": False,
            "attributes": {},
        }
    )


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("offer", {"sdp": "v=0"}),
        ("answer", {"sdp": "v=0"}),
        ("candidate", {"candidate": None}),
        (
            "candidate",
            {
                "candidate": {
                    "candidate": "candidate:1",
                    "sdpMid": "0",
                    "sdpMLineIndex": 0,
                    "usernameFragment": None,
                }
            },
        ),
    ],
)
def test_a_message_reaches_its_receiver_alone_and_says_from_whom(
    kind: str, content: dict[str, Any]
) -> None:
    gateway = Gateway()
    alice, bob, carol = (gateway.enter(name) for name in ("alice", "bob", "carol"))
    gateway.got.clear()
    gateway.send(alice, type=kind, to=bob, connection="abcd1234", **content)
    assert gateway.got == {
        bob: [{"type": kind, "from": alice, "connection": "abcd1234", **content}]
    }
    assert carol not in gateway.got


@pytest.mark.parametrize("stranger", ["PA_nobody", "other room", "oneself"])
def test_nobody_reaches_beyond_the_room(stranger: str) -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob", HALL)
    gateway.got.clear()
    to = {"other room": bob, "oneself": alice}.get(stranger, stranger)
    gateway.send(alice, type="offer", to=to, connection="abcd1234", sdp="v=0")
    assert [m["code"] for m in gateway.got.pop(alice)] == ["unknown_participant"]
    assert not gateway.got


def test_a_bad_message_is_answered_and_the_room_goes_on() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    gateway.got.clear()
    gateway.send_text(alice, "{")
    gateway.send(alice, type="offer", to=bob, connection="abcd1234", sdp="v=0" + "x" * 40_000)
    gateway.send(alice, type="joined")
    assert [m["code"] for m in gateway.news(alice)] == ["bad_message", "too_large", "bad_message"]
    assert gateway.news(bob) == []
    gateway.send(alice, type="offer", to=bob, connection="abcd1234", sdp="v=0")
    assert len(gateway.news(bob)) == 1


def test_updates_are_merged_and_told_to_everybody() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    gateway.got.clear()
    gateway.send(alice, type="update", muted=True, attributes={"a": "1", "b": "2"})
    gateway.send(alice, type="update", name="  Alice   B. ", attributes={"a": "", "c": "3"})
    for sid in (alice, bob):
        last = gateway.news(sid)[-1]
        assert last["type"] == "participant_updated"
        assert last["participant"]["muted"] is True
        assert last["participant"]["name"] == "Alice B."
        assert last["participant"]["attributes"] == {"b": "2", "c": "3"}
    gateway.send(alice, type="update", muted=True)
    assert gateway.got == {}, "nothing changed"


def test_attributes_have_limits_in_sum_too() -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    gateway.got.clear()
    gateway.send(alice, type="update", attributes={"a": "x" * 8_000})
    gateway.send(alice, type="update", attributes={"b": "x" * 8_000})
    first, second = gateway.news(alice)
    assert first["type"] == "participant_updated"
    assert (second["type"], second["code"]) == ("error", "bad_message")
    (room,) = gateway.relay.rooms()
    assert list(room.stays[0].participant.attributes) == ["a"]


@pytest.mark.parametrize("change", [{"name": "Eve"}, {"attributes": {"a": "1"}}])
def test_name_and_attributes_need_permission_and_muting_does_not(change: dict[str, Any]) -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice", may_update=False), gateway.enter("bob")
    gateway.got.clear()
    gateway.send(alice, type="update", muted=True, **change)
    (refused,) = gateway.news(alice)
    assert (refused["type"], refused["code"]) == ("error", "not_allowed")
    assert gateway.news(bob) == []
    gateway.send(alice, type="update", muted=True)
    assert gateway.news(bob)[-1]["participant"] == {
        "sid": alice,
        "identity": "alice",
        "name": "Alice",
        "kind": "standard",
        "muted": True,
        "attributes": {},
    }


def test_nobody_becomes_an_agent() -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    gateway.send(alice, type="update", kind="agent", muted=True)
    assert gateway.news(alice)[-1]["code"] == "bad_message"
    (room,) = gateway.relay.rooms()
    assert room.people and not room.people[0].muted


def test_who_leaves_is_closed_and_the_others_know() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    gateway.got.clear()
    gateway.send(alice, type="leave")
    left = {"type": "participant_left", "sid": alice, "identity": "alice", "reason": "left"}
    assert gateway.got == {bob: [left]}
    assert gateway.closed == {alice: "left"}
    gateway.perform(gateway.relay.leave(alice))
    gateway.send(alice, type="offer", to=bob, connection="abcd1234", sdp="v=0")
    assert gateway.got == {bob: [left]}


def test_a_reload_replaces_the_former_stay_first() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    gateway.got.clear()
    again = gateway.enter("alice")
    assert gateway.news(alice) == [{"type": "closing", "reason": "replaced"}]
    assert gateway.closed == {alice: "replaced"}
    assert [(m["type"], m.get("reason")) for m in gateway.news(bob)] == [
        ("participant_left", "replaced"),
        ("participant_joined", None),
    ]
    (joined,) = gateway.news(again)
    assert [p["sid"] for p in joined["participants"]] == [bob]


def test_a_reload_of_the_only_participant_keeps_the_room() -> None:
    gateway = Gateway()
    gateway.enter("alice")
    gateway.events.clear()
    gateway.enter("alice")
    assert [type(event) for event in gateway.events] == [ParticipantGone, ParticipantEntered]
    assert [len(room.stays) for room in gateway.relay.rooms()] == [1]


def test_a_room_opens_with_the_first_and_closes_with_the_last() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    assert [type(event) for event in gateway.events] == [
        RoomOpened,
        ParticipantEntered,
        ParticipantEntered,
    ]
    gateway.send(alice, type="leave")
    gateway.events.clear()
    gateway.perform(gateway.relay.leave(bob))
    gone, closed = gateway.events
    assert isinstance(gone, ParticipantGone) and gone.reason == "left"
    assert closed == RoomClosed(KITCHEN)
    assert gateway.relay.rooms() == [] and gateway.relay.room(KITCHEN) is None


def test_a_full_room_still_takes_agents_and_those_who_return() -> None:
    gateway = Gateway(max_people=2)
    gateway.enter("alice")
    gateway.enter("bob")
    with pytest.raises(RoomFull):
        gateway.enter("carol")
    gateway.enter("mulisa", kind="agent")
    gateway.enter("bob")
    gateway.enter("carol", HALL)


def test_a_flood_is_warned_once_then_closed() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    gateway.got.clear()
    for _ in range(int(MESSAGE_BURST)):
        gateway.send(alice, type="candidate", to=bob, connection="abcd1234", candidate=None)
    assert len(gateway.news(bob)) == MESSAGE_BURST and gateway.news(alice) == []
    for _ in range(FLOOD_PATIENCE):
        gateway.send_text(alice, "nonsense counts as well")
    assert [m["code"] for m in gateway.news(alice)] == ["too_fast"]
    gateway.send(alice, type="leave")
    assert gateway.news(alice) == [{"type": "closing", "reason": "too_fast"}]
    assert gateway.closed == {alice: "too_fast"}
    assert gateway.news(bob)[-1]["reason"] == "removed"


def test_the_permitted_rate_goes_on_for_ever() -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    gateway.got.clear()
    for i in range(3_000):
        gateway.now += 1.01 / MESSAGES_PER_SECOND
        gateway.send(alice, type="update", muted=i % 2 == 0)
    assert {m["type"] for m in gateway.news(alice)} == {"participant_updated"}


def test_an_operator_may_remove_somebody_and_close_a_room() -> None:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    elsewhere = gateway.enter("alice", HALL)
    gateway.got.clear()
    gateway.perform(gateway.relay.remove(KITCHEN, Identity("nobody")))
    gateway.perform(gateway.relay.remove(KITCHEN, Identity("alice")))
    assert gateway.news(alice) == [{"type": "closing", "reason": "removed"}]
    assert [m["reason"] for m in gateway.news(bob)] == ["removed"]
    gateway.perform(gateway.relay.close_room(KITCHEN))
    assert gateway.news(bob) == [{"type": "closing", "reason": "room_closed"}]
    assert [room.name for room in gateway.relay.rooms()] == [HALL]
    gateway.perform(gateway.relay.shut_down())
    assert gateway.news(elsewhere) == [{"type": "closing", "reason": "shutdown"}]
    assert gateway.relay.rooms() == []


def test_snapshots_say_since_when_and_do_not_change() -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    before = gateway.relay.room(KITCHEN)
    assert before is not None
    gateway.send(alice, type="update", muted=True)
    gateway.enter("bob")
    assert before.created_at == NOON
    assert [(s.participant.identity, s.joined_at) for s in before.stays] == [("alice", NOON)]
    assert not before.stays[0].participant.muted


def random_message(rng: random.Random, sids: list[ParticipantSid]) -> str:
    """Something between a perfect message and noise."""
    values: list[Any] = [None, 0, -1, "", "x", "v=0", [], {}, True, 1e308, "x" * 300, *sids]
    message: dict[str, Any] = {
        "type": rng.choice(["offer", "answer", "candidate", "update", "leave", "joined", 7]),
        "to": rng.choice([*sids, "PA_nobody"]),
        "connection": rng.choice(["abcd1234", "x"]),
    }
    if message["type"] in ("update", "leave") and rng.random() < 0.9:
        message = {"type": message["type"]}
    for key in ("sdp", "candidate", "muted", "name", "attributes", "kind"):
        if rng.random() < 0.3:
            message[key] = rng.choice(values)
    text = json.dumps(message)
    if rng.random() < 0.2:
        cut = rng.randrange(len(text))
        text = text[:cut] + chr(rng.randrange(0x110000)) + text[cut + rng.randrange(3) :]
    return text


def storm(seed: int, n_messages: int) -> None:
    """Random clients in random rooms; `Gateway.perform` and these lines check what must hold."""
    rng = random.Random(seed)
    gateway = Gateway(max_people=5)
    present: list[ParticipantSid] = []
    for _ in range(n_messages):
        gateway.now += rng.expovariate(100)
        dice = rng.random()
        if dice < 0.05 or not present:
            try:
                sid = gateway.enter(rng.choice("abcdefgh"), rng.choice([KITCHEN, HALL]))
            except RoomFull:
                continue
            present.append(sid)
        elif dice < 0.08:
            gateway.perform(gateway.relay.leave(rng.choice(present)))
        else:
            gateway.send_text(rng.choice(present), random_message(rng, present))
        present = [sid for sid in present if sid not in gateway.closed]
        stays = [stay.participant.sid for room in gateway.relay.rooms() for stay in room.stays]
        assert sorted(stays) == sorted(present)
        gateway.got.clear()


def test_5000_random_messages_never_break_the_relay() -> None:
    storm(seed=1, n_messages=5_000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_100000_random_messages_never_break_the_relay(seed: int) -> None:
    storm(seed, n_messages=5_000)


@given(st.text(st.characters()) | st.binary().map(lambda b: b.decode(errors="replace")))
def test_any_text_is_answered_with_an_error_or_obeyed(text: str) -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    gateway.got.clear()
    gateway.send_text(alice, text)
    assert len(gateway.news(alice)) <= 1
