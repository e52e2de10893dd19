from __future__ import annotations

from ipaddress import ip_address
from struct import pack

import pytest
from aioice import stun as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mulisa.wire import stun

pytestmark = pytest.mark.unit

PWD = b"a password of ours, 24 b"
TRANSACTION = b"transactions"
MANY = settings(max_examples=1000)


def check_by_aioice(
    *,
    username: str = "ours:theirs",
    pwd: bytes = PWD,
    nominates: bool = True,
    is_controlled: bool = False,
) -> bytes:
    """A check as an independent implementation writes it."""
    attributes: dict[str, object] = {"USERNAME": username, "PRIORITY": 7, "ICE-CONTROLLING": 9}
    if nominates:
        attributes["USE-CANDIDATE"] = None
    if is_controlled:
        attributes["ICE-CONTROLLED"] = 3
    message = oracle.Message(oracle.Method.BINDING, oracle.Class.REQUEST, TRANSACTION, attributes)
    message.add_message_integrity(pwd)
    return bytes(message)


def signed(attributes: bytes, pwd: bytes = PWD) -> bytes:
    """A check with any attributes, properly proven."""
    return stun._sign(stun.BINDING_REQUEST, TRANSACTION, attributes, pwd)


def attribute(kind: int, value: bytes = b"") -> bytes:
    return pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


PRIORITY = attribute(stun.PRIORITY, pack("!I", 1))
USERNAME = attribute(stun.USERNAME, b"ours:theirs")


def test_a_check_says_in_the_clear_whom_it_is_for() -> None:
    assert stun.local_ufrag(check_by_aioice(username="ours:theirs:more")) == b"ours"


def test_a_check_of_another_implementation_is_read() -> None:
    check = stun.read_check(check_by_aioice(), PWD)
    assert check == stun.Check(
        TRANSACTION, priority=7, nominates=True, claims_controlled=False, unknown=()
    )
    assert not stun.read_check(check_by_aioice(nominates=False), PWD).nominates
    assert stun.read_check(check_by_aioice(is_controlled=True), PWD).claims_controlled


def test_our_own_request_is_read_by_another_implementation() -> None:
    data = stun.request(TRANSACTION, "ours:theirs", PWD, priority=5, tie=8)
    message = oracle.parse_message(data)
    assert message.check_message_integrity(PWD)
    assert message.attributes["USERNAME"] == "ours:theirs"
    assert message.attributes["ICE-CONTROLLING"] == 8
    assert "USE-CANDIDATE" in message.attributes


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::7", "fe80::1%4"])
def test_another_implementation_reads_our_success(host: str) -> None:
    message = oracle.parse_message(stun.success(TRANSACTION, host, 54_321, PWD))
    assert (message.message_class, message.transaction_id) == (oracle.Class.RESPONSE, TRANSACTION)
    found_host, port = message.attributes["XOR-MAPPED-ADDRESS"]
    assert (ip_address(found_host), port) == (ip_address(host.partition("%")[0]), 54_321)
    assert message.check_message_integrity(PWD)


def test_an_error_names_the_attributes_that_are_unknown() -> None:
    data = stun.error(TRANSACTION, *stun.UNKNOWN_ATTRIBUTE, PWD, (0x7001, 0x7002, 0x7003))
    message = oracle.parse_message(data)
    assert message.error_code == 420
    assert message.check_message_integrity(PWD)
    assert attribute(stun.UNKNOWN_ATTRIBUTES, pack("!HHH", 0x7001, 0x7002, 0x7003)) in data


def test_only_unknown_attributes_that_must_be_understood_are_listed() -> None:
    optional = attribute(0xC070, b"a whole ClientHello") + attribute(0xC057, bytes(4))
    assert stun.read_check(signed(USERNAME + PRIORITY + optional), PWD).unknown == ()
    required = attribute(0x7001) + attribute(0x0032, b"x")
    assert stun.read_check(signed(USERNAME + PRIORITY + required), PWD).unknown == (0x7001, 0x0032)


