from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import NegotiationError
from mulisa.wire import sdp
from mulisa.wire.description import (
    DATA_CHANNELS,
    RTP,
    Candidate,
    Description,
    Fingerprint,
    Format,
    IceCredentials,
    Media,
    Source,
)

pytestmark = pytest.mark.unit

FINGERPRINT = ":".join(["0A"] * 32)
HEAD = "v=0\no=- 42 7 IN IP4 127.0.0.1\ns=-\nt=0 0\n"
VIDEO = f"""{HEAD}a=group:BUNDLE cam
m=video 9 UDP/TLS/RTP/SAVPF 96 97 98
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-1 00:11
a=fingerprint:sha-256 {FINGERPRINT.lower()}
a=setup:actpass
a=mid:cam
a=extmap:3/sendonly urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:4096 urn:later
a=sendonly
a=msid:stream track
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:* nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:98 H264/90000
a=fmtp:98 Packetization-Mode=1; profile-level-id=42e01f
a=ssrc-group:FID 10 11
a=ssrc:10 cname:c
a=ssrc:10 msid:stream again
a=ssrc:11 cname:c
"""


def video() -> Media:
    (media,) = sdp.parse(VIDEO).media
    return media


def test_an_m_line_is_read() -> None:
    media = video()
    assert (media.kind, media.mid, media.direction) == ("video", "cam", "sendonly")
    assert (media.sends, media.receives, media.is_rejected) == (True, False, False)
    assert media.credentials == IceCredentials("abcd", "0123456789012345678901")
    assert media.fingerprint == Fingerprint("sha-256", FINGERPRINT)
    assert media.extensions == {"urn:ietf:params:rtp-hdrext:sdes:mid": 3}
    assert media.track_ids == ("track", "again")


def test_formats_are_read_with_parameters_and_feedback() -> None:
    vp8, rtx, h264 = video().formats
    assert (vp8.payload_type, vp8.name, vp8.clock_rate) == (96, "vp8", 90_000)
    assert vp8.feedback == ("nack", "nack pli")
    assert rtx.parameters == {"apt": "96"}
    assert h264.parameters == {"packetization-mode": "1", "profile-level-id": "42e01f"}
    assert h264.feedback == ("nack",)


def test_streams_for_retransmission_are_told_apart() -> None:
    assert video().ssrcs == (10,)
    assert [source.repairs for source in video().sources] == [0, 10]


def test_what_stands_for_the_session_holds_for_every_m_line() -> None:
    lines = VIDEO.splitlines()
    moved = [line for line in lines if line.startswith(("a=ice-", "a=fingerprint", "a=setup"))]
    text = "\n".join([*lines[:5], *moved, *(line for line in lines[5:] if line not in moved)])
    assert sdp.parse(text) == sdp.parse(VIDEO)


@pytest.mark.parametrize(
    ("told", "rids"),
    [
        ("send q;h;f", ("q", "h", "f")),
        ("send q;~h,f", ("q", "h")),
        ("recv q send h", ("q",)),
    ],
)
def test_simulcast_layers_are_read_in_their_order(told: str, rids: tuple[str, ...]) -> None:
    layers = "".join(f"a=rid:{rid} send\n" for rid in "fhq")
    (media,) = sdp.parse(f"{VIDEO}{layers}a=simulcast:{told}\n").media
    assert media.rids == rids


def test_a_port_of_0_rejects_unless_for_being_bundled() -> None:
    rejected = VIDEO.replace("m=video 9", "m=video 0")
    (media,) = sdp.parse(rejected).media
    assert (media.is_rejected, media.sends, media.formats) == (True, False, ())
    (media,) = sdp.parse(rejected + "a=bundle-only\n").media
    assert not media.is_rejected


