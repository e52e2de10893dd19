"""Certificates for tests: of an authority of their own, or self-signed."""

from __future__ import annotations

import base64
import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from mulisa.server.certificate import CertificateFiles

NOW = datetime(2026, 7, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Authority:
    """One that nobody knows."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("An authority of tests")
        builder = _builder(name, name, key.public_key(), datetime.now(UTC))
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        return cls(key, builder.sign(key, SHA256()))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def write_pair(
    folder: Path,
    *names: str,
    at: datetime | None = None,
    authority: Authority | None = None,
    passphrase: bytes = b"",
) -> CertificateFiles:
    """A pair that is valid for a year from `at`, now if not given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(names[0] if names else "nobody")
    issuer = authority.certificate.subject if authority else subject
    builder = _builder(subject, issuer, key.public_key(), at or datetime.now(UTC))
    if names:
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    certificate = builder.sign(authority.key if authority else key, SHA256())
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    folder.mkdir(parents=True, exist_ok=True)
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    sealing: KeySerializationEncryption = NoEncryption()
    if passphrase:
        sealing = BestAvailableEncryption(passphrase)
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing))
    files.key.chmod(0o600)
    return files


def trusting(certificate: Path | str) -> ssl.SSLContext:
    """A client that trusts this certificate (a file, or PEM) and no other."""
    if isinstance(certificate, Path):
        certificate = certificate.read_text()
    return ssl.create_default_context(cadata=certificate)


def spki_fingerprint(files: CertificateFiles) -> str:
    """Of the key, as Chromium's ``--ignore-certificate-errors-spki-list`` wants it."""
    key = load_pem_private_key(files.key.read_bytes(), password=None).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, at: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at)
        .not_valid_after(at + YEAR)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
