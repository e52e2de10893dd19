"""A gateway that serves https, from its files to what its clients see."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mulisa.core.errors import ConfigError
from mulisa.server import listening
from mulisa.server.certificate import CertificateFiles
from mulisa.server.config import GatewayConfig
from mulisa.server.events import GatewayEvent, Listening
from mulisa.server.gateway import serve
from mulisa.server.listening import is_strict, network_address
from mulisa.server.selfmade import self_made_files
from mulisa.server.tls import Tls, TlsConfig
from tests.certificates import Authority, trusting, write_pair
from tests.server.gateways import config, token_for, worker_token

pytestmark = pytest.mark.network

MICROPHONE_HERE_ONLY = "microphone=(self), camera=(), geolocation=()"


def self_made(folder: Path, **changes: Any) -> GatewayConfig:
    return config(folder, tls=TlsConfig(self_made_files(folder), is_self_made=True), **changes)


@asynccontextmanager
async def served(gateway: GatewayConfig) -> AsyncIterator[Listening]:
    place: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()

    def on_event(event: GatewayEvent) -> None:
        if isinstance(event, Listening):
            place.set_result(event)

    serving = asyncio.create_task(serve(gateway, on_event))
    try:
        waiting: set[asyncio.Future[Any]] = {serving, place}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        yield await place
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def test_page_token_and_socket_over_tls(tmp_path: Path) -> None:
    gateway = self_made(tmp_path)
    async with served(gateway) as place:
        assert place.url.startswith("https://localhost:")
        assert gateway.tls
        connector = aiohttp.TCPConnector(ssl=trusting(gateway.tls.files.certificate))
        async with aiohttp.ClientSession(connector=connector) as http:
            async with http.get(f"{place.url}/r/standup") as page:
                assert "<title>Mulisa" in await page.text()
                assert page.headers["Permissions-Policy"] == MICROPHONE_HERE_ONLY
                assert page.headers["X-Content-Type-Options"] == "nosniff"
                assert page.headers["Referrer-Policy"] == "no-referrer"
                assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
                assert "Strict-Transport-Security" not in page.headers
                assert "Set-Cookie" not in page.headers
            path = f"{place.url}/api/rooms/standup/token"
            wish = {"name": "Alice", "topology": "mesh"}
            async with http.post(path, json=wish) as answer:
                url = (await answer.json())["url"]
            assert url == place.url.replace("https", "wss")
            async with http.ws_connect(f"{url}/mesh?access_token={token_for()}") as socket_:
                assert (await socket_.receive_json(timeout=5))["type"] == "joined"


async def test_plain_http_gets_nothing_from_the_port_of_https(tmp_path: Path) -> None:
    async with served(self_made(tmp_path)) as place, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(place.url.replace("https", "http"))


async def test_an_agent_process_here_needs_no_certificate(tmp_path: Path) -> None:
    files = write_pair(tmp_path / "given", "talk.example.org", authority=Authority.new())
    async with served(config(tmp_path, tls=TlsConfig(files))) as place:
        assert place.agent_url.startswith("ws://127.0.0.1:")
        headers = {"Authorization": f"Bearer {worker_token()}"}
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{place.agent_url}/agent", headers=headers) as agent,
        ):
            assert not agent.closed


async def test_its_port_is_not_for_the_network(tmp_path: Path) -> None:
    address = network_address()
    if address is None:
        pytest.skip("this machine has no network")
    async with served(self_made(tmp_path, host="0.0.0.0")) as place:
        assert place.network_url.startswith(f"https://{address}:")
        own, agents = (int(url.rpartition(":")[2]) for url in (place.url, place.agent_url))
        socket.create_connection((address, own), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, agents), timeout=5)


async def test_without_tls_there_is_one_port(tmp_path: Path) -> None:
    async with served(config(tmp_path)) as place:
        assert place.agent_url == place.url.replace("http", "ws")
        assert (place.network_url, place.certificate) == ("", None)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_everywhere_is_both_protocols(tmp_path: Path) -> None:
    async with served(config(tmp_path, host="::")) as place, aiohttp.ClientSession() as http:
        port = place.url.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            async with http.get(f"http://{host}:{port}/") as page:
                assert page.status == 200


async def test_a_certificate_for_a_name_gives_links_with_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "network_address", lambda: "192.0.2.7")
    files = write_pair(tmp_path / "given", "talk.example.org", authority=Authority.new())
    async with served(config(tmp_path, host="0.0.0.0", tls=TlsConfig(files))) as place:
        port = place.url.rpartition(":")[2]
        assert place.url == place.network_url == f"https://talk.example.org:{port}"
    own = TlsConfig(self_made_files(tmp_path), is_self_made=True, names=("192.0.2.7",))
    async with served(config(tmp_path, host="0.0.0.0", tls=own)) as place:
        assert place.network_url.startswith("https://192.0.2.7:")


async def test_a_certificate_that_cannot_be_used_ends_it(tmp_path: Path) -> None:
    missing = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(ConfigError, match=r"cannot read the certificate .*cert\.pem"):
        async with served(config(tmp_path, tls=TlsConfig(missing))):
            pytest.fail("it serves without a certificate")


async def test_strict_is_only_a_web_site_with_a_certificate_that_somebody_vouches_for(
    tmp_path: Path,
) -> None:
    vouched = TlsConfig(write_pair(tmp_path / "a", "talk.example.org", authority=Authority.new()))
    own = TlsConfig(write_pair(tmp_path / "b", "talk.example.org"))
    site = config(tmp_path, port=443)
    assert is_strict(site, Tls(vouched))
    assert not is_strict(replace(site, port=8000), Tls(vouched))
    assert not is_strict(site, Tls(own))
    assert not is_strict(site, None)


async def test_who_breaks_off_the_handshake_disturbs_nobody(tmp_path: Path) -> None:
    gateway = self_made(tmp_path)
    async with served(gateway) as place:
        port = int(place.url.rpartition(":")[2])
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 99):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            writer.write_eof()
            try:
                async with asyncio.timeout(10):
                    await reader.read()
            except ConnectionResetError:
                pass
            writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):  # a browser that does not trust us
            await asyncio.open_connection("localhost", port, ssl=ssl.create_default_context())
        assert gateway.tls
        context = trusting(gateway.tls.files.certificate)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{place.url}/healthz", ssl=context) as response:
                assert response.status == 200
