"""`mulisa compare`: measures, shows how far it is, and writes what came of it."""

from __future__ import annotations

import asyncio
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mulisa.compare.report import template, to_html
from mulisa.compare.result import Result, to_json
from mulisa.compare.run import compare
from mulisa.console import Console
from mulisa.core.errors import ConfigError

RESULT = "result.json"
REPORT = "report.html"


def run(console: Console, sizes: Sequence[int], *, full: bool, folder: Path) -> None:
    """Measure calls of these sizes and write both files. Raises MulisaError."""
    _check(folder)
    command = shlex.join(["mulisa", *sys.argv[1:]])

    def say(text: str) -> None:
        console.event("measuring", "compare", text)

    result = asyncio.run(compare(command, sizes, full=full, say=say))
    _write(console, result, folder)


def _check(folder: Path) -> None:
    """What could fail after minutes of measuring fails now."""
    template()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error


def _write(console: Console, result: Result, folder: Path) -> None:
    """The figures first: they stay if the report cannot be made."""
    (folder / RESULT).write_text(to_json(result))
    console.event("result", "compare", f"{folder / RESULT}", "good", path=str(folder / RESULT))
    (folder / REPORT).write_text(to_html(result))
    console.event("report", "compare", f"{folder / REPORT}", "good", path=str(folder / REPORT))
