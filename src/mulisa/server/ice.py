"""STUN and TURN servers as each participant is told of them. Pure.

A TURN server that shares a secret with us (coturn's ``use-auth-secret``) takes credentials that
we make: the user name is when they expire and for whom they are, the password its HMAC
(draft-uberti-behave-turn-rest-00). So no password of a server is ever handed out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from mulisa.config import IceServerSpec
from mulisa.core.room import Identity
from mulisa.transport.mesh.signaling import IceServer

CREDENTIAL_VALIDITY: Final = timedelta(hours=12)
"""Twice that of a token: a connection may be made late in a visit."""


class IceServers:
    """Hands them out."""

    def __init__(self, servers: Iterable[IceServer], turn_secret: str = "") -> None:
        """`turn_secret` is shared with the TURN servers that have no credentials."""
        self._servers = tuple(servers)
        self._secret = turn_secret.encode()

    def of(self, identity: Identity, at: datetime) -> list[IceServer]:
        """For this participant, who asks now."""
        return [self._personal(server, identity, at) for server in self._servers]

    def _personal(self, server: IceServer, identity: Identity, at: datetime) -> IceServer:
        if not self._secret or server.username or not _is_turn(server):
            return server
        expiry = int((at + CREDENTIAL_VALIDITY).timestamp())
        username = f"{expiry}:{identity}"
        digest = hmac.digest(self._secret, username.encode(), hashlib.sha1)
        credential = base64.b64encode(digest).decode()
        return IceServer(urls=server.urls, username=username, credential=credential)


def ice_server(text: str) -> IceServer:
    """As the operator names it. Raises ValueError."""
    spec = IceServerSpec.parse(text)
    return IceServer(
        urls=spec.url, username=spec.username or None, credential=spec.credential or None
    )


def _is_turn(server: IceServer) -> bool:
    urls = [server.urls] if isinstance(server.urls, str) else server.urls
    return any(url.startswith(("turn:", "turns:")) for url in urls)
