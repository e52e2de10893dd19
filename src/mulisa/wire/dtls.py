"""DTLS 1.2 over OpenSSL with memory BIOs: datagrams in, datagrams out; no socket, no timer.

The peer's certificate is whatever it presents; who it is follows from the fingerprint that its
description names (RFC 8122), so nothing counts before `expect` was called and the fingerprint was
found right. Keys for SRTP come from the handshake (RFC 5764), data channels use the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from secrets import token_hex
from typing import Final, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from mulisa.wire.description import Fingerprint
from mulisa.wire.srtp import PROFILES, SrtpKeys, SrtpProfile

Role: TypeAlias = Literal["client", "server"]

MTU: Final = 1200
"""Bytes of a datagram of ours; what every path of WebRTC is taken to carry (RFC 8831, 5)."""
MAX_HANDSHAKE_BYTES: Final = 65_536
"""A handshake takes 3 kB; whoever sends this much before it is done is cut off."""
CERTIFICATE_LIFE: Final = timedelta(days=365)

_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}
_CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
)
_DTLS_1_2: Final = 0xFEFD
_RECORD_HEADER_BYTES: Final = 13
_MAX_RECORD_BYTES: Final = 16_384
_READ_BYTES: Final = 65_536
_EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"


class DtlsError(Exception):
    """The handshake cannot succeed any more, or the peer is not who its description names."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key pair and the self-signed certificate that stands for it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def generate(cls) -> Certificate:
        """A new one on P-256, valid for a year from yesterday on (clocks differ)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, token_hex(8))])
        start = datetime.now(UTC) - timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + CERTIFICATE_LIFE)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def fingerprint(self) -> Fingerprint:
        """As it stands in our descriptions."""
        return fingerprint_of(self.certificate, "sha-256")

    def context(self, profiles: tuple[SrtpProfile, ...] = PROFILES) -> SSL.Context:
        """What connections with this certificate share; SRTP profiles, the preferred one first."""
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept)
        context.use_certificate(self.certificate)
        context.use_privatekey(self.key)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(b":".join(profile.name for profile in profiles))
        return context


@cache
def our_certificate() -> Certificate:
    """This process's certificate, made once."""
    return Certificate.generate()


@cache
def our_context() -> SSL.Context:
    """The context of all connections with `our_certificate`, made once."""
    return our_certificate().context()


def fingerprint_of(certificate: x509.Certificate, algorithm: str) -> Fingerprint:
    """Raises DtlsError for a digest that is not one of SHA-256, SHA-384 and SHA-512."""
    digest = _DIGESTS.get(algorithm.lower())
    if digest is None:
        raise DtlsError(f"no fingerprints by {algorithm!r}")
    return Fingerprint(algorithm.lower(), certificate.fingerprint(digest).hex(":").upper())


