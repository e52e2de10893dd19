"""`mulisa compare --from`: the report of a stored result, and what is said of other files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mulisa.compare import writing
from mulisa.compare.result import to_json
from mulisa.console import Console
from mulisa.core.errors import ConfigError
from tests.compare.sample import sample_result
from tests.compare.test_report import PAGE

pytestmark = pytest.mark.unit

STORED = Path(__file__).parents[1] / "golden" / "compare_schema_1.json"


@pytest.fixture
def console() -> Console:
    return Console(as_json=False, quiet=True)


@pytest.fixture(autouse=True)
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's page need not be built."""
    monkeypatch.setattr("mulisa.compare.report.template", lambda: PAGE)
    monkeypatch.setattr(writing, "template", lambda: PAGE)


def test_the_report_is_made_again(tmp_path: Path, console: Console) -> None:
    source = tmp_path / "result.json"
    source.write_text(to_json(sample_result((2, 4), full=False)))
    writing.report_again(console, source, tmp_path / "new" / "folder")
    made = tmp_path / "new" / "folder"
    assert [file.name for file in made.iterdir()] == ["report.html"]
    assert "take an SFU" in (made / "report.html").read_text()


def test_results_that_were_stored_once_stay_readable(tmp_path: Path, console: Console) -> None:
    writing.report_again(console, STORED, tmp_path)
    assert "either will do" in (tmp_path / "report.html").read_text()


def test_what_is_no_file_and_no_result_is_told(tmp_path: Path, console: Console) -> None:
    with pytest.raises(ConfigError, match="cannot read .*: No such file"):
        writing.report_again(console, tmp_path / "none.json", tmp_path)
    with pytest.raises(ConfigError, match="cannot read .*: Is a directory"):
        writing.report_again(console, tmp_path, tmp_path)
    text = tmp_path / "text.json"
    text.write_text("words")
    with pytest.raises(ConfigError, match="no result of"):
        writing.report_again(console, text, tmp_path)
    os.truncate(text, 65 * 2**20)
    with pytest.raises(ConfigError, match="too large"):
        writing.report_again(console, text, tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write to"):
        writing.check(tmp_path / "file")
