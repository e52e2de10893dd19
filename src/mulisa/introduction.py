"""The first lines of ``mulisa serve``: where the room is, and how to get into it."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from mulisa.config import ApiKeys, Config
from mulisa.console import Console
from mulisa.https import EXPIRES_SOON
from mulisa.server.certificate import Certificate
from mulisa.server.events import Listening


def introduce(console: Console, config: Config, keys: ApiKeys, place: Listening) -> None:
    """Say what is served, and with what."""
    console.fact("link", place.url, url=place.url)
    _introduce_network(console, config, place)
    console.fact("topology", _topology(config), topology=config.topology)
    console.fact("data", str(config.data), data=config.data)
    console.fact("api key", f"{keys.key} {keys.origin}", key=keys.key)
    if not config.agent:
        console.fact("agent", "none; the room is without Mulisa until a 'mulisa worker' registers")


def _introduce_network(console: Console, config: Config, place: Listening) -> None:
    if place.network_url:
        console.fact("lan link", place.network_url, url=place.network_url)
    if place.certificate:
        _introduce_certificate(console, place.certificate, is_ours=config.tls == "auto")
        if place.network_url:
            console.drawing(qr_code(place.network_url))
    elif place.network_url:
        console.fact(
            "no mic",
            "over http browsers give a microphone on this machine only; others need https: "
            "--tls auto",
            "warning",
        )


def _introduce_certificate(console: Console, certificate: Certificate, *, is_ours: bool) -> None:
    is_ending = not is_ours and certificate.valid_until - datetime.now(UTC) < EXPIRES_SOON
    what = "with a certificate made here, " if is_ours else "with your certificate, "
    console.fact(
        "https",
        f"{what}valid until {certificate.valid_until:%Y-%m-%d}{'; renew it' * is_ending}",
        "warning" if is_ending else "",
        fingerprint=certificate.fingerprint,
        valid_until=certificate.valid_until,
    )
    if is_ours:
        console.fact("", "browsers do not know it and warn once: choose Advanced, then Proceed")
        console.fact("", "(Safari: Show Details, then visit this website)")
        console.fact("", f"its SHA-256 fingerprint begins with {certificate.fingerprint[:23]}")


def qr_code(text: str) -> str:
    """Lines of half blocks, to be shown light on dark."""
    import segno

    lines = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(lines, border=2, compact=True)
    return lines.getvalue().rstrip("\n")


def _topology(config: Config) -> str:
    if config.topology == "mesh":
        return "mesh: everybody is connected to everybody"
    if config.livekit_url:
        return f"sfu: everybody is connected to {config.livekit_url}, which forwards"
    return f"sfu: everybody is connected to this machine, which forwards{_media_port(config)}"


def _media_port(config: Config) -> str:
    return f" (UDP and TCP {config.media_port})" if config.media_port else ""