def test_what_follows_the_proof_does_not_count() -> None:
    proven = stun._header.pack(1, 0, stun.COOKIE, TRANSACTION) + USERNAME + PRIORITY
    proven = stun._with_length(proven, len(proven) + 24)
    proof = oracle.message_integrity(proven, PWD)
    late = proven + attribute(stun.MESSAGE_INTEGRITY, proof) + attribute(stun.USE_CANDIDATE)
    late = stun._with_length(late, len(late) + 8)
    late += attribute(stun.FINGERPRINT, pack("!I", oracle.message_fingerprint(late)))
    assert not stun.read_check(late, PWD).nominates


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(check_by_aioice(pwd=b"another password, 24 byt"), id="foreign password"),
        pytest.param(check_by_aioice()[:-4] + bytes(4), id="wrong fingerprint"),
        pytest.param(
            stun._with_length(check_by_aioice()[:-8], len(check_by_aioice()) - 8),
            id="no fingerprint",
        ),
        pytest.param(signed(USERNAME), id="no priority"),
        pytest.param(signed(USERNAME + attribute(stun.PRIORITY, b"12")), id="short priority"),
        pytest.param(
            stun._header.pack(1, len(USERNAME), stun.COOKIE, TRANSACTION) + USERNAME, id="unproven"
        ),
    ],
)
def test_a_check_that_proves_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(stun.StunError):
        stun.read_check(data, PWD)


@pytest.mark.parametrize("position", range(len(check_by_aioice())))
def test_no_bit_of_a_check_can_be_changed(position: int) -> None:
    data = bytearray(check_by_aioice())
    data[position] ^= 0x10
    if stun.local_ufrag(data) is None:
        return  # whoever gets it drops it before any cryptography
    with pytest.raises(stun.StunError):
        stun.read_check(bytes(data), PWD)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(20),
        check_by_aioice()[:-1],
        check_by_aioice() + bytes(4),
        check_by_aioice(username="nocolon"),
        stun.success(TRANSACTION, "192.0.2.1", 1, PWD),
        signed(attribute(0x8000) * 100 + USERNAME),
    ],
)
def test_what_is_no_check_is_for_nobody(data: bytes) -> None:
    assert stun.local_ufrag(data) is None


@MANY
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)


@MANY
@given(
    st.lists(
        st.tuples(
            st.sampled_from([6, 8, 0x24, 0x25, 0x8028, 0x8029, 0x7001, 0xC070])
            | st.integers(0, 65535),
            st.binary(max_size=40),
            st.integers(0, 65535) | st.none(),
        ),
        max_size=8,
    )
)
@example([(6, b"a:b", 65535)])
@example([(8, b"", None), (0x8028, b"", None)])
def test_any_attributes_are_read_or_refused(
    attributes: list[tuple[int, bytes, int | None]],
) -> None:
    body = b""
    for kind, value, claimed in attributes:
        length = len(value) if claimed is None else claimed
        body += pack("!HH", kind, length) + value + bytes(-len(value) % 4)
    read_or_refuse(stun._header.pack(1, len(body), stun.COOKIE, TRANSACTION) + body)
    read_or_refuse(signed(body))


@pytest.mark.slow
@settings(max_examples=12_000)
@given(
    st.lists(st.tuples(st.integers(0, len(check_by_aioice()) - 1), st.integers(0, 255)), max_size=4)
)
def test_any_change_of_a_check_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    check = bytearray(check_by_aioice())
    for position, value in changes:
        check[position] = value
    read_or_refuse(bytes(check))


def read_or_refuse(data: bytes) -> None:
    stun.local_ufrag(data)
    if not stun.is_stun(data):
        return
    try:
        check = stun.read_check(data, PWD)
    except stun.StunError:
        return
    assert len(check.transaction) == 12
    assert len(stun.error(check.transaction, 420, "", PWD, check.unknown)) < 150
