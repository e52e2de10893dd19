"""Captions and chat as peers send them to each other."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.chat import MAX_CHAT_CHARS
from mulisa.transport.text import (
    MAX_TEXT_BYTES,
    Reception,
    TextMessage,
    encode_text,
    parse_text,
)

pytestmark = pytest.mark.unit

GOLDEN: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "text.json").read_text(encoding="utf-8")
)

CAPTION = Caption("S1", Identity("alice"), "Hello", final=True, interrupted=True, unspoken="you")


def test_a_caption_is_written_with_the_fields_of_the_protocol() -> None:
    assert json.loads(encode_text(CAPTION)) == {
        "topic": "lk.transcription",
        "segment_id": "S1",
        "identity": "alice",
        "text": "Hello",
        "final": True,
        "interrupted": True,
        "unspoken": "you",
    }


@pytest.mark.parametrize(
    "message",
    [
        CAPTION,
        dataclasses.replace(CAPTION, listener=Identity("bob")),
        ChatMessage("m1", "Hi \U0001f44b"),
        ChatMessage("m1", "psst", listener=Identity("bob")),
        Reception(frozenset({Identity("alice"), Identity("bob")})),
        Reception(frozenset()),
    ],
)
def test_what_is_written_is_what_is_read(message: TextMessage) -> None:
    assert parse_text(encode_text(message)) == message


@pytest.mark.parametrize("case", GOLDEN, ids=[case["name"] for case in GOLDEN])
def test_a_message_is_taken_for_what_the_page_takes_it_for(case: dict[str, Any]) -> None:
    if case["message"] is None:
        with pytest.raises(SignalingError):
            parse_text(case["text"])
    else:
        assert fields(parse_text(case["text"])) == case["message"]


def fields(message: TextMessage) -> dict[str, Any]:
    """As the golden file has them: all fields, under their names on the wire."""
    read = dataclasses.asdict(message)
    match message:
        case Caption():
            return {"topic": "lk.transcription"} | read
        case ChatMessage():
            return {"topic": "lk.chat", "id": read.pop("message_id")} | read
        case Reception(heard):
            return {"topic": "mulisa.reception", "heard": sorted(heard)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        '{"topic":"lk.nothing"}',
        '{"topic":"lk.chat","id":"1"}',
        '{"topic":"lk.chat","id":"","text":"x"}',
        '{"topic":"lk.chat","id":"alice:1","text":"x"}',
        json.dumps({"topic": "lk.chat", "id": "1" * 65, "text": "x"}),
        json.dumps({"topic": "lk.chat", "id": "1", "text": "x" * (MAX_CHAT_CHARS + 1)}),
        " " * MAX_TEXT_BYTES + encode_text(CAPTION),
    ],
    ids=lambda text: text[:30],
)
def test_what_breaks_the_protocol_is_refused(text: str) -> None:
    with pytest.raises(SignalingError):
        parse_text(text)


def test_a_typed_message_that_no_peer_would_take_is_not_written() -> None:
    for message in (ChatMessage("m1", "x" * (MAX_CHAT_CHARS + 1)), ChatMessage("a:b", "x")):
        with pytest.raises(SignalingError):
            encode_text(message)


def test_a_caption_that_no_peer_would_take_is_not_written() -> None:
    with pytest.raises(SignalingError):
        encode_text(Caption("S1", Identity("alice"), "x" * MAX_TEXT_BYTES, final=True))


@given(st.text(st.characters()))
def test_any_text_raises_only_signaling_error(text: str) -> None:
    try:
        parse_text(text)
    except SignalingError:
        pass
