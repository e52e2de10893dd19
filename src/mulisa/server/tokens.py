"""Access tokens: LiveKit's, in every topology, so that any LiveKit SDK or server accepts them.

A token is a JWT signed with HS256: `iss` is the API key, `sub` the identity, and the claim
`video` holds what its holder may do (https://docs.livekit.io/home/get-started/authentication).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mulisa.core.errors import ConfigError, InputError, TokenError
from mulisa.core.room import Identity, ParticipantKind, RoomName, parse_room_name

VALIDITY: Final = timedelta(hours=6)
REFRESH_VALIDITY: Final = timedelta(minutes=10)
"""Of a token that the SFU hands to a client every few minutes, to come back with; or longer."""
CLOCK_SKEW: Final = timedelta(seconds=60)
"""By how much the clocks of the signer and ours may differ."""

_ALGORITHM: Final = "HS256"
_SUFFIX_LETTERS: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""Digits and letters that nobody confuses when reading an identity aloud."""
_SUFFIX_LENGTH: Final = 4
_MAX_SLUG_CHARS: Final = 32
_HMAC_BLOCK_BYTES: Final = 64
_BODY_VALIDITY: Final = timedelta(minutes=5)
_NOT_REFRESHED: Final = ("iat", "nbf", "jti", "sha256")
_TEXT_CLAIMS: Final = ("sub", "identity", "name", "kind", "metadata")


@dataclass(frozen=True, slots=True)
class Grant:
    """Who holds a token and what it allows; `verify` made sure that we (or our key) said so."""

    identity: Identity
    """Empty for a worker, which is no participant."""
    name: str = ""
    room: RoomName | None = None
    kind: ParticipantKind = "standard"
    attributes: Mapping[str, str] = field(default_factory=dict)
    room_join: bool = False
    agent: bool = False
    """May serve as an agent process (``WS /agent``)."""
    can_update_metadata: bool = False
    """May change its own name and attributes."""
    can_publish: bool = True
    can_subscribe: bool = True
    can_publish_data: bool = True
    hidden: bool = False
    """Nobody else sees it in the room."""
    sources: tuple[str, ...] = ()
    """What it may publish, in LiveKit's words (``microphone``, ``camera``); none: everything."""


class TokenIssuer:
    """Signs tokens with one API key and its secret, of any length."""

    def __init__(self, api_key: str, api_secret: str) -> None:
        self._api_key = api_key
        self._signing_key = _signing_key(api_secret)

    def issue(self, grant: Grant, now: datetime, validity: timedelta = VALIDITY) -> str:
        """A token that grants this from `now` on for `validity`."""
        claims = {
            "iss": self._api_key,
            "nbf": int(now.timestamp()),
            "exp": int((now + validity).timestamp()),
            "video": _video_claim(grant),
        }
        if grant.identity:
            claims |= {"sub": grant.identity, "name": grant.name, "kind": grant.kind}
        if grant.attributes:
            claims["attributes"] = dict(grant.attributes)
        return self._sign(claims)

    def refresh(self, claims: Mapping[str, Any], now: datetime) -> str:
        """A token that claims the same as one that was verified, and expires no earlier."""
        kept = {name: value for name, value in claims.items() if name not in _NOT_REFRESHED}
        expiry = max(int((now + REFRESH_VALIDITY).timestamp()), int(claims.get("exp", 0)))
        return self._sign(kept | {"iss": self._api_key, "exp": expiry})

    def sign_body(self, body: bytes, now: datetime) -> str:
        """A token that vouches for the body of a request: a webhook's ``Authorization``."""
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        expiry = int((now + _BODY_VALIDITY).timestamp())
        claims = {"iss": self._api_key, "nbf": int(now.timestamp()), "exp": expiry}
        return self._sign(claims | {"sha256": digest})

    def _sign(self, claims: Mapping[str, Any]) -> str:
        import jwt

        return jwt.encode(dict(claims), self._signing_key, algorithm=_ALGORITHM)


