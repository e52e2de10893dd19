"""What a hostile peer can make aiortc's SCTP hold or compute is bounded here.

By itself it never gets past a parameter of length 0, counts gap blocks out one by one, and keeps
whatever never completes. A peer whose packets are refused harms nobody but itself.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from aiortc import rtcsctptransport as sctp

MAX_MESSAGE_BYTES: Final = 65_535
"""Of one message in either direction; what our descriptions say."""
MAX_STREAMS: Final = 128
"""Stream ids are below this."""
RECEIVE_WINDOW_BYTES: Final = 262_144
"""Of incomplete messages."""
MAX_UNORDERED_CHUNKS: Final = 512
"""Beyond the first one that is missing."""
MAX_INCOMPLETE_CHUNKS: Final = MAX_UNORDERED_CHUNKS + 128
"""Kept at once: the longest message has 60 of the size that everybody sends."""

_READY: Final = (
    sctp.RTCSctpTransport.State.COOKIE_ECHOED,
    sctp.RTCSctpTransport.State.ESTABLISHED,
)
_COMMON_HEADER_BYTES: Final = 12
_PARAMETERS_START: Final = {1: 16, 2: 16, 4: 0, 5: 0, 6: 0, 9: 0, 130: 0}
"""Where the parameters of a chunk begin in its body, by chunk type."""
_TSN_MODULO: Final = 2**32

_chunk = Struct("!BBH")
_parameter = Struct("!HH")


class LimitedSctp(sctp.RTCSctpTransport):
    """aiortc's SCTP, within limits; `limit` makes one of those that aiortc makes itself."""

    unsound = 0
    """Packets that were refused because there is no way through them."""

    def announce_limits(self) -> None:
        """What the other end is told when the association is made."""
        self._inbound_streams_max = MAX_STREAMS
        self._outbound_streams_count = MAX_STREAMS
        self._advertised_rwnd = RECEIVE_WINDOW_BYTES

    async def _handle_data(self, data: bytes) -> None:
        if is_sound(data):
            await super()._handle_data(data)
        else:
            self.unsound += 1

    async def _receive_data_chunk(self, chunk: sctp.DataChunk) -> None:
        if self._association_state not in _READY or chunk.stream_id >= MAX_STREAMS:
            return
        assert self._last_received_tsn is not None, "both states come after the peer's first TSN"
        ahead = (chunk.tsn - self._last_received_tsn) % _TSN_MODULO
        is_behind = ahead == 0 or ahead > _TSN_MODULO // 2
        if is_behind or self._has_room(ahead, len(chunk.user_data)):
            await super()._receive_data_chunk(chunk)

    def _has_room(self, ahead: int, size: int) -> bool:
        """The next chunk in order may exceed the window: it is what the others wait for.

        Only a message that is too long, or without an end, is refused its next chunk.
        """
        kept = sum(len(stream.reassembly) for stream in self._inbound_streams.values())
        if ahead == 1:
            return kept < MAX_INCOMPLETE_CHUNKS and self._advertised_rwnd > -MAX_MESSAGE_BYTES
        return max(ahead, kept) <= MAX_UNORDERED_CHUNKS and size <= self._advertised_rwnd

    async def _receive_forward_tsn_chunk(self, chunk: sctp.ForwardTsnChunk) -> None:
        """Each stream is looked through once, however often it is named."""
        streams = dict(chunk.streams).items()
        chunk.streams = [each for each in streams if each[0] < MAX_STREAMS]
        await super()._receive_forward_tsn_chunk(chunk)

    async def _receive_sack_chunk(self, chunk: sctp.SackChunk) -> None:
        """Gap blocks that are no outstanding chunks would be counted out one by one."""
        last = (self._local_tsn - 1 - chunk.cumulative_tsn) % _TSN_MODULO
        end = 0
        for start, stop in chunk.gaps:
            if not end < start <= stop <= last:
                return
            end = stop
        if last <= len(self._sent_queue) + len(self._outbound_queue):
            await super()._receive_sack_chunk(chunk)


def limit(transport: sctp.RTCSctpTransport) -> None:
    """Put limits to an SCTP transport that aiortc made and that has not been started."""
    transport.__class__ = LimitedSctp
    assert isinstance(transport, LimitedSctp)
    transport.announce_limits()


def is_sound(packet: bytes) -> bool:
    """Whether chunks and parameters have lengths to walk by: aiortc never gets past a zero."""
    position, total = _COMMON_HEADER_BYTES, len(packet)
    if total < position + _chunk.size or total % 4:
        return False
    while position + _chunk.size <= total:
        kind, _, length = _chunk.unpack_from(packet, position)
        end = position + length
        if length < _chunk.size or end > total:
            return False
        start = _PARAMETERS_START.get(kind)
        if start is not None and not _has_sound_parameters(packet, position + 4 + start, end):
            return False
        position = end + -length % 4
    return True


def _has_sound_parameters(packet: bytes, position: int, end: int) -> bool:
    while position + _parameter.size <= end:
        _, length = _parameter.unpack_from(packet, position)
        if length < _parameter.size or position + length > end:
            return False
        position += length + -length % 4
    return True
