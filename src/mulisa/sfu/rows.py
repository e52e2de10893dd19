"""One packet as many subscribers get it: what they share, and the numbers that are each one's own.

A packet's bytes are a function of the packet and of the subscription alone. What is sent again is
therefore the very packet that was sent: AES-GCM would give its key away if one sequence number
stood for two packets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from mulisa.sfu.batch import WIDTH, Batch
from mulisa.sfu.packets import NO_LEVEL, Packet
from mulisa.sfu.subscription import Subscription
from mulisa.wire import red
from mulisa.wire.rtp import FIXED_BYTES, extension_block

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

Member: TypeAlias = "tuple[Subscription, PeerConnection, int]"
"""Who gets packets, over which connection (with a path and keys), and the revision of that."""

_write_header = Struct("!BBHLL").pack_into
_EXTENSION = bytes.fromhex("bede 0001")
"""A block of header extension elements with room for one, or for padding (RFC 8285, 4.2)."""
_VERSION: Final = 0x80
_HAS_EXTENSION: Final = 0x10
_MARKER: Final = 0x80


class Form(NamedTuple):
    """As what the packets of a codec are sent to a subscriber."""

    level_id: int
    """Of the audio level in its header, 0 for a header without it."""
    payload_type: int
    red_of: int = -1
    """RED whose blocks are of this payload type."""
    is_primary: bool = False
    """The primary block of RED alone."""
    descriptor_id: int = 0
    """Of the dependency descriptor, 0 for packets without it."""

    def extension(self, packet: Packet) -> bytes:
        """What the header has behind its fixed part."""
        if not self.level_id:
            found = packet.descriptor if self.descriptor_id else b""
            return extension_block(self.descriptor_id, found) if found else b""
        if packet.level == NO_LEVEL:
            return _EXTENSION + bytes(4)
        return _EXTENSION + bytes((self.level_id << 4, packet.level, 0, 0))

    def payload(self, packet: Packet) -> bytes:
        """The packet's payload in this form."""
        if self.is_primary:
            return packet.payload[packet.primary :]
        if self.red_of < 0:
            return packet.payload
        if packet.begins_run:
            return red.alone(packet.payload[packet.primary :], self.red_of)
        return red.with_payload_type(packet.payload, self.red_of)


def _form_for(subscription: Subscription, codec: str) -> Form:
    """How a subscriber gets packets of a codec that it takes."""
    level_id, codecs = subscription.level_id, subscription.codecs
    if codec != "red":
        descriptor_id = subscription.descriptor_id
        return Form(level_id, codecs[codec].payload_type, descriptor_id=descriptor_id)
    opus = codecs["opus"].payload_type
    if "red" in codecs:
        return Form(level_id, codecs["red"].payload_type, red_of=opus)
    return Form(level_id, opus, is_primary=True)


class Rows:
    """At most `batch.ROWS` subscribers of one track, and their headers for one codec of it.

    Valid until anything about one of them changes.
    """

    def __init__(self, members: Sequence[Member], codec: str, *, marks_first: bool) -> None:
        """All members take the codec. `marks_first`: each one's first packet has the marker."""
        self.members = members
        self.oldest = max(each[0].first or 0 for each in members)
        """Number from which on every member gets every packet."""
        ordered = sorted(((_form_for(each[0], codec), each) for each in members), key=_order)
        self._batch = Batch([member[1] for _, member in ordered])
        self._groups: list[_Group] = []
        start = 0
        for form, found in groupby(ordered, key=itemgetter(0)):
            mine = [member[0] for _, member in found]
            self._groups.append(_Group(self._batch, form, start, mine, marks_first=marks_first))
            start += len(mine)

    def __len__(self) -> int:
        return len(self.members)

    def since(self, number: int) -> list[Subscription]:
        """Those who get the packet of that number, though it comes late."""
        return [member[0] for member in self.members if (member[0].first or 0) <= number]

    def send(self, packet: Packet) -> int:
        """Write, protect and send the packet to all members; how many packets went out."""
        for group in self._groups:
            group.write(packet)
        return self._batch.send()

    def settle(self) -> None:
        """Write what was sent into the subscriptions' own counters."""
        for group in self._groups:
            group.settle()


class _Group:
    """Rows of one form: but for the fixed part of the header their packets are the same.

    Written by a plain loop: what costs is code that was pushed out of the caches since the last
    packet, 20 ms ago, and numpy fetches more of that than it saves at this number of rows.
    """

    def __init__(
        self,
        batch: Batch,
        form: Form,
        first: int,
        subscriptions: Sequence[Subscription],
        *,
        marks_first: bool,
    ) -> None:
        self._memory, self._sizes = batch.rows, batch.sizes
        self._form = form
        self._subscriptions = subscriptions
        self._rows = [
            (row, row * WIDTH, each.shift, each.offset, each.outbound.ssrc, each.first)
            for row, each in enumerate(subscriptions, first)
        ]
        self._marks_first = marks_first
        self._sent = self._octets = 0

    def write(self, packet: Packet) -> None:
        """The packet as these subscribers get it."""
        form, memory, sizes = self._form, self._memory, self._sizes
        number, timestamp = packet.number, packet.timestamp
        extension, payload = form.extension(packet), form.payload(packet)
        bits = _VERSION | _HAS_EXTENSION if extension else _VERSION
        rest = extension + payload
        size = FIXED_BYTES + len(rest)
        marked = form.payload_type | _MARKER
        kind = marked if packet.is_marked else form.payload_type
        kind_of_first = marked if self._marks_first else kind
        for row, at, shift, offset, ssrc, first in self._rows:
            mine = kind_of_first if number == first else kind
            sequence, time = (number + shift) & 0xFFFF, (timestamp + offset) & 0xFFFFFFFF
            _write_header(memory, at, bits, mine, sequence, time, ssrc)
            memory[at + FIXED_BYTES : at + size] = rest
            sizes[row] = size
        self._sent += 1
        self._octets += len(payload)

    def settle(self) -> None:
        """Write what was sent into the subscriptions' own counters."""
        for subscription in self._subscriptions:
            subscription.packets += self._sent
            subscription.octets += self._octets
        self._sent = self._octets = 0


def _order(entry: tuple[Form, Member]) -> tuple[Form, int]:
    """By what is sent, then by socket: each of them makes runs."""
    form, (_, peer, _) = entry
    fd = peer.path.fd if peer.path is not None else None
    return form, -1 if fd is None else fd
