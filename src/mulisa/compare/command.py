"""`mulisa compare`: measures, shows how far it is, and writes what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mulisa.compare.result import Result, to_json
from mulisa.compare.run import Wanted, compare
from mulisa.compare.scenario import parse_sizes
from mulisa.compare.venue import origin_of
from mulisa.compare.writing import RESULT, check, replace, write_report
from mulisa.console import Console
from mulisa.serving import run_until_interrupted


def run(
    console: Console, sizes: Sequence[int], *, full: bool, mediasoup: str, folder: Path
) -> None:
    """Measure calls of these sizes and write both files. Raises MulisaError.

    `mediasoup` is the address of a further SFU; empty for none.

    What was measured so far is kept, and drawn, whatever ends it.
    """
    check(folder)
    command = "mulisa compare --full" if full else "mulisa compare"
    if sizes != parse_sizes(None, full=full):
        command += f" --participants {','.join(map(str, sizes))}"
    if mediasoup:
        command += f" --mediasoup {origin_of(mediasoup)}"
    wanted = Wanted(command, sizes, full, mediasoup)
    kept: list[Result] = []

    def say(text: str) -> None:
        console.event("measuring", "compare", text, doing=text)

    def keep(result: Result) -> None:
        replace(folder / RESULT, to_json(result))
        kept[:] = [result]

    try:
        run_until_interrupted(compare(wanted, say=say, keep=keep))
    finally:
        if kept:
            _write(console, kept[0], folder)


def _write(console: Console, result: Result, folder: Path) -> None:
    """The figures are there already: they stay if the report cannot be made."""
    console.event("result", "compare", f"{folder / RESULT}", "good", path=str(folder / RESULT))
    write_report(console, result, folder)
