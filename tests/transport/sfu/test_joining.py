"""What the SDK says when it does not get in, in our words."""

from __future__ import annotations

import logging

import pytest
from livekit import rtc

from mulisa.core.errors import ConnectionLost
from mulisa.transport.sfu.joining import _refusal, end_of

pytestmark = pytest.mark.unit

URL = "wss://sfu.example"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJuYW1lIjoiQSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("message", "says", "retryable"),
    [
        (f"engine: signal failure: client error: 401 - invalid token: {TOKEN}", "refuses", False),
        ("client error: 404 Not Found - requested room does not exist", "no such room", False),
        ("client error: 404 Not Found - ", "no LiveKit server", False),
        ("failed to parse the url: relative URL", "not a server's address", False),
        ("transport connection error: IO error: refused", "cannot be reached", True),
    ],
)
def test_a_refusal_says_what_to_mend_and_quotes_no_token(
    message: str, says: str, retryable: bool
) -> None:
    error = _refusal(URL, message)
    assert says in str(error) and error.retryable is retryable
    assert "eyJ" not in str(error)


def test_the_sdks_log_has_no_tokens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "livekit"):
        logging.getLogger("livekit").error("%s: %s", "refused", TOKEN)
    assert caplog.messages == ["refused: ..."]


@pytest.mark.parametrize("name", rtc.DisconnectReason.keys())
def test_only_what_somebody_meant_is_no_failure(name: str) -> None:
    meant = "CLIENT_INITIATED PARTICIPANT_REMOVED DUPLICATE_IDENTITY ROOM_DELETED ROOM_CLOSED"
    error = end_of(URL, rtc.DisconnectReason.Value(name))
    assert (error is None) == (name in meant.split())
    assert error is None or isinstance(error, ConnectionLost)
