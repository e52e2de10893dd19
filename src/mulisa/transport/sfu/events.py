"""Which of the SDK's events wake which room.

Its Python side hands every event of the process to every room (1.2.1), each answer to a captured
frame included: the cost of twenty rooms that speak would grow with the square of their number.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient

logger = logging.getLogger(__name__)

_WAITED_FOR: Final = frozenset({"audio_stream_event", "video_stream_event", "capture_audio_frame"})
"""Whoever caused these has a subscription to them of its own."""


def narrow(room: rtc.Room) -> bool:
    """Wake a connected room by its own events only; costs the others nothing from now on.

    Uses names that are private to the SDK. False, and all goes on as before, if they are gone.
    """
    try:
        handle = room._ffi_handle.handle  # type: ignore[union-attr]
        events = FfiClient.instance.queue
        with events._lock:
            for index, (queue, loop, _) in enumerate(events._subscribers):
                if queue is room._ffi_queue:
                    events._subscribers[index] = (queue, loop, _filter(handle))
                    return True
    except (AttributeError, TypeError, ValueError) as error:
        logger.info("the SDK has changed, and rooms wake each other: %s", error)
    return False


def _filter(handle: int) -> Any:
    def concerns_room(event: Any) -> bool:
        kind = event.WhichOneof("message")
        if kind == "room_event":
            return bool(event.room_event.room_handle == handle)
        return kind not in _WAITED_FOR

    return concerns_room
