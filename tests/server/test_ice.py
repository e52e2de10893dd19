from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from mulisa.core.room import Identity
from mulisa.server.ice import CREDENTIAL_VALIDITY, IceServers
from mulisa.transport.mesh.signaling import IceServer

pytestmark = pytest.mark.unit

AT = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = Identity("alice-7f3k")
STUN = IceServer(urls="stun:stun.example.org")
FIXED = IceServer(urls="turn:a.example.org", username="u", credential="p")
SHARED = IceServer(urls=["turn:b.example.org", "turns:b.example.org?transport=tcp"])


def test_credentials_are_made_for_servers_that_share_the_secret_only() -> None:
    stun, fixed, shared = IceServers([STUN, FIXED, SHARED], "north").of(ALICE, AT)
    assert (stun, fixed) == (STUN, FIXED)
    assert shared.urls == SHARED.urls
    assert shared.username == f"{int((AT + CREDENTIAL_VALIDITY).timestamp())}:alice-7f3k"
    # As coturn checks them: base64(hmac-sha1(secret, user name)).
    expected = hmac.new(b"north", shared.username.encode(), hashlib.sha1).digest()
    assert shared.credential == base64.b64encode(expected).decode()


def test_everybody_gets_credentials_of_their_own() -> None:
    servers = IceServers([SHARED], "north")
    (alice,), (bob,) = servers.of(ALICE, AT), servers.of(Identity("bob-2222"), AT)
    assert alice.credential != bob.credential


def test_without_a_secret_servers_are_handed_out_as_they_are() -> None:
    assert IceServers([STUN, FIXED]).of(ALICE, AT) == [STUN, FIXED]
