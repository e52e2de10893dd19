"""Stays that outlive their sockets, as the relay keeps them: timelines, and then anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from mulisa.core.room import ParticipantSid, RoomName
from mulisa.transport.mesh.backlog import MAX_MESSAGES
from mulisa.transport.mesh.outcome import ParticipantGone, RoomClosed
from mulisa.transport.mesh.past import RESTORE_TIME
from mulisa.transport.mesh.relay import Resumption, RoomFull
from mulisa.transport.mesh.stays import UNWITNESSED_FOR
from tests.transport.mesh.relays import HALL, KITCHEN, Gateway

pytestmark = pytest.mark.unit

OFFER = {"type": "offer", "connection": "abcd1234", "sdp": "v=0"}


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def two() -> tuple[Gateway, ParticipantSid, ParticipantSid]:
    gateway = Gateway()
    alice, bob = gateway.enter("alice"), gateway.enter("bob")
    gateway.got.clear()
    return gateway, alice, bob


def test_a_lost_socket_is_told_and_nobody_leaves() -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    assert gateway.got == {alice: [{"type": "participant_detached", "sid": bob}]}
    gateway.wait(UNWITNESSED_FOR - 0.1)
    assert gateway.resume("bob", bob) == bob
    assert gateway.news(alice)[1:] == [{"type": "participant_attached", "sid": bob}]
    gateway.wait(60)
    assert gateway.news(alice) == []
    assert not any(isinstance(event, ParticipantGone) for event in gateway.events)


def test_who_sends_nothing_is_gone_in_time() -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    gateway.wait(UNWITNESSED_FOR)
    assert gateway.news(alice)[1:] == [
        {"type": "participant_left", "sid": bob, "identity": "bob", "reason": "vanished"}
    ]
    assert gateway.relay.deadline() is None


def test_who_is_heard_stays() -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    for _ in range(20):
        gateway.wait(UNWITNESSED_FOR - 0.1)
        gateway.send(alice, type="witness", sid=bob)
    assert gateway.resume("bob", bob) == bob
    assert types(gateway.news(alice)) == ["participant_detached", "participant_attached"]


def test_what_was_sent_meanwhile_comes_later_once_and_in_order() -> None:
    gateway, alice, bob = two()
    gateway.send(alice, **OFFER | {"to": bob})
    got = gateway.news(bob)
    gateway.lose(bob)
    gateway.send(alice, **OFFER | {"to": bob, "connection": "lost0001"})
    gateway.send(alice, type="update", muted=True)
    gateway.enter("carol")
    gateway.send(alice, **OFFER | {"to": bob, "connection": "lost0002"})
    assert bob not in gateway.got
    gateway.resume("bob", bob, received=len(got))
    resumed, first, update, carol, last = gateway.news(bob)
    assert resumed == {"type": "resumed", "received": 0, "ice_servers": []}
    assert (first["connection"], last["connection"]) == ("lost0001", "lost0002")
    assert types([update, carol]) == ["participant_updated", "participant_joined"]


def test_a_socket_may_be_half_open_for_long() -> None:
    """Bob's client knows better than the gateway what it got; nobody need be told of it."""
    gateway, alice, bob = two()
    for number in range(3):
        gateway.send(alice, **OFFER | {"to": bob, "connection": f"lost000{number}"})
    gateway.got.clear()
    gateway.resume("bob", bob, received=1)
    resumed, *missed = gateway.news(bob)
    assert resumed["type"] == "resumed"
    assert [message["connection"] for message in missed] == ["lost0001", "lost0002"]
    assert gateway.got == {}


def test_the_client_learns_what_of_its_own_has_come() -> None:
    gateway, alice, bob = two()
    gateway.send(bob, **OFFER | {"to": alice})
    gateway.send_text(bob, "nonsense")
    gateway.send(bob, type="ping", received=0)
    gateway.send(bob, type="witness", sid=alice)
    pong = gateway.news(bob)[-1]
    assert pong == {"type": "pong", "received": 2}, "ping and witness do not count"
    gateway.lose(bob)
    gateway.resume("bob", bob, received=1)
    assert gateway.news(bob)[0]["received"] == 2


