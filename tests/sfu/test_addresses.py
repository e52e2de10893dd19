from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest

from mulisa.core.errors import ConfigError
from mulisa.sfu.addresses import MAX_ADDRESSES, candidates, local_addresses

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.9"])
def test_an_address_stands_for_itself(host: str) -> None:
    assert local_addresses(host) == [host]


def test_localhost_is_the_loopback() -> None:
    assert local_addresses("localhost") == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_everywhere_is_every_address_others_can_name(host: str) -> None:
    found = [ip_address(each) for each in local_addresses(host)]
    assert "127.0.0.1" in map(str, found)
    assert not any(each.is_link_local or each.is_unspecified for each in found)
    loopback = [each.is_loopback for each in found]
    assert loopback == sorted(loopback), "those that only this machine reaches come last"
    assert len(found) <= MAX_ADDRESSES


@pytest.mark.parametrize("host", ["example.org", "300.0.0.1", "127.0.0.1:80"])
def test_a_name_is_no_address(host: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        local_addresses(host)


def test_candidates_are_preferred_in_order_and_udp_before_tcp() -> None:
    made = candidates(["192.0.2.1", "2001:db8::1", "127.0.0.1"], 8001, tcp=True)
    assert [each.protocol for each in made] == ["udp"] * 3 + ["tcp"] * 3
    assert [each.address for each in made[:3]] == ["192.0.2.1", "2001:db8::1", "127.0.0.1"]
    assert all(left.priority > right.priority for left, right in pairwise(made))
    assert len({each.foundation for each in made}) == len(made)
    assert {each.port for each in made} == {8001}
    assert made[0].priority == 2_130_706_431  # RFC 8445, 5.1.2.1: host, component 1


def test_without_tcp_there_are_no_candidates_of_it() -> None:
    assert [each.protocol for each in candidates(["192.0.2.1"], 1, tcp=False)] == ["udp"]
