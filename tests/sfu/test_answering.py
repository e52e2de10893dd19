from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mulisa.core.errors import NegotiationError
from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.media import (
    AUDIO_LEVEL,
    DEPENDENCY_DESCRIPTOR,
    MID,
    RTP_STREAM_ID,
    TrackSid,
)
from mulisa.sfu.negotiation import MAX_IDLE, Answered, ExpectedTrack
from mulisa.wire import sdp
from mulisa.wire.description import Description, Media
from tests.sfu.recordings import (
    OPUS,
    OURS,
    RECORDINGS,
    VP8,
    Replay,
    offers,
    text,
    wanted_track,
)

pytestmark = pytest.mark.unit

JS, PYTHON = "sdp_livekit_client_v1", "sdp_python_v1"
MICROPHONE = ExpectedTrack(TrackSid("TR_mic"), "mic-cid", "audio")

RECEIVES_ONE = """v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 data
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0
a=mid:0
a=recvonly
a=rtcp-mux
a=extmap:3 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;stereo=1;useinbandfec=1
a=rtcp-fb:111 transport-cc
a=rtcp-fb:111 nack
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:data
a=sctp-port:5000
""".format(fingerprint=":".join(["A1"] * 32))
PUBLISHES_ONE = RECEIVES_ONE.replace("a=recvonly", "a=sendonly\na=msid:- mic-cid\na=ssrc:7 cname:x")
BOTH_WAYS = RECEIVES_ONE.replace("a=recvonly", "a=sendrecv\na=msid:- mic-cid\na=ssrc:7 cname:x")


def media_of(answered: Answered, mid: str) -> Media:
    return next(media for media in sdp.parse(answered.sdp).media if media.mid == mid)


def answer_once(
    offer: str, *expected: ExpectedTrack, negotiation: AnsweringNegotiation | None = None
) -> Answered:
    return (negotiation or AnsweringNegotiation()).answer(offer, OURS, expected, ())


def lines_of(offer: Description) -> list[tuple[str, str]]:
    return [(media.kind, media.mid) for media in offer.media]


@pytest.mark.parametrize("recording", RECORDINGS)
def test_answers_have_the_m_lines_of_the_offer(recording: str) -> None:
    for offer, answered in Replay(recording).answers():
        answer = sdp.parse(answered.sdp)
        assert lines_of(answer) == lines_of(sdp.parse(offer))
        assert answer.bundle == sdp.parse(offer).bundle
        assert answer.is_ice_lite
        assert answered.has_data


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_announced_track_is_bound_while_it_is_offered(recording: str) -> None:
    replay = Replay(recording)
    for offer, answered in replay.answers():
        told = {each.cid: each.track for each in replay.expected}
        told |= {cid: each.track for each in replay.expected for cid in each.cids}
        offered = {
            media.mid: told[media.track_ids[0]]
            for media in sdp.parse(offer).media
            if media.sends and media.kind != "application"
        }
        assert {each.mid: each.track for each in answered.inbound} == offered


@pytest.mark.parametrize("recording", RECORDINGS)
def test_wanted_tracks_keep_their_m_lines(recording: str) -> None:
    wanted = [wanted_track("a"), wanted_track("v", "video")] if recording.endswith("v1") else []
    places = set()
    for offer, answered in Replay(recording).answers(wanted):
        receives = {media.mid for media in sdp.parse(offer).media if media.receives}
        assert answered.mid_to_track.keys() <= receives
        assert answered.missing == (0, 0)
        places.add(tuple((each.track, each.mid, each.ssrc) for each in answered.outbound))
    assert [len(place) for place in places] == [len(wanted)]


def test_a_subscribed_track_is_named_for_every_client() -> None:
    _, answered = next(Replay(JS).answers([wanted_track("a")]))
    (outbound,) = answered.outbound
    media = media_of(answered, outbound.mid)
    assert media.direction == "sendonly"
    assert media.msids == ("PA_other|TR_a TR_a",)
    assert [(each.ssrc, each.msid) for each in media.sources] == [(outbound.ssrc, media.msids[0])]
    assert answered.mid_to_track == {outbound.mid: "TR_a"}
    assert {each.name: each.payload_type for each in outbound.codecs} == {"opus": 111, "red": 63}
    assert list(outbound.extensions) == [AUDIO_LEVEL]