class DtlsConnection:
    """One end of a DTLS association.

    Give it what arrives (`receive`), send what it has to say (`outgoing`), and call
    `handle_timeout` when `timeout` seconds have passed without either.
    """

    __slots__ = ("_bytes_left", "_expected", "_role", "_ssl", "is_closed", "is_established")

    def __init__(self, role: Role = "server", context: SSL.Context | None = None) -> None:
        self._role = role
        self._ssl = SSL.Connection(context or our_context())
        self._ssl.set_ciphertext_mtu(MTU)
        if role == "server":
            self._ssl.set_accept_state()
        else:
            self._ssl.set_connect_state()
        self._bytes_left = MAX_HANDSHAKE_BYTES
        self._expected: Fingerprint | None = None
        self.is_established = False
        """The handshake is done, and with whom the description names."""
        self.is_closed = False
        """The peer, or `close`, ended the association."""

    def expect(self, fingerprint: Fingerprint) -> None:
        """The fingerprint of the only peer that may be at the other end.

        Raises DtlsError if the handshake is done and somebody else is there.
        """
        self._expected = fingerprint
        self._advance()

    def start(self) -> None:
        """A client's first flight; then see `outgoing`."""
        self._advance()

    def receive(self, datagram: bytes) -> list[bytes]:
        """The application data that this datagram completes; none before `is_established`.

        Records that are not the peer's are dropped as RFC 6347 4.1.2.7 says.
        Raises DtlsError if the handshake failed; there is still an alert to send then.
        """
        if self.is_closed or not datagram:
            return []
        self._ssl.bio_write(datagram)
        if self.is_established:
            return list(self._read())
        self._bytes_left -= len(datagram)
        if self._bytes_left < 0:
            raise DtlsError("the handshake does not end")
        self._advance()
        return list(self._read()) if self.is_established else []

    def send(self, data: bytes) -> bool:
        """Encrypt one message; False if there is no association to send it over."""
        if not self.is_established or self.is_closed or len(data) > _MAX_RECORD_BYTES:
            return False
        try:
            self._ssl.send(data)
        except SSL.Error:
            return False
        return True

    def outgoing(self) -> list[bytes]:
        """Datagrams to send, none longer than `MTU` unless a single record is."""
        try:
            return list(_datagrams(self._ssl.bio_read(_READ_BYTES)))
        except SSL.Error:
            return []

    def timeout(self) -> float | None:
        """Seconds until `handle_timeout` is due; None while nothing waits for an answer."""
        return None if self.is_closed else self._ssl.DTLSv1_get_timeout()

    def handle_timeout(self) -> None:
        """Repeat the last flight if its time has come; raises DtlsError after too many."""
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise DtlsError("the peer does not answer our handshake") from error

    def srtp_keys(self) -> SrtpKeys:
        """What the handshake agreed on for SRTP (RFC 5764, 4.2).

        Raises DtlsError if the peer offered no profile of ours.
        """
        name = self._ssl.get_selected_srtp_profile()
        profile = next((profile for profile in PROFILES if profile.name == name), None)
        if profile is None:
            raise DtlsError("no SRTP profile in common")
        key, salt = profile.key_bytes, profile.salt_bytes
        secret = self._ssl.export_keying_material(_EXPORTER_LABEL, 2 * (key + salt))
        salts = secret[2 * key :]
        client, server = secret[:key] + salts[:salt], secret[key : 2 * key] + salts[salt:]
        local, remote = (server, client) if self._role == "server" else (client, server)
        return SrtpKeys(profile, local, remote)

    def close(self) -> None:
        """Say goodbye (close_notify); `outgoing` has it. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            self._ssl.shutdown()
        except SSL.Error:
            pass  # there was no association yet

    def _advance(self) -> None:
        """Go on with the handshake as far as the datagrams so far allow."""
        if self.is_established or self.is_closed:
            return
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise DtlsError(f"the DTLS handshake failed: {error}") from error
        if self._expected is not None:
            self._verify(self._expected)
            self.is_established = True

    def _verify(self, expected: Fingerprint) -> None:
        try:
            certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        except ValueError as error:
            raise DtlsError("the peer's certificate cannot be read") from error
        if certificate is None:
            raise DtlsError("the peer has no certificate")
        if fingerprint_of(certificate, expected.algorithm).value != expected.value.upper():
            raise DtlsError("the peer's certificate is not the one of its description")

    def _read(self) -> Iterator[bytes]:
        """Every record that has arrived."""
        while True:
            try:
                yield self._ssl.recv(_MAX_RECORD_BYTES)
            except SSL.WantReadError:
                return
            except SSL.Error:
                self.is_closed = True  # close_notify, or a fatal alert
                return


def _accept(*_: object) -> bool:
    """Self-signed certificates are all there is; the fingerprint tells whose."""
    return True


def _datagrams(flight: bytes) -> Iterator[bytes]:
    """Records of one flight, as many to a datagram as the MTU takes; a record is never cut."""
    start = position = 0
    while position < len(flight):
        length = int.from_bytes(flight[position + 11 : position + 13], "big")
        end = position + _RECORD_HEADER_BYTES + length
        if end - start > MTU and position > start:
            yield flight[start:position]
            start = position
        position = end
    if start < len(flight):
        yield flight[start:]
