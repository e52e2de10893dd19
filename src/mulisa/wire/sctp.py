"""SCTP under data channels (RFC 8261, RFC 8831), and how they are opened (DCEP, RFC 8832).

The SCTP is aiortc's with limits, driven without its tasks: packets in, packets out, its
retransmission timers on the event loop. We are the passive end: the peer makes the association and
the channels. `mulisa.wire.channels` is the way in.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from struct import Struct
from typing import Any, Final, Protocol

from aiortc import rtcsctptransport as sctp

from mulisa.wire.sctp_limits import MAX_MESSAGE_BYTES, LimitedSctp

OBJECT_BYTES: Final = 256
"""What a message or chunk costs beside its bytes, so that tiny ones are bounded too."""
MAX_CHANNELS: Final = 16
SCTP_PORT: Final = 5000

_open = Struct("!BBHLHH")


class AssociationOwner(Protocol):
    """Who is told what the peer does; called while a packet is being handled."""

    def start_over(self) -> Association:
        """The peer lost its state: a new association, without channels."""

    def channel_opened(self, channel: Channel) -> None:
        """The peer made a channel."""

    def channel_closed(self, channel: Channel) -> None:
        """The peer closed it, or the association ended."""

    def message_received(self, channel: Channel, data: bytes) -> None:
        """A whole message came on an open channel."""


class Wire:
    """What an association knows of DTLS; stands in for aiortc's RTCDtlsTransport."""

    state = "connected"
    _role = "server"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def cut(self) -> None:
        """Nothing is sent any more."""
        self._send = ignore

    async def _send_data(self, packet: bytes) -> None:
        self._send(packet)

    def _register_data_receiver(self, receiver: object) -> None: ...

    def _unregister_data_receiver(self, receiver: object) -> None: ...


class Channel:
    """What an association knows of a channel; stands in for aiortc's RTCDataChannel."""

    __slots__ = (
        "buffered",
        "id",
        "is_text",
        "label",
        "maxPacketLifeTime",
        "maxRetransmits",
        "negotiated",
        "ordered",
        "owner",
        "readyState",
    )

    def __init__(self, owner: AssociationOwner, stream_id: int, message: bytes) -> None:
        """From a DATA_CHANNEL_OPEN message (RFC 8832, 5.1)."""
        _, kind, _, reliability, label_bytes, _ = _open.unpack_from(message)
        self.label = message[_open.size : _open.size + label_bytes].decode()
        self.owner = owner
        self.id = stream_id
        self.ordered = not kind & 0x80
        self.maxRetransmits = reliability if kind & 3 == 1 else None
        self.maxPacketLifeTime = reliability if kind & 3 == 2 else None
        self.negotiated = False
        self.is_text = False
        """What we send on it is text, which browsers give to their page as such."""
        self.readyState = "open"
        self.buffered = 0

    @classmethod
    def agreed(cls, owner: AssociationOwner, stream_id: int, label: str) -> Channel:
        """For text, which both ends know of without asking (RFC 8832, 4)."""
        name = label.encode()
        channel = cls(owner, stream_id, _open.pack(0, 0, 0, 0, len(name), 0) + name)
        channel.is_text = True
        return channel

    @property
    def is_lossy(self) -> bool:
        """Messages may be lost rather than be late."""
        return self.maxRetransmits is not None or self.maxPacketLifeTime is not None

    def _addBufferedAmount(self, amount: int) -> None:
        self.buffered += amount

    def _setReadyState(self, state: str) -> None:
        self.readyState = state
        if state != "open":
            self.owner.channel_closed(self)


