"""``POST /twirp/SERVICE/METHOD``: how LiveKit's server APIs are called.

Requests and answers are protobuf, or JSON with the names of the ``.proto`` files; errors are
``{"code", "msg"}`` with the status of the code
(https://twitchtv.github.io/twirp/docs/spec_v7.html). The token is checked before the body is read.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from mulisa.core.errors import InputError, MulisaError, TokenError
from mulisa.server.access import token_of
from mulisa.server.ratelimit import RateLimit
from mulisa.sfu.errors import LimitExceeded, NotFound

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 256 * 1024
"""Of one request; LiveKit's longest, metadata and data packets, are 64 kB, or 88 kB as JSON."""

_PROTOBUF: Final = "application/protobuf"
_JSON: Final = "application/json"
_STATUSES: Final = {
    "invalid_argument": 400,
    "malformed": 400,
    "unauthenticated": 401,
    "not_found": 404,
    "bad_route": 404,
    "resource_exhausted": 429,
    "failed_precondition": 412,
    "internal": 500,
    "unimplemented": 501,
    "unavailable": 503,
}
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "7200",
}
"""Any page may call with a token of its own; nothing is granted to a page without one."""

Request = TypeVar("Request", bound=Message)
VideoGrant = Mapping[str, Any]
"""The claim ``video`` of a token: LiveKit's names."""


class TwirpError(MulisaError):
    """What the caller is told; the message is safe to send back."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Method(Generic[Request]):
    """One method of a service."""

    request: type[Request]
    is_allowed: Callable[[VideoGrant, Request], bool]
    """Whether a token with this grant may call it with this request."""
    answer: Callable[[Request], Message | Awaitable[Message]]
    """Raises InputError and its kinds, or TwirpError."""


def may_create(video: VideoGrant, _: Message) -> bool:
    """For what makes and ends rooms."""
    return video.get("roomCreate") is True


def may_list(video: VideoGrant, _: Message) -> bool:
    """For what shows all rooms."""
    return video.get("roomList") is True


def may_administer(video: VideoGrant, request: Any) -> bool:
    """For what concerns one room, which the request names as `room`."""
    return video.get("roomAdmin") is True and video.get("room") == request.room


class TwirpService:
    """The handler of one service."""

    def __init__(
        self,
        name: str,
        methods: Mapping[str, Method[Any]],
        verify: Callable[[str], Mapping[str, Any]],
        admit: Callable[[web.Request], bool],
    ) -> None:
        """`name` is that of the ``.proto`` file: ``livekit.RoomService``.

        `verify` gives a token's claims, or raises TokenError. `admit` says whether the caller may
        ask once more now.
        """
        self._name = name
        self._methods = methods
        self._verify = verify
        self._admit = admit

    def routes(self) -> list[web.RouteDef]:
        """What to mount."""
        return [web.route("*", f"/twirp/{self._name}/{{method}}", self._handle)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=_CORS)
        try:
            return await self._answer(request)
        except TwirpError as error:
            return _error(error.code, str(error))
        except TokenError as error:
            return _error("unauthenticated", str(error))
        except NotFound as error:
            return _error("not_found", str(error))
        except LimitExceeded as error:
            return _error("resource_exhausted", str(error))
        except InputError as error:
            return _error("invalid_argument", str(error))
        except ConnectionError:
            raise  # the caller is gone
        except Exception:
            logger.exception("a server API call failed", extra={"path": request.path})
            return _error("internal", "something went wrong here; the gateway's log says what")

    async def _answer(self, request: web.Request) -> web.Response:
        method = self._methods.get(request.match_info["method"])
        if method is None or request.method != "POST":
            raise TwirpError("bad_route", f"there is no {request.method} {request.path}"[:200])
        if request.content_type not in (_PROTOBUF, _JSON):
            raise TwirpError("bad_route", f"send {_PROTOBUF} or {_JSON}")
        video = self._verify(token_of(request.headers, request.query) or "")["video"]
        if not self._admit(request):
            raise TwirpError("resource_exhausted", "too many requests from your address")
        message = parse(method.request, request.content_type, await _body(request))
        if not method.is_allowed(video, message):
            raise TwirpError("unauthenticated", "permissions denied")
        answer = method.answer(message)
        return _encode(await answer if inspect.isawaitable(answer) else answer, request)


def limited(limit: RateLimit, now: Callable[[], float]) -> Callable[[web.Request], bool]:
    """Admits each address as often as the limit says."""
    return lambda request: limit.admit(request.remote or "", now())


async def _body(request: web.Request) -> bytes:
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise TwirpError("malformed", f"a request has at most {MAX_BODY_BYTES} bytes")
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TwirpError("malformed", f"a request has at most {MAX_BODY_BYTES} bytes")
    return bytes(body)


def parse(kind: type[Request], content_type: str, body: bytes) -> Request:
    """A request of this kind; fields that are not known are ignored: protocols grow.

    Raises TwirpError.
    """
    message = kind()
    try:
        if content_type == _PROTOBUF:
            message.ParseFromString(body)
        else:
            said = json.loads(body or b"{}")
            if not isinstance(said, dict):
                raise ValueError("it is no object")
            json_format.ParseDict(said, message, ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        raise TwirpError("malformed", f"the body is no {kind.DESCRIPTOR.name}") from error
    return message


def _encode(message: Message, request: web.Request) -> web.Response:
    if request.content_type == _PROTOBUF:
        body, content_type = message.SerializeToString(), _PROTOBUF
    else:
        text = json_format.MessageToJson(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            indent=None,
        )
        body, content_type = text.encode(), _JSON
    return web.Response(body=body, content_type=content_type, headers=_CORS)


def _error(code: str, message: str) -> web.Response:
    body = {"code": code, "msg": message}
    return web.json_response(body, status=_STATUSES[code], headers=_CORS)
