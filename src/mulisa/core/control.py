"""What a gateway and an agent process say of rooms: text frames on ``WS /agent``. Pure.

LiveKit's agent protocol has binary frames only, so nobody who does not know these sees them:
a gateway sends them for jobs whose worker showed `ROUTABLE_ATTRIBUTE`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mulisa.core.errors import InputError
from mulisa.core.room import Identity
from mulisa.core.routing import (
    MAX_IDENTITIES,
    Routing,
    RoutingChange,
    parse_identity,
    parse_routing,
)
from mulisa.core.use import Use, parse_use

ROUTABLE_ATTRIBUTE: Final = "mulisa.routable"
"""Participant attribute in a worker's availability answer: it understands `RouteRequest`."""
MAX_FRAME_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """Gateway to agent process: make it so. `hear` and `speak_to` are a `RoutingChange`."""

    request_id: str
    job_id: str
    change: RoutingChange


@dataclass(frozen=True, slots=True)
class Routed:
    """Agent process to gateway: it is so; from now on no packet contradicts it."""

    request_id: str
    routing: Routing


@dataclass(frozen=True, slots=True)
class RouteFailed:
    """Agent process to gateway: it could not be done; what held before may hold in part."""

    request_id: str
    error: str


@dataclass(frozen=True, slots=True)
class RoutingReported:
    """Agent process to gateway: somebody changed it by other means, as by telling her."""

    job_id: str
    routing: Routing


@dataclass(frozen=True, slots=True)
class ReceptionReported:
    """Agent process to gateway, once a second for each participant: what they say to receive."""

    job_id: str
    listener: Identity
    heard: frozenset[Identity]
    """Whose packets came to `listener` in the last second; at most `MAX_IDENTITIES`."""


@dataclass(frozen=True, slots=True)
class UseReported:
    """Agent process to gateway: what engines used for the room since the last of these."""

    job_id: str
    use: Use


ControlFrame: TypeAlias = (
    RouteRequest | Routed | RouteFailed | RoutingReported | ReceptionReported | UseReported
)


def encode_control(frame: ControlFrame) -> str:
    """As it goes over the wire."""
    match frame:
        case RouteRequest(request_id, job_id, change):
            data = _ids("route", request_id=request_id, job_id=job_id) | _change_json(change)
        case Routed(request_id, routing):
            data = _ids("routed", request_id=request_id) | routing.to_json()
        case RouteFailed(request_id, error):
            data = _ids("route_failed", request_id=request_id, error=error)
        case RoutingReported(job_id, routing):
            data = _ids("routing", job_id=job_id) | routing.to_json()
        case ReceptionReported(job_id, listener, heard):
            data = _ids("reception", job_id=job_id, listener=listener) | {"heard": sorted(heard)}
        case UseReported(job_id, use):
            data = _ids("use", job_id=job_id) | {"use": {e: dict(use[e]) for e in use}}
    return json.dumps(data)


def parse_control(text: str) -> ControlFrame:
    """Raises InputError for whatever is not one of them, unknown types included."""
    if len(text.encode(errors="replace")) > MAX_FRAME_BYTES:
        raise InputError(f"a control frame has at most {MAX_FRAME_BYTES} bytes")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("a control frame is JSON") from error
    if not isinstance(data, dict):
        raise InputError("a control frame is an object")
    routing = {key: data[key] for key in ("hear", "speak_to") if key in data}
    match data.get("type"):
        case "route":
            change = RoutingChange.parse(routing)
            return RouteRequest(_text(data, "request_id"), _text(data, "job_id"), change)
        case "routed":
            return Routed(_text(data, "request_id"), parse_routing(routing))
        case "route_failed":
            return RouteFailed(_text(data, "request_id"), _text(data, "error"))
        case "routing":
            return RoutingReported(_text(data, "job_id"), parse_routing(routing))
        case "reception":
            listener = parse_identity(data.get("listener"))
            return ReceptionReported(_text(data, "job_id"), listener, _heard(data))
        case "use":
            return UseReported(_text(data, "job_id"), parse_use(data.get("use")))
        case _:
            raise InputError("a control frame of an unknown type")


def _ids(kind: str, **values: str) -> dict[str, Any]:
    return {"type": kind, **values}


def _change_json(change: RoutingChange) -> dict[str, Any]:
    data: dict[str, Any] = {"hear": dict(change.hear)}
    if change.sets_listeners:
        data["speak_to"] = None if change.speak_to is None else sorted(change.speak_to)
    return data


def _heard(data: dict[str, Any]) -> frozenset[Identity]:
    heard = data.get("heard")
    if not isinstance(heard, list) or len(heard) > MAX_IDENTITIES:
        raise InputError(f'"heard" is a list of at most {MAX_IDENTITIES} identities')
    return frozenset(map(parse_identity, heard))


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise InputError(f'a control frame needs "{key}"')
    return value
