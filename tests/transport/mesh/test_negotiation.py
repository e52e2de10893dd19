"""The golden table of perfect negotiation, and what must hold for any sequence of events."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.room import Identity, Participant, ParticipantSid
from mulisa.transport.mesh import negotiation as n
from mulisa.transport.mesh.negotiation import Negotiation, Role
from mulisa.transport.mesh.signaling import IceCandidate

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[2] / "golden"
TABLE: list[dict[str, Any]] = json.loads((GOLDEN / "negotiation.json").read_text())
ROLES: list[dict[str, Any]] = json.loads((GOLDEN / "negotiation_roles.json").read_text())

EVENTS: dict[str, type[Any]] = {
    "negotiation_needed": n.NegotiationNeeded,
    "connection_broken": n.ConnectionBroken,
    "description_refused": n.DescriptionRefused,
    "offer_received": n.OfferReceived,
    "answer_received": n.AnswerReceived,
    "candidate_received": n.CandidateReceived,
}


def negotiation(role: Role) -> Negotiation:
    """Connections that we name are local0001, local0002, ..."""
    names = (f"local{i:04}" for i in itertools.count(1))
    return Negotiation(role, lambda: next(names))


def read_event(data: dict[str, Any]) -> n.Event:
    fields = {key: value for key, value in data.items() if key != "type"}
    if fields.get("candidate") is not None:
        fields["candidate"] = IceCandidate.model_validate(fields["candidate"])
    event: n.Event = EVENTS[data["type"]](**fields)
    return event


def write_action(action: n.Action) -> dict[str, Any]:
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", type(action).__name__).lower()
    data: dict[str, Any] = {"type": snake}
    for field in dataclasses.fields(action):
        value = getattr(action, field.name)
        if isinstance(value, IceCandidate):
            value = value.model_dump(by_alias=True)
        data[field.name] = value
    return data


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case['role']}: {case['name']}")
def test_golden_table(case: dict[str, Any]) -> None:
    machine = negotiation(Role(case["role"]))
    for number, step in enumerate(case["steps"]):
        actions = [write_action(action) for action in machine.receive(read_event(step["event"]))]
        assert actions == step["actions"], f"step {number}"


def participant(data: dict[str, Any]) -> Participant:
    sid = ParticipantSid(data["sid"])
    return Participant(Identity("x"), "X", sid=sid, kind=data["kind"])


@pytest.mark.parametrize("case", ROLES, ids=str)
def test_roles(case: dict[str, Any]) -> None:
    role = n.role_towards(participant(case["remote"]), participant(case["local"]))
    assert role is Role(case["role"])


def test_the_newcomer_offers_first_except_between_agents() -> None:
    for role in (Role.POLITE, Role.IMPOLITE):
        assert n.offers_first(role, is_newcomer=True)
        assert not n.offers_first(role, is_newcomer=False)
    for is_newcomer in (True, False):
        assert n.offers_first(Role.OFFERER, is_newcomer=is_newcomer)
        assert not n.offers_first(Role.ANSWERER, is_newcomer=is_newcomer)


def test_early_candidates_are_bounded() -> None:
    machine = negotiation(Role.POLITE)
    for _ in range(10 * n.MAX_EARLY_CANDIDATES):
        machine.receive(n.CandidateReceived("remote0001", None))
    actions = machine.receive(n.OfferReceived("remote0001", "v=0"))
    assert sum(isinstance(a, n.AddCandidate) for a in actions) == n.MAX_EARLY_CANDIDATES


def test_connection_names_follow_the_protocol() -> None:
    names = {n.random_connection_name() for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch("[A-Za-z0-9]{8,32}", name) for name in names)


class Pair:
    """Two machines joined by two ordered pipes, each step chosen by the test."""

    def __init__(self, left: Role, right: Role) -> None:
        counter = itertools.count(1)
        self.machines = [
            Negotiation(role, lambda side=side: f"{side}{next(counter):08}")  # type: ignore[misc]
            for side, role in (("left", left), ("right", right))
        ]
        self.pipes: list[list[n.Event]] = [[], []]
        self.open: list[set[str]] = [set(), set()]

    def feed(self, side: int, event: n.Event) -> None:
        for action in self.machines[side].receive(event):
            self._perform(side, action)

    def deliver(self, side: int) -> bool:
        """Hand the oldest message of the pipe towards `side`; False if there is none."""
        if not self.pipes[side]:
            return False
        self.feed(side, self.pipes[side].pop(0))
        return True

    def settle(self) -> None:
        while self.deliver(0) or self.deliver(1):
            pass

    def _perform(self, side: int, action: n.Action) -> None:
        mine = self.open[side]
        match action:
            case n.OpenConnection(name):
                assert name not in mine
                mine.add(name)
            case n.CloseConnection(name) | n.SupersedeConnection(name):
                mine.remove(name)
            case n.SendOffer(name):
                assert name in mine
                self.pipes[1 - side].append(n.OfferReceived(name, "v=0"))
            case n.SendAnswer(name):
                assert name in mine
                self.pipes[1 - side].append(n.AnswerReceived(name, "v=0"))
            case _:
                assert action.connection in mine
        assert len(mine) <= 1


@given(
    st.sampled_from([(Role.POLITE, Role.IMPOLITE), (Role.OFFERER, Role.ANSWERER)]),
    st.lists(
        st.tuples(st.sampled_from(["need", "broken", "deliver", "deliver"]), st.integers(0, 1)),
        max_size=40,
    ),
)
def test_whatever_both_sides_want_they_end_on_one_connection(
    roles: tuple[Role, Role], steps: list[tuple[str, int]]
) -> None:
    pair = Pair(*roles)
    for what, side in steps:
        if what == "deliver":
            pair.deliver(side)
        else:
            pair.feed(side, n.NegotiationNeeded() if what == "need" else n.ConnectionBroken())
    pair.settle()
    left, right = pair.machines
    assert left.connection == right.connection
    assert left.is_settled and right.is_settled


@given(
    st.sampled_from([(Role.POLITE, Role.IMPOLITE), (Role.OFFERER, Role.ANSWERER)]),
    st.lists(
        st.tuples(
            st.sampled_from(["need", "broken", "refused", "lose", "deliver", "deliver"]),
            st.integers(0, 1),
        ),
        max_size=60,
    ),
    st.lists(st.integers(0, 1), max_size=10),
)
def test_messages_that_are_lost_cost_no_more_than_one_replacement(
    roles: tuple[Role, Role], steps: list[tuple[str, int]], wishes: list[int]
) -> None:
    """The shell's clock is what notices: whoever may replace does so, and wishes cross that."""
    pair = Pair(*roles)
    for what, side in steps:
        if what == "lose":
            del pair.pipes[side][:1]
        elif what == "deliver":
            pair.deliver(side)
        elif what == "refused":
            name = pair.machines[side].connection
            pair.feed(side, n.DescriptionRefused(name or "nothing1"))
        else:
            pair.feed(side, n.NegotiationNeeded() if what == "need" else n.ConnectionBroken())
    pair.settle()
    in_charge = roles.index(Role.IMPOLITE if Role.IMPOLITE in roles else Role.OFFERER)
    pair.feed(in_charge, n.ConnectionBroken())
    for side in wishes:  # restarts of ICE from both sides while the new connection is agreed
        pair.feed(side, n.NegotiationNeeded())
        pair.deliver(1 - side)
    pair.settle()
    left, right = pair.machines
    assert left.connection == right.connection is not None
    assert left.is_settled and right.is_settled
