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

from mulisa.sfu.batch import HEAD, Batch, Scratch
from mulisa.sfu.packets import NO_LEVEL, Packet
from mulisa.sfu.subscription import Subscription
from mulisa.wire import red
from mulisa.wire.rtp import FIXED_BYTES

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

Member: TypeAlias = "tuple[Subscription, PeerConnection, int]"
"""Who gets packets, over which connection (with a path and keys), and the revision of that."""

_HEADER = Struct("!BBHLL")
_LEVEL = Struct("!HHBxxx")
_ONE_BYTE_PROFILE: Final = 0xBEDE
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

    def __init__(
        self, scratch: Scratch, members: Sequence[Member], codec: str, *, marks_first: bool
    ) -> None:
        """All members take the codec. `marks_first`: each one's first packet has the marker."""
        self.members = members
        ordered = sorted(((_form_for(member[0], codec), member) for member in members), key=_order)
        forms = [form for form, _ in ordered]
        self._subscriptions = [member[0] for _, member in ordered]
        self._scratch = scratch
        self.oldest = max(each.first or 0 for each in self._subscriptions)
        """Number from which on every member gets every packet."""
        self._build_template(forms)
        self._build_forms(forms)
        self._starts = _starts(self._subscriptions) if marks_first else {}
        peers = [member[1] for _, member in ordered]
        self._batch = Batch(scratch, self._headers.tolist(), peers)

    def _build_template(self, forms: list[Form]) -> None:
        """Headers end where the payload begins; those with a level come first."""
        heads = [_head(*each) for each in zip(self._subscriptions, forms, strict=True)]
        self._headers = np.array([len(head) for head in heads], np.int32)
        joined = bytearray(b"".join(head.rjust(HEAD, b"\0") for head in heads))
        self._template = np.frombuffer(joined, np.uint8).reshape(len(heads), HEAD)
        self._shifts = np.array([each.shift & 0xFFFF for each in self._subscriptions], np.uint16)
        self._offsets = np.array([each.offset for each in self._subscriptions], np.uint32)
        self._long = sum(len(head) > FIXED_BYTES for head in heads)
        self._parts = [
            _Part(self._template, self._scratch, rows, start)
            for rows, start in (
                (slice(0, self._long), 0),
                (slice(self._long, len(heads)), HEAD - FIXED_BYTES),
            )
            if rows.start < rows.stop
        ]

    def _build_forms(self, forms: list[Form]) -> None:
        """Runs of rows whose payload is the same."""
        self._forms: list[tuple[Form, slice]] = []
        start = 0
        for form, group in groupby(forms):
            end = start + sum(1 for _ in group)
            self._forms.append((form, slice(start, end)))
            start = end
        self._octets = [0] * len(self._forms)
        self._packets = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    def since(self, number: int) -> list[Subscription]:
        """Those who get the packet of that number, though it comes late."""
        return [each for each in self._subscriptions if (each.first or 0) <= number]

    def send(self, packet: Packet) -> int:
        """Write, protect and send the packet to all members; how many packets went out."""
        shifts = self._shifts + (packet.number & 0xFFFF)
        offsets = self._offsets + packet.timestamp
        for part in self._parts:
            part.sequences[:] = shifts[part.rows]
            part.timestamps[:] = offsets[part.rows]
        self._scratch.rows[: len(self), :HEAD] = self._template
        self._mark(packet)
        if self._long:
            self._write_level(packet.level)
        for number, (form, rows) in enumerate(self._forms):
            self._octets[number] += self._write_payload(form.of(packet), rows)
        self._packets += 1
        return self._batch.send()

    def _mark(self, packet: Packet) -> None:
        if packet.is_marked:
            for part in self._parts:
                part.kinds |= _MARKER
        elif packet.number in self._starts:
            for row in self._starts[packet.number]:
                start = HEAD - int(self._headers[row])
                self._scratch.rows[row, start + 1] |= _MARKER

    def _write_level(self, level: int) -> None:
        rows = self._scratch.rows[: self._long]
        if level == NO_LEVEL:
            rows[:, _LEVEL_AT] = 0  # padding takes the element's place (RFC 8285, 4.2)
        else:
            rows[:, _LEVEL_AT + 1] = level

    def _write_payload(self, payload: bytes, rows: slice) -> int:
        size = len(payload)
        self._scratch.rows[rows, HEAD : HEAD + size] = np.frombuffer(payload, np.uint8)
        np.add(self._headers[rows], size, out=self._scratch.lengths[rows])
        return size

    def settle(self) -> None:
        """Write what was sent into the subscriptions' own counters."""
        for number, (_, rows) in enumerate(self._forms):
            for subscription in self._subscriptions[rows]:
                subscription.packets += self._packets
                subscription.octets += self._octets[number]
        self._octets = [0] * len(self._forms)
        self._packets = 0


class _Part:
    """Rows whose headers have the same length: where their numbers are."""

    __slots__ = ("kinds", "rows", "sequences", "timestamps")

    def __init__(
        self, template: np.ndarray[Any, Any], scratch: Scratch, rows: slice, start: int
    ) -> None:
        self.rows = rows
        self.sequences = template[rows, start + 2 : start + 4].view(">u2")[:, 0]
        self.timestamps = template[rows, start + 4 : start + 8].view(">u4")[:, 0]
        self.kinds = scratch.rows[rows, start + 1]


def _head(subscription: Subscription, form: Form) -> bytes:
    """A header whose sequence number, timestamp, marker and level are still 0."""
    bits = _VERSION | (_HAS_EXTENSION if subscription.level_id else 0)
    fixed = _HEADER.pack(bits, form.payload_type, 0, 0, subscription.outbound.ssrc)
    if not subscription.level_id:
        return fixed
    return fixed + _LEVEL.pack(_ONE_BYTE_PROFILE, 1, subscription.level_id << 4)


def _order(entry: tuple[Form, Member]) -> tuple[bool, Form, int]:
    """Long headers first, then by payload, then by socket: each of them makes runs."""
    form, (subscription, peer, _) = entry
    fd = peer.path.fd if peer.path is not None else None
    return not subscription.level_id, form, -1 if fd is None else fd


def _starts(subscriptions: Sequence[Subscription]) -> dict[int, list[int]]:
    """Rows by the number of their first packet."""
    starts: dict[int, list[int]] = {}
    for row, subscription in enumerate(subscriptions):
        starts.setdefault(subscription.first or 0, []).append(row)
    return starts
