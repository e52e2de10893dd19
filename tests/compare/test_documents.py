"""README and docs/mesh-or-sfu.md show what the newest committed comparison found."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from mulisa.compare.drawing import growth_picture
from mulisa.compare.markdown import FULL, filled
from mulisa.compare.measured import Measured
from mulisa.compare.metrics import TOPOLOGIES
from tests.compare.sample import sample_result
from tests.compare.test_report import HOSTILE, hostile_result
from tests.golden.compare_documents import DOCUMENTS, newest, written

pytestmark = pytest.mark.unit

NAMES = "summary growth limits source connections joining injection control routing nats impairment"
BLOCKS = "".join(
    f"Before {name}.\n\n<!-- measured: {name} -->\n<!-- end -->\n\n" for name in NAMES.split()
)


def test_the_documents_show_the_newest_committed_result() -> None:
    """`make golden` writes them."""
    source = newest()
    if source is None:
        pytest.skip("no comparison is committed")
    for path, text in written(source).items():
        assert path.read_text() == text, f"{path.name}: run tests/golden/compare_documents.py"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_marker_has_its_end(path: str) -> None:
    marks = re.findall(r"<!-- (measured|end)\b", path.read_text())  # type: ignore[attr-defined]
    assert marks and marks == ["measured", "end"] * (len(marks) // 2)


def test_blocks_are_filled_and_filled_again() -> None:
    text = filled(BLOCKS, sample_result(), "bench/results/compare-x.json")
    assert filled(text, sample_result(), "bench/results/compare-x.json") == text
    assert re.sub(r"(<!-- measured: \w+ -->\n).*?(<!-- end)", r"\1\2", text, flags=re.S) == BLOCKS
    assert "| Connections of one person | 4 | 1 | 4 : 1 |" in text
    assert "| 6 people | 21, 7 |" in text
    assert "| Connections made to add her | 4 | 1 | 4, 1 |" in text
    assert "| one of each, 4 people | 10, 10 | 10, 5 | 5, 0 |" in text
    assert "[compare-x.json](bench/results/compare-x.json)" in text


def test_a_further_sfu_has_columns_where_it_was_measured() -> None:
    text = filled(BLOCKS, sample_result(topologies=TOPOLOGIES), "x")
    assert "| 4 people and Mulisa | mesh | SFU | mediasoup | mesh : SFU |" in text
    assert "| Connections of one person | 4 | 1 | 2 | 4 : 1 |" in text
    assert "| 6 people | 21, 7, 14 |" in text
    assert "| Connections made to add her | 4 | 1 | 2 | 4, 1, 2 |" in text
    assert "| one of each, 4 people | 10, 10 | 10, 5 | 5, 0 |" in text


def test_a_full_machine_is_marked() -> None:
    text = filled(BLOCKS, sample_result(), "x")
    (line,) = [line for line in text.splitlines() if line.startswith("| 6 people |")]
    assert FULL in line
    assert f"{FULL} The machine itself was full then." in text


def test_what_was_not_measured_leaves_its_block_empty() -> None:
    text = filled(BLOCKS, sample_result((2,), full=False), "x")
    assert "<!-- measured: nats -->\n<!-- end -->" in text


def test_an_unknown_block_is_an_error() -> None:
    with pytest.raises(KeyError, match="weather"):
        filled("<!-- measured: weather -->\n<!-- end -->", sample_result((2,), full=False), "x")


def test_no_name_ends_a_cell_a_line_or_a_block() -> None:
    text = filled(BLOCKS, hostile_result(), "x")
    assert "<script" not in text and HOSTILE not in text
    assert filled(text, hostile_result(), "x") == text


def test_the_picture_is_well_formed() -> None:
    root = ElementTree.fromstring(growth_picture(Measured(sample_result())))
    shapes = [each.tag.rpartition("}")[2] for each in root.iter()]
    assert shapes.count("circle") == shapes.count("rect") == 12
    assert root.findall(".//*[@fill-opacity='0']")
    ElementTree.fromstring(growth_picture(Measured(hostile_result())))
