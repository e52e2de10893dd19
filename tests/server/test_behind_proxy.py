"""The gateway behind a reverse proxy: links, limits, and who is nobody's operator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.reverse_proxy import reverse_proxy
from tests.server.gateways import RunningGateway, config, running_gateway, token_for

pytestmark = pytest.mark.network

TOKEN_PATH = "/api/rooms/standup/token"
ALICE, BOB = "203.0.113.7", "203.0.113.8"
NGINX = {"Host": "talk.example.org", "X-Forwarded-Proto": "https"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    limits = {"token_burst": 2, "token_rate": 0.001, "join_burst": 1, "join_rate": 0.001}
    async with running_gateway(config(tmp_path, **limits)) as running:
        yield running


async def ask(base: str, **headers: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base}{TOKEN_PATH}", json={"name": "Alice"}, headers=headers) as response,
    ):
        return response.status, await response.json()


async def test_the_page_is_told_to_come_back_through_the_proxy(gateway: RunningGateway) -> None:
    target = str(gateway.url(""))
    async with reverse_proxy(target, NGINX | {"X-Forwarded-For": ALICE}) as nginx:
        assert (await ask(nginx))[1]["url"] == "wss://talk.example.org"
    caddy = {"X-Forwarded-For": BOB, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "talk:8443"}
    async with reverse_proxy(target, caddy) as base:
        assert (await ask(base))[1]["url"] == "wss://talk:8443"
    standard = {"Forwarded": "for=203.0.113.9;proto=https;host=talk.example.org"}
    async with reverse_proxy(target, standard) as base:
        assert (await ask(base))[1]["url"] == "wss://talk.example.org"


async def test_limits_are_for_clients_not_for_the_proxy(gateway: RunningGateway) -> None:
    target = str(gateway.url(""))
    async with (
        reverse_proxy(target, NGINX | {"X-Forwarded-For": ALICE}) as for_alice,
        reverse_proxy(target, NGINX | {"X-Forwarded-For": BOB}) as for_bob,
    ):
        assert [(await ask(for_alice))[0] for _ in range(3)] == [200, 200, 429]
        assert (await ask(for_bob))[0] == 200


async def test_who_claims_another_address_has_the_limit_of_their_own(
    gateway: RunningGateway,
) -> None:
    target = str(gateway.url(""))
    statuses = []
    for number in range(3):  # what nginx makes of it: the claim, then the truth
        claimed = {"X-Forwarded-For": f"192.0.2.{number}, {ALICE}"}
        async with reverse_proxy(target, NGINX | claimed) as nginx:
            statuses.append((await ask(nginx))[0])
    assert statuses == [200, 200, 429]


async def test_a_socket_goes_through_and_counts_for_its_client(gateway: RunningGateway) -> None:
    target = str(gateway.url(""))

    async def join(base: str, name: str) -> None:
        token = token_for(name=name)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{base}/mesh?access_token={token}") as socket,
        ):
            assert (await socket.receive_json(timeout=5))["type"] == "joined"

    async with (
        reverse_proxy(target, NGINX | {"X-Forwarded-For": ALICE}) as for_alice,
        reverse_proxy(target, NGINX | {"X-Forwarded-For": BOB}) as for_bob,
    ):
        await join(for_alice, "Alice")
        await join(for_bob, "Bob")
        async with aiohttp.ClientSession() as http:
            query = f"access_token={token_for(name='Alice')}"
            async with http.get(f"{target}/mesh?{query}", headers=_upgrade(ALICE)) as refused:
                assert refused.status == 429


def _upgrade(address: str) -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "X-Forwarded-For": address,
    }


async def test_what_comes_through_a_proxy_is_not_the_operators(gateway: RunningGateway) -> None:
    async def rooms(base: str) -> int:
        async with aiohttp.ClientSession() as http, http.get(f"{base}/api/rooms") as response:
            return response.status

    target = str(gateway.url(""))
    assert await rooms(target) == 200
    for claim in ({"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1;host=localhost"}):
        async with reverse_proxy(target, claim) as base:
            assert await rooms(base) == 403


async def test_a_proxy_elsewhere_is_believed_once_it_is_named(tmp_path: Path) -> None:
    """As seen by the gateway its peer is always loopback here; the chain holds the other proxy."""
    chain = NGINX | {"X-Forwarded-For": f"{ALICE}, 10.1.2.3"}
    for trusted, expected in (((), [200, 429]), (("10.0.0.0/8",), [200, 200])):
        options = config(tmp_path, token_burst=1, token_rate=0.001, trusted_proxies=trusted)
        async with running_gateway(options) as gateway:
            target = str(gateway.url(""))
            statuses = []
            for address in (ALICE, BOB):
                chain["X-Forwarded-For"] = f"{address}, 10.1.2.3"
                async with reverse_proxy(target, chain) as base:
                    statuses.append((await ask(base))[0])
        assert statuses == expected
