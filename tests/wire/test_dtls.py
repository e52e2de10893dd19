from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.wire import dtls
from mulisa.wire.description import Fingerprint
from mulisa.wire.dtls import Certificate, DtlsConnection, DtlsError
from mulisa.wire.srtp import AES_128_CM, AES_128_GCM, AES_256_GCM, PROFILES, SrtpProfile

pytestmark = pytest.mark.unit

THEIRS = Certificate.generate()


def client(*profiles: SrtpProfile, certificate: Certificate = THEIRS) -> DtlsConnection:
    return DtlsConnection("client", certificate.context(profiles or PROFILES))


def pair(*profiles: SrtpProfile) -> tuple[DtlsConnection, DtlsConnection]:
    """A client and our end, which know each other's fingerprints."""
    theirs, ours = client(*profiles), DtlsConnection()
    theirs.expect(dtls.our_certificate().fingerprint)
    ours.expect(THEIRS.fingerprint)
    return theirs, ours


def exchange(
    theirs: DtlsConnection,
    ours: DtlsConnection,
    on_way: Callable[[bytes], bytes | None] = lambda datagram: datagram,
) -> None:
    """Carry datagrams to and fro until neither has anything to say."""
    theirs.start()
    while True:
        flight = theirs.outgoing()
        answer = ours.outgoing()
        if not flight and not answer:
            return
        for datagram in flight:
            if (arrived := on_way(datagram)) is not None:
                ours.receive(arrived)
        for datagram in answer:
            if (arrived := on_way(datagram)) is not None:
                theirs.receive(arrived)


def established() -> tuple[DtlsConnection, DtlsConnection]:
    theirs, ours = pair()
    exchange(theirs, ours)
    assert theirs.is_established and ours.is_established
    return theirs, ours


def carry(sender: DtlsConnection, receiver: DtlsConnection) -> list[bytes]:
    return [data for datagram in sender.outgoing() for data in receiver.receive(datagram)]


def test_messages_go_both_ways() -> None:
    theirs, ours = established()
    assert theirs.send(b"up") and theirs.send(b"again")
    assert carry(theirs, ours) == [b"up", b"again"]
    assert ours.send(b"down")
    assert carry(ours, theirs) == [b"down"]


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ((AES_128_CM, AES_256_GCM, AES_128_GCM), AES_128_GCM),
        ((AES_128_CM, AES_256_GCM), AES_256_GCM),
        ((AES_128_CM,), AES_128_CM),
    ],
)
def test_the_srtp_profile_is_the_one_we_prefer(
    offered: tuple[SrtpProfile, ...], agreed: SrtpProfile
) -> None:
    theirs, ours = pair(*offered)
    exchange(theirs, ours)
    ours_keys, theirs_keys = ours.srtp_keys(), theirs.srtp_keys()
    assert ours_keys.profile == agreed
    assert (ours_keys.local, ours_keys.remote) == (theirs_keys.remote, theirs_keys.local)
    assert len(ours_keys.local) == agreed.key_bytes + agreed.salt_bytes


def test_nothing_counts_before_the_fingerprint_is_known() -> None:
    theirs, ours = client(), DtlsConnection()
    theirs.expect(dtls.our_certificate().fingerprint)
    exchange(theirs, ours)
    assert theirs.is_established and not ours.is_established
    theirs.send(b"early")
    assert carry(theirs, ours) == []
    assert not ours.send(b"early")
    ours.expect(THEIRS.fingerprint)
    assert ours.is_established


def test_somebody_else_is_refused() -> None:
    theirs, ours = client(certificate=Certificate.generate()), DtlsConnection()
    theirs.expect(dtls.our_certificate().fingerprint)
    ours.expect(THEIRS.fingerprint)
    with pytest.raises(DtlsError, match="description"):
        exchange(theirs, ours)
    assert not ours.is_established


def test_somebody_else_is_refused_when_the_fingerprint_comes_late() -> None:
    theirs, ours = client(), DtlsConnection()
    exchange(theirs, ours)
    with pytest.raises(DtlsError, match="description"):
        ours.expect(Certificate.generate().fingerprint)
    assert not ours.is_established


@pytest.mark.parametrize("algorithm", ["sha-256", "SHA-384", "sha-512"])
def test_fingerprints_by_other_digests_count(algorithm: str) -> None:
    theirs, ours = client(), DtlsConnection()
    fingerprint = dtls.fingerprint_of(THEIRS.certificate, algorithm)
    ours.expect(Fingerprint(algorithm, fingerprint.value.lower()))
    exchange(theirs, ours)
    assert ours.is_established


def test_a_weak_digest_is_no_fingerprint() -> None:
    theirs, ours = client(), DtlsConnection()
    ours.expect(Fingerprint("sha-1", "00"))
    with pytest.raises(DtlsError, match="sha-1"):
        exchange(theirs, ours)


def test_a_client_hello_in_two_datagrams_is_put_together() -> None:
    theirs, ours = pair()
    theirs.start()
    (hello,) = theirs.outgoing()
    for part in in_two(hello):
        ours.receive(part)
    exchange(theirs, ours)
    assert ours.is_established


