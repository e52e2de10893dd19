"""The forwarding path: a publisher's packet in, one for each of its subscribers out.

`RtpSession` is what one connection publishes and receives; `Forwarder` holds what they share. Of a
packet nothing is parsed that is not needed, and nothing is made per subscriber: see `Fanout` for
the numbering, `Rows` for the headers, `Batch` for encrypting and sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from mulisa.core.room import ParticipantSid, RoomName
from mulisa.sfu.counters import Counters
from mulisa.sfu.fanout import Fanout
from mulisa.sfu.loudest import Change, Loudest, LoudestConfig
from mulisa.sfu.media import MediaKind, TrackSid
from mulisa.sfu.rtp_session import RtpSession

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

__all__ = ["Counters", "Forwarder", "LoudestConfig", "RtpSession"]


class Forwarder:
    """The forwarding path of all rooms."""

    def __init__(self, *, loudest: LoudestConfig, now: Callable[[], float]) -> None:
        """`now` is seconds on a monotonic clock."""
        self._loudest_config = loudest
        self.now = now
        self.counters = Counters()
        self._sessions: set[RtpSession] = set()
        self._fanouts: dict[TrackSid, Fanout] = {}
        self._voices: dict[RoomName, Loudest] = {}
        self._muted: set[TrackSid] = set()

    @property
    def is_empty(self) -> bool:
        """True if nothing of any track or session is left."""
        return not (self._sessions or self._fanouts or self._voices)

    def session(self, peer: PeerConnection, sid: ParticipantSid) -> RtpSession:
        """Take over the media of a connection. A client may have two of them."""
        session = RtpSession(self, peer, sid)
        self._sessions.add(session)
        return session

    def set_muted(self, track: TrackSid, is_muted: bool) -> None:
        """While a track is muted nothing of it is forwarded; it need not be published yet.

        A mute is remembered until an unmute, or until the track that was published is gone.
        """
        if is_muted:
            self._muted.add(track)
        else:
            self._muted.discard(track)
        if track in self._fanouts:
            self._fanouts[track].set_muted(is_muted)

    def levels(self, tracks: Iterable[TrackSid]) -> Mapping[TrackSid, tuple[float, float]]:
        """For `LevelsMeasured`: loudness of these tracks since the last call, 0.4 s ago or so."""
        now = self.now()
        published = (self._fanouts[track] for track in tracks if track in self._fanouts)
        return {each.track: each.meter.drain(now) for each in published if each.kind == "audio"}

    def quality(self) -> Mapping[ParticipantSid, tuple[float, float]]:
        """For `QualityMeasured`: loss (0 to 1) and round-trip time (s, 0: unknown) of each client.

        Loss is the worst of its streams in the last seconds, in either direction.
        """
        now = self.now()
        measured: dict[ParticipantSid, tuple[float, float]] = {}
        for session in self._sessions:
            loss, round_trip = measured.get(session.sid, (0.0, 0.0))
            more_loss, longer = session.quality(now)
            measured[session.sid] = max(loss, more_loss), max(round_trip, longer)
        return measured

    def tick(self, now: float) -> None:
        """Report to the publishers; to be called once a second."""
        for session in self._sessions:
            session.report(now)

    def fanout(self, track: TrackSid, kind: MediaKind) -> Fanout:
        """The way of a track that is published, or subscribed to before it is."""
        fanout = self._fanouts.get(track)
        if fanout is None:
            fanout = Fanout(track, kind, self.counters, self.now())
            fanout.set_muted(track in self._muted)
            self._fanouts[track] = fanout
        return fanout

    def tidy(self, track: TrackSid) -> None:
        """Forget a track that is neither published nor subscribed to."""
        fanout = self._fanouts.get(track)
        if fanout is not None and fanout.is_idle:
            del self._fanouts[track]
            self._muted.discard(track)

    def compete(self, fanout: Fanout, room: RoomName) -> None:
        """Forward this voice only while it is one of the loudest of its room."""
        loudest = self._voices.setdefault(room, Loudest(self._loudest_config))
        fanout.loudest = loudest
        fanout.on_selection = self._select
        loudest.add(fanout.track)
        self._change_all(loudest)

    def withdraw(self, fanout: Fanout, room: RoomName) -> None:
        """The voice ended."""
        loudest, fanout.loudest = fanout.loudest, None
        if loudest is None:
            return
        loudest.remove(fanout.track)
        self._change_all(loudest)
        if not loudest.tracks:
            self._voices.pop(room, None)

    def _change_all(self, loudest: Loudest) -> None:
        for track in loudest.tracks:
            self._fanouts[track].change()

    def _select(self, change: Change) -> None:
        if change.left is not None:
            self._fanouts[change.left].change()

    def close(self, session: RtpSession) -> None:
        """Called by the session."""
        self._sessions.discard(session)
