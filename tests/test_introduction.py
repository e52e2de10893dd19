"""What an operator is told first: links, the certificate, and why there might be no microphone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mulisa.config import ApiKeys, load_config
from mulisa.console import Console
from mulisa.introduction import introduce, qr_code
from mulisa.server.certificate import Certificate
from mulisa.server.events import Listening

pytestmark = pytest.mark.unit

LAN = "https://192.0.2.7:8000"
CERTIFICATE = Certificate(
    frozenset({"localhost", "192.0.2.7"}),
    datetime.now(UTC),
    datetime.now(UTC) + timedelta(days=300),
    True,
    ":".join(["AB"] * 32),
)
HTTPS = Listening("https://localhost:8000", "ws://127.0.0.1:4711", LAN, CERTIFICATE)
HERE = Listening("http://localhost:8000", "ws://localhost:8000")


class Terminal(io.StringIO):
    """A terminal that shows every character."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class OldTerminal(Terminal):
    """One that knows no block characters."""

    encoding = "latin-1"


def told(place: Listening, file: io.StringIO | None = None, **options: Any) -> str:
    out = file if file is not None else io.StringIO()
    flags = {"tls": "auto"} if place.certificate else {}
    console = Console(file=out, **options)
    introduce(console, load_config(flags), ApiKeys("key", "secret", "given"), place)
    return out.getvalue()


def test_a_certificate_of_our_own_comes_with_what_browsers_will_say() -> None:
    text = told(HTTPS)
    for words in (LAN, "made here", "Advanced", "Safari", "AB:AB:AB:AB"):
        assert words in text
    assert "microphone" not in text


def test_a_qr_code_is_for_terminals() -> None:
    code = qr_code(LAN).splitlines()
    assert all(line in told(HTTPS, Terminal()) for line in code)
    for silent in (told(HTTPS), told(HTTPS, OldTerminal()), told(HTTPS, Terminal(), quiet=True)):
        assert not any(line in silent for line in code)


def test_a_qr_code_holds_the_link() -> None:
    """Finder patterns in three corners (ISO/IEC 18004), for a code of as few dots as may be."""
    lines = qr_code(LAN).splitlines()
    finder = ("█ ▄▄▄▄▄ █", "█ █   █ █", "█ █▄▄▄█ █")
    for row, pattern in enumerate(finder, 1):
        assert lines[row][1:].startswith(pattern) and lines[row][:-1].endswith(pattern)
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) == 29
    assert qr_code(LAN) != qr_code("https://192.0.2.8:8000")


def test_over_http_the_network_is_told_why_there_is_no_microphone() -> None:
    text = told(replace(HERE, network_url="http://192.0.2.7:8000"))
    assert "http://192.0.2.7:8000" in text
    assert "microphone on this machine only" in text and "--tls auto" in text
    alone = told(HERE)
    assert "microphone" not in alone and "lan link" not in alone


def test_a_certificate_of_the_operators_is_warned_of_before_it_ends() -> None:
    soon = replace(CERTIFICATE, valid_until=datetime.now(UTC) + timedelta(days=3))
    out = io.StringIO()
    settings = load_config({"tls": "cert.pem,key.pem"})
    keys = ApiKeys("key", "secret", "given")
    introduce(Console(file=out), settings, keys, replace(HTTPS, certificate=soon))
    assert "renew it" in out.getvalue() and "Advanced" not in out.getvalue()


def test_machines_read_fields() -> None:
    lines = [json.loads(line) for line in told(HTTPS, as_json=True).splitlines()]
    events = {line["event"]: line for line in lines}
    assert events["link"]["url"] == "https://localhost:8000"
    assert events["lan_link"]["url"] == LAN
    assert events["https"]["fingerprint"] == CERTIFICATE.fingerprint
    assert "" not in events
