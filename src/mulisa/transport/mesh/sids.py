"""Names of stays, signed: a gateway that was restarted knows those that it gave before. Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from mulisa.core.room import Identity, ParticipantSid, RoomName

_PREFIX: Final = "PA_"
_NONCE_BYTES: Final = 8
_TAG_BYTES: Final = 10
_PURPOSE: Final = b"mulisa mesh sid"
"""Nothing else that the secret signs is mistaken for a sid, nor a sid for that."""


class StaySids:
    """``PA_`` and 36 hexadecimal digits: 8 random bytes, and 10 of an HMAC-SHA256.

    A sid alone allows nothing: who comes back shows a token of the same identity, too.
    """

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)

    def new(self, room: RoomName, identity: Identity) -> ParticipantSid:
        """For a stay of this participant in this room."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return ParticipantSid(f"{_PREFIX}{nonce.hex()}{self._tag(nonce, room, identity).hex()}")

    def is_ours(self, sid: str, room: RoomName, identity: Identity) -> bool:
        """A gateway with this secret named a stay of this participant in this room so."""
        try:
            signed = bytes.fromhex(sid.removeprefix(_PREFIX))
        except ValueError:
            return False
        nonce, tag = signed[:_NONCE_BYTES], signed[_NONCE_BYTES:]
        genuine = f"{_PREFIX}{nonce.hex()}{self._tag(nonce, room, identity).hex()}"
        return hmac.compare_digest(tag, self._tag(nonce, room, identity)) and sid == genuine

    def _tag(self, nonce: bytes, room: RoomName, identity: Identity) -> bytes:
        whose = b"\0".join((nonce.hex().encode(), room.encode(), identity.encode()))
        return hmac.digest(self._key, whose, hashlib.sha256)[:_TAG_BYTES]