def test_a_wrong_count_is_an_error_and_resumes_nothing() -> None:
    gateway, _, bob = two()
    gateway.send(bob, type="ping", received=7)
    assert gateway.news(bob)[-1]["code"] == "bad_message"
    assert gateway.resume("bob", bob, received=7) != bob
    assert gateway.closed == {bob: "replaced"}


def test_who_missed_too_much_joins_anew() -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    for _ in range(MAX_MESSAGES + 1):
        gateway.now += 0.1
        gateway.send(alice, type="witness", sid=bob)
        gateway.send(alice, **OFFER | {"to": bob})
    new = gateway.resume("bob", bob)
    assert new != bob
    assert types(gateway.news(bob)) == [], "there is no socket to say goodbye on"
    assert types(gateway.news(alice))[-2:] == ["participant_left", "participant_joined"]
    assert types(gateway.news(new)) == ["joined"]


@pytest.mark.parametrize("identity", ["mallory", "alice"])
def test_nobody_resumes_the_stay_of_somebody_else(identity: str) -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    assert gateway.resume(identity, bob) not in (alice, bob)
    assert gateway.resume("bob", bob) == bob


def test_a_stay_is_not_resumed_in_another_room() -> None:
    gateway, _, bob = two()
    gateway.lose(bob)
    assert gateway.enter("bob", HALL, resumes=Resumption(bob, 0)) != bob
    assert gateway.resume("bob", bob) == bob


@pytest.mark.parametrize("who", ["bob himself", "carol of another room", "bob about a stranger"])
def test_witnesses_of_no_account(who: str) -> None:
    gateway, _, bob = two()
    carol = gateway.enter("carol", HALL)
    gateway.lose(bob)
    gateway.wait(UNWITNESSED_FOR - 1)
    witness = {"bob himself": bob, "carol of another room": carol, "bob about a stranger": bob}
    about = "PA_nobody" if who == "bob about a stranger" else bob
    gateway.got.clear()
    gateway.send(witness[who], type="witness", sid=about)
    gateway.wait(1)
    gone = [event for event in gateway.events if isinstance(event, ParticipantGone)]
    assert [event.participant.identity for event in gone] == ["bob"]


def test_who_left_or_was_replaced_does_not_come_back_as_they_were() -> None:
    gateway, alice, bob = two()
    gateway.send(bob, type="leave")
    again = gateway.resume("bob", bob)
    assert again != bob
    gateway.enter("bob")
    assert gateway.resume("bob", again) != again
    gateway.perform(gateway.relay.remove(KITCHEN, gateway.relay.rooms()[0].people[-1].identity))
    assert alice not in gateway.closed


def test_when_nobody_is_attached_the_room_closes_quietly_and_all_may_come_back() -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    gateway.wait(3)
    gateway.lose(alice)
    gateway.events.clear()
    gateway.wait(UNWITNESSED_FOR - 0.1)
    assert gateway.events == [], "alice's fellow gets her time, too"
    gateway.wait(0.1)
    assert gateway.events[-1] == RoomClosed(KITCHEN) and gateway.relay.rooms() == []
    gateway.wait(RESTORE_TIME / 2)
    gateway.got.clear()
    assert gateway.resume("bob", bob, received=5) == bob
    assert gateway.resume("alice", alice, received=5) == alice
    assert types(gateway.news(bob)) == ["joined", "participant_joined"]
    (joined,) = gateway.news(alice)
    assert [each["sid"] for each in joined["participants"]] == [bob]


def test_who_comes_back_too_late_is_new() -> None:
    gateway, _, bob = two()
    gateway.lose(bob)
    gateway.wait(2 * RESTORE_TIME)
    assert gateway.resume("bob", bob) != bob


def test_a_light_in_a_dark_room_gives_the_others_time() -> None:
    gateway, alice, bob = two()
    gateway.lose(alice)
    gateway.lose(bob)
    gateway.wait(UNWITNESSED_FOR - 0.1)
    gateway.resume("alice", alice)
    gateway.wait(1)
    gateway.send(alice, type="witness", sid=bob)
    gateway.wait(UNWITNESSED_FOR - 0.1)
    assert gateway.resume("bob", bob) == bob


