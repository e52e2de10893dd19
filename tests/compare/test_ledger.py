"""A result as it grows."""

from __future__ import annotations

import pytest

from mulisa.compare.ledger import Ledger
from mulisa.compare.metrics import SPEECH, Topology
from mulisa.compare.result import read, to_json
from mulisa.compare.theory import Stream

pytestmark = pytest.mark.unit

VERSIONS = {"chromium": "152.0", "mulisa": "0.1.0", "aiortc": "1.16", "livekit": "1.2"}


async def test_what_was_found_so_far_is_a_whole_result() -> None:
    ledger = Ledger("mulisa compare", (4, 2), False, VERSIONS)
    for topology, people in (("mesh", 4), ("mesh", 2)):
        book = ledger.open(topology, people)  # type: ignore[arg-type]
        book.add("connections", "peer_connections", [people] * people)
        book.remark("joining", "needs root")
    result = read(to_json(ledger.result()))
    assert [figure.participants for figure in result.figures] == [2, 4]
    assert [note.row for note in result.notes] == ["joining", None]
    assert "stopped" in result.notes[-1].text
    ledger.is_whole = True
    assert [note.row for note in ledger.result().notes] == ["joining"]


@pytest.mark.parametrize(
    ("topology", "sides"),
    [("mesh", ["browser", "Mulisa"]), ("sfu", ["browser", "Mulisa", "server"])],
)
async def test_media_stacks_are_those_that_were_seen(topology: Topology, sides: list[str]) -> None:
    ledger = Ledger("mulisa compare", (2,), False, VERSIONS)
    book = ledger.open(topology, 2)
    assert ledger.result().stacks == ()
    book.codec = "audio/opus minptime=10"
    book.clients = {"browser": "JS 2.15"}
    book.streams[SPEECH] = Stream(packets_per_second=50.0)
    found = ledger.result().stacks
    assert [stack.side for stack in found] == sides
    assert {stack.packet_ms for stack in found} == {20.0}
    assert found[0].software == "Chromium 152.0, JS 2.15"
