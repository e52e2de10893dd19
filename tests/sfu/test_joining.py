"""What a token and the parameters of ``/rtc`` say, well-formed and hostile."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from mulisa.core.errors import InputError, TokenError
from mulisa.sfu.joining import MAX_JOIN_REQUEST_BYTES, NoRoom, read_ticket, read_wish

pytestmark = pytest.mark.unit

CLAIMS: dict[str, Any] = {
    "iss": "key",
    "sub": "alice",
    "name": "Alice",
    "metadata": "m",
    "attributes": {"colour": "blue"},
    "kind": "agent",
    "video": {"roomJoin": True, "room": "standup", "roomCreate": True},
    "roomConfig": {"emptyTimeout": 7, "agents": [{"agentName": "mulisa"}], "unknown": 1},
}


def test_a_token_says_who_may_join_which_room() -> None:
    ticket = read_ticket(CLAIMS)
    assert (ticket.identity, ticket.room, ticket.name) == ("alice", "standup", "Alice")
    assert ticket.kind == models.ParticipantInfo.AGENT and ticket.may_create
    assert (ticket.metadata, ticket.attributes) == ("m", {"colour": "blue"})
    assert ticket.configuration is not None
    assert ticket.configuration.empty_timeout == 7
    assert ticket.configuration.agents[0].agent_name == "mulisa"


def test_a_refreshed_token_names_the_identity_elsewhere() -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != "sub"} | {"identity": "bob"}
    assert read_ticket(claims).identity == "bob"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"video": {"room": "standup"}}, TokenError),
        ({"video": {"room": "standup", "roomJoin": "true"}}, TokenError),
        ({"video": None}, TokenError),
        ({"sub": ""}, NoRoom),
        ({"sub": 7}, NoRoom),
        ({"video": {"roomJoin": True}}, NoRoom),
        ({"video": {"roomJoin": True, "room": "r" * 257}}, NoRoom),
        ({"sub": "a" * 257}, NoRoom),
        ({"roomConfig": {"emptyTimeout": "soon"}}, TokenError),
    ],
)
def test_a_token_that_does_not_let_in(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_ticket(CLAIMS | changes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from([*CLAIMS, "identity"])


@settings(max_examples=1_000)
@given(st.dictionaries(KEYS, JSON), st.dictionaries(st.sampled_from(["roomJoin", "room"]), JSON))
def test_signed_nonsense_is_refused_or_read(claims: dict[str, Any], video: dict[str, Any]) -> None:
    for each in (claims, CLAIMS | claims, CLAIMS | {"video": video}):
        try:
            read_ticket(each)
        except InputError:
            pass


def test_the_query_of_the_python_sdk() -> None:
    wish = read_wish(
        {
            "sdk": "python",
            "version": "1.2.1",
            "os": "linux",
            "protocol": "17",
            "client_protocol": "2",
            "auto_subscribe": "0",
            "adaptive_stream": "0",
            "capabilities": "CAP_PACKET_TRAILER,CAP_COMPRESSION_DEFLATE_RAW,CAP_OF_TOMORROW",
        }
    )
    assert not wish.is_single_connection and not wish.auto_subscribe and wish.resumes is None
    client = wish.client
    assert (client.sdk, client.version, client.os) == (models.ClientInfo.PYTHON, "1.2.1", "linux")
    assert (client.protocol, client.client_protocol, len(client.capabilities)) == (17, 2, 2)


def test_the_query_of_a_go_client_that_resumes_and_says_who_it_is() -> None:
    attributes = base64.urlsafe_b64encode(json.dumps({"colour": "blue"}).encode()).decode()
    query = {"sdk": "go", "attributes": attributes, "reconnect": "1", "sid": "PA_1", "": ""}
    wish = read_wish(query)
    assert wish.auto_subscribe and wish.resumes == "PA_1"
    assert wish.attributes == {"colour": "blue"}
    assert wish.client.sdk == models.ClientInfo.GO


def wrapped(request: rtc.JoinRequest, *, packed: bool = True) -> str:
    content = request.SerializeToString()
    envelope = rtc.WrappedJoinRequest(
        compression=rtc.WrappedJoinRequest.GZIP if packed else rtc.WrappedJoinRequest.NONE,
        join_request=gzip.compress(content) if packed else content,
    )
    return base64.urlsafe_b64encode(envelope.SerializeToString()).decode()


@pytest.mark.parametrize("packed", [True, False])
def test_a_join_request(packed: bool) -> None:
    request = rtc.JoinRequest(
        client_info=models.ClientInfo(sdk=models.ClientInfo.JS, version="2.23"),
        connection_settings=rtc.ConnectionSettings(auto_subscribe=True),
        publisher_offer=rtc.SessionDescription(type="offer", sdp="v=0", id=1),
        participant_attributes={"colour": "blue"},
    )
    wish = read_wish({"join_request": wrapped(request, packed=packed)})
    assert wish.is_single_connection and wish.auto_subscribe and wish.resumes is None
    assert wish.offer is not None and (wish.offer.sdp, wish.offer.id) == ("v=0", 1)
    assert wish.client.version == "2.23" and wish.attributes == {"colour": "blue"}
    unpadded = wrapped(request, packed=packed).rstrip("=")
    assert read_wish({"join_request": unpadded}) == wish


def test_a_join_request_that_resumes() -> None:
    wish = read_wish(
        {"join_request": wrapped(rtc.JoinRequest(reconnect=True, participant_sid="PA_1"))}
    )
    assert wish.resumes == "PA_1" and wish.offer is None and wish.auto_subscribe


def test_a_compressed_bomb_is_not_unpacked() -> None:
    bomb = rtc.WrappedJoinRequest(
        compression=rtc.WrappedJoinRequest.GZIP,
        join_request=gzip.compress(b"\0" * (MAX_JOIN_REQUEST_BYTES + 1)),
    )
    text = base64.urlsafe_b64encode(bomb.SerializeToString()).decode()
    with pytest.raises(InputError, match="more than"):
        read_wish({"join_request": text})


@settings(max_examples=2_000)
@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_hostile_join_requests(content: bytes, packed: bool, enveloped: bool) -> None:
    if enveloped:
        compression = rtc.WrappedJoinRequest.GZIP if packed else rtc.WrappedJoinRequest.NONE
        content = gzip.compress(content) if packed else content
        envelope = rtc.WrappedJoinRequest(compression=compression, join_request=content)
        content = envelope.SerializeToString()
    try:
        read_wish({"join_request": base64.urlsafe_b64encode(content).decode() or "="})
    except InputError:
        pass


@settings(max_examples=1_000)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "sdk",
                "protocol",
                "auto_subscribe",
                "attributes",
                "capabilities",
                "sid",
                "reconnect",
                "join_request",
                "version",
            ]
        ),
        st.text(),
    )
)
def test_hostile_queries(query: dict[str, str]) -> None:
    try:
        read_wish(query)
    except InputError:
        pass
