"""A worker that dies, an application that goes and comes back, and being shown the door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from mulisa.core.errors import ConnectionLost
from mulisa.core.events import (
    ParticipantJoined,
    ParticipantLeft,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.transport import ChatMessage
from mulisa.transport.mediasoup import stay as stay_module
from mulisa.transport.mediasoup.transport import MediasoupTransport
from tests.mediasoup_server import MediasoupServer
from tests.transport.mediasoup.rooms import (
    A_WHILE,
    ALICE,
    BOB,
    MULISA,
    call,
    eventually,
    packets_of,
    speaking,
)
from tests.transport.mesh.rooms import PATIENCE, hear, pitch, say, tone

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture
def own_server(mediasoup_worker: str) -> Iterator[MediasoupServer]:
    """One that may be stopped."""
    with MediasoupServer(mediasoup_worker) as server:
        yield server


async def away_and_back(transport: MediasoupTransport) -> None:
    """Return once it has noticed that the room was gone, and has come back."""
    stay = transport._stay
    async with asyncio.timeout(PATIENCE):
        await stay.watch.until(lambda: stay.connection is None)
        await stay.watch.until(lambda: stay.connection is not None)


async def talk(speaker: MediasoupTransport, listener: MediasoupTransport, hz: float) -> None:
    """One of them says something and the other one hears it."""
    hearing = asyncio.create_task(hear(listener, speaker.local.identity, 50))
    await asyncio.sleep(0)
    await say(speaker, tone(hz, 60))
    assert pitch((await hearing)[-24_000:]) == pytest.approx(hz, abs=2.5)


@pytest.mark.parametrize("what", ["worker", "application"])
async def test_a_room_that_was_rebuilt_has_everything_as_before(
    own_server: MediasoupServer, what: str
) -> None:
    async with call(own_server, ALICE, BOB, MULISA) as room:
        alice, bob, mulisa = (room.transports[who] for who in (ALICE, BOB, MULISA))
        witness = room.witnesses[MULISA]
        await mulisa.set_attributes({"lk.agent.state": "listening"})
        await mulisa.hear(BOB, False)
        await mulisa.speak_to(frozenset({ALICE}))
        routing = mulisa.routing
        await witness.until(TrackUnsubscribed(BOB))
        witness.seen.clear()

        coming_back = [
            asyncio.create_task(away_and_back(each)) for each in room.transports.values()
        ]
        await asyncio.sleep(0)
        kill = own_server.kill_worker if what == "worker" else own_server.restart
        await asyncio.to_thread(kill)
        await asyncio.gather(*coming_back)
        await witness.until(TrackUnsubscribed(ALICE), TrackSubscribed(ALICE))
        await talk(alice, mulisa, 400.0)
        await eventually(lambda: alice._stay.consuming.hearing(MULISA).ear is not None)
        await talk(mulisa, alice, 600.0)
        assert mulisa.routing == routing
        attributes = alice.participants[MULISA].attributes
        assert attributes["lk.agent.state"] == "listening" and "mulisa.routing" in attributes
        async with speaking(mulisa.send_frame), speaking(bob.send_frame):
            before = packets_of(bob), packets_of(mulisa)
            await asyncio.sleep(A_WHILE)
            assert (packets_of(bob), packets_of(mulisa)) == before
        came_and_went = (ParticipantJoined, ParticipantLeft)
        assert not [each for each in witness.seen if isinstance(each, came_and_went)]


async def test_who_does_not_come_back_has_left(
    own_server: MediasoupServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stay_module, "RETURN_TIME", 1.0)
    async with call(own_server, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        alice = room.transport(ALICE)
        await alice.__aenter__()
        await witness.until(TrackSubscribed(ALICE))
        coming_back = asyncio.create_task(away_and_back(mulisa))
        await asyncio.to_thread(own_server.stop, at_once=True)
        await alice.__aexit__(None, None, None)
        await asyncio.to_thread(own_server.start)
        await coming_back
        left = await witness.until(ParticipantLeft)
        assert isinstance(left, ParticipantLeft) and left.participant.identity == ALICE
        assert mulisa.participants == {}


async def test_what_is_said_meanwhile_waits_or_is_lost_without_a_noise(
    own_server: MediasoupServer,
) -> None:
    async with call(own_server, ALICE, MULISA) as room:
        mulisa = room.transports[MULISA]
        await asyncio.to_thread(own_server.stop, at_once=True)
        await eventually(lambda: mulisa._stay.connection is None)
        mulisa.send_frame(tone(500.0, 1)[0])
        chat = asyncio.create_task(mulisa.send_chat(ChatMessage("m1", "are you there")))
        shown = asyncio.create_task(mulisa.set_attributes({"lk.agent.state": "thinking"}))
        await asyncio.to_thread(own_server.start)
        await asyncio.gather(chat, shown)
        await eventually(lambda: mulisa._stay.connection is not None)
        alice = room.transports[ALICE]
        await eventually(lambda: bool(alice.participants.get(MULISA)))
        await eventually(
            lambda: alice.participants[MULISA].attributes == {"lk.agent.state": "thinking"}
        )


async def test_a_room_that_stays_away_is_lost(
    own_server: MediasoupServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stay_module, "RECONNECT_TIME", 1.0)
    async with call(own_server, MULISA) as room:
        await asyncio.to_thread(own_server.stop, at_once=True)
        with pytest.raises(ConnectionLost, match="out of reach"):
            await room.witnesses[MULISA].until(ParticipantJoined)


async def test_who_comes_under_the_same_identity_ends_our_stay(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, MULISA) as room:
        events = asyncio.create_task(until_the_end(room.witnesses[MULISA]._events))
        async with room.transport(MULISA):
            async with asyncio.timeout(PATIENCE):
                await events


async def until_the_end(events: object) -> None:
    async for _ in events:  # type: ignore[attr-defined]
        pass
