"""What a client receives: which tracks, and how its connection learns of them.

In mode v1 the client is asked for an offer, whose answer then holds the tracks; in mode v0 a
connection of its own has our offers. Either way one exchange is under way at a time, and changes
meanwhile go into the next one. What is unsubscribed stops at once, whatever descriptions say.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Final

from livekit.protocol import models, rtc

from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.connection import Connection
from mulisa.sfu.media import Outbound, TrackSid
from mulisa.sfu.negotiation import Answered, Negotiated, NothingAccepted, WantedTrack
from mulisa.sfu.offering import OfferingNegotiation
from mulisa.sfu.publisher import Publisher

ANSWER_TIME: Final = 15.0
"""Seconds for a client to answer an offer, as LiveKit's own server gives it."""
FEW_TRACKS: Final = 16
"""Up to here changes are negotiated at once. Every further m-line costs all clients of a room time
at every change, so that many changes in a row are negotiated together."""
DELAY_PER_TRACK: Final = 0.01
LONGEST_DELAY: Final = 2.0
OFFER_TIME: Final = 0.2
"""Seconds in which a client that has announced a track offers its m-line: by itself, so that it
need not be asked for what can be in the answer to that offer."""
MAX_ASKED: Final = 5
"""Times in a row that a client is asked for an offer which then lacks what was asked for."""


class Subscriber(ABC):
    """The tracks that a client shall receive, and those that it can."""

    def __init__(
        self,
        send: Callable[[rtc.SignalResponse], None],
        on_subscribed: Callable[[TrackSid], None],
        attempt: Callable[[Callable[[], None]], None],
    ) -> None:
        """`on_subscribed`: the client can receive this track from now on.

        `attempt` calls something, and puts the client out if it fails.
        """
        self._send = send
        self._attempt = attempt
        self._on_subscribed = on_subscribed
        self._wanted: dict[TrackSid, WantedTrack] = {}
        self._outbound: dict[TrackSid, Outbound] = {}
        self._paused: set[TrackSid] = set()
        self._soon: asyncio.TimerHandle | None = None
        self._is_away = False

    @property
    def wanted(self) -> Collection[WantedTrack]:
        """What the client's description should hold."""
        return self._wanted.values()

    def subscribe(self, wanted: WantedTrack) -> None:
        """Negotiate an m-line, then forward."""
        self._wanted[wanted.track] = wanted
        self._negotiate_soon()

    def unsubscribe(self, track: TrackSid, *, has_ended: bool = False) -> None:
        """From now on no packet of the track is sent.

        `has_ended`: nobody receives it any more, which is no reason to negotiate.
        """
        self._wanted.pop(track, None)
        self._paused.discard(track)
        if self._outbound.pop(track, None):
            self._forward()
        if negotiation := self._negotiation():
            if has_ended:
                negotiation.retire(track)
            else:
                negotiation.release(track)
        self._negotiate_soon()

    def pause(self, track: TrackSid, is_paused: bool) -> None:
        """Hold a subscribed track back, or let it go on."""
        if is_paused:
            self._paused.add(track)
        else:
            self._paused.discard(track)
        if (connection := self._connection()) and track in self._outbound:
            connection.session.pause(track, is_paused)

    def socket_lost(self) -> None:
        """Nothing is negotiated until the client resumes; what was under way is lost."""
        self._is_away = True

    def resume(self) -> None:
        """The client has a new socket."""
        self._is_away = False

    def close(self) -> None:
        """Nothing is negotiated any more. Idempotent."""
        self._is_away = True
        self._wait_no_longer()

    @abstractmethod
    def _connection(self) -> Connection | None: ...

    @abstractmethod
    def _negotiation(self) -> AnsweringNegotiation | OfferingNegotiation | None: ...

    @abstractmethod
    def _negotiate(self) -> None: ...

    def _negotiate_soon(self) -> None:
        """Once for all changes of one event, and in a big room for those that follow it closely."""
        if self._soon is None and not self._is_away:
            delay = min(LONGEST_DELAY, DELAY_PER_TRACK * max(0, len(self._wanted) - FEW_TRACKS))
            self._negotiate_in(delay)

    def _negotiate_in(self, delay: float) -> None:
        self._soon = asyncio.get_running_loop().call_later(delay, self._negotiate_now)

    def _wait_no_longer(self) -> None:
        if self._soon:
            self._soon.cancel()
            self._soon = None

    def _negotiate_now(self) -> None:
        self._soon = None
        if not self._is_away:
            self._attempt(self._negotiate)

    def _described(self, described: Negotiated) -> None:
        """Forward what the client's description holds now and is still wanted."""
        before = self._outbound
        self._outbound = {
            each.track: each for each in described.outbound if each.track in self._wanted
        }
        self._forward()
        for track in self._outbound:
            if track not in before:
                self._on_subscribed(track)
        self._refuse(described.unsupported)

    def _forward(self) -> None:
        if connection := self._connection():
            connection.session.subscribe(tuple(self._outbound.values()))
            for track in self._paused & self._outbound.keys():
                connection.session.pause(track, True)

    def _refuse(self, tracks: Iterable[TrackSid]) -> None:
        """The client cannot take these."""
        for track in tracks:
            if self._wanted.pop(track, None):
                error = models.SubscriptionError.SE_CODEC_UNSUPPORTED
                response = rtc.SubscriptionResponse(track_sid=track, err=error)
                self._send(rtc.SignalResponse(subscription_response=response))


