"""The transport of a bare client: one UDP socket with ICE, DTLS-SRTP and data channels on it.

ICE is that of a controlling agent with one candidate of its own (RFC 8445), as libwebrtc's is on
one machine: a nominating check until there is an answer, consent every 2.5 s (RFC 7675).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import string
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import pylibsrtp
from aioice import stun
from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport
from bench._rtc_sdp import Ours, Theirs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

CONSENT: Final = 2.5
CHECK: Final = 0.05
PROFILES: Final = {
    "SRTP_AES128_CM_SHA1_80": (1, 16, 14),
    "SRTP_AEAD_AES_256_GCM": (8, 32, 12),
    "SRTP_AEAD_AES_128_GCM": (7, 16, 12),
}
"""Number (RFC 5764, 4.1.2; RFC 7714, 14.2), bytes of key and of salt; browsers' order."""
_LETTERS = string.ascii_letters + string.digits
_RECEIVE_BUFFER = 1 << 20


class Link:
    """To one server. Everything is called on the event loop; `read` whenever datagrams may wait."""

    def __init__(
        self,
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        profiles: Sequence[str] = tuple(PROFILES),
        *,
        has_channels: bool = True,
    ) -> None:
        """`profiles` are those of SRTP that it offers, the preferred one first."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self.socket.bind(("127.0.0.1", 0))
        certificate, _ = _certificate()
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest().upper()
        self.ours = Ours(
            _random(8), _random(24), _with_colons(digest), self.socket.getsockname()[1]
        )
        self.connected = asyncio.Event()
        """DTLS is done."""
        self.channels_open = asyncio.Event()
        self.profile = ""
        self.refused = 0
        """Datagrams that our own kernel did not take."""
        self.failure: Exception | None = None
        self.inbound: pylibsrtp.Session | None = None
        self.outbound: pylibsrtp.Session | None = None
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        self._profiles = profiles
        self._has_channels = has_channels
        self._theirs: Theirs | None = None
        self._tie_breaker = secrets.randbits(64)
        self._addresses: dict[tuple[str, int], None] = {}
        """Where the server may be: what it says, and from where it sends checks."""
        self._address: tuple[str, int] | None = None
        """Where it is."""
        self._checked_at = -CONSENT
        self._dtls: SSL.Connection | None = None
        self._sctp: _Channels | None = None

    def connect(self, theirs: Theirs, address: tuple[str, int]) -> None:
        """Begin, or try that address, too. What later answers say is the same."""
        self._theirs = self._theirs or theirs
        self._addresses.setdefault(address)

    def keep(self, now: float) -> None:
        """Send what is due: a check, or what DTLS has lost."""
        wait = CONSENT if self._address else CHECK
        if self._theirs and now >= self._checked_at + wait:
            self._checked_at = now
            for address in [self._address] if self._address else list(self._addresses):
                self._send_to(self._check(self._theirs), address)
        if self._dtls and not self.connected.is_set():
            self._dtls.DTLSv1_handle_timeout()
            self._flush()

    def receive(self, datagram: bytes, source: bytes) -> None:
        """By its first byte (RFC 7983, 7); `source` is a ``sockaddr_in``."""
        first = datagram[0]
        if 128 <= first < 192:
            if 192 <= datagram[1] < 224:
                self._on_rtcp(datagram)
            else:
                self._on_rtp(datagram)
        elif first < 4:
            self._stun(datagram, _address(source))
        elif 20 <= first < 64 and self._dtls:
            self._dtls.bio_write(datagram)
            self._shake_hands() if not self.connected.is_set() else self._read_data()

    def send(self, datagram: bytes) -> None:
        """As any UDP: it may be lost."""
        if self._address:
            self._send_to(datagram, self._address)

    def send_rtp(self, packet: bytes) -> None:
        """Encrypted; `connected` is set."""
        assert self.outbound
        self.send(self.outbound.protect(packet))

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypted; `connected` is set."""
        assert self.outbound
        self.send(self.outbound.protect_rtcp(packet))

    def close(self) -> None:
        """Without a word to the server, whose signalling knows that we leave."""
        if self._sctp:
            self._sctp.close()
        self.socket.close()

    def _send_to(self, datagram: bytes, address: tuple[str, int]) -> None:
        try:
            self.socket.sendto(datagram, address)
        except BlockingIOError:
            self.refused += 1

    def _check(self, theirs: Theirs) -> bytes:
        request = stun.Message(
            stun.Method.BINDING,
            stun.Class.REQUEST,
            attributes={
                "USERNAME": f"{theirs.ufrag}:{self.ours.ufrag}",
                "PRIORITY": 1853817087,
                "ICE-CONTROLLING": self._tie_breaker,
                "USE-CANDIDATE": None,
            },
        )
        request.add_message_integrity(theirs.pwd.encode())
        return bytes(request)

    def _stun(self, datagram: bytes, source: tuple[str, int]) -> None:
        message = stun.parse_message(datagram)
        if message.message_class == stun.Class.REQUEST:
            self._addresses.setdefault(source)
            answer = stun.Message(
                stun.Method.BINDING,
                stun.Class.RESPONSE,
                transaction_id=message.transaction_id,
                attributes={"XOR-MAPPED-ADDRESS": source},
            )
            answer.add_message_integrity(self.ours.pwd.encode())
            self._send_to(bytes(answer), source)
        elif message.message_class == stun.Class.RESPONSE and not self._address:
            self._address = source
            self._begin_dtls()

    def _begin_dtls(self) -> None:
        assert self._theirs
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        certificate, key = _certificate()
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_tlsext_use_srtp(":".join(self._profiles).encode())
        self._dtls = SSL.Connection(context, None)
        self._dtls.set_ciphertext_mtu(1200)
        if self._theirs.setup == "active":
            self._dtls.set_accept_state()
        else:
            self._dtls.set_connect_state()
        self._shake_hands()

    def _shake_hands(self) -> None:
        assert self._dtls
        try:
            self._dtls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        except SSL.Error as error:
            self._fail(ConnectionError(f"DTLS failed: {error}"))
            return
        self._flush()
        self._secure()

    def _secure(self) -> None:
        assert self._dtls and self._theirs
        certificate = self._dtls.get_peer_certificate(as_cryptography=True)
        assert certificate
        if _with_colons(certificate.fingerprint(hashes.SHA256()).hex().upper()) != (
            self._theirs.fingerprint
        ):
            self._fail(ConnectionError("its certificate is not the one of its answer"))
            return
        self.profile = self._dtls.get_selected_srtp_profile().decode()
        number, key, salt = PROFILES[self.profile]
        material = self._dtls.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
        keys, salts = material[: 2 * key], material[2 * key :]
        client, server = keys[:key] + salts[:salt], keys[key:] + salts[salt:]
        is_server = self._theirs.setup == "active"
        sends, receives = (server, client) if is_server else (client, server)
        self.outbound = _session(sends, number, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.inbound = _session(receives, number, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self.connected.set()
        if not self._has_channels:
            return
        role = "server" if is_server else "client"
        self._sctp = _Channels(self._send_data, role, self.channels_open)

    def _fail(self, error: Exception) -> None:
        self.failure = error
        self.connected.set()

    def _send_data(self, data: bytes) -> None:
        assert self._dtls
        self._dtls.send(data)
        self._flush()

    def _read_data(self) -> None:
        assert self._dtls
        try:
            data = self._dtls.recv(1500)
        except SSL.Error:
            return
        if self._sctp:
            self._sctp.receive(data)
        self._flush()

    def _flush(self) -> None:
        assert self._dtls
        try:
            while data := self._dtls.bio_read(1500):
                self.send(data)
        except SSL.WantReadError:
            pass


class _Channels:
    """`_reliable` and `_lossy`, as all clients of LiveKit make them; aiortc thinks we are DTLS."""

    state = "connected"

    def __init__(self, send: Callable[[bytes], None], role: str, is_open: asyncio.Event) -> None:
        self._role = role
        self._send = send
        self._receiver: RTCSctpTransport | None = None
        self._busy: set[asyncio.Task[None]] = set()
        self._association = RTCSctpTransport(self)  # type: ignore[arg-type]
        self._start(self._association.start(None, 5000))
        for label, options in (
            ("_reliable", {}),
            ("_lossy", {"ordered": False, "maxRetransmits": 0}),
        ):
            parameters = RTCDataChannelParameters(label=label, **options)  # type: ignore[arg-type]
            channel = RTCDataChannel(self._association, parameters)
            channel.on("open", is_open.set)

    def receive(self, data: bytes) -> None:
        """What DTLS has decrypted."""
        if self._receiver:
            self._start(self._receiver._handle_data(data))

    def close(self) -> None:
        """No timer of it goes on."""
        for timer in ("_t1_cancel", "_t2_cancel", "_t3_cancel"):
            getattr(self._association, timer)()

    def _start(self, work) -> None:  # type: ignore[no-untyped-def]
        task = asyncio.ensure_future(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    def _register_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self._receiver = receiver

    def _unregister_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self._receiver = None

    async def _send_data(self, data: bytes) -> None:
        self._send(data)


@cache
def _certificate() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """One for all clients: making it is no part of what is measured."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )
    return builder.sign(key, hashes.SHA256()), key


def _session(key: bytes, profile: int, direction: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=profile)
    policy.allow_repeat_tx = True
    policy.window_size = 1024
    return pylibsrtp.Session(policy)


def _address(source: bytes) -> tuple[str, int]:
    return socket.inet_ntoa(source[4:8]), int.from_bytes(source[2:4], "big")


def _random(letters: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(letters))


def _with_colons(digest: str) -> str:
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
