"""Messages of clients, right and wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from mulisa.core.errors import SignalingError
from mulisa.sfu import signal
from mulisa.sfu.signal import check_request, decode_request
from tests.sfu.completeness import is_complete

pytestmark = pytest.mark.unit


def decoded(**request: Any) -> rtc.SignalRequest:
    message = decode_request(rtc.SignalRequest(**request).SerializeToString())
    check_request(message)
    return message


def test_a_message_is_read() -> None:
    assert decoded(ping=5).ping == 5
    assert decode_request(b"").WhichOneof("message") is None


def test_what_is_newer_than_we_are_is_no_error() -> None:
    assert decode_request(b"\xc2\x3e\x03abc").WhichOneof("message") is None


def test_values_that_others_do_not_know_are_not_passed_on() -> None:
    wanted = rtc.AddTrackRequest(
        cid="mic",
        source=99,  # type: ignore[arg-type]
        backup_codec_policy=99,  # type: ignore[arg-type]
        audio_features=[models.TF_STEREO, 99],  # type: ignore[list-item]
        layers=[models.VideoLayer(quality=99)],  # type: ignore[arg-type]
    )
    mended = decoded(add_track=wanted).add_track
    assert mended.source == models.TrackSource.UNKNOWN
    assert list(mended.audio_features) == [models.TF_STEREO]
    assert mended.layers[0].quality == models.VideoQuality.LOW
    assert mended.backup_codec_policy == 0
    leave = rtc.LeaveRequest(reason=99)  # type: ignore[arg-type]
    assert decoded(leave=leave).leave.reason == models.UNKNOWN_REASON


TOO_MANY = ["TR_1"] * (signal.MAX_LISTED + 1)
LONG = "x" * (signal.MAX_NAME_CHARS + 1)


@pytest.mark.parametrize(
    "request_",
    [
        {"add_track": rtc.AddTrackRequest()},
        {"add_track": rtc.AddTrackRequest(cid=LONG)},
        {"add_track": rtc.AddTrackRequest(cid="c", name=LONG)},
        {"add_track": rtc.AddTrackRequest(cid="c", encryption=9)},  # type: ignore[arg-type]
        {
            "add_track": rtc.AddTrackRequest(
                cid="c", simulcast_codecs=[rtc.SimulcastCodec()] * (signal.MAX_CODECS + 1)
            )
        },
        {
            "add_track": rtc.AddTrackRequest(
                cid="c", layers=[models.VideoLayer()] * (signal.MAX_LAYERS + 1)
            )
        },
        {"subscription": rtc.UpdateSubscription(track_sids=TOO_MANY)},
        {"track_setting": rtc.UpdateTrackSettings(track_sids=TOO_MANY)},
        {
            "subscription_permission": rtc.SubscriptionPermission(
                track_permissions=[rtc.TrackPermission(track_sids=TOO_MANY)]
            )
        },
        {"sync_state": rtc.SyncState(track_sids_disabled=TOO_MANY)},
    ],
)
def test_what_lacks_something_or_is_too_much_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(SignalingError):
        decoded(**request_)


@pytest.mark.parametrize("frame", [b"\xff", b"\x0a\x05a"])
def test_what_is_no_message_is_refused(frame: bytes) -> None:
    with pytest.raises(SignalingError):
        decode_request(frame)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(frame: bytes) -> None:
    try:
        check_request(decode_request(frame))
    except SignalingError:
        pass


def test_incomplete_messages_are_told_from_complete_ones() -> None:
    assert not is_complete(rtc.SignalResponse())
    assert not is_complete(rtc.SignalResponse(join=rtc.JoinResponse()))
    assert not is_complete(rtc.SignalResponse(room_update=rtc.RoomUpdate()))
    assert not is_complete(rtc.SignalResponse(update=rtc.ParticipantUpdate()))
    published = rtc.TrackPublishedResponse(cid="mic")
    assert not is_complete(rtc.SignalResponse(track_published=published))
    unknown = rtc.LeaveRequest(reason=99)  # type: ignore[arg-type]
    assert not is_complete(rtc.SignalResponse(leave=unknown))
    assert is_complete(rtc.SignalResponse(leave=rtc.LeaveRequest()))
