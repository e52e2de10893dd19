"""``WS /mesh`` with real sockets: who gets in, who is thrown out, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from mulisa.core.room import Identity
from mulisa.server import mesh
from mulisa.transport.mesh import relay
from mulisa.transport.mesh.outcome import ParticipantGone, RoomClosed
from tests.transport.mesh.rooms import PATIENCE, ROOM, Gateway, gateway, token

pytestmark = pytest.mark.network

LAST = {"candidate": None}


@asynccontextmanager
async def client(
    room: Gateway, identity: str, *, autoping: bool = True, **query: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A bare socket in the room."""
    async with aiohttp.ClientSession() as http:
        url = f"{room.url}/mesh"
        params = {"access_token": token(identity), **query}
        async with http.ws_connect(url, params=params, autoping=autoping) as socket:
            yield socket


async def receive(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next message."""
    async with asyncio.timeout(PATIENCE):
        message: dict[str, Any] = await socket.receive_json()
    return message


async def close_code(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Read until the gateway has closed the socket."""
    async with asyncio.timeout(PATIENCE):
        async for _ in socket:
            pass
    return socket.close_code


@pytest.mark.parametrize(
    ("access_token", "status"),
    [
        ("", 401),
        ("nonsense", 401),
        (json.dumps({"identity": "a", "kind": "standard", "room": "r", "room_join": False}), 403),
    ],
)
async def test_a_token_is_checked_before_the_upgrade(access_token: str, status: int) -> None:
    async with gateway() as room, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{room.url}/mesh", params={"access_token": access_token})
        assert refused.value.status == status
        assert room.happened == []


async def test_a_full_room_refuses_before_the_upgrade() -> None:
    async with gateway(max_people=1) as room, client(room, "alice") as alice:
        await receive(alice)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with client(room, "bob"):
                pass
        assert refused.value.status == 503


async def test_one_address_has_so_many_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "SOCKETS_PER_ADDRESS", 1)
    async with gateway() as room:
        async with client(room, "alice") as alice:
            await receive(alice)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with client(room, "bob"):
                    pass
            assert refused.value.status == 429
        await room.until(lambda happened: RoomClosed(ROOM) in happened)
        async with client(room, "bob") as bob:
            await receive(bob)


async def test_messages_go_from_peer_to_peer() -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        to = (await receive(alice))["participant"]["sid"]
        sid = (await receive(bob))["participant"]["sid"]
        await bob.send_json({"type": "offer", "to": to, "connection": "abcd1234", "sdp": "v=0"})
        assert (await receive(alice))["type"] == "participant_joined"
        assert await receive(alice) == {
            "type": "offer",
            "from": sid,
            "connection": "abcd1234",
            "sdp": "v=0",
        }


async def test_the_state_of_rooms_is_there_for_the_api() -> None:
    async with gateway() as room, client(room, "alice") as alice:
        await receive(alice)
        state = room.endpoint.room(ROOM)
        assert state is not None and state.topology == "mesh"
        assert [stay.participant.identity for stay in state.stays] == ["alice"]
        assert room.endpoint.rooms() == [state]
    assert room.endpoint.rooms() == []


@pytest.mark.parametrize("say_leave", [True, False])
async def test_who_goes_has_left(say_leave: bool) -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        await receive(bob)
        await receive(alice)
        if say_leave:
            await bob.send_json({"type": "leave"})
            assert await close_code(bob) == aiohttp.WSCloseCode.OK
        else:
            await bob.close()
        left = await receive(alice)
        assert (left["type"], left["reason"]) == ("participant_left", "left")


