"""The files of a comparison: a result read again, and the report that is made of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from mulisa.compare.report import template, to_html
from mulisa.compare.result import Result, read
from mulisa.console import Console
from mulisa.core.errors import ConfigError

RESULT: Final = "result.json"
REPORT: Final = "report.html"
_LARGEST: Final = 64 * 2**20
"""Bytes; a full comparison has less than one MiB."""


def report_again(console: Console, source: Path, folder: Path) -> None:
    """Make the report of a stored result, without measuring. Raises ConfigError."""
    result = stored(source)
    check(folder)
    write_report(console, result, folder)


def stored(source: Path) -> Result:
    """The result in a file. Raises ConfigError that says what is wrong with it."""
    try:
        if source.stat().st_size > _LARGEST:
            raise ConfigError(f"{source} is too large to be a result of `mulisa compare`.")
        return read(source.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from error


def check(folder: Path) -> None:
    """What could fail after minutes of measuring fails now."""
    template()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error


def write_report(console: Console, result: Result, folder: Path) -> None:
    """`report.html` in the folder; the console says where."""
    replace(folder / REPORT, to_html(result))
    console.event("report", "compare", f"{folder / REPORT}", "good", path=str(folder / REPORT))


def replace(path: Path, text: str) -> None:
    """As a whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)
