from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import ConfigError
from mulisa.wire.ice_url import IceUrl

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stun:a.example", IceUrl("stun", "a.example", 3478, "udp")),
        ("turn:a.example", IceUrl("turn", "a.example", 3478, "udp")),
        ("turn:192.0.2.1:80?transport=tcp", IceUrl("turn", "192.0.2.1", 80, "tcp")),
        ("turns:a.example", IceUrl("turns", "a.example", 5349, "tcp")),
        ("turns:[2001:db8::1]:443?transport=tcp", IceUrl("turns", "2001:db8::1", 443, "tcp")),
        ("stun:[::1]", IceUrl("stun", "::1", 3478, "udp")),
    ],
)
def test_what_is_left_out_has_its_default(text: str, expected: IceUrl) -> None:
    assert IceUrl.parse(text) == expected
    assert IceUrl.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "stun:", "http://a", "turn:a:0", "turn:a:70000", "turn:a?transport=sctp", "stun:2001::1"]
    + ["stun:a?transport=udp", "turn:u:p@a", "turn:a b", "turn://a"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"ICE server|port"):
        IceUrl.parse(text)


@given(st.text() | st.from_regex(r"(stun|turn)s?:\S{0,20}", fullmatch=True))
def test_nothing_else_is_raised(text: str) -> None:
    with suppress(ConfigError):
        assert IceUrl.parse(str(IceUrl.parse(text))) == IceUrl.parse(text)
