"""Tells the room: what is written down and shown, in order, first to disk and then to the room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from mulisa.core.transcript import TranscriptEntry, TranscriptLog
from mulisa.core.transport import Caption, ChatMessage, Transport

logger = logging.getLogger(__name__)


class Teller:
    """One queue for everything in words, so that nobody who speaks or decides waits for a disk.

    All methods but `run` and `all_told` only queue. What cannot be delivered is logged, and the
    next is told.
    """

    def __init__(self, transport: Transport, log: TranscriptLog, max_delivery: float) -> None:
        """`max_delivery`: seconds that one piece of text may take."""
        self._transport = transport
        self._log = log
        self._max_delivery = max_delivery
        self._outbox: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    async def run(self) -> None:
        """Deliver for ever; the session's tell task."""
        while True:
            deliver = await self._outbox.get()
            try:
                async with asyncio.timeout(self._max_delivery):
                    await deliver()
            except Exception:
                logger.exception("words could not be written or shown")
            finally:
                self._outbox.task_done()

    async def all_told(self) -> None:
        """Wait until everything queued so far is delivered or given up; `run` must be running."""
        await self._outbox.join()

    def write(self, entry: TranscriptEntry) -> None:
        """Write an utterance or a reply down, then show it as final, to those who heard it."""

        async def write_then_show() -> None:
            await self._log.append(self._transport.room, entry)
            await self._transport.send_caption(
                Caption(
                    entry.segment_id,
                    entry.identity,
                    entry.text,
                    final=True,
                    interrupted=entry.interrupted,
                    unspoken=entry.unspoken,
                    listener=entry.listener,
                )
            )

        self._outbox.put_nowait(write_then_show)

    def show(self, caption: Caption) -> None:
        """Show words that may change, or that there were none."""
        self._outbox.put_nowait(lambda: self._transport.send_caption(caption))

    def chat(self, message: ChatMessage) -> None:
        """Send a typed message."""
        self._outbox.put_nowait(lambda: self._transport.send_chat(message))

    def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Change what the room sees of us."""
        self._outbox.put_nowait(lambda: self._transport.set_attributes(attributes))
