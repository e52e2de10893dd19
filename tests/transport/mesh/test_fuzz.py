"""Mesh signalling against tens of thousands of hostile messages, one by one and in sequences."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity, ParticipantSid
from mulisa.transport.mesh import signaling as s
from mulisa.transport.mesh.relay import MeshRelay, Resumption, RoomFull
from mulisa.transport.mesh.stays import MESSAGE_BURST, SERVERS_LAST, UNWITNESSED_FOR
from tests.transport.mesh.relays import HALL, KITCHEN, SECRET, Gateway
from tests.transport.mesh.test_signaling import FROM_CLIENT, FROM_GATEWAY, JSON, SID

pytestmark = [pytest.mark.unit, pytest.mark.slow]

MAX_PEOPLE = 4
UNNUMBERED = frozenset({"joined", "resumed", "pong", "closing"})
NAMES = ("alice", "bob", "carol", "dave", "eve", "frank")
ROOM_OF = dict(zip(NAMES, (KITCHEN,) * 4 + (HALL,) * 2, strict=True))
"""Who meets whom; what somebody of one room sends to somebody of the other reaches nobody."""
STRANGER = ParticipantSid("PA_nobody")
HONEST = re.compile(r"v=0 (\d+)")
"""Descriptions of those who keep to the rules: they are numbered."""
COUNTS = st.integers(-2, 6) | st.sampled_from([512, 513, 2**53 - 1, 2**53, 1e300, True, "1"])


@st.composite
def damaged(draw: st.DrawFn, known: list[dict[str, Any]]) -> str:
    """One of these messages with wrong, missing, foreign and nested fields, cut or patched."""
    message = json.loads(json.dumps(draw(st.sampled_from(known))))
    inner = message.get("candidate")
    for part in [message, *([inner] if isinstance(inner, dict) else [])]:
        for key in draw(st.lists(st.sampled_from([*part, "x", "type", "received"]), max_size=3)):
            part[key] = draw(JSON | COUNTS | st.sampled_from([SID, "v=0", "ping", "leave"]))
        for key in draw(st.sets(st.sampled_from(sorted(part)), max_size=1)):
            del part[key]
    text = json.dumps(message, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.text(st.characters(), max_size=3)) + text[cut + 1 :]
    return text


FROM_CLIENTS = list(FROM_CLIENT.values())
FROM_GATEWAYS = [json.loads(s.encode(message)) for message in FROM_GATEWAY]


@settings(max_examples=4_000, suppress_health_check=list(HealthCheck))
@given(damaged(FROM_CLIENTS))
def test_a_damaged_message_of_a_client_is_refused_or_is_what_it_says(text: str) -> None:
    try:
        message = s.parse_client_message(text)
    except SignalingError as error:
        assert len(str(error)) <= 300
        return
    again = s.parse_client_message(s.encode(message))
    assert again == message


@settings(max_examples=4_000, suppress_health_check=list(HealthCheck))
@given(damaged(FROM_GATEWAYS))
def test_a_damaged_message_of_a_gateway_is_refused_or_is_what_it_says(text: str) -> None:
    try:
        message = s.parse_gateway_message(text)
    except SignalingError:
        return
    assert s.parse_gateway_message(s.encode(message)) == message


class Relay(RuleBasedStateMachine):
    """Clients of two rooms that come, go, lose sockets, resume, lie and send noise.

    An oracle knows which offers each stay was sent and not yet shown; `Gateway.perform` checks
    that nothing goes to who has no socket.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gateway = Gateway(MAX_PEOPLE)
        self.begin()

    def begin(self) -> None:
        """A gateway that knows nothing."""
        self.gateway.relay = MeshRelay(
            ice_servers=lambda identity, at: [s.IceServer(urls=[f"stun:{identity}.example"])],
            max_people=MAX_PEOPLE,
            secret=SECRET,
            now=self.gateway.now,
        )
        self.gateway.away.clear()
        self.gateway.got.clear()
        self.sids: dict[str, ParticipantSid] = {}
        """The latest stay of each name; it may be over."""
        self.expected: dict[ParticipantSid, list[int]] = defaultdict(list)
        self.shown: dict[ParticipantSid, list[int]] = defaultdict(list)
        self.counted: dict[ParticipantSid, int] = defaultdict(int)
        self.numbers = 0

    @property
    def stays(self) -> dict[ParticipantSid, str]:
        """Whose stays go on."""
        return {
            stay.participant.sid: stay.participant.identity
            for room in self.gateway.relay.rooms()
            for stay in room.stays
        }

    def attached(self, name: str) -> ParticipantSid | None:
        sid = self.sids.get(name)
        return sid if sid in self.stays and sid not in self.gateway.away else None

    def read(self) -> None:
        """What the clients got, in order; each is a message of the protocol."""
        for sid, messages in self.gateway.got.items():
            for message in messages:
                s.parse_gateway_message(json.dumps(message))
                self.counted[sid] += message["type"] not in UNNUMBERED
                if message["type"] == "joined":
                    self.counted[sid] = 0
                    self.expected[sid], self.shown[sid] = [], []
                if message["type"] == "offer" and (number := HONEST.fullmatch(message["sdp"])):
                    self.shown[sid].append(int(number[1]))
        self.gateway.got.clear()

    def come(self, name: str, resumption: Resumption | None) -> ParticipantSid | None:
        before = dict(self.stays)
        try:
            self.gateway.closed = {
                sid: why for sid, why in self.gateway.closed.items() if sid in before
            }
            sid = self.gateway.enter(name, ROOM_OF[name], resumes=resumption)
        except RoomFull:
            people = [each for each in before.values() if ROOM_OF[each] == ROOM_OF[name]]
            assert len(people) >= MAX_PEOPLE and name not in people
            return None
        assert before.get(sid, name) == name, "nobody gets the stay of another"
        self.sids[name] = sid
        return sid

    @initialize()
    def three_are_there(self) -> None:
        for name in NAMES[:3]:
            self.come(name, None)
            self.read()

    @rule(name=st.sampled_from(NAMES))
    def enter(self, name: str) -> None:
        self.come(name, None)
        self.read()

    @rule(name=st.sampled_from(NAMES))
    def resume(self, name: str) -> None:
        """Honestly: with what came."""
        if sid := self.sids.get(name):
            self.come(name, Resumption(sid, self.counted[sid]))
            self.read()

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES), received=st.integers(0, 600))
    def resume_with_lies(self, name: str, other: str, received: int) -> None:
        """With the sid of somebody else, or with a count that was made up."""
        wanted = self.sids.get(other, STRANGER)
        lies = self.counted[wanted] != received
        sid = self.come(name, Resumption(wanted, received))
        assert sid is None or sid != wanted or name == other
        self.read()
        if sid is not None and lies and sid == wanted:  # their own loss: they begin anew
            self.come(name, None)
            self.read()

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name: str) -> None:
        if sid := self.attached(name):
            self.gateway.lose(sid)
            self.read()

    @rule(
        name=st.sampled_from(NAMES),
        others=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
        seconds=st.sampled_from([0.0, UNWITNESSED_FOR / 2]),
    )
    def miss_and_resume(self, name: str, others: list[str], seconds: float) -> None:
        """What was sent to somebody without a socket is shown when they are back in time."""
        self.lose(name)
        sid = self.sids.get(name)
        for other in others:
            self.offer(other, name)
        self.gateway.wait(seconds)
        self.read()
        was_there = sid in self.stays
        self.resume(name)
        assert not was_there or self.sids[name] == sid

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def offer(self, name: str, other: str) -> None:
        """It arrives once, if they are in one room; across rooms it is refused."""
        sid, to = self.attached(name), self.sids.get(other, STRANGER)
        if sid is None:
            return
        self.numbers += 1
        self.gateway.now += 0.1
        if to in self.stays and to != sid and ROOM_OF[other] == ROOM_OF[name]:
            self.expected[to].append(self.numbers)
        sdp = f"v=0 {self.numbers}"
        self.gateway.send(sid, type="offer", to=to, connection="abcd1234", sdp=sdp)
        self.read()

    @rule(name=st.sampled_from(NAMES))
    def ping(self, name: str) -> None:
        if sid := self.attached(name):
            self.gateway.send(sid, type="ping", received=self.counted[sid])
            assert self.gateway.got[sid][-1]["type"] == "pong"
            self.read()

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES))
    def witness(self, name: str, other: str) -> None:
        """Only in one's room, and only for who is detached, it puts the end off."""
        sid, about = self.attached(name), self.sids.get(other, STRANGER)
        if sid is None:
            return
        self.gateway.now += 0.1
        before = self.gateway.relay.deadline()
        self.gateway.send(sid, type="witness", sid=about)
        after = self.gateway.relay.deadline()
        assert self.gateway.got == {}, "nobody is told"
        if about == sid or ROOM_OF[other] != ROOM_OF[name] or about not in self.gateway.away:
            assert before == after

    @rule(name=st.sampled_from(NAMES), other=st.sampled_from(NAMES), text=damaged(FROM_CLIENTS))
    def send_noise(self, name: str, other: str, text: str) -> None:
        sid = self.attached(name)
        if sid is None:
            return
        self.gateway.now += 0.1
        text = text.replace(SID, self.sids.get(other, STRANGER)).replace("v=0", "v=0 noise")
        here = {each for each, who in self.stays.items() if ROOM_OF[who] == ROOM_OF[name]}
        self.gateway.send_text(sid, text)
        assert self.gateway.got.keys() <= here, "nobody beyond the room is told"
        for messages in self.gateway.got.values():
            assert all(each["from"] == sid for each in messages if each["type"] == "offer")
        self.read()

    @rule(name=st.sampled_from(NAMES))
    def flood(self, name: str) -> None:
        """It ends who floods, and nobody else hears of more than that."""
        sid = self.attached(name)
        if sid is None:
            return
        others = {each for each in self.stays if each != sid}
        for _ in range(int(MESSAGE_BURST) * 3):
            if sid in self.gateway.closed:
                break
            self.gateway.send_text(sid, "{")
        assert self.gateway.closed[sid] == "too_fast"
        assert set(self.stays) >= others
        for other in others & self.gateway.got.keys():
            assert [m["type"] for m in self.gateway.got[other]] == ["participant_left"]
        self.read()

    @rule(name=st.sampled_from(NAMES), how=st.sampled_from(["leave", "message", "remove"]))
    def go(self, name: str, how: str) -> None:
        sid = self.attached(name)
        if sid is None:
            return
        if how == "leave":
            self.gateway.perform(self.gateway.relay.leave(sid))
        elif how == "message":
            self.gateway.now += 0.1
            self.gateway.send(sid, type="leave")
        else:
            self.gateway.perform(self.gateway.relay.remove(ROOM_OF[name], Identity(name)))
        assert sid not in self.stays
        self.read()

    @rule(seconds=st.sampled_from([0.5, UNWITNESSED_FOR / 2, UNWITNESSED_FOR, SERVERS_LAST]))
    def wait(self, seconds: float) -> None:
        self.gateway.wait(seconds)
        self.read()

    @rule(disaster=st.sampled_from(["nothing", "nothing", "close", "shut down", "kill"]))
    def disaster(self, disaster: str) -> None:
        """Rarely, for it ends most of what was going on."""
        if disaster == "close":
            self.gateway.perform(self.gateway.relay.close_room(KITCHEN))
            assert self.gateway.relay.room(KITCHEN) is None
            self.read()
        if disaster == "shut down":
            self.gateway.perform(self.gateway.relay.shut_down())
        if disaster in ("shut down", "kill"):
            known = dict(self.sids)
            self.begin()
            self.sids |= known
            self.gateway.closed.clear()

    @invariant()
    def an_identity_has_one_stay(self) -> None:
        names = list(self.stays.values())
        assert len(names) == len(set(names))
        for room in self.gateway.relay.rooms():
            assert 0 < len(room.stays) <= MAX_PEOPLE

    @invariant()
    def who_is_detached_has_an_end_and_nobody_else(self) -> None:
        away = self.gateway.away & self.stays.keys()
        assert (self.gateway.relay.deadline() is None) == (not away)

    @invariant()
    def who_is_attached_was_shown_every_offer_once_and_in_order(self) -> None:
        for sid in self.stays.keys() - self.gateway.away:
            assert self.shown[sid] == self.expected[sid]


TestRelay = Relay.TestCase
TestRelay.settings = settings(
    max_examples=2_000,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
