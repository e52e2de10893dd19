"""A certificate of our own for ``--tls auto``, kept in the data folder.

It is self-signed and no authority (``CA:FALSE``): whoever accepts it trusts this machine and
nothing else. The key stays when the certificate is renewed.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mulisa.core.errors import ConfigError
from mulisa.server.certificate import Certificate, CertificateFiles, read_certificate
from mulisa.wire.addresses import local_addresses

FOLDER: Final = "tls"
VALIDITY: Final = timedelta(days=365)
RENEWED_BEFORE: Final = timedelta(days=30)
_CLOCKS_DIFFER: Final = timedelta(days=1)
_HOST_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[\w-]+)*")


def self_made_files(data: Path) -> CertificateFiles:
    """Where certificate and key are kept in a data folder."""
    return CertificateFiles(data / FOLDER / "certificate.pem", data / FOLDER / "key.pem")


def machine_names(others: Iterable[str] = ()) -> list[str]:
    """Everything that this machine is called in its network, and `others` (names or addresses)."""
    host = socket.gethostname()
    local = f"{host.partition('.')[0]}.local"  # mDNS (RFC 6762)
    names = ["localhost", "127.0.0.1", "::1", host, local, *local_addresses(""), *others]
    return list(dict.fromkeys(name.lower() for name in names if _is_nameable(name)))


def keep_certificate(files: CertificateFiles, names: Iterable[str], now: datetime) -> bool:
    """Make the certificate unless there is one that does; True if one was made.

    Blocks. Raises ConfigError if the folder cannot be used.
    """
    names = list(names)
    if _still_does(files, names, now):
        return False
    try:
        files.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            _write_new(files.key, _new_key())
        pem = _make(_read_key(files.key), names, now).public_bytes(Encoding.PEM)
        _draft(files.certificate, pem).replace(files.certificate)
    except OSError as error:
        raise ConfigError(
            f"cannot keep a certificate in {files.key.parent}: {error.strerror or error}; "
            "choose another folder with --data"
        ) from error
    return True


def is_missing(names: Iterable[str], certificate: Certificate) -> list[str]:
    """Those of `names` that it does not cover and that are a reason for a new one.

    IPv6 addresses are none: a machine makes itself new ones every day (RFC 8981).
    """
    return [name for name in names if ":" not in name and not certificate.covers(name)]


def _still_does(files: CertificateFiles, names: Iterable[str], now: datetime) -> bool:
    if not files.certificate.exists():
        return False
    try:
        certificate = read_certificate(files, now)
    except ConfigError:  # it ran out, or is another key's
        return False
    is_fresh = now + RENEWED_BEFORE < certificate.valid_until
    return is_fresh and not is_missing(names, certificate)


def _make(key: EllipticCurvePrivateKey, names: Iterable[str], now: datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mulisa")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName(list(_general_names(names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(key, SHA256())
    )


def _general_names(names: Iterable[str]) -> Iterator[x509.GeneralName]:
    for name in names:
        try:
            yield x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            yield x509.DNSName(name)


def _is_nameable(name: str) -> bool:
    with suppress(ValueError):
        return not ipaddress.ip_address(name).is_unspecified
    return _HOST_NAME.fullmatch(name) is not None


def _new_key() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_key(path: Path) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} holds no private key; delete it to have a new one") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is no key of ours; delete it to have a new one")
    return key


def _write_new(path: Path, content: bytes) -> None:
    """Write the file as a whole or not at all; raises FileExistsError if it is there."""
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()


def _draft(path: Path, content: bytes) -> Path:
    """A file beside `path` that only we may read."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return draft
