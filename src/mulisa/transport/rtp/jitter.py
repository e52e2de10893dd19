"""Brings the packets of one voice into order, and decides when a missing one is given up. Pure.

An ear is not a loudspeaker: it need not get its frames at even intervals, only in order. So a
packet that is next is passed on the moment it comes, however irregularly packets come, and only
those behind a gap wait. For how long, depends on the network: `Schedule` learns how late packets
are at worst, and a missing one is given up when it would be later than that. Without jitter that
is at once, but for a little patience with packets that overtake each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mulisa.core.audio import FRAME_DURATION, SAMPLE_RATE_HZ
from mulisa.wire.rtp import sequence_delta, timestamp_delta

MAX_MISORDER: Final = 100
"""So far behind a packet may be and still count as late (RFC 3550, A.1)."""
MAX_DROPOUT: Final = 3_000
"""So far ahead it may be; two in a row that are elsewhere begin the voice anew (RFC 3550, A.1)."""
MAX_WAITING: Final = 50
"""Packets behind a gap; with one more the gap is given up."""

MIN_LATENESS: Final = 0.030
"""Seconds; as packets come every 20 ms, one that is overtaken has 10 ms to catch up."""
MAX_LATENESS: Final = 0.200
_WINDOW: Final = 2.0
"""Seconds; the fastest packet of the last one or two of these is what others are late against."""
_QUANTILE: Final = 0.97
_STEP: Final = 0.005


@dataclass(frozen=True, slots=True)
class VoicePacket:
    """One packet of a voice, in its place."""

    sequence: int
    timestamp: int
    payload: bytes
    arrived_at: float
    """Seconds on the loop's clock."""
    lost: int = 0
    """So many packets directly before it were given up."""
    restarts: bool = False
    """It continues nothing: it is the first, or the sender has begun anew."""


class Schedule:
    """When packets come: their lateness against the fastest of late, and how much of it is usual.

    The usual lateness is a running estimate of a quantile: it rises in large steps while packets
    are later, and falls in small ones while they are not, in the ratio that the quantile demands.
    """

    def __init__(self, lateness: float = 0.0) -> None:
        self.lateness = lateness
        """Seconds that only three packets in a hundred exceed."""
        self._timestamp: int | None = None
        self._media = 0.0
        self._fastest = self._fastest_before = float("inf")
        self._window_ends = 0.0

    def note(self, timestamp: int, now: float) -> None:
        """A packet came, in whatever order."""
        self._media, self._timestamp = self._at(timestamp), timestamp
        transit = now - self._media
        if now >= self._window_ends:
            self._fastest_before, self._fastest = self._fastest, transit
            self._window_ends = now + _WINDOW
        self._fastest = min(self._fastest, transit)
        is_later = transit - min(self._fastest, self._fastest_before) > self.lateness
        change = _STEP * (_QUANTILE if is_later else _QUANTILE - 1.0)
        self.lateness = min(max(self.lateness + change, 0.0), MAX_LATENESS)

    def deadline(self, timestamp: int) -> float:
        """When the predecessor of a packet that has come is later than usual; it is lost then."""
        due_at = min(self._fastest, self._fastest_before) + self._at(timestamp)
        return due_at - FRAME_DURATION + max(self.lateness, MIN_LATENESS)

    def _at(self, timestamp: int) -> float:
        """The timestamp in seconds, without wrap-around."""
        if self._timestamp is None:
            return 0.0
        return self._media + timestamp_delta(timestamp, self._timestamp) / SAMPLE_RATE_HZ