class AskingSubscriber(Subscriber):
    """Mode v1: receives on the publisher's connection and must be asked for its offers."""

    publisher: Publisher | None = None
    """Once the client has made its first offer."""
    _is_asked = False
    _asked_in_vain = 0
    _waited_for: frozenset[TrackSid] = frozenset()
    """Announced tracks whose offer was waited for, once."""

    def answered(self, answered: Answered) -> None:
        """An offer of the client's was answered."""
        self._is_asked = False
        if answered.outbound or self._outbound:
            self._described(answered)
        self._wait_no_longer()
        self._negotiate_soon()

    def subscribe(self, wanted: WantedTrack) -> None:
        """Negotiate an m-line, then forward."""
        self._asked_in_vain = 0
        super().subscribe(wanted)

    def resume(self) -> None:
        """Of Subscriber."""
        super().resume()
        self._is_asked = False
        self._asked_in_vain = 0
        self._negotiate_soon()

    def _connection(self) -> Connection | None:
        return self.publisher.connection if self.publisher else None

    def _negotiation(self) -> AnsweringNegotiation | None:
        return self.publisher.negotiation if self.publisher else None

    def _negotiate(self) -> None:
        if self.publisher is None or self._is_asked or self._asked_in_vain >= MAX_ASKED:
            return
        missing = self.publisher.negotiation.needs_offer(tuple(self.wanted))
        if missing is None:
            self._asked_in_vain = 0
            return
        announced = self.publisher.announced
        if not announced <= self._waited_for:
            self._waited_for = announced
            self._negotiate_in(OFFER_TIME)
            return
        self._is_asked = True
        self._asked_in_vain += 1
        audios, videos = missing
        wish = rtc.MediaSectionsRequirement(num_audios=audios, num_videos=videos)
        self._send(rtc.SignalResponse(media_sections_requirement=wish))


class OfferingSubscriber(Subscriber):
    """Mode v0: a connection of its own, which is made for the first track, with our offers."""

    def __init__(
        self,
        send: Callable[[rtc.SignalResponse], None],
        on_subscribed: Callable[[TrackSid], None],
        attempt: Callable[[Callable[[], None]], None],
        connect: Callable[[], Connection],
        on_silence: Callable[[], None],
    ) -> None:
        """`connect` opens the connection; `on_silence`: an offer was not answered in time."""
        super().__init__(send, on_subscribed, attempt)
        self._connect = connect
        self._on_silence = on_silence
        self._opened: Connection | None = None
        self._offering = OfferingNegotiation()
        self._offers = 0
        self._answer_due: asyncio.TimerHandle | None = None

    def accept(self, answer: str) -> None:
        """The client answered our offer. Raises NegotiationError; an answer too many is none."""
        if self._opened is None or self._answer_due is None:
            return
        try:
            answered = self._offering.accept(answer)
            self._opened.set_remote(answered.remote, answered.fingerprint)
            self._described(answered)
        except NothingAccepted as refusal:
            self._refuse(refusal.unsupported)
        self._stop_waiting()
        self._negotiate_soon()

    def resume(self) -> None:
        """Of Subscriber; our offer restarts ICE (a client waits for it with its candidates)."""
        super().resume()
        self._stop_waiting()
        if self._opened:
            self._offer(self._opened, is_restart=True)
        else:
            self._negotiate_soon()

    def close(self) -> None:
        """Of Subscriber."""
        super().close()
        self._stop_waiting()
        if self._opened:
            self._opened.close()

    def socket_lost(self) -> None:
        """Of Subscriber."""
        super().socket_lost()
        self._stop_waiting()

    def _connection(self) -> Connection | None:
        return self._opened

    def _negotiation(self) -> OfferingNegotiation:
        return self._offering

    def _negotiate(self) -> None:
        if self._answer_due or not self._offering.needs_offer(tuple(self.wanted)):
            return
        self._opened = self._opened or self._connect()
        self._offer(self._opened)

    def _offer(self, connection: Connection, *, is_restart: bool = False) -> None:
        ours = connection.our_side(is_restart=is_restart)
        sdp = self._offering.offer(ours, tuple(self.wanted))
        self._offers += 1
        loop = asyncio.get_running_loop()
        self._answer_due = loop.call_later(ANSWER_TIME, self._not_answered)
        offer = rtc.SessionDescription(type="offer", sdp=sdp, id=self._offers)
        self._send(rtc.SignalResponse(offer=offer))

    def _stop_waiting(self) -> None:
        if self._answer_due:
            self._answer_due.cancel()
            self._answer_due = None

    def _not_answered(self) -> None:
        self._answer_due = None
        self._on_silence()
