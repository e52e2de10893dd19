"""A small reverse proxy that does as nginx and caddy do: http, WebSockets, forwarding headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

_HOP_BY_HOP = {"connection", "upgrade", "host", "transfer-encoding", "content-length"}


@asynccontextmanager
async def reverse_proxy(target: str, added: Mapping[str, str]) -> AsyncIterator[str]:
    """Forward everything to `target`, with the headers of the client and those `added`.

    Yields the proxy's own base URL.
    """
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
            headers |= added
            url = f"{target}{request.rel_url}"
            if request.headers.get("Upgrade", "").lower() == "websocket":
                async with session.ws_connect(url, headers=_for_socket(headers)) as there:
                    return await _join(request, there)
            body = await request.read()
            async with session.request(request.method, url, headers=headers, data=body) as answer:
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
                return web.Response(body=await answer.read(), status=answer.status, headers=kept)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        async with TestServer(app) as server:
            yield f"http://127.0.0.1:{server.port}"


def _for_socket(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if not k.lower().startswith("sec-websocket")}


async def _join(
    request: web.Request, there: aiohttp.ClientWebSocketResponse
) -> web.WebSocketResponse:
    here = web.WebSocketResponse()
    await here.prepare(request)
    ways = [asyncio.create_task(_copy(here, there)), asyncio.create_task(_copy(there, here))]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    await there.close()
    await here.close()
    await asyncio.wait(ways)
    return here


async def _copy(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        else:
            await target.send_bytes(message.data)
