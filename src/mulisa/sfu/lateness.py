"""How late a track's packets are, and how much of that was silence. Pure.

The RTP time of a libwebrtc publisher stands still while it captures nothing. Its next packet then
looks late by the whole silence, and receivers act on that: libwebrtc's jitter buffer compares each
packet with the most punctual one of the last two seconds of RTP time, keeps a histogram of the
greatest lateness in every half second, and plays so late that 95 % of it would be in time. One
silence of a second puts off all words of the next half minute by 0.3 to 1 s.

A silence that is taken out of the timestamps to the millisecond is none to that buffer: it goes on
with the delay that it had. So what is taken out is the lateness against the most punctual packet,
as there, not against the last one, whose own jitter would stay in the histogram.

After more than two seconds there is nothing left to compare with, and a bit less is taken out: a
word whose time seems to be over is played at once, as at the beginning of a stream, and the delay
is chosen anew.

The first packet after a silence does not say whether it was spoken late or held up on its way. The
next ones do: what was held up comes all at once. Silences up to that one are then left alone for a
while, so that receivers learn how uneven the way is.
"""

from __future__ import annotations

from typing import Final

_SLACK: Final = 0.06
"""Seconds of lateness that are jitter, and left alone."""
_BLOCK: Final = 1.0
"""Seconds: the most punctual packet is looked for in this block and the one before."""
_MEMORY: Final = 2.1
"""Seconds of RTP time after which a receiver has forgotten how punctual packets were, and 5 %."""
_AT_ONCE: Final = 0.15
"""Seconds to leave in after a silence longer than that: more than most receivers hold back."""
_HELD_UP: Final = 0.5
"""Seconds: a longer silence is one, whatever comes after it."""
_DOUBT: Final = 10.0
"""Seconds for which silences are left alone up to one that was none."""


class Lateness:
    """Of the packets of one track, in ticks of its clock. `now` is seconds, never backwards.

    The newest packet's lateness is counted from an arbitrary origin; only differences have a
    meaning.
    """

    __slots__ = (
        "_best",
        "_best_before",
        "_block_until",
        "_clock_rate",
        "_doubted",
        "_doubts_until",
        "_newest",
        "_refuted_at",
        "_taken",
    )

    def __init__(self, clock_rate: int) -> None:
        self._clock_rate = clock_rate
        self._newest = 0
        self._best = 0
        self._best_before = 0
        self._block_until = 0.0
        self._taken = 0
        """The last silence, if the next packets may show that it was none."""
        self._refuted_at = 0
        """A packet this punctual does."""
        self._doubted = 0
        self._doubts_until = 0.0

    def note(self, drift: int, now: float) -> None:
        """A packet came, by `drift` later than the one before it."""
        newest = self._newest = self._newest + drift
        if now >= self._block_until:
            self._block_until = now + _BLOCK
            self._best_before, self._best = self._best, newest
        elif newest < self._best:
            self._best = newest
        if self._taken and newest <= self._refuted_at:
            self._doubted, self._taken = self._taken, 0
            self._doubts_until = now + _DOUBT

    def of_silence(self, drift: int, now: float) -> int:
        """What to take out of the `drift` of the next packet, which comes after a silence."""
        newest = self._newest + drift
        best = min(self._best, self._best_before)
        silence = newest - best
        rate = self._clock_rate
        self._taken = 0
        if silence > (_MEMORY + _AT_ONCE) * rate:
            kept = round(_AT_ONCE * rate)
            self._best = self._best_before = best + kept
            return silence - kept
        if silence <= _SLACK * rate or (silence <= self._doubted and now < self._doubts_until):
            return 0
        if silence <= _HELD_UP * rate:
            self._taken, self._refuted_at = silence, best - silence // 2
        return silence
