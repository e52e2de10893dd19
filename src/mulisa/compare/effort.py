"""Row 6: what our own code has to know and do so that the right people hear the right voice.

Counted in the sources of this package, in the modules that are there for nothing else.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Final

from mulisa.compare.measure import Call
from mulisa.compare.metrics import Topology

MODULES: Final[Mapping[Topology, tuple[str, ...]]] = {
    "mesh": (
        "transport/mesh/routing.py",
        "transport/mesh/voice.py",
        "transport/mesh/description.py",
    ),
    "sfu": ("transport/sfu/permissions.py", "transport/sfu/speaking.py"),
    "mediasoup": ("transport/mediasoup/consuming.py", "transport/mediasoup/speaking.py"),
}
"""In the mesh: directions and choices per connection, and the fan-out of her voice. On the SFU:
permissions of her tracks, and that they hold. On mediasoup: which consumers are taken and paused,
and who may consume her producers.
"""
_NO_CODE: Final = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)


def effort(call: Call) -> None:
    """Lines of code, and entries of state for a call of this size."""
    topology, people = call.plan.topology, call.plan.participants
    modules = MODULES[topology]
    lines = sum(code_lines(_source(module)) for module in modules)
    names = ", ".join(modules)
    call.book.add("routing", "lines_of_own_code", [lines], note=f"{names}: without comments")
    entries = _ENTRIES[topology](people)
    call.book.add("routing", "state_entries", [entries], note=_STATE[topology])


_ENTRIES: Final[Mapping[Topology, Callable[[int], int]]] = {
    # A direction and a choice on each connection; one permission for her track; listeners of her
    # producer, and each consumer.
    "mesh": lambda people: 2 * people,
    "sfu": lambda people: 1,
    "mediasoup": lambda people: 1 + people,
}


_STATE: Final[Mapping[Topology, str]] = {
    "mesh": "read in the code, not counted: a direction and a choice on each of her connections",
    "sfu": "read in the code, not counted: who may subscribe to her track; the SFU keeps the rest",
    "mediasoup": "read in the code, not counted: who may consume her producer, and a consumer of "
    "each person that is paused or not",
}


def code_lines(source: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    lines: set[int] = set()
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _NO_CODE:
            begins = begins or token.type in (tokenize.NEWLINE, tokenize.INDENT)
            continue
        is_docstring = begins and token.type == tokenize.STRING
        begins = False
        if not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def _source(module: str) -> str:
    return resources.files("mulisa").joinpath(*module.split("/")).read_text()
