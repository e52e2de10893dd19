"""Signalling messages of a mesh room and their JSON (docs/protocol.md).

Pure. Everything that enters is validated here, once: unknown types and fields are errors from a
client and ignored from the gateway. All of it raises nothing but SignalingError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from mulisa.core.errors import InputError, SignalingError
from mulisa.core.room import Identity, Participant, ParticipantSid, parse_display_name

MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_SDP_BYTES: Final = 32 * 1024
MAX_ATTRIBUTES: Final = 64
MAX_ATTRIBUTES_BYTES: Final = 8 * 1024

ErrorCode: TypeAlias = Literal[
    "bad_message", "unknown_participant", "not_allowed", "too_fast", "too_large"
]
LeaveReason: TypeAlias = Literal["left", "vanished", "replaced", "removed"]
ClosingReason: TypeAlias = Literal["replaced", "removed", "room_closed", "too_fast", "shutdown"]


class MessageTooLarge(SignalingError):
    """A message or its SDP is longer than the protocol allows."""


def _check_sdp(sdp: str) -> str:
    if not sdp.startswith("v=0"):
        raise ValueError("this is not SDP: it does not begin with v=0")
    return sdp


def _check_attributes(attributes: Mapping[str, str]) -> Mapping[str, str]:
    check_attributes_size(attributes)
    return attributes


def check_attributes_size(attributes: Mapping[str, str]) -> None:
    """Raises ValueError if these are more attributes than a participant may have."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items())
    if size > MAX_ATTRIBUTES_BYTES:
        raise ValueError(f"attributes are at most {MAX_ATTRIBUTES_BYTES} bytes in all")


def _check_name(name: str) -> str:
    try:
        return parse_display_name(name)
    except InputError as error:
        raise ValueError(str(error)) from error


ConnectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{8,32}$")]
Sid = Annotated[ParticipantSid, StringConstraints(min_length=1, max_length=64)]
Sdp = Annotated[str, AfterValidator(_check_sdp)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1, strict=True)]
"""How many messages of the other side have come since `Joined`; exact in JavaScript."""
DisplayName = Annotated[str, AfterValidator(_check_name)]
Attributes = Annotated[
    Mapping[Annotated[str, StringConstraints(min_length=1, max_length=256)], str],
    AfterValidator(_check_attributes),
]


class _Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )


class IceCandidate(_Message):
    """An RTCIceCandidateInit (W3C webrtc-pc, 4.8.1)."""

    model_config = ConfigDict(alias_generator=to_camel)

    candidate: Annotated[str, StringConstraints(max_length=1024)]
    sdp_mid: Annotated[str, StringConstraints(max_length=64)] | None = None
    sdp_m_line_index: Annotated[
        int | None, Field(alias="sdpMLineIndex", ge=0, le=65535, strict=True)
    ] = None
    username_fragment: Annotated[str, StringConstraints(max_length=256)] | None = None


class IceServer(_Message):
    """An RTCIceServer (W3C webrtc-pc, 4.2.4)."""

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None


class ParticipantInfo(_Message):
    """A participant as it is written on the wire."""

    sid: Sid
    identity: Identity
    name: str
    kind: Literal["standard", "agent"]
    muted: bool = False
    attributes: Mapping[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, participant: Participant) -> Self:
        """The wire's view of a participant."""
        return cls.model_construct(
            sid=participant.sid,
            identity=participant.identity,
            name=participant.name,
            kind=participant.kind,
            muted=participant.muted,
            attributes=dict(participant.attributes),
        )

    def participant(self) -> Participant:
        """The core's view of it."""
        return Participant(
            identity=self.identity,
            name=self.name,
            sid=self.sid,
            kind=self.kind,
            muted=self.muted,
            attributes=self.attributes,
        )


class Joined(_Message):
    """Who you are and who is there already."""

    type: Literal["joined"] = "joined"
    room: str
    participant: ParticipantInfo
    participants: list[ParticipantInfo]
    ice_servers: list[IceServer] = Field(default_factory=list)


class Resumed(_Message):
    """The stay goes on; what the client missed follows."""

    type: Literal["resumed"] = "resumed"
    received: Count
    ice_servers: list[IceServer] = Field(default_factory=list)


class IceServersRenewed(_Message):
    """Credentials that last, in place of those that are about to run out."""

    type: Literal["ice_servers"] = "ice_servers"
    ice_servers: list[IceServer]


class PeerJoined(_Message):
    """Somebody new, who will send an offer."""

    type: Literal["participant_joined"] = "participant_joined"
    participant: ParticipantInfo


class PeerUpdated(_Message):
    """Name, mute or attributes of somebody (perhaps ourselves) changed."""

    type: Literal["participant_updated"] = "participant_updated"
    participant: ParticipantInfo


class PeerLeft(_Message):
    """A stay ended."""

    type: Literal["participant_left"] = "participant_left"
    sid: Sid
    identity: Identity
    reason: LeaveReason


