"""The data channels of one peer, over a DTLS association (RFC 8831).

The peer makes them, and a label names one. What waits for a peer that does not read is bounded.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from mulisa.wire.sctp import Association, Channel, Wire, ignore, run
from mulisa.wire.sctp_limits import MAX_MESSAGE_BYTES

MAX_RELIABLE_BYTES: Final = 2_097_152
"""Waiting for one peer to read; what is beyond it is refused."""
MAX_LOSSY_BYTES: Final = 131_072
"""The same for channels that may lose messages: what is older than a second helps nobody."""

logger = logging.getLogger(__name__)


class DataChannels:
    """The data channels of one peer."""

    __slots__ = (
        "_association",
        "_by_label",
        "_faults",
        "_news",
        "_opened",
        "_received",
        "_wire",
        "dropped",
    )

    def __init__(
        self,
        send: Callable[[bytes], None],
        opened: Callable[[str], None],
        received: Callable[[str, bytes], None],
    ) -> None:
        """`send` takes SCTP packets; `opened` labels; `received` a label and a message."""
        self._wire = Wire(send)
        self._opened = opened
        self._received = received
        self._news: deque[Callable[[], None]] = deque()
        self._by_label: dict[str, Channel] = {}
        self._association = Association(self._wire, self)
        self.dropped = 0
        """Messages refused by `send`: their channel was too full, or they too long."""
        self._faults = 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the open channels."""
        return tuple(self._by_label)

    @property
    def faults(self) -> int:
        """Breaches of the rules of SCTP."""
        return self._faults + self._association.unsound

    @property
    def buffered_bytes(self) -> int:
        """Memory of what `send` accepted and the peer has not yet acknowledged."""
        return self._association.buffered_bytes

    def agree(self, label: str, stream_id: int) -> None:
        """A channel for text that the peer knows of without being asked."""
        channel = Channel.agreed(self, stream_id, label)
        self._by_label[label] = channel
        self._association.agree(channel)

    def part(self, label: str) -> None:
        """Forget a channel that the peer has forgotten."""
        channel = self._by_label.pop(label, None)
        if channel is not None:
            self._association.part(channel)

    def receive(self, packet: bytes) -> None:
        """An SCTP packet. Whatever it holds, only what `opened` and `received` raise is raised."""
        self._run(self._association._handle_data(packet))
        while self._news:  # told when aiortc is done: it must not be left half way
            self._news.popleft()()

    def send(self, label: str, data: bytes) -> bool:
        """Queue a message; False if there is no such channel, or it is too full for this."""
        channel = self._by_label.get(label)
        if channel is None:
            return False
        limit = MAX_LOSSY_BYTES if channel.is_lossy else MAX_RELIABLE_BYTES
        if len(data) > MAX_MESSAGE_BYTES or self.buffered_bytes + len(data) > limit:
            self.dropped += 1
            return False
        return self._run(self._association.queue(channel, data))

    def close(self) -> None:
        """Abort the association and free its timers. Idempotent; tells nobody."""
        self._opened = self._received = ignore
        self._news.clear()
        self._run(self._association.stop())
        self._wire.cut()
        self._by_label.clear()

    def _run(self, step: Coroutine[Any, Any, None]) -> bool:
        """Do something with aiortc, which asserts and indexes where a peer broke the protocol."""
        try:
            run(step)
        except Exception:
            logger.debug("the peer broke SCTP's rules", exc_info=True)
            self._faults += 1
            return False
        return True

    def start_over(self) -> Association:
        """The peer lost its state: a new association, without channels."""
        self._association.drop()
        self._faults += self._association.unsound
        self._association = Association(self._wire, self)
        return self._association

    def channel_opened(self, channel: Channel) -> None:
        """The peer made a channel; of two with one label the newer one counts."""
        self._by_label[channel.label] = channel
        self._news.append(lambda: self._opened(channel.label))

    def channel_closed(self, channel: Channel) -> None:
        """The peer closed it, or the association ended."""
        if self._by_label.get(channel.label) is channel:
            del self._by_label[channel.label]

    def message_received(self, channel: Channel, data: bytes) -> None:
        """A whole message came on an open channel."""
        self._news.append(lambda: self._received(channel.label, data))
