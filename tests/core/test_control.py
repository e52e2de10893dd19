from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.account import UNITS
from mulisa.core.control import (
    MAX_FRAME_BYTES,
    ControlFrame,
    ReceptionReported,
    Routed,
    RouteFailed,
    RouteRequest,
    RoutingReported,
    UseReported,
    encode_control,
    parse_control,
)
from mulisa.core.errors import InputError
from mulisa.core.routing import RoutingChange
from tests.core.test_routing import identities, json_values, routings

pytestmark = pytest.mark.unit

texts = st.text(max_size=10)
listeners = st.none() | st.frozensets(identities, max_size=3)
heard = st.dictionaries(identities, st.booleans(), max_size=3)
changes = st.builds(RoutingChange, heard) | st.builds(
    RoutingChange, heard, st.just(True), listeners
)
uses = st.dictionaries(
    st.text(min_size=1, max_size=10),
    st.dictionaries(st.sampled_from(UNITS), st.floats(0, 1e12), max_size=3),
    max_size=3,
)
frames = (
    st.builds(RouteRequest, texts, texts, changes)
    | st.builds(Routed, texts, routings)
    | st.builds(RouteFailed, texts, texts)
    | st.builds(RoutingReported, texts, routings)
    | st.builds(ReceptionReported, texts, identities, st.frozensets(identities, max_size=3))
    | st.builds(UseReported, texts, uses)
)


@given(frames)
def test_what_is_sent_is_read(frame: ControlFrame) -> None:
    assert parse_control(encode_control(frame)) == frame


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        "9" * 10_000,
        '{"type": ["route"]}',
        '{"type": "unheard-of"}',
        '{"type": "route", "job_id": "j"}',
        '{"type": "route", "request_id": 1, "job_id": "j"}',
        '{"type": "routed", "request_id": "r", "hear": []}',
        '{"type": "routing", "job_id": "j", "speak_to": "alice"}',
        '{"type": "route_failed", "request_id": "r"}',
        '{"type": "reception", "job_id": "j", "listener": "", "heard": []}',
        '{"type": "reception", "job_id": "j", "listener": "alice"}',
        '{"type": "reception", "job_id": "j", "listener": "alice", "heard": "bob"}',
        '{"type": "reception", "job_id": "j", "listener": "alice", "heard": [1]}',
        '{"type": "use", "job_id": "j"}',
        '{"type": "use", "use": {}}',
        '{"type": "use", "job_id": "j", "use": []}',
        '{"type": "use", "job_id": "j", "use": {"": {}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": 5}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"euros": 5}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"tokens": -1}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"tokens": true}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"tokens": "5"}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"tokens": NaN}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"tokens": 1e999}}}',
        '{"type": "use", "job_id": "j", "use": {"OpenAI": {"tokens": 1' + "0" * 400 + "}}}",
        json.dumps({"type": "use", "job_id": "j", "use": {"x" * 65: {}}}),
        json.dumps({"type": "use", "job_id": "j", "use": {str(n): {} for n in range(33)}}),
        json.dumps({"type": "reception", "job_id": "j", "listener": "a", "heard": ["b"] * 501}),
    ],
)
def test_what_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_control(text)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\ud800"])
def test_a_frame_is_limited_in_bytes(letter: str) -> None:
    envelope = '{"type": "route_failed", "request_id": "r", "error": ""}'
    size = len(letter.encode(errors="replace"))
    longest = (MAX_FRAME_BYTES - len(envelope)) // size
    fits = envelope.replace('""', f'"{letter * longest}"')
    assert isinstance(parse_control(fits), RouteFailed)
    with pytest.raises(InputError, match="bytes"):
        parse_control(envelope.replace('""', f'"{letter * (longest + 1)}"'))


@given(
    st.dictionaries(
        st.sampled_from(["type", "request_id", "hear", "error", "listener", "heard", "use"]),
        json_values,
    )
)
def test_any_json_is_a_frame_or_refused(data: dict[str, object]) -> None:
    for kind in ("route", "routed", "route_failed", "routing", "reception", "use"):
        try:
            parse_control(json.dumps({"job_id": "j", **data, "type": kind}))
        except InputError:
            pass