class JitterBuffer:
    """One stream of packets, from one synchronisation source.

    Each call returns the packets whose turn has come, in order, none twice. After each call, call
    `expire` at `deadline`, if there is one. `now` never goes backwards.
    """

    def __init__(self) -> None:
        self.late = 0
        """Packets that came after they were given up."""
        self.schedule = Schedule()
        self._next: int | None = None
        self._after_jump: int | None = None
        """What would follow a packet that was far away from where the others are."""
        self._given_up: set[int] = set()
        """Of the last `MAX_MISORDER`: to tell late packets from those that came twice."""
        self._waiting: dict[int, VoicePacket] = {}

    @property
    def deadline(self) -> float | None:
        """When to call `expire`: no later than `MAX_LATENESS` after a packet that waits came."""
        if not self._waiting:
            return None
        first = self._first_waiting()
        # Timestamps are the sender's: none may make us wait for longer.
        return min(self.schedule.deadline(first.timestamp), first.arrived_at + MAX_LATENESS)

    def is_near(self, sequence: int) -> bool:
        """Is a packet where the others are? It may be late."""
        return self._next is None or _is_near(sequence_delta(sequence, self._next))

    def receive(
        self, sequence: int, timestamp: int, payload: bytes, now: float
    ) -> Sequence[VoicePacket]:
        """A packet came."""
        if self._next is None:
            return self._restart(VoicePacket(sequence, timestamp, payload, now, restarts=True))
        ahead = sequence_delta(sequence, self._next)
        if not _is_near(ahead):
            return self._jump(VoicePacket(sequence, timestamp, payload, now, restarts=True))
        self._after_jump = None
        if ahead < 0:
            self._come_late(sequence, timestamp, now)
            return ()
        packet = VoicePacket(sequence, timestamp, payload, now)
        if ahead == 0 and not self._waiting:  # as nearly always
            self.schedule.note(timestamp, now)
            self._next = (sequence + 1) & 0xFFFF
            return (packet,)
        return self._wait(packet)

    def expire(self, now: float) -> Sequence[VoicePacket]:
        """Time has passed: give up what is overdue."""
        ready: list[VoicePacket] = []
        while (deadline := self.deadline) is not None and deadline <= now:
            ready += self._give_up()
        return ready

    def flush(self) -> Sequence[VoicePacket]:
        """Give up all that is missing: nothing will come any more, or other things matter more."""
        ready: list[VoicePacket] = []
        while self._waiting:
            ready += self._give_up()
        return ready

    def _wait(self, packet: VoicePacket) -> Sequence[VoicePacket]:
        if packet.sequence in self._waiting:
            return ()  # it came twice
        self.schedule.note(packet.timestamp, packet.arrived_at)
        self._waiting[packet.sequence] = packet
        ready = self._take()
        while len(self._waiting) > MAX_WAITING:
            ready += self._give_up()
        return ready + list(self.expire(packet.arrived_at))

    def _take(self, lost: int = 0) -> list[VoicePacket]:
        """Those that are next, up to the next gap."""
        ready: list[VoicePacket] = []
        assert self._next is not None
        while (packet := self._waiting.pop(self._next, None)) is not None:
            ready.append(packet if not lost else _after_loss(packet, lost))
            lost = 0
            self._next = (self._next + 1) & 0xFFFF
        return ready

    def _give_up(self) -> list[VoicePacket]:
        """What is missing before the first that waits."""
        assert self._next is not None
        first = self._first_waiting().sequence
        lost = sequence_delta(first, self._next)
        recent = min(lost, MAX_MISORDER)
        self._given_up = {each for each in self._given_up if self._is_recent(each, first)}
        self._given_up.update((first - back) & 0xFFFF for back in range(1, recent + 1))
        self._next = first
        return self._take(lost)

    def _come_late(self, sequence: int, timestamp: int, now: float) -> None:
        if sequence in self._given_up:
            self._given_up.discard(sequence)
            self.late += 1
            self.schedule.note(timestamp, now)

    def _jump(self, packet: VoicePacket) -> Sequence[VoicePacket]:
        """One packet may have strayed here; a second one behind it means a new beginning."""
        if packet.sequence == self._after_jump:
            return (*self.flush(), *self._restart(packet))
        self._after_jump = (packet.sequence + 1) & 0xFFFF
        return ()

    def _restart(self, packet: VoicePacket) -> Sequence[VoicePacket]:
        self._next = (packet.sequence + 1) & 0xFFFF
        self._after_jump = None
        self._given_up.clear()
        self.schedule = Schedule(self.schedule.lateness)
        self.schedule.note(packet.timestamp, packet.arrived_at)
        return (packet,)

    def _first_waiting(self) -> VoicePacket:
        assert self._next is not None
        origin = self._next
        return self._waiting[min(self._waiting, key=lambda each: (each - origin) & 0xFFFF)]

    @staticmethod
    def _is_recent(sequence: int, now_at: int) -> bool:
        return (now_at - sequence) & 0xFFFF <= MAX_MISORDER


def _is_near(ahead: int) -> bool:
    return -MAX_MISORDER <= ahead <= MAX_DROPOUT


def _after_loss(packet: VoicePacket, lost: int) -> VoicePacket:
    return VoicePacket(packet.sequence, packet.timestamp, packet.payload, packet.arrived_at, lost)
