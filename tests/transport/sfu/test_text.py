"""Captions as attributes, and what others say they hear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.chat import MAX_CHAT_CHARS, Allowance
from mulisa.transport.sfu.text import (
    caption_attributes,
    check_chat,
    encode_reception,
    parse_reception,
)

pytestmark = pytest.mark.unit

ALICE, BOB = Identity("alice"), Identity("bob")


def test_a_caption_is_as_livekits_agents_send_it() -> None:
    caption = Caption("s1", ALICE, "Who is here?", final=True)
    assert caption_attributes(caption, "TR_1") == {
        "lk.segment_id": "s1",
        "lk.transcription_final": "true",
        "lk.transcribed_track_id": "TR_1",
        "mulisa.identity": "alice",
    }
    assert "lk.transcribed_track_id" not in caption_attributes(caption, None)


def test_what_only_we_know_has_our_prefix() -> None:
    caption = Caption("s1", ALICE, "a", False, interrupted=True, unspoken=" b", listener=BOB)
    ours = {
        key: value
        for key, value in caption_attributes(caption, None).items()
        if key.startswith("mulisa.")
    }
    assert ours == {
        "mulisa.identity": "alice",
        "mulisa.interrupted": "true",
        "mulisa.unspoken": " b",
        "mulisa.listener": "bob",
    }


@pytest.mark.parametrize(
    "caption",
    [
        Caption("s1", ALICE, "x" * 16_385, final=True),
        Caption("s1", ALICE, "x", final=True, unspoken="\u00e9" * 6_200),
    ],
)
def test_a_caption_that_clients_do_not_take_is_refused(caption: Caption) -> None:
    with pytest.raises(SignalingError):
        caption_attributes(caption, None)


@pytest.mark.parametrize(
    "message", [ChatMessage("a b", "x"), ChatMessage("", "x"), ChatMessage("1", "x" * 4_001)]
)
def test_a_message_that_others_do_not_take_is_refused(message: ChatMessage) -> None:
    with pytest.raises(SignalingError):
        check_chat(message)


def test_a_message_that_others_take_is_not() -> None:
    check_chat(ChatMessage("a-b_9", "x" * MAX_CHAT_CHARS))


@given(st.frozensets(st.text().map(Identity)))
def test_a_reception_is_read_as_it_was_written(heard: frozenset[Identity]) -> None:
    assert parse_reception(encode_reception(heard)) == heard


@given(st.binary() | st.sampled_from([b"[]", b'{"heard": 1}', b'{"heard": [1]}', b"[" * 9_999]))
def test_whatever_comes_is_a_reception_or_is_refused(data: bytes) -> None:
    try:
        parse_reception(data)
    except SignalingError:
        pass


def test_who_types_like_a_machine_runs_out_of_allowance() -> None:
    allowance = Allowance(burst=3, per_second=2)
    assert [allowance.admits(0.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.admits(0.5), allowance.admits(0.5)] == [True, False]
    assert [allowance.admits(60.0) for _ in range(4)] == [True, True, True, False]