def test_of_other_m_lines_hardly_anything_is_read() -> None:
    (media,) = sdp.parse(f"{HEAD}m=image 9 udptl t38\na=rtpmap:nonsense\na=mid:x\n").media
    assert (media.kind, media.mid, media.is_known, media.tokens) == ("image", "x", False, ("t38",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v=0", "v=1"),
        ("o=- 42 7", "o=- 42 x"),
        ("m=video 9", "m=video"),
        ("SAVPF 96", "SAVPF 300"),
        ("SAVPF 96", "SAVPF \N{ARABIC-INDIC DIGIT NINE}6"),
        ("rtpmap:96 VP8/90000", "rtpmap:96 VP8"),
        ("rtpmap:96 VP8/90000", "rtpmap:VP8/90000"),
        ("extmap:3/sendonly", "extmap:x"),
        ("extmap:4096 urn:later", "extmap:3 urn:later"),
        ("ssrc:10 cname", "ssrc:99999999999 cname"),
        ("ssrc:10 cname", "ssrc:0 cname"),
        ("ssrc:10 cname", "ssrc:x cname"),
        ("FID 10 11", "FID 10 x"),
        ("a=mid:cam", "a=mid:c am"),
        ("a=mid:cam", f"a=mid:{'c' * 33}"),
        ("BUNDLE cam", "BUNDLE mic"),
        ("BUNDLE cam", "BUNDLE cam cam"),
        ("a=setup:actpass", "a=setup:both"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:a b"),
        ("a=ice-pwd:0123", "a=ice-pwd:\n"),
        ("a=fingerprint:sha-1 00:11", "a=fingerprint:sha-256 xyz"),
        ("a=msid:stream track", "a=msid:stream track more"),
        ("a=sendonly", "a=sendonly\x00"),
        ("a=sendonly", "a=sendonly\x85a=x"),
        ("a=sendonly", "\n"),
        ("a=sendonly", "sendonly"),
        ("a=sendonly", f"a=x:{'y' * 5_000}"),
        ("a=sendonly", "a=sendonly\n" * 600),
        ("a=sendonly", "a=simulcast:send q\n"),
        ("a=sendonly", f"a=sctp-port:{'9' * 5_000}"),
    ],
)
def test_what_is_malformed_is_refused(old: str, new: str) -> None:
    assert old in VIDEO
    with pytest.raises(NegotiationError):
        sdp.parse(VIDEO.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "\n", "v=0", HEAD[:-9], VIDEO + VIDEO, "v=0\r" + VIDEO])
def test_what_is_no_description_is_refused(text: str) -> None:
    if text == HEAD[:-9]:
        text = "v=0\ns=-\n"
    with pytest.raises(NegotiationError):
        sdp.parse(text)


def test_sizes_are_limited() -> None:
    with pytest.raises(NegotiationError, match="characters"):
        sdp.parse("v" * (sdp.MAX_CHARS + 1))
    with pytest.raises(NegotiationError, match="m-lines"):
        sdp.parse(HEAD + "m=x 9 A x\n" * (sdp.MAX_MEDIA + 1))
    with pytest.raises(NegotiationError, match="payload types"):
        sdp.parse(HEAD + f"m=audio 9 {RTP}{' 0' * 200}\n")


def test_only_m_lines_that_changed_are_read_again() -> None:
    reader = sdp.Reader()
    second = VIDEO.partition("m=video")[2].replace("mid:cam", "mid:second")
    (first,) = reader.read(VIDEO).media
    same, other = reader.read(f"{VIDEO}m=video{second}").media
    assert same is first
    assert other == sdp.parse(f"{VIDEO}m=video{second}").media[1]
    (changed,) = reader.read(VIDEO.replace("a=sendonly", "a=inactive")).media
    assert changed.direction == "inactive"


def test_what_stands_for_the_session_is_read_anew() -> None:
    def said(ufrag: str) -> str:
        text = VIDEO.replace("a=ice-ufrag:abcd\na=ice-pwd:0123456789012345678901\n", "")
        return text.replace(HEAD, f"{HEAD}a=ice-ufrag:{ufrag}\na=ice-pwd:0123456789012345678901\n")

    reader = sdp.Reader()
    for ufrag in ("aaaa", "bbbb"):
        (media,) = reader.read(said(ufrag)).media
        assert media.credentials and media.credentials.ufrag == ufrag


