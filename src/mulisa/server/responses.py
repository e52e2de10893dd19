"""How every answer of the gateway looks: security headers, errors as one JSON sentence."""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from mulisa.core.errors import InputError, MulisaError, TokenError
from mulisa.server.access import NotAllowed
from mulisa.server.routing import NotConfirmed

logger = logging.getLogger(__name__)

_CONTENT_SECURITY_POLICY: Final = (
    # 'unsafe-eval': scripts that drive the page (Playwright's wait_for_function) evaluate
    # expressions in it. The page itself never does, and no script but our own is loaded.
    # 'self' is our WebSocket, too (CSP level 3, 6.7.2.8).
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'{servers}; media-src 'self' blob: mediastream:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
_STRICT_TRANSPORT: Final = "max-age=31536000"


class TooMany(MulisaError):
    """Somebody asks too often; the message is safe to send back."""


class RoomIsFull(MulisaError):
    """There is no place for one more; the message is safe to send back."""


class NotUpgraded(MulisaError):
    """A plain request where a WebSocket is expected; the message is safe to send back."""


def error_response(status: int, message: str) -> web.Response:
    """``{"error": message}``; `message` is one sentence for whoever caused it."""
    return web.json_response({"error": message}, status=status)


def refuse_unless_websocket(request: web.Request) -> None:
    """Raises NotUpgraded for a request that does not ask to become a WebSocket."""
    if not web.WebSocketResponse().can_prepare(request):
        raise NotUpgraded("this address speaks WebSocket; connect with ws:// or wss://")


class SecurityHeaders:
    """For ``app.on_response_prepare``: every answer, files and WebSockets included."""

    def __init__(self, livekit_url: str = "", *, is_strict: bool = False) -> None:
        """`livekit_url`: the page may connect there, besides here.

        `is_strict`: browsers shall never again speak plain http to this host (RFC 6797), on
        whichever port.
        """
        policy = _CONTENT_SECURITY_POLICY.format(servers=_origins(livekit_url))
        self._headers = {"Content-Security-Policy": policy, **_SECURITY_HEADERS}
        if is_strict:
            self._headers["Strict-Transport-Security"] = _STRICT_TRANSPORT

    async def add(self, _: web.Request, response: web.StreamResponse) -> None:
        """Those that the response does not have yet."""
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["Server"] = "Mulisa"


def _origins(url: str) -> str:
    """The WebSocket and HTTP origin of a server, each after a space; none without a server."""
    if not url:
        return ""
    parts = urlsplit(url)
    secure = "s" if parts.scheme in ("wss", "https") else ""
    return f" ws{secure}://{parts.netloc} http{secure}://{parts.netloc}"


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into an answer that never shows our insides."""
    try:
        return await handler(request)
    except TokenError as error:
        return error_response(401, str(error))
    except NotAllowed as error:
        return error_response(403, str(error))
    except InputError as error:
        return error_response(400, str(error))
    except TooMany as error:
        return error_response(429, str(error))
    except (NotConfirmed, RoomIsFull) as error:
        return error_response(503, str(error))
    except NotUpgraded as error:
        return _upgrade_required(str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _http_error(error)
    except Exception:
        logger.exception("a request failed", extra={"method": request.method})
        return error_response(500, "something went wrong here; the gateway's log says what")


def _upgrade_required(message: str) -> web.Response:
    """RFC 9110, 15.5.22."""
    response = error_response(426, message)
    response.headers.update({"Upgrade": "websocket", "Connection": "Upgrade"})
    return response


def _http_error(error: web.HTTPException) -> web.Response:
    sentences = {
        404: "there is nothing here",
        405: "this address does not take that method",
        413: "that is too large; a request has at most 16 KiB",
    }
    response = error_response(error.status, sentences.get(error.status, error.reason))
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response
