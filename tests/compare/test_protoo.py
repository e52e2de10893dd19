"""Names of what is said on a protoo socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.compare.protoo import Protoo

pytestmark = pytest.mark.unit


def test_an_answer_is_named_after_what_it_answers() -> None:
    protoo = Protoo()
    asks = {"request": True, "id": 7, "method": "pauseConsumer", "data": {}}
    offers = {"request": True, "id": 7, "method": "newConsumer", "data": {}}
    answers = {"response": True, "id": 7, "ok": True, "data": {}}
    assert protoo.kind_of("up", json.dumps(asks)) == "pauseConsumer"
    assert protoo.kind_of("down", json.dumps(offers)) == "newConsumer"
    assert protoo.kind_of("up", json.dumps(answers)) == "answer to newConsumer"
    assert protoo.kind_of("down", json.dumps(answers)) == "answer to pauseConsumer"
    assert protoo.kind_of("down", json.dumps(answers)) == "answer to ?"


def test_a_number_that_is_none_is_no_end() -> None:
    asked = '{"request": true, "id": 1e999, "method": "join"}'
    assert Protoo().kind_of("up", asked) == "?"


def test_a_notification_has_its_method() -> None:
    told = {"notification": True, "method": "peerClosed", "data": {}}
    assert Protoo().kind_of("down", json.dumps(told)) == "peerClosed"


def test_who_joins_says_what_it_is() -> None:
    protoo = Protoo()
    device = {"flag": "browser", "name": "mediasoup-client", "version": "3.16.7"}
    join = {"request": True, "id": 1, "method": "join", "data": {"device": device}}
    protoo.kind_of("up", json.dumps(join))
    assert protoo.device == "mediasoup-client 3.16.7"


@given(st.sampled_from(["up", "down"]), st.text() | st.binary())
def test_any_frame_has_a_name(way: str, data: str | bytes) -> None:
    assert Protoo().kind_of(way, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KEYS = st.sampled_from(["request", "response", "notification", "id", "method", "data"])


@given(st.dictionaries(KEYS, JSON))
def test_any_message_has_a_name(message: dict[str, object]) -> None:
    assert Protoo().kind_of("up", json.dumps(message))