class TokenVerifier:
    """Accepts tokens that one API key signed."""

    def __init__(self, api_key: str, api_secret: str) -> None:
        self._api_key = api_key
        self._signing_key = _signing_key(api_secret)

    def verify(self, token: str) -> Grant:
        """What the token grants.

        Raises TokenError if it is malformed, signed by somebody else, expired or not valid yet.
        """
        return _grant(self._read(token, expires=True))

    def claims(self, token: str) -> dict[str, Any]:
        """All that the token says, in LiveKit's names, with the types that those have.

        Raises TokenError as `verify`, but for rooms whose names only our page would not take.
        """
        return _typed(self._read(token, expires=True))

    def verify_signature(self, token: str) -> Grant:
        """What the token grants or granted: as `verify`, but it may have expired."""
        return _grant(self._read(token, expires=False))

    def _read(self, token: str, *, expires: bool) -> dict[str, Any]:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._signing_key,
                algorithms=[_ALGORITHM],
                issuer=self._api_key,
                leeway=CLOCK_SKEW,
                options={
                    "require": ["exp", "iss"],
                    "verify_exp": expires,
                    "verify_aud": False,
                    "verify_iat": False,  # LiveKit's server does not read it
                    "verify_jti": False,
                    "verify_sub": False,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenError("the token has expired; ask for a new one") from error
        except jwt.InvalidSignatureError as error:
            raise TokenError("the token was signed with another secret") from error
        except jwt.InvalidIssuerError as error:
            raise TokenError("the token was issued for another API key") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenError("this is not a valid token") from error
        return claims


def room_grant(
    room: RoomName,
    name: str,
    *,
    earlier: Grant | None = None,
    is_taken: Callable[[Identity], bool] = lambda identity: False,
) -> Grant:
    """What a person gets who asks to join a room.

    The identity is that of their `earlier` grant of this room, so that a reload does not make a
    second Alice; otherwise it is a new one that is not taken.
    """
    if earlier and earlier.room == room and earlier.room_join and earlier.kind == "standard":
        identity = earlier.identity
    else:
        identity = new_identity(name)
        while is_taken(identity):
            identity = new_identity(name)
    return Grant(identity, name, room, room_join=True, can_update_metadata=True)


def new_identity(name: str) -> Identity:
    """``alice-7f3k``: the name in lower case ASCII (or ``guest``) and four random characters."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name)[:_MAX_SLUG_CHARS].strip("-") or "guest"
    suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(_SUFFIX_LENGTH))
    return Identity(f"{slug}-{suffix}")


def load_signing() -> None:
    """Load what signs and verifies; it takes 0.15 s, which the first token need not wait for.

    Meant for a thread, once the gateway answers.
    """
    import jwt

    jwt.get_algorithm_by_name(_ALGORITHM)


def utc_now() -> datetime:
    """The wall clock, which signs and expires tokens."""
    return datetime.now(UTC)


def _signing_key(secret: str) -> bytes:
    """The secret, padded with the zeros that HMAC itself appends (RFC 2104, 2).

    No signature changes, and PyJWT does not warn about secrets shorter than a hash.
    """
    if not secret:
        raise ConfigError("the API secret is empty: set LIVEKIT_API_SECRET")
    return secret.encode().ljust(_HMAC_BLOCK_BYTES, b"\0")


def _video_claim(grant: Grant) -> dict[str, Any]:
    claim: dict[str, Any] = {}
    if grant.room_join and grant.room is not None:
        claim |= {
            "roomJoin": True,
            "room": grant.room,
            "canPublish": grant.can_publish,
            "canSubscribe": grant.can_subscribe,
            "canPublishData": grant.can_publish_data,
            "canUpdateOwnMetadata": grant.can_update_metadata,
        }
    if grant.hidden:
        claim["hidden"] = True
    if grant.sources:
        claim["canPublishSources"] = list(grant.sources)
    if grant.agent:
        claim["agent"] = True
    return claim


def _typed(claims: dict[str, Any]) -> dict[str, Any]:
    """The signed claims, if they have the right types; their key's owner may err.

    What is null is left out, as if it had not been said. Raises TokenError.
    """
    said = {name: value for name, value in claims.items() if value is not None}
    if not isinstance(said.get("video"), dict):
        raise TokenError("the token has no claim 'video' that says what it allows")
    if any(not isinstance(said.get(name, ""), str) for name in _TEXT_CLAIMS):
        raise TokenError("the token's identity and name are not text")
    attributes = said.get("attributes", {})
    if not isinstance(attributes, dict):
        raise TokenError("the token's attributes are no object")
    return said | {"attributes": {str(key): str(value) for key, value in attributes.items()}}


def _grant(claims: dict[str, Any]) -> Grant:
    """Raises TokenError."""
    said = _typed(claims)
    video, identity = said["video"], said.get("sub") or said.get("identity") or ""
    sources = video.get("canPublishSources") or []
    if not isinstance(sources, list):
        raise TokenError("the token's canPublishSources are no list")
    room_join = video.get("roomJoin") is True
    if room_join and not identity:
        raise TokenError("the token allows to join a room but names no identity ('sub')")
    return Grant(
        identity=Identity(identity),
        name=said.get("name") or identity,
        room=_room(video.get("room")),
        kind="agent" if said.get("kind") == "agent" else "standard",
        attributes=said["attributes"],
        room_join=room_join,
        agent=video.get("agent") is True,
        can_update_metadata=video.get("canUpdateOwnMetadata") is True,
        can_publish=video.get("canPublish") is not False,
        can_subscribe=video.get("canSubscribe") is not False,
        can_publish_data=video.get("canPublishData") is not False,
        hidden=video.get("hidden") is True,
        sources=tuple(str(source) for source in sources),
    )


def _room(name: object) -> RoomName | None:
    if not name:
        return None
    try:
        return parse_room_name(str(name))
    except InputError as error:
        raise TokenError(f"the token's room is {error}") from error
