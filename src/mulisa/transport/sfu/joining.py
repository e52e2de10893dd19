"""Getting into an SFU room: the SDK's connecting, bounded, and its failures in our words."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final
from urllib.parse import urlsplit

from livekit import rtc

from mulisa.core.errors import ConnectionLost, TransportError
from mulisa.transport.sfu.events import narrow

logger = logging.getLogger(__name__)

JOIN_TIME: Final = 35.0
"""The SDK gives a connection 15 s and tries again."""
SIGNAL_TIME: Final = 5.0
"""Of each of the SDK's four attempts to reach the server."""
MAX_STREAM_BYTES: Final = 64 * 1024
"""Of a text stream that somebody sends us."""

_TOKEN: Final = re.compile(r"eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?")
CLOSED: Final = (rtc.DisconnectReason.ROOM_DELETED, rtc.DisconnectReason.ROOM_CLOSED)
"""The server ended the room around us."""
_OVER: Final = (
    rtc.DisconnectReason.CLIENT_INITIATED,
    rtc.DisconnectReason.PARTICIPANT_REMOVED,
    rtc.DisconnectReason.DUPLICATE_IDENTITY,
    *CLOSED,
)

_abandoned: set[asyncio.Task[None]] = set()
"""Attempts that nobody waits for; native code goes on with them and must be told to leave."""


def place(url: str) -> str:
    """The server as messages name it."""
    return f"the LiveKit server at {urlsplit(url).netloc}"


async def join(room: rtc.Room, url: str, token: str, *, relay_only: bool) -> None:
    """Connect the room, subscribed to nothing. Raises TransportError."""
    options = rtc.RoomOptions(
        auto_subscribe=False,
        connect_timeout=SIGNAL_TIME,
        data_stream=rtc.DataStreamOptions(max_payload_byte_length=MAX_STREAM_BYTES),
        rtc_config=_relay() if relay_only else None,
    )
    connecting = asyncio.create_task(room.connect(url, token, options), name="sfu join")
    try:
        async with asyncio.timeout(JOIN_TIME):
            await asyncio.shield(connecting)
        narrow(room)
    except rtc.ConnectError as error:
        raise _refusal(url, error.message) from error
    except TimeoutError as error:
        _abandon(room, connecting)
        raise TransportError(
            f"{place(url)} did not let us in within {JOIN_TIME:.0f} s; "
            "are its media ports, or its TURN server, reachable from here?"
        ) from error
    except BaseException:
        _abandon(room, connecting)
        raise


def end_of(url: str, reason: rtc.DisconnectReason.ValueType) -> ConnectionLost | None:
    """Why a stay ended; None if that was meant by somebody."""
    name = rtc.DisconnectReason.Name(reason)
    logger.info("our stay ended: %s", name)
    if reason in _OVER:
        return None
    return ConnectionLost(f"{place(url)} is out of reach: {name}")


def _relay() -> rtc.RtcConfiguration:
    return rtc.RtcConfiguration(ice_transport_type=rtc.IceTransportType.TRANSPORT_RELAY)


def _refusal(url: str, message: str) -> TransportError:
    """What the SDK says, which quotes tokens, in words for whoever can mend it."""
    message = _TOKEN.sub("...", message)
    if "401" in message or "403" in message:
        what = f"{place(url)} refuses the token: {_reason(message)}"
        return TransportError(
            f"{what}; are the API key and secret those of the server?", retryable=False
        )
    if "404" in message and "room does not exist" in message:
        return TransportError(f"{place(url)} has no such room and creates none", retryable=False)
    if "404" in message:
        return TransportError(
            f"at {urlsplit(url).netloc} answers no LiveKit server (404)", retryable=False
        )
    if "parse the url" in message:
        return TransportError(
            f"not a server's address: {url!r}; use ws://HOST:PORT or wss://HOST", retryable=False
        )
    if "invalid peer certificate" in message:
        return TransportError(
            f"the certificate of {place(url)} is not trusted: {_certificate_trouble(message)}; "
            "a self-made one is named with --trust"
        )
    return TransportError(f"{place(url)} cannot be reached: {_reason(message)}")


def _certificate_trouble(message: str) -> str:
    return message.rpartition("invalid peer certificate: ")[2].strip('")')


def _reason(message: str) -> str:
    return message.removeprefix("engine: ").removeprefix("signal failure: ")


def _abandon(room: rtc.Room, connecting: asyncio.Task[None]) -> None:
    """The SDK cannot give up an attempt: when it succeeds after all, leave."""

    async def leave() -> None:
        try:
            await connecting
        except rtc.ConnectError:
            return
        await room.disconnect()

    task = asyncio.create_task(leave(), name="sfu abandoned join")
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)


class _SdkLog(logging.Filter):
    """The SDK logs what a server answers, which quotes the token.

    And (1.2.1) it frees a handle twice whenever a room ends, which is harmless, and warns of it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "drop unknown FFI handle" in text:
            return False
        if _TOKEN.search(text):
            record.msg, record.args = _TOKEN.sub("...", text), ()
        return True


logging.getLogger("livekit").addFilter(_SdkLog())