def test_what_nothing_flows_on_is_inactive() -> None:
    _, answered = next(Replay(JS).answers())
    lines = [media for media in sdp.parse(answered.sdp).media if media.kind != "application"]
    assert {media.direction for media in lines} == {"inactive"}
    assert not any(media.msids or media.sources for media in lines)


def test_the_transport_is_ours_and_passive() -> None:
    _, answered = next(Replay(PYTHON).answers())
    for media in sdp.parse(answered.sdp).media:
        assert (media.credentials, media.fingerprint) == (OURS.credentials, OURS.fingerprint)
        assert media.setup == "passive"
    candidates = [line for line in answered.sdp.split("\r\n") if line.startswith("a=candidate")]
    assert candidates == [
        "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host",
        "a=candidate:2 1 tcp 1671430143 127.0.0.1 9 typ host tcptype passive",
    ]
    first = answered.sdp.split("\r\nm=")[1]
    assert "a=candidate" in first and "a=end-of-candidates" in first


def test_the_clients_end_of_the_transport_is_read() -> None:
    answered = answer_once(PUBLISHES_ONE)
    assert (answered.remote.ufrag, answered.remote.pwd) == ("abcd", "0123456789012345678901")
    assert answered.fingerprint.value == ":".join(["A1"] * 32)


def test_a_publisher_sends_red_first_and_silence_not_at_all() -> None:
    answered = answer_once(PUBLISHES_ONE, MICROPHONE)
    (inbound,) = answered.inbound
    assert [(each.name, each.payload_type) for each in inbound.codecs] == [
        ("red", 63),
        ("opus", 111),
    ]
    assert inbound.codecs[1].feedback == {"nack"}
    assert inbound.ssrcs == (7,)
    assert inbound.extensions == {AUDIO_LEVEL: 3, MID: 4}
    media = media_of(answered, "0")
    assert (media.direction, media.tokens) == ("recvonly", ("63", "111"))
    assert media.formats[1].parameters == {"minptime": "10", "useinbandfec": "1", "usedtx": "1"}


def test_a_publisher_decides_on_red_dtx_and_stereo() -> None:
    track = replace(MICROPHONE, wants_red=False, wants_dtx=False, is_stereo=True)
    answered = answer_once(PUBLISHES_ONE, track)
    (opus,) = media_of(answered, "0").formats
    assert opus.parameters == {
        "minptime": "10",
        "useinbandfec": "1",
        "stereo": "1",
        "maxaveragebitrate": "510000",
    }
    assert [each.name for each in answered.inbound[0].codecs] == ["opus"]


def test_a_track_that_was_announced_late_is_bound_to_its_m_line() -> None:
    negotiation = AnsweringNegotiation()
    answered = answer_once(PUBLISHES_ONE, negotiation=negotiation)
    assert (answered.inbound, media_of(answered, "0").direction) == ((), "recvonly")
    (inbound,) = negotiation.bind([MICROPHONE])
    assert (inbound.track, inbound.mid) == ("TR_mic", "0")
    assert [each.name for each in inbound.codecs] == ["red", "opus"]


def test_an_unknown_track_id_means_the_first_pending_of_the_kind() -> None:
    camera = ExpectedTrack(TrackSid("TR_cam"), "cam", "video")
    other = ExpectedTrack(TrackSid("TR_other"), "other", "audio")
    answered = answer_once(PUBLISHES_ONE, camera, other, replace(other, track=TrackSid("TR_z")))
    assert [each.track for each in answered.inbound] == ["TR_other"]


def test_a_track_id_goes_before_the_order() -> None:
    other = ExpectedTrack(TrackSid("TR_other"), "other", "audio")
    answered = answer_once(PUBLISHES_ONE, other, MICROPHONE)
    assert [each.track for each in answered.inbound] == ["TR_mic"]


def test_what_was_guessed_is_mended_by_the_track_id() -> None:
    negotiation = AnsweringNegotiation()
    other = ExpectedTrack(TrackSid("TR_other"), "other", "audio")
    assert (
        answer_once(PUBLISHES_ONE, other, negotiation=negotiation).inbound[0].track == other.track
    )
    (inbound,) = answer_once(PUBLISHES_ONE, other, MICROPHONE, negotiation=negotiation).inbound
    assert inbound.track == MICROPHONE.track


def test_an_m_line_of_an_ended_track_is_not_taken_for_a_new_one() -> None:
    negotiation = AnsweringNegotiation()
    answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation)
    assert negotiation.bind([]) == ()
    later = ExpectedTrack(TrackSid("TR_later"), "later", "audio")
    assert negotiation.bind([later]) == ()
    assert answer_once(PUBLISHES_ONE, later, negotiation=negotiation).inbound == ()


