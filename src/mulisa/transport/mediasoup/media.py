"""Packets of one WebRtcTransport: ICE, DTLS and SRTP on one socket, without SDP.

mediasoup is ICE-lite and describes its end in JSON, so there is nothing to negotiate: we check its
addresses, shake hands, and from then on a packet is a callback, without a task or a queue.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol
from aioice.stun import TransactionTimeout

from mulisa.core.errors import NegotiationError
from mulisa.ending import within
from mulisa.transport.mediasoup.parameters import IceCandidate, Json, TransportOptions
from mulisa.transport.path import Path
from mulisa.wire.channels import DataChannels
from mulisa.wire.description import Fingerprint
from mulisa.wire.dtls import DtlsConnection, DtlsError, our_certificate
from mulisa.wire.rtp import RtpHeader
from mulisa.wire.sctp import ignore
from mulisa.wire.srtp import PACKET_BYTES, TRAILER, PacketBuffer, SrtpContexts

logger = logging.getLogger(__name__)

CONNECT_TIME: Final = 15.0
PASS_TIME: Final = 3.0
"""Seconds after which what is on its way is taken to have arrived: nothing lives that long."""
CLOSING_TIME: Final = 2.0
RECEIVE_BUFFER_BYTES: Final = 256 * 1024
_COMPONENT: Final = 1
_FIRST_RTCP: Final = 192
_LAST_RTCP: Final = 223

OnRtp: TypeAlias = Callable[[RtpHeader, bytes, float], None]
"""Header, payload, and loop time; the header is only valid during the call."""
OnRtcp: TypeAlias = Callable[[bytes, float], None]
OnMessage: TypeAlias = Callable[[str, bytes], None]
"""The label of a data channel, and what came on it."""


class MediaConnection:
    """One transport of ours at the server, from `connect` until `aclose`."""

    def __init__(
        self,
        options: TransportOptions,
        *,
        on_rtp: OnRtp,
        on_rtcp: OnRtcp,
        on_message: OnMessage,
        on_lost: Callable[[], None],
    ) -> None:
        """Callbacks come from within the loop; `on_lost` once, when the path is of no use."""
        self._options = options
        self._families: set[socket.AddressFamily] = set()
        """Of the server's addresses."""
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp
        self._on_lost = on_lost
        self._ice = Connection(ice_controlling=True)
        self._ice.remote_is_lite = options.ice_parameters.ice_lite
        self._ice.remote_username = options.ice_parameters.username_fragment
        self._ice.remote_password = options.ice_parameters.password
        self._ice.get_component_candidates = self._candidates  # type: ignore[method-assign]
        setattr(self._ice, "data_received", self._on_datagram)  # noqa: B010
        self._path = Path(self._ice, self._on_path)
        self._dtls = DtlsConnection("client")
        self._channels = DataChannels(self._send_data, ignore, on_message)
        self._timer: asyncio.TimerHandle | None = None
        self._established: asyncio.Future[None] | None = None
        self._srtp: SrtpContexts | None = None
        self._buffer = PacketBuffer()
        self._outgoing = PacketBuffer()
        self._header = RtpHeader()
        self._is_closed = False
        self.was_closed = False
        """The server has ended it in order."""

    @property
    def id(self) -> str:
        """The server's name for the transport."""
        return self._options.id

    @property
    def dtls_parameters(self) -> Json:
        """Our end, for the server: we begin with the handshake."""
        ours = our_certificate().fingerprint
        fingerprint = {"algorithm": ours.algorithm, "value": ours.value}
        return {"role": "client", "fingerprints": [fingerprint]}

    @property
    def is_carrying(self) -> bool:
        """Packets go and come."""
        return self._srtp is not None and not self._is_closed and not self._path.is_lost

    async def connect(self) -> None:
        """Return when packets can flow. The server must know our `dtls_parameters` by then.

        Raises NegotiationError.
        """
        try:
            async with asyncio.timeout(CONNECT_TIME):
                await self._check_addresses()
                await self._shake_hands()
        except TimeoutError as error:
            raise NegotiationError(
                f"no media path to the server within {CONNECT_TIME:.0f} s; {self._where()}"
            ) from error
        self._path.begin()

    def send_rtp(self, packet: bytes) -> bool:
        """Encrypt and send; False while there is no way. Never blocks."""
        size = len(packet)
        if self._srtp is None or size > PACKET_BYTES - TRAILER:
            return False
        self._outgoing.view[:size] = packet
        size = self._srtp.protect_rtp(self._outgoing, size)
        return size > 0 and self._send(bytes(self._outgoing.view[:size]))

    def send_rtcp(self, packet: bytes) -> bool:
        """The same for a compound RTCP packet."""
        protected = self._srtp.protect_rtcp(packet) if self._srtp else b""
        return bool(protected) and self._send(protected)

    def agree(self, label: str, stream_id: int) -> None:
        """A data channel of this stream, under a name of ours."""
        self._channels.agree(label, stream_id)

    def part(self, label: str) -> None:
        """It is gone."""
        self._channels.part(label)

    def write(self, label: str, text: bytes) -> bool:
        """Send text on a data channel; False if it cannot take that."""
        return self._channels.send(label, text)

    async def pass_through(self) -> None:
        """Return when what was on its way between us has arrived or never will.

        The answer to a STUN request comes behind the packets that the server sent before it.
        """
        if self.is_carrying:
            with suppress(TransactionTimeout, TimeoutError):
                async with asyncio.timeout(PASS_TIME):
                    await self._path.exchange()

    async def aclose(self) -> None:
        """Idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._channels.close()
        self._dtls.close()
        self._flush()
        self._srtp = None
        await self._path.aclose()
        if not await within(CLOSING_TIME, self._ice.close()):
            logger.warning("a media path did not close in time and is abandoned")

    async def _check_addresses(self) -> None:
        udp = [each for each in self._options.ice_candidates if each.protocol == "udp"]
        if not udp:
            raise NegotiationError(
                "the server takes media over TCP only, which Mulisa cannot send: "
                "give its transports a UDP address",
                retryable=False,
            )
        self._families = {family for each in udp for family in await _families(each.host)}
        try:
            await self._ice.gather_candidates()
            for each in udp:
                for host in await _addresses(each.host):
                    await self._ice.add_remote_candidate(_remote(each, host))
            await self._ice.add_remote_candidate(None)
            await self._ice.connect()
        except (ConnectionError, OSError, ValueError) as error:
            raise NegotiationError(f"no media path to the server; {self._where()}") from error

    async def _shake_hands(self) -> None:
        self._established = asyncio.get_running_loop().create_future()
        try:
            theirs = self._options.dtls_parameters.fingerprints
            known = [each for each in theirs if each.algorithm in ("sha-256", "sha-384", "sha-512")]
            if not known:
                raise DtlsError("it names its certificate by no digest that we know")
            self._dtls.expect(Fingerprint(known[0].algorithm, known[0].value))
            self._dtls.start()
            self._advance()
            await self._established
        except DtlsError as error:
            raise NegotiationError(f"the server's media end cannot be trusted: {error}") from error

    async def _candidates(self, component: int, addresses: list[str], timeout: int = 5) -> Any:
        """In place of aioice's: the server learns our address from our packets (RFC 8445, 2.5)."""
        protocols = []
        for family in sorted(self._families):
            with suppress(OSError):  # a server may have an address of a kind that we have not
                protocols.append(await self._open(family))
        self._ice._protocols += protocols
        return [protocol.local_candidate for protocol in protocols]

    async def _open(self, family: socket.AddressFamily) -> StunProtocol:
        any_address = "0.0.0.0" if family is socket.AF_INET else "::"
        transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: StunProtocol(self._ice), local_addr=(any_address, 0), family=family
        )
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES
        )
        port = transport.get_extra_info("sockname")[1]
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", any_address),
            component=_COMPONENT,
            transport="udp",
            priority=candidate_priority(_COMPONENT, "host"),
            host=any_address,
            port=port,
            type="host",
        )
        return protocol

    def _on_datagram(self, data: bytes, _: int) -> None:
        if self._is_closed or len(data) < 2 or len(data) > PACKET_BYTES:
            return
        first = data[0]
        if 128 <= first <= 191:
            self._on_media(data)
        elif 20 <= first <= 63:
            self._on_dtls(data)

    def _on_media(self, data: bytes) -> None:
        if self._srtp is None:
            return
        size = len(data)
        self._buffer.view[:size] = data
        now = asyncio.get_running_loop().time()
        if _FIRST_RTCP <= data[1] <= _LAST_RTCP:
            if compound := self._srtp.unprotect_rtcp(self._buffer, size):
                self._on_rtcp(compound, now)
            return
        size = self._srtp.unprotect_rtp(self._buffer, size)
        if size and self._header.read(self._buffer.view, size):
            start, end = self._header.payload_start, self._header.payload_end
            self._on_rtp(self._header, bytes(self._buffer.view[start:end]), now)

    def _on_dtls(self, data: bytes) -> None:
        try:
            for packet in self._dtls.receive(data):
                self._channels.receive(packet)
        except DtlsError as error:
            self._fail(error)
        self._advance()
        if self._dtls.is_closed and not self._is_closed:
            self.was_closed = True
            self._lose()

    def _advance(self) -> None:
        """Send what DTLS has to say, and look whether it is done."""
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dtls.is_established and self._srtp is None:
            self._establish()
        elif not self._dtls.is_established and (wait := self._dtls.timeout()) is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer)

    def _establish(self) -> None:
        try:
            self._srtp = SrtpContexts(self._dtls.srtp_keys())
        except DtlsError as error:
            self._fail(error)
        if self._established is not None and not self._established.done():
            self._established.set_result(None)

    def _on_timer(self) -> None:
        try:
            self._dtls.handle_timeout()
        except DtlsError as error:
            self._fail(error)
        self._advance()

    def _fail(self, error: DtlsError) -> None:
        if self._established is not None and not self._established.done():
            self._established.set_exception(error)

    def _flush(self) -> None:
        for datagram in self._dtls.outgoing():
            self._send(datagram)

    def _send_data(self, packet: bytes) -> None:
        self._dtls.send(packet)
        self._flush()

    def _send(self, datagram: bytes) -> bool:
        pair = self._ice._nominated.get(_COMPONENT)
        if pair is None:
            return False
        pair.protocol.transport.sendto(datagram, pair.remote_addr)
        return True

    def _on_path(self) -> None:
        if self._path.is_lost:
            self._lose()

    def _lose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._fail(DtlsError("it ended the handshake"))
            self._on_lost()

    def _where(self) -> str:
        hosts = ", ".join(f"{each.host}:{each.port}" for each in self._options.ice_candidates[:3])
        return f"it says it is at {hosts} (its announcedIp or announcedAddress)"


def _remote(candidate: IceCandidate, host: str) -> Candidate:
    return Candidate(
        foundation=candidate.foundation,
        component=_COMPONENT,
        transport="udp",
        priority=candidate.priority,
        host=host,
        port=candidate.port,
        type="host",
    )


async def _addresses(host: str) -> list[str]:
    """A server may announce its name. Raises NegotiationError if that is nobody's."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise NegotiationError(f"the server says it is at {host}, which has no address") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def _families(host: str) -> set[socket.AddressFamily]:
    v6 = {":" in address for address in await _addresses(host)}
    return {socket.AF_INET6 if is_v6 else socket.AF_INET for is_v6 in v6}
