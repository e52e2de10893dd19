"""The headers of one packet for many subscribers at once: a template, and what changes in it.

A packet's bytes are a function of the packet and of the subscription alone. What is sent again is
therefore the very packet that was sent: AES-GCM would give its key away if one sequence number
stood for two packets.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from mulisa.sfu.batch import HEAD, Batch
from mulisa.sfu.packets import NO_LEVEL, Packet
from mulisa.sfu.subscription import Subscription
from mulisa.wire import red
from mulisa.wire.rtp import FIXED_BYTES

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

Member: TypeAlias = "tuple[Subscription, PeerConnection, int]"
"""Who gets packets, over which connection (with a path and keys), and the revision of that."""

_HEADER = Struct("!BBHLL")
_NO_LEVEL = bytes.fromhex("bede 0001 00000000")
"""An extension block with nothing but padding."""
_VERSION: Final = 0x80
_HAS_EXTENSION: Final = 0x10
_MARKER: Final = 0x80
_LEVEL_AT = FIXED_BYTES + 4
"""Of the element in a row: its id, then the level."""


class Form(NamedTuple):
    """As what the payload of a codec is sent to a subscriber."""

    payload_type: int
    red_of: int = -1
    """RED whose blocks are of this payload type."""
    is_primary: bool = False
    """The primary block of RED alone."""

    def of(self, packet: Packet) -> bytes:
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
    codecs = subscription.codecs
    if codec != "red":
        return Form(codecs[codec].payload_type)
    opus = codecs["opus"].payload_type
    if "red" in codecs:
        return Form(codecs["red"].payload_type, red_of=opus)
    return Form(opus, is_primary=True)


class Rows:
    """At most `batch.ROWS` subscribers of one track, and their headers for one codec of it.

    Valid until anything about one of them changes.
    """

    def __init__(self, members: Sequence[Member], codec: str, *, marks_first: bool) -> None:
        """All members take the codec. `marks_first`: each one's first packet has the marker."""
        self.members = members
        ordered = sorted(((_form_for(each[0], codec), each) for each in members), key=_order)
        subscriptions = [member[0] for _, member in ordered]
        self.oldest = max(each.first or 0 for each in subscriptions)
        """Number from which on every member gets every packet."""
        self._starts = _starts(subscriptions) if marks_first else {}
        forms = [(header_bytes(member[0]), form) for form, member in ordered]
        self._batch = Batch([size for size, _ in forms], [member[1] for _, member in ordered])
        self._groups: list[_Group] = []
        start = 0
        for (size, form), found in groupby(forms):
            end = start + sum(1 for _ in found)
            self._groups.append(_Group(self._batch, start, subscriptions[start:end], size, form))
            start = end

    def __len__(self) -> int:
        return len(self.members)

    def since(self, number: int) -> list[Subscription]:
        """Those who get the packet of that number, though it comes late."""
        return [member[0] for member in self.members if (member[0].first or 0) <= number]

    def send(self, packet: Packet) -> int:
        """Write, protect and send the packet to all members; how many packets went out."""
        for group in self._groups:
            group.write(packet)
        if packet.is_marked or packet.number not in self._starts:
            return self._batch.send()
        self._toggle_markers(packet.number)
        sent = self._batch.send()
        self._toggle_markers(packet.number)
        return sent

    def _toggle_markers(self, number: int) -> None:
        """Of those whose first packet this is."""
        for row, kind_at in self._starts[number]:
            self._batch.rows[row, kind_at] ^= _MARKER

    def settle(self) -> None:
        """Write what was sent into the subscriptions' own counters."""
        for group in self._groups:
            group.settle()


