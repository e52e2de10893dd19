"""One certificate more is trusted, by everything in the process that speaks TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mulisa.core.errors import ConfigError
from mulisa.server.certificate import server_context
from mulisa.trust import VARIABLE, trust
from tests.certificates import Authority, write_pair

pytestmark = pytest.mark.network

CLIENT = """
import asyncio, ssl, sys
from pathlib import Path
from mulisa.trust import trust

for name in sys.argv[2:]:
    trust(Path(name), Path(name).parent)

import aiohttp
from livekit import rtc

async def main():
    address = f"localhost:{sys.argv[1]}"
    try:
        await rtc.Room().connect(f"wss://{address}", "eyJh.eyJh.x")
    except rtc.ConnectError as error:
        print("livekit", "invalid peer certificate" not in error.message)
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(f"https://{address}") as response:
                print("aiohttp", response.status == 404)
        except aiohttp.ClientConnectorCertificateError:
            print("aiohttp False")

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, os.environ.get(VARIABLE, ""))


async def test_the_livekit_sdk_and_aiohttp_trust_what_is_named_and_nothing_else(
    tmp_path: Path,
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", refuse)
    files = write_pair(tmp_path, "localhost", "127.0.0.1")
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=server_context(files))
    async with server:
        port = server.port
        for named, expected in ((["cert.pem"], "True"), ([], "False")):
            arguments = [str(port), *(str(tmp_path / name) for name in named)]
            client = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                CLIENT,
                *arguments,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            output, _ = await client.communicate()
            assert output.decode().splitlines() == [f"livekit {expected}", f"aiohttp {expected}"]


def test_what_was_trusted_before_still_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tmp_path / "before.pem"
    before.write_text(Authority.new().pem)
    monkeypatch.setenv(VARIABLE, str(before))
    files = write_pair(tmp_path, "localhost")
    trust(files.certificate, tmp_path)
    context = ssl.create_default_context(cafile=os.environ[VARIABLE])
    assert context.cert_store_stats()["x509"] == 2


@pytest.mark.parametrize("content", [None, "", "hello"])
def test_a_file_that_holds_no_certificate(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"cannot trust .*cert\.pem"):
        trust(path, tmp_path)
