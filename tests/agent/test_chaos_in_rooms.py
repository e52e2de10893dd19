"""The calls of `tests/agent/chaos.py` over real meshes and a real SFU, in real time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mulisa.core.room import Participant
from mulisa.core.transport import Transport
from mulisa.transport.sfu.transport import SFUTransport
from tests.agent.chaos import Figures, run_call
from tests.sfu_server import EmbeddedServer
from tests.transport.mesh.rooms import gateway

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]

FAULTS: int = 8
SLACK: float = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as running:
        yield running


async def test_faults_are_survived_in_a_mesh() -> None:
    async with gateway() as room:

        def open_transport(who: Participant) -> Transport:
            return room.transport(who.identity, who.kind)

        outcome = await run_call(1, "mesh", open_transport, FAULTS)
    print(f"\n{Figures([outcome]).table()}")
    assert len(outcome.incidents) >= FAULTS
    outcome.check(SLACK)


async def test_faults_are_survived_on_an_sfu(server: EmbeddedServer) -> None:
    def open_transport(who: Participant) -> Transport:
        return SFUTransport(server.url, server.token(who.identity, "chaos", kind=who.kind))

    outcome = await run_call(2, "sfu", open_transport, FAULTS)
    print(f"\n{Figures([outcome]).table()}")
    assert len(outcome.incidents) >= FAULTS
    outcome.check(SLACK)
