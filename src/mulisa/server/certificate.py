"""The gateway's certificate and its key, as they lie in two files: read, and told what is wrong."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from mulisa.core.errors import ConfigError

_DAY: Final = "%Y-%m-%d"
_SPKI: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they lie, in PEM; the certificate is followed by those that vouch for it."""

    certificate: Path
    key: Path

    def stamp(self) -> tuple[object, ...]:
        """Differs once one of the files is another one, or is gone."""
        return tuple(part for path in (self.certificate, self.key) for part in _stamp(path))


@dataclass(frozen=True, slots=True)
class Certificate:
    """What it says."""

    names: frozenset[str]
    """Host names (lower case) and IP addresses that it is for (subject alternative names)."""
    valid_from: datetime
    valid_until: datetime
    is_self_signed: bool
    fingerprint: str
    """SHA-256, as browsers show it: hexadecimal pairs with colons."""

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        """Read it out."""
        return cls(
            names=frozenset(_names(certificate)),
            valid_from=certificate.not_valid_before_utc,
            valid_until=certificate.not_valid_after_utc,
            is_self_signed=certificate.issuer == certificate.subject,
            fingerprint=certificate.fingerprint(SHA256()).hex(":").upper(),
        )

    def covers(self, host: str) -> bool:
        """Whether it is for this host name or address (RFC 9525, 6.3)."""
        host = host.lower()
        _, dot, parent = host.partition(".")
        return host in self.names or (bool(dot) and f"*.{parent}" in self.names)

    def best_name(self) -> str | None:
        """The host to put into a link for others: a name, rather than an address."""
        theirs = sorted(n for n in self.names if n not in _LOCAL and not n.startswith("*."))
        return min(theirs, key=_is_address, default=None)


def read_certificate(files: CertificateFiles, now: datetime) -> Certificate:
    """The certificate, which fits its key and is valid `now`.

    Raises ConfigError that says which file is wrong, how, and what to do.
    """
    certificate, certified = _read_certificate(files.certificate)
    if _read_key(files.key).public_bytes(*_SPKI) != certified:
        raise ConfigError(
            f"the key {files.key} does not fit the certificate {files.certificate}; "
            "give the key that this certificate was made with"
        )
    found = Certificate.of(certificate)
    _check_time(files.certificate, found, now)
    return found


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """What servers listen with: TLS 1.2 or newer, this certificate. Raises ConfigError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{files.certificate} and {files.key} cannot be used for TLS: {error.strerror or error}"
        ) from error
    return context


def _read_certificate(path: Path) -> tuple[x509.Certificate, bytes]:
    """With the key that it is about."""
    try:
        certificate = x509.load_pem_x509_certificate(_read(path, "certificate"))
        return certificate, certificate.public_key().public_bytes(*_SPKI)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no certificate in PEM; write CERT,KEY") from error


def _read_key(path: Path) -> PublicKeyTypes:
    """The public half."""
    encoded = _read(path, "key")
    try:
        return load_pem_private_key(encoded, password=None).public_key()
    except TypeError as error:
        raise ConfigError(
            f"the key {path} is encrypted; "
            f"take its passphrase off with: openssl pkey -in {path} -out KEY"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} holds no private key in PEM; write CERT,KEY") from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the {what} {path}: {(error.strerror or str(error)).lower()}"
        ) from error


def _check_time(path: Path, certificate: Certificate, now: datetime) -> None:
    if now > certificate.valid_until:
        raise ConfigError(
            f"the certificate {path} ran out on {certificate.valid_until:{_DAY}}; renew it"
        )
    if now < certificate.valid_from:
        raise ConfigError(
            f"the certificate {path} is valid from {certificate.valid_from:{_DAY}} on; "
            "is the clock of this machine right?"
        )


def _names(certificate: x509.Certificate) -> Iterable[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return
    yield from map(str.lower, extension.value.get_values_for_type(x509.DNSName))
    yield from map(str, extension.value.get_values_for_type(x509.IPAddress))


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return (None,)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
