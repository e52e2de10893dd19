"""A real comparison with two people: `mulisa compare` as somebody would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mulisa.compare.browser import chromium
from mulisa.compare.metrics import (
    SILENCE,
    SPEAK_TO_ONE,
    SPEECH,
    STOP_HEARING,
    TOPOLOGIES,
    RowName,
    Topology,
)
from mulisa.compare.result import Figure, Result, read
from tests.mediasoup_server import MediasoupServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

PEOPLE = 2


@pytest.fixture(scope="module")
def application(request: pytest.FixtureRequest) -> str:
    """Address of one on mediasoup; empty where its worker was not built."""
    try:
        server: MediasoupServer = request.getfixturevalue("mediasoup")
    except pytest.skip.Exception:
        return ""
    return server.url


@pytest.fixture(params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest, application: str) -> Topology:
    """Each that is measured here."""
    found: Topology = request.param
    if found == "mediasoup" and not application:
        pytest.skip("needs mediasoup: make mediasoup, which needs a C++ compiler")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, application: str) -> Path:
    """Where one comparison has put what it found."""
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    if not chromium():
        pytest.skip("no Chromium here")
    folder = tmp_path_factory.mktemp("compare")
    command = (sys.executable, "-m", "mulisa", "compare", "--json", "--participants", str(PEOPLE))
    further = ("--mediasoup", application) if application else ()
    whole = [*command, *further, "--out", str(folder)]
    done = subprocess.run(whole, capture_output=True, text=True)
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


def test_connections_are_those_of_theory(result: Result, topology: Topology) -> None:
    own, total, made = {"mesh": (PEOPLE, 3, PEOPLE), "sfu": (1, 3, 1), "mediasoup": (2, 6, 2)}[
        topology
    ]
    each = figure(result, topology, "connections", "peer_connections")
    assert each.samples == (own,) * PEOPLE
    assert figure(result, topology, "connections", "connections_in_total").samples == (total,)
    assert figure(result, topology, "joining", "connections_made").samples == (made,)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: looks at the wire")
def test_bandwidth_is_what_the_encoders_made_and_its_overhead(
    result: Result, topology: Topology
) -> None:
    for condition in (SPEECH, SILENCE):
        explained = figure(result, topology, "bandwidth", "upload_explained", condition)
        assert len(explained.samples) == PEOPLE
        assert all(95 <= percent <= 105 for percent in explained.samples), explained
    opus = figure(result, topology, "bandwidth", "payload_per_stream", "speech")
    assert all(8 < kbps < 64 for kbps in opus.samples)


def test_an_acknowledged_change_holds(result: Result, topology: Topology) -> None:
    late = figure(result, topology, "control", "packets_after_acknowledgement", SPEAK_TO_ONE)
    assert not any(late.samples)
    assert figure(result, topology, "control", "time_until_it_holds", STOP_HEARING).samples


def test_a_change_is_one_operation_with_two_people(result: Result, topology: Topology) -> None:
    """One connection of hers renegotiated or silent, or one wish to the SFU."""
    for change in (STOP_HEARING, SPEAK_TO_ONE):
        assert min(figure(result, topology, "control", "operations", change).samples) == 1


def test_everybody_there_negotiates_when_she_comes(result: Result, topology: Topology) -> None:
    assert figure(result, topology, "joining", "people_who_renegotiate").samples == (PEOPLE,)
    offers = figure(result, topology, "joining", "offers").samples
    assert offers == figure(result, topology, "joining", "answers").samples


def test_the_load_of_the_machine_is_told(result: Result, topology: Topology) -> None:
    (busy,) = figure(result, topology, "scalability", "machine_busy").samples
    assert 0 <= busy <= 100


def test_media_stacks_are_named(result: Result, topology: Topology) -> None:
    sides = {stack.side: stack.software for stack in result.stacks if stack.topology == topology}
    assert sides.keys() == {"browser", "Mulisa"} | ({"server"} if topology != "mesh" else set())
    assert result.versions["chromium"] in sides["browser"]
    assert {"mesh": "aiortc", "sfu": "LiveKit", "mediasoup": "aioice"}[topology] in sides["Mulisa"]
    assert "mediasoup" not in sides.get("server", "") or topology == "mediasoup"


def test_she_is_heard_by_all_and_answers(result: Result, topology: Topology) -> None:
    heard = figure(result, topology, "joining", "time_until_everybody_hears_her")
    assert all(ms > 0 for ms in heard.samples)
    ears = figure(result, topology, "injection", "text_to_ear").samples
    assert len(ears) % PEOPLE == 0 and all(ms > 0 for ms in ears)


def test_rows_that_were_not_measured_say_why(result: Result) -> None:
    for row in ("nats", "impairment"):
        (note,) = [note for note in result.notes if note.row == row]
        assert "--full" in note.text


def test_the_report_holds_the_result(folder: Path) -> None:
    assert '"connections"' in (folder / "report.html").read_text()


def test_ctrl_c_leaves_what_was_measured_and_nothing_that_runs(tmp_path: Path) -> None:
    """As a terminal sends it: to the whole process group."""
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    if not chromium():
        pytest.skip("no Chromium here")
    command = (sys.executable, "-m", "mulisa", "compare", "--json", "--participants", str(PEOPLE))
    with subprocess.Popen(
        [*command, "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        until_line(running.stdout, "bandwidth")
        children = psutil.Process(running.pid).children(recursive=True)
        assert any("chrom" in child.name() for child in children)
        os.killpg(running.pid, signal.SIGINT)
        rest = running.stdout.read()
        assert running.wait(60) == 0
    assert '"report"' in rest
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [child.name() for child in alive] == []
    stopped = read((tmp_path / "result.json").read_bytes())
    assert any("stopped" in note.text for note in stopped.notes)
    assert figure(stopped, "mesh", "joining", "connections_made").samples == (PEOPLE,)


def until_line(lines: Iterable[str], word: str) -> None:
    """Read on until a line has this word."""
    said = []
    for line in lines:
        said.append(line)
        if word in line:
            return
    raise AssertionError(f"{word!r} was never said: {said}")
