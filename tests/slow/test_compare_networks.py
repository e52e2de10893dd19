"""Rows 9 and 10 of a comparison, each with one kind of network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mulisa.compare import impairment, nats
from mulisa.compare.browser import chromium
from mulisa.compare.impairments import IMPAIRMENTS
from mulisa.compare.internet import why_not
from mulisa.compare.measure import Bench
from mulisa.compare.result import Figure
from mulisa.compare.scenario import VOICES
from mulisa.compare.speech import speeches
from mulisa.compare.ways import CALLS
from tests.turn_server import turn_program

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _can_be_measured() -> None:
    if reason := why_not():
        pytest.skip(reason)
    if not chromium():
        pytest.skip("no Chromium here")


@pytest.fixture
def remarks() -> Iterator[list[str]]:
    """What the rows remark; shown where something fails."""
    found: list[str] = []
    yield found
    print(found)


async def test_behind_symmetric_nats_a_mesh_needs_a_relay_and_an_sfu_none(
    remarks: list[str],
) -> None:
    turn_program()
    bench = Bench((2,), True, {}, print, remarks.append)
    both = "both symmetric"
    figures = await nats.measure(bench, {both: CALLS[both]})
    assert len(figures) == 10, remarks
    for figure in figures:
        assert (figure.participants, figure.condition) == (2, both)
        assert figure.samples == (figure.theory,), figure


async def test_what_is_lost_is_made_up_and_what_is_said_is_compared(remarks: list[str]) -> None:
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    bench = Bench((2,), True, await speeches(VOICES[:2]), print, remarks.append)
    losses = [each for each in IMPAIRMENTS if each.loss == 0.1]
    figures = await impairment.measure(bench, losses, takes=1, topologies=["mesh"])
    found: dict[str, Figure] = {figure.metric: figure for figure in figures}
    assert {figure.condition for figure in figures} == {"loss 10 %"}
    made_up = found["concealed_samples"]
    assert len(made_up.samples) == 2 and 0 < max(made_up.samples) < 60, made_up
    assert made_up.theory == 19
    assert all(delay > 0 for delay in found["mouth_to_ear_delay"].samples)
    assert len(found["word_error_rate"].samples) == 2
