"""Chat as mediasoup's demo has it: bare strings over data channels, to everybody."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mulisa.core.errors import ConnectionLost, TransportError
from mulisa.core.room import Identity
from mulisa.transport.mediasoup.connection import RoomConnection
from mulisa.transport.mediasoup.signalling import ChatOffered

logger = logging.getLogger(__name__)

OURS: Final = "chat"
OUR_STREAM: Final = 0
"""On the path that we send on, where we have no other."""


class Chatting:
    """What the others write, and what we write, on whichever connection there is."""

    def __init__(self, received: Callable[[Identity, str], None]) -> None:
        """`received` is told who wrote what."""
        self._received = received
        self._connection: RoomConnection | None = None
        self._whose: dict[str, Identity] = {}
        """By data consumer."""

    async def begin(self, connection: RoomConnection) -> None:
        """Be able to write on a new connection. A server that refuses that does without."""
        if not connection.signalling.abilities.chat:
            return
        connection.sending.agree(OURS, OUR_STREAM)
        try:
            await connection.signalling.produce_chat(connection.sending.id, OUR_STREAM)
        except ConnectionLost:
            raise
        except TransportError as error:
            logger.warning("nothing can be written in this room: %s", error)
            return
        self._connection = connection

    def lost(self) -> None:
        """The connection is gone."""
        self._connection = None
        self._whose.clear()

    def offered(self, offer: ChatOffered) -> None:
        """Somebody writes there; taken wherever we can write, too."""
        if self._connection is not None:
            self._connection.receiving.agree(offer.consumer, offer.stream)
            self._whose[offer.consumer] = offer.identity
            offer.taken = True

    def closed(self, consumer: str) -> None:
        """They write no more."""
        if self._whose.pop(consumer, None) and self._connection is not None:
            self._connection.receiving.part(consumer)

    def on_message(self, consumer: str, data: bytes) -> None:
        """A message came; one that is no text is left out."""
        identity = self._whose.get(consumer)
        if identity is not None:
            try:
                self._received(identity, data.decode())
            except UnicodeDecodeError:
                logger.debug("a message of %s is no text", identity)

    def say(self, text: str) -> None:
        """Write to everybody, if the room has chat."""
        if text and self._connection is not None:
            self._connection.sending.write(OURS, text.encode())
