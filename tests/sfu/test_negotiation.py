"""Whatever a client offers, in whatever order things happen."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulisa.core.errors import NegotiationError
from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.media import AUDIO_LEVEL, MediaKind, TrackSid
from mulisa.sfu.negotiation import Answered, ExpectedTrack, WantedTrack
from mulisa.wire import sdp
from mulisa.wire.description import (
    DATA_CHANNELS,
    RTP,
    Description,
    Direction,
    Fingerprint,
    Format,
    IceCredentials,
    Media,
    Source,
)
from tests.sfu.damage import mutate
from tests.sfu.recordings import OURS, RECORDINGS, offers, wanted_track

pytestmark = pytest.mark.unit

EXAMPLES = 150
MANY = 4_000
WANTED = (wanted_track("a"), wanted_track("b"), wanted_track("v", "video"))
EXPECTED = (
    ExpectedTrack(TrackSid("TR_mic"), "mic", "audio"),
    ExpectedTrack(TrackSid("TR_cam"), "cam", "video"),
)


def check(offer: str, answered: Answered) -> None:
    """What holds of every answer."""
    asked, answer = sdp.parse(offer), sdp.parse(answered.sdp)
    assert [(each.kind, each.mid) for each in answer.media] == [
        (each.kind, each.mid) for each in asked.media
    ]
    taken = [each.mid for each in answer.media if not each.is_rejected]
    assert sorted(answer.bundle) == sorted(taken) != []
    assert set(answer.bundle) <= set(asked.bundle or taken)
    for theirs, media in zip(asked.media, answer.media, strict=True):
        if not media.is_rejected:
            check_media(theirs, media)
    check_tracks(answer, answered)


def check_media(theirs: Media, media: Media) -> None:
    if media.kind == "application":
        assert media.tokens == theirs.tokens
        return
    assert set(map(int, media.tokens)) <= set(map(int, theirs.tokens))
    assert media.extensions.items() <= theirs.extensions.items()
    assert not (media.sends and not theirs.receives)
    assert not (media.receives and not theirs.sends)
    assert len(media.formats) == len(media.tokens)
    offered = {each.payload_type: set(each.feedback) for each in theirs.formats}
    assert all(set(each.feedback) <= offered[each.payload_type] for each in media.formats)


def check_tracks(answer: Description, answered: Answered) -> None:
    by_mid = {each.mid: each for each in answer.media}
    assert answered.mid_to_track == {each.mid: each.track for each in answered.outbound}
    for outbound in answered.outbound:
        media = by_mid[outbound.mid]
        assert media.sends
        assert [source.ssrc for source in media.sources] == [outbound.ssrc]
        assert {each.payload_type for each in outbound.codecs} <= set(map(int, media.tokens))
    for inbound in answered.inbound:
        assert by_mid[inbound.mid].receives
        names = [each.name for each in inbound.codecs]
        assert len(names) == len(set(names)) > 0
    assert sum(media.sends for media in answer.media if media.kind != "application") == len(
        answered.outbound
    )


def survives(recording: str, seed: int) -> bool:
    """A client whose offers are damaged, and then not any more."""
    rng = random.Random(seed)
    negotiation = AnsweringNegotiation()
    given = offers(recording)
    first = rng.choice(given)
    if rng.random() < 0.5:
        check(first, negotiation.answer(first, OURS, EXPECTED, WANTED))
    answered = 0
    for _ in range(2):
        offer = mutate(rng.choice(given[:3]), rng)
        before = negotiation.needs_offer(WANTED)
        try:
            answer = negotiation.answer(offer, OURS, EXPECTED, WANTED)
        except NegotiationError:
            assert negotiation.needs_offer(WANTED) == before
        else:
            answered += 1
            check(offer, answer)
    return answered > 0


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(RECORDINGS), st.integers(0))
def test_a_damaged_offer_is_answered_or_refused(recording: str, seed: int) -> None:
    survives(recording, seed)


@pytest.mark.slow
def test_very_many_damaged_offers_are_answered_or_refused() -> None:
    outcomes = [survives(RECORDINGS[seed % len(RECORDINGS)], seed) for seed in range(MANY)]
    assert 0.1 < sum(outcomes) / MANY < 0.9


class Client:
    """Offers m-lines of its own, as a browser does."""

    def __init__(self) -> None:
        self.media: list[Media] = [
            Media(
                "application",
                "data",
                "UDP/DTLS/SCTP",
                (DATA_CHANNELS,),
                is_muxed=False,
                sctp_port=5_000,
            )
        ]
        self.expected: list[ExpectedTrack] = []
        self._tracks = 0

    def add(self, kind: MediaKind, direction: Direction, cid: str = "") -> None:
        name, rate, channels = ("opus", 48_000, 2) if kind == "audio" else ("vp8", 90_000, 1)
        ssrc = self._tracks + 1
        self.media.append(
            Media(
                kind,
                str(len(self.media)),
                RTP,
                ("96",),
                direction=direction,
                formats=(Format(96, name, rate, channels),),
                extensions={AUDIO_LEVEL: 1},
                msids=(f"- {cid}",) if cid else (),
                sources=(Source(ssrc, "c", f"- {cid}"),) if cid else (),
            )
        )

    def publish(self, kind: MediaKind, direction: Direction) -> None:
        self._tracks += 1
        cid = f"cid{self._tracks}"
        self.expected.append(ExpectedTrack(TrackSid(f"TR_p{self._tracks}"), cid, kind))
        self.add(kind, direction, cid)

    def unpublish(self, index: int) -> None:
        senders = [number for number, media in enumerate(self.media) if media.msids]
        if senders:
            number = senders[index % len(senders)]
            gone = replace(self.media[number], direction="recvonly", msids=(), sources=())
            self.media[number] = gone

    def offer(self) -> str:
        media = tuple(
            replace(
                each,
                credentials=IceCredentials("abcd", "0" * 22),
                fingerprint=Fingerprint("sha-256", ":".join(["C7"] * 32)),
                setup="actpass",
            )
            for each in self.media
        )
        return sdp.write(Description(media, tuple(each.mid for each in media)))


NAMES = "abcdef"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("subscribe"), st.sampled_from(NAMES)),
        st.tuples(st.just("unsubscribe"), st.sampled_from(NAMES)),
        st.tuples(st.just("publish"), st.sampled_from(["sendonly", "sendrecv"])),
        st.tuples(st.just("unpublish"), st.sampled_from("0123")),
        st.tuples(st.just("exchange"), st.just("")),
    ),
    max_size=40,
)


class Call:
    """A client, our end, and what must hold between them after each exchange."""

    def __init__(self) -> None:
        rng = random.Random(0)
        self.negotiation = AnsweringNegotiation(draw=lambda: rng.randint(1, 400))
        self.client = Client()
        self.wanted: dict[TrackSid, WantedTrack] = {}
        self.places: dict[TrackSid, tuple[str, int]] = {}
        self.published: dict[str, TrackSid] = {}
        self.was_sending: set[str] = set()

    def step(self, what: str, which: str) -> None:
        kind: MediaKind = "video" if which in "f" else "audio"
        track = wanted_track(which, kind)
        if what == "subscribe":
            self.wanted[track.track] = track
        elif what == "unsubscribe" and track.track in self.wanted:
            del self.wanted[track.track]
            self.negotiation.release(track.track)
            self.places.pop(track.track, None)
        elif what == "publish":
            self.client.publish("audio", "sendonly" if which == "sendonly" else "sendrecv")
        elif what == "unpublish":
            self.client.unpublish(int(which))
        elif what == "exchange":
            self.exchange()

    def exchange(self) -> None:
        offer = self.client.offer()
        wanted = tuple(self.wanted.values())
        answered = self.negotiation.answer(offer, OURS, self.client.expected, wanted)
        check(offer, answered)
        self.check_places(answered)
        self.check_published(answered)

    def check_places(self, answered: Answered) -> None:
        """M-lines and SSRCs stay for as long as a subscription lasts, and then rest once."""
        found = {each.track: (each.mid, each.ssrc) for each in answered.outbound}
        assert found.keys() <= self.wanted.keys()
        assert self.places.items() <= found.items()
        new = {mid for track, (mid, _) in found.items() if track not in self.places}
        assert not new & self.was_sending
        ssrcs = [ssrc for _, ssrc in found.values()]
        theirs = {source.ssrc for media in self.client.media for source in media.sources}
        assert len(set(ssrcs)) == len(ssrcs) and not theirs & set(ssrcs)
        self.places, self.was_sending = found, {mid for mid, _ in found.values()}

    def check_published(self, answered: Answered) -> None:
        found = {each.mid: each.track for each in answered.inbound}
        told = {each.cid: each.track for each in self.client.expected}
        assert found == {
            media.mid: told[media.track_ids[0]] for media in self.client.media if media.msids
        }

    def settle(self) -> None:
        """The client does what it is asked for, and soon nothing is left to ask for."""
        for _ in range(4):
            needed = self.negotiation.needs_offer(tuple(self.wanted.values()))
            if needed is None:
                break
            for kind, count in zip(("audio", "video"), needed, strict=True):
                for _ in range(count):
                    self.client.add("audio" if kind == "audio" else "video", "recvonly")
            self.exchange()
        assert self.places.keys() == self.wanted.keys()


@settings(max_examples=EXAMPLES)
@given(STEPS)
def test_whatever_happens_tracks_keep_their_places(steps: list[tuple[str, str]]) -> None:
    call = Call()
    call.exchange()
    for what, which in steps:
        call.step(what, which)
    call.exchange()
    call.settle()
