from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.core.errors import NegotiationError
from mulisa.sfu.media import AUDIO_LEVEL, DEPENDENCY_DESCRIPTOR
from mulisa.sfu.negotiation import Negotiated, NothingAccepted, WantedTrack
from mulisa.sfu.offering import OfferingNegotiation
from mulisa.wire import sdp
from mulisa.wire.description import Description, Fingerprint, IceCredentials, Media, direction_of
from tests.sfu.damage import mutate
from tests.sfu.recordings import OPUS, OURS, VP8, wanted_track

pytestmark = pytest.mark.unit

THEIRS = IceCredentials("theirs", "their-password-24-chars.".replace(".", "x"))
CERTIFICATE = Fingerprint("sha-256", ":".join(["C7"] * 32))
H264 = "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1"


def accept_all(media: Media) -> Media:
    """What a client answers that takes everything."""
    return replace(
        media,
        direction=direction_of(sends=False, receives=media.sends),
        msids=(),
        sources=(),
        credentials=THEIRS,
        fingerprint=CERTIFICATE,
        setup="active",
    )


class Client:
    """Answers our offers."""

    def __init__(self) -> None:
        self.negotiation = OfferingNegotiation()
        self.offer = Description(())

    def exchange(
        self, *wanted: WantedTrack, change: Callable[[Media], Media] = accept_all
    ) -> Negotiated:
        """One offer and its answer."""
        self.offer = sdp.parse(self.negotiation.offer(OURS, wanted))
        return self.negotiation.accept(self.answer(change))

    def answer(self, change: Callable[[Media], Media] = accept_all) -> str:
        media = tuple(change(each) for each in self.offer.media)
        bundle = tuple(each.mid for each in media if not each.is_rejected)
        return sdp.write(replace(self.offer, media=media, bundle=bundle, is_ice_lite=False))

    @property
    def directions(self) -> list[tuple[str, str]]:
        return [(media.mid, media.direction) for media in self.offer.media]


def test_a_track_is_offered_by_name_with_payload_types_of_ours() -> None:
    client = Client()
    client.exchange(wanted_track("a"), wanted_track("v", "video"))
    audio, video = client.offer.media
    assert client.offer.is_ice_lite
    assert client.offer.bundle == ("0", "1")
    assert (audio.setup, audio.credentials) == ("passive", OURS.credentials)
    assert [(each.name, each.payload_type) for each in audio.formats] == [
        ("opus", 111),
        ("red", 63),
    ]
    assert [(each.name, each.payload_type) for each in video.formats] == [("vp8", 96)]
    assert audio.msids == ("PA_other|TR_a TR_a",)
    assert (audio.extensions, video.extensions) == ({AUDIO_LEVEL: 1}, {DEPENDENCY_DESCRIPTOR: 2})
    assert set(video.formats[0].feedback) == {"nack", "nack pli", "ccm fir"}


def test_an_answer_says_what_can_be_sent() -> None:
    client = Client()
    accepted = client.exchange(wanted_track("a"))
    (outbound,) = accepted.outbound
    assert (accepted.remote, accepted.fingerprint) == (THEIRS, CERTIFICATE)
    assert accepted.mid_to_track == {"0": "TR_a"}
    assert outbound.ssrc == client.offer.media[0].sources[0].ssrc
    assert {each.name: each.payload_type for each in outbound.codecs} == {"opus": 111, "red": 63}
    assert outbound.extensions == {AUDIO_LEVEL: 1}


def test_what_the_answer_leaves_out_is_not_sent() -> None:
    def without_red(media: Media) -> Media:
        return replace(accept_all(media), tokens=("111",), formats=media.formats[:1], extensions={})

    (outbound,) = Client().exchange(wanted_track("a"), change=without_red).outbound
    assert [each.name for each in outbound.codecs] == ["opus"]
    assert outbound.extensions == {}


def test_the_answer_may_number_payload_types_itself() -> None:
    def renumbered(media: Media) -> Media:
        formats = (replace(media.formats[0], payload_type=100),)
        return replace(accept_all(media), tokens=("100",), formats=formats)

    (outbound,) = Client().exchange(wanted_track("a"), change=renumbered).outbound
    assert [(each.name, each.payload_type) for each in outbound.codecs] == [("opus", 100)]


