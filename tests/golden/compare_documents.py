"""Rewrites what README.md and docs/mesh-or-sfu.md show of the newest committed comparison.

That is the last of ``bench/results/compare-DATE.json``, a `result.json` of `mulisa compare --full`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mulisa.compare.drawing import growth_picture
from mulisa.compare.markdown import filled
from mulisa.compare.measured import Measured
from mulisa.compare.writing import stored

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "bench" / "results"
DOCUMENTS: Final = (ROOT / "README.md", ROOT / "docs" / "mesh-or-sfu.md")
PICTURE: Final = ROOT / "docs" / "images" / "mesh-or-sfu.svg"


def newest() -> Path | None:
    """The last committed result; None if there is none yet."""
    return max(RESULTS.glob("compare-*.json"), default=None)


def written(source: Path) -> dict[Path, str]:
    """What each file has to be, for this result."""
    result = stored(source)
    documents = {
        path: filled(path.read_text(), result, os.path.relpath(source, path.parent))
        for path in DOCUMENTS
    }
    return documents | {PICTURE: growth_picture(Measured(result))}


if __name__ == "__main__":
    found = newest()
    if found is None:
        raise SystemExit("bench/results has no compare-DATE.json")
    for path, text in written(found).items():
        path.write_text(text)
        print(path.relative_to(ROOT))