def test_of_tracks_with_one_id_the_newest_is_meant() -> None:
    again = replace(MICROPHONE, track=TrackSid("TR_new"))
    answered = answer_once(PUBLISHES_ONE, MICROPHONE, again)
    assert [each.track for each in answered.inbound] == ["TR_new"]


@pytest.mark.parametrize("direction", ["a=inactive", "a=recvonly"])
def test_a_track_that_is_not_sent_any_more_is_gone_for_good(direction: str) -> None:
    negotiation = AnsweringNegotiation()
    assert answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation).inbound
    ended = PUBLISHES_ONE.replace("a=sendonly", direction)
    assert answer_once(ended, MICROPHONE, negotiation=negotiation).inbound == ()
    assert answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation).inbound == ()


def test_a_track_that_the_room_ended_is_not_bound() -> None:
    negotiation = AnsweringNegotiation()
    assert answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation).inbound
    assert negotiation.bind([]) == ()
    assert answer_once(PUBLISHES_ONE, negotiation=negotiation).inbound == ()


def test_an_m_line_may_get_another_track() -> None:
    negotiation = AnsweringNegotiation()
    answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation)
    second = ExpectedTrack(TrackSid("TR_second"), "second", "audio")
    changed = PUBLISHES_ONE.replace("mic-cid", "second")
    answered = answer_once(changed, MICROPHONE, second, negotiation=negotiation)
    assert [each.track for each in answered.inbound] == ["TR_second"]


def test_an_m_line_that_goes_both_ways_publishes_and_receives() -> None:
    answered = AnsweringNegotiation().answer(BOTH_WAYS, OURS, [MICROPHONE], [wanted_track("a")])
    assert [each.mid for each in answered.inbound] == ["0"]
    assert answered.mid_to_track == {"0": "TR_a"}
    assert media_of(answered, "0").direction == "sendrecv"


def test_what_receives_only_is_taken_first() -> None:
    second = RECEIVES_ONE.partition("m=application")[0].partition("m=audio")[2]
    offer = BOTH_WAYS + "m=audio" + second.replace("mid:0", "mid:1")
    offer = offer.replace("BUNDLE 0 data", "BUNDLE 0 data 1")
    answered = AnsweringNegotiation().answer(offer, OURS, [], [wanted_track("a")])
    assert answered.mid_to_track == {"1": "TR_a"}


def test_a_subscription_costs_m_lines_that_the_client_must_add() -> None:
    negotiation = AnsweringNegotiation()
    assert negotiation.needs_offer([wanted_track("a")]) is None
    answer_once(RECEIVES_ONE, negotiation=negotiation)
    one = [wanted_track("a")]
    assert negotiation.needs_offer([]) is None
    assert negotiation.needs_offer(one) == (0, 0)
    three = [*one, wanted_track("b"), wanted_track("v", "video")]
    assert negotiation.needs_offer(three) == (1, 1)
    answered = negotiation.answer(RECEIVES_ONE, OURS, [], three)
    assert answered.missing == (1, 1)
    assert negotiation.needs_offer(one) is None


def test_an_m_line_rests_before_it_gets_another_track() -> None:
    negotiation = AnsweringNegotiation()
    first, second = wanted_track("a"), wanted_track("b")
    negotiation.answer(RECEIVES_ONE, OURS, [], [first])
    assert negotiation.needs_offer([second]) == (1, 0)
    answered = negotiation.answer(RECEIVES_ONE, OURS, [], [second])
    assert (answered.outbound, media_of(answered, "0").direction) == ((), "inactive")
    assert negotiation.needs_offer([second]) == (0, 0)
    answered = negotiation.answer(RECEIVES_ONE, OURS, [], [second])
    assert answered.mid_to_track == {"0": "TR_b"}
    assert negotiation.needs_offer([second]) is None


def test_what_has_ended_keeps_its_m_line_until_there_is_another_reason_to_offer() -> None:
    negotiation = AnsweringNegotiation()
    first, second = wanted_track("a"), wanted_track("b")
    negotiation.answer(RECEIVES_ONE, OURS, [], [first])
    negotiation.retire(first.track)
    assert negotiation.needs_offer([]) is None
    assert negotiation.needs_offer([second]) == (1, 0)
    answered = negotiation.answer(RECEIVES_ONE, OURS, [], [second])
    assert (answered.mid_to_track, media_of(answered, "0").direction) == ({}, "inactive")


