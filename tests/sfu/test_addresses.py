from __future__ import annotations

from itertools import pairwise

import pytest

from mulisa.sfu.addresses import candidates

pytestmark = pytest.mark.unit


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
