"""One stream that a publisher sends: an SSRC, the track it belongs to, what is missing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mulisa.sfu.media import AUDIO_LEVEL, Codec, Inbound
from mulisa.sfu.reception import Reception

if TYPE_CHECKING:
    from mulisa.sfu.fanout import Fanout

KEY_FRAME_INTERVAL: Final = 0.5
"""Seconds between two requests for a key frame of one stream."""
SUPERSEDED: Final = 2.0
"""Seconds of silence after which a stream that was replaced may go on as its track's."""


class Source:
    """What the forwarding path looks up by SSRC."""

    __slots__ = (
        "_key_frame_at",
        "asks",
        "codecs",
        "fanout",
        "inbound",
        "is_current",
        "level_id",
        "reception",
        "rid",
        "ssrc",
        "wants_key_frame",
    )

    def __init__(
        self, ssrc: int, inbound: Inbound, rid: str, fanout: Fanout, reception: Reception
    ) -> None:
        self.ssrc = ssrc
        self.rid = rid
        self.fanout = fanout
        self.reception = reception
        self.is_current = False
        """False once another stream came for the same track and layer."""
        self.wants_key_frame = False
        self._key_frame_at = -KEY_FRAME_INTERVAL
        self.describe(inbound)

    def describe(self, inbound: Inbound) -> None:
        """Take what was negotiated, which may change while the stream goes on."""
        self.inbound = inbound
        self.codecs: dict[int, Codec] = {each.payload_type: each for each in inbound.codecs}
        self.level_id = inbound.extensions.get(AUDIO_LEVEL, 0)
        self.asks = any("nack" in each.feedback for each in inbound.codecs)
        """True if the publisher sends again what we ask for."""

    @property
    def is_plain(self) -> bool:
        """True if all its packets are forwarded: the usual case."""
        return self.is_current and not self.rid

    @property
    def key(self) -> tuple[str, str]:
        """What there is one current stream of: a layer of a track."""
        return self.inbound.track, self.rid

    def want_key_frame(self) -> None:
        """Ask for one as soon as the last request is long enough ago."""
        self.wants_key_frame = True

    def takes_key_frame_request(self, now: float) -> bool:
        """True if a key frame is to be asked for now; once for each `want_key_frame`."""
        if not self.wants_key_frame or now - self._key_frame_at < KEY_FRAME_INTERVAL:
            return False
        self.wants_key_frame = False
        self._key_frame_at = now
        return True