def in_two(record: bytes) -> list[bytes]:
    """One handshake message in two records, as long ones are sent (RFC 6347, 4.2.3)."""
    start, message = record[13:19], record[25:]
    parts = []
    # Record 1 will be the client's next one, and a number that came before is a replay.
    for number, offset, end in ((0, 0, 100), (20, 100, len(message))):
        body = start + offset.to_bytes(3, "big") + (end - offset).to_bytes(3, "big")
        body += message[offset:end]
        header = record[:3] + number.to_bytes(8, "big") + len(body).to_bytes(2, "big")
        parts.append(header + body)
    return parts


def test_no_datagram_is_longer_than_the_mtu() -> None:
    lengths: list[int] = []

    def measure(datagram: bytes) -> bytes:
        lengths.append(len(datagram))
        return datagram

    context = THEIRS.context()
    for _ in range(5):
        context.add_extra_chain_cert(THEIRS.certificate)
    theirs, ours = DtlsConnection("client", context), DtlsConnection()
    ours.expect(THEIRS.fingerprint)
    exchange(theirs, ours, measure)
    assert ours.is_established
    assert max(lengths) <= dtls.MTU


def test_lost_flights_are_repeated_when_their_time_has_come() -> None:
    theirs, ours = pair()
    theirs.start()
    assert theirs.outgoing()
    timeout = theirs.timeout()
    assert timeout is not None and 0 < timeout <= 1
    assert ours.timeout() is None, "who heard nothing waits for nothing"
    theirs.handle_timeout()
    assert theirs.outgoing() == [], "its time has not come"


def test_a_goodbye_is_noticed() -> None:
    theirs, ours = established()
    theirs.close()
    theirs.close()
    assert carry(theirs, ours) == []
    assert ours.is_closed
    assert not ours.send(b"too late")
    assert ours.timeout() is None


def test_a_client_that_talks_without_end_is_cut_off() -> None:
    ours = DtlsConnection()
    beginning = bytes((1, 0, 64, 0, 0, 0, 0, 0, 0, 0, 3, 232)) + bytes(1000)
    record = bytes((22, 254, 253)) + bytes(8) + len(beginning).to_bytes(2, "big") + beginning
    with pytest.raises(DtlsError, match="does not end"):
        for _ in range(dtls.MAX_HANDSHAKE_BYTES // len(record) + 1):
            ours.receive(record)


def test_a_certificate_is_made_once_and_signs_for_itself() -> None:
    assert dtls.our_certificate() is dtls.our_certificate()
    certificate = dtls.our_certificate().certificate
    certificate.verify_directly_issued_by(certificate)
    assert isinstance(certificate, x509.Certificate)
    assert len(dtls.our_certificate().fingerprint.value) == 95


def test_nothing_is_left_of_a_connection() -> None:
    theirs, ours = established()
    left = weakref.ref(ours._ssl)
    del theirs, ours
    gc.collect()
    assert left() is None


def damaged(datagram: bytes, changes: list[tuple[int, int]], length: int) -> bytes:
    data = bytearray(datagram)
    for position, value in changes:
        data[position % len(data)] = value
    return bytes(data[: length % (len(data) + 1)] if length else data)


CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6)


def try_handshake(changes: list[tuple[int, int]], length: int, which: int) -> None:
    """A handshake in which the client's datagram number `which` is damaged on its way."""
    count = 0

    def on_way(datagram: bytes) -> bytes:
        nonlocal count
        count += 1
        return damaged(datagram, changes, length) if count == which else datagram

    theirs, ours = pair()
    try:
        exchange(theirs, ours, on_way)
    except DtlsError:
        assert not (theirs.is_established and ours.is_established)
    ours.outgoing()
    ours.close()


@settings(max_examples=500)
@given(CHANGES, st.integers(0, 2000), st.integers(1, 5))
def test_a_damaged_handshake_fails_or_succeeds(
    changes: list[tuple[int, int]], length: int, which: int
) -> None:
    try_handshake(changes, length, which)


@pytest.mark.slow
@settings(max_examples=4_000)
@given(CHANGES, st.integers(0, 2000), st.integers(1, 5))
def test_damaged_handshakes_in_great_number(
    changes: list[tuple[int, int]], length: int, which: int
) -> None:
    try_handshake(changes, length, which)


@settings(max_examples=2000)
@given(st.binary(min_size=1, max_size=300), st.integers(20, 63), st.booleans())
def test_garbage_does_not_end_an_association(
    association: tuple[DtlsConnection, DtlsConnection], data: bytes, kind: int, is_record: bool
) -> None:
    theirs, ours = association
    if is_record:
        length = len(data).to_bytes(2, "big")
        data = bytes((kind, 254, 253, 0, 1)) + data[:6].ljust(6, b"\0") + length + data
    assert ours.receive(bytes((kind,)) + data[1:]) == []
    ours.outgoing()
    theirs.send(b"still here")
    assert carry(theirs, ours) == [b"still here"]


@pytest.fixture(scope="module")
def association() -> tuple[DtlsConnection, DtlsConnection]:
    return established()
