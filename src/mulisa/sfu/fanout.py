"""One track's way to its subscribers: its numbering, its last packets, and who gets them now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from mulisa.sfu.batch import ROWS
from mulisa.sfu.counters import Counters
from mulisa.sfu.levels import SILENCE, LevelMeter
from mulisa.sfu.loudest import UNKNOWN_LEVEL, Change, Loudest
from mulisa.sfu.media import MediaKind, Outbound, TrackSid
from mulisa.sfu.packets import NO_LEVEL, Packet, PacketCache
from mulisa.sfu.rows import Member, Rows
from mulisa.sfu.simulcast import Layers
from mulisa.sfu.subscription import Subscription
from mulisa.sfu.timeline import Timeline
from mulisa.wire import red
from mulisa.wire.rtcp import SenderReport
from mulisa.wire.rtp import RtpHeader

if TYPE_CHECKING:
    from mulisa.sfu.rtp_session import RtpSession
    from mulisa.sfu.source import Source

AUDIO_CLOCK: Final = 48_000
VIDEO_CLOCK: Final = 90_000
_CACHED: Final = {"audio": 64, "video": 256}
"""Packets: 1.3 s of a voice; at most 0.4 MB of video."""
DTX_BYTES: Final = 2
"""Opus payloads up to that long hold no sound (RFC 6716, 3.1)."""
_REDUNDANT_PACKETS = 2
"""Packets at the beginning of a run whose redundancy would be of before it."""


class Fanout:
    """Forwards the packets of one published track."""

    def __init__(self, track: TrackSid, kind: MediaKind, counters: Counters, now: float) -> None:
        self.track = track
        self.kind = kind
        self._counters = counters
        clock_rate = AUDIO_CLOCK if kind == "audio" else VIDEO_CLOCK
        self._timeline = Timeline(clock_rate, is_spoken=kind == "audio")
        self._cache = PacketCache(_CACHED[kind])
        self._members: dict[Subscription, RtpSession] = {}
        self._rows: dict[str, list[Rows]] = {}
        """Of all who get packets now, by codec; made when a packet of it comes."""
        self._old_rows: dict[str, list[Rows]] = {}
        self._is_changed = False
        self._is_muted = False
        self.meter = LevelMeter(clock_rate, now)
        self.layers: Layers | None = None
        self.publisher: RtpSession | None = None
        self.loudest: Loudest | None = None
        """The voices that this one competes with; None if it is always forwarded."""
        self.on_selection: Callable[[Change], None] = _ignore

    @property
    def is_idle(self) -> bool:
        """True if nobody publishes it, receives it or muted it."""
        return self.publisher is None and not self._members and not self._is_muted

    def subscribe(self, subscription: Subscription, session: RtpSession) -> None:
        """From the next packet on the session gets the track, unless something holds it back."""
        self._members[subscription] = session
        self.change()

    def unsubscribe(self, subscription: Subscription) -> None:
        """No packet of the track goes to it any more, and nothing of its connection is kept."""
        self._members.pop(subscription, None)
        self._drop_rows()
        self._old_rows = {}
        self.change()

    def redescribe(self, subscription: Subscription, outbound: Outbound) -> None:
        """The subscriber negotiated it anew; packets of before are not sent again."""
        subscription.end(self._timeline.newest)
        subscription.describe(outbound)
        self.change()

    def set_muted(self, is_muted: bool) -> None:
        """While it is muted nothing is forwarded; what follows is a new run of packets."""
        if is_muted != self._is_muted:
            self._is_muted = is_muted
            self._timeline.interrupt()
            self.change()

    def describe(self, rids: tuple[str, ...]) -> None:
        """What is published changed: packets of before would look different if sent again."""
        if rids != (self.layers.rids if self.layers else ()):
            self.layers = Layers(rids) if rids else None
        self._cache.clear()

    def change(self) -> None:
        """Somebody's way, pause or description changed: who gets packets is settled anew."""
        self._is_changed = True

    def settle(self) -> None:
        """Begin, go on or stop with each subscriber, and count what was sent."""
        self._is_changed = False
        self._drop_rows()
        newest = self._timeline.newest
        has_new = False
        for subscription, session in self._members.items():
            if not self._is_due(subscription, session):
                subscription.end(newest)
            elif subscription.first is None:
                subscription.begin(newest + 1)
                has_new = True
        if has_new and self.kind == "video":
            self.request_key_frame()

    def _is_due(self, subscription: Subscription, session: RtpSession) -> bool:
        if self._is_muted or subscription.is_paused or not session.is_ready:
            return False
        is_selected = self.loudest is None or self.loudest.is_selected(self.track)
        return is_selected or session.hears_everybody

    def _drop_rows(self) -> None:
        """Those whose members stay as they are will be used again."""
        self._count_sent()
        if self._rows:
            self._old_rows, self._rows = self._rows, {}

    def _count_sent(self) -> None:
        for rows in self._rows.values():
            for each in rows:
                each.settle()

    def receive(
        self,
        source: Source,
        extended: int,
        header: RtpHeader,
        codec: str,
        level: int,
        payload: bytes,
        now: float,
        descriptor: bytes = b"",
    ) -> None:
        """Forward a packet of the track's current source, which gives each `extended` once."""
        if self._is_changed:
            self.settle()
        newest = self._timeline.newest
        place = self._timeline.place(source, extended, header.timestamp, now)
        if place is None:
            self._counters.drop("late")
            return
        if self._is_muted:
            return
        if level != NO_LEVEL:
            self.meter.hear(level & 127, place.timestamp)
        if not self._members:
            return
        primary = red.primary_start(payload) if codec == "red" else 0
        if primary < 0:
            self._counters.drop("malformed")
            return
        run = place.number - self._timeline.first
        is_marked = header.is_marked or (run == 0 and self.kind == "audio")
        begins_run = run < _REDUNDANT_PACKETS
        packet = Packet(
            *place, codec, is_marked, level, payload, primary, begins_run, now, descriptor
        )
        self._cache.put(packet)
        is_late = place.number <= newest
        if self.loudest is not None and self.loudest.is_on and not is_late:
            self._compete(self.loudest, packet)
        self._send(packet, is_late=is_late)

    def _compete(self, loudest: Loudest, packet: Packet) -> None:
        change = loudest.hear(self.track, _loudness(packet), packet.at)
        if change is not None:
            self.on_selection(change)
            self._enter(packet, packet.at - loudest.config.onset)

    def _enter(self, packet: Packet, since: float) -> None:
        """Begin with those who did not hear this voice, a moment before its first loud packet."""
        waiting = [
            subscription
            for subscription, session in self._members.items()
            if subscription.first is None and self._is_due(subscription, session)
        ]
        first = max((each.last + 1 for each in waiting), default=packet.number)
        first = max(first, self._timeline.first)
        onset = list(self._cache.since(since, first, packet.number - 1))
        for subscription in waiting:
            subscription.begin(onset[0].number if onset else packet.number)
        for each in onset:
            self._send_to(waiting, each)
        self._drop_rows()

    def _send(self, packet: Packet, *, is_late: bool) -> None:
        rows = self._rows.get(packet.codec)
        if rows is None:
            began = [each for each in self._members if each.first is not None]
            old = self._old_rows.pop(packet.codec, [])
            rows = self._rows[packet.codec] = self._rows_of(began, packet.codec, old)
        for each in rows:
            if is_late and packet.number < each.oldest:
                self._send_to(each.since(packet.number), packet)
            else:
                self._send_rows(each, packet)

    def _send_rows(self, rows: Rows, packet: Packet) -> None:
        sent = rows.send(packet)
        self._counters.forward(sent, len(packet.payload))
        if sent < len(rows):
            self._counters.drop("not sent", len(rows) - sent)

    def _send_to(self, subscriptions: Iterable[Subscription], packet: Packet) -> None:
        """Outside the fast path: to some of the subscribers."""
        for rows in self._rows_of(subscriptions, packet.codec):
            self._send_rows(rows, packet)
            rows.settle()

    def _rows_of(
        self, subscriptions: Iterable[Subscription], codec: str, old: Sequence[Rows] = ()
    ) -> list[Rows]:
        """Rows for those who take the codec; where the same ones were together in `old`, those."""
        members: list[Member] = [
            (each, self._members[each].peer, each.revision)
            for each in subscriptions
            if each.takes(codec) and self._members[each].is_ready
        ]
        parts = [members[start : start + ROWS] for start in range(0, len(members), ROWS)]
        return [
            known
            if known is not None and known.members == part
            else Rows(part, codec, marks_first=self.kind == "audio")
            for part, known in zip_longest(parts, old[: len(parts)])
        ]

    def resend(self, subscription: Subscription, sequences: Iterable[int], now: float) -> None:
        """Answer a subscriber's request for packets that it misses."""
        if self._is_changed:
            self.settle()
        for sequence in sequences:
            number = subscription.number_of(sequence, self._timeline.newest)
            packet = None if number is None else self._cache.get(number)
            if packet is None or not subscription.may_resend(now):
                self._counters.drop("not resent")
                continue
            self._send_to([subscription], packet)

    def forward_report(self, source: Source, report: SenderReport, now: float) -> None:
        """Tell the subscribers which of their timestamps belongs to which time of the publisher."""
        timestamp = self._timeline.timestamp_of(source, report.timestamp)
        if timestamp is None:
            return
        if self._is_changed:
            self.settle()
        self._count_sent()
        for subscription, session in self._members.items():
            if subscription.first is not None and subscription.packets:
                mine = subscription.sender_report(report.ntp, timestamp, now)
                session.peer.send_rtcp(bytes(mine))

    def request_key_frame(self) -> None:
        """Somebody cannot show the video before the next key frame."""
        if self.publisher is not None:
            self.publisher.request_key_frame(self)


def _loudness(packet: Packet) -> int:
    """Minus dBov; of a publisher without levels every packet that is no DTX is a voice."""
    if packet.level != NO_LEVEL:
        return packet.level & 127
    return SILENCE if len(packet.payload) - packet.primary <= DTX_BYTES else UNKNOWN_LEVEL


def _ignore(change: Change) -> None:
    """Nobody else is concerned."""
