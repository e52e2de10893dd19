"""What the report says of a stored result, and that no name in it gets out of its place."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings

from mulisa.compare.impairments import GOOD
from mulisa.compare.limits import law_of
from mulisa.compare.measured import Measured, amount, beside_theory, number, ratio
from mulisa.compare.metrics import COMPARED, METRIC_OF, ROWS, TOPOLOGIES
from mulisa.compare.report import PLACEHOLDER, Report, fill, report_of
from mulisa.compare.result import Note, Result, read, to_json
from mulisa.compare.sections import Section
from mulisa.compare.story import telling_size
from mulisa.core.errors import ConfigError
from tests.compare.sample import sample_result
from tests.compare.test_result import results

pytestmark = pytest.mark.unit

PAGE = f'<body><script type="application/json" id="report">{PLACEHOLDER}</script><p>end</p></body>'
HOSTILE = """</script><script>alert(1)</script><!--<script> ]]> &lt; \u2028 ' " \\ {{7*7}} \x00"""


@cache
def full_report() -> Report:
    return report_of(sample_result())


def section_of(report: Report, name: str) -> Section:
    return next(section for section in report.sections if section.name == name)


class Elements(HTMLParser):
    """What elements a page has, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.script = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.script += data


def hostile_result() -> Result:
    result = sample_result((2, 4), full=False)
    figure = replace(result.figures[0], note=HOSTILE)
    return replace(
        result,
        options=replace(result.options, command=HOSTILE),
        machine=replace(result.machine, system=HOSTILE),
        versions={HOSTILE: HOSTILE},
        figures=(figure, *result.figures[1:]),
        notes=(*result.notes, Note(None, HOSTILE)),
    )


def test_nothing_in_a_result_gets_out_of_its_place() -> None:
    report = report_of(hostile_result())
    page = Elements(fill(PAGE, report))
    assert page.tags == ["body", "script", "p"]
    filled = json.loads(page.script)
    assert HOSTILE in filled["remarks"]
    assert filled["machine"][0] == ["Command", HOSTILE]


def test_the_raw_data_is_inside() -> None:
    result = hostile_result()
    files: list[dict[str, Any]] = json.loads(Elements(fill(PAGE, report_of(result))).script)[
        "files"
    ]
    assert [file["name"] for file in files] == ["result.json", "figures.csv"]
    assert read(files[0]["text"]) == result


def check(result: Result) -> None:
    """Whatever a valid result holds, it stays text in its place."""
    report = report_of(result)
    page = Elements(fill(PAGE, report))
    assert page.tags == ["body", "script", "p"]
    assert json.loads(page.script)["story"]["people"] == report.story.people


@settings(max_examples=25)
@given(results())
def test_every_valid_result_makes_a_report(result: Result) -> None:
    check(result)


@pytest.mark.slow
@settings(max_examples=1_000)
@given(results())
def test_every_valid_result_makes_a_report_at_length(result: Result) -> None:
    check(result)


@pytest.mark.parametrize("page", ["<body></body>", PAGE + PAGE])
def test_a_page_without_one_place_for_it_is_refused(page: str) -> None:
    with pytest.raises(ConfigError, match="no place"):
        fill(page, report_of(sample_result((2,), full=False)))


def test_the_verdict_comes_first() -> None:
    story = full_report().story
    assert story.headline == (
        "For 4 people and Mulisa take an SFU: a mesh asks each person for 4\u00a0connections "
        "instead of 1, and 4 times the upload"
    )
    assert "Everybody hears the same in both." in story.paragraph
    assert "comes into the running call, that is 4\u00a0connections" in story.paragraph
    assert "(one of each), 5 pairs need a relay in the mesh, and 0 on the SFU" in story.paragraph


def test_for_two_people_either_will_do() -> None:
    story = report_of(sample_result((2,), full=False)).story
    assert story.headline.startswith("For 2 people and Mulisa either will do:")


def test_it_is_told_of_a_size_at_which_the_machine_was_not_full() -> None:
    assert telling_size(Measured(sample_result((2, 4, 6)))) == 4
    story = full_report().story
    assert story.caveat.startswith("With 6 people this machine was full at times.")
    assert not any(line.saturated for line in story.lines)


def test_what_was_measured_at_another_size_says_so() -> None:
    lines = {line.row: line for line in full_report().story.lines}
    assert (lines["connections"].people, lines["impairment"].people) == (4, 3)
    assert "on the SFU, with 3 people." in full_report().story.paragraph


def test_a_busy_machine_does_not_miscount() -> None:
    whole = sample_result((2,), full=False)
    busy = [replace(figure, saturated=True) for figure in whole.figures]
    story = report_of(replace(whole, figures=tuple(busy))).story
    assert story.headline.endswith("for 2\u00a0connections instead of 1")
    assert "kb/s" not in story.paragraph and "answers" not in story.paragraph
    assert {line.title: line.saturated for line in story.lines}["Connections in the call"] is False
    assert "Measure again" in story.caveat


def test_the_summary_has_mesh_sfu_and_ratio() -> None:
    lines = {line.title: line for line in full_report().story.lines}
    connections = lines["Connections of one person"]
    assert (connections.medians, connections.ratio) == (("4", "1"), "4 : 1")
    assert lines["Connections in the call"].ratio == "2 : 1"


def test_a_further_sfu_has_columns_and_lines_where_it_was_measured() -> None:
    report = report_of(sample_result(topologies=TOPOLOGIES))
    assert report.story.topologies == TOPOLOGIES
    lines = {line.title: line for line in report.story.lines}
    assert lines["Connections of one person"].medians == ("4", "1", "2")
    assert lines["Connections of one person"].ratio == "4 : 1"
    relayed = next(line for line in report.story.lines if line.row == "nats")
    assert len(relayed.medians) == 3 and relayed.medians[2] == ""
    sections = {section.name: section for section in report.sections}
    table = sections["connections"].tables[0]
    assert table.topologies == TOPOLOGIES and all(map(all, (x.cells for x in table.lines)))
    assert sections["nats"].tables[0].topologies == COMPARED
    drawn = {mark.topology for mark in sections["connections"].charts[0].marks}
    assert drawn == set(TOPOLOGIES)
    assert "mediasoup" in report.story.paragraph and "mediasoup" in report.method[0]
    assert "mediasoup" not in full_report().story.paragraph + " ".join(full_report().method)


def test_a_good_network_is_no_bad_one() -> None:
    whole = sample_result()
    wrong = ("impairment", "word_error_rate")
    figures = [
        replace(each, samples=(99.0 if each.condition == GOOD.name else 1.0,))
        if (each.row, each.metric) == wrong
        else each
        for each in whole.figures
    ]
    story = report_of(replace(whole, figures=tuple(figures))).story
    assert GOOD.name not in story.paragraph
    assert GOOD.name not in {line.condition for line in story.lines}


def test_what_was_not_measured_is_not_told() -> None:
    whole = sample_result((2,), full=False)
    only = [figure for figure in whole.figures if figure.row == "connections"]
    report = report_of(replace(whole, figures=tuple(only)))
    assert "upload" not in report.story.headline
    assert "kb/s" not in report.story.paragraph
    assert section_of(report, "response").missing == "it was not measured."


def test_a_result_without_figures_makes_a_report() -> None:
    report = report_of(replace(sample_result((2,), full=False), figures=()))
    assert report.story.lines == ()
    assert all(section.missing for section in report.sections)


def test_a_missing_row_says_why() -> None:
    section = section_of(report_of(sample_result((2,), full=False)), "nats")
    assert section.missing == "it needs root, for network namespaces: run it with sudo."
    assert not section.charts
    assert not section.tables


def test_all_rows_are_there_in_their_order() -> None:
    report = full_report()
    assert [section.name for section in report.sections] == [row.name for row in ROWS]
    assert all(section.charts or section.missing for section in report.sections)


def test_saturated_sizes_are_marked_and_no_law_rests_on_them() -> None:
    result = sample_result()
    chart = section_of(report_of(result), "scalability").charts[0]
    assert {mark.x for mark in chart.marks if mark.saturated} == {6}
    law = law_of(Measured(result), METRIC_OF["scalability", "browser_cpu"], "mesh")
    assert law is not None
    assert law.measured == (2, 4)


def test_only_a_full_comparison_is_extrapolated() -> None:
    full = section_of(full_report(), "scalability")
    short = section_of(report_of(sample_result((2, 4), full=False)), "scalability")
    assert full.charts[0].beyond and full.breaks
    assert not short.charts[0].beyond and not short.breaks
    assert all("people" in each.law for each in full.breaks)
    browser = next(each for each in full.breaks if each.what == "a browser fills one core")
    assert re.search(r"off by .*; with one size left out \d+ to \d+ people\.$", browser.law)


def test_theory_stands_next_to_what_was_measured() -> None:
    section = section_of(full_report(), "connections")
    assert section.agreement == "Every figure that theory speaks of is as it says."
    assert section.charts[0].beside == "Measured as theory says."
    cell = section.tables[0].lines[0].cells[0]
    assert cell is not None
    assert (cell.median, cell.theory) == ("2", "as theory says")
    bandwidth = section_of(full_report(), "bandwidth")
    assert bandwidth.agreement.startswith("Furthest from theory: ")
    assert re.fullmatch(
        r"Measured against theory: mesh at most .[\d.]+\u00a0%, SFU at most .[\d.]+\u00a0%\.",
        bandwidth.charts[0].beside,
    )


def test_charts_of_one_metric_share_a_scale() -> None:
    charts = section_of(full_report(), "bandwidth").charts
    speech, silence = (chart for chart in charts if chart.title.startswith("Upload"))
    assert speech.ceiling == silence.ceiling >= max(mark.high for mark in speech.marks)


def test_free_conditions_are_drawn_at_the_size_they_were_measured_at() -> None:
    nats = section_of(full_report(), "nats").charts[0]
    assert nats.title == "Pairs that need a relay"
    places = list(dict.fromkeys(mark.x for mark in nats.marks))
    assert (places[0], places[-1]) == ("both full-cone, 2 people", "one of each, 4 people")
    chart = section_of(full_report(), "impairment").charts[0]
    assert (chart.over, chart.title[-8:]) == ("conditions", "3 people")
    assert {"loss 5 %", "uplink 256 kb/s"} < {mark.x for mark in chart.marks}


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.0, "4"), (0.537, "0.54"), (5.382, "5.4"), (228.4, "228"), (1437, "1,437")],
)
def test_numbers_have_sensible_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_words_for_numbers() -> None:
    assert [amount(1, "connections"), amount(1, "ms"), amount(1, "packets/s")] == [
        "1\u00a0connection",
        "1\u00a0ms",
        "1\u00a0packets/s",
    ]
    assert [ratio(4, 1), ratio(1, 1.5), ratio(3, 3), ratio(0, 3)] == [
        "4 : 1",
        "1 : 1.5",
        "1 : 1",
        "",
    ]
    assert beside_theory(39.75, 39) == "theory 39, +1.9\u00a0%"
    assert beside_theory(2, 0) == "theory 0, +2"


def test_the_sample_is_a_result() -> None:
    assert read(to_json(sample_result())) == sample_result()
