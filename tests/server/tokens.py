"""Tokens as LiveKit's own SDK makes them, and some that it would not."""

from __future__ import annotations

import jwt


def api_token(
    video: object = None,
    *,
    key: str = "devkey",
    secret: str = "secret",
    identity: str = "",
    **claims: object,
) -> str:
    """A token with these grants (LiveKit's names)."""
    said = {"iss": key, "exp": 4_000_000_000, "sub": identity, "video": video} | claims
    # HMAC pads a key with zeros itself; done here, PyJWT does not warn of short ones.
    return jwt.encode(said, secret.encode().ljust(64, b"\0"), algorithm="HS256")