def test_a_gateway_that_was_restarted_knows_its_stays() -> None:
    gateway, alice, bob = two()
    gateway.wait(1_000)
    gateway.restart()
    assert gateway.resume("bob", bob, received=3) == bob
    assert gateway.resume("alice", alice, received=1) == alice
    assert types(gateway.news(alice)) == ["joined"]
    assert types(gateway.news(bob)) == ["joined", "participant_joined"]
    gateway.lose(alice)
    assert gateway.resume("alice", alice) == alice
    assert types(gateway.news(alice)) == ["resumed"]


def test_a_restarted_gateway_does_not_wait_for_ever() -> None:
    gateway, _, bob = two()
    gateway.restart()
    gateway.wait(RESTORE_TIME + 1)
    assert gateway.resume("bob", bob) != bob


@pytest.mark.parametrize(
    "forged",
    ["PA_nobody", "", "PA_", "PA_" + "0" * 36, "\u00e9" * 10, "PA_ab cd", "PA_" + "zz" * 18],
)
def test_a_restarted_gateway_believes_no_sid_that_it_did_not_sign(forged: str) -> None:
    gateway, _, bob = two()
    gateway.restart()
    assert gateway.resume("bob", ParticipantSid(forged)) != forged
    assert gateway.resume("alice", bob) != bob, "it is bob's"
    assert gateway.enter("bob", HALL, resumes=Resumption(bob, 0)) != bob, "it is of the kitchen"
    upper = ParticipantSid("PA_" + bob.removeprefix("PA_").upper())
    assert gateway.resume("bob", upper) != upper, "one stay has one name"


def test_a_shutdown_ends_no_stay() -> None:
    gateway, alice, bob = two()
    gateway.lose(bob)
    gateway.got.clear()
    gateway.perform(gateway.relay.shut_down())
    assert gateway.got == {alice: [{"type": "closing", "reason": "shutdown"}]}
    assert gateway.closed == {alice: "shutdown"}


@dataclass
class Client:
    """What an honest client knows."""

    identity: str
    room: RoomName
    sid: ParticipantSid
    received: int = 0
    sent: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)


