"""What is found is kept, with its theory, and marked where the machine was at its limit."""

from __future__ import annotations

import pytest

from mulisa.compare.load import Load
from mulisa.compare.measure import Book
from mulisa.compare.metrics import SPEECH
from mulisa.compare.theory import Stream

pytestmark = pytest.mark.unit


def test_samples_of_one_kind_are_one_figure_with_its_theory() -> None:
    book = Book("mesh", 3)
    book.add("connections", "peer_connections", [3, 3])
    book.add("connections", "peer_connections", [2])
    (figure,) = book.figures()
    assert figure.samples == (3.0, 3.0, 2.0)
    assert (figure.theory, figure.participants, figure.saturated) == (3.0, 3, False)


def test_theory_of_bandwidth_is_that_of_the_voices_that_were_measured() -> None:
    book = Book("sfu", 3)
    book.streams[SPEECH] = Stream(payload_kbps=30, packets_per_second=50, rtp_header_bytes=20)
    book.add("bandwidth", "upload", [38.0], SPEECH)
    assert book.figures()[0].theory == pytest.approx(30 + 8.0)


@pytest.mark.parametrize(
    ("load", "is_marked"),
    [
        (Load(84.0), False),
        (Load(86.0), True),
        (Load(50.0, stolen=6.0), True),
        (Load(50.0, late=1.5), True),
    ],
)
def test_a_machine_at_its_limit_marks_what_was_measured_then(load: Load, is_marked: bool) -> None:
    book = Book("mesh", 2)
    book.add("joining", "time_until_everybody_hears_her", [900])
    book.add("injection", "text_to_ear", [300])
    book.end_stage(("joining",), load)
    marked = {figure.row for figure in book.figures() if figure.saturated}
    assert marked == ({"joining"} if is_marked else set())


def test_a_count_is_a_count_on_a_busy_machine_too() -> None:
    book = Book("mesh", 2)
    book.add("joining", "offers", [2])
    book.end_stage(("joining",), Load(100.0))
    assert not book.figures()[0].saturated


def test_a_metric_that_is_not_in_the_table_is_not_kept() -> None:
    book = Book("mesh", 2)
    book.add("joining", "cups_of_tea", [2])
    with pytest.raises(KeyError):
        book.figures()
