"""For whom a client speaks at the gateway, and whom it gives up by itself."""

from __future__ import annotations

import pytest

from mulisa.core.room import ParticipantSid
from mulisa.transport.mesh.vigil import EXPECTED_FOR, FRESH, WITNESS_INTERVAL, Vigil

pytestmark = pytest.mark.unit

ALICE, BOB = ParticipantSid("PA_alice"), ParticipantSid("PA_bob")


def test_who_is_heard_is_witnessed_at_once_and_then_again_and_again() -> None:
    vigil = Vigil()
    vigil.detached(ALICE)
    vigil.detached(BOB)
    heard_at = {ALICE: 10.0}
    assert vigil.look(heard_at, 10.0).alive == [ALICE]
    assert vigil.look(heard_at, 10.0 + WITNESS_INTERVAL - 0.1).alive == []
    assert vigil.look(heard_at, 10.0 + WITNESS_INTERVAL).alive == [ALICE]
    assert vigil.look(heard_at, 10.0 + 2 * WITNESS_INTERVAL).alive == [], "that is too long ago"
    assert vigil.look({ALICE: 13.0, BOB: 13.0}, 13.0 + FRESH).alive == [ALICE, BOB]


def test_who_is_back_or_gone_is_not_witnessed_any_more() -> None:
    vigil = Vigil()
    vigil.detached(ALICE)
    vigil.settled(ALICE)
    assert vigil.is_over
    assert vigil.look({ALICE: 1.0}, 1.0).alive == []


def test_who_does_not_come_back_is_gone_once_their_packets_end() -> None:
    vigil = Vigil()
    vigil.expect([ALICE, BOB], now=10.0)
    heard_at = {ALICE: 14.0}
    assert vigil.look(heard_at, 10.0 + EXPECTED_FOR - 0.1).gone == []
    assert vigil.look(heard_at, 10.0 + EXPECTED_FOR).gone == [BOB]
    assert not vigil.is_over
    assert vigil.look(heard_at, 14.0 + EXPECTED_FOR).gone == [ALICE]
    assert vigil.is_over


def test_a_restarted_gateway_will_say_itself_who_is_detached() -> None:
    vigil = Vigil()
    vigil.detached(ALICE)
    vigil.expect([BOB], now=10.0)
    assert vigil.look({ALICE: 10.0, BOB: 10.0}, 10.0).alive == []