class PeerDetached(_Message):
    """Somebody's socket is lost: whoever receives their packets is their witness."""

    type: Literal["participant_detached"] = "participant_detached"
    sid: Sid


class PeerAttached(_Message):
    """Somebody who was detached is back."""

    type: Literal["participant_attached"] = "participant_attached"
    sid: Sid


class OfferFrom(_Message):
    """A peer's offer."""

    type: Literal["offer"] = "offer"
    sender: Annotated[Sid, Field(alias="from")]
    connection: ConnectionName
    sdp: Sdp


class AnswerFrom(_Message):
    """A peer's answer."""

    type: Literal["answer"] = "answer"
    sender: Annotated[Sid, Field(alias="from")]
    connection: ConnectionName
    sdp: Sdp


class CandidateFrom(_Message):
    """A peer's candidate; None ends them."""

    type: Literal["candidate"] = "candidate"
    sender: Annotated[Sid, Field(alias="from")]
    connection: ConnectionName
    candidate: IceCandidate | None


class ErrorMessage(_Message):
    """What was sent was not delivered."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str


class Pong(_Message):
    """The answer to a ping."""

    type: Literal["pong"] = "pong"
    received: Count


class Closing(_Message):
    """The last message; a client comes back by itself only after `shutdown`."""

    type: Literal["closing"] = "closing"
    reason: ClosingReason


GatewayMessage: TypeAlias = (
    Joined
    | Resumed
    | IceServersRenewed
    | PeerJoined
    | PeerUpdated
    | PeerLeft
    | PeerDetached
    | PeerAttached
    | OfferFrom
    | AnswerFrom
    | CandidateFrom
    | ErrorMessage
    | Pong
    | Closing
)


class _FromClient(_Message):
    model_config = ConfigDict(extra="forbid")


class ClientCandidate(IceCandidate):
    """One of our own."""

    model_config = ConfigDict(extra="forbid")


class OfferTo(_FromClient):
    """An offer to one peer."""

    type: Literal["offer"] = "offer"
    to: Sid
    connection: ConnectionName
    sdp: Sdp


class AnswerTo(_FromClient):
    """An answer to one peer."""

    type: Literal["answer"] = "answer"
    to: Sid
    connection: ConnectionName
    sdp: Sdp


class CandidateTo(_FromClient):
    """A candidate for one peer; None ends them."""

    type: Literal["candidate"] = "candidate"
    to: Sid
    connection: ConnectionName
    candidate: ClientCandidate | None


class Update(_FromClient):
    """Something about oneself; an empty attribute value removes the key."""

    type: Literal["update"] = "update"
    muted: Annotated[bool | None, Field(strict=True)] = None
    name: DisplayName | None = None
    attributes: Attributes | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.muted is None and self.name is None and self.attributes is None:
            raise ValueError("an update has at least one of muted, name, attributes")
        return self


class Ping(_FromClient):
    """Asks for a pong, and says how many of the gateway's messages have come."""

    type: Literal["ping"] = "ping"
    received: Count


class Witness(_FromClient):
    """Packets of a detached participant came to us just now."""

    type: Literal["witness"] = "witness"
    sid: Sid


class Leave(_FromClient):
    """Going; the gateway closes the socket."""

    type: Literal["leave"] = "leave"


ClientMessage: TypeAlias = OfferTo | AnswerTo | CandidateTo | Update | Ping | Witness | Leave

_CLIENT: Final[TypeAdapter[ClientMessage]] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)
_GATEWAY: Final[TypeAdapter[GatewayMessage]] = TypeAdapter(
    Annotated[GatewayMessage, Field(discriminator="type")]
)


def parse_client_message(text: str) -> ClientMessage:
    """What a client sent. Raises SignalingError; MessageTooLarge if it is only too long."""
    message: ClientMessage = _parse(_CLIENT, text)
    return message


def parse_gateway_message(text: str) -> GatewayMessage:
    """What the gateway sent. Raises SignalingError."""
    message: GatewayMessage = _parse(_GATEWAY, text)
    return message


def encode(message: ClientMessage | GatewayMessage) -> str:
    """The message as one line of JSON."""
    absent_is_null = not isinstance(message, Update | Joined | Resumed)
    return message.model_dump_json(by_alias=True, exclude_none=not absent_is_null)


def _parse(adapter: TypeAdapter[Any], text: str) -> Any:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise SignalingError("a message is UTF-8 text") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"a message has at most {MAX_MESSAGE_BYTES} bytes")
    try:
        message = adapter.validate_json(data)
    except ValidationError as error:
        raise SignalingError(_first_problem(error)) from error
    if len(getattr(message, "sdp", "").encode()) > MAX_SDP_BYTES:
        raise MessageTooLarge(f"an SDP has at most {MAX_SDP_BYTES} bytes")
    return message


def _first_problem(error: ValidationError) -> str:
    """The first broken rule, without the input, which may be personal."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    text = f"{place}: {problem['msg']}" if place else problem["msg"]
    return text if len(text) <= 300 else text[:297] + "..."
