from __future__ import annotations

from collections.abc import Mapping

import pytest
from aioice import stun as oracle

from mulisa.sfu.ice import MAX_ADDRESSES, IceAgent, Outcome
from mulisa.wire import stun
from mulisa.wire.description import IceCredentials

pytestmark = pytest.mark.unit

Agent = IceAgent[str]
NOTHING: Mapping[str, object] = {}


def check(
    agent: Agent, credentials: IceCredentials | None = None, extra: Mapping[str, object] = NOTHING
) -> bytes:
    """As the other end writes it, with whatever credentials of ours it knows."""
    ours = credentials or agent.local
    attributes = {"USERNAME": f"{ours.ufrag}:them", "PRIORITY": 7, "ICE-CONTROLLING": 9, **extra}
    message = oracle.Message(oracle.Method.BINDING, oracle.Class.REQUEST, attributes=attributes)
    message.add_message_integrity(ours.pwd.encode())
    return bytes(message)


def receive(
    agent: Agent,
    address: str,
    *,
    ours: IceCredentials | None = None,
    nominates: bool = False,
    now: float = 1.0,
) -> Outcome[str]:
    extra: dict[str, object] = {"USE-CANDIDATE": None} if nominates else {}
    data = check(agent, ours, extra)
    ufrag = stun.local_ufrag(data)
    assert ufrag is not None
    return agent.receive(data, ufrag, address, "192.0.2.1", 4000, now)


def code_of(outcome: Outcome[str]) -> int | None:
    return oracle.parse_message(outcome.reply).error_code


def test_credentials_are_new_and_long_enough() -> None:
    made = [Agent().local for _ in range(50)]
    assert len({each.ufrag for each in made}) == len({each.pwd for each in made}) == 50
    assert all(len(each.ufrag) >= 4 and len(each.pwd) >= 22 for each in made)
    assert all((each.ufrag + each.pwd).isalnum() for each in made)


def test_a_check_is_answered_with_where_it_came_from() -> None:
    agent = Agent()
    outcome = receive(agent, "a", now=5.0)
    answer = oracle.parse_message(outcome.reply)
    assert outcome.is_accepted
    assert answer.message_class is oracle.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.1", 4000)
    assert answer.check_message_integrity(agent.local.pwd.encode())
    assert agent.last_heard == 5.0


def test_the_first_address_is_used_until_one_is_nominated() -> None:
    agent = Agent()
    receive(agent, "first")
    receive(agent, "second")
    assert agent.selected == "first"
    receive(agent, "second", nominates=True)
    assert agent.selected == "second"
    receive(agent, "first")
    assert agent.selected == "second"
    receive(agent, "first", nominates=True)
    assert agent.selected == "first", "the nomination that came last counts"


def test_a_stranger_changes_nothing() -> None:
    agent = Agent()
    forged = IceCredentials(agent.local.ufrag, "not the password, 24 byt")
    with pytest.raises(stun.StunError):
        receive(agent, "a", ours=forged, nominates=True)
    assert (agent.selected, agent.last_heard, agent.addresses) == (None, 0.0, ())


def test_who_takes_itself_for_controlled_is_corrected() -> None:
    agent = Agent()
    data = check(agent, extra={"ICE-CONTROLLED": 2**63})
    outcome = agent.receive(data, agent.ufrags[0], "a", "192.0.2.1", 1, 1.0)
    assert (code_of(outcome), outcome.is_accepted, agent.selected) == (487, False, None)


def test_what_must_be_understood_and_is_not_is_refused() -> None:
    agent = Agent()
    data = check(agent, extra={"REALM": "x"})
    outcome = agent.receive(data, agent.ufrags[0], "a", "192.0.2.1", 1, 1.0)
    assert (code_of(outcome), outcome.is_accepted, agent.selected) == (420, False, None)


def test_a_restart_keeps_the_old_names_until_a_new_pair_is_nominated() -> None:
    agent = Agent()
    old = agent.local
    receive(agent, "old", nominates=True)
    new = agent.restart()
    assert new == agent.local != old
    assert agent.selected == "old"
    assert receive(agent, "old", ours=old).is_accepted
    assert receive(agent, "new").is_accepted, "not nominated yet"
    assert agent.ufrags == (new.ufrag.encode(), old.ufrag.encode())
    receive(agent, "new", nominates=True)
    assert agent.selected == "new"
    assert [new.ufrag.encode()] == list(agent.ufrags)
    with pytest.raises(stun.StunError):
        receive(agent, "old", ours=old)


def test_of_two_restarts_in_a_row_the_pair_in_use_survives() -> None:
    agent = Agent()
    used = agent.local
    receive(agent, "used", nominates=True)
    between = agent.restart()
    agent.restart()
    assert receive(agent, "used", ours=used).is_accepted
    with pytest.raises(stun.StunError):
        receive(agent, "used", ours=between)


def test_only_so_many_addresses_are_kept_and_never_without_the_one_in_use() -> None:
    agent = Agent()
    receive(agent, "used", nominates=True)
    forgotten: list[str] = []
    for number in range(3 * MAX_ADDRESSES):
        forgotten += receive(agent, f"{number}").forgotten
    assert len(agent.addresses) == MAX_ADDRESSES
    assert forgotten == [f"{number}" for number in range(2 * MAX_ADDRESSES + 1)]
    assert "used" in agent.addresses


def test_an_address_that_is_gone_is_replaced_by_the_one_heard_last() -> None:
    agent = Agent()
    for address in ("a", "b", "c"):
        receive(agent, address)
    agent.forget("a")
    assert agent.selected == "c"
    agent.forget("c")
    agent.forget("b")
    assert agent.selected is None
