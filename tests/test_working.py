from __future__ import annotations

import asyncio

import pytest

from mulisa.core.account import spend, working_for
from mulisa.core.errors import TransportError
from mulisa.core.room import RoomName
from mulisa.working import Accounts

pytestmark = pytest.mark.unit

ROOM = RoomName("standup")


def use(accounts: Accounts, tokens: float, ends_with: BaseException | None = None) -> float:
    """One session that uses so many tokens; all that its account knows of then."""
    with accounts.of(ROOM) as account:
        with working_for(account):
            spend("OpenAI", "tokens", tokens)
        if ends_with:
            raise ends_with
    return account.spent["tokens"]


def test_a_session_that_failed_is_followed_by_one_with_the_same_account() -> None:
    accounts = Accounts({"tokens": 10})
    with pytest.raises(TransportError):
        use(accounts, 4, TransportError("the room is lost"))
    assert use(accounts, 5) == 9


@pytest.mark.parametrize("ending", [None, asyncio.CancelledError()])
def test_the_next_call_in_a_room_begins_with_a_new_one(ending: BaseException | None) -> None:
    accounts = Accounts({"tokens": 10})
    try:
        use(accounts, 4, ending)
    except asyncio.CancelledError:
        pass
    assert use(accounts, 5) == 5


def test_each_room_has_its_own_budget() -> None:
    accounts = Accounts({"tokens": 10})
    with accounts.of(ROOM) as one, accounts.of(RoomName("retro")) as other:
        with working_for(one):
            spend("OpenAI", "tokens", 10)
        assert (one.is_spent, other.is_spent) == (True, False)
