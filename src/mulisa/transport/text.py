"""What travels on the data channel ``text`` of a pair (docs/protocol.md). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity
from mulisa.core.routing import MAX_IDENTITIES, MAX_IDENTITY_CHARS
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.chat import MAX_CHAT_CHARS, MESSAGE_ID_PATTERN

CHANNEL_LABEL: Final = "text"
CHANNEL_ID: Final = 0
MAX_TEXT_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Reception:
    """Whose packets came to the sender of this in the last second (``mulisa.reception``)."""

    heard: frozenset[Identity]


TextMessage: TypeAlias = Caption | ChatMessage | Reception
_Identity: TypeAlias = Annotated[
    Identity, StringConstraints(min_length=1, max_length=MAX_IDENTITY_CHARS)
]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _CaptionWire(_Wire):
    topic: Literal["lk.transcription"] = "lk.transcription"
    segment_id: str
    identity: _Identity
    text: str
    final: bool
    interrupted: bool = False
    unspoken: str = ""
    listener: _Identity | None = None


class _ChatWire(_Wire):
    topic: Literal["lk.chat"] = "lk.chat"
    id: Annotated[str, StringConstraints(pattern=MESSAGE_ID_PATTERN)]
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHAT_CHARS)]
    listener: _Identity | None = None


class _ReceptionWire(_Wire):
    topic: Literal["mulisa.reception"] = "mulisa.reception"
    heard: Annotated[list[_Identity], Field(max_length=MAX_IDENTITIES)]


_TextWire: TypeAlias = _CaptionWire | _ChatWire | _ReceptionWire
_TEXT: Final[TypeAdapter[_TextWire]] = TypeAdapter(
    Annotated[_TextWire, Field(discriminator="topic")]
)


def encode_text(message: TextMessage) -> str:
    """The message as JSON. Raises SignalingError if no peer would accept it."""
    try:
        text = _to_wire(message).model_dump_json(exclude_none=True)
    except ValidationError as error:
        raise SignalingError(f"a text message was refused: {error}") from error
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise SignalingError(f"a text message has at most {MAX_TEXT_BYTES} bytes")
    return text


def parse_text(text: str) -> TextMessage:
    """What a peer sent. Raises SignalingError."""
    try:
        data = text.encode()
        if len(data) > MAX_TEXT_BYTES:
            raise SignalingError(f"a text message has at most {MAX_TEXT_BYTES} bytes")
        wire = _TEXT.validate_json(data)
    except (ValidationError, UnicodeEncodeError) as error:
        raise SignalingError("this is no text message of a known topic") from error
    return _from_wire(wire)


def _to_wire(message: TextMessage) -> _TextWire:
    match message:
        case ChatMessage(message_id, text, listener):
            return _ChatWire(id=message_id, text=text, listener=listener)
        case Reception(heard):
            return _ReceptionWire(heard=sorted(heard))
        case Caption():
            return _CaptionWire(
                segment_id=message.segment_id,
                identity=message.identity,
                text=message.text,
                final=message.final,
                interrupted=message.interrupted,
                unspoken=message.unspoken,
                listener=message.listener,
            )


def _from_wire(wire: _TextWire) -> TextMessage:
    match wire:
        case _ChatWire():
            return ChatMessage(wire.id, wire.text, wire.listener)
        case _ReceptionWire():
            return Reception(frozenset(wire.heard))
        case _CaptionWire():
            return Caption(
                segment_id=wire.segment_id,
                identity=wire.identity,
                text=wire.text,
                final=wire.final,
                interrupted=wire.interrupted,
                unspoken=wire.unspoken,
                listener=wire.listener,
            )
