from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit import api

from mulisa.core.errors import ConfigError, TokenError
from mulisa.core.room import Identity, RoomName
from mulisa.server.tokens import (
    Grant,
    TokenIssuer,
    TokenVerifier,
    new_identity,
    room_grant,
    utc_now,
)

pytestmark = pytest.mark.unit

ROOM = RoomName("standup")
ALICE = Grant(
    Identity("alice-7f3k"),
    "Alice",
    ROOM,
    attributes={"hand": "up"},
    room_join=True,
    can_update_metadata=True,
)


def forge(claims: dict[str, Any], algorithm: str = "HS256") -> str:
    complete = {"iss": "key", "exp": 4_000_000_000, "sub": "eve", **claims}
    key = "" if algorithm == "none" else b"secret".ljust(64, b"\0")
    return jwt.encode(complete, key, algorithm=algorithm)


@pytest.mark.parametrize("secret", ["s", "secret", "x" * 31, "y" * 64, "z" * 200])
def test_what_was_issued_is_read_back_whatever_the_secrets_length(secret: str) -> None:
    token = TokenIssuer("key", secret).issue(ALICE, utc_now())
    assert TokenVerifier("key", secret).verify(token) == ALICE


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_token_is_signed_with_the_secret_as_everybody_else_signs_it() -> None:
    token = TokenIssuer("key", "secret").issue(ALICE, utc_now())
    claims = jwt.decode(token, "secret", algorithms=["HS256"])
    assert claims["sub"] == "alice-7f3k"
    assert claims["iss"] == "key"
    assert claims["video"] == {
        "roomJoin": True,
        "room": "standup",
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
        "canUpdateOwnMetadata": True,
    }


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match="LIVEKIT_API_SECRET"):
        TokenVerifier("key", "")


@pytest.mark.parametrize(
    ("age", "accepted"),
    [
        (timedelta(hours=5), True),
        (timedelta(hours=6, seconds=30), True),
        (timedelta(days=1), False),
    ],
)
def test_a_token_expires_after_six_hours_and_the_clocks_skew(
    age: timedelta, accepted: bool
) -> None:
    token = TokenIssuer("key", "secret").issue(ALICE, utc_now() - age)
    verifier = TokenVerifier("key", "secret")
    if accepted:
        assert verifier.verify(token) == ALICE
    else:
        with pytest.raises(TokenError, match="expired"):
            verifier.verify(token)
    assert verifier.verify_signature(token) == ALICE


def test_a_token_from_the_future_is_refused() -> None:
    token = TokenIssuer("key", "secret").issue(ALICE, utc_now() + timedelta(hours=1))
    with pytest.raises(TokenError):
        TokenVerifier("key", "secret").verify(token)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(TokenIssuer("key", "other").issue(ALICE, utc_now()), id="another secret"),
        pytest.param(TokenIssuer("other", "secret").issue(ALICE, utc_now()), id="another key"),
        pytest.param(forge({"video": {"roomJoin": True}}, algorithm="none"), id="alg none"),
        pytest.param(forge({"video": {}}, algorithm="HS512"), id="another algorithm"),
        pytest.param(forge({}), id="no video claim"),
        pytest.param(forge({"video": "all"}), id="video is text"),
        pytest.param(forge({"video": {"roomJoin": True}, "sub": ""}), id="nobody joins"),
        pytest.param(forge({"video": {"room": "../etc"}}), id="room name"),
        pytest.param(forge({"video": {}, "name": 7}), id="name is a number"),
        pytest.param(forge({"video": {}, "attributes": ["a"]}), id="attributes are a list"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="no base64"),
        pytest.param("W1tb" * 5000 + ".e30.AAAA", id="nested too deep"),
    ],
)
def test_a_bad_token_is_refused_even_when_only_its_signature_counts(token: str) -> None:
    verifier = TokenVerifier("key", "secret")
    with pytest.raises(TokenError):
        verifier.verify(token)
    with pytest.raises(TokenError):
        verifier.verify_signature(token)


@given(st.text(max_size=200))
def test_no_text_does_more_than_raise_token_error(text: str) -> None:
    with pytest.raises(TokenError):
        TokenVerifier("key", "secret").verify(text)


NAMES = ["iss", "sub", "exp", "nbf", "iat", "aud", "jti", "identity", "name", "kind", "metadata"]
GRANTS = ["roomJoin", "room", "agent", "canPublish", "canPublishSources", "canUpdateOwnMetadata"]
INFINITY = float("inf")
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    0.5,
    2**80,
    -INFINITY,
    INFINITY,
    "",
    "x",
    [],
    ["x"],
    [7],
    {},
]
VALUES = st.sampled_from([*ODD, {"a": "b"}, {"a": 7}, {"": {}}, [[[]]], "\0", "x" * 300])
VIDEO = st.dictionaries(st.sampled_from(GRANTS), VALUES)
CLAIMS = st.dictionaries(st.sampled_from([*NAMES, "attributes", "roomConfig", "video"]), VALUES)


