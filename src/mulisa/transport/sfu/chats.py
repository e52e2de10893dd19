"""Typed messages of others: text streams on ``lk.chat``, read one after another for each sender."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final
from uuid import uuid4

from livekit import rtc

from mulisa.core.events import ChatReceived
from mulisa.core.room import Identity
from mulisa.transport.chat import MAX_CHAT_CHARS, Allowance, is_message_id
from mulisa.transport.watch import Watch

logger = logging.getLogger(__name__)

READ_TIME: Final = 5.0
"""Seconds in which a message must be here as a whole."""


class Chats:
    """Reads what people type; who types like a machine is not listened to all the time."""

    def __init__(
        self, report: Callable[[ChatReceived], None], watch: Watch, present: Collection[Identity]
    ) -> None:
        """`report` is called within the loop and only enqueues; `present` are those in the room,
        and `watch` tells of its changes.
        """
        self._report = report
        self._watch = watch
        self._present = present
        self._allowances: dict[Identity, Allowance] = {}
        self._latest: dict[Identity, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, stream: rtc.TextStreamReader, sender: str) -> None:
        """Somebody begins to send a message."""
        identity = Identity(sender)
        now = asyncio.get_running_loop().time()
        if not self._allowances.setdefault(identity, Allowance()).admits(now):
            logger.debug("a peer types more than a person can; a message is dropped")
            stream.close()
            return
        task = asyncio.create_task(
            self._read(stream, identity, self._latest.get(identity)), name="sfu chat"
        )
        self._latest[identity] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, identity: Identity) -> None:
        """Somebody is gone."""
        self._allowances.pop(identity, None)
        self._latest.pop(identity, None)

    async def aclose(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _read(
        self,
        stream: rtc.TextStreamReader,
        identity: Identity,
        former: asyncio.Task[None] | None,
    ) -> None:
        try:
            async with asyncio.timeout(READ_TIME):
                text = await _whole(stream)
                # A server tells of somebody without a microphone up to 3 s after they joined.
                await self._watch.until(lambda: identity in self._present)
        except (TimeoutError, ConnectionError) as error:
            logger.debug("a typed message was not received: %r", error)
            text = None
        finally:
            stream.close()
        if former is not None and not former.done():
            await asyncio.wait({former})
        if text is not None:
            stream_id = stream.info.stream_id
            message_id = stream_id if is_message_id(stream_id) else uuid4().hex
            self._report(ChatReceived(identity, message_id, text))


async def _whole(stream: rtc.TextStreamReader) -> str | None:
    """The text; None if it is longer than anybody may type."""
    text = ""
    async for piece in stream:
        text += piece
        if len(text) > MAX_CHAT_CHARS:
            logger.debug("a typed message is too long and ignored")
            return None
    return text
