"""Reads how a client wants to join: its token's claims and the parameters of ``/rtc``. Pure.

Parameters come in two ways: one by one in the query (v0), or as ``join_request``, a whole message
in base64, which asks for a single connection (v1).
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc
from livekit.protocol.room import RoomConfiguration

from mulisa.core.errors import InputError, TokenError
from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu.config import Claims
from mulisa.sfu.permissions import Permissions

MAX_JOIN_REQUEST_BYTES: Final = 512 * 1024
"""Of a join request without its compression; browsers send 20 kB."""
MAX_NAME_CHARS: Final = 256
"""Of an identity and of a room's name."""

_KINDS: Final = {
    "standard": models.ParticipantInfo.STANDARD,
    "ingress": models.ParticipantInfo.INGRESS,
    "egress": models.ParticipantInfo.EGRESS,
    "sip": models.ParticipantInfo.SIP,
    "agent": models.ParticipantInfo.AGENT,
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who may join which room, as a token says."""

    identity: Identity
    room: RoomName
    name: str
    kind: int
    metadata: str
    attributes: Mapping[str, str]
    permissions: Permissions
    may_create: bool
    configuration: RoomConfiguration | None
    """For a room that this join creates."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a client wants to join."""

    client: models.ClientInfo
    is_single_connection: bool
    auto_subscribe: bool = True
    resumes: ParticipantSid | None = None
    """The stay that goes on, for a client whose socket was lost; empty if it does not say."""
    offer: rtc.SessionDescription | None = None
    """For its connection, ahead of time."""
    add_track_requests: tuple[rtc.AddTrackRequest, ...] = ()
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Own metadata and attributes, which only count for who may change them."""


class NoRoom(InputError):
    """No room is named, or nobody; it is a bad request rather than a bad token."""


def read_ticket(claims: Claims) -> Ticket:
    """Raises TokenError if the token does not allow to join, NoRoom if it does not say as whom."""
    video = claims.get("video")
    if not isinstance(video, Mapping) or video.get("roomJoin") is not True:
        raise TokenError("this token does not allow to join a room")
    identity = _text(claims, "sub") or _text(claims, "identity")
    room = _text(video, "room")
    if not identity:
        raise NoRoom("identity cannot be empty")
    if len(identity) > MAX_NAME_CHARS:
        raise NoRoom(f"an identity has at most {MAX_NAME_CHARS} characters")
    check_room_name(room)
    attributes = claims.get("attributes")
    return Ticket(
        Identity(identity),
        RoomName(room),
        name=_text(claims, "name"),
        kind=_KINDS.get(_text(claims, "kind"), models.ParticipantInfo.STANDARD),
        metadata=_text(claims, "metadata"),
        attributes=_texts(attributes) if isinstance(attributes, Mapping) else {},
        permissions=Permissions.from_claim(video),
        may_create=video.get("roomCreate") is True,
        configuration=_configuration(claims.get("roomConfig")),
    )


def check_room_name(name: str) -> None:
    """Raises NoRoom."""
    if not name:
        raise NoRoom("no room is named")
    if len(name) > MAX_NAME_CHARS:
        raise NoRoom(f"the name of a room has at most {MAX_NAME_CHARS} characters")


def read_wish(query: Mapping[str, str]) -> Wish:
    """Raises InputError if the parameters cannot be read."""
    wrapped = query.get("join_request")
    return _from_message(wrapped) if wrapped else _from_query(query)


def _from_message(wrapped: str) -> Wish:
    request = _unwrap(wrapped)
    settings = request.connection_settings
    has_settings = request.HasField("connection_settings")
    return Wish(
        request.client_info,
        is_single_connection=True,
        auto_subscribe=settings.auto_subscribe if has_settings else True,
        resumes=ParticipantSid(request.participant_sid) if request.reconnect else None,
        offer=request.publisher_offer if request.publisher_offer.sdp else None,
        add_track_requests=tuple(request.add_track_requests),
        metadata=request.metadata,
        attributes=dict(request.participant_attributes),
    )


def _unwrap(text: str) -> rtc.JoinRequest:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        envelope = rtc.WrappedJoinRequest.FromString(raw)
        content = envelope.join_request
        if envelope.compression == rtc.WrappedJoinRequest.GZIP:
            content = _gunzip(content)
        return rtc.JoinRequest.FromString(content)
    except (binascii.Error, UnicodeError, DecodeError, zlib.error) as error:
        raise InputError("join_request cannot be read") from error


def _gunzip(packed: bytes) -> bytes:
    """Raises zlib.error, and InputError for more than a join request can be."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    content = unpacking.decompress(packed, MAX_JOIN_REQUEST_BYTES)
    if unpacking.unconsumed_tail:
        raise InputError(f"join_request holds more than {MAX_JOIN_REQUEST_BYTES} bytes")
    if not unpacking.eof:
        raise zlib.error("it ends too early")
    return content


def _from_query(query: Mapping[str, str]) -> Wish:
    client = _client(query)
    return Wish(
        client,
        is_single_connection=False,
        auto_subscribe=_flag(query.get("auto_subscribe", "1")),
        resumes=ParticipantSid(query.get("sid", "")) if _flag(query.get("reconnect", "")) else None,
        attributes=_query_attributes(query.get("attributes", "")),
    )


def _client(query: Mapping[str, str]) -> models.ClientInfo:
    sdks, known = models.ClientInfo.SDK, models.ClientInfo.Capability
    sdk, named = query.get("sdk", "").upper(), query.get("capabilities", "").split(",")
    fields: dict[str, Any] = {
        "sdk": sdk if sdk in sdks.keys() else "UNKNOWN",
        "protocol": _number(query, "protocol"),
        "client_protocol": _number(query, "client_protocol"),
        "capabilities": [each for each in named if each in known.keys()],
    }
    for key in ("version", "os", "os_version", "device_model", "browser", "browser_version"):
        fields[key] = query.get(key, "")
    return models.ClientInfo(**fields)


def _query_attributes(encoded: str) -> Mapping[str, str]:
    if not encoded:
        return {}
    try:
        content = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError) as error:
        raise InputError("attributes cannot be read") from error
    if not isinstance(content, dict):
        raise InputError("attributes are not a JSON object")
    return _texts(content)


def _flag(text: str) -> bool:
    return text.lower() in ("1", "true")


def _number(query: Mapping[str, str], key: str) -> int:
    text = query.get(key, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _text(mapping: Mapping[str, object], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def _texts(mapping: Mapping[object, object]) -> dict[str, str]:
    return {str(key): value for key, value in mapping.items() if isinstance(value, str)}


def _configuration(claim: object) -> RoomConfiguration | None:
    """LiveKit's JSON form; what of it we do not know is left out."""
    from google.protobuf.json_format import ParseDict, ParseError

    if not isinstance(claim, dict):
        return None
    try:
        return ParseDict(claim, RoomConfiguration(), ignore_unknown_fields=True)
    except ParseError as error:
        raise TokenError("the token's roomConfig cannot be read") from error
