"""A real comparison with two people: `mulisa compare` as somebody would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mulisa.compare.browser import chromium
from mulisa.compare.metrics import SPEAK_TO_ONE, STOP_HEARING, TOPOLOGIES, RowName, Topology
from mulisa.compare.result import Figure, Result, read

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]

PEOPLE = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one comparison has put what it found."""
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    if not chromium():
        pytest.skip("no Chromium here")
    folder = tmp_path_factory.mktemp("compare")
    command = (sys.executable, "-m", "mulisa", "compare", "--json", "--participants", str(PEOPLE))
    done = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events.count("measuring") > 10 and events[-2:] == ["result", "report"]
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return read((folder / "result.json").read_bytes())


def figure(
    result: Result, topology: Topology, row: RowName, metric: str, condition: str = ""
) -> Figure:
    """The one that was measured; what was not is told with the notes."""
    wanted = (row, metric, topology, condition)
    for each in result.figures:
        if (each.row, each.metric, each.topology, each.condition) == wanted:
            return each
    raise AssertionError(f"{wanted} was not measured: {result.notes}")


def test_connections_are_those_of_theory(result: Result) -> None:
    own_and_total: dict[Topology, tuple[int, int]] = {"mesh": (PEOPLE, 3), "sfu": (1, 3)}
    for topology, (own, total) in own_and_total.items():
        found = figure(result, topology, "connections", "peer_connections")
        assert found.samples == (own,) * PEOPLE
        assert figure(result, topology, "connections", "connections_in_total").samples == (total,)
    assert figure(result, "mesh", "joining", "connections_made").samples == (PEOPLE,)
    assert figure(result, "sfu", "joining", "connections_made").samples == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: looks at the wire")
def test_bandwidth_is_what_the_encoders_made_and_its_overhead(result: Result) -> None:
    for topology in TOPOLOGIES:
        explained = figure(result, topology, "bandwidth", "upload_explained", "speech")
        assert all(95 <= percent <= 105 for percent in explained.samples)
        opus = figure(result, topology, "bandwidth", "payload_per_stream", "speech")
        assert all(8 < kbps < 64 for kbps in opus.samples)


def test_an_acknowledged_change_holds(result: Result) -> None:
    for topology in TOPOLOGIES:
        late = figure(result, topology, "control", "packets_after_acknowledgement", SPEAK_TO_ONE)
        assert not any(late.samples)
        assert figure(result, topology, "control", "time_until_it_holds", STOP_HEARING).samples


def test_she_is_heard_by_all_and_answers(result: Result) -> None:
    for topology in TOPOLOGIES:
        heard = figure(result, topology, "joining", "time_until_everybody_hears_her")
        assert all(0 < ms < 30_000 for ms in heard.samples)
        ears = figure(result, topology, "injection", "text_to_ear").samples
        assert len(ears) % PEOPLE == 0 and all(0 < ms < 12_000 for ms in ears)


def test_rows_that_were_not_measured_say_why(result: Result) -> None:
    for row in ("nats", "impairment"):
        (note,) = [note for note in result.notes if note.row == row]
        assert note.text.startswith("not measured: ")


def test_the_report_holds_the_result(folder: Path) -> None:
    assert '"connections"' in (folder / "report.html").read_text()
