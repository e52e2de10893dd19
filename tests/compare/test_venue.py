"""Where calls take place: what is found at an address, and how long a wish takes there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mulisa.compare.browser import Person
from mulisa.compare.clock import now
from mulisa.compare.protoo import Protoo
from mulisa.compare.scenario import MULISA
from mulisa.compare.signalling import Door, Signalling, Way
from mulisa.compare.venue import MediasoupApplication, mediasoup, origin_of
from mulisa.core.errors import ConfigError
from tests.network import free_port

pytestmark = pytest.mark.network


class Writer:
    """A page whose written wish Mulisa passes on, as an application's sockets show it."""

    def __init__(self, signalling: Signalling) -> None:
        self._signalling = signalling
        self._protoo = Protoo()
        self.wrote: list[str] = []

    async def write(self, text: str) -> float:
        begin = now()
        self.wrote.append(text)
        self._say("up", {"request": True, "id": 3, "method": "getStats", "data": {}})
        self._say("up", {"request": True, "id": 4, "method": "setListeners", "data": {}})
        self._say("down", {"response": True, "id": 3, "ok": True, "data": {}})
        self._say("down", {"response": True, "id": 4, "ok": True, "data": {}})
        return begin

    def _say(self, way: Way, message: dict[str, object]) -> None:
        self._signalling.note_protoo(self._protoo, MULISA, way, json.dumps(message))


async def test_a_wish_is_timed_from_her_request_to_its_answer() -> None:
    signalling = Signalling()
    venue = MediasoupApplication("http://localhost", None, signalling, Door())
    writer = Writer(signalling)
    change = await venue.speak_to("standup", cast(Person, writer), only=True)
    times = {(each.way, each.kind): each.at for each in signalling.messages}
    assert change.asked == times["up", "setListeners"]
    assert change.held == times["down", "answer to setListeners"]
    assert "only to me" in writer.wrote[0]


async def test_the_application_and_its_process_are_found(tmp_path: Path) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="a room", headers={"Server": "mediasoup 3.8.4"})

    app = web.Application()
    app.router.add_get("/r/{room}", page)
    async with (
        TestServer(app) as server,
        mediasoup(f"ws://127.0.0.1:{server.port}", tmp_path) as venue,
    ):
        assert venue.software == "mediasoup 3.8.4"
        assert venue.pid == os.getpid()
        assert venue.url.startswith("http://127.0.0.1:") and str(server.port) not in venue.url


async def test_an_address_without_an_application_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no mediasoup application answers"):
        async with mediasoup(f"ws://127.0.0.1:{free_port()}", tmp_path):
            pass


async def test_a_server_without_rooms_is_no_application(tmp_path: Path) -> None:
    async with TestServer(web.Application()) as server:
        with pytest.raises(ConfigError, match="no mediasoup application answers"):
            async with mediasoup(f"ws://127.0.0.1:{server.port}", tmp_path):
                pass


def test_of_an_address_nothing_is_told_that_may_be_secret() -> None:
    assert origin_of("wss://me:word@host:4443/x?token=abc") == "wss://host:4443"
    assert origin_of("ws://[::1]:3000/") == "ws://[::1]:3000"