def check_claims(claims: dict[str, Any], video: dict[str, Any]) -> None:
    """Whatever a key's owner signs, a token is refused in order or gives what its type says."""
    token = jwt.encode(
        {"iss": "key", "exp": 4_000_000_000, "video": video} | _encodable(claims),
        b"secret".ljust(64, b"\0"),
        algorithm="HS256",
    )
    verifier, issuer = TokenVerifier("key", "secret"), TokenIssuer("key", "secret")
    try:
        said = verifier.claims(token)
    except TokenError:
        return
    assert isinstance(said["video"], dict) and isinstance(said["attributes"], dict)
    assert isinstance(said.get("sub", ""), str) and isinstance(said.get("name", ""), str)
    again = verifier.claims(issuer.refresh(said, utc_now()))
    assert again["video"] == said["video"] and again["exp"] >= int(said["exp"])
    try:
        verifier.verify(token)
    except TokenError:
        pass


def _encodable(claims: dict[str, Any]) -> dict[str, Any]:
    """PyJWT itself signs no `iss` that is not text."""
    return {name: value for name, value in claims.items() if name != "iss" or value == "key"}


@given(CLAIMS, VIDEO)
@settings(max_examples=500)
def test_whatever_is_signed_is_refused_in_order_or_typed(
    claims: dict[str, Any], video: dict[str, Any]
) -> None:
    check_claims(claims, video)


@pytest.mark.slow
@given(CLAIMS, VIDEO)
@settings(max_examples=8_000, suppress_health_check=list(HealthCheck))
def test_much_that_is_signed(claims: dict[str, Any], video: dict[str, Any]) -> None:
    check_claims(claims, video)


def test_a_refreshed_token_claims_the_same_and_lasts_as_long() -> None:
    issuer, verifier = TokenIssuer("key", "secret"), TokenVerifier("key", "secret")
    now = utc_now()
    room = {"agents": [{"agentName": "scribe"}]}
    claims = {"sub": "alice", "metadata": "m", "attributes": {"a": "b"}, "roomConfig": room}
    long = verifier.claims(forge(claims | {"video": {"roomJoin": True, "room": "any/room"}}))
    assert verifier.claims(issuer.refresh(long, now)) == long
    soon = int((now + timedelta(minutes=2)).timestamp())
    short = verifier.claims(forge(claims | {"video": {}, "exp": soon, "jti": "once"}))
    again = verifier.claims(issuer.refresh(short, now))
    assert again["exp"] == int((now + timedelta(minutes=10)).timestamp())
    assert "jti" not in again and again["metadata"] == "m"


@pytest.mark.parametrize("secret", ["s", "a-secret-that-is-long-enough-for-anybody"])
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_tokens_of_livekits_own_sdk_say_the_same_here(secret: str) -> None:
    grants = api.VideoGrants(room_join=True, room="any/room", can_publish_sources=["microphone"])
    dispatch = api.RoomAgentDispatch(agent_name="scribe", metadata="quietly")
    token = (
        api.AccessToken("key", secret)
        .with_identity("alice")
        .with_name("Alice")
        .with_kind("agent")
        .with_metadata("m")
        .with_attributes({"hand": "up"})
        .with_grants(grants)
        .with_room_config(api.RoomConfiguration(agents=[dispatch], max_participants=3))
        .to_jwt()
    )
    said = TokenVerifier("key", secret).claims(token)
    assert (said["sub"], said["name"], said["kind"], said["metadata"]) == (
        *("alice", "Alice", "agent", "m"),
    )
    assert said["attributes"] == {"hand": "up"}
    assert said["video"]["room"] == "any/room"
    assert said["video"]["canPublishSources"] == ["microphone"]
    assert said["roomConfig"]["agents"] == [{"agentName": "scribe", "metadata": "quietly"}]
    assert said["roomConfig"]["maxParticipants"] == 3


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Alice", "alice"),
        ("Zoë  O'Neill", "zoe-o-neill"),
        ("毛", "guest"),
        ("x" * 64, "x" * 32),
        ("-", "guest"),
    ],
)
def test_an_identity_is_the_name_and_four_characters(name: str, slug: str) -> None:
    assert re.fullmatch(rf"{slug}-[a-z0-9]{{4}}", new_identity(name))


def test_two_alices_are_distinguishable() -> None:
    assert len({new_identity("Alice") for _ in range(50)}) > 45


def test_a_taken_identity_is_not_given_again() -> None:
    offered: list[Identity] = []

    def is_taken(identity: Identity) -> bool:
        offered.append(identity)
        return len(offered) < 3

    assert room_grant(ROOM, "Alice", is_taken=is_taken).identity == offered[2]


def test_an_identity_is_kept_with_an_earlier_token_of_the_same_room() -> None:
    kept = room_grant(ROOM, "Alice B", earlier=ALICE, is_taken=lambda identity: True)
    assert (kept.identity, kept.name) == ("alice-7f3k", "Alice B")


@pytest.mark.parametrize(
    "earlier",
    [
        Grant(Identity("alice-7f3k"), "Alice", RoomName("other"), room_join=True),
        Grant(Identity("mulisa"), "Mulisa", ROOM, kind="agent", room_join=True),
        Grant(Identity("alice-7f3k"), "Alice", ROOM, room_join=False),
    ],
)
def test_an_identity_is_not_taken_from_elsewhere(earlier: Grant) -> None:
    assert room_grant(ROOM, "Alice", earlier=earlier).identity != earlier.identity
