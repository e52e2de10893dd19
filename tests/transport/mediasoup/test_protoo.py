"""protoo as bytes: what is a message and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import SignalingError
from mulisa.transport.mediasoup.protoo import (
    MAX_REASON_CHARS,
    Message,
    Notification,
    Refusal,
    Request,
    Success,
    encode,
    parse,
)
from mulisa.transport.mediasoup.protoo_link import _origin

pytestmark = pytest.mark.unit

_DATA = {"peerId": "p1", "nested": {"list": [1, 2.5, None, "ü"]}}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "join", _DATA),
        Success(2, _DATA),
        Refusal(3, 403, "no"),
        Notification("newPeer", _DATA),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_encoded_can_be_read(message: Message) -> None:
    assert parse(encode(message)) == message


def test_its_json_is_that_of_the_demo() -> None:
    assert json.loads(encode(Request(7, "produce", {"kind": "audio"}))) == {
        "request": True,
        "id": 7,
        "method": "produce",
        "data": {"kind": "audio"},
    }
    assert json.loads(encode(Refusal(7, 500, "no")))["ok"] is False
    assert parse('{"notification": true, "method": "x"}') == Notification("x", {})
    assert parse('{"response": true, "id": 1, "ok": true}') == Success(1, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "{}",
        '{"request": true}',
        '{"request": true, "id": "1", "method": "x"}',
        '{"request": true, "id": true, "method": "x"}',
        '{"request": true, "id": 1, "method": 5}',
        '{"request": true, "id": 1, "method": ""}',
        '{"response": true}',
        '{"notification": true}',
        '{"notification": true, "method": "' + "x" * 200 + '"}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_message_is_refused(text: str | bytes) -> None:
    with pytest.raises(SignalingError):
        parse(text)


def test_a_reason_is_shown_as_one_short_line() -> None:
    raw = {"response": True, "id": 1, "errorCode": "x", "errorReason": "a\x1b[2J\n" + "b" * 999}
    refusal = parse(json.dumps(raw))
    assert isinstance(refusal, Refusal)
    assert refusal.code == 0 and len(refusal.reason) == MAX_REASON_CHARS
    assert refusal.reason.isprintable()
    assert parse('{"response": true, "id": 1, "errorReason": {}}') == Refusal(
        1, 0, "no reason given"
    )


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("wss://room.example:4443/?roomId=r", "https://room.example"),
        ("ws://[::1]:4443/", "http://[::1]"),
    ],
)
def test_where_we_come_from_is_an_address(url: str, origin: str) -> None:
    assert _origin(url) == origin


@given(_JSON)
def test_any_json_is_a_message_or_an_error_of_ours(data: Any) -> None:
    for text in (json.dumps(data), json.dumps({"request": data, "id": data, "method": data})):
        try:
            parse(text)
        except SignalingError:
            pass


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    try:
        parse(data)
    except SignalingError:
        pass