class Storm(RuleBasedStateMachine):
    """Any order of joining, losing, resuming, witnessing and waiting."""

    clients: Bundle[Client] = Bundle("clients")

    @initialize()
    def begin(self) -> None:
        self.gateway = Gateway(max_people=4)
        self.present: dict[ParticipantSid, Client] = {}
        self.offers: dict[ParticipantSid, list[str]] = {}
        """Sent to each stay."""
        self.n_offers = 0

    def _enter(
        self, client: Client, resumes: Resumption | None
    ) -> tuple[ParticipantSid, list[dict[str, Any]]]:
        sid = self.gateway.enter(client.identity, client.room, resumes=resumes)
        return sid, self.gateway.news(sid)

    def _take_news(self) -> None:
        """Whoever is attached gets what was sent."""
        for sid in list(self.gateway.got):
            news = self.gateway.news(sid)
            if client := self.present.get(sid):
                self._take(client, news)

    def _take(self, client: Client, news: list[dict[str, Any]]) -> None:
        for message in news:
            if message["type"] not in ("joined", "resumed", "pong", "closing"):
                client.received += 1
            client.got.append(message)

    def _forget_gone(self) -> None:
        here = {s.participant.sid for room in self.gateway.relay.rooms() for s in room.stays}
        self.present = {sid: each for sid, each in self.present.items() if sid in here}

    @rule(target=clients, identity=st.sampled_from("abcdef"), room=st.sampled_from([KITCHEN, HALL]))
    def join(self, identity: str, room: RoomName) -> Client:
        client = Client(identity, room, ParticipantSid(""))
        try:
            client.sid, news = self._enter(client, None)
        except RoomFull:
            return client
        assert types(news[:1]) == ["joined"]
        self.present[client.sid] = client
        self._take(client, news)
        self._take_news()
        return client

    @rule(client=clients)
    def lose(self, client: Client) -> None:
        if client.sid in self.present and client.sid not in self.gateway.away:
            self.gateway.lose(client.sid)
            self._take_news()

    @rule(client=clients)
    def resume(self, client: Client) -> None:
        if not client.sid:
            return
        was_here = self.present.get(client.sid) is client
        try:
            sid, news = self._enter(client, Resumption(client.sid, client.received))
        except RoomFull:
            assert not was_here, "who is in the room has a place"
            return
        if was_here:
            assert sid == client.sid and news[0]["type"] == "resumed"
            assert news[0]["received"] == client.sent
        else:
            assert news[0]["type"] == "joined"
            client.sid, client.received, client.sent = sid, 0, 0
            client.got.clear()
            self.offers.pop(sid, None)
            self.present[sid] = client
        self._take(client, news)
        self._take_news()

    @rule(thief=st.sampled_from("xyz"), client=clients)
    def steal(self, thief: str, client: Client) -> None:
        room = client.room
        try:
            sid = self.gateway.enter(thief, room, resumes=Resumption(client.sid, client.received))
        except RoomFull:
            return
        assert sid != client.sid
        assert types(self.gateway.news(sid)[:1]) == ["joined"]
        self.gateway.perform(self.gateway.relay.leave(sid))
        self._take_news()

    @rule(sender=clients, receiver=clients)
    def offer(self, sender: Client, receiver: Client) -> None:
        if not self._is_attached(sender) or receiver.sid not in self.present:
            return
        self.n_offers += 1
        name = f"offer{self.n_offers:08}"
        self.gateway.send(sender.sid, type="offer", to=receiver.sid, connection=name, sdp="v=0")
        sender.sent += 1
        if receiver.room == sender.room and receiver is not sender:
            self.offers.setdefault(receiver.sid, []).append(name)
        self._take_news()

    @rule(client=clients)
    def ping(self, client: Client) -> None:
        if self._is_attached(client):
            self.gateway.send(client.sid, type="ping", received=client.received)
            (pong,) = self.gateway.news(client.sid)
            assert pong == {"type": "pong", "received": client.sent}

    @rule(witness=clients, about=clients)
    def bear_witness(self, witness: Client, about: Client) -> None:
        if not self._is_attached(witness):
            return
        before = self.gateway.relay.deadline()
        self.gateway.send(witness.sid, type="witness", sid=about.sid or "PA_nobody")
        if about is witness or about.room != witness.room:
            assert self.gateway.relay.deadline() == before
        assert not self.gateway.got

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, UNWITNESSED_FOR, 20.0]))
    def wait(self, seconds: float) -> None:
        self.gateway.wait(seconds)
        self._forget_gone()
        self._take_news()

    @rule(client=consumes(clients))
    def leave(self, client: Client) -> None:
        if self._is_attached(client):
            self.gateway.send(client.sid, type="leave")
            self._forget_gone()
            self._take_news()

    def _is_attached(self, client: Client) -> bool:
        is_here = self.present.get(client.sid) is client
        return is_here and client.sid not in self.gateway.away

    @invariant()
    def who_is_attached_has_got_every_offer_once(self) -> None:
        if not hasattr(self, "gateway"):
            return
        self._forget_gone()
        for sid, client in self.present.items():
            if sid not in self.gateway.away:
                got = [m["connection"] for m in client.got if m["type"] == "offer"]
                assert got == self.offers.get(sid, [])

    @invariant()
    def an_identity_is_in_a_room_once(self) -> None:
        if not hasattr(self, "gateway"):
            return
        for room in self.gateway.relay.rooms():
            identities = [stay.participant.identity for stay in room.stays]
            assert len(identities) == len(set(identities))
            assert room.stays, "a room without anybody is none"

    @invariant()
    def nobody_is_detached_for_ever(self) -> None:
        if not hasattr(self, "gateway"):
            return
        self._forget_gone()
        deadline = self.gateway.relay.deadline()
        away = [sid for sid in self.present if sid in self.gateway.away]
        assert (deadline is not None) == bool(away)
        if deadline is not None:
            assert self.gateway.now <= deadline <= self.gateway.now + UNWITNESSED_FOR


def test_any_order_of_losing_and_resuming() -> None:
    limits = settings(max_examples=60, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Storm, settings=limits)


@pytest.mark.slow
def test_any_order_of_losing_and_resuming_for_long() -> None:
    limits = settings(max_examples=1_000, stateful_step_count=60, deadline=None)
    run_state_machine_as_test(Storm, settings=limits)
