"""What is not HTTP costs one line of the log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.server.gateways import config, running_gateway

pytestmark = pytest.mark.network

SERVER_LOG = "aiohttp.server"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /\x00?access_token=secret HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon secret\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: secret\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"secret" * 5_000 + b"\r\n\r\n",
    ],
    ids=["path", "version", "header", "length", "long"],
)
async def test_garbage_is_one_line_without_a_traceback_and_without_what_was_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    with caplog.at_level(logging.DEBUG, SERVER_LOG):
        async with running_gateway(config(tmp_path)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
            writer.write(garbage)
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.")
    (record,) = [each for each in caplog.records if each.name == SERVER_LOG]
    line = logging.Formatter().format(record)
    assert record.levelno == logging.WARNING
    assert "127.0.0.1" in line and "not HTTP" in line
    assert "\n" not in line and "secret" not in line


async def test_an_error_of_our_own_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise RuntimeError("ours")

    app = web.Application()
    app.router.add_get("/", fail)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/")).status == 500
    (record,) = [each for each in caplog.records if each.name == SERVER_LOG]
    assert record.levelno == logging.ERROR
    assert "RuntimeError: ours" in logging.Formatter().format(record)
