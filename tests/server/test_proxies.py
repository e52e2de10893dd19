"""Whose word about a request counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from mulisa.server.proxies import MAX_HOPS, Origin, TrustedProxies

pytestmark = pytest.mark.unit

HERE = "127.0.0.1"
ALICE = "203.0.113.7"
MALLORY = "198.51.100.66"


def told(*headers: tuple[str, str], peer: str | None = HERE, trusted: str = "10.0.0.0/8") -> Origin:
    return TrustedProxies([trusted]).origin(peer, CIMultiDictProxy(CIMultiDict(headers)))


def test_nothing_is_said() -> None:
    assert told() == Origin()
    assert told(("Host", "talk.example.org")) == Origin()


@pytest.mark.parametrize("peer", [HERE, "127.8.9.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"])
def test_trusted_proxies_are_believed(peer: str) -> None:
    headers = [
        ("X-Forwarded-For", ALICE),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "talk.example.org"),
    ]
    assert told(*headers, peer=peer) == Origin(ALICE, "https", "talk.example.org")


@pytest.mark.parametrize("peer", [MALLORY, "11.0.0.1", "2001:db8::1", "", None, "unix:"])
def test_nobody_else_is(peer: str | None) -> None:
    assert told(("X-Forwarded-For", ALICE), ("Forwarded", f"for={ALICE}"), peer=peer) == Origin()


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (f"{MALLORY}, {ALICE}", ALICE),  # Alice claims to be Mallory, and the proxy appends hers
        (f"{ALICE}, 10.0.0.1, 10.0.0.2", ALICE),
        (f"{MALLORY}, {ALICE}, 10.0.0.2", ALICE),
        ("10.0.0.5, 10.0.0.1", "10.0.0.5"),  # all are trusted: the first asked
        (f"{ALICE}, unknown", None),
        (f"{ALICE}:4711", ALICE),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        (f"::ffff:{ALICE}", ALICE),
        ("", None),
        (", ,", None),
    ],
)
def test_a_client_is_who_asked_the_first_proxy_that_we_trust(
    chain: str, address: str | None
) -> None:
    assert told(("X-Forwarded-For", chain)).address == address


def test_several_lines_are_one() -> None:
    assert told(("X-Forwarded-For", MALLORY), ("X-Forwarded-For", ALICE)).address == ALICE


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        (f"for={ALICE};proto=https;host=talk.example.org", (ALICE, "https", "talk.example.org")),
        ('For="[2001:db8::7]:4711"; Proto=HTTPS', ("2001:db8::7", "https", None)),
        (f"for={MALLORY}, for={ALICE};proto=https, for=10.0.0.2", (ALICE, "https", None)),
        ('for="_hidden, for=x";proto=https', (None, "https", None)),
        ('for="\\"";host="talk.example.org:8443"', (None, None, "talk.example.org:8443")),
        ("nonsense", (None, None, None)),
    ],
)
def test_the_standard_header(line: str, origin: tuple[str | None, str | None, str | None]) -> None:
    assert told(("Forwarded", line)) == Origin(*origin)


def test_the_standard_header_may_be_the_clients_own() -> None:
    """nginx sets X-Forwarded-For and hands on a Forwarded that it knows nothing of."""
    headers = ("Forwarded", f"for={MALLORY}"), ("X-Forwarded-For", ALICE)
    assert told(*headers).address == ALICE


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [("https", "https"), ("HTTPS, http", "https"), ("wss", "https"), ("http", "http"), ("x", None)],
)
def test_the_scheme_is_the_clients(proto: str, scheme: str | None) -> None:
    assert told(("X-Forwarded-Proto", proto)).scheme == scheme


@pytest.mark.parametrize("host", ["a b", "talk/../x", "talk.example.org/x", "a@b", "x:y", "é", ""])
def test_a_host_that_is_none(host: str) -> None:
    assert told(("X-Forwarded-Host", host)).host is None


@pytest.mark.parametrize(
    "host", ["talk.example.org", "talk:8443", "[2001:db8::7]:8443", "10.0.0.1"]
)
def test_a_host_that_is_one(host: str) -> None:
    assert told(("X-Forwarded-Host", host)).host == host


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"]
            ),
            st.text(max_size=80) | st.from_regex(r'(for|proto|host)=("[^"]*"|[\w.:]*)[;,]?.*'),
        ),
        max_size=6,
    )
)
def test_anything_may_be_said(headers: list[tuple[str, str]]) -> None:
    origin = told(*headers)
    assert origin.scheme in (None, "http", "https")
    assert origin.host is None or not set(origin.host) & set(' /\\@?#"\r\n')


def test_a_long_chain_is_read_from_our_end() -> None:
    chain = ", ".join([ALICE] + ["10.0.0.1"] * MAX_HOPS)
    assert told(("X-Forwarded-For", chain)).address == "10.0.0.1"