class _Group:
    """Rows with headers of one length and the same payload.

    Headers stay in their rows, where libsrtp leaves them as they are: from one packet to the next
    the numbers are moved on, and the rest is written if it is another.
    """

    def __init__(
        self,
        batch: Batch,
        start: int,
        subscriptions: Sequence[Subscription],
        header_bytes: int,
        form: Form,
    ) -> None:
        self._subscriptions = subscriptions
        self._form = form
        self._header_bytes = header_bytes
        rows = batch.rows[start : start + len(subscriptions)]
        at = HEAD - header_bytes
        heads = b"".join(_head(each, form) for each in subscriptions)
        rows[:, at:HEAD] = np.frombuffer(heads, np.uint8).reshape(-1, header_bytes)
        self._kinds = rows[:, at + 1]
        self._sequences = rows[:, at + 2 : at + 4].view(">u2")[:, 0]
        self._timestamps = rows[:, at + 4 : at + 8].view(">u4")[:, 0]
        self._levels = rows[:, _LEVEL_AT : _LEVEL_AT + 2] if header_bytes > FIXED_BYTES else None
        self._payloads = rows[:, HEAD:]
        self._sizes = batch.sizes[start : start + len(subscriptions)]
        self._number = self._timestamp = 0
        self._is_marked = False
        self._level = NO_LEVEL
        self._sent = self._octets = 0

    def write(self, packet: Packet) -> None:
        """The packet as these subscribers get it."""
        self._sequences += (packet.number - self._number) & 0xFFFF
        self._timestamps += (packet.timestamp - self._timestamp) & 0xFFFFFFFF
        self._number, self._timestamp = packet.number, packet.timestamp
        if packet.is_marked is not self._is_marked:
            self._kinds ^= _MARKER
            self._is_marked = packet.is_marked
        if packet.level != self._level and self._levels is not None:
            self._write_level(self._levels, packet.level)
        payload = self._form.of(packet)
        size = len(payload)
        self._payloads[:, :size] = np.frombuffer(payload, np.uint8)
        self._sizes[:] = self._header_bytes + size
        self._sent += 1
        self._octets += size

    def _write_level(self, levels: np.ndarray[Any, Any], level: int) -> None:
        """Without a level, padding takes the element's place (RFC 8285, 4.2)."""
        if level == NO_LEVEL:
            levels[:] = 0
        elif self._level == NO_LEVEL:
            levels[:, 0] = [subscription.level_id << 4 for subscription in self._subscriptions]
        if level != NO_LEVEL:
            levels[:, 1] = level
        self._level = level

    def settle(self) -> None:
        """Write what was sent into the subscriptions' own counters."""
        for subscription in self._subscriptions:
            subscription.packets += self._sent
            subscription.octets += self._octets
        self._sent = self._octets = 0


def header_bytes(subscription: Subscription) -> int:
    """Without and with an audio level."""
    return HEAD if subscription.level_id else FIXED_BYTES


def _head(subscription: Subscription, form: Form) -> bytes:
    """The header of a packet with the number and timestamp 0, without marker and level."""
    fixed = _HEADER.pack(
        _VERSION | (_HAS_EXTENSION if subscription.level_id else 0),
        form.payload_type,
        subscription.shift & 0xFFFF,
        subscription.offset,
        subscription.outbound.ssrc,
    )
    return fixed + _NO_LEVEL if subscription.level_id else fixed


def _order(entry: tuple[Form, Member]) -> tuple[bool, Form, int]:
    """Long headers first, then by payload, then by socket: each of them makes runs."""
    form, (subscription, peer, _) = entry
    fd = peer.path.fd if peer.path is not None else None
    return not subscription.level_id, form, -1 if fd is None else fd


def _starts(subscriptions: Sequence[Subscription]) -> dict[int, list[tuple[int, int]]]:
    """By the number of their first packet: rows, and where the marker is in them."""
    starts: dict[int, list[tuple[int, int]]] = {}
    for row, subscription in enumerate(subscriptions):
        place = row, HEAD - header_bytes(subscription) + 1
        starts.setdefault(subscription.first or 0, []).append(place)
    return starts
