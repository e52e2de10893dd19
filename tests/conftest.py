"""What holds for every test.

- A module declares one category: ``pytestmark = pytest.mark.unit`` (or network, browser,
  ``provider("name")``); anything else is a collection error.
- Unit tests run in virtual time (`tests/virtual_time.py`), the others on the ordinary loop.
- A task that outlives its test fails it, and so does an exception that only the loop saw.
- Settings of the machine's owner do not reach a test, nor does the logging of the one before.
- What fails in real time (a browser, another project's SDK, a real engine) is tried once more.
  Passing then does not make it sound: the end of the run tells what was wrong the first time,
  under "flaky", and that is mended the day it is seen. In virtual time nothing is tried twice,
  and with ``-p no:rerunfailures`` nothing at all.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from pytest_asyncio import is_async_test

from tests.livekit_server import LiveKitServer
from tests.mediasoup_server import MediasoupServer, is_installed
from tests.virtual_time import VirtualTimeLoop

CATEGORIES = frozenset({"unit", "network", "browser", "provider"})
OWNERS_SETTINGS = ("MULISA_", "LIVEKIT_", "OPENAI_", "AZURE_")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOGGERS = ("", "mulisa", "aioice", "aiortc", "livekit")
ENDING_TIME = 1.0
"""Real seconds that a task on the ordinary loop has to end after its test did."""

settings.register_profile("mulisa", deadline=None)
settings.load_profile("mulisa")
"""The machine may be busy: no example fails for having taken long."""

_browser_setting = pytest.StashKey[str]()
_livekit_setting = pytest.StashKey[str]()
_mediasoup_setting = pytest.StashKey[str]()
_failed = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_browser_setting] = os.environ.get("MULISA_CHROMIUM", "")
    config.stash[_livekit_setting] = os.environ.get("MULISA_LIVEKIT_SERVER", "")
    config.stash[_mediasoup_setting] = os.environ.get("MULISA_MEDIASOUP_WORKER", "")
    for name in [name for name in os.environ if name.startswith(OWNERS_SETTINGS)]:
        del os.environ[name]


class CategorisedModule(pytest.Module):
    """A test module that says what its tests need."""

    def collect(self) -> Any:
        assert self.obj is not None  # importing it is what reads its marks
        declared = [mark.name for mark in self.iter_markers() if mark.name in CATEGORIES]
        if len(declared) != 1:
            raise self.CollectError(
                f"{self.path.name} must set pytestmark to one of pytest.mark.unit, network, "
                f"browser or provider(name); found: {', '.join(declared) or 'none'}"
            )
        return super().collect()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return CategorisedModule.from_parent(parent, path=module_path)


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("unit"):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.SelectorEventLoop}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_longest_first)  # where two run at a time, the others do beside it
    has_second_try = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        if has_second_try and not item.get_closest_marker("unit"):
            item.add_marker(pytest.mark.flaky(reruns=1))


def _longest_first(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return -float(mark.args[0]) if mark is not None and mark.args else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    is_first = call.when == "setup"  # also of a second try, which owes nothing to the first
    item.stash[_failed] = (not is_first and item.stash.get(_failed, False)) or report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stats = terminalreporter.stats
    failed = {report.nodeid for name in ("failed", "error") for report in stats.get(name, ())}
    first_tries = stats.get("rerun", ())
    if first_tries:
        terminalreporter.section("flaky: to be mended today", sep="=", yellow=True)
    for report in first_tries:
        also = ", which failed again" if report.nodeid in failed else ""
        terminalreporter.section(f"first try of {report.nodeid}{also}", sep="_", yellow=True)
        terminalreporter.write_line(report.longreprtext)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> None:
    """Set up first and therefore torn down last, when the test's fixtures are gone."""
    if is_async_test(request.node):
        request.getfixturevalue("_tasks_end")


@pytest.fixture(autouse=True)
def _logging_is_as_it_was() -> Iterator[None]:
    """A command that runs in this process says how much is logged."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
async def _tasks_end(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    yield
    loop.set_exception_handler(None)
    left = await _still_running(asyncio.all_tasks() - before)
    if request.node.stash.get(_failed, False):
        return  # a test that failed half way has a reason to leave something
    if left:
        pytest.fail(f"tasks outlive the test: {sorted(map(repr, left))}", pytrace=False)
    if unhandled:
        pytest.fail(f"nobody handled: {unhandled}", pytrace=False)


async def _still_running(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Those that do not end by themselves: at once in virtual time, soon in real time."""
    tasks = tasks - {asyncio.current_task()}
    if isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
        for _ in range(10):
            await asyncio.sleep(0)
    elif tasks:
        await asyncio.wait(tasks, timeout=ENDING_TIME)
    return {task for task in tasks if not task.done()}


@pytest.fixture(scope="session")
def chromium(pytestconfig: pytest.Config) -> str:
    """Path of the browser for tests: MULISA_CHROMIUM, what `make` found, or one on the PATH."""
    note = Path(sys.prefix, ".chromium")
    noted = note.read_text().strip() if note.exists() else ""
    for candidate in (pytestconfig.stash[_browser_setting], noted, *BROWSERS):
        if candidate and (found := shutil.which(candidate)):
            return found
    pytest.skip("no Chromium here: apt-get install chromium")


@pytest.fixture(scope="session")
def livekit_program(pytestconfig: pytest.Config) -> str:
    """Path of a LiveKit server: MULISA_LIVEKIT_SERVER, what `make` built, or one on the PATH."""
    note = Path(sys.prefix, ".livekit")
    noted = note.read_text().strip() if note.exists() else ""
    for candidate in (pytestconfig.stash[_livekit_setting], noted, "livekit-server"):
        if candidate and (found := shutil.which(candidate)):
            return found
    pytest.skip("needs a LiveKit server: make livekit, which needs Go")


@pytest.fixture(scope="session")
def livekit(livekit_program: str) -> Iterator[LiveKitServer]:
    """A running LiveKit server for tests that neither stop nor configure it."""
    with LiveKitServer(livekit_program) as server:
        yield server


@pytest.fixture(scope="session")
def mediasoup_worker(pytestconfig: pytest.Config) -> str:
    """Path of mediasoup's worker: MULISA_MEDIASOUP_WORKER, or what `make` built."""
    note = Path(sys.prefix, ".mediasoup")
    noted = note.read_text().strip() if note.exists() else ""
    for candidate in (pytestconfig.stash[_mediasoup_setting], noted):
        if candidate and (found := shutil.which(candidate)) and is_installed():
            return found
    pytest.skip("needs mediasoup: make mediasoup, which needs a C++ compiler")


@pytest.fixture(scope="session")
def mediasoup(mediasoup_worker: str) -> Iterator[MediasoupServer]:
    """The example application for tests that do not stop it; its worker may be killed."""
    with MediasoupServer(mediasoup_worker) as server:
        yield server