@pytest.mark.parametrize("how", ["rejected", "inactive", "without a codec"])
def test_a_refused_track_is_told(how: str) -> None:
    def refuse_audio(media: Media) -> Media:
        if media.kind == "video":
            return accept_all(media)
        if how == "rejected":
            return replace(media, is_rejected=True)
        if how == "inactive":
            return replace(accept_all(media), direction="inactive")
        return replace(accept_all(media), formats=())

    client = Client()
    video = wanted_track("v", "video")
    accepted = client.exchange(wanted_track("a"), video, change=refuse_audio)
    assert accepted.unsupported == ("TR_a",)
    assert [each.track for each in accepted.outbound] == ["TR_v"]
    assert not client.negotiation.needs_offer([video])


def test_when_everything_is_refused_the_next_offer_may_be_accepted() -> None:
    client = Client()
    with pytest.raises(NothingAccepted) as refusal:
        client.exchange(wanted_track("a"), change=lambda media: replace(media, is_rejected=True))
    assert refusal.value.unsupported == ("TR_a",)
    assert client.exchange(wanted_track("v", "video")).mid_to_track == {"1": "TR_v"}
    accepted = client.exchange(
        wanted_track("v", "video"), change=lambda media: replace(media, is_rejected=True)
    )
    assert (accepted.unsupported, accepted.remote) == (("TR_v",), THEIRS)


def test_a_rejected_m_line_is_recycled_under_another_mid() -> None:
    client = Client()
    client.exchange(
        wanted_track("v", "video"),
        wanted_track("a"),
        change=lambda media: replace(accept_all(media), is_rejected=media.kind == "video"),
    )
    client.exchange(wanted_track("a"))
    assert [(each.mid, each.is_rejected) for each in client.offer.media] == [
        ("0", True),
        ("1", False),
    ]
    assert client.offer.bundle == ("1",)
    client.exchange(wanted_track("a"), wanted_track("b"))
    assert [(each.mid, each.kind) for each in client.offer.media] == [
        ("2", "audio"),
        ("1", "audio"),
    ]


def test_m_lines_stay_and_are_given_to_others_once_they_rested() -> None:
    client = Client()
    a, b, c = (wanted_track(name) for name in "abc")
    client.exchange(a, b)
    client.exchange(b, c)
    assert client.directions == [("0", "inactive"), ("1", "sendonly"), ("2", "sendonly")]
    accepted = client.exchange(b, c, a)
    assert client.directions == [("0", "sendonly"), ("1", "sendonly"), ("2", "sendonly")]
    assert accepted.mid_to_track == {"0": "TR_a", "1": "TR_b", "2": "TR_c"}
    assert client.exchange().outbound == ()
    assert [direction for _, direction in client.directions] == ["inactive"] * 3


def test_a_track_keeps_its_ssrc_until_it_is_released() -> None:
    client, wanted = Client(), wanted_track("a")
    first = client.exchange(wanted).outbound
    assert client.exchange(wanted).outbound == first
    client.negotiation.release(wanted.track)
    assert client.negotiation.needs_offer([wanted])
    assert client.exchange(wanted).outbound == ()
    assert client.negotiation.needs_offer([wanted])
    (again,) = client.exchange(wanted).outbound
    assert again.ssrc != first[0].ssrc
    assert not client.negotiation.needs_offer([wanted])


def test_what_is_released_before_the_answer_is_not_sent() -> None:
    client, wanted = Client(), wanted_track("a")
    client.offer = sdp.parse(client.negotiation.offer(OURS, [wanted]))
    client.negotiation.release(wanted.track)
    assert client.negotiation.accept(client.answer()).outbound == ()


def test_an_offer_that_was_never_answered_is_replaced() -> None:
    client = Client()
    a, b = wanted_track("a"), wanted_track("b")
    client.negotiation.offer(OURS, [a])
    accepted = client.exchange(a, b)
    assert accepted.mid_to_track == {"0": "TR_a", "1": "TR_b"}


def test_new_credentials_restart_ice_and_change_nothing_else() -> None:
    client, wanted = Client(), wanted_track("a")
    client.exchange(wanted)
    before = client.offer.media
    restarted = replace(OURS, credentials=IceCredentials("next", "n" * 24))
    offer = sdp.parse(client.negotiation.offer(restarted, [wanted]))
    assert [replace(each, credentials=OURS.credentials) for each in offer.media] == list(before)
    assert {each.credentials for each in offer.media} == {restarted.credentials}


