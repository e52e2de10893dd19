"""Lines of code are lines that hold code."""

from __future__ import annotations

import pytest

from mulisa.compare.effort import MODULES, code_lines

pytestmark = pytest.mark.unit

SOURCE = '''"""A module.

With a docstring.
"""

import os  # not a comment's line

# a comment
class Thing:
    """Its docstring."""

    name = (
        "over",
        "lines",
    )
    """What follows a value."""

    def call(self) -> str:
        """One line."""
        return os.sep + """a text
of two lines"""
'''


def test_comments_docstrings_and_blank_lines_are_none() -> None:
    assert code_lines(SOURCE) == 9


def test_every_module_that_is_counted_is_there() -> None:
    from importlib import resources

    for modules in MODULES.values():
        for module in modules:
            source = resources.files("mulisa").joinpath(*module.split("/"))
            assert code_lines(source.read_text()) > 20