def test_not_every_m_line_waits_for_another_reason() -> None:
    negotiation = AnsweringNegotiation()
    count = MAX_IDLE + 1
    head, audio, data = re.split("(?=m=)", RECEIVES_ONE)
    lines = [audio.replace("a=mid:0", f"a=mid:{mid}") for mid in range(count)]
    offer = head.replace("BUNDLE 0", f"BUNDLE {' '.join(map(str, range(count)))}")
    offer = "".join((offer, *lines, data))
    tracks = [wanted_track(f"n{number}") for number in range(count)]
    assert len(negotiation.answer(offer, OURS, [], tracks).outbound) == count
    for wanted in tracks[1:]:
        negotiation.retire(wanted.track)
    assert negotiation.needs_offer(tracks[:1]) is None
    negotiation.retire(tracks[0].track)
    assert negotiation.needs_offer([]) == (0, 0)


def test_a_released_subscription_begins_anew() -> None:
    negotiation, wanted = AnsweringNegotiation(), [wanted_track("a")]
    before = negotiation.answer(RECEIVES_ONE, OURS, [], wanted).outbound[0]
    negotiation.release(wanted[0].track)
    assert negotiation.needs_offer(wanted) is not None
    assert negotiation.answer(RECEIVES_ONE, OURS, [], wanted).outbound == ()
    (after,) = negotiation.answer(RECEIVES_ONE, OURS, [], wanted).outbound
    assert after.ssrc != before.ssrc


def test_ssrcs_are_not_those_of_the_client_nor_of_other_tracks() -> None:
    drawn = iter([1, 7, 7, 8, 8, 9])
    negotiation = AnsweringNegotiation(draw=lambda: next(drawn))
    video = wanted_track("v", "video")
    offer = offers(JS)[0] + "a=ssrc:7 cname:x\r\n"
    answered = negotiation.answer(offer, OURS, [], [wanted_track("a"), video])
    assert [each.ssrc for each in answered.outbound] == [8, 9]


def test_a_codec_that_the_client_refuses_is_told_and_not_asked_for_again() -> None:
    h265 = wanted_track("v", "video", replace(VP8, name="h265"))
    negotiation = AnsweringNegotiation()
    answered = negotiation.answer(offers(JS)[0], OURS, [], [h265])
    assert answered.unsupported == ("TR_v",)
    assert answered.missing == (0, 0)
    assert negotiation.needs_offer([h265]) is None


def test_a_client_without_red_takes_opus() -> None:
    offer = RECEIVES_ONE.replace("111 63 0", "111 0").replace("a=rtpmap:63 red/48000/2\n", "")
    answered = AnsweringNegotiation().answer(offer, OURS, [], [wanted_track("a")])
    assert [each.name for each in answered.outbound[0].codecs] == [OPUS.name]


def test_simulcast_layers_are_taken_from_low_to_high() -> None:
    for _, answered in Replay(JS).answers():
        last = answered
    camera = next(each for each in last.inbound if each.rids)
    assert camera.rids == ("q", "h", "f")
    assert RTP_STREAM_ID in camera.extensions
    section = next(each for each in last.sdp.split("\r\nm=") if f"a=mid:{camera.mid}\r\n" in each)
    assert "a=rid:q recv" in section
    assert "a=simulcast:recv q;h;f" in section


@pytest.mark.parametrize("recording", [JS, PYTHON])
def test_the_dependency_descriptor_is_taken_and_passed_on_where_it_is_offered(
    recording: str,
) -> None:
    taken = 0
    for offer, answered in Replay(recording).answers([wanted_track("v", "video")]):
        offered = {media.mid: media.extensions for media in sdp.parse(offer).media}
        assert "a=extmap-allow-mixed" in answered.sdp  # it may be longer than 16 bytes
        agreed = [(each.mid, each.extensions) for each in answered.inbound]
        agreed += [(each.mid, each.extensions) for each in answered.outbound]
        for mid, extensions in agreed:
            theirs = offered[mid].get(DEPENDENCY_DESCRIPTOR)
            assert extensions.get(DEPENDENCY_DESCRIPTOR) == theirs
            assert media_of(answered, mid).extensions.get(DEPENDENCY_DESCRIPTOR) == theirs
            taken += theirs is not None
    assert taken


