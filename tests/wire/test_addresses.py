from __future__ import annotations

from ipaddress import ip_address

import pytest

from mulisa.core.errors import ConfigError
from mulisa.wire.addresses import MAX_ADDRESSES, local_addresses

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
