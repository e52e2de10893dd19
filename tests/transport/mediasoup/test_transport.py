"""Participants of a room on a real mediasoup: who is there, and how they hear each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from aiohttp import web

from mulisa.core.errors import ConfigError, SignalingError, TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.room import Participant, RoomName
from mulisa.core.transport import Caption, ChatMessage, SubscriptionStats
from mulisa.transport.mediasoup.demo import DemoSignalling
from mulisa.transport.mediasoup.transport import MediasoupTransport
from mulisa.transport.rtp.spurts import TAIL_FRAMES
from tests.browser import speech
from tests.browser.speech import Studio
from tests.mediasoup_server import MediasoupServer
from tests.network import free_port
from tests.transport.mediasoup.rooms import (
    ALICE,
    BOB,
    MULISA,
    call,
    eventually,
    speaking,
)
from tests.transport.mesh.rooms import PATIENCE, Witness, hear, pitch, say, tone

pytestmark = [pytest.mark.network, pytest.mark.slow]

BUDGET = "I think we should move the budget review to Friday."


async def test_tones_arrive_apart_and_with_their_pitch(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, BOB, MULISA) as room:
        alice, bob, mulisa = (room.transports[who] for who in (ALICE, BOB, MULISA))
        assert mulisa.topology == "sfu" and mulisa.room == room.room
        at_mulisa = [asyncio.create_task(hear(mulisa, who, 60)) for who in (ALICE, BOB)]
        await asyncio.gather(say(alice, tone(300.0, 60)), say(bob, tone(700.0, 60)))
        for task, frequency in zip(at_mulisa, (300.0, 700.0), strict=True):
            assert pitch((await task)[-24_000:]) == pytest.approx(frequency, abs=2.5)
        stats = mulisa.stats(ALICE)
        assert stats.frames_received >= 60 and stats.packets_received >= 60
        assert stats.packets_lost == 0

        of_her = [asyncio.create_task(hear(each, MULISA, 60)) for each in (alice, bob)]
        await say(mulisa, tone(500.0, 60))
        for task in of_her:
            heard = (await task)[-24_000:]
            assert pitch(heard) == pytest.approx(500.0, abs=2.5)
            assert np.max(np.abs(heard)) == pytest.approx(8_000, rel=0.2)


async def test_who_is_there_who_comes_and_who_goes_is_reported(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        assert mulisa.local.identity == MULISA and mulisa.local.is_agent
        assert mulisa.participants == {}
        async with room.transport(ALICE) as alice:
            joined = await witness.until(ParticipantJoined)
            assert isinstance(joined, ParticipantJoined)
            assert joined.participant.name == "Alice" and not joined.participant.is_agent
            await Witness(alice).until(ParticipantJoined)
            assert alice.participants[MULISA].is_agent
            await witness.until(TrackSubscribed(ALICE))
            hearing = asyncio.create_task(frames_until_the_end(mulisa))
        await witness.until(TrackUnsubscribed(ALICE), ParticipantLeft)
        async with asyncio.timeout(PATIENCE):
            await hearing
        assert mulisa.participants == {}
        assert await frames_until_the_end(mulisa) == 0, "there is nothing to iterate any more"

        async with room.transport(ALICE):
            await witness.until(ParticipantJoined, TrackSubscribed(ALICE))
        await witness.until(ParticipantLeft)
        assert mulisa.stats(ALICE) == SubscriptionStats(0, 0, 0)


async def frames_until_the_end(mulisa: MediasoupTransport) -> int:
    return len([frame async for frame in mulisa.frames(ALICE)])


async def test_attributes_and_mute_are_reported(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, MULISA) as room:
        alice, witness = room.transports[ALICE], room.witnesses[MULISA]
        await eventually(lambda: not room.transports[MULISA].participants[ALICE].muted)
        await alice.set_attributes({"colour": "blue"})
        assert await until_shown(witness, lambda who: who.attributes == {"colour": "blue"})
        await alice.speak_to(frozenset())
        connection, voice = alice._stay.connection, alice._stay.speaking.voice
        assert connection is not None and voice is not None
        await connection.signalling.pause_producer(voice.producer, True)
        assert await until_shown(witness, lambda who: who.muted)
        await connection.signalling.pause_producer(voice.producer, False)
        assert await until_shown(witness, lambda who: not who.muted)
        with pytest.raises(SignalingError):
            await alice.set_attributes({"long": "x" * 10_000})


async def until_shown(witness: Witness, is_so: object) -> bool:
    assert callable(is_so)
    while True:
        event = await witness.until(ParticipantUpdated)
        assert isinstance(event, ParticipantUpdated)
        if is_so(event.participant):
            return True


async def test_text_reaches_everybody_or_one(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, BOB, MULISA) as room:
        alice, bob = room.transports[ALICE], room.transports[BOB]
        await alice.send_chat(ChatMessage("one", "for all"))
        await alice.send_chat(ChatMessage("two", "for her", MULISA))
        await room.witnesses[MULISA].until(
            ChatReceived(ALICE, "one", "for all"), ChatReceived(ALICE, "two", "for her")
        )
        await bob.send_chat(ChatMessage("three", "and back", ALICE))
        await room.witnesses[ALICE].until(ChatReceived(BOB, "three", "and back"))
        await room.witnesses[BOB].until(ChatReceived(ALICE, "one", "for all"))
        assert ChatReceived(ALICE, "two", "for her") not in room.witnesses[BOB].seen
        await room.transports[MULISA].send_caption(Caption("s1", ALICE, "so", final=True))
        await alice.send_reception(frozenset({BOB, MULISA}))
        await eventually(lambda: room.transports[MULISA].receptions == {ALICE: {BOB, MULISA}})
        with pytest.raises(SignalingError):
            await alice.send_chat(ChatMessage("no id!", "x"))


async def test_the_server_says_how_loud_everybody_is_and_who_speaks(
    mediasoup: MediasoupServer,
) -> None:
    (words,) = await Studio().speak(speech.BOB, BUDGET)  # a tone is no speech to the observer
    async with call(mediasoup, ALICE, BOB, MULISA) as room:
        mulisa = room.transports[MULISA]
        async with speaking(room.transports[BOB].send_frame, words=words):
            await eventually(lambda: mulisa.levels.get(BOB, -127.0) > -30.0)
            assert ALICE not in mulisa.levels
            await eventually(lambda: mulisa.dominant_speaker == BOB)
        await eventually(lambda: BOB not in mulisa.levels)


async def test_who_hears_her_is_reported_where_it_is_known(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, MULISA) as room:
        await room.join(ALICE)
        await room.witnesses[MULISA].until(ListenerConnected(ALICE))


async def test_after_a_pause_the_first_words_are_whole(mediasoup: MediasoupServer) -> None:
    """Neither we nor mediasoup hold back what follows a silence."""
    async with call(mediasoup, ALICE, MULISA) as room:
        mulisa, alice = room.transports[MULISA], room.transports[ALICE]
        hearing = asyncio.create_task(hear(alice, MULISA, 3 * 50 + 2 * TAIL_FRAMES))
        for _ in range(3):
            await say(mulisa, tone(500.0, 50))
            await asyncio.sleep(4.0)
        heard = (await hearing).astype(float).reshape(-1, 240)
        loud = float(((heard**2).mean(axis=1) ** 0.5 > 1_500).sum() * 0.005)
        assert loud > 1.9, f"{loud} of the first two of three seconds"


async def test_leaving_leaves_nothing_behind(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, BOB) as room:
        before = asyncio.all_tasks()
        async with room.transport(MULISA) as mulisa:
            witness = Witness(mulisa)
            await witness.until(TrackSubscribed(ALICE), TrackSubscribed(BOB))
            hearing = asyncio.create_task(frames_until_the_end(mulisa))
            await mulisa.whisper(BOB)
        async with asyncio.timeout(PATIENCE):
            await hearing
            assert not [each async for each in mulisa.events() if isinstance(each, ChatReceived)]

        def left() -> list[str]:
            """Those of others, whom her voices left, end by themselves."""
            names = [task.get_name() for task in asyncio.all_tasks() - before]
            return [name for name in names if "mediasoup" in name]

        await eventually(lambda: not left())


def to(url: str) -> MediasoupTransport:
    room = RoomName("kitchen")
    return MediasoupTransport(
        lambda: DemoSignalling(url, room, MULISA), room, Participant(MULISA, "Mulisa", kind="agent")
    )


async def test_a_server_that_is_away_cannot_be_reached() -> None:
    with pytest.raises(TransportError, match="nobody answers at") as caught:
        async with to(f"ws://127.0.0.1:{free_port()}"):
            pass
    assert caught.value.retryable


@pytest.fixture
async def web_server() -> AsyncIterator[str]:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_what_is_no_mediasoup_application_is_recognised(web_server: str) -> None:
    with pytest.raises(TransportError, match="protoo WebSocket") as caught:
        async with to(web_server):
            pass
    assert not caught.value.retryable


async def test_what_is_no_address_is_recognised() -> None:
    with pytest.raises(ConfigError, match="'nonsense' is no WebSocket"):
        async with to("nonsense"):
            pass


async def test_being_cancelled_while_joining_does_not_join(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE) as room:
        for wait in (0.0, 0.005, 0.01, 0.02, 0.03):
            mulisa = room.transport(MULISA)
            joining = asyncio.create_task(mulisa.__aenter__())
            await asyncio.sleep(wait)
            joining.cancel()
            await asyncio.wait({joining})
            if not joining.cancelled():
                joining.result()  # it was quicker
                await mulisa.__aexit__(None, None, None)
        await eventually(lambda: room.transports[ALICE].participants == {})
