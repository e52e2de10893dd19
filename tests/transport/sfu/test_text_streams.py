"""Captions, chat and reception as an unmodified client of the SDK sees and sends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from mulisa.core.errors import SignalingError
from mulisa.core.events import ChatReceived, ParticipantJoined, TransportEvent
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.chat import CHAT_BURST, MAX_CHAT_CHARS
from mulisa.transport.sfu.transport import SFUTransport
from tests.livekit_server import LiveKitServer
from tests.transport.mesh.rooms import Witness
from tests.transport.sfu.rooms import ALICE, BOB, MULISA, PlainClient, call

pytestmark = [pytest.mark.network, pytest.mark.slow]


@asynccontextmanager
async def conversation(
    server: LiveKitServer,
) -> AsyncIterator[tuple[SFUTransport, Witness, PlainClient, PlainClient]]:
    """Mulisa, and Alice and Bob with plain clients, whom she knows of."""
    async with call(server, MULISA) as room:
        alice, bob = await room.join_plainly(ALICE), await room.join_plainly(BOB)
        witness = room.witnesses[MULISA]
        await witness.until(ParticipantJoined, ParticipantJoined)
        yield room.transports[MULISA], witness, alice, bob


async def test_captions_are_those_of_livekits_agents(livekit: LiveKitServer) -> None:
    async with conversation(livekit) as (mulisa, _, alice, bob):
        her_track = mulisa._stay.speaking.voice_sid
        await mulisa.send_caption(Caption("s1", ALICE, "Who is", final=False))
        await mulisa.send_caption(Caption("s1", ALICE, "Who is here?", final=True))
        await mulisa.send_caption(
            Caption("s2", MULISA, "You and", final=True, interrupted=True, unspoken=" Bob.")
        )
        for client in (alice, bob):
            await client.until(lambda client=client: len(client.texts) == 3)  # type: ignore[misc]
            said = [(sender, text) for sender, _, text in client.texts]
            assert said == [(ALICE, "Who is"), (ALICE, "Who is here?"), (MULISA, "You and")]
            attributes = [info.attributes for _, info, _ in client.texts]
            assert attributes[0] == {
                "lk.segment_id": "s1",
                "lk.transcription_final": "false",
                "mulisa.identity": ALICE,
            }
            assert attributes[1] == {**attributes[0], "lk.transcription_final": "true"}
            assert attributes[2] == {
                "lk.segment_id": "s2",
                "lk.transcription_final": "true",
                "lk.transcribed_track_id": her_track,
                "mulisa.identity": MULISA,
                "mulisa.interrupted": "true",
                "mulisa.unspoken": " Bob.",
            }
            await client.until(lambda client=client: bool(client.transcriptions))  # type: ignore[misc]
            ((who, segment),) = client.transcriptions
            assert (who, segment.id, segment.text) == (MULISA, "s2", "You and") and segment.final


async def test_what_is_whispered_is_shown_to_one_only(livekit: LiveKitServer) -> None:
    async with conversation(livekit) as (mulisa, _, alice, bob):
        await mulisa.send_caption(Caption("s1", MULISA, "secret", final=True, listener=ALICE))
        await mulisa.send_chat(ChatMessage("c1", "secret", listener=ALICE))
        for each in ("s2", "s3"):
            await mulisa.send_caption(Caption(each, MULISA, "news", final=True))
        await alice.until(lambda: len(alice.texts) == 4)
        await bob.until(lambda: len(bob.texts) == 2)
        assert [text for _, _, text in bob.texts] == ["news", "news"]
        listeners = [(info.attributes or {}).get("mulisa.listener") for _, info, _ in alice.texts]
        assert listeners == [ALICE, ALICE, None, None]


async def test_chat_goes_both_ways(livekit: LiveKitServer) -> None:
    async with conversation(livekit) as (mulisa, witness, alice, bob):
        message_id = await alice.send_text("hello \U0001f44b")
        await witness.until(ChatReceived(ALICE, message_id, "hello \U0001f44b"))
        await mulisa.send_chat(ChatMessage("m-1", "hello Alice"))
        for client in (alice, bob):
            await client.until(partial(_has_text_of, client, MULISA))
            ((_, info, text),) = [each for each in client.texts if each[0] == MULISA]
            assert (info.stream_id, text) == ("m-1", "hello Alice")
            assert info.topic == "lk.chat"


async def test_chat_comes_in_order_and_from_each_sender(livekit: LiveKitServer) -> None:
    async with conversation(livekit) as (_, witness, alice, bob):
        for n in range(10):
            await alice.send_text(f"a{n}")
            await bob.send_text(f"b{n}" * 300)
        events = await chats(witness, 20)
        assert [each.text for each in events if each.identity == ALICE] == [
            f"a{n}" for n in range(10)
        ]
        assert [each.text for each in events if each.identity == BOB] == [
            f"b{n}" * 300 for n in range(10)
        ]


async def chats(witness: Witness, n: int) -> list[ChatReceived]:
    seen: list[TransportEvent] = [await witness.until(ChatReceived) for _ in range(n)]
    return [each for each in seen if isinstance(each, ChatReceived)]


async def test_what_is_too_long_or_too_much_is_dropped(livekit: LiveKitServer) -> None:
    async with conversation(livekit) as (mulisa, witness, alice, _):
        await alice.send_text("x" * (MAX_CHAT_CHARS + 1))
        await alice.send_text("x" * MAX_CHAT_CHARS)
        (first,) = await chats(witness, 1)
        assert len(first.text) == MAX_CHAT_CHARS
        n = int(CHAT_BURST) + 20
        for i in range(n):
            await alice.send_text(str(i))
        await asyncio.sleep(2.0)
        await alice.send_text("last")
        while (await chats(witness, 1))[0].text != "last":
            pass
        received = [each for each in witness.seen if isinstance(each, ChatReceived)]
        assert len(received) < n
        with pytest.raises(SignalingError):
            await mulisa.send_chat(ChatMessage("m1", "x" * (MAX_CHAT_CHARS + 1)))
        with pytest.raises(SignalingError):
            await mulisa.send_chat(ChatMessage("not an id", "x"))
        with pytest.raises(SignalingError):
            await mulisa.send_caption(Caption("s1", ALICE, "x" * 20_000, final=True))


async def test_who_types_as_soon_as_they_are_in_is_known_when_it_is_told(
    livekit: LiveKitServer,
) -> None:
    """A server tells of somebody without a microphone up to three seconds late."""
    async with call(livekit, MULISA) as room:
        witness = room.witnesses[MULISA]
        alice = await room.join_plainly(ALICE)
        await alice.send_text("am I late?")
        await witness.until(ChatReceived)
        kinds = [type(each) for each in witness.seen]
        assert kinds.index(ParticipantJoined) < kinds.index(ChatReceived)


async def test_state_and_reception_are_told(livekit: LiveKitServer) -> None:
    async with conversation(livekit) as (mulisa, _, alice, bob):
        for state in ("thinking", "speaking"):
            await mulisa.set_attributes({"lk.agent.state": state, "x": "y"})
        await mulisa.set_attributes({"x": ""})
        for client in (alice, bob):
            await client.until(partial(_shows, client, {"lk.agent.state": "speaking"}))
        assert mulisa.local.attributes == {"lk.agent.state": "speaking"}
        with pytest.raises(SignalingError):
            await mulisa.set_attributes({"x": "y" * 10_000})

        async with asyncio.timeout(20.0):
            while not alice.data:  # it may get lost
                await mulisa.send_reception(frozenset({BOB, ALICE}))
                await asyncio.sleep(0.1)
        assert json.loads(alice.data[0].data) == {"heard": [ALICE, BOB]}
        assert alice.data[0].topic == "mulisa.reception"


def _shows(client: PlainClient, attributes: dict[str, str]) -> bool:
    """Mulisa's attributes as this client has them now."""
    return client.sdk.remote_participants[MULISA].attributes == attributes


def _has_text_of(client: PlainClient, sender: str) -> bool:
    return any(each[0] == sender for each in client.texts)
