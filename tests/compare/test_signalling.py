"""What passes the counting proxy."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit.protocol import rtc

from mulisa.compare.signalling import Door, Message, Signalling, descriptions, kind_of, tapped

pytestmark = pytest.mark.network


def test_messages_of_both_protocols_have_names() -> None:
    assert kind_of("up", '{"type": "offer", "sdp": ""}') == "offer"
    answer = rtc.SignalResponse(answer=rtc.SessionDescription(type="answer"))
    assert kind_of("down", answer.SerializeToString()) == "answer"
    for nonsense in ("[]", "{", "null", b"\xff\xff", b""):
        assert kind_of("up", nonsense) == "?"


def test_a_relayed_offer_is_one_and_each_of_an_sfus_counts() -> None:
    relayed = [Message(1.0, "alice", "up", "offer"), Message(1.1, "bob", "down", "offer")]
    assert descriptions(relayed, "offer", "mesh") == 1
    assert descriptions(relayed, "offer", "sfu") == 2
    assert descriptions(relayed, "answer", "mesh") == 0


def test_what_is_said_all_the_time_is_not_counted() -> None:
    signalling = Signalling()
    for kind in ("offer", "ping", "answer", "pong"):
        signalling.note("/mesh", "alice", "up", json.dumps({"type": kind}))
    assert [message.kind for message in signalling.since(0.0)] == ["offer", "answer"]
    assert signalling.since(0.0, end=1.0) == []


async def test_everything_goes_on_as_it_came() -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.host}: {message.data}")
        return socket

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"page for {request.host}", headers={"X-Is": "kept"})

    app = web.Application()
    app.router.add_get("/mesh", echo)
    app.router.add_get("/r/{room}", page)
    signalling = Signalling()
    token = jwt.encode({"sub": "alice"}, "a secret that nobody needs to know here", "HS256")
    async with (
        TestServer(app) as server,
        tapped(f"http://127.0.0.1:{server.port}", signalling, Door()) as url,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"{url}/r/standup") as response:
            assert response.headers["X-Is"] == "kept"
            assert await response.text() == f"page for {url.removeprefix('http://')}"
        async with http.ws_connect(f"{url}/mesh?access_token={token}") as socket:
            await socket.send_str('{"type": "candidate"}')
            assert (await socket.receive_str()).endswith('{"type": "candidate"}')
    ways = [(message.who, message.way) for message in signalling.messages]
    assert ways == [("alice", "up"), ("alice", "down")]
    assert signalling.messages[0].kind == "candidate"


async def test_an_agent_process_waits_at_the_door() -> None:
    async def register(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("come in")
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/agent", register)
    door = Door()
    async with (
        TestServer(app) as server,
        tapped(f"http://127.0.0.1:{server.port}", Signalling(), door) as url,
        aiohttp.ClientSession() as http,
    ):

        async def come() -> str:
            async with http.ws_connect(f"{url}/agent") as socket:
                return await socket.receive_str()

        coming = asyncio.create_task(come())
        await door.knocked.wait()
        assert not coming.done()
        door.open()
        assert await coming == "come in"
        door.close()
        assert not door.knocked.is_set()


async def test_who_comes_to_mediasoup_by_herself_waits_at_the_door() -> None:
    async def application(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["protoo"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", application)
    signalling, door = Signalling(), Door()
    left = json.dumps({"notification": True, "method": "peerClosed", "data": {}})
    async with (
        TestServer(app) as server,
        tapped(f"http://127.0.0.1:{server.port}", signalling, door) as url,
        aiohttp.ClientSession() as http,
    ):

        async def come(who: str) -> None:
            there = f"{url}/?roomId=standup&peerId={who}"
            async with http.ws_connect(there, protocols=["protoo"]) as socket:
                await socket.send_str(left)
                assert await socket.receive_str() == left

        coming = asyncio.create_task(come("mulisa"))
        await door.knocked.wait()
        await come("alice")
        assert not coming.done() and signalling.jobs == []
        door.open()
        await coming
    assert len(signalling.jobs) == 1
    said = [(each.who, each.way, each.kind) for each in signalling.messages]
    assert said[:2] == [("alice", "up", "peerClosed"), ("alice", "down", "peerClosed")]
    assert said[2:] == [("mulisa", "up", "peerClosed"), ("mulisa", "down", "peerClosed")]
