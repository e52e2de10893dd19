"""What is found is kept, with its theory, and marked where the machine was at its limit."""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]
import pytest

from mulisa.compare.measure import SATURATED, Book
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


@pytest.mark.parametrize("percent", [SATURATED - 1, SATURATED + 1])
def test_a_busy_machine_marks_what_was_measured_then(
    monkeypatch: pytest.MonkeyPatch, percent: float
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda: percent)
    book = Book("mesh", 2)
    book.add("joining", "offers", [2])
    book.add("injection", "tracks", [2])
    assert book.end_stage(("joining",)) == percent
    marked = {figure.row for figure in book.figures() if figure.saturated}
    assert marked == ({"joining"} if percent > SATURATED else set())


def test_a_metric_that_is_not_in_the_table_is_not_kept() -> None:
    book = Book("mesh", 2)
    book.add("joining", "cups_of_tea", [2])
    with pytest.raises(KeyError):
        book.figures()
