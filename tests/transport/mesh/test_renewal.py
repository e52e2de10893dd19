"""A stay may be longer than credentials of TURN servers are valid."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from mulisa.core.room import Identity
from mulisa.server.ice import CREDENTIAL_VALIDITY
from mulisa.transport.mesh.relay import MeshRelay
from mulisa.transport.mesh.signaling import IceServer
from mulisa.transport.mesh.stays import SERVERS_LAST
from tests.transport.mesh.relays import Gateway

pytestmark = pytest.mark.unit


def served(identity: Identity, at: datetime) -> list[IceServer]:
    return [IceServer(urls="turn:a.example", username=f"{at:%H:%M}:{identity}", credential="c")]


def test_ice_servers_are_told_anew_before_their_credentials_run_out() -> None:
    gateway = Gateway()
    gateway.relay = MeshRelay(ice_servers=served, now=gateway.now)
    alice = gateway.enter("alice")  # at noon
    gateway.news(alice)
    told: list[str] = []
    for _ in range(12):
        gateway.wait(SERVERS_LAST / 4)
        gateway.send(alice, type="ping", received=len(told))
        *news, pong = gateway.news(alice)
        assert pong["type"] == "pong"
        told += [server["username"] for each in news for server in each["ice_servers"]]
    assert told == ["18:00:alice", "00:00:alice", "06:00:alice"]
    assert timedelta(seconds=SERVERS_LAST) < CREDENTIAL_VALIDITY


def test_where_there_are_no_servers_there_is_no_news_of_them() -> None:
    gateway = Gateway()
    alice = gateway.enter("alice")
    gateway.news(alice)
    gateway.wait(2 * SERVERS_LAST)
    gateway.send(alice, type="ping", received=0)
    assert [each["type"] for each in gateway.news(alice)] == ["pong"]
