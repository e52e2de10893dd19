"""Recorded clients: what they offered to a LiveKit server, and the tracks that they announced.

The recordings are `tests/golden/sdp_*.json`; addresses were taken out of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mulisa.core.room import ParticipantSid
from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.media import Codec, MediaKind, TrackSid
from mulisa.sfu.negotiation import Answered, ExpectedTrack, OurSide, WantedTrack
from mulisa.wire.description import Candidate, Fingerprint, IceCredentials

GOLDEN = Path(__file__).parent.parent / "golden"
RECORDINGS = sorted(path.stem for path in GOLDEN.glob("sdp_*.json"))
OURS = OurSide(
    IceCredentials("ourufrag", "our-password-of-24-chars"),
    Fingerprint("sha-256", ":".join(["5A"] * 32)),
    (
        Candidate("127.0.0.1", 9, "udp", 2_130_706_431, "1"),
        Candidate("127.0.0.1", 9, "tcp", 1_671_430_143, "2"),
    ),
)
OPUS = Codec("opus", 111, 48_000, 2, "minptime=10;useinbandfec=1")
RED = Codec("red", 63, 48_000, 2, "111/111")
VP8 = Codec("vp8", 96, 90_000)
CODECS: dict[MediaKind, tuple[Codec, ...]] = {"audio": (RED, OPUS), "video": (VP8,)}


@cache
def messages(recording: str) -> list[dict[str, Any]]:
    """What a client sent: ``{"add_track": ...}`` and ``{"offer": [line...]}``, in its order."""
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{recording}.json").read_text())["messages"]
    return found


def text(lines: Iterable[str]) -> str:
    """A description of its lines."""
    return "".join(f"{line}\r\n" for line in lines)


def offers(recording: str) -> list[str]:
    """All offers of a client."""
    return [text(each["offer"]) for each in messages(recording) if "offer" in each]


def expected_track(request: dict[str, Any], number: int) -> ExpectedTrack:
    """An announcement as the room passes it on."""
    codecs = request.get("simulcast_codecs", [])
    return ExpectedTrack(
        TrackSid(f"TR_p{number}"),
        cid=request["cid"],
        kind="video" if request.get("type") == "VIDEO" else "audio",
        cids=tuple(each["cid"] for each in codecs if each.get("cid")),
        codec=codecs[0].get("codec", "") if codecs else "",
        wants_dtx=not request.get("disable_dtx", False),
        wants_red=not request.get("disable_red", False),
        is_stereo="TF_STEREO" in request.get("audio_features", []),
    )


def wanted_track(name: str, kind: MediaKind = "audio", *codecs: Codec) -> WantedTrack:
    """A track of somebody else's."""
    sid = TrackSid(f"TR_{name}")
    return WantedTrack(sid, ParticipantSid("PA_other"), kind, codecs or CODECS[kind])


@dataclass
class Replay:
    """A recorded client and our end of its connection."""

    recording: str
    negotiation: AnsweringNegotiation = field(default_factory=AnsweringNegotiation)
    expected: list[ExpectedTrack] = field(default_factory=list)

    def answers(self, wanted: Iterable[WantedTrack] = ()) -> Iterator[tuple[str, Answered]]:
        """Every offer with its answer."""
        tracks = tuple(wanted)
        numbers = itertools.count()
        for message in messages(self.recording):
            if "add_track" in message:
                self.expected.append(expected_track(message["add_track"], next(numbers)))
            else:
                offer = text(message["offer"])
                yield offer, self.negotiation.answer(offer, OURS, self.expected, tracks)
