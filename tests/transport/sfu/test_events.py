"""A room is woken by its own events only."""

from __future__ import annotations

import pytest
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiEvent

from mulisa.transport.sfu.events import narrow
from tests.livekit_server import LiveKitServer
from tests.transport.sfu.rooms import ALICE

pytestmark = [pytest.mark.network, pytest.mark.slow]


async def test_the_sdk_still_has_what_is_narrowed(livekit: LiveKitServer) -> None:
    room = rtc.Room()
    await room.connect(livekit.url, livekit.token(ALICE, "narrow"))
    try:
        assert room._ffi_handle is not None
        handle = room._ffi_handle.handle
        own, other, captured, left = FfiEvent(), FfiEvent(), FfiEvent(), FfiEvent()
        own.room_event.room_handle = handle
        other.room_event.room_handle = handle + 1
        captured.capture_audio_frame.async_id = 1
        left.disconnect.async_id = 1
        events = (own, other, captured, left)
        assert all(_wakes(room, each) for each in events), "the SDK narrows by itself: delete ours"
        assert narrow(room)
        assert [_wakes(room, each) for each in events] == [True, False, False, True]
    finally:
        await room.disconnect()


async def test_a_room_that_is_not_connected_is_left_alone() -> None:
    assert not narrow(rtc.Room())


def _wakes(room: rtc.Room, event: FfiEvent) -> bool:
    queue = room._ffi_queue
    found = [f for each, _, f in FfiClient.instance.queue._subscribers if each is queue]
    (concerns_room,) = found
    return concerns_room is None or concerns_room(event)
