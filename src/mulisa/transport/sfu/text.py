"""Text on an SFU: LiveKit's text streams, with what we know beyond them as attributes. Pure.

Captions are as LiveKit's agents send them: each state of a segment is a text stream of its own on
``lk.transcription`` with all words so far, sent in the name of whose words they are.
"""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Final

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.chat import MAX_CHAT_CHARS, is_message_id

TRANSCRIPTION_TOPIC: Final = "lk.transcription"
CHAT_TOPIC: Final = "lk.chat"
RECEPTION_TOPIC: Final = "mulisa.reception"

SEGMENT_ATTRIBUTE: Final = "lk.segment_id"
TRACK_ATTRIBUTE: Final = "lk.transcribed_track_id"
FINAL_ATTRIBUTE: Final = "lk.transcription_final"
IDENTITY_ATTRIBUTE: Final = "mulisa.identity"
INTERRUPTED_ATTRIBUTE: Final = "mulisa.interrupted"
UNSPOKEN_ATTRIBUTE: Final = "mulisa.unspoken"
LISTENER_ATTRIBUTE: Final = "mulisa.listener"

MAX_TEXT_BYTES: Final = 16 * 1024
"""Of one message, attributes included; more than anybody says in a segment."""
MAX_ATTRIBUTE_BYTES: Final = 12 * 1024
"""LiveKit's clients send the attributes in one packet, which has at most 15,000 bytes."""


def caption_attributes(caption: Caption, track_sid: str | None) -> dict[str, str]:
    """Attributes of the text stream that shows `caption.text`.

    `track_sid` is the microphone the words were said into, if there is one. Raises SignalingError
    if the caption is longer than a client takes.
    """
    attributes = {
        SEGMENT_ATTRIBUTE: caption.segment_id,
        FINAL_ATTRIBUTE: "true" if caption.final else "false",
        IDENTITY_ATTRIBUTE: caption.identity,
    }
    if track_sid:
        attributes[TRACK_ATTRIBUTE] = track_sid
    if caption.interrupted:
        attributes[INTERRUPTED_ATTRIBUTE] = "true"
    if caption.unspoken:
        attributes[UNSPOKEN_ATTRIBUTE] = caption.unspoken
    if caption.listener is not None:
        attributes[LISTENER_ATTRIBUTE] = caption.listener
    n_bytes = sum(len(key) + len(value.encode()) for key, value in attributes.items())
    if n_bytes > MAX_ATTRIBUTE_BYTES or len(caption.text.encode()) > MAX_TEXT_BYTES:
        raise SignalingError(f"a caption has at most {MAX_TEXT_BYTES} bytes")
    return attributes


def check_chat(message: ChatMessage) -> None:
    """Raises SignalingError if others would not accept the message."""
    if not is_message_id(message.message_id):
        raise SignalingError("a message id has 1 to 64 letters, digits, '_' or '-'")
    if len(message.text) > MAX_CHAT_CHARS:
        raise SignalingError(f"a typed message has at most {MAX_CHAT_CHARS} characters")


def encode_reception(heard: Set[Identity]) -> bytes:
    """JSON ``{"heard": [identity...]}``."""
    return json.dumps({"heard": sorted(heard)}).encode()


def parse_reception(data: bytes) -> frozenset[Identity]:
    """Whom somebody hears. Raises SignalingError."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SignalingError("a reception is JSON") from error
    heard = message.get("heard") if isinstance(message, dict) else None
    if not isinstance(heard, list) or not all(isinstance(each, str) for each in heard):
        raise SignalingError('a reception is {"heard": [identity...]}')
    return frozenset(map(Identity, heard))
