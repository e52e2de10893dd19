"""Real handshakes: what is shown, to whom it is good enough, and what replaces it meanwhile."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from mulisa.core.errors import ConfigError
from mulisa.server import tls as tls_module
from mulisa.server.events import CertificateRefused, CertificateReplaced, GatewayEvent
from mulisa.server.selfmade import RENEWED_BEFORE, VALIDITY, self_made_files
from mulisa.server.tls import Tls, TlsConfig
from tests.certificates import Authority, trusting, write_pair

pytestmark = pytest.mark.network


@asynccontextmanager
async def serving(tls: Tls) -> AsyncIterator[int]:
    """The port of a server that says hello over TLS."""

    async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hello, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def shown(port: int, context: ssl.SSLContext, host: str | None = "localhost") -> str:
    """The fingerprint of the certificate that a client gets, and trusts."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host
    )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()
    return sha256(der).digest().hex(":").upper()


def own(folder: Path) -> TlsConfig:
    return TlsConfig(self_made_files(folder), is_self_made=True)


async def test_who_has_the_self_made_certificate_trusts_it_by_any_name(tmp_path: Path) -> None:
    tls = Tls(own(tmp_path))
    context = trusting(tls.files.certificate)
    async with serving(tls) as port:
        for host in ("localhost", "127.0.0.1", "::1"):
            assert await shown(port, context, host) == tls.certificate.fingerprint
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await shown(port, context, "talk.example.org")


async def test_nobody_else_trusts_it(tmp_path: Path) -> None:
    async with serving(Tls(own(tmp_path))) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            await shown(port, ssl.create_default_context())


async def test_one_of_an_authority(tmp_path: Path) -> None:
    authority = Authority.new()
    tls = Tls(TlsConfig(write_pair(tmp_path, "talk.example.org", authority=authority)))
    async with serving(tls) as port:
        found = await shown(port, trusting(authority.pem), "talk.example.org")
    assert found == tls.certificate.fingerprint


async def test_files_that_change_are_shown_from_then_on(tmp_path: Path) -> None:
    authority = Authority.new()
    tls = Tls(TlsConfig(write_pair(tmp_path, "localhost", authority=authority)))
    context = trusting(authority.pem)
    async with serving(tls) as port:
        first = await shown(port, context)
        assert tls.look() is None
        write_pair(tmp_path, "localhost", authority=authority)
        event = tls.look()
        assert isinstance(event, CertificateReplaced)
        for host in ("localhost", None):  # with a server name in the handshake, and without
            context.check_hostname = host is not None
            assert await shown(port, context, host or "") == event.fingerprint != first
        assert tls.certificate.fingerprint == event.fingerprint
        assert tls.look() is None


async def test_half_a_renewal_waits_for_the_other_half(tmp_path: Path) -> None:
    authority = Authority.new()
    files = write_pair(tmp_path, "localhost", authority=authority)
    new = write_pair(tmp_path / "new", "localhost", authority=authority)
    tls = Tls(TlsConfig(files))
    context = trusting(authority.pem)
    async with serving(tls) as port:
        first = await shown(port, context)
        new.certificate.replace(files.certificate)
        event = tls.look()
        assert isinstance(event, CertificateRefused) and "does not fit" in event.reason
        assert tls.look() is None, "the same trouble is told once"
        assert await shown(port, context) == first
        new.key.replace(files.key)
        assert isinstance(tls.look(), CertificateReplaced)
        assert await shown(port, context) == tls.certificate.fingerprint != first


async def test_files_that_are_gone_end_nothing(tmp_path: Path) -> None:
    authority = Authority.new()
    files = write_pair(tmp_path, "localhost", authority=authority)
    tls = Tls(TlsConfig(files))
    async with serving(tls) as port:
        files.certificate.unlink()
        assert isinstance(tls.look(), CertificateRefused)
        assert await shown(port, trusting(authority.pem)) == tls.certificate.fingerprint


async def test_ours_is_renewed_while_it_serves(tmp_path: Path) -> None:
    clock = datetime.now(UTC) - (VALIDITY - RENEWED_BEFORE) - timedelta(minutes=1)
    tls = Tls(own(tmp_path), now=lambda: clock)
    assert tls.look() is None
    async with serving(tls) as port:
        first = await shown(port, trusting(tls.files.certificate))
        clock = datetime.now(UTC)
        event = tls.look()
        assert isinstance(event, CertificateReplaced)
        assert event.valid_until == tls.certificate.valid_until > clock + VALIDITY - timedelta(1)
        assert await shown(port, trusting(tls.files.certificate)) != first


async def test_it_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "LOOK_INTERVAL", 0.01)
    tls = Tls(TlsConfig(write_pair(tmp_path, "localhost")))
    told: asyncio.Queue[GatewayEvent] = asyncio.Queue()
    watching = asyncio.create_task(tls.watch(told.put_nowait))
    write_pair(tmp_path, "localhost")
    async with asyncio.timeout(10):
        event = await told.get()
        while isinstance(event, CertificateRefused):  # it looked between the two files
            event = await told.get()
    assert isinstance(event, CertificateReplaced)
    watching.cancel()


def test_a_key_too_weak_for_tls(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    files = write_pair(tmp_path, "localhost")
    model = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = rsa.generate_private_key(65537, 1024)
    weak = (
        x509.CertificateBuilder()
        .subject_name(model.subject)
        .issuer_name(model.issuer)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(model.not_valid_before_utc)
        .not_valid_after(model.not_valid_after_utc)
        .sign(key, SHA256())
    )
    files.certificate.write_bytes(weak.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="cannot be used for TLS.*EE_KEY_TOO_SMALL"):
        Tls(TlsConfig(files))
