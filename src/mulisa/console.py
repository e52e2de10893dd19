"""What the terminal shows: for people aligned lines with times, for machines JSON lines.

Names and rooms come from outside and are shown without what a terminal would obey. Secrets are
not shown at all, whoever repeats them.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias

from mulisa.core.secrets import conceal

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Tone: TypeAlias = Literal["", "good", "warning", "bad"]

LABEL_WIDTH: Final = 10
_STYLES: Final[dict[Tone, str]] = {"": "", "good": "green", "warning": "yellow", "bad": "red"}
_DRAWING: Final = "bright_white on black"
_LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class Console:
    """One way to say something, whoever listens: a person, a script, or nobody (`quiet`)."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, file: IO[str] | None = None
    ) -> None:
        self._file = file or sys.stdout
        self._as_json = as_json
        self._quiet = quiet and not as_json
        self._loading: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: set[str] = set()

    def headline(self, text: str, event: str, **fields: object) -> None:
        """The first line."""
        self._emit(event, text, fields)

    def fact(self, label: str, text: str, tone: Tone = "", **fields: object) -> None:
        """Something about the whole, as ``label  text``; without a label, more of the last one."""
        if label or not self._as_json:
            line = f"  {label:<{LABEL_WIDTH}}{text}"
            self._emit(label.replace(" ", "_"), line, {"text": text} | fields, tone)

    def drawing(self, lines: str) -> None:
        """Something to look at, light on dark; for a terminal that can show it."""
        if self._as_json or self._quiet or not self._file.isatty():
            return
        try:
            lines.encode(getattr(self._file, "encoding", None) or "ascii")
        except UnicodeEncodeError:
            return
        for line in lines.splitlines():
            self._write(f"  {line}", _DRAWING)

    def event(self, event: str, where: str, text: str, tone: Tone = "", **fields: object) -> None:
        """Something that happened now in `where`, a room for example."""
        clock = datetime.now().astimezone().strftime("%H:%M:%S")
        self._emit(event, f"{clock}  {_plain(where):<14}  {_plain(text)}", fields, tone)

    def error(self, message: str, event: str = "error") -> None:
        """What was tried, what was found, what to do; shown in quiet mode, too."""
        message = conceal(message)
        if self._as_json:
            self._emit(event, "", {"message": message})
        else:
            self.end_loading()
            what, _, mend = message.partition("; ")
            print(f"error: {what}" + (f"\n       {mend}" if mend else ""), file=sys.stderr)

    def loading(self, name: str, doing: str, fraction: float | None) -> None:
        """An engine or download makes progress; 1.0 ends it and `doing` is what came of it."""
        if self._as_json:
            self._emit("loading", "", {"name": name, "doing": doing, "fraction": fraction})
        elif self._quiet:
            return
        elif not self._file.isatty():
            if fraction == 1.0 or name not in self._begun:
                self._begun.add(name)
                self.fact(name, doing)
        else:
            self._draw_loading(name, doing, fraction)

    def end_loading(self) -> None:
        """Take the progress display away, if there is one. Idempotent."""
        if self._loading is not None:
            self._loading.stop()
            self._loading = None
            self._tasks.clear()

    def _draw_loading(self, name: str, doing: str, fraction: float | None) -> None:
        progress = self._loading or self._begin_loading()
        if fraction == 1.0:
            if (task := self._tasks.pop(name, None)) is not None:
                progress.remove_task(task)
                progress.refresh()
            self.fact(name, doing)
            if not self._tasks:
                self.end_loading()
            return
        if name not in self._tasks:
            self._tasks[name] = progress.add_task("", total=None, name=f"  {name:<{LABEL_WIDTH}}")
        total = None if fraction is None else 1.0
        doing = _plain(conceal(doing))
        progress.update(
            self._tasks[name],
            description=_plain(conceal(doing)),
            total=total,
            completed=fraction or 0.0,
        )

    def _begin_loading(self) -> RichProgress:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._loading = Progress(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._rich(),
            transient=True,
            refresh_per_second=4,
        )
        self._loading.start()
        return self._loading

    def _emit(self, event: str, text: str, fields: dict[str, object], tone: Tone = "") -> None:
        if self._as_json:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._write(json.dumps({"time": stamp, "event": event} | fields, default=str))
        elif not self._quiet:
            self._write(text, _STYLES[tone])

    def _write(self, text: str, style: str = "") -> None:
        """A line. That nobody reads any more (a closed pipe, a lost terminal) is no failure."""
        text = conceal(text)
        try:
            if self._as_json or not self._file.isatty():
                print(text, file=self._file, flush=True)
            else:
                console = self._loading.console if self._loading else self._rich()
                console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        except OSError:
            self._fall_silent()

    def _fall_silent(self) -> None:
        """From now on the lines go nowhere, also what Python would still flush at its end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)

    def _rich(self) -> RichConsole:
        from rich.console import Console as RichConsole

        return RichConsole(file=self._file, emoji=False)


class _Concealing(logging.Formatter):
    """Leaves secrets out of everything that is logged, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return conceal(super().format(record))


def configure_logging(*, debug: bool, quiet: bool = False) -> None:
    """Logs go to stderr: warnings, or everything of ours with `debug`.

    Fields marked personal (transcripts, names, addresses, tokens) are never part of a message,
    and the format does not print them.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Concealing(_LOG_FORMAT))
    ours = logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING
    logging.getLogger("mulisa").setLevel(ours)
    if not debug:  # these tell of what we handle, and say ourselves where it matters
        for name in ("aioice", "aiortc"):
            logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger("livekit").setLevel(logging.CRITICAL)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
