"""The streams that a publisher sends: SSRCs, the tracks they belong to, what is missing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mulisa.sfu.media import AUDIO_LEVEL, DEPENDENCY_DESCRIPTOR, Codec, Inbound, TrackSid
from mulisa.wire.reception import Reception

if TYPE_CHECKING:
    from mulisa.sfu.fanout import Fanout

KEY_FRAME_INTERVAL: Final = 0.5
"""Seconds between two requests for a key frame of one stream."""
MAX_SOURCES: Final = 64
"""Streams that one connection may send at once; the oldest is forgotten for one more."""
SUPERSEDED: Final = 2.0
"""Seconds of silence after which a stream that was replaced may go on as its track's."""


class Source:
    """What the forwarding path looks up by SSRC."""

    __slots__ = (
        "_key_frame_at",
        "asks",
        "codecs",
        "descriptor_id",
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
        self.descriptor_id = inbound.extensions.get(DEPENDENCY_DESCRIPTOR, 0)
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


class Sources:
    """The streams of one connection, and which of them speaks for its track and layer now."""

    def __init__(self) -> None:
        self.by_ssrc: dict[int, Source] = {}
        self._current: dict[tuple[str, str], Source] = {}

    def add(self, source: Source) -> None:
        """A new stream, which speaks for its track and layer from now on."""
        if len(self.by_ssrc) >= MAX_SOURCES:
            self.forget(next(iter(self.by_ssrc.values())))
        self.by_ssrc[source.ssrc] = source
        self._make_current(source)

    def of(self, track: TrackSid) -> list[Source]:
        """All streams of a track."""
        return [each for each in self.by_ssrc.values() if each.inbound.track == track]

    def current(self, track: TrackSid, rid: str) -> Source | None:
        """The stream that speaks for a track and layer."""
        return self._current.get((track, rid))

    def forget(self, source: Source) -> None:
        """Should it go on, it is a new stream."""
        self.by_ssrc.pop(source.ssrc, None)
        if self._current.get(source.key) is source:
            del self._current[source.key]

    def admits(self, source: Source, now: float) -> bool:
        """True if it speaks for its track and layer: the latest does, until it falls silent."""
        if source.is_current:
            return True
        current = self._current.get(source.key)
        if current is not None and now - current.reception.heard < SUPERSEDED:
            return False
        self._make_current(source)
        return True

    def _make_current(self, source: Source) -> None:
        before = self._current.get(source.key)
        if before is not None:
            before.is_current = False
        source.is_current = True
        self._current[source.key] = source
