"""What we receive of one participant: their subscribed tracks, one of which is decoded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from livekit import rtc

from mulisa.core.audio import SAMPLE_RATE_HZ
from mulisa.core.transport import SubscriptionStats
from mulisa.ending import within
from mulisa.transport.sfu.inbound import Inbound, inbound_of
from mulisa.transport.subscription import Subscription

logger = logging.getLogger(__name__)

FRAME_MS: Final = 20
CLOSE_TIME: Final = 0.5
STATS_AGE: Final = 0.9
"""Seconds after which packets are counted again when somebody asks."""


class Hearing:
    """Frames of one participant, whatever tracks they come from.

    Only a track that is not muted has an `AudioStream`: libwebrtc decodes for each of them a
    hundred times a second, packets or not. Belongs to one event loop.
    """

    def __init__(self, name: str, report: Callable[[bool], None]) -> None:
        """`name` is for the names of tasks; `report` is told True at the first subscribed track
        and False when there is none any more. It is called within the loop and only enqueues.
        """
        self._name = name
        self._report = report
        self._tracks: dict[str, rtc.RemoteAudioTrack] = {}
        self._muted: set[str] = set()
        self._subscription: Subscription | None = None
        self._current: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._decoding: asyncio.Task[None] | None = None
        self._frames_before = self._dropped_before = 0
        self._packets = _PacketCounters()

    @property
    def subscription(self) -> Subscription | None:
        """Where the frames come out; None while nothing is subscribed."""
        return self._subscription

    @property
    def track_sids(self) -> frozenset[str]:
        """Tracks that are subscribed."""
        return frozenset(self._tracks)

    async def ssrcs(self, sid: str | None = None) -> frozenset[int]:
        """What has come so far of the subscribed tracks, or of one of them."""
        tracks = [track for each, track in self._tracks.items() if sid in (None, each)]
        inbound = await asyncio.gather(*map(inbound_of, tracks))
        return frozenset(ssrc for each in inbound for ssrc in each)

    def add(self, sid: str, track: rtc.RemoteAudioTrack, *, muted: bool) -> None:
        """A track is subscribed from now on."""
        self._tracks[sid] = track
        if self._subscription is None:
            self._subscription = Subscription()
            self._report(True)
        self.set_muted(sid, muted)

    def remove(self, sid: str) -> None:
        """A track is subscribed no longer. Idempotent."""
        track = self._tracks.pop(sid, None)
        self._muted.discard(sid)
        self._packets.forget(sid)
        if track is not None:
            self._settle()
        if not self._tracks:
            self.close()

    def set_muted(self, sid: str, muted: bool) -> None:
        """Their own mute, as the room sees it."""
        (self._muted.add if muted else self._muted.discard)(sid)
        self._settle()

    def close(self) -> None:
        """Nothing is subscribed any more: the frames end. Idempotent."""
        self._tracks.clear()
        self._settle()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._frames_before += subscription.frames_received
            self._dropped_before += subscription.frames_dropped
            subscription.close()
            self._report(False)

    async def aclose(self) -> None:
        """Close, and wait for what was begun."""
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def stats(self, now: float) -> SubscriptionStats:
        """Counters until now; packets are those of the last time somebody asked."""
        track = self._tracks.get(self._current or "")
        if self._current and track and self._packets.is_stale(now):
            self._begin(self._packets.count(self._current, track, now), "packets")
        heard = self._subscription
        return SubscriptionStats(
            self._frames_before + (heard.frames_received if heard else 0),
            self._dropped_before + (heard.frames_dropped if heard else 0),
            self._packets.lost,
            self._packets.received,
        )

    def _settle(self) -> None:
        """Decode the newest track that is not muted, and no other."""
        audible = [sid for sid in self._tracks if sid not in self._muted]
        current = audible[-1] if audible else None
        if current == self._current:
            return
        self._current = current
        if self._decoding is not None:
            self._decoding.cancel()
            self._decoding = None
        if current is not None and self._subscription is not None:
            self._decoding = self._begin(
                _decode(self._tracks[current], self._subscription), "hearing"
            )

    def _begin(self, job: Any, what: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(job, name=f"{what} {self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _PacketCounters:
    """Packets of one participant over all their tracks; the SDK counts for each track anew."""

    def __init__(self) -> None:
        self._by_track: dict[str, Inbound] = {}
        self._before = Inbound()
        self._asked_at = float("-inf")

    @property
    def received(self) -> int:
        """On all tracks so far."""
        return self._total.packets_received

    @property
    def lost(self) -> int:
        """On all tracks so far."""
        return self._total.packets_lost

    @property
    def _total(self) -> Inbound:
        return _sum([self._before, *self._by_track.values()])

    def is_stale(self, now: float) -> bool:
        return now - self._asked_at >= STATS_AGE

    def forget(self, sid: str) -> None:
        """The track is gone; what came on it stays counted."""
        self._before = _sum([self._before, self._by_track.pop(sid, Inbound())])

    async def count(self, sid: str, track: rtc.RemoteAudioTrack, now: float) -> None:
        self._asked_at = now
        for inbound in (await inbound_of(track)).values():
            self._by_track[sid] = inbound


def _sum(inbound: Iterable[Inbound]) -> Inbound:
    received, lost = 0, 0
    for each in inbound:
        received += each.packets_received
        lost += each.packets_lost
    return Inbound(received, lost)


async def _decode(track: rtc.RemoteAudioTrack, subscription: Subscription) -> None:
    loop = asyncio.get_running_loop()
    stream = rtc.AudioStream.from_track(
        track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1, frame_size_ms=FRAME_MS
    )
    try:
        async for event in stream:
            subscription.push(np.frombuffer(event.frame.data, dtype=np.int16), loop.time())
    finally:
        # One that is closed as soon as it was opened never hears that it has ended.
        await within(CLOSE_TIME, stream.aclose())
