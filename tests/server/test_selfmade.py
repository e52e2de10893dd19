"""The certificate of our own: made once, kept, renewed for a reason."""

from __future__ import annotations

import socket
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mulisa.core.errors import ConfigError
from mulisa.server import selfmade
from mulisa.server.certificate import Certificate, CertificateFiles, read_certificate
from mulisa.server.selfmade import (
    RENEWED_BEFORE,
    VALIDITY,
    keep_certificate,
    machine_names,
    self_made_files,
)
from tests.certificates import NOW, write_pair

pytestmark = pytest.mark.unit

NAMES = ["localhost", "127.0.0.1", "desk", "192.0.2.7"]
SOON = timedelta(seconds=1)


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return self_made_files(tmp_path / "data")


def made(files: CertificateFiles) -> Certificate:
    return read_certificate(files, NOW)


def test_it_is_for_the_machine_and_only_we_may_read_it(files: CertificateFiles) -> None:
    assert keep_certificate(files, NAMES, NOW)
    certificate = made(files)
    assert certificate.names == set(NAMES)
    assert certificate.is_self_signed
    assert certificate.valid_until == NOW + VALIDITY
    for path in (files.key, files.certificate):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700
    assert {path.name for path in files.key.parent.iterdir()} == {"certificate.pem", "key.pem"}


def test_it_vouches_for_nobody_else(files: CertificateFiles) -> None:
    keep_certificate(files, NAMES, NOW)
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_it_stays_while_it_does(files: CertificateFiles) -> None:
    keep_certificate(files, NAMES, NOW)
    before = made(files)
    assert not keep_certificate(files, NAMES[:2], NOW + VALIDITY - RENEWED_BEFORE - SOON)
    assert made(files) == before


def test_it_is_renewed_before_it_runs_out_with_the_same_key(files: CertificateFiles) -> None:
    keep_certificate(files, NAMES, NOW)
    before, key = made(files), files.key.read_bytes()
    later = NOW + VALIDITY - RENEWED_BEFORE
    assert keep_certificate(files, NAMES, later)
    assert read_certificate(files, later).fingerprint != before.fingerprint
    assert files.key.read_bytes() == key


def test_it_is_renewed_for_a_new_address_and_forgets_the_old(files: CertificateFiles) -> None:
    keep_certificate(files, NAMES, NOW)
    assert keep_certificate(files, [*NAMES[:3], "198.51.100.4"], NOW)
    assert "198.51.100.4" in made(files).names
    assert "192.0.2.7" not in made(files).names


def test_temporary_ipv6_addresses_are_no_reason(files: CertificateFiles) -> None:
    keep_certificate(files, [*NAMES, "2001:db8::1"], NOW)
    assert "2001:db8::1" in made(files).names
    assert not keep_certificate(files, [*NAMES, "2001:db8::2"], NOW)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe"])
def test_a_broken_certificate_is_made_anew(files: CertificateFiles, content: bytes) -> None:
    keep_certificate(files, NAMES, NOW)
    files.certificate.write_bytes(content)
    assert keep_certificate(files, NAMES, NOW)
    assert made(files).names == set(NAMES)


def test_a_broken_key_is_the_operators_to_delete(files: CertificateFiles) -> None:
    keep_certificate(files, NAMES, NOW)
    files.key.write_text("hello")
    with pytest.raises(ConfigError, match=r"key\.pem holds no private key; delete it"):
        keep_certificate(files, NAMES, NOW)
    files.key.unlink()
    assert keep_certificate(files, NAMES, NOW)


def test_another_key_gets_another_certificate(files: CertificateFiles, tmp_path: Path) -> None:
    keep_certificate(files, NAMES, NOW)
    files.key.write_bytes(write_pair(tmp_path / "other").key.read_bytes())
    assert keep_certificate(files, NAMES, NOW)
    made(files)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(ConfigError, match="cannot keep a certificate in .*--data"):
        keep_certificate(self_made_files(tmp_path / "data"), NAMES, NOW)


def test_what_the_machine_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Desk.example.org")
    monkeypatch.setattr(selfmade, "local_addresses", lambda host: ["192.0.2.7", "127.0.0.1"])
    assert machine_names(["203.0.113.9", "0.0.0.0"]) == [
        "localhost",
        "127.0.0.1",
        "::1",
        "desk.example.org",
        "desk.local",
        "192.0.2.7",
        "203.0.113.9",
    ]


@pytest.mark.parametrize("host", ["under_score", "büro", "", "-dash", "a b", "x" * 300])
def test_a_name_that_no_certificate_could_hold_is_left_out(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    names = machine_names()
    assert host not in names
    keep_certificate(files, names, NOW)
    assert made(files).covers("localhost")