def test_the_announced_video_codec_is_preferred() -> None:
    replay = Replay(JS)
    for _, answered in replay.answers():
        codec_of = {each.track: each.codecs[0].name for each in answered.inbound}
    assert codec_of[TrackSid("TR_p1")] == "vp8"
    assert codec_of[TrackSid("TR_p3")] == "h264"


def test_new_credentials_are_an_ice_restart() -> None:
    negotiation = AnsweringNegotiation()
    assert not negotiation.restarts_ice(RECEIVES_ONE)
    answer_once(RECEIVES_ONE, negotiation=negotiation)
    assert not negotiation.restarts_ice(RECEIVES_ONE)
    assert negotiation.restarts_ice(RECEIVES_ONE.replace("ufrag:abcd", "ufrag:efgh"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("a=setup:actpass", "a=setup:passive"), "passive"),
        (("a=ice-ufrag:abcd\n", ""), "credentials"),
        (("a=fingerprint:sha-256", "a=fingerprint:sha-1"), "fingerprint"),
        (("BUNDLE 0 data", "BUNDLE"), "m-line"),
    ],
)
def test_a_transport_that_cannot_be_is_refused(change: tuple[str, str], reason: str) -> None:
    if change[0].startswith("BUNDLE"):
        offer = RECEIVES_ONE.replace("m=audio 9", "m=audio 0").replace("m=application 9", "m=x 9")
    else:
        offer = RECEIVES_ONE.replace(*change)
    with pytest.raises(NegotiationError, match=reason):
        answer_once(offer)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=rtcp-mux\n", ""),
        ("a=mid:0\n", ""),
        ("opus/48000/2", "opus/8000/2"),
        ("m=audio 9", "m=audio 0"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP"),
        ("m=audio 9", "m=text 9"),
        ("BUNDLE 0 data", "BUNDLE data"),
    ],
)
def test_an_m_line_that_cannot_be_is_refused_alone(old: str, new: str) -> None:
    offer = RECEIVES_ONE.replace(old, new)
    if "mid:0" in old:
        offer = offer.replace("BUNDLE 0 data", "BUNDLE data")
    answered = AnsweringNegotiation().answer(offer, OURS, [], [wanted_track("a")])
    audio, data = sdp.parse(answered.sdp).media
    assert (audio.is_rejected, data.is_rejected) == (True, False)
    assert sdp.parse(answered.sdp).bundle == ("data",)
    assert answered.missing == (1, 0)


def test_bundled_only_m_lines_are_no_rejected_ones() -> None:
    offer = RECEIVES_ONE.replace("m=audio 9", "m=audio 0").replace(
        "a=mid:0", "a=mid:0\na=bundle-only"
    )
    answered = AnsweringNegotiation().answer(offer, OURS, [], [wanted_track("a")])
    assert answered.mid_to_track == {"0": "TR_a"}


def test_m_lines_stay_where_they_are() -> None:
    negotiation = AnsweringNegotiation()
    answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation)
    fewer = PUBLISHES_ONE.partition("m=application")[0].replace("BUNDLE 0 data", "BUNDLE 0")
    other = PUBLISHES_ONE.replace("mid:0", "mid:9").replace("BUNDLE 0 data", "BUNDLE 9 data")
    for offer in (fewer, other):
        with pytest.raises(NegotiationError):
            answer_once(offer, MICROPHONE, negotiation=negotiation)
    assert answer_once(PUBLISHES_ONE, MICROPHONE, negotiation=negotiation).inbound


def test_a_refused_m_line_may_be_recycled() -> None:
    negotiation = AnsweringNegotiation()
    refused = PUBLISHES_ONE.replace("m=audio 9", "m=audio 0").replace(
        "BUNDLE 0 data", "BUNDLE data"
    )
    answer_once(refused, negotiation=negotiation)
    other = PUBLISHES_ONE.replace("mid:0", "mid:9").replace("BUNDLE 0 data", "BUNDLE data 9")
    answered = answer_once(other, MICROPHONE, negotiation=negotiation)
    assert [each.mid for each in answered.inbound] == ["9"]


def test_each_answer_has_the_next_version() -> None:
    versions = [sdp.parse(each.sdp).version for _, each in Replay(PYTHON).answers()]
    assert versions == list(range(1, len(versions) + 1))


def test_line_ends_may_be_of_both_kinds() -> None:
    assert answer_once(text(PUBLISHES_ONE.splitlines())).remote == answer_once(PUBLISHES_ONE).remote
