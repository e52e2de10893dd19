"""Packets that come to us, as libwebrtc counts them.

The SDK reports a track as unsubscribed as soon as we ask for it; packets go on for some round
trips. What is negotiated away has no counters any more, and nothing else says that it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from livekit import rtc

logger = logging.getLogger(__name__)

POLL: Final = 0.03
QUIET: Final = 0.6
"""Seconds without a packet that count as the end, too; a silent microphone sends one in 0.4 s."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One stream of packets."""

    packets_received: int = 0
    packets_lost: int = 0


async def inbound_of(track: rtc.RemoteAudioTrack) -> Mapping[int, Inbound]:
    """By SSRC; empty before the first packet, and when the track is gone."""
    try:
        return _by_ssrc(await track.get_stats())
    except Exception as error:  # the SDK raises nothing narrower
        logger.debug("packets could not be counted: %s", error)
        return {}


async def inbound_of_all(room: rtc.Room) -> Mapping[int, Inbound]:
    """By SSRC; empty while the room is out of reach."""
    try:
        stats = await room.get_rtc_stats()
    except RuntimeError as error:
        logger.debug("packets could not be counted: %s", error)
        return {}
    return _by_ssrc([*stats.publisher_stats, *stats.subscriber_stats])


async def until_over(room: rtc.Room, ssrcs: Iterable[int]) -> None:
    """Return when nothing comes of these any more; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    left = set(ssrcs)
    seen: dict[int, tuple[int, float]] = {}
    while left:
        inbound = await inbound_of_all(room)
        now = loop.time()
        for ssrc in list(left):
            if ssrc not in inbound:
                left.discard(ssrc)
                continue
            packets = inbound[ssrc].packets_received
            before, since = seen.setdefault(ssrc, (packets, now))
            if before != packets:
                seen[ssrc] = (packets, now)
            elif now - since >= QUIET:
                left.discard(ssrc)
        if left:
            await asyncio.sleep(POLL)


def _by_ssrc(stats: Iterable[rtc.stats.RtcStats]) -> dict[int, Inbound]:
    return {
        each.inbound_rtp.stream.ssrc: Inbound(
            each.inbound_rtp.received.packets_received,
            max(0, each.inbound_rtp.received.packets_lost),
        )
        for each in stats
        if each.HasField("inbound_rtp")
    }
