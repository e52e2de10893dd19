from __future__ import annotations

import pytest
from multidict import CIMultiDict

from mulisa.core.errors import TokenError
from mulisa.core.room import Identity, RoomName
from mulisa.server.access import NotAllowed, check_room_token, is_operator, token_of
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, utc_now

pytestmark = pytest.mark.unit

ROOM = RoomName("standup")
VERIFIER = TokenVerifier("key", "secret")


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "localhost:8000"),
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.8.9.1", "LOCALHOST"),
        ("::1", "[::1]:8000"),
        ("::ffff:127.0.0.1", "localhost"),
    ],
)
def test_a_direct_request_from_loopback_is_the_operators(peer: str, host: str) -> None:
    assert is_operator(peer, CIMultiDict({"Host": host}))


@pytest.mark.parametrize(
    "peer", [None, "", "192.0.2.7", "10.0.0.1", "::ffff:192.0.2.7", "nonsense"]
)
def test_who_comes_from_elsewhere_is_not(peer: str | None) -> None:
    assert not is_operator(peer, CIMultiDict({"Host": "localhost"}))


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "[", "192.0.2.7"]
)
def test_a_foreign_name_for_loopback_is_not(host: str) -> None:
    """DNS rebinding: the browser believes that it talks to evil.example."""
    assert not is_operator("127.0.0.1", CIMultiDict({"Host": host}))


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "x-forwarded-host", "X-FORWARDED-PROTO", "X-Real-IP", "Via"],
)
def test_a_forwarded_request_is_not(header: str) -> None:
    headers = CIMultiDict({"Host": "localhost:8000", header: "127.0.0.1"})
    assert not is_operator("127.0.0.1", headers)


def test_the_header_wins_over_the_query() -> None:
    both = CIMultiDict({"Authorization": "bearer a"})
    assert token_of(both, {"access_token": "b"}) == "a"
    assert token_of(CIMultiDict(), {"access_token": "b"}) == "b"
    assert token_of(CIMultiDict({"Authorization": "Basic eve"}), {}) is None
    assert token_of(CIMultiDict({"Authorization": "Bearer "}), {"access_token": ""}) is None


def token(grant: Grant) -> str:
    return TokenIssuer("key", "secret").issue(grant, utc_now())


def test_a_rooms_token_opens_that_room_only() -> None:
    grant = Grant(Identity("alice-7f3k"), "Alice", ROOM, room_join=True)
    assert check_room_token(token(grant), ROOM, VERIFIER) == grant
    with pytest.raises(NotAllowed):
        check_room_token(token(grant), RoomName("other"), VERIFIER)


def test_no_token_and_a_workers_token_open_nothing() -> None:
    with pytest.raises(TokenError):
        check_room_token(None, ROOM, VERIFIER)
    with pytest.raises(NotAllowed):
        check_room_token(token(Grant(Identity(""), agent=True)), ROOM, VERIFIER)
