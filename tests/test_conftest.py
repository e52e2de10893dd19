"""The rules of `tests/conftest.py` bite."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.conftest import OWNERS_SETTINGS
from tests.virtual_time import VirtualTimeLoop

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.unit

CONFTEST = "from tests.conftest import *\nfrom tests.conftest import _nothing_is_left, _tasks_end\n"


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    """Run one test module under our rules, in this process."""
    pytester.makeconftest(CONFTEST)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "markers =\n unit\n network\n browser\n provider(name)\n"
    )
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider")


def test_a_module_without_category_is_not_collected(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_x(): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*must set pytestmark to one of*found: none*")


def test_a_module_with_two_categories_is_not_collected(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "import pytest\npytestmark = [pytest.mark.unit, pytest.mark.network]\ndef test_x(): pass",
    )
    result.assert_outcomes(errors=1)


@pytest.mark.parametrize(("category", "tries"), [("unit", 1), ("network", 2)])
def test_a_leaked_task_fails_its_test(pytester: pytest.Pytester, category: str, tries: int) -> None:
    result = run(
        pytester,
        f"""
        import asyncio, pytest
        pytestmark = pytest.mark.{category}
        async def test_leaks():
            test_leaks.task = asyncio.create_task(asyncio.Event().wait(), name="forgotten")
        async def test_is_tidy():
            await asyncio.create_task(asyncio.sleep(0.01))
        """,
    )
    result.assert_outcomes(passed=1 + tries, errors=1)
    result.stdout.fnmatch_lines("*tasks outlive the test*forgotten*")


def test_what_fails_once_in_real_time_is_told_and_in_virtual_time_fails(
    pytester: pytest.Pytester,
) -> None:
    source = """
        import pytest
        pytestmark = pytest.mark.{category}
        tries = []
        def test_fails_at_first():
            tries.append(1)
            assert len(tries) > 1, "a race"
        """
    result = run(pytester, source.format(category="network"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*flaky: to be mended today*", "*test_fails_at_first*", "*a race*"]
    )
    run(pytester, source.format(category="unit")).assert_outcomes(failed=1)


def test_an_exception_that_only_the_loop_saw_fails_its_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest
        pytestmark = pytest.mark.unit
        async def test_callback_raises():
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(1)
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*nobody handled*ZeroDivisionError*")


def test_a_deadlock_fails_its_test_once_and_the_next_one_runs(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest
        pytestmark = pytest.mark.unit
        async def test_waits_for_ever():
            await asyncio.Event().wait()
        async def test_goes_on():
            await asyncio.sleep(1)
        """,
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines("*Deadlock: nothing is ready and no timer is set*")


def test_other_categories_run_in_real_time(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import asyncio, pytest
        pytestmark = pytest.mark.provider("none")
        async def test_loop():
            assert type(asyncio.get_running_loop()) is asyncio.SelectorEventLoop
        """,
    )
    result.assert_outcomes(passed=1)


async def test_unit_tests_run_in_virtual_time() -> None:
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


def test_settings_of_the_owner_are_gone() -> None:
    assert not [name for name in os.environ if name.startswith(OWNERS_SETTINGS)]
