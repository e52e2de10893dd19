"""Signalling messages: what is written is what is read, and bad input is only SignalingError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity, Participant, ParticipantSid
from mulisa.transport.mesh import signaling as s

pytestmark = pytest.mark.unit

SID = ParticipantSid("PA_0123456789abcdef")
CANDIDATE = s.IceCandidate(
    candidate="candidate:1 1 udp 2122260223 192.0.2.1 54400 typ host",
    sdp_mid="0",
    sdp_m_line_index=0,
    username_fragment="abcd",
)
INFO = s.ParticipantInfo.of(
    Participant(Identity("alice-7f3k"), "Alice", sid=SID, muted=True, attributes={"a": "b"})
)

FROM_CLIENT: dict[str, dict[str, Any]] = {
    "offer": {"type": "offer", "to": SID, "connection": "abcd1234", "sdp": "v=0\r\n"},
    "answer": {"type": "answer", "to": SID, "connection": "abcd1234", "sdp": "v=0\r\n"},
    "candidate": {
        "type": "candidate",
        "to": SID,
        "connection": "abcd1234",
        "candidate": {
            "candidate": CANDIDATE.candidate,
            "sdpMid": "0",
            "sdpMLineIndex": 0,
            "usernameFragment": "abcd",
        },
    },
    "end of candidates": {
        "type": "candidate",
        "to": SID,
        "connection": "abcd1234",
        "candidate": None,
    },
    "mute": {"type": "update", "muted": True},
    "rename": {"type": "update", "name": "Alice B."},
    "attributes": {"type": "update", "attributes": {"lk.agent.state": "thinking", "x": ""}},
    "ping": {"type": "ping", "received": 7},
    "witness": {"type": "witness", "sid": SID},
    "leave": {"type": "leave"},
}

FROM_GATEWAY: list[s.GatewayMessage] = [
    s.Joined(
        room="kitchen",
        participant=INFO,
        participants=[INFO],
        ice_servers=[s.IceServer(urls=["stun:stun.example.org"])],
    ),
    s.Resumed(received=3, ice_servers=[s.IceServer(urls=["stun:stun.example.org"])]),
    s.PeerJoined(participant=INFO),
    s.PeerDetached(sid=SID),
    s.PeerAttached(sid=SID),
    s.Pong(received=0),
    s.PeerUpdated(participant=INFO),
    s.PeerLeft(sid=SID, identity=Identity("alice"), reason="vanished"),
    s.OfferFrom(sender=SID, connection="abcd1234", sdp="v=0"),
    s.AnswerFrom(sender=SID, connection="abcd1234", sdp="v=0"),
    s.CandidateFrom(sender=SID, connection="abcd1234", candidate=CANDIDATE),
    s.CandidateFrom(sender=SID, connection="abcd1234", candidate=None),
    s.ErrorMessage(code="too_fast", message="slow down"),
    s.Closing(reason="shutdown"),
]


@pytest.mark.parametrize("message", FROM_CLIENT.values(), ids=FROM_CLIENT)
def test_a_client_message_is_written_as_it_was_read(message: dict[str, Any]) -> None:
    parsed = s.parse_client_message(json.dumps(message))
    assert json.loads(s.encode(parsed)) == message


@pytest.mark.parametrize("message", FROM_GATEWAY, ids=lambda m: m.type)
def test_a_gateway_message_is_read_as_it_was_written(message: s.GatewayMessage) -> None:
    assert s.parse_gateway_message(s.encode(message)) == message


def test_a_message_from_a_peer_names_its_sender_from() -> None:
    message = s.OfferFrom(sender=SID, connection="abcd1234", sdp="v=0")
    assert json.loads(s.encode(message))["from"] == SID


def test_a_participant_survives_the_wire() -> None:
    message = s.parse_gateway_message(s.encode(s.PeerJoined(participant=INFO)))
    assert isinstance(message, s.PeerJoined)
    assert message.participant.participant() == INFO.participant()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"type": "shout"}, "shout"),
        ({"extra": 1}, "offer.extra"),
        ({"connection": "short"}, "offer.connection"),
        ({"connection": "abcd1234\n"}, "offer.connection"),
        ({"connection": "x" * 33}, "offer.connection"),
        ({"sdp": "hello"}, "not SDP"),
        ({"sdp": None}, "offer.sdp"),
        ({"to": ""}, "offer.to"),
        ({"to": "x" * 65}, "offer.to"),
    ],
    ids=str,
)
def test_an_offer_with_one_wrong_thing_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SignalingError, match=problem):
        s.parse_client_message(json.dumps(FROM_CLIENT["offer"] | change))


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"kind": "agent"},
        {"muted": 1},
        {"muted": "true"},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a\u202eb"},
        {"attributes": {"": "x"}},
        {"attributes": {"x": 1}},
        {"attributes": {f"k{i}": "v" for i in range(65)}},
        {"attributes": {"k": "v" * 8192}},
        {"attributes": {"k": "\u00e9" * 4096}},
    ],
    ids=lambda update: str(update)[:40],
)
def test_a_bad_update_is_refused(update: dict[str, Any]) -> None:
    with pytest.raises(SignalingError):
        s.parse_client_message(json.dumps({"type": "update"} | update))


def test_a_candidate_from_a_client_has_no_unknown_fields() -> None:
    message = json.loads(json.dumps(FROM_CLIENT["candidate"]))
    message["candidate"]["foundation"] = "1"
    with pytest.raises(SignalingError, match="foundation"):
        s.parse_client_message(json.dumps(message))


@pytest.mark.parametrize("index", [-1, 65536, 0.5, "0", True])
def test_an_m_line_index_is_a_small_number(index: object) -> None:
    message = json.loads(json.dumps(FROM_CLIENT["candidate"]))
    message["candidate"]["sdpMLineIndex"] = index
    with pytest.raises(SignalingError):
        s.parse_client_message(json.dumps(message))


def test_sizes_have_a_limit_of_their_own() -> None:
    fits = FROM_CLIENT["offer"] | {"sdp": "v=0".ljust(s.MAX_SDP_BYTES, "x")}
    s.parse_client_message(json.dumps(fits))
    with pytest.raises(s.MessageTooLarge, match="SDP"):
        s.parse_client_message(json.dumps(fits | {"sdp": fits["sdp"] + "x"}))
    with pytest.raises(s.MessageTooLarge, match="message"):
        s.parse_client_message(" " * s.MAX_MESSAGE_BYTES + '{"type":"leave"}')


def test_unknown_fields_of_the_gateway_are_ignored() -> None:
    message = s.parse_gateway_message('{"type":"closing","reason":"shutdown","since":1}')
    assert message == s.Closing(reason="shutdown")


def test_an_error_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(SignalingError) as caught:
        s.parse_client_message('{"type":"offer","to":"secret","connection":"hush","sdp":"v=0"}')
    assert "secret" not in str(caught.value) and "hush" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def parse_both(text: str) -> None:
    """Only SignalingError may come out."""
    for parse in (s.parse_client_message, s.parse_gateway_message):
        try:
            message = parse(text)
        except SignalingError:
            continue
        s.encode(message)


@given(st.text(st.characters()))
def test_any_text_raises_only_signaling_error(text: str) -> None:
    parse_both(text)


@given(JSON)
def test_any_json_raises_only_signaling_error(value: object) -> None:
    parse_both(json.dumps(value))


@given(st.data())
def test_any_mutated_message_raises_only_signaling_error(data: st.DataObject) -> None:
    known = [*FROM_CLIENT.values(), *(json.loads(s.encode(m)) for m in FROM_GATEWAY)]
    message = dict(data.draw(st.sampled_from(known)))
    for key in data.draw(st.lists(st.sampled_from([*message, "x"]), max_size=3)):
        message[key] = data.draw(JSON)
    text = json.dumps(message)
    cut = data.draw(st.integers(0, len(text)))
    parse_both(text)
    parse_both(text[:cut])
    parse_both(text[:cut] + data.draw(st.text(max_size=3)) + text[cut:])


def test_deep_json_raises_only_signaling_error() -> None:
    parse_both("[" * 30_000)
    parse_both('{"type":' * 5_000)
