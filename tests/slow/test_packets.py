"""What routing means on the wire: packets are counted between the SFU and the agent process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.browser.people import until
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate
from tests.network import UdpRelay
from tests.slow.calls import ROOM, Call, call_on, livekit_behind_a_network

pytestmark = [pytest.mark.slow, pytest.mark.browser]

BUDGET = "I think we should move the budget review to Friday."
PLAN = "We need a better plan for the summer party."
SEED = 4
FLOWING = 100
"""Packets."""


async def test_no_packet_of_who_is_not_heard_reaches_the_agent(
    studio: Studio, chromium: str, livekit_program: str, tmp_path: Path
) -> None:
    (budget,) = await studio.speak(BOB, BUDGET)
    (plan,) = await studio.speak(ALICE, PLAN)
    async with (
        livekit_behind_a_network(livekit_program, SEED) as (livekit, network),
        call_on(livekit, tmp_path, chromium) as call,
    ):
        people = [await call.alice.identity(), await call.bob.identity()]
        await _flows(call, network)
        await call.server.route(ROOM, hear=dict.fromkeys(people, False))
        before = _to_mulisa(call, network)
        speaking = asyncio.gather(call.bob.say(budget), call.alice.say(plan))
        await call.alice.hears_on(people[1], FLOWING)
        await call.bob.hears_on(people[0], FLOWING)
        await speaking
        assert _to_mulisa(call, network) == before, "packets after the acknowledgement"

        await call.server.route(ROOM, hear={people[1]: True})
        await _flows(call, network)
        await call.bob_says(budget)
        said = await call.server.said(ROOM)
    assert [entry["identity"] for entry in said] == people[1:]
    assert word_error_rate(BUDGET, said[0]["text"]) <= 0.5, said


async def _flows(call: Call, network: UdpRelay) -> None:
    """Wait until so many more packets have come to her."""

    async def count() -> int:
        return _to_mulisa(call, network)

    before = await count()
    await until(count, lambda now: now >= before + FLOWING, "packets to Mulisa")


def _to_mulisa(call: Call, network: UdpRelay) -> int:
    """RTP packets that went to the agent process so far."""
    ports = {each.laddr.port for each in call.server.agent().net_connections("udp")}
    return sum(count for (_, port), count in network.rtp_sent.items() if port in ports)
