"""How both topologies grow, as one SVG for documents: light and dark, without fonts or scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from mulisa.compare.measured import Measured, number
from mulisa.compare.metrics import COMPARED, METRIC_OF, NAMES, SPEECH, RowName, Topology
from mulisa.compare.theory import expected

_PANELS: Final[tuple[tuple[str, RowName, str, str], ...]] = (
    ("Connections in the call", "connections", "connections_in_total", ""),
    ("Upload of each, kb/s", "bandwidth", "upload_on_wire", SPEECH),
    ("Packets/s through the server", "scalability", "packets_forwarded", ""),
)
_FEWEST, _FURTHEST = 2, 10
"""People from and up to whom theory is drawn."""
_WIDTH, _HEIGHT, _GAP = 270, 230, 12
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 46, 40, 34
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#5b5b66}.title{font-weight:600;fill:#26262e}"
    ".grid{stroke:#dddcd6}.mesh{stroke:#9a4a1f;fill:#9a4a1f}.sfu{stroke:#0f5e96;fill:#0f5e96}"
    ".theory{fill:none;stroke-width:6;stroke-opacity:.25;stroke-linejoin:round}"
    ".name{stroke:none;font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#aeaeb8}.title{fill:#eeeae4}.grid{stroke:#44444e}"
    ".mesh{stroke:#f0a46c;fill:#f0a46c}.sfu{stroke:#6cbcec;fill:#6cbcec}}"
)
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One topology: what theory says of each size, and what was measured."""

    topology: Topology
    theory: tuple[Point, ...]
    measured: tuple[Point, ...]
    full: frozenset[float]
    """Sizes at which the machine was full."""


def growth_picture(measured: Measured) -> str:
    """An SVG document; bands are theory, marks are medians, hollow where the machine was full."""
    panels = [(title, _lines(measured, row, name, c)) for title, row, name, c in _PANELS]
    width = len(panels) * (_WIDTH + _GAP) - _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" role="img">',
        "<title>Bands: what theory says. Marks: what was measured.</title>",
        f"<style>{_STYLE}</style>",
    ]
    for place, (title, lines) in enumerate(panels):
        parts.append(f'<g transform="translate({place * (_WIDTH + _GAP)} 0)">')
        parts += _panel(title, lines)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lines(measured: Measured, row: RowName, name: str, condition: str) -> tuple[Line, ...]:
    metric = METRIC_OF[row, name]
    lines = []
    for topology in COMPARED:
        series = measured.series(metric, topology, condition)
        sizes = range(_FEWEST, _FURTHEST + 1)
        theory = ((size, expected(metric, topology, size, condition)) for size in sizes)
        lines.append(
            Line(
                topology,
                tuple((x, y) for x, y in theory if y is not None),
                tuple((f.participants, measured.spread(f).median) for f in series),
                frozenset(f.participants for f in series if f.saturated),
            )
        )
    return tuple(lines)


@dataclass(frozen=True, slots=True)
class Scale:
    """From people and values to pixels of a panel."""

    highest: float

    def at(self, people: float, value: float) -> Point:
        """Pixels from the top left."""
        x = _LEFT + (people - _FEWEST) / (_FURTHEST - _FEWEST) * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - value / self.highest * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)


def _panel(title: str, lines: Sequence[Line]) -> Iterator[str]:
    every = [y for line in lines for _, y in (*line.theory, *line.measured)]
    scale = Scale(max(every, default=1.0) or 1.0)
    yield f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>'
    yield from _axes(scale)
    for line in lines:
        yield from _curve(scale, line)
    for line in lines:
        yield from (_mark(line, x, scale.at(x, y)) for x, y in line.measured)


def _axes(scale: Scale) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        x, y = scale.at(_FEWEST, share * scale.highest)
        value = number(round(share * scale.highest))
        yield f'<path class="grid" d="M{x} {y}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value}</text>'
    for size in range(_FEWEST, _FURTHEST + 1, 2):
        x, _ = scale.at(size, 0)
        yield f'<text x="{x}" y="{_HEIGHT - 18}" text-anchor="middle">{size}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 3}" text-anchor="middle">people</text>'


def _curve(scale: Scale, line: Line) -> Iterator[str]:
    if not line.theory:
        return
    points = [scale.at(*point) for point in line.theory]
    path = "L".join(f"{x} {y}" for x, y in points)
    x, y = points[-1]
    yield f'<path class="theory {line.topology}" d="M{path}"/>'
    name = NAMES[line.topology]
    yield f'<text class="name {line.topology}" x="{x + 8}" y="{y + 4}">{name}</text>'


def _mark(line: Line, people: float, place: Point) -> str:
    x, y = place
    hollow = ' fill-opacity="0"' if people in line.full else ""
    if line.topology == "mesh":
        shape = f'<circle class="mesh" cx="{x}" cy="{y}" r="4"'
    else:
        shape = f'<rect class="sfu" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"'
    return f'{shape} stroke-width="2"{hollow}/>'
