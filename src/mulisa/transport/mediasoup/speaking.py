"""What we say in a room and to whom: a producer for everybody, and one for each whisper."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from mulisa.core.audio import Samples
from mulisa.core.errors import ConnectionLost, MulisaError, TransportError
from mulisa.core.room import Identity
from mulisa.core.transport import SendFrame
from mulisa.transport.mediasoup.connection import RoomConnection
from mulisa.transport.mediasoup.voice import Voice

logger = logging.getLogger(__name__)

WHISPER_TIME: Final = 5.0
"""Seconds until somebody must consume a whisper."""
MARGIN: Final = 0.1
"""Seconds beyond two round trips after which nothing is on its way any more."""


class Speaking:
    """Our producers, on whichever connection there is. Changes happen one after another."""

    def __init__(self, listeners: frozenset[Identity] | None) -> None:
        self.listeners = listeners
        """To whom the main voice goes; None is everybody."""
        self._connection: RoomConnection | None = None
        self._voice: Voice | None = None
        self._whispers: dict[Identity, Voice] = {}
        self._changing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def voice(self) -> Voice | None:
        """The main one, while there is a connection."""
        return self._voice

    async def begin(self, connection: RoomConnection) -> None:
        """Produce on a new connection. Raises TransportError."""
        async with self._changing:
            check_listeners(self.listeners, connection)
            voice = await self._produce(connection, self.listeners)
            if self._is_for_nobody and not connection.signalling.abilities.listeners:
                await connection.signalling.pause_producer(voice.producer, True)
            self._connection, self._voice = connection, voice

    def lost(self) -> None:
        """The connection is gone, and what was for it: a whisper is not said to anybody else."""
        self._connection = None
        for voice in (self._voice, *self._whispers.values()):
            if voice is not None:
                voice.close()
        self._voice = None
        self._whispers.clear()

    def send(self, samples: Samples) -> None:
        """Speak 20 ms to the listeners now."""
        if self._voice is not None and not self._is_for_nobody:
            self._voice.speak(samples)

    async def choose(self, listeners: frozenset[Identity] | None) -> None:
        """Speak to these only; nothing reaches anybody else, or is on its way, when it returns.

        Raises TransportError if the application cannot do that; all is as before then.
        """
        async with self._changing:
            connection, voice = self._connection, self._voice
            if connection is None or voice is None:
                self.listeners = listeners  # `begin` sees to it
                return
            check_listeners(listeners, connection)
            former, self.listeners = self.listeners, listeners
            if self._is_for_nobody:
                voice.end()
            try:
                await self._tell(connection, voice, former)
            except ConnectionLost:
                return  # the next one begins with it
            except TransportError:
                self.listeners = former
                raise

    async def whisper(self, listener: Identity, is_here: Callable[[], bool]) -> SendFrame:
        """As `Transport.whisper`: a producer that this person alone consumes, kept meanwhile."""
        async with self._changing:
            connection = self._connection
            if connection is None:
                raise TransportError("we are not connected, so we cannot whisper")
            if not connection.signalling.abilities.listeners:
                raise TransportError(
                    "this application lets everybody consume every producer, so nothing can be "
                    "whispered in it",
                    retryable=False,
                )
            if not is_here():
                raise TransportError(f"{listener} is not in the room")
            whisper = self._whispers.get(listener)
            if whisper is None:
                whisper = await self._begin_whisper(connection, listener)
            if not is_here() or self._connection is not connection:
                raise TransportError(f"{listener} is not in the room")
        return whisper.speak

    def left(self, identity: Identity) -> None:
        """Somebody is gone, and the whisper that was for them."""
        whisper = self._whispers.pop(identity, None)
        if whisper is not None:
            whisper.close()
            task = asyncio.create_task(self._close(whisper), name="a whisper ends")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Say no more; the producers end with the connection."""
        self.lost()
        for task in self._closing:
            task.cancel()
        if self._closing:
            await asyncio.wait(self._closing)

    @property
    def _is_for_nobody(self) -> bool:
        return self.listeners is not None and not self.listeners

    async def _tell(
        self, connection: RoomConnection, voice: Voice, former: frozenset[Identity] | None
    ) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        if connection.signalling.abilities.listeners:
            await connection.signalling.choose_listeners(voice.producer, self.listeners)
        else:
            await connection.signalling.pause_producer(voice.producer, self._is_for_nobody)
        if _loses_somebody(former, self.listeners):
            await asyncio.sleep(2 * (loop.time() - asked_at) + MARGIN)

    async def _begin_whisper(self, connection: RoomConnection, listener: Identity) -> Voice:
        try:
            async with asyncio.timeout(WHISPER_TIME):
                whisper = await self._produce(connection, frozenset({listener}))
        except TimeoutError as error:
            raise TransportError(
                f"{listener} did not consume a whisper within {WHISPER_TIME:.0f} s"
            ) from error
        self._whispers[listener] = whisper
        return whisper

    async def _produce(
        self, connection: RoomConnection, listeners: frozenset[Identity] | None
    ) -> Voice:
        signalling = connection.signalling
        voice = Voice(connection.opus, connection.sending.send_rtp)
        voice.producer = await signalling.produce(
            connection.sending.id,
            connection.opus.sending(voice.ssrc, f"mulisa-{voice.ssrc:08x}"),
            listeners if signalling.abilities.listeners else None,
        )
        return voice

    async def _close(self, whisper: Voice) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.signalling.close_producer(whisper.producer)
        except MulisaError as error:
            logger.debug("a whisper could not be closed: %s", error)


def check_listeners(listeners: frozenset[Identity] | None, connection: RoomConnection) -> None:
    """Raises TransportError if the application cannot have these and nobody else listen."""
    if listeners and not connection.signalling.abilities.listeners:
        raise TransportError(
            "this application lets everybody consume every producer: Mulisa can speak to "
            "everybody in it or to nobody, not to some",
            retryable=False,
        )


def _loses_somebody(
    former: frozenset[Identity] | None, present: frozenset[Identity] | None
) -> bool:
    if present is None:
        return False
    return former is None or not former <= present
