"""What hostile or broken clients make of a session description."""

from __future__ import annotations

import random

from tests.sfu.recordings import RECORDINGS, offers

LINES = sorted({line for name in RECORDINGS for line in offers(name)[-1].split("\r\n") if line})
HOSTILE = (
    "",
    "a=",
    "m=",
    "m=audio 0 UDP/TLS/RTP/SAVPF 111",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 111 111",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "a=group:BUNDLE",
    "a=group:BUNDLE 0 0",
    "a=bundle-only",
    "a=ssrc:4294967296 cname:x",
    "a=ssrc-group:FID 1",
    "a=ssrc-group:FID 1 1",
    "a=simulcast:send ;;;",
    "a=simulcast:recv q;q",
    "a=rid:",
    "a=fmtp:111 stereo",
    "a=fmtp:63 63/63",
    "a=fmtp:108 profile-level-id=zz;packetization-mode=9",
    "a=rtpmap:111 opus/48000/0",
    "a=rtpmap:63 red/48000/2",
    "a=extmap:0 x",
    "a=mid:",
    "a=mid:0",
    "a=setup:holdconn",
    "a=ice-lite",
    "a=fingerprint:sha-256",
    "a=msid:-",
)


def mutate(offer: str, rng: random.Random) -> str:
    """A few lines of it are lost, doubled, moved, taken from elsewhere, or damaged."""
    lines = offer.split("\r\n")
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(lines))
        taken = lines.pop(place)
        elsewhere = rng.randint(0, len(lines))
        put = {
            "lose": {},
            "double": {place: taken, elsewhere: taken},
            "move": {elsewhere: taken},
            "add": {place: taken, elsewhere: rng.choice((*LINES, *HOSTILE * 10))},
            "replace": {place: rng.choice(LINES)},
            "damage": {place: damaged(taken, rng)},
        }
        for where, line in put[rng.choice(sorted(put))].items():
            lines.insert(where, line)
    return "\r\n".join(lines if rng.random() < 0.9 else lines[: rng.randrange(len(lines))])


def damaged(line: str, rng: random.Random) -> str:
    place = rng.randint(0, len(line))
    what = rng.choice(["", "0", "-", "9" * 30, " ", "\x00", "\r", "\N{SNOWMAN}", ":", ";=", "/"])
    return line[:place] + what + line[place + rng.randint(0, 3) :]
