"""One connection to a room: its signalling and a media path each way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mulisa.core.errors import MulisaError, TransportError
from mulisa.core.room import Participant
from mulisa.ending import within
from mulisa.transport.mediasoup.media import MediaConnection, OnMessage, OnRtcp, OnRtp
from mulisa.transport.mediasoup.parameters import (
    OpusParameters,
    RouterCapabilities,
    TransportOptions,
    parse,
)
from mulisa.transport.mediasoup.signalling import Direction, Signalling
from mulisa.wire.rtp import RtpHeader
from mulisa.wire.sctp import ignore

ENTER_TIME: Final = 30.0
LEAVE_TIME: Final = 3.0


class RoomConnection:
    """Enter it once; when it is lost, another one takes its place."""

    def __init__(
        self,
        signalling: Signalling,
        *,
        on_rtp: OnRtp,
        on_rtcp: OnRtcp,
        on_message: OnMessage,
        on_lost: Callable[[RoomConnection], None],
    ) -> None:
        """`on_lost` is told once when a media path is of no use any more."""
        self.signalling = signalling
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        self._on_message = on_message
        self._on_lost = on_lost
        self._opus: OpusParameters | None = None
        self._media: dict[Direction, MediaConnection] = {}

    @property
    def opus(self) -> OpusParameters:
        """As the room's router names it."""
        assert self._opus is not None, "enter first"
        return self._opus

    @property
    def sending(self) -> MediaConnection:
        """Where our voice goes."""
        return self._media["send"]

    @property
    def receiving(self) -> MediaConnection:
        """Where the others' voices come."""
        return self._media["recv"]

    @property
    def is_carrying(self) -> bool:
        """Packets go and come."""
        return len(self._media) == 2 and all(each.is_carrying for each in self._media.values())

    @property
    def was_closed(self) -> bool:
        """The server has ended a media path in order; it did not just fall silent."""
        return any(each.was_closed for each in self._media.values())

    async def enter(self, local: Participant) -> None:
        """Be in the room, with both paths. Raises TransportError; `aclose` it then."""
        try:
            async with asyncio.timeout(ENTER_TIME):
                await self._enter(local)
        except TimeoutError as error:
            raise TransportError(
                f"the room could not be joined within {ENTER_TIME:.0f} s"
            ) from error

    async def aclose(self) -> None:
        """Leave. Idempotent."""
        for media in self._media.values():
            await media.aclose()
        with suppress(MulisaError):
            await within(LEAVE_TIME, self.signalling.aclose())

    async def _enter(self, local: Participant) -> None:
        await self.signalling.connect()
        capabilities = await self.signalling.router_capabilities()
        self._opus = OpusParameters(parse(RouterCapabilities, capabilities, "router capabilities"))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._open("send"), name="opening a way to send")
                tasks.create_task(self._open("recv"), name="opening a way to receive")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        await self.signalling.join(local, self._opus.capabilities())

    async def _open(self, direction: Direction) -> None:
        answer = await self.signalling.create_transport(direction)
        options = parse(TransportOptions, answer, "a transport")
        media = MediaConnection(
            options,
            on_rtp=self._on_rtp if direction == "recv" else _ignore_rtp,
            on_rtcp=self._on_rtcp if direction == "recv" else _ignore_rtcp,
            on_message=self._on_message if direction == "recv" else ignore,
            on_lost=lambda: self._on_lost(self),
        )
        self._media[direction] = media
        await self.signalling.connect_transport(media.id, media.dtls_parameters)
        await media.connect()


def _ignore_rtp(header: RtpHeader, payload: bytes, now: float) -> None:
    """Nothing comes where we send."""


def _ignore_rtcp(compound: bytes, now: float) -> None:
    """What the server says of our packets changes nothing: speech has one bit rate."""
