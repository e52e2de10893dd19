"""A thousand sockets of strangers, beside a call that does not notice."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.browser.people import browser_at, person_in, until
from tests.browser.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ROOM = "call"
SEED = 6
SILENT, GARBAGE, FLOODS = 500, 450, 50
LISTENING = 10.0
PACKETS_PER_SECOND = 50


async def test_a_thousand_sockets_do_not_disturb_a_call(chromium: str, tmp_path: Path) -> None:
    server = Server(tmp_path, "--no-agent")
    try:
        async with browser_at(chromium) as browser, AsyncExitStack() as strangers:
            alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
            for person in (alice, bob):
                await person.enter(server.url, ROOM)
            sender = await bob.identity()
            await alice.hears_on(sender)
            sid = await alice.page.evaluate("window.mulisa.sid")

            storm = await strangers.enter_async_context(asyncio.TaskGroup())
            storming = [
                *(storm.create_task(_say_nothing(server.port)) for _ in range(SILENT)),
                *(storm.create_task(_say_nonsense(server.port, n)) for n in range(GARBAGE)),
                *(storm.create_task(_flood(server, n)) for n in range(FLOODS)),
            ]
            loop = asyncio.get_running_loop()
            began, before = loop.time(), await alice.packets_of(sender)
            await asyncio.sleep(LISTENING)
            heard = await alice.packets_of(sender) - before
            rate = heard / (loop.time() - began)
            print(f"{rate:.1f} packets a second came through {len(storming)} strangers")
            assert rate > 0.9 * PACKETS_PER_SECOND

            await alice.page.get_by_test_id("mute").click()
            await until(lambda: _muted(server), lambda muted: "Alice" in muted, "Alice muted")
            assert await alice.page.evaluate("window.mulisa.sid") == sid
            for task in storming:
                task.cancel()
    finally:
        code = server.stop()
    assert code == 0


async def _say_nothing(port: int) -> None:
    """Connect, and wait until the gateway has had enough; then again."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with suppress(OSError):
                await reader.read()
        finally:
            writer.close()
        await asyncio.sleep(0.1)


async def _say_nonsense(port: int, number: int) -> None:
    """Bytes that are no HTTP, or only its beginning."""
    dice = random.Random(SEED * 1_000 + number)
    begin = dice.choice([b"", b"GET /mesh HTTP/1.1\r\nHost: ", b"POST / HTTP/1.1\r\n"])
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with suppress(OSError):
                writer.write(begin + dice.randbytes(dice.randrange(1, 2_000)))
                await reader.read()
        finally:
            writer.close()
        await asyncio.sleep(dice.uniform(0.5, 2.0))


async def _flood(server: Server, number: int) -> None:
    """In a room of their own, with a token: as fast as the gateway takes it."""
    token = (await server.admit(f"flood{number % 5}", f"Mallory{number}"))["token"]
    async with aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError, OSError):
                url = f"ws://127.0.0.1:{server.port}/mesh"
                async with http.ws_connect(url, params={"access_token": token}) as socket:
                    for _ in range(2_000):
                        await socket.send_str("{}")
            await asyncio.sleep(1.0)


async def _muted(server: Server) -> list[str]:
    return [each["name"] for each in await server.participants(ROOM) if each["muted"]]
