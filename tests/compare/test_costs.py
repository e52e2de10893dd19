"""The page's "what if we were N?" and the report calculate the same: tests/golden/costs.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mulisa.compare.metrics import METRIC_OF, SPEECH, Topology
from mulisa.compare.theory import expected

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[1] / "golden" / "costs.json"


def _value(row: str, name: str, topology: Topology, people: int, condition: str = "") -> float:
    value = expected(METRIC_OF[row, name], topology, people, condition)
    assert value is not None
    return round(value, 6)


def costs_of(topology: Topology, people: int) -> dict[str, str | float]:
    """One row of the golden table; bit rates are bits per second."""
    return {
        "topology": topology,
        "people": people,
        "connectionsEach": _value("connections", "peer_connections", topology, people),
        "connections": _value("connections", "connections_in_total", topology, people),
        "connectionsForAgent": _value("joining", "connections_made", topology, people),
        "up": 1000 * _value("bandwidth", "upload_on_wire", topology, people, SPEECH),
        "down": 1000 * _value("bandwidth", "download_on_wire", topology, people, SPEECH),
    }


def test_costs_are_those_that_the_page_shows() -> None:
    golden = json.loads(GOLDEN.read_text())["costs"]
    assert golden == [costs_of(row["topology"], row["people"]) for row in golden]
    assert {row["topology"] for row in golden} == {"mesh", "sfu"}
