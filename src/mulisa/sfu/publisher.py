"""A client's connection whose offers are its own: what it publishes, and its data channels.

In mode v1 it is the only one, and carries what the client receives as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc

from mulisa.core.room import RoomName
from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.connection import Connection
from mulisa.sfu.media import Inbound, TrackSid
from mulisa.sfu.negotiation import Answered, ExpectedTrack, WantedTrack


class Publisher:
    """Answers the client's offers, and forwards from the m-lines of the tracks it announced."""

    def __init__(self, connection: Connection, room: RoomName) -> None:
        self.connection = connection
        self.negotiation = AnsweringNegotiation()
        self._room = room
        self._expected: dict[TrackSid, ExpectedTrack] = {}
        self._inbound: tuple[Inbound, ...] = ()

    @property
    def inbound(self) -> tuple[Inbound, ...]:
        """The published tracks that have m-lines."""
        return self._inbound

    @property
    def announced(self) -> frozenset[TrackSid]:
        """The tracks that will be published, of whose m-lines nothing is known yet."""
        return frozenset(self._expected) - {each.track for each in self._inbound}

    def answer(self, offer: str, wanted: Iterable[WantedTrack]) -> Answered:
        """Raises NegotiationError, after which the client cannot go on."""
        is_restart = self.negotiation.restarts_ice(offer)
        ours = self.connection.our_side(is_restart=is_restart)
        answered = self.negotiation.answer(
            offer, ours, tuple(self._expected.values()), tuple(wanted)
        )
        self.connection.set_remote(answered.remote, answered.fingerprint)
        self._forward(answered.inbound)
        return answered

    def expect(self, track: TrackSid, request: rtc.AddTrackRequest) -> bool:
        """The client announced a track. True if an m-line that was offered before is its own."""
        self._expected[track] = _expected(track, request)
        return self._bind()

    def drop(self, track: TrackSid) -> None:
        """The track ended: from now on nothing of it is forwarded."""
        if self._expected.pop(track, None):
            self._bind()

    def _bind(self) -> bool:
        inbound = self.negotiation.bind(tuple(self._expected.values()))
        if inbound == self._inbound:
            return False
        self._forward(inbound)
        return True

    def _forward(self, inbound: tuple[Inbound, ...]) -> None:
        self._inbound = inbound
        self.connection.session.publish(inbound, self._room)


def _expected(track: TrackSid, request: rtc.AddTrackRequest) -> ExpectedTrack:
    features = request.audio_features
    codecs = request.simulcast_codecs
    return ExpectedTrack(
        track,
        cid=request.cid,
        cids=tuple(each.cid for each in codecs if each.cid),
        kind="audio" if request.type == models.TrackType.AUDIO else "video",
        wants_dtx=not request.disable_dtx and models.AudioTrackFeature.TF_NO_DTX not in features,
        # What is encrypted end to end cannot be told apart from its redundancy.
        wants_red=not request.disable_red and request.encryption == models.Encryption.NONE,
        is_stereo=request.stereo or models.AudioTrackFeature.TF_STEREO in features,
        codec=codecs[0].codec.lower() if codecs else "",
    )
