"""Messages of protoo, the signalling protocol of mediasoup's demo application. Pure.

A text frame is one JSON object: a request, the response to one, or a notification. Both ends may
ask. Numbers of requests are the asker's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mulisa.core.errors import SignalingError

SUBPROTOCOL: Final = "protoo"
MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_METHOD_CHARS: Final = 128
MAX_REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class Request:
    """Wants a response."""

    id: int
    method: str
    data: Any


@dataclass(frozen=True, slots=True)
class Success:
    """The response to a request that was granted."""

    id: int
    data: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to one that was not."""

    id: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Notification:
    """Wants nothing."""

    method: str
    data: Any


Message: TypeAlias = Request | Success | Refusal | Notification


def parse(text: str | bytes) -> Message:
    """Raises SignalingError, for anything else than a message."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SignalingError("a protoo message is JSON") from error
    if not isinstance(message, dict):
        raise SignalingError("a protoo message is a JSON object")
    if message.get("request"):
        return Request(_id(message), _method(message), _data(message))
    if message.get("response"):
        return _response(message)
    if message.get("notification"):
        return Notification(_method(message), _data(message))
    raise SignalingError("a protoo message is a request, a response or a notification")


def encode(message: Message) -> str:
    """As it goes over the wire."""
    match message:
        case Request(number, method, data):
            content = {"request": True, "id": number, "method": method, "data": data}
        case Success(number, data):
            content = {"response": True, "id": number, "ok": True, "data": data}
        case Refusal(number, code, reason):
            content = {"response": True, "id": number, "errorCode": code, "errorReason": reason}
            content["ok"] = False
        case Notification(method, data):
            content = {"notification": True, "method": method, "data": data}
    return json.dumps(content, separators=(",", ":"))


def _response(message: Mapping[str, Any]) -> Success | Refusal:
    number = _id(message)
    if message.get("ok"):
        return Success(number, _data(message))
    code, reason = message.get("errorCode"), message.get("errorReason")
    said = reason if isinstance(reason, str) else "no reason given"
    printable = "".join(each if each.isprintable() else " " for each in said)
    is_code = isinstance(code, int) and not isinstance(code, bool)
    return Refusal(number, code if is_code else 0, printable[:MAX_REASON_CHARS])  # type: ignore[arg-type]


def _id(message: Mapping[str, Any]) -> int:
    number = message.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise SignalingError("a protoo message has a number as its id")
    return number


def _method(message: Mapping[str, Any]) -> str:
    method = message.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD_CHARS:
        raise SignalingError("a protoo message names a method")
    return method


def _data(message: Mapping[str, Any]) -> Any:
    data = message.get("data")
    return {} if data is None else data