class Association(LimitedSctp):
    """aiortc's SCTP as the passive end."""

    def __init__(self, wire: Wire, owner: AssociationOwner) -> None:
        super().__init__(wire, SCTP_PORT)  # type: ignore[arg-type]
        self._owner = owner
        self.announce_limits()
        run(self.start(None, SCTP_PORT))

    @property
    def buffered_bytes(self) -> int:
        """Memory of queued messages, and of the chunks of those that are being sent."""
        channels: Any = self._data_channels.values()
        waiting: int = sum(channel.buffered for channel in channels)
        chunks = (*self._outbound_queue, *self._sent_queue)
        objects = len(self._data_channel_queue) + len(chunks)
        return waiting + sum(len(chunk.user_data) for chunk in chunks) + objects * OBJECT_BYTES

    def agree(self, channel: Channel) -> None:
        """Both ends have made this channel."""
        channels: dict[int, Any] = self._data_channels
        channels[channel.id] = channel

    def part(self, channel: Channel) -> None:
        """Both ends have forgotten it."""
        channels: dict[int, Any] = self._data_channels
        if channels.get(channel.id) is channel:
            del channels[channel.id]

    def drop(self) -> None:
        """End without a word to the peer."""
        self._set_state(self.State.CLOSED)

    async def queue(self, channel: Channel, data: bytes) -> None:
        """Send a message as soon as the messages before it are on their way."""
        if channel.is_text:
            kind = sctp.WEBRTC_STRING if data else sctp.WEBRTC_STRING_EMPTY
        else:
            kind = sctp.WEBRTC_BINARY if data else sctp.WEBRTC_BINARY_EMPTY
        data = data or b"\x00"  # RFC 8831, 6.6: SCTP knows no empty message
        channel._addBufferedAmount(len(data))
        self._data_channel_queue.append((channel, kind, data))  # type: ignore[arg-type]
        await self._data_channel_flush()

    async def _init(self) -> None:
        """The peer makes the association (both may, RFC 8841 section 9.3; all clients do)."""

    async def _receive_chunk(self, chunk: sctp.Chunk) -> None:
        if isinstance(chunk, sctp.InitChunk) and self._remote_verification_tag:
            if chunk.initiate_tag != self._remote_verification_tag:
                # The peer began anew (RFC 9260, 5.2.2); aiortc would mix both associations.
                await self._owner.start_over()._receive_chunk(chunk)
                return
            if self._association_state == self.State.ESTABLISHED:
                return  # a late copy of the first one would reset what was received since
        await super()._receive_chunk(chunk)

    async def _data_channel_receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        channels: dict[int, Any] = self._data_channels
        channel: Channel | None = channels.get(stream_id)
        if pp_id == sctp.WEBRTC_DCEP:
            if channel is None and data[:1] == bytes((sctp.DATA_CHANNEL_OPEN,)):
                await self._open(stream_id, data)
        elif channel is None or channel.readyState != "open" or len(data) > MAX_MESSAGE_BYTES:
            return
        elif pp_id in (sctp.WEBRTC_BINARY, sctp.WEBRTC_STRING):
            self._owner.message_received(channel, data)
        elif pp_id in (sctp.WEBRTC_BINARY_EMPTY, sctp.WEBRTC_STRING_EMPTY):
            self._owner.message_received(channel, b"")

    async def _open(self, stream_id: int, message: bytes) -> None:
        channels: dict[int, Any] = self._data_channels
        if len(channels) >= MAX_CHANNELS:
            return
        channel = channels[stream_id] = Channel(self._owner, stream_id, message)
        ack: Any = (channel, sctp.WEBRTC_DCEP, bytes((sctp.DATA_CHANNEL_ACK,)))
        self._data_channel_queue.append(ack)
        await self._data_channel_flush()
        self._owner.channel_opened(channel)


def run(step: Coroutine[Any, Any, None]) -> None:
    """Run what never waits: aiortc's coroutines wait for nothing but `Wire._send_data`."""
    try:
        step.send(None)
    except StopIteration:
        return
    step.close()
    raise RuntimeError("aiortc's SCTP waits for something")


def ignore(*_: object) -> None:
    """Nobody listens any more."""
