"""What a client's token says of it, kept true so that it comes back as it went. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from livekit.protocol import models

from mulisa.sfu.config import Claims
from mulisa.sfu.permissions import Permissions


class Standing:
    """The claims with which a client joined, and what has become of them."""

    def __init__(self, claims: Claims, issue: Callable[[Claims], str]) -> None:
        self._claims = dict(claims)
        self._issue = issue

    def token(self) -> str:
        """A new token; empty if none are given out."""
        return self._issue(self._claims)

    def settle(self, info: models.ParticipantInfo, permissions: Permissions) -> bool:
        """The room says this of the client now. True if the token said something else."""
        claims = self._claims | {
            "name": info.name,
            "metadata": info.metadata,
            "attributes": dict(info.attributes),
            "video": _video(self._claims.get("video"), permissions),
        }
        has_changed = _said(claims) != _said(self._claims)
        self._claims = claims
        return has_changed


def _video(before: object, permissions: Permissions) -> Mapping[str, object]:
    """Being an agent process is no participant's to gain: that grant stays as it was signed."""
    signed = dict(before) if isinstance(before, Mapping) else {}
    allowed = permissions.to_claim()
    allowed.pop("agent", None)
    if "canPublishSources" not in allowed:
        signed.pop("canPublishSources", None)
    return signed | allowed


def _said(claims: Claims) -> tuple[object, ...]:
    """What absent claims mean is said alike."""
    permissions = Permissions.from_claim(claims["video"])
    texts = (claims.get("name") or "", claims.get("metadata") or "")
    return (*texts, dict(claims.get("attributes") or {}), permissions)