TOKEN = st.text("abcXYZ019-", min_size=1, max_size=8)
NUMBER = st.integers(1, 2**32 - 1)
CREDENTIALS = IceCredentials("ufrag", "a-password-of-24-letters")
CERTIFICATE = Fingerprint("sha-256", FINGERPRINT)


@st.composite
def rtp_media(draw: st.DrawFn, mid: str) -> Media:
    kind = draw(st.sampled_from(["audio", "video"]))
    types = draw(st.lists(st.integers(0, 127), min_size=1, max_size=5, unique=True))
    formats = tuple(
        Format(
            payload_type=number,
            name=draw(st.sampled_from(["opus", "red", "vp8", "h264", "x-own"])),
            clock_rate=draw(st.sampled_from([8_000, 48_000, 90_000])),
            channels=draw(st.integers(1, 2)) if kind == "audio" else 1,
            fmtp=draw(st.sampled_from(["", "a=1;b", "111/111"])),
            feedback=draw(st.sampled_from([(), ("nack",), ("nack", "nack pli")])),
        )
        for number in types
    )
    ssrcs = draw(st.lists(NUMBER, max_size=2, unique=True))
    msid = f"{draw(TOKEN)}|x {draw(TOKEN)}"
    return Media(
        kind,
        mid,
        RTP,
        tuple(map(str, types)),
        direction=draw(st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"])),
        formats=formats,
        extensions=draw(st.sampled_from([{}, {"urn:a": 1}, {"urn:b": 14, "urn:a": 2}])),
        msids=(msid,),
        sources=tuple(Source(ssrc, "cname", msid) for ssrc in ssrcs),
        rids=draw(st.sampled_from([(), ("q",), ("q", "h", "f")])),
        credentials=CREDENTIALS,
        fingerprint=CERTIFICATE,
        setup=draw(st.sampled_from(["actpass", "active", "passive"])),
    )


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    media = []
    for mid in draw(st.lists(TOKEN, min_size=1, max_size=4, unique=True)):
        if draw(st.booleans()):
            media.append(draw(rtp_media(mid)))
        elif draw(st.booleans()):
            media.append(
                Media(
                    "application",
                    mid,
                    "UDP/DTLS/SCTP",
                    (DATA_CHANNELS,),
                    is_muxed=False,
                    credentials=CREDENTIALS,
                    fingerprint=CERTIFICATE,
                    setup="passive",
                    sctp_port=5_000,
                )
            )
        else:
            media.append(Media("audio", mid, RTP, ("0",), is_rejected=True, direction="inactive"))
    return Description(
        tuple(media),
        bundle=tuple(each.mid for each in media if not each.is_rejected),
        session_id=draw(NUMBER),
        version=draw(NUMBER),
        is_ice_lite=draw(st.booleans()),
    )


@given(descriptions())
def test_what_is_written_is_read_again(description: Description) -> None:
    assert sdp.parse(sdp.write(description)) == description


def test_candidates_are_written() -> None:
    media = Media(
        "audio",
        "0",
        RTP,
        ("0",),
        candidates=(
            Candidate("192.0.2.1", 8001, "udp", 9, "1"),
            Candidate("2001:db8::1", 8001, "tcp", 8, "2"),
        ),
    )
    assert (
        "a=candidate:1 1 udp 9 192.0.2.1 8001 typ host\r\n"
        "a=candidate:2 1 tcp 8 2001:db8::1 8001 typ host tcptype passive\r\n"
        "a=end-of-candidates\r\n"
    ) in sdp.write(Description((media,)))


@given(st.text())
def test_any_text_is_a_description_or_refused(text: str) -> None:
    for candidate in (text, HEAD + text, VIDEO + text, VIDEO + "a=" + text):
        try:
            sdp.parse(candidate)
        except NegotiationError:
            pass
