"""A client's WebSocket, seen from the room."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession, WSMsgType, web
from aiohttp.test_utils import TestServer

from mulisa.sfu.outbox import MAX_WAITING_BYTES, Outbox

pytestmark = pytest.mark.network


class Served:
    """One socket's server side: an outbox, until its client is gone."""

    def __init__(self) -> None:
        self.outbox: asyncio.Future[Outbox] = asyncio.get_running_loop().create_future()
        self.slow = 0
        self.ended = asyncio.Event()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        outbox = Outbox(socket, request.transport, self._on_slow)
        writing = asyncio.create_task(outbox.run())
        self.outbox.set_result(outbox)
        try:
            async for _ in socket:
                pass
            outbox.finish()
            await writing
        finally:  # the test's server cancels a handler whose client is gone
            self.ended.set()
        return socket

    def _on_slow(self) -> None:
        self.slow += 1


@pytest.fixture
async def served() -> Served:
    return Served()


def application(served: Served) -> TestServer:
    app = web.Application()
    app.router.add_get("/", served.handle)
    return TestServer(app)


async def test_messages_arrive_in_order_and_those_before_the_end_do(served: Served) -> None:
    async with (
        application(served) as server,
        ClientSession() as http,
        http.ws_connect(server.make_url("/")) as socket,
    ):
        outbox = await served.outbox
        for number in range(100):
            outbox.send(bytes([number]))
        outbox.finish()
        outbox.send(b"too late")
        received = [message async for message in socket]
        assert [message.data for message in received] == [bytes([n]) for n in range(100)]
        assert all(message.type is WSMsgType.BINARY for message in received)
        assert socket.close_code == 1000
        await asyncio.wait_for(served.ended.wait(), 10)
        assert not served.slow


async def test_who_does_not_read_loses_the_socket(served: Served) -> None:
    async with (
        application(served) as server,
        ClientSession() as http,
        http.ws_connect(server.make_url("/")) as socket,
    ):
        outbox = await served.outbox
        message = b"x" * (MAX_WAITING_BYTES // 4)
        for _ in range(5):
            outbox.send(message)
        assert served.slow == 1
        outbox.send(message)
        assert served.slow == 1
        async with asyncio.timeout(10):
            await served.ended.wait()
            async for received in socket:
                assert received.type is not WSMsgType.CLOSE
