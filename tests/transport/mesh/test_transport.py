"""Participants of a mesh room over real sockets: aiortc on both sides, the gateway between."""

from __future__ import annotations

import asyncio

import pytest

from mulisa.core.events import ListenerConnected, TrackSubscribed
from mulisa.core.room import Identity
from tests.transport.mesh.rooms import Witness, gateway, hear, pitch, say, tone

pytestmark = pytest.mark.network

ALICE, BOB, MULISA = Identity("alice"), Identity("bob"), Identity("mulisa")


async def test_a_tone_arrives_with_its_pitch_and_length() -> None:
    async with gateway() as room:
        async with room.transport("alice") as alice, room.transport("mulisa", "agent") as mulisa:
            at_alice, at_mulisa = Witness(alice), Witness(mulisa)
            await at_alice.until(TrackSubscribed(MULISA), ListenerConnected(MULISA))
            await at_mulisa.until(TrackSubscribed(ALICE), ListenerConnected(ALICE))
            for speaker, listener, who in ((alice, mulisa, ALICE), (mulisa, alice, MULISA)):
                listening = asyncio.create_task(hear(listener, who, 50))
                await say(speaker, tone(440.0, 55))
                heard = await listening
                assert pitch(heard[4800:]) == pytest.approx(440.0, abs=2.0)
