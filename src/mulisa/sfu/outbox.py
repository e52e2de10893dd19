"""One client's WebSocket, seen from the room: messages go in at once, a task writes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import web

MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""For a client that does not read; one message more and its socket is closed."""
WRITE_TIME: Final = 15.0
"""Seconds that one message may take to get through."""
FLUSH_TIME: Final = 2.0
"""Seconds for the last messages and the goodbye of a socket that is closed."""


class Outbox:
    """Writes in order. A client that lets too much wait loses its socket, and may resume."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        on_slow: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._on_slow = on_slow
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_finished = False
        self._changed = asyncio.Event()

    def send(self, message: bytes) -> None:
        """Queue a message; nothing once the box is finished."""
        if self._is_finished:
            return
        self._waiting_bytes += len(message)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._on_slow()
            self._is_finished = True
            self._waiting.clear()
            self.abort()
        else:
            self._waiting.append(message)
        self._changed.set()

    def finish(self) -> None:
        """Close the socket once what waits is sent. Idempotent."""
        self._is_finished = True
        self._changed.set()

    def abort(self) -> None:
        """Drop the connection at once: whoever reads or writes it ends."""
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Write until `finish`, or until the socket breaks; then it is closed."""
        try:
            await self._write()
            async with asyncio.timeout(2 * FLUSH_TIME):
                await self._socket.close()
        except (ConnectionError, TimeoutError):
            self.abort()
        finally:
            self._is_finished = True
            self._waiting.clear()

    async def _write(self) -> None:
        while self._waiting or not self._is_finished:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            message = self._waiting.popleft()
            async with asyncio.timeout(WRITE_TIME):
                await self._socket.send_bytes(message)
            self._waiting_bytes -= len(message)