def test_stereo_is_announced() -> None:
    client = Client()
    client.exchange(wanted_track("a", "audio", replace(OPUS, fmtp="stereo=1")))
    assert client.offer.media[0].formats[0].parameters["sprop-stereo"] == "1"


def test_one_payload_type_means_one_codec_on_all_m_lines() -> None:
    client = Client()
    names = "h264", "vp8", "vp9", "av1"
    usual = [wanted_track(name, "video", replace(VP8, name=name, fmtp=H264)) for name in names]
    main = replace(VP8, name="h264", fmtp=H264.replace("42e01f", "4d001f"))
    accepted = client.exchange(*usual, wanted_track("main", "video", main))
    types = [each.codecs[0].payload_type for each in accepted.outbound]
    assert types == [102, 96, 98, 45, 103]


def test_too_many_profiles_are_unsupported_and_no_error() -> None:
    client = Client()
    codecs = [replace(VP8, name="vp9", fmtp=f"profile-id={number}") for number in range(80)]
    wanted = [wanted_track(str(number), "video", each) for number, each in enumerate(codecs)]
    accepted = client.exchange(*wanted)
    types = [each.codecs[0].payload_type for each in accepted.outbound]
    assert len(types) == len(set(types))
    assert len(accepted.unsupported) == len(wanted) - len(types) > 0
    assert not client.negotiation.needs_offer(wanted)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=mid:0", "a=mid:7"),
        ("m=audio 9", "m=video 9"),
        ("a=ice-ufrag:theirs", "a=ice-ufrag:"),
        ("a=fingerprint:sha-256", "a=fingerprint:md5"),
        ("v=0", "v=1"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(old: str, new: str) -> None:
    client, wanted = Client(), wanted_track("a")
    client.offer = sdp.parse(client.negotiation.offer(OURS, [wanted]))
    answer = client.answer()
    with pytest.raises(NegotiationError):
        client.negotiation.accept(answer.replace(old, new))
    assert client.negotiation.accept(answer).outbound


def test_an_answer_without_an_offer_is_refused() -> None:
    client = Client()
    client.exchange(wanted_track("a"))
    with pytest.raises(NegotiationError):
        client.negotiation.accept(client.answer())


@settings(max_examples=300)
@given(st.integers(0))
def test_a_damaged_answer_is_taken_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    client = Client()
    wanted = [wanted_track("a"), wanted_track("b"), wanted_track("v", "video")]
    client.offer = sdp.parse(client.negotiation.offer(OURS, wanted))
    answer = client.answer()
    try:
        accepted = client.negotiation.accept(mutate(answer, rng))
    except NothingAccepted as refusal:
        assert set(refusal.unsupported) == {each.track for each in wanted}
        return
    except NegotiationError:
        accepted = client.negotiation.accept(answer)
        assert len(accepted.outbound) == len(wanted)
    told = {each.track for each in accepted.outbound} | set(accepted.unsupported)
    assert told == {each.track for each in wanted}
    assert all(each.codecs for each in accepted.outbound)


@settings(max_examples=200)
@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=20), st.integers(0))
def test_whatever_is_wanted_tracks_keep_their_places(steps: list[set[str]], seed: int) -> None:
    rng = random.Random(seed)
    client = Client()
    client.negotiation = OfferingNegotiation(draw=lambda: rng.randint(1, 20))
    before: dict[str, tuple[str, int]] = {}
    for names in [{"a"}, *steps]:
        wanted = [wanted_track(name, "video" if name in "ef" else "audio") for name in names]
        accepted = client.exchange(*wanted)
        places = {str(each.track): (each.mid, each.ssrc) for each in accepted.outbound}
        assert places.keys() == {each.track for each in wanted}
        assert all(places[track] == before[track] for track in places.keys() & before.keys())
        new = {mid for track, (mid, _) in places.items() if track not in before}
        assert not new & {mid for mid, _ in before.values()}
        assert len({ssrc for _, ssrc in places.values()}) == len(places)
        assert len(client.offer.media) <= 12
        assert not client.negotiation.needs_offer(wanted)
        before = places