def drop(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Die without a goodbye."""
    connection = socket._response.connection
    assert connection is not None and connection.transport is not None
    connection.transport.abort()


async def test_a_dropped_connection_is_detached_and_then_vanished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "UNWITNESSED_FOR", 0.2)
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        sid = (await receive(alice))["participant"]["sid"]
        drop(bob)
        assert await receive(alice) == {"type": "participant_detached", "sid": sid}
        left = await receive(alice)
        assert (left["type"], left["reason"]) == ("participant_left", "vanished")


async def test_a_stay_is_resumed_over_another_socket() -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        to = (await receive(alice))["participant"]["sid"]
        sid = (await receive(bob))["participant"]["sid"]
        await bob.send_json({"type": "candidate", "to": to, "connection": "abcd1234"} | LAST)
        assert [(await receive(alice))["type"] for _ in range(2)] == [
            "participant_joined",
            "candidate",
        ]
        drop(bob)
        assert (await receive(alice))["type"] == "participant_detached"
        await alice.send_json({"type": "candidate", "to": sid, "connection": "abcd1234"} | LAST)
        async with client(room, "bob", resume=sid, received="0") as again:
            assert await receive(again) == {"type": "resumed", "received": 1, "ice_servers": []}
            assert (await receive(again))["from"] == to
            assert (await receive(alice))["type"] == "participant_attached"


async def test_a_half_open_socket_is_superseded_without_a_word() -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        sid = (await receive(bob))["participant"]["sid"]
        assert (await receive(alice))["type"] == "participant_joined"
        async with client(room, "bob", resume=sid, received="0") as again:
            assert (await receive(again))["type"] == "resumed"
            assert await close_code(bob) == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
            await again.send_json({"type": "update", "muted": True})
            assert (await receive(alice))["type"] == "participant_updated"


@pytest.mark.parametrize("received", ["", "-1", "x", "1e3", "\u0663", "9" * 17, "1 "])
async def test_a_resumption_says_a_number(received: str) -> None:
    async with gateway() as room:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with client(room, "bob", resume="PA_1", received=received):
                pass
        assert refused.value.status == 400


async def test_a_client_that_answers_no_ping_is_detached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(mesh, "SILENCE", 0.5)
    async with gateway() as room:
        async with client(room, "alice") as alice, client(room, "bob", autoping=False) as bob:
            await receive(alice)
            await receive(bob)
            assert (await receive(alice))["type"] == "participant_joined"
            # reading, alice answers pings and stays
            assert (await receive(alice))["type"] == "participant_detached"


async def test_a_client_that_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "OUTBOX_MESSAGES", 20)
    monkeypatch.setattr(relay, "UNWITNESSED_FOR", 0.2)
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        to = (await receive(bob))["participant"]["sid"]
        sdp = "v=0" + "x" * 30_000
        message = {"type": "offer", "to": to, "connection": "abcd1234", "sdp": sdp}
        bob_connection = bob._response.connection
        assert bob_connection is not None and bob_connection.transport is not None
        bob_connection.transport.pause_reading()
        reading = asyncio.create_task(
            room.until(lambda happened: any(isinstance(e, ParticipantGone) for e in happened))
        )
        while not reading.done():
            await alice.send_json(message)
            await asyncio.sleep(0.021)
        await reading
        bob_connection.transport.resume_reading()
        gone = next(e for e in room.happened if isinstance(e, ParticipantGone))
        assert (gone.participant.identity, gone.reason) == ("bob", "vanished")


@pytest.mark.parametrize(
    ("data", "code"),
    [("{", "bad_message"), (b"\0", "bad_message"), (" " * 65_537, "too_large")],
    ids=["text", "binary", "long"],
)
async def test_bad_input_is_answered_and_the_socket_stays(data: str | bytes, code: str) -> None:
    async with gateway() as room, client(room, "alice") as alice:
        await receive(alice)
        await (alice.send_str(data) if isinstance(data, str) else alice.send_bytes(data))
        assert (await receive(alice))["code"] == code
        await alice.send_json({"type": "update", "muted": True})
        assert (await receive(alice))["type"] == "participant_updated"


async def test_an_absurd_message_closes_its_sender_alone() -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        await receive(alice)
        await bob.send_str(" " * 1_000_000)
        assert await close_code(bob) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        assert (await receive(alice))["type"] == "participant_detached"


async def test_a_flood_closes_its_sender_alone() -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        for _ in range(600):
            await bob.send_str("{}")
        answers = []
        async with asyncio.timeout(PATIENCE):
            async for message in bob:
                answers.append(json.loads(message.data))
        assert "too_fast" in [answer.get("code") for answer in answers]
        assert answers[-1] == {"type": "closing", "reason": "too_fast"}
        assert (await receive(alice))["type"] == "participant_joined"
        assert (await receive(alice))["reason"] == "removed"


async def test_a_second_stay_of_an_identity_ends_the_first() -> None:
    async with gateway() as room, client(room, "alice") as first:
        await receive(first)
        async with client(room, "alice") as second:
            assert (await receive(second))["participants"] == []
            assert await receive(first) == {"type": "closing", "reason": "replaced"}
            assert await close_code(first) == aiohttp.WSCloseCode.OK


async def test_an_operator_removes_somebody() -> None:
    async with gateway() as room, client(room, "alice") as alice:
        await receive(alice)
        room.endpoint.remove(ROOM, Identity("alice"))
        assert await receive(alice) == {"type": "closing", "reason": "removed"}
        await room.until(lambda happened: RoomClosed(ROOM) in happened)


async def test_a_shutdown_says_goodbye_to_everybody_and_takes_nobody() -> None:
    async with gateway() as room, client(room, "alice") as alice, client(room, "bob") as bob:
        await receive(alice)
        await receive(alice)
        await receive(bob)
        going = asyncio.create_task(room.endpoint.shut_down())
        assert (await receive(alice)) == {"type": "closing", "reason": "shutdown"}
        assert await close_code(alice) == aiohttp.WSCloseCode.OK
        assert await close_code(bob) == aiohttp.WSCloseCode.OK
        await going
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with client(room, "carol"):
                pass
        assert refused.value.status == 503
