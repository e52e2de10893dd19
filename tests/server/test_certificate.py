"""What is wrong with a certificate is said, with the file that it is about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import ConfigError
from mulisa.server.certificate import (
    Certificate,
    CertificateFiles,
    read_certificate,
    server_context,
)
from tests.certificates import NOW, YEAR, Authority, write_pair

pytestmark = pytest.mark.unit

Spoil = Callable[[CertificateFiles], object]


def test_a_good_pair_says_for_whom_and_for_how_long(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "Talk.Example.org", "192.0.2.7", "2001:db8::7", at=NOW)
    certificate = read_certificate(files, NOW)
    assert certificate.names == {"talk.example.org", "192.0.2.7", "2001:db8::7"}
    assert (certificate.valid_from, certificate.valid_until) == (NOW, NOW + YEAR)
    assert certificate.is_self_signed
    assert len(certificate.fingerprint.split(":")) == 32
    server_context(files)


def test_one_that_somebody_vouches_for_is_not_self_signed(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "talk.example.org", at=NOW, authority=Authority.new())
    assert not read_certificate(files, NOW).is_self_signed


def _swap(files: CertificateFiles) -> None:
    certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
    files.certificate.write_bytes(key)
    files.key.write_bytes(certificate)


def _make_folder(files: CertificateFiles) -> None:
    files.key.unlink()
    files.key.mkdir()


SPOILT: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "no certificate": (lambda f: f.certificate.unlink(), ("cert.pem", "no such file")),
    "no key": (lambda f: f.key.unlink(), ("key.pem", "no such file")),
    "a folder": (_make_folder, ("key.pem", "is a directory")),
    "not PEM": (lambda f: f.certificate.write_text("hello"), ("cert.pem", "no certificate")),
    "empty": (lambda f: f.certificate.write_text(""), ("cert.pem", "no certificate")),
    "swapped": (_swap, ("cert.pem", "no certificate", "CERT,KEY")),
    "a key of nothing": (lambda f: f.key.write_text("hello"), ("key.pem", "no private key")),
    "another's key": (
        lambda f: f.key.write_bytes(write_pair(f.key.parent / "other").key.read_bytes()),
        ("key.pem", "does not fit", "cert.pem"),
    ),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_what_is_wrong_is_said(tmp_path: Path, spoil: Spoil, words: tuple[str, ...]) -> None:
    files = write_pair(tmp_path, "talk.example.org", at=NOW)
    spoil(files)
    with pytest.raises(ConfigError) as caught:
        read_certificate(files, NOW)
    for word in words:
        assert word in str(caught.value)


def test_a_key_behind_a_passphrase_comes_with_the_way_out(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "talk.example.org", at=NOW, passphrase=b"secret")
    with pytest.raises(ConfigError, match=r"is encrypted; .*openssl pkey -in .*key\.pem"):
        read_certificate(files, NOW)


def test_before_and_after_its_time(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "talk.example.org", at=NOW)
    with pytest.raises(ConfigError, match="ran out on 2027-07-01; renew it"):
        read_certificate(files, NOW + YEAR + timedelta(seconds=1))
    with pytest.raises(ConfigError, match="valid from 2026-07-01 on; is the clock"):
        read_certificate(files, NOW - timedelta(seconds=1))


def certificate_for(*names: str) -> Certificate:
    return Certificate(frozenset(names), NOW, NOW + YEAR, False, "")


@pytest.mark.parametrize(
    ("names", "host", "is_covered"),
    [
        (["talk.example.org"], "TALK.example.org", True),
        (["*.example.org"], "talk.example.org", True),
        (["*.example.org"], "a.talk.example.org", False),
        (["*.example.org"], "example.org", False),
        (["*"], "localhost", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["localhost"], "localhost", True),
    ],
)
def test_for_whom_it_is(names: list[str], host: str, is_covered: bool) -> None:
    assert certificate_for(*names).covers(host) is is_covered


def test_a_link_names_a_host_rather_than_an_address() -> None:
    assert certificate_for("192.0.2.7", "talk.example.org", "localhost").best_name() == (
        "talk.example.org"
    )
    assert certificate_for("192.0.2.7", "::1").best_name() == "192.0.2.7"
    assert certificate_for("*.example.org", "localhost").best_name() is None


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_files_that_hold_anything_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, first: bytes, second: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    armour = b"-----BEGIN %s-----\n%s\n-----END %s-----\n"
    for kind in (b"CERTIFICATE", b"PRIVATE KEY"):
        files.certificate.write_bytes(armour % (kind, first, kind))
        files.key.write_bytes(armour % (kind, second, kind))
        with pytest.raises(ConfigError):
            read_certificate(files, NOW)
